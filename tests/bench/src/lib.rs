//! What the two programs of the benchmark share.
//!
//! `bench` makes *beds*: two network namespaces with something between them that forwards. In each
//! namespace runs a `load`, which makes the traffic and counts it. `bench` tells them what to do
//! over their standard input and hears from them over their standard output, a JSON object a line,
//! so that nothing but the measured traffic crosses the bed:
//!
//! ```text
//!   bench ── Order::Serve ──► load in the server's namespace     listens
//!         ◄─ Answer::Ready ──
//!         ── Order::Go ─────► (the same)                         counts within the window
//!         ── Order::Drive ──► load in the client's namespace     connects, sends, counts
//!         ◄─ Answer::Report ─ (both)
//! ```
//!
//! A [`Window`] is two moments of the machine's monotonic clock, which all namespaces share: both
//! sides look at their counters at the same two moments, with the traffic flowing before and after.
#![forbid(unsafe_code)]

pub mod machine;
pub mod order;
pub mod window;

pub use order::{Answer, Count, Direction, Latency, Order, Report, Spread, Work};
pub use window::Window;
