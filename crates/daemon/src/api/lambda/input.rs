//! Bodies of requests: read within bounds, taken for JSON, held against their shapes.

use axum::extract::Request;
use serde_json::{Map, Value};

use super::{
    failure::Failure,
    shape::{self, Member},
};
use crate::api::body::{self, Unread};

/// Bytes of a request without code in it; a configuration with all that it may have is shorter.
pub(super) const LIMIT: usize = 1 << 20;

/// Values in a body, as far as commas and brackets tell. Each takes many times its length in memory.
const MOST_VALUES: usize = 100_000;

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
        let body = parse(&body)?;
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

/// Takes a body for an object.
fn parse(body: &[u8]) -> Result<Map<String, Value>, Failure> {
    let values = body.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if values > MOST_VALUES {
        return Err(Failure::serialization(format!("the body has more than {MOST_VALUES} values")));
    }
    // Clients leave out a body in which nothing would be.
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Failure::serialization(format!("the body is no object: {error}")))
}

/// Reads a body of less than `limit` bytes; `too_large` is what a longer one is called.
pub(super) async fn read_body(
    request: Request,
    operation: &str,
    limit: usize,
    too_large: &'static str,
) -> Result<Vec<u8>, Failure> {
    body::read(request.into_body(), limit).await.map_err(|unread| match unread {
        Unread::TooLong => Failure::too_large(too_large, limit, operation),
        Unread::NoRoom => Failure::throttled(unread.to_string()),
        Unread::Late | Unread::Broken(_) => Failure::no_body(unread.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_an_object_of_no_more_values_than_a_configuration_ever_has() {
        assert_eq!(parse(b"").unwrap(), Map::new());
        assert_eq!(parse(b" {\"a\": null} ").unwrap().len(), 1);
        for body in ["[]", "{", "{}{}", "\"a\"", "{\"a\": 1,}", "\u{0}"] {
            assert!(format!("{:?}", parse(body.as_bytes())).contains("no object"), "{body}");
        }
        let long = format!("{{\"a\": [{}0]}}", "0,".repeat(MOST_VALUES));
        assert!(format!("{:?}", parse(long.as_bytes())).contains("more than"));
        let nested = format!("{{\"a\": {}", "[".repeat(1000));
        assert!(format!("{:?}", parse(nested.as_bytes())).contains("recursion limit"));
    }
}
