//! One conversation, both directions, and everything it holds.
//!
//! A connection is born when the walk admits its first packet and dies as a whole: its ports are
//! leases in it, so that they are free when and only when it is gone. It keeps them taken apart,
//! because what a lease knows besides its lender is written in the keys: a million connections are
//! 18 MB smaller for it.
//!
//! What packets of the one direction become is what packets of the other look like, backwards.
//! So only the two keys are stored, and a direction's rewrite is read off the other one's key.

mod table;

use std::{
    hash::{Hash, Hasher},
    net::Ipv4Addr,
    time::Duration,
};

use viaduct_topology::{
    Reason,
    inventory::AttachmentId,
    model::{ConnectionTracking, NatTimeouts},
};
use viaduct_wire::{Flow, Rewrite, protocol};

pub use self::table::{ConnectionId, Connections, InsertError, Lookup};
pub use crate::direction::Direction;
use crate::{
    moment::{Moment, Seconds},
    port_table::{InUse, Lender, PortLease, TableId},
    tcp::{self, Phase, Segment},
    walk::{SERVICE, TRANSLATORS},
};

/// What packets of one direction look like, and where they come in. Tenants with the same
/// addresses never meet, because they come in elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The scope of the attachment that the packets come from: its number, or one that all hosts
    /// of the internet share.
    pub ingress: u32,
    /// Addresses and ports on arrival.
    pub flow: Flow,
}

impl Hash for Key {
    /// Two words instead of nine fields: this runs for every packet.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Flow { protocol, source, destination, source_port, destination_port } = self.flow;
        let ports = u32::from(source_port) << 16 | u32::from(destination_port);
        // Scopes are below 2²⁰.
        let from = self.ingress ^ u32::from(protocol) << 24;
        state.write_u64(u64::from(from) << 32 | u64::from(source.to_bits()));
        state.write_u64(u64::from(ports) << 32 | u64::from(destination.to_bits()));
    }
}

/// Ports that a connection may hold: one for each that translates its source.
pub const LEASES: usize = TRANSLATORS;

/// One direction of a connection.
#[derive(Clone, Debug)]
pub struct Half {
    /// What its packets look like on arrival.
    pub key: Key,
    /// Where they go.
    pub target: AttachmentId,
    /// The policy generation that they were last judged under; 0 is never.
    pub generation: u32,
    /// Why they are refused, if they are.
    pub blocked: Option<Reason>,
    /// How much of their TTL is used up on the way.
    pub ttl_decrement: u8,
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes of IP packet forwarded.
    pub bytes: u64,
}

impl Half {
    /// A direction that nothing has travelled yet and nobody has judged.
    #[must_use]
    pub fn new(key: Key, target: AttachmentId) -> Self {
        Self { key, target, generation: 0, blocked: None, ttl_decrement: 0, packets: 0, bytes: 0 }
    }
}

/// How long a connection outlives its last packet, by phase; whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Once it is established.
    pub established: u32,
    /// Until then.
    pub opening: u16,
    /// When it is about to end.
    pub closing: u16,
}

impl Timeouts {
    /// With these times, rounded up to seconds; those of opening and closing at most 18 hours.
    #[must_use]
    pub fn new(opening: Duration, established: Duration, closing: Duration) -> Self {
        let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let short = |time| u16::try_from(seconds(time)).unwrap_or(u16::MAX);
        Self {
            established: u32::try_from(seconds(established)).unwrap_or(u32::MAX),
            opening: short(opening),
            closing: short(closing),
        }
    }

    /// What a security group that tracks the connection gives it (SG-25, SG-18). AWS names no time
    /// for TCP that is not established: four minutes, the transitory timeout of RFC 7857; and none
    /// for ICMP: a minute, the least that RFC 5508 allows (REQ-2).
    #[must_use]
    pub fn tracked(protocol: u8, timeouts: &ConnectionTracking) -> Self {
        match protocol {
            protocol::TCP => Self::of_seconds(
                timeouts.tcp_opening_timeout,
                timeouts.tcp_established_timeout,
                timeouts.tcp_closing_timeout,
            ),
            protocol::UDP => {
                let ConnectionTracking { udp_timeout, udp_stream_timeout, .. } = *timeouts;
                Self::of_seconds(udp_timeout, udp_stream_timeout, udp_timeout)
            }
            protocol::ICMP => Self::alike(timeouts.icmp_timeout),
            _ => Self::alike(timeouts.other_timeout),
        }
    }

