//! Functions.

use std::collections::{HashMap, HashSet};

use super::{
    account,
    context::Context,
    names::Miss,
    security_group::{self, Limits},
    service_vpc, sharing,
};
use crate::{
    arena::Handle,
    model::{Function, Role, SecurityGroup, Subnet, Vpc, is_account},
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
    let mut places = Places::default();
    if is_without_vpc(spec) {
        service_vpc::check_function(context, &spec.name.value, spec.name.span);
    } else {
        places = self::places(context, &noun, spec);
    }
    let Places { subnets, security_groups, vpc } = places;
    let account = account::of_function(context, spec, vpc);
    let function = Function {
        name: spec.name.value.clone(),
        role: spec.role.as_ref().and_then(|role| self::role(context, &noun, &account, role)),
        account,
        subnets,
        security_groups,
        environments: environments(context, spec),
    };
    sharing::check_function(context, &noun, spec, &function);
    context.plan_interfaces(&function, spec);
    context.topology.functions.push(function);
}

/// Where a function's ENIs are.
#[derive(Debug, Default)]
struct Places {
    subnets: Vec<Handle<Subnet>>,
    security_groups: Vec<Handle<SecurityGroup>>,
    vpc: Option<Handle<Vpc>>,
}

fn places(context: &mut Context, noun: &str, spec: &spec::Function) -> Places {
    let subnets = half(context, &spec.subnets, "subnets", noun, spec);
    let subnets = subnets.map_or(Vec::new(), |given| self::subnets(context, noun, given));
    let vpc = subnets.first().map(|subnet| context.topology.subnets[*subnet].vpc);
    let groups = half(context, &spec.security_groups, "security_groups", noun, spec);
    let security_groups = groups.map_or(Vec::new(), |given| groups_of(context, noun, given, vpc));
    Places { subnets, security_groups, vpc }
}

/// Whether it is of no VPC: it names neither subnets nor groups (LAM-16).
fn is_without_vpc(spec: &spec::Function) -> bool {
    [&spec.subnets, &spec.security_groups].into_iter().all(|field| match field {
        Field::Missing => true,
        Field::Given(given) => given.value.is_empty(),
        Field::Unreadable => false,
    })
}

/// What a function of a VPC must have, because it has the other half of it.
fn half<'f>(
    context: &mut Context,
    field: &'f Field<References>,
    key: &str,
    noun: &str,
    spec: &spec::Function,
) -> Option<&'f Spanned<References>> {
    if *field == Field::Missing {
        context
            .report
            .error(spec.name.span, format!("{noun} has no `{key}`"))
            .help("Lambda takes subnets and groups together; without both it is of no VPC");
        return None;
    }
    context.report.require(field, key, noun, spec.name.span)
}

/// The subnets, without repetition and of one VPC (LAM-16).
fn subnets(context: &mut Context, noun: &str, given: &Spanned<References>) -> Vec<Handle<Subnet>> {
    let count = given.value.len();
    if count == 0 || count > MOST_SUBNETS {
        context.report.error(given.span, format!("{noun} has {count} subnets")).help(format!(
            "it has at least one and at most {MOST_SUBNETS}, unless it is of no VPC"
        ));
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
fn groups_of(
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

/// The execution role, of the function's account (from memory).
fn role(
    context: &mut Context,
    noun: &str,
    account: &str,
    reference: &Spanned<String>,
) -> Option<Handle<Role>> {
    let role = context.find_role(reference)?;
    let of = context.topology.roles[role].account.as_str();
    // What is no account has been reported where it stands.
    if of != account && [of, account].into_iter().all(is_account) {
        let message =
            format!("role `{}` is of account {of} and {noun} of {account}", reference.value);
        context
            .report
            .error(reference.span, message)
            .help("a function has a role of its own account; give the role this `account`");
    }
    Some(role)
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
