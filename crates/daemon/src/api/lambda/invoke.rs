//! Invoke: whether a function may run now, and having it run.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use data_encoding::BASE64;
use serde_json::json;
use viaduct_client::{Ended, How, invocation::MOST_OUTPUT};
use viaduct_control_plane::lifecycle::VersionId;

use super::{failure::Failure, input::read_body, members, order::Order, target::Target};
use crate::{
    api::{Running, request_id},
    invocations::{COMMAND, NotRun, Work},
};

/// Seconds that a function may run, if it does not say (Lambda's default).
const DEFAULT_TIMEOUT: u16 = 3;

/// Bytes of its log that come with an answer.
const TAIL: usize = 4096;

/// That the payload is an error's.
const FAILED: HeaderName = HeaderName::from_static("x-amz-function-error");

/// Whether the end of the log is wanted.
const LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");

/// The end of the log.
const LOG: HeaderName = HeaderName::from_static("x-amz-log-result");

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
    let with_log = request.headers().get(LOG_TYPE).is_some_and(|it| it == "Tail");
    let input = read_body(request, "InvokeFunction", kind.limit(), too_large).await?;
    let version = target.version();
    Order::invoke(version.clone()).carry_out(&running, &target).await?;
    let executed = HeaderValue::try_from(version.version.to_string()).expect("a number or $LATEST");
    let executed = [(EXECUTED, executed)];
    if kind == Kind::DryRun {
        return Ok((StatusCode::NO_CONTENT, executed).into_response());
    }
    let work = work(&running, &version, input);
    let timeout = work.timeout;
    let begun = match running.invocations.begin(&running.functions, &version, work) {
        // The function's fault, as with an image that has no entry point.
        Err(why @ NotRun::NoCommand) => {
            return Ok(answer(&Ended::not_run(why.to_string()), timeout, with_log, executed));
        }
        begun => begun?,
    };
    if kind == Kind::Event {
        tokio::spawn(async move {
            match begun.wait().await {
                Ok(Ended { how: How::Exited(0), .. }) => {}
                Ok(Ended { how, .. }) => tracing::info!(%version, ?how, "an event has failed"),
                Err(error) => tracing::info!(%version, %error, "an event has failed"),
            }
        });
        return Ok((StatusCode::ACCEPTED, executed).into_response());
    }
    Ok(answer(&begun.wait().await?, timeout, with_log, executed))
}

/// The answer to who waited.
fn answer(
    ended: &Ended,
    timeout: u16,
    with_log: bool,
    executed: [(HeaderName, HeaderValue); 1],
) -> Response {
    let (body, failed) = payload(ended, timeout, &request_id());
    let json = [(CONTENT_TYPE, "application/json")];
    let mut response = (StatusCode::OK, executed, json, body).into_response();
    if failed {
        response.headers_mut().insert(FAILED, HeaderValue::from_static("Unhandled"));
    }
    if with_log {
        let log = &ended.stderr.0;
        let tail = BASE64.encode(&log[log.len().saturating_sub(TAIL)..]);
        let tail = HeaderValue::try_from(tail).expect("base64 is ASCII");
        response.headers_mut().insert(LOG, tail);
    }
    response
}

