//! Bodies of requests: read within bounds, taken for JSON, held against their shapes.

use std::time::Duration;

use axum::extract::Request;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::{
    failure::Failure,
    shape::{self, Member},
};

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an operation takes.
#[derive(Debug)]
pub(super) struct Operation {
    /// Lambda's name of it.
    pub(super) name: &'static str,
    /// Bytes of its body.
    pub(super) limit: usize,
    /// Members of its body.
    pub(super) members: &'static [&'static [Member]],
}

/// The body of a request: an object whose members are of the right kind and within their bounds.
#[derive(Clone, Debug)]
pub(super) struct Input(Map<String, Value>);

impl Input {
    /// Reads the body of a request.
    pub(super) async fn read(request: Request, operation: &Operation) -> Result<Self, Failure> {
        let too_large = "RequestEntityTooLargeException";
        let body = read_body(request, operation.name, operation.limit, too_large).await?;
        // Clients leave out a body in which nothing would be.
        let body = if body.is_empty() { b"{}".as_slice() } else { &body };
        let body = serde_json::from_slice(body)
            .map_err(|error| Failure::serialization(format!("the body is no object: {error}")))?;
        shape::check(&body, operation.members)?;
        Ok(Self(body))
    }

    #[cfg(test)]
    pub(super) fn of(body: Map<String, Value>) -> Self {
        Self(body)
    }

    /// The value of a member that was given.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// A member that is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.value(name).and_then(Value::as_str)
    }

    /// A member that is true or false; false if it was not given.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.value(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A member that is an object.
    pub(super) fn object(&self, name: &str) -> Option<Self> {
        self.value(name).and_then(Value::as_object).cloned().map(Self)
    }

    /// The texts of a member that is a list.
    pub(super) fn list(&self, name: &str) -> Option<impl Iterator<Item = &str>> {
        let values = self.value(name).and_then(Value::as_array)?;
        Some(values.iter().filter_map(Value::as_str))
    }

    /// The names and texts of an object of texts.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
    }
}

/// Reads a body of less than `limit` bytes.
pub(super) async fn read_body(
    request: Request,
    operation: &str,
    limit: usize,
    too_large: &'static str,
) -> Result<Vec<u8>, Failure> {
    let body = Limited::new(request.into_body(), limit);
    match tokio::time::timeout(PATIENCE, body.collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Failure::too_large(too_large, limit, operation))
        }
        Ok(Err(error)) => Err(Failure::no_body(format!("the body ended before its end: {error}"))),
        Err(_) => Err(Failure::no_body(format!("the body has not come for {PATIENCE:?}"))),
    }
}
