//! What must be true of every packet that comes out, whoever sent what.

use std::net::Ipv4Addr;

use viaduct_dataplane::Dropped;
use viaduct_topology::inventory::{AttachmentId, ENVIRONMENT_ADDRESS};
use viaduct_wire::{Flow, Frame, L4, VNET_HEADER_LEN, names_one_host, protocol};

use super::{
    ledger::{Entry, Key},
    network::{Network, Place, Station},
};
use crate::oracle::{completed, sums};

/// A packet that was sent, as it was parsed.
pub(super) struct Sent {
    pub(super) ingress: AttachmentId,
    /// The packet behind the virtio-net header, up to its total length.
    pub(super) ip: Vec<u8>,
    pub(super) flow: Flow,
    pub(super) partial: bool,
    pub(super) packets: u64,
    pub(super) is_fragment: bool,
    /// It is a datagram that came in some.
    pub(super) in_fragments: bool,
    /// What finds its connection, or that of the packet it is an error about.
    pub(super) key: Option<Key>,
}

/// What is written to a device: frames that it takes, each with a header of ours. Returns the packets
/// that they stand for.
pub(super) fn written(network: &Network, target: AttachmentId, frames: &[Vec<u8>]) -> u64 {
    let to = network.station(target);
    assert!(to.mtu > 0, "to {to:?}, where nothing is attached");
    let mut packets = 0;
    for frame in frames {
        let mut bytes = frame.clone();
        let out = Frame::parse(&mut bytes, u16::MAX).expect("what leaves is a packet");
        assert!(out.largest_packet() <= usize::from(to.mtu), "larger than {to:?} takes");
        assert!(frames.len() == 1 || !out.dont_fragment() && !out.needs_checksum());
        assert!(sums(&completed(frame)).header);
        packets += out.packets();
        assert_eq!(out.finish(), frame.len());
        assert_eq!(bytes, *frame, "the header that leaves is ours");
    }
    packets
}

/// A forwarded packet, put together if it left in fragments: sound, for the host that gets it, and
/// translated.
pub(super) fn forwarded(
    network: &Network,
    sent: &Sent,
    target: AttachmentId,
    frame: &[u8],
    connections: &[Entry],
) {
    let to = network.station(target);
    let mut bytes = frame.to_vec();
    let out = Frame::parse(&mut bytes, u16::MAX).expect("what leaves is a packet");
    let flow = out.flow();
    // Only what may be cut is made of more packets, or is one of those that were sent together.
    assert!(out.packets() == sent.packets || !out.dont_fragment());
    assert!(sent.ip[8] - out.ttl() <= 1, "TTL {} of {}", out.ttl(), sent.ip[8]);
    assert!(out.ttl() > 0, "no hop left");
    let hosts = names_one_host(out.source()) && names_one_host(out.destination());
    assert!(hosts, "{} > {}", out.source(), out.destination());
    let quoted = out.quoted().map(|quoted| quoted.flow);

    checksums_hold(sent, frame);
    is_for(network.station(sent.ingress), &sent.flow, to, &flow, quoted.as_ref());
    belongs(network, sent, target, &flow, quoted.as_ref(), connections);
}

/// What was right stays right, and what was wrong is not mended.
fn checksums_hold(sent: &Sent, frame: &[u8]) {
    let after = sums(&completed(frame));
    assert!(after.header);
    if sent.partial {
        assert_ne!(after.transport, Some(false));
    } else if let Some(before) = sums(&sent.ip).transport {
        assert_eq!(after.transport, Some(before), "{:?}", sent.flow);
    }
}

