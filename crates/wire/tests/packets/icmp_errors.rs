//! ICMP errors across a translator: an error about a translated packet becomes, byte for byte,
//! the error about the packet that its sender knows.

use std::net::Ipv4Addr;

use crate::support::{
    MTU, Packet, Transport, address, buffer, packet_of_kind, target, tcp, transport, udp,
};
use etherparse::{Icmpv4Header, Icmpv4Type};
use proptest::prelude::*;
use viaduct_wire::vnet::VnetHeader;
use viaduct_wire::{Frame, L4, Malformed};

/// The error of type and code `kind` from `source` to `destination`, which quotes `quoted`.
fn error(
    kind: (u8, u8),
    source: Ipv4Addr,
    destination: Ipv4Addr,
    options: &[u8],
    quoted: &[u8],
) -> Vec<u8> {
    let unknown =
        Icmpv4Type::Unknown { type_u8: kind.0, code_u8: kind.1, bytes5to8: [0, 0, 5, 220] };
    let mut message = Vec::new();
    Icmpv4Header::with_checksum(unknown, quoted).write(&mut message).unwrap();
    message.extend(quoted);
    let outer = Packet {
        source,
        destination,
        ttl: 60,
        tos: 0xc0,
        identification: 7,
        dont_fragment: false,
        ip_options: options.to_vec(),
        transport: Transport::Other { protocol: 1 },
        payload: Vec::new(),
    };
    outer.behind_ip(&message)
}

fn kind() -> impl Strategy<Value = (u8, u8)> {
    (prop_oneof![Just(3_u8), Just(4), Just(5), Just(11), Just(12)], 0_u8..14)
}

/// A quoted packet, and how many bytes of it are quoted: at least RFC 792's, at most 548.
fn quote() -> impl Strategy<Value = (Packet, usize)> {
    packet_of_kind(transport(), 8..600).prop_flat_map(|packet| {
        let length = packet.build().len();
        let least = packet.ip_header(0).header_len() + 8;
        // To the end of TCP's checksum, and no further.
        let checksummed = (least + 10).min(length);
        // A quote that holds one byte of TCP's checksum cannot be told from here: the other byte
        // would be needed to update it.
        (Just(packet), prop_oneof![Just(least), Just(checksummed), least..=length.min(548)])
            .prop_filter("half a checksum", move |(_, length)| length - least != 17 - 8)
    })
}

