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
mod number;
mod object;
mod prefix;
mod route_table;
mod security_group;
mod selector;

use std::{net::Ipv4Addr, sync::Arc};

use viaduct_topology::{
    Handle, Topology,
    model::{self, RouteTarget, SgPeer},
};

pub(crate) use self::selector::{ICMP, PortWords, Selector, TCP, UDP, Words};
pub use self::{
    acl::{NetworkAcl, Ruling},
    number::{Number, Numbers},
    object::{Instance, InternetGateway, NatGateway, Peering, PrefixList, Subnet, Vpc},
    route_table::{Route, RouteTable, Target},
    security_group::{Peer, Rule, SecurityGroup},
};
use self::{prefix::PrefixTable, route_table::ipv4};

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

/// Everything the file prescribes, compiled.
#[derive(Debug)]
pub struct Policy {
    /// Counts the policies that differ, from 1; 0 is never a generation.
    pub generation: u32,
    prefix_lists: Objects<PrefixList>,
    vpcs: Objects<Vpc>,
    subnets: Objects<Subnet>,
    route_tables: Objects<RouteTable>,
    network_acls: Objects<NetworkAcl>,
    security_groups: Objects<SecurityGroup>,
    internet_gateways: Objects<InternetGateway>,
    nat_gateways: Objects<NatGateway>,
    peerings: Objects<Peering>,
    /// Those that are targets of routes.
    instances: Objects<Instance>,
}

impl Policy {
    /// Compiles a topology, sharing with the policy before what did not change.
    #[must_use]
    pub fn compile(topology: &Topology, previous: Option<&Self>, numbers: &Numbers) -> Self {
        let compiler = Compiler { topology, previous, numbers };
        let prefix_lists = compiler.prefix_lists();
        let mut policy = Self {
            generation: 1,
            vpcs: compiler.vpcs(),
            subnets: compiler.subnets(),
            route_tables: compiler.route_tables(),
            network_acls: compiler.network_acls(),
            security_groups: compiler.security_groups(&prefix_lists),
            prefix_lists,
            internet_gateways: compiler.internet_gateways(),
            nat_gateways: compiler.nat_gateways(),
            peerings: compiler.peerings(),
            instances: compiler.instances(),
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
        let mut policy = Self {
            generation: self.generation,
            prefix_lists: self.prefix_lists.clone(),
            vpcs: self.vpcs.clone(),
            subnets: self.subnets.clone(),
            route_tables: self.route_tables.clone(),
            network_acls: self.network_acls.clone(),
            security_groups: self.security_groups.clone(),
            internet_gateways: self.internet_gateways.clone(),
            nat_gateways: self.nat_gateways.clone(),
            peerings: self.peerings.clone(),
            instances: self.instances.clone(),
        };
        policy.renew();
        policy
    }

    fn renew(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }

    fn is_same(&self, other: &Self) -> bool {
        self.prefix_lists.is_same(&other.prefix_lists)
            && self.vpcs.is_same(&other.vpcs)
            && self.subnets.is_same(&other.subnets)
            && self.route_tables.is_same(&other.route_tables)
            && self.network_acls.is_same(&other.network_acls)
            && self.security_groups.is_same(&other.security_groups)
            && self.internet_gateways.is_same(&other.internet_gateways)
            && self.nat_gateways.is_same(&other.nat_gateways)
            && self.peerings.is_same(&other.peerings)
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

    /// The instance of this number, if a route of this policy leads to it.
    #[must_use]
    pub fn instance(&self, number: Number<Instance>) -> Option<&Arc<Instance>> {
        self.instances.find(number)
    }
}

/// One compilation.
struct Compiler<'a> {
    topology: &'a Topology,
    previous: Option<&'a Policy>,
    numbers: &'a Numbers,
}

impl Compiler<'_> {
    fn prefix_lists(&self) -> Objects<PrefixList> {
        let mut objects = Objects::new();
        for (handle, list) in self.topology.prefix_lists.iter() {
            let number = self.numbers.of(&list.id);
            let compiled = PrefixList {
                id: list.id.clone(),
                name: self.topology.path(handle),
                number,
                entries: list.entries.as_slice().into(),
            };
            let before = self.previous.and_then(|p| p.prefix_list(number));
            objects.insert(number, share(before, compiled));
        }
        objects
    }

