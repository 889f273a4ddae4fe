//! Hosts that break their own end: the others go on, and no worker spins.

mod common;

use std::time::{Duration, Instant};

use common::{Lab, eventually, has, permitted, repository, said, tell_peer};
use rustix::process::Signal;

fn state(lab: &Lab, host: &str) -> String {
    let attachments = lab.get("attachments");
    let found = attachments.as_array().unwrap().iter().find(|it| it["name"] == host).unwrap();
    found["state"].as_str().unwrap().to_owned()
}

/// Processor time that the daemon has used, in clock ticks (a hundredth of a second each).
fn ticks(lab: &Lab) -> u64 {
    let pid = lab.get("status")["pid"].as_u64().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Fields 14 and 15, counted behind the name, which may contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_link_that_is_down_and_a_device_that_is_deleted_harm_nobody_else() {
    if !permitted() || !has("ip") {
        return;
    }
    let lab = Lab::of_file("misbehave", &repository("config/quickstart.yaml"));
    lab.serve("instance/db", 5432, tell_peer);
    let ip = |arguments: &[&str]| {
        let output = lab.exec("function/api/1", arguments).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    };
    let others_go_on = || {
        assert_eq!(lab.ask("function/api/2", "10.0.2.10:5432", "").unwrap(), "10.0.1.4");
    };
    // Connections whose answers will find the link down, or the device gone.
    let held = lab.connect("function/api/1", "10.0.2.10:5432").unwrap();
    ip(&["ip", "link", "set", "eth0", "down"]);
    drop(held);
    others_go_on();
    ip(&["ip", "link", "set", "eth0", "up"]);
    ip(&["ip", "route", "add", "default", "dev", "eth0"]);
    assert_eq!(lab.ask("function/api/1", "10.0.2.10:5432", "").unwrap(), "10.0.1.4");

    ip(&["ip", "link", "delete", "eth0"]);
    others_go_on();
    let noticed = eventually(|| (state(&lab, "function/api/1") == "detached").then_some(()));
    assert!(noticed.is_some(), "{:#}", lab.get("attachments"));
    others_go_on();

    // A worker that spins on the dead queue would use all of its core.
    let (before, started) = (ticks(&lab), Instant::now());
    while started.elapsed() < Duration::from_millis(500) {
        others_go_on();
        std::thread::sleep(Duration::from_millis(50));
    }
    let share = Duration::from_millis(10 * (ticks(&lab) - before));
    assert!(share < started.elapsed() / 2, "the daemon used {share:?} of {:?}", started.elapsed());
}

#[test]
fn when_the_agent_is_killed_the_daemon_notices_and_goes_on() {
    if !permitted() {
        return;
    }
    let lab = Lab::of_file("noagent", &repository("config/quickstart.yaml"));
    rustix::process::kill_process(lab.agent(), Signal::KILL).unwrap();

    // After the grace in which an agent may come back.
    let gone = eventually(|| (state(&lab, "instance/db") == "detached").then_some(()));
    assert!(gone.is_some(), "{:#}", lab.get("attachments"));
    assert_eq!(lab.get("status")["attachments"]["attached"], 0);
    let before = ticks(&lab);
    std::thread::sleep(Duration::from_millis(300));
    assert!(ticks(&lab) - before < 15, "the daemon spins without its hosts");
}
