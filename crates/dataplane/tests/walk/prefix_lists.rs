//! Prefix lists, in rules and in routes.

use viaduct_topology::Reason;

use crate::world::{FORWARD, Network, OPEN};

const BLACKHOLE: Reason = Reason::BadStateRoute;

fn network(prefix_lists: &'static str, main_routes: &'static str) -> Network {
    Network {
        prefix_lists,
        main_routes,
        groups: OPEN,
        functions: "api: { subnets: [main/a], security_groups: [main/open] }",
        internet: "web: { ip: 198.51.100.7 }",
        ..Network::default()
    }
}

#[test]
fn sg_06_a_prefix_list_stands_for_its_blocks() {
    let world = Network {
        prefix_lists: "
            offices: { entries: [10.0.1.0/24, 10.0.9.0/24], max_entries: 5 }
            six: { entries: [\"::/0\"] }",
        groups: "
            web: { ingress: [ { protocol: tcp, ports: 443, from: prefix_list/offices }, { protocol: tcp, ports: 444, from: six } ], egress: [ { protocol: tcp, ports: 443, to: offices } ] }
            open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }",
        instances: "
            web: { subnet: b, security_groups: [web] }
            near: { subnet: a, security_groups: [open] }
            far: { subnet: b, security_groups: [open] }",
        ..Network::default()
    }
    .world();
    let mismatch = Some((FORWARD, Reason::EniSgRulesMismatch));
    assert_eq!(world.ask("instance/near", "instance/web", "tcp/443"), None);
    assert_eq!(world.ask("instance/far", "instance/web", "tcp/443"), mismatch);
    assert_eq!(world.ask("instance/near", "instance/web", "tcp/444"), mismatch, "SG-16");
    assert_eq!(world.ask("instance/web", "instance/near", "tcp/443"), None);
    assert_eq!(world.ask("instance/web", "instance/far", "tcp/443"), mismatch);
    let explained = world.explain("instance/near", "instance/web", "tcp/443");
    let told = |rule: &str| explained.forward.iter().any(|hop| hop.rule.as_deref() == Some(rule));
    assert!(told("ingress allow tcp 443 from prefix_list/offices"), "{explained}");
}

#[test]
fn rt_05_a_longer_prefix_of_a_list_wins_over_a_static_route() {
    let world = network(
        "web: { entries: [198.51.100.0/24] }",
        "[ { destination: prefix_list/web, target: blackhole }, { destination: 198.51.0.0/16, target: nat_gateway/egress } ]",
    )
    .world();
    assert_eq!(world.ask("function/api", "internet/web", "tcp/443"), Some((FORWARD, BLACKHOLE)));
    let explained = world.explain("function/api", "internet/web", "tcp/443");
    assert_eq!(
        explained.blockers[0].rule.as_deref(),
        Some("198.51.100.0/24 of prefix_list/web to blackhole")
    );
}

#[test]
fn rt_06_a_static_route_wins_over_an_equal_one_of_a_list() {
    // Whichever stands first.
    for routes in [
        "[ { destination: web, target: blackhole }, { destination: 198.51.100.0/24, target: nat_gateway/egress } ]",
        "[ { destination: 198.51.100.0/24, target: nat_gateway/egress }, { destination: web, target: blackhole } ]",
    ] {
        let world = network("web: { entries: [198.51.100.0/24] }", routes).world();
        assert_eq!(world.ask("function/api", "internet/web", "tcp/443"), None, "{routes}");
    }
}

#[test]
fn rt_07_of_two_lists_with_one_block_the_first_in_the_file_counts() {
    let lists = "
        x: { entries: [198.51.100.0/24] }
        y: { entries: [203.0.113.128/25, 198.51.100.0/24] }";
    let first =
        "[ { destination: x, target: nat_gateway/egress }, { destination: y, target: blackhole } ]";
    let world = network(lists, first).world();
    assert_eq!(world.ask("function/api", "internet/web", "tcp/443"), None);
    assert_eq!(
        world.ask("function/api", "203.0.113.129", "tcp/443"),
        Some((FORWARD, BLACKHOLE)),
        "the other entries of the second list are routes all the same"
    );

    let second =
        "[ { destination: y, target: blackhole }, { destination: x, target: nat_gateway/egress } ]";
    let world = network(lists, second).world();
    assert_eq!(world.ask("function/api", "internet/web", "tcp/443"), Some((FORWARD, BLACKHOLE)));
}
