//! Invocations: many at once, more than may be, daemons that die, bombs, and what commands are told.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    thread,
};

use common::{
    Lab, eventually, has,
    lambda::{
        Daemon, NETWORK, all_active, call, image, invoke, make_function, make_role, try_send,
    },
    permitted, processes,
    service::Service,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Makes functions and waits until all are active.
fn functions(daemon: &impl Daemon, functions: &[(String, Value)]) {
    make_role(daemon);
    for (name, more) in functions {
        let made = make_function(daemon, name, "subnet-a", "sg-fn", more.clone());
        assert_eq!(made["FunctionName"], **name, "{made:#}");
    }
    all_active(daemon);
}

/// How many processes have these words on their command line, and no others.
fn runs(words: &[&str]) -> usize {
    processes(words).len()
}

/// Had by scenarios that use up the machine: one at a time.
static MACHINE: Mutex<()> = Mutex::new(());

/// When something ran, in nanoseconds.
#[derive(Debug)]
struct Ran {
    function: String,
    began: u64,
    ended: u64,
}

#[test]
fn many_at_once_over_several_functions_share_no_environment() {
    const EACH: usize = 10;
    const ROUNDS: usize = 2;
    if !permitted() {
        return;
    }
    // Ten invocations of each at once: 200 with scripts/soak-invocations.
    let functions_at_once = std::env::var("VIADUCT_INVOKED_FUNCTIONS");
    let functions_at_once: usize = functions_at_once.map_or(4, |number| number.parse().unwrap());
    let _alone = MACHINE.lock();
    let lab = Lab::of("many-at-once", NETWORK);
    // Where it ran, what for, and from when to when.
    let line = "began=$(date +%s%N); read -r number; \
                echo $(readlink /proc/self/ns/net) $AWS_LAMBDA_FUNCTION_NAME $number $began $(date +%s%N)";
    let named = (0..functions_at_once).map(|number| (format!("f{number}"), image(line, 60)));
    functions(&lab, &named.collect::<Vec<_>>());
    let mut ran: BTreeMap<String, Vec<Ran>> = BTreeMap::new();
    for round in 0..ROUNDS {
        thread::scope(|scope| {
            let begin = |number: usize| {
                let (lab, function) = (&lab, format!("f{}", number % functions_at_once));
                scope.spawn(move || {
                    let answer = invoke(lab, &function, &[], &format!("{round}-{number}\n"));
                    let text = answer.text();
                    let words: Vec<&str> = text.split_whitespace().collect();
                    let [place, name, said, began, ended] = words[..] else { panic!("{answer:?}") };
                    assert_eq!((name, said), (&*function, &*format!("{round}-{number}")));
                    let [began, ended] = [began, ended].map(|moment| moment.parse().unwrap());
                    (place.to_owned(), Ran { function, began, ended })
                })
            };
            let begun: Vec<_> = (0..functions_at_once * EACH).map(begin).collect();
            for invocation in begun {
                let (place, what) = invocation.join().unwrap();
                ran.entry(place).or_default().push(what);
            }
        });
    }
    assert_eq!(ran.values().map(Vec::len).sum::<usize>(), ROUNDS * functions_at_once * EACH);
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for here in ran.values_mut() {
        here.sort_by_key(|ran| ran.began);
        let functions: BTreeSet<&str> = here.iter().map(|ran| &*ran.function).collect();
        assert_eq!(functions.len(), 1, "an environment of two functions: {here:?}");
        for (one, next) in here.iter().zip(&here[1..]) {
            assert!(one.ended <= next.began, "two at once in one environment: {one:?} {next:?}");
        }
        *places.entry(functions.first().unwrap()).or_default() += 1;
    }
    // Those that are there are used again before another one is made.
    assert!(places.values().all(|places| *places <= EACH), "not used again: {places:?}");
    let attached = lab.get("attachments");
    let attached = attached.as_array().unwrap().iter().filter(|it| it["state"] == "attached");
    let kept = attached.filter(|it| it["name"].as_str().unwrap().starts_with("function/f"));
    assert_eq!(kept.count(), ran.len(), "what was made is kept");
}

#[test]
fn a_fork_bomb_is_bounded_and_is_nobody_elses() {
    if !permitted() || !has("python3") {
        return;
    }
    let _alone = MACHINE.lock();
    let directory = tempfile::tempdir().unwrap();
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), readable).unwrap();
    let over = directory.path().join("over");
    // The first one ends when it is told to; the others never do.
    let bomb = format!(
        "
import os, time
first = os.getpid()
while os.getpid() != first or not os.path.exists(\"{}\"):
    try:
        os.fork()
    except OSError:
        time.sleep(0.1)
",
        over.display()
    );
    // How many processes there can be: children that wait, until no other can be made.
    let count = "exec python3 -c '
import os, signal
made = 0
try:
    while made < 5000:
        if os.fork() == 0:
            signal.pause()
        made += 1
except BlockingIOError:
    print(made)
'";
    let lab = Lab::of("bomb", NETWORK);
    let line = format!("exec python3 -c '{bomb}'");
    let named = [
        ("bomb", image(&line, 120)),
        ("count", image(count, 60)),
        ("well", image("echo well", 60)),
    ];
    functions(&lab, &named.map(|(name, more)| (name.to_owned(), more)));
    let fork = ["python3", "-c", &bomb];
    thread::scope(|scope| {
        let bombing = scope.spawn(|| invoke(&lab, "bomb", &[], ""));
        assert!(eventually(|| (runs(&fork) > 100).then_some(())).is_some(), "it does not go off");
        assert_eq!(invoke(&lab, "well", &[], "").text(), "well\n", "there is room for others");
        assert!(runs(&fork) <= 1024);
        std::fs::write(&over, "").unwrap();
        let answer = bombing.join().unwrap();
        assert_eq!(answer.header("x-amz-function-error"), None, "{}", answer.text());
    });
    assert_eq!(runs(&fork), 0, "they ended with the first");
    let counted = invoke(&lab, "count", &[], "").text();
    if counted.is_empty() {
        println!("skipped: before Linux 6.14 the bound is one for all functions");
        return;
    }
    let counted: usize = counted.trim().parse().unwrap();
    assert!((500..=1024).contains(&counted), "{counted}");
}

