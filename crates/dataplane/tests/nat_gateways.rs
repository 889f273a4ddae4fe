//! The life of NAT gateways and their addresses: packets through the engine.

mod support;

use support::{ACK, INSIDE, Net, SYN, SYN_ACK, tcp};
use viaduct_topology::Reason;

/// A NAT gateway with two public addresses, of which one connection to a destination each.
fn two_addresses(addresses: &str) -> String {
    format!(
        "settings: {{ nat_gateway_connections_per_destination: 1 }}
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      private: {{ cidr_block: 10.0.1.0/24, availability_zone: a }}
      public:  {{ cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }}
    route_tables:
      main: {{ main: true, routes: [ {{ destination: 0.0.0.0/0, target: nat_gateway/egress }} ] }}
      public: {{ routes: [ {{ destination: 0.0.0.0/0, target: internet_gateway/igw }} ] }}
    internet_gateway: igw
    nat_gateways:
      egress: {{ subnet: public, {addresses} }}
    security_groups: {{ function: {{}} }}
functions:
  api: {{ subnets: [main/private], security_groups: [main/function] }}
internet:
  web: {{ ip: 198.51.100.7 }}
  mail: {{ ip: 198.51.100.8 }}
"
    )
}

const WEB: (&str, u16) = ("198.51.100.7", 443);
const MAIL: (&str, u16) = ("198.51.100.8", 443);

// Conforms: NAT-07
#[test]
fn nat_07_a_lost_address_drains_for_350_seconds() {
    let api = "function/api/1";
    let mut net = Net::load(&two_addresses("public_ips: [203.0.113.1, 203.0.113.2]"));
    let open = |net: &mut Net, inside: u16, to| {
        let request = net.send(api, &tcp((INSIDE, inside), to, SYN, b""));
        request.delivered_at(if to == WEB { "internet/web" } else { "internet/mail" }).ends().0
    };
    assert_eq!(open(&mut net, 1, WEB).0, "203.0.113.1");
    let (address, port) = open(&mut net, 2, WEB);
    assert_eq!(address, "203.0.113.2");
    net.send("internet/web", &tcp(WEB, (&address, port), SYN_ACK, b"")).delivered_at(api);
    let more = tcp((INSIDE, 2), WEB, ACK, b"x");
    net.send(api, &more).delivered_at("internet/web");

    net.apply(&two_addresses("public_ips: [203.0.113.1]"));
    net.pass_seconds(349);
    net.engine.trim(net.now);
    net.send(api, &more).delivered_at("internet/web");
    // What is new has the other address, and where that is full, none.
    assert_eq!(open(&mut net, 3, MAIL).0, "203.0.113.1");
    let refused = tcp((INSIDE, 4), WEB, SYN, b"");
    let _ = net.send(api, &refused);
    let full = net.send(api, &tcp((INSIDE, 5), MAIL, SYN, b""));
    full.answered_for(Reason::PortsExhausted);

    net.pass_seconds(1);
    net.engine.trim(net.now);
    net.send(api, &more).answered_for(Reason::NoConnection);
}

// Conforms: NAT-07
#[test]
fn nat_07_a_draining_address_gives_way_to_whoever_needs_it() {
    let api = "function/api/1";
    let mut net = Net::load(&two_addresses("public_ips: [203.0.113.1, 203.0.113.2]"));
    for inside in [1, 2] {
        net.send(api, &tcp((INSIDE, inside), WEB, SYN, b"")).delivered_at("internet/web");
    }
    net.apply(&two_addresses("public_ips: [203.0.113.1]"));
    // The same address again, for the same gateway and with a connection's ports of its own.
    net.apply(&two_addresses("public_ips: [203.0.113.1, 203.0.113.2]"));
    let late = tcp((INSIDE, 2), WEB, ACK, b"x");
    net.send(api, &late).answered_for(Reason::NoConnection);
    let again = net.send(api, &tcp((INSIDE, 9), WEB, SYN, b"")).delivered_at("internet/web");
    assert_eq!(again.ends().0.0, "203.0.113.2");
    // And for a host of the internet.
    net.apply(&two_addresses("public_ips: [203.0.113.1]"));
    let mut taken = two_addresses("public_ips: [203.0.113.1]");
    taken.push_str("  other: { ip: 203.0.113.2 }\n");
    net.apply(&taken);
    net.pass_seconds(400);
    net.engine.trim(net.now);
}
// Conforms: RT-14, NAT-20, NAT-22
#[test]
fn nat_20_a_gateway_that_is_being_deleted_keeps_what_it_carries() {
    let api = "function/api/1";
    let state = |state: &str| two_addresses(&format!("public_ips: [203.0.113.1], state: {state}"));
    let mut net = Net::load(&state("available"));
    net.send(api, &tcp((INSIDE, 1), WEB, SYN, b"")).delivered_at("internet/web");

    net.apply(&state("deleting"));
    net.send(api, &tcp((INSIDE, 1), WEB, SYN, b"")).delivered_at("internet/web");
    net.send(api, &tcp((INSIDE, 2), MAIL, SYN, b"")).dropped_for(Reason::BadStateRoute);
    // NAT-22: what is deleted leaves a blackhole.
    net.apply(&state("deleted"));
    net.send(api, &tcp((INSIDE, 1), WEB, SYN, b"")).dropped_for(Reason::BadStateRoute);
    for unborn in ["pending", "failed"] {
        net.apply(&state(unborn));
        net.send(api, &tcp((INSIDE, 3), WEB, SYN, b"")).dropped_for(Reason::BadStateRoute);
    }
}
