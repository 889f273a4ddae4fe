//! `lab up` killed at any moment leaves nothing that `lab down` does not find.

mod common;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use common::{eventually, permitted, repository, said, unique, viaduct};

const KILLS: u32 = 20;

/// What of a lab can be seen on the host: everything has the lab's name in it.
fn traces(lab: &str) -> BTreeSet<String> {
    let mut traces = BTreeSet::new();
    for directory in ["/run/netns", "/etc/netns", "/run/viaduct/labs"] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == lab || name.starts_with(&format!("vd-{lab}.")) {
                traces.insert(format!("{directory}/{name}"));
            }
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    traces.extend(mounts.lines().filter(|line| line.contains(lab)).map(str::to_owned));
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie is over; its parent, which was killed too, cannot collect it any more.
        let zombie = state.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z"));
        if command.contains(lab) && !zombie {
            traces.insert(format!("process {pid}: {command}"));
        }
    }
    traces
}

#[test]
fn down_finds_whatever_a_killed_up_left() {
    if !permitted() {
        return;
    }
    let name = unique("killed");
    let file = repository("config/quickstart.yaml");
    let up = || {
        let mut up = viaduct();
        up.args(["lab", "up", "--name", &name]).arg(&file);
        up.stdout(Stdio::null()).stderr(Stdio::null());
        up
    };
    let down = || {
        let output = viaduct().args(["lab", "down", &name]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        // A process that its killed parent had just forked sees for itself that it is not wanted.
        let gone = eventually(|| traces(&name).is_empty().then_some(()));
        assert!(gone.is_some(), "left behind: {:#?}", traces(&name));
    };

    // How long it takes undisturbed says which moments there are.
    let started = Instant::now();
    assert!(up().status().unwrap().success());
    let whole = started.elapsed();
    assert!(!traces(&name).is_empty(), "there is something to see while it is up");
    down();

    let mut stages = BTreeSet::new();
    for kill in 0..KILLS {
        let mut child = up().spawn().unwrap();
        // The moments are spread over the whole of it, the first at once.
        spin_until(Instant::now() + whole * kill / KILLS);
        child.kill().unwrap();
        child.wait().unwrap();
        stages.insert(traces(&name).len());
        down();
    }
    assert!(stages.len() > 2, "the kills all hit one stage: {stages:?}");

    // And the name is free for the next.
    assert!(up().status().unwrap().success());
    down();
    assert!(!Path::new("/run/viaduct/labs").join(&name).exists());
}

/// A moment between two others is what this is about, so it is not left to the scheduler's ticks.
fn spin_until(moment: Instant) {
    while let Some(left) = moment.checked_duration_since(Instant::now()) {
        std::thread::sleep(left.min(Duration::from_micros(200)));
    }
}
