//! VPCs: their blocks, and all that is in them.

use ipnet::IpNet;

use super::{
    account, acl, cidr,
    context::{Context, Declared},
    endpoint, gateway, gateway_table, instance, routes, security_group, subnet,
};
use crate::{
    model::Vpc,
    spec::{self, Spanned},
};

/// Blocks a VPC has by default, and at most (ADR-03).
const USUAL_BLOCKS: usize = 5;
const MOST_BLOCKS: usize = 50;

/// Builds the VPC and everything in it.
pub(super) fn build(context: &mut Context, index: usize, spec: &spec::Vpc) {
    let declared = context.vpcs[index];
    let name = &spec.name.value;
    let id = context.ids.id(&mut context.report, "vpc", name, spec.id.as_ref());
    let cidr_blocks = blocks(context, spec);
    let internet_gateway = gateway::build_internet_gateway(context, declared.vpc, spec);
    context.topology.vpcs.push(Vpc {
        id,
        name: name.clone(),
        account: account::or_default(&mut context.report, spec.account.as_ref()),
        cidr_blocks,
        main_route_table: declared.main_route_table,
        default_network_acl: declared.default_network_acl,
        default_security_group: declared.default_security_group,
        internet_gateway,
    });
    contents(context, declared, spec);
}

/// In an order in which everything finds what it needs: instances their subnets, subnets nothing.
fn contents(context: &mut Context, declared: Declared, spec: &spec::Vpc) {
    routes::build(context, declared, spec);
    acl::build(context, declared, spec);
    security_group::build(context, declared, spec);
    subnet::build(context, declared, spec);
    for gateway in &spec.nat_gateways {
        gateway::build_nat_gateway(context, declared.vpc, spec, gateway);
    }
    for instance in &spec.instances {
        instance::build(context, declared, spec, instance);
    }
    endpoint::build(context, declared, spec);
    gateway_table::check(context, declared, spec);
}

/// The VPC's blocks, canonical; empty if they were refused.
fn blocks(context: &mut Context, spec: &spec::Vpc) -> Vec<IpNet> {
    let report = &mut context.report;
    let owner = format!("VPC `{}`", spec.name.value);
    let Some(given) = report.require(&spec.cidr_blocks, "cidr_blocks", &owner, spec.name.span)
    else {
        return Vec::new();
    };
    if given.value.is_empty() {
        report
            .error(given.span, format!("{owner} has no block"))
            .help("name at least one, such as `10.0.0.0/16`");
    }
    if given.value.len() > MOST_BLOCKS {
        report.error(
            given.span,
            format!("{owner} has {} blocks; {MOST_BLOCKS} are the most", given.value.len()),
        );
    } else if given.value.len() > USUAL_BLOCKS {
        report.warning(
            given.span,
            format!(
                "{owner} has {} blocks; AWS allows {USUAL_BLOCKS} unless the quota is raised",
                given.value.len()
            ),
        );
    }

    let mut blocks: Vec<IpNet> = Vec::new();
    for written in given.value.iter().take(MOST_BLOCKS) {
        let Some(block) = block(context, written) else { continue };
        if let Some(other) = blocks.iter().find(|other| overlap(other, &block)) {
            let message = format!("`{block}` overlaps `{other}` of the same VPC");
            context.report.error(written.span, message);
        }
        blocks.push(block);
    }
    blocks
}

/// One block of a VPC.
fn block(context: &mut Context, written: &Spanned<IpNet>) -> Option<IpNet> {
    let report = &mut context.report;
    let IpNet::V4(block) = written.value else {
        report
            .error(written.span, "IPv6 is not forwarded yet")
            .help("give the VPC IPv4 blocks only");
        return None;
    };
    let canonical = cidr::canonical(report, written);
    if !(16..=28).contains(&block.prefix_len()) {
        report
            .error(written.span, format!("a VPC's block cannot be a /{}", block.prefix_len()))
            .help("it is a /16 at the largest and a /28 at the smallest");
    }
    if let Some(what) = cidr::unusable_in_vpc(block.trunc()) {
        report.error(written.span, format!("`{canonical}` cannot be a VPC's block: it {what}"));
    }
    Some(canonical)
}

/// Whether the blocks have an address in common.
pub(super) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}
