//! Random flows through a network.

use std::net::{IpAddr, Ipv4Addr};

use viaduct_control_plane::{ENVIRONMENT_ADDRESS, Plan};
use viaduct_topology::{
    ResourceId, Topology,
    inventory::{Attachment, AttachmentId, Eni, EniOwner, Host},
    model::{SgPeer, Traffic},
};

use super::Dice;
use crate::packet::{ICMP, Oddity, Packet, Segment, TCP, UDP};

/// A packet and where it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The host that sends it.
    pub from: AttachmentId,
    /// The packet.
    pub packet: Packet,
    /// Whether the source address is the sender's own.
    pub own_source: bool,
    /// Whether the sender ends the connection at last, if it is TCP.
    pub resets: bool,
    /// The ICMP error, by its type and code, that its receiver sends about it before anything else.
    pub complaint: Option<(u8, u8)>,
    /// What is wrong with a packet that its sender sends before.
    pub oddity: Option<Oddity>,
}

/// A flow; `earlier` ones may come up again, as they were or turned round.
#[must_use]
pub fn flow(dice: &mut Dice, topology: &Topology, plan: &Plan, earlier: &[Flow]) -> Flow {
    if !earlier.is_empty() && dice.percent(4) {
        let again = dice.one(earlier);
        if is_own(topology, plan, &again) {
            return again;
        }
    }
    if scarce(topology) && !earlier.is_empty() && dice.percent(40) {
        // One more of the same, from another port, until there is no room for it.
        let mut again = dice.one(earlier);
        if is_own(topology, plan, &again) && again.packet.source_port != 0 {
            again.packet.source_port = any_port(dice);
            again.resets = dice.percent(15);
            return again;
        }
    }
    let from = sender(dice, plan);
    let unchecked = interface(plan, from).is_some_and(|eni| !eni.source_dest_check);
    if unchecked && !earlier.is_empty() && dice.percent(10) {
        // What an appliance passes on, which may have come another way as well.
        let passed_on = dice.one(earlier);
        let own_source = false;
        return Flow { from: from.id, own_source, complaint: None, ..passed_on };
    }
    let own = match interface(plan, from).map(|eni| &eni.secondary_private_ips) {
        Some(more) if !more.is_empty() && dice.percent(25) => v4(more[0]),
        _ => own_address(topology, plan, from),
    };
    let (destination, destination_port) = destination(dice, topology, plan, from);
    let spoofed = dice.percent(if unchecked { 15 } else { 3 });
    let source = if spoofed { other_source(dice, plan, own) } else { own };
    let (protocol, icmp) = protocol(dice, from);
    let with_ports = matches!(protocol, TCP | UDP);
    let echoes: Vec<u16> = earlier
        .iter()
        .filter(|it| it.packet.source == source && it.packet.icmp == (8, 0))
        .map(|it| it.packet.source_port)
        .collect();
    let source_port = match dice.below(12) {
        // An echo under an identifier that asks somebody else as well.
        2..8 if icmp == (8, 0) && !echoes.is_empty() => dice.one(&echoes),
        0 => dice.one(&[0, 1, 1023, 1024, 32_767, 32_768, 60_999, 61_000, 65_535]),
        1 => destination_port.max(1),
        _ => any_port(dice),
    };
    // An echo whose identifier is 0 would pass for part of any other exchange of ICMP messages.
    let source_port = if with_ports { source_port } else { source_port.max(1) };
    let packet = Packet {
        protocol,
        source,
        destination,
        source_port: if with_ports || icmp == (8, 0) { source_port } else { 0 },
        destination_port: match (with_ports, protocol, icmp.0) {
            (true, ..) => destination_port,
            // The identifier of an echo reply that nobody asked for.
            (_, ICMP, 0) => source_port,
            _ => 0,
        },
        icmp,
        segment: match protocol {
            TCP if dice.percent(96) => Segment::Open,
            TCP => dice.one(&STRAYS),
            _ => Segment::Carry,
        },
        payload: 12,
        // Where ports are scarce, every packet is to count alike.
        ttl: match scarce(topology) {
            true => 64,
            false if dice.percent(1) => 0,
            false => dice.one(&TIMES_TO_LIVE),
        },
    };
    // A timestamp message has one size only (RFC 792).
    let packet = if !scarce(topology) && !matches!(icmp.0, 13 | 14) && dice.percent(3) {
        let inside = interface(plan, from).is_some() || own == ENVIRONMENT_ADDRESS;
        // The MTUs of the internet, of NAT gateways and of a VPC (MTU-01), and one byte more.
        let sizes: &[u16] = if inside { &[1500, 1501, 8500, 8501, 9001] } else { &[1499, 1500] };
        let header = packet.length() - packet.payload;
        Packet { payload: dice.one(sizes) - header, ..packet }
    } else {
        packet
    };
    // A quote is to show the whole packet.
    let complaint = (packet.payload < 500 && dice.percent(12)).then(|| dice.one(&COMPLAINTS));
    let oddity = dice.percent(2).then(|| dice.one(&Oddity::ALL));
    let resets = dice.percent(15);
    Flow { from: from.id, packet, own_source: source == own, resets, complaint, oddity }
}

