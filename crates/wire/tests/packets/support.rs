//! Packets made by etherparse, the oracle: what it serialises is what ours must come to.

use std::net::Ipv4Addr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options,
    TcpHeader, UdpHeader,
};
use proptest::prelude::*;
use viaduct_wire::vnet::{NEEDS_CSUM, VnetHeader, gso};
use viaduct_wire::{Flow, VNET_HEADER_LEN, protocol};

pub(crate) const MTU: u16 = 9001;

/// A packet to make.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) identification: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) ip_options: Vec<u8>,
    pub(crate) transport: Transport,
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) enum Transport {
    Tcp { header: Box<TcpHeader> },
    Udp { source_port: u16, destination_port: u16, checksum: bool },
    EchoRequest { id: u16, seq: u16 },
    EchoReply { id: u16, seq: u16 },
    Other { protocol: u8 },
}

impl Packet {
    pub(crate) fn flow(&self) -> Flow {
        let (protocol, source_port, destination_port) = match &self.transport {
            Transport::Tcp { header } => {
                (protocol::TCP, header.source_port, header.destination_port)
            }
            Transport::Udp { source_port, destination_port, .. } => {
                (protocol::UDP, *source_port, *destination_port)
            }
            Transport::EchoRequest { id, .. } => (protocol::ICMP, *id, 0),
            Transport::EchoReply { id, .. } => (protocol::ICMP, 0, *id),
            Transport::Other { protocol } => (*protocol, 0, 0),
        };
        Flow {
            protocol,
            source: self.source,
            destination: self.destination,
            source_port,
            destination_port,
        }
    }

    /// The same packet in another flow.
    pub(crate) fn with_flow(&self, flow: &Flow) -> Self {
        let mut packet = self.clone();
        packet.source = flow.source;
        packet.destination = flow.destination;
        match &mut packet.transport {
            Transport::Tcp { header } => {
                header.source_port = flow.source_port;
                header.destination_port = flow.destination_port;
            }
            Transport::Udp { source_port, destination_port, .. } => {
                *source_port = flow.source_port;
                *destination_port = flow.destination_port;
            }
            Transport::EchoRequest { id, .. } => *id = flow.source_port,
            Transport::EchoReply { id, .. } => *id = flow.destination_port,
            Transport::Other { .. } => {}
        }
        packet
    }

    /// The IP packet, every checksum complete and right.
    pub(crate) fn build(&self) -> Vec<u8> {
        let (source, destination) = (self.source.octets(), self.destination.octets());
        let mut l4 = Vec::new();
        match &self.transport {
            Transport::Tcp { header } => {
                let mut header = (**header).clone();
                header.checksum = header
                    .calc_checksum_ipv4_raw(source, destination, &self.payload)
                    .expect("short enough");
                header.write(&mut l4).expect("a vector takes all");
            }
            Transport::Udp { source_port, destination_port, checksum } => {
                let mut header = UdpHeader::without_ipv4_checksum(
                    *source_port,
                    *destination_port,
                    self.payload.len(),
                )
                .expect("short enough");
                if *checksum {
                    header.checksum = header
                        .calc_checksum_ipv4_raw(source, destination, &self.payload)
                        .expect("short enough");
                }
                header.write(&mut l4).expect("a vector takes all");
            }
            Transport::EchoRequest { id, seq } => self
                .icmp(Icmpv4Type::EchoRequest(IcmpEchoHeader { id: *id, seq: *seq }))
                .write(&mut l4)
                .expect("a vector takes all"),
            Transport::EchoReply { id, seq } => self
                .icmp(Icmpv4Type::EchoReply(IcmpEchoHeader { id: *id, seq: *seq }))
                .write(&mut l4)
                .expect("a vector takes all"),
            Transport::Other { .. } => {}
        }
        l4.extend(&self.payload);
        self.behind_ip(&l4)
    }

    fn icmp(&self, kind: Icmpv4Type) -> Icmpv4Header {
        Icmpv4Header::with_checksum(kind, &self.payload)
    }

    /// An IP header of this packet's in front of `l4`.
    pub(crate) fn behind_ip(&self, l4: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.ip_header(l4.len()).write(&mut bytes).expect("a vector takes all");
        bytes.extend(l4);
        bytes
    }

    pub(crate) fn ip_header(&self, payload: usize) -> Ipv4Header {
        let mut header = Ipv4Header::new(
            u16::try_from(payload).expect("short enough"),
            self.ttl,
            IpNumber(self.flow().protocol),
            self.source.octets(),
            self.destination.octets(),
        )
        .expect("short enough");
        header.dscp = (self.tos >> 2).try_into().expect("six bits");
        header.ecn = (self.tos & 3).try_into().expect("two bits");
        header.identification = self.identification;
        header.dont_fragment = self.dont_fragment;
        header.more_fragments = false;
        header.fragment_offset = IpFragOffset::ZERO;
        header.options = Ipv4Options::try_from(&self.ip_options[..]).expect("whole words");
        // Options lengthen the packet, which `new` cannot know.
        header.set_payload_len(payload).expect("short enough");
        header
    }
}

/// `packet` as read from a device, with this virtio-net header.
pub(crate) fn buffer(header: VnetHeader, packet: &[u8]) -> Vec<u8> {
    let mut buffer = header.emit().to_vec();
    buffer.extend(packet);
    buffer
}

