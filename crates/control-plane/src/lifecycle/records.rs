//! What must be remembered for a machine to go on where another stood.
//!
//! Functions, sets of ENIs, roles and failed zones, and the time. Everything else (who uses which
//! set, which address is taken, what is due) follows from them, and is made anew.
//!
//! The records can be serialized; a name that is not known is refused, not passed over.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
};

use viaduct_topology::ResourceId;

use super::{
    Lifecycle,
    eni::{EniSet, Phase},
    function::Function,
    key::Key,
    names::{RoleName, VersionId},
    places::Places,
    role::{Role, Roles},
    time::{Delays, Time},
};

/// A machine's memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// All functions.
    pub functions: Vec<Function>,
    /// All sets of ENIs; their users are not looked at.
    pub sets: Vec<EniSet>,
    /// All roles.
    pub roles: BTreeMap<RoleName, Role>,
    /// The zones that have failed.
    pub failed_zones: BTreeSet<String>,
    /// The time up to which everything was done.
    pub now: Time,
}

/// Why records are none of a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// A subnet lacks an address that an ENI has.
    #[error(
        "{eni} cannot have its address in subnet {subnet}: the subnet is gone, or the address is taken"
    )]
    Address {
        /// The ENI.
        eni: ResourceId,
        /// The subnet.
        subnet: ResourceId,
    },
    /// A set of ENIs is none that a machine would have.
    #[error("the records of the ENIs of {key} make no sense: {what}")]
    Set {
        /// Whose ENIs.
        key: Key,
        /// What is wrong with them.
        what: &'static str,
    },
    /// A function uses ENIs that there are not.
    #[error(
        "the records of {version} and of the ENIs it uses do not agree: they are not of one moment"
    )]
    Disagree {
        /// Who uses them.
        version: VersionId,
    },
}

impl Lifecycle {
    /// What must be remembered of this machine.
    #[must_use]
    pub fn records(&self) -> Records {
        let without_users = |set: &EniSet| EniSet { users: BTreeSet::new(), ..set.clone() };
        Records {
            functions: self.functions.values().cloned().collect(),
            sets: self.sets.values().map(without_users).collect(),
            roles: self.roles.0.clone(),
            failed_zones: self.failed_zones.clone(),
            now: self.now,
        }
    }

    /// A machine that goes on where another stood, in the same places.
    ///
    /// # Errors
    ///
    /// When the places have no room for what is remembered, or the records contradict each other.
    pub fn restore(places: Places, delays: Delays, records: Records) -> Result<Self, RestoreError> {
        let mut machine = Self::remember(delays, records)?;
        machine.places = places;
        for set in machine.sets.values() {
            for eni in set.enis.values() {
                if !machine.places.take(set.key.subnet(), eni.private_ip) {
                    let (eni, subnet) = (eni.id.clone(), set.key.subnet().clone());
                    return Err(RestoreError::Address { eni, subnet });
                }
            }
        }
        Ok(machine)
    }

    /// A machine that goes on where another stood, in no place yet: to be told by
    /// [`declare`](Self::declare) where it is, before anything else. Nothing is due before its time
    /// because of that, and what was due is done with the next input.
    ///
    /// # Errors
    ///
    /// When the records contradict each other.
    pub fn remember(delays: Delays, records: Records) -> Result<Self, RestoreError> {
        let Records { functions, sets, roles, failed_zones, now } = records;
        let mut machine = Self::new(Places::default(), delays, now);
        machine.roles = Roles(roles);
        machine.failed_zones = failed_zones;
        let mut addresses = HashSet::new();
        for mut set in sets {
            set.users.clear();
            if let Err(what) = makes_sense(&set, &mut addresses) {
                return Err(RestoreError::Set { key: set.key, what });
            }
            for (ordinal, eni) in &set.enis {
                machine.by_id.insert(eni.id.clone(), (set.key.clone(), *ordinal));
                *machine.in_vpc.entry(set.vpc.clone()).or_default() += 1;
            }
            machine.timers.set_all(&set, &delays);
            machine.sets.insert(set.key.clone(), set);
        }
        for function in functions {
            for (which, version) in function.versions() {
                let id = VersionId { function: function.name.clone(), version: which };
                for key in version.keys(&function.name) {
                    match machine.sets.get_mut(&key) {
                        Some(set) => set.users.insert(id.clone()),
                        None => return Err(RestoreError::Disagree { version: id }),
                    };
                }
            }
            machine.functions.insert(function.name.clone(), function);
        }
        let astray = |set: &&EniSet| (set.phase == Phase::InUse) == set.users.is_empty();
        match machine.sets.values().find(astray) {
            Some(set) => {
                let what = "whether they have users and how far their life is do not agree";
                Err(RestoreError::Set { key: set.key.clone(), what })
            }
            None => Ok(machine),
        }
    }

    /// Whether everything that follows from the records is what would be made of them anew, in these
    /// places without functions. For tests; it looks at everything.
    ///
    /// # Errors
    ///
    /// What differs, as text.
    pub fn check(&self, places: Places) -> Result<(), String> {
        let made = Self::restore(places, self.delays, self.records());
        let made = made.map_err(|error| error.to_string())?;
        let differs = |what: &str, same: bool, one: String, other: String| match same {
            true => Ok(()),
            false => Err(format!("{what}: {one}\nmade of the records: {other}")),
        };
        macro_rules! same {
            ($($field:ident),*) => {$(
                differs(
                    stringify!($field),
                    self.$field == made.$field,
                    format!("{:?}", self.$field),
                    format!("{:?}", made.$field),
                )?;
            )*};
        }
        same!(sets, by_id, timers, places);
        let counts = self.in_vpc.iter().filter(|(_, count)| **count > 0);
        let counts: std::collections::HashMap<_, _> =
            counts.map(|(vpc, count)| (vpc.clone(), *count)).collect();
        differs(
            "in_vpc",
            counts == made.in_vpc,
            format!("{counts:?}"),
            format!("{:?}", made.in_vpc),
        )?;
        match self.sets.values().find(|set| set.enis.is_empty()) {
            Some(empty) => Err(format!("a set without ENIs: {empty:?}")),
            None => Ok(()),
        }
    }
}

/// Whether a set is one by itself, and has no address that is among these; adds its own.
fn makes_sense(
    set: &EniSet,
    addresses: &mut HashSet<(ResourceId, IpAddr)>,
) -> Result<(), &'static str> {
    if set.enis.is_empty() {
        return Err("there are none");
    }
    for (ordinal, eni) in &set.enis {
        if eni.id != set.key.eni_id(*ordinal) {
            return Err("an id is not that of its key and ordinal");
        }
        if !addresses.insert((set.key.subnet().clone(), eni.private_ip)) {
            return Err("an address is held twice");
        }
    }
    Ok(())
}
