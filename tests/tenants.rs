//! Two tenants with the same addresses at the same service, with real connections.

mod common;

use common::{Lab, permitted, repository, said, tell_peer};

/// Who the service sees, when this host connects to this address.
fn seen_from(lab: &Lab, host: &str, to: &str) -> String {
    lab.ask(host, to, "").unwrap_or_else(|error| panic!("{host} to {to}: {error}"))
}

// Conforms: RFC 4787 R7, EP-05
#[test]
fn tenants_share_a_service_and_never_an_address() {
    if !permitted() {
        return;
    }
    let lab = Lab::of_file("tenants", &repository("config/two-tenants.yaml"));
    for service in ["service/store", "service/api"] {
        lab.serve(service, 443, tell_peer);
    }
    let enis = lab.get("enis");
    let address = |owner: &str, kind: &str| {
        let eni = enis
            .as_array()
            .unwrap()
            .iter()
            .find(|eni| eni["kind"] == kind && eni["owner"].as_str().unwrap().ends_with(owner));
        let eni = eni.unwrap_or_else(|| panic!("no {kind} of {owner} in {enis:#}"));
        eni["private_ip"].as_str().unwrap().to_owned()
    };
    let sides = ["blue/vpc_endpoint/store", "green/vpc_endpoint/store", "blue/vpc_endpoint/api"]
        .map(|endpoint| address(endpoint, "service_side"));

    // Gateway endpoints: any address of the service.
    assert_eq!(seen_from(&lab, "function/blue/1", "198.18.0.1:443"), sides[0]);
    assert_eq!(seen_from(&lab, "function/green/1", "198.18.0.77:443"), sides[1]);
    // An interface endpoint is an address of the VPC.
    assert_eq!(address("blue/vpc_endpoint/api", "vpc_endpoint"), "10.0.1.20");
    assert_eq!(seen_from(&lab, "function/blue/1", "10.0.1.20:443"), sides[2]);
    // Past its endpoint, green comes from its NAT gateway.
    assert_eq!(seen_from(&lab, "function/green/1", "198.18.1.1:443"), "203.0.113.20");

    // EP-12: where the endpoint has the service's name, the name is the endpoint's address.
    for (host, name, expected) in [
        ("function/blue/1", "api", "10.0.1.20"),
        ("blue/instance/db", "api", "10.0.1.20"),
        ("internet/web", "api", "198.18.1.1"),
        ("function/blue/1", "store", "198.18.0.1"),
    ] {
        let output = lab.exec(host, &["getent", "hosts", name]).output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout);
        assert_eq!(answer.split_whitespace().next(), Some(expected), "{host}: {}", said(&output));
    }
    let kinds = lab.get("attachments");
    let services = kinds.as_array().unwrap().iter().filter(|host| host["kind"] == "service");
    assert_eq!(services.count(), 2, "{kinds:#}");
}
