//! A file with a mistake of every kind: all are reported, in the order of lines, for people and for
//! programs.

use viaduct_config_plane::{Problems, load};
use viaduct_topology::Severity;

const WRONG: &str = include_str!("wrong.yaml");

fn problems() -> Problems {
    load("wrong.yaml", WRONG).expect_err("the file is wrong")
}

/// Lines of `wrong.yaml` end in a comment that says what is wrong with them.
#[test]
fn every_mistake_is_reported_in_the_order_of_lines() {
    let problems = problems();
    let found: Vec<(usize, String)> =
        problems.diagnostics().map(|problem| (problem.line, problem.message)).collect();
    let expected: Vec<(usize, String)> = (1..)
        .zip(WRONG.lines())
        .filter_map(|(number, line)| Some((number, line.split_once(" # ")?.1)))
        .flat_map(|(number, comment)| {
            comment.split("; ").map(move |message| (number, message.to_owned()))
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(problems.summary(), "36 errors, 2 warnings");
    assert_eq!(problems.count(Severity::Warning), 2);
}

#[test]
fn people_see_the_line_and_the_text() {
    let shown = problems().to_string();
    let first = shown.split("\n\n").next().unwrap();
    assert_eq!(
        first,
        "\
error: unknown key `colour`
 --> wrong.yaml:1:1
  |
1 | colour: red # unknown key `colour`
  | ^^^^^^
  |
  = help: a topology has the keys `settings`, `organization`, `prefix_lists`, `vpcs`, `vpc_peering_connections`, `roles`, `principals`, `functions`, `services`, `internet`, `expect`"
    );
    assert!(!shown.contains('\u{1b}'), "no colour unless asked for");
    assert!(problems().render(true).contains('\u{1b}'));
}

#[test]
fn programs_get_the_same_as_data() {
    let first = problems().diagnostics().next().unwrap();
    assert_eq!(
        serde_json::to_value(first).unwrap(),
        serde_json::json!({
            "file": "wrong.yaml",
            "severity": "error",
            "line": 1,
            "column": 1,
            "end_line": 1,
            "end_column": 7,
            "message": "unknown key `colour`",
            "help": "a topology has the keys `settings`, `organization`, `prefix_lists`, `vpcs`, `vpc_peering_connections`, `roles`, `principals`, `functions`, `services`, `internet`, `expect`",
            "text": "colour",
        })
    );
}

#[test]
fn a_quoted_escape_sequence_reaches_no_terminal() {
    let problems =
        load("evil.yaml", "functions: { \"\\e[2J\": { subnets: \"\\e[2J\" } }").unwrap_err();
    assert!(!problems.to_string().contains('\u{1b}'), "{problems:?}");
}
