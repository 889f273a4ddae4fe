//! From what a topology declares to what stands in it: interfaces with their addresses, and the
//! hosts that may be attached.
//!
//! [`plan`] is a function of the topology alone: two loads of one file give the same addresses, the
//! same ids and the same names, which is what lets a restarted daemon meet hosts that never went
//! away. Nothing here does I/O, reads a clock or draws a random number.
#![forbid(unsafe_code)]

mod address_pool;
mod addresses;
mod error;
mod host;
mod hyperplane;
mod plan;

pub use error::PlanError;
pub use host::{ENVIRONMENT_ADDRESS, ENVIRONMENT_GATEWAY, HostPlan, INTERNET_MTU, VPC_MTU};
pub use plan::{Plan, plan};
