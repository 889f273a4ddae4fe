//! The addresses of all subnets, with errors that name the subnet.

use std::{collections::HashMap, net::IpAddr};

use viaduct_topology::{Handle, Topology, model::Subnet};

use crate::{address_pool::AddressPool, error::PlanError, lifecycle::Places, memory::Memory};

/// The free addresses of all subnets.
pub(crate) struct Addresses<'t> {
    topology: &'t Topology,
    pools: HashMap<Handle<Subnet>, AddressPool>,
}

impl<'t> Addresses<'t> {
    /// All of them, nothing taken; those that the plan before gave out are spared.
    pub(crate) fn new(topology: &'t Topology, memory: &Memory<'_>) -> Self {
        let pools = topology.subnets.iter().map(|(handle, subnet)| {
            let pool = AddressPool::new(subnet.cidr_block);
            (handle, pool.sparing(memory.addresses(&subnet.id)))
        });
        Self { topology, pools: pools.collect() }
    }

    fn pool(&mut self, subnet: Handle<Subnet>) -> &mut AddressPool {
        self.pools.get_mut(&subnet).expect("every subnet has a pool")
    }

    /// Takes an address that the file names.
    pub(crate) fn named(
        &mut self,
        subnet: Handle<Subnet>,
        address: IpAddr,
        wanted: &str,
    ) -> Result<IpAddr, PlanError> {
        if self.pool(subnet).take(address) {
            return Ok(address);
        }
        Err(PlanError::AddressUnavailable {
            subnet: self.path(subnet),
            cidr_block: self.topology.subnets[subnet].cidr_block,
            address,
            wanted: wanted.to_owned(),
        })
    }

    /// Takes an address back that the plan before gave out. False if the file now gives it to
    /// another, or the subnet has it no more.
    pub(crate) fn again(&mut self, subnet: Handle<Subnet>, address: IpAddr) -> bool {
        self.pool(subnet).take(address)
    }

    /// Takes the lowest that is free.
    pub(crate) fn lowest(
        &mut self,
        subnet: Handle<Subnet>,
        wanted: &str,
    ) -> Result<IpAddr, PlanError> {
        let pool = self.pool(subnet);
        let usable = pool.usable();
        pool.take_lowest().ok_or_else(|| PlanError::NoFreeAddress {
            subnet: self.path(subnet),
            cidr_block: self.topology.subnets[subnet].cidr_block,
            usable,
            wanted: wanted.to_owned(),
        })
    }

    /// What is left of the subnets, for functions.
    pub(crate) fn places(&mut self) -> Places {
        let topology = self.topology;
        Places::with_pools(topology, |subnet| self.pool(subnet).clone())
    }

    fn path(&self, subnet: Handle<Subnet>) -> String {
        let subnet = &self.topology.subnets[subnet];
        format!("{}/{}", self.topology.vpcs[subnet.vpc].name, subnet.name)
    }
}
