//! Subnets that are shared, and taken back: packets through the engine.
//!
//! Interfaces outlive the policy that they were planned from. So a policy in which the share is gone,
//! loaded alone, is what a reload is for a function that was made over the API.

mod support;

use support::{ACK, INSIDE, Net, SYN, SYN_ACK, icmp_error, tcp, udp};
use viaduct_dataplane::explain::{Probe, Query, Sender};
use viaduct_topology::Reason;

/// A subnet of account 1…, shared with 2…; both have functions in it.
const NETWORK: &str = "
organization: { accounts: [111111111111, 222222222222] }
vpcs:
  main:
    account: 111111111111
    cidr_blocks: [10.0.0.0/16]
    subnets:
      shared: { cidr_block: 10.0.1.0/24, shared_with: [222222222222], on_unshare: cut }
      data:   { cidr_block: 10.0.2.0/24, route_table: public }
    route_tables:
      main:   { routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: data, public_ips: [203.0.113.10] }
    security_groups:
      own: {}
      guest: { account: 222222222222 }
      visitor: { account: 222222222222, egress: [ { protocol: tcp, ports: 80, to: 111111111111/db } ] }
      db: { ingress: [ { protocol: all, from: own }, { protocol: all, from: 222222222222/guest } ] }
    instances:
      db: { subnet: data, private_ip: 10.0.2.10, security_groups: [db] }
functions:
  own:     { subnets: [main/shared], security_groups: [main/own] }
  guest:   { subnets: [main/shared], security_groups: [main/guest], account: 222222222222 }
  visitor: { subnets: [main/shared], security_groups: [main/visitor], account: 222222222222 }
internet:
  web: { ip: 198.51.100.7 }
";

const OWN: &str = "function/own/1";
const GUEST: &str = "function/guest/1";
const VISITOR: &str = "function/visitor/1";
const DB: (&str, u16) = ("10.0.2.10", 80);
const WEB: (&str, u16) = ("198.51.100.7", 443);

/// The network without the share, and without the functions that need it.
fn unshared(on_unshare: &str) -> String {
    let shared = ", shared_with: [222222222222], on_unshare: cut";
    let policy = NETWORK.replace(shared, &format!(", on_unshare: {on_unshare}"));
    let needs = |line: &&str| line.contains("account: 222222222222 }") && line.contains("[main/");
    policy.lines().filter(|line| !needs(line)).map(|line| format!("{line}\n")).collect()
}

/// A connection that is established: its request, and the reply to it.
fn established(net: &mut Net, from: &str, port: u16) -> (support::Packet, support::Packet) {
    let arrived = net.send(from, &tcp((INSIDE, port), DB, SYN, b"")).delivered_at("instance/db");
    let (seen, seen_port) = arrived.ends().0;
    let seen = (seen.as_str(), seen_port);
    net.send("instance/db", &tcp(DB, seen, SYN_ACK, b"")).delivered_at(from);
    let packets = (tcp((INSIDE, port), DB, ACK, b"x"), tcp(DB, seen, ACK, b"y"));
    net.send(from, &packets.0).delivered_at("instance/db");
    net.send("instance/db", &packets.1).delivered_at(from);
    packets
}

// Conforms: SHR-06
#[test]
fn shr_06_a_rule_admits_the_group_of_another_account_and_no_other_of_it() {
    let mut net = Net::load(NETWORK);
    net.send(GUEST, &tcp((INSIDE, 1), DB, SYN, b"")).delivered_at("instance/db");
    net.send(OWN, &tcp((INSIDE, 1), DB, SYN, b"")).delivered_at("instance/db");
    let refused = net.send(VISITOR, &tcp((INSIDE, 1), DB, SYN, b""));
    refused.dropped_for(Reason::EniSgRulesMismatch);
    // Its own group lets it out to the owner's, and it is the owner's that keeps it out.
    let closed = NETWORK
        .replace("egress: [ { protocol: tcp, ports: 80, to: 111111111111/db } ]", "egress: []");
    net.apply(&closed);
    let refused = net.send(VISITOR, &tcp((INSIDE, 2), DB, SYN, b""));
    refused.dropped_for(Reason::SgHasNoRules);
    let open = NETWORK.replace("222222222222/guest", "222222222222/visitor");
    net.apply(&open);
    net.send(VISITOR, &tcp((INSIDE, 3), DB, SYN, b"")).delivered_at("instance/db");
    net.send(GUEST, &tcp((INSIDE, 3), DB, SYN, b"")).dropped_for(Reason::EniSgRulesMismatch);
}

