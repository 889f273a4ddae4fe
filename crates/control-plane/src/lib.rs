//! From what a topology declares to what stands in it: interfaces with their addresses, and the
//! hosts that may be attached.
//!
//! [`plan`] is a function of the topology alone: two loads of one file give the same addresses, the
//! same ids and the same names, which is what lets a restarted daemon meet hosts that never went
//! away. [`plan_after`] is the same for a network that runs: a function of the plan before and the
//! new topology, in which whatever stays keeps what it has; [`changes`](fn@changes) are the steps
//! from the one to the other. [`lifecycle`] is what happens between reloads: functions and their
//! ENIs come and go, by commands and as time passes. A file's functions are made in it by the plan,
//! with no delay; what the API has made lives on in it when another file is applied. [`environments`]
//! are where functions of the API run, one at a time. [`iam`] judges what callers and execution roles
//! may. Nothing here does I/O, reads a clock or draws a random number.
#![forbid(unsafe_code)]

mod address_pool;
mod addresses;
mod changes;
mod endpoints;
pub mod environments;
mod error;
mod host;
mod hyperplane;
pub mod iam;
pub mod lifecycle;
mod memory;
mod plan;
mod service_vpc;
mod turns;

pub use changes::changes;
pub use error::PlanError;
pub use host::{
    ENVIRONMENT_ADDRESS, ENVIRONMENT_GATEWAY, HostPlan, INTERNET_MTU, Names, SERVICE_MTU, VPC_MTU,
};
pub use plan::{Plan, plan, plan_after};
