//! What a fragment says of the datagram it is a piece of, and the datagram out of its pieces
//! (RFC 791, section 3.2). Which pieces make one is for the caller to know.

use crate::{
    checksum::Sum,
    frame::Frame,
    ipv4::{Fragment, HEADER_LEN, field},
    rewrite::put,
    vnet::VnetHeader,
};

impl Frame<'_> {
    /// Where it lies in its datagram, if it is a fragment. Its payload is all behind the IP header.
    #[must_use]
    pub fn fragment(&self) -> Option<Fragment> {
        Fragment::of(self.packet.first_chunk()?)
    }

    /// The IP header, options included.
    #[must_use]
    pub fn ip_header(&self) -> &[u8] {
        &self.packet[..usize::from(self.ip_header)]
    }

    /// What tells the fragments of this datagram from those of others between the same hosts.
    #[must_use]
    pub fn identification(&self) -> u16 {
        u16::from_be_bytes([
            self.packet[field::IDENTIFICATION],
            self.packet[field::IDENTIFICATION + 1],
        ])
    }
}

/// Appends to `out` the datagram with this payload, as a whole frame. `header` is its first
/// fragment's IP header, whose options are the datagram's (RFC 791, section 3.1); `congested`
/// marks it as one that met congestion (CE, RFC 3168, section 5.3). Returns the frame's length.
///
/// It may be cut again: DF on a fragment was about the fragment, which was smaller.
///
/// `None`, and nothing appended, if it would be longer than a packet can be.
pub fn assemble<'a>(
    header: &[u8],
    congested: bool,
    payload: impl IntoIterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let start = out.len();
    out.extend_from_slice(&VnetHeader::default().emit());
    let ip = out.len();
    out.extend_from_slice(header);
    payload.into_iter().for_each(|piece| out.extend_from_slice(piece));
    let Ok(total_len) = u16::try_from(out.len() - ip) else {
        out.truncate(start);
        return None;
    };
    let header = &mut out[ip..ip + header.len()];
    header[1] |= if congested { CONGESTION_EXPERIENCED } else { 0 };
    put(header, field::TOTAL_LENGTH, total_len);
    put(header, field::FRAGMENT, 0);
    seal(header);
    Some(out.len() - start)
}

/// Both ECN bits (RFC 3168, section 5).
const CONGESTION_EXPERIENCED: u8 = 3;

/// Writes the checksum of an IP header.
pub(crate) fn seal(header: &mut [u8]) {
    debug_assert!(header.len() >= HEADER_LEN);
    put(header, field::CHECKSUM, 0);
    let checksum = Sum::default().bytes(header).checksum();
    put(header, field::CHECKSUM, checksum);
}
