//! Compilation: from a topology's objects to the walk's.
//!
//! Each object is compiled by itself and compared with what the policy before has under its number;
//! equal objects are shared.

use std::{
    cell::OnceCell,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use ipnet::Ipv4Net;
use viaduct_topology::{
    Handle, Topology,
    model::{self, NatGatewayState, OnUnshare, RouteTarget, SgPeer, VpcEndpointKind},
};

use super::{
    Instance, InternetGateway, NatGateway, NetworkAcl, Number, Numbers, Objects, Peer, Peering,
    Policy, PrefixList, Route, RouteTable, Rule, SecurityGroup, Service, Subnet, Target, Vpc,
    VpcEndpoint, acl,
    prefix::PrefixTable,
    route_table::{self, ipv4},
    security_group,
};

/// One compilation.
pub(super) struct Compiler<'a> {
    topology: &'a Topology,
    previous: Option<&'a Policy>,
    numbers: &'a Numbers,
    /// Numbers of what rules and routes name most, by handle. Every rule and route is looked at by
    /// each reload, and finding the number of an id takes longer than all else done with one.
    groups: Box<[Number<SecurityGroup>]>,
    nat_gateways: Box<[Number<NatGateway>]>,
    /// Of the instances that routes have named so far.
    instances: Box<[OnceCell<Number<Instance>>]>,
}

impl<'a> Compiler<'a> {
    pub(super) fn new(
        topology: &'a Topology,
        previous: Option<&'a Policy>,
        numbers: &'a Numbers,
    ) -> Self {
        let groups = topology.security_groups.values();
        let nat_gateways = topology.nat_gateways.values();
        let instances = topology.instances.values().map(|_| OnceCell::new());
        Self {
            topology,
            previous,
            numbers,
            groups: groups.map(|group| numbers.of(&group.id)).collect(),
            nat_gateways: nat_gateways.map(|gateway| numbers.of(&gateway.id)).collect(),
            instances: instances.collect(),
        }
    }

