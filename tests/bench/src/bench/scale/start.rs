//! From the daemon's start until it is ready, and what it holds and does then.

use super::{Series, Setting, daemon::Daemon};
use crate::{beds::lab::TOPOLOGY, error::Error};

pub(super) fn run(setting: Setting<'_>, series: &mut Series) -> Result<(), Error> {
    series.step("viaduct");
    for _ in 0..setting.method.repetitions.max(3) {
        let daemon = Daemon::start(setting, TOPOLOGY)?;
        series.add("ready", "ms", daemon.took.as_secs_f64() * 1e3);
        series.add("idle", "% of a processor", daemon.idle(setting.method.length)?);
        series.add("resident", "MiB", daemon.resident()?);
    }
    series.limit("ready", 50.0, 50.0);
    series.limit("resident", 20.0, 20.0);
    Ok(())
}
