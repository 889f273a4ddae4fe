//! A checked packet in its buffer.

use std::fmt;
use std::net::Ipv4Addr;

use crate::checksum::pseudo_header;
use crate::error::Malformed;
use crate::flow::Flow;
use crate::ipv4;
use crate::offload::{self, Offload};
use crate::transport::{self, L4, TCP_CHECKSUM, UDP_CHECKSUM};
use crate::vnet::{NEEDS_CSUM, VNET_HEADER_LEN, VnetHeader};

/// A virtio-net header and one IPv4 packet in a buffer, checked: nothing below can fail.
///
/// INVARIANT: `packet` is exactly the IP total length long, and holds the IP header of
/// `ip_header` ≥ 20 bytes and the transport header that `l4` names, `headers` bytes together.
/// Rewrites keep every length.
#[derive(Debug)]
pub struct Frame<'a> {
    pub(crate) vnet: &'a mut [u8; VNET_HEADER_LEN],
    pub(crate) packet: &'a mut [u8],
    pub(crate) l4: L4,
    pub(crate) flow: Flow,
    /// Length of the IP header.
    pub(crate) ip_header: u8,
    /// Length of the IP and the transport header.
    pub(crate) headers: u8,
    pub(crate) offload: Offload,
}

impl<'a> Frame<'a> {
    /// Checks what was read from a device: a virtio-net header, the packet, and perhaps more
    /// bytes, which are cut off.
    ///
    /// `mtu` is that of the device, in bytes of IP packet: no super-packet may stand for larger
    /// ones. (Whether the packet fits where it goes is judged by
    /// [`largest_packet`](Self::largest_packet).)
    ///
    /// # Errors
    ///
    /// What is wrong with the packet, or with the virtio-net header about it.
    pub fn parse(buffer: &'a mut [u8], mtu: u16) -> Result<Self, Malformed> {
        let length = buffer.len();
        let Some((vnet, packet)) = buffer.split_first_chunk_mut() else {
            return Err(Malformed::Truncated { length });
        };
        let ip = ipv4::check(packet)?;
        let packet = &mut packet[..usize::from(ip.total_len)];
        let transport = transport::check(&ip, &packet[usize::from(ip.header_len)..])?;
        let offload = offload::judge(
            VnetHeader::parse(vnet),
            ip.header_len,
            ip.payload_len(),
            &transport,
            mtu,
        )?;
        Ok(Self {
            vnet,
            packet,
            l4: transport.l4,
            flow: transport.flow,
            ip_header: ip.header_len,
            headers: ip.header_len + transport.header_len,
            offload,
        })
    }

    /// The sender's address.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        self.flow.source
    }

    /// The receiver's address.
    #[must_use]
    pub fn destination(&self) -> Ipv4Addr {
        self.flow.destination
    }

    /// The IP protocol number.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.flow.protocol
    }

    /// The hops it may still make.
    #[must_use]
    pub fn ttl(&self) -> u8 {
        self.packet[ipv4::field::TTL]
    }

    /// The type-of-service byte: DSCP and ECN.
    #[must_use]
    pub fn tos(&self) -> u8 {
        self.packet[1]
    }

    /// Whether it must not be cut into fragments.
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        u16::from_be_bytes([self.packet[ipv4::field::FRAGMENT], 0]) & ipv4::DONT_FRAGMENT != 0
    }

    /// Whether the IP header carries options. Never source routing: such a packet is
    /// [`Malformed::SourceRoute`].
    #[must_use]
    pub fn has_options(&self) -> bool {
        usize::from(self.ip_header) > ipv4::HEADER_LEN
    }

    /// What it carries.
    #[must_use]
    pub fn l4(&self) -> L4 {
        self.l4
    }

    /// Who talks to whom.
    #[must_use]
    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// The packet, from the IP header to the total length. Where its checksum is left to do, the
    /// field is right only after [`finish`](Self::finish).
    #[must_use]
    pub fn ip(&self) -> &[u8] {
        self.packet
    }

    /// What follows the headers: a TCP segment's or UDP datagram's data (with UDP's surplus area,
    /// if any), an ICMP message behind its first eight bytes, all of anything else.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.packet[usize::from(self.headers)..]
    }

    /// Whether it is a super-packet, which the receiver's kernel cuts into several.
    #[must_use]
    pub fn is_super_packet(&self) -> bool {
        self.offload.segmentation.is_some()
    }

    /// Whether the transport checksum is left to the receiver's kernel.
    #[must_use]
    pub fn needs_checksum(&self) -> bool {
        self.offload.partial
    }

    /// The packets it stands for: at least one.
    #[must_use]
    pub fn packets(&self) -> u64 {
        match self.offload.segmentation {
            None => 1,
            Some(segmentation) => {
                (self.payload().len() as u64).div_ceil(u64::from(segmentation.size))
            }
        }
    }

    /// The bytes of IP packet it stands for, each segment's headers included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self.offload.segmentation {
            None => self.packet.len() as u64,
            Some(_) => self.payload().len() as u64 + self.packets() * u64::from(self.headers),
        }
    }

    /// The length of the largest packet it stands for: what an MTU is held against.
    #[must_use]
    pub fn largest_packet(&self) -> usize {
        match self.offload.segmentation {
            None => self.packet.len(),
            Some(segmentation) => usize::from(self.headers) + usize::from(segmentation.size),
        }
    }

    /// Seals the frame for writing it to a device: writes the virtio-net header that leaves, and,
    /// where the checksum is left to do, the pseudo-header sum it is completed from. Both come
    /// from what was parsed, so that a guest's forgery of either ends here.
    ///
    /// Returns how many bytes of the buffer are to be written, header included.
    #[must_use = "the packet ends there; the buffer may be longer"]
    pub fn finish(self) -> usize {
        let mut header = VnetHeader::default();
        if self.offload.partial {
            let offset = if matches!(self.l4, L4::Udp) { UDP_CHECKSUM } else { TCP_CHECKSUM };
            let Flow { protocol, source, destination, .. } = self.flow;
            let length = self.packet.len() - usize::from(self.ip_header);
            // INVARIANT: a packet's length, and so its payload's, fits the total length field.
            let sum = pseudo_header(source, destination, protocol, length as u16).fold();
            let at = usize::from(self.ip_header) + offset;
            self.packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            header.flags = NEEDS_CSUM;
            header.csum_start = self.ip_header.into();
            header.csum_offset = offset as u16;
        }
        if let Some(segmentation) = self.offload.segmentation {
            header.gso_type = segmentation.gso_type;
            header.gso_size = segmentation.size;
            header.hdr_len = self.headers.into();
        }
        *self.vnet = header.emit();
        VNET_HEADER_LEN + self.packet.len()
    }
}