    fn vpcs(&self) -> Objects<Vpc> {
        let topology = self.topology;
        let mut objects = Objects::new();
        for (handle, vpc) in topology.vpcs.iter() {
            let number = self.numbers.of(&vpc.id);
            let cidr_blocks: Box<[_]> = vpc.cidr_blocks.iter().filter_map(|b| ipv4(*b)).collect();
            let subnets = topology.subnets.values().filter(|subnet| subnet.vpc == handle);
            let compiled = Vpc {
                id: vpc.id.clone(),
                name: vpc.name.clone(),
                resolver: cidr_blocks
                    .first()
                    .map(|block| Ipv4Addr::from(u32::from(block.network()).wrapping_add(2))),
                cidr_blocks,
                internet_gateway: vpc
                    .internet_gateway
                    .map(|gateway| self.numbers.of(&topology.internet_gateways[gateway].id)),
                subnets: PrefixTable::new(subnets.filter_map(|subnet| {
                    Some((ipv4(subnet.cidr_block)?, self.numbers.of(&subnet.id)))
                })),
            };
            objects.insert(number, share(self.previous.and_then(|p| p.vpc(number)), compiled));
        }
        objects
    }

    fn subnets(&self) -> Objects<Subnet> {
        let mut objects = Objects::new();
        for (handle, subnet) in self.topology.subnets.iter() {
            let Some(cidr_block) = ipv4(subnet.cidr_block) else { continue };
            let number = self.numbers.of(&subnet.id);
            let compiled = Subnet {
                id: subnet.id.clone(),
                name: self.topology.path(handle),
                vpc: self.vpc_number(subnet.vpc),
                cidr_block,
                route_table: self.numbers.of(&self.topology.route_tables[subnet.route_table].id),
                network_acl: self.numbers.of(&self.topology.network_acls[subnet.network_acl].id),
            };
            objects.insert(number, share(self.previous.and_then(|p| p.subnet(number)), compiled));
        }
        objects
    }

    fn route_tables(&self) -> Objects<RouteTable> {
        let mut objects = Objects::new();
        for (handle, table) in self.topology.route_tables.iter() {
            let number = self.numbers.of(&table.id);
            let routes: Vec<_> = table.routes.iter().filter_map(|r| self.route(r)).collect();
            let name = self.topology.path(handle);
            let source = route_table::Source { id: &table.id, name: &name, routes: &routes };
            let before = self.previous.and_then(|p| p.route_table(number));
            let object = match before.filter(|before| before.source() == source) {
                Some(before) => Arc::clone(before),
                None => Arc::new(RouteTable::new(&source)),
            };
            objects.insert(number, object);
        }
        objects
    }

    fn route(&self, route: &model::Route) -> Option<Route> {
        let target = match route.target {
            RouteTarget::Local => Target::Local,
            RouteTarget::InternetGateway(gateway) => Target::InternetGateway(
                self.numbers.of(&self.topology.internet_gateways[gateway].id),
            ),
            RouteTarget::NatGateway(gateway) => {
                Target::NatGateway(self.numbers.of(&self.topology.nat_gateways[gateway].id))
            }
            RouteTarget::VpcPeeringConnection(peering) => {
                Target::Peering(self.numbers.of(&self.topology.vpc_peering_connections[peering].id))
            }
            RouteTarget::Instance(instance) => {
                Target::Instance(self.numbers.of(&self.topology.instances[instance].id))
            }
            // A target that is not known here cannot be reached.
            _ => Target::Blackhole,
        };
        let prefix_list = route.prefix_list.map(|list| self.prefix_list_number(list));
        Some(Route { destination: ipv4(route.destination)?, prefix_list, target })
    }

    fn network_acls(&self) -> Objects<NetworkAcl> {
        let mut objects = Objects::new();
        for (handle, acl) in self.topology.network_acls.iter() {
            let number = self.numbers.of(&acl.id);
            let name = self.topology.path(handle);
            let source = acl::Source {
                id: &acl.id,
                name: &name,
                ingress: &acl.ingress,
                egress: &acl.egress,
            };
            let before = self.previous.and_then(|p| p.network_acl(number));
            let object = match before.filter(|before| before.source() == source) {
                Some(before) => Arc::clone(before),
                None => Arc::new(NetworkAcl::new(&source)),
            };
            objects.insert(number, object);
        }
        objects
    }

