//! What a user of the command line meets: exit codes, output for people and for programs.

mod common;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Output, Stdio},
};

use common::{Killed, eventually, repository, said, viaduct};
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    viaduct().args(arguments).current_dir(repository("")).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

const QUICKSTART: &str = "config/quickstart.yaml";

#[test]
fn check_accepts_the_examples_and_says_so() {
    let output = run(&["check", QUICKSTART, "config/hundred.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(output.stdout.is_empty(), "{}", said(&output));
    assert!(said(&output).contains("config/quickstart.yaml: no problems"), "{}", said(&output));
}

#[test]
fn check_reports_every_problem_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broken.yaml");
    let text = "vpcs:\n  main:\n    cidr_blocks: [10.0.0.0/16]\n    subnet:\n      a: { cidr_block: 10.0.0.0/24 }\nfunctions:\n  api: { subnets: [nowhere] }\n";
    std::fs::write(&file, text).unwrap();

    let output = run(&["check", "--json", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report = json(&output);
    let problems = report["problems"].as_array().unwrap();
    assert!(problems.len() >= 2, "{report:#}");
    assert_eq!(problems[0]["line"], 4, "{report:#}");
    assert_eq!(problems[0]["text"], "subnet", "{report:#}");
    assert!(problems[0]["help"].as_str().unwrap().contains("subnets"), "{report:#}");
    let lines: Vec<u64> = problems.iter().map(|it| it["line"].as_u64().unwrap()).collect();
    assert!(lines.is_sorted(), "{report:#}");

    let people = run(&["check", file.to_str().unwrap()]);
    assert_eq!(people.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&people.stdout);
    assert!(shown.contains("broken.yaml:4:5"), "{shown}");
}

#[test]
fn check_of_a_missing_file_is_no_answer_and_the_others_are_checked() {
    let output = run(&["check", "no/such/file.yaml", QUICKSTART]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("cannot read no/such/file.yaml"), "{}", said(&output));
    assert!(said(&output).contains("quickstart.yaml: no problems"), "{}", said(&output));
}

#[test]
fn explain_answers_with_its_exit_code_too() {
    let explain = |to: &str, port: &str| {
        run(&[
            "explain",
            QUICKSTART,
            "--json",
            "--from",
            "function/api",
            "--to",
            to,
            "--port",
            port,
        ])
    };
    let allowed = explain("instance/db", "tcp/5432");
    assert_eq!(allowed.status.code(), Some(0), "{}", said(&allowed));
    let allowed = json(&allowed);
    assert_eq!(allowed["verdict"], "allow");
    assert_eq!(allowed["reason"], Value::Null);
    assert_eq!(allowed["blockers"], Value::Array(vec![]));
    assert_eq!(allowed["translated_source"], "10.0.1.4");
    for way in ["forward", "return"] {
        assert!(!allowed[way].as_array().unwrap().is_empty(), "{way}");
    }

    let denied = explain("internet/web", "tcp/25");
    assert_eq!(denied.status.code(), Some(1), "{}", said(&denied));
    assert_eq!(json(&denied)["reason"], "ENI_SG_RULES_MISMATCH");

    let unknown = explain("instance/bd", "tcp/25");
    assert_eq!(unknown.status.code(), Some(2));
    assert!(said(&unknown).contains("did you mean"), "{}", said(&unknown));
    assert_eq!(explain("instance/db", "5432").status.code(), Some(2));
}

#[test]
fn one_way_judges_the_request_alone() {
    let explain = |more: &[&str]| {
        let mut command = viaduct();
        command.args(["explain", "--from", "function/api", "--to", "instance/cache"]);
        command.args(["--port", "tcp/6379"]).args(more).arg(repository(QUICKSTART));
        command.output().unwrap().status.code()
    };
    assert_eq!(explain(&[]), Some(1));
    assert_eq!(explain(&["--one-way"]), Some(0));
}

#[test]
fn subnets_that_differ_are_told_apart() {
    let arguments = [
        "explain",
        "config/two-subnets.yaml",
        "--from",
        "function/api",
        "--to",
        "internet/web",
        "--port",
        "tcp/443",
    ];
    let people = run(&arguments);
    let shown = String::from_utf8_lossy(&people.stdout);
    for subnet in ["from main/subnet/a\n", "from main/subnet/b\n"] {
        assert!(shown.contains(subnet), "{shown}");
    }
    // Allowed from one zone only is not allowed.
    assert_eq!(people.status.code(), Some(1));
    let report = json(&run(&[&arguments[..], &["--json"]].concat()));
    assert_eq!(report["verdict"], "deny");
    assert_eq!(report["subnets"].as_array().unwrap().len(), 2, "{report:#}");
}

#[test]
fn colours_are_for_terminals_and_for_those_who_insist() {
    let denied = ["explain", QUICKSTART, "--from", "api", "--to", "web", "--port", "tcp/25"];
    let escapes = |output: &Output| output.stdout.contains(&0x1b);
    assert!(!escapes(&run(&denied)));
    assert!(escapes(&run(&[&denied[..], &["--color", "always"]].concat())));
    assert!(!escapes(&run(&[&denied[..], &["--color", "never"]].concat())));
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() {
    let mut child = viaduct()
        .args(["explain", "--from", "api", "--to", "web", "--port", "tcp/25"])
        .arg(repository(QUICKSTART))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141), "{}", said(&output));
    assert!(output.stderr.is_empty(), "{}", said(&output));
}

#[test]
fn without_a_daemon_the_way_to_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(&["get", "status", "--runtime-dir", directory.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("start one with `viaduct run"), "{}", said(&output));
}

#[test]
fn wrong_usage_is_no_answer() {
    for arguments in
        [&["chekc"][..], &["explain"], &["lab", "exec", "function/api"], &["get", "stuff"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn shells_and_man_get_their_files() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success(), "{}", said(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("explain"), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    let output = run(&["man", directory.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    for page in ["viaduct.1", "viaduct-explain.1", "viaduct-lab-up.1"] {
        assert!(directory.path().join(page).exists(), "{page}");
    }
    let missing = run(&["man", "/no/such/directory"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn exit_codes_are_documented() {
    let help = run(&["--help"]);
    let help = String::from_utf8_lossy(&help.stdout);
    for code in ["\n  0 ", "\n  1 ", "\n  2 ", "\n  141 "] {
        assert!(help.contains(code), "{code:?} in {help}");
    }
}

/// What it was built from: said by the program, by a daemon that runs, and to who collects metrics.
#[test]
fn the_build_is_the_same_wherever_it_is_told() {
    let version = env!("CARGO_PKG_VERSION");
    let said_so = option_env!("VIADUCT_COMMIT").filter(|commit| !commit.is_empty());
    let git =
        Command::new("git").arg("-C").arg(repository("")).args(["rev-parse", "HEAD"]).output();
    let head = git.ok().filter(|git| git.status.success() && repository(".git").exists());
    let head = head.map(|git| String::from_utf8_lossy(&git.stdout)[..12].to_owned());
    let commit = said_so.map(str::to_owned).or(head);
    let text = commit.as_ref().map_or(version.to_owned(), |it| format!("{version} ({it})"));
    for command in [&["--version"][..], &["lab", "up", "--version"]] {
        let shown = String::from_utf8(run(command).stdout).unwrap();
        assert!(shown.ends_with(&format!(" {text}\n")), "{shown}");
    }

    let runtime = tempfile::tempdir().unwrap();
    let log = runtime.path().join("log");
    let mut daemon = viaduct();
    daemon.args(["run", "--workers", "1", "--runtime-dir"]).arg(runtime.path());
    daemon.arg(repository(QUICKSTART)).stderr(std::fs::File::create(&log).unwrap());
    let _daemon = Killed(daemon.spawn().unwrap());
    let mut get = viaduct();
    get.args(["get", "status", "--json", "--runtime-dir"]).arg(runtime.path());
    let status = eventually(|| serde_json::from_slice::<Value>(&get.output().ok()?.stdout).ok());
    let status = status.expect("the daemon answers");
    assert_eq!(status["version"], version);
    assert_eq!(status["commit"], commit.as_deref().map_or(Value::Null, Value::from));
    assert!(std::fs::read_to_string(&log).unwrap().contains(&format!("version={text}")));

    let mut metrics = UnixStream::connect(runtime.path().join("control.sock")).unwrap();
    metrics.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut told = String::new();
    metrics.read_to_string(&mut told).unwrap();
    let commit = commit.unwrap_or_default();
    let build = format!("viaduct_build_info{{version=\"{version}\",commit=\"{commit}\"}} 1\n");
    assert!(told.contains(&build), "{told}");
}
