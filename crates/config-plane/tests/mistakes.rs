//! One mistake at a time: what is said about it, and where.
//!
//! `mistakes.txt` is a list of mistakes with what they must draw. Each takes the piece after `-` of
//! `correct.yaml`, which occurs there once, and puts the piece after `+` in its place. What follows
//! is every problem of the outcome: its place, the text there, the message, the help.
//!
//! `BLESS=1 cargo test -p viaduct-config-plane --test mistakes` writes the outcome into the file;
//! read the difference before committing it.

use std::{env, fmt::Write as _, fs, path::Path};

use viaduct_config_plane::load;

const CORRECT: &str = include_str!("correct.yaml");
const MISTAKES: &str = include_str!("mistakes.txt");

#[test]
fn the_correct_topology_is_correct() {
    let loaded = load("correct.yaml", CORRECT).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
}

#[test]
fn every_mistake_is_explained_at_its_place() {
    let found: String = MISTAKES.split("\n\n").map(outcome).collect::<Vec<_>>().join("\n");
    if env::var_os("BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes.txt");
        fs::write(path, &found).unwrap();
    }
    for (number, (found, expected)) in (1..).zip(found.lines().zip(MISTAKES.lines())) {
        assert_eq!(found, expected, "mistakes.txt:{number}");
    }
    assert_eq!(found, MISTAKES);
}

/// The entry as it should be.
fn outcome(entry: &str) -> String {
    let mut entry_lines = entry.lines().peekable();
    let mut out = String::new();
    while let Some(comment) = entry_lines.next_if(|line| line.starts_with('#')) {
        writeln!(out, "{comment}").unwrap();
    }
    let mut piece = |mark: &str| {
        let line = entry_lines.next().unwrap_or_default();
        writeln!(out, "{line}").unwrap();
        let piece = line.strip_prefix(mark).unwrap_or_else(|| panic!("{entry} has no {mark}"));
        piece.replace("\\n", "\n").replace("\\t", "\t")
    };
    let (correct, wrong) = (piece("- "), piece("+ "));
    assert_eq!(CORRECT.matches(&correct).count(), 1, "`{correct}` is not there once");
    let problems = match load("wrong.yaml", &CORRECT.replace(&correct, &wrong)) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    for problem in problems.diagnostics() {
        let place = format!("{}:{}", problem.line, problem.column);
        writeln!(out, "{place} `{}` {}: {}", problem.text, problem.severity, problem.message)
            .unwrap();
        if let Some(help) = problem.help {
            writeln!(out, "    {help}").unwrap();
        }
    }
    out
}
