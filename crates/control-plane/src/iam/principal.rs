//! Who calls the API, and what they may.

use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

use viaduct_topology::{
    Topology,
    iam::Policy,
    model::{DEFAULT_ACCOUNT, is_account},
};

use super::{
    context::Context,
    decision::{Deciding, Decision, decide},
};

/// Somebody who calls the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The account in which they act.
    pub account: Arc<str>,
    /// The access key id by which they are known.
    pub access_key_id: Arc<str>,
    /// What they may.
    pub policies: Vec<Policy>,
}

/// Who may call the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principals {
    /// By access key id. Without any, everybody may do everything.
    known: HashMap<String, Principal>,
}

/// Why somebody may not do something; Lambda's `AccessDeniedException` (403), with its text as far as
/// the field knows it (from memory), and the statement behind it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "User: {user} is not authorized to perform: {action} on resource: {resource} {}",
    because(.by.as_ref(), .action)
)]
pub struct Denied {
    /// Who, as an ARN.
    pub user: String,
    /// What they wanted to do.
    pub action: String,
    /// With what.
    pub resource: String,
    /// The statement that denies it; none if no statement allows it.
    pub by: Option<Deciding>,
}

impl Principal {
    /// Somebody with these policies.
    #[must_use]
    pub fn new(account: &str, access_key_id: &str, policies: Vec<Policy>) -> Self {
        Self { account: account.into(), access_key_id: access_key_id.into(), policies }
    }

    /// The name that is unique everywhere: of a user who is called like the key.
    #[must_use]
    pub fn arn(&self) -> String {
        format!("arn:aws:iam::{}:user/{}", self.account, self.access_key_id)
    }
}

impl Principals {
    /// Those whom a topology names.
    #[must_use]
    pub fn of(topology: &Topology) -> Self {
        let named = topology.principals.iter().map(|it| {
            let principal = Principal::new(&it.account, &it.access_key_id, it.policies.clone());
            (it.access_key_id.clone(), principal)
        });
        Self { known: named.collect() }
    }

    /// Who has this access key id. If nobody is named, whoever calls may do everything: in the account
    /// whose number the key is, and with any other key in the default account.
    ///
    /// None if others are named: Lambda's `UnrecognizedClientException` (403, from memory).
    #[must_use]
    pub fn find(&self, access_key_id: &str) -> Option<Cow<'_, Principal>> {
        if self.known.is_empty() {
            let everything = Policy::managed("AdministratorAccess").into_iter().collect();
            let account = if is_account(access_key_id) { access_key_id } else { DEFAULT_ACCOUNT };
            return Some(Cow::Owned(Principal::new(account, access_key_id, everything)));
        }
        self.known.get(access_key_id).map(Cow::Borrowed)
    }
}

/// Whether somebody may do something.
///
/// `action` is IAM's name, such as `lambda:CreateFunction`; `resource` an ARN, or `*` where the action
/// is about none; `context` what conditions can ask. Of the context, the keys about VPCs count for the
/// two actions that have them (LAM-72), whatever it says.
///
/// # Errors
///
/// When a statement of theirs denies it, or none allows it.
pub fn authorize(
    principal: &Principal,
    action: &str,
    resource: &str,
    context: &Context,
) -> Result<(), Denied> {
    let by = match decide(&principal.policies, action, resource, &context.of_action(action)) {
        Decision::Allowed(_) => return Ok(()),
        Decision::Denied(by) => Some(by),
        Decision::NotAllowed => None,
    };
    let (action, resource) = (action.to_owned(), resource.to_owned());
    Err(Denied { user: principal.arn(), action, resource, by })
}

fn because(by: Option<&Deciding>, action: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| match by {
        Some(by) => write!(f, "with an explicit deny in an identity-based policy: {by}"),
        None => write!(f, "because no identity-based policy allows the {action} action"),
    })
}
