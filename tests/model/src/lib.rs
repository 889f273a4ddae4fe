//! A second opinion: what becomes of a packet in a VPC, worked out by a model that shares nothing
//! with the engine but the loaded topology and the planned inventory.
//!
//! [`model`] is naive on purpose. It is written from the numbered facts about AWS and from the
//! decisions in the documentation, scans lists, caches nothing, and knows no tables, indices or
//! generations. [`generate`] makes networks and flows that are likely to tell two opinions apart.
//! The test `agree` asks engine, explanation and model about each flow: whoever changes one of them
//! has to convince the other two.
#![forbid(unsafe_code)]

pub mod generate;
pub mod model;
mod packet;

pub use packet::{ICMP, Oddity, Packet, Segment, TCP, UDP};
