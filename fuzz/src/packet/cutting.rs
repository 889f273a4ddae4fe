//! Cutting a packet for a link with a smaller MTU: what leaves fits, and makes the packet again.

use viaduct_wire::{Frame, Frames, L4, MOST_PIECES, VNET_HEADER_LEN, protocol};

use super::parse;
use crate::oracle::{header_len, sums, word};

/// Cuts it, if it may be cut.
pub(super) fn fits_and_makes_the_packet(buffer: &[u8], mtu: u16, next_mtu: u16) {
    let mut bytes = buffer.to_vec();
    let mut frame = parse(&mut bytes, mtu);
    if !frame.may_be_cut(next_mtu) {
        return;
    }
    assert!(!frame.dont_fragment() && !matches!(frame.l4(), L4::Fragment { .. }), "{frame}");
    let (before, partial) = (frame.ip().to_vec(), frame.needs_checksum());
    if frame.largest_packet() <= usize::from(next_mtu) {
        return;
    }
    let segmented = frame.is_super_packet();
    if frame.shrink_segments(next_mtu) {
        assert!(segmented && frame.largest_packet() <= usize::from(next_mtu), "{frame}");
        return;
    }
    let mut frames = Frames::default();
    frame.cut(next_mtu, &mut frames);
    assert!(frames.len() > 1 && frames.len() <= MOST_PIECES);

    let mut carried = Vec::new();
    for frame in frames.iter() {
        let mut bytes = frame.to_vec();
        assert!(Frame::parse(&mut bytes, next_mtu).is_ok());
        let ip = &frame[VNET_HEADER_LEN..];
        assert_eq!(frame[..VNET_HEADER_LEN], [0; VNET_HEADER_LEN]);
        assert!(ip.len() <= usize::from(next_mtu) && sums(ip).header);
        assert_eq!((ip[1], &ip[8..10], &ip[12..20]), (before[1], &before[8..10], &before[12..20]));
        if !segmented {
            assert_eq!(usize::from(word(ip, 6) & 0x1fff) * 8, carried.len());
            carried.extend(&ip[header_len(ip)..]);
        }
    }
    if !segmented {
        let header = header_len(&before);
        let mut whole = [&before[..header], &carried].concat();
        if partial {
            assert_eq!(sums(&whole).transport, Some(true), "a checksum that was left to do");
            let at = header + if before[9] == protocol::TCP { 16 } else { 6 };
            whole[at..at + 2].copy_from_slice(&before[at..at + 2]);
        }
        assert_eq!(whole, before);
    }
}
