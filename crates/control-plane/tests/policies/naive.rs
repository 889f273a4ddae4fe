//! A second opinion on policies, naive on purpose: words and lists as they are written, patterns by
//! trying every way, conditions by counting.

use std::collections::BTreeMap;

/// Condition keys of a request with their values, or of an operator with a policy's.
pub(crate) type Values = BTreeMap<String, Vec<String>>;

/// A statement as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(crate) allows: bool,
    /// `Action` or `NotAction`.
    pub(crate) actions: (bool, Vec<String>),
    /// `Resource` or `NotResource`.
    pub(crate) resources: (bool, Vec<String>),
    /// By operator.
    pub(crate) conditions: BTreeMap<String, Values>,
}

/// `allow`, `deny` or `nothing`.
pub(crate) fn verdict(
    statements: &[Statement],
    action: &str,
    resource: &str,
    request: &Values,
) -> &'static str {
    let matching: Vec<&Statement> = statements
        .iter()
        .filter(|it| {
            let action = action.to_lowercase();
            let hit = it.actions.1.iter().any(|wanted| is_like(&wanted.to_lowercase(), &action));
            let about = it.resources.1.iter().any(|wanted| is_arn_like(wanted, resource));
            hit == it.actions.0 && about == it.resources.0
        })
        .filter(|it| {
            it.conditions.iter().all(|(operator, keys)| {
                keys.iter().all(|(key, values)| holds(operator, key, values, request))
            })
        })
        .collect();
    match matching.iter().filter(|it| !it.allows).count() {
        0 if matching.is_empty() => "nothing",
        0 => "allow",
        _ => "deny",
    }
}

fn holds(operator: &str, key: &str, wanted: &[String], request: &Values) -> bool {
    let found = request.iter().find(|(it, _)| it.to_lowercase() == key.to_lowercase());
    let found: &[String] = found.map_or(&[], |(_, values)| values);
    if operator == "Null" {
        return wanted.contains(&found.is_empty().to_string());
    }
    let all = operator.starts_with("ForAllValues:");
    let any = operator.starts_with("ForAnyValue:");
    let bare = operator.rsplit(':').next().unwrap();
    if found.is_empty() {
        return bare.ends_with("IfExists") || all || (bare.contains("Not") && !any);
    }
    let bare = bare.trim_end_matches("IfExists");
    let compare = bare.replace("Not", "");
    let alike = |wanted: &str, found: &str| match compare.as_str() {
        "StringEquals" => wanted == found,
        "StringEqualsIgnoreCase" | "Bool" => wanted.to_lowercase() == found.to_lowercase(),
        "StringLike" => is_like(wanted, found),
        "ArnEquals" | "ArnLike" => is_arn_like(wanted, found),
        other => panic!("{other}"),
    };
    let hit = |found: &&String| wanted.iter().any(|wanted| alike(wanted, found));
    let (count, hits) = (found.len(), found.iter().filter(hit).count());
    match (bare.contains("Not"), all, any) {
        (false, true, _) => hits == count,
        (false, false, _) => hits > 0,
        (true, _, true) => hits < count,
        (true, _, false) => hits == 0,
    }
}

fn is_arn_like(pattern: &str, text: &str) -> bool {
    let parts = |text: &str| -> Vec<String> {
        let mut parts: Vec<String> = text.split(':').map(str::to_owned).collect();
        if parts.len() > 6 {
            let rest = parts.split_off(5).join(":");
            parts.push(rest);
        }
        parts
    };
    let (pattern, text) = (parts(pattern), parts(text));
    if pattern == ["*"] {
        return true;
    }
    pattern.len() == 6 && text.len() == 6 && (0..6).all(|part| is_like(&pattern[part], &text[part]))
}

/// Tries every length for each star.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut letters = pattern.chars();
    match letters.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = letters.as_str();
            text.char_indices().any(|(at, _)| is_like(rest, &text[at..])) || is_like(rest, "")
        }
        Some(letter) => match text.chars().next() {
            Some(first) if letter == '?' || letter == first => {
                is_like(letters.as_str(), &text[first.len_utf8()..])
            }
            _ => false,
        },
    }
}
