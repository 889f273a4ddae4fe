//! Packets as bytes, built and read by a library that the engine does not use for it.

use std::net::Ipv4Addr;

use etherparse::{
    IpNumber, Ipv4HeaderSlice, NetSlice, PacketBuilder, SlicedPacket, TransportSlice,
};
use viaduct_model::{
    ICMP, Oddity, Packet, Segment, TCP, UDP,
    model::{Answer, Complaint},
};
use viaduct_wire::VNET_HEADER_LEN;

/// What every packet carries, to be found again.
fn payload(packet: &Packet) -> Vec<u8> {
    b"carried whole, ".iter().copied().cycle().take(packet.payload.into()).collect()
}

/// The packet behind an empty virtio-net header.
pub(crate) fn build(packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![0; VNET_HEADER_LEN];
    let Packet { source, destination, source_port, destination_port, .. } = *packet;
    let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), packet.ttl);
    let carried = payload(packet);
    let written = match packet.protocol {
        TCP => {
            let (sequence, acknowledged) = packet.numbers();
            let builder = builder.tcp(source_port, destination_port, sequence, 64_000);
            let builder = match packet.segment {
                Segment::Open | Segment::Accept => builder.syn(),
                Segment::Carry | Segment::Heard => builder,
                Segment::Finish => builder.fin(),
                Segment::Reset | Segment::Guess => builder.rst(),
            };
            let builder = match acknowledged {
                Some(number) => builder.ack(number),
                None => builder,
            };
            builder.write(&mut bytes, &carried)
        }
        UDP => builder.udp(source_port, destination_port).write(&mut bytes, &carried),
        ICMP => {
            let (kind, code) = packet.icmp;
            let [high, low] = (source_port | destination_port).to_be_bytes();
            builder.icmpv4_raw(kind, code, [high, low, 0, 1]).write(&mut bytes, &carried)
        }
        other => builder.write(&mut bytes, IpNumber(other), &carried),
    };
    written.expect("a packet that can be built");
    bytes
}

/// A packet with something wrong about it.
/// Fragments of different datagrams differ by their identification.
pub(crate) fn build_odd(packet: &Packet, oddity: Oddity, identification: u16) -> Vec<u8> {
    let mut bytes = build(packet);
    let ip = VNET_HEADER_LEN;
    match oddity {
        Oddity::Truncated => bytes.truncate(ip + 19),
        Oddity::BadChecksum => bytes[ip + 10] ^= 1,
        Oddity::TooLong => drop(bytes.pop()),
        Oddity::NoVersion => bytes[ip] = 0x55,
        Oddity::Fragment => {
            // More fragments follow (RFC 791), at a multiple of eight bytes; the checksum with it.
            let length = 20 + (bytes.len() - ip - 20).next_multiple_of(8).max(8);
            bytes.resize(ip + length, 0);
            bytes[ip + 2..ip + 4].copy_from_slice(&(length as u16).to_be_bytes());
            bytes[ip + 4..ip + 6].copy_from_slice(&identification.to_be_bytes());
            bytes[ip + 6] |= 0x20;
            let header: [u8; 20] = bytes[ip..ip + 20].try_into().expect("a header");
            let header = Ipv4HeaderSlice::from_slice(&header).expect("a header").to_header();
            bytes[ip + 10..ip + 12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
        }
        Oddity::Ipv6 => {
            let header = PacketBuilder::ipv6([1; 16], [2; 16], 64);
            bytes.truncate(ip);
            header.udp(1, 2).write(&mut bytes, b"6").expect("a packet that can be built");
        }
        // The fields of virtio_net_hdr: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset,
        // in the byte order of the machine (VIRTIO 1.2, 5.1.6).
        Oddity::BadOffload => {
            bytes[0] = 1;
            bytes[6..8].copy_from_slice(&21_u16.to_ne_bytes());
            bytes[8..10].copy_from_slice(&16_u16.to_ne_bytes());
        }
        Oddity::BadSegmentation => {
            bytes[1] = 5;
            bytes[4..6].copy_from_slice(&4_u16.to_ne_bytes());
        }
    }
    bytes
}

/// Reads what came back instead of a reply; `sent` is what it is about.
pub(crate) fn read_answer(bytes: &[u8], sent: &Packet) -> Result<Answer, String> {
    let sliced = SlicedPacket::from_ip(&bytes[VNET_HEADER_LEN..])
        .map_err(|error| format!("the answer is not a packet: {error}"))?;
    let Some(NetSlice::Ipv4(v4)) = &sliced.net else { return Err("not IPv4".to_owned()) };
    let header = v4.header().to_header();
    check("the answer's receiver", Ipv4Addr::from(header.destination), sent.source)?;
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) if tcp.rst() => {
            check("who resets", Ipv4Addr::from(header.source), sent.destination)?;
            check("what is reset", tcp.destination_port(), sent.source_port)?;
            check("by which port", tcp.source_port(), sent.destination_port)?;
            let sum = tcp.calc_checksum_ipv4(header.source, header.destination);
            check("the answer's checksum", sum.ok(), Some(tcp.checksum()))?;
            Ok(Answer::Reset)
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            let sum = icmp.icmp_type().calc_checksum(icmp.payload());
            check("the answer's checksum", sum, icmp.checksum())?;
            let original = &build(sent)[VNET_HEADER_LEN..];
            let quoted = &icmp.slice()[8..];
            let quoted = &quoted[..quoted.len().min(28)];
            check("what the error quotes", quoted, &original[..quoted.len()])?;
            let icmp = (icmp.slice()[0], icmp.slice()[1]);
            Ok(Answer::Error { icmp, from: Ipv4Addr::from(header.source) })
        }
        _ => Err("the answer is neither an ICMP error nor a RST".to_owned()),
    }
}