/// Whether its sender is still there, and has the address that it was sent from.
fn is_own(topology: &Topology, plan: &Plan, flow: &Flow) -> bool {
    let sender = plan.attachments.iter().find(|host| host.id == flow.from);
    sender.is_some_and(|host| {
        let more = interface(plan, host).map_or(&[][..], |eni| &eni.secondary_private_ips);
        let primary = own_address(topology, plan, host);
        primary == flow.packet.source || more.iter().any(|ip| v4(*ip) == flow.packet.source)
    })
}

/// A port that a host's system would choose.
fn any_port(dice: &mut Dice) -> u16 {
    u16::try_from(dice.between(32_768, 60_999)).expect("a port")
}

/// Whether ports or connections run out soon.
fn scarce(topology: &Topology) -> bool {
    topology.settings.source_ports.first + 100 > topology.settings.source_ports.last
}

/// Segments of connections that nobody knows of.
const STRAYS: [Segment; 6] = [
    Segment::Carry,
    Segment::Carry,
    Segment::Accept,
    Segment::Finish,
    Segment::Reset,
    Segment::Guess,
];

/// Unreachable hosts and ports, packets that are too large, and times to live that ran out.
const COMPLAINTS: [(u8, u8); 4] = [(3, 1), (3, 3), (3, 4), (11, 0)];

const TIMES_TO_LIVE: [u8; 16] = [64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 255, 2, 1];

fn sender<'p>(dice: &mut Dice, plan: &'p Plan) -> &'p Attachment {
    let kind = dice.below(100);
    let wanted = |host: &&Attachment| match host.host {
        Host::Environment { .. } => kind < 44,
        Host::Instance { .. } => (44..86).contains(&kind),
        _ => kind >= 86,
    };
    let hosts: Vec<&Attachment> = plan.attachments.iter().filter(wanted).collect();
    hosts[dice.below(hosts.len())]
}

fn own_address(topology: &Topology, plan: &Plan, host: &Attachment) -> Ipv4Addr {
    match &host.host {
        Host::Environment { .. } => ENVIRONMENT_ADDRESS,
        Host::Instance { eni } => {
            let eni = plan.enis.iter().find(|it| it.id == *eni).expect("its interface");
            v4(eni.private_ip)
        }
        Host::Internet { ip } => v4(*ip),
        Host::Service { id } => {
            let service = topology.services.values().find(|service| service.id == *id);
            v4(service.expect("its service").ip)
        }
        _ => unreachable!("no other host exists"),
    }
}

/// An instance's interface.
fn interface<'p>(plan: &'p Plan, host: &Attachment) -> Option<&'p Eni> {
    let Host::Instance { eni } = &host.host else { return None };
    plan.enis.iter().find(|it| it.id == *eni)
}

/// An address that the sender should not use.
fn other_source(dice: &mut Dice, plan: &Plan, own: Ipv4Addr) -> Ipv4Addr {
    let eni = &plan.enis[dice.below(plan.enis.len())];
    match dice.below(7) {
        6 => no_host(dice),
        0 => beside(dice, own),
        1 => ENVIRONMENT_ADDRESS,
        2 => Ipv4Addr::new(198, 51, 100, 8),
        3 => Ipv4Addr::new(100, 64, 9, 9),
        _ => v4(eni.private_ip),
    }
}

fn protocol(dice: &mut Dice, from: &Attachment) -> (u8, (u8, u8)) {
    // Functions speak TCP and UDP alone (LAM-10): few tries will do.
    let function = matches!(from.host, Host::Environment { .. });
    let all = if function { 84 } else { 100 };
    match dice.below(all) {
        0..55 => (TCP, (0, 0)),
        55..80 => (UDP, (0, 0)),
        80..90 => (ICMP, (8, 0)),
        90 => (ICMP, dice.one(&[(0, 0), (8, 1), (14, 0)])),
        91 | 92 => (ICMP, (13, 0)),
        _ => (dice.one(&[47, 50, 132]), (0, 0)),
    }
}

