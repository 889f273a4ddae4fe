//! Policy: what a topology prescribes, compiled into tables that the walk looks things up in.
//!
//! A [`Policy`] is immutable and exchanged as a whole. It is compiled object by object; an object
//! that is as it was in the policy before is shared with it, so that a reload which changes one rule
//! compiles one group and allocates one index. Objects refer to each other by [`Number`], never by
//! pointer: a changed table must not change the subnets that use it.
//!
//! Each policy has a generation. Connections remember the generation they were judged at and are
//! walked again when it is no longer the present one. A policy in which nothing changed keeps its
//! generation, so that reloading an unchanged file costs no connection a walk.
//!
//! Only IPv4 is compiled.

mod acl;
mod compile;
mod number;
mod object;
mod prefix;
mod route_table;
mod security_group;
mod selector;

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};
use viaduct_topology::{Topology, model::Settings};

pub(crate) use self::selector::{ICMP, PortWords, Selector, TCP, UDP, Words};
pub use self::{
    acl::{NetworkAcl, Ruling},
    number::{Number, Numbers},
    object::{
        Instance, InternetGateway, NatGateway, Peering, PrefixList, Service, Subnet, Vpc,
        VpcEndpoint,
    },
    route_table::{Route, RouteTable, Target},
    security_group::{Peer, Rule, SecurityGroup},
};
use self::{compile::Compiler, prefix::PrefixTable};
use crate::rate::Rates;

/// Into a subnet or an interface, or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into it.
    Ingress,
    /// Out of it.
    Egress,
}

/// Objects of one kind by their numbers.
#[derive(Debug)]
struct Objects<T>(Vec<Option<Arc<T>>>);

// A derive would demand that objects be cloned, where only the pointers are.
impl<T> Clone for Objects<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Objects<T> {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn find(&self, number: Number<T>) -> Option<&Arc<T>> {
        self.0.get(number.index())?.as_ref()
    }

    fn insert(&mut self, number: Number<T>, object: Arc<T>) {
        if self.0.len() <= number.index() {
            self.0.resize(number.index() + 1, None);
        }
        self.0[number.index()] = Some(object);
    }

    /// Whether both hold the very same objects.
    fn is_same(&self, other: &Self) -> bool {
        let longer = self.0.len().max(other.0.len());
        (0..longer).all(|index| {
            match (
                self.0.get(index).and_then(Option::as_ref),
                other.0.get(index).and_then(Option::as_ref),
            ) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                _ => false,
            }
        })
    }
}

/// Everything the file prescribes, compiled; and which zones have failed, which no file says.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Counts the policies that differ, from 1; 0 is never a generation.
    pub generation: u32,
    /// Timers and limits.
    pub settings: Settings,
    /// The rates that the settings limit, if any.
    pub(crate) rates: Option<Rates>,
    prefix_lists: Objects<PrefixList>,
    vpcs: Objects<Vpc>,
    subnets: Objects<Subnet>,
    route_tables: Objects<RouteTable>,
    network_acls: Objects<NetworkAcl>,
    security_groups: Objects<SecurityGroup>,
    internet_gateways: Objects<InternetGateway>,
    nat_gateways: Objects<NatGateway>,
    peerings: Objects<Peering>,
    services: Objects<Service>,
    vpc_endpoints: Objects<VpcEndpoint>,
    /// The service that answers at an address: a part of `services` put in order.
    service_blocks: Arc<PrefixTable<Number<Service>>>,
    /// Those that are targets of routes.
    instances: Objects<Instance>,
    failed_zones: Arc<BTreeSet<String>>,
}

impl Policy {
    /// Compiles a topology, sharing with the policy before what did not change. A zone that has failed
    /// stays so.
    #[must_use]
    pub fn compile(topology: &Topology, previous: Option<&Self>, numbers: &Numbers) -> Self {
        let compiler = Compiler::new(topology, previous, numbers);
        let prefix_lists = compiler.prefix_lists();
        let services = compiler.services();
        let mut policy = Self {
            generation: 1,
            settings: topology.settings,
            rates: Rates::of(&topology.settings),
            vpcs: compiler.vpcs(),
            subnets: compiler.subnets(),
            route_tables: compiler.route_tables(),
            network_acls: compiler.network_acls(),
            security_groups: compiler.security_groups(&prefix_lists),
            prefix_lists,
            internet_gateways: compiler.internet_gateways(),
            nat_gateways: compiler.nat_gateways(),
            peerings: compiler.peerings(),
            service_blocks: Arc::new(compiler.service_blocks(&services)),
            services,
            vpc_endpoints: compiler.vpc_endpoints(),
            instances: compiler.instances(),
            failed_zones: previous.map_or_else(Arc::default, |it| Arc::clone(&it.failed_zones)),
        };
        if let Some(previous) = previous {
            policy.generation = previous.generation;
            if !policy.is_same(previous) {
                policy.renew();
            }
        }
        policy
    }

