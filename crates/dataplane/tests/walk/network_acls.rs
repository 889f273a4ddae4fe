//! Network ACLs as a walk meets them.

use viaduct_dataplane::explain::{self, Verdict};
use viaduct_topology::Reason;

use crate::world::{FORWARD, Network, OPEN, RETURN};

const DENIED: Reason = Reason::SubnetAclRestriction;

const EVERYTHING: &str = "100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 }";

/// An open function in `a` and an open instance in `b`, behind this ACL.
fn behind(acls: &'static str) -> Network {
    Network {
        groups: OPEN,
        acls,
        acl_of: &[("b", "strict")],
        instances: "
            server: { subnet: b, private_ip: 10.0.2.10, security_groups: [open] }
            neighbour: { subnet: b, security_groups: [open] }
            client: { subnet: a, security_groups: [open] }",
        functions: "api: { subnets: [main/a], security_groups: [main/open] }",
        ..Network::default()
    }
}

// Conforms: ACL-02
#[test]
fn acl_02_the_lowest_number_that_matches_decides() {
    let world = behind(
        "strict: { ingress: { 90: { action: deny, protocol: tcp, ports: 22, cidr_block: 10.0.1.0/24 }, 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } }, egress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } } }",
    )
    .world();
    assert_eq!(world.ask("function/api", "instance/server", "tcp/22"), Some((FORWARD, DENIED)));
    assert_eq!(world.ask("function/api", "instance/server", "tcp/23"), None);

    let explained = world.explain("function/api", "instance/server", "tcp/22");
    let rule = explained.blockers[0].rule.as_deref();
    assert_eq!(rule, Some("ingress rule 90 deny tcp 22 10.0.1.0/24"));
}

#[test]
fn acl_05_the_default_acl_admits_everything() {
    let world = Network { acl_of: &[], ..behind("") }.world();
    assert_eq!(world.ask("function/api", "instance/server", "udp/53"), None);
}

#[test]
fn acl_06_a_custom_acl_admits_nothing_until_told() {
    let world = behind("strict: {}").world();
    assert_eq!(world.ask("function/api", "instance/server", "tcp/443"), Some((FORWARD, DENIED)));
    let explained = world.explain("function/api", "instance/server", "tcp/443");
    assert_eq!(explained.blockers[0].rule.as_deref(), Some("ingress rule * deny all traffic"));
}

// Conforms: ACL-07
#[test]
fn acl_07_a_reply_needs_a_rule_of_its_own() {
    let answering = "strict: { ingress: { 100: { action: allow, protocol: tcp, ports: 443, cidr_block: 0.0.0.0/0 } }, egress: { 100: { action: allow, protocol: tcp, ports: 1024-65535, cidr_block: 0.0.0.0/0 } } }";
    let mute = "strict: { ingress: { 100: { action: allow, protocol: tcp, ports: 443, cidr_block: 0.0.0.0/0 } }, egress: {} }";

    let world = behind(answering).world();
    assert_eq!(world.ask("function/api", "instance/server", "tcp/443"), None);

    // The request is delivered; the reply is refused where it leaves the subnet.
    let world = behind(mute).world();
    assert_eq!(world.ask("function/api", "instance/server", "tcp/443"), Some((RETURN, DENIED)));
    let explained = world.explain("function/api", "instance/server", "tcp/443");
    assert!(explained.forward.iter().all(|hop| hop.verdict == Verdict::Allow));
    let refused = explained.back.iter().find(|hop| hop.verdict == Verdict::Deny).unwrap();
    assert_eq!(refused.name, "main/network_acl/strict");
    assert_eq!(refused.rule.as_deref(), Some("egress rule * deny all traffic"));

    // One way, it is allowed.
    let query = explain::Query {
        one_way: true,
        ..world.queries("function/api", "instance/server", "tcp/443").remove(0)
    };
    let explained = explain::explain(&world.policy, &world.inventory, &query).unwrap();
    assert_eq!((explained.verdict, explained.back.len()), (Verdict::Allow, 0));
}

