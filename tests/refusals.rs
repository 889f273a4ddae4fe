//! What is refused, where, and that it leaves no state.

mod common;

use std::{net::UdpSocket, time::Duration};

use common::{Lab, has, permitted, repository, said, viaduct};
use serde_json::Value;

fn quickstart(scenario: &str) -> Lab {
    Lab::of_file(scenario, &repository("config/quickstart.yaml"))
}

fn of_flow(event: &Value, protocol: &str, source: &str, destination: &str) -> bool {
    let flow = &event["flow"];
    flow["protocol"] == protocol && flow["source"] == source && flow["destination"] == destination
}

// Conforms: LAM-02
#[test]
fn nothing_opens_a_connection_to_a_function() {
    if !permitted() || !has("ping") {
        return;
    }
    let lab = quickstart("oneway");
    // Its subnet's ACL and its groups let everything out, so nothing else can refuse it first.
    let (host, bastion, eni) = ("instance/bastion", "10.0.0.10", "10.0.1.4");
    lab.namespace(host)
        .run(|| {
            let refused = std::net::TcpStream::connect_timeout(
                &"10.0.1.4:8080".parse().unwrap(),
                Duration::from_millis(300),
            );
            assert!(refused.is_err());
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"hello", "10.0.1.4:53").unwrap();
        })
        .unwrap();
    let ping = lab.exec(host, &["ping", "-c", "1", "-W", "1", eni]).output().unwrap();
    assert!(!ping.status.success(), "{}", said(&ping));

    for protocol in ["tcp", "udp", "icmp"] {
        let event = lab.wait_for_drop(|event| of_flow(event, protocol, bastion, eni));
        assert_eq!(event["reason"], "V2N_ONE_WAY", "{event:#}");
        assert_eq!(event["attachment"], host, "{event:#}");
    }
    assert_eq!(lab.get("connections"), Value::Array(vec![]), "state was made");
    let counters = lab.get("counters");
    assert_eq!(counters["connections_opened"], 0, "{counters:#}");
}

// Conforms: ACL-07
#[test]
fn a_blocked_reply_is_dropped_where_it_is_blocked_and_the_request_arrives() {
    if !permitted() || !has("tcpdump") {
        return;
    }
    let lab = quickstart("reply");
    let arrivals = lab.listen("instance/cache", 6379);
    let mut capture = lab.exec(
        "instance/cache",
        &[
            "tcpdump",
            "-i",
            "eth0",
            "-n",
            "-l",
            "-c",
            "1",
            "--immediate-mode",
            "tcp[tcpflags] & tcp-syn != 0 and dst port 6379",
        ],
    );
    let capture = capture.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut capture = common::Killed(capture.spawn().unwrap());
    let mut ready = String::new();
    let mut errors = std::io::BufReader::new(capture.0.stderr.take().unwrap());
    while !ready.contains("listening on") {
        assert!(std::io::BufRead::read_line(&mut errors, &mut ready).unwrap() > 0, "{ready}");
    }

    let refused = lab.namespace("function/api/1").run(|| {
        std::net::TcpStream::connect_timeout(
            &"10.0.3.10:6379".parse().unwrap(),
            Duration::from_millis(300),
        )
    });
    assert!(refused.unwrap().is_err());

    // The request arrived: the capture ends with the first SYN it sees.
    let seen = std::io::read_to_string(capture.0.stdout.take().unwrap()).unwrap();
    assert!(seen.contains("10.0.1.4."), "{seen}");
    // The reply was dropped on its way out of the cache's subnet.
    let event = lab.wait_for_drop(|event| event["attachment"] == "instance/cache");
    assert_eq!(event["reason"], "SUBNET_ACL_RESTRICTION", "{event:#}");
    assert_eq!(event["flow"]["source_port"], 6379, "{event:#}");
    assert_eq!(event["request"]["source"], "169.254.100.2", "{event:#}");
    assert_eq!(event["request"]["destination"], "10.0.3.10", "{event:#}");
    drop(arrivals);

    // And that is what `explain` says.
    let explained = viaduct()
        .args(["explain", "--json", "--from", "function/api", "--to", "instance/cache"])
        .args(["--port", "tcp/6379"])
        .arg(repository("config/quickstart.yaml"))
        .output()
        .unwrap();
    assert_eq!(explained.status.code(), Some(1));
    let explained: Value = serde_json::from_slice(&explained.stdout).unwrap();
    assert_eq!(explained["verdict"], "deny");
    assert_eq!(explained["direction"], "return");
    assert_eq!(explained["reason"], "SUBNET_ACL_RESTRICTION");
}

#[test]
fn a_function_that_sends_from_another_address_is_told_apart() {
    if !permitted() || !has("ip") {
        return;
    }
    let lab = quickstart("spoof");
    for arguments in [
        ["ip", "address", "add", "10.0.1.99/32", "dev", "eth0"],
        ["ip", "address", "add", "169.254.100.9/32", "dev", "eth0"],
    ] {
        let output = lab.exec("function/api/1", &arguments).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    for source in ["10.0.1.99", "169.254.100.9"] {
        lab.namespace("function/api/1")
            .run(|| {
                let socket = UdpSocket::bind((source, 0)).unwrap();
                socket.send_to(b"hello", "10.0.2.10:5432").unwrap();
            })
            .unwrap();
        let event = lab.wait_for_drop(|event| of_flow(event, "udp", source, "10.0.2.10"));
        assert_eq!(event["reason"], "SPOOFED_SOURCE", "{event:#}");
    }
}
