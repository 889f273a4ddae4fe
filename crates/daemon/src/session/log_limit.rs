//! Warnings that strangers bring about: they do not write the log as fast as they like.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lines at once.
const BURST: u32 = 100;

/// Between two lines in the long run.
const EVERY: Duration = Duration::from_secs(1);

/// How many lines may still be written.
#[derive(Debug)]
pub(super) struct LogLimit(Mutex<State>);

#[derive(Debug)]
struct State {
    left: u32,
    /// Up to when lines were added to what is left.
    at: Instant,
    /// Not written since the last that was.
    unsaid: u64,
}

impl LogLimit {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(State { left: BURST, at: now, unsaid: 0 }))
    }

    /// Whether a line may be written, and how many were not since the last.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(state.at).as_secs() / EVERY.as_secs();
        let added = u32::try_from(passed).unwrap_or(u32::MAX);
        state.left = state.left.saturating_add(added).min(BURST);
        state.at += EVERY.saturating_mul(added);
        match state.left.checked_sub(1) {
            Some(left) => {
                state.left = left;
                Some(std::mem::take(&mut state.unsaid))
            }
            None => {
                state.unsaid += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_a_line_a_second() {
        let start = Instant::now();
        let limit = LogLimit::new(start);
        let admitted = (0..1000).filter(|_| limit.admit(start).is_some()).count();
        assert_eq!(admitted, 100);
        let later = start + Duration::from_millis(2500);
        assert_eq!(limit.admit(later), Some(900));
        assert_eq!(limit.admit(later), Some(0));
        assert_eq!(limit.admit(later), None);
        assert_eq!(limit.admit(later + Duration::from_millis(500)), Some(1));
        let much_later = later + Duration::from_secs(100_000);
        let admitted = (0..1000).filter(|_| limit.admit(much_later).is_some()).count();
        assert_eq!(admitted, 100, "what was not used is not kept for ever");
    }
}