    /// The same policy under a new generation, so that every connection is walked again: for a
    /// change of the inventory that connections in being must follow.
    #[must_use]
    pub fn renewed(&self) -> Self {
        let mut policy = self.clone();
        policy.renew();
        policy
    }

    /// This policy with these zones failing and no others, under a new generation; none if they are
    /// failing already.
    #[must_use]
    pub fn with_failed_zones(&self, zones: &BTreeSet<String>) -> Option<Self> {
        if *self.failed_zones == *zones {
            return None;
        }
        let mut policy = self.renewed();
        policy.failed_zones = Arc::new(zones.clone());
        Some(policy)
    }

    /// A subnet, if its zone has failed.
    pub(crate) fn in_failed_zone(&self, subnet: Number<Subnet>) -> Option<&Subnet> {
        if self.failed_zones.is_empty() {
            return None;
        }
        let subnet = self.subnet(subnet)?;
        self.failed_zones.contains(&subnet.zone).then_some(subnet)
    }

    /// A subnet, if it lets nothing of this account's functions pass: it was shared with the account,
    /// and is cut off from it.
    pub(crate) fn cuts_off(&self, subnet: Number<Subnet>, account: &str) -> Option<&Subnet> {
        let subnet = self.subnet(subnet)?;
        let admitted = subnet.admitted.as_deref()?;
        (!admitted.iter().any(|it| it == account)).then_some(subnet)
    }

    fn renew(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }

    fn is_same(&self, other: &Self) -> bool {
        self.settings == other.settings
            && self.prefix_lists.is_same(&other.prefix_lists)
            && self.vpcs.is_same(&other.vpcs)
            && self.subnets.is_same(&other.subnets)
            && self.route_tables.is_same(&other.route_tables)
            && self.network_acls.is_same(&other.network_acls)
            && self.security_groups.is_same(&other.security_groups)
            && self.internet_gateways.is_same(&other.internet_gateways)
            && self.nat_gateways.is_same(&other.nat_gateways)
            && self.peerings.is_same(&other.peerings)
            && self.services.is_same(&other.services)
            && self.vpc_endpoints.is_same(&other.vpc_endpoints)
            && self.instances.is_same(&other.instances)
    }

    /// The prefix list of this number, if this policy has it.
    #[must_use]
    pub fn prefix_list(&self, number: Number<PrefixList>) -> Option<&Arc<PrefixList>> {
        self.prefix_lists.find(number)
    }

    /// The VPC of this number, if this policy has it.
    #[must_use]
    pub fn vpc(&self, number: Number<Vpc>) -> Option<&Arc<Vpc>> {
        self.vpcs.find(number)
    }

    /// The subnet of this number, if this policy has it.
    #[must_use]
    pub fn subnet(&self, number: Number<Subnet>) -> Option<&Arc<Subnet>> {
        self.subnets.find(number)
    }

    /// The route table of this number, if this policy has it.
    #[must_use]
    pub fn route_table(&self, number: Number<RouteTable>) -> Option<&Arc<RouteTable>> {
        self.route_tables.find(number)
    }

    /// The network ACL of this number, if this policy has it.
    #[must_use]
    pub fn network_acl(&self, number: Number<NetworkAcl>) -> Option<&Arc<NetworkAcl>> {
        self.network_acls.find(number)
    }

    /// The security group of this number, if this policy has it.
    #[must_use]
    pub fn security_group(&self, number: Number<SecurityGroup>) -> Option<&Arc<SecurityGroup>> {
        self.security_groups.find(number)
    }

    /// The internet gateway of this number, if this policy has it.
    #[must_use]
    pub fn internet_gateway(
        &self,
        number: Number<InternetGateway>,
    ) -> Option<&Arc<InternetGateway>> {
        self.internet_gateways.find(number)
    }

    /// The NAT gateway of this number, if this policy has it.
    #[must_use]
    pub fn nat_gateway(&self, number: Number<NatGateway>) -> Option<&Arc<NatGateway>> {
        self.nat_gateways.find(number)
    }

    /// The peering connection of this number, if this policy has it.
    #[must_use]
    pub fn peering(&self, number: Number<Peering>) -> Option<&Arc<Peering>> {
        self.peerings.find(number)
    }

    /// The service of this number, if this policy has it.
    #[must_use]
    pub fn service(&self, number: Number<Service>) -> Option<&Arc<Service>> {
        self.services.find(number)
    }

    /// The service that answers at a public address.
    #[must_use]
    pub fn service_at(&self, address: Ipv4Addr) -> Option<Number<Service>> {
        self.service_blocks.find(address)
    }

    /// The endpoint of this number, if this policy has it.
    #[must_use]
    pub fn vpc_endpoint(&self, number: Number<VpcEndpoint>) -> Option<&Arc<VpcEndpoint>> {
        self.vpc_endpoints.find(number)
    }

    /// The instance of this number, if a route of this policy leads to it.
    #[must_use]
    pub fn instance(&self, number: Number<Instance>) -> Option<&Arc<Instance>> {
        self.instances.find(number)
    }
}
