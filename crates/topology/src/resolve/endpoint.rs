//! Endpoints: ways to services that do not leave the network.

use std::collections::HashMap;

use super::{
    addresses::Owner,
    context::{Context, Declared},
    routes,
    security_group::{self, Limits},
    sharing,
};
use crate::{
    arena::Handle,
    model::{
        EndpointSubnet, PrefixList, RouteTable, RouteTarget, SecurityGroup, Service, Subnet,
        VpcEndpoint, VpcEndpointKind,
    },
    spec::{self, References, Span, Spanned, VpcEndpointType},
};

/// Groups of an endpoint's interfaces (SG-30).
const GROUPS: Limits = Limits { usual: 5, most: 16 };

/// What the endpoints of one VPC have of a service already, by the endpoint's name.
#[derive(Default)]
struct Taken<'s> {
    /// Routes to it: one a table (EP-03).
    routes: HashMap<(Handle<Service>, Handle<RouteTable>), &'s str>,
    /// Its name in the VPC.
    private_dns: HashMap<Handle<Service>, &'s str>,
}

/// Builds the endpoints of a VPC.
pub(super) fn build(context: &mut Context, declared: Declared, vpc_spec: &spec::Vpc) {
    let mut taken = Taken::default();
    for spec in &vpc_spec.vpc_endpoints {
        let name = &spec.name.value;
        let noun = format!("endpoint `{name}`");
        let path = format!("{}/{name}", vpc_spec.name.value);
        let id = context.ids.id(&mut context.report, "vpce", &path, spec.id.as_ref());
        let handle = context.topology.vpc_endpoints.len();
        let handle = Handle::at(u32::try_from(handle).expect("counted when it was declared"));
        let kind = context.report.require(&spec.kind, "type", &noun, spec.name.span);
        let reference = context.report.require(&spec.service, "service", &noun, spec.name.span);
        let service = reference.and_then(|reference| context.find_service(reference));
        let mut one = One { context, declared, spec, noun, handle, service, taken: &mut taken };
        let kind = match kind.map(|kind| kind.value) {
            Some(VpcEndpointType::Gateway) => one.gateway(),
            Some(VpcEndpointType::Interface) => one.interface(),
            // Of neither type, and refused.
            None => VpcEndpointKind::Interface {
                subnets: Vec::new(),
                security_groups: Vec::new(),
                private_dns_enabled: false,
            },
        };
        context.topology.vpc_endpoints.push(VpcEndpoint {
            id,
            name: name.clone(),
            vpc: declared.vpc,
            service: service.unwrap_or(Handle::at(0)),
            kind,
        });
    }
}

/// One endpoint that is being built.
struct One<'c, 's> {
    context: &'c mut Context,
    declared: Declared,
    spec: &'s spec::VpcEndpoint,
    noun: String,
    handle: Handle<VpcEndpoint>,
    service: Option<Handle<Service>>,
    taken: &'c mut Taken<'s>,
}

impl One<'_, '_> {
    fn gateway(&mut self) -> VpcEndpointKind {
        let spec = self.spec;
        for (span, key) in [
            (spec.subnets.given().map(|it| it.span), "subnets"),
            (spec.private_ips.as_ref().map(|it| it.span), "private_ips"),
            (spec.security_groups.as_ref().map(|it| it.span), "security_groups"),
            (spec.private_dns_enabled.as_ref().map(|it| it.span), "private_dns_enabled"),
        ] {
            self.not_of_this_type(span, key, "a gateway endpoint", "interface");
        }
        let written = spec.route_tables.as_ref().map_or(&[][..], |given| &given.value);
        if written.is_empty() {
            self.context
                .report
                .warning(spec.name.span, format!("{} is in no route table", self.noun))
                .help("nothing uses it; name tables of the VPC: `route_tables: [main]`");
        }
        let to = self.service.and_then(|service| Some((service, self.list_of(service)?)));
        let mut route_tables: Vec<Handle<RouteTable>> = Vec::with_capacity(written.len());
        for reference in written {
            let found = self.context.find_route_table(reference, self.declared.vpc);
            let Some(table) = found else { continue };
            if route_tables.contains(&table) {
                let message = format!("{} has the table `{}` twice", self.noun, reference.value);
                self.context.report.error(reference.span, message).help("remove one");
                continue;
            }
            route_tables.push(table);
            if let Some((service, list)) = to {
                self.add_routes(reference, table, service, list);
            }
        }
        VpcEndpointKind::Gateway { route_tables }
    }

    /// The list that stands for a service in routes; only some services have one (EP-02).
    fn list_of(&mut self, service: Handle<Service>) -> Option<Handle<PrefixList>> {
        let Service { name, prefix_list, .. } = &self.context.topology.services[service];
        if prefix_list.is_some() {
            return *prefix_list;
        }
        let message = format!("service `{name}` has no prefix list");
        let place = self.spec.service.given().map_or(self.spec.name.span, |given| given.span);
        self.context.report.error(place, message).help(
            "a gateway endpoint is a route to one: give the service a `prefix_list`, or write \
             `type: interface`",
        );
        None
    }

