//! The example topologies of `config/` load, without a warning, from YAML and from JSON.

use std::{fs, path::Path};

use viaduct_config_plane::{load, load_file};
use viaduct_topology::{Span, Topology};

#[test]
fn every_example_loads_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut examples: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    examples.sort();
    assert!(examples.len() >= 3, "{examples:?}");
    for example in examples {
        let loaded = load_file(&example).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        assert!(!loaded.topology.expectations.is_empty(), "{} expects nothing", example.display());
    }
}

#[test]
fn json_is_the_same_thing() {
    let without_places = |name, text| -> Topology {
        let mut topology = load(name, text).unwrap_or_else(|error| panic!("{error}")).topology;
        for expectation in &mut topology.expectations {
            expectation.span = Span::default();
        }
        topology
    };
    assert_eq!(
        without_places("two-subnets.json", include_str!("two-subnets.json")),
        without_places("two-subnets.yaml", include_str!("../../../config/two-subnets.yaml")),
    );
}

#[test]
fn line_ends_and_byte_order_marks_of_other_systems_mean_nothing() {
    let text = include_str!("correct.yaml");
    let loaded = load("correct.yaml", text).unwrap().topology;
    let marked = load("marked.yaml", &format!("\u{feff}{text}")).unwrap().topology;
    assert_eq!(loaded, marked);
    let windows = text.replace('\n', "\r\n");
    let windows = load("windows.yaml", &windows).unwrap().topology;
    assert_eq!(loaded.vpcs, windows.vpcs);
    assert_eq!(loaded.security_groups, windows.security_groups);
    assert_eq!(loaded.expectations.len(), windows.expectations.len());
}

const DOCUMENTATION: &str = include_str!("../../../docs/topology.md");

#[test]
fn the_documentations_examples_load() {
    let examples: Vec<&str> = DOCUMENTATION.split("```yaml\n").skip(1).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        let (example, _) = example.split_once("```").unwrap();
        let loaded = load("topology.md", example).unwrap_or_else(|error| panic!("{error}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    }
}

/// The loader lists an object's keys when it meets an unknown one.
#[test]
fn the_documentation_has_every_key() {
    let everything = "
unknown-key:
organization: { unknown-key: }
settings: { unknown-key: , connection_tracking: { unknown-key: }, nat: { unknown-key: } }
prefix_lists: { l: { unknown-key: } }
vpcs:
  v:
    unknown-key:
    subnets: { s: { unknown-key: } }
    route_tables: { t: { unknown-key: , routes: [{ unknown-key: }] } }
    internet_gateway: { unknown-key: }
    nat_gateways: { n: { unknown-key: } }
    vpc_endpoints: { e: { unknown-key: } }
    security_groups: { g: { unknown-key: , ingress: [{ unknown-key: }], egress: [{ unknown-key: }] } }
    network_acls: { a: { unknown-key: , ingress: { 1: { unknown-key: } } } }
    instances: { i: { unknown-key: } }
vpc_peering_connections: { p: { unknown-key: } }
functions: { f: { unknown-key: } }
roles: { r: { unknown-key:, policies: [{ unknown-key:, Statement: { unknown-key: } }] } }
principals: { p: { unknown-key: } }
services: { s: { unknown-key: } }
internet: { h: { unknown-key: } }
expect: [{ unknown-key: }]
";
    let problems = load("everything.yaml", everything).unwrap_err();
    let lists: Vec<String> = problems
        .iter()
        .filter(|problem| problem.message == "unknown key `unknown-key`")
        .map(|problem| problem.help.clone().unwrap())
        .collect();
    assert_eq!(lists.len(), everything.matches("unknown-key").count());
    let keys = lists.iter().flat_map(|list| list.split('`').skip(1).step_by(2));
    let undocumented: Vec<&str> =
        keys.filter(|key| !DOCUMENTATION.contains(&format!("`{key}`"))).collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
}
