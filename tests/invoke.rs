//! Invoke: commands in environments that the lab's agent makes, keeps and ends.

mod common;

use std::{
    collections::BTreeSet,
    io::Write,
    process::{Command, Output},
    thread,
};

use common::{
    Lab, eventually, has,
    lambda::{all_active, call, invoke, make_function, make_role},
    permitted, said, viaduct,
};
use serde_json::{Value, json};

const NETWORK: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public: { cidr_block: 10.0.0.0/24, route_table: public }
      private: { id: subnet-a, cidr_block: 10.0.1.0/24 }
    route_tables:
      main: { main: true, routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways: { egress: { subnet: public, public_ips: [203.0.113.10] } }
    security_groups: { fn: { id: sg-fn } }
internet: { web: { ip: 198.51.100.7 } }
functions: { declared: { subnets: [main/private], security_groups: [main/fn], environments: 2 } }
settings: { lifecycle: { creation: 1 } }
";

/// A lab with functions made over the API, all active.
fn lab(scenario: &str, functions: &[(&str, Value)]) -> Lab {
    let lab = Lab::of(scenario, NETWORK);
    make_role(&lab);
    for (name, more) in functions {
        let made = make_function(&lab, name, "subnet-a", "sg-fn", more.clone());
        assert_eq!(made["FunctionName"], *name, "{made:#}");
    }
    all_active(&lab);
    lab
}

/// What an image brings whose command is a line for the shell.
fn image(line: &str, timeout: u16) -> Value {
    json!({
        "PackageType": "Image",
        "Runtime": null,
        "Handler": null,
        "Code": { "ImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/f:1" },
        "ImageConfig": { "EntryPoint": ["/bin/sh", "-c"], "Command": [line] },
        "Timeout": timeout,
    })
}

/// `viaduct invoke FUNCTION ARGUMENTS…`, still to be run.
fn on_the_command_line(lab: &Lab, function: &str, arguments: &[&str]) -> Command {
    let mut invoke = viaduct();
    invoke.args(["invoke", "--lab", &lab.name, function]).args(arguments);
    invoke
}

fn run(lab: &Lab, function: &str, command: &[&str]) -> Output {
    let arguments = [&["--timeout", "60", "--"], command].concat();
    on_the_command_line(lab, function, &arguments).output().unwrap()
}

/// The environments of functions that are attached, but for the file's.
fn environments(lab: &Lab) -> Vec<String> {
    let attachments = lab.get("attachments");
    let attached = attachments.as_array().unwrap().iter().filter(|it| it["state"] == "attached");
    let names = attached.filter_map(|it| it["name"].as_str()).filter(|it| it.contains("function/"));
    names.filter(|name| !name.contains("declared")).map(str::to_owned).collect()
}

/// Whether a process runs with this argument, anywhere.
fn runs(argument: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok()).any(|line| {
        // Not those above it, which have it in a longer one or behind `--`.
        line.split(|byte| *byte == 0).eq(["sleep", argument, ""].map(str::as_bytes))
    })
}

#[test]
fn a_function_made_over_the_api_fetches_a_page_of_the_internet() {
    if !permitted() || !has("curl") {
        return;
    }
    let fetch = image("cat; curl --silent --show-error http://web:80/; echo log >&2", 20);
    let lab = lab("invoke-page", &[("fetch", fetch), ("zip", json!({}))]);
    lab.serve("internet/web", 80, |mut stream| {
        let page = format!("a page for {}\n", stream.peer_addr().unwrap().ip());
        let mut request = [0; 1024];
        let _ = std::io::Read::read(&mut stream, &mut request);
        let length = page.len();
        let _ = write!(stream, "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{page}");
    });
    let answer = invoke(&lab, "fetch", &["x-amz-log-type: Tail"], "payload ");
    assert_eq!(answer.text(), "payload a page for 203.0.113.10\n", "{answer:?}");
    assert_eq!(answer.header("x-amz-function-error"), None);
    assert_eq!(answer.header("x-amz-executed-version"), Some("$LATEST"));
    assert_eq!(answer.header("x-amz-log-result"), Some("bG9nCg=="), "{answer:?}");
    assert_eq!(environments(&lab), ["function/fetch/1"], "kept");

    // Who does not wait.
    let event = invoke(&lab, "fetch", &["x-amz-invocation-type: Event"], "");
    assert_eq!((event.status, event.text().as_str()), (202, ""));

    let answer = invoke(&lab, "zip", &[], "{}");
    assert_eq!(answer.header("x-amz-function-error"), Some("Unhandled"), "{answer:?}");
    assert!(answer.text().contains("VIADUCT_COMMAND"), "{answer:?}");
    let output = on_the_command_line(&lab, "zip", &[]).output().unwrap();
    assert!(said(&output).contains("the function has no command"), "{}", said(&output));
    let change = json!({ "Environment": { "Variables": {
        "VIADUCT_COMMAND": "echo $WHO $AWS_LAMBDA_FUNCTION_NAME $(id -u)", "WHO": "me",
    } } });
    let path = "/2015-03-31/functions/zip/configuration";
    call(&lab, "PUT", path, &change.to_string());
    let answer = eventually(|| {
        let answer = invoke(&lab, "zip", &[], "{}");
        answer.header("x-amz-function-error").is_none().then_some(answer)
    });
    assert_eq!(answer.unwrap().text(), "me zip 65534\n", "nobody's, and not root's");

    // The same from the command line, with another command.
    let arguments =
        ["--payload", "given", "--timeout", "20", "--", "sh", "-c", "cat; echo e >&2; exit 3"];
    let output = on_the_command_line(&lab, "fetch", &arguments).output().unwrap();
    assert_eq!((&*output.stdout, &*output.stderr), (&b"given"[..], &b"e\n"[..]));
    assert_eq!(output.status.code(), Some(3));
    let output = run(&lab, "declared", &["curl", "--silent", "http://web:80/"]);
    assert_eq!(output.stdout, b"a page for 203.0.113.10\n", "{}", said(&output));
    let output = run(&lab, "nothing", &["true"]);
    assert!(said(&output).contains("no function of this name"), "{}", said(&output));
}

