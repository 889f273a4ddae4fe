//! Making a packet that is too big for a link into packets that are not.
//!
//! | packet | becomes |
//! |---|---|
//! | a TCP super-packet | one of smaller segments: a stream has no boundaries to keep, and a segment that nobody has to put together again is lost alone |
//! | a UDP super-packet | its datagrams, each cut if it has to be |
//! | anything else | fragments (RFC 791, section 3.2) |
//!
//! A checksum that was left to do is done first: no kernel sums over several fragments.

use crate::{
    checksum::pseudo_header,
    flow::Flow,
    fragment::seal,
    frame::Frame,
    frames::Frames,
    ipv4::{self, HEADER_LEN, MORE_FRAGMENTS, field},
    offload::{Segmentation, TCP_SMALLEST_SEGMENT},
    rewrite::put,
    transport::{L4, TCP_CHECKSUM, UDP_CHECKSUM, UDP_HEADER_LEN, shown},
    vnet::VnetHeader,
};

/// The most packets that one is cut into. Enough for every packet and an MTU of 576 bytes, which
/// every network has; below, a receiver with a tiny MTU could have us do much work for one packet.
pub const MOST_PIECES: usize = 256;

/// Fragments lie at multiples of this many bytes.
const BLOCK: usize = 8;

impl Frame<'_> {
    /// Whether it may be made into packets of at most `mtu` bytes, and can. Not if its sender
    /// forbids it (DF), if it is itself a fragment, if the IP header leaves no room for a block or the
    /// transport header that the first must show (RFC 1858), or for more than [`MOST_PIECES`].
    #[must_use]
    pub fn may_be_cut(&self, mtu: u16) -> bool {
        if self.dont_fragment() || matches!(self.l4, L4::Fragment { .. }) {
            return false;
        }
        let mtu = usize::from(mtu);
        match self.offload.segmentation {
            Some(_) if matches!(self.l4, L4::Tcp { .. }) => {
                mtu >= usize::from(self.headers) + usize::from(TCP_SMALLEST_SEGMENT)
            }
            Some(Segmentation { size, .. }) => {
                let datagram = UDP_HEADER_LEN + usize::from(size);
                let datagrams = self.payload().len().div_ceil(size.into());
                self.pieces(datagram, mtu).is_some_and(|each| each * datagrams <= MOST_PIECES)
            }
            None => {
                let length = self.packet.len() - usize::from(self.ip_header);
                self.pieces(length, mtu).is_some_and(|pieces| pieces <= MOST_PIECES)
            }
        }
    }

    /// Fragments that an IP payload of `length` bytes needs at most.
    fn pieces(&self, length: usize, mtu: usize) -> Option<usize> {
        let room = mtu.checked_sub(self.ip_header.into())? / BLOCK * BLOCK;
        let enough = room > 0 && room >= shown(self.flow.protocol);
        enough.then(|| length.div_ceil(room))
    }

    /// Makes the segments of a TCP super-packet so small that each packet has at most `mtu` bytes.
    /// `false` if it is none. To be called only if it [may be cut](Self::may_be_cut).
    #[must_use]
    pub fn shrink_segments(&mut self, mtu: u16) -> bool {
        match &mut self.offload.segmentation {
            Some(segmentation) if matches!(self.l4, L4::Tcp { .. }) => {
                let room = mtu.saturating_sub(self.headers.into());
                segmentation.size = segmentation.size.min(room.max(TCP_SMALLEST_SEGMENT));
                true
            }
            _ => false,
        }
    }

    /// Appends to `out` what the packet becomes on a link of this MTU: whole frames, each of at
    /// most `mtu` bytes of IP packet, in their order. To be called only if it
    /// [may be cut](Self::may_be_cut), and is no TCP super-packet.
    ///
    /// The datagrams of a super-packet count on from its identification, as the kernel has them do.
    pub fn cut(self, mtu: u16, out: &mut Frames) {
        let first = self.identification();
        let mtu = mtu.into();
        let Self { packet, flow, l4, ip_header, headers, offload, .. } = self;
        let (header, segment) = packet.split_at_mut(ip_header.into());
        let Some(Segmentation { size, .. }) = offload.segmentation else {
            if offload.partial {
                complete(segment, &flow, l4);
            }
            return fragments(header, first, [segment, &[]], mtu, out);
        };
        let mut udp = [0; UDP_HEADER_LEN];
        udp.copy_from_slice(&segment[..UDP_HEADER_LEN]);
        let data = &segment[usize::from(headers - ip_header)..];
        for (number, datagram) in data.chunks(size.into()).enumerate() {
            // INVARIANT: a part of a packet is no longer than a packet.
            let length = (UDP_HEADER_LEN + datagram.len()) as u16;
            put(&mut udp, UDP_LENGTH, length);
            put(&mut udp, UDP_CHECKSUM, 0);
            let Flow { protocol, source, destination, .. } = flow;
            let sum = pseudo_header(source, destination, protocol, length);
            let checksum = sum.bytes(&udp).bytes(datagram).udp_checksum();
            put(&mut udp, UDP_CHECKSUM, checksum);
            let identification = first.wrapping_add(number as u16);
            fragments(header, identification, [&udp, datagram], mtu, out);
        }
    }
}

