//! Names of functions, and what is configured of them.
//!
//! Only what concerns the network is looked at. Whatever else a function has (code, runtime, memory)
//! is carried for whoever reads it back.

use std::{collections::BTreeMap, fmt, sync::Arc};

use viaduct_topology::ResourceId;

use super::{key::Key, refusal::Refusal};

/// Subnets of a function (LAM-15).
pub const MOST_SUBNETS: usize = 16;

/// Groups of a function (LAM-15).
pub const MOST_GROUPS: usize = 5;

/// The name of an execution role.
pub type RoleName = Arc<str>;

/// A function's name, in its account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionName {
    /// The account that owns it.
    pub account: Arc<str>,
    /// Its name there.
    pub name: Arc<str>,
}

impl FunctionName {
    /// The function of this name in this account.
    #[must_use]
    pub fn new(account: &str, name: &str) -> Self {
        Self { account: account.into(), name: name.into() }
    }

    /// The name that is unique everywhere. It names no region, because there is one only.
    #[must_use]
    pub fn arn(&self, version: Qualifier) -> String {
        let Self { account, name } = self;
        match version {
            Qualifier::Latest => format!("arn:aws:lambda::{account}:function:{name}"),
            Qualifier::Version(number) => {
                format!("arn:aws:lambda::{account}:function:{name}:{number}")
            }
        }
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// Which state of a function is meant: the one that can be changed, or one that was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Qualifier {
    /// `$LATEST`
    #[default]
    Latest,
    /// A published version. 1 is the first.
    Version(u32),
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.pad("$LATEST"),
            Self::Version(number) => fmt::Display::fmt(number, f),
        }
    }
}

/// A function's `$LATEST` or one of its versions: whatever has a configuration of its own, and with
/// it uses ENIs of its own (LAM-54).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionId {
    /// The function.
    pub function: FunctionName,
    /// Which of its versions.
    pub version: Qualifier,
}

impl VersionId {
    /// A function's `$LATEST`.
    #[must_use]
    pub const fn latest(function: FunctionName) -> Self {
        Self { function, version: Qualifier::Latest }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Qualifier::Latest => write!(f, "{}", self.function),
            Qualifier::Version(number) => write!(f, "{}:{number}", self.function),
        }
    }
}

/// Where a function's ENIs are: subnets and groups, or no VPC at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

    /// Whether it is of no VPC.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.subnets.is_empty()
    }
}

/// What is configured of a function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Where its ENIs are.
    pub vpc: VpcConfig,
    /// Whose rights make and delete them; without one, nobody's are needed.
    pub role: Option<RoleName>,
    /// Everything else, by the API's names.
    pub carried: BTreeMap<String, String>,
}

impl Configuration {
    /// The keys of the ENIs that a function of this account needs: one for each subnet (LAM-04).
    pub fn keys(&self, account: &Arc<str>) -> impl Iterator<Item = Key> {
        let groups = &self.vpc.security_groups;
        self.vpc.subnets.iter().map(|subnet| Key::new(account.clone(), subnet.clone(), groups))
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
