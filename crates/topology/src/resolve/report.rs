//! Problems, and the sink that gathers them.

use crate::spec::{Field, Span, Spanned};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The topology is refused.
    Error,
    /// It loads, and probably does not mean what its author thinks.
    Warning,
}

/// Something wrong with a topology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// Says what to do about it.
    pub fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }
}

/// Everything wrong with a topology, in the order in which it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    problems: Vec<Problem>,
    errors: usize,
}

impl Report {
    /// Reports something for which the topology is refused.
    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.errors += 1;
        self.add(Severity::Error, span, message.into())
    }

    /// Reports something that its author should look at again.
    pub fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Problem {
        self.add(Severity::Warning, span, message.into())
    }

    fn add(&mut self, severity: Severity, span: Span, message: String) -> &mut Problem {
        self.problems.push(Problem { severity, span, message, help: None });
        self.problems.last_mut().expect("it was pushed just now")
    }

    /// Whether the topology is refused.
    #[must_use]
    pub const fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The problems in the order of their places.
    #[must_use]
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| (problem.span, problem.severity));
        self.problems
    }

    /// The value of a required field of `owner`, which stands at a place.
    pub(super) fn require<'f, T>(
        &mut self,
        field: &'f Field<T>,
        key: &str,
        owner: &str,
        place: Span,
    ) -> Option<&'f Spanned<T>> {
        match field {
            Field::Given(value) => return Some(value),
            Field::Missing => {
                self.error(place, format!("{owner} has no `{key}`"));
            }
            // Whoever could not read it has said so; if not, it must not pass for read.
            Field::Unreadable if !self.has_errors() => {
                self.error(place, format!("the `{key}` of {owner} cannot be read"));
            }
            Field::Unreadable => {}
        }
        None
    }
}
