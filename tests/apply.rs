//! `viaduct apply`: what it prints, what it exits with, and what it does to a lab.

mod common;

use common::{Lab, permitted, repository, said, viaduct};
use serde_json::Value;

/// `viaduct apply` on a lab: exit code, standard output, and everything it said.
fn apply(lab: &Lab, text: &str, options: &[&str]) -> (Option<i32>, String, String) {
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), text).unwrap();
    let output = viaduct()
        .args(["apply", "--lab", &lab.name])
        .arg(file.path())
        .args(options)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    (output.status.code(), stdout, said(&output))
}

#[test]
fn a_lab_gets_another_topology() {
    if !permitted() {
        return;
    }
    let quickstart = repository("config/quickstart.yaml");
    let text = std::fs::read_to_string(&quickstart).unwrap();
    let lab = Lab::of_file("apply", &quickstart);
    lab.serve("instance/db", 5432, common::tell_peer);
    assert_eq!(lab.ask("function/api/1", "10.0.2.10:5432", "").unwrap(), "10.0.1.4");
    let generation = lab.get("status")["generation"].as_u64().unwrap();

    // Wrong: all of it is told, nothing changes.
    let wrong =
        text.replacen("cidr_blocks:", "cidr_block:", 1).replacen("ports: 5432", "ports: 543200", 1);
    let (code, stdout, all) = apply(&lab, &wrong, &[]);
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{all}");
    for words in ["did you mean `cidr_blocks`", "543200", "nothing has changed"] {
        assert!(all.contains(words), "{words}: {all}");
    }
    let (code, stdout, all) = apply(&lab, &wrong, &["--json"]);
    assert_eq!(code, Some(1), "{all}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert!(report["errors"].as_u64().unwrap() >= 2, "{report:#}");

    // The database listens elsewhere now.
    let next = text.replace("5432", "5433");
    let (code, stdout, all) = apply(&lab, &next, &["--dry-run"]);
    assert_eq!(code, Some(0), "{all}");
    assert!(stdout.contains("~ main/security_group/") && stdout.contains("5433"), "{stdout}");
    assert!(all.contains("not applied"), "{all}");
    assert_eq!(lab.get("status")["generation"], generation);

    let (code, stdout, all) = apply(&lab, &next, &["--json"]);
    assert_eq!(code, Some(0), "{all}");
    let applied: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(applied["generation"], generation + 1, "{applied:#}");
    assert_eq!(applied["changes"][0]["action"], "changed", "{applied:#}");
    assert_eq!(lab.get("status")["generation"], generation + 1);
    lab.serve("instance/db", 5433, common::tell_peer);
    assert_eq!(lab.ask("function/api/1", "10.0.2.10:5433", "").unwrap(), "10.0.1.4");

    let (code, stdout, all) = apply(&lab, &next, &[]);
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{all}");
    assert!(all.contains("no difference"), "{all}");
}

#[test]
fn without_a_daemon_it_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let output = viaduct()
        .args(["apply", "--runtime-dir"])
        .arg(directory.path())
        .arg(repository("config/quickstart.yaml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("no daemon"), "{}", said(&output));
}