/// Reads what came out. Every checksum must be right, and the payload as it was.
pub(crate) fn read(bytes: &[u8], sent: &Packet) -> Result<Packet, String> {
    let sliced = SlicedPacket::from_ip(&bytes[VNET_HEADER_LEN..])
        .map_err(|error| format!("not a packet: {error}"))?;
    let Some(NetSlice::Ipv4(v4)) = &sliced.net else { return Err("not IPv4".to_owned()) };
    let header = v4.header().to_header();
    check("the IP header's checksum", header.header_checksum, header.calc_header_checksum())?;
    check("the protocol", header.protocol.0, sent.protocol)?;
    let (source, destination) = (header.source, header.destination);
    let carried = payload(sent);
    let mut packet = Packet {
        source: Ipv4Addr::from(source),
        destination: Ipv4Addr::from(destination),
        ttl: header.time_to_live,
        source_port: 0,
        destination_port: 0,
        ..*sent
    };
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let sum = tcp.calc_checksum_ipv4(source, destination).map_err(|it| it.to_string())?;
            check("TCP's checksum", tcp.checksum(), sum)?;
            check("the payload", tcp.payload(), &carried)?;
            check("SYN", tcp.syn(), matches!(sent.segment, Segment::Open | Segment::Accept))?;
            check("FIN", tcp.fin(), sent.segment == Segment::Finish)?;
            check("RST", tcp.rst(), sent.segment.resets())?;
            check("the sequence number", tcp.sequence_number(), sent.numbers().0)?;
            let acknowledged = tcp.ack().then(|| tcp.acknowledgment_number());
            check("the acknowledgment", acknowledged, sent.numbers().1)?;
            packet.source_port = tcp.source_port();
            packet.destination_port = tcp.destination_port();
        }
        Some(TransportSlice::Udp(udp)) => {
            let sum = udp
                .to_header()
                .calc_checksum_ipv4_raw(source, destination, udp.payload())
                .map_err(|it| it.to_string())?;
            check("UDP's checksum", udp.checksum(), sum)?;
            check("the payload", udp.payload(), &carried)?;
            packet.source_port = udp.source_port();
            packet.destination_port = udp.destination_port();
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            let sum = icmp.icmp_type().calc_checksum(icmp.payload());
            check("ICMP's checksum", icmp.checksum(), sum)?;
            check("the payload", &icmp.slice()[8..], &carried)?;
            let message = icmp.slice();
            packet.icmp = (message[0], message[1]);
            let id = u16::from_be_bytes([message[4], message[5]]);
            match message[0] {
                8 if message[1] == 0 => packet.source_port = id,
                0 => packet.destination_port = id,
                _ => {}
            }
        }
        _ => {
            check("the payload", v4.payload().payload, &carried)?;
        }
    }
    Ok(packet)
}

/// An ICMP error behind an empty virtio-net header: it quotes the whole packet.
pub(crate) fn build_complaint(complaint: &Complaint) -> Vec<u8> {
    let mut bytes = vec![0; VNET_HEADER_LEN];
    let Complaint { icmp: (kind, code), source, destination, about } = *complaint;
    let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), 64);
    let quoted = build(&about);
    builder
        .icmpv4_raw(kind, code, [0; 4])
        .write(&mut bytes, &quoted[VNET_HEADER_LEN..])
        .expect("a packet that can be built");
    bytes
}

/// Reads an ICMP error that came out; `sent` is what went in.
pub(crate) fn read_complaint(bytes: &[u8], sent: &Complaint) -> Result<Complaint, String> {
    let sliced = SlicedPacket::from_ip(&bytes[VNET_HEADER_LEN..])
        .map_err(|error| format!("not a packet: {error}"))?;
    let Some(NetSlice::Ipv4(v4)) = &sliced.net else { return Err("not IPv4".to_owned()) };
    let header = v4.header().to_header();
    check("the IP header's checksum", header.header_checksum, header.calc_header_checksum())?;
    let Some(TransportSlice::Icmpv4(icmp)) = &sliced.transport else {
        return Err("not ICMP".to_owned());
    };
    let message = icmp.slice();
    let sum = icmp.icmp_type().calc_checksum(icmp.payload());
    check("the error's checksum", icmp.checksum(), sum)?;
    // What it quotes is checked like a packet that arrives.
    let mut quoted = vec![0; VNET_HEADER_LEN];
    quoted.extend_from_slice(&message[8..]);
    Ok(Complaint {
        icmp: (message[0], message[1]),
        source: Ipv4Addr::from(header.source),
        destination: Ipv4Addr::from(header.destination),
        about: read(&quoted, &sent.about).map_err(|what| format!("in the quote, {what}"))?,
    })
}

fn check<T: PartialEq + std::fmt::Debug>(what: &str, found: T, right: T) -> Result<(), String> {
    if found == right { Ok(()) } else { Err(format!("{what} is {found:?}, not {right:?}")) }
}
