//! Cutting packets up and putting them together, held against etherparse's own reassembly.

use etherparse::{
    Ipv4Header, SlicedPacket,
    defrag::{IpDefragPayloadVec, IpDefragPool},
};
use proptest::prelude::*;
use viaduct_wire::{Frame, Frames, L4, MOST_PIECES, VNET_HEADER_LEN, assemble, vnet::VnetHeader};

use crate::support::{
    MTU, Packet, Transport, buffer, completed, packet_of, packet_of_kind, partial, super_packet,
    tcp, transport, udp,
};

/// What a packet becomes, each datagram with the next identification from 1000 on. `None` if it may
/// not be cut.
fn cut(bytes: &mut [u8], mtu: u16) -> Option<Frames> {
    let mut frame = Frame::parse(bytes, MTU).expect("a sound packet");
    if !frame.may_be_cut(mtu) {
        return None;
    }
    let mut frames = Frames::default();
    frame.set_identification(1000);
    frame.cut(mtu, &mut frames);
    Some(frames)
}

fn header_of(ip: &[u8]) -> Ipv4Header {
    let header = Ipv4Header::from_slice(ip).expect("a header").0;
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    header
}

/// The payloads of the datagrams that etherparse makes of these packets.
fn defragmented<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut pool = IpDefragPool::<(), ()>::new();
    let mut payloads = Vec::new();
    for packet in packets {
        let header = header_of(packet);
        if header.is_fragmenting_payload() {
            let sliced = SlicedPacket::from_ip(packet).expect("a packet");
            let done = pool.process_sliced_packet(&sliced, (), ()).expect("nothing overlaps");
            payloads.extend(done.map(|IpDefragPayloadVec { payload, .. }| payload));
        } else {
            payloads.push(packet[header.header_len()..].to_vec());
        }
    }
    payloads
}

/// Every fragment is a sound packet that fits, with the datagram's own header.
fn are_sound(frames: &Frames, mtu: u16, whole: &Ipv4Header) {
    for (index, frame) in frames.iter().enumerate() {
        let mut bytes = frame.to_vec();
        let ip = packet_of(frame);
        assert!(ip.len() <= usize::from(mtu), "{} bytes for an MTU of {mtu}", ip.len());
        let header = header_of(ip);
        let first = header.fragment_offset.value() == 0;
        assert!(first || index > 0);
        let seen = (header.source, header.destination, header.protocol, header.time_to_live);
        let sent = (whole.source, whole.destination, whole.protocol, whole.time_to_live);
        assert_eq!((seen, header.dscp, header.ecn), (sent, whole.dscp, whole.ecn));
        assert!(!header.dont_fragment);
        let options = header.options.as_slice();
        assert!(if first { options == whole.options.as_slice() } else { all_copied(options) });
        let parsed = Frame::parse(&mut bytes, MTU).expect("a sound packet");
        assert!(!parsed.needs_checksum() && !parsed.is_super_packet());
        assert_eq!(parsed.identification(), header.identification);
        let fragment = parsed.fragment().map(|it| (it.offset, it.more));
        let theirs = (header.fragment_offset.byte_offset(), header.more_fragments);
        assert_eq!(fragment, header.is_fragmenting_payload().then_some(theirs));
        assert_eq!(parsed.finish(), frame.len());
    }
}

/// Whether each option is one that later fragments carry: its first bit is set (RFC 791).
fn all_copied(options: &[u8]) -> bool {
    match options {
        [] | [0, ..] => true,
        [kind, length, ..] if *kind & 0x80 != 0 => all_copied(&options[usize::from(*length)..]),
        _ => false,
    }
}

/// Packets that may be cut, each with an MTU that cuts it up.
fn too_big(transport: impl Strategy<Value = Transport>) -> impl Strategy<Value = (Packet, u16)> {
    let packet = packet_of_kind(transport, 100..4000)
        .prop_map(|packet| Packet { dont_fragment: false, ..packet });
    packet.prop_flat_map(|packet| {
        let largest = packet.build().len() as u16 - 1;
        (Just(packet), 100..=largest.min(1600))
    })
}

