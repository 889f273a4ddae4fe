//! Random policies and requests: the control plane and the second opinion agree.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use viaduct_control_plane::iam::{Context, Decision, decide};

use crate::naive::{self, Statement, Values};

const KEYS: [&str; 3] = ["lambda:VpcIds", "LAMBDA:vpcids", "lambda:SubnetIds"];
const TEXTS: [&str; 6] = ["a", "A", "ab", "bab", "é", "arn:aws:x:r:1:a:b"];
const PATTERNS: [&str; 8] = ["a", "A", "a*", "*b", "?", "*a?", "*", "a**b"];
const ARNS: [&str; 5] =
    ["*", "arn:aws:x:r:1:a:b", "arn:aws:x:*:*:a*", "arn:aws:x:r:?:*:b", "arn:*:*:*:*:b"];
const ACTIONS: [&str; 6] = ["*", "x:Get*", "x:get?", "x:*", "X:PutA", "y:*"];

fn texts(of: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    vec(select(of).prop_map(str::to_owned), 1..3)
}

/// An operator with a key and values that fit.
fn condition() -> impl Strategy<Value = (String, String, Vec<String>)> {
    let comparisons = [
        "StringEquals",
        "StringNotEquals",
        "StringEqualsIgnoreCase",
        "StringNotEqualsIgnoreCase",
        "StringLike",
        "StringNotLike",
        "ArnEquals",
        "ArnLike",
        "ArnNotEquals",
        "ArnNotLike",
        "Bool",
        "Null",
    ];
    let operator = (
        select(vec!["", "ForAllValues:", "ForAnyValue:"]),
        select(comparisons.to_vec()),
        any::<bool>(),
    );
    (operator, select(KEYS.to_vec())).prop_flat_map(|((quantifier, compare, if_exists), key)| {
        let values: &[&str] = match compare {
            "Bool" | "Null" => &["true", "false"],
            compare if compare.starts_with("Arn") => &ARNS,
            _ => &PATTERNS,
        };
        let operator = match compare {
            "Null" => compare.to_owned(),
            _ => format!("{quantifier}{compare}{}", if if_exists { "IfExists" } else { "" }),
        };
        (Just(operator), Just(key.to_owned()), texts(values))
    })
}

fn statement() -> impl Strategy<Value = Statement> {
    // Most statements match, so that conditions decide.
    let is = || proptest::bool::weighted(0.8);
    (any::<bool>(), (is(), texts(&ACTIONS)), (is(), texts(&ARNS)), vec(condition(), 0..3)).prop_map(
        |(allows, actions, resources, written)| {
            let mut conditions = BTreeMap::<String, Values>::new();
            for (operator, key, values) in written {
                conditions.entry(operator).or_default().insert(key, values);
            }
            Statement { allows, actions, resources, conditions }
        },
    )
}

fn request() -> impl Strategy<Value = (&'static str, &'static str, Values)> {
    let truths_and_texts: Vec<&str> = TEXTS.into_iter().chain(["true", "FALSE"]).collect();
    let values = vec(select(truths_and_texts).prop_map(str::to_owned), 1..4);
    let keys = select(vec!["lambda:VpcIds".to_owned(), "lambda:SubnetIds".to_owned()]);
    (
        select(vec!["x:GetA", "x:Get", "x:PutA", "y:PutA"]),
        select(vec!["*", "arn:aws:x:r:1:a:b", "arn:aws:x:r:2:b"]),
        proptest::collection::btree_map(keys, values, 0..3),
    )
}

/// IAM's JSON of a policy; every string in it is free of what JSON escapes.
fn json(statements: &[Statement]) -> String {
    let list = |values: &[String]| match values {
        [one] => format!("{one:?}"),
        values => format!("{values:?}"),
    };
    let statement = |it: &Statement| {
        let keys = |keys: &Values| -> Vec<String> {
            keys.iter().map(|(key, values)| format!("{key:?}: {}", list(values))).collect()
        };
        let conditions = it.conditions.iter();
        let conditions: Vec<String> = conditions
            .map(|(operator, of)| format!("{operator:?}: {{{}}}", keys(of).join(", ")))
            .collect();
        format!(
            r#"{{"Effect": "{}", "{}Action": {}, "{}Resource": {}, "Condition": {{{}}}}}"#,
            if it.allows { "Allow" } else { "Deny" },
            if it.actions.0 { "" } else { "Not" },
            list(&it.actions.1),
            if it.resources.0 { "" } else { "Not" },
            list(&it.resources.1),
            conditions.join(", "),
        )
    };
    let statements: Vec<String> = statements.iter().map(statement).collect();
    format!(r#"{{"Version": "2012-10-17", "Statement": [{}]}}"#, statements.join(",\n"))
}

#[test]
fn it_decides_as_the_second_opinion_does() {
    let seen = RefCell::new(BTreeMap::<&str, u32>::new());
    let operators = RefCell::new(BTreeSet::new());
    let cases = (vec(vec(statement(), 1..3), 1..3), request());
    let mut runner =
        TestRunner::new(Config { cases: 3000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&cases, |(policies, (action, resource, values))| {
        let read = |statements: &Vec<Statement>| {
            let text = json(statements);
            viaduct_config_plane::load_policy("policy.json", &text)
                .map_err(|problems| TestCaseError::fail(format!("{text}\n{problems}")))
        };
        let read = policies.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let context = values
            .iter()
            .fold(Context::default(), |context, (key, values)| context.with(key, values.clone()));
        let verdict = match decide(&read, action, resource, &context) {
            Decision::Allowed(_) => "allow",
            Decision::Denied(_) => "deny",
            Decision::NotAllowed => "nothing",
        };
        let statements = policies.concat();
        prop_assert_eq!(verdict, naive::verdict(&statements, action, resource, &values));
        *seen.borrow_mut().entry(verdict).or_default() += 1;
        let written = statements.into_iter().flat_map(|it| it.conditions.into_keys());
        operators.borrow_mut().extend(written);
        Ok(())
    });
    outcome.unwrap();
    let seen = seen.into_inner();
    assert!(seen.len() == 3 && seen.values().all(|count| *count > 200), "{seen:?}");
    assert_eq!(operators.into_inner().len(), 11 * 6 + 1, "every operator was asked");
}
