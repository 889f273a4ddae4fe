//! Parsing and rewriting agree with etherparse: what a rewrite leaves is, byte for byte, the
//! packet that etherparse makes with the new addresses and ports.

use std::net::Ipv4Addr;

use crate::support::{
    MTU, Packet, Transport, address, buffer, completed, packet, packet_of, packet_of_kind, partial,
    super_packet, target, tcp, udp,
};
use etherparse::{Icmpv4Header, Icmpv4Type, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use viaduct_wire::vnet::{VnetHeader, gso};
use viaduct_wire::{Flow, Frame, L4, Rewrite, VNET_HEADER_LEN};

fn rewrite(flow: Flow, ttl_decrement: u8) -> Rewrite {
    Rewrite { ttl_decrement, ..Rewrite::from(flow) }
}

/// `packet` with this flow and a lower TTL, as etherparse makes it.
fn expected(packet: &Packet, flow: &Flow, ttl_decrement: u8) -> Vec<u8> {
    let mut expected = packet.with_flow(flow);
    expected.ttl = expected.ttl.saturating_sub(ttl_decrement);
    expected.build()
}

fn arb_target() -> impl Strategy<Value = ((Ipv4Addr, Ipv4Addr), (u16, u16))> {
    ((address(), address()), any::<(u16, u16)>())
}

proptest! {
    #[test]
    fn parsing_finds_what_etherparse_finds(packet in packet(), surplus in 0_usize..40) {
        let bytes = packet.build();
        let mut buffer = buffer(VnetHeader::default(), &bytes);
        buffer.extend(vec![0xaa; surplus]);
        let frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");

        prop_assert_eq!(frame.ip(), &bytes[..], "bytes beyond the total length are cut off");
        prop_assert_eq!(frame.flow(), packet.flow());
        prop_assert_eq!(frame.source(), packet.source);
        prop_assert_eq!(frame.destination(), packet.destination);
        prop_assert_eq!(frame.protocol(), packet.flow().protocol);
        prop_assert_eq!(frame.ttl(), packet.ttl);
        prop_assert_eq!(frame.tos(), packet.tos);
        prop_assert_eq!(frame.dont_fragment(), packet.dont_fragment);
        prop_assert_eq!(frame.has_options(), !packet.ip_options.is_empty());
        prop_assert_eq!(frame.payload(), &packet.payload[..]);
        prop_assert_eq!(frame.packets(), 1);
        prop_assert_eq!(frame.bytes(), bytes.len() as u64);
        prop_assert_eq!(frame.largest_packet(), bytes.len());
        prop_assert!(!frame.is_super_packet() && !frame.needs_checksum());
        match SlicedPacket::from_ip(&bytes).expect("etherparse made it").transport {
            Some(TransportSlice::Tcp(tcp)) => {
                let L4::Tcp { flags } = frame.l4() else { panic!("{:?}", frame.l4()) };
                prop_assert_eq!(flags.fin(), tcp.fin());
                prop_assert_eq!(flags.syn(), tcp.syn());
                prop_assert_eq!(flags.rst(), tcp.rst());
                prop_assert_eq!(flags.ack(), tcp.ack());
                prop_assert_eq!(frame.flow().source_port, tcp.source_port());
            }
            Some(TransportSlice::Udp(_)) => prop_assert_eq!(frame.l4(), L4::Udp),
            Some(TransportSlice::Icmpv4(icmp)) => prop_assert_eq!(
                frame.l4(),
                if icmp.type_u8() == 8 { L4::IcmpEchoRequest } else { L4::IcmpEchoReply }
            ),
            _ => prop_assert_eq!(frame.l4(), L4::Other),
        }
        prop_assert_eq!(frame.finish(), VNET_HEADER_LEN + bytes.len());
    }

    #[test]
    fn a_rewrite_comes_to_the_packet_that_etherparse_makes(
        packet in packet(), (addresses, ports) in arb_target(), ttl in 0_u8..3,
    ) {
        let to = target(&packet.flow(), addresses, ports);
        let mut buffer = buffer(VnetHeader::default(), &packet.build());
        let mut frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        frame.rewrite(&rewrite(to, ttl));
        prop_assert_eq!(frame.flow(), to);
        let length = frame.finish();
        prop_assert_eq!(packet_of(&buffer[..length]), &expected(&packet, &to, ttl)[..]);
        prop_assert_eq!(&buffer[..VNET_HEADER_LEN], VnetHeader::default().emit());
    }

    #[test]
    fn a_checksum_left_to_do_comes_out_right(
        packet in packet_of_kind(prop_oneof![tcp(), udp(Just(true))], 0..200),
        (addresses, ports) in arb_target(),
        forged in prop::option::of(any::<u16>()),
        surplus in 0_usize..4,
    ) {
        let to = target(&packet.flow(), addresses, ports);
        let (header, mut bytes) = partial(&packet.build());
        // Whatever the guest left in the field: the sum that leaves is ours.
        if let Some(forged) = forged {
            let at = usize::from(header.csum_start + header.csum_offset);
            bytes[at..at + 2].copy_from_slice(&forged.to_be_bytes());
        }
        let mut buffer = buffer(header, &bytes);
        buffer.extend(vec![0xaa; surplus]);
        let mut frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        prop_assert!(frame.needs_checksum());
        frame.rewrite(&rewrite(to, 1));
        let length = frame.finish();
        prop_assert_eq!(completed(&buffer[..length]), expected(&packet, &to, 1));
    }

    #[test]
    fn a_super_packet_stands_for_the_packets_the_kernel_cuts(
        packet in packet_of_kind(prop_oneof![tcp(), udp(Just(true))], 0..6000),
        (addresses, ports) in arb_target(),
        size in 48_u16..=1380,
    ) {
        let bytes = packet.build();
        let to = target(&packet.flow(), addresses, ports);
        let (header, partial) = super_packet(&bytes, size);
        let mut buffer = buffer(header, &partial);
        let mut frame = Frame::parse(&mut buffer, 1500).expect("a sound packet");

        let headers = bytes.len() - packet.payload.len();
        let cut: Vec<usize> =
            packet.payload.chunks(size.into()).map(|chunk| headers + chunk.len()).collect();
        let cut = if cut.is_empty() { vec![headers] } else { cut };
        prop_assert_eq!(frame.packets(), cut.len() as u64);
        prop_assert_eq!(frame.bytes(), cut.iter().sum::<usize>() as u64);
        prop_assert_eq!(frame.largest_packet(), cut[0]);
        prop_assert_eq!(frame.is_super_packet(), cut.len() > 1);

        frame.rewrite(&rewrite(to, 1));
        let length = frame.finish();
        let left = VnetHeader::parse(buffer.first_chunk().expect("a header"));
        if cut.len() > 1 {
            prop_assert_eq!(left, VnetHeader { hdr_len: headers as u16, ..header });
        } else {
            prop_assert_eq!(left, VnetHeader { gso_type: gso::NONE, gso_size: 0, ..header });
        }
        prop_assert_eq!(completed(&buffer[..length]), expected(&packet, &to, 1));
    }

    #[test]
    fn a_frame_that_left_is_one_that_can_arrive(
        packet in packet_of_kind(prop_oneof![tcp(), udp(Just(true))], 0..3000),
        size in 48_u16..=1380,
    ) {
        let (header, bytes) = super_packet(&packet.build(), size);
        let mut buffer = buffer(header, &bytes);
        let length = Frame::parse(&mut buffer, 1500).expect("a sound packet").finish();
        let before = buffer.clone();
        let length_again = Frame::parse(&mut buffer, 1500).expect("ours is sound").finish();
        prop_assert_eq!(length, length_again);
        prop_assert_eq!(before, buffer);
    }

    #[test]
    fn there_and_back_is_where_it_began(
        packet in packet(), (addresses, ports) in arb_target(),
    ) {
        let bytes = packet.build();
        let mut buffer = buffer(VnetHeader::default(), &bytes);
        let mut frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        frame.rewrite(&rewrite(target(&packet.flow(), addresses, ports), 0));
        frame.rewrite(&rewrite(packet.flow(), 0));
        prop_assert_eq!(frame.ip(), &bytes[..]);
    }

    /// The receiver is to see that its packet was damaged, so a rewrite must not mend it.
    #[test]
    fn a_wrong_transport_checksum_stays_as_wrong_as_it_was(
        packet in packet_of_kind(tcp(), 0..40), (addresses, ports) in arb_target(),
        damage in 1_u8..,
    ) {
        let to = target(&packet.flow(), addresses, ports);
        let mut bytes = packet.build();
        let headers = bytes.len() - packet.payload.len();
        // A bit of the sequence number, which no rewrite touches.
        let at = usize::from(bytes[0] & 15) * 4 + 4;
        prop_assert!(at < headers);
        bytes[at] ^= damage;
        let mut right = expected(&packet, &to, 0);
        right[at] ^= damage;
        let mut buffer = buffer(VnetHeader::default(), &bytes);
        let mut frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        frame.rewrite(&rewrite(to, 0));
        prop_assert_eq!(frame.ip(), &right[..]);
    }

    /// Put together again, a translated datagram has a right checksum: its first fragment's field
    /// covers it all.
    #[test]
    fn the_fragments_of_a_datagram_keep_its_checksum(
        packet in packet_of_kind(prop_oneof![tcp(), udp(any::<bool>())], 100..300),
        addresses in (address(), address()),
        blocks in 8_usize..12,
    ) {
        let whole = packet.build();
        let ip_header = usize::from(whole[0] & 15) * 4;
        let to = Flow { source: addresses.0, destination: addresses.1, ..packet.flow() };
        let mut assembled = Vec::<u8>::new();
        for (offset, more) in [(0, true), (blocks, false)] {
            let l4 = &whole[ip_header..];
            let part = if more { &l4[..blocks * 8] } else { &l4[blocks * 8..] };
            let mut header = packet.ip_header(part.len());
            header.more_fragments = more;
            header.fragment_offset = u16::try_from(offset).unwrap().try_into().unwrap();
            let mut bytes = VnetHeader::default().emit().to_vec();
            header.write(&mut bytes).unwrap();
            bytes.extend(part);
            let mut frame = Frame::parse(&mut bytes, MTU).expect("a sound fragment");
            prop_assert_eq!(frame.l4(), L4::Fragment { first: more, last: !more });
            prop_assert_eq!((frame.flow().source_port, frame.flow().destination_port), (0, 0));
            frame.rewrite(&rewrite(to, 0));
            prop_assert_eq!(frame.source(), addresses.0);
            assembled.extend(&frame.ip()[ip_header..]);
        }
        prop_assert_eq!(&assembled[..], &expected(&packet, &to, 0)[ip_header..]);
    }
}

/// RFC 792: echo messages have code 0. With another code a message has no identifier to translate.
#[test]
fn an_echo_with_another_code_is_no_echo() {
    for kind in [0, 8] {
        let message = Icmpv4Type::Unknown { type_u8: kind, code_u8: 1, bytes5to8: [1, 2, 3, 4] };
        let packet = Packet {
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 0, 2),
            ttl: 64,
            tos: 0,
            identification: 7,
            dont_fragment: true,
            ip_options: Vec::new(),
            transport: Transport::Other { protocol: 1 },
            payload: Vec::new(),
        };
        let mut bytes = Vec::new();
        Icmpv4Header::with_checksum(message, b"").write(&mut bytes).expect("a message");
        let mut buffer = buffer(VnetHeader::default(), &packet.behind_ip(&bytes));
        let frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        assert_eq!(frame.l4(), L4::Icmp { kind, code: 1 });
        assert_eq!((frame.flow().source_port, frame.flow().destination_port), (0, 0));
    }
}

/// All zeros sum to 0, whose complement is 0xffff; of two zeros, differences come to the other.
#[test]
fn an_echo_reply_of_zeros_keeps_a_right_checksum() {
    let packet = Packet {
        source: [10, 4, 5, 6].into(),
        destination: [10, 1, 2, 3].into(),
        ttl: 64,
        tos: 0,
        identification: 3,
        dont_fragment: true,
        ip_options: Vec::new(),
        transport: Transport::EchoReply { id: 7, seq: 0 },
        payload: vec![0; 3],
    };
    let to = Flow { destination_port: 0, ..packet.flow() };
    let mut buffer = buffer(VnetHeader::default(), &packet.build());
    let mut frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
    frame.rewrite(&rewrite(to, 0));
    let length = frame.finish();
    assert_eq!(packet_of(&buffer[..length]), &expected(&packet, &to, 0)[..]);
    assert_eq!(buffer[length - 9..length - 7], [0xff, 0xff]);
}
