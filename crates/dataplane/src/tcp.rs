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
//! # Resets
//!
//! A reset that its receiver is bound to accept ends the connection, and frees its ports at once;
//! one that is merely near must not (RFC 7857, section 2.2). Which is which is told by its sequence
//! number, as at its receiver (RFC 5961, section 3.2):
//!
//! - *Exact*: `next`, where a host that gives up goes on, or `acked`, which is what the other end
//!   said last that it expects, and so what a host without the connection answers with. One that
//!   refuses a SYN must acknowledge all of it. Both ends know: closed.
//! - *Plausible*: between the two. Its receiver may take it, or ask back with an acknowledgment. The
//!   connection is closing, with four minutes to live or what it had left, whichever is less; any
//!   segment but a reset says that it goes on after all.
//! - Anything else is a guess, and changes nothing.
//!
//! RFC 7857 would have the exact one wait four minutes, too, lest it be lost behind us and its receiver
//! go on: inside, a host that goes on is reset (NAT-10), and outside, it has nobody left to talk to.
//! Off the path, a guess ends a connection with a probability of 2⁻³¹, and an idle one, where both
//! numbers are one, of 2⁻³². To be plausible it must hit what is on its way at that moment, and then
//! the next segment undoes it.
//!
//! # Beginning again
//!
//! Hosts use a port again. If the old connection is closing, the SYN belongs to a new one, with other
//! ports, judged anew: [`Connection::gives_way`](crate::connection::Connection::gives_way). If only
//! one end has forgotten it, the SYN meets the other's old state: that end answers with an
//! acknowledgment, is reset by the exact number, and the next SYN opens. If both have forgotten it,
//! the answer to the SYN acknowledges just that SYN, and the tracker begins again with them. That
//! takes both ends: a SYN alone may be old or forged.
//!
//! # Going on after a gap
//!
//! A state that was kept ([`State::to_bytes`]) may be older than the last segments: they passed before
//! its connection was taken up again (`State::resumed`). Each end's numbers then count until its next
//! segment, which moves them as any would; one that is too far away for that says that much has passed
//! meanwhile, and the numbers begin anew with it. In the marks such an end is one that is confirmed and
//! of which nothing is known yet, which no other is.
//!
//! Likewise ignored are an acknowledgment of what was never sent, and a segment far ahead of all that
//! its sender has sent.
//!
//! The tracker judges nobody: a segment that it ignores is forwarded all the same, and the end
//! host decides. Super-packets count as the one long segment that they are.

use viaduct_wire::{Frame, L4, TcpFlags};

use crate::direction::Direction;

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
    /// Both have said that they are done, and not both have heard it; or there was a reset that its
    /// receiver may not have taken.
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
    /// What would acknowledge the SYN that the opener has sent on a connection that stands.
    offered: u32,
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
/// It has sent an exact RST.
const RST: u8 = 1 << 4;
/// It has sent a plausible RST, and nobody anything else since.
const DOUBT: u8 = 1 << 5;
/// It has sent a SYN on a connection that stands: `offered` counts.
const OFFER: u8 = 1 << 6;

/// What an RST is worth.
enum Reset {
    Exact,
    Plausible,
    Guess,
}

impl State {
    /// Bytes of a state that is kept.
    pub const BYTES: usize = 22;

