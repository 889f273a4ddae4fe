//! All connections, found by what a packet of either direction looks like.
//!
//! # Theory of operation
//!
//! Connections live in a slab, each under its own lock. An index of small entries leads from the
//! hash of either key to slot and direction; the key is compared in the slot. A timer wheel knows
//! when to look at a connection next, so that nobody ever scans them.
//!
//! - **Birth**: into a slot; enter the reply's key, then the request's; arm the timer. The reply's
//!   key goes first, for only with it secured may packets use the translation: if it is taken, the
//!   caller tries another port. If the request's key is there, another thread was faster: this
//!   birth is undone and the caller uses the winner.
//! - **Death**: empty the slot; remove both keys; disarm the timer; free the slot; and only then,
//!   as the caller drops what it got, give the ports back. A connection that a reply ends during
//!   its birth is emptied only, and the rest left to the thread that made it. An entry whose slot
//!   is empty leads nowhere, and a birth that finds one in its way takes it over: until the entry
//!   is gone its slot is not used again, so "empty" cannot mean anybody else.
//! - **Time**: a connection whose deadline has passed is dead to [`Connections::lookup`], whether
//!   or not [`Connections::expire`] came by. Packets move the deadline and touch no timer; only
//!   when one brings it closer (a close was seen) is the timer armed anew.
//!
//! - **Copies**: whoever keeps connections elsewhere asks which slots have [changed](Connections::changes):
//!   by births, deaths, and what a packet does to one that is not established or is to end. A packet
//!   of an established connection is no such change: clocks and counts that move with each are looked
//!   up now and then ([`Connections::in_slot`]).
//!
//! Locks: a shard of the index, a slot, the slab's free list, the wheel; never two at once. The
//! functions that callers pass in run under one slot's lock: they must not call the table.
//!
//! Memory for a million connections of 200 bytes in the slab: 12 each for the timer and 39 for two
//! index entries.

mod check;

use std::{fmt, hash::BuildHasher};

use foldhash::fast::FixedState;

use super::{Connection, Direction, Key};
use crate::{
    index::{Index, Place},
    moment::Moment,
    slab::{Id, Slab, Taken},
    sync::Mutex,
    timer_wheel::TimerWheel,
};

/// Names a connection, and never a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(Id);

/// What a packet's key leads to.
#[derive(Debug)]
pub enum Lookup<P, R> {
    /// A connection, and what the caller's function made of it.
    Hit(R),
    /// A connection whose time was over. It is out of the table now: tell its death, release it,
    /// and go on as for a miss.
    Expired(Box<Connection<P>>),
    /// Nothing.
    Miss,
}

/// Why a connection was not born. Its ports were never used and are free again, except where it
/// comes back.
#[derive(thiserror::Error)]
pub enum InsertError<P> {
    /// Replies would be taken for another connection's packets: try another port.
    #[error("the reply's addresses and ports belong to another connection")]
    ReplyTaken(Box<Connection<P>>),
    /// Another thread has opened the same connection: use that one. It may be gone again by the
    /// time it is looked for, as when two threads open a connection from its two ends at once.
    #[error("the connection exists already")]
    RequestExists(ConnectionId),
    /// It was born, and a reply has ended it at once: whoever did tells its death.
    #[error("the connection was ended during its birth")]
    Ended,
    /// As many connections as the table may hold.
    #[error("the connection table is full; raise its capacity")]
    CapacityFull,
    /// The 64-bit hash of the request is another connection's: once in some 10¹³ births at a
    /// million connections.
    #[error("the connection's hash belongs to another connection")]
    Collision,
}

impl<P> fmt::Debug for InsertError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReplyTaken(_) => f.write_str("ReplyTaken"),
            Self::RequestExists(id) => f.debug_tuple("RequestExists").field(id).finish(),
            Self::Ended => f.write_str("Ended"),
            Self::CapacityFull => f.write_str("CapacityFull"),
            Self::Collision => f.write_str("Collision"),
        }
    }
}

/// The table.
pub struct Connections<P> {
    slab: Slab<Connection<P>>,
    index: Index,
    timers: Mutex<TimerWheel>,
    hasher: FixedState,
}

