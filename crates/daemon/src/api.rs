//! `control.sock`: questions about the running network, another topology for it, and AWS's own APIs.
//!
//! What begins with `/v1` is viaduct's own: `apply` and `faults` change something, `invoke` has something
//! run by an agent (`invocations`), everything else reads. The shapes are `viaduct-client`'s, so that both ends agree. Paths that begin with a date are Lambda's
//! ([`lambda`]), which may have a TCP port of their own as well ([`listeners`]).

mod answers;
mod body;
mod caller;
mod connections;
#[cfg(feature = "fuzzing")]
mod in_memory;
mod invocations;
mod lambda;
mod listeners;
mod metrics;
mod patience;
mod query;

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, Query, State,
        rejection::{QueryRejection, StringRejection},
    },
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::sync::watch;
use viaduct_client::{
    ApiError, Applied, ApplyQuery, ConnectionsQuery, Drops, DropsQuery, EniFault, HostPlan,
    PlanQuery, ZoneFault, is_lambda_path, shapes,
};
use viaduct_config_plane::{LONGEST_SOURCE, LoadError};
use viaduct_control_plane::lifecycle::Command;
use viaduct_dataplane::Engine;
use viaduct_topology::ResourceId;

#[cfg(feature = "fuzzing")]
pub(crate) use self::in_memory::exchange;
pub(crate) use self::listeners::{port, serve};
use crate::{
    clock::Clock,
    drops::DropLog,
    error::Error,
    fleet::{Fleet, random},
    functions::Functions,
    invocations::Invocations,
    notes::Resumed,
    options::Build,
    refusal::Refusal,
    registry::Registry,
    reload::{Reloader, Source},
};

/// Connections that are listed when nobody says how many.
const DEFAULT_LIMIT: usize = 1000;

/// The longest wait for a drop event, in milliseconds.
const LONGEST_WAIT: u64 = 60_000;

/// What there is to ask about.
pub(crate) struct Running {
    pub(crate) build: Build,
    pub(crate) attach_socket: PathBuf,
    pub(crate) engine: Arc<Engine>,
    pub(crate) fleet: Fleet,
    pub(crate) registry: Arc<Registry>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) functions: Arc<Functions>,
    pub(crate) invocations: Arc<Invocations>,
    pub(crate) drops: Arc<DropLog>,
    pub(crate) clock: Arc<Clock>,
    /// What became of the connections of the daemon before.
    pub(crate) resumed: Resumed,
    /// True when the daemon ends: nobody waits any longer.
    pub(crate) ending: watch::Receiver<bool>,
}

type App = State<Arc<Running>>;

/// Ready when the daemon ends.
async fn ended(mut ending: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = ending.wait_for(|ending| *ending).await;
}

/// All questions: for the owner.
fn router(running: Arc<Running>) -> Router {
    Router::new()
        .merge(lambda::router())
        .merge(query::router())
        .route("/v1/status", get(status))
        .route("/v1/functions", get(functions))
        .route("/v1/versions", get(versions))
        .route("/v1/events", get(events))
        .route("/v1/enis", get(enis))
        .route("/v1/attachments", get(attachments))
        .route("/v1/connections", get(connections))
        .route("/v1/counters", get(counters))
        .route("/v1/drops", get(drops))
        .route("/v1/plan", get(plan))
        .route("/v1/faults", get(faults))
        .route("/v1/faults/zone", post(fail_zone))
        .route("/v1/faults/eni", post(fail_eni))
        .route(
            "/v1/invoke",
            post(invocations::invoke).layer(DefaultBodyLimit::max(invocations::LIMIT)),
        )
        .route(
            "/v1/invocations",
            get(invocations::take)
                .post(invocations::finish)
                .layer(DefaultBodyLimit::max(invocations::LIMIT)),
        )
        .route("/metrics", get(metrics))
        .route(
            "/v1/apply",
            // One byte more than a topology may have, so that it is the loader who says so.
            post(apply).layer(DefaultBodyLimit::max(LONGEST_SOURCE + 1)),
        )
        .fallback(unknown)
        .with_state(running)
}

async fn status(State(running): App) -> Json<shapes::Status> {
    Json(answers::status(&running))
}

async fn functions(State(running): App) -> Json<Vec<shapes::Function>> {
    Json(answers::functions(&running))
}

async fn versions(State(running): App) -> Json<Vec<shapes::Version>> {
    Json(answers::versions(&running))
}

async fn events(
    State(running): App,
    query: Result<Query<DropsQuery>, QueryRejection>,
) -> Result<Json<shapes::Events>, Refused> {
    let Query(DropsQuery { after, wait_ms }) = query?;
    let patience = patience(wait_ms)?;
    let found = tokio::select! {
        found = running.functions.events_after(after, patience) => found,
        () = ended(running.ending.clone()) => {
            running.functions.events_after(after, Duration::ZERO).await
        }
    };
    Ok(Json(answers::events(&found)))
}

async fn enis(State(running): App) -> Json<Vec<shapes::Eni>> {
    Json(answers::enis(&running))
}

async fn attachments(State(running): App) -> Json<Vec<shapes::Attachment>> {
    Json(answers::attachments(&running))
}

async fn connections(
    State(running): App,
    query: Result<Query<ConnectionsQuery>, QueryRejection>,
) -> Result<Json<Vec<shapes::Connection>>, Refused> {
    let Query(ConnectionsQuery { limit, attachment }) = query?;
    let opener = match attachment {
        Some(name) => Some(running.registry.hosts().find(&name)?.0),
        None => None,
    };
    Ok(Json(answers::connections(&running, limit.unwrap_or(DEFAULT_LIMIT), opener)))
}

