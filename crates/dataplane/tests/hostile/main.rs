//! Hosts that mean harm, at the engine: one table of packets after another, each held to the reason
//! it is refused for. Whatever is refused leaves nothing behind: nobody gets it, no connection and no
//! port is held, and the counters say exactly what happened.
//!
//! Where AWS does not say what becomes of a packet, the decision is in `docs/reasons.md`.

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod bytes;
mod errors;
mod floods;
mod malformed;
mod offload;

use std::collections::BTreeMap;

use support::{Net, Outcome, Packet};
use viaduct_topology::Reason;

/// Everything that a packet could wrongly get to: hosts of every kind, both sides of a NAT gateway,
/// endpoints of both types, an appliance that gets what is for others.
const TOPOLOGY: &str = "
services:
  s3:     { prefix_list: [198.18.0.0/24], ip: 198.18.0.10 }
  lambda: { ip: 198.18.1.1 }
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:    { cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }
      private:   { cidr_block: 10.0.1.0/24, availability_zone: a }
      data:      { cidr_block: 10.0.2.0/24, availability_zone: a, route_table: bare }
      inspected: { cidr_block: 10.0.3.0/24, availability_zone: a, route_table: inspected }
    route_tables:
      main:      { main: true, routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public:    { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
      bare:      {}
      inspected: { routes: [ { destination: 0.0.0.0/0, target: instance/appliance } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: public, private_ip: 10.0.0.5, public_ips: [203.0.113.10] }
    vpc_endpoints:
      s3:     { type: gateway, service: s3, route_tables: [main] }
      lambda: { type: interface, service: lambda, subnets: [private], private_ips: [10.0.1.20], security_groups: [closed] }
    security_groups:
      open:   { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
      closed: {}
    instances:
      db:        { subnet: data, private_ip: 10.0.2.10, security_groups: [open] }
      web:       { subnet: public, private_ip: 10.0.0.20, public_ip: 203.0.113.20, security_groups: [open] }
      appliance: { subnet: public, private_ip: 10.0.0.30, source_dest_check: false, security_groups: [open] }
      inspected: { subnet: inspected, private_ip: 10.0.3.10, security_groups: [open] }
functions:
  api: { subnets: [main/private], security_groups: [main/open], environments: 2 }
internet:
  host:  { ip: 198.51.100.7 }
  other: { ip: 198.51.100.8 }
";

const API: &str = "function/api/1";
/// The function's ENI.
const ENI: &str = "10.0.1.4";
const DB: &str = "10.0.2.10";
const WEB: &str = "10.0.0.20";
const HOST: &str = "198.51.100.7";
const NAT_PUBLIC: &str = "203.0.113.10";

/// What stands for no single host.
const NO_HOSTS: [&str; 9] = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.255",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.254",
    "255.255.255.255",
];

/// A packet, and what is to become of it.
struct Case {
    from: &'static str,
    what: String,
    packet: Packet,
    refused: Refused,
}

/// How a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// Without a word.
    For(Reason),
    /// With an answer to its sender.
    Answered(Reason),
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::For(reason)
    }
}

impl Case {
    fn new(
        from: &'static str,
        what: impl Into<String>,
        packet: Packet,
        refused: impl Into<Refused>,
    ) -> Self {
        Self { from, what: what.into(), packet, refused: refused.into() }
    }
}

/// Sends every packet of a table through a network of its own, and asserts all that came of it.
#[track_caller]
fn hold(cases: &[Case]) {
    let mut net = Net::load(TOPOLOGY);
    hold_in(&mut net, cases);
    net.assert_empty();
}

/// [`hold`], in a network that has connections already: it is to have the same afterwards.
#[track_caller]
fn hold_in(net: &mut Net, cases: &[Case]) {
    assert!(!cases.is_empty());
    let standing = standing(net);
    let before = net.engine.counters();
    let mut wrong = Vec::new();
    let mut reasons = BTreeMap::new();
    let mut answers = 0;
    for Case { from, what, packet, refused } in cases {
        let outcome = net.send(from, packet);
        let found = match &outcome {
            Outcome::Dropped(dropped) => Some(Refused::For(dropped.reason)),
            Outcome::Answered { reason, .. } => Some(Refused::Answered(*reason)),
            Outcome::Delivered { .. } | Outcome::Cut { .. } | Outcome::Held => None,
        };
        if found != Some(*refused) {
            wrong.push(format!("{from}: {what}: {outcome:?}, not {refused:?}"));
        }
        let reason = match refused {
            Refused::For(reason) => reason,
            Refused::Answered(reason) => {
                answers += 1;
                reason
            }
        };
        *reasons.entry(*reason).or_insert(0) += 1;
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));

    let after = net.engine.counters();
    let counted: BTreeMap<Reason, u64> = Reason::ALL
        .iter()
        .map(|reason| (*reason, after.dropped(*reason) - before.dropped(*reason)))
        .filter(|(_, packets)| *packets > 0)
        .collect();
    assert_eq!(counted, reasons);
    assert_eq!(after.answered_packets - before.answered_packets, answers);
    assert_eq!(after.forwarded_packets, before.forwarded_packets);
    assert_eq!(after.connections_opened, before.connections_opened);
    assert_eq!(self::standing(net), standing, "a refused packet changed what there is");
}

/// Everything that is held: connections, how far each is, and ports.
fn standing(net: &Net) -> (Vec<String>, Vec<(String, Option<u32>)>) {
    let mut connections: Vec<String> = net
        .engine
        .connections(net.now, usize::MAX, |_| true)
        .into_iter()
        .map(|info| format!("{info:?}"))
        .collect();
    connections.sort();
    let ports = |eni: viaduct_dataplane::EniInfo| (eni.id.to_string(), eni.connections);
    (connections, net.engine.enis().into_iter().map(ports).collect())
}
