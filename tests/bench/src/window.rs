//! The time in which is counted.

use std::{thread, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Two moments of CLOCK_MONOTONIC, in nanoseconds. Every process of the machine means the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Counted from here on.
    pub begin: u64,
    /// And up to here.
    pub end: u64,
}

impl Window {
    /// Opens after `lead`, which is for connecting and getting up to speed.
    #[must_use]
    pub fn after(lead: Duration, length: Duration) -> Self {
        let begin = now() + nanoseconds(lead);
        Self { begin, end: begin + nanoseconds(length) }
    }

    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_nanos(self.end - self.begin)
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        now() >= self.end
    }

    /// Whether something that took from `start` to `end` lies in it.
    #[must_use]
    pub fn contains(&self, start: u64, end: u64) -> bool {
        self.begin <= start && end <= self.end
    }
}

/// The moment it is.
#[must_use]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// Sleeps until a moment; not at all if it has passed.
pub fn sleep_until(moment: u64) {
    thread::sleep(Duration::from_nanos(moment.saturating_sub(now())));
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_it_entirely_counts() {
        let window = Window { begin: 10, end: 20 };
        assert!(window.contains(10, 20));
        assert!(!window.contains(9, 15));
        assert!(!window.contains(15, 21));
        assert_eq!(window.length(), Duration::from_nanos(10));
    }

    #[test]
    fn a_window_opens_after_its_lead() {
        let before = now();
        let window = Window::after(Duration::from_millis(5), Duration::from_millis(1));
        assert!(window.begin >= before + 5_000_000);
        sleep_until(window.end);
        assert!(window.is_over());
    }
}
