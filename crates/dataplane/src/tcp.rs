//! How far a TCP connection is: opening, established, closing, closed.
//!
//! # Theory of operation
//!
//! For each end the tracker keeps what it has sent up to (`next`) and what the other end has
//! acknowledged of that (`acked`). An end is *confirmed* once the other acknowledged its SYN, and
//! *finished* once its FIN was seen. With both confirmed the connection is established; with both
//! finished it is closing, and it stays established while only one is, for half a connection may
//! carry data for as long as it likes (RFC 6146, section 3.5.2). With both FINs acknowledged it is
//! closed: nothing is left that either end could need the translation for, save that the last
//! acknowledgment may still be lost behind us. A simultaneous open or close needs no case of its
//! own.
//!
//! An RST closes at once, if its sequence number lies between `acked` and `next`, ends included,
//! which is where every RST of a host that knows the connection lies; one that refuses a SYN must
//! acknowledge it. A blind guess leaves the connection as it is (RFC 7857, section 2.2). Likewise
//! an acknowledgment of what was never sent, and a jump of more than the largest window.
//!
//! The tracker judges nobody: a segment that it ignores is forwarded all the same, and the end
//! host decides. Super-packets count as the one long segment that they are.

use viaduct_wire::{Frame, L4, TcpFlags};

use crate::connection::Direction;

/// The largest window there is (RFC 7323, section 2.3): nothing valid is further ahead.
const WINDOW: u32 = 1 << 30;

/// How far a connection is; for other protocols than TCP see
/// [`Connection::phase`](crate::connection::Connection::phase).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not both ends have agreed to it.
    Opening,
    /// Both have.
    Established,
    /// Both have said that they are done, and not both have heard it.
    Closing,
    /// Over: its ports can be used again at once.
    Closed,
}

/// What the tracker looks at in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its flags.
    pub flags: TcpFlags,
    /// The sequence number of its first byte, or of its SYN.
    pub sequence: u32,
    /// The acknowledgment number; counts with ACK only.
    pub acknowledgment: u32,
    /// Bytes of data.
    pub payload: u32,
}

impl Segment {
    /// The segment in a frame, if there is a whole one.
    #[must_use]
    pub fn of(frame: &Frame<'_>) -> Option<Self> {
        let L4::Tcp { flags } = frame.l4() else { return None };
        let ip = frame.ip();
        let tcp = ip.get(usize::from(ip[0] & 0xf) * 4..)?.first_chunk::<12>()?;
        let &[_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3] = tcp;
        Some(Self {
            flags,
            sequence: u32::from_be_bytes([s0, s1, s2, s3]),
            acknowledgment: u32::from_be_bytes([a0, a1, a2, a3]),
            payload: frame.payload().len() as u32,
        })
    }

    /// The sequence number after it: SYN and FIN count as a byte each.
    fn end(&self) -> u32 {
        let marks = u32::from(self.flags.syn()) + u32::from(self.flags.fin());
        self.sequence.wrapping_add(self.payload).wrapping_add(marks)
    }
}

/// A connection's state, as seen from between its ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    next: [u32; 2],
    acked: [u32; 2],
    marks: [u8; 2],
}

// Marks of an end.
/// Something is known of it: `next` and `acked` count.
const KNOWN: u8 = 1;
/// Its SYN was seen.
const SYN: u8 = 1 << 1;
/// The other end has acknowledged something of it.
const CONFIRMED: u8 = 1 << 2;
/// Its FIN was seen, and `next` is behind it.
const FIN: u8 = 1 << 3;
/// It has sent a valid RST.
const RST: u8 = 1 << 4;

impl State {
    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let both = self.marks[0] & self.marks[1];
        let either = self.marks[0] | self.marks[1];
        if either & RST != 0 || (both & FIN != 0 && self.acked == self.next) {
            Phase::Closed
        } else if both & FIN != 0 {
            Phase::Closing
        } else if both & CONFIRMED != 0 {
            Phase::Established
        } else {
            Phase::Opening
        }
    }

    /// Takes a segment that travels in `direction` into account; how far the connection is then.
    pub fn advance(&mut self, direction: Direction, segment: &Segment) -> Phase {
        let own = direction as usize;
        let peer = 1 - own;
        if segment.flags.rst() {
            if self.accepts_reset(own, peer, segment) {
                self.marks[own] |= RST;
            }
            return self.phase();
        }
        if segment.flags.syn() {
            self.syn(direction, segment);
        } else {
            self.send(own, segment);
        }
        if segment.flags.ack() {
            self.acknowledge(peer, own, segment.acknowledgment);
        }
        self.phase()
    }

    fn syn(&mut self, direction: Direction, segment: &Segment) {
        let own = direction as usize;
        if direction == Direction::Request && self.phase() == Phase::Closing {
            // The opener uses the port again before we saw the last acknowledgment.
            *self = Self::default();
        }
        // Until it is confirmed, an opener may begin again with another sequence number. After
        // that, a SYN is old or forged, and the other end answers it with an acknowledgment.
        if self.marks[own] & CONFIRMED == 0 {
            self.next[own] = segment.end();
            self.acked[own] = segment.sequence;
            self.marks[own] |= KNOWN | SYN;
        }
    }

    /// A segment without SYN.
    fn send(&mut self, own: usize, segment: &Segment) {
        if self.marks[own] & KNOWN == 0 {
            // A connection older than this tracker: whatever is acknowledged next confirms it.
            self.next[own] = segment.sequence;
            self.acked[own] = segment.sequence.wrapping_sub(1);
            self.marks[own] |= KNOWN;
        }
        let ahead = segment.end().wrapping_sub(self.next[own]);
        if self.marks[own] & FIN == 0 && ahead < WINDOW {
            self.next[own] = segment.end();
            if segment.flags.fin() {
                self.marks[own] |= FIN;
            }
        }
    }

    fn acknowledge(&mut self, peer: usize, own: usize, number: u32) {
        if self.marks[peer] & KNOWN == 0 {
            // An end that opened with a SYN has nothing to acknowledge yet.
            if self.marks[own] & SYN == 0 {
                self.next[peer] = number;
                self.acked[peer] = number;
                self.marks[peer] |= KNOWN | CONFIRMED;
            }
            return;
        }
        let more = number.wrapping_sub(self.acked[peer]);
        if more != 0 && more <= self.next[peer].wrapping_sub(self.acked[peer]) {
            self.acked[peer] = number;
            self.marks[peer] |= CONFIRMED;
        }
    }

    fn accepts_reset(&self, own: usize, peer: usize, segment: &Segment) -> bool {
        let outstanding = |end: usize| self.next[end].wrapping_sub(self.acked[end]);
        if self.marks[own] & KNOWN != 0 {
            return segment.sequence.wrapping_sub(self.acked[own]) <= outstanding(own);
        }
        let acknowledged = segment.acknowledgment.wrapping_sub(self.acked[peer]);
        self.marks[peer] & KNOWN != 0
            && segment.flags.ack()
            && (1..=outstanding(peer)).contains(&acknowledged)
    }
}
