//! Any bytes as connections to the daemon's API: what HTTP, JSON, forms and names may hold.
//!
//! The input is the bytes of up to eight connections, with `"\n\0\n"` between them. The first byte of
//! each decides whether it comes to the control socket (even) or to the TCP port of AWS's APIs (odd);
//! the rest is what is sent. Several requests may go over one connection.
//!
//! However wrong a request is: it is answered, or the connection ends; answers are HTTP, errors have the
//! shape of their API, and a connection over which nothing was granted has changed nothing.

use std::path::Path;

use serde_json::Value;
use viaduct_daemon::fuzzing::{Api, Door};

/// What stands between two connections.
const BETWEEN: &[u8] = b"\n\0\n";

/// Connections of an input.
const MOST: usize = 8;

/// A function of the file, and a role to make others with.
const TOPOLOGY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/worlds/api.yaml");

/// Tries one input.
///
/// # Panics
///
/// When something is not as it should be.
pub fn run(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let api = Api::new(&directory.path().join("run"), Path::new(TOPOLOGY)).expect("a daemon's API");
    let mut before = api.state();
    for connection in connections(bytes).take(MOST) {
        let Some((door, sent)) = connection.split_first() else { continue };
        let door = if door % 2 == 0 { Door::Control } else { Door::Port };
        let received = api.exchange(door, sent);
        // To HEAD there are answers without the body that they tell the length of.
        let granted = sent.windows(4).any(|word| word == b"HEAD") || answers(&received);
        let after = api.state();
        assert!(granted || before == after, "nothing was granted, and yet: {before} {after}");
        before = after;
    }
}

/// The connections of an input.
fn connections(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let all = rest.take()?;
        match all.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
            Some(at) => {
                rest = Some(&all[at + BETWEEN.len()..]);
                Some(&all[..at])
            }
            None => Some(all),
        }
    })
}

/// Takes answers apart. Whether one of them says that something was done.
fn answers(mut received: &[u8]) -> bool {
    let mut granted = false;
    while !received.is_empty() {
        let end = received.windows(4).position(|window| window == b"\r\n\r\n");
        let (head, rest) = received.split_at(end.expect("a head has an end") + 4);
        let head = std::str::from_utf8(head).expect("a head is ASCII").to_ascii_lowercase();
        let header =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let status: u16 = head
            .strip_prefix("http/1.1 ")
            .or_else(|| head.strip_prefix("http/1.0 "))
            .and_then(|line| line.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("no status line: {head}"));
        granted |= (200..400).contains(&status);
        let length = match (status, header("content-length")) {
            (100 | 204, _) => 0,
            (_, Some(length)) => length.parse().expect("a length"),
            // In pieces, to the end.
            (_, None) => rest.len(),
        };
        let body = rest.get(..length).expect("a whole body");
        error(status, header("x-amzn-errortype"), header("content-type"), body);
        received = &rest[body.len()..];
    }
    granted
}

/// An answer that refuses says so in its API's shape.
fn error(status: u16, exception: Option<&str>, kind: Option<&str>, body: &[u8]) {
    if status < 400 {
        assert_eq!(exception, None, "no error, and an exception");
        return;
    }
    let shown = || String::from_utf8_lossy(body).into_owned();
    match (exception, kind) {
        // To what is no HTTP, and to a method that there is not.
        _ if body.is_empty() => {}
        (Some(exception), Some("application/json")) => {
            let body: Value = serde_json::from_slice(body).expect("JSON");
            assert!(body["Message"].is_string(), "{exception}: {body}");
            let at_fault = if status < 500 { "User" } else { "Service" };
            assert_eq!(body["Type"], at_fault, "{exception}: {body}");
        }
        (None, Some("application/json")) => {
            let body: Value = serde_json::from_slice(body).expect("JSON");
            assert!(body["error"].is_string(), "{body}");
        }
        (None, Some("text/xml;charset=utf-8")) => {
            assert!(shown().contains("<Code>") && shown().contains("<Message>"), "{}", shown());
        }
        other => panic!("an error of {status} without a shape: {other:?} {}", shown()),
    }
    // Nobody runs functions, zones may have failed: anything else is the daemon's own fault.
    let is_known = status < 500 || status == 502 || shown().contains("no agent runs functions");
    assert!(is_known, "{status} {}", shown());
}
