//! Execution roles, and who calls the API.

use super::{account, context::Context};
use crate::{
    model::{Principal, Role},
    spec,
};

/// The longest access key id (from memory).
const LONGEST_KEY: usize = 128;

/// Builds an execution role.
pub(super) fn build_role(context: &mut Context, spec: &spec::Role) {
    let spec::Role { name, policies } = spec;
    context.topology.roles.push(Role { name: name.value.clone(), policies: policies.clone() });
}

/// Builds somebody who calls the API.
pub(super) fn build(context: &mut Context, spec: &spec::Principal) {
    let spec::Principal { access_key_id: key, account, policies } = spec;
    let letters = key.value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !letters || !(1..=LONGEST_KEY).contains(&key.value.len()) {
        context
            .report
            .error(key.span, format!("`{}` is not an access key id", key.value))
            .help(format!("it has 1 to {LONGEST_KEY} letters, digits and `_`"));
    }
    let account = account::or_default(&mut context.report, account.as_ref());
    context.topology.principals.push(Principal {
        access_key_id: key.value.clone(),
        account,
        policies: policies.clone(),
    });
}
