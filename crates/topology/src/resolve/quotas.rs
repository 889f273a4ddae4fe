//! Quotas: what AWS allows unless somebody has asked for more.
//!
//! All of them can be raised, so they are warnings. What belongs to a single object is counted where
//! that is built (rules, routes, groups of an interface); here is what is counted by VPC, by account
//! and by zone.

use std::collections::HashMap;

use super::{Report, context::Context};
use crate::{
    model::{NatGatewayState, VpcEndpointKind},
    spec::{self, Span, Spanned},
};

/// Route tables of a VPC, the main one included (RT-25).
const ROUTE_TABLES: usize = 200;

/// Network ACLs of a VPC (ACL-20).
const NETWORK_ACLS: usize = 200;

/// Interface endpoints of a VPC, and gateway endpoints of an account (EP-19).
const INTERFACE_ENDPOINTS: usize = 50;
const GATEWAY_ENDPOINTS: usize = 20;

/// Security groups of an account (SG-30).
const SECURITY_GROUPS: usize = 2500;

/// NAT gateways of an account in a zone (NAT-26).
const NAT_GATEWAYS: usize = 5;

/// Holds a topology against the quotas.
pub(super) fn check(context: &mut Context, specs: &[spec::Vpc]) {
    let Context { topology, report, vpcs, .. } = context;
    // By the VPC's handle: how many there are.
    let per_vpc = |of: &mut dyn Iterator<Item = usize>| {
        let mut counts = vec![0; specs.len()];
        of.for_each(|vpc| counts[vpc] += 1);
        counts
    };
    let tables = per_vpc(&mut topology.route_tables.values().map(|it| it.vpc.index()));
    let acls = per_vpc(&mut topology.network_acls.values().map(|it| it.vpc.index()));
    let endpoints = |interface: bool| {
        let wanted = move |kind: &VpcEndpointKind| {
            matches!(kind, VpcEndpointKind::Interface { .. }) == interface
        };
        topology.vpc_endpoints.values().filter(move |it| wanted(&it.kind)).map(|it| it.vpc.index())
    };
    let interface = per_vpc(&mut endpoints(true));
    let gateway = per_vpc(&mut endpoints(false));

    let mut by_account = Accounts::default();
    for (index, (spec, declared)) in specs.iter().zip(&*vpcs).enumerate() {
        let Spanned { value: name, span } = &spec.name;
        for (count, most, nouns) in [
            (tables[index], ROUTE_TABLES, "route tables"),
            (acls[index], NETWORK_ACLS, "network ACLs"),
            (interface[index], INTERFACE_ENDPOINTS, "interface endpoints"),
        ] {
            if count > most {
                warn(report, *span, format!("VPC `{name}` has {count} {nouns}"), most);
            }
        }
        let account = &topology.vpcs[declared.vpc].account;
        by_account.add(
            report,
            account,
            *span,
            gateway[index],
            GATEWAY_ENDPOINTS,
            "gateway endpoints",
        );
    }

    // Whoever has made a group has it in the quota (SHR-08).
    for group in topology.security_groups.values() {
        let place = specs[group.vpc.index()].name.span;
        by_account.add(report, &group.account, place, 1, SECURITY_GROUPS, "security groups");
    }

    // Where something was refused, a gateway's subnet may be one that stands in for it.
    if report.has_errors() {
        return;
    }
    let specs = specs.iter().flat_map(|vpc| &vpc.nat_gateways);
    for (spec, gateway) in specs.zip(topology.nat_gateways.values()) {
        if matches!(gateway.state, NatGatewayState::Failed | NatGatewayState::Deleted) {
            continue;
        }
        let subnet = &topology.subnets[gateway.subnet];
        let account = &topology.vpcs[subnet.vpc].account;
        let what = format!("NAT gateways in zone `{}`", subnet.availability_zone);
        by_account.add(report, account, spec.name.span, 1, NAT_GATEWAYS, &what);
    }
}

/// How many of something each account has.
#[derive(Default)]
pub(super) struct Accounts(HashMap<(String, String), usize>);

impl Accounts {
    /// Counts some more, and warns where they become too many.
    pub(super) fn add(
        &mut self,
        report: &mut Report,
        account: &str,
        place: Span,
        more: usize,
        most: usize,
        nouns: &str,
    ) {
        let count = self.0.entry((account.to_owned(), nouns.to_owned())).or_default();
        let before = *count;
        *count += more;
        if before <= most && *count > most {
            warn(report, place, format!("account {account} has {count} {nouns}"), most);
        }
    }
}

pub(super) fn warn(report: &mut Report, place: Span, message: String, most: usize) {
    report.warning(place, message).help(format!("AWS allows {most} unless the quota is raised"));
}
