//! A packet reduced to what a network looks at.

use std::{fmt, net::Ipv4Addr};

use viaduct_topology::Reason;

/// ICMP's protocol number.
pub const ICMP: u8 = 1;
/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;

/// What a TCP segment is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// It asks for a connection (SYN).
    Open,
    /// It grants one (SYN and ACK).
    Accept,
    /// It belongs to one (ACK); also what is no TCP.
    Carry,
    /// Its sender has nothing more to say (FIN and ACK).
    Finish,
    /// Its sender has heard that the other end has nothing more to say (ACK).
    Heard,
    /// It ends one (RST and ACK).
    Reset,
    /// It would end one if its sender knew where the connection is (RST).
    Guess,
}

impl Segment {
    /// Whether it has the RST flag.
    #[must_use]
    pub const fn resets(self) -> bool {
        matches!(self, Self::Reset | Self::Guess)
    }
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The IP protocol.
    pub protocol: u8,
    /// Sender's address.
    pub source: Ipv4Addr,
    /// Receiver's address.
    pub destination: Ipv4Addr,
    /// Sender's port; an echo request's identifier; otherwise 0.
    pub source_port: u16,
    /// Receiver's port; an echo reply's identifier; otherwise 0.
    pub destination_port: u16,
    /// ICMP type and code; otherwise 0.
    pub icmp: (u8, u8),
    /// What it is about, if it is TCP; otherwise [`Segment::Carry`].
    pub segment: Segment,
    /// Bytes behind the headers.
    pub payload: u16,
    /// Time to live.
    pub ttl: u8,
}

impl Packet {
    /// What its receiver sends back; `None` if nobody answers such a packet.
    #[must_use]
    pub const fn answer(self) -> Option<Self> {
        let kind = match (self.protocol, self.icmp.0) {
            // Echo, timestamp, information and address mask (RFC 792, RFC 950).
            (ICMP, 8) => 0,
            (ICMP, 13 | 15 | 17) => self.icmp.0 + 1,
            (ICMP, _) => return None,
            _ => 0,
        };
        let segment = match self.segment {
            Segment::Open => Segment::Accept,
            _ => Segment::Carry,
        };
        Some(Self { icmp: (kind, 0), segment, ttl: 64, ..self.backwards() })
    }

    /// The same between the same ends in the other direction.
    #[must_use]
    pub const fn backwards(self) -> Self {
        let Self { source, destination, source_port, destination_port, .. } = self;
        Self {
            source: destination,
            destination: source,
            source_port: destination_port,
            destination_port: source_port,
            ..self
        }
    }

    /// Bytes of the whole IP packet.
    #[must_use]
    pub const fn length(&self) -> u16 {
        let header = match self.protocol {
            TCP => 20,
            UDP | ICMP => 8,
            _ => 0,
        };
        20 + header + self.payload
    }

    /// The numbers of a TCP segment: of its first byte, and of what it acknowledges, if it does. Both
    /// ends count from 100, and say the same again and again: what they said with their SYN.
    #[must_use]
    pub const fn numbers(&self) -> (u32, Option<u32>) {
        match self.segment {
            Segment::Open => (100, None),
            Segment::Accept => (100, Some(101)),
            Segment::Carry | Segment::Finish | Segment::Reset => (101, Some(101)),
            // Behind the other end's FIN, which follows as many bytes.
            Segment::Heard => (101, Some(102 + self.payload as u32)),
            Segment::Guess => (1 << 31, None),
        }
    }

    /// Whether it has port 0 where there is nobody: a datagram may come from there, if it wants no
    /// answer.
    #[must_use]
    pub const fn has_no_port(&self) -> bool {
        let to = self.destination_port == 0;
        (self.protocol == TCP && (to || self.source_port == 0)) || (self.protocol == UDP && to)
    }

    /// Whether it is a TCP segment that opens nothing.
    #[must_use]
    pub fn late_segment(&self) -> bool {
        self.protocol == TCP && self.segment != Segment::Open
    }

    /// Whether it opens nothing: it is the reply to something.
    #[must_use]
    pub fn late(&self) -> bool {
        self.late_segment() || (self.protocol == ICMP && self.icmp == (0, 0))
    }

    /// Whether both are of one conversation and direction.
    #[must_use]
    pub fn same_flow(&self, other: &Self) -> bool {
        self.protocol == other.protocol
            && self.source == other.source
            && self.destination == other.destination
            && self.source_port == other.source_port
            && self.destination_port == other.destination_port
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, source_port, destination_port, ttl, .. } = self;
        let length = self.length();
        let (kind, code) = self.icmp;
        match self.protocol {
            ICMP => write!(f, "icmp {kind}/{code}")?,
            TCP => write!(f, "tcp {:?}", self.segment)?,
            UDP => f.write_str("udp")?,
            other => write!(f, "protocol {other}")?,
        }
        write!(
            f,
            " {source}:{source_port} > {destination}:{destination_port} ttl {ttl}, {length} bytes"
        )
    }
}

/// What can be wrong with a packet before anybody asks where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// It ends within its IP header.
    Truncated,
    /// Its IP header's checksum is wrong.
    BadChecksum,
    /// Its IP header claims more bytes than there are.
    TooLong,
    /// It is of no version that there is.
    NoVersion,
    /// It is a fragment, and the rest of its datagram never comes.
    Fragment,
    /// It is an IPv6 packet.
    Ipv6,
    /// Its device says that its checksum is still to be computed, and at the wrong place.
    BadOffload,
    /// Its device says that it is several UDP datagrams, and it is a TCP segment or an echo.
    BadSegmentation,
}

impl Oddity {
    /// All there are.
    pub const ALL: [Self; 8] = [
        Self::Truncated,
        Self::BadChecksum,
        Self::TooLong,
        Self::NoVersion,
        Self::Fragment,
        Self::Ipv6,
        Self::BadOffload,
        Self::BadSegmentation,
    ];

    /// Why such a packet is dropped, wherever it goes. `None` if it is not dropped at once: nothing
    /// comes of it.
    #[must_use]
    pub const fn refused(self) -> Option<Reason> {
        Some(match self {
            Self::Truncated | Self::BadChecksum | Self::TooLong | Self::NoVersion => {
                Reason::MalformedPacket
            }
            Self::Fragment => return None,
            Self::Ipv6 => Reason::Ipv6NotForwarded,
            Self::BadOffload | Self::BadSegmentation => Reason::BadOffloadHeader,
        })
    }
}
