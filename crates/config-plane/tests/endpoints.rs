//! Services and endpoints: what a file leaves out, and the routes that endpoints bring.

use viaduct_config_plane::{Loaded, load};
use viaduct_topology::{
    Topology,
    model::{EndpointSubnet, Route, RouteTable, VpcEndpointKind},
};

/// A VPC with these routes in table `main` and these endpoints.
fn loaded(routes: &str, endpoints: &str) -> Loaded {
    let text = format!(
        "
prefix_lists: {{ own: {{ entries: [198.18.1.0/24, 192.0.2.0/24] }} }}
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a: {{ cidr_block: 10.0.1.0/24, availability_zone: a }}
      b: {{ cidr_block: 10.0.2.0/24, availability_zone: b }}
    route_tables: {{ main: {{ routes: [{routes}] }}, other: {{}} }}
    vpc_endpoints: {{ {endpoints} }}
services:
  s3: {{ prefix_list: [198.18.0.0/24, 198.18.1.0/24] }}
  single: {{ prefix_list: [198.18.2.7/32] }}
  pair: {{ prefix_list: [198.18.2.8/31], max_entries: 3 }}
  sqs: {{ ip: 198.18.3.1 }}
"
    );
    load("endpoints.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn topology(endpoints: &str) -> Topology {
    let loaded = loaded("", endpoints);
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.topology
}

fn table<'t>(topology: &'t Topology, name: &str) -> &'t RouteTable {
    topology.route_tables.values().find(|table| table.name == name).unwrap()
}

/// The routes behind the local one, as the difference of topologies would tell them.
fn routes(topology: &Topology, table: &str) -> Vec<String> {
    let line = |route: &Route| {
        let list = route.prefix_list.map(|list| format!(" of {}", topology.path(list)));
        format!("{}{} to {:?}", route.destination, list.unwrap_or_default(), route.target)
    };
    self::table(topology, table).routes.iter().skip(1).map(line).collect()
}

#[test]
fn a_services_address_is_the_first_usable_one_of_its_first_block() {
    let topology = topology("");
    let ips: Vec<String> =
        topology.services.values().map(|service| service.ip.to_string()).collect();
    assert_eq!(ips, ["198.18.0.1", "198.18.2.7", "198.18.2.8", "198.18.3.1"]);
}

#[test]
fn sg_31_a_services_list_has_its_name_and_weighs_one() {
    let topology = topology("");
    let lists: Vec<(&str, usize, u32)> = topology
        .prefix_lists
        .values()
        .map(|list| (list.name.as_str(), list.entries.len(), list.max_entries))
        .collect();
    assert_eq!(lists, [("own", 2, 2), ("s3", 2, 1), ("single", 1, 1), ("pair", 1, 3)]);
    let of_service: Vec<bool> =
        topology.services.values().map(|service| service.prefix_list.is_some()).collect();
    assert_eq!(of_service, [true, true, true, false]);
    for service in topology.services.values() {
        assert!(service.id.as_str().starts_with("vpce-svc-0"), "{}", service.id);
    }
}

#[test]
fn ep_02_a_gateway_endpoint_is_a_route_for_each_block_in_its_tables() {
    let topology = topology(
        "s3: { type: gateway, service: s3, route_tables: [main] }, p: { type: gateway, service: pair, route_tables: [other, main] }",
    );
    assert_eq!(
        routes(&topology, "main"),
        [
            "198.18.0.0/24 of prefix_list/s3 to VpcEndpoint(#0)",
            "198.18.1.0/24 of prefix_list/s3 to VpcEndpoint(#0)",
            "198.18.2.8/31 of prefix_list/pair to VpcEndpoint(#1)",
        ]
    );
    assert_eq!(
        routes(&topology, "other"),
        ["198.18.2.8/31 of prefix_list/pair to VpcEndpoint(#1)"]
    );
    let tables = |kind: &VpcEndpointKind| match kind {
        VpcEndpointKind::Gateway { route_tables } => route_tables.len(),
        other => panic!("{other:?}"),
    };
    let counts: Vec<usize> =
        topology.vpc_endpoints.values().map(|endpoint| tables(&endpoint.kind)).collect();
    assert_eq!(counts, [1, 2]);
}

// Conforms: RT-08
#[test]
fn rt_08_an_equal_route_of_the_file_wins_over_the_endpoints() {
    let loaded = loaded(
        "{ destination: 198.18.0.0/24, target: blackhole }",
        "s3: { type: gateway, service: s3, route_tables: [main] }",
    );
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(
        routes(&loaded.topology, "main"),
        ["198.18.0.0/24 to Blackhole", "198.18.1.0/24 of prefix_list/s3 to VpcEndpoint(#0)",]
    );
}

#[test]
fn rt_07_an_equal_entry_of_another_list_wins_with_a_warning() {
    let loaded = loaded(
        "{ destination: prefix_list/own, target: blackhole }",
        "s3: { type: gateway, service: s3, route_tables: [main] }",
    );
    let warnings: Vec<String> =
        loaded.warnings.diagnostics().map(|it| format!("{}: {}", it.text, it.message)).collect();
    assert_eq!(warnings, ["main: `198.18.1.0/24` is in `prefix_list/own` too"]);
    assert_eq!(
        routes(&loaded.topology, "main"),
        [
            "198.18.1.0/24 of prefix_list/own to Blackhole",
            "192.0.2.0/24 of prefix_list/own to Blackhole",
            "198.18.0.0/24 of prefix_list/s3 to VpcEndpoint(#0)",
        ]
    );
}

#[test]
fn rt_23_an_endpoints_routes_count_as_the_lists_max_entries() {
    let most: Vec<String> = (0..498)
        .map(|number| {
            let (high, low) = (number / 256, number % 256);
            format!("{{ destination: 203.{high}.{low}.0/24, target: blackhole }}")
        })
        .collect();
    let endpoint =
        |service| format!("e: {{ type: gateway, service: {service}, route_tables: [main] }}");
    assert!(loaded(&most.join(", "), &endpoint("s3")).warnings.is_empty());
    let warnings = loaded(&most.join(", "), &endpoint("pair")).warnings;
    let messages: Vec<&str> = warnings.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(messages, ["501 routes; AWS allows 500 unless the quota is raised"]);
}

#[test]
fn ep_09_an_interface_endpoint_has_the_default_group_and_an_address_in_each_subnet() {
    let topology = topology(
        "one: { type: interface, service: sqs, subnets: [b, a], private_ips: [10.0.2.9, 10.0.1.9] }, \
         two: { type: interface, service: s3, subnets: [a], private_dns_enabled: false }",
    );
    let vpc = topology.vpcs.values().next().unwrap();
    let kinds: Vec<(Vec<String>, bool)> = topology
        .vpc_endpoints
        .values()
        .map(|endpoint| match &endpoint.kind {
            VpcEndpointKind::Interface { subnets, security_groups, private_dns_enabled } => {
                assert_eq!(*security_groups, [vpc.default_security_group]);
                let place = |EndpointSubnet { subnet, private_ip }: &EndpointSubnet| {
                    format!("{} {private_ip:?}", topology.subnets[*subnet].name)
                };
                (subnets.iter().map(place).collect(), *private_dns_enabled)
            }
            other => panic!("{other:?}"),
        })
        .collect();
    let place = |text: &str| text.to_owned();
    assert_eq!(
        kinds,
        [
            (vec![place("b Some(10.0.2.9)"), place("a Some(10.0.1.9)")], true),
            (vec![place("a None")], false),
        ]
    );
}
