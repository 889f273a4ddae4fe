//! What goes wrong in other people's NAT, each as a test that fails if it went wrong here.
//!
//! The points are those of a survey of the issue trackers of this field. Each test says what failed
//! there, in our words, and where that is to be read.

#[path = "../support/mod.rs"]
mod support;

mod exhaustion;
mod inbound;
mod operation;
mod reuse;

use support::{INSIDE, Net, Outcome, Packet, SYN, tcp};
use viaduct_topology::Reason;

/// Ports of the gateway's one address in [`gateway`]: few enough to use up in a test.
const PORTS: u16 = 32;

/// The first of them.
const FIRST: u16 = 2000;

/// The gateway's public address.
const PUBLIC: &str = "203.0.113.10";

const API: &str = "function/api/1";
const WEB: (&str, u16) = ("198.51.100.7", 443);
const MAIL: (&str, u16) = ("198.51.100.8", 25);

/// An environment that reaches the internet through a NAT gateway with these public addresses, and an
/// ENI that is never what is full.
fn gateway(public_ips: &str) -> String {
    format!(
        "
settings: {{ source_ports: {FIRST}-{last}, nat_gateway_connections_per_destination: {PORTS} }}
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:  {{ cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }}
      private: {{ cidr_block: 10.0.1.0/24, availability_zone: a }}
    route_tables:
      main:   {{ main: true, routes: [ {{ destination: 0.0.0.0/0, target: nat_gateway/egress }} ] }}
      public: {{ routes: [ {{ destination: 0.0.0.0/0, target: internet_gateway/igw }} ] }}
    internet_gateway: igw
    nat_gateways:
      egress: {{ subnet: public, private_ip: 10.0.0.5, public_ips: [{public_ips}] }}
    security_groups:
      function: {{}}
      open: {{ ingress: [ {{ protocol: all, from: 0.0.0.0/0 }} ] }}
    instances:
      own: {{ subnet: private, private_ip: 10.0.1.100, security_groups: [open] }}
      server: {{ subnet: public, private_ip: 10.0.0.20, public_ip: 203.0.113.20, security_groups: [open] }}
functions:
  api: {{ subnets: [main/private], security_groups: [main/function], environments: 2 }}
internet:
  web: {{ ip: {web} }}
  mail: {{ ip: {mail} }}
",
        last = FIRST + PORTS - 1,
        web = WEB.0,
        mail = MAIL.0,
    )
}

/// Sends a SYN of the instance behind the gateway: it has addresses and ports enough of its own, so that
/// only the gateway's count.
fn syn(net: &mut Net, from_port: u16, to: (&str, u16)) -> Outcome {
    net.send("instance/own", &tcp(("10.0.1.100", from_port), to, SYN, b""))
}

/// Opens so many connections of the instance to a destination; returns their ports at the gateway.
#[track_caller]
fn open(net: &mut Net, count: u16, to: (&str, u16)) -> Vec<u16> {
    (0..count).map(|number| translated(syn(net, 1 + number, to), number)).collect()
}

/// The gateway's port of a packet that came out on the internet under the gateway's address.
#[track_caller]
fn translated(outcome: Outcome, number: u16) -> u16 {
    let Outcome::Delivered { packet, .. } = outcome else { panic!("{number}: {outcome:?}") };
    let ((ip, port), _) = packet.ends();
    assert_eq!(ip, PUBLIC, "{number}: it left under another address");
    port
}

/// Asserts that a packet did not get through, for this reason; whether its sender is told or not.
#[track_caller]
fn refused(outcome: Outcome, reason: Reason) {
    match outcome {
        Outcome::Answered { reason: found, .. } if found == reason => {}
        other => drop(other.dropped_for(reason)),
    }
}

/// How often packets were dropped for a reason.
fn drops(net: &Net, reason: Reason) -> u64 {
    net.engine.counters().dropped(reason)
}

/// A datagram of the environment.
fn datagram(from_port: u16, to: (&str, u16)) -> Packet {
    support::udp((INSIDE, from_port), to, b"?")
}
