//! The control socket and the start of a daemon: what is asked wrongly is answered helpfully.

mod common;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use common::{Daemon, LIMIT};
use viaduct_client::{ClientError, ConnectionsQuery, DropsQuery};
use viaduct_daemon::{Error, Options};

/// Sends bytes to the control socket and returns whatever comes back.
fn exchange(daemon: &Daemon, request: &str) -> String {
    let mut stream = UnixStream::connect(&daemon.control_socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(daemon: &Daemon, path: &str) -> String {
    exchange(daemon, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
}

#[test]
fn questions_are_strict_and_refusals_say_what_to_do() {
    let daemon = Daemon::start();
    for (path, status, words) in [
        ("/v1/nothing", "404", "/v1/status"),
        ("/", "404", "/v1/status"),
        ("/v1/connections?limit=many", "400", "limit"),
        ("/v1/connections?colour=red", "400", "unknown field `colour`"),
        ("/v1/connections?attachment=instance/bd", "404", "did you mean `instance/db`?"),
        ("/v1/drops?wait_ms=999999", "400", "at most 60000"),
        ("/v1/drops?after=7", "400", "begin with 0"),
        ("/v1/plan", "400", "missing field `name`"),
        ("/v1/plan?name=nobody", "404", "no host `nobody`"),
    ] {
        let answer = get(&daemon, path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.starts_with("{\"error\":\"") && body.contains(words), "{path}: {body}");
    }
    // What is no HTTP at all costs only its own connection.
    exchange(&daemon, "\u{1}\u{2}\u{3}\r\n\r\n");
    assert!(get(&daemon, "/v1/status").contains("\"ready\":true"));
}

#[test]
fn the_client_speaks_to_every_endpoint() {
    let daemon = Daemon::start();
    let status = daemon.ask(async |client| client.status().await);
    assert_eq!((status.ready, status.workers), (true, 2));
    assert_eq!((status.attachments.declared, status.attachments.attached), (5, 0));
    assert_eq!(status.topology, daemon.options.topology);
    assert_eq!(status.attach_socket, daemon.attach_socket);

    let functions = daemon.ask(async |client| client.functions().await);
    assert_eq!(functions.len(), 1);
    assert_eq!(functions[0].subnets, ["main/private"]);
    assert_eq!(functions[0].security_groups, ["main/fn"]);
    assert_eq!(daemon.ask(async |client| client.enis().await).len(), 4);
    let attachments = daemon.ask(async |client| client.attachments().await);
    let names: Vec<&str> = attachments.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(
        names,
        ["function/api/1", "function/api/2", "instance/db", "instance/other", "internet/web"]
    );
    let query = ConnectionsQuery::default();
    assert_eq!(daemon.ask(async |client| client.connections(&query).await), []);
    let counters = daemon.ask(async |client| client.counters().await);
    assert_eq!(counters, viaduct_client::Counters::default());
    let drops = daemon.ask(async |client| client.drops(DropsQuery::default()).await);
    assert_eq!(drops, viaduct_client::Drops::default());
    let plan = daemon.ask(async |client| client.plan("function/api").await);
    assert_eq!(plan.name, "function/api/1");
    assert_eq!((plan.address.to_string(), plan.prefix_len), ("169.254.100.2".to_owned(), 30));
    assert!(daemon.ask(async |client| client.metrics().await).contains("viaduct_workers 2\n"));

    match daemon.try_ask(async |client| client.plan("instance/bd").await) {
        Err(ClientError::Refused { status: 404, message, .. }) => {
            assert!(message.contains("instance/db"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_long_poll_does_not_hold_up_the_end() {
    let mut daemon = Daemon::start();
    let mut stream = UnixStream::connect(&daemon.control_socket).unwrap();
    write!(stream, "GET /v1/drops?wait_ms=60000 HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    // Answered after the long poll was: both are on their way when the daemon ends.
    daemon.ask(async |client| client.status().await);
    let started = Instant::now();
    daemon.stop().unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn what_cannot_run_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("topology.yaml");
    let mut options = Options::new(&file);
    options.runtime_dir = directory.path().join("run");
    let run = |options: &Options| {
        let ready = |_: &viaduct_daemon::Ready| panic!("became ready");
        viaduct_daemon::run(options, ready, std::future::pending())
    };

    match run(&options) {
        Err(error @ Error::Topology(_)) => {
            assert!(error.to_string().contains("topology.yaml"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    std::fs::write(&file, "vpcs: { main: { cidr_block: 10.0.0.0/16 } }").unwrap();
    match run(&options) {
        Err(error @ Error::Topology(_)) => {
            let text = error.to_string();
            assert!(text.contains("cidr_block") && text.contains("topology.yaml:1:"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!options.runtime_dir.exists(), "nothing is made for a topology that is wrong");

    // A file where the directory should be.
    std::fs::write(&file, "vpcs: {}").unwrap();
    options.runtime_dir = file.join("run");
    match run(&options) {
        Err(error @ Error::File { .. }) => {
            assert!(error.to_string().contains("topology.yaml/run"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}
