//! What a file declares: its roles and functions, all at one moment, in a network that may be another.
//!
//! A file's functions are there from one moment to the next, so nothing is made before something is
//! broken: what goes gives its addresses back first, and they rest, so that nobody gets one while
//! another is free. A file's functions and those of the API never take each other's place.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use viaduct_topology::{ResourceId, iam::Policy};

use super::{
    Lifecycle,
    command::Owner,
    configuration::Configuration,
    eni::EniState,
    key::Key,
    names::{FunctionName, RoleName, VersionId},
    places::Places,
    sharing::not_permitted,
    state::{Reason, ReasonCode, State},
};

/// Why a file's functions cannot be what they are to be. The machine is then of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclarationError {
    /// The API has a function of this name.
    #[error(
        "the function {0} was made over the API: delete it there, or call the file's another name"
    )]
    MadeOverApi(FunctionName),
    /// The API has a role of this name.
    #[error("the role {0} was made over the API: delete it there, or call the file's another name")]
    RoleMadeOverApi(RoleName),
    /// A subnet is full.
    #[error("the subnet {subnet} has no free address for the ENI of function {function}")]
    NoFreeAddress {
        /// Whose ENI.
        function: FunctionName,
        /// Which subnet.
        subnet: ResourceId,
    },
    /// A VPC would have too many ENIs.
    #[error("the VPC {vpc} needs {needed} Hyperplane ENIs and may have {quota}")]
    EniQuota {
        /// Which VPC.
        vpc: ResourceId,
        /// ENIs that it would have.
        needed: u32,
        /// ENIs that it may have.
        quota: u32,
    },
    /// Something else that a function runs into.
    #[error("the function {function} cannot be declared: {}", .reason.message)]
    Failed {
        /// Which one.
        function: FunctionName,
        /// What it runs into.
        reason: Reason,
    },
    /// A subnet goes in which functions of the API stand, or ENIs of an account that it was shared with.
    #[error("the subnet {subnet} cannot go: its ENIs are {by}")]
    SubnetInUse {
        /// Which subnet.
        subnet: ResourceId,
        /// By whom they are held.
        by: String,
    },
    /// A group goes, or goes to another VPC, that functions of the API have.
    #[error("the security group {group} cannot go: the ENIs that carry it are {by}")]
    GroupInUse {
        /// Which group.
        group: ResourceId,
        /// By whom they are held.
        by: String,
    },
}

impl Lifecycle {
    /// All ENIs with their subnets and addresses, those that are being made included.
    pub fn addresses(&self) -> impl Iterator<Item = (&Key, u32, IpAddr)> {
        let sets = self.sets.values();
        sets.flat_map(|set| {
            set.enis.iter().map(|(ordinal, eni)| (&set.key, *ordinal, eni.private_ip))
        })
    }

