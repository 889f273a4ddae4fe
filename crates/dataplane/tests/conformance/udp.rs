//! RFC 4787: what a translator makes of UDP.

use viaduct_topology::Reason;

use crate::{
    network::{
        API, CLIENT, DB, DB_IP, ENI, HOST, HOST_IP, NAT, OTHER, OTHER_IP, PUBLIC, WEB, WWW, network,
    },
    support::{INSIDE, Net, icmp_error, udp},
};

const DNS: (&str, u16) = (HOST_IP, 53);

/// Sends a datagram out; the port that the host sees.
#[track_caller]
fn ask(net: &mut Net) -> u16 {
    net.send(API, &udp(CLIENT, DNS, b"?")).delivered_at(HOST).ends().0.1
}

// Conforms: RFC 4787 R6, RFC 4787 R6a
#[test]
fn what_goes_out_keeps_a_mapping() {
    let mut net = network();
    let port = ask(&mut net);
    for _ in 0..100 {
        net.pass_seconds(29);
        net.expire();
        assert_eq!(ask(&mut net), port);
    }
    net.pass_seconds(31);
    net.expire();
    net.assert_empty();
}

/// Two tenants with the same addresses, inside and at their gateways, and servers on both sides of
/// them that have those addresses, too.
// Conforms: RFC 4787 R7, RFC 6888 R1
#[test]
fn tenants_with_the_same_addresses_never_meet() {
    let vpc = |public: &str| {
        format!(
            "
    cidr_blocks: [10.0.0.0/16]
    subnets:
      private: {{ cidr_block: 10.0.1.0/24, availability_zone: a }}
      public: {{ cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }}
    route_tables:
      main: {{ main: true, routes: [ {{ destination: 0.0.0.0/0, target: nat_gateway/egress }} ] }}
      public: {{ routes: [ {{ destination: 0.0.0.0/0, target: internet_gateway/igw }} ] }}
    internet_gateway: igw
    nat_gateways:
      egress: {{ subnet: public, private_ip: 10.0.0.5, public_ips: [{public}] }}
    security_groups: {{ open: {{ ingress: [ {{ protocol: -1, from: 0.0.0.0/0 }} ] }} }}
    instances: {{ one: {{ subnet: private, private_ip: 10.0.1.10, security_groups: [open] }} }}
"
        )
    };
    let mut net = Net::load(&format!(
        "vpcs:\n  red:{}  blue:{}functions:
  red: {{ subnets: [red/private], security_groups: [red/open] }}
  blue: {{ subnets: [blue/private], security_groups: [blue/open] }}
internet:
  host: {{ ip: 198.51.100.7 }}
",
        vpc("203.0.113.10"),
        vpc("203.0.113.11")
    ));
    let tenants = [("red", "203.0.113.10"), ("blue", "203.0.113.11")];
    let mut seen = Vec::new();
    for (tenant, public) in tenants {
        for (name, from) in [
            (format!("function/{tenant}/1"), CLIENT),
            (format!("{tenant}/instance/one"), ("10.0.1.10", 40_000)),
        ] {
            let ((address, port), _) =
                net.send(&name, &udp(from, DNS, b"?")).delivered_at(HOST).ends();
            assert_eq!(address, public);
            seen.push((name, from, public, port));
        }
        let to = ("10.0.1.10", 7);
        net.send(&format!("function/{tenant}/1"), &udp(CLIENT, to, b"?"))
            .delivered_at(&format!("{tenant}/instance/one"));
    }
    for (name, from, public, port) in seen {
        let answer = net.send(HOST, &udp(DNS, (public, port), b"!")).delivered_at(&name);
        assert_eq!(answer.ends().1, (from.0.to_owned(), from.1));
    }
}

/// Out of a VPC and in again at its internet gateway. A NAT gateway's own address leads nowhere
/// (NAT-12), so from behind one there is nobody to reach like this.
// Conforms: IGW-03
#[test]
fn a_hairpinned_datagram_shows_the_public_address_of_its_sender() {
    let mut net = network();
    let sent = udp(("10.0.0.20", 5000), ("203.0.113.21", 53), b"?");
    let heard = net.send(WEB, &sent).delivered_at(WWW);
    assert_eq!(heard.flow(), "203.0.113.20:5000 > 10.0.0.21:53");
    net.send(DB, &udp((DB_IP, 1), (PUBLIC, 2), b"?")).dropped_for(Reason::NatGatewayUnsolicited);
}

/// SIP names its sender's address and port in its text.
// Conforms: RFC 4787 R10
#[test]
fn nothing_in_a_payload_is_looked_at() {
    let mut net = network();
    let invite = b"INVITE sip:a@198.51.100.7 SIP/2.0\r\nContact: <sip:b@169.254.100.2:40000>\r\n";
    let sip = (HOST_IP, 5060);
    let heard = net.send(API, &udp((INSIDE, 5060), sip, invite)).delivered_at(HOST);
    assert!(heard.ip().ends_with(invite));
    assert_eq!((net.ports_in_use(ENI), net.ports_in_use(NAT)), (1, 1), "one mapping and no other");
}

// Conforms: RFC 4787 R12
#[test]
fn an_icmp_error_is_delivered_and_takes_no_mapping_away() {
    let mut net = network();
    let sent = net.send(API, &udp(CLIENT, DNS, b"?")).delivered_at(HOST);
    for (kind, code) in [(3, 3), (3, 1), (11, 0), (12, 0), (4, 0)] {
        let error = icmp_error(HOST_IP, PUBLIC, kind, code, sent.ip());
        let told = net.send(HOST, &error).delivered_at(API);
        assert_eq!((told.icmp().0, told.icmp().1), (kind, code));
    }
    assert_eq!(ask(&mut net), sent.ends().0.1, "the same mapping");
    let answer = udp(DNS, (PUBLIC, sent.ends().0.1), b"!");
    net.send(HOST, &answer).delivered_at(API);
}

/// Neither another port of the same host nor another host comes in.
#[test]
fn only_whom_a_datagram_went_to_may_answer() {
    let mut net = network();
    let port = ask(&mut net);
    for (name, from) in [(OTHER, (OTHER_IP, 53)), (HOST, (HOST_IP, 54))] {
        net.send(name, &udp(from, (PUBLIC, port), b"!")).dropped_for(Reason::NatGatewayUnsolicited);
    }
    net.send(HOST, &udp(DNS, (PUBLIC, port), b"!")).delivered_at(API);
}