    /// What a Hyperplane ENI or a NAT gateway gives a connection that it translates. Only of TCP,
    /// UDP and ICMP are there any.
    #[must_use]
    pub fn translated(protocol: u8, timeouts: &NatTimeouts) -> Self {
        match protocol {
            protocol::TCP => Self::of_seconds(
                timeouts.tcp_opening_timeout,
                timeouts.tcp_established_timeout,
                timeouts.tcp_closing_timeout,
            ),
            protocol::ICMP => Self::alike(timeouts.icmp_timeout),
            _ => Self::alike(timeouts.udp_timeout),
        }
    }

    fn of_seconds(opening: u32, established: u32, closing: u32) -> Self {
        let short = |seconds| u16::try_from(seconds).unwrap_or(u16::MAX);
        Self { established, opening: short(opening), closing: short(closing) }
    }

    fn alike(seconds: u32) -> Self {
        Self::of_seconds(seconds, seconds, seconds)
    }

    /// The shorter time of each phase: a connection lives as long as the shortest timer of what
    /// holds it.
    #[must_use]
    pub fn shortest(self, other: Self) -> Self {
        Self {
            established: self.established.min(other.established),
            opening: self.opening.min(other.opening),
            closing: self.closing.min(other.closing),
        }
    }

    fn of(self, phase: Phase) -> Seconds {
        Seconds(match phase {
            Phase::Opening => self.opening.into(),
            Phase::Established => self.established,
            Phase::Closing => self.closing.into(),
            Phase::Closed => 0,
        })
    }
}

/// A conversation. `P` is whatever the owner needs to know of its way.
///
/// What each packet looks at comes first, so that it lies in as few lines of the cache as it can.
#[derive(Debug)]
#[repr(C)]
pub struct Connection<P> {
    /// The direction of its first packet.
    pub request: Half,
    /// The other direction.
    pub reply: Half,
    /// When its last packet passed.
    pub last_seen: Moment,
    /// How long it lives without packets.
    pub timeouts: Timeouts,
    /// How far it is, if it is TCP.
    pub tcp: tcp::State,
    /// Its way through the network.
    pub path: P,
    /// The ports that it holds.
    ports: [u16; LEASES],
    /// Whoever translates it, and so lends it a port.
    lenders: [Option<Lender>; LEASES],
    /// When it was born.
    pub created: Moment,
}

impl<P> Connection<P> {
    /// A connection that no packet has passed yet.
    pub fn new(request: Half, reply: Half, path: P, timeouts: Timeouts, now: Moment) -> Self {
        Self {
            request,
            reply,
            last_seen: now,
            timeouts,
            tcp: tcp::State::default(),
            path,
            ports: [0; LEASES],
            lenders: [const { None }; LEASES],
            created: now,
        }
    }

    /// One of its directions.
    #[must_use]
    pub fn half(&self, direction: Direction) -> &Half {
        match direction {
            Direction::Request => &self.request,
            Direction::Reply => &self.reply,
        }
    }

