//! Security groups as a walk meets them.

use crate::world::{FORWARD, Network, OPEN, same_way};
use viaduct_dataplane::{
    explain::Probe,
    walk::{Options, Tracking},
};
use viaduct_topology::Reason;

const MISMATCH: Reason = Reason::EniSgRulesMismatch;

#[test]
fn sg_02_a_new_group_refuses_all_ingress_and_admits_all_egress() {
    let world = Network {
        groups: "new: {}",
        instances: "
            x: { subnet: a, security_groups: [new] }
            y: { subnet: a, security_groups: [new] }",
        ..Network::default()
    }
    .world();
    assert_eq!(
        world.ask("instance/x", "instance/y", "tcp/80"),
        Some((FORWARD, Reason::SgHasNoRules)),
        "the sender's egress passes, the receiver's ingress has no rule"
    );
}

// Conforms: SG-03
#[test]
fn sg_03_the_rules_of_all_groups_of_an_interface_are_one_set() {
    let world = Network {
        groups: "
            a80: { ingress: [ { protocol: tcp, ports: 80, from: 0.0.0.0/0 } ] }
            b443: { ingress: [ { protocol: tcp, ports: 443, from: 0.0.0.0/0 } ] }",
        instances: "
            both: { subnet: a, security_groups: [a80, b443] }
            one: { subnet: a, security_groups: [a80] }",
        ..Network::default()
    }
    .world();
    assert_eq!(world.ask("instance/one", "instance/both", "tcp/80"), None);
    assert_eq!(world.ask("instance/one", "instance/both", "tcp/443"), None);
    assert_eq!(world.ask("instance/one", "instance/both", "tcp/22"), Some((FORWARD, MISMATCH)));
    assert_eq!(world.ask("instance/both", "instance/one", "tcp/443"), Some((FORWARD, MISMATCH)));
}

#[test]
fn sg_05_the_default_group_admits_its_own_members() {
    let world = Network {
        groups: "other: {}",
        instances: "
            x: { subnet: a }
            y: { subnet: b }
            z: { subnet: b, security_groups: [other] }",
        ..Network::default()
    }
    .world();
    assert_eq!(world.ask("instance/x", "instance/y", "udp/53"), None);
    assert_eq!(world.ask("instance/z", "instance/y", "udp/53"), Some((FORWARD, MISMATCH)));
}

/// Two instances with public addresses; `server` admits the group of `client` alone.
fn referencing() -> Network {
    Network {
        groups: "
            client: {}
            server: { ingress: [ { protocol: tcp, ports: 443, from: security_group/client } ] }",
        instances: "
            client: { subnet: public, private_ip: 10.0.0.10, public_ip: 203.0.113.1, security_groups: [client] }
            server: { subnet: public, private_ip: 10.0.0.20, public_ip: 203.0.113.2, security_groups: [server] }
            stranger: { subnet: public, security_groups: [server] }",
        ..Network::default()
    }
}

// Conforms: SG-07, IGW-09
#[test]
fn sg_07_a_reference_matches_members_by_their_private_addresses() {
    let world = referencing().world();
    assert_eq!(world.ask("instance/client", "instance/server", "tcp/443"), None);
    assert_eq!(
        world.ask("instance/stranger", "instance/server", "tcp/443"),
        Some((FORWARD, MISMATCH))
    );
    // Through the internet gateway and back in, the source is public: no member has that address.
    assert_eq!(
        world.ask("instance/client", "203.0.113.2", "tcp/443"),
        Some((FORWARD, MISMATCH)),
        "IGW-09"
    );
}

// Conforms: SG-07
#[test]
fn sg_07_an_egress_reference_matches_the_destinations_members() {
    let world = Network {
        groups: "
            fn: { egress: [ { protocol: tcp, ports: 5432, to: security_group/db } ] }
            db: { ingress: [ { protocol: tcp, ports: 5432, from: security_group/fn } ] }
            other: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }",
        instances: "
            db: { subnet: b, security_groups: [db] }
            other: { subnet: b, security_groups: [other] }",
        functions: "api: { subnets: [main/a], security_groups: [main/fn] }",
        ..Network::default()
    }
    .world();
    assert_eq!(world.ask("function/api", "instance/db", "tcp/5432"), None);
    assert_eq!(world.ask("function/api", "instance/db", "tcp/5433"), Some((FORWARD, MISMATCH)));
    assert_eq!(world.ask("function/api", "instance/other", "tcp/5432"), Some((FORWARD, MISMATCH)));
}