    pub(super) fn prefix_lists(&self) -> Objects<PrefixList> {
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

    pub(super) fn vpcs(&self) -> Objects<Vpc> {
        let topology = self.topology;
        let mut objects = Objects::new();
        for (handle, vpc) in topology.vpcs.iter() {
            let number = self.numbers.of(&vpc.id);
            let cidr_blocks: Box<[_]> = vpc.cidr_blocks.iter().filter_map(|b| ipv4(*b)).collect();
            let subnets = topology.subnets.values().filter(|subnet| subnet.vpc == handle);
            let compiled = Vpc {
                id: vpc.id.clone(),
                name: vpc.name.clone(),
                account: vpc.account.clone(),
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

    pub(super) fn subnets(&self) -> Objects<Subnet> {
        let mut objects = Objects::new();
        for (handle, subnet) in self.topology.subnets.iter() {
            let Some(cidr_block) = ipv4(subnet.cidr_block) else { continue };
            let number = self.numbers.of(&subnet.id);
            let compiled = Subnet {
                id: subnet.id.clone(),
                name: self.topology.path(handle),
                zone: subnet.availability_zone.clone(),
                vpc: self.vpc_number(subnet.vpc),
                cidr_block,
                route_table: self.numbers.of(&self.topology.route_tables[subnet.route_table].id),
                network_acl: self.numbers.of(&self.topology.network_acls[subnet.network_acl].id),
                admitted: self.admitted(subnet),
            };
            objects.insert(number, share(self.previous.and_then(|p| p.subnet(number)), compiled));
        }
        objects
    }

    /// The accounts that are not cut off from a subnet, if there may be such.
    fn admitted(&self, subnet: &model::Subnet) -> Option<Box<[String]>> {
        match subnet.on_unshare {
            OnUnshare::Keep => None,
            OnUnshare::Cut => {
                let owner = self.topology.vpcs[subnet.vpc].account.clone();
                Some([owner].into_iter().chain(subnet.shared_with.iter().cloned()).collect())
            }
        }
    }

    pub(super) fn route_tables(&self) -> Objects<RouteTable> {
        let mut objects = Objects::new();
        // One list for all tables: most are compared and forgotten.
        let mut routes = Vec::new();
        for (handle, table) in self.topology.route_tables.iter() {
            let number = self.numbers.of(&table.id);
            routes.clear();
            routes.extend(table.routes.iter().filter_map(|route| self.route(route)));
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
                match self.topology.nat_gateways[gateway].state {
                    NatGatewayState::Available | NatGatewayState::Deleting => {
                        Target::NatGateway(self.nat_gateways[gateway.index()])
                    }
                    // NAT-22; nor does it carry anything before it is available (NAT-20).
                    _ => Target::Blackhole,
                }
            }
            RouteTarget::VpcPeeringConnection(peering) => {
                Target::Peering(self.numbers.of(&self.topology.vpc_peering_connections[peering].id))
            }
            RouteTarget::Instance(instance) => {
                let number = || self.numbers.of(&self.topology.instances[instance].id);
                Target::Instance(*self.instances[instance.index()].get_or_init(number))
            }
            RouteTarget::VpcEndpoint(endpoint) => {
                Target::VpcEndpoint(self.numbers.of(&self.topology.vpc_endpoints[endpoint].id))
            }
            // A target that is not known here cannot be reached.
            _ => Target::Blackhole,
        };
        let prefix_list = route.prefix_list.map(|list| self.prefix_list_number(list));
        Some(Route { destination: ipv4(route.destination)?, prefix_list, target })
    }

    pub(super) fn network_acls(&self) -> Objects<NetworkAcl> {
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

    pub(super) fn security_groups(
        &self,
        prefix_lists: &Objects<PrefixList>,
    ) -> Objects<SecurityGroup> {
        let mut objects = Objects::new();
        // Two lists for all groups: most are compared and forgotten.
        let mut rules = [Vec::new(), Vec::new()];
        for (handle, group) in self.topology.security_groups.iter() {
            let number = self.numbers.of(&group.id);
            let name = self.topology.path(handle);
            let [ingress, egress] = &mut rules;
            self.rules(&group.ingress, ingress);
            self.rules(&group.egress, egress);
            let named: Vec<_> = ingress
                .iter()
                .chain(&*egress)
                .filter_map(|rule| match rule.peer {
                    Peer::PrefixList(list) => prefix_lists.find(list).cloned(),
                    _ => None,
                })
                .collect();
            let source = security_group::Source {
                id: &group.id,
                name: &name,
                ingress,
                egress,
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

    /// Puts the compiled form of these rules into the list.
    fn rules(&self, rules: &[model::SgRule], compiled: &mut Vec<Rule>) {
        let peer = |peer| match peer {
            SgPeer::Cidr(block) => Some(Peer::Block(block)),
            SgPeer::Group(group) => Some(Peer::Group(self.groups[group.index()])),
            SgPeer::PrefixList(list) => Some(Peer::PrefixList(self.prefix_list_number(list))),
            // A peer that is not known here admits nobody.
            _ => None,
        };
        let rule =
            |rule: &model::SgRule| Some(Rule { traffic: rule.traffic, peer: peer(rule.peer)? });
        compiled.clear();
        compiled.extend(rules.iter().filter_map(rule));
    }

    pub(super) fn internet_gateways(&self) -> Objects<InternetGateway> {
        let mut objects = Objects::new();
        for (handle, gateway) in self.topology.internet_gateways.iter() {
            let number = self.numbers.of(&gateway.id);
            let compiled = InternetGateway {
                id: gateway.id.clone(),
                name: self.topology.path(handle),
                vpc: self.vpc_number(gateway.vpc),
                route_table: gateway
                    .route_table
                    .map(|table| self.numbers.of(&self.topology.route_tables[table].id)),
            };
            let before = self.previous.and_then(|p| p.internet_gateway(number));
            objects.insert(number, share(before, compiled));
        }
        objects
    }

    pub(super) fn nat_gateways(&self) -> Objects<NatGateway> {
        let mut objects = Objects::new();
        for (handle, gateway) in self.topology.nat_gateways.iter() {
            let number = self.numbers.of(&gateway.id);
            let subnet = &self.topology.subnets[gateway.subnet];
            let compiled = NatGateway {
                id: gateway.id.clone(),
                name: self.topology.path(handle),
                subnet: self.numbers.of(&subnet.id),
                deleting: gateway.state == NatGatewayState::Deleting,
            };
            let before = self.previous.and_then(|p| p.nat_gateway(number));
            objects.insert(number, share(before, compiled));
        }
        objects
    }

    pub(super) fn peerings(&self) -> Objects<Peering> {
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

    pub(super) fn services(&self) -> Objects<Service> {
        let mut objects = Objects::new();
        for (handle, service) in self.topology.services.iter() {
            let IpAddr::V4(ip) = service.ip else { continue };
            let number = self.numbers.of(&service.id);
            let list = service.prefix_list.map(|list| &self.topology.prefix_lists[list]);
            let compiled = Service {
                id: service.id.clone(),
                name: self.topology.path(handle),
                ip,
                blocks: match list {
                    Some(list) => list.entries.iter().copied().filter_map(ipv4).collect(),
                    None => [Ipv4Net::from(ip)].into(),
                },
                network: self.numbers.of(&service.id),
            };
            objects.insert(number, share(self.previous.and_then(|p| p.service(number)), compiled));
        }
        objects
    }

    pub(super) fn service_blocks(
        &self,
        services: &Objects<Service>,
    ) -> PrefixTable<Number<Service>> {
        PrefixTable::new(self.topology.services.values().flat_map(|service| {
            let number = self.numbers.of(&service.id);
            let blocks = services.find(number).map_or(&[][..], |service| &service.blocks);
            blocks.iter().map(move |block| (*block, number))
        }))
    }

    pub(super) fn vpc_endpoints(&self) -> Objects<VpcEndpoint> {
        let mut objects = Objects::new();
        for (handle, endpoint) in self.topology.vpc_endpoints.iter() {
            let number = self.numbers.of(&endpoint.id);
            let compiled = VpcEndpoint {
                id: endpoint.id.clone(),
                name: self.topology.path(handle),
                number,
                service: self.numbers.of(&self.topology.services[endpoint.service].id),
                is_gateway: matches!(endpoint.kind, VpcEndpointKind::Gateway { .. }),
            };
            let before = self.previous.and_then(|p| p.vpc_endpoint(number));
            objects.insert(number, share(before, compiled));
        }
        objects
    }

    /// Only what routes name: any other instance may come and go without a new generation. To be
    /// called after [`route_tables`](Self::route_tables).
    pub(super) fn instances(&self) -> Objects<Instance> {
        let mut objects = Objects::new();
        for ((handle, instance), named) in self.topology.instances.iter().zip(&self.instances) {
            let Some(number) = named.get().copied() else { continue };
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
