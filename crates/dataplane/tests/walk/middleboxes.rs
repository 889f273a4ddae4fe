//! Middleboxes: routes more specific than local, and instances that forward for others.

use viaduct_topology::Reason;

use crate::world::{FORWARD, Network, RETURN};

/// `client` in `a` and `server` in `b`, and the appliance `fw` in a subnet of its own, whose table is
/// the main one. `a` and `b` have tables of their own, with nothing in them but what a test says.
fn network(routes_of_a: &str, routes_of_b: &str) -> Network {
    let tables =
        format!("from-a: {{ routes: {routes_of_a} }}\nfrom-b: {{ routes: {routes_of_b} }}");
    Network {
        subnets: "
            clients: { cidr_block: 10.0.11.0/24, route_table: from-a }
            servers: { cidr_block: 10.0.12.0/24, route_table: from-b }",
        route_tables: tables.leak(),
        groups: "
            open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
            client: { ingress: [ { protocol: icmp, from: 0.0.0.0/0 } ] }
            server: { ingress: [ { protocol: tcp, ports: 443, from: 10.0.11.0/24 }, { protocol: tcp, ports: 444, from: client } ] }",
        instances: "
            client: { subnet: clients, private_ip: 10.0.11.10, security_groups: [client] }
            neighbour: { subnet: clients, private_ip: 10.0.11.11, security_groups: [open] }
            server: { subnet: servers, private_ip: 10.0.12.10, security_groups: [server] }
            fw: { subnet: a, private_ip: 10.0.1.10, security_groups: [open], source_dest_check: false }
            closed: { subnet: a, private_ip: 10.0.1.11, security_groups: [client], source_dest_check: false }
            strict: { subnet: a, private_ip: 10.0.1.12, security_groups: [open] }",
        functions: "api: { subnets: [main/clients], security_groups: [main/open] }",
        internet: "web: { ip: 198.51.100.7 }",
        ..Network::default()
    }
}

const THERE: &str = "[ { destination: 10.0.12.0/24, target: instance/fw } ]";
const BACK: &str = "[ { destination: 10.0.11.0/24, target: instance/fw } ]";

#[test]
fn rt_09_a_route_to_a_whole_subnet_leads_through_an_appliance() {
    let world = network(THERE, BACK).world();
    assert_eq!(world.ask("instance/client", "instance/server", "tcp/443"), None);
    assert_eq!(world.ask("function/api", "instance/server", "tcp/443"), None);
    let explained = world.explain("instance/client", "instance/server", "tcp/443");
    let delivered: Vec<_> = explained
        .forward
        .iter()
        .filter(|hop| hop.check.starts_with("delivered"))
        .map(|hop| hop.name.as_str())
        .collect();
    assert_eq!(delivered, ["instance/fw", "instance/server"], "{explained}");
    // Whatever is in no such subnet is local.
    assert_eq!(world.ask("instance/client", "instance/fw", "tcp/80"), None);
}

#[test]
fn rt_10_the_local_route_itself_can_be_led_elsewhere() {
    let all = "[ { destination: 10.0.0.0/16, target: fw } ]";
    let world = network(all, all).world();
    assert_eq!(world.ask("instance/client", "instance/server", "tcp/443"), None);
    let through_nat = network("[ { destination: 10.0.0.0/16, target: nat_gateway/egress } ]", "[]");
    let world = through_nat.world();
    let server = "instance/server";
    let mismatch = Some((FORWARD, Reason::EniSgRulesMismatch));
    assert_eq!(world.ask("instance/client", server, "tcp/443"), mismatch, "the source is NAT's");
    assert_eq!(world.ask("instance/client", "instance/fw", "tcp/443"), None);
    let seen = world.seen_source("instance/client", "instance/fw", "tcp/443");
    assert_eq!(seen, std::net::Ipv4Addr::new(10, 0, 9, 9));
}

#[test]
fn rt_19_a_reply_that_bypasses_the_appliance_is_asymmetric() {
    let world = network(THERE, "[]").world();
    let asymmetric = Some((RETURN, Reason::AsymmetricReturnPath));
    assert_eq!(world.ask("instance/client", "instance/server", "tcp/443"), asymmetric);
    let world = network("[]", BACK).world();
    assert_eq!(world.ask("instance/client", "instance/server", "tcp/443"), asymmetric);
}

/// Only whoever is addressed is reached without a route: past an appliance in its own subnet, a
/// reply goes straight to the client.
#[test]
fn rt_19_an_appliance_in_the_receivers_subnet_is_bypassed() {
    let beside = |routes_of_b| Network {
        subnets: "
            clients: { cidr_block: 10.0.11.0/24, route_table: from-a }
            servers: { cidr_block: 10.0.12.0/24, route_table: from-b }",
        instances: "
            client: { subnet: clients, security_groups: [open] }
            server: { subnet: servers, security_groups: [open] }
            fw: { subnet: servers, security_groups: [open], source_dest_check: false }",
        functions: "",
        ..network(THERE, routes_of_b)
    };
    let asymmetric = Some((RETURN, Reason::AsymmetricReturnPath));
    // A route does not help: the appliance uses it too, and what it sends comes back to it.
    for routes_of_b in ["[]", BACK] {
        let world = beside(routes_of_b).world();
        assert_eq!(world.ask("instance/client", "instance/server", "tcp/443"), asymmetric);
    }
}

