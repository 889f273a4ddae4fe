//! The ports of one address in one protocol: which are free, which rest, which are in use and
//! towards whom.

use std::{hash::BuildHasher, net::Ipv4Addr};

use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table::Entry};

use super::{
    Assignment,
    bitmap::Bitmap,
    destination::Destination,
    identifiers::{Identifiers, Inside},
    rest::Rest,
};
use crate::moment::Moment;

/// How many resting ports a reservation looks after. Each connection lays at most one to rest, so
/// two would be enough to catch up; a few more catch up sooner.
const SETTLE: usize = 8;

/// Destinations are kept in so many tables, by hash: a table that grows moves all it holds, and one
/// reservation pays for it.
const TABLES: usize = 64;

/// A port's connections beyond its first are counted in the lower bits; this one says that one of
/// its connections ended without a seen close since the port was last free.
const UNSEEN: u32 = 1 << 31;

/// What a reservation would like best.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wish {
    /// An offset that is even or odd like this one.
    pub(super) like: Option<u32>,
    /// The port that this end has already.
    pub(super) of: Option<Inside>,
}

/// A protocol's ports, as offsets into the table's range.
#[derive(Debug)]
pub(super) struct Space {
    size: u32,
    /// Free and rested: given first.
    rested: Bitmap,
    /// Free, but resting.
    rest: Rest,
    /// For each port the connections beyond its first; empty until a port is first shared.
    sharers: Vec<u32>,
    /// Destinations that have most of the ports there are: [`near`] as many, or more.
    crowded: u32,
    /// The ports in use, by destination. One without any has no entry.
    destinations: [HashTable<Destination>; TABLES],
    identifiers: Identifiers,
    hasher: FixedState,
}

