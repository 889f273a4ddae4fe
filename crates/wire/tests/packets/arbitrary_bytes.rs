//! Whatever the bytes: nothing panics, and what is accepted is what etherparse accepts.

use std::net::Ipv4Addr;

use crate::support::{address, buffer, packet, packet_of, partial, super_packet};
use etherparse::SlicedPacket;
use proptest::prelude::*;
use viaduct_wire::checksum::Sum;
use viaduct_wire::icmp::{self, IcmpErrorKind};
use viaduct_wire::vnet::VnetHeader;
use viaduct_wire::{Flow, Frame, Malformed, Rewrite, VNET_HEADER_LEN, protocol, tcp};

/// Parses, and if it is a packet does everything that can be done with one.
fn everything(bytes: &mut [u8], mtu: u16, to: &Flow) -> Result<(), Malformed> {
    let mut frame = Frame::parse(bytes, mtu)?;
    assert!(!frame.to_string().is_empty() && !frame.flow().to_string().is_empty());
    assert!(frame.packets() >= 1);
    assert!(frame.bytes() >= frame.ip().len() as u64);
    assert!(frame.largest_packet() <= frame.ip().len());
    if frame.is_super_packet() {
        assert!(frame.packets() > 1 && frame.largest_packet() <= usize::from(mtu));
    }
    let _ = (frame.ttl(), frame.tos(), frame.dont_fragment(), frame.has_options(), frame.payload());
    let mut out = Vec::new();
    let _ = icmp::error(&frame, Ipv4Addr::LOCALHOST, IcmpErrorKind::TimeExceeded, &mut out);
    let _ = tcp::reset(&frame, &mut out);
    let quoted = frame.quoted();
    frame.rewrite(&Rewrite { ttl_decrement: 200, ..Rewrite::from(*to) });
    frame.rewrite_icmp_error(to.source, to.destination, &quoted.map_or(*to, |quoted| quoted.flow));
    assert_eq!((frame.source(), frame.destination()), (to.source, to.destination));
    frame.clamp_mss(to.source_port);
    frame.set_identification(to.destination_port);
    let length = frame.finish();
    // What leaves is sound, and stands as it is.
    let sealed = bytes[..length].to_vec();
    assert_eq!(Frame::parse(bytes, mtu).expect("ours is sound").finish(), length);
    assert_eq!(sealed, bytes[..length]);
    Ok(())
}

fn flow() -> impl Strategy<Value = Flow> {
    (address(), address(), any::<(u16, u16)>()).prop_map(|(source, destination, ports)| Flow {
        protocol: protocol::UDP,
        source,
        destination,
        source_port: ports.0,
        destination_port: ports.1,
    })
}

/// Where the damage goes, with more of it in the headers.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, bool, u8)>> {
    prop::collection::vec(
        (any::<prop::sample::Index>(), prop::bool::weighted(0.8), any::<u8>()),
        0..4,
    )
}

/// Where etherparse takes what no host does: it reads a UDP length of 0 as "to the end".
fn lenient(ip: &[u8]) -> bool {
    let header_len = usize::from(ip[0] & 15) * 4;
    ip[9] == protocol::UDP && ip.get(header_len + 4..header_len + 6) == Some(&[0, 0])
}

/// Where etherparse looks into what is none of a router's business: ICMP timestamps, and protocols
/// besides the three.
fn strict(ip: &[u8]) -> bool {
    let header_len = usize::from(ip[0] & 15) * 4;
    match ip[9] {
        protocol::TCP | protocol::UDP => false,
        protocol::ICMP => matches!(ip[header_len], 13 | 14),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_a_packet_or_not(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120), to in flow(),
    ) {
        let _ = everything(&mut bytes, 1500, &to);
    }

    /// Sound packets with a few bytes changed get past the first checks.
    #[test]
    fn a_nearly_sound_packet_is_a_packet_or_not(
        packet in packet(),
        offload in 0..3,
        damage in damage(),
        mend in any::<bool>(),
        mtu in 60_u16..2000,
        to in flow(),
    ) {
        let bytes = packet.build();
        let transported = matches!(packet.flow().protocol, protocol::TCP | protocol::UDP);
        let (header, bytes) = match offload {
            1 if transported => partial(&bytes),
            2 if transported => super_packet(&bytes, 50),
            _ => (VnetHeader::default(), bytes),
        };
        let mut bytes = buffer(header, &bytes);
        for (at, near, value) in damage {
            let at = at.index(if near { bytes.len().min(70) } else { bytes.len() });
            bytes[at] = value;
        }
        if mend {
            let ip = &mut bytes[VNET_HEADER_LEN..];
            let length = (usize::from(ip[0] & 15) * 4).clamp(20, ip.len());
            ip[10..12].fill(0);
            let checksum = Sum::default().bytes(&ip[..length]).checksum();
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        let ip = packet_of(&bytes).to_vec();
        let theirs = SlicedPacket::from_ip(&ip).is_ok() && !lenient(&ip);
        match everything(&mut bytes, mtu, &to) {
            Ok(()) => prop_assert!(theirs || strict(&ip), "etherparse refuses {ip:02x?}"),
            // What etherparse does not look at; everything else it has to refuse as well.
            Err(
                Malformed::BadOffloadHeader(_)
                | Malformed::Fragment { .. }
                | Malformed::HeaderChecksum
                | Malformed::Ipv6
                | Malformed::Options
                | Malformed::SourceRoute,
            ) => {}
            Err(ours) => prop_assert!(!theirs, "{ours}: {ip:02x?}"),
        }
    }
}
