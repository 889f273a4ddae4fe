//! Route tables and their routes.

use std::{collections::HashMap, mem};

use ipnet::IpNet;

use super::{
    Report,
    appliance::Appliance,
    cidr,
    context::{Context, Declared},
    names::Target,
    vpc::overlap,
};
use crate::{
    arena::Handle,
    model::{PrefixList, Route, RouteTable, RouteTarget},
    path::Kind,
    spec::{self, Destination, Span, Spanned},
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
    let subnets: Vec<IpNet> = spec
        .subnets
        .iter()
        .filter_map(|subnet| Some(subnet.cidr_block.given()?.value.trunc()))
        .collect();
    for table in &spec.route_tables {
        let path = format!("{}/{}", spec.name.value, table.name.value);
        let id = context.ids.id(&mut context.report, "rtb", &path, table.id.as_ref());
        let blocks = Blocks { local: &local, subnets: &subnets };
        let (routes, count) = routes(context, declared, &blocks, table);
        context.route_counts.push((count, table.name.span));
        let name = table.name.value.clone();
        context.topology.route_tables.push(RouteTable { id, name, vpc: declared.vpc, routes });
    }
    if declared.main_route_table.index() == context.topology.route_tables.len() {
        let path = format!("{}/{MAIN}", spec.name.value);
        context.route_counts.push((0, spec.name.span));
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
    blocks.iter().map(|block| Route {
        destination: *block,
        prefix_list: None,
        target: RouteTarget::Local,
    })
}

fn routes(
    context: &mut Context,
    declared: Declared,
    blocks: &Blocks<'_>,
    table: &spec::RouteTable,
) -> (Vec<Route>, usize) {
    let mut routes: Vec<Route> = local_routes(blocks.local).collect();
    let mut to_lists = Vec::new();
    let mut seen = HashMap::new();
    let mut count = 0;
    for spec in &table.routes {
        count += 1;
        let owner = format!("a route of `{}`", table.name.value);
        let written = context.report.require(&spec.destination, "destination", &owner, spec.span);
        let target = context.report.require(&spec.target, "target", &owner, spec.span);
        let target = target.and_then(|target| self::target(context, declared, target));
        let Some(written) = written else { continue };
        let block = match &written.value {
            Destination::Cidr(block) => Spanned::new(*block, written.span),
            Destination::PrefixList(reference) => {
                let reference = Spanned::new(reference.clone(), written.span);
                let list = context.find_prefix_list(&reference, declared.vpc);
                if let Some(list) = list {
                    // Its entries count, the route to it does not (RT-23); there may be none.
                    count = count + context.topology.prefix_lists[list].max_entries as usize - 1;
                    to_lists.push((reference, list, target));
                }
                continue;
            }
        };
        let destination = cidr::canonical(&mut context.report, &block);
        if let Some(first) = seen.insert(destination, block.value) {
            context
                .report
                .error(
                    written.span,
                    format!("`{}` has two routes to `{destination}`", table.name.value),
                )
                .help(format!("the other one is written `{first}`"));
            continue;
        }
        let Some(target) = target else { continue };
        if !allowed(context, blocks, block.span, destination, target) {
            continue;
        }
        let route = Route { destination, prefix_list: None, target };
        // A local route can be led elsewhere (RT-10).
        match routes.iter_mut().find(|route| route.destination == destination) {
            Some(local) => *local = route,
            None => routes.push(route),
        }
    }
    expand(context, blocks, table, &to_lists, &mut routes);
    (routes, count)
}

/// The routes to prefix lists, as one route for each entry. Where an entry equals a static route,
/// that wins (RT-06); where two lists have the same entry, AWS takes either, and we the first
/// (RT-07).
fn expand(
    context: &mut Context,
    blocks: &Blocks<'_>,
    table: &spec::RouteTable,
    to_lists: &[(Spanned<String>, Handle<PrefixList>, Option<RouteTarget>)],
    routes: &mut Vec<Route>,
) {
    let mut taken: HashMap<IpNet, Route> =
        routes.iter().map(|route| (route.destination, *route)).collect();
    let own = Handle::at(index(context.topology.route_tables.len()));
    for (index, (written, list, target)) in to_lists.iter().enumerate() {
        if to_lists[..index].iter().any(|(_, earlier, _)| earlier == list) {
            let name = &context.topology.prefix_lists[*list].name;
            let message = format!("`{}` has two routes to `prefix_list/{name}`", table.name.value);
            context.report.error(written.span, message).help("a table has one at most");
            continue;
        }
        context.list_routes.insert((own, *list), written.span);
        let Some(target) = *target else { continue };
        let entries = context.topology.prefix_lists[*list].entries.clone();
        for destination in entries {
            let route = Route { destination, prefix_list: Some(*list), target };
            match taken.get(&destination) {
                None => {
                    if !allowed(context, blocks, written.span, destination, target) {
                        break;
                    }
                    taken.insert(destination, route);
                    routes.push(route);
                }
                Some(other) => warn_of_tie(context, written.span, other, target),
            }
        }
    }
}

/// Of two lists with the same entry, AWS takes either (RT-07).
fn warn_of_tie(context: &mut Context, place: Span, first: &Route, target: RouteTarget) {
    let Some(list) = first.prefix_list.filter(|_| first.target != target) else { return };
    let list = &context.topology.prefix_lists[list].name;
    context
        .report
        .warning(place, format!("`{}` is in `prefix_list/{list}` too", first.destination))
        .help("AWS takes either route; here the first in the file counts");
}

/// Adds the routes that a gateway endpoint brings into a table (EP-03), after all others. Of equal
/// destinations, a static route wins (RT-06, RT-08), and so does a list that came first (RT-07).
pub(super) fn add_of_endpoint(
    context: &mut Context,
    place: Span,
    table: Handle<RouteTable>,
    list: Handle<PrefixList>,
    target: RouteTarget,
) {
    let PrefixList { entries, max_entries, .. } = context.topology.prefix_lists[list].clone();
    context.route_counts[table.index()].0 += max_entries as usize;
    let local = &context.topology.vpcs[context.topology.route_tables[table].vpc].cidr_blocks;
    let blocks = Blocks { local: &local.clone(), subnets: &[] };
    let mut routes = mem::take(&mut context.topology.route_tables[table].routes);
    let taken: HashMap<IpNet, Route> =
        routes.iter().map(|route| (route.destination, *route)).collect();
    for destination in entries {
        match taken.get(&destination) {
            Some(other) => warn_of_tie(context, place, other, target),
            None if allowed(context, &blocks, place, destination, target) => {
                routes.push(Route { destination, prefix_list: Some(list), target });
            }
            None => break,
        }
    }
    context.topology.route_tables[table].routes = routes;
}

/// Holds the tables against the quota; a prefix list counts as its `max_entries` (RT-23).
pub(super) fn check_counts(context: &mut Context) {
    for (count, place) in &context.route_counts {
        if *count > MOST_ROUTES {
            context
                .report
                .error(*place, format!("{count} routes; a table has at most {MOST_ROUTES}"));
        } else if *count > USUAL_ROUTES {
            context.report.warning(
                *place,
                format!("{count} routes; AWS allows {USUAL_ROUTES} unless the quota is raised"),
            );
        }
    }
}

/// Where a table that is being built will stand.
fn index(tables: usize) -> u32 {
    u32::try_from(tables).expect("counted when it was declared")
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
    let kinds =
        [Kind::InternetGateway, Kind::NatGateway, Kind::VpcPeeringConnection, Kind::Instance];
    match find(context, target, &kinds, declared)? {
        Target::InternetGateway(gateway) => Some(RouteTarget::InternetGateway(gateway)),
        Target::NatGateway(gateway) => {
            context.nat_routes.push((target.span, gateway));
            Some(RouteTarget::NatGateway(gateway))
        }
        Target::VpcPeeringConnection(peering) => {
            let ends = context.peerings[peering.index()];
            if ends.is_some_and(|ends| !ends.contains(&declared.vpc)) {
                let vpc = &context.topology.vpcs[declared.vpc].name;
                context
                    .report
                    .error(target.span, format!("`{}` does not join VPC `{vpc}`", target.value))
                    .help("a route leads to a peering connection of its own VPC");
                return None;
            }
            Some(RouteTarget::VpcPeeringConnection(peering))
        }
        Target::Instance(instance) => {
            let table = Handle::at(index(context.topology.route_tables.len()));
            context.appliances.push(Appliance { span: target.span, table, instance });
            Some(RouteTarget::Instance(instance))
        }
        _ => None,
    }
}

/// What a route's target means. An endpoint is none: AWS refuses it, too (EP-03).
fn find(
    context: &mut Context,
    target: &Spanned<String>,
    kinds: &[Kind],
    declared: Declared,
) -> Option<Target> {
    let scope = Some(declared.vpc);
    let names = &context.names;
    let miss = match names.find(&target.value, kinds, scope) {
        Ok(found) => return Some(found),
        Err(miss) => miss,
    };
    if names.find(&target.value, &[Kind::VpcEndpoint], scope).is_ok() {
        context
            .report
            .error(target.span, format!("`{}` cannot be the target of a route", target.value))
            .help(
                "a gateway endpoint brings the routes of its `route_tables` itself, \
                 an interface endpoint needs none",
            );
    } else {
        context.miss(target.span, miss);
    }
    None
}

/// What the destinations of a VPC's routes are held against.
struct Blocks<'b> {
    /// The VPC's own.
    local: &'b [IpNet],
    subnets: &'b [IpNet],
}

