//! Virtio-net headers that no kernel writes, sent by a guest through a packet socket, and packets
//! whose lengths do not hold: each is refused for its reason.

use crate::support::{Packet, Transport, buffer, partial, super_packet};
use viaduct_wire::vnet::{NEEDS_CSUM, VnetHeader, gso};
use viaduct_wire::{BadOffload, Frame, L4, Malformed, VNET_HEADER_LEN};

const MTU: u16 = 1500;

fn packet(transport: Transport, payload: usize) -> Vec<u8> {
    Packet {
        source: [10, 0, 1, 5].into(),
        destination: [10, 0, 2, 9].into(),
        ttl: 64,
        tos: 0,
        identification: 1,
        dont_fragment: true,
        ip_options: Vec::new(),
        transport,
        payload: vec![0x61; payload],
    }
    .build()
}

fn tcp(payload: usize) -> Vec<u8> {
    let header = etherparse::TcpHeader::new(40_000, 443, 1, 1000);
    packet(Transport::Tcp { header: Box::new(header) }, payload)
}

fn udp(payload: usize) -> Vec<u8> {
    packet(Transport::Udp { source_port: 40_000, destination_port: 53, checksum: true }, payload)
}

fn echo() -> Vec<u8> {
    packet(Transport::EchoRequest { id: 1, seq: 1 }, 56)
}

