//! Requests that are not carried out, as Lambda says so.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use viaduct_control_plane::{
    iam::Denied,
    lifecycle::{Exception, Refusal},
};

use crate::api::caller::CredentialError;

/// The header by which clients tell exceptions apart.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// An exception of Lambda's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct Failure {
    status: StatusCode,
    exception: &'static str,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'f> {
    r#type: &'static str,
    message: &'f str,
}

impl Failure {
    fn new(status: StatusCode, exception: &'static str, message: impl Into<String>) -> Self {
        Self { status, exception, message: message.into() }
    }

    fn of(exception: Exception, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(exception.status()).expect("it is a status of HTTP");
        Self::new(status, exception.name(), message)
    }

    /// The body is no JSON, or a value in it is of another kind than it should be.
    pub(super) fn serialization(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "SerializationException", message)
    }

    /// Values break rules that each can be held against alone.
    pub(super) fn validation(violations: &[String]) -> Self {
        let (number, errors) =
            (violations.len(), if violations.len() == 1 { "error" } else { "errors" });
        let message = format!("{number} validation {errors} detected: {}", violations.join("; "));
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    /// Values make no sense together (LAM-64).
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::of(Exception::InvalidParameterValue, message)
    }

    /// What is named is not there (LAM-61).
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::of(Exception::ResourceNotFound, message)
    }

    /// It cannot be as things are (LAM-61).
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::of(Exception::ResourceConflict, message)
    }

    /// The body is longer than Lambda takes (LAM-61).
    pub(super) fn too_large(exception: &'static str, limit: usize, operation: &str) -> Self {
        let message =
            format!("Request must be smaller than {limit} bytes for the {operation} operation");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, exception, message)
    }

    /// The body did not come.
    pub(super) fn no_body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "RequestTimeoutException", message)
    }

    /// Somebody else's (from memory).
    pub(super) fn access_denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "AccessDeniedException", message)
    }

    /// The request has no credentials (from memory).
    pub(super) fn missing_token() -> Self {
        let message = "Missing Authentication Token: sign the request, with whichever key";
        Self::new(StatusCode::FORBIDDEN, "MissingAuthenticationTokenException", message)
    }

    /// There is no such operation here.
    pub(super) fn unknown_operation(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "UnknownOperationException", message)
    }

    /// More at once than there is room for (LAM-61).
    pub(super) fn throttled(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequestsException", message)
    }

    /// Lambda's own fault (LAM-61).
    pub(super) fn service(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "ServiceException", message)
    }

    /// What the machine has refused; `region` is the request's.
    pub(super) fn refused(refusal: &Refusal, region: &str) -> Self {
        // The machine knows no region, and its revisions are numbers: clients know neither so.
        let message = match refusal {
            Refusal::Revision(_) => "The Revision Id provided does not match the latest Revision \
                                     Id. Call the GetFunction/GetAlias API to retrieve the latest \
                                     Revision Id"
                .to_owned(),
            refusal => refusal
                .to_string()
                .replace("arn:aws:lambda::", &format!("arn:aws:lambda:{region}:")),
        };
        Self::of(refusal.exception(), message)
    }
}

impl From<CredentialError> for Failure {
    fn from(error: CredentialError) -> Self {
        let exception = match error {
            CredentialError::Unreadable => "IncompleteSignatureException",
            CredentialError::Unknown => "UnrecognizedClientException",
        };
        Self::new(StatusCode::FORBIDDEN, exception, error.to_string())
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::access_denied(denied.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let at_fault = if self.status.is_server_error() { "Service" } else { "User" };
        let body = Json(Body { r#type: at_fault, message: &self.message });
        let exception = HeaderValue::from_static(self.exception);
        (self.status, [(ERROR_TYPE, exception)], body).into_response()
    }
}
