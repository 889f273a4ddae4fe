//! The crate from outside, held against etherparse.

mod answers;
mod arbitrary_bytes;
mod forged_headers;
mod icmp_errors;
mod mss;
mod support;
mod translation;
