//! Invocations in viaduct's own API: for `viaduct invoke`, and for the agents that run them.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{
        Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use viaduct_client::{Ended, EndedQuery, Invoke, TakeQuery, invocation::TIMEOUTS};
use viaduct_control_plane::{environments::EnvironmentName, lifecycle::Command};

use super::{Refused, Running, ended, lambda};
use crate::invocations::NotRun;

type App = State<Arc<Running>>;

/// Bytes of a body: a payload or an output of 6 MB in base64, and what is beside it.
pub(super) const LIMIT: usize = 12 << 20;

/// Has a function run, with whatever command its caller gives: only the socket's owner comes here.
pub(super) async fn invoke(
    State(running): App,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Ended>, Refused> {
    let invoke: Invoke = read(body)?;
    if let Some(timeout) = invoke.timeout.filter(|it| !TIMEOUTS.contains(it)) {
        let help = "a function may run for 1 to 900 seconds".to_owned();
        return Err(Refused::bad(format!("{timeout} s is no timeout"), Some(help)));
    }
    let account = invoke.account.as_ref().map(|account| format!("{account}/")).unwrap_or_default();
    let function = invoke.function.strip_prefix("function/").unwrap_or(&invoke.function);
    let name: EnvironmentName = format!("{account}function/{function}")
        .parse()
        .map_err(|error| Refused::unknown(format!("`{}`: {error}", invoke.function)))?;
    let version = name.version(&running.functions.machine());
    let version =
        version.map_err(|error| Refused::unknown(format!("`{}`: {error}", invoke.function)))?;
    let invoked = running.functions.command(Command::Invoke(version.clone())).await;
    invoked.map_err(|refusal| Refused {
        status: StatusCode::CONFLICT,
        error: format!("{version} cannot be invoked: {refusal}"),
        help: None,
    })?;
    let mut work = lambda::work(&running, &version, invoke.payload.0);
    if !invoke.command.is_empty() {
        work.command = invoke.command;
    }
    work.timeout = invoke.timeout.unwrap_or(work.timeout);
    let begun = running.invocations.begin(&running.functions, &version, work)?;
    Ok(Json(begun.wait().await?))
}

/// Invocations for an agent, for as long as it reads them.
pub(super) async fn take(
    State(running): App,
    query: Result<Query<TakeQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(TakeQuery { at_once }) = query?;
    let jobs = running.invocations.take(at_once, ended(running.ending.clone()));
    Ok(Body::new(jobs).into_response())
}

/// What came of an invocation.
pub(super) async fn finish(
    State(running): App,
    query: Result<Query<EndedQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<bool>, Refused> {
    let Query(EndedQuery { id }) = query?;
    Ok(Json(running.invocations.ended(id, read(body)?)))
}

/// What a body says, whatever its sender calls its type.
fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, Refused> {
    let body = body.map_err(|rejection| Refused {
        status: rejection.status(),
        error: rejection.body_text(),
        help: Some(format!("a body is at most {LIMIT} bytes long")),
    })?;
    serde_json::from_slice(&body).map_err(|error| Refused::bad(format!("the body: {error}"), None))
}

impl From<NotRun> for Refused {
    fn from(why: NotRun) -> Self {
        let status = match why {
            NotRun::NoCommand => StatusCode::BAD_REQUEST,
            NotRun::Throttled => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { status, error: why.to_string(), help: None }
    }
}