// Conforms: SHR-10
// Facts: T-09
#[test]
fn shr_10_what_is_kept_does_not_notice_that_the_share_is_gone() {
    let mut net = Net::load(&NETWORK.replace("on_unshare: cut", "on_unshare: keep"));
    let (request, reply) = established(&mut net, GUEST, 1);
    net.reload(&unshared("keep"));
    net.send(GUEST, &request).delivered_at("instance/db");
    net.send("instance/db", &reply).delivered_at(GUEST);
    established(&mut net, GUEST, 2);
    net.send(GUEST, &tcp((INSIDE, 3), WEB, SYN, b"")).delivered_at("internet/web");
}

// Conforms: SHR-10
#[test]
fn shr_10_what_is_cut_off_ends_and_opens_nothing_until_it_is_shared_again() {
    let gone = Reason::SubnetNotShared;
    let mut net = Net::load(NETWORK);
    let (request, reply) = established(&mut net, GUEST, 1);
    let (_, second) = established(&mut net, GUEST, 2);
    let (ours, theirs) = established(&mut net, OWN, 1);
    let out = net.send(GUEST, &tcp((INSIDE, 3), WEB, SYN, b"")).delivered_at("internet/web");
    net.reload(&unshared("cut"));
    // Whichever side is first to say something.
    net.send(GUEST, &request).dropped_for(gone);
    net.send("instance/db", &reply).dropped_for(gone);
    net.send("instance/db", &second).dropped_for(gone);
    let (seen, port) = out.ends().0;
    let late = tcp(WEB, (&seen, port), SYN_ACK, b"");
    net.send("internet/web", &late).dropped_for(Reason::NatGatewayUnsolicited);
    assert_eq!(net.engine.connection_count(), 1, "the owner's own");
    net.send(OWN, &ours).delivered_at("instance/db");
    net.send("instance/db", &theirs).delivered_at(OWN);
    for port in 4..8 {
        net.send(GUEST, &tcp((INSIDE, port), DB, SYN, b"")).dropped_for(gone);
        net.send(GUEST, &udp((INSIDE, port), WEB, b"?")).dropped_for(gone);
    }
    // Nothing of it is left: no port is held but the owner's.
    let held: u32 = net.engine.enis().iter().filter_map(|eni| eni.connections).sum();
    assert_eq!(held, 1);

    net.reload(NETWORK);
    // What has ended has ended.
    assert!(!matches!(net.send(GUEST, &request), support::Outcome::Delivered { .. }));
    established(&mut net, GUEST, 9);
    established(&mut net, OWN, 9);
}

// Conforms: SHR-10
#[test]
fn shr_10_an_icmp_error_about_what_was_cut_off_reaches_nobody() {
    let mut net = Net::load(NETWORK);
    let sent = net.send(GUEST, &udp((INSIDE, 1), DB, b"?")).delivered_at("instance/db");
    let error = icmp_error(DB.0, &sent.ends().0.0, 3, 3, sent.ip());
    net.send("instance/db", &error).delivered_at(GUEST);
    net.reload(&unshared("cut"));
    let outcome = net.send("instance/db", &error);
    assert!(matches!(outcome, support::Outcome::Dropped(_)), "{outcome:?}");
}

// Conforms: SHR-10
// Facts: SHR-12
#[test]
fn an_explanation_says_whose_the_interface_is_and_that_it_is_cut_off() {
    let net = Net::load(NETWORK);
    let explain = |from: &str| {
        let query = Query {
            from: Sender::Attachment(net.id(from)),
            to: DB.0.parse().unwrap(),
            probe: Probe::Tcp(DB.1),
            source_port: None,
            one_way: false,
        };
        net.engine.explain(&query).unwrap()
    };
    let told = explain(GUEST);
    assert_eq!(told.reason, None);
    assert!(told.to_string().contains(", of account 222222222222)"), "{told}");
    assert!(!explain(OWN).to_string().contains("of account"), "the owner's own needs no word");
    // As `Net::reload` does, which wants the net for itself.
    let topology = viaduct_config_plane::load("test.yaml", &unshared("cut")).unwrap().topology;
    net.engine.load(&topology);
    let told = explain(GUEST);
    assert_eq!(told.reason, Some(Reason::SubnetNotShared));
    let words = "stands in main/subnet/shared, which is not shared with 222222222222";
    assert!(told.to_string().contains(words), "{told}");
    assert_eq!(explain(OWN).reason, None);
}
