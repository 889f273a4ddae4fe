//! What functions must have in common to share ENIs.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use viaduct_topology::{ResourceId, inventory::HyperplaneKey};

/// Account, subnet and set of groups: functions and versions with the same key share ENIs (LAM-03),
/// and never with another account (LAM-05).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "Named")]
pub struct Key {
    account: Arc<str>,
    subnet: ResourceId,
    /// A set: sorted, without repetition.
    security_groups: Arc<[ResourceId]>,
}

/// What a key was made of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    account: Arc<str>,
    subnet: ResourceId,
    security_groups: Vec<ResourceId>,
}

impl From<Named> for Key {
    fn from(Named { account, subnet, security_groups }: Named) -> Self {
        Self::new(account, subnet, &security_groups)
    }
}

impl Key {
    /// The key of these. The order of the groups, and how often one is named, mean nothing.
    #[must_use]
    pub fn new(account: Arc<str>, subnet: ResourceId, security_groups: &[ResourceId]) -> Self {
        let mut groups = security_groups.to_vec();
        groups.sort();
        groups.dedup();
        Self { account, subnet, security_groups: groups.into() }
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The subnet.
    #[must_use]
    pub fn subnet(&self) -> &ResourceId {
        &self.subnet
    }

    /// The groups, sorted.
    #[must_use]
    pub fn security_groups(&self) -> &[ResourceId] {
        &self.security_groups
    }

    /// The name by which the inventory knows the key's ENI of this ordinal.
    #[must_use]
    pub fn ordinal(&self, ordinal: u32) -> HyperplaneKey {
        HyperplaneKey {
            account: self.account.to_string(),
            subnet: self.subnet.clone(),
            security_groups: self.security_groups.to_vec(),
            ordinal,
        }
    }

    /// The id of the key's ENI of this ordinal: it belongs to the two of them for good.
    #[must_use]
    pub fn eni_id(&self, ordinal: u32) -> ResourceId {
        let Self { account, subnet, security_groups } = self;
        let groups: Vec<&str> = security_groups.iter().map(ResourceId::as_str).collect();
        ResourceId::derived("eni", &format!("{account}/{subnet}/{}/{ordinal}", groups.join(",")))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, subnet, security_groups } = self;
        let groups: Vec<&str> = security_groups.iter().map(ResourceId::as_str).collect();
        write!(f, "{account}/{subnet}/{{{}}}", groups.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Facts: LAM-03, LAM-05
    #[test]
    fn lam_03_groups_are_a_set_and_accounts_are_apart() {
        let id = ResourceId::named;
        let key = |account: &str, groups: &[&str]| {
            let groups: Vec<_> = groups.iter().map(|group| id(group)).collect();
            Key::new(account.into(), id("subnet-1"), &groups)
        };
        assert_eq!(key("1", &["sg-a", "sg-b"]), key("1", &["sg-b", "sg-a", "sg-b"]));
        assert_ne!(key("1", &["sg-a", "sg-b"]), key("1", &["sg-a"]));
        assert_ne!(key("1", &["sg-a"]), key("2", &["sg-a"]));
        assert_ne!(key("1", &["sg-a"]).eni_id(0), key("1", &["sg-a"]).eni_id(1));
        assert_eq!(key("1", &["sg-b", "sg-a"]).to_string(), "1/subnet-1/{sg-a,sg-b}");
    }
}
