//! The locks and atomics that shared state is built from: the one place that names them, so that
//! the same code can later run on a model checker's.
//!
//! A lock whose holder panicked is handed out all the same. What is guarded here is kept whole by
//! the order of its writes, and one connection's fault must not stop the forwarding of the others.

pub(crate) use std::sync::{
    Arc, MutexGuard, OnceLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
use std::{
    fmt,
    sync::{self, PoisonError},
};

/// Mutual exclusion that outlives a panic.
#[derive(Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A lock around `value`.
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
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
pub(crate) struct RwLock<T>(sync::RwLock<T>);

impl<T> RwLock<T> {
    /// A lock around `value`.
    pub(crate) const fn new(value: T) -> Self {
        Self(sync::RwLock::new(value))
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

#[cfg(test)]
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
