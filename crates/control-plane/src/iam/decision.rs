//! What policies say of a request.

use std::fmt;

use viaduct_topology::iam::{Effect, Policy, Statement};

use super::{
    condition,
    context::Context,
    pattern::{covers_action, covers_resource},
};

/// What some policies say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This statement allows it, and none denies it.
    Allowed(Deciding),
    /// This statement denies it, whatever allows it.
    Denied(Deciding),
    /// No statement allows it.
    NotAllowed,
}

/// The statement that decides, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deciding {
    /// The policy: its id, or its number from 1.
    pub policy: String,
    /// The statement: its Sid, or its number in the policy from 1.
    pub statement: String,
}

/// What policies say of a request: the first statement that denies it, else the first that allows it.
#[must_use]
pub fn decide(policies: &[Policy], action: &str, resource: &str, context: &Context) -> Decision {
    let mut decision = Decision::NotAllowed;
    for (number, policy) in (1..).zip(policies) {
        for (place, statement) in (1..).zip(&policy.statements) {
            if !matches(statement, action, resource, context) {
                continue;
            }
            let deciding = || Deciding {
                policy: named(policy.id.as_deref(), number),
                statement: named(statement.sid.as_deref(), place),
            };
            match (statement.effect, &decision) {
                (Effect::Deny, _) => return Decision::Denied(deciding()),
                (Effect::Allow, Decision::NotAllowed) => decision = Decision::Allowed(deciding()),
                (Effect::Allow, _) => {}
            }
        }
    }
    decision
}

fn matches(statement: &Statement, action: &str, resource: &str, context: &Context) -> bool {
    covers_action(&statement.actions, action)
        && covers_resource(&statement.resources, resource)
        && statement.conditions.iter().all(|it| condition::holds(it, context))
}

fn named(name: Option<&str>, number: usize) -> String {
    name.map_or_else(|| number.to_string(), |name| format!("`{name}`"))
}

impl fmt::Display for Deciding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement {} of policy {}", self.statement, self.policy)
    }
}
