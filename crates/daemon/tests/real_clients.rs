//! boto3 and the AWS CLI as they come from PyPI, against a running daemon.
//!
//! `scripts/test` installs them and says in VIADUCT_AWS_CLIENTS where; without it the test is skipped.

mod common;

use std::{path::PathBuf, process::Command};

use common::{Daemon, TOPOLOGY};

/// Other zones, and delays of a second at most where the defaults have minutes. Two subnets, a group
/// and a zone are there for what happens when they are not any more.
fn topology() -> String {
    let subnet = "private: { cidr_block: 10.0.1.0/24, availability_zone: a }";
    let others = [
        subnet,
        "other: { cidr_block: 10.0.2.0/24, availability_zone: b }",
        "gone: { cidr_block: 10.0.4.0/28, availability_zone: a }",
        "tiny: { cidr_block: 10.0.5.0/28, availability_zone: a }",
        "far: { cidr_block: 10.0.6.0/24, availability_zone: c }",
    ];
    let text = TOPOLOGY.replace(subnet, &others.join("\n      "));
    let text = text.replace("    security_groups:\n", "    security_groups:\n      gone: {}\n");
    format!("settings: {{ lifecycle_scale: 1000 }}{text}")
}

#[test]
fn boto3_and_the_aws_cli_drive_the_life_of_a_function() {
    let Some(clients) = std::env::var_os("VIADUCT_AWS_CLIENTS").map(PathBuf::from) else {
        println!("skipped: boto3 is not installed; scripts/test does that");
        return;
    };
    let daemon = Daemon::start_with(|options| {
        std::fs::write(&options.topology, topology()).unwrap();
        options.lambda_api = Some("127.0.0.1:0".parse().unwrap());
    });
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real_clients.py");
    let address = daemon.lambda_api.unwrap();
    let output = Command::new(clients.join("bin/python"))
        .args([script, &format!("http://{address}")])
        .args([&daemon.control_socket, &daemon.options.topology])
        .env_clear()
        .env("PATH", clients.join("bin"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let (said, wrong) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}");
    assert!(said.ends_with("all is as it should be\n"), "{said}\n{wrong}");
}