#[test]
fn a_daemon_that_dies_ends_what_runs_and_the_next_one_has_it_run_again() {
    if !permitted() {
        return;
    }
    let mut service = Service::start("dying", NETWORK, &[], &[]);
    let named = [("f", image("exec sleep 8681", 900)), ("well", image("echo well", 60))];
    functions(&service, &named.map(|(name, more)| (name.to_owned(), more)));
    let sleep = ["sleep", "8681"];
    thread::scope(|scope| {
        let path = "/2015-03-31/functions/f/invocations";
        let socket = service.runtime_dir().join("control.sock");
        let waiting = scope.spawn(move || try_send(&socket, "POST", path, &[], "{}"));
        assert!(eventually(|| (runs(&sleep) == 1).then_some(())).is_some());
        service.kill_daemon();
        // Nobody says what became of it.
        assert!(waiting.join().unwrap().is_err());
        assert!(
            eventually(|| (runs(&sleep) == 0).then_some(())).is_some(),
            "it outlives the daemon"
        );
    });
    service.start_daemon();
    all_active(&service);
    assert_eq!(invoke(&service, "well", &[], "").text(), "well\n");
}

#[test]
fn more_than_an_agent_runs_are_throttled_and_environments_end_when_nobody_uses_them() {
    if !permitted() {
        return;
    }
    let limits = ["--concurrency", "2", "--idle", "1"];
    let service = Service::start("throttled", NETWORK, &[], &limits);
    let named = [("hold", image("exec sleep 8682", 900)), ("well", image("echo well", 60))];
    functions(&service, &named.map(|(name, more)| (name.to_owned(), more)));
    let environments = || {
        let mut held = service.held();
        held.retain(|host| host.starts_with("function.") && !host.contains("declared"));
        held
    };
    let sleep = ["sleep", "8682"];
    thread::scope(|scope| {
        let holding = [(); 2].map(|()| scope.spawn(|| invoke(&service, "hold", &[], "")));
        assert!(eventually(|| (runs(&sleep) == 2).then_some(())).is_some());
        for kind in ["RequestResponse", "Event"] {
            let kind = format!("x-amz-invocation-type: {kind}");
            let answer = invoke(&service, "well", &[&kind], "");
            assert_eq!(answer.status, 429, "{answer:?}");
            assert_eq!(answer.header("x-amzn-errortype"), Some("TooManyRequestsException"));
        }
        assert_eq!(environments().len(), 2);
        for pid in processes(&sleep) {
            rustix::process::kill_process(pid, Signal::KILL).unwrap();
        }
        for holding in holding {
            let answer = holding.join().unwrap();
            assert_eq!(answer.json()["errorType"], "Runtime.ExitError", "{}", answer.text());
        }
    });
    assert_eq!(invoke(&service, "well", &[], "").text(), "well\n");
    let ended = || environments().is_empty().then_some(());
    assert!(eventually(ended).is_some(), "{:?}", environments());
    let attached = || call(&service, "GET", "/v1/attachments", "");
    // The two of the file, and the web.
    let gone = || (attached().as_array().unwrap().len() == 3).then_some(());
    assert!(eventually(gone).is_some(), "{:#}", attached());
    assert_eq!(invoke(&service, "well", &[], "").text(), "well\n", "made anew");
}

