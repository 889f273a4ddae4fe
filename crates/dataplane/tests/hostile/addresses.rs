//! Addresses: sources that are not the sender's, destinations that are nobody's, and senders that
//! talk to themselves.

use std::net::Ipv4Addr;

use viaduct_topology::Reason::{self, *};

use super::{API, Case, DB, ENI, HOST, NAT_PUBLIC, NO_HOSTS, WEB, hold};
use crate::support::{INSIDE, Net, Outcome, Packet, SYN, echo, tcp, udp};

/// A connection of each kind that somebody may want to open.
fn openings(from: &str, to: &str) -> [(&'static str, Packet); 3] {
    [
        ("SYN", tcp((from, 40_000), (to, 443), SYN, b"")),
        ("datagram", udp((from, 40_000), (to, 443), b"?")),
        ("echo", echo(from, to, 7, false)),
    ]
}

/// Sources that are somebody else's, or nobody's.
const OTHERS: [&str; 18] = [
    DB,
    ENI,
    WEB,
    HOST,
    "198.51.100.8",
    "10.0.0.5",
    NAT_PUBLIC,
    "203.0.113.20",
    "10.0.1.20",
    "10.0.1.0",
    "10.0.1.1",
    "10.0.1.255",
    "10.0.0.2",
    INSIDE,
    "169.254.100.1",
    "169.254.100.3",
    "169.254.169.254",
    "192.0.2.1",
];

/// Private and shared ones.
const PRIVATE: [&str; 6] =
    ["10.77.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.4", "100.127.255.255"];

/// From every forged source to a place where the sender's own packets would arrive.
fn forged(
    from: &'static str,
    own: &str,
    to: &str,
    reason: impl Fn(&str) -> Option<Reason>,
) -> Vec<Case> {
    let sources = NO_HOSTS.into_iter().chain(OTHERS).chain(PRIVATE);
    let mut cases = Vec::new();
    for source in sources.filter(|source| *source != own) {
        let Some(reason) = reason(source) else { continue };
        for (kind, packet) in openings(source, to) {
            cases.push(Case::new(from, format!("{kind} {source} > {to}"), packet, reason));
        }
    }
    cases
}

/// Why an internet gateway does not let a source in (IGW-06).
fn private(source: &str) -> Option<Reason> {
    match source.parse::<Ipv4Addr>().expect("an address") {
        ip if ip.is_private() => Some(IgwSourceAddressNotInRfc1918Ingress),
        ip if matches!(ip.octets(), [100, 64..=127, ..]) => {
            Some(IgwSourceAddressNotInRfc6598Ingress)
        }
        _ => None,
    }
}

#[test]
fn every_sender_s_own_packets_arrive() {
    // Or the tables below would hold whatever was done to their packets.
    for (from, own, to) in [
        (API, INSIDE, DB),
        ("instance/db", DB, WEB),
        ("instance/appliance", "10.0.0.30", DB),
        ("internet/host", HOST, "203.0.113.20"),
        ("service/s3", "198.18.0.10", "203.0.113.20"),
    ] {
        let mut net = Net::load(super::TOPOLOGY);
        for (kind, packet) in openings(own, to) {
            if kind != "echo" || from != API {
                let outcome = net.send(from, &packet);
                let arrives = matches!(outcome, Outcome::Delivered { .. });
                assert!(arrives, "{from}: {kind}: {outcome:?}");
            }
        }
    }
}

#[test]
fn an_environment_sends_from_its_own_address_alone() {
    hold(&forged(API, INSIDE, DB, |_| Some(SpoofedSource)));
}

// Conforms: RT-21
#[test]
fn a_checked_instance_sends_from_its_own_address_alone() {
    hold(&forged("instance/db", DB, WEB, |_| Some(EniSourceDestCheckRestriction)));
}

#[test]
fn an_appliance_sends_for_hosts_and_for_nothing_else() {
    let no_host = |source: &str| NO_HOSTS.contains(&source).then_some(SpoofedSource);
    hold(&forged("instance/appliance", "10.0.0.30", DB, no_host));
}

// Conforms: IGW-06
#[test]
fn the_internet_gateway_lets_no_private_source_in_and_the_edge_no_forged_one() {
    let web = "203.0.113.20";
    let reason = |source: &str| Some(private(source).unwrap_or(SpoofedSource));
    hold(&forged("internet/host", HOST, web, reason));
    // Where no gateway is in between, the edge refuses those, too.
    hold(&forged("internet/host", HOST, "198.51.100.8", |_| Some(SpoofedSource)));
}

#[test]
fn a_service_sends_from_its_own_addresses_alone() {
    hold(&forged("service/s3", "198.18.0.10", "203.0.113.20", |_| Some(SpoofedSource)));
}

/// Destinations that nobody can have, and why each kind of sender is refused: an environment behind
/// a NAT gateway, an instance that has an internet gateway, one that has no route, one whose routes
/// lead to an appliance, a host of the internet.
fn nowhere() -> Vec<(&'static str, [Option<Reason>; 5])> {
    let never = [Some(VpcLocalRouteCidrRestriction); 4];
    let all = |reasons: [Option<Reason>; 4]| {
        let [nat, public, bare, inspected] = reasons;
        [nat, public, bare, inspected, Some(IgwPrivateIpAssociationForIngress)]
    };
    let mut table = Vec::new();
    for destination in NO_HOSTS {
        table.push((destination, all(never)));
    }
    // RT-11. What the link's services have, the VPC serves itself (SG-28, DNS-01).
    for destination in ["169.254.168.0", "169.254.169.252", "169.254.170.2", "169.254.171.255"] {
        table.push((destination, all(never)));
    }
    for destination in ["169.254.169.254", "169.254.169.253", "169.254.169.123", "10.0.0.2"] {
        table.push((destination, all([Some(ServiceNotProvided); 4])));
    }
    // The rest of the link-local block may have routes (RT-11): it is for nobody on the internet,
    // and for the appliance if a route leads there.
    for destination in ["169.254.0.1", "169.254.100.1", "169.254.100.3", "169.254.255.255"] {
        let nobody = Some(NoPossibleDestination);
        table.push((destination, all([nobody, nobody, Some(NoRouteToDestination), None])));
    }
    // ADR-01, in the sender's own subnet or another; and addresses that are nobody's.
    for destination in [
        "10.0.0.0",
        "10.0.0.1",
        "10.0.0.3",
        "10.0.0.255",
        "10.0.1.0",
        "10.0.1.1",
        "10.0.1.2",
        "10.0.1.3",
        "10.0.1.255",
        "10.0.1.77",
        "10.0.2.0",
        "10.0.2.1",
        "10.0.2.255",
        "10.0.3.255",
        "10.0.99.1",
        "10.0.255.255",
    ] {
        table.push((destination, all([Some(NoPossibleDestination); 4])));
    }
    // LAM-02, NAT-12: what is in the VPC, and no host.
    table.push((ENI, all([Some(V2nOneWay); 4])));
    table.push(("10.0.0.5", all([Some(NatGatewayUnsolicited); 4])));
    table.push(("10.0.1.20", all([Some(SgHasNoRules); 4])));
    let unsolicited = Some(NatGatewayUnsolicited);
    table.push((
        NAT_PUBLIC,
        [unsolicited, unsolicited, Some(NoRouteToDestination), None, unsolicited],
    ));
    // IGW-06, IGW-05.
    for (destination, reason) in [
        ("10.77.0.1", IgwDestinationAddressNotInRfc1918Egress),
        ("172.16.0.1", IgwDestinationAddressNotInRfc1918Egress),
        ("192.168.255.255", IgwDestinationAddressNotInRfc1918Egress),
        ("100.64.0.4", IgwDestinationAddressNotInRfc6598Egress),
        ("203.0.113.99", NoPossibleDestination),
    ] {
        let reason = Some(reason);
        table.push((destination, all([reason, reason, Some(NoRouteToDestination), None])));
    }
    table
}

// Conforms: IGW-06, IGW-05, NAT-12, LAM-02, RT-11, ADR-01, ADR-04
#[test]
fn what_nobody_can_have_gets_nowhere() {
    let senders = [
        (API, INSIDE),
        ("instance/web", WEB),
        ("instance/db", DB),
        ("instance/inspected", "10.0.3.10"),
        ("internet/host", HOST),
    ];
    let mut cases = Vec::new();
    for (destination, reasons) in nowhere() {
        for ((from, own), reason) in senders.into_iter().zip(reasons) {
            let Some(reason) = reason else { continue };
            for (kind, packet) in openings(own, destination) {
                // LAM-10, before anybody asks where it goes.
                let reason =
                    if kind == "echo" && from == API { ProtocolRestriction } else { reason };
                let what = format!("{kind} to {destination}");
                cases.push(Case::new(from, what, packet, reason));
            }
        }
    }
    hold(&cases);
}

#[test]
fn the_inside_of_a_service_is_closed_to_the_service() {
    // EP-10: the addresses that its clients have there open nothing.
    let mut net = Net::load(super::TOPOLOGY);
    let request = tcp((INSIDE, 40_000), ("198.18.0.10", 443), SYN, b"");
    let ((side, _), _) = net.send(API, &request).delivered_at("service/s3").ends();
    assert!(side.starts_with("100."), "{side}");
    let cases = openings("198.18.0.10", &side)
        .map(|(kind, packet)| Case::new("service/s3", kind, packet, VpceIntraVpcTraffic));
    hold(&cases);
}

/// Land packets, and all others by which a host would talk to itself through the network.
#[test]
fn nobody_is_answered_by_himself() {
    let mut cases = Vec::new();
    for (from, own, reason) in [
        // Behind the NAT gateway nobody has the address that every environment has.
        (API, INSIDE, NoPossibleDestination),
        ("instance/db", DB, RoutingLoop),
        ("instance/web", WEB, RoutingLoop),
        ("instance/appliance", "10.0.0.30", RoutingLoop),
        ("internet/host", HOST, RoutingLoop),
        ("service/s3", "198.18.0.10", RoutingLoop),
    ] {
        let ports = [(139, 139), (40_000, 139)];
        for (source_port, port) in ports {
            let ends = ((own, source_port), (own, port));
            let what = format!("from {own}:{source_port} to itself, port {port}");
            let segment = tcp(ends.0, ends.1, SYN, b"");
            cases.push(Case::new(from, what.clone(), segment, reason));
            cases.push(Case::new(from, what, udp(ends.0, ends.1, b"?"), reason));
        }
        let refused = if from == API { ProtocolRestriction } else { reason };
        cases.push(Case::new(from, "an echo to itself", echo(own, own, 7, false), refused));
    }
    // Land, as it was meant: for a host, from its own address.
    for (from, victim, reason) in [
        (API, DB, SpoofedSource),
        ("instance/web", DB, EniSourceDestCheckRestriction),
        ("internet/host", "203.0.113.20", SpoofedSource),
        ("internet/host", "198.51.100.8", SpoofedSource),
        ("service/s3", "203.0.113.20", SpoofedSource),
    ] {
        let land = tcp((victim, 139), (victim, 139), SYN, b"");
        cases.push(Case::new(from, format!("land at {victim}"), land, reason));
    }
    hold(&cases);
}
