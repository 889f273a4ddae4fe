//! NAT gateways and internet gateways.

use std::net::Ipv4Addr;

use viaduct_dataplane::{
    explain::{Probe, Verdict},
    walk::{Choice, Options},
};
use viaduct_topology::Reason;
use viaduct_wire::Flow;

use crate::world::{FORWARD, Network, OPEN, RETURN, World, same_way};

const DENIED: Reason = Reason::SubnetAclRestriction;

/// `a` leads through the NAT gateway, `public` straight to the internet gateway.
fn network() -> Network {
    Network {
        main_routes: "[ { destination: 0.0.0.0/0, target: nat_gateway/egress } ]",
        groups: OPEN,
        instances: "
            inner: { subnet: a, private_ip: 10.0.1.10, security_groups: [open] }
            forwarder: { subnet: a, private_ip: 10.0.1.11, security_groups: [open], source_dest_check: false }
            outer: { subnet: public, private_ip: 10.0.0.10, public_ip: 203.0.113.20, security_groups: [open] }
            second: { subnet: public, private_ip: 10.0.0.11, public_ip: 203.0.113.21, security_groups: [open] }
            plain: { subnet: public, private_ip: 10.0.0.12, security_groups: [open] }
            router: { subnet: public, private_ip: 10.0.0.13, public_ip: 203.0.113.22, security_groups: [open], source_dest_check: false }",
        functions: "
            api: { subnets: [main/a], security_groups: [main/open] }
            stranded: { subnets: [main/public], security_groups: [main/open] }",
        internet: "
            web: { ip: 198.51.100.7 }
            mail: { ip: 198.18.0.25 }",
        ..Network::default()
    }
}

/// Walks a TCP packet that somebody sends with a source address of his choice.
fn sent(world: &World, from: &str, source: [u8; 4], to: [u8; 4]) -> Result<(), Reason> {
    let flow = Flow {
        protocol: 6,
        source: source.into(),
        destination: to.into(),
        source_port: 40_000,
        destination_port: 443,
    };
    world.walk(world.attachment(from), flow, Probe::Tcp(443), Options::default()).map(drop)
}

// Conforms: NAT-04
#[test]
fn nat_04_tcp_udp_and_icmp_only() {
    let world = network().world();
    for traffic in ["tcp/443", "udp/53", "icmp"] {
        assert_eq!(world.ask("instance/inner", "internet/web", traffic), None, "{traffic}");
    }
    let refused = Some((FORWARD, Reason::ProtocolRestriction));
    assert_eq!(world.ask("instance/inner", "internet/web", "protocol/50"), refused);
}

// Conforms: NAT-08
#[test]
fn nat_08_the_receiver_sees_the_gateways_public_address() {
    let world = network().world();
    let web = Ipv4Addr::new(203, 0, 113, 9);
    assert_eq!(world.seen_source("function/api", "internet/web", "tcp/443"), web);
    assert_eq!(world.seen_source("instance/inner", "internet/web", "tcp/443"), web);

    let explained = world.explain("function/api", "internet/web", "tcp/443");
    assert_eq!(explained.translated_source, Some(web));
    let ports = explained.translated_source_ports.map(|ports| (ports.first, ports.last));
    assert_eq!(ports, Some((1024, 65_535)));
}

// Conforms: NAT-12
#[test]
fn nat_12_nothing_unsolicited_gets_in() {
    let world = network().world();
    let refused = Some((FORWARD, Reason::NatGatewayUnsolicited));
    for traffic in ["tcp/443", "udp/53", "icmp"] {
        assert_eq!(world.ask("internet/web", "203.0.113.9", traffic), refused, "{traffic}");
        assert_eq!(world.ask("instance/inner", "10.0.9.9", traffic), refused, "{traffic}");
    }
}

// Conforms: NAT-13
#[test]
fn nat_13_the_gateways_subnet_acl_is_crossed_four_times() {
    // Each ACL lets through three of: request in, request out, reply in, reply out.
    let rule = |ports: &str, block: &str| {
        format!("{{ action: allow, protocol: tcp, ports: {ports}, cidr_block: {block} }}")
    };
    let request_in = rule("443", "10.0.1.0/24");
    let reply_in = rule("1024-65535", "198.51.100.0/24");
    let request_out = rule("443", "198.51.100.0/24");
    let reply_out = rule("1024-65535", "10.0.1.0/24");
    let none = rule("1", "192.0.2.0/24");
    for (missing, expected) in [
        ("", None),
        ("request in", Some((FORWARD, DENIED))),
        ("request out", Some((FORWARD, DENIED))),
        ("reply in", Some((RETURN, DENIED))),
        ("reply out", Some((RETURN, DENIED))),
    ] {
        let unless = |name: &str, rule: &str| {
            if missing == name { none.clone() } else { rule.to_owned() }
        };
        let acl = format!(
            "strict: {{ ingress: {{ 100: {}, 110: {} }}, egress: {{ 100: {}, 110: {} }} }}",
            unless("request in", &request_in),
            unless("reply in", &reply_in),
            unless("request out", &request_out),
            unless("reply out", &reply_out),
        );
        let world = Network { acls: acl.leak(), acl_of: &[("nat", "strict")], ..network() }.world();
        for from in ["function/api", "instance/inner"] {
            let answer = world.ask(from, "internet/web", "tcp/443");
            assert_eq!(answer, expected, "{from} without {missing}");
        }
    }
}

