//! What the builders share: the topology so far, the names, the problems.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use super::{
    Problem, Report, Resolved,
    addresses::Addresses,
    appliance::Appliance,
    function::Interfaces,
    names::{Miss, Names, Target},
    naming::{self, Ids},
    routes, service,
};
use crate::{
    arena::Handle,
    model::{
        DEFAULT_ACCOUNT, NatGateway, NetworkAcl, PrefixList, Role, RouteTable, SecurityGroup,
        Service, Subnet, Topology, Vpc,
    },
    path::Kind,
    spec::{Field, Span, Spanned, Spec},
};

/// The state of one resolution.
pub(super) struct Context {
    pub(super) topology: Topology,
    pub(super) report: Report,
    pub(super) names: Names,
    pub(super) ids: Ids,
    pub(super) addresses: Addresses,
    /// The VPCs in the order of the specification.
    pub(super) vpcs: Vec<Declared>,
    /// Each subnet's block, by handle; `None` where it was refused.
    pub(super) subnet_blocks: Vec<Option<IpNet>>,
    /// Where each subnet is declared, by handle.
    pub(super) subnet_places: Vec<Span>,
    /// Whether it is known which accounts are of the organization.
    pub(super) knows_organization: bool,
    /// The account of each group, by handle, as it is written.
    pub(super) group_owners: Vec<String>,
    /// The two VPCs of each peering connection, by handle; `None` where it was refused.
    pub(super) peerings: Vec<Option<[Handle<Vpc>; 2]>>,
    /// Which routes lead to instances.
    pub(super) appliances: Vec<Appliance>,
    /// Routes to NAT gateways, by the places of their targets.
    pub(super) nat_routes: Vec<(Span, Handle<NatGateway>)>,
    /// The ENIs that the functions so far need.
    pub(super) interfaces: Interfaces,
    /// How many routes each table has, by handle, and where that is to be told.
    pub(super) route_counts: Vec<(usize, Span)>,
    /// Where routes to prefix lists are written.
    pub(super) list_routes: HashMap<(Handle<RouteTable>, Handle<PrefixList>), Span>,
    /// The blocks of services, and the addresses that must not be in them.
    pub(super) places: Vec<service::Place>,
}

/// What is known of a VPC before anything is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Declared {
    pub(super) vpc: Handle<Vpc>,
    pub(super) main_route_table: Handle<RouteTable>,
    pub(super) default_network_acl: Handle<NetworkAcl>,
    pub(super) default_security_group: Handle<SecurityGroup>,
}

/// Hands out the handles of an arena before it is filled.
struct Counter(u32);

impl Counter {
    fn next<T>(&mut self) -> Handle<T> {
        let handle = Handle::at(self.0);
        self.0 = self.0.checked_add(1).expect("fewer than 2^32 resources of a kind");
        handle
    }
}

