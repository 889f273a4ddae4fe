//! What fails on purpose, with real packets: zones (LAM-18) and ENIs (LAM-08).

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use common::{Lab, eventually, permitted, said, tell_peer, viaduct};

const NETWORK: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a: { cidr_block: 10.0.1.0/24, availability_zone: a }
      b: { cidr_block: 10.0.2.0/24, availability_zone: b }
    security_groups:
      fn: {}
      db: { ingress: [ { protocol: tcp, ports: 7-8, from: security_group/fn } ] }
    instances: { db: { subnet: b, private_ip: 10.0.2.10, security_groups: [db] } }
functions:
  api: { subnets: [main/a, main/b], security_groups: [main/fn], environments: 2 }
";

/// Gives each byte back.
const ECHO: &str = "10.0.2.10:7";

/// Says where a connection came from.
const WHO: &str = "10.0.2.10:8";

fn lab(scenario: &str) -> Lab {
    let lab = Lab::of(scenario, NETWORK);
    lab.serve("instance/db", 7, |mut stream| {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    });
    lab.serve("instance/db", 8, tell_peer);
    lab
}

fn fault(lab: &Lab, arguments: &[&str]) {
    let mut fault = viaduct();
    let output = fault.arg("fault").args(arguments).args(["--lab", &lab.name]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

fn echoed(stream: &mut TcpStream, byte: u8) -> u8 {
    stream.write_all(&[byte]).unwrap();
    back(stream)
}

fn back(stream: &mut TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}

// Facts: LAM-18
#[test]
fn lam_18_a_zone_that_fails_takes_nothing_but_itself() {
    if !permitted() {
        return;
    }
    let lab = lab("zone-fails");
    let mut held = lab.connect("function/api/1", ECHO).unwrap();
    assert_eq!(echoed(&mut held, b'1'), b'1');

    fault(&lab, &["zone", "a"]);
    assert_eq!(lab.get("status")["failed_zones"], serde_json::json!(["a"]));
    held.write_all(b"2").unwrap();
    lab.wait_for_drop(|drop| {
        drop["reason"] == "ZONE_UNAVAILABLE" && drop["attachment"] == "function/api/1"
    });
    let other = lab.ask("function/api/2", WHO, "").unwrap();
    assert!(other.starts_with("10.0.2."), "{other}");

    fault(&lab, &["zone", "a", "--end"]);
    // Its kernel sends it again.
    assert_eq!(back(&mut held), b'2', "the connection has outlived its zone's failure");
    let one = lab.ask("function/api/1", WHO, "").unwrap();
    assert!(one.starts_with("10.0.1."), "{one}");
}

// Facts: LAM-08
#[test]
fn lam_08_an_eni_that_fails_its_check_is_replaced_and_loses_no_connection() {
    if !permitted() {
        return;
    }
    let lab = lab("eni-fails");
    let before = lab.ask("function/api/1", WHO, "").unwrap();
    let mut held = lab.connect("function/api/1", ECHO).unwrap();
    let enis = lab.get("enis");
    let old = enis.as_array().unwrap().iter().find(|eni| eni["private_ip"] == *before);
    let old = old.unwrap_or_else(|| panic!("{before} among {enis:#}"))["id"].as_str().unwrap();

    fault(&lab, &["eni", old]);
    let moved = eventually(|| {
        let now = lab.ask("function/api/1", WHO, "").unwrap();
        (now != before).then_some(now)
    });
    let moved = moved.unwrap_or_else(|| panic!("{:#}", lab.get("enis")));
    assert!(moved.starts_with("10.0.1."), "in the same subnet: {moved}");
    assert_eq!(echoed(&mut held, b'3'), b'3', "by the old ENI: {:#}", lab.get("enis"));
    drop(held);
    let gone = || {
        let enis = lab.get("enis");
        let still = enis.as_array().unwrap().iter().any(|eni| eni["id"] == old);
        (!still).then_some(())
    };
    assert!(eventually(gone).is_some(), "{:#}", lab.get("enis"));
}
