//! What is sent back: ICMP errors and TCP resets, read with etherparse.

use crate::support::{
    MTU, Packet, Transport, buffer, packet, packet_of, packet_of_kind, partial, tcp,
};
use etherparse::{Icmpv4Slice, Ipv4HeaderSlice, SlicedPacket, TcpSlice, TransportSlice};
use proptest::prelude::*;
use viaduct_wire::icmp::{self, IcmpErrorKind, LARGEST_ERROR};
use viaduct_wire::tcp::{self as wire_tcp, RESET_LEN};
use viaduct_wire::vnet::VnetHeader;
use viaduct_wire::{Frame, L4};

const ROUTER: [u8; 4] = [10, 0, 0, 1];

/// The transport of a packet whose every checksum is right.
fn checked(ip: &[u8]) -> TransportSlice<'_> {
    let header = Ipv4HeaderSlice::from_slice(ip).expect("an IP header").to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!(usize::from(header.total_len), ip.len());
    let transport = SlicedPacket::from_ip(ip).expect("a sound packet").transport.expect("one");
    match &transport {
        TransportSlice::Icmpv4(icmp) => {
            assert_eq!(icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()));
        }
        TransportSlice::Tcp(tcp) => {
            let right = tcp.calc_checksum_ipv4(header.source, header.destination);
            assert_eq!(tcp.checksum(), right.expect("short enough"));
        }
        other => panic!("neither ICMP nor TCP: {other:?}"),
    }
    transport
}

fn icmp_of(ip: &[u8]) -> Icmpv4Slice<'_> {
    match checked(ip) {
        TransportSlice::Icmpv4(icmp) => icmp,
        other => panic!("not ICMP: {other:?}"),
    }
}

fn tcp_of(ip: &[u8]) -> TcpSlice<'_> {
    match checked(ip) {
        TransportSlice::Tcp(tcp) => tcp,
        other => panic!("not TCP: {other:?}"),
    }
}

/// The error about `packet`, if one may be sent.
fn error_about(packet: &[u8], kind: IcmpErrorKind) -> Option<Vec<u8>> {
    let mut buffer = buffer(VnetHeader::default(), packet);
    let frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
    // What is already in the vector stays.
    let mut out = vec![0xee; 3];
    let length = icmp::error(&frame, ROUTER.into(), kind, &mut out)?;
    assert_eq!(out.len(), 3 + length);
    assert!(length <= LARGEST_ERROR);
    Some(out.split_off(3))
}

fn unicast(packet: &Packet) -> Packet {
    Packet { source: [10, 1, 2, 3].into(), destination: [10, 4, 5, 6].into(), ..packet.clone() }
}

proptest! {
    #[test]
    fn an_error_quotes_what_fits(
        packet in packet_of_kind(crate::support::transport(), 0..900), mtu in any::<u16>(),
    ) {
        let packet = unicast(&packet);
        let bytes = packet.build();
        let kind = IcmpErrorKind::FragmentationNeeded { mtu };
        let mut frame = error_about(&bytes, kind).expect("may be answered");
        let ip = packet_of(&frame).to_vec();
        prop_assert_eq!(&frame[..10], &[0; 10]);
        prop_assert_eq!(ip.len(), 28 + bytes.len().min(548));
        prop_assert_eq!(&ip[12..16], &ROUTER);
        prop_assert_eq!(&ip[16..20], packet.source.octets());
        let icmp = icmp_of(&ip);
        prop_assert_eq!((icmp.type_u8(), icmp.code_u8()), (3, 4));
        prop_assert_eq!(&icmp.slice()[6..8], mtu.to_be_bytes());
        prop_assert_eq!(&ip[28..], &bytes[..bytes.len().min(548)]);

        // And our own parser finds in it what it is about.
        let parsed = Frame::parse(&mut frame, MTU).expect("ours is sound");
        prop_assert_eq!(parsed.l4(), L4::IcmpError { kind: 3, code: 4 });
        match bytes.len() >= usize::from(bytes[0] & 15) * 4 + 8 {
            true => prop_assert_eq!(parsed.quoted().expect("a quote").flow, packet.flow()),
            // Of the protocols without ports a packet may be shorter than a quote must be.
            false => {
                let portless = matches!(packet.transport, Transport::Other { .. });
                prop_assert!(portless);
            }
        }
    }

    #[test]
    fn a_reset_is_one_that_the_sender_accepts(
        packet in packet_of_kind(tcp(), 0..300), partial_state in any::<bool>(),
    ) {
        let packet = unicast(&packet);
        let Transport::Tcp { header } = &packet.transport else { unreachable!() };
        let (vnet, bytes) = match partial_state {
            true => partial(&packet.build()),
            false => (VnetHeader::default(), packet.build()),
        };
        let mut buffer = buffer(vnet, &bytes);
        let frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        let mut out = vec![0xee; 3];
        let length = wire_tcp::reset(&frame, &mut out);
        if header.rst {
            prop_assert_eq!((length, out.len()), (None, 3));
            return Ok(());
        }
        prop_assert_eq!(length, Some(RESET_LEN));
        let mut out = out.split_off(3);
        let ip = packet_of(&out).to_vec();
        prop_assert_eq!(&out[..10], &[0; 10]);
        let reset = tcp_of(&ip);
        prop_assert!(reset.rst() && !reset.syn() && !reset.fin());
        // RFC 9293 3.10.7.1.
        if header.ack {
            prop_assert!(!reset.ack());
            prop_assert_eq!(reset.sequence_number(), header.acknowledgment_number);
        } else {
            let length = packet.payload.len() + usize::from(header.syn) + usize::from(header.fin);
            prop_assert!(reset.ack());
            prop_assert_eq!(reset.sequence_number(), 0);
            prop_assert_eq!(
                reset.acknowledgment_number(),
                header.sequence_number.wrapping_add(length as u32)
            );
        }
        let parsed = Frame::parse(&mut out, MTU).expect("ours is sound");
        prop_assert_eq!(parsed.flow(), packet.flow().reversed());
    }

    #[test]
    fn only_whole_segments_are_reset(packet in packet()) {
        let packet = unicast(&packet);
        let mut buffer = buffer(VnetHeader::default(), &packet.build());
        let frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        let mut out = Vec::new();
        let answered = wire_tcp::reset(&frame, &mut out).is_some();
        let resettable = matches!(&packet.transport, Transport::Tcp { header } if !header.rst);
        prop_assert_eq!(answered, resettable);
    }
}

