//! Time as the engine sees it: milliseconds since a start that the caller chose.
//!
//! The engine reads no clock. Whoever calls it passes one that never goes back, such as
//! CLOCK_MONOTONIC, read once for a batch of packets.

use std::{
    ops::{Add, Sub},
    time::Duration,
};

/// A point in time, in milliseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// The start.
    pub const ZERO: Self = Self(0);

    /// The point `millis` after the start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the start.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time passed since `earlier`; zero if that is later, as it can be between two workers
    /// that read their clocks apart.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Fractions of a millisecond are cut off; the end of time is never passed.
    fn add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    /// Fractions of a millisecond are cut off; the start of time is never passed.
    fn sub(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }
}

/// Whole seconds: what timers count, and cheaper for a packet than a [`Duration`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) u32);

impl Seconds {
    const fn as_millis(self) -> u64 {
        self.0 as u64 * 1000
    }
}

impl Add<Seconds> for Moment {
    type Output = Self;

    /// The end of time is never passed.
    fn add(self, seconds: Seconds) -> Self {
        Self(self.0.saturating_add(seconds.as_millis()))
    }
}

impl Sub<Seconds> for Moment {
    type Output = Self;

    /// The start of time is never passed.
    fn sub(self, seconds: Seconds) -> Self {
        Self(self.0.saturating_sub(seconds.as_millis()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let second = Moment::from_millis(1000);
        assert_eq!(second + Duration::from_micros(1999), Moment::from_millis(1001));
        assert_eq!(second + Duration::MAX, Moment::from_millis(u64::MAX));
        assert_eq!(second - Duration::from_micros(1999), Moment::from_millis(999));
        assert_eq!(second - Duration::MAX, Moment::ZERO);
        assert_eq!(second.since(Moment::ZERO), Duration::from_secs(1));
        assert_eq!(Moment::ZERO.since(second), Duration::ZERO);
        assert_eq!(second + Seconds(2), Moment::from_millis(3000));
        assert_eq!(second + Seconds(2) - Seconds(1), Moment::from_millis(2000));
        assert_eq!(second - Seconds(2), Moment::ZERO);
        let end = Moment::from_millis(u64::MAX);
        assert_eq!(end + Seconds(1), end);
    }
}
