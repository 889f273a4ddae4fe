//! VPCs, subnets, security groups and route tables as EC2 shows them.

use std::collections::HashSet;

use viaduct_control_plane::lifecycle::Lifecycle;
use viaduct_topology::{
    Handle, ResourceId, Topology,
    model::{Route, RouteTarget, SgPeer, SgRule, Subnet, Traffic, Vpc},
};

use super::listing::{Item, Listing};
use crate::{
    api::{caller::Caller, query::xml::Element},
    network::Network,
};

pub(super) const VPCS: Listing = Listing {
    action: "DescribeVpcs",
    set: "vpcSet",
    id: "VpcId",
    not_found: "InvalidVpcID.NotFound",
    filters: &["cidr", "owner-id", "state", "vpc-id"],
    items: vpcs,
};

pub(super) const SUBNETS: Listing = Listing {
    action: "DescribeSubnets",
    set: "subnetSet",
    id: "SubnetId",
    not_found: "InvalidSubnetID.NotFound",
    filters: &[
        "availability-zone",
        "availability-zone-id",
        "cidr-block",
        "owner-id",
        "state",
        "subnet-id",
        "vpc-id",
    ],
    items: subnets,
};

pub(super) const SECURITY_GROUPS: Listing = Listing {
    action: "DescribeSecurityGroups",
    set: "securityGroupInfo",
    id: "GroupId",
    not_found: "InvalidGroup.NotFound",
    filters: &["group-id", "group-name", "owner-id", "vpc-id"],
    items: security_groups,
};

pub(super) const ROUTE_TABLES: Listing = Listing {
    action: "DescribeRouteTables",
    set: "routeTableSet",
    id: "RouteTableId",
    not_found: "InvalidRouteTableID.NotFound",
    filters: &["association.main", "association.subnet-id", "owner-id", "route-table-id", "vpc-id"],
    items: route_tables,
};

/// Whether a VPC is the caller's own: then they see all that is in it, also what others have there
/// (SHR-05).
fn owns(topology: &Topology, vpc: Handle<Vpc>, caller: &Caller) -> bool {
    *topology.vpcs[vpc].account == **caller.account()
}

/// The subnets that a caller sees: their own, and those that are shared with them (SHR-03).
fn seen<'t>(topology: &'t Topology, caller: &Caller) -> impl Iterator<Item = &'t Subnet> {
    let me = caller.account().clone();
    let subnets = topology.subnets.iter();
    subnets.filter(move |(handle, _)| topology.admits(*handle, &me)).map(|(_, subnet)| subnet)
}

fn vpcs(network: &Network, _: &Lifecycle, caller: &Caller) -> Vec<Item> {
    let topology = &network.topology;
    let shared: HashSet<Handle<Vpc>> = seen(topology, caller).map(|subnet| subnet.vpc).collect();
    let vpcs = topology.vpcs.iter();
    let vpcs = vpcs.filter(|(vpc, _)| shared.contains(vpc) || owns(topology, *vpc, caller));
    vpcs.map(|(_, vpc)| {
        let blocks = vpc.cidr_blocks.iter().map(|block| {
            let state =
                Element::parent("cidrBlockState").with(Element::text("state", "associated"));
            let block = Element::text("cidrBlock", block.to_string());
            Element::parent("item").with(block).with(state)
        });
        let primary = vpc.cidr_blocks.first().map(ToString::to_string).unwrap_or_default();
        Item::new(&vpc.id)
            .told("vpcId", "vpc-id", &vpc.id)
            .told("ownerId", "owner-id", &vpc.account)
            .told("state", "state", "available")
            .told("cidrBlock", "cidr", primary)
            .with(blocks.fold(Element::parent("cidrBlockAssociationSet"), Element::with))
            .with(Element::text("instanceTenancy", "default"))
            .with(Element::text("isDefault", "false"))
            .with(named(&vpc.name))
    })
    .collect()
}

