//! The control API: its shapes, and a client that speaks it over a Unix socket.
//!
//! The daemon answers HTTP/1.1 with JSON on `control.sock`; the shapes in [`shapes`] are what both
//! ends use, so neither can drift. Questions are strict (an unknown parameter is an error), answers
//! are not: a client ignores fields that a newer daemon adds.
//!
//! | method and path | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/functions` | a list of [`Function`] |
//! | `GET /v1/enis` | a list of [`Eni`] |
//! | `GET /v1/attachments` | a list of [`Attachment`] |
//! | `GET /v1/connections?limit=N&attachment=NAME` | a list of [`Connection`] |
//! | `GET /v1/counters` | [`Counters`] |
//! | `GET /v1/drops?after=SEQUENCE&wait_ms=N` | [`Drops`] |
//! | `GET /v1/plan?name=NAME` | [`HostPlan`] |
//! | `POST /v1/apply?name=FILE&dry_run=BOOL`, the topology's text | [`Applied`] |
//! | `GET /v1/faults` | [`Faults`] |
//! | `POST /v1/faults/zone?zone=NAME&failed=BOOL` | the same, afterwards |
//! | `POST /v1/faults/eni?eni=ID` | the same, afterwards |
//! | `POST /v1/invoke`, an [`Invoke`] | [`Ended`] |
//! | `GET /v1/invocations?at_once=N`, an agent | lines, each an [`Invocation`] |
//! | `POST /v1/invocations?id=N`, an [`Ended`] | `true` if somebody waited |
//! | `GET /metrics` | the counters in Prometheus's text format |
//!
//! Whatever cannot be answered is answered with [`ApiError`] and a status of 400 or 404; a topology
//! that cannot be put in force with 422, a function that cannot be invoked in its state with 409, one
//! for which there is no room with 429, and one that no agent runs with 503.
//!
//! ```no_run
//! # async fn show() -> Result<(), viaduct_client::ClientError> {
//! let client = viaduct_client::Client::connect("/run/viaduct/control.sock").await?;
//! for attachment in client.attachments().await? {
//!     println!("{}: {:?}", attachment.name, attachment.state);
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod client;
mod error;
pub mod flow;
pub mod invocation;
mod query;
mod relay;
pub mod shapes;

pub use client::Client;
pub use error::ClientError;
pub use flow::{Flow, Protocol};
pub use invocation::{Ended, EndedQuery, How, Invocation, Invocations, Invoke, Octets, TakeQuery};
pub use query::{ApplyQuery, ConnectionsQuery, DropsQuery, EniFault, PlanQuery, ZoneFault};
pub use relay::is_lambda_path;
pub use shapes::{
    Action, ApiError, Applied, Attachment, AttachmentCount, AttachmentState, Connection,
    ConnectionState, Counters, DropEvent, Drops, Eni, EniKind, EniState, Event, Events, Faults,
    Function, HostKind, HostPlan, ObjectChange, Status, Traffic, Version,
};
