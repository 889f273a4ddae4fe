//! What is configured of functions.
//!
//! Only what concerns the network is looked at. Whatever else a function has (code, runtime, memory)
//! is carried for whoever reads it back.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use viaduct_topology::ResourceId;

use super::{
    key::Key,
    names::RoleName,
    refusal::{MOST_GROUPS, MOST_SUBNETS, Refusal},
};

/// Where a function's ENIs are: subnets and groups, or no VPC at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Named")]
pub struct VpcConfig {
    /// In the order in which they were named, without repetition.
    subnets: Vec<ResourceId>,
    /// A set: sorted, without repetition (LAM-03).
    security_groups: Vec<ResourceId>,
}

impl VpcConfig {
    /// Of no VPC: the function reaches the internet through the service's own network, and nothing
    /// else.
    #[must_use]
    pub const fn none() -> Self {
        Self { subnets: Vec::new(), security_groups: Vec::new() }
    }

    /// These subnets and groups; both empty is no VPC (LAM-16).
    ///
    /// # Errors
    ///
    /// When there are too many (LAM-15), or only one of the lists is empty.
    pub fn new(
        subnets: impl IntoIterator<Item = ResourceId>,
        security_groups: impl IntoIterator<Item = ResourceId>,
    ) -> Result<Self, Refusal> {
        let mut places = Vec::new();
        for subnet in subnets {
            if !places.contains(&subnet) {
                places.push(subnet);
            }
        }
        let mut groups: Vec<ResourceId> = security_groups.into_iter().collect();
        groups.sort();
        groups.dedup();
        if places.len() > MOST_SUBNETS {
            return Err(Refusal::TooManySubnets(places.len()));
        }
        if groups.len() > MOST_GROUPS {
            return Err(Refusal::TooManyGroups(groups.len()));
        }
        if places.is_empty() != groups.is_empty() {
            return Err(Refusal::HalfAttached);
        }
        Ok(Self { subnets: places, security_groups: groups })
    }

    /// The subnets, in the order in which they were named.
    #[must_use]
    pub fn subnets(&self) -> &[ResourceId] {
        &self.subnets
    }

    /// The groups, sorted.
    #[must_use]
    pub fn security_groups(&self) -> &[ResourceId] {
        &self.security_groups
    }

    /// The keys of the ENIs that a function of this account needs here: one for each subnet (LAM-04).
    pub fn keys(&self, account: &Arc<str>) -> impl Iterator<Item = Key> {
        let subnets = self.subnets.iter();
        subnets.map(|subnet| Key::new(account.clone(), subnet.clone(), &self.security_groups))
    }

    /// Whether it is of no VPC.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.subnets.is_empty()
    }
}

/// Subnets and groups as somebody has named them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    subnets: Vec<ResourceId>,
    security_groups: Vec<ResourceId>,
}

impl TryFrom<Named> for VpcConfig {
    type Error = Refusal;

    fn try_from(Named { subnets, security_groups }: Named) -> Result<Self, Refusal> {
        Self::new(subnets, security_groups)
    }
}

/// What is configured of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Where its ENIs are.
    pub vpc: VpcConfig,
    /// Whose rights make and delete them; without one, nobody's are needed.
    pub role: Option<RoleName>,
    /// Everything else, by the API's names.
    pub carried: BTreeMap<String, String>,
}

impl Configuration {
    /// The keys of the ENIs that a function of this account needs.
    pub fn keys(&self, account: &Arc<str>) -> impl Iterator<Item = Key> {
        self.vpc.keys(account)
    }

    /// This configuration with some of it changed.
    #[must_use]
    pub fn with(&self, change: ConfigurationChange) -> Self {
        let ConfigurationChange { vpc, role, carried } = change;
        let mut all = self.carried.clone();
        all.extend(carried);
        Self {
            vpc: vpc.unwrap_or_else(|| self.vpc.clone()),
            role: role.unwrap_or_else(|| self.role.clone()),
            carried: all,
        }
    }
}

/// What of a configuration is to be another; what is left out stays (LAM-76).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationChange {
    /// Other ENIs.
    pub vpc: Option<VpcConfig>,
    /// Another role, or none.
    pub role: Option<Option<RoleName>>,
    /// Others of the carried values.
    pub carried: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(prefix: &str, count: usize) -> Vec<ResourceId> {
        (0..count).map(|number| ResourceId::named(&format!("{prefix}-{number}"))).collect()
    }

    // Facts: LAM-15, LAM-16
    #[test]
    fn lam_15_at_most_16_subnets_and_5_groups_and_both_or_neither() {
        assert!(VpcConfig::new(ids("subnet", 16), ids("sg", 5)).is_ok());
        let refused = |subnets, groups| {
            VpcConfig::new(ids("subnet", subnets), ids("sg", groups)).unwrap_err()
        };
        assert_eq!(refused(17, 1), Refusal::TooManySubnets(17));
        assert_eq!(refused(1, 6), Refusal::TooManyGroups(6));
        assert_eq!(refused(1, 0), Refusal::HalfAttached);
        assert_eq!(refused(0, 1), Refusal::HalfAttached);
        assert_eq!(VpcConfig::new([], []), Ok(VpcConfig::none()));
        let twice = ids("subnet", 16).into_iter().chain(ids("subnet", 16));
        assert!(VpcConfig::new(twice, ids("sg", 1)).is_ok(), "named twice is named once");
    }

    #[test]
    fn what_a_change_leaves_out_stays() {
        let vpc = VpcConfig::new(ids("subnet", 1), ids("sg", 1)).unwrap();
        let carried = BTreeMap::from([("Handler".to_owned(), "a".to_owned())]);
        let before = Configuration { vpc, role: Some("role".into()), carried };
        assert_eq!(before.with(ConfigurationChange::default()), before);
        let detached = before.with(ConfigurationChange {
            vpc: Some(VpcConfig::none()),
            role: Some(None),
            carried: BTreeMap::from([("MemorySize".to_owned(), "128".to_owned())]),
        });
        assert!(detached.vpc.is_none() && detached.role.is_none());
        assert_eq!(detached.carried.len(), 2);
    }
}