/// The packet with its checksum left to do, and the virtio-net header that says so, as a guest's
/// kernel hands over its TCP and UDP packets.
pub(crate) fn partial(packet: &[u8]) -> (VnetHeader, Vec<u8>) {
    let mut packet = packet.to_vec();
    let header_len = usize::from(packet[0] & 15) * 4;
    let offset = if packet[9] == protocol::TCP { 16 } else { 6 };
    let sum = Sum16BitWords::new()
        .add_slice(&packet[12..20])
        .add_2bytes([0, packet[9]])
        .add_2bytes(u16::try_from(packet.len() - header_len).expect("short").to_be_bytes());
    // `ones_complement` gives the complement, in network order when stored natively.
    let sum = !sum.ones_complement();
    packet[header_len + offset..][..2].copy_from_slice(&sum.to_ne_bytes());
    let header = VnetHeader {
        flags: NEEDS_CSUM,
        csum_start: header_len as u16,
        csum_offset: offset as u16,
        ..VnetHeader::default()
    };
    (header, packet)
}

/// What the kernel makes of a frame written to a device: its checksum done as in
/// `skb_checksum_help`, a sum over everything from `csum_start`.
pub(crate) fn completed(frame: &[u8]) -> Vec<u8> {
    let (header, packet) = frame.split_first_chunk().expect("a header");
    let header = VnetHeader::parse(header);
    let mut packet = packet.to_vec();
    if header.flags & NEEDS_CSUM != 0 {
        let start = usize::from(header.csum_start);
        let sum = Sum16BitWords::new().add_slice(&packet[start..]).ones_complement();
        // The kernel stores 0 as 0xffff for every protocol; for TCP both are right.
        let sum = if sum == 0 && packet[9] == protocol::UDP { 0xffff } else { sum };
        packet[start + usize::from(header.csum_offset)..][..2].copy_from_slice(&sum.to_ne_bytes());
    }
    packet
}

/// The virtio-net header of a super-packet.
pub(crate) fn super_packet(packet: &[u8], size: u16) -> (VnetHeader, Vec<u8>) {
    let (header, packet) = partial(packet);
    let gso_type = if packet[9] == protocol::TCP { gso::TCPV4 } else { gso::UDP_L4 };
    (VnetHeader { gso_type, gso_size: size, ..header }, packet)
}

/// The IP packet behind a frame's virtio-net header.
pub(crate) fn packet_of(frame: &[u8]) -> &[u8] {
    &frame[VNET_HEADER_LEN..]
}

pub(crate) fn address() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from_bits)
}

/// Option lists without source routing: padding, a router alert, a record route.
pub(crate) fn ip_options() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(Vec::new()),
        1 => Just(vec![1, 1, 1, 0]),
        1 => Just(vec![148, 4, 0, 0]),
        1 => Just(vec![7, 11, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0]),
        1 => Just([vec![7, 39, 40], vec![9; 36], vec![0]].concat()),
    ]
}

pub(crate) fn tcp() -> impl Strategy<Value = Transport> {
    (any::<(u16, u16, u32, u32, u16)>(), any::<[bool; 6]>(), (0_usize..=10, any::<u8>())).prop_map(
        |((source, destination, sequence, ack, window), flags, (words, fill))| {
            let mut header = TcpHeader::new(source, destination, sequence, window);
            header.acknowledgment_number = ack;
            [header.fin, header.syn, header.rst, header.psh, header.ack, header.ece] = flags;
            header.set_options_raw(&vec![fill; words * 4]).expect("at most 40");
            Transport::Tcp { header: Box::new(header) }
        },
    )
}

pub(crate) fn udp(checksum: impl Strategy<Value = bool>) -> impl Strategy<Value = Transport> {
    (any::<(u16, u16)>(), checksum).prop_map(|((source_port, destination_port), checksum)| {
        Transport::Udp { source_port, destination_port, checksum }
    })
}

pub(crate) fn transport() -> impl Strategy<Value = Transport> {
    prop_oneof![
        4 => tcp(),
        4 => udp(prop::bool::weighted(0.8)),
        1 => any::<(u16, u16)>().prop_map(|(id, seq)| Transport::EchoRequest { id, seq }),
        1 => any::<(u16, u16)>().prop_map(|(id, seq)| Transport::EchoReply { id, seq }),
        1 => prop_oneof![Just(50_u8), Just(47), Just(132)]
            .prop_map(|protocol| Transport::Other { protocol }),
    ]
}

pub(crate) fn packet_of_kind(
    transport: impl Strategy<Value = Transport>,
    payload: impl Into<prop::collection::SizeRange>,
) -> impl Strategy<Value = Packet> {
    (
        (address(), address(), 1_u8.., any::<u8>(), any::<u16>(), any::<bool>()),
        ip_options(),
        transport,
        prop::collection::vec(any::<u8>(), payload),
    )
        .prop_map(
            |(
                (source, destination, ttl, tos, id, dont_fragment),
                ip_options,
                transport,
                payload,
            )| {
                Packet {
                    source,
                    destination,
                    ttl,
                    tos,
                    identification: id,
                    dont_fragment,
                    ip_options,
                    transport,
                    payload,
                }
            },
        )
}

pub(crate) fn packet() -> impl Strategy<Value = Packet> {
    packet_of_kind(transport(), 0..200)
}

/// Where a packet is translated to, in a flow of the same protocol.
pub(crate) fn target(of: &Flow, addresses: (Ipv4Addr, Ipv4Addr), ports: (u16, u16)) -> Flow {
    let has = |port: u16, side: bool| if side { port } else { 0 };
    let ported = matches!(of.protocol, protocol::TCP | protocol::UDP);
    let echo = of.protocol == protocol::ICMP;
    Flow {
        protocol: of.protocol,
        source: addresses.0,
        destination: addresses.1,
        source_port: has(ports.0, ported || echo && of.destination_port == 0),
        destination_port: has(ports.1, ported || echo && of.destination_port != 0),
    }
}
