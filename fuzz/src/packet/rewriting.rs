//! Translating a packet: every checksum follows, nothing else changes, and it can be undone.

use viaduct_wire::{
    Flow, Frame, L4, Rewrite, VNET_HEADER_LEN, protocol,
    vnet::{NEEDS_CSUM, VnetHeader, gso},
};

use super::{Task, parse};
use crate::oracle::{Sums, completed, header_len, pseudo_sum, sums, word};

/// A right checksum stays right and a wrong one wrong; what leaves is sealed consistently.
pub(super) fn follows_every_checksum(buffer: &[u8], task: &Task) {
    let mut bytes = buffer.to_vec();
    let mut frame = parse(&mut bytes, task.mtu);
    let before = frame.ip().to_vec();
    let (l4, partial, flow) = (frame.l4(), frame.needs_checksum(), frame.flow());
    let sent = (frame.packets(), frame.bytes(), frame.largest_packet());

    frame.rewrite(&Rewrite { ttl_decrement: task.ttl_decrement, ..Rewrite::from(task.to) });

    let expected = rewritten(&flow, l4, &task.to);
    assert_eq!(frame.flow(), expected);
    assert_eq!(frame.l4(), l4);
    assert_eq!(frame.ttl(), before[8].saturating_sub(task.ttl_decrement));
    only_these_changed(&before, frame.ip(), l4);
    let segmented = frame.is_super_packet();
    let length = frame.finish();
    bytes.truncate(length);

    sealed(&bytes, &before, partial, segmented);
    let now = sums(&completed(&bytes));
    assert!(now.header, "{l4:?}: the header's checksum");
    if partial {
        assert_ne!(now.transport, Some(false), "{l4:?}: a checksum that was left to do");
    } else {
        let Sums { transport, .. } = sums(&before);
        let unclear = transport.is_none() && before[9] == protocol::ICMP;
        assert!(unclear || now.transport == transport, "{l4:?}: a checksum that was complete");
    }
    // What leaves is read as what it was, and sealing it again changes nothing.
    let mut again = bytes.clone();
    let frame = parse(&mut again, task.mtu);
    assert_eq!((frame.flow(), frame.l4()), (expected, l4));
    assert_eq!((frame.packets(), frame.bytes(), frame.largest_packet()), sent);
    assert_eq!(frame.finish(), length);
    assert_eq!(again, bytes);
}

/// The flow that a packet has after it was given the flow `to`.
fn rewritten(flow: &Flow, l4: L4, to: &Flow) -> Flow {
    let (source_port, destination_port) = match l4 {
        L4::Tcp { .. } | L4::Udp => (to.source_port, to.destination_port),
        L4::IcmpEchoRequest => (to.source_port, 0),
        L4::IcmpEchoReply => (0, to.destination_port),
        _ => (0, 0),
    };
    let Flow { source, destination, .. } = *to;
    Flow { protocol: flow.protocol, source, destination, source_port, destination_port }
}

/// Nothing but TTL, addresses, ports and checksums differs.
fn only_these_changed(before: &[u8], after: &[u8], l4: L4) {
    assert_eq!(before.len(), after.len());
    let start = header_len(before);
    let may_change = |at: usize| match at {
        8 | 10..20 => true,
        _ if at < start => false,
        _ => match (l4, at - start) {
            (L4::Tcp { .. }, 0..4 | 16..18) | (L4::Udp, 0..4 | 6..8) => true,
            (L4::IcmpEchoRequest | L4::IcmpEchoReply, 2..6) => true,
            (L4::Fragment { first: true, .. }, at) => match before[9] {
                protocol::TCP => (16..18).contains(&at),
                protocol::UDP => (6..8).contains(&at),
                _ => false,
            },
            _ => false,
        },
    };
    for at in 0..before.len() {
        assert!(before[at] == after[at] || may_change(at), "{l4:?}: byte {at} changed");
    }
}

/// The virtio-net header that leaves says of the packet what is true of it.
fn sealed(frame: &[u8], before: &[u8], partial: bool, segmented: bool) {
    let (header, ip) = frame.split_first_chunk::<VNET_HEADER_LEN>().expect("a header");
    let header = VnetHeader::parse(header);
    assert_eq!(ip.len(), before.len());
    if !partial {
        assert_eq!(header, VnetHeader::default());
        return;
    }
    let start = header_len(ip);
    let (offset, headers) = match ip[9] {
        protocol::TCP => (16, start + usize::from(ip[start + 12] >> 4) * 4),
        protocol::UDP => (6, start + 8),
        other => panic!("a checksum left to do in protocol {other}"),
    };
    assert_eq!(header.flags, NEEDS_CSUM);
    assert_eq!((usize::from(header.csum_start), usize::from(header.csum_offset)), (start, offset));
    assert_eq!(word(ip, start + offset), pseudo_sum(ip, ip.len() - start));
    if !segmented {
        assert_eq!((header.gso_type, header.gso_size, header.hdr_len), (gso::NONE, 0, 0));
        return;
    }
    assert_eq!(usize::from(header.hdr_len), headers);
    assert!(header.gso_size > 0 && usize::from(header.gso_size) < ip.len() - headers);
    let expected = if ip[9] == protocol::TCP { gso::TCPV4 } else { gso::UDP_L4 };
    assert_eq!(header.gso_type & !gso::ECN, expected);
}

/// There and back, and it is the packet that it was.
pub(super) fn can_be_undone(buffer: &[u8], task: &Task) {
    let mut bytes = buffer.to_vec();
    let mut frame = parse(&mut bytes, task.mtu);
    let (before, flow) = (plain(&frame), frame.flow());
    frame.rewrite(&Rewrite::from(task.to));
    frame.rewrite(&Rewrite::from(flow));
    assert_eq!(plain(&frame), before);
}

/// The packet, with one form of zero in the checksums that know two. UDP's knows one: the other
/// says that there is none.
pub(super) fn plain(frame: &Frame<'_>) -> Vec<u8> {
    let mut ip = frame.ip().to_vec();
    let start = header_len(&ip);
    one_zero(&mut ip, 10);
    match frame.l4() {
        L4::Tcp { .. } => one_zero(&mut ip, start + 16),
        L4::Fragment { first: true, .. } if ip[9] == protocol::TCP => one_zero(&mut ip, start + 16),
        L4::IcmpEchoRequest | L4::IcmpEchoReply | L4::IcmpError { .. } => {
            one_zero(&mut ip, start + 2);
        }
        _ => {}
    }
    ip
}

pub(super) fn one_zero(bytes: &mut [u8], at: usize) {
    if let Some(checksum @ &mut [0xff, 0xff]) = bytes.get_mut(at..at + 2) {
        checksum.fill(0);
    }
}
