//! Environments that are kept: made when they are wanted, used again, ended when nobody uses them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::Error;

/// Environments by their names.
#[derive(Debug)]
pub(super) struct Pool<E> {
    most: usize,
    slots: Mutex<HashMap<String, Slot<E>>>,
}

#[derive(Debug)]
enum Slot<E> {
    /// An invocation runs there.
    Busy,
    /// Nobody uses it since then.
    Idle { environment: E, since: Instant },
}

impl<E> Pool<E> {
    /// Keeps at most so many, those in use among them.
    pub(super) fn new(most: usize) -> Self {
        Self { most, slots: Mutex::default() }
    }

    /// The environment of this name, for one invocation: one that was kept and still stands, or a new
    /// one. Too many, and the one that was idle the longest goes.
    pub(super) fn take(
        &self,
        name: &str,
        stands: impl FnOnce(&E) -> bool,
        make: impl FnOnce() -> Result<E, Error>,
    ) -> Result<E, Error> {
        let (kept, evicted) = {
            let mut slots = self.slots();
            match slots.insert(name.to_owned(), Slot::Busy) {
                Some(Slot::Busy) => {
                    return Err(Error::EnvironmentBusy { name: name.to_owned() });
                }
                Some(Slot::Idle { environment, .. }) => (Some(environment), None),
                None => {
                    let longest = (slots.len() > self.most).then(|| longest_idle(&slots)).flatten();
                    (None, longest.and_then(|name| slots.remove(&name)))
                }
            }
        };
        // Not under the lock: devices take their time.
        drop(evicted);
        if let Some(kept) = kept.filter(stands) {
            return Ok(kept);
        }
        make().inspect_err(|_| {
            self.slots().remove(name);
        })
    }

    /// Keeps an environment that was taken.
    pub(super) fn give_back(&self, name: &str, environment: E, now: Instant) {
        self.slots().insert(name.to_owned(), Slot::Idle { environment, since: now });
    }

    /// Takes out those that nobody has used for so long, and those that do not stand any more.
    pub(super) fn end_idle(
        &self,
        now: Instant,
        after: Duration,
        stands: impl Fn(&E) -> bool,
    ) -> Vec<E> {
        self.take_out(|environment, since| {
            now.saturating_duration_since(since) >= after || !stands(environment)
        })
    }

    /// Takes out all that nobody uses.
    pub(super) fn clear(&self) -> Vec<E> {
        self.take_out(|_, _| true)
    }

    fn take_out(&self, which: impl Fn(&E, Instant) -> bool) -> Vec<E> {
        let mut slots = self.slots();
        let out = slots.extract_if(|_, slot| match slot {
            Slot::Busy => false,
            Slot::Idle { environment, since } => which(environment, *since),
        });
        let environments = out.filter_map(|(_, slot)| match slot {
            Slot::Idle { environment, .. } => Some(environment),
            Slot::Busy => None,
        });
        environments.collect()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot<E>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn longest_idle<E>(slots: &HashMap<String, Slot<E>>) -> Option<String> {
    let idle = slots.iter().filter_map(|(name, slot)| match slot {
        Slot::Busy => None,
        Slot::Idle { since, .. } => Some((since, name)),
    });
    idle.min().map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pool: &Pool<u32>, name: &str, new: u32) -> Result<u32, Error> {
        pool.take(name, |_| true, || Ok(new))
    }

    #[test]
    fn what_is_given_back_is_used_again_by_one_at_a_time() {
        let (pool, now) = (Pool::new(2), Instant::now());
        assert_eq!(take(&pool, "a", 1).unwrap(), 1);
        assert!(matches!(take(&pool, "a", 2), Err(Error::EnvironmentBusy { .. })));
        pool.give_back("a", 1, now);
        assert_eq!(take(&pool, "a", 2).unwrap(), 1);
        pool.give_back("a", 1, now);
        assert_eq!(pool.take("a", |_| false, || Ok(3)).unwrap(), 3, "it stood no more");
    }

    #[test]
    fn what_could_not_be_made_can_be_tried_again() {
        let pool = Pool::new(2);
        let failed = pool.take("a", |_: &u32| true, || Err(Error::NotPermitted));
        assert!(failed.is_err());
        assert_eq!(take(&pool, "a", 1).unwrap(), 1);
    }

    #[test]
    fn the_one_that_was_idle_the_longest_makes_room() {
        let (pool, now) = (Pool::new(2), Instant::now());
        for (name, number, at) in [("a", 1, 2), ("b", 2, 1)] {
            take(&pool, name, number).unwrap();
            pool.give_back(name, number, now + Duration::from_secs(at));
        }
        take(&pool, "c", 3).unwrap();
        assert_eq!(pool.clear(), [1], "b has gone, and c is in use");
    }

    #[test]
    fn what_nobody_uses_ends_and_what_is_in_use_does_not() {
        let (pool, now) = (Pool::new(4), Instant::now());
        let after = Duration::from_secs(60);
        for (name, number) in [("a", 1), ("b", 2), ("c", 3)] {
            take(&pool, name, number).unwrap();
        }
        pool.give_back("a", 1, now);
        pool.give_back("b", 2, now + Duration::from_secs(1));
        assert!(pool.end_idle(now, after, |_| true).is_empty());
        assert_eq!(pool.end_idle(now + after, after, |_| true), [1]);
        assert_eq!(pool.end_idle(now + after, after, |_| false), [2]);
    }
}
