//! Lambda's own REST API, version 2015-03-31: the life of functions for clients that know nothing of
//! viaduct.
//!
//! # Theory of operation
//!
//! A request is taken apart in this order, and the first thing wrong with it is what is answered: who
//! asks ([`caller`](super::caller)), which function it is about (`target`), how long its body is and
//! whether it is JSON (`input`), whether its members keep the rules of their shape (`shape`), whether
//! they make sense together. Only then is the machine told (`order`), which carries the command out whole
//! or refuses it; and its refusals have Lambda's names already (`failure`).
//!
//! The machine looks at role, subnets and groups. Whatever else a function has is carried and given
//! back (`members`). An answer is read from the machine after the command was carried out: what
//! it shows is the state of that moment.

mod answer;
mod configuration;
mod failure;
mod functions;
mod input;
mod invoke;
mod members;
mod order;
mod page;
mod rights;
mod shape;
mod tags;
mod target;
mod versions;

use std::sync::Arc;

use axum::{
    Router,
    extract::{FromRequestParts, Request},
    http::{HeaderName, HeaderValue, Method, Uri, request::Parts},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};

use self::failure::Failure;
pub(super) use self::invoke::work;
use super::{Running, caller::Caller, request_id};

/// The header that tells one request from another.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The operations of the API.
pub(super) fn router() -> Router<Arc<Running>> {
    let all = get(functions::list).post(functions::create);
    let function = get(functions::function).delete(functions::delete);
    let configuration = get(functions::configuration).put(functions::update_configuration);
    Router::new()
        .route("/2015-03-31/functions", all.clone())
        .route("/2015-03-31/functions/", all)
        .route("/2015-03-31/functions/{function}", function)
        .route("/2015-03-31/functions/{function}/configuration", configuration)
        .route("/2015-03-31/functions/{function}/code", put(functions::update_code))
        .route(
            "/2015-03-31/functions/{function}/versions",
            get(versions::list).post(versions::publish),
        )
        .route("/2015-03-31/functions/{function}/invocations", post(invoke::invoke))
        .route("/2017-03-31/tags/{arn}", get(tags::list).post(tags::tag).delete(tags::untag))
        .method_not_allowed_fallback(unknown)
        .layer(from_fn(numbered))
}

/// What is no operation of this API.
pub(super) async fn unknown(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let failure = Failure::unknown_operation(format!(
        "{method} {path} is no operation that viaduct knows: docs/lambda-api.md lists them"
    ));
    with_number(failure.into_response())
}

/// The answer to a request that nobody has signed.
pub(super) fn unsigned() -> Response {
    with_number(Failure::missing_token().into_response())
}

/// Gives each answer a number of its own, as clients log it.
async fn numbered(request: Request, next: Next) -> Response {
    with_number(next.run(request).await)
}

fn with_number(mut response: Response) -> Response {
    if let Ok(id) = HeaderValue::try_from(request_id()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Who sends a request.
impl FromRequestParts<Arc<Running>> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(
        parts: &mut Parts,
        running: &Arc<Running>,
    ) -> Result<Self, Failure> {
        Ok(Self::of(&parts.headers, &running.registry.network().principals)?)
    }
}
