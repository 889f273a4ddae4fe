//! Security groups and their rules.

use ipnet::IpNet;

use super::{
    cidr,
    context::{Context, DEFAULT, Declared},
    names::Target,
    sharing,
};
use crate::{
    arena::Handle,
    model::{SecurityGroup, SgPeer, SgRule, Topology, Traffic},
    path::Kind,
    spec::{self, References, Span, Spanned},
};

/// Rules in a direction, for IPv4 and IPv6 apart (SG-30).
const USUAL_RULES: usize = 60;

/// Rules of a group times groups of an interface (SG-30).
const MOST_RULES_ON_INTERFACE: usize = 1000;

/// Builds the security groups of a VPC.
pub(super) fn build(context: &mut Context, declared: Declared, spec: &spec::Vpc) {
    for group in &spec.security_groups {
        if group.name.value.starts_with("sg-") {
            context
                .report
                .error(group.name.span, format!("`{}` looks like an id", group.name.value))
                .help("AWS refuses names that begin with `sg-`; an id goes into `id:`");
        }
        let path = format!("{}/{}", spec.name.value, group.name.value);
        let own = context.topology.security_groups.len();
        let own = Handle::at(u32::try_from(own).expect("counted when it was declared"));
        let default = group.name.value == DEFAULT;
        let account = sharing::owner_of_group(context, declared.vpc, spec, group);
        let ingress = match &group.ingress {
            Some(rules) => self::rules(context, declared, &account, group, rules, "ingress"),
            None if default => vec![from_itself(own)],
            None => Vec::new(),
        };
        let egress = match &group.egress {
            Some(rules) => self::rules(context, declared, &account, group, rules, "egress"),
            None => vec![to_anywhere()],
        };
        context.topology.security_groups.push(SecurityGroup {
            id: context.ids.id(&mut context.report, "sg", &path, group.id.as_ref()),
            name: group.name.value.clone(),
            vpc: declared.vpc,
            account,
            ingress,
            egress,
        });
    }
    if declared.default_security_group.index() == context.topology.security_groups.len() {
        let path = format!("{}/{DEFAULT}", spec.name.value);
        context.topology.security_groups.push(SecurityGroup {
            id: context.ids.id(&mut context.report, "sg", &path, None),
            name: DEFAULT.to_owned(),
            vpc: declared.vpc,
            account: context.topology.vpcs[declared.vpc].account.clone(),
            ingress: vec![from_itself(declared.default_security_group)],
            egress: vec![to_anywhere()],
        });
    }
}

/// What the default group accepts (SG-05).
const fn from_itself(own: Handle<SecurityGroup>) -> SgRule {
    SgRule { traffic: Traffic::All, peer: SgPeer::Group(own) }
}

/// Where a new group lets its interfaces connect to (SG-02, SG-05).
const fn to_anywhere() -> SgRule {
    SgRule { traffic: Traffic::All, peer: SgPeer::Cidr(cidr::ANYWHERE) }
}

fn rules(
    context: &mut Context,
    declared: Declared,
    account: &str,
    group: &spec::SecurityGroup,
    given: &[spec::SgRule],
    direction: &str,
) -> Vec<SgRule> {
    let name = &group.name.value;
    if let Some(extra) = given.get(MOST_RULES_ON_INTERFACE) {
        context
            .report
            .error(
                extra.span,
                format!("security group `{name}` has {} {direction} rules", given.len()),
            )
            .help(format!("AWS allows {MOST_RULES_ON_INTERFACE} at most"));
    }
    let mut rules: Vec<SgRule> = Vec::with_capacity(given.len());
    for spec in given.iter().take(MOST_RULES_ON_INTERFACE) {
        let span = spec.peer.span;
        let peer = match &spec.peer.value {
            spec::SgPeer::Cidr(block) => {
                SgPeer::Cidr(cidr::canonical(&mut context.report, &Spanned::new(*block, span)))
            }
            spec::SgPeer::Reference(reference) => {
                let reference = Spanned::new(reference.clone(), span);
                match peer(context, declared, account, &reference) {
                    Some(peer) => peer,
                    None => continue,
                }
            }
        };
        let rule = SgRule { traffic: spec.traffic, peer };
        if rules.contains(&rule) {
            context
                .report
                .error(
                    spec.span,
                    format!("security group `{name}` has this {direction} rule twice"),
                )
                .help("AWS refuses duplicates; remove one");
            continue;
        }
        rules.push(rule);
    }
    warn_of_many(context, group, &rules, direction);
    rules
}

