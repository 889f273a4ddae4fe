//! A source text and the lines in it.

use viaduct_topology::Span;

/// A text under the name by which messages call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    /// Where each line starts.
    lines: Vec<usize>,
}

/// A line and a column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Source {
    /// A text under a name, usually a file's path.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(after_breaks.map(|(at, _)| at + 1)).collect();
        Self { name: name.into(), text, lines }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is written at a span.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        let (start, end) = self.range(span);
        &self.text[start..end]
    }

    /// The places of the span's two ends.
    #[must_use]
    pub fn places(&self, span: Span) -> (Place, Place) {
        let (start, end) = self.range(span);
        (self.place(start), self.place(end))
    }

    /// The span as offsets that are in the text and between characters, whoever made it.
    fn range(&self, span: Span) -> (usize, usize) {
        let start = self.text.floor_char_boundary(span.start as usize);
        let end = self.text.floor_char_boundary(span.end as usize);
        (start, end.max(start))
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.line_at(offset);
        let column = self.text[self.lines[line]..offset].chars().count() + 1;
        Place { line: line + 1, column }
    }

    /// The index of the line that an offset is on.
    fn line_at(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset) - 1
    }

    /// The whole lines around a span: their text, the first one's number, and the span within.
    pub(crate) fn excerpt(&self, span: Span) -> (&str, usize, std::ops::Range<usize>) {
        let (start, end) = self.range(span);
        let first = self.line_at(start);
        let last = self.line_at(end);
        let from = self.lines[first];
        let to = self.lines.get(last + 1).copied().unwrap_or(self.text.len());
        (&self.text[from..to], first + 1, start - from..end - from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let source = Source::new("x", "a: é\r\nbé: c\n");
        let c = source.text().find("c\n").unwrap();
        let span = Span { start: u32::try_from(c).unwrap(), end: u32::try_from(c + 1).unwrap() };
        assert_eq!(
            source.places(span),
            (Place { line: 2, column: 5 }, Place { line: 2, column: 6 })
        );
        assert_eq!(source.slice(span), "c");
    }

    #[test]
    fn spans_of_another_text_do_no_harm() {
        let source = Source::new("x", "é");
        let span = Span { start: 1, end: 99 };
        assert_eq!(source.slice(span), "é");
        assert_eq!(Source::new("", "").slice(span), "");
    }
}
