//! The route table of an internet gateway: where packets from the internet go (RT-16).

use super::context::{Context, Declared};
use crate::{
    path::Kind,
    spec::{self, Destination},
};

/// What other tables lead to, and this one does not.
const OTHER_TARGETS: [Kind; 4] =
    [Kind::InternetGateway, Kind::NatGateway, Kind::VpcPeeringConnection, Kind::VpcEndpoint];

/// Holds a table against what AWS lets a gateway's table be.
pub(super) fn check(context: &mut Context, declared: Declared, spec: &spec::Vpc) {
    let gateway = context.topology.vpcs[declared.vpc].internet_gateway;
    let Some(table) = gateway.and_then(|it| context.topology.internet_gateways[it].route_table)
    else {
        return;
    };
    let Some(written) = spec.internet_gateway.as_ref().and_then(|it| it.route_table.as_ref())
    else {
        return;
    };
    let name = context.topology.route_tables[table].name.clone();
    if table == declared.main_route_table {
        context
            .report
            .error(written.span, format!("`{name}` is the main route table"))
            .help("a gateway has a table of its own (RT-27)");
        return;
    }
    if let Some(subnet) = context
        .topology
        .subnets
        .values()
        .find(|subnet| subnet.vpc == declared.vpc && subnet.route_table == table)
    {
        context
            .report
            .error(written.span, format!("`{name}` is the table of subnet `{}`", subnet.name))
            .help("a gateway has a table of its own");
        return;
    }
    let endpoints = spec.vpc_endpoints.iter().flat_map(|it| &it.route_tables);
    for reference in endpoints.flat_map(|given| &given.value) {
        if context.find_route_table_quietly(&reference.value, declared.vpc) == Some(table) {
            context
                .report
                .error(reference.span, format!("`{name}` is the table of an internet gateway"))
                .help("the routes of an endpoint are for what leaves a subnet");
        }
    }
    let Some(table) = spec.route_tables.iter().find(|it| it.name.value == name) else { return };
    for route in &table.routes {
        check_route(context, declared, route);
    }
}

fn check_route(context: &mut Context, declared: Declared, route: &spec::Route) {
    if let Some(destination) = route.destination.given() {
        let blocks = &context.topology.vpcs[declared.vpc].cidr_blocks;
        let wrong = match &destination.value {
            Destination::PrefixList(list) => Some(format!("`{list}` is a prefix list")),
            // Whether it is a whole subnet or a whole block is judged as in every table.
            Destination::Cidr(block) if blocks.iter().any(|it| it.contains(block)) => None,
            Destination::Cidr(block) => Some(format!("`{block}` reaches beyond the VPC")),
        };
        if let Some(wrong) = wrong {
            context.report.error(destination.span, wrong).help(
                "a gateway's table has routes for the VPC's blocks and for whole subnets only",
            );
        }
    }
    if let Some(target) = route.target.given() {
        let elsewhere = target.value == "blackhole"
            || context.names.find(&target.value, &OTHER_TARGETS, Some(declared.vpc)).is_ok();
        if elsewhere {
            context
                .report
                .error(target.span, format!("`{}` cannot be the target here", target.value))
                .help("a gateway's table leads to instances, or is `local`");
        }
    }
}
