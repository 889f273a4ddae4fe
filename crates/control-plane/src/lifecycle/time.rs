//! Moments and delays of the control plane.
//!
//! The machine reads no clock: whoever runs it says what time it is, in milliseconds since any
//! beginning that stays the same. Delays are the control plane's alone. `lifecycle_scale` divides
//! them, so that two weeks pass in a minute; no packet timer is ever scaled.

use std::{fmt, time::Duration};

use viaduct_topology::model::{self, Settings};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since a beginning that whoever runs the machine has chosen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Time(u64);

impl Time {
    /// The beginning.
    pub const ZERO: Self = Self(0);

    /// So many milliseconds after the beginning.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the beginning.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// So much later; the end of time is never passed.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1000, self.0 % 1000)
    }
}

/// How long the control plane takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// Until a new ENI can be used. AWS says "about a minute" and "minutes" (LAM-45).
    pub creation: Duration,
    /// From the moment when an ENI has no user any more until it is deleted. AWS says up to 20
    /// minutes (LAM-55); it is all of them here, because that is what one must be prepared for.
    pub deletion: Duration,
    /// How long an ENI is unused by any function until it is reclaimed (LAM-51, D-07).
    pub idle: Duration,
    /// How long a further ENI of a key has no connections until it goes. AWS names no time.
    pub shrinking: Duration,
}

impl Delays {
    /// Those of a topology.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let model::Lifecycle { creation, deletion, idle, shrinking } = settings.lifecycle;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let delays = Self {
            creation: seconds(creation),
            deletion: seconds(deletion),
            idle: seconds(idle),
            shrinking: seconds(shrinking),
        };
        delays.scaled(settings.lifecycle_scale)
    }

    /// No delay at all before an ENI is there and after it is needed: for what a file declares, which
    /// must be usable as soon as the daemon is.
    #[must_use]
    pub const fn at_once(self) -> Self {
        Self { creation: Duration::ZERO, deletion: Duration::ZERO, ..self }
    }

    /// Delays so many times as short, rounded up to whole milliseconds: what takes time takes some
    /// even then, so that the order of things stays.
    fn scaled(self, scale: u32) -> Self {
        let divide = |delay: Duration| {
            let millis = delay.as_millis().div_ceil(u128::from(scale.max(1)));
            Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
        };
        Self {
            creation: divide(self.creation),
            deletion: divide(self.deletion),
            idle: divide(self.idle),
            shrinking: divide(self.shrinking),
        }
    }
}

impl Default for Delays {
    fn default() -> Self {
        Self::of(&Settings::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_weeks_pass_in_a_minute_and_nothing_takes_no_time() {
        let scaled =
            |lifecycle_scale| Delays::of(&Settings { lifecycle_scale, ..Settings::default() });
        assert_eq!(scaled(1).deletion, Duration::from_secs(20 * 60));
        assert_eq!(scaled(14 * 24 * 60).idle, Duration::from_secs(60));
        assert_eq!(scaled(14 * 24 * 60).creation, Duration::from_millis(5));
        assert!(scaled(u32::MAX).creation >= Duration::from_millis(1));
        assert_eq!(scaled(1).at_once().scaled(1).creation, Duration::ZERO);
    }

    #[test]
    fn time_has_an_end_that_is_not_passed() {
        let end = Time::from_millis(u64::MAX);
        assert_eq!(Time::from_millis(1).after(Duration::MAX), end);
        assert_eq!(Time::from_millis(61_001).to_string(), "61.001 s");
    }
}
