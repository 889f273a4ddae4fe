//! Shapes of requests: what kind of value each member is, and the rules that it alone must keep.
//!
//! As Lambda does, a value of the wrong kind ends the request at once, broken rules are all listed,
//! and members that nobody knows are passed over.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::failure::Failure;

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) required: bool,
    pub(super) shape: Shape,
}

impl Member {
    /// One that may be left out.
    pub(super) const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, required: false, shape }
    }

    /// One that must be there.
    pub(super) const fn required(name: &'static str, shape: Shape) -> Self {
        Self { name, required: true, shape }
    }
}

/// What kind of value a member is.
#[derive(Debug)]
pub(super) enum Shape {
    /// Text of so many characters.
    Text(RangeInclusive<usize>),
    /// Text of which each matches: how Lambda describes it, and whether it does.
    Pattern(&'static str, fn(&str) -> bool),
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number.
    Whole(RangeInclusive<i64>),
    Flag,
    /// So many values of one shape.
    List(RangeInclusive<usize>, &'static Self),
    /// Texts by names, each of this shape.
    Texts(&'static Self, &'static Self),
    Object(&'static [Member]),
}

/// Checks the members of an object that has those of several tables.
pub(super) fn check(body: &Map<String, Value>, tables: &[&[Member]]) -> Result<(), Failure> {
    let mut violations = Vec::new();
    for member in tables.iter().copied().flatten() {
        check_member(body, member, "", &mut violations)?;
    }
    match violations.is_empty() {
        true => Ok(()),
        false => Err(Failure::validation(&violations)),
    }
}

fn check_member(
    object: &Map<String, Value>,
    member: &Member,
    path: &str,
    violations: &mut Vec<String>,
) -> Result<(), Failure> {
    let path = match path {
        "" => lower_first(member.name),
        path => format!("{path}.{}", lower_first(member.name)),
    };
    match object.get(member.name) {
        None | Some(Value::Null) if member.required => {
            violations.push(violation("null", &path, "Member must not be null"));
        }
        None | Some(Value::Null) => {}
        Some(value) => check_value(value, &member.shape, &path, violations)?,
    }
    Ok(())
}

fn check_value(
    value: &Value,
    shape: &Shape,
    path: &str,
    violations: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut broken = |shown: &str, rule: &str| violations.push(violation(shown, path, rule));
    match (shape, value) {
        (Shape::Text(range), Value::String(text)) => {
            if let Some(rule) = length(text.chars().count(), range) {
                broken(text, &rule);
            }
        }
        (Shape::Pattern(pattern, matches), Value::String(text)) => {
            if !matches(text) {
                broken(text, &format!("Member must satisfy regular expression pattern: {pattern}"));
            }
        }
        (Shape::OneOf(words), Value::String(text)) => {
            if !words.contains(&text.as_str()) {
                let words = words.join(", ");
                broken(text, &format!("Member must satisfy enum value set: [{words}]"));
            }
        }
        (Shape::Whole(range), Value::Number(number)) if !number.is_f64() => {
            // Whatever is no i64 is beyond every range.
            let number = number.as_i64().unwrap_or(i64::MAX);
            let bound = match () {
                () if number < *range.start() => Some(("greater", range.start())),
                () if number > *range.end() => Some(("less", range.end())),
                () => None,
            };
            if let Some((than, bound)) = bound {
                let rule = format!("Member must have value {than} than or equal to {bound}");
                broken(&number.to_string(), &rule);
            }
        }
        (Shape::Flag, Value::Bool(_)) => {}
        (Shape::List(range, item), Value::Array(values)) => {
            if let Some(rule) = length(values.len(), range) {
                let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
                broken(&format!("[{}]", shown.join(", ")), &rule);
            }
            for value in values {
                check_value(value, item, &format!("{path}.member"), violations)?;
            }
        }
        (Shape::Texts(key, text), Value::Object(texts)) => {
            for (name, value) in texts {
                let named = Value::String(name.clone());
                check_value(&named, key, &format!("{path}.key"), violations)?;
                check_value(value, text, &format!("{path}.value"), violations)?;
            }
        }
        (Shape::Object(members), Value::Object(object)) => {
            for member in *members {
                check_member(object, member, path, violations)?;
            }
        }
        (shape, value) => {
            return Err(Failure::serialization(format!(
                "{} is {}, and should be {}",
                path,
                kind(value),
                shape.noun()
            )));
        }
    }
    Ok(())
}

impl Shape {
    const fn noun(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Pattern(..) | Self::OneOf(_) => "a string",
            Self::Whole(_) => "a whole number",
            Self::Flag => "a boolean",
            Self::List(..) => "a list",
            Self::Texts(..) | Self::Object(_) => "an object",
        }
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The rule that a length breaks.
fn length(length: usize, range: &RangeInclusive<usize>) -> Option<String> {
    let (than, bound) = match () {
        () if length < *range.start() => ("greater", range.start()),
        () if length > *range.end() => ("less", range.end()),
        () => return None,
    };
    Some(format!("Member must have length {than} than or equal to {bound}"))
}

fn violation(shown: &str, path: &str, rule: &str) -> String {
    format!("Value '{shown}' at '{path}' failed to satisfy constraint: {rule}")
}

/// As Lambda's messages have names: `memorySize`.
fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    static TABLE: [Member; 6] = [
        Member::required("Name", Shape::Text(1..=3)),
        Member::new("Size", Shape::Whole(1..=10)),
        Member::new("Mode", Shape::OneOf(&["On", "Off"])),
        Member::new(
            "Ids",
            Shape::List(0..=2, &Shape::Pattern("id-.*", |it| it.starts_with("id-"))),
        ),
        Member::new("Tags", Shape::Texts(&Shape::Text(1..=2), &Shape::Text(0..=2))),
        Member::new("Inner", Shape::Object(&[Member::required("On", Shape::Flag)])),
    ];

    fn checked(body: Value) -> Result<(), String> {
        let Value::Object(body) = body else { panic!("{body}") };
        check(&body, &[&TABLE]).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn whatever_keeps_the_rules_passes_and_what_nobody_knows_is_passed_over() {
        assert_eq!(checked(json!({ "Name": "äöü" })), Ok(()));
        let all = json!({
            "Name": "a", "Size": 10, "Mode": "On", "Ids": ["id-1", "id-2"], "Tags": { "a": "" },
            "Inner": { "On": true }, "Else": [1], "Size2": null,
        });
        assert_eq!(checked(all), Ok(()));
        assert_eq!(checked(json!({ "Name": "a", "Size": null })), Ok(()));
    }

    #[test]
    fn every_broken_rule_is_named_with_its_place() {
        let broken = json!({
            "Size": 11, "Mode": "Maybe", "Ids": ["id-1", "x", "id-3"], "Tags": { "": "abc" },
            "Inner": {},
        });
        let message = checked(broken).unwrap_err();
        for words in [
            "8 validation errors detected",
            "Value 'null' at 'name' failed to satisfy constraint: Member must not be null",
            "Value '11' at 'size' failed to satisfy constraint: Member must have value less than",
            "Value 'Maybe' at 'mode' failed to satisfy constraint: Member must satisfy enum value \
             set: [On, Off]",
            "at 'ids' failed to satisfy constraint: Member must have length less than or equal to 2",
            "Value 'x' at 'ids.member'",
            "Value '' at 'tags.key'",
            "Value 'abc' at 'tags.value'",
            "Value 'null' at 'inner.on'",
        ] {
            assert!(message.contains(words), "{words}: {message}");
        }
        let huge = json!({ "Name": "a", "Size": u64::MAX });
        assert!(checked(huge).unwrap_err().contains("less than or equal to 10"));
    }

    #[test]
    fn a_value_of_another_kind_ends_the_request() {
        for (body, words) in [
            (json!({ "Name": 1 }), "name is a number, and should be a string"),
            (json!({ "Name": "a", "Size": 1.5 }), "size is a number, and should be a whole number"),
            (json!({ "Name": "a", "Size": "1" }), "size is a string"),
            (json!({ "Name": "a", "Ids": {} }), "ids is an object, and should be a list"),
            (json!({ "Name": "a", "Ids": [null] }), "ids.member is null"),
            (json!({ "Name": "a", "Tags": { "a": 1 } }), "tags.value is a number"),
            (json!({ "Name": "a", "Inner": { "On": 0 } }), "inner.on is a number"),
        ] {
            let message = checked(body).unwrap_err();
            assert!(
                message.contains("SerializationException") && message.contains(words),
                "{message}"
            );
        }
    }
}
