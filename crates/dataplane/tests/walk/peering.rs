//! Peering connections: two VPCs, and only those two.

use viaduct_topology::Reason;

use crate::world::{FORWARD, Network, OPEN, RETURN, World};

const TO_THERE: &str = "[ { destination: 10.1.0.0/16, target: vpc_peering_connection/near } ]";

/// `main` is peered with `there`, and `there` with `beyond`; each table leads to its peer.
fn network() -> Network {
    Network {
        main_routes: TO_THERE,
        groups: OPEN,
        instances: "here: { subnet: a, private_ip: 10.0.1.10, security_groups: [open] }",
        functions: "api: { subnets: [main/a], security_groups: [main/open] }",
        vpcs: "
            there: { cidr_blocks: [10.1.0.0/16], subnets: { x: { cidr_block: 10.1.1.0/24 } }, route_tables: { main: { routes: [ { destination: 10.0.0.0/16, target: near }, { destination: 10.2.0.0/16, target: far } ] } }, security_groups: { open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] } }, instances: { there: { subnet: x, private_ip: 10.1.1.10, security_groups: [open] } } }
            beyond: { cidr_blocks: [10.2.0.0/16], subnets: { y: { cidr_block: 10.2.1.0/24 } }, route_tables: { main: { routes: [ { destination: 10.1.0.0/16, target: far } ] } }, security_groups: { open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] } }, instances: { beyond: { subnet: y, private_ip: 10.2.1.10, security_groups: [open] } } }",
        peerings: "
            near: { requester: main, accepter: there }
            far: { requester: beyond, accepter: there }",
        ..Network::default()
    }
}

/// `main` and `there` with these routes in `there`'s table and this group on its instance.
fn pair(routes: &str, group: &str) -> World {
    let vpc = format!(
        "there: {{ cidr_blocks: [10.1.0.0/16], subnets: {{ x: {{ cidr_block: 10.1.1.0/24 }} }}, route_tables: {{ main: {{ routes: {routes} }} }}, security_groups: {{ it: {group} }}, instances: {{ there: {{ subnet: x, private_ip: 10.1.1.10, security_groups: [it] }} }} }}"
    );
    Network {
        vpcs: vpc.leak(),
        peerings: "near: { requester: there, accepter: main }",
        groups: "
            open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
            client: { egress: [ { protocol: tcp, ports: 443, to: there/security_group/it } ] }",
        instances: "
            here: { subnet: a, private_ip: 10.0.1.10, security_groups: [open] }
            client: { subnet: a, private_ip: 10.0.1.11, security_groups: [client] }",
        ..network()
    }
    .world()
}

const BACK: &str = "[ { destination: 10.0.0.0/16, target: near } ]";
const EVERYBODY: &str = "{ ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }";

#[test]
fn rt_28_peered_vpcs_reach_each_other_where_both_have_routes() {
    let world = network().world();
    assert_eq!(world.ask("instance/here", "instance/there", "tcp/443"), None);
    assert_eq!(world.ask("instance/there", "instance/here", "udp/53"), None);
    assert_eq!(world.ask("instance/there", "instance/beyond", "icmp"), None);
    assert_eq!(world.ask("function/api", "instance/there", "tcp/443"), None);
    let seen = world.seen_source("function/api", "instance/there", "tcp/443");
    assert_eq!(seen, std::net::Ipv4Addr::new(10, 0, 1, 4), "the ENI, and nothing in between");
    let explained = world.explain("instance/here", "instance/there", "tcp/443");
    let crossed = |hops: &[viaduct_dataplane::explain::Hop]| {
        hops.iter().filter(|hop| hop.name == "vpc_peering_connection/near").count()
    };
    assert_eq!((crossed(&explained.forward), crossed(&explained.back)), (1, 1), "{explained}");
}

#[test]
fn rt_28_without_a_route_back_the_reply_is_dropped() {
    let world = pair("[]", EVERYBODY);
    let no_route = Some((RETURN, Reason::NoRouteToDestination));
    assert_eq!(world.ask("instance/here", "instance/there", "tcp/443"), no_route);
    assert_eq!(
        world.ask("instance/there", "instance/here", "tcp/443"),
        Some((FORWARD, Reason::NoRouteToDestination))
    );
    let world = pair("[ { destination: 10.0.0.0/16, target: blackhole } ]", EVERYBODY);
    let blackhole = Some((RETURN, Reason::BadStateRoute));
    assert_eq!(world.ask("instance/here", "instance/there", "tcp/443"), blackhole);
}

#[test]
fn rt_28_peering_is_not_transitive() {
    let world = Network {
        main_routes: "[ { destination: 10.1.0.0/16, target: near }, { destination: 10.2.0.0/16, target: near } ]",
        ..network()
    }
    .world();
    let not_theirs = Some((FORWARD, Reason::PcxRequiresAddressInVpcCidr));
    assert_eq!(world.ask("instance/here", "instance/beyond", "tcp/443"), not_theirs);
    // Nor does it lead to the gateways of the other side.
    let world = Network {
        main_routes: "[ { destination: 0.0.0.0/0, target: near } ]",
        internet: "web: { ip: 198.51.100.7 }",
        ..network()
    }
    .world();
    assert_eq!(world.ask("instance/here", "internet/web", "tcp/443"), not_theirs);
    assert_eq!(world.ask("instance/here", "instance/there", "tcp/443"), None);
}

