//! Facts about security groups and network ACLs that show only in packets.

mod support;

use support::{ACK, INSIDE, Net, SYN, SYN_ACK, echo, icmp_error, tcp, udp};
use viaduct_topology::Reason;

const API: &str = "function/api/1";
const ENI: &str = "10.0.1.4";
const DB: (&str, u16) = ("10.0.2.10", 5432);

/// A function, and a database in another subnet with this group and, if any rules are named, ACL.
fn network(group: &str, acl: &str) -> String {
    let subnet_acl = if acl.is_empty() { "" } else { ", network_acl: data" };
    let acls = if acl.is_empty() {
        String::new()
    } else {
        format!("    network_acls: {{ data: {acl} }}\n")
    };
    format!(
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      private: {{ cidr_block: 10.0.1.0/24 }}
      data:    {{ cidr_block: 10.0.2.0/24{subnet_acl} }}
{acls}    security_groups:
      open: {{}}
      db: {group}
    instances:
      db:   {{ subnet: data, private_ip: 10.0.2.10, security_groups: [db] }}
      peer: {{ subnet: private, private_ip: 10.0.1.50, security_groups: [open] }}
functions:
  api: {{ subnets: [main/private], security_groups: [main/open] }}
"
    )
}

const OPEN: &str = "{ ingress: [{ protocol: all, from: 0.0.0.0/0 }] }";
const EVERYTHING: &str = "{ 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } }";

// Conforms: SG-15
#[test]
fn sg_15_a_rule_for_icmp_is_for_its_type_and_code() {
    let admits = |rule: &str, code: u8| {
        let mut net = Net::load(&network(&format!("{{ ingress: [{rule}] }}"), ""));
        let mut ping = echo("10.0.1.50", DB.0, 7, false);
        // Of another code it is no echo, and has no identifier.
        let message = ping.0.len() - ping.ip().len() + 20;
        ping.0[message + 1] = code;
        let sum = u16::from_be_bytes([ping.0[message + 2], ping.0[message + 3]]);
        ping.0[message + 2..message + 4].copy_from_slice(&(sum - u16::from(code)).to_be_bytes());
        !matches!(net.send("instance/peer", &ping), support::Outcome::Dropped(_))
    };
    let any_echo = "{ protocol: icmp, icmp_type: 8, from: 0.0.0.0/0 }";
    assert!(admits(any_echo, 0) && admits(any_echo, 9));
    let one_code = "{ protocol: icmp, icmp_type: 8, icmp_code: 9, from: 0.0.0.0/0 }";
    assert!(!admits(one_code, 0) && admits(one_code, 9));
    let fragmentation_needed = "{ protocol: icmp, icmp_type: 3, icmp_code: 4, from: 0.0.0.0/0 }";
    assert!(!admits(fragmentation_needed, 0) && !admits(fragmentation_needed, 4));
}

// Conforms: SG-17
#[test]
fn sg_17_an_echo_reply_leaves_without_a_rule() {
    let group = "{ ingress: [{ protocol: icmp, from: 0.0.0.0/0 }], egress: [] }";
    let mut net = Net::load(&network(group, ""));
    net.send("instance/peer", &echo("10.0.1.50", DB.0, 7, false)).delivered_at("instance/db");
    net.send("instance/db", &echo(DB.0, "10.0.1.50", 7, true)).delivered_at("instance/peer");
    let own = echo(DB.0, "10.0.1.50", 8, false);
    net.send("instance/db", &own).dropped_for(Reason::SgHasNoRules);
}

// Conforms: SG-23
#[test]
fn sg_23_an_acl_cuts_a_tracked_connection_at_once() {
    let with = |denied: &str| {
        let rules = |own: &str| match denied {
            name if name == own => EVERYTHING.replace("allow", "deny"),
            _ => EVERYTHING.to_owned(),
        };
        network(OPEN, &format!("{{ ingress: {}, egress: {} }}", rules("ingress"), rules("egress")))
    };
    let mut net = Net::load(&with(""));
    let inside = (INSIDE, 40_000);
    let request = net.send(API, &tcp(inside, DB, SYN, b"")).delivered_at("instance/db");
    let port = request.ends().0.1;
    net.send("instance/db", &tcp(DB, (ENI, port), SYN_ACK, b"")).delivered_at(API);
    net.send(API, &tcp(inside, DB, ACK, b"")).delivered_at("instance/db");

    let more = (tcp(inside, DB, ACK, b"more"), tcp(DB, (ENI, port), ACK, b"and back"));
    net.apply(&with("ingress"));
    net.send(API, &more.0).dropped_for(Reason::SubnetAclRestriction);
    net.send("instance/db", &more.1).delivered_at(API);
    net.apply(&with("egress"));
    net.send(API, &more.0).delivered_at("instance/db");
    net.send("instance/db", &more.1).dropped_for(Reason::SubnetAclRestriction);
}

// Conforms: ACL-18
#[test]
fn acl_18_half_of_all_replies_fail_if_half_of_the_ports_are_admitted() {
    let high =
        "{ 100: { action: allow, protocol: udp, ports: 32768-65535, cidr_block: 0.0.0.0/0 } }";
    let mut net =
        Net::load(&network(OPEN, &format!("{{ ingress: {EVERYTHING}, egress: {high} }}")));
    const FLOWS: u16 = 2000;
    let mut heard = 0;
    for number in 0..FLOWS {
        let inside = (INSIDE, 1024 + number);
        let request = net.send(API, &udp(inside, DB, b"?")).delivered_at("instance/db");
        let port = request.ends().0.1;
        let reply = net.send("instance/db", &udp(DB, (ENI, port), b"!"));
        if port >= 32_768 {
            reply.delivered_at(API);
            heard += 1;
        } else {
            reply.dropped_for(Reason::SubnetAclRestriction);
        }
    }
    // 32,768 of 64,512 ports; five times the deviation that chance makes (22 of 2,000).
    let expected = u32::from(FLOWS) * 32_768 / 64_512;
    assert!(expected.abs_diff(heard) < 110, "{heard} of {FLOWS}, and {expected} were expected");
}

// Conforms: ACL-19
#[test]
fn acl_19_an_icmp_error_needs_a_rule_that_its_connection_does_not() {
    let with = |icmp: &str| {
        let egress = format!(
            "{{ 90: {{ action: allow, protocol: udp, ports: all, cidr_block: 0.0.0.0/0 }}{icmp} }}"
        );
        network(OPEN, &format!("{{ ingress: {EVERYTHING}, egress: {egress} }}"))
    };
    let rule = |kind: u8| {
        format!(
            ", 100: {{ action: allow, protocol: icmp, icmp_type: {kind}, cidr_block: 0.0.0.0/0 }}"
        )
    };
    let mut net = Net::load(&with(""));
    let request = net.send(API, &udp((INSIDE, 40_000), DB, b"?")).delivered_at("instance/db");
    let port = request.ends().0.1;
    net.send("instance/db", &udp(DB, (ENI, port), b"!")).delivered_at(API);

    let error = icmp_error(DB.0, ENI, 3, 3, request.ip());
    net.send("instance/db", &error).dropped_for(Reason::SubnetAclRestriction);
    net.apply(&with(&rule(11)));
    net.send("instance/db", &error).dropped_for(Reason::SubnetAclRestriction);
    net.apply(&with(&rule(3)));
    net.send("instance/db", &error).delivered_at(API);
}