/// The group or prefix list that a rule of an account's group names.
fn peer(
    context: &mut Context,
    declared: Declared,
    account: &str,
    reference: &Spanned<String>,
) -> Option<SgPeer> {
    if let Some(found) = sharing::peer_group(context, declared, account, reference) {
        return found.ok();
    }
    let kinds = [Kind::SecurityGroup, Kind::PrefixList];
    let found = context.names.find_across(&reference.value, &kinds, declared.vpc);
    match found.map_err(|miss| context.miss(reference.span, miss)).ok()? {
        Target::SecurityGroup(group) => Some(SgPeer::Group(group)),
        Target::PrefixList(list) => Some(SgPeer::PrefixList(list)),
        _ => None,
    }
}

fn warn_of_many(
    context: &mut Context,
    group: &spec::SecurityGroup,
    rules: &[SgRule],
    direction: &str,
) {
    let weight = |v6| rules.iter().map(|rule| weight(&context.topology, rule, v6)).sum::<usize>();
    let most = weight(false).max(weight(true));
    if most > USUAL_RULES {
        let name = &group.name.value;
        let lists = rules.iter().any(|rule| matches!(rule.peer, SgPeer::PrefixList(_)));
        let counts = if lists { "; a prefix list counts as its `max_entries`" } else { "" };
        context
            .report
            .warning(
                group.name.span,
                format!("security group `{name}` has {most} {direction} rules"),
            )
            .help(format!("AWS allows {USUAL_RULES} unless the quota is raised{counts}"));
    }
}

/// What a rule counts for among the IPv4 or the IPv6 rules of a direction (SG-31).
fn weight(topology: &Topology, rule: &SgRule, v6: bool) -> usize {
    let of = |block: &IpNet| matches!(block, IpNet::V6(_)) == v6;
    match rule.peer {
        SgPeer::Cidr(block) => usize::from(of(&block)),
        SgPeer::Group(_) => 1,
        SgPeer::PrefixList(list) => {
            let list = &topology.prefix_lists[list];
            let counts = list.entries.first().map_or(!v6, of);
            if counts { list.max_entries as usize } else { 0 }
        }
    }
}

/// The groups of an interface: `usual` without a raised quota, `most` at all.
pub(super) struct Limits {
    pub(super) usual: usize,
    pub(super) most: usize,
}

/// The groups that a list of references means, without repetition.
///
/// `groups` finds one; it decides in which VPC.
pub(super) fn of_interface(
    context: &mut Context,
    owner: &str,
    given: &Spanned<References>,
    limits: &Limits,
    mut find: impl FnMut(&mut Context, &Spanned<String>) -> Option<Handle<SecurityGroup>>,
) -> Vec<Handle<SecurityGroup>> {
    let mut groups = Vec::with_capacity(given.value.len());
    for reference in &given.value {
        let Some(group) = find(context, reference) else { continue };
        if groups.contains(&group) {
            let message = format!("{owner} has the group `{}` twice", reference.value);
            context.report.warning(reference.span, message);
        } else {
            groups.push(group);
        }
    }
    check_counts(context, owner, given.span, &groups, limits);
    groups
}

fn check_counts(
    context: &mut Context,
    owner: &str,
    span: Span,
    groups: &[Handle<SecurityGroup>],
    limits: &Limits,
) {
    let Limits { usual, most } = *limits;
    let count = groups.len();
    if count > most {
        context.report.error(span, format!("{owner} has {count} groups; {most} are the most"));
    } else if count > usual {
        let message =
            format!("{owner} has {count} groups; AWS allows {usual} unless the quota is raised");
        context.report.warning(span, message);
    }
    let topology = &context.topology;
    let longest = |group: &Handle<SecurityGroup>| {
        let group = &topology.security_groups[*group];
        let weight = |rules: &[SgRule]| -> usize {
            rules.iter().map(|rule| weight(topology, rule, false)).sum()
        };
        weight(&group.ingress).max(weight(&group.egress))
    };
    let rules = groups.iter().map(longest).max().unwrap_or(0);
    if rules * count > MOST_RULES_ON_INTERFACE {
        context
            .report
            .warning(span, format!("{owner} has {count} groups of up to {rules} rules"))
            .help(format!("AWS allows at most {MOST_RULES_ON_INTERFACE} as their product"));
    }
}
