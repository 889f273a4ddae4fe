//! Every lie that a virtio-net header can tell, field against field: what is accepted is what a
//! kernel writes for such a packet, and what leaves says of the packet what is true, whatever the
//! guest had claimed.

use crate::support::{Packet, Transport, buffer, packet_of, partial};
use viaduct_wire::vnet::{NEEDS_CSUM, VnetHeader, gso};
use viaduct_wire::{Frame, Malformed, protocol};

const MTU: u16 = 1500;

const FLAGS: [u8; 6] = [0, NEEDS_CSUM, 2, NEEDS_CSUM | 2, 4, 0xfe];
const GSO_TYPES: [u8; 10] = [
    gso::NONE,
    gso::TCPV4,
    gso::TCPV4 | gso::ECN,
    3,
    4,
    gso::UDP_L4,
    gso::UDP_L4 | gso::ECN,
    gso::ECN,
    2,
    99,
];
const GSO_SIZES: [u16; 10] = [0, 1, 23, 24, 47, 48, 1400, 1460, 1473, u16::MAX];
const HEADER_LENGTHS: [u16; 3] = [0, 40, u16::MAX];
const STARTS: [u16; 6] = [0, 19, 20, 24, 60, u16::MAX];
const OFFSETS: [u16; 6] = [0, 2, 6, 8, 16, u16::MAX];

/// A packet with what is true of it.
struct Truth {
    packet: Vec<u8>,
    ip_header: u16,
    /// Where the checksum is, what type of super-packet it can be, and the smallest segment; none if
    /// it can be neither.
    offloads: Option<(u16, u8, u16)>,
    transport_header: u16,
    payload: u16,
}

fn packets() -> Vec<Truth> {
    let build = |transport: Transport, options: Vec<u8>, payload: usize| {
        let ip_header = 20 + options.len() as u16;
        let (offloads, transport_header) = match &transport {
            Transport::Tcp { .. } => (Some((16, gso::TCPV4, 48)), 20),
            Transport::Udp { .. } => (Some((6, gso::UDP_L4, 1)), 8),
            _ => (None, 8),
        };
        let packet = Packet {
            source: [10, 0, 1, 5].into(),
            destination: [10, 0, 2, 9].into(),
            ttl: 64,
            tos: 0,
            identification: 1,
            dont_fragment: true,
            ip_options: options,
            transport,
            payload: vec![0x61; payload],
        }
        .build();
        // Checksum fields hold what a packet has that leaves its checksum to do; a parser does not
        // look at them.
        let packet = if offloads.is_some() { partial(&packet).1 } else { packet };
        Truth { packet, ip_header, offloads, transport_header, payload: payload as u16 }
    };
    let tcp = || Transport::Tcp { header: Box::new(etherparse::TcpHeader::new(40_000, 443, 1, 9)) };
    let udp = || Transport::Udp { source_port: 40_000, destination_port: 53, checksum: true };
    vec![
        build(tcp(), vec![], 0),
        build(tcp(), vec![], 3000),
        build(tcp(), vec![1, 1, 1, 0], 3000),
        build(udp(), vec![], 24),
        build(udp(), vec![], 3000),
        build(udp(), vec![1, 1, 1, 0], 3000),
        build(Transport::EchoRequest { id: 7, seq: 1 }, vec![], 56),
        build(Transport::Other { protocol: 50 }, vec![], 56),
    ]
}