    /// Puts the machine into other places and has a file's roles and functions be these, at the moment
    /// up to which everything was done. In the places, each ENI has its address, but for the `homeless`.
    ///
    /// Whether a role permits what a function needs is asked whether or not its ENIs are there, so that
    /// a file which was applied can also be started with.
    ///
    /// # Errors
    ///
    /// When the file's functions cannot all be there, or a subnet or group is gone that others use.
    /// The machine is then between two states: use a copy.
    pub fn declare(
        &mut self,
        places: Places,
        homeless: &[(Key, u32)],
        roles: &[(RoleName, Vec<Policy>)],
        functions: &[(FunctionName, Configuration)],
    ) -> Result<(), DeclarationError> {
        let guests: BTreeSet<Key> =
            self.sets.keys().filter(|key| self.places.are_a_guests(key)).cloned().collect();
        self.settle(places);
        for (name, policies) in roles {
            if self.roles.0.get(name).is_some_and(|present| present.owner == Owner::Api) {
                return Err(DeclarationError::RoleMadeOverApi(name.clone()));
            }
            self.put_role(name.clone(), policies.clone(), Owner::File);
        }
        for (name, configuration) in functions.iter().filter(|(_, it)| !it.vpc.is_none()) {
            if let Some(missing) = self.roles.missing_to_make(configuration.role.as_ref()) {
                let (function, reason) = (name.clone(), not_permitted(&missing));
                return Err(DeclarationError::Failed { function, reason });
            }
        }
        self.places.rest(true);
        let names: HashSet<&FunctionName> = functions.iter().map(|(name, _)| name).collect();
        let gone: Vec<FunctionName> = self
            .functions
            .values()
            .filter(|function| function.owner == Owner::File && !names.contains(&function.name))
            .map(|function| function.name.clone())
            .collect();
        for name in gone {
            let deleted = self.delete(name.clone(), None);
            debug_assert!(deleted.is_ok(), "{name} is there");
        }
        let changed: Vec<&(FunctionName, Configuration)> = functions
            .iter()
            .filter(|(name, configuration)| {
                let present = self.functions.get(name);
                present.is_some_and(|it| {
                    it.latest.configuration != *configuration
                        || it.latest.next.is_some()
                        || it.latest.state != State::Active
                })
            })
            .collect();
        for (name, configuration) in &changed {
            self.exchange(name, configuration)?;
        }
        self.advance(self.now);
        self.rehouse(homeless)?;
        for (name, configuration) in functions {
            if let Some(present) = self.functions.get(name) {
                if present.latest.state == State::Pending {
                    self.begin(&VersionId::latest(name.clone()));
                }
            } else {
                let created = self.create(name.clone(), configuration.clone(), Owner::File);
                created.map_err(|refusal| DeclarationError::Failed {
                    function: name.clone(),
                    reason: Reason::new(ReasonCode::InternalError, refusal.to_string()),
                })?;
            }
            configuration.keys(&name.account).for_each(|key| self.hasten(&key));
            self.advance(self.now);
            self.stands(name, configuration)?;
        }
        self.evict(&guests)?;
        // What went was still deleted with their rights.
        self.keep_roles(roles);
        self.places.rest(false);
        Ok(())
    }

    /// Takes other places. What has no address there is homeless, or in a subnet that is gone.
    fn settle(&mut self, places: Places) {
        self.places = places;
        self.in_vpc.clear();
        for set in self.sets.values_mut() {
            if let Some(vpc) = self.places.vpc_of(set.key.subnet())
                && set.vpc != *vpc
            {
                set.vpc = vpc.clone();
                self.output.sets.insert(set.key.clone());
            }
            let count = u32::try_from(set.enis.len()).unwrap_or(u32::MAX);
            *self.in_vpc.entry(set.vpc.clone()).or_default() += count;
        }
    }

    /// Has a file's function be another: what it needs no longer goes now.
    fn exchange(
        &mut self,
        name: &FunctionName,
        configuration: &Configuration,
    ) -> Result<(), DeclarationError> {
        let Some(function) = self.functions.get_mut(name) else { return Ok(()) };
        if function.owner == Owner::Api {
            return Err(DeclarationError::MadeOverApi(name.clone()));
        }
        let latest = &mut function.latest;
        let held = latest.keys(name);
        let role = configuration.role.clone();
        latest.configuration = configuration.clone();
        latest.next = None;
        latest.revision += 1;
        let id = VersionId::latest(name.clone());
        self.set_state(&id, State::Pending, Some(Reason::creating()));
        let kept: Vec<Key> = configuration.keys(&name.account).collect();
        let let_go = held.into_iter().filter(|key| !kept.contains(key));
        self.release(&id, let_go, Owner::File, role.as_ref());
        Ok(())
    }

    /// Has the ENIs of a set be there now that are being made for somebody who would have waited.
    fn hasten(&mut self, key: &Key) {
        let Some(set) = self.sets.get_mut(key).filter(|set| !set.is_ready()) else { return };
        self.timers.clear_all(set, &self.delays);
        for eni in set.enis.values_mut() {
            if let EniState::Pending { due, .. } = &mut eni.state {
                *due = self.now;
            }
        }
        self.timers.set_all(set, &self.delays);
        self.output.sets.insert(key.clone());
    }

