//! A network in a test: a topology, the engine, and packets built and read by another library.
#![allow(dead_code)] // each test binary uses a part

pub(crate) mod traffic;

use std::net::Ipv4Addr;

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice, checksum::Sum16BitWords};
use viaduct_dataplane::{Dropped, Engine, EngineConfig, Moment, Scratch, Verdict};
use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::VNET_HEADER_LEN;

/// The inside address of every function environment.
pub(crate) const INSIDE: &str = "169.254.100.2";

/// A loaded engine, everything attached, at a time of its own.
pub(crate) struct Net {
    pub(crate) engine: Engine,
    pub(crate) scratch: Scratch,
    pub(crate) now: Moment,
    plan: viaduct_control_plane::Plan,
    names: Vec<(String, AttachmentId)>,
}

/// A topology to reload, and the way to it.
pub(crate) struct Target {
    pub(crate) topology: viaduct_topology::Topology,
    pub(crate) plan: viaduct_control_plane::Plan,
    pub(crate) changes: Vec<viaduct_topology::inventory::Change>,
}

impl Target {
    pub(crate) fn after(previous: &viaduct_control_plane::Plan, topology: &str) -> Self {
        let loaded = viaduct_config_plane::load("test.yaml", topology)
            .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let plan = viaduct_control_plane::plan_after(previous, &loaded.topology).expect("the plan");
        let changes = viaduct_control_plane::changes(previous, &plan);
        Self { topology: loaded.topology, plan, changes }
    }
}

/// What came of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It came out there.
    Delivered {
        at: String,
        packet: Packet,
    },
    /// Several came out there.
    Cut {
        at: String,
        packets: Vec<Packet>,
    },
    /// It waits for the rest of its datagram.
    Held,
    /// This came back to its sender.
    Answered {
        reason: Reason,
        packet: Packet,
    },
    Dropped(Dropped),
}

