//! Packets as bytes, built and read by a library that the engine does not use for it.

use std::net::Ipv4Addr;

use etherparse::{IpNumber, NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use viaduct_model::{ICMP, Packet, TCP, UDP};
use viaduct_wire::VNET_HEADER_LEN;

/// What every packet carries, to be found again.
const PAYLOAD: &[u8] = b"carried whole";

/// The packet behind an empty virtio-net header. `accepts`: a TCP segment without SYN of its own
/// answers one.
pub(crate) fn build(packet: &Packet, accepts: bool) -> Vec<u8> {
    let mut bytes = vec![0; VNET_HEADER_LEN];
    let Packet { source, destination, source_port, destination_port, .. } = *packet;
    let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), packet.ttl);
    let written = match packet.protocol {
        TCP => {
            let mut builder = builder.tcp(source_port, destination_port, 100, 64_000);
            if packet.opens || accepts {
                builder = builder.syn();
            }
            if !packet.opens {
                builder = builder.ack(101);
            }
            builder.write(&mut bytes, PAYLOAD)
        }
        UDP => builder.udp(source_port, destination_port).write(&mut bytes, PAYLOAD),
        ICMP => {
            let (kind, code) = packet.icmp;
            let [high, low] = (source_port | destination_port).to_be_bytes();
            builder.icmpv4_raw(kind, code, [high, low, 0, 1]).write(&mut bytes, &[7; 12])
        }
        other => builder.write(&mut bytes, IpNumber(other), PAYLOAD),
    };
    written.expect("a packet that can be built");
    bytes
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
            check("the payload", tcp.payload(), PAYLOAD)?;
            check("SYN without ACK", tcp.syn() && !tcp.ack(), sent.opens)?;
            packet.source_port = tcp.source_port();
            packet.destination_port = tcp.destination_port();
        }
        Some(TransportSlice::Udp(udp)) => {
            let sum = udp
                .to_header()
                .calc_checksum_ipv4_raw(source, destination, udp.payload())
                .map_err(|it| it.to_string())?;
            check("UDP's checksum", udp.checksum(), sum)?;
            check("the payload", udp.payload(), PAYLOAD)?;
            packet.source_port = udp.source_port();
            packet.destination_port = udp.destination_port();
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            let sum = icmp.icmp_type().calc_checksum(icmp.payload());
            check("ICMP's checksum", icmp.checksum(), sum)?;
            let message = icmp.slice();
            packet.icmp = (message[0], message[1]);
            let id = u16::from_be_bytes([message[4], message[5]]);
            match message[0] {
                8 => packet.source_port = id,
                0 => packet.destination_port = id,
                _ => {}
            }
        }
        _ => {
            let payload = v4.payload().payload;
            check("the payload", payload, PAYLOAD)?;
        }
    }
    Ok(packet)
}

fn check<T: PartialEq + std::fmt::Debug>(what: &str, found: T, right: T) -> Result<(), String> {
    if found == right { Ok(()) } else { Err(format!("{what} is {found:?}, not {right:?}")) }
}
