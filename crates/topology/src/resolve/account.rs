//! Accounts: who owns a VPC and a function in it, and where somebody acts.

use super::{Report, context::Context};
use crate::{
    arena::Handle,
    model::{DEFAULT_ACCOUNT, Vpc, is_account},
    spec::{self, Spanned},
};

/// The account of a VPC or a caller.
pub(super) fn or_default(report: &mut Report, given: Option<&Spanned<String>>) -> String {
    match given {
        Some(account) => {
            check(report, account, DEFAULT_ACCOUNT);
            account.value.clone()
        }
        None => DEFAULT_ACCOUNT.to_owned(),
    }
}

/// The account of a function in a VPC: the VPC's, unless it says otherwise.
pub(super) fn of_function(
    context: &mut Context,
    spec: &spec::Function,
    vpc: Option<Handle<Vpc>>,
) -> String {
    let Context { topology, report, .. } = context;
    let of_vpc = vpc.map_or(DEFAULT_ACCOUNT, |vpc| &topology.vpcs[vpc].account);
    let Some(account) = &spec.account else { return of_vpc.to_owned() };
    check(report, account, "its VPC's");
    account.value.clone()
}

/// Whether it can be an account; reports it if not.
pub(super) fn check(report: &mut Report, account: &Spanned<String>, default: &str) -> bool {
    check_with(report, account, &format!("an account is 12 digits; {default} if not given"))
}

/// The same of an account in a list.
pub(super) fn check_listed(report: &mut Report, account: &Spanned<String>) {
    check_with(report, account, "an account is 12 digits");
}

fn check_with(report: &mut Report, account: &Spanned<String>, help: &str) -> bool {
    let valid = is_account(&account.value);
    if !valid {
        report.error(account.span, format!("`{}` is not an account", account.value)).help(help);
    }
    valid
}
