//! The ENIs of one key, and who uses them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use viaduct_topology::{
    ResourceId, derived_uuid,
    inventory::{self, EniOwner},
};

use super::{
    key::Key,
    names::{FunctionName, RoleName, VersionId},
    time::Time,
};

/// The ENIs of one key: all of its users use all of them, so they live and end together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EniSet {
    /// What the users have in common.
    pub key: Key,
    /// The VPC that the subnet is of.
    pub vpc: ResourceId,
    /// By ordinal. INVARIANT: never empty.
    pub enis: BTreeMap<u32, Eni>,
    /// Functions and versions that use them, or wait for them. Who they are follows from the functions.
    #[serde(skip)]
    pub users: BTreeSet<VersionId>,
    /// When a user last did something with them.
    pub last_used: Time,
    /// How far their life is.
    pub phase: Phase,
}

/// How far the life of a set of ENIs is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Phase {
    /// It has users.
    InUse,
    /// It has none any more, and Lambda is about to delete it.
    Releasing {
        /// When.
        due: Time,
        /// Whose rights will do it: those of the last user.
        role: Option<RoleName>,
    },
    /// It has none, and the rights to delete it were missing: only somebody's hand can (LAM-55).
    Stranded {
        /// What was missing.
        why: String,
    },
}

/// One Hyperplane ENI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eni {
    /// `eni-…`
    pub id: ResourceId,
    /// Its address, taken from the subnet as soon as it is being made (LAM-32).
    pub private_ip: IpAddr,
    /// The function for which it was made; who shares it later does not appear (LAM-31).
    pub made_for: FunctionName,
    /// Whether it is there.
    pub state: EniState,
    /// Whether it, or a destination on it, nears what it can carry.
    pub crowded: bool,
    /// Since when it has no connections, if the dataplane has said so.
    pub empty_since: Option<Time>,
}

/// Whether an ENI is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum EniState {
    /// It is being made.
    Pending {
        /// When it will be there.
        due: Time,
        /// The ordinal of the one in whose place it comes (LAM-08).
        replaces: Option<u32>,
    },
    /// It carries connections.
    InUse,
    /// It carries the connections that it has, and takes no new ones. INVARIANT: its set has users,
    /// and another ENI that is in use.
    Draining {
        /// Since when.
        since: Time,
        /// When it goes, whatever it carries; of one that is healthy, when it carries nothing.
        due: Option<Time>,
    },
}

impl Eni {
    /// Whether it is there.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        !matches!(self.state, EniState::Pending { .. })
    }

    /// Whether it takes new connections.
    #[must_use]
    pub const fn is_in_use(&self) -> bool {
        matches!(self.state, EniState::InUse)
    }

    /// Whether it is there and takes none.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        matches!(self.state, EniState::Draining { .. })
    }

    /// What EC2 shows as its description (LAM-31).
    #[must_use]
    pub fn description(&self) -> String {
        format!("AWS Lambda VPC ENI-{}-{}", self.made_for.name, derived_uuid(self.id.as_str()))
    }
}

impl EniSet {
    /// Whether it carries connections. Once it does, it does as long as it has users: ENIs that go
    /// are replaced before.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.enis.values().any(Eni::is_in_use)
    }

    /// Whether an ENI takes connections, and none is being made in its place.
    #[must_use]
    pub fn is_kept(&self, ordinal: u32) -> bool {
        let comes = |eni: &Eni| matches!(eni.state, EniState::Pending { replaces, .. } if replaces == Some(ordinal));
        self.enis.get(&ordinal).is_some_and(Eni::is_in_use) && !self.enis.values().any(comes)
    }

    /// Why it cannot be deleted, in words; none if Lambda is about to.
    #[must_use]
    pub fn held_by(&self) -> Option<String> {
        match &self.phase {
            Phase::InUse => {
                let users: Vec<String> = self.users.iter().map(ToString::to_string).collect();
                Some(format!("used by {}", users.join(", ")))
            }
            Phase::Releasing { .. } => None,
            Phase::Stranded { why } => Some(format!("stranded: {why}; delete it by hand")),
        }
    }

    /// The ENIs that are there, as the inventory has them.
    pub fn inventory(&self) -> impl Iterator<Item = inventory::Eni> {
        let there = self.enis.iter().filter(|(_, eni)| eni.is_there());
        there.map(|(ordinal, eni)| self.declared(*ordinal, eni))
    }

    pub(super) fn declared(&self, ordinal: u32, eni: &Eni) -> inventory::Eni {
        inventory::Eni {
            id: eni.id.clone(),
            vpc: self.vpc.clone(),
            subnet: self.key.subnet().clone(),
            private_ip: eni.private_ip,
            secondary_private_ips: Vec::new(),
            // LAM-12: a function's ENI never has one.
            public_ip: None,
            security_groups: self.key.security_groups().to_vec(),
            owner: EniOwner::Functions(self.key.ordinal(ordinal)),
            // LAM-30: an ENI of type `lambda` has its check on.
            source_dest_check: true,
        }
    }

    /// The lowest ordinal that no ENI of the set has.
    pub(super) fn free_ordinal(&self) -> u32 {
        (0..).find(|ordinal| !self.enis.contains_key(ordinal)).expect("fewer than 2^32 ENIs")
    }
}
