//! Execution roles, as far as ENIs need them.
//!
//! Lambda makes and deletes ENIs with the rights of a function's execution role; invoking needs none
//! of them (LAM-70). What a role permits is what its policies allow on `*`, in a request that has no
//! condition key: so a role can deny the function's own code what Lambda may do with it (LAM-77). A
//! function that names no role has whatever it needs.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use viaduct_topology::iam::Policy;

use super::{
    Lifecycle,
    command::{Answer, Owner},
    names::RoleName,
    refusal::Refusal,
};
use crate::iam::{Context, Decision, decide};

/// A right that Lambda needs for ENIs (LAM-70).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// What every one of these is asked on.
const EVERYTHING: &str = "*";

/// An execution role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Who made it. What a file made goes when a file without it is applied.
    pub owner: Owner,
    /// What it permits.
    pub policies: Vec<Policy>,
}

/// All execution roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles(pub(super) BTreeMap<RoleName, Role>);

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
        let Some(Role { policies, .. }) = self.0.get(role) else {
            return Some(format!("the execution role {role} does not exist"));
        };
        let ask = |needed: &Permission| {
            decide(policies, needed.action(), EVERYTHING, &Context::default())
        };
        needed.iter().find_map(|needed| match ask(needed) {
            Decision::Allowed(_) => None,
            Decision::Denied(by) => {
                Some(format!("the execution role {role} denies {needed}: {by}"))
            }
            Decision::NotAllowed => {
                Some(format!("the execution role {role} does not permit {needed}"))
            }
        })
    }
}

impl Lifecycle {
    /// Makes a role, or has one that is there permit something else; it stays whose it is.
    pub(super) fn put_role(&mut self, name: RoleName, policies: Vec<Policy>, by: Owner) -> Answer {
        let owner = self.roles.0.get(&name).map_or(by, |present| present.owner);
        let role = Role { owner, policies };
        if self.roles.0.get(&name) != Some(&role) {
            self.output.roles.insert(name.clone());
            self.roles.0.insert(name, role);
        }
        Answer::Done
    }

    pub(super) fn delete_role(&mut self, name: RoleName) -> Result<Answer, Refusal> {
        if self.roles.0.remove(&name).is_none() {
            return Err(Refusal::RoleNotFound(name));
        }
        self.output.roles.insert(name);
        Ok(Answer::Done)
    }

    /// Takes away the roles of a file that are not among these.
    pub(super) fn keep_roles(&mut self, kept: &[(RoleName, Vec<Policy>)]) {
        let output = &mut self.output.roles;
        self.roles.0.retain(|name, role| {
            let stays = role.owner == Owner::Api || kept.iter().any(|(kept, _)| kept == name);
            if !stays {
                output.insert(name.clone());
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(policies: Vec<Policy>) -> Role {
        Role { owner: Owner::Api, policies }
    }

    // Facts: LAM-70
    #[test]
    fn lam_70_each_right_is_needed_for_something_and_no_role_needs_none() {
        let mut roles = Roles::default();
        assert_eq!(roles.missing_to_make(None).or(roles.missing_to_delete(None)), None);
        let name: RoleName = "role".into();
        let message = roles.missing_to_make(Some(&name)).unwrap();
        assert_eq!(message, "the execution role role does not exist");
        for right in Permission::ALL {
            let others = Permission::ALL.into_iter().filter(|other| *other != right);
            let others = Policy::allowing(others.map(Permission::action));
            roles.0.insert(name.clone(), role(vec![others]));
            let make = roles.missing_to_make(Some(&name));
            let delete = roles.missing_to_delete(Some(&name));
            assert!(make.is_some() != delete.is_some(), "{right}");
            assert!(make.or(delete).unwrap().ends_with(right.action()));
        }
    }

    // Facts: LAM-70, LAM-77
    #[test]
    fn lam_70_what_policies_allow_on_everything_is_what_a_role_permits() {
        let name: RoleName = "role".into();
        let missing = |policies: &[&str]| {
            let read = |text: &&str| match Policy::managed(text) {
                Some(managed) => managed,
                None => viaduct_config_plane::load_policy("policy.json", text).unwrap(),
            };
            let policies = policies.iter().map(read).collect();
            let roles = Roles(BTreeMap::from([(name.clone(), role(policies))]));
            roles.missing_to_make(Some(&name)).or(roles.missing_to_delete(Some(&name)))
        };
        let vpc_access = "AWSLambdaVPCAccessExecutionRole";
        assert_eq!(missing(&[vpc_access]), None);
        assert_eq!(missing(&["AWSLambdaBasicExecutionRole", vpc_access]), None);
        let create = "the execution role role does not permit ec2:CreateNetworkInterface";
        assert_eq!(missing(&[]).as_deref(), Some(create));
        assert_eq!(missing(&["AWSLambdaBasicExecutionRole"]).as_deref(), Some(create));
        let somewhere = r#"{"Statement": {"Effect": "Allow", "Action": "ec2:*",
            "Resource": "arn:aws:ec2:*:*:*"}}"#;
        assert_eq!(missing(&[somewhere]).as_deref(), Some(create));
        // The statement that AWS recommends against the function's own code.
        let code = r#"{"Statement": {"Effect": "Deny", "Action": "ec2:*", "Resource": "*",
            "Condition": {"ArnLike": {"lambda:SourceFunctionArn": "*"}}}}"#;
        assert_eq!(missing(&[vpc_access, code]), None);
        let everybody = r#"{"Statement": [{"Sid": "Stays", "Effect": "Deny",
            "Action": "ec2:Delete*", "Resource": "*"}]}"#;
        let denied = "the execution role role denies ec2:DeleteNetworkInterface: \
                      statement `Stays` of policy 2";
        assert_eq!(missing(&[vpc_access, everybody]).as_deref(), Some(denied));
    }
}
