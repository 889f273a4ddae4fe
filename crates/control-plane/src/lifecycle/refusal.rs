//! Refused operations: Lambda's exception, its HTTP status, and what to do.

use std::{fmt, sync::Arc};

use viaduct_topology::ResourceId;

use super::{
    names::{FunctionName, Qualifier, RoleName},
    state::{Reason, ReasonCode, State},
};

/// Subnets of a function (LAM-15).
pub const MOST_SUBNETS: usize = 16;

/// Groups of a function (LAM-15).
pub const MOST_GROUPS: usize = 5;

/// An exception of Lambda's API, or an error code of EC2's or IAM's, by its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Exception {
    /// Lambda: the request contradicts itself or what is there (LAM-64).
    InvalidParameterValue,
    /// Lambda: there is no such function or version (LAM-61).
    ResourceNotFound,
    /// Lambda: not in this state, or not twice (LAM-61).
    ResourceConflict,
    /// Lambda: somebody else was faster (LAM-64).
    PreconditionFailed,
    /// Lambda, invoking: the function is inactive (LAM-60).
    ResourceNotReady,
    /// Lambda, invoking: its ENIs cannot be used now (LAM-60).
    EniNotReady,
    /// Lambda, invoking: the VPC has no ENI left (LAM-60).
    EniLimitReached,
    /// Lambda, invoking: a subnet has no address left (LAM-60).
    SubnetIpAddressLimitReached,
    /// Lambda, invoking: a subnet is not there (LAM-60).
    InvalidSubnetId,
    /// Lambda, invoking: a group is not there (LAM-60).
    InvalidSecurityGroupId,
    /// Lambda, invoking: the role does not permit it (LAM-60).
    Ec2AccessDenied,
    /// Lambda, invoking: EC2 failed (LAM-60).
    Ec2Unexpected,
    /// Lambda: the service itself is at fault (LAM-61).
    Service,
    /// EC2: there is no such ENI.
    NetworkInterfaceNotFound,
    /// EC2: the ENI is in use (from memory).
    NetworkInterfaceInUse,
    /// IAM: there is no such role (from memory).
    NoSuchEntity,
}

