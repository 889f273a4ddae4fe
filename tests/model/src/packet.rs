//! A packet reduced to what a network looks at.

use std::{fmt, net::Ipv4Addr};

/// ICMP's protocol number.
pub const ICMP: u8 = 1;
/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;

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
    /// TCP alone: whether it asks for a connection (SYN without ACK).
    pub opens: bool,
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
        let Self { protocol, source, destination, source_port, destination_port, .. } = self;
        Some(Self {
            protocol,
            source: destination,
            destination: source,
            source_port: destination_port,
            destination_port: source_port,
            icmp: (kind, 0),
            opens: false,
            ttl: 64,
        })
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
        let (kind, code) = self.icmp;
        match self.protocol {
            ICMP => write!(f, "icmp {kind}/{code}")?,
            TCP => write!(f, "tcp {}", if self.opens { "SYN" } else { "ACK" })?,
            UDP => f.write_str("udp")?,
            other => write!(f, "protocol {other}")?,
        }
        write!(f, " {source}:{source_port} > {destination}:{destination_port} ttl {ttl}")
    }
}
