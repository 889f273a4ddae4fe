//! "Did you mean …?": the known word that is nearest to an unknown one.

/// Longer words are not compared: the cost grows with the product of the lengths.
const LONGEST: usize = 64;

/// The known word that somebody who wrote `unknown` probably meant.
///
/// A slip of the keyboard or two counts (a third of the letters, at least one), a different word
/// does not: a wrong suggestion is worse than none.
pub fn suggest<'k>(unknown: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if unknown.len() > LONGEST {
        return None;
    }
    let unknown = unknown.to_lowercase();
    let tolerance = (unknown.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter(|word| word.len() <= LONGEST)
        .filter_map(|word| Some((distance(&unknown, &word.to_lowercase(), tolerance)?, word)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Edits between the words, if there are few enough; one being the other's beginning or end counts
/// as a single edit, so that `cidr` finds `cidr_block`.
fn distance(unknown: &str, word: &str, tolerance: usize) -> Option<usize> {
    let part = unknown.len() >= 3 && (word.starts_with(unknown) || word.ends_with(unknown));
    let whole = word.len() >= 3 && (unknown.starts_with(word) || unknown.ends_with(word));
    if part || whole {
        return Some(usize::from(unknown != word));
    }
    // Every letter too many is an edit, and counting letters is cheap. (A letter has at most 4 bytes.)
    if unknown.len().abs_diff(word.len()) > 4 * tolerance {
        return None;
    }
    let edits = strsim::osa_distance(unknown, word);
    (edits <= tolerance).then_some(edits)
}

#[cfg(test)]
mod tests {
    use super::suggest;

    const KEYS: [&str; 4] = ["cidr_block", "subnet", "security_groups", "private_ip"];

    #[test]
    fn slips_are_understood() {
        assert_eq!(suggest("subent", KEYS), Some("subnet"));
        assert_eq!(suggest("cidr", KEYS), Some("cidr_block"));
        assert_eq!(suggest("security_group", KEYS), Some("security_groups"));
        assert_eq!(suggest("SecurityGroups", KEYS), Some("security_groups"));
        assert_eq!(suggest("groups", KEYS), Some("security_groups"));
        assert_eq!(suggest("privateip", KEYS), Some("private_ip"));
    }

    #[test]
    fn different_words_are_left_alone() {
        assert_eq!(suggest("colour", KEYS), None);
        assert_eq!(suggest("x", KEYS), None);
        assert_eq!(suggest("", KEYS), None);
        assert_eq!(suggest(&"subnet".repeat(100), KEYS), None);
    }
}
