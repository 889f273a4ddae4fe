//! Services and the endpoints that lead to them: what is judged on the way.

use std::net::Ipv4Addr;

use viaduct_dataplane::explain::Component;
use viaduct_topology::Reason;

use crate::world::{FORWARD, Network, OPEN, RETURN, World};

/// `a` has the gateway endpoint in its table, `lonely` has not.
fn network() -> Network {
    Network {
        services: "
            s3: { prefix_list: [198.18.0.0/24, 198.18.8.0/24], ip: 198.18.0.10 }
            lambda: { ip: 198.18.1.1 }",
        vpc_endpoints: "
            s3: { type: gateway, service: s3, route_tables: [main] }
            lambda: { type: interface, service: lambda, subnets: [a, other], private_ips: [10.0.1.20, 10.0.20.20], security_groups: [https] }",
        subnets: "
            lonely: { cidr_block: 10.0.30.0/24, availability_zone: b, route_table: lonely }
            other: { cidr_block: 10.0.20.0/24, availability_zone: b, route_table: lonely }
            third: { cidr_block: 10.0.40.0/24, availability_zone: c, route_table: lonely }",
        route_tables: "lonely: {}",
        groups: "
            open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
            https: { ingress: [ { protocol: tcp, ports: 443, from: 10.0.0.0/16 } ], egress: [] }
            only-s3: { egress: [ { protocol: tcp, ports: 443, to: prefix_list/s3 } ] }",
        instances: "
            inner: { subnet: a, private_ip: 10.0.1.10, security_groups: [open] }
            strict: { subnet: a, private_ip: 10.0.1.11, security_groups: [only-s3] }
            lonely: { subnet: lonely, private_ip: 10.0.30.10, security_groups: [open] }
            third: { subnet: third, private_ip: 10.0.40.10, security_groups: [open] }",
        functions: "api: { subnets: [main/a], security_groups: [main/open] }",
        internet: "web: { ip: 198.51.100.7 }",
        ..Network::default()
    }
}

fn refused(reason: Reason) -> Option<(viaduct_dataplane::explain::Way, Reason)> {
    Some((FORWARD, reason))
}

#[test]
fn ep_02_a_gateway_endpoint_is_a_route_in_the_tables_that_name_it() {
    let world = network().world();
    assert_eq!(world.ask("function/api", "service/s3", "tcp/443"), None);
    assert_eq!(world.ask("instance/inner", "198.18.8.200", "tcp/443"), None);
    let nowhere = refused(Reason::NoRouteToDestination);
    assert_eq!(world.ask("instance/lonely", "service/s3", "tcp/443"), nowhere);

    let told = world.explain("function/api", "service/s3", "tcp/443");
    let components: Vec<_> = told.forward.iter().map(|hop| hop.component).collect();
    assert!(components.ends_with(&[Component::VpcEndpoint, Component::Service]), "{told}");
    assert_eq!(told.back.first().map(|hop| hop.component), Some(Component::VpcEndpoint), "{told}");
}

#[test]
fn ep_05_groups_may_name_the_service_s_list() {
    let world = network().world();
    assert_eq!(world.ask("instance/strict", "service/s3", "tcp/443"), None);
    let mismatch = refused(Reason::EniSgRulesMismatch);
    assert_eq!(world.ask("instance/strict", "vpc_endpoint/lambda", "tcp/443"), mismatch);
}

// Conforms: EP-06
#[test]
fn ep_06_a_gateway_endpoint_passes_tcp_and_echo() {
    let world = network().world();
    assert_eq!(world.ask("instance/inner", "service/s3", "icmp"), None);
    let restricted = refused(Reason::VpceGatewayProtocolRestriction);
    for traffic in ["udp/53", "protocol/50"] {
        assert_eq!(world.ask("instance/inner", "service/s3", traffic), restricted, "{traffic}");
    }
}

// Conforms: RT-08
#[test]
fn rt_08_a_longer_or_an_equal_route_of_the_user_s_beats_the_endpoint() {
    let with = |route| Network { main_routes: route, nat_routes: None, ..network() };
    let seen = |world: &World, to: &str| world.seen_source("instance/inner", to, "tcp/443");
    let nat = Ipv4Addr::new(203, 0, 113, 9);
    let edge = |ip: Ipv4Addr| ip.octets()[..2] == [100, 64];

    let world = with("[ { destination: 0.0.0.0/0, target: nat_gateway/egress } ]").world();
    assert!(edge(seen(&world, "service/s3")));
    let world = with("[ { destination: 198.18.0.0/25, target: nat_gateway/egress } ]").world();
    assert_eq!(seen(&world, "198.18.0.10"), nat);
    assert!(edge(seen(&world, "198.18.0.200")));
    let world = with("[ { destination: 198.18.0.0/24, target: nat_gateway/egress } ]").world();
    assert_eq!(seen(&world, "198.18.0.200"), nat);
    assert!(edge(seen(&world, "198.18.8.1")));
}