// Conforms: NAT-13
#[test]
fn nat_13_the_gateways_acl_is_asked_about_private_senders_too() {
    // What comes from the VPC and what goes back there is refused, the internet's side is not.
    let world = Network {
        acls: "strict: { ingress: { 100: { action: deny, protocol: all, cidr_block: 10.0.0.0/16 }, 110: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } }, egress: { 100: { action: deny, protocol: all, cidr_block: 10.0.0.0/16 }, 110: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } } }",
        acl_of: &[("nat", "strict")],
        ..network()
    }
    .world();
    assert_eq!(world.ask("function/api", "internet/web", "tcp/443"), Some((FORWARD, DENIED)));
    let explained = world.explain("function/api", "internet/web", "tcp/443");
    let ways: Vec<_> = explained.blockers.iter().map(|blocker| blocker.direction).collect();
    assert_eq!(ways, [FORWARD, RETURN], "{explained}");
}

// Conforms: ACL-08
#[test]
fn acl_08_no_border_lies_between_a_nat_gateway_and_its_own_subnet() {
    // The gateway routes by its subnet's table, so whoever reaches it from there is sent round; the
    // ACL, which refuses everything, is not what stops him.
    let world = Network {
        nat_routes: Some("[ { destination: 198.51.100.0/24, target: nat_gateway/egress } ]"),
        acls: "strict: {}",
        acl_of: &[("nat", "strict")],
        instances: "beside: { subnet: nat, security_groups: [open] }",
        ..network()
    }
    .world();
    assert_eq!(
        world.ask("instance/beside", "internet/web", "tcp/443"),
        Some((FORWARD, Reason::RoutingLoop))
    );
}

#[test]
fn nat_15_and_mtu_01_the_largest_packet_of_a_path() {
    let world = network().world();
    let mtu = |from, to| {
        let query = &world.queries(from, to, "tcp/443")[0];
        let path = world.packet(query, 40_000).unwrap();
        (path.mtu, path.ttl_decrement)
    };
    assert_eq!(mtu("function/api", "instance/inner"), (9001, 0));
    // The internet gateway behind the NAT gateway has the last word.
    assert_eq!(mtu("function/api", "internet/web"), (1500, 1));
    assert_eq!(mtu("instance/outer", "internet/web"), (1500, 0));
}

// Conforms: NAT-18
#[test]
fn nat_18_the_source_must_be_an_interface_of_the_vpc() {
    let world = network().world();
    let web = [198, 51, 100, 7];
    assert_eq!(sent(&world, "instance/forwarder", [10, 0, 1, 11], web), Ok(()));
    assert_eq!(
        sent(&world, "instance/forwarder", [10, 0, 1, 77], web),
        Err(Reason::NgwRequiresSourceInVpc)
    );
}

// Conforms: RT-30
#[test]
fn rt_30_a_held_address_of_the_gateway_is_kept() {
    let world = network().world();
    let query = &world.queries("function/api", "internet/web", "tcp/443")[0];
    let path = world.packet(query, 40_000).unwrap();
    let (ingress, flow) = world.first_packet(query, 40_000);

    let again = world.walk(ingress, flow, Probe::Tcp(443), Options::again(&path)).unwrap();
    assert!(same_way(&again, &path));
    // An address that is gone is answered with another, which is another way.
    let elsewhere = Choice::Held(path.v2n().unwrap().table().unwrap());
    let mut gone = Options::again(&path);
    gone.choices[1] = elsewhere;
    let other = world.walk(ingress, flow, Probe::Tcp(443), gone).unwrap();
    assert_eq!(other.nat.unwrap().ip, Ipv4Addr::new(10, 0, 9, 9));
}

// Conforms: IGW-03
#[test]
fn igw_03_a_public_address_stands_for_a_private_one_both_ways() {
    let world = network().world();
    assert_eq!(world.ask("instance/outer", "internet/web", "tcp/443"), None);
    assert_eq!(
        world.seen_source("instance/outer", "internet/web", "tcp/443"),
        Ipv4Addr::new(203, 0, 113, 20)
    );
    assert_eq!(world.ask("internet/web", "203.0.113.20", "tcp/22"), None);
    let query = &world.queries("internet/web", "203.0.113.20", "tcp/22")[0];
    let path = world.packet(query, 40_000).unwrap();
    assert_eq!(path.private_destination, Some(Ipv4Addr::new(10, 0, 0, 10)));
    // Asked for by name, an instance is reached from the internet at its public address.
    assert_eq!(world.ask("internet/web", "instance/outer", "tcp/22"), None);
}

