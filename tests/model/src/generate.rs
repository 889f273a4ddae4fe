//! Random networks and flows, the same for the same seed.
//!
//! Chance alone finds little: most random flows are refused by the first rule they meet. So
//! everything is drawn from small pools that overlap, and biased to near misses: ports beside a
//! rule's edge, addresses beside a block's, rules that contradict each other.

mod dice;
mod flow;
mod routes;
mod rules;
mod shape;
mod topology;

pub use dice::Dice;
pub use flow::{Flow, flow};
pub use topology::{changed_topology, topology};
