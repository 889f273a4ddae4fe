//! Objects as text that can be compared across topologies.
//!
//! Each description takes its object apart field by field, so that a field which is added to the
//! model cannot be forgotten here.

use std::{fmt::Display, net::IpAddr};

use crate::{
    arena::Handle,
    model::{
        AclAction, AclRule, ConnectionTracking, EndpointSubnet, Function, Instance,
        InternetGateway, InternetHost, Lifecycle, NatGateway, NatTimeouts, NetworkAcl, PrefixList,
        Principal, Role, Route, RouteTable, RouteTarget, SecurityGroup, Service, ServiceVpc,
        Settings, SgPeer, SgRule, Subnet, Topology, Vpc, VpcEndpoint, VpcEndpointKind,
        VpcPeeringConnection,
    },
    path::Resource,
};

/// An object as text.
pub(super) struct Described {
    /// The place of its kind among the kinds.
    pub(super) order: usize,
    /// The same in two topologies if the object is.
    pub(super) identity: String,
    /// Its path.
    pub(super) path: String,
    /// What is in it.
    pub(super) fields: Vec<(&'static str, Field)>,
}

/// The value of a field.
pub(super) enum Field {
    /// One value, or a list whose order means something.
    One(String),
    /// A set of values, a line for each.
    Many(Vec<String>),
}

/// Every object of a topology, kind by kind.
pub(super) fn describe(topology: &Topology) -> Vec<Described> {
    // A kind that is added to the model is to be described here.
    let Topology {
        settings: _,
        organization: _,
        service_vpc: _,
        prefix_lists: _,
        vpcs: _,
        subnets: _,
        route_tables: _,
        network_acls: _,
        security_groups: _,
        internet_gateways: _,
        nat_gateways: _,
        vpc_peering_connections: _,
        services: _,
        vpc_endpoints: _,
        instances: _,
        roles: _,
        principals: _,
        functions: _,
        internet_hosts: _,
        expectations: _,
    } = topology;
    let mut all = vec![Described {
        order: 0,
        identity: "settings".to_owned(),
        path: "settings".to_owned(),
        fields: settings(&topology.settings, &topology.service_vpc),
    }];
    all.push(Described {
        order: 0,
        identity: "organization".to_owned(),
        path: "organization".to_owned(),
        fields: vec![("accounts", lines(&topology.organization))],
    });
    all.extend(topology.vpcs.values().map(|it| Described {
        order: 1,
        identity: it.id.to_string(),
        path: format!("vpc/{}", it.name),
        fields: vpc(topology, it),
    }));
    add(topology, &mut all, 2, subnet);
    add(topology, &mut all, 3, route_table);
    add(topology, &mut all, 4, network_acl);
    add(topology, &mut all, 5, security_group);
    add(topology, &mut all, 6, internet_gateway);
    add(topology, &mut all, 7, nat_gateway);
    add(topology, &mut all, 8, vpc_peering_connection);
    add(topology, &mut all, 9, prefix_list);
    add(topology, &mut all, 10, instance);
    add(topology, &mut all, 11, function);
    add(topology, &mut all, 12, internet_host);
    add(topology, &mut all, 13, service);
    add(topology, &mut all, 14, vpc_endpoint);
    add(topology, &mut all, 15, role);
    all.extend(topology.principals.iter().map(|it| {
        let path = format!("principal/{}", it.access_key_id);
        Described { order: 16, identity: path.clone(), path, fields: principal(it) }
    }));
    all
}

type Fields = Vec<(&'static str, Field)>;

fn add<R: Resource>(
    topology: &Topology,
    all: &mut Vec<Described>,
    order: usize,
    fields: impl Fn(&Topology, &R) -> Fields,
) {
    all.extend(R::arena(topology).iter().map(|(handle, object)| {
        let path = topology.path(handle);
        let identity = object.id().map_or_else(|| path.clone(), ToString::to_string);
        Described { order, identity, path, fields: fields(topology, object) }
    }));
}

fn settings(settings: &Settings, ServiceVpc { public_ips }: &ServiceVpc) -> Fields {
    let Settings {
        profile,
        eni_connections,
        eni_connections_per_second,
        source_ports,
        enis_per_vpc,
        environment_connections,
        environment_connections_per_second,
        environment_bandwidth,
        nat_gateway_connections_per_destination,
        nat_gateway_bandwidth,
        nat_gateway_packets_per_second,
        fragment_bytes,
        fragment_datagrams,
        fragment_timeout,
        connection_tracking,
        nat,
        lifecycle,
        lifecycle_scale,
    } = settings;
    let mut fields = vec![
        one("profile", profile),
        one("eni_connections", eni_connections),
        one("eni_connections_per_second", or_none(*eni_connections_per_second)),
        one("source_ports", source_ports),
        one("enis_per_vpc", enis_per_vpc),
        one("environment_connections", or_none(*environment_connections)),
        one("environment_connections_per_second", or_none(*environment_connections_per_second)),
        one("environment_bandwidth", or_none(*environment_bandwidth)),
        one("nat_gateway_connections_per_destination", nat_gateway_connections_per_destination),
        one("nat_gateway_bandwidth", or_none(*nat_gateway_bandwidth)),
        one("nat_gateway_packets_per_second", or_none(*nat_gateway_packets_per_second)),
        one("fragment_bytes", fragment_bytes),
        one("fragment_datagrams", fragment_datagrams),
        one("fragment_timeout", fragment_timeout),
        one("service_vpc_public_ips", in_order(public_ips)),
    ];
    fields.extend(tracking_timeouts(connection_tracking));
    fields.extend(nat_timeouts(nat));
    fields.extend(lifecycle_delays(lifecycle));
    fields.push(one("lifecycle_scale", lifecycle_scale));
    fields
}

fn lifecycle_delays(lifecycle: &Lifecycle) -> Fields {
    let Lifecycle { creation, deletion, idle, shrinking } = lifecycle;
    vec![
        one("lifecycle.creation", creation),
        one("lifecycle.deletion", deletion),
        one("lifecycle.idle", idle),
        one("lifecycle.shrinking", shrinking),
    ]
}

fn tracking_timeouts(timeouts: &ConnectionTracking) -> Fields {
    let ConnectionTracking {
        tcp_opening_timeout,
        tcp_established_timeout,
        tcp_closing_timeout,
        udp_timeout,
        udp_stream_timeout,
        icmp_timeout,
        other_timeout,
    } = timeouts;
    vec![
        one("connection_tracking.tcp_opening_timeout", tcp_opening_timeout),
        one("connection_tracking.tcp_established_timeout", tcp_established_timeout),
        one("connection_tracking.tcp_closing_timeout", tcp_closing_timeout),
        one("connection_tracking.udp_timeout", udp_timeout),
        one("connection_tracking.udp_stream_timeout", udp_stream_timeout),
        one("connection_tracking.icmp_timeout", icmp_timeout),
        one("connection_tracking.other_timeout", other_timeout),
    ]
}

fn nat_timeouts(timeouts: &NatTimeouts) -> Fields {
    let NatTimeouts {
        tcp_opening_timeout,
        tcp_established_timeout,
        tcp_closing_timeout,
        udp_timeout,
        icmp_timeout,
    } = timeouts;
    vec![
        one("nat.tcp_opening_timeout", tcp_opening_timeout),
        one("nat.tcp_established_timeout", tcp_established_timeout),
        one("nat.tcp_closing_timeout", tcp_closing_timeout),
        one("nat.udp_timeout", udp_timeout),
        one("nat.icmp_timeout", icmp_timeout),
    ]
}

fn vpc(topology: &Topology, vpc: &Vpc) -> Fields {
    let Vpc {
        id: _,
        name: _,
        account,
        cidr_blocks,
        main_route_table,
        // The VPC's own, for as long as it lives.
        default_network_acl: _,
        default_security_group: _,
        internet_gateway,
    } = vpc;
    vec![
        one("account", account),
        one("cidr_blocks", in_order(cidr_blocks)),
        one("main_route_table", topology.path(*main_route_table)),
        one("internet_gateway", or_none(internet_gateway.map(|it| topology.path(it)))),
    ]
}

fn subnet(topology: &Topology, subnet: &Subnet) -> Fields {
    let Subnet {
        id: _,
        name: _,
        vpc: _,
        cidr_block,
        availability_zone,
        route_table,
        network_acl,
        shared_with,
        on_unshare,
    } = subnet;
    vec![
        one("cidr_block", cidr_block),
        one("availability_zone", availability_zone),
        one("route_table", topology.path(*route_table)),
        one("network_acl", topology.path(*network_acl)),
        ("shared_with", lines(shared_with)),
        one("on_unshare", on_unshare),
    ]
}

fn route_table(topology: &Topology, table: &RouteTable) -> Fields {
    let RouteTable { id: _, name: _, vpc: _, routes } = table;
    let line = |route: &Route| {
        let Route { destination, target, prefix_list } = route;
        let target = route_target(topology, *target);
        match prefix_list {
            Some(list) => format!("{destination} of {} to {target}", topology.path(*list)),
            None => format!("{destination} to {target}"),
        }
    };
    vec![("routes", Field::Many(routes.iter().map(line).collect()))]
}

fn route_target(topology: &Topology, target: RouteTarget) -> String {
    match target {
        RouteTarget::Local => "local".to_owned(),
        RouteTarget::InternetGateway(gateway) => topology.path(gateway),
        RouteTarget::NatGateway(gateway) => topology.path(gateway),
        RouteTarget::VpcPeeringConnection(peering) => topology.path(peering),
        RouteTarget::Instance(instance) => topology.path(instance),
        RouteTarget::VpcEndpoint(endpoint) => topology.path(endpoint),
        RouteTarget::Blackhole => "blackhole".to_owned(),
    }
}

fn network_acl(_: &Topology, acl: &NetworkAcl) -> Fields {
    let NetworkAcl { id: _, name: _, vpc: _, ingress, egress } = acl;
    let lines = |rules: &[AclRule], side: &str| {
        let line = |rule: &AclRule| {
            let AclRule { number, action, traffic, cidr_block } = rule;
            let action = match action {
                AclAction::Allow => "allow",
                AclAction::Deny => "deny",
            };
            format!("{number} {action} {traffic} {side} {cidr_block}")
        };
        Field::Many(rules.iter().map(line).collect())
    };
    vec![("ingress", lines(ingress, "from")), ("egress", lines(egress, "to"))]
}

fn security_group(topology: &Topology, group: &SecurityGroup) -> Fields {
    let SecurityGroup { id: _, name: _, vpc: _, account, ingress, egress } = group;
    let lines = |rules: &[SgRule], side: &str| {
        let line = |rule: &SgRule| {
            let SgRule { traffic, peer } = rule;
            let peer = match peer {
                SgPeer::Cidr(block) => block.to_string(),
                SgPeer::Group(group) => topology.path(*group),
                SgPeer::PrefixList(list) => topology.path(*list),
            };
            format!("{traffic} {side} {peer}")
        };
        Field::Many(rules.iter().map(line).collect())
    };
    vec![
        one("account", account),
        ("ingress", lines(ingress, "from")),
        ("egress", lines(egress, "to")),
    ]
}

fn internet_gateway(topology: &Topology, gateway: &InternetGateway) -> Fields {
    let InternetGateway { id: _, name: _, vpc: _, route_table } = gateway;
    vec![one("route_table", or_none(route_table.map(|table| topology.path(table))))]
}

fn nat_gateway(topology: &Topology, gateway: &NatGateway) -> Fields {
    let NatGateway { id: _, name: _, subnet, private_ip, addresses, public_ips, state } = gateway;
    vec![
        one("subnet", topology.path(*subnet)),
        one("private_ip", address(*private_ip)),
        one("addresses", addresses),
        one("public_ips", in_order(public_ips)),
        one("state", state),
    ]
}

fn vpc_peering_connection(topology: &Topology, peering: &VpcPeeringConnection) -> Fields {
    let VpcPeeringConnection { id: _, name: _, requester, accepter } = peering;
    vec![
        one("requester", &topology.vpcs[*requester].name),
        one("accepter", &topology.vpcs[*accepter].name),
    ]
}

fn prefix_list(_: &Topology, list: &PrefixList) -> Fields {
    let PrefixList { id: _, name: _, entries, max_entries } = list;
    let entries = entries.iter().map(ToString::to_string).collect();
    vec![("entries", Field::Many(entries)), one("max_entries", max_entries)]
}

fn instance(topology: &Topology, instance: &Instance) -> Fields {
    let Instance {
        id: _,
        name: _,
        subnet,
        private_ip,
        secondary_private_ips,
        public_ip,
        security_groups,
        source_dest_check,
    } = instance;
    vec![
        one("subnet", topology.path(*subnet)),
        one("private_ip", address(*private_ip)),
        (
            "secondary_private_ips",
            Field::Many(secondary_private_ips.iter().map(ToString::to_string).collect()),
        ),
        one("public_ip", or_none(*public_ip)),
        ("security_groups", paths(topology, security_groups)),
        one("source_dest_check", source_dest_check),
    ]
}

fn function(topology: &Topology, function: &Function) -> Fields {
    let Function { name: _, account, subnets, security_groups, environments, role } = function;
    vec![
        one("account", account),
        ("subnets", paths(topology, subnets)),
        ("security_groups", paths(topology, security_groups)),
        one("environments", environments),
        one("role", or_none(role.map(|it| topology.path(it)))),
    ]
}

fn role(_: &Topology, role: &Role) -> Fields {
    let Role { name: _, account, policies } = role;
    vec![one("account", account), ("policies", lines(policies))]
}

fn principal(principal: &Principal) -> Fields {
    let Principal { access_key_id: _, account, policies } = principal;
    vec![one("account", account), ("policies", lines(policies))]
}

fn internet_host(_: &Topology, host: &InternetHost) -> Fields {
    let InternetHost { name: _, ip } = host;
    vec![one("ip", ip)]
}

fn service(topology: &Topology, service: &Service) -> Fields {
    let Service { id: _, name: _, ip, prefix_list } = service;
    vec![one("ip", ip), one("prefix_list", or_none(prefix_list.map(|list| topology.path(list))))]
}

fn vpc_endpoint(topology: &Topology, endpoint: &VpcEndpoint) -> Fields {
    let VpcEndpoint { id: _, name: _, vpc: _, service, kind } = endpoint;
    let mut fields = vec![one("service", topology.path(*service))];
    match kind {
        VpcEndpointKind::Gateway { route_tables } => {
            fields.push(one("type", "gateway"));
            fields.push(("route_tables", paths(topology, route_tables)));
        }
        VpcEndpointKind::Interface { subnets, security_groups, private_dns_enabled } => {
            let place = |EndpointSubnet { subnet, private_ip }: &EndpointSubnet| {
                format!("{} at {}", topology.path(*subnet), address(*private_ip))
            };
            fields.push(one("type", "interface"));
            fields.push(("subnets", Field::Many(subnets.iter().map(place).collect())));
            fields.push(("security_groups", paths(topology, security_groups)));
            fields.push(one("private_dns_enabled", private_dns_enabled));
        }
    }
    fields
}

fn one(name: &'static str, value: impl Display) -> (&'static str, Field) {
    (name, Field::One(value.to_string()))
}

fn paths<R: Resource>(topology: &Topology, handles: &[Handle<R>]) -> Field {
    Field::Many(handles.iter().map(|handle| topology.path(*handle)).collect())
}

fn lines(values: &[impl Display]) -> Field {
    Field::Many(values.iter().map(ToString::to_string).collect())
}

fn in_order(values: &[impl Display]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

/// A private address that the file may leave to the plan.
fn address(address: Option<IpAddr>) -> String {
    address.map_or_else(|| "any".to_owned(), |address| address.to_string())
}
