//! What a question may ask for, and how it is written into an address.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// The parameters of `/v1/connections`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionsQuery {
    /// At most so many; the daemon's default is 1000.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Only those that this attachment opened.
    #[serde(default)]
    pub attachment: Option<String>,
}

/// The parameters of `/v1/drops`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropsQuery {
    /// Events after this sequence number: the `next` of the last answer, or 0 for all that are
    /// remembered.
    #[serde(default)]
    pub after: u64,
    /// How long to wait for an event if there is none, in milliseconds, up to 60,000.
    #[serde(default)]
    pub wait_ms: u64,
}

/// Which zone is to fail, or to be back (LAM-18).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneFault {
    /// Such as `a`.
    pub zone: String,
    /// Whether it is to fail.
    pub failed: bool,
}

/// Which ENI is to fail its health check (LAM-08).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EniFault {
    /// `eni-…`
    pub eni: String,
}

/// The parameters of `/v1/plan`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanQuery {
    /// The attachment's name.
    pub name: String,
}

/// The parameters of `/v1/apply`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyQuery {
    /// What messages call the file.
    pub name: String,
    /// Whether only to say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// `path?key=value&…`, the values escaped, absent ones left out.
pub(crate) fn address(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let mut address = path.to_owned();
    let given = parameters.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
    for ((key, value), separator) in given.zip(std::iter::once('?').chain(std::iter::repeat('&'))) {
        address.push(separator);
        address.push_str(key);
        address.push('=');
        escape(value, &mut address);
    }
    address
}

/// Percent-encodes all but the unreserved characters of RFC 3986, section 2.3, and `/`, which
/// names are full of and a query may contain (section 3.4).
fn escape(value: &str, out: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte.into());
            }
            _ => write!(out, "%{byte:02X}").expect("a string takes everything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_absent_ones_left_out() {
        let some = |value: &str| Some(value.to_owned());
        assert_eq!(address("/v1/enis", &[]), "/v1/enis");
        assert_eq!(
            address("/p", &[("a", None), ("b", some("x/y")), ("c", some("&ü="))]),
            "/p?b=x/y&c=%26%C3%BC%3D"
        );
    }
}
