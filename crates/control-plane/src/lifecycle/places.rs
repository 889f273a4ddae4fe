//! What the machine knows of the network: subnets with their free addresses, groups, quotas, and whose
//! all of that is.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use viaduct_topology::{Handle, ResourceId, Topology, model::Subnet};

use super::{
    configuration::VpcConfig,
    key::Key,
    refusal::Refusal,
    state::{Reason, ReasonCode},
};
use crate::address_pool::AddressPool;

/// Where ENIs can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    subnets: HashMap<ResourceId, Place>,
    security_groups: HashMap<ResourceId, Group>,
    enis_per_vpc: u32,
    /// Whether addresses that are given back rest.
    resting: bool,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    vpc: ResourceId,
    /// The account that owns the VPC, and those that the subnet is shared with.
    owner: Arc<str>,
    participants: Vec<String>,
    zone: String,
    pool: AddressPool,
}

impl Place {
    /// Whether an account may have ENIs made here (SHR-03).
    fn admits(&self, account: &str) -> bool {
        *self.owner == *account || self.participants.iter().any(|it| it == account)
    }
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    vpc: ResourceId,
    owner: Arc<str>,
}

impl Places {
    /// The places of a topology, in which others than functions have these addresses.
    pub fn of(topology: &Topology, taken: impl IntoIterator<Item = (ResourceId, IpAddr)>) -> Self {
        let mut places = Self::with_pools(topology, |subnet| {
            AddressPool::new(topology.subnets[subnet].cidr_block)
        });
        for (subnet, address) in taken {
            places.take(&subnet, address);
        }
        places
    }

    /// The places of a topology whose addresses are these.
    pub(crate) fn with_pools(
        topology: &Topology,
        mut pool: impl FnMut(Handle<Subnet>) -> AddressPool,
    ) -> Self {
        let vpc = |vpc| topology.vpcs[vpc].id.clone();
        let subnets = topology.subnets.iter().map(|(handle, subnet)| {
            let place = Place {
                vpc: vpc(subnet.vpc),
                owner: topology.vpcs[subnet.vpc].account.as_str().into(),
                participants: subnet.shared_with.clone(),
                zone: subnet.availability_zone.clone(),
                pool: pool(handle),
            };
            (subnet.id.clone(), place)
        });
        let subnets = subnets.collect();
        let groups = topology.security_groups.values().map(|group| {
            let owner = group.account.as_str().into();
            (group.id.clone(), Group { vpc: vpc(group.vpc), owner })
        });
        Self {
            subnets,
            security_groups: groups.collect(),
            enis_per_vpc: topology.settings.enis_per_vpc,
            resting: false,
        }
    }

    /// Has addresses rest that are given back from now on, or ends the rest of all.
    pub(super) fn rest(&mut self, resting: bool) {
        self.resting = resting;
        if !resting {
            self.subnets.values_mut().for_each(|place| place.pool.wake());
        }
    }

    /// The VPC of a subnet.
    pub(super) fn vpc_of(&self, subnet: &ResourceId) -> Option<&ResourceId> {
        self.subnets.get(subnet).map(|place| &place.vpc)
    }

    /// ENIs that a VPC may have (LAM-25).
    pub(super) const fn enis_per_vpc(&self) -> u32 {
        self.enis_per_vpc
    }

    /// The zone of a subnet.
    pub(super) fn zone(&self, subnet: &ResourceId) -> Option<&str> {
        self.subnets.get(subnet).map(|place| place.zone.as_str())
    }

    /// Whether a subnet is in this zone.
    pub(super) fn has_zone(&self, zone: &str) -> bool {
        self.subnets.values().any(|place| place.zone == zone)
    }

    /// Whether a VPC has this group.
    pub(super) fn has_group(&self, vpc: &ResourceId, group: &ResourceId) -> bool {
        self.security_groups.get(group).is_some_and(|group| group.vpc == *vpc)
    }

    /// Whether an account may have ENIs made in a subnet. Of what is not there, whoever asks is told
    /// that.
    pub(super) fn admits(&self, subnet: &ResourceId, account: &str) -> bool {
        self.subnets.get(subnet).is_none_or(|place| place.admits(account))
    }