proptest! {
    // Conforms: RFC 5508 R3b, RFC 5508 R3d
    #[test]
    fn an_error_is_about_the_packet_its_sender_knows(
        (outside, length) in quote(),
        kind in kind(),
        options in crate::support::ip_options(),
        (router, gateway, client) in (address(), address(), address()),
        ports in any::<(u16, u16)>(),
        extensions in prop_oneof![4 => Just(0_usize), 1 => 1_usize..40],
    ) {
        let inner = target(&outside.flow(), (client, outside.destination), ports);
        let with_extensions = |packet: &Packet| {
            let mut quoted = packet.build()[..length].to_vec();
            // Padding and extensions follow only a quote of at least 128 bytes (RFC 4884 3).
            if length >= 128 {
                quoted.extend(vec![0x5a; extensions]);
            }
            quoted
        };
        let arrived = error(kind, router, gateway, &options, &with_extensions(&outside));
        let leaves =
            error(kind, router, client, &options, &with_extensions(&outside.with_flow(&inner)));

        let mut buffer = buffer(VnetHeader::default(), &arrived);
        let mut frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        prop_assert_eq!(frame.l4(), L4::IcmpError { kind: kind.0, code: kind.1 });
        prop_assert_eq!(frame.quoted().expect("a sound quote").flow, outside.flow());
        frame.rewrite_icmp_error(router, client, &inner);
        prop_assert_eq!(frame.ip(), &leaves[..]);
        prop_assert_eq!(frame.destination(), client);
        prop_assert_eq!(frame.quoted().expect("still a sound quote").flow, inner);
    }

    /// RFC 5508 REQ-3, and no panic whatever else is wrong.
    // Conforms: RFC 5508 R3
    #[test]
    fn a_damaged_error_is_not_acted_on(
        (packet, length) in quote(), at in any::<prop::sample::Index>(), damage in 1_u8..,
    ) {
        let mut bytes = error((3, 1), [1; 4].into(), [2; 4].into(), &[], &packet.build()[..length]);
        let at = 20 + at.index(bytes.len() - 20);
        bytes[at] ^= damage;
        let mut buffer = buffer(VnetHeader::default(), &bytes);
        let mut frame = Frame::parse(&mut buffer, MTU).expect("the IP header is sound");
        // Changing the type may leave something that is no error; changing the message never
        // leaves its checksum right.
        prop_assert_eq!(frame.quoted(), None);
        frame.rewrite_icmp_error([3; 4].into(), [4; 4].into(), &packet.flow());
        prop_assert_eq!(frame.source(), Ipv4Addr::from([3; 4]));
    }

    #[test]
    fn a_quote_that_ends_before_the_ports_is_none(
        packet in packet_of_kind(prop_oneof![tcp(), udp(any::<bool>())], 0..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let least = packet.ip_header(0).header_len() + 8;
        let quoted = &packet.build()[..cut.index(least)];
        let bytes = error((11, 0), [1; 4].into(), [2; 4].into(), &[], quoted);
        let mut buffer = buffer(VnetHeader::default(), &bytes);
        let mut frame = Frame::parse(&mut buffer, MTU).expect("the IP header is sound");
        prop_assert_eq!(frame.quoted(), None);
        let before = frame.ip()[20..].to_vec();
        frame.rewrite_icmp_error([3; 4].into(), [4; 4].into(), &packet.flow());
        prop_assert_eq!(&frame.ip()[20..], &before[..], "without a quote only the outside changes");
    }
}

fn sound(transport: Transport) -> Packet {
    Packet {
        source: [10, 0, 0, 1].into(),
        destination: [192, 0, 2, 9].into(),
        ttl: 1,
        tos: 0,
        identification: 0,
        dont_fragment: true,
        ip_options: Vec::new(),
        transport,
        payload: vec![7; 40],
    }
}

fn quoted_flow(message: &[u8]) -> Option<viaduct_wire::Flow> {
    let mut buffer = buffer(VnetHeader::default(), message);
    let frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
    frame.quoted().map(|quoted| quoted.flow)
}

fn about(quoted: &[u8]) -> Vec<u8> {
    error((3, 3), [192, 0, 2, 9].into(), [10, 0, 0, 1].into(), &[], quoted)
}

// Conforms: RFC 5508 R3a, RFC 5508 R3c
#[test]
fn a_quoted_header_has_to_be_right_and_a_quoted_segment_need_not() {
    let udp = Transport::Udp { source_port: 1, destination_port: 2, checksum: true };
    let packet = sound(udp).build();
    for at in 0..packet.len() {
        let mut quoted = packet.clone();
        quoted[at] ^= 0x40;
        // From the ports on, any of it may be wrong; the ports are then others.
        assert_eq!(quoted_flow(&about(&quoted)).is_some(), at >= 20, "byte {at}");
    }
}

#[test]
fn an_error_about_an_error_is_not_acted_on() {
    let udp = Transport::Udp { source_port: 1, destination_port: 2, checksum: true };
    let first = about(&sound(udp).build());
    assert!(quoted_flow(&first).is_some());
    assert_eq!(quoted_flow(&about(&first)), None);
}

#[test]
fn a_quoted_fragment_is_known_by_its_ports_or_not_at_all() {
    let packet = sound(Transport::Udp { source_port: 1, destination_port: 2, checksum: true });
    let whole = packet.build();
    let fragment = |blocks: u16, more: bool| {
        let mut header = packet.ip_header(whole.len() - 20);
        header.dont_fragment = false;
        header.more_fragments = more;
        header.fragment_offset = blocks.try_into().unwrap();
        let mut bytes = Vec::new();
        header.write(&mut bytes).unwrap();
        bytes.extend(&whole[20..]);
        bytes
    };
    assert_eq!(quoted_flow(&about(&fragment(0, true))), Some(packet.flow()));
    assert_eq!(quoted_flow(&about(&fragment(3, true))), None);
    assert_eq!(quoted_flow(&about(&fragment(3, false))), None);
}

#[test]
fn a_quote_of_another_version_or_of_nothing_is_none() {
    let mut quoted = sound(Transport::Other { protocol: 50 }).build();
    quoted[0] = 0x65;
    assert_eq!(quoted_flow(&about(&quoted)), None);
    assert_eq!(quoted_flow(&about(&[])), None);
}

#[test]
fn an_answer_quotes_nothing() {
    assert_eq!(quoted_flow(&sound(Transport::EchoReply { id: 1, seq: 1 }).build()), None);
    let short = sound(Transport::Other { protocol: 1 }).behind_ip(&[3, 3, 0, 0, 0, 0, 0]);
    let mut buffer = buffer(VnetHeader::default(), &short);
    assert_eq!(
        Frame::parse(&mut buffer, MTU).map(|_| ()),
        Err(Malformed::IcmpLength { length: 7 })
    );
}