/// The header that leaves, if the guest's is to be accepted: told from what the kernel's
/// `virtio_net_hdr_from_skb` writes, not from the code.
fn right(truth: &Truth, header: VnetHeader) -> Option<VnetHeader> {
    let partial = header.flags & NEEDS_CSUM != 0;
    let honest = VnetHeader {
        flags: NEEDS_CSUM,
        csum_start: truth.ip_header,
        csum_offset: truth.offloads.map_or(0, |(offset, ..)| offset),
        ..VnetHeader::default()
    };
    let checksum_is_where_it_is = truth.offloads.is_some()
        && (header.csum_start, header.csum_offset) == (honest.csum_start, honest.csum_offset);
    if partial && !checksum_is_where_it_is {
        return None;
    }
    let ordinary = if partial { honest } else { VnetHeader::default() };
    if header.gso_type == gso::NONE {
        return Some(ordinary);
    }
    let (_, own_type, smallest) = truth.offloads?;
    let ecn = own_type == gso::TCPV4 && header.gso_type == gso::TCPV4 | gso::ECN;
    if !partial || (header.gso_type != own_type && !ecn) {
        return None;
    }
    let size = header.gso_size;
    if truth.payload <= size {
        return Some(ordinary);
    }
    let headers = truth.ip_header + truth.transport_header;
    let fits = size >= smallest && headers + size.min(MTU) <= MTU && size <= MTU;
    let few = own_type == gso::TCPV4 || truth.payload.div_ceil(size.max(1)) <= 128;
    (fits && few).then_some(VnetHeader {
        gso_type: header.gso_type,
        gso_size: size,
        hdr_len: headers,
        ..honest
    })
}

#[test]
fn every_header_is_held_against_its_packet() {
    let (mut accepted, mut refused) = (0_u32, 0_u32);
    for truth in packets() {
        for flags in FLAGS {
            for gso_type in GSO_TYPES {
                for gso_size in GSO_SIZES {
                    for hdr_len in HEADER_LENGTHS {
                        for csum_start in STARTS {
                            for csum_offset in OFFSETS {
                                let header = VnetHeader {
                                    flags,
                                    gso_type,
                                    hdr_len,
                                    gso_size,
                                    csum_start,
                                    csum_offset,
                                };
                                if held(&truth, header) { accepted += 1 } else { refused += 1 }
                            }
                        }
                    }
                }
            }
        }
    }
    // Both sides are tried in earnest.
    assert!(accepted > 10_000 && refused > 100_000, "{accepted} accepted, {refused} refused");
}

/// Whether the frame is accepted, having looked at everything that it says then.
fn held(truth: &Truth, header: VnetHeader) -> bool {
    let mut bytes = buffer(header, &truth.packet);
    let right = right(truth, header);
    let protocol = truth.packet[9];
    let frame = match (Frame::parse(&mut bytes, MTU), right) {
        (Ok(frame), Some(_)) => frame,
        (Err(Malformed::BadOffloadHeader(_)), None) => return false,
        (found, _) => panic!("protocol {protocol}, {header:?}: {found:?}, not {right:?}"),
    };
    let leaves = right.expect("an accepted header");
    let segments = match leaves.gso_type {
        gso::NONE => 1,
        _ => u64::from(truth.payload.div_ceil(leaves.gso_size)),
    };
    let headers = u64::from(truth.ip_header + truth.transport_header);
    let bytes_of_all = match leaves.gso_type {
        gso::NONE => truth.packet.len() as u64,
        _ => u64::from(truth.payload) + segments * headers,
    };
    let largest = match leaves.gso_type {
        gso::NONE => truth.packet.len(),
        _ => headers as usize + usize::from(leaves.gso_size),
    };
    assert_eq!(frame.packets(), segments, "{header:?}");
    assert_eq!(frame.bytes(), bytes_of_all, "{header:?}");
    assert_eq!(frame.largest_packet(), largest, "{header:?}");
    assert_eq!(frame.is_super_packet(), leaves.gso_type != gso::NONE, "{header:?}");
    assert_eq!(frame.needs_checksum(), leaves.flags == NEEDS_CSUM, "{header:?}");
    assert_eq!(frame.payload().len(), payload(truth), "{header:?}");

    let length = frame.finish();
    assert_eq!(VnetHeader::parse(bytes.first_chunk().unwrap()), leaves, "{header:?}");
    assert_eq!(packet_of(&bytes[..length]), truth.packet, "the packet changed: {header:?}");
    true
}

/// What follows the headers that forwarding looks into.
fn payload(truth: &Truth) -> usize {
    match truth.packet[9] {
        protocol::TCP | protocol::UDP | protocol::ICMP => truth.payload.into(),
        _ => truth.packet.len() - usize::from(truth.ip_header),
    }
}