    /// One of its directions.
    pub fn half_mut(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Request => &mut self.request,
            Direction::Reply => &mut self.reply,
        }
    }

    /// What packets of this direction are to say when they leave.
    #[must_use]
    pub fn rewrite(&self, direction: Direction) -> Rewrite {
        let (own, other) = match direction {
            Direction::Request => (&self.request, &self.reply),
            Direction::Reply => (&self.reply, &self.request),
        };
        let flow = other.key.flow;
        Rewrite {
            source: flow.destination,
            destination: flow.source,
            source_port: flow.destination_port,
            destination_port: flow.source_port,
            ttl_decrement: own.ttl_decrement,
        }
    }

    /// Whether a segment opens another connection in the place of this one: both ends are done, and
    /// one uses the port again (RFC 9293 3.6.1). From outside nothing opens toward ports that were
    /// translated, so there only the opener can mean it.
    #[must_use]
    pub fn gives_way(&self, direction: Direction, segment: &Segment) -> bool {
        segment.flags.opens()
            && self.phase() == Phase::Closing
            && (direction == Direction::Request || !self.is_translated())
    }

    /// Counts a packet that passes, and moves the connection's clock and state with it; `segment`
    /// if it is TCP. An RST does not keep a connection alive (RFC 7857, section 7.1); if it may have
    /// ended it, the time for closing begins, and what was left is not made more.
    #[inline]
    pub fn seen(
        &mut self,
        direction: Direction,
        segment: Option<&Segment>,
        packets: u64,
        bytes: u64,
        now: Moment,
    ) -> Phase {
        let half = self.half_mut(direction);
        half.packets += packets;
        half.bytes += bytes;
        let Some(segment) = segment else {
            self.last_seen = self.last_seen.max(now);
            return self.phase();
        };
        if segment.flags.rst() {
            self.reset(direction, segment, now)
        } else {
            self.last_seen = self.last_seen.max(now);
            self.tcp.advance(direction, segment)
        }
    }

    #[cold]
    fn reset(&mut self, direction: Direction, segment: &Segment, now: Moment) -> Phase {
        let before = self.deadline();
        let phase = self.tcp.advance(direction, segment);
        if phase == Phase::Closing {
            let closing = self.timeouts.of(phase);
            self.last_seen = before.min(now + closing) - closing;
        }
        phase
    }

    /// How far it is. Without TCP's handshake, a conversation is established after more than one
    /// packet each way: that is what makes a UDP flow a stream (SG-25).
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.request.key.flow.protocol == protocol::TCP {
            self.tcp.phase()
        } else if self.request.packets.min(self.reply.packets) > 1 {
            Phase::Established
        } else {
            Phase::Opening
        }
    }

    /// When it ends if no other packet passes.
    #[must_use]
    #[inline]
    pub fn deadline(&self) -> Moment {
        self.standing().1
    }

    /// How far it is, and when it ends if no other packet passes.
    #[inline]
    pub(crate) fn standing(&self) -> (Phase, Moment) {
        let phase = self.phase();
        (phase, self.last_seen + self.timeouts.of(phase))
    }

    /// Has its time be over, whatever passes of it meanwhile.
    pub fn cut(&mut self) {
        self.timeouts = Timeouts::alike(0);
    }

    /// Whether its time is over. NAT-10: at 350 s idle it is, one millisecond before it is not.
    #[must_use]
    pub fn is_expired(&self, now: Moment) -> bool {
        self.deadline() <= now
    }

    /// Takes over a translator's port, which must be of this connection's destination as that
    /// translator sees it.
    pub fn hold(&mut self, translator: usize, lease: PortLease) {
        debug_assert_eq!(lease.destination(), self.destination_at(translator));
        self.ports[translator] = lease.port();
        self.lenders[translator] = lease.lender();
    }

    /// Hands a translator's port over.
    pub fn take_lease(&mut self, translator: usize) -> Option<PortLease> {
        let lender = self.lenders[translator].take()?;
        Some(lender.lease(self.ports[translator], self.destination_at(translator)))
    }

    /// The ports it holds, 0 where none is needed.
    #[must_use]
    pub fn ports(&self) -> [u16; LEASES] {
        self.ports
    }

    /// Whose those ports are.
    #[must_use]
    pub fn tables(&self) -> [Option<TableId>; LEASES] {
        self.lenders.each_ref().map(|lender| lender.as_ref().map(Lender::table))
    }

    /// Who lends it a translator's port.
    #[must_use]
    pub fn lender(&self, translator: usize) -> Option<&Lender> {
        self.lenders[translator].as_ref()
    }

    /// Whether anybody translates it.
    #[must_use]
    pub fn is_translated(&self) -> bool {
        self.lenders.iter().any(Option::is_some)
    }

    /// What its ports stand for.
    pub(crate) fn uses(&self) -> impl Iterator<Item = InUse> + '_ {
        self.lenders.iter().enumerate().filter_map(|(translator, lender)| {
            let destination = self.destination_at(translator);
            Some(lender.as_ref()?.in_use(self.ports[translator], destination))
        })
    }

    /// Where a translator's port leads: the last of them, an endpoint's service side, sees the
    /// service, the others what the opener has written.
    pub(crate) fn destination_at(&self, translator: usize) -> (Ipv4Addr, u16) {
        let Flow { destination, destination_port, .. } = match translator {
            SERVICE => self.reply.key.flow.reversed(),
            _ => self.request.key.flow,
        };
        (destination, destination_port)
    }

    /// Gives its ports back: to be used at once if its close was seen, to rest otherwise.
    pub fn release(self) {
        if self.phase() == Phase::Closed {
            self.abandon();
        }
    }

    /// Gives back ports that nobody outside can know of any more, or never did.
    pub(crate) fn abandon(mut self) {
        (0..LEASES).filter_map(|translator| self.take_lease(translator)).for_each(PortLease::close);
    }
}

impl<P> Drop for Connection<P> {
    fn drop(&mut self) {
        (0..LEASES).for_each(|translator| drop(self.take_lease(translator)));
    }
}
