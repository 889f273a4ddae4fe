//! Functions.

use std::collections::{HashMap, HashSet};

use super::{
    account,
    context::Context,
    names::Miss,
    security_group::{self, Limits},
};
use crate::{
    arena::Handle,
    model::{Function, SecurityGroup, Subnet, Vpc},
    path::Kind,
    spec::{self, Field, References, Spanned},
};

/// Subnets of a function (LAM-15).
const MOST_SUBNETS: usize = 16;

/// Groups of a function (LAM-15).
const GROUPS: Limits = Limits { usual: 5, most: 5 };

/// Environments of a function.
const MOST_ENVIRONMENTS: u32 = 10_000;

/// Builds a function.
pub(super) fn build(context: &mut Context, spec: &spec::Function) {
    let noun = format!("function `{}`", spec.name.value);
    let subnets = context.report.require(&spec.subnets, "subnets", &noun, spec.name.span);
    let subnets = subnets.map_or(Vec::new(), |given| self::subnets(context, &noun, given));
    let vpc = subnets.first().map(|subnet| context.topology.subnets[*subnet].vpc);
    let groups =
        context.report.require(&spec.security_groups, "security_groups", &noun, spec.name.span);
    let groups = groups.map_or(Vec::new(), |given| self::groups(context, &noun, given, vpc));
    let function = Function {
        name: spec.name.value.clone(),
        account: account::of_function(context, spec, vpc),
        subnets,
        security_groups: groups,
        environments: environments(context, spec),
        role: spec.role.as_ref().and_then(|role| context.find_role(role)),
    };
    context.plan_interfaces(&function, spec);
    context.topology.functions.push(function);
}

/// The subnets, without repetition and of one VPC (LAM-16).
fn subnets(context: &mut Context, noun: &str, given: &Spanned<References>) -> Vec<Handle<Subnet>> {
    let count = given.value.len();
    if count == 0 || count > MOST_SUBNETS {
        context
            .report
            .error(given.span, format!("{noun} has {count} subnets"))
            .help(format!("it has at least one and at most {MOST_SUBNETS}"));
    }
    let mut subnets: Vec<Handle<Subnet>> = Vec::with_capacity(count);
    for reference in &given.value {
        let Some(subnet) = context.find_subnet(reference, None) else { continue };
        if subnets.contains(&subnet) {
            let message = format!("{noun} has the subnet `{}` twice", reference.value);
            context.report.warning(reference.span, message);
            continue;
        }
        let vpc_of = |subnet: Handle<Subnet>| context.topology.subnets[subnet].vpc;
        let vpc = vpc_of(subnet);
        if let Some(first) = subnets.first().map(|first| vpc_of(*first))
            && first != vpc
        {
            let vpcs = &context.topology.vpcs;
            let message = format!(
                "{noun} has subnets of two VPCs, `{}` and `{}`",
                vpcs[first].name, vpcs[vpc].name
            );
            context.report.error(reference.span, message).help("all are to be of one VPC");
            continue;
        }
        subnets.push(subnet);
    }
    subnets
}

/// The groups, sorted and of the subnets' VPC (LAM-03, LAM-16).
fn groups(
    context: &mut Context,
    noun: &str,
    given: &Spanned<References>,
    vpc: Option<Handle<Vpc>>,
) -> Vec<Handle<SecurityGroup>> {
    if given.value.is_empty() {
        context
            .report
            .error(given.span, format!("{noun} has no security group"))
            .help("Lambda takes subnets and groups together; `[default]` is the VPC's own group");
    }
    let mut groups =
        security_group::of_interface(context, noun, given, &GROUPS, |context, reference| {
            group(context, noun, reference, vpc)
        });
    groups.sort();
    groups
}

fn group(
    context: &mut Context,
    noun: &str,
    reference: &Spanned<String>,
    vpc: Option<Handle<Vpc>>,
) -> Option<Handle<SecurityGroup>> {
    // A group can only be of the subnets' VPC, so a name that is there is meant, however many other
    // VPCs have it.
    if let Some(vpc) = vpc
        && context.names.find(&reference.value, &[Kind::SecurityGroup], Some(vpc)).is_ok()
    {
        return context.find_group(reference, Some(vpc));
    }
    let group = context.find_group(reference, None)?;
    let there = context.topology.security_groups[group].vpc;
    if let Some(here) = vpc.filter(|here| *here != there) {
        let vpcs = &context.topology.vpcs;
        let miss = Miss {
            message: format!(
                "`{}` is a group of VPC `{}`, and {noun} is in VPC `{}`",
                reference.value, vpcs[there].name, vpcs[here].name
            ),
            help: Some("a function's subnets and groups are all of one VPC".to_owned()),
        };
        context.miss(reference.span, miss);
    }
    Some(group)
}

fn environments(context: &mut Context, spec: &spec::Function) -> u32 {
    let given = match &spec.environments {
        Field::Missing => return 1,
        // However many were meant, whoever refers to one is not to blame.
        Field::Unreadable => return MOST_ENVIRONMENTS,
        Field::Given(given) => given,
    };
    if !(1..=MOST_ENVIRONMENTS).contains(&given.value) {
        context
            .report
            .error(given.span, format!("a function cannot have {} environments", given.value))
            .help(format!("it has 1 to {MOST_ENVIRONMENTS}; 1 if not given"));
        return MOST_ENVIRONMENTS;
    }
    given.value
}

/// The Hyperplane ENIs that functions need: one for each distinct key (LAM-03).
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    keys: HashSet<(String, Handle<Subnet>, Vec<Handle<SecurityGroup>>)>,
    in_vpc: HashMap<Handle<Vpc>, usize>,
}

impl Context {
    /// Counts the function's ENIs against the subnets' addresses and the VPC's quota (LAM-25).
    fn plan_interfaces(&mut self, function: &Function, spec: &spec::Function) {
        let Some(first) = function.subnets.first() else { return };
        let vpc = self.topology.subnets[*first].vpc;
        let count = self.interfaces.in_vpc.entry(vpc).or_default();
        let before = *count;
        for subnet in &function.subnets {
            let key = (function.account.clone(), *subnet, function.security_groups.clone());
            if self.interfaces.keys.insert(key) {
                *count += 1;
                self.addresses.take(*subnet, 1);
            }
        }
        let (count, most) = (*count, self.topology.settings.enis_per_vpc as usize);
        if count > most && count > before {
            let name = &self.topology.vpcs[vpc].name;
            self.report
                .error(
                    spec.name.span,
                    format!(
                        "with function `{}`, VPC `{name}` needs {count} Hyperplane ENIs; \
                         `enis_per_vpc` allows {most}",
                        spec.name.value
                    ),
                )
                .help("functions of the same account, subnet and groups share one");
        }
    }
}
