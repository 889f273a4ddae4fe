//! Why a topology cannot be planned.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::lifecycle::{DeclarationError, Refusal};

/// Why a topology cannot be planned. It is the topology's author who can mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The subnet is full (what Lambda calls `SubnetIPAddressLimitReachedException`, LAM-60).
    #[error(
        "no free address in subnet {subnet} ({cidr_block}, {usable} usable) for {wanted}: \
         give the subnet a larger block, or move something to another subnet"
    )]
    NoFreeAddress {
        /// `vpc/name` of the subnet.
        subnet: String,
        /// Its block.
        cidr_block: IpNet,
        /// Addresses that are not reserved (ADR-01).
        usable: u128,
        /// What should have got the address.
        wanted: String,
    },
    /// A named address is reserved, outside its subnet, or named twice.
    #[error(
        "{wanted} cannot have {address} in subnet {subnet} ({cidr_block}): the address is taken, \
         reserved or outside the subnet; name another one, or none"
    )]
    AddressUnavailable {
        /// `vpc/name` of the subnet.
        subnet: String,
        /// Its block.
        cidr_block: IpNet,
        /// The address that the file names.
        address: IpAddr,
        /// What should have got it.
        wanted: String,
    },
    /// Functions need more ENIs than the VPC may have (LAM-25, D-01).
    #[error(
        "VPC {vpc} needs {needed} Hyperplane ENIs and may have {quota}: let functions share \
         subnets and sets of security groups, or raise settings.enis_per_vpc"
    )]
    EniQuota {
        /// The VPC's name.
        vpc: String,
        /// ENIs that its functions need.
        needed: u32,
        /// The quota in force.
        quota: u32,
    },
    /// Functions cannot be what the file says.
    #[error(transparent)]
    Functions(#[from] DeclarationError),
    /// A function is what none may be.
    #[error(transparent)]
    Function(#[from] Refusal),
}
