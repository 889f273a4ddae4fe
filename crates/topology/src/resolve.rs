//! From declarations to a consistent [`Topology`](crate::Topology), or all that is wrong with them.

use crate::spec::Span;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