// Conforms: IGW-04
#[test]
fn igw_04_without_a_public_address_nothing_leaves() {
    let world = network().world();
    let refused = Some((FORWARD, Reason::IgwPublicIpAssociationForEgress));
    assert_eq!(world.ask("instance/plain", "internet/web", "tcp/443"), refused);
    // LAM-12: a function in a public subnet has no internet.
    assert_eq!(world.ask("function/stranded", "internet/web", "tcp/443"), refused);
}

// Conforms: IGW-05
#[test]
fn igw_05_a_public_address_that_is_nobodys() {
    let world = network().world();
    let refused = Some((FORWARD, Reason::IgwPrivateIpAssociationForIngress));
    assert_eq!(world.ask("internet/web", "203.0.113.99", "tcp/443"), refused);
    // A private address means nothing on the internet.
    assert_eq!(world.ask("internet/web", "10.0.0.10", "tcp/443"), refused);
}

// Conforms: IGW-06
#[test]
fn igw_06_private_and_shared_addresses_neither_leave_nor_enter() {
    let world = network().world();
    for (address, reason) in [
        ("172.16.0.1", Reason::IgwDestinationAddressNotInRfc1918Egress),
        ("192.168.0.1", Reason::IgwDestinationAddressNotInRfc1918Egress),
        ("10.1.0.1", Reason::IgwDestinationAddressNotInRfc1918Egress),
        ("100.64.0.1", Reason::IgwDestinationAddressNotInRfc6598Egress),
        ("100.127.255.255", Reason::IgwDestinationAddressNotInRfc6598Egress),
        ("100.128.0.0", Reason::NoPossibleDestination),
        ("172.32.0.0", Reason::NoPossibleDestination),
    ] {
        let answer = world.ask("instance/outer", address, "tcp/443");
        assert_eq!(answer, Some((FORWARD, reason)), "{address}");
    }
    let to = [203, 0, 113, 20];
    for (source, reason) in [
        ([10, 9, 9, 9], Reason::IgwSourceAddressNotInRfc1918Ingress),
        ([192, 168, 1, 1], Reason::IgwSourceAddressNotInRfc1918Ingress),
        ([100, 64, 9, 9], Reason::IgwSourceAddressNotInRfc6598Ingress),
    ] {
        assert_eq!(sent(&world, "internet/web", source, to), Err(reason), "{source:?}");
    }
    // Another host of the internet gets nothing from a private address either.
    let spoofed = Err(Reason::SpoofedSource);
    assert_eq!(sent(&world, "internet/web", [10, 9, 9, 9], [198, 18, 0, 25]), spoofed);
    // A public source that is not the sender's own.
    assert_eq!(sent(&world, "internet/web", [198, 18, 0, 25], to), Err(Reason::SpoofedSource));
}

#[test]
fn igw_07_a_source_outside_the_vpc_is_spoofed() {
    let world = network().world();
    let web = [198, 51, 100, 7];
    assert_eq!(sent(&world, "instance/router", [10, 0, 0, 13], web), Ok(()));
    assert_eq!(
        sent(&world, "instance/router", [192, 0, 2, 1], web),
        Err(Reason::GatewayRejectsSpoofedTraffic)
    );
    assert_eq!(
        sent(&world, "instance/router", [10, 0, 0, 99], web),
        Err(Reason::IgwPublicIpAssociationForEgress)
    );
}

// Conforms: RFC 5382 R8, IGW-09
#[test]
fn igw_09_anothers_public_address_hairpins_at_the_gateway() {
    let world = network().world();
    assert_eq!(world.ask("instance/outer", "203.0.113.21", "tcp/443"), None);
    assert_eq!(
        world.seen_source("instance/outer", "203.0.113.21", "tcp/443"),
        Ipv4Addr::new(203, 0, 113, 20)
    );
    // Through the NAT gateway too; three legs, the most there are.
    assert_eq!(
        world.seen_source("function/api", "203.0.113.21", "tcp/443"),
        Ipv4Addr::new(203, 0, 113, 9)
    );
    assert_eq!(world.ask("function/api", "203.0.113.21", "tcp/443"), None);
    let explained = world.explain("function/api", "203.0.113.21", "tcp/443");
    assert!(explained.back.iter().all(|hop| hop.verdict == Verdict::Allow));
    // Its own public address works as well.
    assert_eq!(world.ask("instance/outer", "203.0.113.20", "tcp/443"), None);
}

#[test]
fn rt_21_source_check() {
    let world = network().world();
    let refused = Err(Reason::EniSourceDestCheckRestriction);
    assert_eq!(sent(&world, "instance/inner", [10, 0, 1, 99], [10, 0, 0, 10]), refused);
    assert_eq!(sent(&world, "instance/forwarder", [192, 0, 2, 1], [10, 0, 0, 10]), Ok(()));
}

#[test]
fn two_hosts_of_the_internet_see_each_other() {
    let world = network().world();
    assert_eq!(world.ask("internet/web", "internet/mail", "tcp/25"), None);
}