#[test]
fn forty_at_once_over_four_functions_share_no_environment() {
    if !permitted() || !has("curl") {
        return;
    }
    // Each says where it runs, and that nobody else does: a lock of the environment's own network
    // namespace, as an abstract socket is.
    let line = "exec python3 -c '
import os, socket, sys
held = socket.socket(socket.AF_UNIX)
held.bind(\"\\0alone\")
sys.stdin.read(1)
print(os.readlink(\"/proc/self/ns/net\"), os.environ[\"AWS_LAMBDA_FUNCTION_NAME\"], sys.stdin.read())
'";
    if !has("python3") {
        return;
    }
    let names = ["a", "b", "c", "d"];
    let lab = lab("invoke-many", &names.map(|name| (name, image(line, 60))));
    let round = || -> BTreeSet<(String, String)> {
        thread::scope(|scope| {
            let begun: Vec<_> = (0..40)
                .map(|number| {
                    let (lab, name) = (&lab, names[number % 4]);
                    scope.spawn(move || {
                        (name, number, invoke(lab, name, &[], &format!(" {number}")))
                    })
                })
                .collect();
            let mut places = BTreeSet::new();
            for invocation in begun {
                let (name, number, answer) = invocation.join().unwrap();
                let text = answer.text();
                let words: Vec<&str> = text.split_whitespace().collect();
                let [namespace, function, payload] = words[..] else { panic!("{answer:?}") };
                assert_eq!((function, payload), (name, &*number.to_string()));
                places.insert((name.to_owned(), namespace.to_owned()));
            }
            places
        })
    };
    let first = round();
    let namespaces: BTreeSet<&String> = first.iter().map(|(_, namespace)| namespace).collect();
    assert_eq!(namespaces.len(), first.len(), "no two functions share one: {first:?}");
    let kept = environments(&lab);
    assert_eq!(kept.len(), first.len(), "what was made is kept");
    for name in names {
        let again = invoke(&lab, name, &[], " again");
        let place = again.text().split_whitespace().next().unwrap().to_owned();
        assert!(first.contains(&(name.to_owned(), place)), "used again: {again:?}");
    }
    assert_eq!(environments(&lab), kept);
}

#[test]
fn what_hangs_floods_forks_or_dies_is_bounded_and_reported() {
    if !permitted() || !has("curl") {
        return;
    }
    let functions = [
        // Forks that leave their session, ignore signals, and hold the output open.
        ("hang", image("trap '' TERM; setsid sleep 8673 & setsid sleep 8673", 1)),
        ("flood", image("yes", 60)),
        ("fork", image("setsid sleep 8674 & echo done", 60)),
        ("die", image("echo some; kill -9 $$", 60)),
        (
            "missing",
            json!({
                "Environment": { "Variables": { "VIADUCT_COMMAND": "exec /no/such/program" } },
            }),
        ),
        ("full", image("head -c 6291556 /dev/zero", 60)),
    ];
    let lab = lab("invoke-bounds", &functions);
    for (name, kind, message) in [
        ("hang", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
        ("flood", "Function.ResponseSizeTooLarge", "6291556 bytes"),
        ("die", "Runtime.ExitError", "exit status 137 (signal 9)"),
        ("missing", "Runtime.InvalidEntrypoint", "/no/such/program"),
    ] {
        let answer = invoke(&lab, name, &[], "{}");
        assert_eq!(
            (answer.status, answer.header("x-amz-function-error")),
            (200, Some("Unhandled"))
        );
        assert_eq!(answer.json()["errorType"], kind, "{}", answer.text());
        let said = answer.json()["errorMessage"].as_str().unwrap().to_owned();
        assert!(said.contains(message), "{said}");
    }
    assert_eq!(invoke(&lab, "fork", &[], "{}").text(), "done\n");
    assert_eq!(invoke(&lab, "full", &[], "{}").body.len(), 6_291_556);
    assert!(!runs("8673") && !runs("8674"), "whatever they started ended with them");
    // The environments are as good as new.
    for (name, _) in &functions {
        let output = run(&lab, name, &["echo", "well"]);
        assert_eq!(output.stdout, b"well\n", "{name}: {}", said(&output));
    }
    assert_eq!(environments(&lab).len(), functions.len(), "one each: {:?}", environments(&lab));
    let output = run(&lab, "hang", &["/no/such/program"]);
    assert_eq!(output.status.code(), Some(127), "{}", said(&output));
}

#[test]
fn an_agent_that_dies_takes_what_runs_with_it_and_nobody_waits_for_it() {
    if !permitted() || !has("curl") {
        return;
    }
    let lab = lab("invoke-death", &[("f", image("sleep 8675", 900))]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| invoke(&lab, "f", &[], "{}"));
        assert!(eventually(|| runs("8675").then_some(())).is_some());
        rustix::process::kill_process(lab.agent(), rustix::process::Signal::KILL).unwrap();
        let answer = waiting.join().unwrap();
        assert_eq!(answer.header("x-amzn-errortype"), Some("ServiceException"), "{answer:?}");
        assert!(answer.text().contains("agent"), "{answer:?}");
    });
    assert!(eventually(|| (!runs("8675")).then_some(())).is_some(), "it outlives the agent");
    let answer = invoke(&lab, "f", &[], "{}");
    assert!(answer.text().contains("no agent runs functions"), "{answer:?}");
}
