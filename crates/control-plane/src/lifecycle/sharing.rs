//! Who uses which ENIs: taking them, letting them go, and what follows when they are there or fail.

use std::collections::BTreeSet;

use viaduct_topology::ResourceId;

use super::{
    Lifecycle,
    command::Owner,
    configuration::Configuration,
    eni::Phase,
    event::Happening,
    key::Key,
    names::{RoleName, VersionId},
    state::{Reason, ReasonCode, State, UpdateStatus},
    timer::{Timer, idle_at},
};

impl Lifecycle {
    /// Takes the ENIs of a configuration and has those made that are not there: all of them, or none
    /// if any cannot be.
    pub(super) fn acquire(
        &mut self,
        who: &VersionId,
        configuration: &Configuration,
    ) -> Result<(), Reason> {
        if configuration.vpc.is_none() {
            return Ok(());
        }
        if let Some(missing) = self.roles.missing_to_make(configuration.role.as_ref()) {
            return Err(not_permitted(&missing));
        }
        let vpc = self.places.vpc(&configuration.vpc)?;
        let keys: Vec<Key> = configuration.keys(&who.function.account).collect();
        for key in keys.iter().filter(|key| !self.uses(who, key)) {
            self.may_have(key).map_err(|denied| denied.reason(key.account()))?;
        }
        let new: Vec<&ResourceId> =
            keys.iter().filter(|key| !self.sets.contains_key(key)).map(Key::subnet).collect();
        self.can_make(&vpc, &new)?;
        let delay = self.delays_of(self.owner(who)).creation;
        for key in keys {
            if !self.sets.contains_key(&key) {
                self.make(&key, &vpc, &who.function, delay, None);
            }
            self.take_up(&key, who);
        }
        Ok(())
    }

    /// Takes ENIs that are there.
    pub(super) fn join(&mut self, who: &VersionId, configuration: &Configuration) {
        let keys: Vec<Key> = configuration.keys(&who.function.account).collect();
        keys.iter().for_each(|key| self.take_up(key, who));
    }

    /// Makes somebody a user of a set that is there.
    fn take_up(&mut self, key: &Key, who: &VersionId) {
        let Some(set) = self.sets.get_mut(key) else { return };
        self.timers.clear_all(set, &self.delays);
        let was_alone = set.phase != Phase::InUse;
        set.phase = Phase::InUse;
        set.users.insert(who.clone());
        set.last_used = self.now;
        self.timers.set_all(set, &self.delays);
        self.output.sets.insert(key.clone());
        if was_alone {
            self.tell(Happening::TakenUp(key.clone()));
        }
    }

    /// Lets go of ENIs. Those that nobody uses any more are deleted in a while, with this role.
    pub(super) fn release(
        &mut self,
        who: &VersionId,
        keys: impl IntoIterator<Item = Key>,
        owner: Owner,
        role: Option<&RoleName>,
    ) {
        let due = self.now.after(self.delays_of(owner).deletion);
        for key in keys {
            let Some(set) = self.sets.get_mut(&key) else { continue };
            set.users.remove(who);
            self.output.sets.insert(key.clone());
            if !set.users.is_empty() || set.phase != Phase::InUse {
                continue;
            }
            self.timers.clear_all(set, &self.delays);
            set.phase = Phase::Releasing { due, role: role.cloned() };
            self.timers.set_all(set, &self.delays);
            // What drains has nobody left to drain for.
            let draining = set.enis.iter().filter(|(_, eni)| eni.is_draining());
            let draining: Vec<u32> = draining.map(|(ordinal, _)| *ordinal).collect();
            self.tell(Happening::Released { key: key.clone(), due });
            draining.iter().for_each(|it| self.take_away(&key, *it, "its users are gone"));
        }
    }

    /// Notes that a function or version does something with its ENIs.
    pub(super) fn use_keys(&mut self, who: &VersionId) {
        let Some(version) = self.version(who) else { return };
        for key in version.keys(&who.function) {
            self.use_key(&key);
        }
    }

    pub(super) fn use_key(&mut self, key: &Key) {
        let Some(set) = self.sets.get_mut(key).filter(|set| set.phase == Phase::InUse) else {
            return;
        };
        self.timers.clear(idle_at(set, &self.delays), Timer::Idle(key.clone()));
        set.last_used = self.now;
        self.timers.set(idle_at(set, &self.delays), Timer::Idle(key.clone()));
        self.output.sets.insert(key.clone());
    }

    /// Goes on with somebody who waits, if all that is waited for is there.
    pub(super) fn finish(&mut self, who: &VersionId) {
        let name = &who.function;
        let Some(version) = self.version(who).filter(|version| version.is_waiting()) else {
            return;
        };
        let is_ready = |key: &Key| self.sets.get(key).is_some_and(super::EniSet::is_ready);
        if !version.wanted().keys(&name.account).all(|key| is_ready(&key)) {
            return;
        }
        if version.next.is_none() {
            self.set_state(who, State::Active, None);
        } else {
            let held = version.keys(name);
            let Some(function) = self.functions.get_mut(name) else { return };
            let latest = &mut function.latest;
            if let Some(next) = latest.next.take() {
                latest.configuration = next;
            }
            let kept = latest.keys(name);
            let (owner, role) = (function.owner, latest.configuration.role.clone());
            self.set_update(name, UpdateStatus::Successful, None);
            // Break after make (LAM-50).
            let let_go = held.into_iter().filter(|key| !kept.contains(key));
            self.release(who, let_go, owner, role.as_ref());
        }
        self.use_keys(who);
    }

    /// Gives up what somebody waits for.
    pub(super) fn fail(&mut self, who: &VersionId, reason: Reason) {
        let Some(version) = self.version(who).filter(|version| version.is_waiting()) else {
            return;
        };
        let held = version.keys(&who.function);
        let role = version.wanted().role.clone();
        let owner = self.owner(who);
        let restoring = version.reason.as_ref().map(|it| it.code) == Some(ReasonCode::Restoring);
        if version.next.is_some() {
            // LAM-49: the configuration before stays in force.
            if let Some(function) = self.functions.get_mut(&who.function) {
                function.latest.next = None;
            }
            self.set_update(&who.function, UpdateStatus::Failed, Some(reason));
        } else {
            // LAM-51 and LAM-47.
            let state = if restoring { State::Inactive } else { State::Failed };
            self.set_state(who, state, Some(reason));
        }
        let kept = self.version(who).map_or_else(BTreeSet::new, |it| it.keys(&who.function));
        let let_go = held.into_iter().filter(|key| !kept.contains(key));
        self.release(who, let_go, owner, role.as_ref());
    }

    pub(super) fn owner(&self, who: &VersionId) -> Owner {
        self.functions.get(&who.function).map_or(Owner::Api, |function| function.owner)
    }
}

pub(super) fn not_permitted(missing: &str) -> Reason {
    let message = format!("Lambda cannot make network interfaces: {missing}.");
    Reason::new(ReasonCode::InsufficientRolePermissions, message)
}