#[test]
fn a_function_has_several_names_and_its_command_a_directory() {
    if !permitted() {
        return;
    }
    let service = Service::start("named", NETWORK, &[], &[]);
    let in_directory = |directory: &str| {
        let mut image = image("pwd; echo $AWS_LAMBDA_FUNCTION_VERSION", 60);
        image["ImageConfig"]["WorkingDirectory"] = json!(directory);
        image
    };
    let named = [
        ("f", in_directory("/usr/bin")),
        ("root", image("pwd", 60)),
        ("lost", in_directory("/no/such/directory")),
        ("shut", in_directory("/proc/1/fd")),
    ];
    functions(&service, &named.map(|(name, more)| (name.to_owned(), more)));
    let published = call(&service, "POST", "/2015-03-31/functions/f/versions", "{}");
    assert_eq!(published["Version"], "1", "{published:#}");
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:f".replace(':', "%3A");
    for (name, version) in [
        ("f", "$LATEST"),
        ("f:$LATEST", "$LATEST"),
        ("f:1", "1"),
        ("123456789012:function:f", "$LATEST"),
        ("123456789012:function:f:1", "1"),
        (&*arn, "$LATEST"),
        (&*format!("{arn}%3A1"), "1"),
    ] {
        let answer = invoke(&service, name, &[], "");
        assert_eq!(answer.text(), format!("/usr/bin\n{version}\n"), "{name}: {answer:?}");
        assert_eq!(answer.header("x-amz-executed-version"), Some(version));
    }
    for (name, exception) in [
        ("111122223333:function:f", "AccessDeniedException"),
        ("123456789012:function:none", "ResourceNotFoundException"),
        ("123456789012:f", "ResourceNotFoundException"),
        ("f:2", "ResourceNotFoundException"),
    ] {
        let answer = invoke(&service, name, &[], "");
        assert_eq!(answer.header("x-amzn-errortype"), Some(exception), "{name}: {answer:?}");
    }
    assert_eq!(invoke(&service, "root", &[], "").text(), "/\n");
    for (name, directory) in [("lost", "/no/such/directory"), ("shut", "/proc/1/fd")] {
        let answer = invoke(&service, name, &[], "").json();
        assert_eq!(answer["errorType"], "Runtime.InvalidEntrypoint", "{answer:#}");
        let said = answer["errorMessage"].as_str().unwrap();
        assert!(said.contains("exit status 126") && said.contains(directory), "{said}");
    }
}
