//! From the tree to a specification.

mod condition;
mod fields;
pub(crate) mod keys;
mod network;
mod pattern;
pub(crate) mod policy;
mod rules;
mod scalar;
mod settings;

use viaduct_topology::{
    Report,
    iam::Policy,
    spec::{Expectation, Function, InternetHost, Organization, Principal, Role, Spec, Verdict},
};

use crate::tree::{Node, Value};
use fields::{Entry, Name, fields, items, named, optional, required};

/// Reads a whole topology.
pub(crate) fn topology(root: &Node, report: &mut Report) -> Spec {
    if let Value::Null = root.value {
        report
            .warning(root.span, "the topology is empty")
            .help(format!("it has the keys {}", fields::quoted(&keys::TOPOLOGY.keys)));
    }
    let [
        settings,
        organization,
        prefix_lists,
        vpcs,
        peerings,
        roles,
        principals,
        functions,
        services,
        internet,
        expect,
    ] = fields(report, root, &keys::TOPOLOGY);
    Spec {
        settings: settings::settings(report, settings),
        organization: self::organization(report, organization),
        prefix_lists: named(report, prefix_lists, "prefix lists", network::prefix_list),
        vpcs: named(report, vpcs, "VPCs", network::vpc),
        vpc_peering_connections: named(
            report,
            peerings,
            "peering connections",
            network::vpc_peering_connection,
        ),
        roles: named(report, roles, "roles", role),
        principals: named(report, principals, "principals", principal),
        functions: named(report, functions, "functions", function),
        services: named(report, services, "services", network::service),
        internet: named(report, internet, "internet hosts", internet_host),
        expect: items(report, expect, "expectations", expectation).unwrap_or_default(),
    }
}

fn organization(report: &mut Report, entry: Entry<'_>) -> Organization {
    let Entry::Present(node) = entry else { return Organization::default() };
    let [accounts] = fields(report, node, &keys::ORGANIZATION);
    Organization { accounts: required(report, accounts, scalar::accounts) }
}

fn function(report: &mut Report, name: Name, node: &Node) -> Function {
    let [subnets, groups, account, environments, role] = fields(report, node, &keys::FUNCTION);
    Function {
        name,
        account: optional(report, account, scalar::text),
        subnets: required(report, subnets, scalar::references),
        security_groups: required(report, groups, scalar::references),
        environments: required(report, environments, scalar::number),
        role: optional(report, role, scalar::text),
    }
}

fn role(report: &mut Report, name: Name, node: &Node) -> Role {
    let [account, policies] = fields(report, node, &keys::ROLE);
    Role {
        name,
        account: optional(report, account, scalar::text),
        policies: self::policies(report, policies),
    }
}

fn principal(report: &mut Report, name: Name, node: &Node) -> Principal {
    let [account, policies] = fields(report, node, &keys::PRINCIPAL);
    Principal {
        access_key_id: name,
        account: optional(report, account, scalar::text),
        policies: self::policies(report, policies),
    }
}

fn policies(report: &mut Report, entry: Entry<'_>) -> Vec<Policy> {
    items(report, entry, "policies", policy::policy_or_name).unwrap_or_default()
}

fn internet_host(report: &mut Report, name: Name, node: &Node) -> InternetHost {
    let [ip] = fields(report, node, &keys::INTERNET_HOST);
    InternetHost { name, ip: required(report, ip, scalar::ip) }
}

fn expectation(report: &mut Report, node: &Node) -> Option<Expectation> {
    let [from, to, port, verdict, because] = fields(report, node, &keys::EXPECTATION);
    Some(Expectation {
        span: node.span,
        from: required(report, from, scalar::text),
        to: required(report, to, scalar::text),
        port: required(report, port, scalar::text),
        verdict: required(report, verdict, |report, node| {
            scalar::word(report, node, &[("allow", Verdict::Allow), ("deny", Verdict::Deny)])
        }),
        because: optional(report, because, scalar::text),
    })
}