#[test]
fn rt_20_hosts_of_one_subnet_reach_each_other_past_the_appliance() {
    let own = "[ { destination: 10.0.11.0/24, target: closed } ]";
    let world = network(own, "[]").world();
    assert_eq!(world.ask("instance/client", "instance/neighbour", "tcp/443"), None);
}

#[test]
fn rt_21_an_instance_that_checks_addresses_forwards_nothing() {
    let world = network("[ { destination: 10.0.12.0/24, target: strict } ]", BACK).world();
    let checked = Some((FORWARD, Reason::EniSourceDestCheckRestriction));
    assert_eq!(world.ask("instance/client", "instance/server", "tcp/443"), checked);
    let none = network("[ { destination: 10.0.12.0/24, target: blackhole } ]", "[]").world();
    let blackhole = Some((FORWARD, Reason::BadStateRoute));
    assert_eq!(none.ask("instance/client", "instance/server", "tcp/443"), blackhole);
}

#[test]
fn the_appliances_own_groups_judge_what_it_is_led() {
    let world = network("[ { destination: 10.0.12.0/24, target: closed } ]", BACK).world();
    assert_eq!(
        world.ask("instance/client", "instance/server", "tcp/443"),
        Some((FORWARD, Reason::EniSgRulesMismatch))
    );
}

#[test]
fn sg_10_behind_an_appliance_references_do_not_match() {
    let (client, server) = ("instance/client", "instance/server");
    assert_eq!(network("[]", "[]").world().ask(client, server, "tcp/444"), None);
    let world = network(THERE, BACK).world();
    let hidden = Some((FORWARD, Reason::SgReferencesNotPreserved));
    assert_eq!(world.ask(client, server, "tcp/444"), hidden);
    let explained = world.explain(client, server, "tcp/444");
    assert_eq!(
        explained.blockers[0].rule.as_deref(),
        Some(
            "ingress allow tcp 444 from main/security_group/client does not match behind a middlebox"
        )
    );
    // Whoever is no member is refused as always.
    let mismatch = Some((FORWARD, Reason::EniSgRulesMismatch));
    assert_eq!(world.ask("instance/neighbour", server, "tcp/444"), mismatch);
}

/// So too where the group is one of a peered VPC (SG-09).
#[test]
fn sg_10_an_appliance_hides_a_sender_from_a_peered_vpc() {
    let to_there = |target: &str| {
        let routes = format!("[ {{ destination: 10.1.0.0/16, target: {target} }} ]");
        Network {
            main_routes: "[ { destination: 10.1.0.0/16, target: near } ]",
            vpcs: "
            there: { cidr_blocks: [10.1.0.0/16], subnets: { x: { cidr_block: 10.1.1.0/24 } }, route_tables: { main: { routes: [ { destination: 10.0.0.0/16, target: near } ] } }, security_groups: { it: { ingress: [ { protocol: tcp, ports: 443, from: main/security_group/client } ] } }, instances: { there: { subnet: x, private_ip: 10.1.1.10, security_groups: [it] } } }",
            peerings: "near: { requester: main, accepter: there }",
            ..network(routes.leak(), "[]")
        }
    };
    let (client, there) = ("instance/client", "instance/there");
    assert_eq!(to_there("near").world().ask(client, there, "tcp/443"), None);
    let hidden = Some((FORWARD, Reason::SgReferencesNotPreserved));
    assert_eq!(to_there("fw").world().ask(client, there, "tcp/443"), hidden);
}

#[test]
fn a_route_that_leads_back_to_the_appliance_is_a_loop() {
    let world = Network {
        main_routes: "[ { destination: 10.0.12.0/24, target: fw } ]",
        ..network(THERE, BACK)
    }
    .world();
    let looped = Some((FORWARD, Reason::RoutingLoop));
    assert_eq!(world.ask("instance/client", "instance/server", "tcp/443"), looped);

    // Two that send it to each other.
    let world = Network {
        subnets: "
            clients: { cidr_block: 10.0.11.0/24, route_table: from-a }
            servers: { cidr_block: 10.0.12.0/24, route_table: from-b }
            second: { cidr_block: 10.0.13.0/24, route_table: from-a }",
        main_routes: "[ { destination: 10.0.12.0/24, target: other } ]",
        instances: "
            client: { subnet: clients, security_groups: [open] }
            server: { subnet: servers, security_groups: [open] }
            fw: { subnet: a, security_groups: [open], source_dest_check: false }
            other: { subnet: second, security_groups: [open], source_dest_check: false }",
        functions: "",
        ..network(THERE, "[]")
    }
    .world();
    assert_eq!(world.ask("instance/client", "instance/server", "tcp/443"), looped);
}

// Conforms: ACL-08
#[test]
fn acl_08_each_border_on_the_way_through_an_appliance_is_crossed() {
    let world = Network {
        acls: "strict: { ingress: { 100: { action: allow, protocol: tcp, ports: 80, cidr_block: 0.0.0.0/0 } }, egress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } } }",
        acl_of: &[("a", "strict")],
        ..network(THERE, BACK)
    }
    .world();
    assert_eq!(
        world.ask("instance/client", "instance/server", "tcp/443"),
        Some((FORWARD, Reason::SubnetAclRestriction))
    );
}
