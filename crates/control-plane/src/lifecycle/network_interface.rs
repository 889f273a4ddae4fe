//! Making ENIs and taking them away.

use std::time::Duration;

use viaduct_topology::{ResourceId, inventory::Change};

use super::{
    Lifecycle,
    command::Answer,
    eni::{Eni, EniSet, EniState, Phase},
    event::Happening,
    key::Key,
    names::FunctionName,
    refusal::Refusal,
    sharing::not_permitted,
    state::{Reason, ReasonCode},
    time::Time,
    timer::Timer,
};

/// Why an ENI goes that another has taken the place of (LAM-08).
pub(super) const UNHEALTHY: &str = "it had failed its health check";

/// Why an ENI goes that was needed under load (LAM-07).
const NOT_NEEDED: &str = "its load is gone";

impl Lifecycle {
    /// Whether a VPC may have an ENI more in each of these subnets.
    pub(super) fn can_make(&self, vpc: &ResourceId, subnets: &[&ResourceId]) -> Result<(), Reason> {
        if let Some(subnet) = subnets.iter().find(|subnet| self.has_failed(subnet)) {
            return Err(zone_failed(subnet));
        }
        let quota = self.places.enis_per_vpc();
        let present = self.in_vpc.get(vpc).copied().unwrap_or(0);
        let more = u32::try_from(subnets.len()).unwrap_or(u32::MAX);
        if more > 0 && present.saturating_add(more) > quota {
            let message = format!(
                "The VPC {vpc} has {present} Hyperplane ENIs of {quota}, and {more} more are needed."
            );
            return Err(Reason::new(ReasonCode::EniLimitExceeded, message));
        }
        match subnets.iter().find(|subnet| !self.places.has_room(subnet)) {
            Some(full) => Err(no_address(full)),
            None => Ok(()),
        }
    }

    /// Begins to make an ENI of a key. Whether it can be is known.
    pub(super) fn make(
        &mut self,
        key: &Key,
        vpc: &ResourceId,
        made_for: &FunctionName,
        delay: Duration,
        replaces: Option<u32>,
    ) {
        let Some(private_ip) = self.places.take_lowest(key.subnet()) else { return };
        let due = self.now.after(delay);
        let set = self.sets.entry(key.clone()).or_insert_with(|| EniSet {
            key: key.clone(),
            vpc: vpc.clone(),
            enis: std::collections::BTreeMap::new(),
            users: std::collections::BTreeSet::new(),
            last_used: self.now,
            phase: Phase::InUse,
        });
        let ordinal = set.free_ordinal();
        let id = key.eni_id(ordinal);
        let eni = Eni {
            id: id.clone(),
            private_ip,
            made_for: made_for.clone(),
            state: EniState::Pending { due, replaces },
            crowded: false,
            empty_since: None,
        };
        set.enis.insert(ordinal, eni);
        self.timers.set(due, Timer::Made(key.clone(), ordinal));
        self.by_id.insert(id.clone(), (key.clone(), ordinal));
        *self.in_vpc.entry(vpc.clone()).or_default() += 1;
        self.output.sets.insert(key.clone());
        self.tell(Happening::EniRequested { eni: id, key: key.clone(), private_ip, due });
    }

    /// Begins to make an ENI that a set in use needs beside those that it has.
    pub(super) fn make_further(&mut self, key: &Key, replaces: Option<u32>) {
        let Some(set) = self.sets.get(key) else { return };
        let Some(user) = set.users.first().cloned() else { return };
        let (vpc, subnet) = (set.vpc.clone(), key.subnet().clone());
        let role = self.version(&user).and_then(|version| version.configuration.role.clone());
        let permitted = match self.roles.missing_to_make(role.as_ref()) {
            Some(missing) => Err(not_permitted(&missing)),
            None => Ok(()),
        };
        let shared = self.unshared(key).map_or(Ok(()), Err);
        match permitted.and(shared).and_then(|()| self.can_make(&vpc, &[&subnet])) {
            Ok(()) => {
                let delay = self.delays_of(self.owner(&user)).creation;
                self.make(key, &vpc, &user.function, delay, replaces);
            }
            Err(reason) => self.tell(Happening::EniNotMade { key: key.clone(), reason }),
        }
    }

    /// Has an ENI take no new connections, until it goes: empty, or at this moment. Others of its set
    /// are in use. Where the set has no users, it goes at once.
    pub(super) fn drain(&mut self, key: &Key, ordinal: u32, due: Option<Time>) {
        let why = if due.is_some() { UNHEALTHY } else { NOT_NEEDED };
        let Some(set) = self.sets.get_mut(key) else { return };
        if set.phase != Phase::InUse {
            return self.take_away(key, ordinal, why);
        }
        self.timers.clear_all(set, &self.delays);
        if let Some(eni) = set.enis.get_mut(&ordinal) {
            let since = match eni.state {
                EniState::Draining { since, .. } => since,
                _ => {
                    self.output.changes.push(Change::DrainEni(eni.id.clone()));
                    self.now
                }
            };
            eni.state = EniState::Draining { since, due };
            (eni.crowded, eni.empty_since) = (false, None);
            let what = Happening::EniDraining { eni: eni.id.clone(), why };
            self.output.events.push(super::Event { at: self.now, what });
        }
        self.timers.set_all(set, &self.delays);
        self.output.sets.insert(key.clone());
    }

