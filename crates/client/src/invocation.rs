//! Invocations: what somebody wants run, what the daemon hands to an agent, and what came of it.
//!
//! Bytes travel in base64. An agent reads invocations as lines of JSON from one answer that does not
//! end: as long as its connection stands the agent is there, and what it runs ends with it.

use std::collections::BTreeMap;

use http_body_util::BodyExt;
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1::{Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use tokio::net::UnixStream;

/// Bytes that a function may answer: Lambda's limit of 6 MB.
pub const MOST_OUTPUT: usize = 6_291_556;

/// Bytes of standard error that are kept: its end.
pub const MOST_LOG: usize = 64 << 10;

/// Seconds that a function may run.
pub const TIMEOUTS: std::ops::RangeInclusive<u16> = 1..=900;

/// Bytes, in base64 on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&data_encoding::BASE64.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        data_encoding::BASE64.decode(text.as_bytes()).map(Self).map_err(D::Error::custom)
    }
}

/// What somebody at the control socket wants run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoke {
    /// The function: `api`, or `api:3` for a published version.
    pub function: String,
    /// Its account, where several have a function of this name.
    #[serde(default)]
    pub account: Option<String>,
    /// Program and arguments; the function's own, if there is none.
    #[serde(default)]
    pub command: Vec<String>,
    /// Its standard input.
    #[serde(default)]
    pub payload: Octets,
    /// Seconds it may take, 1 to 900; the function's own `Timeout`, if not given.
    #[serde(default)]
    pub timeout: Option<u16>,
}

/// What an agent is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// By which the agent says what came of it.
    pub id: u64,
    /// The environment in which it is to run, such as `function/api/2`: one that nothing else runs in.
    pub environment: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// The directory that it starts in; the root, if not given.
    #[serde(default)]
    pub directory: Option<String>,
    /// The function's environment variables.
    pub variables: BTreeMap<String, String>,
    /// Its standard input.
    pub payload: Octets,
    /// Seconds it may take.
    pub timeout: u16,
}

/// What came of an invocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// How it ended.
    pub how: How,
    /// What the command wrote to standard output; nothing if that was too much.
    pub stdout: Octets,
    /// The end of what it wrote to standard error.
    pub stderr: Octets,
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// With this exit code, as a shell gives it: 128 and a signal's number for a command that died
    /// by it, 127 for a program that is not there, 126 for one that cannot be run.
    Exited(u8),
    /// It took longer than it may, and was ended with all that it had started.
    TimedOut,
    /// It wrote more than [`MOST_OUTPUT`], and was ended with all that it had started.
    TooMuchOutput,
    /// It did not run, for this reason.
    NotRun(String),
}

impl Ended {
    /// Of an invocation that did not run.
    #[must_use]
    pub fn not_run(why: impl Into<String>) -> Self {
        let nothing = Octets::default;
        Self { how: How::NotRun(why.into()), stdout: nothing(), stderr: nothing() }
    }
}

/// The parameters of `GET /v1/invocations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakeQuery {
    /// How many the agent runs at the same time, at most.
    pub at_once: usize,
}

/// The parameters of `POST /v1/invocations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndedQuery {
    /// The invocation.
    pub id: u64,
}

/// Invocations as they come. The daemon takes the agent for gone when this is dropped.
#[derive(Debug)]
pub struct Invocations {
    body: Incoming,
    /// The exchange is not over while this stands.
    _sender: SendRequest<Full<Bytes>>,
    connection: Option<Connection<TokioIo<UnixStream>, Full<Bytes>>>,
    read: Vec<u8>,
}

impl Invocations {
    pub(crate) fn new(
        body: Incoming,
        sender: SendRequest<Full<Bytes>>,
        connection: Connection<TokioIo<UnixStream>, Full<Bytes>>,
    ) -> Self {
        Self { body, _sender: sender, connection: Some(connection), read: Vec::new() }
    }

    /// The next one; none when the daemon has ended. May be dropped and asked again.
    pub async fn next(&mut self) -> Option<Invocation> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return serde_json::from_slice(&line).ok();
            }
            let frame = match &mut self.connection {
                None => self.body.frame().await,
                Some(connection) => tokio::select! {
                    frame = self.body.frame() => frame,
                    _ = connection => {
                        self.connection = None;
                        continue;
                    }
                },
            };
            match frame?.ok()?.into_data() {
                Ok(data) => self.read.extend_from_slice(&data),
                Err(_) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        let ended = Ended {
            how: How::Exited(7),
            stdout: Octets((0..=255).collect()),
            stderr: Octets(b"\n".to_vec()),
        };
        let text = serde_json::to_string(&ended).unwrap();
        assert!(!text.contains('\n'), "one line: {text}");
        assert_eq!(serde_json::from_str::<Ended>(&text).unwrap(), ended);
        assert!(serde_json::from_str::<Octets>("\"no base64\"").is_err());
    }
}
