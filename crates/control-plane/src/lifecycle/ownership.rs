//! Whose subnets and groups ENIs may have: those of their own account, and subnets that are shared with
//! it.
//!
//! Asked is whoever needs ENIs that he does not use yet: for a new function, for another configuration,
//! for one that comes back from being inactive; and for an ENI that a set needs beside those that it
//! has. What is used goes on, whatever was taken back since (SHR-09, SHR-10).

use std::sync::Arc;

use viaduct_topology::ResourceId;

use super::{
    Lifecycle,
    key::Key,
    names::VersionId,
    refusal::Refusal,
    state::{Reason, ReasonCode},
};

/// What of a key is not its account's to use.
pub(super) enum Denied<'k> {
    /// The subnet is another account's, and not shared.
    Subnet(&'k ResourceId),
    /// The group is another account's.
    Group(&'k ResourceId),
}

impl Denied<'_> {
    /// The same as what a request is refused with.
    pub(super) fn refusal(self, account: &Arc<str>) -> Refusal {
        let account = account.clone();
        match self {
            Self::Subnet(subnet) => Refusal::SubnetNotShared { subnet: subnet.clone(), account },
            Self::Group(group) => Refusal::GroupOfAnother { group: group.clone(), account },
        }
    }

    /// The same as what making ENIs has found.
    pub(super) fn reason(self, account: &str) -> Reason {
        match self {
            Self::Subnet(subnet) => {
                let message = format!("The subnet {subnet} is not shared with account {account}.");
                Reason::new(ReasonCode::InvalidSubnet, message)
            }
            Self::Group(group) => {
                let message = format!("The security group {group} is not of account {account}.");
                Reason::new(ReasonCode::InvalidSecurityGroup, message)
            }
        }
    }
}

impl Lifecycle {
    /// Whether somebody uses the ENIs of this key already.
    pub(super) fn uses(&self, who: &VersionId, key: &Key) -> bool {
        self.sets.get(key).is_some_and(|set| set.users.contains(who))
    }

    /// Whether ENIs of this key are their account's to have.
    pub(super) fn may_have<'k>(&self, key: &'k Key) -> Result<(), Denied<'k>> {
        if !self.places.admits(key.subnet(), key.account()) {
            return Err(Denied::Subnet(key.subnet()));
        }
        match self.places.group_of_another(key) {
            Some(group) => Err(Denied::Group(group)),
            None => Ok(()),
        }
    }

    /// Why no ENI can be made for this key now, if the subnet was taken back from its account.
    pub(super) fn unshared(&self, key: &Key) -> Option<Reason> {
        let shared = self.places.admits(key.subnet(), key.account());
        (!shared).then(|| Denied::Subnet(key.subnet()).reason(key.account()))
    }
}
