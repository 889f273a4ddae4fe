//! AWS's Query protocol: forms come in and XML goes out. EC2's and IAM's APIs speak it, at one address.
//!
//! Which of the two is meant is what the credentials say, and if there are none the form's `Version`.

mod ec2;
mod form;
mod iam;
mod xml;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};

use viaduct_control_plane::lifecycle::Refusal;

use self::{form::Form, xml::Element};
use super::{
    Running,
    body::{self, Unread},
    caller::{Caller, CredentialError},
};

/// Bytes of a form.
const LIMIT: usize = 1 << 20;

/// The version of IAM's API, there is one.
const IAM_VERSION: &str = "2010-05-08";

/// Forms are posted; a `GET` has the same in its query.
pub(super) fn router() -> Router<Arc<Running>> {
    Router::new().route("/", get(answer).post(answer))
}

/// Why a request is not carried out, by the API's names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failure {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Failure {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, message: message.into() }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let exception = refusal.exception();
        let status = StatusCode::from_u16(exception.status()).expect("it is a status of HTTP");
        Self { status, ..Self::new(exception.name(), refusal.to_string()) }
    }
}

async fn answer(State(running): State<Arc<Running>>, request: Request) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    if method == Method::GET && uri.query().is_none() {
        // Somebody who looks what there is.
        return super::unknown(method, uri).await;
    }
    let caller = Caller::of(request.headers(), &running.registry.network().principals);
    let body = body::read(request.into_body(), LIMIT).await;
    let form = match &body {
        Ok(body) if body.is_empty() => Form::read(uri.query().unwrap_or_default().as_bytes()),
        Ok(body) => Form::read(body),
        Err(_) => Form::default(),
    };
    let service = caller.as_ref().ok().and_then(|caller| caller.service.clone());
    let is_iam = match service.as_deref() {
        Some(service) => service == "iam",
        None => form.text("Version") == Some(IAM_VERSION),
    };
    let answered = async {
        body.map_err(unread)?;
        let caller = caller.map_err(|error| not_known(error, is_iam))?;
        let action = form.required("Action")?;
        match is_iam {
            true => iam::answer(&running, &caller, action, &form).await,
            false => ec2::answer(&running, &caller, action, &form).await,
        }
    };
    let id = super::request_id();
    match answered.await {
        Ok(answer) => reply(StatusCode::OK, &answer),
        Err(failure) if is_iam => reply(failure.status, &iam::error(&failure, &id)),
        Err(failure) => reply(failure.status, &ec2::error(&failure, &id)),
    }
}

fn unread(why: Unread) -> Failure {
    let (status, code) = match why {
        Unread::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
        Unread::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "RequestLimitExceeded"),
        Unread::Late | Unread::Broken(_) => (StatusCode::BAD_REQUEST, "IncompleteBody"),
    };
    Failure { status, ..Failure::new(code, format!("a form has less than {LIMIT} bytes: {why}")) }
}

fn not_known(error: CredentialError, is_iam: bool) -> Failure {
    let (status, code) = match error {
        CredentialError::Unreadable => (StatusCode::BAD_REQUEST, "IncompleteSignature"),
        CredentialError::Unknown if is_iam => (StatusCode::FORBIDDEN, "InvalidClientTokenId"),
        CredentialError::Unknown => (StatusCode::UNAUTHORIZED, "AuthFailure"),
    };
    Failure { status, ..Failure::new(code, error.to_string()) }
}

fn unknown(action: &str) -> Failure {
    let message = format!(
        "The action {action} is not valid for this web service: docs/lambda-api.md lists those that \
         viaduct knows"
    );
    Failure::new("InvalidAction", message)
}

fn reply(status: StatusCode, answer: &Element) -> Response {
    (status, [(CONTENT_TYPE, "text/xml;charset=UTF-8")], answer.document()).into_response()
}