    /// Whether ENIs of a key are of another account than their subnet (SHR-12).
    pub(super) fn are_a_guests(&self, key: &Key) -> bool {
        self.subnets.get(key.subnet()).is_some_and(|place| *place.owner != *key.account())
    }

    /// The group of a key that is another account's (SHR-04, SHR-05).
    pub(super) fn group_of_another<'k>(&self, key: &'k Key) -> Option<&'k ResourceId> {
        let mut groups = key.security_groups().iter();
        let of_another = |group: &Group| *group.owner != *key.account();
        groups.find(|id| self.security_groups.get(*id).is_some_and(of_another))
    }

    /// Addresses of a subnet that are free.
    pub(super) fn free(&self, subnet: &ResourceId) -> Option<u128> {
        self.subnets.get(subnet).map(|place| place.pool.free())
    }

    /// Whether a subnet has a free address.
    pub(super) fn has_room(&self, subnet: &ResourceId) -> bool {
        self.free(subnet).is_some_and(|free| free > 0)
    }

    /// Takes the lowest free address of a subnet.
    pub(super) fn take_lowest(&mut self, subnet: &ResourceId) -> Option<IpAddr> {
        self.subnets.get_mut(subnet)?.pool.take_lowest()
    }

    /// Takes this very address. False if it is not free, or there is no such subnet.
    pub(super) fn take(&mut self, subnet: &ResourceId, address: IpAddr) -> bool {
        self.subnets.get_mut(subnet).is_some_and(|place| place.pool.take(address))
    }

    /// Gives an address back.
    pub(super) fn give_back(&mut self, subnet: &ResourceId, address: IpAddr) {
        if let Some(place) = self.subnets.get_mut(subnet) {
            match self.resting {
                true => place.pool.rest(address),
                false => place.pool.give_back(address),
            }
        }
    }

    /// Whether what is known of subnets and groups is of one VPC (LAM-16). What is not known is found
    /// out when ENIs are made.
    pub(super) fn are_together(&self, config: &VpcConfig) -> Result<(), Refusal> {
        let subnets = config.subnets().iter();
        let subnets = subnets.filter_map(|id| Some((id, &self.subnets.get(id)?.vpc)));
        let groups = config.security_groups().iter();
        let groups = groups.filter_map(|id| Some((id, &self.security_groups.get(id)?.vpc)));
        let mut known = subnets.chain(groups);
        let Some((first, vpc)) = known.next() else { return Ok(()) };
        match known.find(|(_, other)| *other != vpc) {
            None => Ok(()),
            Some((second, _)) => Err(Refusal::SeveralVpcs {
                first: first.clone(),
                vpc: vpc.clone(),
                second: second.clone(),
            }),
        }
    }

    /// The VPC of a configuration all of whose subnets and groups are there.
    pub(super) fn vpc(&self, config: &VpcConfig) -> Result<ResourceId, Reason> {
        let mut vpc = None;
        for id in config.subnets() {
            let Some(place) = self.subnets.get(id) else {
                let message = format!("The subnet {id} does not exist.");
                return Err(Reason::new(ReasonCode::InvalidSubnet, message));
            };
            let first = vpc.get_or_insert(&place.vpc);
            if *first != &place.vpc {
                let message = format!("The subnet {id} is not of VPC {first} like the others.");
                return Err(Reason::new(ReasonCode::InvalidSubnet, message));
            }
        }
        let Some(vpc) = vpc else {
            return Err(Reason::new(ReasonCode::InvalidSubnet, "The function has no subnet."));
        };
        for id in config.security_groups() {
            match self.security_groups.get(id) {
                None => {
                    let message = format!("The security group {id} does not exist.");
                    return Err(Reason::new(ReasonCode::InvalidSecurityGroup, message));
                }
                Some(other) if other.vpc != *vpc => {
                    let message =
                        format!("The security group {id} is not of VPC {vpc} like the subnets.");
                    return Err(Reason::new(ReasonCode::InvalidSecurityGroup, message));
                }
                Some(_) => {}
            }
        }
        Ok(vpc.clone())
    }
}
