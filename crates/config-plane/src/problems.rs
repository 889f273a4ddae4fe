//! What is wrong with a source: for people as compilers show it, for programs as data.

use std::{fmt, sync::Arc};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, normalize_untrusted_str};
use serde::Serialize;
use viaduct_topology::{Problem, Severity, Span};

use crate::source::Source;

/// Problems of one source, in the order of lines.
///
/// `Display` shows them without colour; as an error, it is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    source: Arc<Source>,
    problems: Vec<Problem>,
}

/// A problem as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The source's name.
    pub file: String,
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The line where the text ends.
    pub end_line: usize,
    /// The column after the text's end.
    pub end_column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The text that is wrong.
    pub text: String,
}

impl Problems {
    pub(crate) fn new(source: Source, problems: Vec<Problem>) -> Self {
        Self { source: Arc::new(source), problems }
    }

    /// The source that they are about.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The problems.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many of a severity there are.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.iter().filter(|problem| problem.severity == severity).count()
    }

    /// How many there are, in words: `2 errors, 1 warning`.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |severity, noun: &str| match self.count(severity) {
            0 => None,
            1 => Some(format!("1 {noun}")),
            many => Some(format!("{many} {noun}s")),
        };
        let counts = [count(Severity::Error, "error"), count(Severity::Warning, "warning")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        if counts.is_empty() { "no problems".to_owned() } else { counts.join(", ") }
    }

    /// The problems as compilers show them: place, line, the text underlined, what to do.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for problem in &self.problems {
            out.push_str(&renderer.render(&[self.group(problem)]));
            out.push_str("\n\n");
        }
        out
    }

    fn group<'p>(&'p self, problem: &'p Problem) -> Group<'p> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let (lines, first, range) = self.source.excerpt(problem.span);
        let snippet = Snippet::source(lines)
            .line_start(first)
            .path(self.source.name())
            .annotation(AnnotationKind::Primary.span(range));
        let group = level.primary_title(problem.message.as_str()).element(snippet);
        match &problem.help {
            // Titles are cleaned of control characters by the renderer, messages are not, and this one
            // may quote the source.
            Some(help) => group.element(Level::HELP.message(normalize_untrusted_str(help))),
            None => group,
        }
    }

    /// The problems as data.
    pub fn diagnostics(&self) -> impl Iterator<Item = Diagnostic> {
        self.iter().map(|problem| {
            let (start, end) = self.source.places(problem.span);
            Diagnostic {
                file: self.source.name().to_owned(),
                severity: match problem.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                line: start.line,
                column: start.column,
                end_line: end.line,
                end_column: end.column,
                message: problem.message.clone(),
                help: problem.help.clone(),
                text: self.source.slice(problem.span).to_owned(),
            }
        })
    }

    /// Where in the source a span is, as `file:line:column`.
    #[must_use]
    pub fn locate(&self, span: Span) -> String {
        let (start, _) = self.source.places(span);
        format!("{}:{}:{}", self.source.name(), start.line, start.column)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Problems {}