/// One line, much as tcpdump has it: `10.0.1.5.40000 > 10.0.2.9.443: tcp S, length 60`.
impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flow { protocol, source, destination, source_port, destination_port } = self.flow;
        match self.l4 {
            L4::Tcp { .. } | L4::Udp => {
                write!(f, "{source}.{source_port} > {destination}.{destination_port}: ")?;
            }
            _ => write!(f, "{source} > {destination}: ")?,
        }
        match self.l4 {
            L4::Tcp { flags } => write!(f, "tcp {flags}")?,
            L4::Udp => f.write_str("udp")?,
            L4::IcmpEchoRequest => write!(f, "icmp echo request, id {source_port}")?,
            L4::IcmpEchoReply => write!(f, "icmp echo reply, id {destination_port}")?,
            L4::IcmpError { kind, code } | L4::Icmp { kind, code } => {
                write!(f, "icmp {kind}/{code}")?;
            }
            L4::Fragment { first: true, .. } => write!(f, "proto {protocol}, first fragment")?,
            L4::Fragment { last: true, .. } => write!(f, "proto {protocol}, last fragment")?,
            L4::Fragment { .. } => write!(f, "proto {protocol}, fragment")?,
            L4::Other => write!(f, "proto {protocol}")?,
        }
        write!(f, ", length {}", self.packet.len())?;
        match self.offload.segmentation {
            None => Ok(()),
            Some(by) => write!(f, ", {} segments of {}", self.packets(), by.size),
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{Icmpv4Type, PacketBuilder, PacketBuilderStep, icmpv4};

    use super::*;
    use crate::vnet::gso;

    fn ip() -> PacketBuilderStep<etherparse::IpHeaders> {
        PacketBuilder::ipv4([10, 0, 1, 5], [10, 0, 2, 9], 64)
    }

    fn line(header: VnetHeader, write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut buffer = header.emit().to_vec();
        write(&mut buffer);
        Frame::parse(&mut buffer, 1500).expect("a sound packet").to_string()
    }

    #[test]
    fn a_packet_reads_as_tcpdump_has_it() {
        let plain = |write: &dyn Fn(&mut Vec<u8>)| line(VnetHeader::default(), write);
        assert_eq!(
            plain(&|out| ip().tcp(40_000, 443, 1, 9).syn().ece().write(out, &[]).unwrap()),
            "10.0.1.5.40000 > 10.0.2.9.443: tcp SE, length 40"
        );
        assert_eq!(
            plain(&|out| ip().udp(40_000, 53).write(out, b"query").unwrap()),
            "10.0.1.5.40000 > 10.0.2.9.53: udp, length 33"
        );
        assert_eq!(
            plain(&|out| ip().icmpv4_echo_request(7, 1).write(out, &[]).unwrap()),
            "10.0.1.5 > 10.0.2.9: icmp echo request, id 7, length 28"
        );
        assert_eq!(
            plain(&|out| ip().icmpv4_echo_reply(7, 1).write(out, &[]).unwrap()),
            "10.0.1.5 > 10.0.2.9: icmp echo reply, id 7, length 28"
        );
        let expired = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
        assert_eq!(
            plain(&|out| ip().icmpv4(expired.clone()).write(out, &[]).unwrap()),
            "10.0.1.5 > 10.0.2.9: icmp 11/0, length 28"
        );
        assert_eq!(
            plain(&|out| ip().write(out, etherparse::IpNumber(50), &[0; 4]).unwrap()),
            "10.0.1.5 > 10.0.2.9: proto 50, length 24"
        );
    }

    #[test]
    fn a_super_packet_tells_what_it_stands_for() {
        let header = VnetHeader {
            flags: NEEDS_CSUM,
            gso_type: gso::TCPV4,
            gso_size: 1400,
            csum_start: 20,
            csum_offset: 16,
            ..VnetHeader::default()
        };
        assert_eq!(
            line(header, |out| ip().tcp(1, 2, 1, 9).ack(5).write(out, &[0; 3000]).unwrap()),
            "10.0.1.5.1 > 10.0.2.9.2: tcp ., length 3040, 3 segments of 1400"
        );
    }

    #[test]
    fn the_ttl_stops_at_zero() {
        let mut buffer = VnetHeader::default().emit().to_vec();
        ip().udp(1, 2).write(&mut buffer, &[]).unwrap();
        let mut frame = Frame::parse(&mut buffer, 1500).expect("a sound packet");
        frame.decrement_ttl(1);
        assert_eq!(frame.ttl(), 63);
        frame.decrement_ttl(200);
        assert_eq!(frame.ttl(), 0);
        let length = frame.finish();
        assert!(Frame::parse(&mut buffer[..length], 1500).is_ok(), "the checksum followed");
    }
}
