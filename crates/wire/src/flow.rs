//! Who talks to whom: the five-tuple that names one direction of a conversation.

use std::fmt;
use std::net::Ipv4Addr;

/// The IP protocol numbers this crate knows more of than the number.
pub mod protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
}

/// One direction of a conversation.
///
/// An ICMP echo's identifier takes the port of the side that asks, so that the reversed flow of a
/// request is the flow of its reply: a request has it as source port and 0 as destination port, a
/// reply the other way round. Everything else but TCP and UDP has ports 0, and so has every
/// fragment, the first included: what is true of all packets of a datagram is its protocol and
/// its addresses.
///
/// Port 0 is also an ordinary value of TCP's and UDP's fields. Whether a packet may carry it is a
/// matter of policy, not of form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// IP protocol number.
    pub protocol: u8,
    /// Sender's address.
    pub source: Ipv4Addr,
    /// Receiver's address.
    pub destination: Ipv4Addr,
    /// Sender's port, or a request's identifier.
    pub source_port: u16,
    /// Receiver's port, or a reply's identifier.
    pub destination_port: u16,
}

impl Flow {
    /// The opposite direction: the flow that answers to this one belong to.
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            protocol: self.protocol,
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

/// `tcp 10.0.1.5:40000 > 10.0.2.9:443`, `icmp 10.0.1.5 > 10.0.2.9 id 7`, `proto 50 a > b`.
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, source, destination, source_port, destination_port } = *self;
        let name = match protocol {
            protocol::TCP => "tcp",
            protocol::UDP => "udp",
            protocol::ICMP if source_port | destination_port != 0 => {
                let identifier = source_port | destination_port;
                return write!(f, "icmp {source} > {destination} id {identifier}");
            }
            protocol::ICMP => return write!(f, "icmp {source} > {destination}"),
            other => return write!(f, "proto {other} {source} > {destination}"),
        };
        write!(f, "{name} {source}:{source_port} > {destination}:{destination_port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(protocol: u8, source_port: u16, destination_port: u16) -> Flow {
        Flow {
            protocol,
            source: [10, 0, 1, 5].into(),
            destination: [10, 0, 2, 9].into(),
            source_port,
            destination_port,
        }
    }

    #[test]
    fn an_answer_runs_backwards() {
        let request = flow(protocol::ICMP, 7, 0);
        let reply = request.reversed();
        assert_eq!((reply.source_port, reply.destination_port), (0, 7));
        assert_eq!(reply.source, request.destination);
        assert_eq!(reply.reversed(), request);
    }

    #[test]
    fn a_flow_reads_as_tcpdump_has_it() {
        let text = |protocol, a, b| flow(protocol, a, b).to_string();
        assert_eq!(text(6, 40_000, 443), "tcp 10.0.1.5:40000 > 10.0.2.9:443");
        assert_eq!(text(17, 0, 53), "udp 10.0.1.5:0 > 10.0.2.9:53");
        assert_eq!(text(1, 0, 7), "icmp 10.0.1.5 > 10.0.2.9 id 7");
        assert_eq!(text(1, 0, 0), "icmp 10.0.1.5 > 10.0.2.9");
        assert_eq!(text(50, 0, 0), "proto 50 10.0.1.5 > 10.0.2.9");
    }
}
