//! The headers behind IP that forwarding looks into: TCP, UDP, ICMP.

use crate::error::Malformed;
use crate::flow::{Flow, protocol};
use crate::ipv4::{Fragment, Shape};
use crate::tcp::TcpFlags;

/// What a packet carries, as far as forwarding it depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// A whole TCP segment, or a super-packet of several.
    Tcp {
        /// Its flags.
        flags: TcpFlags,
    },
    /// A whole UDP datagram, or a super-packet of several.
    Udp,
    /// An ICMP echo request.
    IcmpEchoRequest,
    /// An ICMP echo reply.
    IcmpEchoReply,
    /// An ICMP message about a packet, which it quotes: destination unreachable (3), source quench
    /// (4), redirect (5), time exceeded (11), parameter problem (12).
    IcmpError {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// Any other ICMP message.
    Icmp {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// A fragment of any protocol: more fragments follow, or its offset is not 0.
    Fragment {
        /// Whether it is the first, which carries the transport header.
        first: bool,
        /// Whether no more follow.
        last: bool,
    },
    /// A whole packet of another protocol.
    Other,
}

impl L4 {
    /// The type and code of an ICMP message (RFC 792).
    #[must_use]
    pub const fn icmp(self) -> Option<(u8, u8)> {
        match self {
            Self::IcmpEchoRequest => Some((8, 0)),
            Self::IcmpEchoReply => Some((0, 0)),
            Self::IcmpError { kind, code } | Self::Icmp { kind, code } => Some((kind, code)),
            _ => None,
        }
    }
}

/// Where TCP has its checksum, in bytes from its header.
pub(crate) const TCP_CHECKSUM: usize = 16;
/// Where UDP has its checksum, in bytes from its header.
pub(crate) const UDP_CHECKSUM: usize = 6;
/// Where ICMP has its checksum, in bytes from its header.
pub(crate) const ICMP_CHECKSUM: usize = 2;
/// Where an ICMP echo has its identifier, in bytes from its header.
pub(crate) const ECHO_IDENTIFIER: usize = 4;

pub(crate) const TCP_HEADER_LEN: usize = 20;
pub(crate) const UDP_HEADER_LEN: usize = 8;
pub(crate) const ICMP_HEADER_LEN: usize = 8;

pub(crate) const ECHO_REPLY: u8 = 0;
pub(crate) const ECHO_REQUEST: u8 = 8;

/// A checked transport header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transport {
    pub(crate) l4: L4,
    pub(crate) flow: Flow,
    /// Its header's length; 0 where forwarding does not look into it.
    pub(crate) header_len: u8,
    /// What it says its length is, header included: the packet's, save for UDP, whose own field
    /// may be smaller.
    pub(crate) length: u16,
}

/// Checks the transport header at the start of `payload`, which is exactly the IP payload.
#[inline]
pub(crate) fn check(ip: &Shape, payload: &[u8]) -> Result<Transport, Malformed> {
    if let Some(fragment) = ip.fragment {
        return check_fragment(ip, fragment, payload);
    }
    match ip.protocol {
        protocol::TCP => check_tcp(ip, payload),
        protocol::UDP => check_udp(ip, payload),
        protocol::ICMP => check_icmp(ip, payload),
        _ => Ok(portless(ip, L4::Other)),
    }
}

fn portless(ip: &Shape, l4: L4) -> Transport {
    Transport { l4, flow: flow(ip, 0, 0), header_len: 0, length: ip.payload_len() }
}

fn flow(ip: &Shape, source_port: u16, destination_port: u16) -> Flow {
    Flow {
        protocol: ip.protocol,
        source: ip.source,
        destination: ip.destination,
        source_port,
        destination_port,
    }
}

