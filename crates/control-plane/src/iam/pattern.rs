//! Patterns of actions, resources and values.

use viaduct_topology::iam::Patterns;

/// Parts of an ARN: `arn`, partition, service, region, account, resource. The last may have colons.
const ARN_PARTS: usize = 6;

/// Whether a pattern matches a text: `*` any characters, `?` one.
pub(super) fn like(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Where to go on behind the last star: with one character more for it.
    let mut star = None;
    loop {
        match (pattern.clone().next(), text.clone().next()) {
            (Some('*'), _) => {
                pattern.next();
                star = Some((pattern.clone(), text.clone()));
                continue;
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                pattern.next();
                text.next();
                continue;
            }
            (None, None) => return true,
            _ => {}
        }
        let Some((behind, rest)) = &mut star else { return false };
        if rest.next().is_none() {
            return false;
        }
        (pattern, text) = (behind.clone(), rest.clone());
    }
}

/// Whether a pattern matches an ARN: part by part, so that a `*` never reaches over a colon, but for
/// those in the last part. `*` alone matches everything, and nothing else matches what is no ARN.
pub(super) fn like_arn(pattern: &str, arn: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let (wanted, found) = (pattern.splitn(ARN_PARTS, ':'), arn.splitn(ARN_PARTS, ':'));
    wanted.clone().count() == ARN_PARTS
        && found.clone().count() == ARN_PARTS
        && wanted.zip(found).all(|(wanted, found)| like(wanted, found))
}

/// Whether `Action` or `NotAction` covers an action.
pub(super) fn covers_action(patterns: &Patterns, action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    covers(patterns, |pattern| like(&pattern.to_ascii_lowercase(), &action))
}

/// Whether `Resource` or `NotResource` covers a resource. `*` is what actions name that are about no
/// single resource; an ARN does not cover it.
pub(super) fn covers_resource(patterns: &Patterns, resource: &str) -> bool {
    covers(patterns, |pattern| like_arn(pattern, resource))
}

fn covers(patterns: &Patterns, matches: impl Fn(&String) -> bool) -> bool {
    match patterns {
        Patterns::Any(patterns) => patterns.iter().any(matches),
        Patterns::Not(patterns) => !patterns.iter().any(matches),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("a", "a"),
            ("?", "é"),
            ("a*", "a"),
            ("*a", "bca"),
            ("a*c*e", "abcde"),
            ("a*c", "acbc"),
            ("**", "x"),
            ("*?", "x"),
            ("subnet-?a*", "subnet-1abc"),
        ] {
            assert!(like(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("?", ""),
            ("??", "é"),
            ("a*c", "abcd"),
            ("*?", ""),
            ("A", "a"),
            ("a*b*a", "aba b"),
        ] {
            assert!(!like(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_star_of_an_arn_ends_at_a_colon_but_in_the_last_part() {
        let arn = "arn:aws:lambda:us-east-1:111111111111:function:api";
        for pattern in
            ["*", arn, "arn:aws:lambda:*:*:function:*", "arn:aws:lambda:*:*:*", "arn:*:*:*:*:*:a?i"]
        {
            assert!(like_arn(pattern, arn), "{pattern}");
        }
        for pattern in [
            "arn:aws:lambda:*:function:api",
            "arn:*",
            "arn:aws:lambda:*:*:function:",
            "arn:aws:ec2:*:*:*",
            "",
        ] {
            assert!(!like_arn(pattern, arn), "{pattern}");
        }
        assert!(like_arn("*", "*") && !like_arn("arn:aws:ec2:*:*:*", "*"));
    }

    #[test]
    fn actions_have_no_case_and_not_is_all_others() {
        let any = Patterns::Any(vec!["ec2:Describe*".to_owned()]);
        let not = Patterns::Not(vec!["ec2:Describe*".to_owned()]);
        for (action, covered) in
            [("ec2:DescribeSubnets", true), ("EC2:describesubnets", true), ("ec2:Create", false)]
        {
            assert_eq!(covers_action(&any, action), covered, "{action}");
            assert_eq!(covers_action(&not, action), !covered, "{action}");
        }
    }
}
