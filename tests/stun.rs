//! What a STUN client says of the ways to the internet (RFC 3489): its tests look at the mapping from
//! a server's two addresses, and let the server answer from the other address or port.

mod common;

use std::process::Stdio;

use common::{Killed, Lab, eventually, has, permitted, repository, said};

/// The client's report on its four tests: whether the server answered, whether it did from its other
/// address, from its other port, and whether it was answered there when asked itself.
fn tests(report: &str) -> Vec<bool> {
    ["test I = ", "test II = ", "test III = ", "test I(2) = "]
        .map(|test| report.split_once(test).is_some_and(|(_, rest)| rest.starts_with('1')))
        .to_vec()
}

// Conforms: NAT-12, IGW-03
#[test]
fn a_stun_client_finds_a_symmetric_nat_behind_a_nat_gateway() {
    if !permitted() || !has("stun") || !has("stund") {
        return;
    }
    let lab = Lab::of_file("stun", &repository("tests/probes/paths.yaml"));
    let server = ["stund", "-h", "198.51.100.1", "-a", "198.51.100.2"];
    let quiet =
        lab.exec("service/stun", &server).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _server = Killed(quiet.unwrap());
    let ask = |host: &str| {
        // Its exit status is a number for what it found.
        let output = lab.exec(host, &["stun", "198.51.100.1", "-v"]).output().unwrap();
        said(&output)
    };
    // Nothing lies between two addresses of the internet; and the server listens by now.
    let outside =
        eventually(|| Some(ask("internet/web")).filter(|it| it.contains("Primary: Open")));
    let outside = outside.unwrap_or_else(|| panic!("{}", ask("internet/web")));
    assert_eq!(tests(&outside), [true; 4], "{outside}");

    for host in ["function/probe", "instance/app"] {
        let report = ask(host);
        // Another port for the other destination, and no answer but from where the question went.
        assert!(report.contains("Primary: Dependent Mapping"), "{host}: {report}");
        assert!(report.contains("mapped IP same = 0"), "{host}: {report}");
        assert_eq!(tests(&report), [true, false, false, true], "{host}: {report}");
        assert!(report.contains("MappedAddress = 203.0.113.10:"), "{host}: {report}");
    }
    let refused = |port: u16, address: &str| {
        lab.wait_for_drop(|event| {
            event["reason"] == "NAT_GATEWAY_UNSOLICITED"
                && event["flow"]["source"] == address
                && event["flow"]["source_port"] == port
                && event["flow"]["destination"] == "203.0.113.10"
        });
    };
    refused(3478, "198.51.100.2");
    refused(3479, "198.51.100.1");

    // An internet gateway maps addresses and keeps no state; its groups let all in here.
    let report = ask("instance/public");
    assert!(report.contains("Independent Mapping, Independent Filter"), "{report}");
    assert!(report.contains("preserves ports"), "{report}");
    assert_eq!(tests(&report), [true; 4], "{report}");
}