#[inline]
fn check_tcp(ip: &Shape, payload: &[u8]) -> Result<Transport, Malformed> {
    let available = ip.payload_len();
    let Some(header) = payload.first_chunk::<TCP_HEADER_LEN>() else {
        return Err(Malformed::TcpHeader { length: 0, available });
    };
    let length = (header[12] >> 4) * 4;
    let beyond = u16::from(cfg!(viaduct_planted = "tcp-length")); // docs/fuzzing.md
    if usize::from(length) < TCP_HEADER_LEN || u16::from(length) > available + beyond {
        return Err(Malformed::TcpHeader { length, available });
    }
    Ok(Transport {
        l4: L4::Tcp { flags: TcpFlags(header[13]) },
        flow: flow(
            ip,
            u16::from_be_bytes([header[0], header[1]]),
            u16::from_be_bytes([header[2], header[3]]),
        ),
        header_len: length,
        length: available,
    })
}

/// A UDP length smaller than the packet leaves a surplus area, which is legal (RFC 9868).
fn check_udp(ip: &Shape, payload: &[u8]) -> Result<Transport, Malformed> {
    let available = ip.payload_len();
    let Some(header) = payload.first_chunk::<UDP_HEADER_LEN>() else {
        return Err(Malformed::UdpLength { length: 0, available });
    };
    let length = u16::from_be_bytes([header[4], header[5]]);
    if usize::from(length) < UDP_HEADER_LEN || length > available {
        return Err(Malformed::UdpLength { length, available });
    }
    Ok(Transport {
        l4: L4::Udp,
        flow: flow(
            ip,
            u16::from_be_bytes([header[0], header[1]]),
            u16::from_be_bytes([header[2], header[3]]),
        ),
        header_len: UDP_HEADER_LEN as u8,
        length,
    })
}

fn check_icmp(ip: &Shape, payload: &[u8]) -> Result<Transport, Malformed> {
    let Some(header) = payload.first_chunk::<ICMP_HEADER_LEN>() else {
        return Err(Malformed::IcmpLength { length: ip.payload_len() });
    };
    let &[kind, code, _, _, i0, i1, ..] = header;
    let identifier = u16::from_be_bytes([i0, i1]);
    let (l4, flow) = match (kind, code) {
        (ECHO_REPLY, 0) => (L4::IcmpEchoReply, flow(ip, 0, identifier)),
        (ECHO_REQUEST, 0) => (L4::IcmpEchoRequest, flow(ip, identifier, 0)),
        (3 | 4 | 5 | 11 | 12, _) => (L4::IcmpError { kind, code }, flow(ip, 0, 0)),
        // An echo has code 0 (RFC 792): with another one it is not judged as one.
        _ => (L4::Icmp { kind, code }, flow(ip, 0, 0)),
    };
    Ok(Transport { l4, flow, header_len: ICMP_HEADER_LEN as u8, length: ip.payload_len() })
}

/// A fragment's transport header cannot be judged with the packet it belongs to, but it must not
/// be spread so that no fragment shows it whole, or overwritten by the second (RFC 1858 3 and 4,
/// RFC 3128): rewriting the first needs its checksum field, and filters its ports.
#[cold]
fn check_fragment(ip: &Shape, fragment: Fragment, payload: &[u8]) -> Result<Transport, Malformed> {
    let header_len = shown(ip.protocol);
    let first = fragment.offset == 0;
    let hides_header = match first {
        true => payload.len() < header_len,
        false => usize::from(fragment.offset) < header_len,
    };
    // An empty piece says nothing, and one that others follow ends where the next can begin.
    let impossible = payload.is_empty() || fragment.more && !payload.len().is_multiple_of(8);
    if hides_header || impossible {
        return Err(Malformed::Fragment { offset: fragment.offset });
    }
    Ok(portless(ip, L4::Fragment { first, last: !fragment.more }))
}

/// How many bytes of a protocol's header the first fragment must show.
pub(crate) const fn shown(protocol: u8) -> usize {
    match protocol {
        protocol::TCP => TCP_HEADER_LEN,
        protocol::UDP => UDP_HEADER_LEN,
        protocol::ICMP => ICMP_HEADER_LEN,
        _ => 0,
    }
}
