//! Shared subnets: whose interfaces may stand where, and whose groups they carry.
//!
//! The owner of a VPC shares subnets with accounts of its organization (SHR-01). These participants
//! have functions there, with groups of their own in the owner's VPC (SHR-03); everything else in the
//! VPC is its owner's (SHR-02). Nobody carries another account's groups, neither the participant the
//! owner's, the VPC's default group among them (SHR-04), nor the owner a participant's (SHR-05). Rules
//! may name them (SHR-06).
//!
//! A share that is taken back leaves a participant's groups behind, because interfaces carry them on
//! (SHR-09): such a group is only a warning. A file's function has no past, so one in a subnet that is
//! not shared is an error.

use std::collections::HashSet;

use super::{
    account,
    context::{Context, DEFAULT, Declared},
    names::Target,
    quotas::{self, Accounts},
};
use crate::{
    arena::Handle,
    model::{Function, SecurityGroup, SgPeer, Vpc, is_account},
    path::Kind,
    spec::{self, Field, References, Spanned},
};

/// Accounts that the subnets of a VPC are shared with (SHR-08).
const PARTICIPANTS: usize = 100;

/// Subnets that are shared with an account (SHR-08).
const SHARED_SUBNETS: usize = 100;

/// Builds the organization.
pub(super) fn build_organization(context: &mut Context, spec: &spec::Organization) {
    context.knows_organization = spec.accounts != Field::Unreadable;
    let given = spec.accounts.given();
    let accounts = given.map(|given| accounts(context, given, "the organization"));
    context.topology.organization = accounts.unwrap_or_default();
}

/// The accounts that a subnet is shared with: others than its owner, of the organization (SHR-01).
pub(super) fn participants(
    context: &mut Context,
    vpc: Handle<Vpc>,
    spec: &spec::Subnet,
) -> Vec<String> {
    let given = match &spec.shared_with {
        Field::Missing => return Vec::new(),
        // Whoever was meant, those who stand there are not to blame.
        Field::Unreadable => return context.topology.organization.clone(),
        Field::Given(given) => given,
    };
    let noun = format!("subnet `{}`", spec.name.value);
    let accounts = accounts(context, given, &noun);
    let Context { topology, report, knows_organization, .. } = context;
    let owner = &topology.vpcs[vpc];
    let is_member =
        |account: &String| !*knows_organization || topology.organization.contains(account);
    for participant in given.value.iter().filter(|it| is_account(&it.value)) {
        if participant.value == owner.account {
            report
                .error(participant.span, format!("{noun} is this account's own"))
                .help("name the accounts that may use it beside its owner");
        } else if !is_member(&participant.value) {
            report
                .error(
                    participant.span,
                    format!("account {} is not of the organization", participant.value),
                )
                .help("subnets are shared inside one; add it to `organization: { accounts: [] }`");
        }
    }
    if !accounts.is_empty() && is_account(&owner.account) && !is_member(&owner.account) {
        report
            .error(
                given.span,
                format!(
                    "{noun} is shared, and its owner {} is not of the organization",
                    owner.account
                ),
            )
            .help("subnets are shared inside one; add it to `organization: { accounts: [] }`");
    }
    accounts
}

/// A list of accounts, sorted and without repetition.
fn accounts(
    context: &mut Context,
    given: &Spanned<Vec<Spanned<String>>>,
    noun: &str,
) -> Vec<String> {
    let report = &mut context.report;
    let mut accounts: Vec<String> = Vec::with_capacity(given.value.len());
    for written in &given.value {
        account::check_listed(report, written);
        if accounts.contains(&written.value) {
            report.warning(written.span, format!("{noun} has account {} twice", written.value));
        } else {
            accounts.push(written.value.clone());
        }
    }
    accounts.sort();
    accounts
}

/// The account that owns a group: its VPC's owner, unless the group says otherwise.
pub(super) fn owner_of_group(
    context: &mut Context,
    vpc: Handle<Vpc>,
    vpc_spec: &spec::Vpc,
    spec: &spec::SecurityGroup,
) -> String {
    let Context { topology, report, .. } = context;
    let Vpc { name, account: owner, .. } = &topology.vpcs[vpc];
    let Some(given) = &spec.account else { return owner.clone() };
    if account::check(report, given, "its VPC's") && given.value != *owner {
        let shared = |subnet: &spec::Subnet| match &subnet.shared_with {
            Field::Missing => false,
            Field::Unreadable => true,
            Field::Given(with) => with.value.iter().any(|account| account.value == given.value),
        };
        if spec.name.value == DEFAULT {
            report
                .error(given.span, format!("the default group of VPC `{name}` is its owner's"))
                .help(format!("leave `account` out: the VPC is of account {owner}"));
        } else if !vpc_spec.subnets.iter().any(shared) {
            report
                .warning(
                    given.span,
                    format!("no subnet of VPC `{name}` is shared with account {}", given.value),
                )
                .help("nothing new can carry the group; what carries it goes on");
        }
    }
    given.value.clone()
}