fn subnets(network: &Network, machine: &Lifecycle, caller: &Caller) -> Vec<Item> {
    let topology = &network.topology;
    seen(topology, caller)
        .map(|subnet| {
            let vpc = &topology.vpcs[subnet.vpc];
            let free = machine.free_addresses(&subnet.id).unwrap_or_default();
            Item::new(&subnet.id)
                .told("subnetId", "subnet-id", &subnet.id)
                .told("vpcId", "vpc-id", &vpc.id)
                .told("ownerId", "owner-id", &vpc.account)
                .told("state", "state", "available")
                .told("cidrBlock", "cidr-block", subnet.cidr_block)
                .told("availabilityZone", "availability-zone", &subnet.availability_zone)
                // Zones have the same names for all accounts, so names are ids (SHR-11).
                .told("availabilityZoneId", "availability-zone-id", &subnet.availability_zone)
                .with(Element::text("availableIpAddressCount", free.to_string()))
                .with(Element::text("defaultForAz", "false"))
                .with(Element::text("mapPublicIpOnLaunch", "false"))
                .with(named(&subnet.name))
        })
        .collect()
}

fn security_groups(network: &Network, _: &Lifecycle, caller: &Caller) -> Vec<Item> {
    let topology = &network.topology;
    let groups = topology.security_groups.values();
    // Participants see their own alone (SHR-03).
    groups
        .filter(|group| *group.account == **caller.account() || owns(topology, group.vpc, caller))
        .map(|group| {
            let vpc = &topology.vpcs[group.vpc];
            let rules = |name: &'static str, rules: &[SgRule]| {
                let rules = rules.iter().map(|rule| permission(topology, rule));
                rules.fold(Element::parent(name), Element::with)
            };
            Item::new(&group.id)
                .told("groupId", "group-id", &group.id)
                .told("groupName", "group-name", &group.name)
                .told("vpcId", "vpc-id", &vpc.id)
                .told("ownerId", "owner-id", &group.account)
                .with(Element::text("groupDescription", &group.name))
                .with(rules("ipPermissions", &group.ingress))
                .with(rules("ipPermissionsEgress", &group.egress))
        })
        .collect()
}

/// A rule: traffic and its one peer (SG-06).
fn permission(topology: &Topology, rule: &SgRule) -> Element {
    let code = |value: Option<u8>| value.map_or_else(|| "-1".to_owned(), |it| it.to_string());
    let ports = |range: viaduct_topology::model::PortRange| {
        Some((range.first.to_string(), range.last.to_string()))
    };
    let (protocol, ports) = match rule.traffic {
        Traffic::All => ("-1".to_owned(), None),
        Traffic::Tcp(range) => ("tcp".to_owned(), ports(range)),
        Traffic::Udp(range) => ("udp".to_owned(), ports(range)),
        Traffic::Icmp { kind, code: it } => ("icmp".to_owned(), Some((code(kind), code(it)))),
        Traffic::Protocol(number) => (number.to_string(), None),
    };
    let mut permission = Element::parent("item").with(Element::text("ipProtocol", protocol));
    if let Some((from, to)) = ports {
        permission =
            permission.with(Element::text("fromPort", from)).with(Element::text("toPort", to));
    }
    let item = |list: &'static str, name: &'static str, value: String| {
        Element::parent(list).with(Element::parent("item").with(Element::text(name, value)))
    };
    permission.with(match rule.peer {
        SgPeer::Cidr(block) => item("ipRanges", "cidrIp", block.to_string()),
        SgPeer::Group(group) => {
            let group = &topology.security_groups[group];
            let pair = Element::parent("item")
                .with(Element::text("userId", &group.account))
                .with(Element::text("groupId", group.id.as_str()));
            Element::parent("groups").with(pair)
        }
        SgPeer::PrefixList(list) => {
            item("prefixListIds", "prefixListId", topology.prefix_lists[list].id.to_string())
        }
        other => unreachable!("a peer of a kind that no file has: {other:?}"),
    })
}

