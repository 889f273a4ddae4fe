//! Source ports for an address that translates: a Hyperplane ENI's, or a NAT gateway's.
//!
//! # Theory of operation
//!
//! A port is (protocol, port). The ports of the range (1024–65535 unless set otherwise) go through
//! four states, for each protocol apart:
//!
//! ```text
//!            reserve                    reserve, none rested
//!   rested ───────────► in use ◄────────────────────────────── resting
//!      ▲                  │  ▲                                   ▲ │
//!      │   close          │  │ reserve, none free,               │ │
//!      ├──────────────────┤  │ to another destination            │ │ 120 s
//!      │                  │  └─► shared                          │ │
//!      │                  │  drop                                │ │
//!      │                  └──────────────────────────────────────┘ │
//!      └──────────────────────────────────────────────────────────┘
//! ```
//!
//! - While a free port remains, a port belongs to one connection. Past that, ports are shared
//!   between connections to different destinations, which is how an ENI carries 65,000 connections
//!   over 64,512 ports, and a NAT gateway 55,000 for *each* destination (NAT-05, NAT-09, D-11).
//!   Never are two connections to one destination given the same port. A table may be told not to
//!   share at all ([`Assignment`]).
//! - Of ICMP, a port is an identifier. One inside end has one, whoever it asks (RFC 5508, REQ-1 a):
//!   its queries share a port from the beginning.
//! - If asked to, a table prefers ports that are even or odd like the sender's (RFC 4787, REQ-4): a
//!   preference among those that are free and rested, and no reason to refuse.
//! - A port whose connection was seen to close is free at once. Any other rests for 120 s
//!   (RFC 6888, REQ-8), because the far end may still hold the old connection. Rested ports are
//!   preferred, from a random place on (RFC 6056, section 3.3.1); with none left, the one that has
//!   rested longest is taken rather than that anybody be refused or share.
//! - While a port is shared, nobody rests between two of its connections: sharing begins only when
//!   nothing is free, and then use comes before rest.
//! - No reservation evicts another. What is refused is either more than the address may carry in
//!   all ([`Exhausted::Quota`]) or more than one destination has ports for ([`Exhausted::Ports`]).
//!
//! Cost: no operation depends on how many ports are taken. The free ports are a two-level bitmap,
//! the ports of a destination a set that grows from 6 over 128 to a bitmap. A table that was never
//! used holds nothing but its limits; the first connection of a protocol brings some 10 KiB, each
//! destination about 40 bytes. [`PortTable::trim`] gives the memory of idle tables back.
//!
//! Locks: one a protocol, held for the length of one operation, and nothing else is locked inside.

mod bitmap;
mod check;
mod destination;
mod identifiers;
#[cfg(all(loom, test))]
mod models;
mod rest;
mod space;
#[cfg(test)]
mod tests;

use std::{array, fmt, net::Ipv4Addr};

use viaduct_topology::{
    ResourceId,
    model::{PortRange, Settings},
};
use viaduct_wire::protocol;

pub(crate) use self::check::InUse;
use self::space::{Space, Wish};
use crate::{
    moment::Moment,
    rate::Meter,
    sync::{Arc, AtomicU32, Mutex, OnceLock, Ordering},
};

/// What has ports, or identifiers, to translate. If anything else had, sharing a space with one of these
/// would be merely stricter.
const PROTOCOLS: [u8; 3] = [protocol::TCP, protocol::UDP, protocol::ICMP];

/// How much an address may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortLimits {
    /// The ports to give out. Several tables over disjoint ranges may share one address.
    pub ports: PortRange,
    /// Connections in all protocols together (LAM-07: 65,000 for a Hyperplane ENI).
    pub connections: Option<u32>,
    /// Connections to each (address, port, protocol) (NAT-05: 55,000 for a NAT gateway's address).
    pub per_destination: Option<u32>,
}

/// How ports are assigned, as the RFCs call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Whether those who [say](PortTable::reserve_for) which port theirs is get one that is even or odd
    /// like it, if there is one (RFC 4787, REQ-4; RFC 7857, section 8, lets one turn that off).
    pub keeps_parity: bool,
    /// Whether connections to different destinations may share a port once none is free (RFC 7857,
    /// section 3; else RFC 4787, REQ-3, and RFC 5382, REQ-7).
    pub overloads: bool,
}

impl Assignment {
    /// As AWS's translators have it.
    pub const AWS: Self = Self { keeps_parity: false, overloads: true };

    /// What the settings' profile says.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            keeps_parity: settings.preserves_port_parity(),
            overloads: settings.overloads_ports(),
        }
    }
}

