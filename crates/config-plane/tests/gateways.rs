//! Gateways beyond the ordinary: tables of internet gateways, NAT gateways that are not there.

use viaduct_config_plane::{Loaded, Problems, load};
use viaduct_topology::model::{NatGatewayState, RouteTarget};

/// A VPC whose internet gateway has the table `edge` with these routes.
fn led(routes: &str, instance: &str) -> Result<Loaded, Problems> {
    let text = format!(
        "
prefix_lists: {{ list: {{ entries: [10.0.1.0/24] }} }}
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16, 10.1.0.0/16]
    internet_gateway: {{ name: igw, route_table: edge }}
    subnets:
      web: {{ cidr_block: 10.0.1.0/24, route_table: public }}
      box: {{ cidr_block: 10.0.2.0/24, route_table: public }}
    route_tables:
      edge: {{ routes: [{routes}] }}
      public: {{ routes: [{{ destination: 0.0.0.0/0, target: igw }}] }}
    nat_gateways: {{ nat: {{ subnet: box, connectivity_type: private }} }}
    vpc_endpoints: {{ s3: {{ type: gateway, service: s3, route_tables: [public] }} }}
    instances:
      box: {{ subnet: box, source_dest_check: false{instance} }}
services: {{ s3: {{ prefix_list: [198.18.0.0/24] }} }}
"
    );
    load("gateways.yaml", &text)
}

/// What is said, each with the text it is about.
fn told(loaded: Result<Loaded, Problems>) -> Vec<String> {
    let problems = loaded.map_or_else(|problems| problems, |loaded| loaded.warnings);
    problems
        .diagnostics()
        .map(|it| format!("{}: {}: {}", it.severity, it.text, it.message))
        .collect()
}

const PUBLIC: &str = ", public_ip: 203.0.113.9";

#[test]
fn rt_16_a_gateways_table_leads_whole_subnets_and_blocks_to_instances() {
    let routes = "{ destination: 10.0.1.0/24, target: instance/box }, \
                  { destination: 10.1.0.0/16, target: box }, \
                  { destination: 10.0.0.0/16, target: local }";
    let loaded = led(routes, PUBLIC).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let gateway = loaded.topology.internet_gateways.values().next().unwrap();
    let table = &loaded.topology.route_tables[gateway.route_table.unwrap()];
    assert_eq!(table.name, "edge");
    let targets: Vec<String> = table
        .routes
        .iter()
        .map(|route| {
            let local = route.target == RouteTarget::Local;
            format!("{} {}", route.destination, if local { "local" } else { "led" })
        })
        .collect();
    assert_eq!(targets, ["10.0.0.0/16 local", "10.1.0.0/16 led", "10.0.1.0/24 led"]);
}

#[test]
fn rt_16_nothing_else_is_in_it() {
    for (route, expected) in [
        (
            "{ destination: 0.0.0.0/0, target: box }",
            "error: 0.0.0.0/0: `0.0.0.0/0` reaches beyond the VPC",
        ),
        (
            "{ destination: 192.0.2.0/24, target: box }",
            "error: 192.0.2.0/24: `192.0.2.0/24` reaches beyond the VPC",
        ),
        (
            "{ destination: prefix_list/list, target: box }",
            "error: prefix_list/list: `prefix_list/list` is a prefix list",
        ),
        (
            "{ destination: 10.0.1.0/24, target: nat }",
            "error: nat: `nat` cannot be the target here",
        ),
        (
            "{ destination: 10.0.1.0/24, target: blackhole }",
            "error: blackhole: `blackhole` cannot be the target here",
        ),
        (
            "{ destination: 10.0.1.128/25, target: box }",
            "error: 10.0.1.128/25: `10.0.1.128/25` is inside the VPC, where `10.0.0.0/16` is local",
        ),
    ] {
        assert_eq!(told(led(route, PUBLIC)), [expected]);
    }
}

#[test]
fn rt_18_an_instance_without_a_public_address_is_led_nothing() {
    assert_eq!(
        told(led("{ destination: 10.0.1.0/24, target: box }", "")),
        ["warning: box: instance `box` has no public address"]
    );
}

// Conforms: NAT-22
#[test]
fn nat_22_what_is_gone_has_given_its_addresses_back() {
    let text = |state: &str| {
        format!(
            "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    internet_gateway: igw
    subnets: {{ a: {{ cidr_block: 10.0.1.0/24, route_table: public }} }}
    route_tables: {{ public: {{ routes: [{{ destination: 0.0.0.0/0, target: igw }}] }} }}
    nat_gateways:
      old: {{ subnet: a, private_ip: 10.0.1.9, public_ips: [203.0.113.9], state: {state} }}
      new: {{ subnet: a, private_ip: 10.0.1.9, public_ips: [203.0.113.9] }}
"
        )
    };
    for state in ["deleted", "failed"] {
        let loaded = load("nat.yaml", &text(state)).unwrap_or_else(|problems| panic!("{problems}"));
        let old = loaded.topology.nat_gateways.values().next().unwrap();
        assert_eq!((old.state.word(), old.public_ips.len(), old.private_ip), (state, 0, None));
    }
    for state in ["pending", "available", "deleting"] {
        let taken = [
            "error: 10.0.1.9: `10.0.1.9` is NAT gateway `old`'s already",
            "error: 203.0.113.9: `203.0.113.9` is NAT gateway `old`'s already",
        ];
        assert_eq!(told(load("nat.yaml", &text(state))), taken, "{state}");
    }
    assert_eq!(NatGatewayState::default(), NatGatewayState::Available);
}
