//! Subnets: inside their VPC, apart from each other.

use ipnet::IpNet;

use super::{
    cidr,
    context::{Context, Declared},
    names::Target,
    sharing,
};
use crate::{
    model::{OnUnshare, Subnet},
    path::Kind,
    spec::{self, Span},
};

/// The zone of a subnet that names none.
const DEFAULT_ZONE: &str = "a";

/// Builds the subnets of a VPC.
pub(super) fn build(context: &mut Context, declared: Declared, spec: &spec::Vpc) {
    let mut blocks = Vec::new();
    for subnet in &spec.subnets {
        let block = block(context, declared, spec, subnet);
        if let (Some(block), Some(given)) = (block, subnet.cidr_block.given()) {
            blocks.push(Placed { block, name: &subnet.name.value, span: given.span });
        }
        one(context, declared, spec, subnet, block);
    }
    report_overlaps(context, blocks);
}

fn one(
    context: &mut Context,
    declared: Declared,
    vpc: &spec::Vpc,
    spec: &spec::Subnet,
    block: Option<IpNet>,
) {
    let path = format!("{}/{}", vpc.name.value, spec.name.value);
    let id = context.ids.id(&mut context.report, "subnet", &path, spec.id.as_ref());
    let scope = Some(declared.vpc);
    let route_table = spec.route_table.as_ref();
    let route_table =
        route_table.and_then(|reference| context.find_route_table(reference, declared.vpc));
    let network_acl = spec.network_acl.as_ref().and_then(|reference| {
        match context.find(reference, &[Kind::NetworkAcl], scope)? {
            Target::NetworkAcl(acl) => Some(acl),
            _ => None,
        }
    });
    let availability_zone = zone(context, spec);
    let shared_with = sharing::participants(context, declared.vpc, spec);
    context.subnet_blocks.push(block);
    context.subnet_places.push(spec.name.span);
    context.topology.subnets.push(Subnet {
        id,
        name: spec.name.value.clone(),
        vpc: declared.vpc,
        cidr_block: block.unwrap_or(cidr::NOWHERE),
        availability_zone,
        route_table: route_table.unwrap_or(declared.main_route_table),
        network_acl: network_acl.unwrap_or(declared.default_network_acl),
        shared_with,
        on_unshare: spec.on_unshare.as_ref().map_or_else(OnUnshare::default, |it| it.value),
    });
}

fn zone(context: &mut Context, spec: &spec::Subnet) -> String {
    let Some(zone) = &spec.availability_zone else { return DEFAULT_ZONE.to_owned() };
    let letters = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if zone.value.is_empty() || !zone.value.chars().all(letters) {
        context
            .report
            .error(zone.span, format!("`{}` is not an availability zone", zone.value))
            .help("write a zone's letter or its name, such as `a` or `eu-central-1a`");
    }
    zone.value.clone()
}

/// The subnet's block, if it may be one of this VPC.
fn block(
    context: &mut Context,
    declared: Declared,
    vpc: &spec::Vpc,
    spec: &spec::Subnet,
) -> Option<IpNet> {
    let report = &mut context.report;
    let owner = format!("subnet `{}`", spec.name.value);
    let written = report.require(&spec.cidr_block, "cidr_block", &owner, spec.name.span)?;
    if written.value.addr().is_ipv6() {
        report
            .error(written.span, "IPv6 is not forwarded yet")
            .help("give the subnet an IPv4 block");
        return None;
    }
    let block = cidr::canonical(report, written);
    if !(16..=28).contains(&block.prefix_len()) {
        report
            .error(written.span, format!("a subnet's block cannot be a /{}", block.prefix_len()))
            .help("it is a /16 at the largest and a /28 at the smallest");
    }
    let blocks = &context.topology.vpcs[declared.vpc].cidr_blocks;
    if !blocks.is_empty() && !blocks.iter().any(|of_vpc| of_vpc.contains(&block)) {
        let blocks: Vec<String> = blocks.iter().map(|block| format!("`{block}`")).collect();
        report
            .error(written.span, format!("`{block}` is outside VPC `{}`", vpc.name.value))
            .help(format!("the VPC has {}", blocks.join(", ")));
    }
    Some(block)
}

/// A block and where it was written.
struct Placed<'s> {
    block: IpNet,
    name: &'s str,
    span: Span,
}

/// Reports every block that another one overlaps, at the later of the two.
///
/// Blocks either nest or are apart. Sorted by address, larger first, a block overlaps an earlier one
/// exactly if the one reaching furthest so far contains it, so one pass finds them all.
fn report_overlaps(context: &mut Context, mut blocks: Vec<Placed<'_>>) {
    blocks.sort_by_key(|placed| (placed.block.network(), placed.block.prefix_len(), placed.span));
    let mut widest: Option<&Placed<'_>> = None;
    for placed in &blocks {
        match widest {
            Some(outer) if outer.block.contains(&placed.block) => {
                let (first, second) =
                    if outer.span <= placed.span { (outer, placed) } else { (placed, outer) };
                context.report.error(
                    second.span,
                    format!(
                        "`{}` overlaps `{}` of subnet `{}`",
                        second.block, first.block, first.name
                    ),
                );
            }
            _ => widest = Some(placed),
        }
    }
}
