//! Lowering the segment size of a SYN: what comes of it is the packet that etherparse makes with
//! the lower number in it.

use crate::support::{
    MTU, Packet, Transport, buffer, completed, packet_of, packet_of_kind, partial, tcp,
};
use proptest::prelude::*;
use viaduct_wire::vnet::VnetHeader;
use viaduct_wire::{Frame, mss_of};

/// An option of a TCP header.
#[derive(Clone, Debug)]
enum TcpOption {
    Mss(u16),
    Other(&'static [u8]),
}

/// Window scale, SACK permitted, timestamps, and the padding that puts the next one at an odd place.
const OTHERS: [&[u8]; 4] = [&[3, 3, 7], &[4, 2], &[8, 10, 1, 2, 3, 4, 5, 6, 7, 8], &[1]];

/// Ends of a list that no receiver reads on behind.
const ENDS: [&[u8]; 5] =
    [&[], &[0, 2, 4, 0xff, 0xff], &[2, 0], &[2, 1, 0xff, 0xff], &[2, 12, 0xff]];

impl TcpOption {
    fn lowered(&self, largest: u16) -> Self {
        match self {
            Self::Mss(size) => Self::Mss(*size.min(&largest)),
            Self::Other(bytes) => Self::Other(bytes),
        }
    }
}

fn option() -> impl Strategy<Value = TcpOption> {
    prop_oneof![
        any::<u16>().prop_map(TcpOption::Mss),
        prop::sample::select(&OTHERS[..]).prop_map(TcpOption::Other),
    ]
}

fn with_options(packet: &Packet, options: &[TcpOption], end: &[u8], syn: bool) -> Packet {
    let mut bytes = Vec::new();
    for option in options {
        match option {
            TcpOption::Mss(size) => bytes.extend([&[2, 4], &size.to_be_bytes()[..]].concat()),
            TcpOption::Other(other) => bytes.extend(*other),
        }
    }
    bytes.extend(end);
    let mut packet = packet.clone();
    let Transport::Tcp { header } = &mut packet.transport else { unreachable!("it is TCP") };
    header.syn = syn;
    header.set_options_raw(&bytes).expect("at most 40 bytes");
    packet
}

proptest! {
    // Conforms: MTU-04
    #[test]
    fn a_syn_announces_no_more_than_fits_and_its_checksum_follows(
        packet in packet_of_kind(tcp(), 0..40),
        options in prop::collection::vec(option(), 0..4),
        end in prop::sample::select(&ENDS[..]),
        largest in any::<u16>(),
        left_to_do in any::<bool>(),
    ) {
        let lowered: Vec<_> = options.iter().map(|option| option.lowered(largest)).collect();
        let expected = with_options(&packet, &lowered, end, true).build();
        let sent = with_options(&packet, &options, end, true).build();
        let (header, bytes) = match left_to_do {
            true => partial(&sent),
            false => (VnetHeader::default(), sent.clone()),
        };
        let mut buffer = buffer(header, &bytes);
        let mut frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        prop_assert_eq!(frame.clamp_mss(largest), sent != expected);
        prop_assert!(!frame.clamp_mss(largest), "once is enough");
        let length = frame.finish();
        prop_assert_eq!(completed(&buffer[..length]), expected);
    }

    #[test]
    fn what_opens_nothing_announces_nothing(
        packet in packet_of_kind(tcp(), 0..40), size in any::<u16>(),
    ) {
        let sent = with_options(&packet, &[TcpOption::Mss(size)], &[], false).build();
        let mut buffer = buffer(VnetHeader::default(), &sent);
        let mut frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        prop_assert!(!frame.clamp_mss(0));
        let length = frame.finish();
        prop_assert_eq!(packet_of(&buffer[..length]), &sent[..]);
    }

    #[test]
    fn another_identification_is_all_that_changes(
        packet in packet_of_kind(tcp(), 0..40), identification in any::<u16>(),
    ) {
        let mut buffer = buffer(VnetHeader::default(), &packet.build());
        let mut frame = Frame::parse(&mut buffer, MTU).expect("a sound packet");
        frame.set_identification(identification);
        let length = frame.finish();
        let expected = Packet { identification, ..packet }.build();
        prop_assert_eq!(packet_of(&buffer[..length]), &expected[..]);
    }
}

/// RFC 6691: options are not taken off.
#[test]
fn a_segment_size_is_the_mtu_without_both_headers() {
    assert_eq!([1500, 8500, 20].map(mss_of), [1460, 8460, 0]);
}
