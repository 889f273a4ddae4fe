//! The texts in a policy: patterns of actions, resources and values.

use viaduct_topology::Report;

use super::scalar;
use crate::tree::{Node, Value};

/// Parts of an ARN between colons; the last may have colons itself.
const ARN_PARTS: usize = 6;

/// What `${…}` means: newer policies put a value of the request there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variables {
    /// It is refused, because no value would be put there.
    Refused,
    /// It is text.
    Literal,
}

/// One text or a list of them, each read by `read`; none if any cannot be.
pub(super) fn list(
    report: &mut Report,
    node: &Node,
    read: impl Fn(&mut Report, &Node) -> Option<String>,
) -> Option<Vec<String>> {
    let items = match &node.value {
        Value::Sequence(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if items.is_empty() {
        report
            .error(node.span, "expected at least one value, found an empty list")
            .help("a list with nothing in it matches nothing; remove what it belongs to");
    }
    let values: Vec<_> = items.iter().filter_map(|item| read(report, item)).collect();
    (!values.is_empty() && values.len() == items.len()).then_some(values)
}

/// A pattern of actions: `*`, or a service and a pattern of its actions.
pub(super) fn action(report: &mut Report, node: &Node) -> Option<String> {
    let text = scalar::text(report, node)?;
    let word = |word: &str, others: &[u8]| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
        !word.is_empty() && word.bytes().all(fits)
    };
    let fits =
        text.split_once(':').is_some_and(|(service, it)| word(service, b"-") && word(it, b"*?"));
    if !fits && text != "*" {
        report.error(node.span, format!("`{text}` is not a pattern of actions")).help(
            "write `*`, or a service and its action: `lambda:CreateFunction`, `ec2:Describe*`",
        );
    }
    Some(text)
}

/// A pattern of resources: `*`, or one of ARNs.
pub(super) fn resource(report: &mut Report, node: &Node, variables: Variables) -> Option<String> {
    let text = scalar::text(report, node)?;
    if text != "*" && is_without_variables(report, node, &text, variables) {
        check_arn(report, node, &text);
    }
    Some(text)
}

/// Reports a pattern that can match no ARN.
pub(super) fn check_arn(report: &mut Report, node: &Node, text: &str) {
    let parts = text.splitn(ARN_PARTS, ':');
    if text != "*" && (parts.count() < ARN_PARTS || !text.starts_with("arn:")) {
        report.error(node.span, format!("`{text}` is not a pattern of ARNs")).help(
            "write `*`, or an ARN with its six parts: `arn:aws:lambda:*:123456789012:function:*`",
        );
    }
}

/// Whether a text holds no variable that would be replaced.
pub(super) fn is_without_variables(
    report: &mut Report,
    node: &Node,
    text: &str,
    variables: Variables,
) -> bool {
    let without = variables == Variables::Literal || !text.contains("${");
    if !without {
        report
            .error(node.span, format!("`{text}` has a policy variable"))
            .help("variables are not supported: write the value itself");
    }
    without
}
