//! The ICMP errors that a router sends (RFC 792, RFC 1812 section 4.3).

use std::net::Ipv4Addr;

use crate::checksum::Sum;
use crate::flow::protocol;
use crate::frame::Frame;
use crate::ipv4::{self, Header};
use crate::transport::{ICMP_CHECKSUM, ICMP_HEADER_LEN, L4};
use crate::vnet::{VNET_HEADER_LEN, VnetHeader};

/// The largest ICMP error, virtio-net header included, in bytes.
pub const LARGEST_ERROR: usize = VNET_HEADER_LEN + LARGEST_PACKET;

/// RFC 1812 4.3.2.3: as much of the packet as fits in this many bytes, which every host takes.
const LARGEST_PACKET: usize = 576;

/// An ICMP error to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IcmpErrorKind {
    /// 3/0: no route to the network.
    NetworkUnreachable,
    /// 3/1: the host is not there.
    HostUnreachable,
    /// 3/2: the host does not speak the protocol.
    ProtocolUnreachable,
    /// 3/3: nothing listens on the port.
    PortUnreachable,
    /// 3/4: the packet is too big for the next hop, and must not be cut (RFC 1191).
    FragmentationNeeded {
        /// The next hop's MTU, in bytes of IP packet.
        mtu: u16,
    },
    /// 3/13: a filter refuses it.
    AdminProhibited,
    /// 11/0: the TTL ran out on the way.
    TimeExceeded,
}

impl IcmpErrorKind {
    /// ICMP type and code.
    #[must_use]
    pub const fn type_and_code(self) -> (u8, u8) {
        match self {
            Self::NetworkUnreachable => (3, 0),
            Self::HostUnreachable => (3, 1),
            Self::ProtocolUnreachable => (3, 2),
            Self::PortUnreachable => (3, 3),
            Self::FragmentationNeeded { .. } => (3, 4),
            Self::AdminProhibited => (3, 13),
            Self::TimeExceeded => (11, 0),
        }
    }
}

/// Appends to `out` the error `kind` about a packet, from `source` to whoever sent the packet: a
/// whole frame, virtio-net header included, at most [`LARGEST_ERROR`] bytes. Returns its length.
///
/// The packet is quoted as it stands, so `about` has to be what its sender sent: not translated
/// yet, or translated back.
///
/// `None` where no error may be sent (RFC 1122 3.2.2, RFC 1812 4.3.2.7): about an ICMP error (or
/// an ICMP message of unknown kind, which might be one), about a fragment other than the first,
/// to a source that names no single host, about a packet to many hosts.
pub fn error(
    about: &Frame<'_>,
    source: Ipv4Addr,
    kind: IcmpErrorKind,
    out: &mut Vec<u8>,
) -> Option<usize> {
    if !may_be_answered(about) {
        return None;
    }
    let quoted_len = about.ip().len().min(LARGEST_PACKET - ipv4::HEADER_LEN - ICMP_HEADER_LEN);
    let quoted = &about.ip()[..quoted_len];

    let (icmp_type, code) = kind.type_and_code();
    let mut message = [icmp_type, code, 0, 0, 0, 0, 0, 0];
    if let IcmpErrorKind::FragmentationNeeded { mtu } = kind {
        message[6..8].copy_from_slice(&mtu.to_be_bytes());
    }
    let checksum = Sum::default().bytes(&message).bytes(quoted).checksum();
    message[ICMP_CHECKSUM..][..2].copy_from_slice(&checksum.to_be_bytes());

    let header = Header {
        tos: error_tos(about.tos()),
        // INVARIANT: quoted_len ≤ 548.
        payload_len: (ICMP_HEADER_LEN + quoted_len) as u16,
        protocol: protocol::ICMP,
        source,
        destination: about.source(),
    };
    let start = out.len();
    out.extend_from_slice(&VnetHeader::default().emit());
    out.extend_from_slice(&header.emit());
    out.extend_from_slice(&message);
    out.extend_from_slice(quoted);
    Some(out.len() - start)
}

fn may_be_answered(about: &Frame<'_>) -> bool {
    // Echoes, router discovery and the queries; all newer types are unknown to a sender of 1122's age.
    let asks = |kind| matches!(kind, 0 | 8 | 9 | 10 | 13..=18);
    let kind_allows = match about.l4() {
        L4::IcmpError { .. } | L4::Fragment { first: false, .. } => false,
        L4::Icmp { kind, .. } => asks(kind),
        // What a fragment carries begins with the type, if it is ICMP.
        L4::Fragment { .. } if about.protocol() == protocol::ICMP => {
            about.payload().first().is_some_and(|kind| asks(*kind))
        }
        _ => true,
    };
    let destination = about.destination();
    kind_allows
        && ipv4::names_one_host(about.source())
        && !destination.is_multicast()
        && !destination.is_broadcast()
}

/// RFC 1812 4.3.2.5: internetwork control precedence, and the packet's own type of service. The
/// ECN bits are not carried over: an ICMP message is not ECN-capable (RFC 3168 5).
fn error_tos(tos: u8) -> u8 {
    const INTERNETWORK_CONTROL: u8 = 0xc0;
    const TYPE_OF_SERVICE: u8 = 0x1c;
    INTERNETWORK_CONTROL | tos & TYPE_OF_SERVICE
}
