//! YAML as a tree of nodes that know their places.
//!
//! Everything that would make a place ambiguous or the tree larger than its text is refused: anchors
//! and aliases, tags, several documents, keys that are not words. Depth and length are bounded. The
//! tree is built with a stack of its own, so that depth costs no call frames.

use std::{borrow::Cow, collections::HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use viaduct_topology::{Report, Span};

/// A topology is 8 deep.
const DEEPEST: usize = 32;

/// So many keys of a mapping are looked through, one by one; more are looked up.
const FEW_KEYS: usize = 8;

/// A node of the tree.
#[derive(Debug)]
pub(crate) struct Node {
    /// Where it is written; never more than one line.
    pub(crate) span: Span,
    /// What is written there.
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A word, a number, a text: decided by whoever reads it.
    Scalar(String),
    /// A list.
    Sequence(Vec<Node>),
    /// Keys, all different, and their values.
    Mapping(Vec<(Key, Node)>),
    /// Something that was refused and has been reported.
    Refused,
}

impl Value {
    /// What it is called in a message.
    pub(crate) fn noun(&self) -> Cow<'static, str> {
        match self {
            Self::Null => "nothing".into(),
            Self::Scalar(text) => format!("`{text}`").into(),
            Self::Sequence(_) => "a list".into(),
            Self::Mapping(_) => "a mapping".into(),
            Self::Refused => "something unreadable".into(),
        }
    }
}

/// The key of a mapping's entry.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// Reads the text. `None` if its syntax is wrong, which is reported.
pub(crate) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    let mut builder = Builder { places: Places::new(text), report, stack: Vec::new(), root: None };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, mark) = match event {
            Ok(event) => event,
            Err(error) => {
                builder.syntax_error(&error);
                return None;
            }
        };
        let span = builder.places.span(mark);
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                let place = builder.places.first_line(span);
                builder
                    .report
                    .error(place, "a second document starts here")
                    .help("a file is one topology; put the other into a file of its own");
                return None;
            }
        }
        if builder.stack.len() > DEEPEST {
            let place = builder.places.first_line(span);
            builder
                .report
                .error(place, format!("nested deeper than {DEEPEST} levels"))
                .help("a topology is 8 deep at most");
            return None;
        }
        builder.event(event, span);
    }
    Some(builder.root.unwrap_or(Node { span: Span::default(), value: Value::Null }))
}

/// A collection that is not complete yet.
enum Open {
    Sequence {
        span: Span,
        items: Vec<Node>,
    },
    /// `keys` has all keys with their positions as soon as there are more than a few.
    Mapping {
        span: Span,
        entries: Vec<(Key, Node)>,
        keys: HashMap<String, usize>,
        key: Pending,
    },
}

/// Where a mapping is between its keys and values.
enum Pending {
    /// The next node is a key.
    Key,
    /// The next node is the value of this key, or of one that was refused.
    Value(Option<Key>),
}

struct Builder<'t, 'r> {
    places: Places<'t>,
    report: &'r mut Report,
    stack: Vec<Open>,
    root: Option<Node>,
}

