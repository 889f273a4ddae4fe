//! Whether a worker without work looks again or sleeps.
//!
//! To be woken costs a worker several microseconds, and whoever sends to it as well: more than all it
//! does to a packet. Where packets follow each other within that time, or requests wait for their
//! replies, a worker that looks again at once is there sooner and spares its guests the waking. Where
//! they do not, looking would burn a processor for nothing.
//!
//! So a worker goes by what would have paid. Each time it finds work it compares the time since it had
//! some with [`LENGTH`]: less is a point for looking, more is one against. With more points for than
//! against, it looks for [`LENGTH`] before it sleeps. Points are capped, so that it changes its mind
//! after [`POINTS`] packets at most. Between two looks it offers its processor to whoever waits for one,
//! because what it waits for may be theirs to do.
//!
//! An idle worker sleeps, and so does one that is woken once a millisecond. What it bought, and other
//! lengths: `docs/performance.md`.

use std::time::{Duration, Instant};

/// How long a worker looks before it sleeps: what a guest on another processor needs to be woken, to
/// work a little and to reply.
const LENGTH: Duration = Duration::from_micros(50);

/// The most points for or against looking.
const POINTS: i8 = 8;

/// A worker's decision.
#[derive(Debug)]
pub(super) struct Vigil {
    /// When there was work for the last time.
    worked: Instant,
    points: i8,
}

impl Vigil {
    /// Of a worker that has had no work yet.
    pub(super) fn new(at: Instant) -> Self {
        Self { worked: at, points: 0 }
    }

    /// Whether to look again instead of sleeping.
    pub(super) fn goes_on(&self, at: Instant) -> bool {
        self.points > 0 && self.is_within(at)
    }

    /// There is work, which is begun at this moment.
    pub(super) fn found(&mut self, at: Instant) {
        let step = if self.is_within(at) { 1 } else { -1 };
        self.points = (self.points + step).clamp(-POINTS, POINTS);
    }

    /// It is done.
    pub(super) fn done(&mut self, at: Instant) {
        self.worked = at;
    }

    fn is_within(&self, at: Instant) -> bool {
        at.saturating_duration_since(self.worked) < LENGTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work that comes so long after the last was done, so many times.
    fn comes(vigil: &mut Vigil, at: &mut Instant, after: Duration, times: usize) {
        for _ in 0..times {
            *at += after;
            vigil.found(*at);
            vigil.done(*at);
        }
    }

    const SOON: Duration = Duration::from_micros(10);
    const LATE: Duration = Duration::from_millis(1);

    #[test]
    fn looks_on_while_work_comes_soon_and_no_longer_than_that_pays() {
        let mut at = Instant::now();
        let mut vigil = Vigil::new(at);
        assert!(!vigil.goes_on(at), "nothing has come yet");
        comes(&mut vigil, &mut at, SOON, 1);
        assert!(vigil.goes_on(at));
        assert!(vigil.goes_on(at + LENGTH - Duration::from_nanos(1)));
        assert!(!vigil.goes_on(at + LENGTH));
    }

    #[test]
    fn changes_its_mind_after_a_few_packets() {
        let mut at = Instant::now();
        let mut vigil = Vigil::new(at);
        comes(&mut vigil, &mut at, SOON, 1000);
        comes(&mut vigil, &mut at, LATE, POINTS as usize);
        assert!(!vigil.goes_on(at));
        comes(&mut vigil, &mut at, LATE, 1000);
        comes(&mut vigil, &mut at, SOON, POINTS as usize);
        assert!(!vigil.goes_on(at), "as many against it as for it");
        comes(&mut vigil, &mut at, SOON, 1);
        assert!(vigil.goes_on(at));
    }
}
