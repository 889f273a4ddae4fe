//! How far it is, on standard error.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::beds::Kind;

/// A bar where somebody watches; elsewhere only messages.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} ({eta}) {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        bar.set_length(0);
        Self { bar }
    }

    /// So many more measurements are to come.
    pub(crate) fn more(&self, measurements: u64) {
        self.bar.inc_length(measurements);
    }

    /// The next measurement begins.
    pub(crate) fn step(&self, row: &str, bed: Kind) {
        self.bar.set_message(format!("{row} through {bed}"));
        self.bar.inc(1);
    }

    /// The next row of viaduct alone begins.
    pub(crate) fn row(&self, row: &str) {
        self.bar.set_message(row.to_owned());
        self.bar.inc(1);
    }

    /// What is done that is not measured.
    pub(crate) fn doing(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// A line that stays.
    pub(crate) fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