    /// Adds the routes to the service's list to a table.
    fn add_routes(
        &mut self,
        reference: &Spanned<String>,
        table: Handle<RouteTable>,
        service: Handle<Service>,
        list: Handle<PrefixList>,
    ) {
        let Context { topology, report, list_routes, .. } = &mut *self.context;
        let to = &topology.services[service].name;
        let name = self.spec.name.value.as_str();
        let first = *self.taken.routes.entry((service, table)).or_insert(name);
        if first != name {
            report
                .error(
                    reference.span,
                    format!(
                        "`{}` has the routes of endpoint `{first}` to service `{to}`",
                        reference.value
                    ),
                )
                .help("a table has one gateway endpoint for a service");
            return;
        }
        if let Some(place) = list_routes.get(&(table, list)) {
            report
                .error(*place, format!("endpoint `{name}` brings the route to `prefix_list/{to}`"))
                .help("it comes and goes with the endpoint; remove this one");
            return;
        }
        let target = RouteTarget::VpcEndpoint(self.handle);
        routes::add_of_endpoint(self.context, reference.span, table, list, target);
    }

    fn interface(&mut self) -> VpcEndpointKind {
        let spec = self.spec;
        let tables = spec.route_tables.as_ref().map(|it| it.span);
        self.not_of_this_type(tables, "route_tables", "an interface endpoint", "gateway");
        let given =
            self.context.report.require(&spec.subnets, "subnets", &self.noun, spec.name.span);
        let subnets = given.map_or(Vec::new(), |given| self.subnets(given));
        let private_dns_enabled = spec.private_dns_enabled.as_ref().is_none_or(|given| given.value);
        if private_dns_enabled {
            self.claim_private_dns();
        }
        VpcEndpointKind::Interface {
            subnets,
            security_groups: self.security_groups(),
            private_dns_enabled,
        }
    }

    /// The subnets with their addresses; at most one in a zone (EP-09).
    fn subnets(&mut self, given: &Spanned<References>) -> Vec<EndpointSubnet> {
        let count = given.value.len();
        if count == 0 {
            let message = format!("{} has no subnet", self.noun);
            self.context.report.error(given.span, message).help("it has an interface in each");
        }
        let ips = self.spec.private_ips.as_ref();
        if let Some(ips) = ips.filter(|ips| count > 0 && ips.value.len() != count) {
            let subnets = match ips.value.len() {
                1 => "1 subnet".to_owned(),
                named => format!("{named} subnets"),
            };
            let message = format!("{} has addresses for {subnets}, not for {count}", self.noun);
            self.context
                .report
                .error(ips.span, message)
                .help("`private_ips` has one for each of `subnets`, in their order");
        }
        let mut subnets = Vec::with_capacity(count);
        let mut zones: HashMap<String, Handle<Subnet>> = HashMap::new();
        for (index, reference) in given.value.iter().enumerate() {
            let vpc = self.declared.vpc;
            let Some(subnet) = self.context.find_subnet(reference, Some(vpc)) else { continue };
            let Context { topology, report, .. } = &mut *self.context;
            let object = &topology.subnets[subnet];
            let zone = &object.availability_zone;
            let first = *zones.entry(zone.clone()).or_insert(subnet);
            if first != subnet || subnets.iter().any(|it: &EndpointSubnet| it.subnet == subnet) {
                let first = &topology.subnets[first].name;
                report
                    .error(
                        reference.span,
                        format!("{} is in subnet `{first}` of zone `{zone}` already", self.noun),
                    )
                    .help("an endpoint has one subnet at most in a zone");
                continue;
            }
            self.context.addresses.take(subnet, 1);
            let owner = Owner { noun: self.noun.clone(), vpc, subnet: Some(subnet) };
            let ip = ips.and_then(|ips| ips.value.get(index));
            let private_ip = ip.and_then(|ip| self.context.claim_private(&owner, ip));
            subnets.push(EndpointSubnet { subnet, private_ip });
        }
        subnets
    }

    fn security_groups(&mut self) -> Vec<Handle<SecurityGroup>> {
        let (vpc, noun) = (self.declared.vpc, &self.noun);
        let groups = self.spec.security_groups.as_ref().map_or(Vec::new(), |given| {
            security_group::of_interface(self.context, noun, given, &GROUPS, |context, it| {
                sharing::find_owners_group(context, noun, it, vpc)
            })
        });
        if groups.is_empty() { vec![self.declared.default_security_group] } else { groups }
    }

    /// A name can stand for one endpoint only.
    fn claim_private_dns(&mut self) {
        let Some(service) = self.service else { return };
        let spec = self.spec;
        let Some(first) = self.taken.private_dns.insert(service, &spec.name.value) else { return };
        let to = &self.context.topology.services[service].name;
        let place = spec.private_dns_enabled.as_ref().map_or(spec.name.span, |given| given.span);
        self.context
            .report
            .error(place, format!("the name of service `{to}` leads to endpoint `{first}` already"))
            .help("AWS refuses two in a VPC; write `private_dns_enabled: false` for one of them");
    }

    /// Refuses a key that endpoints of the other type have.
    fn not_of_this_type(&mut self, place: Option<Span>, key: &str, this: &str, other: &str) {
        let Some(place) = place else { return };
        self.context
            .report
            .error(place, format!("{} is {this}, which has no `{key}`", self.noun))
            .help(format!("remove `{key}`, or write `type: {other}`"));
    }
}
