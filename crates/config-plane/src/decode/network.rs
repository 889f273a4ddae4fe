//! VPCs and what is in them.

use viaduct_topology::{
    Report, Spanned,
    model::{Connectivity, NatGatewayState, OnUnshare},
    spec::{
        Destination, Instance, InternetGateway, NatGateway, NetworkAcl, PrefixList, Route,
        RouteTable, SecurityGroup, Service, Subnet, Vpc, VpcEndpoint, VpcEndpointType,
        VpcPeeringConnection,
    },
};

use super::{
    fields::{Entry, Name, fields, items, named, optional, present, required},
    keys,
    rules::{self, Direction},
    scalar::{self, BlockOrReference},
};
use crate::tree::{Node, Value};

pub(super) fn prefix_list(report: &mut Report, name: Name, node: &Node) -> PrefixList {
    let [id, entries, max_entries] = fields(report, node, &keys::PREFIX_LIST);
    PrefixList {
        name,
        id: optional(report, id, scalar::text),
        entries: required(report, entries, scalar::nets),
        max_entries: optional(report, max_entries, scalar::number),
    }
}

pub(super) fn vpc(report: &mut Report, name: Name, node: &Node) -> Vpc {
    let [
        id,
        account,
        cidr_blocks,
        subnets,
        route_tables,
        internet_gateway,
        nat_gateways,
        vpc_endpoints,
        security_groups,
        network_acls,
        instances,
    ] = fields(report, node, &keys::VPC);
    Vpc {
        name,
        id: optional(report, id, scalar::text),
        account: optional(report, account, scalar::text),
        cidr_blocks: required(report, cidr_blocks, scalar::nets),
        subnets: named(report, subnets, "subnets", subnet),
        route_tables: named(report, route_tables, "route tables", route_table),
        internet_gateway: self::internet_gateway(report, internet_gateway),
        nat_gateways: named(report, nat_gateways, "NAT gateways", nat_gateway),
        vpc_endpoints: named(report, vpc_endpoints, "endpoints", vpc_endpoint),
        security_groups: named(report, security_groups, "security groups", security_group),
        network_acls: named(report, network_acls, "network ACLs", network_acl),
        instances: named(report, instances, "instances", instance),
    }
}

pub(super) fn service(report: &mut Report, name: Name, node: &Node) -> Service {
    let [id, ip, prefix_list, prefix_list_id, max_entries] = fields(report, node, &keys::SERVICE);
    Service {
        name,
        id: optional(report, id, scalar::text),
        ip: required(report, ip, scalar::ip),
        prefix_list: required(report, prefix_list, scalar::nets),
        prefix_list_id: optional(report, prefix_list_id, scalar::text),
        max_entries: optional(report, max_entries, scalar::number),
    }
}

pub(super) fn vpc_peering_connection(
    report: &mut Report,
    name: Name,
    node: &Node,
) -> VpcPeeringConnection {
    let [id, requester, accepter] = fields(report, node, &keys::VPC_PEERING_CONNECTION);
    VpcPeeringConnection {
        name,
        id: optional(report, id, scalar::text),
        requester: required(report, requester, scalar::text),
        accepter: required(report, accepter, scalar::text),
    }
}

fn subnet(report: &mut Report, name: Name, node: &Node) -> Subnet {
    let [id, cidr_block, zone, route_table, network_acl, shared_with, on_unshare] =
        fields(report, node, &keys::SUBNET);
    Subnet {
        name,
        id: optional(report, id, scalar::text),
        cidr_block: required(report, cidr_block, scalar::net),
        availability_zone: optional(report, zone, scalar::text),
        route_table: optional(report, route_table, scalar::text),
        network_acl: optional(report, network_acl, scalar::text),
        shared_with: required(report, shared_with, scalar::accounts),
        on_unshare: optional(report, on_unshare, |report, node| {
            let words = [OnUnshare::Keep, OnUnshare::Cut];
            scalar::word(report, node, &words.map(|it| (it.word(), it)))
        }),
    }
}

fn route_table(report: &mut Report, name: Name, node: &Node) -> RouteTable {
    let [id, main, routes] = fields(report, node, &keys::ROUTE_TABLE);
    RouteTable {
        name,
        id: optional(report, id, scalar::text),
        main: optional(report, main, scalar::boolean),
        routes: items(report, routes, "routes", route).unwrap_or_default(),
    }
}

fn route(report: &mut Report, node: &Node) -> Option<Route> {
    let [destination, target] = fields(report, node, &keys::ROUTE);
    Some(Route {
        span: node.span,
        destination: required(report, destination, self::destination),
        target: required(report, target, scalar::text),
    })
}

