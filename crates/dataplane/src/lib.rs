//! The forwarding engine: a packet and the place where it came in go in, a verdict comes out.
//!
//! The engine does no I/O and reads no clock: frames, time and randomness are arguments, so the
//! same code runs under plain tests, under the fuzzer, in a simulation and in the daemon.
#![forbid(unsafe_code)]

pub mod inventory;
pub mod moment;
pub mod policy;
pub mod port_table;
pub mod recorder;
mod sync;
pub mod walk;
pub mod connection;
mod index;
mod slab;
pub mod tcp;
mod timer_wheel;