/// Whether a VPC with these blocks may have this route.
fn allowed(
    context: &mut Context,
    blocks: &Blocks<'_>,
    place: Span,
    destination: IpNet,
    target: RouteTarget,
) -> bool {
    let report = &mut context.report;
    let IpNet::V4(v4) = destination else {
        report.error(place, "IPv6 is not forwarded yet").help("leave the route out");
        return false;
    };
    if cidr::LINK_SERVICES.contains(&v4) {
        report
            .error(place, format!("no route may lead into {}", cidr::LINK_SERVICES))
            .help("the range belongs to services of the VPC itself");
        return false;
    }
    let own = blocks.local.iter().find(|block| overlap(block, &destination));
    match (target, own) {
        (RouteTarget::Local, Some(block)) if *block == destination => true,
        (RouteTarget::Local, _) if blocks.local.is_empty() => false,
        (RouteTarget::Local, _) => {
            report
                .error(place, format!("`{destination}` is not a block of the VPC"))
                .help("only the VPC's own blocks are `local`, and they are in every table anyway");
            false
        }
        (_, Some(block)) if block.contains(&destination) => {
            let problem = format!("`{destination}` is inside the VPC, where `{block}` is local");
            // A blackhole is what such a route becomes when its target is gone.
            let steers = matches!(
                target,
                RouteTarget::NatGateway(_) | RouteTarget::Instance(_) | RouteTarget::Blackhole
            );
            if !steers {
                report
                    .error(place, problem)
                    .help("within the VPC, routes lead to a NAT gateway or an instance");
            } else if *block != destination && !blocks.subnets.contains(&destination) {
                report
                    .error(place, problem)
                    .help("a route within the VPC is for a whole subnet or a whole block");
            } else {
                return true;
            }
            false
        }
        _ => true,
    }
}