    /// Takes an ENI away that drains, for it carries nothing any more. What was seen at the moment
    /// at which it began to drain, or before, says nothing: a connection may have come after it.
    pub(super) fn drained(&mut self, key: &Key, ordinal: u32) {
        let state = self.sets.get(key).and_then(|set| Some(set.enis.get(&ordinal)?.state));
        if let Some(EniState::Draining { since, due }) = state
            && since < self.now
        {
            self.take_away(key, ordinal, if due.is_some() { UNHEALTHY } else { NOT_NEEDED });
        }
    }

    /// Takes an ENI away, and its set with its last one.
    pub(super) fn take_away(&mut self, key: &Key, ordinal: u32, why: &'static str) {
        let Some(set) = self.sets.get_mut(key) else { return };
        self.timers.clear_all(set, &self.delays);
        if let Some(eni) = set.enis.remove(&ordinal) {
            self.places.give_back(key.subnet(), eni.private_ip);
            self.by_id.remove(&eni.id);
            if let Some(count) = self.in_vpc.get_mut(&set.vpc) {
                *count -= 1;
            }
            if eni.is_there() {
                self.output.changes.push(Change::RemoveEni(eni.id.clone()));
            }
            let what = Happening::EniDeleted { eni: eni.id, why };
            self.output.events.push(super::Event { at: self.now, what });
        }
        if set.enis.is_empty() {
            self.sets.remove(key);
        } else {
            self.timers.set_all(set, &self.delays);
        }
        self.output.sets.insert(key.clone());
    }

    /// Deletes a set that has no users, if the last one's role still permits it (LAM-55).
    pub(super) fn end(&mut self, key: &Key, why: &'static str) {
        let Some(set) = self.sets.get_mut(key) else { return };
        let Phase::Releasing { role, .. } = &set.phase else { return };
        let Some(missing) = self.roles.missing_to_delete(role.as_ref()) else {
            let ordinals: Vec<u32> = set.enis.keys().copied().collect();
            return ordinals.into_iter().for_each(|ordinal| self.take_away(key, ordinal, why));
        };
        self.timers.clear_all(set, &self.delays);
        set.phase = Phase::Stranded { why: missing.clone() };
        self.timers.set_all(set, &self.delays);
        self.output.sets.insert(key.clone());
        self.tell(Happening::Stranded { key: key.clone(), why: missing });
    }

    /// Deletes an ENI by hand: only one that is stranded.
    pub(super) fn delete_by_hand(&mut self, id: &ResourceId) -> Result<Answer, Refusal> {
        let Some((set, ordinal)) = self.eni(id) else {
            return Err(Refusal::EniNotFound(id.clone()));
        };
        if let Phase::Stranded { .. } = set.phase {
            let key = set.key.clone();
            self.take_away(&key, ordinal, "by hand");
            return Ok(Answer::Done);
        }
        let by = set.held_by().unwrap_or_else(|| "Lambda is about to delete it".to_owned());
        Err(Refusal::EniInUse { eni: id.clone(), by })
    }

    pub(super) fn fail_zone(&mut self, zone: String, failed: bool) -> Result<Answer, Refusal> {
        let known = self.places.has_zone(&zone) || self.failed_zones.contains(&zone);
        if !known {
            return Err(Refusal::UnknownZone(zone));
        }
        let changed = match failed {
            true => self.failed_zones.insert(zone.clone()),
            false => self.failed_zones.remove(&zone),
        };
        if changed {
            self.output.zones = true;
            self.tell(match failed {
                true => Happening::ZoneFailed(zone),
                false => Happening::ZoneRestored(zone),
            });
        }
        Ok(Answer::Done)
    }

    /// Whether the zone of a subnet has failed.
    pub(super) fn has_failed(&self, subnet: &ResourceId) -> bool {
        self.places.zone(subnet).is_some_and(|zone| self.failed_zones.contains(zone))
    }
}

pub(super) fn zone_failed(subnet: &ResourceId) -> Reason {
    let message = format!("The zone of subnet {subnet} has failed: no ENI can be made there.");
    Reason::new(ReasonCode::InternalError, message)
}

fn no_address(subnet: &ResourceId) -> Reason {
    let message = format!("The subnet {subnet} has no free address.");
    Reason::new(ReasonCode::SubnetOutOfIpAddresses, message)
}
