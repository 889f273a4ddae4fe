//! The VPC model: what a topology declares, checked and resolved.
//!
//! Three views of the same network live here, in the order in which they come to be:
//!
//! 1. [`spec`]: a topology as somebody wrote it. Names are unresolved, and every value remembers
//!    its place in the source ([`Span`]).
//! 2. [`model`]: the same after [`resolve`](fn@resolve): references are typed [`Handle`]s, defaults are filled
//!    in, and nothing in it can be inconsistent.
//! 3. [`inventory`]: what comes and goes while the network runs: interfaces and attachments.
//!
//! [`iam`] has the policies of execution roles and of those who call the API.
//! [`Reason`] is the vocabulary that verdicts, explanations and expectations share; [`diff`] tells
//! people what changes when one topology takes the place of another.
//!
//! Nothing here does I/O or reads a clock.
#![forbid(unsafe_code)]

pub mod arena;
pub mod diff;
mod endpoint;
pub mod flow;
pub mod iam;
pub mod id;
pub mod inventory;
pub mod model;
pub mod path;
pub mod reason;
pub mod resolve;
pub mod spec;
pub mod suggest;

pub use arena::{Arena, Handle};
pub use id::{ResourceId, derived_uuid};
pub use model::Topology;
pub use reason::Reason;
pub use resolve::{Problem, Report, Resolved, Severity, resolve};
pub use spec::{Span, Spanned};
