//! Functions without a VPC: packets through the engine.

mod support;

use support::{ACK, INSIDE, Net, Packet, SYN, SYN_ACK, echo, icmp_error, tcp, udp};
use viaduct_topology::Reason;

/// A function without a VPC, beside a VPC with an instance that the internet can reach, and another
/// function in it.
const NETWORK: &str = "
settings: { service_vpc_public_ips: [203.0.113.99] }
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public: { cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }
    route_tables:
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    security_groups:
      open: { ingress: [ { protocol: tcp, ports: 80, from: 203.0.113.0/24 } ] }
    instances:
      db: { subnet: public, private_ip: 10.0.0.10, public_ip: 203.0.113.5, security_groups: [open] }
functions:
  api: { environments: 2 }
  vpc: { subnets: [main/public], security_groups: [main/open] }
services:
  s3: { prefix_list: [198.18.0.0/24] }
internet:
  web: { ip: 198.51.100.7 }
";

const API: &str = "function/api/1";
const NAT: &str = "203.0.113.99";
const WEB: (&str, u16) = ("198.51.100.7", 443);

/// Opens a connection from the function's port, and says from which it came.
fn open(net: &mut Net, from: &str, inside: u16) -> (String, u16) {
    let arrived =
        net.send(from, &tcp((INSIDE, inside), WEB, SYN, b"")).delivered_at("internet/web");
    let (seen, to) = arrived.ends();
    assert_eq!((to.0.as_str(), to.1), WEB);
    let answer = net.send("internet/web", &tcp(WEB, (&seen.0, seen.1), SYN_ACK, b""));
    assert_eq!(answer.delivered_at(from).ends().1, (INSIDE.to_owned(), inside));
    net.send(from, &tcp((INSIDE, inside), WEB, ACK, b"x")).delivered_at("internet/web");
    seen
}

// Facts: LAM-12
#[test]
fn lam_12_without_a_vpc_a_function_reaches_the_internet_and_nothing_else() {
    let mut net = Net::load(NETWORK);
    let one = open(&mut net, API, 1);
    let other = open(&mut net, "function/api/2", 1);
    assert_eq!((one.0.as_str(), other.0.as_str()), (NAT, NAT));
    assert_ne!(one.1, other.1, "both have the same inside address and port");
    assert!(one.1 >= 1024 && other.1 >= 1024, "{one:?} {other:?}");
    assert_eq!(net.ports_in_use(NAT), 2);

    let mut send = |to, packet: &Packet| match to {
        Ok(at) => drop(net.send(API, packet).delivered_at(at)),
        Err(reason) => drop(net.send(API, packet).dropped_for(reason)),
    };
    let syn = |to: &str, port| tcp((INSIDE, 9), (to, port), SYN, b"");
    send(Ok("service/s3"), &syn("198.18.0.1", 443));
    send(Ok("internet/web"), &udp((INSIDE, 9), WEB, b"?"));
    // An instance with a public address is of the internet, and knows no groups of who asks.
    send(Ok("instance/db"), &syn("203.0.113.5", 80));
    send(Err(Reason::EniSgRulesMismatch), &syn("203.0.113.5", 81));
    send(Err(Reason::IgwDestinationAddressNotInRfc1918Egress), &syn("10.0.0.10", 80));
    send(Err(Reason::IgwDestinationAddressNotInRfc6598Egress), &syn("100.64.0.1", 80));
    send(Err(Reason::NoPossibleDestination), &syn("192.0.2.1", 80));
    send(Err(Reason::ServiceNotProvided), &syn("169.254.169.254", 80));
    send(Err(Reason::VpcLocalRouteCidrRestriction), &syn("224.0.0.1", 80));
    send(Err(Reason::SpoofedSource), &tcp(("10.0.0.9", 9), WEB, SYN, b""));
    // LAM-10.
    send(Err(Reason::ProtocolRestriction), &echo(INSIDE, WEB.0, 7, false));
}

// Facts: LAM-02, LAM-12
#[test]
fn lam_02_nothing_comes_in_to_a_function_without_a_vpc() {
    let mut net = Net::load(NETWORK);
    let (_, port) = open(&mut net, API, 1);
    let unsolicited = Reason::NatGatewayUnsolicited;
    for port in [port, 443] {
        let other = tcp(("198.51.100.7", 9), (NAT, port), SYN, b"");
        net.send("internet/web", &other).dropped_for(unsolicited);
        let inside = tcp(("10.0.0.10", 9), (NAT, port), SYN, b"");
        net.send("instance/db", &inside).dropped_for(unsolicited);
        net.send(API, &tcp((INSIDE, 9), (NAT, port), SYN, b"")).dropped_for(unsolicited);
    }
    // What is late is of no connection, like anywhere else; to the outside nothing is said.
    let late = tcp(("198.51.100.7", 9), (NAT, port), ACK, b"x");
    net.send("internet/web", &late).dropped_for(unsolicited);
}