impl<P> Connections<P> {
    /// A table of at most `capacity` connections. `seed` keeps the places of keys secret from
    /// those who choose them.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        let capacity = u32::try_from(capacity).unwrap_or(u32::MAX).min(Place::MAX_SLOT);
        Self {
            slab: Slab::new(capacity),
            index: Index::new(),
            timers: Mutex::new(TimerWheel::new()),
            hasher: FixedState::with_seed(seed),
        }
    }

    /// Finds the connection that a packet with this key belongs to, and calls `f` with it.
    #[inline]
    pub fn lookup<R>(
        &self,
        key: &Key,
        now: Moment,
        f: impl FnOnce(ConnectionId, Direction, &mut Connection<P>) -> R,
    ) -> Lookup<P, R> {
        let Some(place) = self.index.find(self.hash(key)) else { return Lookup::Miss };
        let direction = direction(place);
        let Some(mut slot) = self.slab.lock(place.slot()) else { return Lookup::Miss };
        let id = slot.id();
        let Some(connection) = slot.value() else { return Lookup::Miss };
        if connection.half(direction).key != *key {
            return Lookup::Miss;
        }
        let (was, before) = connection.standing();
        if before <= now {
            drop(slot);
            return self.expired(id, now);
        }
        let result = f(ConnectionId(id), direction, connection);
        let (is, deadline) = connection.standing();
        let sooner = deadline < before;
        if sooner || is != was {
            self.slab.mark(id.slot);
        }
        drop(slot);
        self.arm_if(place.slot(), sooner.then_some(deadline));
        Lookup::Hit(result)
    }

    /// Takes a connection out whose time was over. Since its lock was given back, a packet in the
    /// other direction may have revived it.
    #[cold]
    fn expired<R>(&self, id: Id, now: Moment) -> Lookup<P, R> {
        match self.remove_if(id, |connection| connection.is_expired(now)) {
            Some(connection) => Lookup::Expired(Box::new(connection)),
            None => Lookup::Miss,
        }
    }

    /// Calls `f` with this connection; none if it has died.
    pub fn with<R>(
        &self,
        ConnectionId(id): ConnectionId,
        f: impl FnOnce(&mut Connection<P>) -> R,
    ) -> Option<R> {
        let (result, sooner) = self.slab.with(id, |connection| {
            let before = connection.deadline();
            let result = f(connection);
            let sooner = sooner(connection, before);
            if sooner.is_some() {
                self.slab.mark(id.slot);
            }
            (result, sooner)
        })?;
        self.arm_if(id.slot, sooner);
        Some(result)
    }

    /// Brings a connection into the table.
    ///
    /// # Errors
    ///
    /// See [`InsertError`]; the table is then as before.
    pub fn insert(&self, connection: Connection<P>) -> Result<ConnectionId, InsertError<P>> {
        let (request, reply) = (connection.request.key, connection.reply.key);
        let deadline = connection.deadline();
        let id = self.slab.insert(connection).map_err(|connection| {
            connection.abandon();
            InsertError::CapacityFull
        })?;
        if self.enter(&reply, place(id, Direction::Reply)).is_err() {
            return Err(match self.undo(id, &reply) {
                Some(connection) => InsertError::ReplyTaken(Box::new(connection)),
                // Whoever still held the place of the slot's former tenant, by the same key, has
                // found this one there and ended it.
                None => InsertError::Ended,
            });
        }
        while let Err(standing) = self.enter(&request, place(id, Direction::Request)) {
            let found = self.slab.visit(standing.slot(), |winner, connection| {
                (winner, connection.half(direction(standing)).key)
            });
            let error = match found {
                Some((winner, key)) if key == request => {
                    InsertError::RequestExists(ConnectionId(winner))
                }
                Some((_, key)) if self.hash(&key) == self.hash(&request) => InsertError::Collision,
                // It died since, and its slot may have another tenant already. Its entry can be
                // taken over now, or is gone: every round means that another thread has moved on.
                _ => continue,
            };
            let Some(connection) = self.undo(id, &reply) else { return Err(InsertError::Ended) };
            connection.abandon();
            return Err(error);
        }
        if self.slab.complete(id) {
            self.timers.lock().arm(id.slot, deadline);
        } else {
            // A reply has ended it: it was born, and is dead.
            self.forget(id, &request, &reply);
        }
        Ok(ConnectionId(id))
    }

    /// Takes a connection out of the table; none if it has died. Its ports are given back when the
    /// caller [releases](Connection::release) or drops it.
    pub fn remove(&self, ConnectionId(id): ConnectionId) -> Option<Connection<P>> {
        self.remove_if(id, |_| true)
    }

    /// Takes out connections whose time is over and hands them to `died`, which may call the
    /// table. At most `budget` timers are looked at; as many as were are the answer, so that less
    /// than `budget` means that no more are due.
    pub fn expire(&self, now: Moment, budget: usize, died: &mut dyn FnMut(Connection<P>)) -> usize {
        let mut left = budget;
        loop {
            let Some(slot) = self.timers.lock().pop(now, &mut left) else { return budget - left };
            let found = self.slab.visit(slot, |id, connection| (id, connection.deadline()));
            match found {
                Some((id, deadline)) if deadline <= now => {
                    let expired = self.remove_if(id, |connection| connection.is_expired(now));
                    match expired {
                        Some(connection) => died(connection),
                        // Revived meanwhile; its timer is spent.
                        None => self.rearm(slot),
                    }
                }
                Some((_, deadline)) => self.timers.lock().arm(slot, deadline),
                None => {}
            }
        }
    }

    /// A moment before which [`expire`](Self::expire) finds nothing to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.timers.lock().next_due()
    }

    /// Calls `f` with each connection in turn, one locked at a time: what is born or dies
    /// meanwhile may be missed or seen.
    pub fn for_each(&self, mut f: impl FnMut(ConnectionId, &Connection<P>)) {
        for slot in 0..self.slab.touched() {
            self.slab.visit(slot, |id, connection| f(ConnectionId(id), connection));
        }
    }

    /// Calls `f` with each slot in which a connection was born, has died, has become established or is
    /// to end sooner since the last time. No lock is held meanwhile.
    pub fn changes(&self, f: impl FnMut(u32)) {
        self.slab.changes(f);
    }

    /// Calls `f` with the connection in this slot, if there is one.
    pub fn in_slot<R>(&self, slot: u32, f: impl FnOnce(&Connection<P>) -> R) -> Option<R> {
        self.slab.visit(slot, |_, connection| f(connection))
    }

    /// Slots that were ever used: the numbers below it.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.slab.touched()
    }

    /// Connections now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Heap bytes, without what paths and port tables hold.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.slab.memory() + self.index.memory() + self.timers.lock().memory()
    }

    fn hash(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key)
    }

    fn enter(&self, key: &Key, place: Place) -> Result<(), Place> {
        self.index.insert(self.hash(key), place, |standing| !self.slab.is_live(standing.slot()))
    }

    /// Ends a birth whose request's key was not entered; none if a reply has ended the connection
    /// before.
    fn undo(&self, id: Id, reply: &Key) -> Option<Connection<P>> {
        let taken = self.slab.take(id, |_| true);
        self.slab.complete(id);
        self.index.remove(self.hash(reply), place(id, Direction::Reply));
        self.slab.free(id.slot);
        taken.map(|taken| taken.value)
    }

    fn remove_if(
        &self,
        id: Id,
        condition: impl FnOnce(&Connection<P>) -> bool,
    ) -> Option<Connection<P>> {
        let Taken { value: connection, in_birth } = self.slab.take(id, condition)?;
        // During birth, the rest is its maker's to do.
        if !in_birth {
            self.forget(id, &connection.request.key, &connection.reply.key);
        }
        Some(connection)
    }

    /// Removes what leads to an empty slot, and frees it.
    fn forget(&self, id: Id, request: &Key, reply: &Key) {
        self.index.remove(self.hash(request), place(id, Direction::Request));
        self.index.remove(self.hash(reply), place(id, Direction::Reply));
        self.timers.lock().disarm(id.slot);
        self.slab.free(id.slot);
    }

    #[inline]
    fn arm_if(&self, slot: u32, deadline: Option<Moment>) {
        if let Some(deadline) = deadline {
            self.timers.lock().arm(slot, deadline);
        }
    }

    fn rearm(&self, slot: u32) {
        let deadline = self.slab.visit(slot, |_, connection| connection.deadline());
        self.arm_if(slot, deadline);
    }
}

impl<P> fmt::Debug for Connections<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("len", &self.len()).finish_non_exhaustive()
    }
}

fn place(id: Id, direction: Direction) -> Place {
    Place::new(id.slot, direction == Direction::Reply)
}

fn direction(place: Place) -> Direction {
    if place.mark() { Direction::Reply } else { Direction::Request }
}

/// The deadline, if it has come closer than it was.
fn sooner<P>(connection: &Connection<P>, before: Moment) -> Option<Moment> {
    let deadline = connection.deadline();
    (deadline < before).then_some(deadline)
}

#[cfg(all(loom, test))]
mod models;
#[cfg(test)]
mod tests;
