//! The crate from outside, held against etherparse.

mod answers;
mod arbitrary_bytes;
mod forged_headers;
mod fragments;
mod icmp_errors;
mod mss;
mod offload_product;
mod support;
mod translation;