proptest! {
    #[test]
    fn fragments_make_the_packet_that_was_cut((packet, mtu) in too_big(transport())) {
        let whole = packet.build();
        let header = header_of(&whole);
        let mut bytes = buffer(VnetHeader::default(), &whole);
        let frames = cut(&mut bytes, mtu).expect("no more than 256 pieces");

        are_sound(&frames, mtu, &header);
        prop_assert!(frames.len() > 1);
        prop_assert_eq!(frames.packet_bytes(), frames.iter().map(|it| packet_of(it).len()).sum());
        let own = &whole[header.header_len()..];
        prop_assert_eq!(defragmented(frames.iter().map(packet_of)), [own]);

        // And our own reassembly gives the very packet again.
        let parts: Vec<_> = frames.iter().map(|it| {
            let ip = packet_of(it);
            &ip[header_of(ip).header_len()..]
        }).collect();
        let first = &packet_of(frames.get(0).unwrap())[..header.header_len()];
        let mut out = vec![7; 3];
        let length = assemble(first, false, parts, &mut out).expect("not too long");
        let same = Packet { identification: 1000, ..packet };
        prop_assert_eq!(&out[3 + VNET_HEADER_LEN..], same.build());
        prop_assert_eq!(length, out.len() - 3);
    }

    #[test]
    fn a_checksum_left_to_do_is_done_before_the_cut(
        (packet, mtu) in too_big(prop_oneof![tcp(), udp(Just(true))]),
    ) {
        let whole = packet.build();
        let (header, left) = partial(&whole);
        let frames = cut(&mut buffer(header, &left), mtu).expect("no more than 256 pieces");
        are_sound(&frames, mtu, &header_of(&whole));
        let own = &whole[header_of(&whole).header_len()..];
        prop_assert_eq!(defragmented(frames.iter().map(packet_of)), [own]);
    }

    #[test]
    fn a_udp_super_packet_becomes_its_datagrams_first(
        (packet, mtu) in too_big(udp(Just(true))),
        share in 2_usize..9,
    ) {
        let whole = packet.build();
        let size = packet.payload.len().div_ceil(share);
        let (header, left) = super_packet(&whole, size as u16);
        let frames = cut(&mut buffer(header, &left), mtu).expect("no more than 256 pieces");
        are_sound(&frames, mtu, &header_of(&whole));
        let datagrams: Vec<_> = packet.payload.chunks(size).map(|payload| {
            let datagram = Packet { payload: payload.to_vec(), ..packet.clone() }.build();
            datagram[header_of(&datagram).header_len()..].to_vec()
        }).collect();
        prop_assert_eq!(defragmented(frames.iter().map(packet_of)), datagrams);
        // Each has an identification of its own.
        let mut ids: Vec<_> =
            frames.iter().map(|it| header_of(packet_of(it)).identification).collect();
        ids.dedup();
        prop_assert_eq!(ids, (1000..1000 + packet.payload.len().div_ceil(size) as u16).collect::<Vec<_>>());
    }

    #[test]
    fn a_tcp_super_packet_becomes_one_of_smaller_segments(
        packet in packet_of_kind(tcp(), 3000..4000),
        mtu in 168_u16..1200,
    ) {
        let packet = Packet { dont_fragment: false, ip_options: Vec::new(), ..packet };
        let whole = packet.build();
        let (header, left) = super_packet(&whole, 1400);
        let mut bytes = buffer(header, &left);
        let mut frame = Frame::parse(&mut bytes, MTU).expect("a sound packet");
        prop_assert!(frame.may_be_cut(mtu));
        prop_assert!(frame.shrink_segments(mtu));
        prop_assert_eq!(frame.largest_packet(), usize::from(mtu));
        let headers = whole.len() - packet.payload.len();
        let segments = packet.payload.len().div_ceil(usize::from(mtu) - headers);
        prop_assert_eq!(frame.packets(), segments as u64);
        let length = frame.finish();
        prop_assert_eq!(completed(&bytes[..length]), whole);
        prop_assert!(Frame::parse(&mut bytes, mtu).is_ok());
    }

    #[test]
    fn an_identification_changes_nothing_else(
        packet in packet_of_kind(transport(), 0..100),
        identification in any::<u16>(),
    ) {
        let mut bytes = buffer(VnetHeader::default(), &packet.build());
        let mut frame = Frame::parse(&mut bytes, MTU).expect("a sound packet");
        prop_assert_eq!(frame.identification(), packet.identification);
        frame.set_identification(identification);
        let expected = Packet { identification, ..packet }.build();
        let (ours, theirs) = (header_of(frame.ip()), header_of(&expected));
        prop_assert_eq!(ours, theirs);
        prop_assert_eq!(&frame.ip()[20..], &expected[20..]);
    }
}