/// Why no port can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// Every port is in use towards the destination, or as many as it may have.
    #[error("no source port is left for this destination; connections to others still find one")]
    Ports,
    /// The address carries as many connections as it may.
    #[error("the address carries as many connections as its quota allows")]
    Quota,
}

/// What a table holds at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortUsage {
    /// Connections, in all protocols.
    pub in_use: u32,
    /// Connections that had to share a port.
    pub shared: u32,
    /// Bytes, the table itself included.
    pub memory: usize,
}

/// Tells a table from every other that lives, also from one that later serves the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableId(usize);

/// The ports of one translating address.
pub struct PortTable {
    shared: Arc<Shared>,
    /// Those of [`PROTOCOLS`]; made when a protocol first needs it.
    protocols: [OnceLock<Arc<Protocol>>; PROTOCOLS.len()],
}

/// What a table's protocols have in common.
struct Shared {
    /// The interface whose address it is, if it is one's.
    eni: Option<ResourceId>,
    ports: PortRange,
    connections: Limit,
    per_destination: Limit,
    assignment: Assignment,
    in_use: AtomicU32,
    /// What the address has used of its rates; all addresses of a NAT gateway have one.
    meter: Arc<Meter>,
}

/// A limit that can change: `u32::MAX` if there is none.
struct Limit(AtomicU32);

impl Limit {
    fn new(limit: Option<u32>) -> Self {
        Self(AtomicU32::new(limit.unwrap_or(u32::MAX)))
    }

    fn set(&self, limit: Option<u32>) {
        self.0.store(limit.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn given(&self) -> Option<u32> {
        Some(self.get()).filter(|limit| *limit < u32::MAX)
    }
}

impl Shared {
    /// Its address: whoever asks holds it, so nothing else can be there.
    fn id(self: &Arc<Self>) -> TableId {
        TableId(Arc::as_ptr(self).addr())
    }
}

/// One protocol's ports. A lease refers to this and not to the table: it is what tells its protocol.
struct Protocol {
    shared: Arc<Shared>,
    space: Mutex<Option<Box<Space>>>,
    /// What the space says of its destinations, to be read without its lock.
    crowded: AtomicU32,
}

impl Protocol {
    /// Keeps what is read without the lock up to date. Only for whoever holds it.
    fn note(&self, space: &Space) {
        // It hardly ever changes, and others read what lies beside it.
        if self.crowded.load(Ordering::Relaxed) != space.crowded() {
            self.crowded.store(space.crowded(), Ordering::Relaxed);
        }
    }
}

impl PortTable {
    /// A table with every port free and rested.
    #[must_use]
    pub fn new(limits: PortLimits) -> Self {
        Self::assigning(limits, Assignment::AWS)
    }

    /// A table with every port free and rested, that assigns them like this.
    #[must_use]
    pub fn assigning(limits: PortLimits, assignment: Assignment) -> Self {
        Self::metered(None, limits, assignment, Arc::default())
    }

    /// The same for an interface, with a meter that it shares with others.
    pub(crate) fn metered(
        eni: Option<ResourceId>,
        limits: PortLimits,
        assignment: Assignment,
        meter: Arc<Meter>,
    ) -> Self {
        let PortLimits { ports, connections, per_destination } = limits;
        let shared = Shared {
            eni,
            ports,
            connections: Limit::new(connections),
            per_destination: Limit::new(per_destination),
            assignment,
            in_use: AtomicU32::new(0),
            meter,
        };
        Self { shared: Arc::new(shared), protocols: array::from_fn(|_| OnceLock::new()) }
    }

    /// A port for a new connection to `destination` (address and port; for ICMP echo, where the
    /// port is the identifier, port 0). `random` decides which.
    ///
    /// # Errors
    ///
    /// When the quota or the destination's ports are used up.
    pub fn reserve(
        &self,
        protocol: u8,
        destination: (Ipv4Addr, u16),
        random: u64,
        now: Moment,
    ) -> Result<PortLease, Exhausted> {
        self.reserve_instead(protocol, destination, &[], random, now)
    }

    /// A port to use instead of those `rejected`, which this table gave for the same destination
    /// and which turned out to be taken elsewhere. They are still held, so none of them comes
    /// again, and they do not count against the limits. Drop them when the search is over.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    pub fn reserve_instead(
        &self,
        protocol: u8,
        destination: (Ipv4Addr, u16),
        rejected: &[PortLease],
        random: u64,
        now: Moment,
    ) -> Result<PortLease, Exhausted> {
        self.take(Wish::default(), protocol, destination, rejected, random, now)
    }

    /// [`reserve_instead`](Self::reserve_instead), for an inside end that has this address and port
    /// (or identifier) itself: what it is given depends on that as the module says.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    pub fn reserve_for(
        &self,
        inside: (Ipv4Addr, u16),
        protocol: u8,
        destination: (Ipv4Addr, u16),
        rejected: &[PortLease],
        random: u64,
        now: Moment,
    ) -> Result<PortLease, Exhausted> {
        let like = u32::from(inside.1) + u32::from(first(self.shared.ports));
        let wish = Wish {
            like: self.shared.assignment.keeps_parity.then_some(like),
            of: (protocol == protocol::ICMP).then_some(inside),
        };
        self.take(wish, protocol, destination, rejected, random, now)
    }

