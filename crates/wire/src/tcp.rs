//! TCP: flags, and the reset that refuses a segment.

use std::fmt;

use crate::checksum::pseudo_header;
use crate::flow::protocol;
use crate::frame::Frame;
use crate::ipv4::{self, Header};
use crate::transport::{L4, TCP_CHECKSUM, TCP_HEADER_LEN};
use crate::vnet::{VNET_HEADER_LEN, VnetHeader};

/// The length of a reset, virtio-net header included, in bytes.
pub const RESET_LEN: usize = VNET_HEADER_LEN + ipv4::HEADER_LEN + TCP_HEADER_LEN;

/// A TCP header's flags, as the byte that holds them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data follows.
    pub const FIN: Self = Self(0x01);
    /// Opens a connection.
    pub const SYN: Self = Self(0x02);
    /// Ends a connection at once.
    pub const RST: Self = Self(0x04);
    /// Hand it to the application now.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// Congestion was seen, or, in a SYN, ECN is offered.
    pub const ECE: Self = Self(0x40);
    /// The window was reduced.
    pub const CWR: Self = Self(0x80);

    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These and those.
    #[must_use]
    pub const fn union(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// SYN is set, and neither ACK nor RST: it asks for a new connection.
    #[must_use]
    pub const fn opens(self) -> bool {
        self.0 & Self::SYN.union(Self::ACK).union(Self::RST).0 == Self::SYN.0
    }

    /// FIN is set.
    #[must_use]
    pub const fn fin(self) -> bool {
        self.contains(Self::FIN)
    }

    /// SYN is set.
    #[must_use]
    pub const fn syn(self) -> bool {
        self.contains(Self::SYN)
    }

    /// RST is set.
    #[must_use]
    pub const fn rst(self) -> bool {
        self.contains(Self::RST)
    }

    /// ACK is set.
    #[must_use]
    pub const fn ack(self) -> bool {
        self.contains(Self::ACK)
    }
}

/// tcpdump's letters: `S` `F` `R` `P` `.` (ACK) `U` `E` `W`; `none` without any.
impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LETTERS: [(TcpFlags, &str); 8] = [
            (TcpFlags::FIN, "F"),
            (TcpFlags::SYN, "S"),
            (TcpFlags::RST, "R"),
            (TcpFlags::PSH, "P"),
            (TcpFlags::ACK, "."),
            (TcpFlags::URG, "U"),
            (TcpFlags::ECE, "E"),
            (TcpFlags::CWR, "W"),
        ];
        if self.0 == 0 {
            return f.write_str("none");
        }
        LETTERS
            .iter()
            .filter(|(flag, _)| self.contains(*flag))
            .try_for_each(|(_, l)| f.write_str(l))
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpFlags({self})")
    }
}

/// Appends to `out` the reset that refuses the segment `about`, to its sender, from where it was
/// going: a whole frame of [`RESET_LEN`] bytes, virtio-net header included. Returns its length.
///
/// Sequence numbers are those of a host without such a connection (RFC 9293 3.5.2, group 1), which
/// the sender accepts in every state.
///
/// `None` if it is no whole TCP segment, is a reset itself, or an end of it names no single host.
pub fn reset(about: &Frame<'_>, out: &mut Vec<u8>) -> Option<usize> {
    let L4::Tcp { flags } = about.l4() else {
        return None;
    };
    let flow = about.flow().reversed();
    if flags.rst() || !ipv4::names_one_host(flow.source) || !ipv4::names_one_host(flow.destination)
    {
        return None;
    }
    let segment = about.ip()[usize::from(about.ip_header)..].first_chunk::<TCP_HEADER_LEN>()?;
    let &[_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, ..] = segment;
    let (sequence, acknowledgement, answer) = if flags.ack() {
        (u32::from_be_bytes([a0, a1, a2, a3]), 0, TcpFlags::RST)
    } else {
        let sequence = u32::from_be_bytes([s0, s1, s2, s3]);
        // SYN and FIN take a sequence number each.
        let length = about.payload().len() as u32 + u32::from(flags.syn()) + u32::from(flags.fin());
        (0, sequence.wrapping_add(length), TcpFlags::RST.union(TcpFlags::ACK))
    };

    let mut header = [0; TCP_HEADER_LEN];
    header[0..2].copy_from_slice(&flow.source_port.to_be_bytes());
    header[2..4].copy_from_slice(&flow.destination_port.to_be_bytes());
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    header[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
    header[12] = 0x50;
    header[13] = answer.0;
    let length = TCP_HEADER_LEN as u16;
    let checksum =
        pseudo_header(flow.source, flow.destination, protocol::TCP, length).bytes(&header);
    header[TCP_CHECKSUM..][..2].copy_from_slice(&checksum.checksum().to_be_bytes());

    let ip = Header {
        tos: 0,
        payload_len: length,
        protocol: protocol::TCP,
        source: flow.source,
        destination: flow.destination,
    };
    out.extend_from_slice(&VnetHeader::default().emit());
    out.extend_from_slice(&ip.emit());
    out.extend_from_slice(&header);
    Some(RESET_LEN)
}