impl Space {
    pub(super) fn new(size: u32, seed: u64) -> Self {
        Self {
            size,
            rested: Bitmap::full(size),
            rest: Rest::default(),
            sharers: Vec::new(),
            crowded: 0,
            destinations: [const { HashTable::new() }; TABLES],
            identifiers: Identifiers::new(seed),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// Takes a port for a connection to `destination`, which may have no more than `limit`; none
    /// if it has, or if every port is in use towards it.
    pub(super) fn take(
        &mut self,
        destination: (Ipv4Addr, u16),
        limit: u32,
        assignment: Assignment,
        wish: Wish,
        random: u64,
        now: Moment,
    ) -> Option<u16> {
        self.settle(now);
        let Self { size, rested, rest, sharers, crowded, destinations, identifiers, hasher } = self;
        let entry = entry(destinations, hasher, destination);
        let known = match &entry {
            Entry::Occupied(known) => Some(known.get()),
            Entry::Vacant(_) => None,
        };
        if known.map_or(0, Destination::len) >= limit {
            return None;
        }
        let mut share = |port: u32| {
            count_sharer(sharers, *size, port as u16);
            port as u16
        };
        // A random start and then the next that will do: RFC 6056, section 3.3.1.
        let start = ((u128::from(random) * u128::from(*size)) >> 64) as u32;
        let alike = |like| rested.alike_at_or_after(start, like);
        let mapped = wish.of.and_then(|inside| identifiers.port_of(inside));
        let port = if let Some(port) = mapped.filter(|&port| known.is_none_or(|it| !it.uses(port)))
        {
            share(u32::from(port))
        } else if let Some(port) = wish.like.and_then(alike).or_else(|| rested.at_or_after(start)) {
            rested.remove(port);
            port as u16
        } else if let Some(port) = rest.pop_oldest() {
            port
        } else if !assignment.overloads {
            return None;
        } else {
            match known {
                Some(known) => share(known.unused(start, *size)?),
                None if *size > 0 => share(start),
                None => return None,
            }
        };
        if let Some(inside) = wish.of {
            identifiers.map(inside, port);
        }
        *crowded += u32::from(enter(entry, destination, port, *size));
        Some(port)
    }

    /// Takes this port for a connection to `destination`, of this inside end if that must be one with
    /// others of its port. Whether it could be had.
    pub(super) fn take_this(
        &mut self,
        port: u16,
        destination: (Ipv4Addr, u16),
        assignment: Assignment,
        of: Option<Inside>,
    ) -> bool {
        let Self { size, rested, rest, sharers, crowded, destinations, identifiers, hasher } = self;
        if u32::from(port) >= *size {
            return false;
        }
        let entry = entry(destinations, hasher, destination);
        if let Entry::Occupied(known) = &entry
            && known.get().uses(port)
        {
            return false;
        }
        if rested.contains(u32::from(port)) {
            rested.remove(u32::from(port));
        } else {
            let is_mapped = of.is_some_and(|inside| identifiers.port_of(inside) == Some(port));
            let may_share = assignment.overloads || is_mapped;
            if !may_share || rest.ports().any(|resting| resting == port) {
                return false;
            }
            count_sharer(sharers, *size, port);
        }
        if let Some(inside) = of {
            identifiers.map(inside, port);
        }
        *crowded += u32::from(enter(entry, destination, port, *size));
        true
    }

    /// Takes a port back. `closed`: both ends know that the connection is over, so the port need
    /// not rest.
    pub(super) fn give_back(&mut self, destination: (Ipv4Addr, u16), port: u16, closed: bool) {
        let hash = hash(&self.hasher, destination);
        let destinations = &mut self.destinations[table(hash)];
        let Ok(mut known) = destinations.find_entry(hash, |known| known.to == destination) else {
            debug_assert!(false, "{destination:?} has no port in use");
            return;
        };
        self.crowded -= u32::from(known.get().len() == near(self.size));
        let was_used = known.get_mut().remove(port);
        debug_assert!(was_used, "port offset {port} is not in use towards {destination:?}");
        if known.get().len() == 0 {
            known.remove();
        }
        let mut rest = !closed;
        if let Some(sharers) = self.sharers.get_mut(usize::from(port)) {
            if rest {
                *sharers |= UNSEEN;
            }
            if *sharers & !UNSEEN > 0 {
                *sharers -= 1;
                return;
            }
            rest = *sharers & UNSEEN != 0;
            *sharers = 0;
        }
        self.identifiers.forget(port);
        if rest {
            self.rest.push(port);
        } else {
            self.rested.insert(u32::from(port));
        }
    }

    /// How many destinations have most of the ports there are.
    pub(super) const fn crowded(&self) -> u32 {
        self.crowded
    }

    /// Connections that use a port which another one also uses, but for the first of each port.
    pub(super) fn shared(&self) -> u32 {
        self.sharers.iter().map(|sharers| sharers & !UNSEEN).sum()
    }

    /// Whether nothing would be lost by forgetting it all: no port is in use, none rests.
    pub(super) fn is_idle(&mut self, now: Moment) -> bool {
        self.rest.date(now);
        self.destinations.iter().all(HashTable::is_empty) && self.rest.is_over(now)
    }

    /// Heap bytes.
    pub(super) fn memory(&self) -> usize {
        self.rested.memory()
            + self.rest.memory()
            + self.sharers.capacity() * size_of::<u32>()
            + self.identifiers.memory()
            + self.destinations.iter().map(HashTable::allocation_size).sum::<usize>()
            + self.destinations.iter().flatten().map(Destination::memory).sum::<usize>()
    }

    /// Calls `f` with each destination and port in use towards it.
    pub(super) fn for_each_use(&self, mut f: impl FnMut((Ipv4Addr, u16), u16)) {
        for known in self.destinations.iter().flatten() {
            known.for_each(|port| f(known.to, port));
        }
    }

    /// Whether each port is free, resting or in use and not two of these, and those that share one
    /// are counted right.
    pub(super) fn is_sound(&self) -> bool {
        let mut users = vec![0_u32; self.size as usize];
        self.for_each_use(|_, port| users[usize::from(port)] += 1);
        let mut states: Vec<u32> = users.iter().map(|&users| users.min(1)).collect();
        self.rest.ports().for_each(|port| states[usize::from(port)] += 1);
        for (port, state) in (0..).zip(&mut states) {
            *state += u32::from(self.rested.contains(port));
        }
        let beyond = |users: &u32| users.saturating_sub(1);
        let counted = self.sharers.iter().map(|sharers| sharers & !UNSEEN);
        let crowded = self.destinations.iter().flatten().filter(|it| it.len() >= near(self.size));
        crowded.count() == self.crowded as usize
            && states.iter().all(|&states| states == 1)
            && users.iter().map(beyond).sum::<u32>() == self.shared()
            && (self.sharers.is_empty() || counted.eq(users.iter().map(beyond)))
    }

    fn settle(&mut self, now: Moment) {
        self.rest.date(now);
        for _ in 0..SETTLE {
            let Some(port) = self.rest.pop_rested(now) else { return };
            self.rested.insert(u32::from(port));
        }
    }
}

/// How many of so many ports are nearly all: three quarters.
const fn near(size: u32) -> u32 {
    size - size / 4
}

/// The place of a destination, whether or not it has ports in use.
fn entry<'a>(
    destinations: &'a mut [HashTable<Destination>; TABLES],
    hasher: &FixedState,
    to: (Ipv4Addr, u16),
) -> Entry<'a, Destination> {
    let hash_of_it = hash(hasher, to);
    destinations[table(hash_of_it)].entry(
        hash_of_it,
        |known| known.to == to,
        |known| hash(hasher, known.to),
    )
}

/// Notes that a port of so many is in use towards a destination, which is at this place. Whether that
/// has nearly all by now.
fn enter(entry: Entry<'_, Destination>, to: (Ipv4Addr, u16), port: u16, size: u32) -> bool {
    let mut known = entry.or_insert_with(|| Destination::new(to));
    known.get_mut().insert(port, size);
    known.get().len() == near(size)
}

/// Counts another connection of a port that is in use.
fn count_sharer(sharers: &mut Vec<u32>, size: u32, port: u16) {
    if sharers.is_empty() {
        *sharers = vec![0; size as usize];
    }
    sharers[usize::from(port)] += 1;
}

fn hash(hasher: &FixedState, (address, port): (Ipv4Addr, u16)) -> u64 {
    hasher.hash_one((address.to_bits(), port))
}

/// Told by other bits of the hash than a table itself uses.
fn table(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES
}