fn route_tables(network: &Network, _: &Lifecycle, caller: &Caller) -> Vec<Item> {
    let topology = &network.topology;
    let tables = topology.route_tables.iter();
    // Participants see those of the subnets that are shared with them.
    let seen: Vec<&Subnet> = seen(topology, caller).collect();
    tables
        .filter(|(handle, table)| {
            let leads = |subnet: &&Subnet| subnet.route_table == *handle;
            owns(topology, table.vpc, caller) || seen.iter().any(leads)
        })
        .map(|(handle, table)| {
            let vpc = &topology.vpcs[table.vpc];
            let is_main = vpc.main_route_table == handle;
            let routes = table.routes.iter().map(|it| route(topology, it));
            let mut item = Item::new(&table.id)
                .told("routeTableId", "route-table-id", &table.id)
                .told("vpcId", "vpc-id", &vpc.id)
                .told("ownerId", "owner-id", &vpc.account)
                .with(routes.fold(Element::parent("routeSet"), Element::with))
                .with(named(&table.name));
            let mut associations = Element::parent("associationSet");
            if is_main {
                associations = associations.with(association(&table.id, None));
                item = item.filtered("association.main", true);
            }
            // A subnet that names no table has the main one without an association (RT-01).
            for subnet in seen.iter().filter(|it| it.route_table == handle && !is_main) {
                associations = associations.with(association(&table.id, Some(&subnet.id)));
                item = item
                    .filtered("association.subnet-id", &subnet.id)
                    .filtered("association.main", false);
            }
            item.with(associations)
        })
        .collect()
}

fn association(table: &ResourceId, subnet: Option<&ResourceId>) -> Element {
    let path = format!("{table} {}", subnet.map_or("main", ResourceId::as_str));
    let id = ResourceId::derived("rtbassoc", &path);
    let association = Element::parent("item")
        .with(Element::text("routeTableAssociationId", id.as_str()))
        .with(Element::text("routeTableId", table.as_str()))
        .with(Element::text("main", subnet.is_none().to_string()));
    let subnet = subnet.map(|id| Element::text("subnetId", id.as_str()));
    subnet.into_iter().fold(association, Element::with)
}

fn route(topology: &Topology, route: &Route) -> Element {
    let destination = match route.prefix_list {
        Some(list) => {
            Element::text("destinationPrefixListId", topology.prefix_lists[list].id.as_str())
        }
        None => Element::text("destinationCidrBlock", route.destination.to_string()),
    };
    let element = Element::parent("item").with(destination);
    let target = |name: &'static str, id: &ResourceId| Some(Element::text(name, id.as_str()));
    let target = match route.target {
        RouteTarget::Local => Some(Element::text("gatewayId", "local")),
        RouteTarget::InternetGateway(it) => target("gatewayId", &topology.internet_gateways[it].id),
        RouteTarget::NatGateway(it) => target("natGatewayId", &topology.nat_gateways[it].id),
        RouteTarget::VpcPeeringConnection(it) => {
            target("vpcPeeringConnectionId", &topology.vpc_peering_connections[it].id)
        }
        RouteTarget::Instance(it) => target("instanceId", &topology.instances[it].id),
        RouteTarget::VpcEndpoint(it) => target("gatewayId", &topology.vpc_endpoints[it].id),
        RouteTarget::Blackhole => None,
        other => unreachable!("a target of a kind that no file has: {other:?}"),
    };
    let state = if target.is_some() { "active" } else { "blackhole" };
    let origin = match route.target {
        RouteTarget::Local => "CreateRouteTable",
        _ => "CreateRoute",
    };
    let element = target.into_iter().fold(element, Element::with);
    element.with(Element::text("state", state)).with(Element::text("origin", origin))
}

/// The name in the file, as the tag by which consoles show it.
fn named(name: &str) -> Element {
    let tag = Element::parent("item").with(Element::text("key", "Name"));
    Element::parent("tagSet").with(tag.with(Element::text("value", name)))
}
