//! Policies: IAM's JSON, of which the file's YAML is a superset. Keys and words are IAM's, letter by
//! letter.

use std::collections::HashSet;

use viaduct_topology::{
    Report,
    iam::{Effect, Patterns, Policy, Statement},
    suggest::suggest,
};

use super::{
    condition,
    fields::{Entry, fields, optional, present, quoted},
    keys,
    pattern::{self, Variables},
    scalar,
};
use crate::tree::{Node, Value};

/// A policy, or the name of one that AWS manages.
pub(super) fn policy_or_name(report: &mut Report, node: &Node) -> Option<Policy> {
    let Value::Scalar(name) = &node.value else { return policy(report, node) };
    let known = Policy::managed(name);
    if known.is_none() {
        let names = quoted(&Policy::MANAGED);
        report.error(node.span, format!("there is no managed policy `{name}`")).help(
            match suggest(name, Policy::MANAGED) {
                Some(meant) => format!("did you mean `{meant}`? known are {names}"),
                None => format!("known are {names}; write any other out, as IAM's JSON"),
            },
        );
    }
    known
}

/// A policy that is written out.
pub(crate) fn policy(report: &mut Report, node: &Node) -> Option<Policy> {
    let [version, id, statement] = fields(report, node, &keys::POLICY);
    let version = optional(report, version, |report, node| {
        let versions = [("2012-10-17", Variables::Refused), ("2008-10-17", Variables::Literal)];
        scalar::word(report, node, &versions)
    });
    // The older version is that of a policy that names none.
    let variables = version.map_or(Variables::Literal, |version| version.value);
    let id = optional(report, id, scalar::text).map(|id| id.value);
    let node = present(report, statement, "Statement", keys::POLICY.owner, node.span)?;
    let statements = match &node.value {
        Value::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if statements.is_empty() {
        report.error(node.span, "a policy has no statement").help("give it one, or leave it out");
    }
    let read = statements.iter().filter_map(|node| self::statement(report, node, variables));
    let read: Vec<Statement> = read.collect();
    let mut sids = HashSet::new();
    if let Some(twice) = read.iter().filter_map(|it| it.sid.as_ref()).find(|it| !sids.insert(*it)) {
        report
            .error(node.span, format!("a policy has two statements `{twice}`"))
            .help("give one of them another Sid, or none");
    }
    (!read.is_empty()).then_some(Policy { id, statements: read })
}

fn statement(report: &mut Report, node: &Node, variables: Variables) -> Option<Statement> {
    let [sid, effect, action, not_action, resource, not_resource, conditions] =
        fields(report, node, &keys::STATEMENT);
    let owner = keys::STATEMENT.owner;
    let sid = optional(report, sid, self::sid).map(|sid| sid.value);
    let effect = present(report, effect, "Effect", owner, node.span).and_then(|node| {
        let effects = [Effect::Allow, Effect::Deny].map(|effect| (effect.word(), effect));
        scalar::word(report, node, &effects)
    });
    let actions =
        patterns(report, node, ("Action", action), ("NotAction", not_action), pattern::action);
    let resources = patterns(
        report,
        node,
        ("Resource", resource),
        ("NotResource", not_resource),
        |report, node| pattern::resource(report, node, variables),
    );
    let conditions = condition::conditions(report, conditions, variables);
    Some(Statement { sid, effect: effect?, actions: actions?, resources: resources?, conditions })
}

fn sid(report: &mut Report, node: &Node) -> Option<String> {
    let text = scalar::text(report, node)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        report
            .error(node.span, format!("`{text}` is not a Sid"))
            .help("it has letters and digits alone");
    }
    Some(text)
}

/// The patterns under one key, or all but those under the other.
fn patterns<'n>(
    report: &mut Report,
    statement: &Node,
    (key, these): (&str, Entry<'n>),
    (not_key, others): (&str, Entry<'n>),
    read: impl Fn(&mut Report, &Node) -> Option<String>,
) -> Option<Patterns> {
    match (these, others) {
        (Entry::Present(_), Entry::Present(node)) => {
            report
                .error(node.span, format!("a statement has both `{key}` and `{not_key}`"))
                .help("remove one of them");
            None
        }
        (_, Entry::Present(node)) => pattern::list(report, node, read).map(Patterns::Not),
        (these, _) => {
            let node = present(report, these, key, keys::STATEMENT.owner, statement.span)?;
            pattern::list(report, node, read).map(Patterns::Any)
        }
    }
}