impl Builder<'_, '_> {
    fn event(&mut self, event: Event<'_>, span: Span) {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let value = if self.decorated(anchor, tag.is_some(), span) {
                    Value::Refused
                } else if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Value::Null
                } else {
                    Value::Scalar(text.into_owned())
                };
                self.complete(Node { span: self.places.first_line(span), value });
            }
            Event::Alias(_) => {
                self.anchors(span);
                self.complete(Node { span, value: Value::Refused });
            }
            Event::SequenceStart(anchor, tag) => {
                self.decorated(anchor, tag.is_some(), span);
                self.stack.push(Open::Sequence { span, items: Vec::new() });
            }
            Event::MappingStart(anchor, tag) => {
                self.decorated(anchor, tag.is_some(), span);
                let keys = HashMap::new();
                self.stack.push(Open::Mapping {
                    span,
                    entries: Vec::new(),
                    keys,
                    key: Pending::Key,
                });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
    }

    /// Refuses anchors and tags; true if there was one.
    fn decorated(&mut self, anchor: usize, tagged: bool, span: Span) -> bool {
        let place = self.places.first_line(span);
        if anchor != 0 {
            self.anchors(place);
        } else if tagged {
            self.report.error(place, "tags are not supported").help(
                "remove the word that begins with `!`; every key knows the type of its value",
            );
        }
        anchor != 0 || tagged
    }

    fn anchors(&mut self, span: Span) {
        self.report
            .error(span, "anchors and aliases are not supported")
            .help("write the value out in every place, so that messages can name the place");
    }

    fn close(&mut self, end: Span) {
        let Some(open) = self.stack.pop() else { return };
        let (start, last, value) = match open {
            Open::Sequence { span, items } => {
                (span, items.last().map(|item| item.span), Value::Sequence(items))
            }
            Open::Mapping { span, entries, .. } => {
                (span, entries.last().map(|(_, value)| value.span), Value::Mapping(entries))
            }
        };
        // The end event stands at the bracket in flow style, and at the next token, which is on
        // another line, in block style.
        let flow = start.end > start.start;
        let end = if flow {
            self.places.behind(end.start)
        } else {
            last.map_or(start.end, |last| last.end)
        };
        let span = Span { start: start.start, end: end.max(start.end) };
        self.complete(Node { span: self.places.first_line(span), value });
    }

    /// Puts a complete node where it belongs.
    fn complete(&mut self, mut node: Node) {
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::Sequence { items, .. }) => items.push(node),
            Some(Open::Mapping { entries, keys, key, .. }) => {
                match std::mem::replace(key, Pending::Key) {
                    Pending::Key => *key = Pending::Value(read_key(node, self.report)),
                    Pending::Value(None) => {}
                    Pending::Value(Some(key)) => {
                        let first = position(entries, keys, &key.text);
                        if let Some(first) = first {
                            let first = entries[first].0.span;
                            let line = self.places.line(first);
                            self.report
                                .error(key.span, format!("the key `{}` is there twice", key.text))
                                .help(format!("the first is in line {line}; remove one"));
                        } else {
                            if matches!(node.value, Value::Null) {
                                // What is missing is missed where its key is.
                                node.span = key.span;
                            }
                            if !keys.is_empty() {
                                keys.insert(key.text.clone(), entries.len());
                            }
                            entries.push((key, node));
                        }
                    }
                }
            }
        }
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let at = self.places.offset(error.marker().index());
        let span = Span { start: at, end: at };
        let problem = self.report.error(span, format!("YAML syntax: {}", error.info()));
        let line = &self.places.text[self.places.line_start(at)..];
        if line.trim_start_matches(' ').starts_with('\t') {
            problem.help("YAML is indented with spaces, not with tabs");
        }
    }
}

/// Where a mapping has a key.
fn position(
    entries: &[(Key, Node)],
    keys: &mut HashMap<String, usize>,
    key: &str,
) -> Option<usize> {
    if entries.len() <= FEW_KEYS {
        return entries.iter().position(|(known, _)| known.text == key);
    }
    if keys.is_empty() {
        keys.extend(entries.iter().map(|(key, _)| key.text.clone()).zip(0..));
    }
    keys.get(key).copied()
}

/// The key that a node is.
fn read_key(node: Node, report: &mut Report) -> Option<Key> {
    match node.value {
        Value::Scalar(text) => Some(Key { text, span: node.span }),
        Value::Refused => None,
        other => {
            report
                .error(node.span, format!("{} cannot be a key", other.noun()))
                .help("a key is a word, such as `subnets`; quote it if it is `null` or `~`");
            None
        }
    }
}

/// Turns the parser's places, which count characters, into byte offsets.
struct Places<'t> {
    text: &'t str,
    /// The byte offset of each character; empty if every character is a byte.
    offsets: Vec<u32>,
}