#[test]
fn sg_08_a_reference_does_not_import_the_groups_rules() {
    let world = Network {
        groups: "
            wide: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
            narrow: { ingress: [ { protocol: tcp, ports: 22, from: security_group/wide } ] }",
        instances: "
            x: { subnet: a, security_groups: [wide] }
            y: { subnet: a, security_groups: [narrow] }",
        ..Network::default()
    }
    .world();
    assert_eq!(world.ask("instance/x", "instance/y", "tcp/22"), None);
    assert_eq!(world.ask("instance/x", "instance/y", "tcp/80"), Some((FORWARD, MISMATCH)));
}

#[test]
fn sg_16_an_ipv6_rule_never_admits_ipv4() {
    let world = Network {
        groups: "six: { ingress: [ { protocol: all, from: '::/0' } ] }",
        instances: "
            x: { subnet: a, security_groups: [six] }
            y: { subnet: a, security_groups: [six] }",
        ..Network::default()
    }
    .world();
    // There is a rule, so the reason is that it does not match.
    assert_eq!(world.ask("instance/x", "instance/y", "tcp/22"), Some((FORWARD, MISMATCH)));
}

// Conforms: SG-17
#[test]
fn sg_17_a_reply_needs_no_rule() {
    let world = Network {
        groups: "
            ping: { ingress: [ { protocol: icmp, from: 0.0.0.0/0 } ], egress: [] }
            open: {}",
        instances: "
            x: { subnet: a, security_groups: [open] }
            y: { subnet: b, security_groups: [ping] }",
        ..Network::default()
    }
    .world();
    assert_eq!(world.ask("instance/x", "instance/y", "icmp"), None);
    assert_eq!(
        world.ask("instance/y", "instance/x", "icmp"),
        Some((FORWARD, Reason::SgHasNoRules))
    );
}

/// A client that everybody may answer, and a server whose ingress is the argument.
fn untracked(server: &'static str) -> Network {
    Network {
        groups: server,
        instances: "
            x: { subnet: a, security_groups: [open] }
            y: { subnet: b, security_groups: [server] }",
        ..Network::default()
    }
}

const UNTRACKED: &str = "
    open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
    server: { ingress: [ { protocol: tcp, ports: 22, from: 0.0.0.0/0 } ] }";

// Conforms: SG-19, SG-20, SG-24
#[test]
fn sg_20_everybody_admitted_and_everybody_answered_keeps_no_state() {
    let tracking = |groups, traffic| {
        let world = untracked(groups).world();
        let query = &world.queries("instance/x", "instance/y", traffic)[0];
        world.packet(query, 40_000).unwrap().tracking
    };
    assert_eq!(tracking(UNTRACKED, "tcp/22"), Tracking { source: false, destination: false });

    let by_block = "
        open: {}
        server: { ingress: [ { protocol: tcp, ports: 22, from: 10.0.1.0/24 } ] }";
    assert_eq!(tracking(by_block, "tcp/22"), Tracking::BOTH, "no open ingress, no 0.0.0.0/0 rule");

    // SG-24: without the outbound 0.0.0.0/0 rule every flow is tracked.
    let closed = "
        open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
        server: { ingress: [ { protocol: tcp, ports: 22, from: 0.0.0.0/0 } ], egress: [] }";
    assert_eq!(tracking(closed, "tcp/22"), Tracking { source: false, destination: true });

    // SG-19: ICMP is always tracked.
    let ping = "
        open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
        server: { ingress: [ { protocol: icmp, from: 0.0.0.0/0 } ] }";
    assert_eq!(tracking(ping, "icmp"), Tracking::BOTH);
}

