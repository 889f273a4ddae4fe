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
//! an acknowledgment of what was never sent, and a segment far ahead of all that its sender has
//! sent.
//!
//! The tracker judges nobody: a segment that it ignores is forwarded all the same, and the end
//! host decides. Super-packets count as the one long segment that they are.

use viaduct_wire::{Frame, L4, TcpFlags};

use crate::connection::Direction;

/// How far a segment may be ahead of what was seen of its sender. A gap means that segments were
/// lost before they came here, or will come late: 16 MiB are 256 super-packets in a row. A blind
/// guess hits it once in 256 times, and then gains no more than a wider range for the next guess.
const REACH: u32 = 1 << 24;

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
        let begins = direction == Direction::Request && !segment.flags.ack();
        if begins && self.phase() == Phase::Closing {
            // The opener uses the port again before we saw the last acknowledgment.
            *self = Self::default();
        }
        // Until it is confirmed, an opener may begin again with another sequence number. After
        // that, a SYN is old or forged, and the other end answers it with an acknowledgment.
        if self.marks[own] & CONFIRMED == 0 {
            self.next[own] = segment.end();
            self.acked[own] = segment.sequence;
            // Whatever was said before, a FIN for one, had other numbers.
            self.marks[own] = KNOWN | SYN;
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
        if self.marks[own] & FIN == 0 && ahead < REACH {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::connection::Direction::{Reply, Request};

    const S: TcpFlags = TcpFlags::SYN;
    const A: TcpFlags = TcpFlags::ACK;
    const F: TcpFlags = TcpFlags::FIN.union(A);
    const R: TcpFlags = TcpFlags::RST;

    /// The ends' first sequence numbers: one wraps round within the connection.
    const C: u32 = u32::MAX - 50;
    const D: u32 = 7_000_000;

    /// A connection that is told what passes, and answers how far it is.
    #[derive(Clone)]
    struct Watched(State);

    impl Watched {
        /// Sequence numbers are given relative to the sender's first one, acknowledgments to the
        /// other's.
        fn sees(
            &mut self,
            direction: Direction,
            flags: TcpFlags,
            sequence: u32,
            acknowledgment: u32,
            payload: u32,
        ) -> Phase {
            let (own, peer) = if direction == Request { (C, D) } else { (D, C) };
            let sequence = own.wrapping_add(sequence);
            let acknowledgment = if flags.ack() { peer.wrapping_add(acknowledgment) } else { 0 };
            self.0.advance(direction, &Segment { flags, sequence, acknowledgment, payload })
        }

        fn opened() -> Self {
            let mut watched = Self(State::default());
            assert_eq!(watched.sees(Request, S, 0, 0, 0), Phase::Opening);
            assert_eq!(watched.sees(Reply, S.union(A), 0, 1, 0), Phase::Opening);
            assert_eq!(watched.sees(Request, A, 1, 1, 0), Phase::Established);
            watched
        }
    }

    // Conforms: RFC 5382 R2
    #[test]
    fn a_connection_opens_talks_and_closes() {
        let mut watched = Watched::opened();
        assert_eq!(watched.sees(Request, A, 1, 1, 100), Phase::Established);
        assert_eq!(watched.sees(Reply, A, 1, 101, 60_000), Phase::Established);
        assert_eq!(watched.sees(Request, F, 101, 60_001, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, F, 60_001, 102, 0), Phase::Closing);
        assert_eq!(watched.sees(Request, A, 102, 60_002, 0), Phase::Closed);
    }

    // Conforms: RFC 5382 R2
    #[test]
    fn half_a_connection_stays_established_as_long_as_it_is_used() {
        let mut watched = Watched::opened();
        watched.sees(Request, F, 1, 1, 20);
        let mut sent = 1;
        for _ in 0..100 {
            assert_eq!(watched.sees(Reply, A, sent, 22, 1400), Phase::Established);
            sent += 1400;
            assert_eq!(watched.sees(Request, A, 22, sent, 0), Phase::Established);
        }
        assert_eq!(watched.sees(Reply, F, sent, 22, 0), Phase::Closing);
        assert_eq!(watched.sees(Request, A, 22, sent + 1, 0), Phase::Closed);
    }

    /// Both FINs cross: closed when both are acknowledged, not when both were seen.
    // Conforms: RFC 5382 R2
    #[test]
    fn a_simultaneous_close_waits_for_both_acknowledgments() {
        let mut watched = Watched::opened();
        assert_eq!(watched.sees(Request, F, 1, 1, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, F, 1, 1, 0), Phase::Closing);
        assert_eq!(watched.sees(Request, A, 2, 2, 0), Phase::Closing);
        assert_eq!(watched.sees(Reply, A, 2, 2, 0), Phase::Closed);
    }

    /// RFC 5382, REQ-2: SYNs cross.
    // Conforms: RFC 5382 R2a
    #[test]
    fn a_simultaneous_open_is_established_when_both_are_acknowledged() {
        let mut watched = Watched(State::default());
        assert_eq!(watched.sees(Request, S, 0, 0, 0), Phase::Opening);
        assert_eq!(watched.sees(Reply, S, 0, 0, 0), Phase::Opening);
        assert_eq!(watched.sees(Request, S.union(A), 0, 1, 0), Phase::Opening);
        assert_eq!(watched.sees(Reply, S.union(A), 0, 1, 0), Phase::Established);
    }

    // Conforms: RFC 5382 R2a
    #[test]
    fn retransmissions_and_lost_acknowledgments_change_nothing() {
        let mut watched = Watched(State::default());
        assert_eq!(watched.sees(Request, S, 0, 0, 0), Phase::Opening);
        assert_eq!(watched.sees(Request, S, 0, 0, 0), Phase::Opening);
        assert_eq!(watched.sees(Reply, S.union(A), 0, 1, 0), Phase::Opening);
        assert_eq!(watched.sees(Reply, S.union(A), 0, 1, 0), Phase::Opening);
        assert_eq!(watched.sees(Request, A, 1, 1, 10), Phase::Established);
        assert_eq!(watched.sees(Request, A, 1, 1, 10), Phase::Established);
        // The FIN overtakes the data before it, and is sent again.
        assert_eq!(watched.sees(Request, F, 21, 1, 0), Phase::Established);
        assert_eq!(watched.sees(Request, A, 11, 1, 10), Phase::Established);
        assert_eq!(watched.sees(Reply, F, 1, 21, 0), Phase::Closing);
        assert_eq!(watched.sees(Request, F, 21, 1, 0), Phase::Closing);
        assert_eq!(watched.sees(Reply, F, 1, 22, 0), Phase::Closing);
        assert_eq!(watched.sees(Request, A, 22, 2, 0), Phase::Closed);
    }

    #[test]
    fn a_refused_syn_closes_and_a_guessed_refusal_does_not() {
        let mut watched = Watched(State::default());
        watched.sees(Request, S, 0, 0, 0);
        let refuses = |watched: &Watched, acknowledged| {
            let segment = Segment {
                flags: R.union(A),
                sequence: 0,
                acknowledgment: C.wrapping_add(acknowledged),
                payload: 0,
            };
            watched.clone().0.advance(Reply, &segment)
        };
        assert_eq!(refuses(&watched, 0), Phase::Opening);
        assert_eq!(refuses(&watched, 2), Phase::Opening);
        assert_eq!(refuses(&watched, 1), Phase::Closed);
        assert_eq!(watched.sees(Reply, R, 1, 0, 0), Phase::Opening, "acknowledges nothing");
        assert_eq!(watched.sees(Request, R, 1, 0, 0), Phase::Closed, "its opener gave up");
    }

    /// RFC 7857, section 2.2: only an RST that its receiver may accept ends the connection.
    #[test]
    fn a_reset_counts_within_what_is_outstanding_only() {
        let mut watched = Watched::opened();
        watched.sees(Request, A, 1, 1, 1000);
        watched.sees(Reply, A, 1, 501, 0);
        for (sequence, phase) in [
            (500, Phase::Established),
            (501, Phase::Closed),
            (1001, Phase::Closed),
            (1002, Phase::Established),
        ] {
            assert_eq!(watched.clone().sees(Request, R, sequence, 0, 0), phase, "at {sequence}");
        }
        assert_eq!(watched.sees(Reply, R, 0, 0, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, R, 1, 0, 0), Phase::Closed);
        assert_eq!(watched.sees(Request, A, 1001, 1, 5), Phase::Closed, "closed is final");
    }

    #[test]
    fn an_opener_may_begin_again_before_it_is_answered_and_after_both_are_done() {
        let mut watched = Watched(State::default());
        watched.sees(Request, S, 500, 0, 0);
        watched.sees(Request, S, 0, 0, 0);
        watched.sees(Reply, S.union(A), 0, 1, 0);
        assert_eq!(watched.sees(Request, A, 1, 1, 0), Phase::Established);
        assert_eq!(watched.sees(Request, S, 70_000, 0, 0), Phase::Established, "old or forged");

        watched.sees(Request, F, 1, 1, 0);
        assert_eq!(watched.sees(Reply, F, 1, 2, 0), Phase::Closing);
        assert_eq!(watched.sees(Request, S.union(A), 80_000, 1, 0), Phase::Closing, "is a reply");
        assert_eq!(watched.sees(Request, S, 90_000, 0, 0), Phase::Opening);
        assert_eq!(watched.sees(Reply, S.union(A), 40_000, 90_001, 0), Phase::Opening);
        assert_eq!(watched.sees(Request, A, 90_001, 40_001, 0), Phase::Established);
    }

    /// Found by soaking: the server's own FIN was then taken for a repeated one, and the connection
    /// for closed before the last acknowledgment.
    #[test]
    fn a_fin_from_before_the_syn_is_forgotten() {
        let mut watched = Watched(State::default());
        watched.sees(Request, S, 0, 0, 0);
        watched.sees(Reply, F, 500_000, 0, 0);
        watched.sees(Reply, S.union(A), 0, 1, 0);
        watched.sees(Request, A, 1, 1, 0);
        assert_eq!(watched.sees(Request, F, 1, 1, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, F, 1, 2, 0), Phase::Closing);
        assert_eq!(watched.sees(Request, A, 2, 2, 0), Phase::Closed);
    }

    #[test]
    fn a_connection_older_than_the_tracker_is_picked_up_in_its_middle() {
        let mut watched = Watched(State::default());
        assert_eq!(watched.sees(Request, A, 8_000, 9_000, 10), Phase::Opening);
        assert_eq!(watched.sees(Reply, A, 9_000, 8_010, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, F, 9_000, 8_010, 5), Phase::Established);
        assert_eq!(watched.sees(Request, F, 8_010, 9_006, 0), Phase::Closing);
        assert_eq!(watched.sees(Reply, A, 9_006, 8_011, 0), Phase::Closed);
    }

    #[test]
    fn acknowledgments_of_what_was_never_sent_confirm_nothing() {
        let mut watched = Watched(State::default());
        watched.sees(Request, S, 0, 0, 0);
        assert_eq!(watched.sees(Request, A, 1, 1, 0), Phase::Opening, "no SYN came back");
        watched.sees(Reply, S.union(A), 0, 2, 0);
        assert_eq!(watched.sees(Request, A, 1, 1, 0), Phase::Opening, "its own is unconfirmed");
        watched.sees(Reply, A, 1, 1, 0);
        assert_eq!(watched.0.phase(), Phase::Established);
        watched.sees(Request, F, 1, 1, 0);
        watched.sees(Reply, F, 1, 1, 0);
        watched.sees(Reply, A, 2, 3, 0);
        assert_eq!(watched.sees(Request, A, 2, 3, 0), Phase::Closing);
    }

    #[test]
    fn a_segment_is_read_from_its_frame() {
        use viaduct_wire::VNET_HEADER_LEN;
        let mut buffer = vec![0; VNET_HEADER_LEN];
        etherparse::PacketBuilder::ipv4([10, 0, 1, 5], [10, 0, 2, 9], 64)
            .tcp(40_000, 443, 0x0102_0304, 1024)
            .fin()
            .ack(0x0506_0708)
            .options_raw(&[1, 1, 1, 1])
            .unwrap()
            .write(&mut buffer, b"bye")
            .unwrap();
        let frame = Frame::parse(&mut buffer, 1500).unwrap();
        let expected =
            Segment { flags: F, sequence: 0x0102_0304, acknowledgment: 0x0506_0708, payload: 3 };
        assert_eq!(Segment::of(&frame), Some(expected));
        assert_eq!(expected.end(), 0x0102_0308);
    }

    proptest! {
        /// Whoever does not know the numbers can neither close a connection nor keep it from it.
        #[test]
        fn blind_segments_do_not_end_a_connection(
            segments in prop::collection::vec(
                (any::<bool>(), any::<u8>(), REACH + 2.., 2u32..), 1..50,
            ),
        ) {
            let mut watched = Watched::opened();
            for (reply, flags, sequence, acknowledgment) in segments {
                let direction = if reply { Reply } else { Request };
                watched.sees(direction, TcpFlags(flags), sequence, acknowledgment, 0);
            }
            prop_assert_eq!(watched.0.phase(), Phase::Established);
            watched.sees(Request, F, 1, 1, 0);
            watched.sees(Reply, F, 1, 2, 0);
            prop_assert_eq!(watched.sees(Request, A, 2, 2, 0), Phase::Closed);
        }
    }
}