fn echo() -> Packet {
    Packet {
        source: [10, 1, 2, 3].into(),
        destination: [10, 4, 5, 6].into(),
        ttl: 1,
        tos: 0x2a,
        identification: 3,
        dont_fragment: false,
        ip_options: Vec::new(),
        transport: Transport::EchoRequest { id: 9, seq: 1 },
        payload: vec![1; 24],
    }
}

#[test]
fn each_kind_has_its_type_and_code() {
    let kinds = [
        (IcmpErrorKind::NetworkUnreachable, (3, 0)),
        (IcmpErrorKind::HostUnreachable, (3, 1)),
        (IcmpErrorKind::ProtocolUnreachable, (3, 2)),
        (IcmpErrorKind::PortUnreachable, (3, 3)),
        (IcmpErrorKind::FragmentationNeeded { mtu: 1500 }, (3, 4)),
        (IcmpErrorKind::AdminProhibited, (3, 13)),
        (IcmpErrorKind::TimeExceeded, (11, 0)),
    ];
    for (kind, expected) in kinds {
        let frame = error_about(&echo().build(), kind).expect("may be answered");
        let icmp = icmp_of(packet_of(&frame));
        assert_eq!((icmp.type_u8(), icmp.code_u8()), expected, "{kind:?}");
        // RFC 1812 4.3.2.5; the packet's ECN bits stay behind.
        assert_eq!(packet_of(&frame)[1], 0xc0 | 0x08, "{kind:?}");
    }
}

/// RFC 1122 3.2.2 and RFC 1812 4.3.2.7.
#[test]
fn some_packets_are_never_answered() {
    let answered = |packet: &[u8]| error_about(packet, IcmpErrorKind::TimeExceeded).is_some();
    assert!(answered(&echo().build()));
    for source in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [240, 0, 0, 1], [255; 4]] {
        let packet = Packet { source: source.into(), ..echo() };
        assert!(!answered(&packet.build()), "from {source:?}");
    }
    for destination in [[224, 0, 0, 251], [255; 4]] {
        let packet = Packet { destination: destination.into(), ..echo() };
        assert!(!answered(&packet.build()), "to {destination:?}");
    }
    let icmp = |kind: u8| {
        let bare = Packet { transport: Transport::Other { protocol: 1 }, ..echo() };
        answered(&bare.behind_ip(&[kind, 0, 0, 0, 0, 0, 0, 0]))
    };
    for kind in [3, 4, 5, 11, 12, 40, 255] {
        assert!(!icmp(kind), "about ICMP type {kind}");
    }
    for kind in [0, 8, 13, 17] {
        assert!(icmp(kind), "about ICMP type {kind}");
    }
    let fragment = |protocol: u8, blocks: u16, kind: u8| {
        let packet = Packet { transport: Transport::Other { protocol }, ..echo() };
        let mut header = packet.ip_header(16);
        header.more_fragments = true;
        header.fragment_offset = blocks.try_into().unwrap();
        let mut bytes = Vec::new();
        header.write(&mut bytes).unwrap();
        bytes.extend([kind, 1, 0, 2, 0, 200, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]);
        answered(&bytes)
    };
    assert!(fragment(17, 0, 0));
    assert!(!fragment(17, 4, 0));
    // An error can be cut up, too.
    assert!(fragment(1, 0, 8));
    assert!(!fragment(1, 0, 3));
}
