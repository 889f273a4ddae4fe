//! Invoke: whether a function may run now, and having it run.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use viaduct_control_plane::lifecycle::{Command, VersionId};

use super::{command, failure::Failure, input::read_body, target::Target};
use crate::api::Running;

/// How a function is to be invoked: one of [`Kind`].
const KIND: HeaderName = HeaderName::from_static("x-amz-invocation-type");

/// Which version ran.
const EXECUTED: HeaderName = HeaderName::from_static("x-amz-executed-version");

/// How a function is invoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The caller waits for what comes of it.
    RequestResponse,
    /// The caller does not.
    Event,
    /// Nothing runs: would it be allowed?
    DryRun,
}

impl Kind {
    fn of(request: &Request) -> Result<Self, Failure> {
        let Some(value) = request.headers().get(KIND) else { return Ok(Self::RequestResponse) };
        match value.as_bytes() {
            b"RequestResponse" => Ok(Self::RequestResponse),
            b"Event" => Ok(Self::Event),
            b"DryRun" => Ok(Self::DryRun),
            other => Err(Failure::validation(&[format!(
                "Value '{}' at 'invocationType' failed to satisfy constraint: Member must satisfy \
                 enum value set: [Event, RequestResponse, DryRun]",
                other.escape_ascii()
            )])),
        }
    }

    /// Bytes that a payload may have.
    const fn limit(self) -> usize {
        match self {
            Self::RequestResponse | Self::DryRun => 6 << 20,
            Self::Event => 1 << 20,
        }
    }
}

/// `Invoke`
pub(super) async fn invoke(
    State(running): State<Arc<Running>>,
    target: Target,
    request: Request,
) -> Result<Response, Failure> {
    let kind = Kind::of(&request)?;
    let too_large = "RequestTooLargeException";
    let payload = read_body(request, "InvokeFunction", kind.limit(), too_large).await?;
    let version = target.version();
    command(&running, &target, Command::Invoke(version.clone())).await?;
    let executed = HeaderValue::try_from(version.version.to_string()).expect("a number or $LATEST");
    let executed = [(EXECUTED, executed)];
    match kind {
        Kind::DryRun => Ok((StatusCode::NO_CONTENT, executed).into_response()),
        Kind::RequestResponse => {
            Ok((StatusCode::OK, executed, run(&version, &payload)?).into_response())
        }
        Kind::Event => {
            run(&version, &payload)?;
            Ok((StatusCode::ACCEPTED, executed).into_response())
        }
    }
}

/// Runs a function that may be invoked, and returns its payload. Nobody has environments for it yet,
/// so that it is the service's failure.
fn run(version: &VersionId, payload: &[u8]) -> Result<Vec<u8>, Failure> {
    Err(Failure::service(format!(
        "no agent runs {version}: its payload of {} bytes went nowhere",
        payload.len()
    )))
}
