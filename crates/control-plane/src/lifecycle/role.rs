//! Execution roles, as far as ENIs need them.
//!
//! Lambda makes and deletes ENIs with the rights of a function's execution role; invoking needs none
//! of them (LAM-70). A role is here the set of what it permits: reading it out of policies is
//! somebody else's work. A function that names no role has whatever it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

/// A right that Lambda needs for ENIs (LAM-70).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Permission {
    /// `ec2:CreateNetworkInterface`
    CreateNetworkInterface,
    /// `ec2:DescribeNetworkInterfaces`
    DescribeNetworkInterfaces,
    /// `ec2:DescribeSubnets`
    DescribeSubnets,
    /// `ec2:DeleteNetworkInterface`
    DeleteNetworkInterface,
    /// `ec2:AssignPrivateIpAddresses`
    AssignPrivateIpAddresses,
    /// `ec2:UnassignPrivateIpAddresses`
    UnassignPrivateIpAddresses,
}

impl Permission {
    /// All of them: those of the managed policy `AWSLambdaVPCAccessExecutionRole`.
    pub const ALL: [Self; 6] = [
        Self::CreateNetworkInterface,
        Self::DescribeNetworkInterfaces,
        Self::DescribeSubnets,
        Self::DeleteNetworkInterface,
        Self::AssignPrivateIpAddresses,
        Self::UnassignPrivateIpAddresses,
    ];

    /// The action in a policy.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::CreateNetworkInterface => "ec2:CreateNetworkInterface",
            Self::DescribeNetworkInterfaces => "ec2:DescribeNetworkInterfaces",
            Self::DescribeSubnets => "ec2:DescribeSubnets",
            Self::DeleteNetworkInterface => "ec2:DeleteNetworkInterface",
            Self::AssignPrivateIpAddresses => "ec2:AssignPrivateIpAddresses",
            Self::UnassignPrivateIpAddresses => "ec2:UnassignPrivateIpAddresses",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.action())
    }
}

/// What making an ENI needs. AWS lists what a role must have and not which step uses what.
const TO_MAKE: [Permission; 4] = [
    Permission::CreateNetworkInterface,
    Permission::DescribeNetworkInterfaces,
    Permission::DescribeSubnets,
    Permission::AssignPrivateIpAddresses,
];

/// What deleting one needs.
const TO_DELETE: [Permission; 2] =
    [Permission::DeleteNetworkInterface, Permission::UnassignPrivateIpAddresses];

/// The name of an execution role.
pub type RoleName = Arc<str>;

/// All execution roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles(pub(super) BTreeMap<RoleName, BTreeSet<Permission>>);

impl Roles {
    /// Why a function with this role cannot have ENIs made; none if it can.
    pub(super) fn missing_to_make(&self, role: Option<&RoleName>) -> Option<String> {
        self.missing(role, &TO_MAKE)
    }

    /// Why ENIs cannot be deleted with this role; none if they can.
    pub(super) fn missing_to_delete(&self, role: Option<&RoleName>) -> Option<String> {
        self.missing(role, &TO_DELETE)
    }

    fn missing(&self, role: Option<&RoleName>, needed: &[Permission]) -> Option<String> {
        let role = role?;
        let Some(permitted) = self.0.get(role) else {
            return Some(format!("the execution role {role} does not exist"));
        };
        let missing = needed.iter().find(|needed| !permitted.contains(needed))?;
        Some(format!("the execution role {role} does not permit {missing}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Facts: LAM-70
    #[test]
    fn lam_70_each_right_is_needed_for_something_and_no_role_needs_none() {
        let mut roles = Roles::default();
        assert_eq!(roles.missing_to_make(None).or(roles.missing_to_delete(None)), None);
        let role: RoleName = "role".into();
        let message = roles.missing_to_make(Some(&role)).unwrap();
        assert_eq!(message, "the execution role role does not exist");
        for right in Permission::ALL {
            let others = Permission::ALL.into_iter().filter(|other| *other != right);
            roles.0.insert(role.clone(), others.collect());
            let make = roles.missing_to_make(Some(&role));
            let delete = roles.missing_to_delete(Some(&role));
            assert!(make.is_some() != delete.is_some(), "{right}");
            assert!(make.or(delete).unwrap().ends_with(right.action()));
        }
        roles.0.insert(role.clone(), Permission::ALL.into());
        assert_eq!(roles.missing_to_make(Some(&role)), None);
        assert_eq!(roles.missing_to_delete(Some(&role)), None);
    }
}