/// With the IP header's checksum made right again after a change.
fn mended(mut packet: Vec<u8>) -> Vec<u8> {
    let header_len = (usize::from(packet[0] & 15) * 4).clamp(20, packet.len());
    packet[10..12].fill(0);
    let sum = viaduct_wire::checksum::Sum::default().bytes(&packet[..header_len]).checksum();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn changed(mut packet: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    mended(packet)
}

fn parse(header: VnetHeader, packet: &[u8]) -> Result<(), Malformed> {
    Frame::parse(&mut buffer(header, packet), MTU).map(|_| ())
}

#[track_caller]
fn refused(header: VnetHeader, packet: &[u8], reason: BadOffload) {
    assert_eq!(parse(header, packet), Err(Malformed::BadOffloadHeader(reason)));
}

/// Acted on by the receiving kernel, these would store a checksum over the port that was judged.
#[test]
fn a_checksum_may_go_nowhere_but_into_its_field() {
    let forged = |csum_start, csum_offset| VnetHeader {
        flags: NEEDS_CSUM,
        csum_start,
        csum_offset,
        ..VnetHeader::default()
    };
    let offset = |found, expected| BadOffload::ChecksumOffset { found, expected };
    let start = |found| BadOffload::ChecksumStart { found, expected: 20 };
    refused(forged(20, 2), &tcp(10), offset(2, 16));
    refused(forged(20, 2), &udp(10), offset(2, 6));
    refused(forged(20, 6), &tcp(10), offset(6, 16));
    refused(forged(20, 16), &udp(10), offset(16, 6));
    refused(forged(20, u16::MAX), &udp(10), offset(u16::MAX, 6));
    refused(forged(0, 10), &tcp(10), start(0));
    refused(forged(24, 16), &tcp(10), start(24));
    refused(forged(u16::MAX, 16), &tcp(10), start(u16::MAX));
    refused(forged(20, 2), &echo(), BadOffload::ChecksumProtocol);
    assert_eq!(parse(forged(20, 16), &tcp(10)), Ok(()));
    assert_eq!(parse(forged(20, 6), &udp(10)), Ok(()));
}

#[test]
fn a_checksum_left_to_do_covers_the_whole_datagram() {
    let (header, packet) = partial(&udp(10));
    let packet = changed(packet, 24, &17_u16.to_be_bytes());
    refused(header, &packet, BadOffload::ChecksumLength { length: 17, available: 18 });
    assert_eq!(parse(VnetHeader::default(), &packet), Ok(()), "a surplus area is legal");
}

#[test]
fn a_fragment_has_no_offloads() {
    let fragment = changed(udp(56), 6, &0x2000_u16.to_be_bytes());
    assert_eq!(parse(VnetHeader::default(), &fragment), Ok(()));
    refused(partial(&udp(56)).0, &fragment, BadOffload::ChecksumProtocol);
    let cut = VnetHeader { gso_type: gso::UDP_L4, gso_size: 10, ..VnetHeader::default() };
    refused(cut, &fragment, BadOffload::GsoType { gso_type: gso::UDP_L4 });
}

#[test]
fn a_segment_size_has_bounds() {
    let size = |packet: &[u8], size| {
        let (header, packet) = super_packet(packet, size);
        parse(header, &packet)
    };
    let refusal = |size, smallest, largest| {
        Err(Malformed::BadOffloadHeader(BadOffload::GsoSize { size, smallest, largest }))
    };
    assert_eq!(size(&tcp(3000), 1), refusal(1, 48, 1460));
    assert_eq!(size(&tcp(3000), 0), refusal(0, 48, 1460));
    assert_eq!(size(&tcp(3000), 47), refusal(47, 48, 1460));
    assert_eq!(size(&tcp(3000), 48), Ok(()));
    assert_eq!(size(&tcp(3000), 1460), Ok(()));
    assert_eq!(size(&tcp(3000), 1461), refusal(1461, 48, 1460));
    assert_eq!(size(&udp(3000), 0), refusal(0, 1, 1472));
    assert_eq!(size(&udp(3000), 1472), Ok(()));
    assert_eq!(size(&udp(3000), 1473), refusal(1473, 1, 1472));
    // GSO_BY_FRAGS, which the kernel keeps for itself; a packet can have no more payload.
    assert_eq!(size(&tcp(100), 0xffff), Ok(()), "one ordinary packet");

    assert_eq!(size(&udp(1280), 10), Ok(()));
    assert_eq!(
        size(&udp(1281), 10),
        Err(Malformed::BadOffloadHeader(BadOffload::GsoSegments { segments: 129 }))
    );
}

#[test]
fn a_payload_of_one_segment_is_an_ordinary_packet() {
    for packet in [tcp(100), udp(100)] {
        let (header, packet) = super_packet(&packet, 100);
        let mut buffer = buffer(header, &packet);
        let frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        assert!(!frame.is_super_packet());
        assert_eq!((frame.packets(), frame.bytes()), (1, packet.len() as u64));
        let _ = frame.finish();
        let left = VnetHeader::parse(buffer.first_chunk().unwrap());
        assert_eq!((left.gso_type, left.gso_size, left.hdr_len), (gso::NONE, 0, 0));
        assert_eq!((left.flags, left.csum_start), (NEEDS_CSUM, 20));
    }
}

#[test]
fn a_segmentation_type_is_the_protocols_own() {
    for (packet, fits) in
        [(tcp(3000), &[gso::TCPV4, gso::TCPV4 | gso::ECN][..]), (udp(3000), &[gso::UDP_L4][..])]
    {
        for gso_type in 1..=u8::MAX {
            let (header, packet) = super_packet(&packet, 1400);
            let header = VnetHeader { gso_type, ..header };
            if fits.contains(&gso_type) {
                assert_eq!(parse(header, &packet), Ok(()), "{gso_type:#x}");
            } else {
                refused(header, &packet, BadOffload::GsoType { gso_type });
            }
        }
    }
    let header = VnetHeader { gso_type: gso::TCPV4, gso_size: 48, ..VnetHeader::default() };
    refused(header, &echo(), BadOffload::GsoType { gso_type: gso::TCPV4 });
}

#[test]
fn segments_need_checksums() {
    let (header, packet) = super_packet(&tcp(3000), 1400);
    refused(VnetHeader { flags: 0, ..header }, &packet, BadOffload::GsoChecksum);
}

/// Fields that do not matter, and what a header may claim beyond the packet.
#[test]
fn what_is_not_evidence_does_not_leave() {
    const DATA_VALID: u8 = 2;
    let forged = VnetHeader {
        flags: DATA_VALID,
        gso_type: gso::NONE,
        hdr_len: u16::MAX,
        gso_size: u16::MAX,
        csum_start: u16::MAX,
        csum_offset: u16::MAX,
    };
    let mut buffer = buffer(forged, &udp(5));
    let length = Frame::parse(&mut buffer, MTU).expect("an ordinary packet").finish();
    assert_eq!(length, VNET_HEADER_LEN + 33);
    assert_eq!(buffer[..VNET_HEADER_LEN], [0; VNET_HEADER_LEN]);
}

#[test]
fn lengths_beyond_the_packet_are_refused() {
    let bare = |packet: &[u8]| parse(VnetHeader::default(), packet);
    assert_eq!(Frame::parse(&mut [0; 9], MTU).map(|_| ()), Err(Malformed::Truncated { length: 9 }));
    assert_eq!(bare(&[]), Err(Malformed::Truncated { length: 0 }));
    assert_eq!(bare(&tcp(0)[..19]), Err(Malformed::Truncated { length: 19 }));
    assert_eq!(
        bare(&changed(tcp(0), 2, &41_u16.to_be_bytes())),
        Err(Malformed::TotalLength { claimed: 41, available: 40 })
    );
    assert_eq!(
        bare(&changed(tcp(0), 2, &19_u16.to_be_bytes())),
        Err(Malformed::TotalLength { claimed: 19, available: 40 })
    );
    assert_eq!(bare(&changed(tcp(0), 0, &[0x44])), Err(Malformed::HeaderLength { length: 16 }));
    assert_eq!(bare(&changed(tcp(0), 0, &[0x4f])), Err(Malformed::HeaderLength { length: 60 }));
    assert_eq!(
        bare(&changed(tcp(0), 32, &[0x40])),
        Err(Malformed::TcpHeader { length: 16, available: 20 })
    );
    assert_eq!(
        bare(&changed(tcp(0), 32, &[0x60])),
        Err(Malformed::TcpHeader { length: 24, available: 20 })
    );
    assert_eq!(
        bare(&changed(tcp(0), 2, &39_u16.to_be_bytes())),
        Err(Malformed::TcpHeader { length: 0, available: 19 })
    );
    assert_eq!(
        bare(&changed(udp(4), 24, &13_u16.to_be_bytes())),
        Err(Malformed::UdpLength { length: 13, available: 12 })
    );
    assert_eq!(
        bare(&changed(udp(4), 24, &7_u16.to_be_bytes())),
        Err(Malformed::UdpLength { length: 7, available: 12 })
    );
    assert_eq!(
        bare(&changed(udp(4), 2, &27_u16.to_be_bytes())),
        Err(Malformed::UdpLength { length: 0, available: 7 })
    );
}

#[test]
fn what_is_not_ipv4_is_told_apart() {
    let bare = |packet: &[u8]| parse(VnetHeader::default(), packet);
    assert_eq!(bare(&[0x60; 40]), Err(Malformed::Ipv6));
    assert_eq!(bare(&[0x60]), Err(Malformed::Ipv6));
    assert_eq!(bare(&[0x00; 40]), Err(Malformed::NotIp { version: 0 }));
    assert_eq!(bare(&[0xff; 40]), Err(Malformed::NotIp { version: 15 }));
}

#[test]
fn a_damaged_header_is_refused() {
    for at in 0..20 {
        let mut packet = udp(5);
        packet[at] ^= 0x10;
        assert!(parse(VnetHeader::default(), &packet).is_err(), "byte {at}");
    }
    let mut packet = udp(5);
    packet[15] ^= 1;
    assert_eq!(parse(VnetHeader::default(), &packet), Err(Malformed::HeaderChecksum));
}

#[test]
fn source_routes_and_broken_options_are_refused() {
    let with_options = |options: &[u8]| {
        let mut packet = udp(5);
        packet[0] = 0x40 | (5 + options.len() / 4) as u8;
        packet.splice(20..20, options.iter().copied());
        let total = (packet.len() as u16).to_be_bytes();
        parse(VnetHeader::default(), &changed(packet, 2, &total))
    };
    assert_eq!(with_options(&[1, 1, 1, 0]), Ok(()));
    assert_eq!(with_options(&[0, 131, 4, 9]), Ok(()), "nothing counts behind the list's end");
    assert_eq!(with_options(&[131, 3, 4, 0]), Err(Malformed::SourceRoute));
    assert_eq!(with_options(&[1, 137, 3, 4]), Err(Malformed::SourceRoute));
    assert_eq!(with_options(&[1, 1, 1, 131]), Err(Malformed::SourceRoute));
    assert_eq!(with_options(&[7, 5, 4, 0]), Err(Malformed::Options));
    assert_eq!(with_options(&[7, 1, 4, 0]), Err(Malformed::Options));
    assert_eq!(with_options(&[7, 0, 4, 0]), Err(Malformed::Options));
    assert_eq!(with_options(&[1, 1, 1, 7]), Err(Malformed::Options));
}

#[test]
fn fragments_that_hide_something_are_refused() {
    let fragment = |packet: Vec<u8>, blocks: u16, more: bool| {
        let bits = blocks | if more { 0x2000 } else { 0 };
        let packet = changed(packet, 6, &bits.to_be_bytes());
        let mut buffer = buffer(VnetHeader::default(), &packet);
        Frame::parse(&mut buffer, MTU).map(|frame| frame.l4())
    };
    let cut = |packet: Vec<u8>, length: u16| {
        let mut packet = packet;
        packet.truncate(20 + usize::from(length));
        changed(packet, 2, &(20 + length).to_be_bytes())
    };
    let whole = |first, last| Ok(L4::Fragment { first, last });
    let refused = |offset| Err(Malformed::Fragment { offset });
    assert_eq!(fragment(tcp(44), 0, true), whole(true, false));
    assert_eq!(fragment(tcp(40), 3, false), whole(false, true));
    assert_eq!(fragment(udp(40), 1, true), whole(false, false));
    // A first fragment without all of the header, or a later one over it.
    assert_eq!(fragment(cut(tcp(40), 16), 0, true), refused(0));
    assert_eq!(fragment(cut(udp(40), 7), 0, true), refused(0));
    assert_eq!(fragment(cut(echo(), 7), 0, true), refused(0));
    assert_eq!(fragment(tcp(40), 1, false), refused(8));
    assert_eq!(fragment(tcp(40), 2, false), refused(16));
    // Nothing, and a piece that the next one cannot follow.
    assert_eq!(fragment(cut(udp(40), 0), 3, false), refused(24));
    assert_eq!(fragment(tcp(43), 0, true), refused(0));
    // More than a packet can hold.
    assert_eq!(fragment(udp(40), 0x1fff, false), refused(65_528));
}
