//! The NAT standards, requirement by requirement: a test for each that the engine alone can show,
//! with the requirement's name above it. A test here fails when the behaviour is taken out.
//!
//! Where a requirement is left out, the design deviates from it, or the packet path has no part in it.

mod icmp;
mod mtu;
mod network;
mod pooling;
#[path = "../support/mod.rs"]
mod support;
mod tcp;
mod timers;
mod udp;
