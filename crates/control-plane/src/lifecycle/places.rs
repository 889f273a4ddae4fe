//! What the machine knows of the network: subnets with their free addresses, groups, quotas.

use std::{collections::HashMap, net::IpAddr};

use viaduct_topology::{Handle, ResourceId, Topology, model::Subnet};

use super::{
    configuration::VpcConfig,
    refusal::Refusal,
    state::{Reason, ReasonCode},
};
use crate::address_pool::AddressPool;

/// Where ENIs can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    subnets: HashMap<ResourceId, Place>,
    /// The VPC of each group.
    security_groups: HashMap<ResourceId, ResourceId>,
    enis_per_vpc: u32,
    /// Whether addresses that are given back rest.
    resting: bool,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    vpc: ResourceId,
    zone: String,
    pool: AddressPool,
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
                zone: subnet.availability_zone.clone(),
                pool: pool(handle),
            };
            (subnet.id.clone(), place)
        });
        let subnets = subnets.collect();
        let groups = topology.security_groups.values();
        Self {
            subnets,
            security_groups: groups.map(|group| (group.id.clone(), vpc(group.vpc))).collect(),
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
        self.security_groups.get(group) == Some(vpc)
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
        let groups = groups.filter_map(|id| Some((id, self.security_groups.get(id)?)));
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
                Some(other) if other != vpc => {
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
