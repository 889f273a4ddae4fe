//! What follows from what the dataplane has seen: growth, shrinking, replacement.

use super::{
    Lifecycle,
    command::Report,
    eni::{EniState, Phase},
    key::Key,
    timer::Timer,
};

impl Lifecycle {
    pub(super) fn note(&mut self, report: &Report) {
        let id = match report {
            Report::Used(version) => return self.use_keys(version),
            Report::NearCapacity(id)
            | Report::HasRoom(id)
            | Report::Empty(id)
            | Report::Unhealthy(id) => id,
        };
        let Some((key, ordinal)) = self.by_id.get(id).cloned() else { return };
        match report {
            Report::Unhealthy(_) => self.replace(&key, ordinal),
            Report::NearCapacity(_) => {
                self.load(&key, ordinal, true, false);
                self.grow(&key);
            }
            Report::Empty(_) => {
                self.load(&key, ordinal, false, true);
                self.drained(&key, ordinal);
            }
            _ => self.load(&key, ordinal, false, false),
        }
    }

    /// Notes how much an ENI carries, if it is in use.
    fn load(&mut self, key: &Key, ordinal: u32, crowded: bool, empty: bool) {
        let Some(set) = self.sets.get_mut(key) else { return };
        let Some(eni) = set.enis.get_mut(&ordinal).filter(|eni| eni.is_in_use()) else { return };
        let before = (eni.crowded, eni.empty_since);
        let timer = || Timer::Shrink(key.clone(), ordinal);
        eni.crowded = crowded;
        match (eni.empty_since, empty) {
            (Some(since), false) => {
                self.timers.clear(since.after(self.delays.shrinking), timer());
                eni.empty_since = None;
            }
            (None, true) => {
                eni.empty_since = Some(self.now);
                self.timers.set(self.now.after(self.delays.shrinking), timer());
            }
            _ => {}
        }
        if before != (eni.crowded, eni.empty_since) {
            self.output.sets.insert(key.clone());
        }
    }

    /// Makes another ENI if all of a set are near capacity and none is coming (LAM-07).
    fn grow(&mut self, key: &Key) {
        let Some(set) = self.sets.get(key).filter(|set| set.phase == Phase::InUse) else { return };
        let comes = |state| matches!(state, EniState::Pending { replaces: None, .. });
        let suffices = set.enis.values().any(|eni| comes(eni.state) || is_free(eni));
        if !suffices {
            self.make_further(key, None);
        }
    }

    /// Makes an ENI in the place of one, unless one is being made already (LAM-08).
    fn replace(&mut self, key: &Key, ordinal: u32) {
        let Some(set) = self.sets.get(key).filter(|set| set.phase == Phase::InUse) else { return };
        if set.is_kept(ordinal) {
            self.make_further(key, Some(ordinal));
        }
    }
}

/// Whether an ENI takes new connections.
const fn is_free(eni: &super::Eni) -> bool {
    eni.is_in_use() && !eni.crowded
}
