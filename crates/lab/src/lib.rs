//! A topology's hosts as network namespaces; expectations tried with real packets.
//!
//! A lab is a daemon, an agent and a network namespace for each host of a topology. Everything it
//! leaves on the host has a name that derives from its own, so it can be taken down by anyone who
//! knows that name, whatever became of whoever brought it up: see [`name`], [`layout`] and
//! [`process`]. Its agent also runs functions: see [`invoke`]. What answers Lambda's API at an interface
//! endpoint is here too: see [`lambda_endpoint`]. Who is not root has labs too: see [`rootless`].
#![forbid(unsafe_code)]

pub mod agent;
pub mod api;
pub mod attach;
pub mod down;
mod error;
pub mod exec;
pub mod invoke;
pub mod lambda_endpoint;
pub mod layout;
pub mod name;
pub mod process;
pub mod rootless;
pub mod trial;
pub mod up;

pub use agent::Agent;
pub use api::Api;
pub use down::{Down, down};
pub use error::Error;
pub use invoke::{Invoker, Limits};
pub use lambda_endpoint::LambdaEndpoint;
pub use layout::Layout;
pub use name::LabName;
pub use up::{Host, Running, Up};
