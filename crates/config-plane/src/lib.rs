//! Loads topologies, and reports everything that is wrong with one, each mistake with its place.
//!
//! A file goes through three steps, none of which stops at the first mistake:
//!
//! 1. `tree`: YAML (of which JSON is a part) becomes a tree that knows where each node was written.
//!    Only a mistake in the syntax itself ends here, because nothing after it can be trusted.
//! 2. `decode`: the tree becomes a [`Spec`](viaduct_topology::spec::Spec). Unknown keys and values
//!    of the wrong kind are reported; what is meant by a misspelt key is read all the same, so that
//!    one slip does not make every reference to its content dangle.
//! 3. [`resolve`](fn@viaduct_topology::resolve): the specification becomes a
//!    [`Topology`](viaduct_topology::Topology).
//!
//! Serde is not used for reading: it stops at the first mistake.
#![forbid(unsafe_code)]

mod decode;
mod load;
mod problems;
mod schema;
mod source;
mod tree;

pub use load::{LONGEST_SOURCE, LoadError, Loaded, load, load_file, load_policy};
pub use problems::{Diagnostic, Problems};
pub use schema::SCHEMA;
pub use source::{Place, Source};