// Conforms: ACL-08
#[test]
fn acl_08_the_way_to_a_gateway_endpoint_crosses_the_senders_border_only() {
    let strict = |acls| Network { acls, acl_of: &[("a", "strict")], ..network() }.world();
    let ask = |world: &World| world.ask("function/api", "service/s3", "tcp/443");
    let there = strict(
        "strict: { egress: { 1: { action: allow, protocol: tcp, ports: 443, cidr_block: 198.18.0.0/24 } } }",
    );
    assert_eq!(ask(&there), Some((RETURN, Reason::SubnetAclRestriction)));
    let both = strict(
        "strict: { egress: { 1: { action: allow, protocol: tcp, ports: 443, cidr_block: 198.18.0.0/24 } }, ingress: { 1: { action: allow, protocol: tcp, ports: 1024-65535, cidr_block: 198.18.0.0/24 } } }",
    );
    assert_eq!(ask(&both), None);
}

#[test]
fn ep_09_an_interface_endpoint_is_where_its_sender_is() {
    let world = network().world();
    let to = |from: &str| world.queries(from, "vpc_endpoint/lambda", "tcp/443")[0].to;
    assert_eq!(to("function/api"), Ipv4Addr::new(10, 0, 1, 20), "its subnet");
    assert_eq!(to("instance/lonely"), Ipv4Addr::new(10, 0, 20, 20), "its zone");
    assert_eq!(to("instance/third"), Ipv4Addr::new(10, 0, 1, 20), "the first");
    for from in ["function/api", "instance/lonely", "instance/third"] {
        assert_eq!(world.ask(from, "vpc_endpoint/lambda", "tcp/443"), None, "{from}");
        let mismatch = refused(Reason::EniSgRulesMismatch);
        assert_eq!(world.ask(from, "vpc_endpoint/lambda", "tcp/80"), mismatch, "{from}");
    }
}

// Conforms: EP-11
#[test]
fn ep_11_an_interface_endpoint_speaks_tcp_and_udp() {
    let open = Network {
        groups: "open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
                 https: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
                 only-s3: {}",
        ..network()
    };
    let world = open.world();
    assert_eq!(world.ask("instance/inner", "vpc_endpoint/lambda", "udp/53"), None);
    let restricted = refused(Reason::ProtocolRestriction);
    for traffic in ["icmp", "protocol/50"] {
        assert_eq!(world.ask("instance/inner", "vpc_endpoint/lambda", traffic), restricted);
    }
}

#[test]
fn sg_07_an_endpoint_s_group_can_be_named() {
    let named = Network {
        groups: "open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ], egress: [ { protocol: tcp, ports: 443, to: security_group/https } ] }
                 https: { ingress: [ { protocol: tcp, ports: 443, from: security_group/open } ], egress: [] }
                 only-s3: {}",
        ..network()
    };
    let world = named.world();
    assert_eq!(world.ask("function/api", "vpc_endpoint/lambda", "tcp/443"), None);
    assert_eq!(
        world.ask("instance/strict", "vpc_endpoint/lambda", "tcp/443"),
        refused(Reason::EniSgRulesMismatch)
    );
}

#[test]
fn ep_07_an_interface_endpoint_serves_peered_vpcs_and_a_gateway_endpoint_does_not() {
    let peered = Network {
        vpcs: "
            far: { cidr_blocks: [10.9.0.0/16], subnets: { a: { cidr_block: 10.9.1.0/24 } }, route_tables: { main: { routes: [ { destination: 10.0.0.0/16, target: both }, { destination: 198.18.0.0/24, target: both } ] } }, security_groups: { open: {} }, instances: { far: { subnet: a, private_ip: 10.9.1.10, security_groups: [open] } } }",
        peerings: "both: { requester: main, accepter: far }",
        main_routes: "[ { destination: 10.9.0.0/16, target: vpc_peering_connection/both } ]",
        groups: "open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
                 https: { ingress: [ { protocol: tcp, ports: 443, from: 10.0.0.0/8 } ], egress: [] }
                 only-s3: {}",
        ..network()
    };
    let world = peered.world();
    assert_eq!(world.ask("instance/far", "10.0.1.20", "tcp/443"), None);
    let outside = refused(Reason::PcxRequiresAddressInVpcCidr);
    assert_eq!(world.ask("instance/far", "service/s3", "tcp/443"), outside);
}

#[test]
fn a_service_without_an_endpoint_is_a_host_of_the_internet() {
    let through_nat = Network {
        main_routes: "[ { destination: 0.0.0.0/0, target: nat_gateway/egress } ]",
        groups: OPEN,
        vpc_endpoints: "",
        instances: "
            inner: { subnet: a, private_ip: 10.0.1.10, security_groups: [open] }
            outer: { subnet: public, private_ip: 10.0.0.10, public_ip: 203.0.113.20, security_groups: [open] }",
        ..network()
    };
    let world = through_nat.world();
    assert_eq!(world.ask("function/api", "service/s3", "tcp/443"), None);
    assert_eq!(world.ask("instance/outer", "service/lambda", "tcp/443"), None);
    assert_eq!(world.ask("service/lambda", "203.0.113.20", "tcp/443"), None);
    assert_eq!(world.ask("service/s3", "internet/web", "tcp/443"), None);
    assert_eq!(world.ask("internet/web", "service/s3", "tcp/443"), None);
}
