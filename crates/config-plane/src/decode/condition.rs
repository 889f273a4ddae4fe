//! Conditions of a statement.

use viaduct_topology::{
    Report,
    iam::{
        Comparison, Condition, Operator, PASSED_TO_SERVICE, SECURITY_GROUP_IDS,
        SOURCE_FUNCTION_ARN, SUBNET_IDS, VPC_IDS,
    },
    suggest::suggest,
};

use super::{
    fields::{Entry, mapping, quoted},
    pattern::{self, Variables},
    scalar,
};
use crate::tree::{Key, Node};

/// The keys that viaduct's requests have, or are known not to have.
const KNOWN: [&str; 5] =
    [VPC_IDS, SUBNET_IDS, SECURITY_GROUP_IDS, SOURCE_FUNCTION_ARN, PASSED_TO_SERVICE];

/// Those that have several values (LAM-74).
const SEVERAL: [&str; 2] = [SUBNET_IDS, SECURITY_GROUP_IDS];

/// A condition for each key under each operator.
pub(super) fn conditions(
    report: &mut Report,
    entry: Entry<'_>,
    variables: Variables,
) -> Vec<Condition> {
    let Entry::Present(node) = entry else { return Vec::new() };
    let mut conditions = Vec::new();
    for (name, keys) in mapping(report, node, "conditions") {
        let operator = operator(report, name);
        for (key, values) in mapping(report, keys, "values") {
            self::key(report, key, operator);
            let Some(operator) = operator else { continue };
            let read = |report: &mut Report, node: &Node| {
                value(report, node, operator.comparison, variables)
            };
            if let Some(values) = pattern::list(report, values, read) {
                conditions.push(Condition { operator, key: key.text.clone(), values });
            }
        }
    }
    conditions
}

fn operator(report: &mut Report, name: &Key) -> Option<Operator> {
    let operator = Operator::parse(&name.text);
    if operator.is_none() {
        let bare = name.text.rsplit(':').next().unwrap_or_default();
        let bare = bare.strip_suffix("IfExists").unwrap_or(bare);
        let known = Comparison::ALL.map(Comparison::name);
        let help = match suggest(bare, known) {
            Some("Null") if bare == "Null" => {
                "`Null` stands alone: it asks whether the key is there"
            }
            Some(meant) if meant != bare => &format!("did you mean `{meant}`?"),
            Some(_) => "before the colon stands `ForAllValues` or `ForAnyValue`",
            None => &format!("known are {}", quoted(&known)),
        };
        report.error(name.span, format!("there is no operator `{}`", name.text)).help(help);
    }
    operator
}

/// Looks at a key: one that no request has is legal, and never what its author means.
fn key(report: &mut Report, key: &Key, operator: Option<Operator>) {
    let is = |known: &&str| known.eq_ignore_ascii_case(&key.text);
    if !key.text.contains(':') {
        report
            .error(key.span, format!("`{}` is not a condition key", key.text))
            .help(format!("it has the name of a service before it: {}", quoted(&KNOWN)));
    } else if !KNOWN.iter().any(is) {
        let known = quoted(&KNOWN);
        report
            .warning(key.span, format!("no request here has the condition key `{}`", key.text))
            .help(match suggest(&key.text, KNOWN) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("it counts as absent; known are {known}"),
            });
    } else if SEVERAL.iter().any(is)
        && operator.is_some_and(|it| it.quantifier.is_none() && it.comparison != Comparison::Null)
    {
        report
            .warning(key.span, format!("`{}` can have several values", key.text))
            .help("say `ForAllValues:` or `ForAnyValue:` before the operator (LAM-74)");
    }
}

fn value(
    report: &mut Report,
    node: &Node,
    comparison: Comparison,
    variables: Variables,
) -> Option<String> {
    if comparison.is_of_truth() {
        return scalar::boolean(report, node).map(|it| it.to_string());
    }
    let text = scalar::text(report, node)?;
    if pattern::is_without_variables(report, node, &text, variables) && comparison.is_of_arns() {
        pattern::check_arn(report, node, &text);
    }
    Some(text)
}