async fn counters(State(running): App) -> Json<shapes::Counters> {
    Json(answers::counters(&running))
}

async fn drops(
    State(running): App,
    query: Result<Query<DropsQuery>, QueryRejection>,
) -> Result<Json<Drops>, Refused> {
    let Query(DropsQuery { after, wait_ms }) = query?;
    let patience = patience(wait_ms)?;
    running.drops.collect();
    let newest = running.drops.newest();
    if after > newest {
        let help = format!("the newest is {newest}; was the daemon started anew? begin with 0");
        return Err(Refused::bad(format!("there is no event {after} yet"), Some(help)));
    }
    let found = tokio::select! {
        found = running.drops.after(after, patience) => found,
        () = ended(running.ending.clone()) => running.drops.after(after, Duration::ZERO).await,
    };
    Ok(Json(answers::drops(&running, &found)))
}

/// How long a question waits.
fn patience(wait_ms: u64) -> Result<Duration, Refused> {
    if wait_ms > LONGEST_WAIT {
        let help = format!("wait_ms is at most {LONGEST_WAIT}; ask again when it is over");
        return Err(Refused::bad(format!("{wait_ms} ms is too long a wait"), Some(help)));
    }
    Ok(Duration::from_millis(wait_ms))
}

async fn plan(
    State(running): App,
    query: Result<Query<PlanQuery>, QueryRejection>,
) -> Result<Json<HostPlan>, Refused> {
    let Query(PlanQuery { name }) = query?;
    Ok(Json(answers::plan(&running.functions.host(&name).await?.1)))
}

async fn faults(State(running): App) -> Json<shapes::Faults> {
    Json(answers::faults(&running))
}

async fn fail_zone(
    State(running): App,
    query: Result<Query<ZoneFault>, QueryRejection>,
) -> Result<Json<shapes::Faults>, Refused> {
    let Query(ZoneFault { zone, failed }) = query?;
    let answer = running.functions.command(Command::FailZone { zone, failed }).await;
    answer.map_err(|refusal| Refused::bad(refusal.to_string(), None))?;
    Ok(Json(answers::faults(&running)))
}

async fn fail_eni(
    State(running): App,
    query: Result<Query<EniFault>, QueryRejection>,
) -> Result<Json<shapes::Faults>, Refused> {
    let Query(EniFault { eni }) = query?;
    if !running.functions.fail_eni(&ResourceId::named(&eni)).await? {
        let error = format!("{eni} is no ENI that functions use and that can be replaced");
        let help = "`viaduct get enis` lists those, `viaduct get events` what could not be made";
        return Err(Refused::bad(error, Some(help.to_owned())));
    }
    Ok(Json(answers::faults(&running)))
}

async fn apply(
    State(running): App,
    query: Result<Query<ApplyQuery>, QueryRejection>,
    text: Result<String, StringRejection>,
) -> Result<Json<Applied>, Refused> {
    let Query(ApplyQuery { name, dry_run }) = query?;
    let source = Source::Text { name: PathBuf::from(name), text: text? };
    let report = running.reloader.apply(source, dry_run).await?;
    if !dry_run {
        let (changes, detached) = (report.differences.len(), report.detached.len());
        tracing::info!(generation = report.generation, changes, detached, "applied");
    }
    Ok(Json(answers::applied(report, dry_run)))
}

async fn metrics(State(running): App) -> Response {
    let text = metrics::text(
        &answers::status(&running),
        &answers::counters(&running),
        running.engine.connection_count(),
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn unknown(method: Method, uri: Uri) -> Response {
    if is_lambda_path(uri.path()) {
        return lambda::unknown(method, uri).await;
    }
    let refused = Refused {
        status: StatusCode::NOT_FOUND,
        error: format!("there is no {}", uri.path()),
        help: Some(
            "ask for /v1/status, /v1/functions, /v1/versions, /v1/enis, /v1/events, \
             /v1/attachments, /v1/connections, /v1/counters, /v1/drops, /v1/plan, /v1/faults or \
             /metrics, or post to /v1/apply, /v1/faults/zone, /v1/faults/eni or /v1/invoke"
                .to_owned(),
        ),
    };
    refused.into_response()
}

/// The number of a request to one of AWS's APIs, as clients log it: a UUID of version 4.
fn request_id() -> String {
    // The number only tells requests apart: without randomness all have the same.
    let digits = u128::from_ne_bytes(random().unwrap_or_default());
    let (head, tail) = (digits >> 80, digits & 0xffff_ffff_ffff);
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{tail:012x}",
        head & 0xffff_ffff,
        head >> 32 & 0xffff,
        digits >> 48 & 0xfff,
        digits >> 60 & 0xfff,
    )
}

/// A question that is not answered.
struct Refused {
    status: StatusCode,
    error: String,
    help: Option<String>,
}

impl Refused {
    fn bad(error: String, help: Option<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, help }
    }

    fn unknown(error: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, error, help: None }
    }
}

impl From<QueryRejection> for Refused {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad(rejection.body_text(), None)
    }
}

impl From<StringRejection> for Refused {
    fn from(rejection: StringRejection) -> Self {
        Self::bad(rejection.body_text(), Some("send the topology's text as UTF-8".to_owned()))
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::unknown(refusal.message)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Plan { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Topology(error) if matches!(**error, LoadError::Refused(_)) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, error: format!("nothing has changed: {error}"), help: None }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(ApiError { error: self.error, help: self.help })).into_response()
    }
}