/// What is to run when nobody says otherwise.
///
/// A function's command is its image's: `ImageConfig.EntryPoint` and after it `ImageConfig.Command`. A
/// function of a zip file has none, as nobody unpacks it; there, and wherever an image has none, the
/// environment variable [`COMMAND`] is a line for the shell. It runs in `ImageConfig.WorkingDirectory`.
pub(in crate::api) fn work(running: &Running, version: &VersionId, payload: Vec<u8>) -> Work {
    let machine = running.functions.machine();
    let function = machine.function(&version.function);
    let configured = function.and_then(|function| function.version(version.version));
    let none = BTreeMap::new();
    let carried = configured.map_or(&none, |version| &version.configuration.carried);
    let image = members::read(carried, "ImageConfig").unwrap_or_default();
    let words = |name: &str| {
        let words = image[name].as_array().into_iter().flatten();
        words.filter_map(|word| word.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut command = [words("EntryPoint"), words("Command")].concat();
    let directory = image["WorkingDirectory"].as_str().filter(|it| !it.is_empty());
    let directory = directory.map(str::to_owned);
    let environment = members::read(carried, "Environment").unwrap_or_default();
    let given = environment["Variables"].as_object().into_iter().flatten();
    let mut variables: BTreeMap<String, String> =
        given.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned()))).collect();
    if let Some(line) = variables.remove(COMMAND).filter(|_| command.is_empty()) {
        command = ["/bin/sh", "-c", &line].map(str::to_owned).into();
    }
    let of_lambda = [
        ("AWS_LAMBDA_FUNCTION_NAME", version.function.name.to_string()),
        ("AWS_LAMBDA_FUNCTION_VERSION", version.version.to_string()),
    ];
    variables.extend(of_lambda.map(|(name, text)| (name.to_owned(), text)));
    let timeout = members::read(carried, "Timeout").and_then(|it| it.as_u64());
    let timeout = timeout.and_then(|it| u16::try_from(it).ok()).unwrap_or(DEFAULT_TIMEOUT);
    Work { command, directory, variables, payload, timeout }
}

/// What an answer says of an invocation that has ended: the payload, and whether it is an error's.
fn payload(ended: &Ended, timeout: u16, request: &str) -> (Vec<u8>, bool) {
    let (kind, message) = match &ended.how {
        How::Exited(0) => return (ended.stdout.0.clone(), false),
        How::Exited(code @ (126 | 127)) => (
            "Runtime.InvalidEntrypoint",
            format!(
                "Error: exit status {code}: {}",
                String::from_utf8_lossy(&ended.stderr.0).trim_end()
            ),
        ),
        How::Exited(code @ 129..) => (
            "Runtime.ExitError",
            format!("Error: Runtime exited with error: exit status {code} (signal {})", code - 128),
        ),
        How::Exited(code) => {
            ("Runtime.ExitError", format!("Error: Runtime exited with error: exit status {code}"))
        }
        How::TimedOut => {
            ("Sandbox.Timedout", format!("Error: Task timed out after {timeout}.00 seconds"))
        }
        How::TooMuchOutput => (
            "Function.ResponseSizeTooLarge",
            format!(
                "Response payload size exceeded maximum allowed payload size ({MOST_OUTPUT} bytes)."
            ),
        ),
        How::NotRun(why) => ("Runtime.InvalidEntrypoint", format!("Error: {why}")),
    };
    let message = format!("RequestId: {request} {message}");
    let error = json!({ "errorType": kind, "errorMessage": message });
    (error.to_string().into_bytes(), true)
}

impl From<NotRun> for Failure {
    fn from(why: NotRun) -> Self {
        match why {
            NotRun::Throttled => Self::throttled(why.to_string()),
            _ => Self::service(why.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use viaduct_client::Octets;

    use super::*;

    #[test]
    fn an_answer_is_the_output_or_lambdas_error() {
        let ended = |how| Ended { how, stdout: Octets(b"out".into()), stderr: Octets::default() };
        assert_eq!(payload(&ended(How::Exited(0)), 3, "r"), (b"out".to_vec(), false));
        for (how, kind, message) in [
            (How::Exited(1), "Runtime.ExitError", "exit status 1"),
            (How::Exited(137), "Runtime.ExitError", "exit status 137 (signal 9)"),
            (How::Exited(127), "Runtime.InvalidEntrypoint", "exit status 127"),
            (How::TimedOut, "Sandbox.Timedout", "Task timed out after 3.00 seconds"),
            (How::TooMuchOutput, "Function.ResponseSizeTooLarge", "6291556 bytes"),
            (How::NotRun("no room".into()), "Runtime.InvalidEntrypoint", "no room"),
        ] {
            let (body, failed) = payload(&ended(how), 3, "r-1");
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(failed);
            assert_eq!(body["errorType"], kind);
            let text = body["errorMessage"].as_str().unwrap();
            assert!(text.starts_with("RequestId: r-1 ") && text.contains(message), "{text}");
        }
    }
}
