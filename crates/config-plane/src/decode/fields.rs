//! Mappings and lists: known keys, and what is done about unknown ones.

use viaduct_topology::{Report, Span, Spanned, spec::Field, suggest::suggest};

use super::keys::Object;
use crate::tree::{Key, Node, Value};

/// What a mapping has under a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entry<'n> {
    /// The key is not there.
    Absent,
    /// Its value.
    Present(&'n Node),
    /// What should be the mapping is something else, which has been reported.
    Unreadable,
}

/// A name and where it was given.
pub(super) type Name = Spanned<String>;

/// Keys that will mean something, and what is said until then.
const NOT_YET: [(&str, &str); 3] = [
    ("egress_only_internet_gateway", "IPv6 is not forwarded yet"),
    ("ipv6_cidr_blocks", "IPv6 is not forwarded yet"),
    ("ipv6_cidr_block", "IPv6 is not forwarded yet"),
];

/// Takes a mapping apart into the values of an object's keys, in their order.
///
/// Other keys are reported. One that is a slip of a known key is read as that key, so that what is
/// under it is checked too and can be referred to.
pub(super) fn fields<'n, const N: usize>(
    report: &mut Report,
    node: &'n Node,
    object: &Object<N>,
) -> [Entry<'n>; N] {
    fields_or(report, node, object, &[])
}

/// Like [`fields`], with words that are always taken for one of the keys: (wrong, right).
pub(super) fn fields_or<'n, const N: usize>(
    report: &mut Report,
    node: &'n Node,
    object: &Object<N>,
    synonyms: &[(&str, &str)],
) -> [Entry<'n>; N] {
    let Object { owner, keys: known } = object;
    let mut values = [Entry::Absent; N];
    let entries = match &node.value {
        Value::Mapping(entries) => entries,
        // `default:` with nothing after it is an object with nothing in it.
        Value::Null => return values,
        Value::Refused => return [Entry::Unreadable; N],
        other => {
            report
                .error(node.span, format!("expected a mapping, found {}", other.noun()))
                .help(format!("{owner} has the keys {}", quoted(known)));
            return [Entry::Unreadable; N];
        }
    };
    let index = |word: &str| known.iter().position(|key| *key == word);
    for (key, value) in entries {
        if let Some(index) = index(&key.text) {
            values[index] = Entry::Present(value);
        }
    }
    for (key, value) in entries {
        if index(&key.text).is_some() {
            continue;
        }
        if let Some((_, not_yet)) = NOT_YET.iter().find(|(word, _)| *word == key.text) {
            report.error(key.span, format!("unknown key `{}`", key.text)).help(*not_yet);
            continue;
        }
        let synonym = synonyms.iter().find(|(wrong, _)| *wrong == key.text);
        let meant =
            synonym.map(|(_, right)| *right).or_else(|| suggest(&key.text, known.iter().copied()));
        let keys = format!("{owner} has the keys {}", quoted(known));
        report.error(key.span, format!("unknown key `{}`", key.text)).help(match meant {
            Some(meant) => format!("did you mean `{meant}`? {keys}"),
            None => keys,
        });
        if let Some(slot) = meant.and_then(index).map(|index| &mut values[index])
            && matches!(slot, Entry::Absent)
        {
            *slot = Entry::Present(value);
        }
    }
    values
}

/// The value of a key that must be there.
pub(super) fn required<T>(
    report: &mut Report,
    entry: Entry<'_>,
    read: impl FnOnce(&mut Report, &Node) -> Option<T>,
) -> Field<T> {
    match entry {
        Entry::Absent => Field::Missing,
        Entry::Unreadable => Field::Unreadable,
        Entry::Present(node) => match read(report, node) {
            Some(value) => Field::Given(Spanned::new(value, node.span)),
            None => Field::Unreadable,
        },
    }
}

/// The value of a key that may be there.
pub(super) fn optional<T>(
    report: &mut Report,
    entry: Entry<'_>,
    read: impl FnOnce(&mut Report, &Node) -> Option<T>,
) -> Option<Spanned<T>> {
    let Entry::Present(node) = entry else { return None };
    read(report, node).map(|value| Spanned::new(value, node.span))
}

/// Things keyed by their names. `nouns` is what they are, such as `subnets`.
pub(super) fn named<T>(
    report: &mut Report,
    entry: Entry<'_>,
    nouns: &str,
    mut read: impl FnMut(&mut Report, Name, &Node) -> T,
) -> Vec<T> {
    let Entry::Present(node) = entry else { return Vec::new() };
    mapping(report, node, nouns)
        .iter()
        .map(|(key, value)| read(report, Spanned::new(key.text.clone(), key.span), value))
        .collect()
}

/// The entries of a mapping whose keys are not fixed.
pub(super) fn mapping<'n>(report: &mut Report, node: &'n Node, nouns: &str) -> &'n [(Key, Node)] {
    match &node.value {
        Value::Mapping(entries) => entries,
        Value::Null | Value::Refused => &[],
        other => {
            report
                .error(node.span, format!("expected a mapping, found {}", other.noun()))
                .help(format!("{nouns} are keyed by their names: `NAME: {{ … }}`"));
            &[]
        }
    }
}

/// The things of a list. `None` if there is no list at all; what cannot be read is left out.
pub(super) fn items<T>(
    report: &mut Report,
    entry: Entry<'_>,
    nouns: &str,
    mut read: impl FnMut(&mut Report, &Node) -> Option<T>,
) -> Option<Vec<T>> {
    let Entry::Present(node) = entry else { return None };
    match &node.value {
        Value::Sequence(items) => {
            Some(items.iter().filter_map(|item| read(report, item)).collect())
        }
        Value::Null => Some(Vec::new()),
        Value::Refused => None,
        other => {
            report
                .error(node.span, format!("expected a list of {nouns}, found {}", other.noun()))
                .help(format!(
                    "{nouns} are written as a list: `[…]`, or `- …` on lines of their own"
                ));
            None
        }
    }
}

/// Reads the single thing under a key that must be there, or reports that it is not.
pub(super) fn present<'n>(
    report: &mut Report,
    entry: Entry<'n>,
    key: &str,
    owner: &str,
    place: Span,
) -> Option<&'n Node> {
    match entry {
        Entry::Present(node) => Some(node),
        Entry::Unreadable => None,
        Entry::Absent => {
            report.error(place, format!("{owner} has no `{key}`"));
            None
        }
    }
}

/// The words in backticks, for messages.
pub(super) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}
