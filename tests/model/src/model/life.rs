//! How long a connection is remembered: until both ends have closed it, one of them has reset it, or
//! nothing was said for too long.
//!
//! Sequence numbers here never wrap round.

use viaduct_topology::model::Settings;

use super::{Direction, connection::Connection};
use crate::packet::{ICMP, Packet, Segment, TCP, UDP};

/// How long nothing may be said, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    opening: u64,
    established: u64,
    closing: u64,
}

impl Patience {
    /// Everybody who holds a connection has a patience of his own, and the shortest counts: the groups
    /// that remember it (SG-25), and whoever translates it (NAT-10, HYP-14).
    pub(super) fn of(protocol: u8, translated: bool, settings: &Settings) -> Self {
        let (groups, nat) = (&settings.connection_tracking, &settings.nat);
        let tracked = match protocol {
            TCP => [
                groups.tcp_opening_timeout,
                groups.tcp_established_timeout,
                groups.tcp_closing_timeout,
            ],
            UDP => [groups.udp_timeout, groups.udp_stream_timeout, groups.udp_timeout],
            ICMP => [groups.icmp_timeout; 3],
            _ => [groups.other_timeout; 3],
        };
        let kept = match protocol {
            _ if !translated => [u32::MAX; 3],
            TCP => [nat.tcp_opening_timeout, nat.tcp_established_timeout, nat.tcp_closing_timeout],
            ICMP => [nat.icmp_timeout; 3],
            _ => [nat.udp_timeout; 3],
        };
        let shortest = |phase: usize| u64::from(tracked[phase].min(kept[phase])) * 1000;
        Self { opening: shortest(0), established: shortest(1), closing: shortest(2) }
    }
}

/// What was seen of a connection, apart from where it leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// When its last packet passed, in milliseconds.
    last: u64,
    ends: [End; 2],
    reset: bool,
    /// Whether somebody has sent a RST that the other end may have refused, and nobody anything since.
    doubt: bool,
    /// What would acknowledge a SYN of the opener's on a connection that stands.
    offered: Option<u32>,
}

/// What one end has said.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// Its packets that passed, and the bytes of them.
    passed: (u64, u64),
    /// Whether anything is known of its numbers, if it is TCP.
    known: bool,
    /// The number behind all that it has sent.
    sent: u32,
    /// And behind all of it that the other end has.
    heard: u32,
    /// Whether the other end has heard anything of it.
    answered: bool,
    /// Whether it has nothing more to say.
    done: bool,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not both ends have agreed to it.
    Opening,
    /// Both have.
    Established,
    /// Both are done, and not both know it.
    Closing,
    /// It is no more.
    Closed,
}

/// What is to be seen of a connection from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The request as its opener sends it.
    pub sent: Packet,
    /// The request as its receiver sees it.
    pub received: Packet,
    /// How far it is.
    pub phase: Phase,
    /// Packets and bytes from the opener.
    pub forward: (u64, u64),
    /// Packets and bytes from the receiver.
    pub back: (u64, u64),
    /// When its last packet passed, in milliseconds.
    pub last: u64,
}

impl Life {
    /// That of a connection whose first packet passes now.
    pub(super) fn begin(packet: &Packet, now: u64) -> Self {
        let ends = [End::default(); 2];
        let mut life = Self { last: now, ends, reset: false, doubt: false, offered: None };
        life.pass(Direction::Forward, packet, now);
        life
    }

    /// A packet passes.
    pub(super) fn pass(&mut self, direction: Direction, packet: &Packet, now: u64) {
        let (own, peer) = match direction {
            Direction::Forward => (0, 1),
            Direction::Return => (1, 0),
        };
        let (packets, bytes) = &mut self.ends[own].passed;
        *packets += 1;
        *bytes += u64::from(packet.length());
        // A RST keeps nothing alive (RFC 7857, section 7.1).
        if !packet.segment.resets() {
            self.last = now;
        }
        if packet.protocol == TCP {
            self.segment(own, peer, packet);
        }
    }

