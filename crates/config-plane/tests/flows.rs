//! Endpoints and traffic as the command line takes them.

use viaduct_config_plane::load;
use viaduct_topology::{Topology, flow::parse_traffic, model::Endpoint};

const TEXT: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets: { a: { cidr_block: 10.0.0.0/24 } }
    instances: { db: { subnet: a }, web: { subnet: a } }
  other:
    cidr_blocks: [10.0.0.0/16]
    subnets: { a: { cidr_block: 10.0.0.0/24 } }
    instances: { db: { subnet: a } }
functions:
  api: { subnets: [main/a], security_groups: [default], environments: 2 }
internet:
  web: { ip: 198.51.100.7 }
";

fn topology() -> Topology {
    load("flows.yaml", TEXT).unwrap_or_else(|problems| panic!("{problems}")).topology
}

#[test]
fn endpoints_are_read_and_written_alike() {
    let topology = topology();
    for (written, canonical) in [
        ("function/api", "function/api"),
        ("api", "function/api"),
        ("function/api/2", "function/api/2"),
        ("api/1", "function/api/1"),
        ("main/instance/db", "main/instance/db"),
        ("other/db", "other/instance/db"),
        ("instance/web", "instance/web"),
        ("main/web", "instance/web"),
        ("internet/web", "internet/web"),
        ("10.0.0.9", "10.0.0.9"),
    ] {
        let endpoint = topology.parse_endpoint(written);
        let endpoint = endpoint.unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(topology.endpoint(&endpoint), canonical, "{written}");
        assert_eq!(topology.parse_endpoint(canonical), Ok(endpoint), "{canonical}");
    }
}

#[test]
fn what_means_nothing_or_too_much_is_explained() {
    let topology = topology();
    for (written, message, help) in [
        (
            "db",
            "`db` can mean several things",
            "write one of `main/instance/db`, `other/instance/db`",
        ),
        (
            "web",
            "`web` can mean several things",
            "write one of `main/instance/web`, `internet/web`",
        ),
        ("function/apu", "there is no function `apu`", "did you mean `function/api`?"),
        ("function/db", "there is no function `db`", "`db` is an instance"),
        ("api/3", "`api` has no environment 3", "its environments are 1 to 2"),
        ("function/api/0", "`function/api` has no environment 0", "its environments are 1 to 2"),
        (
            "subnet/a",
            "`subnet/a` is a subnet",
            "expected a function, an instance, an internet host, a service or an endpoint",
        ),
        (
            "",
            "there is no function, instance, internet host, service or endpoint ``",
            "there are: `api`, `db`, `web`",
        ),
        ("::1", "IPv6 is not forwarded yet", "use an IPv4 address"),
    ] {
        let error = topology.parse_endpoint(written).expect_err(written);
        assert_eq!(
            (error.message.as_str(), error.help.as_deref()),
            (message, Some(help)),
            "{written}"
        );
    }
}

#[test]
fn traffic_is_read_and_written_alike() {
    for (written, shown) in [
        ("tcp/5432", "tcp/5432"),
        ("UDP/53", "udp/53"),
        ("icmp", "icmp echo request"),
        ("icmp/8", "icmp echo request"),
        ("icmp/13", "icmp type 13 code 0"),
        ("ICMP/8/1", "icmp type 8 code 1"),
        ("protocol/47", "protocol/47"),
    ] {
        assert_eq!(parse_traffic(written).map(|traffic| traffic.to_string()), Ok(shown.to_owned()));
    }
    for wrong in [
        "",
        "tcp",
        "tcp/",
        "tcp/65536",
        "tcp/1-2",
        "5432",
        "icmp/",
        "icmp/256",
        "icmp/8/",
        "icmp/8/256",
        "icmp/8/0/0",
        "icmp/3/4",
        "icmp/0",
        "protocol/6",
        "sctp/1",
    ] {
        assert!(parse_traffic(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_handle_has_a_path_and_an_id() {
    let topology = topology();
    let Ok(Endpoint::Instance(db)) = topology.parse_endpoint("other/db") else { panic!() };
    assert_eq!(topology.path(db), "other/instance/db");
    assert_eq!(topology.short_path(db), "other/instance/db");
    let Ok(Endpoint::Instance(web)) = topology.parse_endpoint("main/web") else { panic!() };
    assert_eq!(topology.short_path(web), "instance/web");
    assert!(topology.instances[db].id.as_str().starts_with("i-0"));
}

#[test]
fn an_endpoint_of_a_service_that_does_not_exist_is_no_end_either() {
    let text = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets: { a: { cidr_block: 10.0.0.0/24 } }
    route_tables: { main: {} }
    instances: { db: { subnet: a } }
    vpc_endpoints:
      store: { type: gateway, service: nowhere, route_tables: [main] }
      neither: { service: nowhere }
expect:
  - { from: instance/db, to: vpc_endpoint/store, port: tcp/443, verdict: allow }
  - { from: instance/db, to: vpc_endpoint/neither, port: tcp/443, verdict: allow }
";
    let problems = load("nowhere.yaml", text).expect_err("there is no such service");
    let told: Vec<String> =
        problems.iter().map(|it| format!("{} {:?}", it.message, it.help)).collect();
    assert_eq!(
        told,
        [
            "there is no service `nowhere` Some(\"no service is declared\")",
            "endpoint `neither` has no `type` None",
            "there is no service `nowhere` Some(\"no service is declared\")",
            "`vpc_endpoint/store` is a gateway endpoint, which has no address None",
        ]
    );
}
