//! Invoke: commands in environments that the lab's agent makes, keeps and ends.

mod common;

use std::{
    io::Write,
    process::{Command, Output},
    thread,
};

use common::{
    Lab, eventually, has,
    lambda::{NETWORK, all_active, call, image, invoke, make_function, make_role},
    permitted, processes, said, viaduct,
};
use serde_json::{Value, json};

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

/// Whether a process sleeps so many seconds, anywhere.
fn sleeps(seconds: &str) -> bool {
    !processes(&["sleep", seconds]).is_empty()
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
fn what_hangs_floods_forks_or_dies_is_bounded_and_reported() {
    if !permitted() {
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
    assert!(!sleeps("8673") && !sleeps("8674"), "whatever they started ended with them");
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
    if !permitted() {
        return;
    }
    let lab = lab("invoke-death", &[("f", image("sleep 8675", 900))]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| invoke(&lab, "f", &[], "{}"));
        assert!(eventually(|| sleeps("8675").then_some(())).is_some());
        rustix::process::kill_process(lab.agent(), rustix::process::Signal::KILL).unwrap();
        let answer = waiting.join().unwrap();
        assert_eq!(answer.header("x-amzn-errortype"), Some("ServiceException"), "{answer:?}");
        assert!(answer.text().contains("agent"), "{answer:?}");
    });
    assert!(eventually(|| (!sleeps("8675")).then_some(())).is_some(), "it outlives the agent");
    let answer = invoke(&lab, "f", &[], "{}");
    assert!(answer.text().contains("no agent runs functions"), "{answer:?}");
}
