//! Packets that are wrong in themselves: every field of every header, one at a time, and every
//! length. None is so sound that it gets anywhere.

use viaduct_topology::Reason::{self, *};

use super::{
    API, Case, DB, HOST, Refused, WEB,
    bytes::{cut, flipped, header_mended, of_its_length, with, with_options},
    hold,
};
use crate::support::{INSIDE, Net, Packet, SYN, SYN_ACK, Tcp, echo, tcp, udp};

fn segment() -> Packet {
    tcp((INSIDE, 40_000), (DB, 5432), SYN, b"")
}

fn datagram() -> Packet {
    udp((INSIDE, 40_000), (DB, 5432), b"?")
}

/// One of each kind, who sends it, and how much of it there must be at least.
fn sound() -> [(&'static str, &'static str, Packet, usize); 3] {
    [
        (API, "segment", segment(), 40),
        (API, "datagram", datagram(), 29),
        ("instance/web", "echo", echo(WEB, DB, 7, false), 28),
    ]
}

#[test]
fn a_packet_that_ends_too_early() {
    let mut cases = Vec::new();
    for (from, kind, packet, least) in sound() {
        for length in 0..packet.ip().len() {
            let what = format!("{kind} of which {length} bytes are left");
            cases.push(Case::new(from, what, cut(&packet, length), MalformedPacket));
        }
        // And says so: but there is not enough for its header.
        for length in 20..least {
            let what = format!("{kind} of {length} bytes");
            cases.push(Case::new(
                from,
                what,
                of_its_length(&cut(&packet, length)),
                MalformedPacket,
            ));
        }
        for length in 0..10 {
            let what = format!("{length} bytes of a virtio-net header before a {kind}");
            let packet = Packet(packet.0[..length].to_vec());
            cases.push(Case::new(from, what, packet, MalformedPacket));
        }
    }
    hold(&cases);
}

#[test]
fn an_ip_header_with_a_wrong_field() {
    let mut cases = Vec::new();
    for (from, kind, packet, _) in sound() {
        let mut wrong = |what: String, packet: Packet, refused: Refused| {
            cases.push(Case::new(from, format!("{kind}: {what}"), packet, refused));
        };
        let malformed = Refused::For(MalformedPacket);
        for version in (0..16).filter(|version| *version != 4) {
            let reason = if version == 6 { Ipv6NotForwarded } else { MalformedPacket };
            let packet = header_mended(&with(&packet, 0, &[version << 4 | 5]));
            wrong(format!("version {version}"), packet, reason.into());
        }
        for words in (0..16).filter(|words| *words != 5) {
            let packet = header_mended(&with(&packet, 0, &[0x40 | words]));
            wrong(format!("a header of {words} words"), packet, malformed);
        }
        let length = u16::try_from(packet.ip().len()).unwrap();
        for length in (0..20).chain(length + 1..length + 40).chain([u16::MAX]) {
            let packet = header_mended(&with(&packet, 2, &length.to_be_bytes()));
            wrong(format!("a total length of {length}"), packet, malformed);
        }
        for bit in 80..96 {
            wrong(format!("bit {bit}, of the checksum, flipped"), flipped(&packet, bit), malformed);
        }
        // RFC 1812 5.3.1: whoever sends it is told.
        let expired = header_mended(&with(&packet, 8, &[0]));
        wrong("no hop left".to_owned(), expired, Refused::Answered(TtlExpired));
    }
    hold(&cases);
}

#[test]
fn a_function_speaks_no_other_protocol() {
    // LAM-10. What is left of the segment is no datagram.
    let reason = |protocol| if protocol == 17 { MalformedPacket } else { ProtocolRestriction };
    let cases: Vec<Case> = (0..=u8::MAX)
        .filter(|protocol| *protocol != 6)
        .map(|protocol| {
            let packet = header_mended(&with(&segment(), 9, &[protocol]));
            Case::new(API, format!("protocol {protocol}"), packet, reason(protocol))
        })
        .collect();
    hold(&cases);
}

#[test]
fn a_tcp_header_with_a_wrong_field() {
    let mut cases = Vec::new();
    for words in (0..16).filter(|words| *words != 5) {
        let packet = with(&segment(), 32, &[words << 4]);
        cases.push(Case::new(API, format!("{words} words"), packet, MalformedPacket));
    }
    // The first of a connection has SYN, and none of ACK, RST and FIN.
    const FIN_SYN_RST_ACK: u8 = 0b1_0111;
    const RST: u8 = 0b100;
    for flags in (0..=u8::MAX).filter(|flags| flags & FIN_SYN_RST_ACK != 2) {
        let packet = with(&segment(), 33, &[flags]);
        // Who talks into a connection that its ENI does not know is reset, save by what is a reset
        // itself.
        let refused = match flags & RST {
            0 => Refused::Answered(NoConnection),
            _ => Refused::For(NoConnection),
        };
        cases.push(Case::new(API, format!("flags {flags:#010b}"), packet, refused));
    }
    hold(&cases);
}

/// At a NAT gateway, who talks into a closed connection is reset, save by what is a reset itself
/// (NAT-10).
#[test]
fn a_segment_of_no_connection_is_reset_at_a_nat_gateway() {
    let mut cases = Vec::new();
    for (flags, answered) in [
        ("A", true),
        ("SA", true),
        ("FA", true),
        ("F", true),
        ("SF", true),
        ("", true),
        ("R", false),
        ("RA", false),
        ("SR", false),
    ] {
        let packet = tcp((INSIDE, 40_000), (HOST, 443), Tcp { flags, ..SYN_ACK }, b"");
        let refused =
            if answered { Refused::Answered(NoConnection) } else { Refused::For(NoConnection) };
        cases.push(Case::new(API, format!("flags `{flags}`"), packet, refused));
    }
    hold(&cases);
}