/// An address and a port, in most cases those of somebody who is likely to answer.
fn destination(
    dice: &mut Dice,
    topology: &Topology,
    plan: &Plan,
    from: &Attachment,
) -> (Ipv4Addr, u16) {
    let port = port(dice, topology);
    let own = match &from.host {
        Host::Environment { enis, .. } => enis.first(),
        Host::Instance { eni } => Some(eni),
        _ => None,
    };
    let vpc = own.and_then(|id| plan.enis.iter().find(|eni| eni.id == *id)).map(|eni| &eni.vpc);
    let instances = |vpc: &ResourceId| -> Vec<Ipv4Addr> {
        let there = plan
            .enis
            .iter()
            .filter(|eni| matches!(eni.owner, EniOwner::Instance { .. }) && eni.vpc == *vpc);
        there
            .flat_map(|eni| {
                std::iter::once(eni.private_ip).chain(eni.secondary_private_ips.clone())
            })
            .map(v4)
            .collect()
    };
    let public: Vec<Ipv4Addr> = plan.enis.iter().filter_map(|eni| eni.public_ip.map(v4)).collect();
    let internet: Vec<Ipv4Addr> =
        topology.internet_hosts.values().map(|host| v4(host.ip)).collect();

    let without_vpc = matches!(&from.host, Host::Environment { enis, .. } if enis.is_empty());
    let mut pool: Vec<Ipv4Addr> = match (vpc, dice.below(100)) {
        (_, 97..) => Vec::new(),
        // For functions without a VPC there is the internet, and what is not to be reached (LAM-12).
        (None, 0..50) if without_vpc => internet,
        (None, 50..70) if without_vpc && !topology.services.is_empty() => {
            topology.services.values().map(|service| v4(service.ip)).collect()
        }
        (None, 70..80) if without_vpc => plan.enis.iter().map(|eni| v4(eni.private_ip)).collect(),
        (Some(vpc), 82..97) if !topology.services.is_empty() => services(dice, topology, plan, vpc),
        // What a service has of a VPC, and may not open a connection to (EP-10).
        (None, 90..97) => plan
            .enis
            .iter()
            .filter(|eni| matches!(eni.owner, EniOwner::ServiceSide { .. }))
            .map(|eni| v4(eni.private_ip))
            .collect(),
        // Who comes from the internet knows public addresses.
        (None, 0..81) => plan
            .enis
            .iter()
            .filter(|eni| matches!(eni.owner, EniOwner::Instance { .. }))
            .filter_map(|eni| eni.public_ip.map(v4))
            .collect(),
        (None, 81..86) => internet,
        (Some(vpc), 0..26) => {
            // Where there is a peer, its hosts; else those of the own VPC.
            let peers = peers(topology, vpc);
            let peer = if peers.is_empty() { vpc } else { peers[dice.below(peers.len())] };
            instances(peer)
        }
        (Some(vpc), 26..54) => instances(vpc),
        (Some(_), 54..82) => internet,
        (Some(vpc), 82..86) => {
            plan.enis.iter().filter(|eni| eni.vpc == *vpc).map(|eni| v4(eni.private_ip)).collect()
        }
        _ => public,
    };
    if dice.percent(95) {
        // Who talks to himself does not need the network.
        let own = own_address(topology, plan, from);
        pool.retain(|ip| *ip != own);
    }
    if pool.is_empty() {
        return (out_of_the_way(dice, topology), port);
    }
    (dice.one(&pool), port)
}

/// Where a service answers, or one of its endpoints in the VPC.
fn services(dice: &mut Dice, topology: &Topology, plan: &Plan, vpc: &ResourceId) -> Vec<Ipv4Addr> {
    let mut pool: Vec<Ipv4Addr> = plan
        .enis
        .iter()
        .filter(|eni| eni.vpc == *vpc && matches!(eni.owner, EniOwner::VpcEndpoint { .. }))
        .map(|eni| v4(eni.private_ip))
        .collect();
    if pool.is_empty() || dice.percent(60) {
        pool = topology.services.values().map(|service| v4(service.ip)).collect();
        let lists = topology.services.values().filter_map(|service| service.prefix_list);
        for block in lists.flat_map(|list| &topology.prefix_lists[list].entries) {
            // Somewhere inside, the last address, and the one behind it.
            pool.push(offset(v4(block.network()), dice.between(2, 70)));
            pool.push(v4(block.broadcast()));
            if dice.percent(20) {
                pool.push(offset(v4(block.broadcast()), 1));
            }
        }
    }
    pool
}

