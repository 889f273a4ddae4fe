//! Whether a condition holds for a request.

use viaduct_topology::iam::{Comparison, Condition, Quantifier};

use super::{
    context::Context,
    pattern::{like, like_arn},
};

/// Whether a condition holds.
pub(super) fn holds(condition: &Condition, context: &Context) -> bool {
    let Condition { operator, key, values } = condition;
    let found = context.values(key);
    let comparison = operator.comparison;
    if comparison == Comparison::Null {
        return values.iter().any(|value| is(value, found.is_empty()));
    }
    if found.is_empty() && operator.if_exists {
        return true;
    }
    // Of one value of the request: that some value of the policy compares, or that none does.
    let compares = |found: &String| {
        values.iter().any(|value| is_alike(comparison, value, found)) != comparison.is_negated()
    };
    match operator.quantifier {
        // Vacuously true of no value (LAM-75), as the next is false of none.
        Some(Quantifier::ForAllValues) => found.iter().all(compares),
        Some(Quantifier::ForAnyValue) => found.iter().any(compares),
        None if comparison.is_negated() => found.iter().all(compares),
        None => found.iter().any(compares),
    }
}

/// Whether a value of the policy and one of the request are alike, negated or not.
fn is_alike(comparison: Comparison, value: &str, found: &str) -> bool {
    match comparison {
        Comparison::StringEquals | Comparison::StringNotEquals => value == found,
        Comparison::StringEqualsIgnoreCase | Comparison::StringNotEqualsIgnoreCase => {
            value.to_lowercase() == found.to_lowercase()
        }
        Comparison::StringLike | Comparison::StringNotLike => like(value, found),
        Comparison::ArnEquals
        | Comparison::ArnLike
        | Comparison::ArnNotEquals
        | Comparison::ArnNotLike => like_arn(value, found),
        // Of `Null` the key is asked and not its values.
        Comparison::Bool | Comparison::Null => value.eq_ignore_ascii_case(found),
    }
}

/// Whether a word of a policy says this truth.
fn is(word: &str, truth: bool) -> bool {
    word.eq_ignore_ascii_case(if truth { "true" } else { "false" })
}
