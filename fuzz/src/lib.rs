//! What is fuzzed, as plain functions: bytes in, a panic if something is not as it should be.
//!
//! The same functions run under libFuzzer (`scripts/fuzz`) and in ordinary tests, which replay the
//! corpora and every case that was found. Each function says what its bytes mean; none of them can be
//! wrong, they only mean more or less.
//!
//! | target | what it tries |
//! |---|---|
//! | [`packet`] | any bytes as a packet: parsing, rewriting, answering, sealing |
//! | [`engine`] | a history of hostile packets, replies, reloads, attachments that come and go, time |
//! | [`requests`] | any bytes as connections to the daemon's API |
//! | [`topology`] | any text as a topology: loading, planning, compiling |
#![forbid(unsafe_code)]

pub mod engine;
mod input;
mod oracle;
pub mod packet;
pub mod requests;
pub mod topology;

/// A target: tries one input, and panics when something is not as it should be.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 4] = [
    ("packet", packet::run),
    ("engine", engine::run),
    ("requests", requests::run),
    ("topology", topology::run),
];