#[test]
fn an_icmp_error_about_its_packet_reaches_a_function_without_a_vpc() {
    let mut net = Net::load(NETWORK);
    let question = udp((INSIDE, 9), WEB, b"?");
    let arrived = net.send(API, &question).delivered_at("internet/web");
    let error = icmp_error("192.0.2.200", NAT, 3, 3, arrived.ip());
    let told = net.send("internet/web", &error).delivered_at(API);
    let quoted = &told.ip()[28..];
    assert_eq!(quoted[12..16], [169, 254, 100, 2], "the quote is of what was sent");
    assert_eq!(quoted[20..22], 9_u16.to_be_bytes());
}

#[test]
fn a_connection_that_the_nat_has_forgotten_is_reset_when_its_client_goes_on() {
    let mut net = Net::load(NETWORK);
    open(&mut net, API, 1);
    net.pass_seconds(350);
    net.expire();
    net.assert_empty();
    net.send(API, &tcp((INSIDE, 1), WEB, ACK, b"x")).answered_for(Reason::NoConnection);
}

#[test]
fn addresses_of_the_nat_are_filled_one_after_the_other() {
    let few = NETWORK.replace(
        "service_vpc_public_ips: [203.0.113.99]",
        "source_ports: 1024-1025, service_vpc_public_ips: [203.0.113.99, 203.0.113.98]",
    );
    let mut net = Net::load(&few);
    let mut seen: Vec<String> = (1..=4).map(|inside| open(&mut net, API, inside).0).collect();
    seen.dedup();
    assert_eq!(seen, ["203.0.113.98", NAT]);
    let fifth = tcp((INSIDE, 5), WEB, SYN, b"");
    net.send(API, &fifth).answered_for(Reason::PortsExhausted);
    // To another destination there are ports still (NAT-09).
    let elsewhere = tcp((INSIDE, 5), (WEB.0, 80), SYN, b"");
    let elsewhere = net.send(API, &elsewhere).delivered_at("internet/web");
    assert_eq!(elsewhere.ends().0.0, "203.0.113.98");
}

// Facts: LAM-12
#[test]
fn lam_12_attaching_to_a_vpc_cuts_the_internet_and_detaching_brings_it_back() {
    let attached = NETWORK.replace(
        "api: { environments: 2 }",
        "api: { subnets: [main/public], security_groups: [main/open], environments: 2 }",
    );
    let mut net = Net::load(NETWORK);
    open(&mut net, API, 1);
    net.apply(NETWORK);
    net.send(API, &tcp((INSIDE, 1), WEB, ACK, b"x")).delivered_at("internet/web");

    // A public subnet gives a function no public address. The connection is of another translation.
    net.apply(&attached);
    let refused = Reason::IgwPublicIpAssociationForEgress;
    let more = tcp((INSIDE, 1), WEB, ACK, b"x");
    net.send(API, &more).dropped_for(refused);
    net.send(API, &tcp((INSIDE, 2), WEB, SYN, b"")).dropped_for(refused);
    let inside = tcp((INSIDE, 3), ("10.0.0.10", 80), SYN, b"");
    net.send(API, &inside).dropped_for(Reason::EniSgRulesMismatch);

    net.apply(NETWORK);
    net.send(API, &inside).dropped_for(Reason::IgwDestinationAddressNotInRfc1918Egress);
    open(&mut net, API, 4);
    // Another address is another translation, too.
    net.apply(&NETWORK.replace("203.0.113.99", "203.0.113.98"));
    net.send(API, &tcp((INSIDE, 4), WEB, ACK, b"x")).answered_for(Reason::NoConnection);
    assert_eq!(net.ports_in_use("203.0.113.98"), 0);
    assert_eq!(net.engine.connection_count(), 0);
    assert_eq!(open(&mut net, API, 4).0, "203.0.113.98");
}

/// The address that nobody names is one that nobody has.
#[test]
fn an_address_that_is_not_named_is_nobody_s() {
    let address = |more: &str| {
        let file = NETWORK.replace("settings: { service_vpc_public_ips: [203.0.113.99] }", "");
        let net = Net::load(&format!("{file}{more}"));
        net.engine.inventory().service_vpc_ip().expect("it has one").to_string()
    };
    assert_eq!(address(""), "192.0.2.254");
    assert_eq!(address("  far: { ip: 192.0.2.254 }\n"), "192.0.2.253");
    let taken = "vpcs:\n  odd: { cidr_blocks: [192.0.2.0/24] }\n";
    let file =
        NETWORK.replace("settings: { service_vpc_public_ips: [203.0.113.99] }\nvpcs:\n", taken);
    let net = Net::load(&file);
    let given = net.engine.inventory().service_vpc_ip().expect("it has one").to_string();
    assert_eq!(given, "198.51.100.254");
}
