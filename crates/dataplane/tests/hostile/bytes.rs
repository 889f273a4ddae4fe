//! Packets changed byte by byte.

use crate::support::Packet;
use viaduct_wire::{VNET_HEADER_LEN, checksum::Sum};

/// The packet with these bytes in the place of its own, from `at` in the IP packet on.
pub(crate) fn with(packet: &Packet, at: usize, bytes: &[u8]) -> Packet {
    let mut changed = packet.clone();
    changed.0[VNET_HEADER_LEN + at..][..bytes.len()].copy_from_slice(bytes);
    changed
}

/// The packet with one bit the other way.
pub(crate) fn flipped(packet: &Packet, bit: usize) -> Packet {
    let byte = packet.ip()[bit / 8];
    with(packet, bit / 8, &[byte ^ 1 << (bit % 8)])
}

/// The first bytes of the packet, and nothing behind them.
pub(crate) fn cut(packet: &Packet, length: usize) -> Packet {
    Packet(packet.0[..VNET_HEADER_LEN + length].to_vec())
}

/// With the total length that it has.
pub(crate) fn of_its_length(packet: &Packet) -> Packet {
    let length = u16::try_from(packet.ip().len()).unwrap();
    header_mended(&with(packet, 2, &length.to_be_bytes()))
}

/// With the IP header checksum that belongs to its header, as long as that claims to be.
pub(crate) fn header_mended(packet: &Packet) -> Packet {
    let header_len = (usize::from(packet.ip()[0] & 15) * 4).clamp(20, packet.ip().len());
    let cleared = with(packet, 10, &[0, 0]);
    let sum = Sum::default().bytes(&cleared.ip()[..header_len]).checksum();
    with(&cleared, 10, &sum.to_be_bytes())
}

/// With the ICMP checksum that belongs to its message, behind a header of twenty bytes.
pub(crate) fn message_mended(packet: &Packet) -> Packet {
    let cleared = with(packet, 22, &[0, 0]);
    let sum = Sum::default().bytes(&cleared.ip()[20..]).checksum();
    with(&cleared, 22, &sum.to_be_bytes())
}

/// With this option list, padded to whole words.
pub(crate) fn with_options(packet: &Packet, options: &[u8]) -> Packet {
    let mut bytes = packet.0.clone();
    let mut list = options.to_vec();
    list.resize(options.len().next_multiple_of(4), 0);
    bytes[VNET_HEADER_LEN] = 0x45 + u8::try_from(list.len() / 4).unwrap();
    bytes.splice(VNET_HEADER_LEN + 20..VNET_HEADER_LEN + 20, list);
    of_its_length(&Packet(bytes))
}
