//! Free ports that are not to be used yet, in the order in which they became free.

use std::{collections::VecDeque, time::Duration};

use crate::moment::Moment;

/// How long a port rests whose connection was not seen to close (RFC 6888, REQ-8).
const REST: Duration = Duration::from_secs(120);

/// Ports that begin to rest within this time of each other are rested together, the first of them
/// so much later; which bounds the number of batches.
const BATCH: Duration = Duration::from_secs(1);

/// The resting ports.
#[derive(Debug, Default)]
pub(super) struct Rest {
    ports: VecDeque<u16>,
    /// How many of `ports`, from the front, have rested at which moment.
    batches: VecDeque<Batch>,
    /// How many at the back of `ports` are in no batch yet. A lease that is dropped knows no time,
    /// so its port's rest begins with the next call that does.
    undated: u32,
}

#[derive(Debug)]
struct Batch {
    began: Moment,
    rested: Moment,
    ports: u32,
}

impl Rest {
    /// Lays a port to rest.
    pub(super) fn push(&mut self, port: u16) {
        self.ports.push_back(port);
        self.undated += 1;
    }

    /// Starts the clock for the ports laid to rest since the last call.
    pub(super) fn date(&mut self, now: Moment) {
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

    /// A port that has rested enough.
    pub(super) fn pop_rested(&mut self, now: Moment) -> Option<u16> {
        let batch = self.batches.front()?;
        if batch.rested <= now { self.pop_oldest() } else { None }
    }

    /// The port that has rested longest, be it enough or not, of those whose clock was started.
    pub(super) fn pop_oldest(&mut self) -> Option<u16> {
        let batch = self.batches.front_mut()?;
        batch.ports -= 1;
        if batch.ports == 0 {
            self.batches.pop_front();
        }
        self.ports.pop_front()
    }

    /// The ports here, the one that began first before the others.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.ports.iter().copied()
    }

    /// Whether every port here whose clock was started has rested enough.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        self.batches.back().is_none_or(|batch| batch.rested <= now)
    }

    /// Heap bytes.
    pub(super) fn memory(&self) -> usize {
        self.ports.capacity() * size_of::<u16>() + self.batches.capacity() * size_of::<Batch>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn a_port_rests_for_two_minutes_from_the_first_known_time() {
        let mut rest = Rest::default();
        rest.push(7);
        assert_eq!(rest.pop_rested(at(1_000_000)), None, "its rest has not begun");
        rest.date(at(10_000));
        assert_eq!(rest.pop_rested(at(129_999)), None);
        assert!(!rest.is_over(at(129_999)));
        assert!(rest.is_over(at(130_000)));
        assert_eq!(rest.pop_rested(at(130_000)), Some(7));
        assert_eq!(rest.pop_rested(at(130_000)), None);
    }

    #[test]
    fn ports_of_a_second_are_rested_together_and_never_early() {
        let mut rest = Rest::default();
        for (port, freed) in [(1, 0), (2, 999), (3, 1000)] {
            rest.push(port);
            rest.date(at(freed));
        }
        assert_eq!(rest.batches.len(), 2);
        assert_eq!(rest.pop_rested(at(120_998)), None, "the batch is as old as its youngest");
        assert_eq!(rest.pop_rested(at(120_999)), Some(1));
        assert_eq!(rest.pop_rested(at(120_999)), Some(2));
        assert_eq!(rest.pop_rested(at(120_999)), None);
        assert_eq!(rest.pop_rested(at(121_000)), Some(3));
    }

    #[test]
    fn whoever_must_takes_the_longest_rested_first() {
        let mut rest = Rest::default();
        rest.push(1);
        rest.date(at(0));
        rest.push(2);
        assert_eq!(rest.pop_oldest(), Some(1));
        assert_eq!(rest.pop_oldest(), None, "its clock was not started");
        rest.date(at(5000));
        assert_eq!(rest.pop_oldest(), Some(2));
        assert_eq!(rest.pop_oldest(), None);
        assert!(rest.is_over(at(5000)), "nothing is left");
    }
}