/// Where UDP has its length, in bytes from its header.
const UDP_LENGTH: usize = 4;

/// Does the checksum of a segment that leaves it to do (`skb_checksum_help`).
fn complete(segment: &mut [u8], flow: &Flow, l4: L4) {
    let at = if matches!(l4, L4::Udp) { UDP_CHECKSUM } else { TCP_CHECKSUM };
    put(segment, at, 0);
    // INVARIANT: a packet's length, and so its payload's, fits the total length field.
    let sum = pseudo_header(flow.source, flow.destination, flow.protocol, segment.len() as u16);
    let sum = sum.bytes(segment);
    put(segment, at, if at == UDP_CHECKSUM { sum.udp_checksum() } else { sum.checksum() });
}

/// Appends the packet with this payload, which is in two parts: whole if it fits, in fragments
/// otherwise.
fn fragments(
    header: &[u8],
    identification: u16,
    payload: [&[u8]; 2],
    mtu: usize,
    out: &mut Frames,
) {
    let length = payload[0].len() + payload[1].len();
    let mut later = [0; ipv4::LARGEST_HEADER];
    let later_len = header_of_later(header, &mut later);
    let mut own = header;
    let mut offset = 0;
    loop {
        let left = length - offset;
        let room = mtu.saturating_sub(own.len());
        let (taken, more) = match left <= room {
            true => (left, 0),
            false => (room / BLOCK * BLOCK, MORE_FRAGMENTS),
        };
        out.push(|out| {
            out.extend_from_slice(&VnetHeader::default().emit());
            let ip = out.len();
            out.extend_from_slice(own);
            extend(out, payload, offset..offset + taken);
            // INVARIANT: a part of a packet is no longer than a packet.
            let total_len = (out.len() - ip) as u16;
            let header = &mut out[ip..ip + own.len()];
            put(header, field::TOTAL_LENGTH, total_len);
            put(header, field::IDENTIFICATION, identification);
            put(header, field::FRAGMENT, (offset / BLOCK) as u16 | more);
            seal(header);
        });
        if more == 0 || taken == 0 {
            debug_assert!(more == 0, "an MTU of {mtu} has no room behind {} bytes", own.len());
            return;
        }
        own = &later[..later_len];
        offset += taken;
    }
}

/// Appends a part of what lies in two pieces.
fn extend(out: &mut Vec<u8>, [first, second]: [&[u8]; 2], range: std::ops::Range<usize>) {
    let middle = first.len();
    out.extend_from_slice(&first[range.start.min(middle)..range.end.min(middle)]);
    let from = |at: usize| at.saturating_sub(middle);
    out.extend_from_slice(&second[from(range.start)..from(range.end)]);
}

/// The header of all fragments but the first: of the options, those that are to be copied (RFC 791,
/// section 3.1). Returns its length.
fn header_of_later(header: &[u8], later: &mut [u8; ipv4::LARGEST_HEADER]) -> usize {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;

    let (fixed, mut options) = header.split_at(HEADER_LEN);
    later[..HEADER_LEN].copy_from_slice(fixed);
    let mut length = HEADER_LEN;
    while let Some(&kind) = options.first() {
        let size = match kind {
            END => break,
            NO_OPERATION => 1,
            _ => options.get(1).copied().unwrap_or(0).max(2).into(),
        };
        let (option, rest) = options.split_at(options.len().min(size));
        if kind & COPIED != 0 {
            later[length..][..option.len()].copy_from_slice(option);
            length += option.len();
        }
        options = rest;
    }
    // Padded with ends of the list, which are zero.
    length = length.next_multiple_of(4);
    later[0] = 0x40 | (length / 4) as u8;
    length
}