    fn security_groups(&self, prefix_lists: &Objects<PrefixList>) -> Objects<SecurityGroup> {
        let mut objects = Objects::new();
        for (handle, group) in self.topology.security_groups.iter() {
            let number = self.numbers.of(&group.id);
            let name = self.topology.path(handle);
            let [ingress, egress] = [&group.ingress, &group.egress].map(|rules| self.rules(rules));
            let named: Vec<_> = ingress
                .iter()
                .chain(&egress)
                .filter_map(|rule| match rule.peer {
                    Peer::PrefixList(list) => prefix_lists.find(list).cloned(),
                    _ => None,
                })
                .collect();
            let source = security_group::Source {
                id: &group.id,
                name: &name,
                ingress: &ingress,
                egress: &egress,
                prefix_lists: &named,
            };
            let before = self.previous.and_then(|p| p.security_group(number));
            let object = match before.filter(|before| before.source() == source) {
                Some(before) => Arc::clone(before),
                None => Arc::new(SecurityGroup::new(&source)),
            };
            objects.insert(number, object);
        }
        objects
    }

    fn rules(&self, rules: &[model::SgRule]) -> Vec<Rule> {
        let peer = |peer| match peer {
            SgPeer::Cidr(block) => Some(Peer::Block(block)),
            SgPeer::Group(group) => {
                Some(Peer::Group(self.numbers.of(&self.topology.security_groups[group].id)))
            }
            SgPeer::PrefixList(list) => Some(Peer::PrefixList(self.prefix_list_number(list))),
            // A peer that is not known here admits nobody.
            _ => None,
        };
        rules
            .iter()
            .filter_map(|rule| Some(Rule { traffic: rule.traffic, peer: peer(rule.peer)? }))
            .collect()
    }

    fn internet_gateways(&self) -> Objects<InternetGateway> {
        let mut objects = Objects::new();
        for (handle, gateway) in self.topology.internet_gateways.iter() {
            let number = self.numbers.of(&gateway.id);
            let compiled = InternetGateway {
                id: gateway.id.clone(),
                name: self.topology.path(handle),
                vpc: self.vpc_number(gateway.vpc),
            };
            let before = self.previous.and_then(|p| p.internet_gateway(number));
            objects.insert(number, share(before, compiled));
        }
        objects
    }

    fn nat_gateways(&self) -> Objects<NatGateway> {
        let mut objects = Objects::new();
        for (handle, gateway) in self.topology.nat_gateways.iter() {
            let number = self.numbers.of(&gateway.id);
            let subnet = &self.topology.subnets[gateway.subnet];
            let compiled = NatGateway {
                id: gateway.id.clone(),
                name: self.topology.path(handle),
                subnet: self.numbers.of(&subnet.id),
            };
            let before = self.previous.and_then(|p| p.nat_gateway(number));
            objects.insert(number, share(before, compiled));
        }
        objects
    }

    fn peerings(&self) -> Objects<Peering> {
        let mut objects = Objects::new();
        for (handle, peering) in self.topology.vpc_peering_connections.iter() {
            let number = self.numbers.of(&peering.id);
            let compiled = Peering {
                id: peering.id.clone(),
                name: self.topology.path(handle),
                vpcs: [self.vpc_number(peering.requester), self.vpc_number(peering.accepter)],
            };
            objects.insert(number, share(self.previous.and_then(|p| p.peering(number)), compiled));
        }
        objects
    }

    /// Only what routes name: any other instance may come and go without a new generation.
    fn instances(&self) -> Objects<Instance> {
        let mut objects = Objects::new();
        let routes = self.topology.route_tables.values().flat_map(|table| &table.routes);
        for route in routes {
            let RouteTarget::Instance(handle) = route.target else { continue };
            let instance = &self.topology.instances[handle];
            let number = self.numbers.of(&instance.id);
            if objects.find(number).is_some() {
                continue;
            }
            let compiled = Instance { id: instance.id.clone(), name: self.topology.path(handle) };
            let before = self.previous.and_then(|p| p.instance(number));
            objects.insert(number, share(before, compiled));
        }
        objects
    }

    fn prefix_list_number(&self, list: Handle<model::PrefixList>) -> Number<PrefixList> {
        self.numbers.of(&self.topology.prefix_lists[list].id)
    }

    fn vpc_number(&self, vpc: Handle<model::Vpc>) -> Number<Vpc> {
        self.numbers.of(&self.topology.vpcs[vpc].id)
    }
}

/// The object of the policy before if it equals the new one, else the new one.
fn share<T: PartialEq>(before: Option<&Arc<T>>, compiled: T) -> Arc<T> {
    match before {
        Some(before) if **before == compiled => Arc::clone(before),
        _ => Arc::new(compiled),
    }
}