    /// The state, to be kept: numbers in big-endian order, then the marks.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let Self { next: [a, b], acked: [c, d], offered, marks } = *self;
        let mut bytes = [0; Self::BYTES];
        let (numbers, rest) = bytes.as_chunks_mut();
        for (place, number) in numbers.iter_mut().zip([a, b, c, d, offered]) {
            *place = number.to_be_bytes();
        }
        rest.copy_from_slice(&marks);
        bytes
    }

    /// The state that was kept so. Whatever the bytes are, it is one that segments can move on from.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let mut numbers = bytes.as_chunks::<4>().0.iter().map(|number| u32::from_be_bytes(*number));
        let mut next = || numbers.next().unwrap_or_default();
        Self {
            next: [next(), next()],
            acked: [next(), next()],
            offered: next(),
            marks: [bytes[20], bytes[21]],
        }
    }

    /// The state of a connection that is taken up again. See the module.
    #[must_use]
    pub(crate) fn resumed(mut self) -> Self {
        for marks in &mut self.marks {
            if *marks & CONFIRMED != 0 {
                *marks &= !KNOWN;
            }
        }
        self
    }

    /// How far it is.
    #[must_use]
    #[inline]
    pub fn phase(&self) -> Phase {
        let both = self.marks[0] & self.marks[1];
        let either = self.marks[0] | self.marks[1];
        // First what is asked for every packet.
        if both & (CONFIRMED | FIN) == CONFIRMED && either & (RST | DOUBT) == 0 {
            Phase::Established
        } else if either & RST != 0 || (both & FIN != 0 && self.acked == self.next) {
            Phase::Closed
        } else if both & FIN != 0 || either & DOUBT != 0 {
            Phase::Closing
        } else {
            Phase::Opening
        }
    }

    /// Takes a segment that travels in `direction` into account; how far the connection is then.
    #[inline]
    pub fn advance(&mut self, direction: Direction, segment: &Segment) -> Phase {
        let own = direction as usize;
        let peer = 1 - own;
        if segment.flags.rst() {
            match self.reset(own, peer, segment) {
                Reset::Exact => self.marks[own] |= RST,
                Reset::Plausible => self.marks[own] |= DOUBT,
                Reset::Guess => {}
            }
            return self.phase();
        }
        self.marks = self.marks.map(|marks| marks & !DOUBT);
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

    #[cold]
    fn syn(&mut self, direction: Direction, segment: &Segment) {
        let own = direction as usize;
        if direction == Direction::Reply && self.takes_offer(segment) {
            let next = self.offered;
            *self = Self::default();
            self.began(Direction::Request as usize, next.wrapping_sub(1), next);
        }
        // Until it is confirmed, an opener may begin again with another sequence number.
        if self.marks[own] & CONFIRMED == 0 {
            self.began(own, segment.sequence, segment.end());
        } else if direction == Direction::Request && segment.flags.opens() {
            self.offered = segment.end();
            self.marks[own] |= OFFER;
        }
    }

    fn began(&mut self, own: usize, sequence: u32, next: u32) {
        self.next[own] = next;
        self.acked[own] = sequence;
        // Whatever was said before, a FIN for one, had other numbers.
        self.marks[own] = KNOWN | SYN;
    }

    /// Whether the other end begins again, too.
    fn takes_offer(&self, segment: &Segment) -> bool {
        self.marks[Direction::Request as usize] & OFFER != 0
            && segment.flags.ack()
            && segment.acknowledgment == self.offered
    }

    /// A segment without SYN.
    fn send(&mut self, own: usize, segment: &Segment) {
        if self.marks[own] & KNOWN == 0 {
            self.begin(own, segment);
        }
        let ahead = segment.end().wrapping_sub(self.next[own]);
        if self.marks[own] & FIN == 0 && ahead < REACH {
            self.next[own] = segment.end();
            if segment.flags.fin() {
                self.marks[own] |= FIN;
            }
        }
    }

    /// The first segment of an end of which nothing is known yet.
    #[cold]
    fn begin(&mut self, own: usize, segment: &Segment) {
        let ahead = segment.end().wrapping_sub(self.next[own]);
        let is_near = ahead < REACH || ahead.wrapping_neg() < REACH;
        let goes_on = self.marks[own] & CONFIRMED != 0 && (is_near || self.marks[own] & FIN != 0);
        if !goes_on {
            // A connection older than this tracker: whatever is acknowledged next confirms it.
            self.next[own] = segment.sequence;
            self.acked[own] = segment.sequence.wrapping_sub(1);
        }
        self.marks[own] |= KNOWN;
    }

    fn acknowledge(&mut self, peer: usize, own: usize, number: u32) {
        if self.marks[peer] & (KNOWN | CONFIRMED) == 0 {
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

    fn reset(&self, own: usize, peer: usize, segment: &Segment) -> Reset {
        if self.marks[own] & (KNOWN | CONFIRMED) == 0 {
            let refuses = self.marks[peer] & (KNOWN | CONFIRMED) != 0
                && segment.flags.ack()
                && segment.acknowledgment == self.next[peer];
            return if refuses { Reset::Exact } else { Reset::Guess };
        }
        let Self { next, acked, marks, .. } = self;
        let sequence = segment.sequence;
        // Before that, `acked` is the SYN itself, which nobody expects again.
        let expected = marks[own] & CONFIRMED != 0 && sequence == acked[own];
        if sequence == next[own] || expected {
            Reset::Exact
        } else if sequence.wrapping_sub(acked[own]) < next[own].wrapping_sub(acked[own]) {
            Reset::Plausible
        } else {
            Reset::Guess
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::direction::Direction::{Reply, Request};

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

    /// Whatever is kept and taken up again at once goes on as it would have.
    #[test]
    fn a_state_that_is_taken_up_again_goes_on() {
        let again = |watched: &Watched| Watched(State::from_bytes(&watched.0.to_bytes()).resumed());
        let opened = Watched::opened();
        assert_eq!(State::from_bytes(&opened.0.to_bytes()), opened.0);

        let mut watched = again(&opened);
        assert_eq!(watched.0.phase(), Phase::Established);
        assert_eq!(watched.sees(Reply, A, 1, 101, 0), Phase::Established, "of nothing sent");
        assert_eq!(watched.sees(Request, A, 1, 1, 100), Phase::Established);
        assert_eq!(watched.sees(Reply, F, 1, 101, 0), Phase::Established);
        let mut watched = again(&watched);
        assert_eq!(watched.sees(Request, F, 101, 2, 0), Phase::Closing);
        let mut watched = again(&watched);
        assert_eq!(watched.0.phase(), Phase::Closing);
        assert_eq!(watched.sees(Reply, A, 2, 102, 0), Phase::Closed);

        for (sequence, phase) in [(1, Phase::Closed), (2, Phase::Established)] {
            assert_eq!(again(&opened).sees(Request, R, sequence, 0, 0), phase);
        }
        let mut opening = Watched(State::default());
        opening.sees(Request, S, 0, 0, 0);
        let mut watched = again(&opening);
        assert_eq!(watched.sees(Reply, S.union(A), 0, 1, 0), Phase::Opening);
        assert_eq!(watched.sees(Request, A, 1, 1, 0), Phase::Established);
    }

    /// Gigabytes have passed between the note and the first segment here.
    #[test]
    fn a_state_that_is_old_begins_anew_with_each_end_s_first_segment() {
        const MEANWHILE: u32 = 3 << 30;
        let mut watched = Watched(Watched::opened().0.resumed());
        assert_eq!(watched.sees(Request, A, MEANWHILE, MEANWHILE, 100), Phase::Established);
        // From then on, numbers count: one that far away is ignored.
        assert_eq!(watched.sees(Request, A, 1, MEANWHILE, 100), Phase::Established);
        assert_eq!(watched.sees(Request, R, 101, 0, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, A, MEANWHILE, MEANWHILE + 100, 0), Phase::Established);
        assert_eq!(watched.sees(Request, F, MEANWHILE + 100, MEANWHILE, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, F, MEANWHILE, MEANWHILE + 101, 0), Phase::Closing);
        assert_eq!(watched.sees(Request, A, MEANWHILE + 101, MEANWHILE + 1, 0), Phase::Closed);
    }

    proptest! {
        /// Any bytes are a state, and what follows finds an end.
        #[test]
        fn whatever_is_kept_can_be_taken_up_again(
            bytes in prop::array::uniform22(any::<u8>()),
            segments in prop::collection::vec((any::<bool>(), any::<(u32, u32, u32)>()), 0..8),
        ) {
            let kept = State::from_bytes(&bytes);
            prop_assert_eq!(kept.to_bytes(), bytes);
            let mut state = kept.resumed();
            for (reply, (sequence, acknowledgment, payload)) in segments {
                let direction = if reply { Reply } else { Request };
                state.advance(direction, &Segment { flags: A, sequence, acknowledgment, payload });
            }
        }
    }

    /// A connection with 500 bytes on their way to the server, from 501 to 1001.
    fn outstanding() -> Watched {
        let mut watched = Watched::opened();
        watched.sees(Request, A, 1, 1, 1000);
        watched.sees(Reply, A, 1, 501, 0);
        watched
    }

    // Conforms: RFC 7857 RST
    #[test]
    fn a_reset_ends_a_connection_by_the_exact_number_only() {
        let watched = outstanding();
        for (sequence, phase) in [
            (500, Phase::Established),
            (501, Phase::Closed),
            (502, Phase::Closing),
            (1000, Phase::Closing),
            (1001, Phase::Closed),
            (1002, Phase::Established),
        ] {
            assert_eq!(watched.clone().sees(Request, R, sequence, 0, 0), phase, "at {sequence}");
        }
        let mut watched = watched;
        assert_eq!(watched.sees(Reply, R, 0, 0, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, R, 1, 0, 0), Phase::Closed);
        assert_eq!(watched.sees(Request, A, 1001, 1, 5), Phase::Closed, "closed is final");
    }

    // Conforms: RFC 7857 RST
    #[test]
    fn any_segment_after_a_plausible_reset_says_that_the_connection_goes_on() {
        for (direction, flags, sequence, acknowledgment) in [
            (Request, A, 1001, 1),
            // What RFC 5961 has its receiver answer.
            (Reply, A, 1, 501),
            (Reply, F, 1, 1001),
        ] {
            let mut watched = outstanding();
            assert_eq!(watched.sees(Request, R, 700, 0, 0), Phase::Closing);
            assert_eq!(watched.sees(Request, R, 5_000, 0, 0), Phase::Closing, "a guess");
            let after = watched.sees(direction, flags, sequence, acknowledgment, 0);
            assert_eq!(after, Phase::Established);
        }
        // And the answer to that is exact.
        let mut watched = outstanding();
        watched.sees(Request, R, 700, 0, 0);
        watched.sees(Reply, A, 1, 501, 0);
        assert_eq!(watched.sees(Request, R, 501, 0, 0), Phase::Closed);
    }

    /// Of the 2³² numbers, two end a connection, and one an idle one.
    // Conforms: RFC 7857 RST
    #[test]
    fn a_blind_reset_ends_a_connection_once_in_two_to_the_31() {
        let idle = Watched::opened();
        for (watched, exact) in [(idle, &[1][..]), (outstanding(), &[501, 1001])] {
            // Around every number that means something, and a sample of all.
            let near = [0_u32, 501, 1001, REACH, 1 << 31].into_iter();
            let near = near.flat_map(|at| {
                (0..2000).map(move |more: u32| at.wrapping_add(more).wrapping_sub(1000))
            });
            let sample = (0..1 << 20).map(|step: u32| step.wrapping_mul(0x9e37_79b9));
            for sequence in near.chain(sample) {
                let closes = watched.clone().sees(Request, R, sequence, 0, 0) == Phase::Closed;
                assert_eq!(closes, exact.contains(&sequence), "at {sequence}");
            }
        }
    }

    #[test]
    fn an_opener_may_begin_again_before_it_is_answered() {
        let mut watched = Watched(State::default());
        watched.sees(Request, S, 500, 0, 0);
        watched.sees(Request, S, 0, 0, 0);
        watched.sees(Reply, S.union(A), 0, 1, 0);
        assert_eq!(watched.sees(Request, A, 1, 1, 0), Phase::Established);
        assert_eq!(watched.sees(Request, S, 70_000, 0, 0), Phase::Established, "old or forged");
    }

    /// The client forgot the connection, the server did not: a challenge, and a reset by its number
    /// (RFC 9293 3.10.7.4, RFC 5961, section 4).
    #[test]
    fn a_syn_on_a_connection_that_stands_is_challenged_and_the_answer_ends_it() {
        let mut watched = outstanding();
        assert_eq!(watched.sees(Request, S, 900_000, 0, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, A, 1, 1001, 0), Phase::Established);
        assert_eq!(watched.sees(Request, R, 1001, 0, 0), Phase::Closed);
    }

    #[test]
    fn two_ends_that_both_forgot_a_connection_begin_again() {
        let mut watched = outstanding();
        watched.sees(Request, F, 1001, 1, 0);
        assert_eq!(watched.sees(Request, S, 900_000, 0, 0), Phase::Established);
        // Of another SYN.
        assert_eq!(watched.sees(Reply, S.union(A), 70_000, 900_000, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, S.union(A), 70_000, 900_001, 0), Phase::Opening);
        assert_eq!(watched.sees(Request, A, 900_001, 70_001, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, F, 70_001, 900_001, 0), Phase::Established, "one FIN");
        assert_eq!(watched.sees(Request, F, 900_001, 70_002, 0), Phase::Closing);
        assert_eq!(watched.sees(Reply, A, 70_002, 900_002, 0), Phase::Closed);
    }

    /// Without a SYN of the opener's before it, nobody begins anything.
    #[test]
    fn a_forged_answer_to_no_syn_changes_nothing() {
        let mut watched = outstanding();
        assert_eq!(watched.sees(Reply, S.union(A), 70_000, 1001, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, R, 70_001, 0, 0), Phase::Established);
        assert_eq!(watched.sees(Reply, R, 1, 0, 0), Phase::Closed);
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