impl Exception {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::InvalidParameterValue,
        Self::ResourceNotFound,
        Self::ResourceConflict,
        Self::PreconditionFailed,
        Self::ResourceNotReady,
        Self::EniNotReady,
        Self::EniLimitReached,
        Self::SubnetIpAddressLimitReached,
        Self::InvalidSubnetId,
        Self::InvalidSecurityGroupId,
        Self::Ec2AccessDenied,
        Self::Ec2Unexpected,
        Self::Service,
        Self::NetworkInterfaceNotFound,
        Self::NetworkInterfaceInUse,
        Self::NoSuchEntity,
    ];

    /// The API's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidParameterValue => "InvalidParameterValueException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ResourceConflict => "ResourceConflictException",
            Self::PreconditionFailed => "PreconditionFailedException",
            Self::ResourceNotReady => "ResourceNotReadyException",
            Self::EniNotReady => "ENINotReadyException",
            Self::EniLimitReached => "ENILimitReachedException",
            Self::SubnetIpAddressLimitReached => "SubnetIPAddressLimitReachedException",
            Self::InvalidSubnetId => "InvalidSubnetIDException",
            Self::InvalidSecurityGroupId => "InvalidSecurityGroupIDException",
            Self::Ec2AccessDenied => "EC2AccessDeniedException",
            Self::Ec2Unexpected => "EC2UnexpectedException",
            Self::Service => "ServiceException",
            Self::NetworkInterfaceNotFound => "InvalidNetworkInterfaceID.NotFound",
            Self::NetworkInterfaceInUse => "InvalidNetworkInterface.InUse",
            Self::NoSuchEntity => "NoSuchEntity",
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidParameterValue
            | Self::NetworkInterfaceNotFound
            | Self::NetworkInterfaceInUse => 400,
            Self::ResourceNotFound | Self::NoSuchEntity => 404,
            Self::ResourceConflict => 409,
            Self::PreconditionFailed => 412,
            Self::Service => 500,
            Self::ResourceNotReady
            | Self::EniNotReady
            | Self::EniLimitReached
            | Self::SubnetIpAddressLimitReached
            | Self::InvalidSubnetId
            | Self::InvalidSecurityGroupId
            | Self::Ec2AccessDenied
            | Self::Ec2Unexpected => 502,
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why an operation is refused. The text is what Lambda says where that is known (LAM-62).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// More subnets than a function may have (LAM-15).
    #[error("a function has at most {MOST_SUBNETS} subnets, not {0}: leave some out")]
    TooManySubnets(usize),
    /// More groups than a function may have (LAM-15).
    #[error("a function has at most {MOST_GROUPS} security groups, not {0}: leave some out")]
    TooManyGroups(usize),
    /// One list is empty and the other is not.
    #[error(
        "SubnetIds and SecurityGroupIds must coexist or be both empty list: name both to attach the \
         function to a VPC, neither to detach it"
    )]
    HalfAttached,
    /// Subnets and groups are of several VPCs (LAM-16).
    #[error(
        "{first} is of {vpc} and {second} is not: the subnets and security groups of a function are \
         all of one VPC"
    )]
    SeveralVpcs {
        /// A subnet, which says which VPC it is.
        first: ResourceId,
        /// That VPC.
        vpc: ResourceId,
        /// What is of another one.
        second: ResourceId,
    },
    /// The subnet is another account's, and not shared with the function's (SHR-03). EC2 hides what is
    /// not shared, and Lambda passes on what EC2 says (from memory).
    #[error(
        "Error occurred while DescribeSubnets. EC2 Error Code: InvalidSubnetID.NotFound. EC2 Error \
         Message: The subnet ID '{subnet}' does not exist: it is not shared with account {account}"
    )]
    SubnetNotShared {
        /// Which subnet.
        subnet: ResourceId,
        /// The function's account.
        account: Arc<str>,
    },
    /// The group is another account's (SHR-04, SHR-05).
    #[error(
        "Error occurred while DescribeSecurityGroups. EC2 Error Code: InvalidGroup.NotFound. EC2 Error \
         Message: The security group '{group}' does not exist: it is not of account {account}"
    )]
    GroupOfAnother {
        /// Which group.
        group: ResourceId,
        /// The function's account.
        account: Arc<str>,
    },
    /// The role does not exist (from memory).
    #[error("The role defined for the function cannot be assumed by Lambda: there is no role {0}")]
    UnknownRole(RoleName),
    /// No subnet is in this zone.
    #[error("no subnet is in zone {0}: name a zone of the topology")]
    UnknownZone(String),
    /// `$LATEST` is the function itself.
    #[error("$LATEST version cannot be deleted without deleting the function")]
    LatestStays,
    /// The name is taken.
    #[error("Function already exist: {0}")]
    FunctionExists(FunctionName),
    /// There is no function of this name, or it has no such version.
    #[error("Function not found: {}", .function.arn(*.version))]
    FunctionNotFound {
        /// The function.
        function: FunctionName,
        /// The version that was asked for.
        version: Qualifier,
    },
    /// Not in this state (LAM-46, LAM-47).
    #[error(
        "The operation cannot be performed at this time. The function is currently in the following \
         state: {0}"
    )]
    State(State),
    /// Not during an update (LAM-48).
    #[error(
        "The operation cannot be performed at this time. An update is in progress for resource: {}",
        .0.arn(Qualifier::Latest)
    )]
    Updating(FunctionName),
    /// The function has changed since its revision was read.
    #[error(
        "The RevisionId provided does not match the latest RevisionId. Call the GetFunction or the \
         GetAlias API to retrieve the latest RevisionId: it is {0}"
    )]
    Revision(u64),
    /// It was inactive; this has started the restoring (LAM-51).
    #[error(
        "The function {0} is inactive and its VPC connection is no longer available. Wait for the VPC \
         connection to reestablish and try again"
    )]
    Inactive(FunctionName),
    /// It was inactive and cannot be restored.
    #[error("The function {function} is inactive and cannot be restored: {}", .reason.message)]
    NotRestored {
        /// The function.
        function: FunctionName,
        /// What is missing.
        reason: Reason,
    },
    /// Every zone of its subnets has failed (LAM-18).
    #[error(
        "The network interfaces of the function {0} cannot be used: the zones of all its subnets have \
         failed"
    )]
    ZonesFailed(FunctionName),
    /// There is no such ENI.
    #[error("The networkInterface ID '{0}' does not exist")]
    EniNotFound(ResourceId),
    /// Functions use the ENI, or Lambda is about to delete it itself.
    #[error("Network interface '{eni}' is currently in use: {by}")]
    EniInUse {
        /// The ENI.
        eni: ResourceId,
        /// By whom, and what would free it.
        by: String,
    },
    /// There is no such role.
    #[error("The role with name {0} cannot be found")]
    RoleNotFound(RoleName),
    /// Whoever runs the machine cannot make last what it decides. The machine never says this.
    #[error("The service cannot remember what it is told: {0}")]
    Service(String),
}

impl Refusal {
    /// What the API calls it.
    #[must_use]
    pub const fn exception(&self) -> Exception {
        match self {
            Self::TooManySubnets(_)
            | Self::TooManyGroups(_)
            | Self::HalfAttached
            | Self::SeveralVpcs { .. }
            | Self::SubnetNotShared { .. }
            | Self::GroupOfAnother { .. }
            | Self::UnknownRole(_)
            | Self::UnknownZone(_)
            | Self::LatestStays => Exception::InvalidParameterValue,
            Self::FunctionNotFound { .. } => Exception::ResourceNotFound,
            Self::FunctionExists(_) | Self::State(_) | Self::Updating(_) => {
                Exception::ResourceConflict
            }
            Self::Revision(_) => Exception::PreconditionFailed,
            // The documented name; the field has also seen CodeArtifactUserPendingException (LAM-63).
            Self::Inactive(_) => Exception::ResourceNotReady,
            Self::NotRestored { reason, .. } => match reason.code {
                ReasonCode::EniLimitExceeded => Exception::EniLimitReached,
                ReasonCode::SubnetOutOfIpAddresses => Exception::SubnetIpAddressLimitReached,
                ReasonCode::InvalidSubnet => Exception::InvalidSubnetId,
                ReasonCode::InvalidSecurityGroup => Exception::InvalidSecurityGroupId,
                ReasonCode::InsufficientRolePermissions => Exception::Ec2AccessDenied,
                ReasonCode::InternalError
                | ReasonCode::Idle
                | ReasonCode::Creating
                | ReasonCode::Restoring => Exception::Ec2Unexpected,
            },
            Self::ZonesFailed(_) => Exception::EniNotReady,
            Self::EniNotFound(_) => Exception::NetworkInterfaceNotFound,
            Self::EniInUse { .. } => Exception::NetworkInterfaceInUse,
            Self::RoleNotFound(_) => Exception::NoSuchEntity,
            Self::Service(_) => Exception::Service,
        }
    }
}
