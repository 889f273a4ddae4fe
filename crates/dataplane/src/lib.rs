//! The forwarding engine: a packet and the place where it came in go in, a verdict comes out.
//!
//! The engine does no I/O and reads no clock: frames, time and randomness are arguments, so the
//! same code runs under plain tests, under the fuzzer, in a simulation and in the daemon.
#![forbid(unsafe_code)]

mod account;
pub mod connection;
mod consistency;
mod counters;
mod direction;
mod engine;
pub mod explain;
mod index;
pub mod inventory;
mod memo;
pub mod moment;
pub mod policy;
pub mod port_table;
mod ports;
mod rate;
mod reassembly;
pub mod recorder;
mod scratch;
mod slab;
mod sync;
pub mod tcp;
mod timer_wheel;
mod verdict;
pub mod walk;

pub use consistency::Inconsistency;
pub use counters::Counters;
pub use engine::{ConnectionInfo, Engine, EngineConfig, EniInfo, EniLoad, Usage};
pub use memo::{Memo, NotResumed, Translator};
pub use moment::Moment;
pub use reassembly::{FragmentLimits, FragmentUsage};
pub use scratch::Scratch;
pub use verdict::{Dropped, Verdict};
