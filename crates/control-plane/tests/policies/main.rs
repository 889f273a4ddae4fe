//! What policies say of requests: the cases that AWS documents, and random ones beside a second opinion.

#[path = "../common/mod.rs"]
mod common;
mod naive;
mod random;
mod table;
