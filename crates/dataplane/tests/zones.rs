//! Zones that fail: packets through the engine.

mod support;

use std::collections::BTreeSet;

use support::{ACK, INSIDE, Net, SYN, SYN_ACK, icmp_error, tcp, udp};
use viaduct_topology::Reason;

/// A function in two zones, of which one has the NAT gateway that both use and an interface endpoint.
const NETWORK: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public: { cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }
      one:    { cidr_block: 10.0.1.0/24, availability_zone: a }
      two:    { cidr_block: 10.0.2.0/24, availability_zone: b }
    route_tables:
      main: { routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: public, public_ips: [203.0.113.10] }
    vpc_endpoints:
      queue: { type: interface, service: sqs, subnets: [one], private_ips: [10.0.1.20], security_groups: [open] }
    security_groups:
      open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
    instances:
      a: { subnet: public, private_ip: 10.0.0.10, public_ip: 203.0.113.5, security_groups: [open] }
      b: { subnet: two, private_ip: 10.0.2.10, security_groups: [open] }
functions:
  api: { subnets: [main/one, main/two], security_groups: [main/open], environments: 2 }
  outside: {}
services:
  sqs: { ip: 198.18.0.1 }
internet:
  web: { ip: 198.51.100.7 }
";

const IN_A: &str = "function/api/1";
const IN_B: &str = "function/api/2";
const WEB: (&str, u16) = ("198.51.100.7", 443);
const A: (&str, u16) = ("10.0.0.10", 80);
const B: (&str, u16) = ("10.0.2.10", 80);
const DOWN: Reason = Reason::ZoneUnavailable;

fn fail(net: &Net, zones: &[&str]) {
    let zones: BTreeSet<String> = zones.iter().map(|&zone| zone.to_owned()).collect();
    net.engine.fail_zones(&zones);
}

/// Whether a new connection passes.
#[track_caller]
fn opens(net: &mut Net, from: &str, to: (&str, u16), at: Result<&str, Reason>) {
    let own = match from {
        "instance/a" => A.0,
        "instance/b" => B.0,
        "internet/web" => WEB.0,
        _ => INSIDE,
    };
    let outcome = net.send(from, &tcp((own, 7777), to, SYN, b""));
    match at {
        Ok(at) => drop(outcome.delivered_at(at)),
        Err(reason) => drop(outcome.dropped_for(reason)),
    }
}

// Facts: LAM-18, NAT-02
#[test]
fn lam_18_nat_02_nothing_in_a_failed_zone_sends_or_gets() {
    let mut net = Net::load(NETWORK);
    fail(&net, &["a", "nowhere"]);
    opens(&mut net, IN_A, B, Err(DOWN));
    opens(&mut net, IN_B, B, Ok("instance/b"));
    opens(&mut net, IN_B, A, Err(DOWN));
    opens(&mut net, "instance/a", B, Err(DOWN));
    opens(&mut net, "instance/b", A, Err(DOWN));
    opens(&mut net, "internet/web", ("203.0.113.5", 80), Err(DOWN));
    // NAT-02: those in other zones lose their egress with the gateway's.
    opens(&mut net, IN_B, WEB, Err(DOWN));
    opens(&mut net, IN_B, ("10.0.1.20", 443), Err(DOWN));
    // What is of no zone is of none that fails.
    opens(&mut net, "function/outside/1", WEB, Ok("internet/web"));
    // The address of a function's ENI, too, is one that gets nothing.
    let eni = net.engine.inventory().enis();
    let eni = eni.iter().find(|eni| eni.ip.octets()[..3] == [10, 0, 1] && eni.ports.is_some());
    let eni = eni.expect("the function's").ip.to_string();
    opens(&mut net, "instance/b", (&eni, 80), Err(DOWN));

    fail(&net, &["b"]);
    opens(&mut net, IN_A, WEB, Ok("internet/web"));
    opens(&mut net, IN_B, A, Err(DOWN));
    fail(&net, &[]);
    opens(&mut net, IN_B, WEB, Ok("internet/web"));
    opens(&mut net, "instance/b", (&eni, 80), Err(Reason::V2nOneWay));
}

// Facts: LAM-18, NAT-02
#[test]
fn lam_18_a_connection_that_has_not_timed_out_goes_on_when_its_zone_is_back() {
    let mut net = Net::load(NETWORK);
    let arrived = net.send(IN_B, &tcp((INSIDE, 1), WEB, SYN, b"")).delivered_at("internet/web");
    let (seen, port) = arrived.ends().0;
    net.send("internet/web", &tcp(WEB, (&seen, port), SYN_ACK, b"")).delivered_at(IN_B);
    let request = tcp((INSIDE, 1), WEB, ACK, b"x");
    let reply = tcp(WEB, (&seen, port), ACK, b"y");
    net.send(IN_B, &request).delivered_at("internet/web");
    net.send("internet/web", &reply).delivered_at(IN_B);

    for zone in ["a", "b"] {
        // The gateway's, then the function's own.
        fail(&net, &[zone]);
        net.pass_seconds(100);
        net.send(IN_B, &request).dropped_for(DOWN);
        net.send("internet/web", &reply).dropped_for(DOWN);
        let error = icmp_error(WEB.0, &seen, 3, 3, arrived.ip());
        net.send("internet/web", &error).dropped_for(DOWN);
        assert_eq!(net.engine.connection_count(), 1, "it stays");
        fail(&net, &[]);
        net.send(IN_B, &request).delivered_at("internet/web");
        net.send("internet/web", &reply).delivered_at(IN_B);
    }
    // What is refused keeps nothing alive.
    fail(&net, &["b"]);
    for _ in 0..4 {
        net.pass_seconds(100);
        net.send(IN_B, &request);
        net.expire();
    }
    net.assert_empty();
}

// Facts: LAM-18
#[test]
fn lam_18_untracked_and_one_way_traffic_stops_too() {
    let mut net = Net::load(NETWORK);
    let datagram = udp(("10.0.2.10", 9), ("10.0.0.10", 9), b"?");
    let answer = udp(("10.0.0.10", 9), ("10.0.2.10", 9), b"!");
    net.send("instance/b", &datagram).delivered_at("instance/a");
    net.send("instance/a", &answer).delivered_at("instance/b");
    fail(&net, &["a"]);
    net.send("instance/b", &datagram).dropped_for(DOWN);
    net.send("instance/a", &answer).dropped_for(DOWN);
    // A reload changes nothing about it, and a new subnet in the zone is no way round.
    net.apply(&NETWORK.replace(
        "two:    {",
        "more: { cidr_block: 10.0.3.0/24, availability_zone: a }\n      two:    {",
    ));
    net.send("instance/b", &datagram).dropped_for(DOWN);
    fail(&net, &[]);
    net.send("instance/b", &datagram).delivered_at("instance/a");
}

#[test]
fn zones_that_fail_already_make_no_generation() {
    let net = Net::load(NETWORK);
    let before = net.engine.generation();
    fail(&net, &[]);
    assert_eq!(net.engine.generation(), before);
    fail(&net, &["a"]);
    let failed = net.engine.generation();
    assert_ne!(failed, before);
    fail(&net, &["a"]);
    assert_eq!(net.engine.generation(), failed);
}
