//! Packets out of a few bytes each: mostly sound, mostly between addresses and ports that mean
//! something, because a fuzzer's time is better spent behind the parser than before it.

use std::net::Ipv4Addr;

use viaduct_wire::{
    VNET_HEADER_LEN, protocol,
    vnet::{NEEDS_CSUM, VnetHeader, gso},
};

use crate::{input::Input, oracle, packet};

/// Addresses of the worlds, and some that no packet may lead to.
const ADDRESSES: [[u8; 4]; 28] = [
    [10, 0, 2, 10],
    [198, 51, 100, 7],
    [10, 0, 0, 10],
    [203, 0, 113, 20],
    [203, 0, 113, 10],
    [203, 0, 113, 11],
    [10, 0, 0, 5],
    [10, 0, 1, 4],
    [10, 0, 1, 5],
    [10, 0, 1, 10],
    [10, 0, 2, 11],
    [10, 9, 0, 10],
    [198, 18, 0, 1],
    [198, 18, 1, 1],
    [10, 0, 0, 4],
    [100, 64, 0, 4],
    [198, 51, 100, 8],
    [169, 254, 100, 2],
    [169, 254, 100, 1],
    [10, 0, 0, 1],
    [10, 0, 0, 2],
    [10, 0, 1, 255],
    [10, 0, 3, 3],
    [192, 0, 2, 1],
    [255, 255, 255, 255],
    [224, 0, 0, 1],
    [127, 0, 0, 1],
    [0, 0, 0, 0],
];

const PORTS: [u16; 16] =
    [5432, 53, 443, 22, 1024, 1025, 1026, 1027, 40_000, 40_001, 65_533, 65_534, 65_535, 0, 1, 1023];

/// One end of a packet's flow.
pub(super) type End = (Ipv4Addr, u16);

/// What a packet carries.
#[derive(Clone, Copy)]
pub(super) enum Load {
    Tcp { flags: u8 },
    Udp,
    EchoRequest,
    EchoReply,
    Icmp { kind: u8, code: u8 },
    Other { protocol: u8 },
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

impl Load {
    fn read(input: &mut Input<'_>) -> Self {
        match input.u8() {
            0..=79 => Self::Tcp { flags: SYN },
            80..=119 => {
                Self::Tcp { flags: *input.pick(&[ACK, SYN | ACK, FIN | ACK, RST, RST | ACK, 0]) }
            }
            120..=189 => Self::Udp,
            190..=209 => Self::EchoRequest,
            210..=219 => Self::EchoReply,
            220..=239 => Self::Icmp { kind: input.u8() % 20, code: input.u8() % 16 },
            _ => Self::Other { protocol: *input.pick(&[50, 47, 2, 0, 255, 132]) },
        }
    }

