//! The locks and atomics that shared state is built from: the one place that names them, so that
//! the same code runs on a model checker's (`--cfg loom`, docs/concurrency.md).
//!
//! What only counts is not among the checker's: a counter that one thread writes and others read,
//! and a shared pointer's count, which tells nobody anything until it is the last.
//!
//! A lock whose holder panicked is handed out all the same. What is guarded here is kept whole by
//! the order of its writes, and one connection's fault must not stop the forwarding of the others.

#[cfg(all(loom, test))]
pub(crate) mod model;

pub(crate) use std::sync::{Arc, atomic::AtomicU64};
use std::{fmt, sync::PoisonError};

#[cfg(not(all(loom, test)))]
use std::sync as primitives;
#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::OnceLock;

#[cfg(all(loom, test))]
use loom::sync as primitives;

#[cfg(all(loom, test))]
pub(crate) use self::model::OnceLock;
pub(crate) use self::primitives::{
    MutexGuard, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU32, Ordering},
};

/// Whether this runs on the model checker: tables are then as small as they can be, because every
/// lock and atomic costs it something in each of the many orders.
pub(crate) const MODELLED: bool = cfg!(all(loom, test));

/// Mutual exclusion that outlives a panic.
#[derive(Default)]
pub(crate) struct Mutex<T>(primitives::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub(crate) fn new(value: T) -> Self {
        Self(primitives::Mutex::new(value))
    }

    /// Waits for the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

/// Many readers or one writer; outlives a panic.
#[derive(Default)]
pub(crate) struct RwLock<T>(primitives::RwLock<T>);

impl<T> RwLock<T> {
    /// A lock around `value`.
    pub(crate) fn new(value: T) -> Self {
        Self(primitives::RwLock::new(value))
    }

    /// Waits until nobody writes.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else reads or writes.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_panic_under_the_lock_does_not_stop_the_next_holder() {
        let (mutex, rwlock) = (Mutex::new(1), RwLock::new(1));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let (mut mutex, mut rwlock) = (mutex.lock(), rwlock.write());
            (*mutex, *rwlock) = (2, 2);
            panic!("a fault while both are held");
        }));
        assert!(outcome.is_err());
        assert_eq!(*mutex.lock(), 2);
        assert_eq!(*rwlock.read(), 2);
        *rwlock.write() = 3;
        assert_eq!(*rwlock.read(), 3);
    }
}
