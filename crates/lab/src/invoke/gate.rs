//! A gate that lets so many threads through at the same time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A gate for threads that may wait.
#[derive(Debug)]
pub(super) struct Gate {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Gate {
    /// Lets so many through.
    pub(super) const fn new(most: usize) -> Self {
        Self { free: Mutex::new(most), freed: Condvar::new() }
    }

    /// Waits to be let through. The next one is when what this returns is dropped.
    pub(super) fn pass(&self) -> Passed<'_> {
        let free = self.freed.wait_while(self.free(), |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Passed(self)
    }

    fn free(&self) -> MutexGuard<'_, usize> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody has been let through.
#[derive(Debug)]
pub(super) struct Passed<'g>(&'g Gate);

impl Drop for Passed<'_> {
    fn drop(&mut self) {
        *self.0.free() += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        thread,
    };

    use super::*;

    #[test]
    fn no_more_pass_than_may_and_all_do() {
        let (gate, inside, passed) = (Gate::new(2), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let _passed = gate.pass();
                    assert!(inside.fetch_add(1, SeqCst) < 2);
                    thread::yield_now();
                    inside.fetch_sub(1, SeqCst);
                    passed.fetch_add(1, SeqCst);
                });
            }
        });
        assert_eq!(passed.into_inner(), 16);
    }
}