    /// What answers this: mostly what its protocol has for that.
    pub(super) fn reply(input: &mut Input<'_>, protocol: u8) -> Self {
        match protocol {
            protocol::TCP => Self::Tcp {
                flags: *input.pick(&[SYN | ACK, ACK, ACK, FIN | ACK, RST, SYN, RST | ACK, 0]),
            },
            protocol::UDP => Self::Udp,
            protocol::ICMP => *input.pick(&[Self::EchoReply, Self::EchoReply, Self::EchoRequest]),
            other => Self::Other { protocol: other },
        }
    }
}

/// An address that means something, or `own`.
pub(super) fn address(input: &mut Input<'_>, own: Ipv4Addr) -> Ipv4Addr {
    match input.u8() {
        0..=199 => own,
        _ => any_address(input),
    }
}

pub(super) fn any_address(input: &mut Input<'_>) -> Ipv4Addr {
    match input.u8() {
        255 => input.array::<4>().into(),
        choice => ADDRESSES[usize::from(choice) % ADDRESSES.len()].into(),
    }
}

pub(super) fn port(input: &mut Input<'_>) -> u16 {
    match input.u8() {
        255 => input.u16(),
        choice => PORTS[usize::from(choice) % PORTS.len()],
    }
}

/// A packet from `own`, to anywhere.
pub(super) fn fresh(input: &mut Input<'_>, own: Ipv4Addr) -> Vec<u8> {
    let load = Load::read(input);
    let source = (address(input, own), port(input));
    let destination = (any_address(input), port(input));
    build(input, load, source, destination)
}

/// A packet between two ends, with everything else as the input has it.
pub(super) fn build(input: &mut Input<'_>, load: Load, from: End, to: End) -> Vec<u8> {
    let shape = input.u8();
    let length = match shape & 7 {
        0..=3 => usize::from(shape & 3),
        4 => 100,
        5 => 1472,
        6 => 1473,
        _ => 3000,
    };
    let payload = vec![shape; length];
    let (protocol, mut segment) = segment(load, from.1, to.1, length);
    segment.extend(&payload);
    let ttl = match shape >> 3 & 7 {
        7 => 1,
        6 => input.u8(),
        _ => 64,
    };
    let mut ip = header(protocol, from.0, to.0, ttl, segment.len());
    if shape & 64 != 0 {
        // Not to be cut.
        ip[6] = 0x40;
    }
    ip.extend(segment);
    let header = if shape & 128 == 0 { VnetHeader::default() } else { offload(input, &ip, length) };
    oracle::mend_header(&mut ip);
    oracle::mend_transport(&mut ip);
    if header.flags & NEEDS_CSUM != 0 {
        let at = usize::from(header.csum_start + header.csum_offset);
        let sum = oracle::pseudo_sum(&ip, ip.len() - 20);
        ip[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let mut buffer = header.emit().to_vec();
    buffer.extend(ip);
    buffer
}

/// An ICMP error from one address to another, about what is left of a packet.
pub(super) fn error(input: &mut Input<'_>, from: Ipv4Addr, to: Ipv4Addr, about: &[u8]) -> Vec<u8> {
    let (kind, code) =
        *input.pick(&[(3, 4), (11, 0), (3, 3), (3, 1), (3, 13), (12, 0), (5, 1), (4, 0)]);
    let quoted = match input.u8() {
        0..=99 => about.len().min(548),
        100..=199 => about.len().min(28),
        length => about.len().min(usize::from(length - 200)),
    };
    let mut segment = vec![kind, code, 0, 0, 0, 0, 5, 0];
    segment.extend(&about[..quoted]);
    let mut ip = header(protocol::ICMP, from, to, 64, segment.len());
    ip.extend(segment);
    let mut buffer = VnetHeader::default().emit().to_vec();
    buffer.extend(ip);
    packet::mend(&mut buffer, packet::MEND_HEADER | packet::MEND_TRANSPORT);
    buffer
}

/// A few bytes of the packet changed; checksums follow, or not.
pub(super) fn damage(input: &mut Input<'_>, buffer: &mut [u8]) {
    let edits = input.u8();
    if edits < 240 {
        return;
    }
    for _ in 0..=edits & 3 {
        let at = usize::from(input.u8());
        let value = input.u8();
        if let Some(byte) = buffer.get_mut(at) {
            *byte = value;
        }
    }
    let mends = packet::MEND_HEADER | packet::MEND_TRANSPORT | packet::MEND_QUOTE;
    packet::mend(buffer, if edits & 4 == 0 { mends } else { input.u8() & mends });
}

/// The packet in fragments, of a few sizes and in some order, one perhaps missing or changed. As it is
/// if it is none that can be cut.
pub(super) fn fragments(input: &mut Input<'_>, buffer: Vec<u8>) -> Vec<Vec<u8>> {
    let ip = ip_of(&buffer);
    let cuttable =
        ip.len() > 28 && ip[0] == 0x45 && buffer[..VNET_HEADER_LEN] == [0; VNET_HEADER_LEN];
    if !cuttable {
        return vec![buffer];
    }
    let (header, payload) = ip.split_at(20);
    let shape = input.u8();
    // No more than a dozen, or they would be all of the history.
    let least = payload.len().div_ceil(12);
    let size = *[8, 24, 552, 1480].get(usize::from(shape & 3)).unwrap_or(&8);
    let size = usize::max(size, least).next_multiple_of(8);
    let mut fragments = Vec::new();
    for (index, piece) in payload.chunks(size).enumerate() {
        let at = index * size;
        let mut ip = header.to_vec();
        ip[2..4].copy_from_slice(&(20 + piece.len() as u16).to_be_bytes());
        ip[5] = shape >> 2 & 1;
        let more = if at + size < payload.len() { 0x2000 } else { 0 };
        ip[6..8].copy_from_slice(&(more | (at / 8) as u16).to_be_bytes());
        oracle::mend_header(&mut ip);
        ip.extend(piece);
        let mut fragment = VnetHeader::default().emit().to_vec();
        fragment.extend(ip);
        damage(input, &mut fragment);
        fragments.push(fragment);
    }
    if shape & 8 != 0 {
        fragments.reverse();
    }
    if shape & 0x30 == 0x30 {
        fragments.remove(usize::from(shape >> 6) % fragments.len());
    }
    fragments
}

fn segment(load: Load, from: u16, to: u16, payload: usize) -> (u8, Vec<u8>) {
    let ports = |segment: &mut Vec<u8>| {
        segment.extend(from.to_be_bytes());
        segment.extend(to.to_be_bytes());
    };
    let mut segment = Vec::with_capacity(20 + payload);
    match load {
        Load::Tcp { flags } => {
            ports(&mut segment);
            segment.extend([0, 0, 0, 100, 0, 0, 0, 200, 0x50, flags, 0xfa, 0, 0, 0, 0, 0]);
            (protocol::TCP, segment)
        }
        Load::Udp => {
            ports(&mut segment);
            segment.extend((8 + payload as u16).to_be_bytes());
            segment.extend([0, 0]);
            (protocol::UDP, segment)
        }
        Load::EchoRequest | Load::EchoReply => {
            let (kind, id) = if matches!(load, Load::EchoRequest) { (8, from) } else { (0, to) };
            segment.extend([kind, 0, 0, 0]);
            segment.extend(id.to_be_bytes());
            segment.extend([0, 1]);
            (protocol::ICMP, segment)
        }
        Load::Icmp { kind, code } => {
            segment.extend([kind, code, 0, 0, 0, 7, 0, 1]);
            (protocol::ICMP, segment)
        }
        Load::Other { protocol } => (protocol, segment),
    }
}

fn header(protocol: u8, from: Ipv4Addr, to: Ipv4Addr, ttl: u8, payload: usize) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 0, 0, 7, 0, 0, ttl, protocol, 0, 0];
    header[2..4].copy_from_slice(&(20 + payload as u16).to_be_bytes());
    header.extend(from.octets());
    header.extend(to.octets());
    header
}

/// A virtio-net header that leaves the checksum, and perhaps the cutting, to the receiver.
fn offload(input: &mut Input<'_>, ip: &[u8], payload: usize) -> VnetHeader {
    let (offset, gso_type) = match ip[9] {
        protocol::TCP => (16, gso::TCPV4),
        protocol::UDP => (6, gso::UDP_L4),
        _ => return VnetHeader::default(),
    };
    let partial = VnetHeader {
        flags: NEEDS_CSUM,
        csum_start: 20,
        csum_offset: offset,
        ..VnetHeader::default()
    };
    match input.u8() {
        0..=99 => partial,
        size if payload > 1000 => {
            VnetHeader { gso_type, gso_size: 500 + u16::from(size), ..partial }
        }
        size => VnetHeader { gso_type, gso_size: size.into(), ..partial },
    }
}

/// The packet behind the virtio-net header.
pub(super) fn ip_of(buffer: &[u8]) -> &[u8] {
    &buffer[VNET_HEADER_LEN..]
}