/// The VPCs that are peered with this one.
fn peers<'t>(topology: &'t Topology, vpc: &ResourceId) -> Vec<&'t ResourceId> {
    let mut peers = Vec::new();
    for peering in topology.vpc_peering_connections.values() {
        let ends = [peering.requester, peering.accepter].map(|vpc| &topology.vpcs[vpc].id);
        match ends {
            [one, other] if one == vpc => peers.push(other),
            [other, one] if one == vpc => peers.push(other),
            _ => {}
        }
    }
    peers
}

/// Addresses that mean something else than a host, or nearly a host.
fn out_of_the_way(dice: &mut Dice, topology: &Topology) -> Ipv4Addr {
    let subnets: Vec<_> = topology.subnets.values().map(|subnet| subnet.cidr_block).collect();
    let subnet = subnets[dice.below(subnets.len())];
    let vpcs: Vec<_> = topology.vpcs.values().map(|vpc| vpc.cidr_blocks[0]).collect();
    let vpc = vpcs[dice.below(vpcs.len())];
    match dice.below(13) {
        12 => no_host(dice),
        // Network, router, resolver, reserved, first and second host.
        0..3 => offset(v4(subnet.network()), dice.between(0, 5)),
        3 => v4(subnet.broadcast()),
        4 => offset(v4(vpc.network()), 2),
        5 => Ipv4Addr::new(169, 254, 169, dice.one(&[2, 122, 123, 250, 251, 252, 253, 254])),
        6 => dice
            .one(&[
                [169, 254, 167, 255],
                [169, 254, 168, 0],
                [169, 254, 170, 2],
                [169, 254, 172, 0],
            ])
            .into(),
        7 => beside(dice, v4(vpc.broadcast())),
        8 => Ipv4Addr::new(10, 77, 0, 1),
        9 => Ipv4Addr::new(100, 100, 0, 1),
        10 => edge(dice, topology),
        _ => dice.one(&[[192, 0, 2, 99], [198, 51, 100, 9], [11, 255, 255, 255]]).into(),
    }
}

/// An address that is no host's.
fn no_host(dice: &mut Dice) -> Ipv4Addr {
    let first = dice.one(&[0, 127, 224, 239, 240, 255]);
    dice.one(&[[first, 0, 0, 1], [first, 255, 255, 255]]).into()
}

/// An address at the edge of some rule's block, on either side of it.
fn edge(dice: &mut Dice, topology: &Topology) -> Ipv4Addr {
    let mut blocks = Vec::new();
    for group in topology.security_groups.values() {
        for rule in group.ingress.iter().chain(&group.egress) {
            if let SgPeer::Cidr(block) = rule.peer {
                blocks.push(block);
            }
        }
    }
    for acl in topology.network_acls.values() {
        blocks.extend(acl.ingress.iter().chain(&acl.egress).map(|rule| rule.cidr_block));
    }
    blocks.retain(|block| block.addr().is_ipv4() && block.prefix_len() > 8);
    if blocks.is_empty() {
        return Ipv4Addr::new(198, 51, 100, 9);
    }
    let block = dice.one(&blocks);
    let end = if dice.percent(50) { block.network() } else { block.broadcast() };
    if dice.percent(50) { beside(dice, v4(end)) } else { v4(end) }
}

/// A port in the middle, at the edge of some rule's range, or one beside it.
fn port(dice: &mut Dice, topology: &Topology) -> u16 {
    // Nobody listens there.
    if dice.percent(1) {
        return 0;
    }
    if dice.percent(if scarce(topology) { 85 } else { 50 }) {
        return dice.one(&[443, 443, 5432, 80, 53, 22]);
    }
    let mut ranges = Vec::new();
    let mut add = |traffic| {
        if let Traffic::Tcp(range) | Traffic::Udp(range) = traffic {
            ranges.push(range);
        }
    };
    for group in topology.security_groups.values() {
        for rule in group.ingress.iter().chain(&group.egress) {
            add(rule.traffic);
        }
    }
    for acl in topology.network_acls.values() {
        for rule in acl.ingress.iter().chain(&acl.egress) {
            add(rule.traffic);
        }
    }
    if ranges.is_empty() {
        return 443;
    }
    let range = dice.one(&ranges);
    let port = dice.one(&[
        range.first,
        range.last,
        range.first.saturating_sub(1),
        range.last.saturating_add(1),
    ]);
    port.max(1)
}

fn beside(dice: &mut Dice, ip: Ipv4Addr) -> Ipv4Addr {
    let step = if dice.percent(50) { 1 } else { u32::MAX };
    Ipv4Addr::from(u32::from(ip).wrapping_add(step))
}

fn offset(ip: Ipv4Addr, by: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(ip) + u32::try_from(by).expect("a small number"))
}

fn v4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => panic!("{ip} in a network without IPv6"),
    }
}
