//! Network ACLs: numbered rules, ascending.

use std::collections::HashSet;

use super::{
    cidr,
    context::{Context, DEFAULT, Declared},
};
use crate::{
    model::{AclAction, AclRule, NetworkAcl, Traffic},
    spec,
};

/// The numbers that rules may have (ACL-02); those above are AWS's own (ACL-04).
const LAST_NUMBER: u16 = 32_766;

/// Rules in a direction by default, and at most (ACL-20).
const USUAL_RULES: usize = 20;
const MOST_RULES: usize = 40;

/// Builds the network ACLs of a VPC.
pub(super) fn build(context: &mut Context, declared: Declared, spec: &spec::Vpc) {
    for acl in &spec.network_acls {
        let path = format!("{}/{}", spec.name.value, acl.name.value);
        let id = context.ids.id(&mut context.report, "acl", &path, acl.id.as_ref());
        let ingress = direction(context, acl, acl.ingress.as_deref(), "ingress");
        let egress = direction(context, acl, acl.egress.as_deref(), "egress");
        let name = acl.name.value.clone();
        context.topology.network_acls.push(NetworkAcl {
            id,
            name,
            vpc: declared.vpc,
            ingress,
            egress,
        });
    }
    if declared.default_network_acl.index() == context.topology.network_acls.len() {
        let path = format!("{}/{DEFAULT}", spec.name.value);
        context.topology.network_acls.push(NetworkAcl {
            id: context.ids.id(&mut context.report, "acl", &path, None),
            name: DEFAULT.to_owned(),
            vpc: declared.vpc,
            ingress: vec![allow_all()],
            egress: vec![allow_all()],
        });
    }
}

/// What AWS puts into a VPC's default ACL (ACL-05).
const fn allow_all() -> AclRule {
    AclRule {
        number: 100,
        action: AclAction::Allow,
        traffic: Traffic::All,
        cidr_block: cidr::ANYWHERE,
    }
}

fn direction(
    context: &mut Context,
    acl: &spec::NetworkAcl,
    given: Option<&[spec::AclRule]>,
    direction: &str,
) -> Vec<AclRule> {
    let name = &acl.name.value;
    let Some(given) = given else {
        // A new ACL has no rules at all (ACL-06), except the VPC's own.
        return if name == DEFAULT { vec![allow_all()] } else { Vec::new() };
    };
    let report = &mut context.report;
    let count = given.len();
    let many = || format!("network ACL `{name}` has {count} {direction} rules");
    if count > MOST_RULES {
        report
            .error(given[MOST_RULES].number.span, many())
            .help(format!("AWS allows {MOST_RULES} at most"));
    } else if count > USUAL_RULES {
        report
            .warning(given[USUAL_RULES].number.span, many())
            .help(format!("AWS allows {USUAL_RULES} unless the quota is raised"));
    }

    let mut rules = Vec::with_capacity(given.len());
    let mut numbers = HashSet::new();
    for rule in given {
        let number = u16::try_from(rule.number.value).ok();
        let number = number.filter(|number| (1..=LAST_NUMBER).contains(number));
        let cidr_block = cidr::canonical(report, &rule.cidr_block);
        let Some(number) = number else {
            let help = if rule.number.value > u32::from(LAST_NUMBER) {
                format!("rules are numbered 1 to {LAST_NUMBER}; AWS keeps the numbers above")
            } else {
                format!("rules are numbered 1 to {LAST_NUMBER}")
            };
            report
                .error(rule.number.span, format!("no rule can have number {}", rule.number.value))
                .help(help);
            continue;
        };
        if !numbers.insert(number) {
            report.error(
                rule.number.span,
                format!("network ACL `{name}` has two {direction} rules with number {number}"),
            );
        }
        rules.push(AclRule { number, action: rule.action, traffic: rule.traffic, cidr_block });
    }
    rules.sort_by_key(|rule| rule.number);
    rules
}
