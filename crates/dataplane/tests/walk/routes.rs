//! Route tables, and what lies at the end of a route.

use viaduct_topology::Reason;

use crate::world::{FORWARD, Network, OPEN, RETURN};

const NO_ROUTE: Reason = Reason::NoRouteToDestination;

fn network(main_routes: &'static str) -> Network {
    Network {
        main_routes,
        groups: OPEN,
        instances: "
            inner: { subnet: a, security_groups: [open] }
            other: { subnet: b, private_ip: 10.0.2.10, security_groups: [open] }
            outer: { subnet: public, private_ip: 10.0.0.10, public_ip: 203.0.113.20, security_groups: [open] }",
        functions: "api: { subnets: [main/a], security_groups: [main/open] }",
        internet: "
            web: { ip: 198.51.100.7 }
            mail: { ip: 198.18.0.25 }",
        ..Network::default()
    }
}

#[test]
fn rt_01_a_subnet_without_a_table_of_its_own_uses_the_main_one() {
    let world = network("[]").world();
    // `a` is on the main table, which leads nowhere but home; `public` has its own.
    assert_eq!(world.ask("instance/inner", "internet/web", "tcp/443"), Some((FORWARD, NO_ROUTE)));
    assert_eq!(world.ask("instance/outer", "internet/web", "tcp/443"), None);
}

#[test]
fn rt_03_every_table_leads_to_the_whole_vpc() {
    let world = network("[]").world();
    assert_eq!(world.ask("function/api", "instance/other", "tcp/443"), None);
    assert_eq!(world.ask("instance/outer", "instance/other", "tcp/443"), None);
}

#[test]
fn rt_04_the_longest_prefix_decides() {
    let world = network(
        "[ { destination: 0.0.0.0/0, target: nat_gateway/egress }, { destination: 198.51.100.0/24, target: blackhole }, { destination: 198.51.100.7/32, target: nat_gateway/egress } ]",
    )
    .world();
    assert_eq!(world.ask("function/api", "internet/web", "tcp/443"), None);
    assert_eq!(world.ask("function/api", "internet/mail", "tcp/443"), None);
    let blackhole = Some((FORWARD, Reason::BadStateRoute));
    assert_eq!(world.ask("function/api", "198.51.100.8", "tcp/443"), blackhole);
}

#[test]
fn rt_11_link_local_service_addresses_are_never_routed() {
    let world = network("[ { destination: 0.0.0.0/0, target: nat_gateway/egress } ]").world();
    let never = Some((FORWARD, Reason::VpcLocalRouteCidrRestriction));
    for address in ["169.254.168.1", "169.254.169.1", "169.254.171.255"] {
        assert_eq!(world.ask("function/api", address, "tcp/443"), never, "{address}");
    }
    assert_ne!(world.ask("function/api", "169.254.172.0", "tcp/443"), never);
}

// Conforms: RT-14
#[test]
fn adr_04_what_is_no_host_is_never_routed() {
    let never = Some((FORWARD, Reason::VpcLocalRouteCidrRestriction));
    for target in ["nat_gateway/egress", "blackhole"] {
        let routes = format!("[ {{ destination: 0.0.0.0/0, target: {target} }} ]").leak();
        let world = network(routes).world();
        for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
            assert_eq!(world.ask("function/api", address, "tcp/443"), never, "{address}");
        }
    }
}

#[test]
fn rt_14_a_blackhole_drops_and_does_not_fall_through() {
    let world = network(
        "[ { destination: 0.0.0.0/0, target: nat_gateway/egress }, { destination: 198.51.100.0/24, target: blackhole } ]",
    )
    .world();
    let blackhole = Some((FORWARD, Reason::BadStateRoute));
    assert_eq!(world.ask("function/api", "internet/web", "tcp/443"), blackhole);
    let explained = world.explain("function/api", "internet/web", "tcp/443");
    assert_eq!(explained.blockers[0].rule.as_deref(), Some("198.51.100.0/24 to blackhole"));
}

#[test]
fn rt_29_the_acl_is_asked_before_the_route_and_does_not_change_it() {
    let world = Network { acls: "strict: {}", acl_of: &[("a", "strict")], ..network("[]") }.world();
    let explained = world.explain("function/api", "internet/web", "tcp/443");
    let reasons: Vec<_> = explained.blockers.iter().map(|blocker| blocker.reason).collect();
    assert_eq!(reasons, [Reason::SubnetAclRestriction, NO_ROUTE]);
    assert_eq!(
        world.ask("function/api", "internet/web", "tcp/443"),
        Some((FORWARD, Reason::SubnetAclRestriction))
    );
}

#[test]
fn an_address_that_nobody_holds() {
    let world = network("[ { destination: 0.0.0.0/0, target: nat_gateway/egress } ]").world();
    let nobody = Some((FORWARD, Reason::NoPossibleDestination));
    for address in ["10.0.2.99", "10.0.200.1", "198.51.100.99", "10.0.2.255"] {
        assert_eq!(world.ask("function/api", address, "tcp/443"), nobody, "{address}");
    }
}

#[test]
fn sg_28_the_resolver_and_its_like_are_not_provided() {
    let world = Network {
        // Neither groups nor ACLs filter them, so they cannot be the reason.
        groups: "none: { egress: [] }",
        acls: "strict: {}",
        acl_of: &[("a", "strict")],
        instances: "inner: { subnet: a, security_groups: [none] }",
        functions: "api: { subnets: [main/a], security_groups: [main/none] }",
        ..Network::default()
    }
    .world();
    let service = Some((FORWARD, Reason::ServiceNotProvided));
    for address in ["10.0.0.2", "169.254.169.253", "169.254.169.254", "169.254.169.123"] {
        assert_eq!(world.ask("function/api", address, "udp/53"), service, "{address}");
        assert_eq!(world.ask("instance/inner", address, "udp/53"), service, "{address}");
    }
    // DNS-02: base + 2 of any other subnet is reserved, and is no resolver.
    assert_ne!(world.ask("function/api", "10.0.1.2", "udp/53"), service);
}

#[test]
fn a_second_nat_gateway_on_the_way_is_a_loop() {
    let world = Network {
        nat_routes: Some("[ { destination: 0.0.0.0/0, target: nat_gateway/egress } ]"),
        ..network("[ { destination: 0.0.0.0/0, target: nat_gateway/egress } ]")
    }
    .world();
    assert_eq!(
        world.ask("function/api", "internet/web", "tcp/443"),
        Some((FORWARD, Reason::RoutingLoop))
    );
}

#[test]
fn a_reply_that_would_leave_another_way_is_asymmetric() {
    // The internet gateway delivers to `inner`, whose own table leads through the NAT gateway.
    let world = Network {
        instances: "inner: { subnet: a, public_ip: 203.0.113.21, security_groups: [open] }",
        ..network("[ { destination: 0.0.0.0/0, target: nat_gateway/egress } ]")
    }
    .world();
    assert_eq!(
        world.ask("internet/web", "203.0.113.21", "tcp/443"),
        Some((RETURN, Reason::AsymmetricReturnPath))
    );

    let world = Network {
        instances: "inner: { subnet: a, public_ip: 203.0.113.21, security_groups: [open] }",
        ..network("[]")
    }
    .world();
    assert_eq!(world.ask("internet/web", "203.0.113.21", "tcp/443"), Some((RETURN, NO_ROUTE)));
}