impl Context {
    /// The first pass: gives every name its handle.
    pub(super) fn declare(spec: &Spec, report: Report) -> Self {
        let mut context = Self {
            topology: Topology::default(),
            report,
            names: Names::default(),
            ids: Ids::default(),
            addresses: Addresses::default(),
            vpcs: Vec::with_capacity(spec.vpcs.len()),
            subnet_blocks: Vec::new(),
            subnet_places: Vec::new(),
            knows_organization: true,
            group_owners: Vec::new(),
            peerings: Vec::new(),
            appliances: Vec::new(),
            nat_routes: Vec::new(),
            interfaces: Interfaces::default(),
            route_counts: Vec::new(),
            list_routes: HashMap::new(),
            places: Vec::new(),
        };
        let [mut subnets, mut tables, mut acls, mut groups] = [const { Counter(0) }; 4];
        let [mut internet_gateways, mut nat_gateways] = [const { Counter(0) }; 2];
        let [mut endpoints, mut instances] = [const { Counter(0) }; 2];
        let mut vpc_names = HashSet::new();

        for vpc in &spec.vpcs {
            naming::check_vpc(&mut context.report, &vpc.name);
            if !vpc_names.insert(vpc.name.value.as_str()) {
                context.duplicate("VPC", &vpc.name);
            }
            let handle = context.names.insert_vpc(&vpc.name.value);
            let inside = Some(handle);

            for subnet in &vpc.subnets {
                context.name(&subnet.name, inside, Target::Subnet(subnets.next()));
            }

            let mut main_route_table = None;
            let main = routes::main_table(&mut context.report, vpc);
            for (index, table) in vpc.route_tables.iter().enumerate() {
                let handle = tables.next();
                context.name(&table.name, inside, Target::RouteTable(handle));
                if main == Some(index) {
                    main_route_table = Some(handle);
                }
            }
            let main_route_table = main_route_table.unwrap_or_else(|| {
                let handle = tables.next();
                context.names.insert(routes::MAIN, inside, Target::RouteTable(handle));
                handle
            });

            let mut default_network_acl = None;
            for acl in &vpc.network_acls {
                let handle = acls.next();
                context.name(&acl.name, inside, Target::NetworkAcl(handle));
                if acl.name.value == DEFAULT {
                    default_network_acl = Some(handle);
                }
            }
            let default_network_acl = default_network_acl.unwrap_or_else(|| {
                let handle = acls.next();
                context.names.insert(DEFAULT, inside, Target::NetworkAcl(handle));
                handle
            });

            let mut default_security_group = None;
            let owner = |account: Option<&Spanned<String>>| {
                let account = account.or(vpc.account.as_ref());
                account.map_or_else(|| DEFAULT_ACCOUNT.to_owned(), |it| it.value.clone())
            };
            for group in &vpc.security_groups {
                let handle = groups.next();
                context.name(&group.name, inside, Target::SecurityGroup(handle));
                context.group_owners.push(owner(group.account.as_ref()));
                if group.name.value == DEFAULT {
                    default_security_group = Some(handle);
                }
            }
            let default_security_group = default_security_group.unwrap_or_else(|| {
                let handle = groups.next();
                context.group_owners.push(owner(None));
                context.names.insert(DEFAULT, inside, Target::SecurityGroup(handle));
                handle
            });

            if let Some(gateway) = &vpc.internet_gateway {
                let target = Target::InternetGateway(internet_gateways.next());
                context.name(&gateway.name, inside, target);
            }
            for gateway in &vpc.nat_gateways {
                context.name(&gateway.name, inside, Target::NatGateway(nat_gateways.next()));
            }
            for endpoint in &vpc.vpc_endpoints {
                context.name(&endpoint.name, inside, Target::VpcEndpoint(endpoints.next()));
            }
            for instance in &vpc.instances {
                context.name(&instance.name, inside, Target::Instance(instances.next()));
            }
            context.vpcs.push(Declared {
                vpc: handle,
                main_route_table,
                default_network_acl,
                default_security_group,
            });
        }

        let mut roles = Counter(0);
        for role in &spec.roles {
            context.name(&role.name, None, Target::Role(roles.next()));
        }
        let mut functions = Counter(0);
        for function in &spec.functions {
            context.name(&function.name, None, Target::Function(functions.next()));
        }
        let mut peerings = Counter(0);
        for peering in &spec.vpc_peering_connections {
            context.name(&peering.name, None, Target::VpcPeeringConnection(peerings.next()));
        }
        let mut prefix_lists = Counter(0);
        for list in &spec.prefix_lists {
            context.name(&list.name, None, Target::PrefixList(prefix_lists.next()));
        }
        let mut services = Counter(0);
        for service in &spec.services {
            context.name(&service.name, None, Target::Service(services.next()));
            if service.prefix_list != Field::Missing {
                context.name_list_of(&service.name, prefix_lists.next());
            }
        }
        let mut hosts = Counter(0);
        for host in &spec.internet {
            context.name(&host.name, None, Target::Internet(hosts.next()));
        }
        context
    }

    /// The topology, if nothing is wrong with it.
    pub(super) fn finish(self) -> Result<Resolved, Vec<Problem>> {
        if self.report.has_errors() {
            return Err(self.report.into_problems());
        }
        Ok(Resolved { topology: self.topology, warnings: self.report.into_problems() })
    }

