//! The IPv4 header (RFC 791): checking the one that came, and writing the one of an answer.

use std::net::Ipv4Addr;

use crate::checksum::Sum;
use crate::error::Malformed;

/// The smallest header, and every header this crate writes.
pub(crate) const HEADER_LEN: usize = 20;

/// Where the fields lie, in bytes from the packet's start.
pub(crate) mod field {
    pub(crate) const IDENTIFICATION: usize = 4;
    pub(crate) const FRAGMENT: usize = 6;
    pub(crate) const TTL: usize = 8;
    pub(crate) const PROTOCOL: usize = 9;
    pub(crate) const CHECKSUM: usize = 10;
    pub(crate) const SOURCE: usize = 12;
    pub(crate) const DESTINATION: usize = 16;
}

pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// What a checked header says about the packet's shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) header_len: u8,
    pub(crate) total_len: u16,
    pub(crate) protocol: u8,
    pub(crate) fragment: Option<Fragment>,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
}

/// Where a fragment's payload lies in that of the whole packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment {
    pub(crate) offset: u16,
    pub(crate) more: bool,
}

impl Shape {
    /// Length of what follows the header.
    pub(crate) fn payload_len(&self) -> u16 {
        self.total_len - u16::from(self.header_len)
    }
}

/// Checks the header at the start of `packet`, which may be longer than the packet.
#[inline]
pub(crate) fn check(packet: &[u8]) -> Result<Shape, Malformed> {
    let version = packet.first().map_or(4, |byte| byte >> 4);
    if version != 4 {
        return Err(match version {
            6 => Malformed::Ipv6,
            _ => Malformed::NotIp { version },
        });
    }
    let Some(header) = packet.first_chunk::<HEADER_LEN>() else {
        return Err(Malformed::Truncated { length: packet.len() });
    };
    let length = (header[0] & 0x0f) * 4;
    let header_len = usize::from(length);
    if header_len < HEADER_LEN || header_len > packet.len() {
        return Err(Malformed::HeaderLength { length });
    }
    let total_len = u16::from_be_bytes([header[2], header[3]]);
    if usize::from(total_len) < header_len || usize::from(total_len) > packet.len() {
        return Err(Malformed::TotalLength { claimed: total_len, available: packet.len() });
    }
    // Twenty bytes of known length are five additions; options are rare.
    let options = &packet[HEADER_LEN..header_len];
    let mut sum = Sum::default().bytes(header);
    if !options.is_empty() {
        sum = sum.bytes(options);
    }
    if sum.fold() != 0xffff {
        return Err(Malformed::HeaderChecksum);
    }
    if !options.is_empty() {
        check_options(options)?;
    }
    let shape = Shape {
        header_len: length,
        total_len,
        protocol: header[field::PROTOCOL],
        fragment: None,
        source: address(header, field::SOURCE),
        destination: address(header, field::DESTINATION),
    };
    let bits = u16::from_be_bytes([header[field::FRAGMENT], header[field::FRAGMENT + 1]]);
    if bits & (MORE_FRAGMENTS | OFFSET_MASK) == 0 {
        return Ok(shape);
    }
    let blocks = bits & OFFSET_MASK;
    let offset = blocks * 8;
    // Put together it would be larger than a packet can be ("ping of death").
    if offset.checked_add(shape.total_len).is_none() {
        return Err(Malformed::Fragment { offset });
    }
    Ok(Shape { fragment: Some(Fragment { offset, more: bits & MORE_FRAGMENTS != 0 }), ..shape })
}

/// The address at `at`.
pub(crate) fn address(header: &[u8; HEADER_LEN], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3])
}

/// Walks an option list: each option is one byte (end, no-operation) or type, length, data.
#[cold]
fn check_options(mut options: &[u8]) -> Result<(), Malformed> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const LOOSE_SOURCE_ROUTE: u8 = 131;
    const STRICT_SOURCE_ROUTE: u8 = 137;

    while let Some(&kind) = options.first() {
        let length = match kind {
            END => return Ok(()),
            NO_OPERATION => 1,
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(Malformed::SourceRoute),
            _ => match options.get(1) {
                Some(&length) if length >= 2 => usize::from(length),
                _ => return Err(Malformed::Options),
            },
        };
        options = options.get(length..).ok_or(Malformed::Options)?;
    }
    Ok(())
}

/// What an answer's header says.
pub(crate) struct Header {
    pub(crate) tos: u8,
    pub(crate) payload_len: u16,
    pub(crate) protocol: u8,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
}

impl Header {
    /// The header of an answer. It is never cut (DF), so its identification may stay 0 (RFC 6864
    /// 4.1), and it starts with the TTL that Linux gives its own.
    pub(crate) fn emit(&self) -> [u8; HEADER_LEN] {
        const TTL: u8 = 64;

        let mut header = [0; HEADER_LEN];
        header[0] = 0x45;
        header[1] = self.tos;
        let total_len = 20 + self.payload_len;
        header[2..4].copy_from_slice(&total_len.to_be_bytes());
        header[field::FRAGMENT..][..2].copy_from_slice(&DONT_FRAGMENT.to_be_bytes());
        header[field::TTL] = TTL;
        header[field::PROTOCOL] = self.protocol;
        header[field::SOURCE..][..4].copy_from_slice(&self.source.octets());
        header[field::DESTINATION..][..4].copy_from_slice(&self.destination.octets());
        let checksum = Sum::default().bytes(&header).checksum();
        header[field::CHECKSUM..][..2].copy_from_slice(&checksum.to_be_bytes());
        header
    }
}

/// Whether `address` names one host, so that an answer to it reaches whoever sent the packet
/// (RFC 1122 3.2.1.3, 3.2.2): not this network, loopback, multicast, class E or broadcast.
pub(crate) fn names_one_host(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..=255)
}
