//! Points at which a test has the process die, as `kill -9` would have it.
//!
//! `VIADUCT_DIE_AT=committed:3` kills the process when it passes the point for the third time. The
//! points are there only in builds with debug assertions; in a release they are nothing at all.

/// A point between two steps that leave something behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// Half of a write to the state file is done.
    HalfWritten,
    /// A write to the state file is done.
    Written,
    /// The state file has another length.
    Resized,
    /// The state file was brought to the disk, or would have been with `--sync`.
    Synced,
    /// A new state file is whole and has no name yet.
    Filled,
    /// The machine has decided something, and nobody knows.
    Decided,
    /// What was decided is in the state file.
    Committed,
    /// The engine has taken a change.
    Changed,
    /// All is done, but for the answer.
    Done,
}

#[cfg(debug_assertions)]
impl Point {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::HalfWritten,
        Self::Written,
        Self::Resized,
        Self::Synced,
        Self::Filled,
        Self::Decided,
        Self::Committed,
        Self::Changed,
        Self::Done,
    ];

    /// What the variable calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::HalfWritten => "half-written",
            Self::Written => "written",
            Self::Resized => "resized",
            Self::Synced => "synced",
            Self::Filled => "filled",
            Self::Decided => "decided",
            Self::Committed => "committed",
            Self::Changed => "changed",
            Self::Done => "done",
        }
    }
}

/// The variable that chooses a point.
#[cfg(debug_assertions)]
pub(crate) const VARIABLE: &str = "VIADUCT_DIE_AT";

/// Dies here, if this is the time.
pub(crate) fn pass(point: Point) {
    if is_last(point) {
        die();
    }
}

/// Counts that the point is passed, and says whether the process is to die now.
#[cfg(debug_assertions)]
pub(crate) fn is_last(point: Point) -> bool {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    };
    static CHOSEN: OnceLock<Option<(Point, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let chosen = CHOSEN.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, time) = text.split_once(':')?;
        let point = Point::ALL.into_iter().find(|point| point.name() == name)?;
        Some((point, time.parse().ok()?))
    });
    match chosen {
        Some((chosen, time)) if *chosen == point => PASSED.fetch_add(1, Relaxed) + 1 == *time,
        _ => false,
    }
}

/// Never.
#[cfg(not(debug_assertions))]
pub(crate) const fn is_last(_: Point) -> bool {
    false
}

/// Ends the process at once: nothing is flushed, dropped or said.
pub(crate) fn die() {
    let this = rustix::process::getpid();
    let _ = rustix::process::kill_process(this, rustix::process::Signal::KILL);
    // The signal is there before `kill` returns; nothing follows.
    std::process::abort()
}