/// The packet, which `from` sent as `sent`, shows its receiver nothing that is not for it: no address
/// of the inside to anybody outside, and none of a VPC to the internet.
pub(super) fn is_for(
    from: &Station,
    sent: &Flow,
    to: &Station,
    flow: &Flow,
    quoted: Option<&Flow>,
) {
    // An appliance may send what it likes, as what is not its own passes it; and errors come from
    // the internet under any address.
    let appliance = from.place == Place::Instance { forwards: true };
    let pretended = appliance || from.place == Place::Internet;
    assert!(
        flow.source != ENVIRONMENT_ADDRESS || pretended && sent.source == ENVIRONMENT_ADDRESS,
        "untranslated to {to:?}: {flow}"
    );
    match to.place {
        // An appliance gets what is for others, whatever address their senders ask for.
        Place::Instance { forwards: true } => {}
        // A service answers at several addresses, all of them public.
        Place::Service => assert!(!is_private(flow.destination), "{flow} to {to:?}"),
        _ => assert_eq!(flow.destination, to.address, "{flow} to {to:?} from {from:?}"),
    }
    // What hosts of the internet send each other is their own affair. A service sees the address
    // that its side of an endpoint has, which is of shared address space.
    let inside = from.place != Place::Internet;
    let unseen = |address: Ipv4Addr| match to.place {
        Place::Internet => is_private(address),
        Place::Service => is_private(address) && address.octets()[0] != 100,
        _ => false,
    };
    assert!(!inside || !unseen(flow.source), "{flow} to {to:?}, sent as {sent}");
    // What an internet gateway lets in (IGW-06).
    if !inside && matches!(to.place, Place::Environment | Place::Instance { .. }) {
        let [a, b, ..] = flow.source.octets();
        let shared = (a, b & 0xc0) == (100, 64);
        assert!(!flow.source.is_private() && !shared, "{flow} from the internet to {to:?}");
    }
    let Some(quoted) = quoted else { return };
    if !matches!(to.place, Place::Instance { forwards: true } | Place::Service) {
        assert_eq!(quoted.source, to.address, "{flow} quotes {quoted}, which is not of {to:?}");
    }
    assert!(
        appliance || quoted.destination != ENVIRONMENT_ADDRESS,
        "{flow} quotes {quoted} to {to:?}"
    );
    assert!(!inside || !unseen(quoted.destination), "{flow} quotes {quoted} to {to:?}");
}

/// The packet is one of a connection that its sender is an end of, and goes to the other end.
fn belongs(
    network: &Network,
    sent: &Sent,
    target: AttachmentId,
    flow: &Flow,
    quoted: Option<&Flow>,
    connections: &[Entry],
) {
    let about = |flow: &Flow| quoted.map_or(*flow, Flow::reversed);
    let out = about(flow);
    let refused_in_fragments = sent.in_fragments && sent.flow.protocol != protocol::UDP;
    let found = connections.iter().filter(|entry| !entry.lost).any(|entry| {
        if refused_in_fragments && entry.is_translated(network) {
            return false;
        }
        let info = &entry.info;
        if sent.key == Some(super::ledger::key(info)) {
            let opener = info.from_internet || info.opener == sent.ingress;
            opener && info.target == target && same(&out, &info.translated)
        } else if sent.key == Some(entry.reply) {
            info.opener == target && same(&out, &info.request.reversed())
        } else {
            false
        }
    });
    assert!(
        found,
        "{} became {flow} ({quoted:?}) to {target}, for no connection of {connections:#?}",
        sent.flow
    );
}

/// Whether a packet has this flow. A NAT gateway gives a port also to ICMP that is no echo and has
/// nowhere to carry it.
fn same(packet: &Flow, flow: &Flow) -> bool {
    let portless = packet.protocol == protocol::ICMP
        && (packet.source_port, packet.destination_port) == (0, 0);
    let ports = |flow: &Flow| (flow.source_port, flow.destination_port);
    (packet.protocol, packet.source, packet.destination)
        == (flow.protocol, flow.source, flow.destination)
        && (portless || ports(packet) == ports(flow))
}

/// An answer: a sound packet to whoever sent the packet, about that packet.
pub(super) fn answered(from: &Station, sent: &Sent, dropped: &Dropped, answer: &[u8]) {
    let mut bytes = answer.to_vec();
    let frame = Frame::parse(&mut bytes, u16::MAX).expect("an answer is a packet");
    assert_eq!(frame.destination(), sent.flow.source);
    assert!(!frame.needs_checksum());
    assert_eq!(sums(frame.ip()), crate::oracle::Sums { header: true, transport: Some(true) });
    match frame.l4() {
        L4::Tcp { flags } => {
            assert!(flags.rst());
            assert_eq!(frame.flow(), sent.flow.reversed());
        }
        L4::IcmpError { .. } => {
            assert!(sent.ip.starts_with(frame.payload()), "not what was sent: {frame}");
            let own = from.place == Place::Environment;
            // Nobody else can know the address of the inside, unless it was in their packet.
            let inside = frame.source() == ENVIRONMENT_ADDRESS;
            assert!(!inside || own || sent.flow.destination == ENVIRONMENT_ADDRESS, "{frame}");
        }
        _ => panic!("{frame} answers {dropped:?}"),
    }
    assert_eq!(answer.len(), VNET_HEADER_LEN + frame.ip().len());
}

/// Addresses that mean nothing on the internet (RFC 1918, RFC 6598, RFC 3927, RFC 1122).
fn is_private(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private()
        || address.is_link_local()
        || address.is_loopback()
        || (a == 100 && b & 0xc0 == 64)
        || a == 0
}
