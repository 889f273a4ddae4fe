//! What happens when something is due.

use std::collections::BTreeSet;

use viaduct_topology::inventory::Change;

use super::{
    Lifecycle,
    command::Owner,
    eni::{Eni, EniState, Phase},
    event::Happening,
    function::Version,
    key::Key,
    names::VersionId,
    network_interface::{UNHEALTHY, zone_failed},
    state::{Reason, State},
    timer::Timer,
};

impl Lifecycle {
    pub(super) fn expire(&mut self, timer: Timer) {
        match timer {
            Timer::Made(key, ordinal) => self.made(&key, ordinal),
            Timer::Shrink(key, ordinal) => self.shrink(&key, ordinal),
            Timer::Drained(key, ordinal) => self.take_away(&key, ordinal, UNHEALTHY),
            Timer::Delete(key) => self.end(&key, "it had no user any more"),
            Timer::Idle(key) => self.reclaim(&key),
        }
    }

    /// An ENI is made, or its zone has failed meanwhile, or its subnet was taken back.
    fn made(&mut self, key: &Key, ordinal: u32) {
        let obstacle = match self.has_failed(key.subnet()) {
            true => Some((zone_failed(key.subnet()), "its zone failed before it was made")),
            false => {
                self.unshared(key).map(|it| (it, "its subnet was unshared before it was made"))
            }
        };
        let Some(set) = self.sets.get_mut(key) else { return };
        let first = !set.is_ready();
        let Some(eni) = set.enis.get_mut(&ordinal) else { return };
        let EniState::Pending { replaces, .. } = eni.state else { return };
        if let Some((reason, why)) = obstacle {
            return self.not_made(key, ordinal, &reason, why);
        }
        eni.state = EniState::InUse;
        let id = eni.id.clone();
        let eni = &set.enis[&ordinal];
        self.output.changes.push(Change::AddEni(set.declared(ordinal, eni)));
        self.output.sets.insert(key.clone());
        let users: Vec<VersionId> =
            if first { set.users.iter().cloned().collect() } else { Vec::new() };
        self.tell(Happening::EniMade(id));
        if let Some(replaced) = replaces {
            let due = self.now.after(self.delays.draining);
            self.drain(key, replaced, Some(due));
        }
        users.iter().for_each(|user| self.finish(user));
    }

    /// An ENI cannot be made after all. If the set has no other, who waits for it waits in vain.
    fn not_made(&mut self, key: &Key, ordinal: u32, reason: &Reason, why: &'static str) {
        let Some(set) = self.sets.get(key) else { return };
        let users: Vec<VersionId> = set.users.iter().cloned().collect();
        self.take_away(key, ordinal, why);
        self.tell(Happening::EniNotMade { key: key.clone(), reason: reason.clone() });
        if !self.sets.contains_key(key) {
            users.iter().for_each(|user| self.fail(user, reason.clone()));
        }
    }

    /// An ENI beside others was empty for long enough.
    fn shrink(&mut self, key: &Key, ordinal: u32) {
        let Some(set) = self.sets.get_mut(key) else { return };
        let in_use = |(_, eni): &(&u32, &Eni)| eni.is_in_use();
        let mut others = set.enis.iter().filter(in_use).filter(|(other, _)| **other != ordinal);
        let first = others.clone().next().is_some_and(|(lowest, _)| *lowest < ordinal);
        let room = others.any(|(_, other)| !other.crowded);
        if first && room && set.phase == Phase::InUse {
            return self.drain(key, ordinal, None);
        }
        // The dataplane says it again.
        if let Some(eni) = set.enis.get_mut(&ordinal) {
            eni.empty_since = None;
        }
        self.output.sets.insert(key.clone());
    }

    /// A set was idle for long enough: its users become inactive, and it goes (LAM-51, LAM-53).
    fn reclaim(&mut self, key: &Key) {
        let Some(set) = self.sets.get(key) else { return };
        let users: Vec<VersionId> = set.users.iter().cloned().collect();
        // Whoever waits for something is not idle, and what a file declares is to be there always.
        let stays = |user: &VersionId| {
            self.owner(user) == Owner::File || self.version(user).is_some_and(Version::is_waiting)
        };
        if users.iter().any(stays) {
            return self.use_key(key);
        }
        self.tell(Happening::Reclaimed(key.clone()));
        let mut let_go = BTreeSet::new();
        for user in &users {
            let Some(version) = self.version(user) else { continue };
            let (held, role) = (version.keys(&user.function), version.configuration.role.clone());
            let owner = self.owner(user);
            self.set_state(user, State::Inactive, Some(Reason::idle()));
            self.release(user, held.iter().cloned(), owner, role.as_ref());
            let_go.extend(held);
        }
        // Whatever an inactive function alone has used is reclaimed with it.
        let_go.iter().for_each(|key| self.end(key, "it was idle"));
    }
}
