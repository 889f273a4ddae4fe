//! What is due, and when.
//!
//! Every timer follows from a record: from the due time of an ENI that is being made or a set that is
//! being released, or from the time at which a set was last used or an ENI ran empty. So each can be
//! taken out exactly when its record changes, and all can be set anew from the records alone.

use std::collections::BTreeSet;

use super::{
    eni::{EniSet, EniState, Phase},
    key::Key,
    time::{Delays, Time},
};

/// What is due. Of those that are due at one moment, the first of this order comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// An ENI is made.
    Made(Key, u32),
    /// An ENI was empty for long enough.
    Shrink(Key, u32),
    /// An ENI that drains has had its time.
    Drained(Key, u32),
    /// A set without users is to be deleted.
    Delete(Key),
    /// A set was idle for long enough.
    Idle(Key),
}

/// All timers, the next first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timers(BTreeSet<(Time, Timer)>);

impl Timers {
    pub(super) fn set(&mut self, at: Time, timer: Timer) {
        self.0.insert((at, timer));
    }

    pub(super) fn clear(&mut self, at: Time, timer: Timer) {
        self.0.remove(&(at, timer));
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Time> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out the next, if it is due.
    pub(super) fn due(&mut self, now: Time) -> Option<(Time, Timer)> {
        self.next().filter(|at| *at <= now).and_then(|_| self.0.pop_first())
    }

    /// Sets all timers of a set.
    pub(super) fn set_all(&mut self, set: &EniSet, delays: &Delays) {
        for (at, timer) in of_set(set, delays) {
            self.set(at, timer);
        }
    }

    /// Takes out all timers of a set.
    pub(super) fn clear_all(&mut self, set: &EniSet, delays: &Delays) {
        for (at, timer) in of_set(set, delays) {
            self.clear(at, timer);
        }
    }
}

/// The timers that follow from a set.
fn of_set(set: &EniSet, delays: &Delays) -> impl Iterator<Item = (Time, Timer)> {
    let key = &set.key;
    let phase = match set.phase {
        Phase::InUse => Some((idle_at(set, delays), Timer::Idle(key.clone()))),
        Phase::Releasing { due, .. } => Some((due, Timer::Delete(key.clone()))),
        Phase::Stranded { .. } => None,
    };
    let enis = set.enis.iter().flat_map(|(ordinal, eni)| {
        let state = match eni.state {
            EniState::Pending { due, .. } => Some((due, Timer::Made(key.clone(), *ordinal))),
            EniState::InUse => None,
            EniState::Draining { due, .. } => {
                due.map(|due| (due, Timer::Drained(key.clone(), *ordinal)))
            }
        };
        let empty = eni
            .empty_since
            .map(|since| (since.after(delays.shrinking), Timer::Shrink(key.clone(), *ordinal)));
        state.into_iter().chain(empty)
    });
    phase.into_iter().chain(enis)
}

/// When a set will have been idle for too long.
pub(super) fn idle_at(set: &EniSet, delays: &Delays) -> Time {
    // Never at the very moment, or it would be due again and again.
    set.last_used.after(delays.idle.max(std::time::Duration::from_millis(1)))
}
