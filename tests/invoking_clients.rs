//! Invoke by boto3 and the AWS CLI as they come from PyPI, with an agent that runs what they ask for.
//!
//! `scripts/test` installs them and says in VIADUCT_AWS_CLIENTS where; without it the test is skipped.

mod common;

use std::{path::PathBuf, process::Command};

use common::{lambda::NETWORK, permitted, repository, said, service::Service};

#[test]
fn boto3_and_the_aws_cli_invoke_what_an_agent_runs() {
    if !permitted() {
        return;
    }
    let Some(clients) = std::env::var_os("VIADUCT_AWS_CLIENTS").map(PathBuf::from) else {
        println!("skipped: boto3 is not installed; scripts/test does that");
        return;
    };
    let port = ["--lambda-api", "127.0.0.1:0"];
    let service = Service::start("clients", NETWORK, &port, &["--concurrency", "2"]);
    let output = Command::new(clients.join("bin/python"))
        .arg(repository("tests/probes/invoking_clients.py"))
        .arg(format!("http://{}", service.port()))
        .env_clear()
        .env("PATH", clients.join("bin"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(output.stdout.ends_with(b"all is as it should be\n"), "{}", said(&output));
}