impl<'t> Places<'t> {
    fn new(text: &'t str) -> Self {
        let offsets = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| to_u32(at)).collect()
        };
        Self { text, offsets }
    }

    fn offset(&self, character: usize) -> u32 {
        let end = to_u32(self.text.len());
        if self.offsets.is_empty() {
            to_u32(character).min(end)
        } else {
            self.offsets.get(character).copied().unwrap_or(end)
        }
    }

    fn span(&self, mark: saphyr_parser::Span) -> Span {
        let start = self.offset(mark.start.index());
        Span { start, end: self.offset(mark.end.index()).max(start) }
    }

    /// The place behind the character at a place. A list may be closed by the end of the text.
    fn behind(&self, at: u32) -> u32 {
        at + self.text[at as usize..].chars().next().map_or(0, |next| to_u32(next.len_utf8()))
    }

    /// The part of a span that is on its first line, without spaces at its end.
    fn first_line(&self, span: Span) -> Span {
        let text = &self.text[span.start as usize..span.end as usize];
        let line = text.split(['\r', '\n']).next().unwrap_or_default().trim_end();
        Span { start: span.start, end: span.start + to_u32(line.len()) }
    }

    fn line_start(&self, at: u32) -> usize {
        self.text[..at as usize].rfind('\n').map_or(0, |at| at + 1)
    }

    /// The number of a span's line, from 1.
    fn line(&self, span: Span) -> usize {
        self.text[..span.start as usize].bytes().filter(|byte| *byte == b'\n').count() + 1
    }
}

/// Texts are shorter than 4 GiB: [`load`](crate::load) refuses longer ones.
fn to_u32(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<(String, String)> {
        let mut report = Report::default();
        parse(text, &mut report);
        report
            .into_problems()
            .into_iter()
            .map(|problem| {
                let span = problem.span.start as usize..problem.span.end as usize;
                (text[span].to_owned(), problem.message)
            })
            .collect()
    }

    #[test]
    fn a_list_that_the_end_of_the_text_closes_ends_there() {
        // Found by `arbitrary_yaml_is_survived`.
        assert!(!problems("[? ---\n").is_empty());
        assert!(!problems("[? ---é").is_empty());
    }

    #[test]
    fn what_would_blur_places_is_refused() {
        let one = |place: &str, message: &str| vec![(place.to_owned(), message.to_owned())];
        assert_eq!(problems("a: &x 1"), one("&x 1", "anchors and aliases are not supported"));
        assert_eq!(problems("a: !!str 1"), one("!!str 1", "tags are not supported"));
        assert_eq!(problems("? [a]\n: b"), one("[a]", "a list cannot be a key"));
        let second = "a second document starts here";
        assert_eq!(problems("a: 1\n---\nb: 1"), one("---", second));
        assert_eq!(problems("a: 1\n...\nb\nc"), one("b", second), "the first line of it");
        assert_eq!(problems("é: 1\né: 2"), one("é", "the key `é` is there twice"));
        let deep = "[".repeat(40);
        assert_eq!(problems(&deep), one("[", "nested deeper than 32 levels"));
    }

    #[test]
    fn an_alias_cannot_multiply_the_tree() {
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
        let problems = problems(bomb);
        assert_eq!(problems.len(), 6);
        assert!(problems.iter().all(|(_, text)| text == "anchors and aliases are not supported"));
    }

    #[test]
    fn a_place_is_never_more_than_a_line() {
        let text = "é:\r\n  - a: 1  # x\r\n    b: 2\r\nz: {\n  c: 3\n}\n";
        let root = parse(text, &mut Report::default()).unwrap();
        let Value::Mapping(entries) = &root.value else { panic!("{root:?}") };
        let place = |node: &Node| &text[node.span.start as usize..node.span.end as usize];
        assert_eq!(place(&root), "é:");
        assert_eq!(place(&entries[0].1), "- a: 1  # x");
        assert_eq!(place(&entries[1].1), "{");
    }

    #[test]
    fn syntax_errors_have_a_place() {
        assert_eq!(
            problems("a: b: c"),
            [(String::new(), "YAML syntax: mapping values are not allowed in this context".into())]
        );
    }
}
