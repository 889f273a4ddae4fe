//! The ports of one address in one protocol: which are free, which rest, which are in use and
//! towards whom.

use std::{collections::VecDeque, hash::BuildHasher, net::Ipv4Addr, time::Duration};

use foldhash::fast::FixedState;
use hashbrown::{HashTable, hash_table::Entry};

use super::{bitmap::Bitmap, destination::Destination};
use crate::moment::Moment;

/// How long a port rests whose connection was not seen to close (RFC 6888, REQ-8).
pub(super) const REST: Duration = Duration::from_secs(120);

/// Ports that began to rest within this time of each other are rested together.
const BATCH: Duration = Duration::from_secs(1);

/// How many resting ports an operation looks after. Each frees at most one, so that two are enough
/// to catch up; a few more catch up sooner.
const SETTLE: usize = 8;

/// The port's connections beyond its first are counted in the lower bits; this one says that one
/// of its connections ended unseen since the port was last free.
const UNSEEN: u32 = 1 << 31;

/// A protocol's ports, as offsets into the table's range.
#[derive(Debug)]
pub(super) struct Space {
    size: u32,
    /// Free and rested: given first.
    rested: Bitmap,
    /// Free, but resting, in the order in which they were freed.
    resting: VecDeque<u16>,
    /// How many of `resting`, from its front, have rested at which moment.
    batches: VecDeque<Batch>,
    /// How many at the back of `resting` are in no batch yet: a lease that is dropped knows no
    /// time, so its port's rest begins with the next call that does.
    undated: u32,
    /// For each port the connections beyond its first; empty until a port is first shared.
    sharers: Vec<u32>,
    destinations: HashTable<Destination>,
    hasher: FixedState,
    leases: u32,
    shared: u32,
}

#[derive(Debug)]
struct Batch {
    began: Moment,
    rested: Moment,
    ports: u32,
}

impl Space {
    pub(super) fn new(size: u32, seed: u64) -> Self {
        Self {
            size,
            rested: Bitmap::full(size),
            resting: VecDeque::new(),
            batches: VecDeque::new(),
            undated: 0,
            sharers: Vec::new(),
            destinations: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            leases: 0,
            shared: 0,
        }
    }

    /// Takes a port for a connection to `destination`, which may have no more than `limit`; none
    /// if it has, or if every port is in use towards it.
    pub(super) fn take(
        &mut self,
        destination: (Ipv4Addr, u16),
        limit: u32,
        random: u64,
        now: Moment,
    ) -> Option<u16> {
        self.settle(now);
        let hasher = &self.hasher;
        let entry = self.destinations.entry(
            hasher.hash_one(destination),
            |known| known.is(destination),
            |known| hasher.hash_one((known.address, known.port)),
        );
        let used = match &entry {
            Entry::Occupied(known) => known.get().len(),
            Entry::Vacant(_) => 0,
        };
        if used >= limit {
            return None;
        }
        // A random start and then the next that will do: RFC 6056, section 3.3.1.
        let start = ((u128::from(random) * u128::from(self.size)) >> 64) as u32;
        let port = if let Some(port) = self.rested.at_or_after(start) {
            self.rested.remove(port);
            port
        } else if let Some(port) =
            Self::take_resting(&mut self.resting, &mut self.batches, &mut self.undated)
        {
            port
        } else {
            let port = match &entry {
                Entry::Occupied(known) => known.get().unused(start, self.size)?,
                Entry::Vacant(_) if self.size == 0 => return None,
                Entry::Vacant(_) => start,
            };
            if self.sharers.is_empty() {
                self.sharers = vec![0; self.size as usize];
            }
            self.sharers[port as usize] += 1;
            self.shared += 1;
            port
        } as u16;
        let mut known = entry.or_insert_with(|| Destination::new(destination));
        known.get_mut().insert(port, self.size);
        self.leases += 1;
        Some(port)
    }

    /// Takes a port back. `closed`: both ends know that the connection is over, so the port need
    /// not rest.
    pub(super) fn give_back(&mut self, destination: (Ipv4Addr, u16), port: u16, closed: bool) {
        let hash = self.hasher.hash_one(destination);
        let Ok(mut known) = self.destinations.find_entry(hash, |known| known.is(destination))
        else {
            debug_assert!(false, "{destination:?} has no port in use");
            return;
        };
        let was_used = known.get_mut().remove(port);
        debug_assert!(was_used, "port offset {port} is not in use towards {destination:?}");
        if known.get().len() == 0 {
            known.remove();
        }
        self.leases -= 1;
        let mut rest = !closed;
        if let Some(sharers) = self.sharers.get_mut(usize::from(port)) {
            if rest {
                *sharers |= UNSEEN;
            }
            if *sharers & !UNSEEN > 0 {
                *sharers -= 1;
                self.shared -= 1;
                return;
            }
            rest = *sharers & UNSEEN != 0;
            *sharers = 0;
        }
        if rest {
            self.resting.push_back(port);
            self.undated += 1;
        } else {
            self.rested.insert(u32::from(port));
        }
    }

    /// Connections now.
    pub(super) fn leases(&self) -> u32 {
        self.leases
    }

    /// Connections that use a port which another one also uses.
    pub(super) fn shared(&self) -> u32 {
        self.shared
    }

    /// Whether nothing would be lost by forgetting it all: no port is in use, none rests.
    pub(super) fn is_idle(&mut self, now: Moment) -> bool {
        self.date(now);
        let resting = self.batches.back().is_some_and(|batch| now < batch.rested);
        self.leases == 0 && !resting
    }

    /// Heap bytes.
    pub(super) fn memory(&self) -> usize {
        self.rested.memory()
            + self.resting.capacity() * size_of::<u16>()
            + self.batches.capacity() * size_of::<Batch>()
            + self.sharers.capacity() * size_of::<u32>()
            + self.destinations.allocation_size()
            + self.destinations.iter().map(Destination::memory).sum::<usize>()
    }

    fn date(&mut self, now: Moment) {
        if self.undated == 0 {
            return;
        }
        let rested = now + REST;
        match self.batches.back_mut() {
            Some(batch) if now.since(batch.began) < BATCH => {
                batch.ports += self.undated;
                batch.rested = batch.rested.max(rested);
            }
            _ => self.batches.push_back(Batch { began: now, rested, ports: self.undated }),
        }
        self.undated = 0;
    }

    fn settle(&mut self, now: Moment) {
        self.date(now);
        for _ in 0..SETTLE {
            let Some(batch) = self.batches.front_mut().filter(|batch| batch.rested <= now) else {
                return;
            };
            batch.ports -= 1;
            if batch.ports == 0 {
                self.batches.pop_front();
            }
            if let Some(port) = self.resting.pop_front() {
                self.rested.insert(u32::from(port));
            }
        }
    }

    /// The port that has rested longest.
    fn take_resting(
        resting: &mut VecDeque<u16>,
        batches: &mut VecDeque<Batch>,
        undated: &mut u32,
    ) -> Option<u32> {
        let port = resting.pop_front()?;
        match batches.front_mut() {
            Some(batch) => {
                batch.ports -= 1;
                if batch.ports == 0 {
                    batches.pop_front();
                }
            }
            None => *undated -= 1,
        }
        Some(u32::from(port))
    }
}