    fn take(
        &self,
        wish: Wish,
        protocol: u8,
        destination: (Ipv4Addr, u16),
        rejected: &[PortLease],
        random: u64,
        now: Moment,
    ) -> Result<PortLease, Exhausted> {
        let Shared { ports, connections, per_destination, assignment, in_use, .. } = &*self.shared;
        let rejected = rejected.len() as u32;
        let allowed = |limit: &Limit| limit.get().saturating_add(rejected);
        let quota = allowed(connections);
        if in_use.load(Ordering::Relaxed) >= quota {
            return Err(Exhausted::Quota);
        }

        let protocol = self.protocol(protocol);
        let offset = {
            let mut space = protocol.space.lock();
            let space = space.get_or_insert_with(|| Box::new(Space::new(size(*ports), random)));
            let offset = space
                .take(destination, allowed(per_destination), *assignment, wish, random, now)
                .ok_or(Exhausted::Ports)?;
            // Counted once it is certain, so that a reservation which fails is in nobody's way; and
            // before anybody else looks for a port.
            let counted = in_use.try_update(Ordering::Relaxed, Ordering::Relaxed, |in_use| {
                (in_use < quota).then_some(in_use + 1)
            });
            if counted.is_err() {
                // Another protocol was faster. The port may have been resting.
                space.give_back(destination, offset, false);
                return Err(Exhausted::Quota);
            }
            protocol.note(space);
            offset
        };
        let (address, destination_port) = destination;
        let port = first(*ports) + offset;
        Ok(PortLease { protocol: Some(Arc::clone(protocol)), address, destination_port, port })
    }

    /// This very port for a connection to `destination`, which had it in another table of this address:
    /// as [`reserve_for`](Self::reserve_for), but that neither chance nor a limit has a say, for the
    /// connection is there. None if the port is not of this table, is in use towards the destination,
    /// rests, or is in use and must not be shared.
    pub fn reserve_exactly(
        &self,
        port: u16,
        inside: (Ipv4Addr, u16),
        protocol: u8,
        destination: (Ipv4Addr, u16),
        random: u64,
    ) -> Option<PortLease> {
        let Shared { ports, assignment, in_use, .. } = &*self.shared;
        let offset = port.checked_sub(first(*ports))?;
        let of = (protocol == protocol::ICMP).then_some(inside);
        let protocol = self.protocol(protocol);
        {
            let mut space = protocol.space.lock();
            let space = space.get_or_insert_with(|| Box::new(Space::new(size(*ports), random)));
            if !space.take_this(offset, destination, *assignment, of) {
                return None;
            }
            in_use.fetch_add(1, Ordering::Relaxed);
            protocol.note(space);
        }
        let (address, destination_port) = destination;
        Some(PortLease { protocol: Some(Arc::clone(protocol)), address, destination_port, port })
    }

    /// How much the address may carry.
    #[must_use]
    pub fn limits(&self) -> PortLimits {
        let Shared { ports, connections, per_destination, .. } = &*self.shared;
        PortLimits {
            ports: *ports,
            connections: connections.given(),
            per_destination: per_destination.given(),
        }
    }

    /// Changes how much the address may carry, all but the range of its ports: connections hold
    /// ports of that. More than are allowed go on; none is added until there are fewer.
    pub fn set_limits(&self, limits: PortLimits) {
        self.shared.connections.set(limits.connections);
        self.shared.per_destination.set(limits.per_destination);
    }

