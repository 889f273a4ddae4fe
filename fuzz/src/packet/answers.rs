//! What a router answers: ICMP errors and resets are packets themselves, right in every checksum.

use std::net::Ipv4Addr;

use viaduct_wire::{
    Frame, L4, VNET_HEADER_LEN,
    icmp::{self, IcmpErrorKind},
    tcp,
};

use super::parse;
use crate::oracle::{Sums, header_len, sums, word};

const SOUND: Sums = Sums { header: true, transport: Some(true) };

/// Every answer there is to this packet.
pub(super) fn are_sound(about: &Frame<'_>, router: Ipv4Addr, mtu: u16) {
    let kinds = [
        IcmpErrorKind::NetworkUnreachable,
        IcmpErrorKind::HostUnreachable,
        IcmpErrorKind::ProtocolUnreachable,
        IcmpErrorKind::PortUnreachable,
        IcmpErrorKind::FragmentationNeeded { mtu },
        IcmpErrorKind::AdminProhibited,
        IcmpErrorKind::TimeExceeded,
    ];
    for kind in kinds {
        error_is_sound(about, router, kind);
    }
    reset_is_sound(about);
}

fn error_is_sound(about: &Frame<'_>, router: Ipv4Addr, kind: IcmpErrorKind) {
    // Something stands before it, which is to be left alone.
    let mut out = vec![0xa5; 3];
    let Some(length) = icmp::error(about, router, kind, &mut out) else {
        assert_eq!(out.len(), 3);
        return;
    };
    assert!(!matches!(about.l4(), L4::IcmpError { .. } | L4::Fragment { first: false, .. }));
    assert_eq!((out.len(), &out[..3]), (3 + length, &[0xa5; 3][..]));
    assert!(length <= icmp::LARGEST_ERROR);

    let mut answer = out.split_off(3);
    assert_eq!(sums(&answer[VNET_HEADER_LEN..]), SOUND, "{kind:?} about {about}");
    let answer = parse(&mut answer, 1500);
    let (kind, code) = kind.type_and_code();
    assert_eq!(answer.l4(), L4::IcmpError { kind, code });
    assert_eq!((answer.source(), answer.destination()), (router, about.source()));
    assert!(!answer.needs_checksum() && answer.dont_fragment());
    // The quote is the packet as its sender sent it, from its first byte on.
    assert!(about.ip().starts_with(answer.payload()));
    let quoted = answer.quoted().expect("a packet that is quoted whole").flow;
    let about_flow = about.flow();
    assert_eq!((quoted.source, quoted.destination), (about_flow.source, about_flow.destination));
    if !matches!(about.l4(), L4::Fragment { .. }) {
        assert_eq!(quoted, about_flow);
    }
}

fn reset_is_sound(about: &Frame<'_>) {
    let mut out = vec![0xa5; 3];
    let Some(length) = tcp::reset(about, &mut out) else {
        assert_eq!(out.len(), 3);
        return;
    };
    assert_eq!((length, out.len()), (tcp::RESET_LEN, 3 + tcp::RESET_LEN));
    let mut answer = out.split_off(3);
    assert_eq!(sums(&answer[VNET_HEADER_LEN..]), SOUND, "the reset of {about}");
    let answer = parse(&mut answer, 1500);
    assert_eq!(answer.flow(), about.flow().reversed());
    let (L4::Tcp { flags }, L4::Tcp { flags: refused }) = (answer.l4(), about.l4()) else {
        panic!("{answer} answers {about}");
    };
    assert!(flags.rst() && !refused.rst());
    // RFC 9293 3.5.2, group 1: it speaks with the sequence number that the segment acknowledges, or
    // acknowledges all of the segment.
    assert_eq!(flags.ack(), !refused.ack());
    let (ours, theirs) = (answer.ip(), &about.ip()[header_len(about.ip())..]);
    let long = |bytes: &[u8], at| u32::from(word(bytes, at)) << 16 | u32::from(word(bytes, at + 2));
    if refused.ack() {
        assert_eq!(long(ours, 24), long(theirs, 8));
    } else {
        let length = about.payload().len() as u32;
        let length = length + u32::from(refused.syn()) + u32::from(refused.fin());
        assert_eq!(long(ours, 28), long(theirs, 4).wrapping_add(length));
    }
}
