//! Route tables and their routes.

use std::collections::HashMap;

use ipnet::IpNet;

use super::{
    Report, cidr,
    context::{Context, Declared},
    names::Target,
    vpc::overlap,
};
use crate::{
    model::{Route, RouteTable, RouteTarget},
    path::Kind,
    spec::{self, Spanned},
};

/// The name of a VPC's main table if no other is declared to be it.
pub(super) const MAIN: &str = "main";

/// Static routes a table has by default, and at most (RT-25).
const USUAL_ROUTES: usize = 500;
const MOST_ROUTES: usize = 1000;

/// Which of the VPC's tables is the main one; `None` if it has an implicit one, which holds nothing
/// but the local routes.
///
/// It is the one that says `main: true`, else the one called `main`. A table called `main` that is
/// not the main one would only mislead, so it is refused.
pub(super) fn main_table(report: &mut Report, vpc: &spec::Vpc) -> Option<usize> {
    let mut main = None;
    for (index, table) in vpc.route_tables.iter().enumerate() {
        let Some(flag) = table.main.as_ref().filter(|flag| flag.value) else { continue };
        match main {
            None => main = Some(index),
            Some(first) => {
                let first = &vpc.route_tables[first].name.value;
                report
                    .error(flag.span, format!("VPC `{}` has two main route tables", vpc.name.value))
                    .help(format!("`{first}` is the main one already"));
            }
        }
    }
    let Some(called_main) = vpc.route_tables.iter().position(|table| table.name.value == MAIN)
    else {
        return main;
    };
    let table = &vpc.route_tables[called_main];
    if let Some(other) = main.filter(|other| *other != called_main)
        && table.main.as_ref().is_none_or(|flag| !flag.value)
    {
        let other = &vpc.route_tables[other].name.value;
        report
            .error(table.name.span, "the route table `main` is not the main one")
            .help(format!("`{other}` says `main: true`; give this table another name"));
    } else if let Some(flag) = table.main.as_ref().filter(|flag| !flag.value) {
        report
            .error(flag.span, "the route table `main` is not the main one")
            .help("give the table another name");
    }
    Some(main.unwrap_or(called_main))
}

/// Builds the route tables of a VPC.
pub(super) fn build(context: &mut Context, declared: Declared, spec: &spec::Vpc) {
    let local = context.topology.vpcs[declared.vpc].cidr_blocks.clone();
    for table in &spec.route_tables {
        let path = format!("{}/{}", spec.name.value, table.name.value);
        let id = context.ids.id(&mut context.report, "rtb", &path, table.id.as_ref());
        let routes = routes(context, declared, &local, table);
        let name = table.name.value.clone();
        context.topology.route_tables.push(RouteTable { id, name, vpc: declared.vpc, routes });
    }
    if declared.main_route_table.index() == context.topology.route_tables.len() {
        let path = format!("{}/{MAIN}", spec.name.value);
        context.topology.route_tables.push(RouteTable {
            id: context.ids.id(&mut context.report, "rtb", &path, None),
            name: MAIN.to_owned(),
            vpc: declared.vpc,
            routes: local_routes(&local).collect(),
        });
    }
}

/// Every table reaches the VPC itself (RT-03).
fn local_routes(blocks: &[IpNet]) -> impl Iterator<Item = Route> {
    blocks.iter().map(|block| Route { destination: *block, target: RouteTarget::Local })
}

fn routes(
    context: &mut Context,
    declared: Declared,
    local: &[IpNet],
    table: &spec::RouteTable,
) -> Vec<Route> {
    if table.routes.len() > MOST_ROUTES {
        context.report.error(
            table.name.span,
            format!("{} routes; a table has at most {MOST_ROUTES}", table.routes.len()),
        );
    } else if table.routes.len() > USUAL_ROUTES {
        context.report.warning(
            table.name.span,
            format!(
                "{} routes; AWS allows {USUAL_ROUTES} unless the quota is raised",
                table.routes.len()
            ),
        );
    }

    let mut routes: Vec<Route> = local_routes(local).collect();
    let mut seen = HashMap::new();
    for spec in &table.routes {
        let owner = format!("a route of `{}`", table.name.value);
        let written = context.report.require(&spec.destination, "destination", &owner, spec.span);
        let target = context.report.require(&spec.target, "target", &owner, spec.span);
        let target = target.and_then(|target| self::target(context, declared, target));
        let Some(written) = written else { continue };
        let destination = cidr::canonical(&mut context.report, written);
        if let Some(first) = seen.insert(destination, written) {
            context
                .report
                .error(
                    written.span,
                    format!("`{}` has two routes to `{destination}`", table.name.value),
                )
                .help(format!("the other one is written `{}`", first.value));
            continue;
        }
        let Some(target) = target else { continue };
        if allowed(context, local, written, destination, target) && target != RouteTarget::Local {
            routes.push(Route { destination, target });
        }
    }
    routes
}

/// Where a route leads.
fn target(
    context: &mut Context,
    declared: Declared,
    target: &Spanned<String>,
) -> Option<RouteTarget> {
    match target.value.as_str() {
        "local" => return Some(RouteTarget::Local),
        "blackhole" => return Some(RouteTarget::Blackhole),
        _ => {}
    }
    let kinds = [Kind::InternetGateway, Kind::NatGateway];
    match context.find(target, &kinds, Some(declared.vpc))? {
        Target::InternetGateway(gateway) => Some(RouteTarget::InternetGateway(gateway)),
        Target::NatGateway(gateway) => Some(RouteTarget::NatGateway(gateway)),
        _ => None,
    }
}

/// Whether a VPC with these local routes may have this route.
fn allowed(
    context: &mut Context,
    local: &[IpNet],
    written: &Spanned<IpNet>,
    destination: IpNet,
    target: RouteTarget,
) -> bool {
    let report = &mut context.report;
    let IpNet::V4(v4) = destination else {
        report.error(written.span, "IPv6 is not forwarded yet").help("leave the route out");
        return false;
    };
    if cidr::LINK_SERVICES.contains(&v4) {
        report
            .error(written.span, format!("no route may lead into {}", cidr::LINK_SERVICES))
            .help("the range belongs to services of the VPC itself");
        return false;
    }
    let own = local.iter().find(|block| overlap(block, &destination));
    match (target, own) {
        (RouteTarget::Local, Some(block)) if *block == destination => true,
        (RouteTarget::Local, _) if local.is_empty() => false,
        (RouteTarget::Local, _) => {
            report
                .error(written.span, format!("`{destination}` is not a block of the VPC"))
                .help("only the VPC's own blocks are `local`, and they are in every table anyway");
            false
        }
        (_, Some(block)) if block.contains(&destination) => {
            report
                .error(
                    written.span,
                    format!("`{destination}` is inside the VPC, where `{block}` is local"),
                )
                .help(
                    "routes that are equal to or more specific than the local one, as for a \
                     middlebox, are not supported yet",
                );
            false
        }
        _ => true,
    }
}