    fn name(&mut self, name: &Spanned<String>, vpc: Option<Handle<Vpc>>, target: Target) {
        let noun = target.kind().noun();
        naming::check(&mut self.report, &target.kind().a_noun(), name);
        if !self.names.insert(&name.value, vpc, target) {
            self.duplicate(noun, name);
        }
    }

    /// A service's prefix list has the service's name.
    fn name_list_of(&mut self, service: &Spanned<String>, list: Handle<PrefixList>) {
        if !self.names.insert(&service.value, None, Target::PrefixList(list)) {
            self.report
                .error(
                    service.span,
                    format!("there is a prefix list `{}` besides this service's", service.value),
                )
                .help("a service's prefix list has the service's name; give one of them another");
        }
    }

    fn duplicate(&mut self, noun: &str, name: &Spanned<String>) {
        self.report
            .error(name.span, format!("there are two {noun}s `{}`", name.value))
            .help("give one of them another name");
    }

    /// What a reference means; reports if it means nothing.
    pub(super) fn find(
        &mut self,
        reference: &Spanned<String>,
        accepted: &[Kind],
        scope: Option<Handle<Vpc>>,
    ) -> Option<Target> {
        match self.names.find(&reference.value, accepted, scope) {
            Ok(target) => Some(target),
            Err(miss) => {
                self.miss(reference.span, miss);
                None
            }
        }
    }

    /// The subnet that a reference means.
    pub(super) fn find_subnet(
        &mut self,
        reference: &Spanned<String>,
        scope: Option<Handle<Vpc>>,
    ) -> Option<Handle<Subnet>> {
        match self.find(reference, &[Kind::Subnet], scope)? {
            Target::Subnet(subnet) => Some(subnet),
            _ => None,
        }
    }

    /// The prefix list that a reference within a VPC means.
    pub(super) fn find_prefix_list(
        &mut self,
        reference: &Spanned<String>,
        vpc: Handle<Vpc>,
    ) -> Option<Handle<PrefixList>> {
        match self.find(reference, &[Kind::PrefixList], Some(vpc))? {
            Target::PrefixList(list) => Some(list),
            _ => None,
        }
    }

    /// The service that a reference means.
    pub(super) fn find_service(&mut self, reference: &Spanned<String>) -> Option<Handle<Service>> {
        match self.find(reference, &[Kind::Service], None)? {
            Target::Service(service) => Some(service),
            _ => None,
        }
    }

    /// The execution role that a reference means.
    pub(super) fn find_role(&mut self, reference: &Spanned<String>) -> Option<Handle<Role>> {
        match self.find(reference, &[Kind::Role], None)? {
            Target::Role(role) => Some(role),
            _ => None,
        }
    }

    /// The route table that a reference within a VPC means.
    pub(super) fn find_route_table(
        &mut self,
        reference: &Spanned<String>,
        vpc: Handle<Vpc>,
    ) -> Option<Handle<RouteTable>> {
        match self.find(reference, &[Kind::RouteTable], Some(vpc))? {
            Target::RouteTable(table) => Some(table),
            _ => None,
        }
    }

    /// The same without a report.
    pub(super) fn find_route_table_quietly(
        &self,
        reference: &str,
        vpc: Handle<Vpc>,
    ) -> Option<Handle<RouteTable>> {
        match self.names.find(reference, &[Kind::RouteTable], Some(vpc)) {
            Ok(Target::RouteTable(table)) => Some(table),
            _ => None,
        }
    }

    /// The security group that a reference means.
    pub(super) fn find_group(
        &mut self,
        reference: &Spanned<String>,
        scope: Option<Handle<Vpc>>,
    ) -> Option<Handle<SecurityGroup>> {
        match self.find(reference, &[Kind::SecurityGroup], scope)? {
            Target::SecurityGroup(group) => Some(group),
            _ => None,
        }
    }

    /// Reports a reference that means nothing.
    pub(super) fn miss(&mut self, span: Span, miss: Miss) {
        let problem = self.report.error(span, miss.message);
        problem.help = miss.help;
    }
}

/// The name of a VPC's own ACL and its own group; declaring one of this name replaces it.
pub(super) const DEFAULT: &str = "default";