// Conforms: SG-21
#[test]
fn sg_21_what_a_function_opens_is_always_tracked() {
    let world = Network {
        groups: OPEN,
        instances: "y: { subnet: b, security_groups: [open] }",
        functions: "api: { subnets: [main/a], security_groups: [main/open] }",
        ..Network::default()
    }
    .world();
    let query = &world.queries("function/api", "instance/y", "tcp/22")[0];
    assert_eq!(world.packet(query, 40_000).unwrap().tracking, Tracking::BOTH);
}

// Conforms: SG-22
#[test]
fn sg_22_a_removed_rule_ends_untracked_flows_and_spares_tracked_ones() {
    let revoked = "
        open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
        server: { ingress: [ { protocol: tcp, ports: 443, from: 0.0.0.0/0 } ] }";
    let by_block = "
        open: {}
        server: { ingress: [ { protocol: tcp, ports: 22, from: 10.0.1.0/24 } ] }";
    for (groups, survives) in [(UNTRACKED, false), (by_block, true)] {
        let mut world = untracked(groups).world();
        let query = world.queries("instance/x", "instance/y", "tcp/22").remove(0);
        let path = world.packet(&query, 40_000).unwrap();
        let (ingress, flow) = world.first_packet(&query, 40_000);

        world.reload(&untracked(revoked).text());

        let again = world.walk(ingress, flow, Probe::Tcp(22), Options::again(&path));
        let new = world.walk(ingress, flow, Probe::Tcp(22), Options::default());
        assert_eq!(new.unwrap_err(), MISMATCH, "a new connection is refused");
        match again {
            Ok(again) => assert!(survives && same_way(&again, &path)),
            Err(reason) => assert!(!survives && reason == MISMATCH),
        }
    }
}

// Conforms: SG-36
#[test]
fn sg_36_groups_apply_within_a_subnet_too() {
    let world = Network {
        groups: "closed: { ingress: [] }",
        instances: "
            x: { subnet: a, security_groups: [closed] }
            y: { subnet: a, security_groups: [closed] }",
        ..Network::default()
    }
    .world();
    let refused = Some((FORWARD, Reason::SgHasNoRules));
    assert_eq!(world.ask("instance/x", "instance/y", "tcp/22"), refused);
}

#[test]
fn sg_37_the_order_on_the_wire() {
    // Everything refuses; removing the first blocker shows the next.
    let mut network = Network {
        groups: "
            none: { ingress: [], egress: [] }
            sends: { ingress: [] }
            open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }",
        acls: "
            nothing: { ingress: {}, egress: {} }
            open: { ingress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } }, egress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } } }",
        instances: "
            x: { subnet: a, security_groups: [none] }
            y: { subnet: b, security_groups: [none] }",
        acl_of: &[("a", "nothing"), ("b", "nothing")],
        ..Network::default()
    };
    let blockers = |network: &Network| {
        let world = network.world();
        world.ask("instance/x", "instance/y", "tcp/22");
        let explained = world.explain("instance/x", "instance/y", "tcp/22");
        let forward = explained.blockers.iter().filter(|blocker| blocker.direction == FORWARD);
        forward.map(|blocker| (blocker.reason, blocker.hop)).collect::<Vec<_>>()
    };
    let (groups, acl) = (Reason::SgHasNoRules, Reason::SubnetAclRestriction);
    // Source check, groups out, ACL out, route, ACL in, interface, groups in.
    assert_eq!(blockers(&network), [(groups, 2), (acl, 3), (acl, 5), (groups, 7)]);

    network.instances = "
        x: { subnet: a, security_groups: [sends] }
        y: { subnet: b, security_groups: [none] }";
    assert_eq!(blockers(&network), [(acl, 3), (acl, 5), (groups, 7)]);
    network.acl_of = &[("a", "open"), ("b", "nothing")];
    assert_eq!(blockers(&network), [(acl, 5), (groups, 7)]);
    network.acl_of = &[("a", "open"), ("b", "open")];
    assert_eq!(blockers(&network), [(groups, 7)]);
    network.instances = "
        x: { subnet: a, security_groups: [sends] }
        y: { subnet: b, security_groups: [open] }";
    assert_eq!(blockers(&network), []);
}