fn datagram(payload: usize) -> Packet {
    Packet {
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 2].into(),
        ttl: 64,
        tos: 0,
        identification: 7,
        dont_fragment: false,
        ip_options: Vec::new(),
        transport: Transport::Udp { source_port: 1, destination_port: 2, checksum: true },
        payload: vec![5; payload],
    }
}

fn may_be_cut(packet: &Packet, mtu: u16) -> bool {
    let mut bytes = buffer(VnetHeader::default(), &packet.build());
    Frame::parse(&mut bytes, MTU).expect("a sound packet").may_be_cut(mtu)
}

#[test]
fn what_must_not_be_cut_or_cannot_is_left() {
    assert!(may_be_cut(&datagram(100), 28));
    assert!(!may_be_cut(&datagram(100), 27), "no room for eight bytes");
    assert!(!may_be_cut(&Packet { dont_fragment: true, ..datagram(100) }, 100));
    assert!(!may_be_cut(&datagram(100), 0));
    // Every packet can be cut for a network with the smallest MTU that hosts must take (RFC 791).
    assert!(may_be_cut(&datagram(65_507), 576));
    let most = MOST_PIECES * 48 - 8;
    assert!(may_be_cut(&datagram(most), 68));
    assert!(!may_be_cut(&datagram(most + 1), 68), "257 pieces");

    let mut bytes = buffer(VnetHeader::default(), &datagram(56).build());
    bytes[VNET_HEADER_LEN + 6] = 0x20;
    let sum = header_of_mended(&bytes);
    bytes[VNET_HEADER_LEN + 10..][..2].copy_from_slice(&sum.to_be_bytes());
    let frame = Frame::parse(&mut bytes, MTU).expect("a sound fragment");
    assert!(matches!(frame.l4(), L4::Fragment { .. }) && !frame.may_be_cut(68));
}

fn header_of_mended(frame: &[u8]) -> u16 {
    Ipv4Header::from_slice(packet_of(frame)).expect("a header").0.calc_header_checksum()
}

#[test]
fn tcp_segments_are_not_made_smaller_than_any_host_sends() {
    let packet = Packet {
        transport: Transport::Tcp { header: Box::new(etherparse::TcpHeader::new(1, 2, 3, 4)) },
        ..datagram(500)
    };
    let (header, left) = super_packet(&packet.build(), 100);
    let mut bytes = buffer(header, &left);
    let frame = Frame::parse(&mut bytes, MTU).expect("a sound packet");
    assert!(frame.may_be_cut(88) && !frame.may_be_cut(87), "48 bytes behind 40");
    assert!(may_be_cut(&packet, 44) && !may_be_cut(&packet, 43), "a first piece shows the header");
}

#[test]
fn a_datagram_longer_than_a_packet_is_none() {
    let whole = datagram(0).build();
    let piece = vec![0; 65_515];
    let mut out = Vec::new();
    assert_eq!(assemble(&whole[..20], false, [&piece[..]], &mut out), Some(65_545));
    out.clear();
    assert_eq!(assemble(&whole[..20], false, [&piece[..], &[1]], &mut out), None);
    assert!(out.is_empty());
}

/// RFC 3168, section 5.3.
#[test]
fn congestion_is_told() {
    let whole = Packet { tos: 0xb8 | 2, ..datagram(8) }.build();
    let mut out = Vec::new();
    assemble(&whole[..20], true, [&whole[20..]], &mut out).expect("short");
    assert_eq!(header_of(packet_of(&out)).ecn.value(), 3);
    assert_eq!(out[VNET_HEADER_LEN + 1], 0xb8 | 3);
}