    fn segment(&mut self, own: usize, peer: usize, packet: &Packet) {
        let (first, acknowledged) = packet.numbers();
        if packet.segment.resets() {
            // Only somebody who knows the connection knows where it is (RFC 7857, section 2.2): whoever
            // has the number that the other end expects ends it, and whoever comes near may have
            // (RFC 5961, section 3.2).
            let (End { known, sent, heard, answered, .. }, other) =
                (self.ends[own], self.ends[peer]);
            let expected = match acknowledged {
                _ if known => first == sent || (answered && first == heard),
                Some(number) => other.known && number == other.sent,
                None => false,
            };
            self.reset |= expected;
            self.doubt |= known && !expected && (heard..sent).contains(&first);
            return;
        }
        self.doubt = false;
        let opens = matches!(packet.segment, Segment::Open | Segment::Accept);
        // Both ends have forgotten the connection, and begin again.
        if packet.segment == Segment::Accept
            && own == 1
            && let Some(sent) = self.offered.take_if(|offered| acknowledged == Some(*offered))
        {
            let [forward, back] =
                self.ends.map(|End { passed, .. }| End { passed, ..End::default() });
            self.ends = [End { known: true, heard: sent - 1, sent, ..forward }, back];
        }
        let finishes = packet.segment == Segment::Finish;
        let end = first + u32::from(packet.payload) + u32::from(opens) + u32::from(finishes);
        let it = &mut self.ends[own];
        if opens {
            // Once the other end has heard of it, nothing else is its beginning. Until then, what it
            // said before is void.
            if !it.answered {
                (it.known, it.heard, it.sent, it.done) = (true, first, end, false);
                if own == 0 {
                    self.offered = None;
                }
            } else if packet.segment == Segment::Open && own == 0 {
                self.offered = Some(end);
            }
        } else {
            if !it.known {
                (it.known, it.heard, it.sent) = (true, first - 1, first);
            }
            if !it.done && end >= it.sent {
                (it.sent, it.done) = (end, finishes);
            }
        }
        let other = &mut self.ends[peer];
        if let Some(number) = acknowledged
            && other.known
            && other.heard < number
            && number <= other.sent
        {
            (other.heard, other.answered) = (number, true);
        }
    }

    fn tcp(&self) -> Phase {
        let all = |what: fn(&End) -> bool| self.ends.iter().all(what);
        if self.reset || (all(|end| end.done) && all(|end| end.heard == end.sent)) {
            Phase::Closed
        } else if all(|end| end.done) || self.doubt {
            Phase::Closing
        } else if all(|end| end.answered) {
            Phase::Established
        } else {
            Phase::Opening
        }
    }

    /// More than a question and an answer make a stream (SG-25).
    fn others(&self) -> Phase {
        if self.ends.iter().all(|end| end.passed.0 > 1) {
            Phase::Established
        } else {
            Phase::Opening
        }
    }
}

impl Connection<'_> {
    /// Whether its close was seen.
    pub(super) fn is_closed(&self) -> bool {
        self.sent.protocol == TCP && self.life.tcp() == Phase::Closed
    }

    /// Whether a packet is the first of another connection: both ends are done with this one, and one
    /// uses the port again. Behind a translator, that is the opener's to do.
    pub(super) fn gives_way(&self, direction: Direction, packet: &Packet) -> bool {
        packet.protocol == TCP
            && packet.segment == Segment::Open
            && self.life.tcp() == Phase::Closing
            && (direction == Direction::Forward || !self.way.translates_port())
    }

    /// A packet passes.
    pub(super) fn pass(&mut self, direction: Direction, packet: &Packet, now: u64) {
        let before = self.deadline();
        self.life.pass(direction, packet, now);
        // A RST makes nothing live longer.
        if packet.protocol == TCP && packet.segment.resets() && self.life.tcp() == Phase::Closing {
            let closing = self.patience.closing;
            self.life.last = before.min(now + closing) - closing;
        }
    }

    /// What is to be seen of it.
    pub(super) fn record(&self) -> Record {
        let Life { last, ends: [forward, back], .. } = self.life;
        let phase = match self.sent.protocol {
            TCP => self.life.tcp(),
            _ => self.life.others(),
        };
        let (sent, received) = (self.sent, self.received);
        Record { sent, received, phase, forward: forward.passed, back: back.passed, last }
    }

    /// The moment from which on nobody remembers it, in milliseconds.
    pub(super) fn deadline(&self) -> u64 {
        let Patience { opening, established, closing } = self.patience;
        let phase = if self.sent.protocol == TCP { self.life.tcp() } else { self.life.others() };
        let patience = match phase {
            Phase::Opening => opening,
            Phase::Established => established,
            Phase::Closing => closing,
            Phase::Closed => 0,
        };
        self.life.last + patience
    }
}