#[test]
fn a_udp_header_with_a_wrong_length() {
    // A smaller one than the packet's is sound (RFC 9868).
    let length = u16::try_from(datagram().ip().len() - 20).unwrap();
    let cases: Vec<Case> = (0..8)
        .chain(length + 1..length + 40)
        .chain([u16::MAX])
        .map(|length| {
            let packet = with(&datagram(), 24, &length.to_be_bytes());
            Case::new(API, format!("a length of {length}"), packet, MalformedPacket)
        })
        .collect();
    hold(&cases);
}

#[test]
fn port_0_is_nobody_s() {
    let host = (HOST, 40_000);
    let cases = [
        Case::new(API, "SYN to 0", tcp((INSIDE, 40_000), (DB, 0), SYN, b""), MalformedPacket),
        Case::new(API, "SYN from 0", tcp((INSIDE, 0), (DB, 5432), SYN, b""), MalformedPacket),
        Case::new(API, "SYN from 0 to 0", tcp((INSIDE, 0), (DB, 0), SYN, b""), MalformedPacket),
        Case::new(API, "datagram to 0", udp((INSIDE, 40_000), (DB, 0), b"?"), MalformedPacket),
        Case::new(API, "datagram from 0 to 0", udp((INSIDE, 0), (DB, 0), b"?"), MalformedPacket),
        Case::new(
            "internet/host",
            "SYN to 0",
            tcp(host, ("203.0.113.20", 0), SYN, b""),
            MalformedPacket,
        ),
        // Whatever it is that the address would have been told.
        Case::new(
            "internet/host",
            "datagram to 0",
            udp(host, ("203.0.113.10", 0), b""),
            MalformedPacket,
        ),
    ];
    hold(&cases);
}

/// RFC 768: a source port of zero says that no answer is wanted.
#[test]
fn a_datagram_from_port_0_leaves_by_a_port_like_any_other() {
    let mut net = Net::load(super::TOPOLOGY);
    let arrived = net.send(API, &udp((INSIDE, 0), (DB, 53), b"?")).delivered_at("instance/db");
    let ((source, port), _) = arrived.ends();
    assert_eq!(source, super::ENI);
    assert!(port >= 1024, "{port}");
    assert_eq!(net.engine.connection_count(), 1);
}

/// Option lists that break off, or would have the packet take another way.
const BAD_OPTIONS: [&[u8]; 13] = [
    // Loose and strict source routes: alone, behind others, empty, without a length, before the end.
    &[131, 7, 4, 10, 0, 2, 10],
    &[137, 7, 4, 10, 0, 2, 10],
    &[1, 131, 3, 4],
    &[7, 7, 4, 0, 0, 0, 0, 137, 3, 4],
    &[1, 1, 1, 131],
    &[148, 4, 0, 0, 131, 11, 4, 10, 0, 2, 10, 10, 0, 0, 20],
    // Lengths of none, of less than themselves, beyond the list.
    &[7, 0, 4, 0],
    &[7, 1, 4, 0],
    &[7, 40, 4, 0],
    &[68, 255, 5, 0],
    &[1, 1, 1, 7],
    &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99, 9, 0, 0],
    // Garbage of the largest size.
    &[0xa5; 40],
];

#[test]
fn broken_options_and_source_routes() {
    let mut cases = Vec::new();
    for (from, kind, packet, _) in sound() {
        for options in BAD_OPTIONS {
            let what = format!("{kind} with options {options:02x?}");
            cases.push(Case::new(from, what, with_options(&packet, options), MalformedPacket));
        }
    }
    hold(&cases);
}

/// A record route, timestamps, the largest list there can be: nobody here fills them in, and they
/// open no other way.
#[test]
fn sound_options_pass_as_they_are() {
    let record_route: &[u8] = &[
        7, 39, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let timestamps: &[u8] = &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let padding: &[u8] = &[1; 40];
    for options in [record_route, timestamps, padding, &[148, 4, 0, 0]] {
        let mut net = Net::load(super::TOPOLOGY);
        let packet = with_options(&segment(), options);
        let arrived = net.send(API, &packet).delivered_at("instance/db");
        assert_eq!(arrived.ends().0.0, super::ENI);
        assert_eq!(arrived.ip()[20..20 + options.len()], *options);
        assert_eq!(net.ports_in_use(super::ENI), 1);
    }
}

#[test]
fn what_is_malformed_is_refused_from_everybody() {
    let mut cases = Vec::new();
    for (from, own, to) in [
        ("instance/db", DB, WEB),
        ("instance/appliance", "10.0.0.30", DB),
        ("internet/host", HOST, "203.0.113.20"),
        ("service/s3", "198.18.0.10", "203.0.113.20"),
    ] {
        let packet = tcp((own, 40_000), (to, 443), SYN, b"");
        for (what, packet, reason) in wrong_in_itself(&packet) {
            cases.push(Case::new(from, what, packet, reason));
        }
    }
    hold(&cases);
}

/// One of each kind of wrong.
fn wrong_in_itself(packet: &Packet) -> Vec<(&'static str, Packet, Reason)> {
    vec![
        ("cut off", cut(packet, 39), MalformedPacket),
        ("a bad checksum", flipped(packet, 95), MalformedPacket),
        ("a source route", with_options(packet, BAD_OPTIONS[0]), MalformedPacket),
        ("IPv6", with(packet, 0, &[0x60]), Ipv6NotForwarded),
        ("port 0", with(packet, 22, &[0, 0]), MalformedPacket),
        ("no header", with(packet, 32, &[0x40]), MalformedPacket),
        ("SYN and FIN", with(packet, 33, &[3]), NoConnection),
    ]
}
