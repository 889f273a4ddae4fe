//! Changes to a text that keep most of it meaning something: words for words, lines to other
//! places, numbers to their edges.

use std::sync::LazyLock;

/// What libFuzzer is given as well: keys, kinds of values, and values at an edge.
const DICTIONARY: &str = include_str!("../../topology.dict");

static WORDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let quoted = DICTIONARY.lines().filter(|line| !line.starts_with('#'));
    let words = quoted.filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    words.map(|word| word.replace("\\x0a", "\n").replace("\\\"", "\"")).collect()
});

/// Where numbers change their meaning.
const EDGES: [&str; 18] = [
    "0",
    "1",
    "2",
    "3",
    "8",
    "16",
    "24",
    "28",
    "29",
    "32",
    "33",
    "255",
    "256",
    "1023",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
];

/// Changes `text` a little, as `seed` decides. The outcome is not longer than `longest` bytes.
#[must_use]
pub fn mutate(text: &str, seed: u32, longest: usize) -> String {
    let mut dice = Dice(u64::from(seed));
    let mut text = text.to_owned();
    for _ in 0..=dice.below(3) {
        let changed = change(&text, &mut dice);
        if changed.len() <= longest {
            text = changed;
        }
    }
    text
}

fn change(text: &str, dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => with_word(text, dice, edge),
        1 => with_word(text, dice, |_, dice| WORDS[dice.below(WORDS.len())].clone()),
        2 => {
            // A name for another name.
            let other = words(text);
            let other: Vec<_> = other.iter().map(|(at, length)| &text[*at..at + length]).collect();
            with_word(text, dice, |_, dice| match other.as_slice() {
                [] => String::new(),
                some => some[dice.below(some.len())].to_owned(),
            })
        }
        3 => {
            with_word(text, dice, |word, dice| format!("{word}{}", WORDS[dice.below(WORDS.len())]))
        }
        4 => with_lines(text, dice, |lines, dice| {
            lines.remove(dice.below(lines.len()));
        }),
        5 => with_lines(text, dice, |lines, dice| {
            let line = lines[dice.below(lines.len())];
            lines.insert(dice.below(lines.len() + 1), line);
        }),
        6 => with_lines(text, dice, |lines, dice| {
            let (one, other) = (dice.below(lines.len()), dice.below(lines.len()));
            lines.swap(one, other);
        }),
        _ => braces(text, dice),
    }
}

/// Copies one thing in braces or brackets to the place of another, or behind it.
fn braces(text: &str, dice: &mut Dice) -> String {
    let groups = groups(text);
    if groups.is_empty() {
        return text.to_owned();
    }
    let (from, to) = (&groups[dice.below(groups.len())], &groups[dice.below(groups.len())]);
    let copy = &text[from.clone()];
    match dice.below(2) {
        0 => format!("{}{copy}{}", &text[..to.start], &text[to.end..]),
        _ => format!("{}, {copy}{}", &text[..to.end], &text[to.end..]),
    }
}

/// What stands between matching braces or brackets, these included.
fn groups(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut open = Vec::new();
    let mut groups = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' | b'[' => open.push(at),
            b'}' | b']' => groups.extend(open.pop().map(|start| start..at + 1)),
            _ => {}
        }
    }
    groups
}

/// Where the words are: each as its place and its length.
fn words(text: &str) -> Vec<(usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '.' | '/' | '_' | '-');
    let mut words: Vec<(usize, usize)> = Vec::new();
    for (at, c) in text.char_indices().filter(|(_, c)| is_word(*c)) {
        match words.last_mut() {
            Some((start, length)) if *start + *length == at => *length += c.len_utf8(),
            _ => words.push((at, c.len_utf8())),
        }
    }
    words
}

fn with_word(
    text: &str,
    dice: &mut Dice,
    replacement: impl FnOnce(&str, &mut Dice) -> String,
) -> String {
    let words = words(text);
    if words.is_empty() {
        return format!("{text}{}", replacement("", dice));
    }
    let (at, length) = words[dice.below(words.len())];
    let word = replacement(&text[at..at + length], dice);
    format!("{}{word}{}", &text[..at], &text[at + length..])
}

fn with_lines(
    text: &str,
    dice: &mut Dice,
    change: impl FnOnce(&mut Vec<&str>, &mut Dice),
) -> String {
    let mut lines: Vec<_> = text.split_inclusive('\n').collect();
    if lines.is_empty() {
        lines.push("\n");
    }
    change(&mut lines, dice);
    lines.concat()
}

/// The word with one of its numbers at an edge.
fn edge(word: &str, dice: &mut Dice) -> String {
    let number = |c: char| c.is_ascii_digit();
    let starts: Vec<usize> = word
        .char_indices()
        .filter(|(at, c)| number(*c) && !word[..*at].ends_with(number))
        .map(|(at, _)| at)
        .collect();
    let value = EDGES[dice.below(EDGES.len())];
    if starts.is_empty() {
        return value.to_owned();
    }
    let start = starts[dice.below(starts.len())];
    let rest = word[start..].trim_start_matches(number);
    format!("{}{value}{rest}", &word[..start])
}

/// Numbers from a seed (splitmix64): the same change for the same seed, as a fuzzer needs it.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "vpcs:\n  main: { cidr_blocks: [10.0.0.0/16] }\nfunctions: {}\n";

    #[test]
    fn a_seed_decides_and_different_ones_differ() {
        let all: std::collections::HashSet<_> =
            (0..200).map(|seed| mutate(TEXT, seed, 4096)).collect();
        assert!(all.len() > 120, "{}", all.len());
        for seed in 0..200 {
            assert_eq!(mutate(TEXT, seed, 4096), mutate(TEXT, seed, 4096));
            assert!(mutate(TEXT, seed, TEXT.len()).len() <= TEXT.len());
        }
    }

    #[test]
    fn any_text_can_be_changed() {
        for text in ["", "\n", "é", "{", "}]", "[é]{}"] {
            for seed in 0..200 {
                let _ = mutate(text, seed, 100);
            }
        }
    }

    #[test]
    fn the_dictionary_is_read() {
        assert!(WORDS.len() > 100);
        assert!(WORDS.iter().any(|word| word == "cidr_blocks"));
        assert!(WORDS.iter().all(|word| !word.contains('\\')), "{WORDS:?}");
    }
}