    /// What the address has used of its rates.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.shared.meter
    }

    /// Which table this is.
    #[must_use]
    pub fn id(&self) -> TableId {
        self.shared.id()
    }

    /// Connections that hold a port now, in all protocols.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.shared.in_use.load(Ordering::Relaxed)
    }

    /// Whether it is near what it can carry: it has three quarters of its connections, or one
    /// destination has three quarters of the ports.
    #[must_use]
    pub fn is_near_capacity(&self) -> bool {
        let full = self
            .shared
            .connections
            .given()
            .is_some_and(|limit| u64::from(self.in_use()) * 4 >= u64::from(limit) * 3);
        let protocols = self.protocols.iter().filter_map(OnceLock::get);
        full || protocols.into_iter().any(|it| it.crowded.load(Ordering::Relaxed) > 0)
    }

    /// What it holds now. Looks at every destination: for people, not for packets.
    #[must_use]
    pub fn usage(&self) -> PortUsage {
        let mut usage = PortUsage {
            in_use: self.in_use(),
            shared: 0,
            memory: size_of::<Self>() + size_of::<Shared>(),
        };
        for protocol in self.protocols.iter().filter_map(OnceLock::get) {
            usage.memory += size_of::<Protocol>();
            if let Some(space) = &*protocol.space.lock() {
                usage.shared += space.shared();
                usage.memory += size_of::<Space>() + space.memory();
            }
        }
        usage
    }

    /// Gives back the memory of protocols in which no port is in use and none rests. To be called
    /// now and then, a minute apart or so.
    pub fn trim(&self, now: Moment) {
        for protocol in self.protocols.iter().filter_map(OnceLock::get) {
            let mut space = protocol.space.lock();
            if space.as_mut().is_some_and(|space| space.is_idle(now)) {
                *space = None;
            }
        }
    }

    fn protocol(&self, number: u8) -> &Arc<Protocol> {
        let known = PROTOCOLS.iter().position(|known| *known == number);
        self.protocols[known.unwrap_or_default()].get_or_init(|| {
            Arc::new(Protocol {
                shared: Arc::clone(&self.shared),
                space: Mutex::new(None),
                crowded: AtomicU32::new(0),
            })
        })
    }
}

impl fmt::Debug for PortTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortTable")
            .field("limits", &self.limits())
            .field("in_use", &self.in_use())
            .finish_non_exhaustive()
    }
}

/// The use of a port towards one destination; gives itself back when dropped.
#[must_use = "dropping the lease gives the port back"]
pub struct PortLease {
    /// None once it was given back.
    protocol: Option<Arc<Protocol>>,
    address: Ipv4Addr,
    destination_port: u16,
    port: u16,
}

/// Who lent a port: what a connection keeps of a lease, for port and destination can be read off it.
pub struct Lender(Arc<Protocol>);

impl Lender {
    /// The table.
    #[must_use]
    pub fn table(&self) -> TableId {
        self.0.shared.id()
    }

    /// The interface that the table is of, if it is of one.
    #[must_use]
    pub fn eni(&self) -> Option<&ResourceId> {
        self.0.shared.eni.as_ref()
    }

    /// What the table's address has used of its rates.
    pub(crate) fn meter(&self) -> &Meter {
        &self.0.shared.meter
    }

    /// The lease of this port towards this destination, which was [taken apart](PortLease::lender)
    /// before.
    pub fn lease(self, port: u16, (address, destination_port): (Ipv4Addr, u16)) -> PortLease {
        PortLease { protocol: Some(self.0), address, destination_port, port }
    }
}

impl fmt::Debug for Lender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lender")
    }
}

impl PortLease {
    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it leads.
    #[must_use]
    pub fn destination(&self) -> (Ipv4Addr, u16) {
        (self.address, self.destination_port)
    }

    /// Takes the lease apart. The port stays in use until the lease is [put together
    /// again](Lender::lease) and dropped.
    #[must_use]
    pub fn lender(mut self) -> Option<Lender> {
        self.protocol.take().map(Lender)
    }

    /// Gives the port back after a close that both ends know of: it can be used again at once. A
    /// lease that is only dropped lets its port rest.
    pub fn close(mut self) {
        self.give_back(true);
    }

    fn give_back(&mut self, closed: bool) {
        let Some(protocol) = self.protocol.take() else { return };
        let Protocol { shared, space, .. } = &*protocol;
        if let Some(space) = &mut *space.lock() {
            let offset = self.port - first(shared.ports);
            space.give_back((self.address, self.destination_port), offset, closed);
            protocol.note(space);
        }
        shared.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        self.give_back(false);
    }
}

impl fmt::Debug for PortLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, destination_port, .. } = self;
        write!(f, "PortLease({} towards {address}:{destination_port})", self.port())
    }
}

/// The first port to give out: port 0 is reserved (RFC 6335, section 6) and means "any" to sockets.
fn first(ports: PortRange) -> u16 {
    ports.first.max(1)
}

fn size(ports: PortRange) -> u32 {
    (u32::from(ports.last) + 1).saturating_sub(u32::from(first(ports)))
}
