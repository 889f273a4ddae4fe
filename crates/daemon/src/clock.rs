//! The daemon's clock: milliseconds during which it was able to forward.
//!
//! Connections die of idleness. A daemon that is stopped (SIGSTOP, a paused container, a suspended
//! machine) sees no packets, so that everything looks idle when it goes on, while the packets that
//! prove the opposite still wait in the queues. Time during which nobody looked at the clock is
//! therefore not counted: every worker looks at least every [`TICK`], so a gap of a second or more
//! means that the whole process did not run. Likewise a daemon's clock goes on where that of the one
//! before it stood, if connections go on (`notes`): time without a daemon is not counted either.
//!
//! The state is one word, so that workers never wait for each other: the last look in the low 40
//! bits (milliseconds, 34 years), the whole seconds that were not counted in the high 24 (194 days,
//! after which they count again).

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use viaduct_dataplane::Moment;

/// How often every worker looks at the clock, at least.
pub(crate) const TICK: Duration = Duration::from_millis(100);

const LAST_BITS: u32 = 40;
const LAST_MASK: u64 = (1 << LAST_BITS) - 1;
const LONGEST_PAUSE: u64 = (1 << (64 - LAST_BITS)) - 1;

/// Tells the time to everybody in the daemon.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    beginning: Moment,
    state: AtomicU64,
}

impl Clock {
    /// Starts at zero.
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self::from(Moment::ZERO)
    }

    /// Starts at this time.
    pub(crate) fn from(beginning: Moment) -> Self {
        Self { start: Instant::now(), beginning, state: AtomicU64::new(0) }
    }

    /// The time now.
    pub(crate) fn now(&self) -> Moment {
        self.beginning + self.passed()
    }

    /// The time that has passed since the start.
    pub(crate) fn passed(&self) -> Duration {
        let elapsed = self.start.elapsed().as_millis();
        Duration::from_millis(self.look(u64::try_from(elapsed).unwrap_or(u64::MAX)))
    }

    /// How long after the start a time was.
    pub(crate) fn since_start(&self, time: Moment) -> Duration {
        time.since(self.beginning)
    }

    /// Notes that somebody looked when `raw` milliseconds had passed, and tells how many count.
    fn look(&self, raw: u64) -> u64 {
        let raw = raw & LAST_MASK;
        let mut state = self.state.load(Relaxed);
        loop {
            let (last, paused) = (state & LAST_MASK, state >> LAST_BITS);
            if raw <= last {
                // Somebody else looked a moment later.
                return last - paused * 1000;
            }
            let paused = (paused + (raw - last) / 1000).min(LONGEST_PAUSE);
            let next = raw | paused << LAST_BITS;
            match self.state.compare_exchange_weak(state, next, Relaxed, Relaxed) {
                Ok(_) => return raw - paused * 1000,
                Err(current) => state = current,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_nobody_saw_does_not_count() {
        let clock = Clock::new();
        assert_eq!(clock.look(100), 100);
        assert_eq!(clock.look(1099), 1099, "a slow round is not a pause");
        // Stopped for an hour: whole seconds are taken out, the rest of a second counts.
        assert_eq!(clock.look(1099 + 3_600_500), 1599);
        assert_eq!(clock.look(1100 + 3_600_500), 1600);
    }

    #[test]
    fn it_never_goes_back() {
        let clock = Clock::new();
        let (mut raw, mut last) = (0, 0);
        for step in [1, 100, 5_000, 0, 999, 1_000, 1_001, 86_400_000, 1] {
            raw += step;
            let now = clock.look(raw);
            assert!(now >= last, "{now} after {last}");
            // A thread that was overtaken between looking and noting.
            assert_eq!(clock.look(raw.saturating_sub(50)), now);
            last = now;
        }
    }
}