/// The group of the same VPC that a rule names, as `name`, or `account/name` if it is another
/// account's (SHR-06). None if the reference is of another form, or leads to something else.
pub(super) fn peer_group(
    context: &mut Context,
    declared: Declared,
    own: &str,
    reference: &Spanned<String>,
) -> Option<Result<SgPeer, ()>> {
    let text = reference.value.as_str();
    let (account, name, kinds) = match text.split_once('/') {
        Some((account, name)) if is_account(account) && !context.names.is_vpc(account) => {
            (Some(account), name, &[Kind::SecurityGroup][..])
        }
        _ => (None, text, &[Kind::SecurityGroup, Kind::PrefixList][..]),
    };
    let group = match (account, context.names.find(name, kinds, Some(declared.vpc))) {
        (_, Ok(Target::SecurityGroup(group))) => group,
        (Some(_), Err(miss)) => {
            context.miss(reference.span, miss);
            return Some(Err(()));
        }
        _ => return None,
    };
    let owner = &context.group_owners[group.index()];
    // Who is no account has been told so.
    if account.unwrap_or(own) == owner || !is_account(owner) || !is_account(own) {
        return Some(Ok(SgPeer::Group(group)));
    }
    let name = name.rsplit('/').next().unwrap_or(name);
    let help = match owner == own {
        true => format!("write `{name}`"),
        false => format!("write `{owner}/{name}`"),
    };
    let message = format!("`{name}` is a group of account {owner}");
    context.report.error(reference.span, message).help(help);
    Some(Err(()))
}

/// The group of an instance or an endpoint, which is the owner's and carries no participant's.
pub(super) fn find_owners_group(
    context: &mut Context,
    noun: &str,
    reference: &Spanned<String>,
    vpc: Handle<Vpc>,
) -> Option<Handle<SecurityGroup>> {
    let group = context.find_group(reference, Some(vpc))?;
    let owner = context.topology.vpcs[vpc].account.clone();
    refuse_group_of_another(context, noun, &owner, reference, group);
    Some(group)
}

/// Whether a function's account may have interfaces in its subnets, and carry its groups.
pub(super) fn check_function(
    context: &mut Context,
    noun: &str,
    spec: &spec::Function,
    function: &Function,
) {
    let account = &function.account;
    if !is_account(account) {
        return;
    }
    for reference in references(&spec.subnets) {
        let found = context.names.find(&reference.value, &[Kind::Subnet], None);
        let Ok(Target::Subnet(subnet)) = found else { continue };
        if !function.subnets.contains(&subnet) || context.topology.admits(subnet, account) {
            continue;
        }
        let Context { topology, report, .. } = &mut *context;
        let owner = &topology.vpcs[topology.subnets[subnet].vpc].account;
        let message = format!(
            "`{}` is a subnet of account {owner}, and {noun} is of {account}",
            reference.value
        );
        report
            .error(reference.span, message)
            .help(format!("the subnet would have to be `shared_with: [{account}]`"));
    }
    let vpc = function.subnets.first().map(|subnet| context.topology.subnets[*subnet].vpc);
    for reference in references(&spec.security_groups) {
        let found = context.names.find(&reference.value, &[Kind::SecurityGroup], vpc);
        if let Ok(Target::SecurityGroup(group)) = found
            && function.security_groups.contains(&group)
        {
            refuse_group_of_another(context, noun, account, reference, group);
        }
    }
}

fn references(field: &Field<References>) -> &[Spanned<String>] {
    field.given().map_or(&[], |given| &given.value)
}

/// Reports a group that is not of this account (SHR-04, SHR-05).
fn refuse_group_of_another(
    context: &mut Context,
    noun: &str,
    account: &str,
    reference: &Spanned<String>,
    group: Handle<SecurityGroup>,
) {
    let Context { topology, report, .. } = context;
    let group = &topology.security_groups[group];
    if group.account == account || ![group.account.as_str(), account].into_iter().all(is_account) {
        return;
    }
    let what =
        if group.name == DEFAULT { "the default group of the VPC, which is" } else { "a group" };
    let message = format!(
        "`{}` is {what} of account {}, and {noun} is of {account}",
        reference.value, group.account
    );
    report.error(reference.span, message).help(format!(
        "an interface carries groups of its own account; a participant's group in the VPC has \
         `account: {account}`"
    ));
}

/// Holds what is shared against the quotas.
pub(super) fn check_counts(context: &mut Context, specs: &[spec::Vpc]) {
    let Context { topology, report, subnet_places, vpcs, .. } = context;
    let mut by_account = Accounts::default();
    for (subnet, place) in topology.subnets.values().zip(&*subnet_places) {
        for account in &subnet.shared_with {
            by_account.add(report, account, *place, 1, SHARED_SUBNETS, "shared subnets");
        }
    }
    for (spec, declared) in specs.iter().zip(&*vpcs) {
        let own = topology.subnets.values().filter(|subnet| subnet.vpc == declared.vpc);
        let participants: HashSet<&String> = own.flat_map(|subnet| &subnet.shared_with).collect();
        if participants.len() > PARTICIPANTS {
            let Spanned { value: name, span } = &spec.name;
            let message = format!("VPC `{name}` has {} participants", participants.len());
            quotas::warn(report, *span, message, PARTICIPANTS);
        }
    }
}
