//! The maximum segment size that a SYN announces (RFC 9293 3.7.1), and lowering it.
//!
//! An end that opens a connection says how large the segments are that it takes. A gateway that
//! passes less says so on its behalf ("clamping"): then neither end sends what would be lost on the
//! way, whether or not path MTU discovery works.

use crate::checksum::Difference;
use crate::frame::Frame;
use crate::ipv4::HEADER_LEN;
use crate::rewrite::{put, update};
use crate::transport::{L4, TCP_CHECKSUM, TCP_HEADER_LEN};

const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const MSS: u8 = 2;

/// The segment size that goes with an MTU: without the two headers, options not counted (RFC 6691).
#[must_use]
pub const fn mss_of(mtu: u16) -> u16 {
    mtu.saturating_sub((HEADER_LEN + TCP_HEADER_LEN) as u16)
}

impl Frame<'_> {
    /// Lowers the segment size that a SYN or SYN-ACK announces to `largest`, and its checksum with
    /// it. Says whether anything changed.
    ///
    /// A smaller one stays, a missing one stays missing: its receiver then assumes 536 (RFC 9293
    /// 3.7.1). Of several, each is lowered, because receivers differ in which one they heed. A list
    /// that ends in the middle of an option is left alone from there on; so is everything that is
    /// no SYN.
    pub fn clamp_mss(&mut self, largest: u16) -> bool {
        if !matches!(self.l4, L4::Tcp { flags } if flags.syn()) {
            return false;
        }
        let (ip_header, headers) = (usize::from(self.ip_header), usize::from(self.headers));
        let header = &mut self.packet[ip_header..headers];
        let mut difference = Difference::default();
        let mut changed = false;
        let mut at = TCP_HEADER_LEN;
        while let Some(&kind) = header.get(at) {
            let length = match kind {
                END => break,
                NO_OPERATION => 1,
                _ => match header.get(at + 1) {
                    Some(&length) if length >= 2 => usize::from(length),
                    _ => break,
                },
            };
            let Some(option) = header.get(at..at + length) else { break };
            if let &[MSS, _, high, low] = option {
                let announced = u16::from_be_bytes([high, low]);
                if announced > largest {
                    put(header, at + 2, largest);
                    difference = difference.and(at_offset(at + 2, announced, largest));
                    changed = true;
                }
            }
            at += length;
        }
        // In the partial state the field holds nothing but the pseudo-header's sum.
        if changed && !self.offload.partial {
            update(header, TCP_CHECKSUM, |checksum| difference.apply(checksum));
        }
        changed
    }
}

/// What the change of a word does to a checksum. At an odd offset its bytes belong to two words of
/// the sum, which counts them the other way round (RFC 1071, section 2 B).
fn at_offset(at: usize, old: u16, new: u16) -> Difference {
    if at.is_multiple_of(2) {
        Difference::default().word(old, new)
    } else {
        Difference::default().word(old.swap_bytes(), new.swap_bytes())
    }
}