impl Outcome {
    #[track_caller]
    pub(crate) fn delivered_at(self, name: &str) -> Packet {
        match self {
            Self::Delivered { at, packet } if at == name => packet,
            other => panic!("not delivered at {name}: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn cut_at(self, name: &str) -> Vec<Packet> {
        match self {
            Self::Cut { at, packets } if at == name => packets,
            other => panic!("not cut for {name}: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn dropped_for(self, reason: Reason) -> Dropped {
        match self {
            Self::Dropped(dropped) if dropped.reason == reason => dropped,
            other => panic!("not dropped for {reason}: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn answered_for(self, reason: Reason) -> Packet {
        match self {
            Self::Answered { reason: found, packet } if found == reason => packet,
            other => panic!("not answered for {reason}: {other:?}"),
        }
    }
}

/// A packet as bytes, virtio header included; compared and shown as such.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packet(pub Vec<u8>);

impl Net {
    pub(crate) fn load(topology: &str) -> Self {
        Self::with_capacity(topology, 1 << 20)
    }

    /// With an engine for so many connections.
    pub(crate) fn with_capacity(topology: &str, connections: usize) -> Self {
        let loaded = viaduct_config_plane::load("test.yaml", topology)
            .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let plan = viaduct_control_plane::plan(&loaded.topology).expect("the plan");
        let engine = Engine::new(EngineConfig { connections, seed: 7 });
        engine.load(&loaded.topology);
        for eni in &plan.enis {
            engine.add_eni(eni).expect("the interface");
        }
        let mut names = Vec::new();
        for (attachment, host) in plan.attachments.iter().zip(&plan.hosts) {
            engine.add_attachment(attachment).expect("the attachment");
            engine.attached(attachment.id, host.device_mtu);
            names.push((attachment.name.clone(), attachment.id));
        }
        let scratch = engine.scratch([3; 32]);
        // Not at the start of time, so that nothing rests on the start being special.
        Self { engine, scratch, now: Moment::from_millis(1_000_000_000), plan, names }
    }

    /// Puts another topology's policy in force.
    pub(crate) fn reload(&mut self, topology: &str) {
        let loaded = viaduct_config_plane::load("test.yaml", topology)
            .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        self.engine.load(&loaded.topology);
    }

    /// Puts another topology in the place of this one, inventory and all, and attaches every new
    /// host. Returns the generation.
    pub(crate) fn apply(&mut self, topology: &str) -> u32 {
        let next = Target::after(&self.plan, topology);
        let generation =
            self.engine.reload(&next.topology, &next.changes, self.now).expect("the reload");
        self.names.clear();
        for (attachment, host) in next.plan.attachments.iter().zip(&next.plan.hosts) {
            if !self.plan.attachments.iter().any(|before| before.id == attachment.id) {
                self.engine.attached(attachment.id, host.device_mtu);
            }
            self.names.push((attachment.name.clone(), attachment.id));
        }
        self.plan = next.plan;
        generation
    }

    pub(crate) fn plan(&self) -> &viaduct_control_plane::Plan {
        &self.plan
    }

    pub(crate) fn id(&self, name: &str) -> AttachmentId {
        let named = self.names.iter().find(|(known, _)| known == name);
        named.unwrap_or_else(|| panic!("no attachment {name}")).1
    }

    pub(crate) fn send(&mut self, from: &str, packet: &Packet) -> Outcome {
        let mut buffer = packet.0.clone();
        let ingress = self.id(from);
        let name_of = |target| {
            let at = self.names.iter().find(|(_, id)| *id == target).expect("a target");
            at.0.clone()
        };
        match self.engine.forward(&mut buffer, ingress, self.now, &mut self.scratch) {
            Verdict::Forward { target, length } => {
                buffer.truncate(length);
                Outcome::Delivered { at: name_of(target), packet: Packet(buffer) }
            }
            Verdict::Split { target } => {
                let frames = self.scratch.frames().iter();
                let mut packets: Vec<_> = frames.map(|frame| Packet(frame.to_vec())).collect();
                match packets.len() {
                    1 => Outcome::Delivered { at: name_of(target), packet: packets.remove(0) },
                    _ => Outcome::Cut { at: name_of(target), packets },
                }
            }
            Verdict::Held => Outcome::Held,
            Verdict::Answer(Dropped { reason, .. }) => {
                Outcome::Answered { reason, packet: Packet(self.scratch.answer().to_vec()) }
            }
            Verdict::Drop(dropped) => Outcome::Dropped(dropped),
        }
    }

    pub(crate) fn pass_seconds(&mut self, seconds: u64) {
        self.pass_millis(seconds * 1000);
    }

    pub(crate) fn pass_millis(&mut self, millis: u64) {
        self.now = self.now + std::time::Duration::from_millis(millis);
    }

    /// Has the timers do their work.
    pub(crate) fn expire(&mut self) {
        while self.engine.expire(self.now, 1000, &mut self.scratch) == 1000 {}
    }

    /// Connections, and ports in use at the interface with this private address.
    pub(crate) fn ports_in_use(&self, ip: &str) -> u32 {
        let ip: Ipv4Addr = ip.parse().unwrap();
        let eni = self.engine.enis().into_iter().find(|eni| eni.private_ip == ip);
        eni.expect("an interface").connections.expect("a translating interface")
    }

    /// Asserts that nothing is held: no connection, no port, no fragment.
    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.scratch.fragments(), Default::default(), "fragments are left");
        assert_eq!(self.engine.connection_count(), 0, "connections are left");
        for eni in self.engine.enis() {
            assert_eq!(eni.connections.unwrap_or(0), 0, "{} holds ports", eni.private_ip);
        }
    }
}

fn ip(text: &str) -> [u8; 4] {
    text.parse::<Ipv4Addr>().unwrap_or_else(|_| panic!("{text} is no address")).octets()
}

fn built(write: impl FnOnce(&mut Vec<u8>)) -> Packet {
    let mut bytes = vec![0; VNET_HEADER_LEN];
    write(&mut bytes);
    Packet(bytes)
}

/// TCP flags of a segment to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tcp {
    pub(crate) flags: &'static str,
    pub(crate) sequence: u32,
    pub(crate) acknowledgment: u32,
}

pub(crate) const SYN: Tcp = Tcp { flags: "S", sequence: 100, acknowledgment: 0 };
pub(crate) const SYN_ACK: Tcp = Tcp { flags: "SA", sequence: 900, acknowledgment: 101 };
pub(crate) const ACK: Tcp = Tcp { flags: "A", sequence: 101, acknowledgment: 901 };

/// A TCP segment `from` address:port `to` address:port.
pub(crate) fn tcp(from: (&str, u16), to: (&str, u16), tcp: Tcp, payload: &[u8]) -> Packet {
    built(|bytes| {
        let builder = PacketBuilder::ipv4(ip(from.0), ip(to.0), 64);
        let mut builder = builder.tcp(from.1, to.1, tcp.sequence, 64_000);
        for flag in tcp.flags.chars() {
            builder = match flag {
                'S' => builder.syn(),
                'A' => builder.ack(tcp.acknowledgment),
                'F' => builder.fin(),
                'R' => builder.rst(),
                'P' => builder.psh(),
                other => panic!("no flag {other}"),
            };
        }
        builder.write(bytes, payload).expect("a segment");
    })
}

/// A UDP datagram.
pub(crate) fn udp(from: (&str, u16), to: (&str, u16), payload: &[u8]) -> Packet {
    built(|bytes| {
        let builder = PacketBuilder::ipv4(ip(from.0), ip(to.0), 64).udp(from.1, to.1);
        builder.write(bytes, payload).expect("a datagram");
    })
}

/// An ICMP echo request, or the reply to one.
pub(crate) fn echo(from: &str, to: &str, id: u16, reply: bool) -> Packet {
    echo_with(from, to, id, reply, b"ping")
}

/// An ICMP echo request that carries this, or the reply to one.
pub(crate) fn echo_with(from: &str, to: &str, id: u16, reply: bool, payload: &[u8]) -> Packet {
    built(|bytes| {
        let builder = PacketBuilder::ipv4(ip(from), ip(to), 64);
        let builder = if reply {
            builder.icmpv4_echo_reply(id, 1)
        } else {
            builder.icmpv4_echo_request(id, 1)
        };
        builder.write(bytes, payload).expect("an echo");
    })
}

/// ICMP message `kind`/`code` that is neither an echo nor an error.
pub(crate) fn icmp_message(from: &str, to: &str, kind: u8, code: u8) -> Packet {
    icmp_error(from, to, kind, code, &[0; 12])
}

/// ICMP error `kind`/`code` from an address to an address, about a packet (or what is left of it).
pub(crate) fn icmp_error(from: &str, to: &str, kind: u8, code: u8, about: &[u8]) -> Packet {
    built(|bytes| {
        let builder = PacketBuilder::ipv4(ip(from), ip(to), 64);
        let builder = builder.icmpv4_raw(kind, code, [0; 4]);
        builder.write(bytes, about).expect("an error");
    })
}

impl Packet {
    pub(crate) fn ip(&self) -> &[u8] {
        &self.0[VNET_HEADER_LEN..]
    }

    /// Another time to live, header checksum included.
    pub(crate) fn with_ttl(mut self, ttl: u8) -> Self {
        self.0[VNET_HEADER_LEN + 8] = ttl;
        self.fix_ip_checksum();
        self
    }

    /// With leave to cut it: the builder sets DF.
    pub(crate) fn without_df(mut self) -> Self {
        self.0[VNET_HEADER_LEN + 6] &= !0x40;
        self.fix_ip_checksum();
        self
    }

    /// With this type of service, of which two bits are ECN's.
    pub(crate) fn with_tos(mut self, tos: u8) -> Self {
        self.0[VNET_HEADER_LEN + 1] = tos;
        self.fix_ip_checksum();
        self
    }

    /// With this identification.
    pub(crate) fn with_identification(mut self, identification: u16) -> Self {
        self.0[VNET_HEADER_LEN + 4..][..2].copy_from_slice(&identification.to_be_bytes());
        self.fix_ip_checksum();
        self
    }

    /// As segments of so many bytes of payload, for a TCP packet with headers of 20 bytes.
    pub(crate) fn in_segments(mut self, size: u16) -> Self {
        let header = &mut self.0[..VNET_HEADER_LEN];
        // NEEDS_CSUM, TCPv4; the checksum begins behind the IP header.
        header[0] = 1;
        header[1] = 1;
        header[2..4].copy_from_slice(&40_u16.to_le_bytes());
        header[4..6].copy_from_slice(&size.to_le_bytes());
        header[6..8].copy_from_slice(&20_u16.to_le_bytes());
        header[8..10].copy_from_slice(&16_u16.to_le_bytes());
        self
    }

    /// The payload of each segment, if it is a super-packet.
    pub(crate) fn segment_size(&self) -> u16 {
        u16::from_le_bytes([self.0[4], self.0[5]])
    }

    /// In fragments with payloads of so many bytes each, in their order.
    pub(crate) fn fragments(&self, size: usize) -> Vec<Self> {
        let (header, rest) = etherparse::Ipv4Header::from_slice(self.ip()).expect("a header");
        let pieces = rest.chunks(size).enumerate().map(|(index, piece)| {
            let mut header = header.clone();
            header.dont_fragment = false;
            header.set_payload_len(piece.len()).expect("short enough");
            header.more_fragments = (index + 1) * size < rest.len();
            let offset = u16::try_from(index * size / 8).expect("within a packet");
            header.fragment_offset = offset.try_into().expect("within a packet");
            header.header_checksum = header.calc_header_checksum();
            built(|bytes| {
                header.write_raw(bytes).expect("a vector takes all");
                bytes.extend_from_slice(piece);
            })
        });
        pieces.collect()
    }

    /// The datagram that etherparse makes of fragments.
    pub(crate) fn defragmented(fragments: &[Self]) -> Self {
        let mut pool = etherparse::defrag::IpDefragPool::<(), ()>::new();
        let mut whole = None;
        for fragment in fragments {
            let sliced = SlicedPacket::from_ip(fragment.ip()).expect("a packet");
            let done = pool.process_sliced_packet(&sliced, (), ()).expect("nothing overlaps");
            assert!(whole.is_none(), "whole before its last fragment");
            whole = done;
        }
        let payload = whole.expect("nothing is missing").payload;
        let mut header = etherparse::Ipv4Header::from_slice(fragments[0].ip()).expect("one").0;
        header.more_fragments = false;
        header.fragment_offset = etherparse::IpFragOffset::ZERO;
        header.set_payload_len(payload.len()).expect("short enough");
        header.header_checksum = header.calc_header_checksum();
        built(|bytes| {
            header.write_raw(bytes).expect("a vector takes all");
            bytes.extend_from_slice(&payload);
        })
    }

    fn fix_ip_checksum(&mut self) {
        let header = etherparse::Ipv4Header::from_slice(self.ip()).expect("a header").0;
        let sum = header.calc_header_checksum();
        self.0[VNET_HEADER_LEN + 10..VNET_HEADER_LEN + 12].copy_from_slice(&sum.to_be_bytes());
    }

    pub(crate) fn ttl(&self) -> u8 {
        self.ip()[8]
    }

    pub(crate) fn identification(&self) -> u16 {
        u16::from_be_bytes([self.ip()[4], self.ip()[5]])
    }

    /// `a.b.c.d:p > a.b.c.d:p`, or without ports; checks every checksum on the way.
    #[track_caller]
    pub(crate) fn flow(&self) -> String {
        let packet = SlicedPacket::from_ip(self.ip()).expect("a sound packet");
        let Some(NetSlice::Ipv4(v4)) = packet.net else { panic!("not IPv4") };
        let header = v4.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum(), "IP header checksum");
        let (source, destination) = (header.source, header.destination);
        let [s, d] = [source, destination].map(Ipv4Addr::from);
        match packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                let sum = tcp.calc_checksum_ipv4(source, destination).expect("a length");
                assert_eq!(sum, tcp.checksum(), "TCP checksum");
                format!("{s}:{} > {d}:{}", tcp.source_port(), tcp.destination_port())
            }
            Some(TransportSlice::Udp(udp)) => {
                let header = udp.to_header();
                let sum = header
                    .calc_checksum_ipv4_raw(source, destination, udp.payload())
                    .expect("a length");
                assert_eq!(sum, udp.checksum(), "UDP checksum");
                format!("{s}:{} > {d}:{}", udp.source_port(), udp.destination_port())
            }
            Some(TransportSlice::Icmpv4(icmp)) => {
                // Over the bytes: etherparse's types forget fields that have no use.
                let sum = Sum16BitWords::new().add_slice(icmp.slice()).ones_complement();
                assert_eq!(sum, 0, "ICMP checksum");
                format!("{s} > {d}")
            }
            other => panic!("no transport: {other:?}"),
        }
    }

    /// The two ends of its flow.
    #[track_caller]
    pub(crate) fn ends(&self) -> ((String, u16), (String, u16)) {
        let flow = self.flow();
        let (from, to) = flow.split_once(" > ").expect("two ends");
        let end = |text: &str| match text.split_once(':') {
            Some((ip, port)) => (ip.to_owned(), port.parse().expect("a port")),
            None => (text.to_owned(), 0),
        };
        (end(from), end(to))
    }

    /// ICMP type and code, and the packet that an error quotes.
    #[track_caller]
    pub(crate) fn icmp(&self) -> (u8, u8, Self) {
        self.flow();
        let ip = self.ip();
        let message = &ip[usize::from(ip[0] & 15) * 4..];
        let quoted = built(|bytes| bytes.extend_from_slice(&message[8..]));
        (message[0], message[1], quoted)
    }
}

impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x?}", self.ip())
    }
}
