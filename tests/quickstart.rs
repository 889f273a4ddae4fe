//! The quickstart's network with ordinary programs: who gets through, and as whom.

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::Stdio,
    sync::mpsc,
};

use common::{Killed, LIMIT, Lab, has, permitted, repository, said, tell_peer, viaduct};

/// What the NAT gateway is seen as, and the function's ENI (the subnet's lowest free, ADR-01).
const NAT_GATEWAY: &str = "203.0.113.10";
const FUNCTION_ENI: &str = "10.0.1.4";

fn quickstart(scenario: &str) -> Lab {
    Lab::of_file(scenario, &repository("config/quickstart.yaml"))
}

#[test]
fn every_expectation_agrees_with_explain_and_with_packets() {
    if !permitted() {
        return;
    }
    for file in [
        "quickstart",
        "two-subnets",
        "hundred",
        "peering",
        "middlebox",
        "ingress-inspection",
        "endpoints",
        "lambda-endpoint",
        "two-tenants",
        "shared-subnet",
        "burst",
    ] {
        let name = common::unique(&format!("expect-{file}"));
        let path = repository(&format!("config/{file}.yaml"));
        let output =
            viaduct().args(["lab", "test", "--json", "--name", &name]).arg(path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{file}: {}", said(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["disagree"], 0);
        assert!(report["tried"].as_u64().unwrap() >= 4, "{report:#}");
    }
}

// Conforms: NAT-08
#[test]
fn the_web_host_sees_the_nat_gateway() {
    if !permitted() || !has("curl") || !has("python3") {
        return;
    }
    let lab = quickstart("web");
    let site = tempfile::tempdir().unwrap();
    std::fs::write(site.path().join("index.html"), "hello from the internet\n").unwrap();
    let server = lab
        .exec("internet/web", &["python3", "-u", "-m", "http.server", "80", "--directory"])
        .arg(site.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut server = Killed(server);
    let mut log = BufReader::new(server.0.stderr.take().unwrap());
    // It says so once it listens.
    let mut serving = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut serving).unwrap();

    let output = lab
        .exec("function/api", &["curl", "-sS", "--max-time", "20", "http://web/"])
        .output()
        .unwrap();

    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "hello from the internet\n",
        "{}",
        said(&output)
    );
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    assert!(line.starts_with(NAT_GATEWAY), "the access log says {line:?}");
}

// Conforms: LAM-09
#[test]
fn an_instance_sees_the_eni_and_never_the_function() {
    if !permitted() || !has("tcpdump") {
        return;
    }
    let lab = quickstart("eni");
    lab.serve("instance/db", 5432, tell_peer);
    let capture = lab
        .exec("instance/db", &["tcpdump", "-i", "eth0", "-n", "-l", "--immediate-mode", "tcp"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut capture = Killed(capture);
    let mut errors = BufReader::new(capture.0.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("listening on") {
        assert!(errors.read_line(&mut said).unwrap() > 0, "tcpdump ended: {said}");
    }
    let (packets, seen) = mpsc::channel();
    let lines = BufReader::new(capture.0.stdout.take().unwrap()).lines();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| packets.send(line)));

    assert_eq!(lab.ask("function/api/1", "10.0.2.10:5432", "").unwrap(), FUNCTION_ENI);

    // Request, answer, end: at least the first handshake and what closes the connection.
    for _ in 0..6 {
        let packet = seen.recv_timeout(LIMIT).expect("the capture shows the connection");
        assert!(packet.contains(&format!("{FUNCTION_ENI}.")), "another peer in {packet:?}");
        assert!(!packet.contains("169.254."), "the function's own address in {packet:?}");
    }
}

#[test]
fn exec_passes_input_output_and_the_exit_code() {
    if !permitted() {
        return;
    }
    let lab = quickstart("exec");
    let mut child = lab
        .exec("function/api/2", &["sh", "-c", "cat; cat /etc/hosts; exit 7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"from outside\n").unwrap();
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert!(output.starts_with("from outside\n127.0.0.1 localhost\n"), "{output}");
    assert!(output.contains("10.0.2.10 db\n"), "{output}");

    let unknown = lab.exec("instance/dbx", &["true"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said(&unknown).contains("has no host `instance/dbx`"), "{}", said(&unknown));
}

#[test]
fn down_names_the_processes_that_people_left_inside() {
    if !permitted() || !has("sleep") {
        return;
    }
    let lab = quickstart("left");
    let mut left = lab.exec("function/api", &["sh", "-c", "echo inside; exec sleep 1000"]);
    let mut left = Killed(left.stdout(Stdio::piped()).spawn().unwrap());
    let mut inside = String::new();
    BufReader::new(left.0.stdout.take().unwrap()).read_line(&mut inside).unwrap();
    let down = lab.down();
    assert!(said(&down).contains(&left.0.id().to_string()), "{}", said(&down));
    assert!(left.0.try_wait().unwrap().is_none(), "it is theirs to end");
}

#[test]
fn a_lab_that_is_up_is_not_brought_up_again() {
    if !permitted() {
        return;
    }
    let lab = quickstart("twice");
    let again = viaduct()
        .args(["lab", "up", "--name", &lab.name])
        .arg(repository("config/quickstart.yaml"))
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(said(&again).contains("is up already"), "{}", said(&again));
    lab.serve("instance/db", 5432, tell_peer);
    assert_eq!(lab.ask("function/api/1", "10.0.2.10:5432", "").unwrap(), FUNCTION_ENI);
    let twice = [lab.down(), lab.down()].map(|output| output.status.code());
    assert_eq!(twice, [Some(0), Some(0)]);
}