// Conforms: ACL-08
#[test]
fn acl_08_within_a_subnet_no_acl_is_asked() {
    let world = behind("strict: {}").world();
    assert_eq!(world.ask("instance/neighbour", "instance/server", "tcp/443"), None);
    let explained = world.explain("instance/neighbour", "instance/server", "tcp/443");
    let hops = explained.forward.iter().chain(&explained.back);
    assert!(hops.clone().all(|hop| !hop.name.contains("acl") && !hop.name.contains("route")));
    assert_eq!(world.ask("instance/client", "instance/server", "tcp/443"), Some((FORWARD, DENIED)));
}

#[test]
fn acl_10_both_acls_apply_between_two_subnets() {
    let acls = "
        strict: { ingress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } }, egress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } } }
        mute: { ingress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } } }
        deaf: { egress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } } }";
    assert!(acls.contains(EVERYTHING));
    for (a, b, expected) in [
        ("strict", "strict", None),
        // a does not let the request out, b does not let it in.
        ("mute", "strict", Some((FORWARD, DENIED))),
        ("strict", "deaf", Some((FORWARD, DENIED))),
        // b does not let the reply out, a does not let it in.
        ("strict", "mute", Some((RETURN, DENIED))),
        ("deaf", "strict", Some((RETURN, DENIED))),
    ] {
        let acl_of: &'static [(&str, &str)] = Box::leak(Box::new([("a", a), ("b", b)]));
        let world = Network { acl_of, ..behind(acls) }.world();
        assert_eq!(world.ask("function/api", "instance/server", "tcp/443"), expected, "{a} {b}");
    }
}

#[test]
fn acl_11_ingress_rules_look_at_the_source_egress_rules_at_the_destination() {
    let world = behind(
        "strict: { ingress: { 100: { action: allow, protocol: tcp, ports: 443, cidr_block: 10.0.2.0/24 } }, egress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } } }",
    )
    .world();
    // The block is the server's own, not the client's.
    assert_eq!(world.ask("function/api", "instance/server", "tcp/443"), Some((FORWARD, DENIED)));
}

// Conforms: ACL-18
#[test]
fn acl_18_a_functions_replies_need_all_ports_from_1024() {
    let high = "strict: { ingress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } }, egress: { 100: { action: allow, protocol: tcp, ports: 32768-65535, cidr_block: 0.0.0.0/0 } } }";
    let world = behind(high).world();
    assert_eq!(world.ask("function/api", "instance/server", "tcp/443"), Some((RETURN, DENIED)));
    let explained = world.explain("function/api", "instance/server", "tcp/443");
    assert_eq!(
        explained.blockers[0].rule.as_deref(),
        Some("egress rule * deny all traffic; ports 32768-65535 pass, 1024-32767 do not")
    );
    // ACL-17: an instance is a Linux host and uses 32768–60999.
    assert_eq!(world.ask("instance/client", "instance/server", "tcp/443"), None);
    // A source port that is known is judged alone, and is not what the server sees of a function.
    let query = explain::Query {
        source_port: Some(2000),
        ..world.queries("instance/client", "instance/server", "tcp/443").remove(0)
    };
    let explained = explain::explain(&world.policy, &world.inventory, &query).unwrap();
    assert_eq!(explained.reason, Some(DENIED));
}

#[test]
fn sg_15_an_echo_and_its_reply_are_judged_by_type() {
    let world = behind(
        "strict: { ingress: { 100: { action: allow, protocol: icmp, icmp_type: 8, cidr_block: 0.0.0.0/0 } }, egress: { 100: { action: allow, protocol: icmp, icmp_type: 0, cidr_block: 0.0.0.0/0 } } }",
    )
    .world();
    assert_eq!(world.ask("instance/client", "instance/server", "icmp"), None);
    assert_eq!(world.ask("instance/server", "instance/client", "icmp"), Some((FORWARD, DENIED)));
}
