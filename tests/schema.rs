//! The schemas that the command line prints, held against what it reads and writes.

mod common;

use std::{fs, process::Output};

use common::{repository, said, viaduct};
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    viaduct().args(arguments).current_dir(repository("")).output().unwrap()
}

fn schema(of: &[&str]) -> Value {
    let output = run(&[&["schema"], of].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The flows of an example, as they are written: from, to, port.
fn flows(text: &str) -> Vec<[String; 3]> {
    let value = |line: &str, key: &str| {
        let (_, after) = line.split_once(&format!("{key}: "))?;
        Some(after.split([',', ' ', '}']).next()?.to_owned())
    };
    let flow =
        |line: &str| Some([value(line, "{ from")?, value(line, " to")?, value(line, " port")?]);
    text.lines().filter_map(flow).collect()
}

#[test]
fn every_explanation_of_the_examples_is_as_its_schema_says() {
    let schema = schema(&["explain"]);
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let (mut allowed, mut denied, mut with_subnets) = (0, 0, 0);
    let mut files: Vec<_> =
        fs::read_dir(repository("config")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|it| it == "yaml"));
    files.sort();
    for file in files {
        let flows = flows(&fs::read_to_string(&file).unwrap());
        assert!(!flows.is_empty(), "{} expects nothing", file.display());
        for [from, to, port] in flows {
            let file = file.to_str().unwrap();
            let ends = ["--from", &from, "--to", &to, "--port", &port, "--json"];
            for extra in [&[][..], &["--one-way"]] {
                let output = run(&[&["explain", file], &ends[..], extra].concat());
                let report: Value = serde_json::from_slice(&output.stdout)
                    .unwrap_or_else(|error| panic!("{error}: {}", said(&output)));
                if let Err(error) = validator.validate(&report) {
                    panic!("{file}: {from} to {to}: {}: {error}", error.instance_path());
                }
                let passes = report["verdict"] == "allow";
                allowed += usize::from(passes);
                denied += usize::from(!passes);
                with_subnets += usize::from(report.get("subnets").is_some());
            }
        }
    }
    assert!(
        allowed >= 40 && denied >= 40 && with_subnets >= 4,
        "{allowed}, {denied}, {with_subnets}"
    );
}

#[test]
fn an_explanation_that_contradicts_itself_is_refused() {
    let schema = schema(&["explain"]);
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let explain = |port: &str| -> Value {
        let ends = ["--from", "function/api", "--to", "instance/db", "--port", port, "--json"];
        let output = run(&[&["explain", "config/quickstart.yaml"], &ends[..]].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (allowed, denied) = (explain("tcp/5432"), explain("tcp/22"));
    assert!(validator.is_valid(&allowed) && validator.is_valid(&denied));
    let wrong = |report: &Value, key: &str, value: Value| {
        let mut report = report.clone();
        report[key] = value;
        report
    };
    for wrong in [
        wrong(&allowed, "reason", "V2N_ONE_WAY".into()),
        wrong(&denied, "reason", Value::Null),
        wrong(&denied, "reason", "NO_SUCH_REASON".into()),
        wrong(&denied, "blockers", Value::Array(Vec::new())),
        wrong(&allowed, "forward", Value::Array(Vec::new())),
        wrong(&allowed, "verdict", "perhaps".into()),
        wrong(&allowed, "more", 1.into()),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong:#}");
    }
}

#[test]
fn both_schemas_know_the_same_reasons_and_topology_is_the_default() {
    let [topology, explain] = [schema(&[]), schema(&["explain"])];
    assert_eq!(topology, schema(&["topology"]));
    assert_eq!(topology["title"], "viaduct topology");
    assert_eq!(topology["$defs"]["reason"]["enum"], explain["$defs"]["reason"]["enum"]);
    assert_eq!(run(&["schema", "packets"]).status.code(), Some(2));
}