fn destination(report: &mut Report, node: &Node) -> Option<Destination> {
    Some(match scalar::block_or_reference(report, node)? {
        BlockOrReference::Block(block) => Destination::Cidr(block),
        BlockOrReference::Reference(text) => Destination::PrefixList(text),
    })
}

/// A VPC has one at most (IGW-01), so its name alone will do.
fn internet_gateway(report: &mut Report, entry: Entry<'_>) -> Option<InternetGateway> {
    let Entry::Present(node) = entry else { return None };
    if !matches!(node.value, Value::Mapping(_)) {
        let name = Spanned::new(scalar::text(report, node)?, node.span);
        return Some(InternetGateway { name, id: None, route_table: None });
    }
    let [name, id, route_table] = fields(report, node, &keys::INTERNET_GATEWAY);
    let name = present(report, name, "name", keys::INTERNET_GATEWAY.owner, node.span)
        .and_then(|node| scalar::text(report, node).map(|name| Spanned::new(name, node.span)));
    // Without its name it is there all the same: nothing else is to blame.
    let name = name.unwrap_or_else(|| Spanned::new("igw".to_owned(), node.span));
    Some(InternetGateway {
        name,
        id: optional(report, id, scalar::text),
        route_table: optional(report, route_table, scalar::text),
    })
}

fn nat_gateway(report: &mut Report, name: Name, node: &Node) -> NatGateway {
    let [id, subnet, connectivity, private_ip, secondary, public_ips, state] =
        fields(report, node, &keys::NAT_GATEWAY);
    NatGateway {
        name,
        id: optional(report, id, scalar::text),
        subnet: required(report, subnet, scalar::text),
        connectivity_type: required(report, connectivity, |report, node| {
            let words = [("public", Connectivity::Public), ("private", Connectivity::Private)];
            scalar::word(report, node, &words)
        }),
        private_ip: optional(report, private_ip, scalar::ip),
        secondary_private_ip_address_count: optional(report, secondary, scalar::number),
        public_ips: required(report, public_ips, scalar::ips),
        state: optional(report, state, |report, node| {
            let states = [
                NatGatewayState::Pending,
                NatGatewayState::Failed,
                NatGatewayState::Available,
                NatGatewayState::Deleting,
                NatGatewayState::Deleted,
            ];
            scalar::word(report, node, &states.map(|state| (state.word(), state)))
        }),
    }
}

fn vpc_endpoint(report: &mut Report, name: Name, node: &Node) -> VpcEndpoint {
    let [id, kind, service, route_tables, subnets, private_ips, security_groups, private_dns] =
        fields(report, node, &keys::VPC_ENDPOINT);
    VpcEndpoint {
        name,
        id: optional(report, id, scalar::text),
        kind: required(report, kind, |report, node| {
            let words =
                [("gateway", VpcEndpointType::Gateway), ("interface", VpcEndpointType::Interface)];
            scalar::word(report, node, &words)
        }),
        service: required(report, service, scalar::text),
        route_tables: optional(report, route_tables, scalar::references),
        // Their lengths are compared, so one that cannot be read spoils the whole list.
        subnets: required(report, subnets, scalar::all(scalar::references)),
        private_ips: optional(report, private_ips, scalar::all(scalar::ips)),
        security_groups: optional(report, security_groups, scalar::references),
        private_dns_enabled: optional(report, private_dns, scalar::boolean),
    }
}

fn security_group(report: &mut Report, name: Name, node: &Node) -> SecurityGroup {
    let [id, account, ingress, egress] = fields(report, node, &keys::SECURITY_GROUP);
    SecurityGroup {
        name,
        id: optional(report, id, scalar::text),
        account: optional(report, account, scalar::text),
        ingress: rules::security_group(report, ingress, Direction::Ingress),
        egress: rules::security_group(report, egress, Direction::Egress),
    }
}

fn network_acl(report: &mut Report, name: Name, node: &Node) -> NetworkAcl {
    let [id, ingress, egress] = fields(report, node, &keys::NETWORK_ACL);
    NetworkAcl {
        name,
        id: optional(report, id, scalar::text),
        ingress: rules::network_acl(report, ingress),
        egress: rules::network_acl(report, egress),
    }
}

fn instance(report: &mut Report, name: Name, node: &Node) -> Instance {
    let [id, subnet, private_ip, secondary, public_ip, security_groups, check] =
        fields(report, node, &keys::INSTANCE);
    Instance {
        name,
        id: optional(report, id, scalar::text),
        subnet: required(report, subnet, scalar::text),
        private_ip: optional(report, private_ip, scalar::ip),
        secondary_private_ips: optional(report, secondary, scalar::ips),
        public_ip: optional(report, public_ip, scalar::ip),
        security_groups: optional(report, security_groups, scalar::references),
        source_dest_check: optional(report, check, scalar::boolean),
    }
}