// Conforms: LAM-02
#[test]
fn lam_24_nothing_in_a_peered_vpc_opens_connections_to_a_function() {
    let world = network().world();
    let one_way = Some((FORWARD, Reason::V2nOneWay));
    assert_eq!(world.ask("instance/there", "function/api", "tcp/443"), one_way);
}

#[test]
fn sg_09_a_rule_can_name_a_group_of_a_peered_vpc() {
    let world = pair(
        BACK,
        "{ ingress: [ { protocol: tcp, ports: 443, from: main/security_group/client } ] }",
    );
    assert_eq!(world.ask("instance/client", "instance/there", "tcp/443"), None);
    let mismatch = Some((FORWARD, Reason::EniSgRulesMismatch));
    assert_eq!(world.ask("instance/here", "instance/there", "tcp/443"), mismatch, "no member");
    assert_eq!(world.ask("instance/client", "instance/here", "tcp/443"), mismatch);
    // Without a route nobody is there, so the group matches nobody.
    let strangers = Network { main_routes: "[]", ..network() };
    assert_eq!(
        strangers.world().ask("instance/here", "instance/there", "tcp/443"),
        Some((FORWARD, Reason::NoRouteToDestination))
    );
}

/// Addresses say nothing of the VPC that they are in: two peers of one VPC may have the same.
#[test]
fn sg_09_members_are_those_of_the_vpc_that_the_packet_comes_from() {
    let twin = |name: &str| {
        format!(
            "{name}: {{ cidr_blocks: [10.1.0.0/16], subnets: {{ x: {{ cidr_block: 10.1.1.0/24 }} }}, route_tables: {{ main: {{ routes: [ {{ destination: 10.0.0.0/16, target: to-{name} }} ] }} }}, security_groups: {{ it: {{}} }}, instances: {{ {name}: {{ subnet: x, private_ip: 10.1.1.10, security_groups: [it] }} }} }}\n"
        )
    };
    let world = Network {
        vpcs: (twin("left") + &twin("right")).leak(),
        peerings: "
            to-left: { requester: main, accepter: left }
            to-right: { requester: main, accepter: right }",
        main_routes: "[ { destination: 10.1.0.0/16, target: to-right } ]",
        groups: "db: { ingress: [ { protocol: tcp, ports: 5432, from: right/security_group/it } ] }",
        instances: "db: { subnet: a, private_ip: 10.0.1.10, security_groups: [db] }",
        functions: "",
        ..network()
    }
    .world();
    assert_eq!(world.ask("instance/right", "instance/db", "tcp/5432"), None);
    assert_eq!(
        world.ask("instance/left", "instance/db", "tcp/5432"),
        Some((FORWARD, Reason::EniSgRulesMismatch))
    );
}

// Conforms: NAT-17
#[test]
fn nat_17_replies_through_peering_find_the_nat_gateway_without_a_route() {
    let through_nat = |there: &str| {
        let vpc = format!(
            "there: {{ cidr_blocks: [10.1.0.0/16], subnets: {{ x: {{ cidr_block: 10.1.1.0/24 }} }}, route_tables: {{ main: {{ routes: {there} }} }}, security_groups: {{ it: {EVERYBODY} }}, instances: {{ there: {{ subnet: x, security_groups: [it] }} }} }}"
        );
        Network {
            vpcs: vpc.leak(),
            peerings: "near: { requester: main, accepter: there }",
            main_routes: "[ { destination: 10.1.0.0/16, target: nat_gateway/egress } ]",
            nat_routes: Some(TO_THERE),
            ..network()
        }
        .world()
    };
    for routes in ["[]", BACK] {
        let world = through_nat(routes);
        assert_eq!(world.ask("instance/here", "instance/there", "tcp/443"), None, "{routes}");
        let seen = world.seen_source("instance/here", "instance/there", "tcp/443");
        assert_eq!(seen, std::net::Ipv4Addr::new(10, 0, 9, 9));
    }
    // From the other side it is an address like any other, and no gateway.
    assert_eq!(
        through_nat(BACK).ask("instance/there", "10.0.9.9", "tcp/443"),
        Some((FORWARD, Reason::NatGatewayUnsolicited))
    );
}

// Conforms: NAT-01
#[test]
fn nat_01_a_private_nat_gateway_leads_to_a_peer_and_not_to_the_internet() {
    let world = Network {
        subnets: "
            shared: { cidr_block: 10.0.20.0/24, route_table: shared }
            hosts: { cidr_block: 10.0.21.0/24, route_table: inner }",
        route_tables: "
            shared: { routes: [ { destination: 10.1.0.0/16, target: near }, { destination: 0.0.0.0/0, target: igw } ] }
            inner: { routes: [ { destination: 0.0.0.0/0, target: nat_gateway/inner } ] }",
        internet: "web: { ip: 198.51.100.7 }",
        nat_gateways: "inner: { subnet: shared, connectivity_type: private, secondary_private_ip_address_count: 1 }",
        instances: "here: { subnet: hosts, security_groups: [open] }",
        functions: "",
        ..network()
    }
    .world();
    assert_eq!(world.ask("instance/here", "instance/there", "tcp/443"), None);
    let seen = world.seen_source("instance/here", "instance/there", "tcp/443");
    // Which of its two addresses is the sender's own affair (RFC 4787, REQ-2).
    let addresses = [4, 5].map(|host| std::net::Ipv4Addr::new(10, 0, 20, host));
    assert!(addresses.contains(&seen), "{seen}");
    assert_eq!(
        world.ask("instance/here", "internet/web", "tcp/443"),
        Some((FORWARD, Reason::IgwPublicIpAssociationForEgress))
    );
}
