//! Events, numbered, of which the last are remembered for whoever asks later.
//!
//! The first has the number 1. Events that were lost before they got here have numbers too, so that a
//! reader sees the gap: the numbers it was not shown are the events it missed.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// The events of one kind.
#[derive(Debug)]
pub(crate) struct History<T> {
    ring: Mutex<Ring<T>>,
    /// The number of the newest event, for those who wait for one.
    newest: watch::Sender<u64>,
}

/// The ring of remembered events.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    /// Events that are remembered.
    room: usize,
    newest: u64,
    lost: u64,
    events: VecDeque<(u64, T)>,
}

/// Events after a number.
#[derive(Clone, Debug)]
pub(crate) struct After<T> {
    /// The number of the newest event.
    pub(crate) newest: u64,
    /// Events after the number that are not remembered.
    pub(crate) lost: u64,
    pub(crate) events: Vec<(u64, T)>,
}

impl<T: Clone> History<T> {
    /// No event yet; so many will be remembered.
    pub(crate) fn new(room: usize) -> Self {
        let ring = Ring { room, newest: 0, lost: 0, events: VecDeque::new() };
        Self { ring: Mutex::new(ring), newest: watch::Sender::new(0) }
    }

    /// Has events added, and wakes those who wait for one.
    pub(crate) fn add(&self, add: impl FnOnce(&mut Ring<T>)) {
        let newest = {
            let mut ring = self.ring();
            add(&mut ring);
            ring.newest
        };
        self.newest.send_if_modified(|seen| std::mem::replace(seen, newest) != newest);
    }

    /// Events after this number; waits for the first until `patience` is over.
    pub(crate) async fn after(&self, number: u64, patience: Duration) -> After<T> {
        let mut newest = self.newest.subscribe();
        let arrived = newest.wait_for(|newest| *newest > number);
        // Out of patience is an answer too: an empty one.
        let _ = tokio::time::timeout(patience, arrived).await;
        self.ring().after(number)
    }

    /// The number of the newest event.
    pub(crate) fn newest(&self) -> u64 {
        self.ring().newest
    }

    /// Events that were lost since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.ring().lost
    }

    fn ring(&self) -> MutexGuard<'_, Ring<T>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Ring<T> {
    /// Adds an event.
    pub(crate) fn push(&mut self, event: T) {
        self.newest += 1;
        if self.events.len() == self.room {
            self.events.pop_front();
        }
        self.events.push_back((self.newest, event));
    }

    /// Counts events that are lost.
    pub(crate) fn miss(&mut self, lost: u64) {
        self.newest += lost;
        self.lost += lost;
    }

    fn after(&self, number: u64) -> After<T> {
        let from = self.events.partition_point(|(sequence, _)| *sequence <= number);
        let events: Vec<_> = self.events.range(from..).cloned().collect();
        let lost = self.newest.saturating_sub(number) - events.len() as u64;
        After { newest: self.newest, lost, events }
    }
}
