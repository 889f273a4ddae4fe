//! States of functions and their reasons, by the names that Lambda's API has for them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a function or published version (LAM-40).
///
/// The API knows four more, `Deactivating`, `Deactivated`, `ActiveNonInvocable` and `Deleting`, which
/// belong to capacity that viaduct does not have: no function here is ever in one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    /// Its ENIs are being made.
    Pending,
    /// It can be invoked.
    Active,
    /// Its ENIs were reclaimed. The next invocation fails and has them made again (LAM-51).
    Inactive,
    /// It could not be created. It can only be deleted (LAM-47).
    Failed,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Active, Self::Inactive, Self::Failed];

    /// The API's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Active => "Active",
            Self::Inactive => "Inactive",
            Self::Failed => "Failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How the last update of a function's configuration went (LAM-41).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum UpdateStatus {
    /// The configuration is in force. So it is after creation too (LAM-45).
    Successful,
    /// It is not, and the one before still is (LAM-49).
    Failed,
    /// Until its ENIs are made, the one before is in force (LAM-48).
    InProgress,
}

impl UpdateStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Successful, Self::Failed, Self::InProgress];

    /// The API's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Successful => "Successful",
            Self::Failed => "Failed",
            Self::InProgress => "InProgress",
        }
    }
}

impl fmt::Display for UpdateStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a function is in its state, or its update failed: those of the API's codes that are about its
/// network (LAM-42).
///
/// `Idle`, `Creating` and `Restoring` are never the reason of an update (LAM-44). Of the other codes
/// about networks, `EC2RequestLimitExceeded` and `DisallowedByVpcEncryptionControl` are about what
/// viaduct has not, and `InvalidConfiguration` is refused before it can become a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ReasonCode {
    /// Its ENIs were unused for too long (LAM-51).
    Idle,
    /// It is new, and its ENIs are being made.
    Creating,
    /// It was inactive, and its ENIs are being made again.
    Restoring,
    /// Its VPC has as many ENIs as it may (LAM-25).
    EniLimitExceeded,
    /// Its execution role does not let Lambda make ENIs (LAM-70).
    InsufficientRolePermissions,
    /// A zone failed while an ENI was being made in it.
    InternalError,
    /// A subnet has no free address.
    SubnetOutOfIpAddresses,
    /// A subnet does not exist, or is not of the VPC of the others.
    InvalidSubnet,
    /// A group does not exist, or is not of the subnets' VPC.
    InvalidSecurityGroup,
}

impl ReasonCode {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::Creating,
        Self::Restoring,
        Self::EniLimitExceeded,
        Self::InsufficientRolePermissions,
        Self::InternalError,
        Self::SubnetOutOfIpAddresses,
        Self::InvalidSubnet,
        Self::InvalidSecurityGroup,
    ];

    /// The API's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Creating => "Creating",
            Self::Restoring => "Restoring",
            Self::EniLimitExceeded => "EniLimitExceeded",
            Self::InsufficientRolePermissions => "InsufficientRolePermissions",
            Self::InternalError => "InternalError",
            Self::SubnetOutOfIpAddresses => "SubnetOutOfIPAddresses",
            Self::InvalidSubnet => "InvalidSubnet",
            Self::InvalidSecurityGroup => "InvalidSecurityGroup",
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A reason as the API gives it: a code for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// `StateReasonCode`, or `LastUpdateStatusReasonCode`.
    pub code: ReasonCode,
    /// `StateReason`, or `LastUpdateStatusReason`.
    pub message: String,
}

impl Reason {
    pub(super) fn new(code: ReasonCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn creating() -> Self {
        Self::new(ReasonCode::Creating, "The function is being created.")
    }

    pub(super) fn restoring() -> Self {
        Self::new(ReasonCode::Restoring, "The function is being restored.")
    }

    pub(super) fn idle() -> Self {
        Self::new(ReasonCode::Idle, "The function is idle: its network interfaces were reclaimed.")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Facts: LAM-40, LAM-41, LAM-42
    #[test]
    fn lam_40_names_are_the_apis() {
        let state = ["Pending", "Active", "Inactive", "Failed"];
        assert_eq!(State::ALL.map(State::name), state);
        let update = ["Successful", "Failed", "InProgress"];
        assert_eq!(UpdateStatus::ALL.map(UpdateStatus::name), update);
        let of_api = [
            "Idle",
            "Creating",
            "Restoring",
            "EniLimitExceeded",
            "InsufficientRolePermissions",
            "InvalidConfiguration",
            "InternalError",
            "SubnetOutOfIPAddresses",
            "InvalidSubnet",
            "InvalidSecurityGroup",
            "EC2RequestLimitExceeded",
            "DisallowedByVpcEncryptionControl",
            "ServiceQuotaExceededException",
            "DependencyError",
        ];
        for code in ReasonCode::ALL {
            assert!(of_api.contains(&code.name()), "{code}");
        }
    }
}