    /// Gives other addresses to ENIs whose own are somebody else's now.
    fn rehouse(&mut self, homeless: &[(Key, u32)]) -> Result<(), DeclarationError> {
        for (key, ordinal) in homeless {
            // It may have gone meanwhile, or its subnet.
            let Some(set) = self.sets.get_mut(key) else { continue };
            let Some(eni) = set.enis.get_mut(ordinal) else { continue };
            if self.places.zone(key.subnet()).is_none() {
                continue;
            }
            let Some(private_ip) = self.places.take_lowest(key.subnet()) else {
                let (function, subnet) = (eni.made_for.clone(), key.subnet().clone());
                return Err(DeclarationError::NoFreeAddress { function, subnet });
            };
            eni.private_ip = private_ip;
            self.output.sets.insert(key.clone());
        }
        Ok(())
    }

    /// Whether a function is what it was declared to be.
    fn stands(
        &self,
        name: &FunctionName,
        configuration: &Configuration,
    ) -> Result<(), DeclarationError> {
        let Some(function) = self.functions.get(name) else { return Ok(()) };
        if function.owner == Owner::Api {
            return Err(DeclarationError::MadeOverApi(name.clone()));
        }
        if function.latest.state == State::Active {
            return Ok(());
        }
        let keys: Vec<Key> = configuration.keys(&name.account).collect();
        let missing: Vec<&Key> = keys.iter().filter(|key| !self.sets.contains_key(key)).collect();
        let function = name.clone();
        let reason = self.functions[name].latest.reason.clone();
        let vpc = missing.first().and_then(|key| self.places.vpc_of(key.subnet()));
        match reason {
            Some(Reason { code: ReasonCode::SubnetOutOfIpAddresses, .. })
                if let Some(full) =
                    missing.iter().find(|key| !self.places.has_room(key.subnet())) =>
            {
                let subnet = full.subnet().clone();
                Err(DeclarationError::NoFreeAddress { function, subnet })
            }
            Some(Reason { code: ReasonCode::EniLimitExceeded, .. }) if let Some(vpc) = vpc => {
                let present = self.in_vpc.get(vpc).copied().unwrap_or(0);
                let needed = present + u32::try_from(missing.len()).unwrap_or(u32::MAX);
                let (vpc, quota) = (vpc.clone(), self.places.enis_per_vpc());
                Err(DeclarationError::EniQuota { vpc, needed, quota })
            }
            reason => {
                let reason = reason.unwrap_or_else(Reason::creating);
                Err(DeclarationError::Failed { function, reason })
            }
        }
    }

    /// Takes away what stands in subnets or has groups that are gone, unless somebody uses it. What
    /// guests had in a subnet keeps it in its place until it is gone (SHR-09).
    fn evict(&mut self, guests: &BTreeSet<Key>) -> Result<(), DeclarationError> {
        let mut gone = Vec::new();
        for (key, set) in &self.sets {
            let without_place = self.places.zone(key.subnet()).is_none();
            let group = key.security_groups().iter();
            let mut group = group.filter(|group| !self.places.has_group(&set.vpc, group));
            let group = group.next().filter(|_| !without_place);
            if !without_place && group.is_none() {
                continue;
            }
            let is_a_guests = without_place && guests.contains(key);
            if set.users.is_empty() && !is_a_guests {
                let why = if without_place { "its subnet is gone" } else { "its group is gone" };
                gone.push((key.clone(), set.enis.keys().copied().collect::<Vec<u32>>(), why));
                continue;
            }
            let by = set.held_by();
            let by = match is_a_guests {
                false => by.unwrap_or_default(),
                true => {
                    let until = || "there until Lambda has deleted them".to_owned();
                    format!("of account {}, {}", key.account(), by.unwrap_or_else(until))
                }
            };
            return Err(match group {
                Some(group) => DeclarationError::GroupInUse { group: group.clone(), by },
                None => DeclarationError::SubnetInUse { subnet: key.subnet().clone(), by },
            });
        }
        for (key, ordinals, why) in gone {
            for ordinal in ordinals {
                self.take_away(&key, ordinal, why);
            }
        }
        Ok(())
    }
}
