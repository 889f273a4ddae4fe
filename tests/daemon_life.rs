//! Daemons that are stopped, doubled, or not allowed.

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    process::Command,
    time::Duration,
};

use common::{Lab, has, permitted, repository, said, viaduct};
use rustix::process::{Pid, Signal};

fn echo(stream: &mut TcpStream, line: &[u8]) {
    stream.write_all(line).unwrap();
    let mut answer = vec![0; line.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, line);
}

#[test]
fn a_daemon_that_was_stopped_for_seconds_goes_on_where_it_was() {
    if !permitted() {
        return;
    }
    let lab = Lab::of_file("stopped", &repository("config/quickstart.yaml"));
    lab.serve("instance/db", 5432, |mut stream| {
        let mut buffer = [0; 64];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..length]).is_err() {
                return;
            }
        }
    });
    let mut stream = lab.connect("function/api/1", "10.0.2.10:5432").unwrap();
    echo(&mut stream, b"before");
    let pid = lab.get("status")["pid"].as_i64().unwrap();
    let daemon = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();

    rustix::process::kill_process(daemon, Signal::STOP).unwrap();
    stream.write_all(b"during").unwrap();
    // Long enough for a retransmission or two to wait in the queues.
    std::thread::sleep(Duration::from_secs(2));
    rustix::process::kill_process(daemon, Signal::CONT).unwrap();

    let mut answer = [0; 6];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"during");
    echo(&mut stream, b"after");
    let counters = lab.get("counters");
    assert_eq!(counters["connections_ended"], 0, "{counters:#}");
    // A new connection finds its way as well.
    echo(&mut lab.connect("function/api/2", "10.0.2.10:5432").unwrap(), b"another");
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    if !permitted() {
        return;
    }
    let lab = Lab::of_file("second", &repository("config/quickstart.yaml"));
    let second = viaduct()
        .arg("run")
        .arg(repository("config/quickstart.yaml"))
        .arg("--runtime-dir")
        .arg(lab.path(""))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2), "{}", said(&second));
    assert!(said(&second).contains("another daemon"), "{}", said(&second));
    assert_eq!(lab.get("status")["attachments"]["attached"], 8);
    lab.serve("instance/db", 5432, common::tell_peer);
    assert_eq!(lab.ask("function/api/1", "10.0.2.10:5432", "").unwrap(), "10.0.1.4");
}

#[test]
fn without_permission_it_says_what_is_missing() {
    if !permitted() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // Where nobody may look, nobody can read: the binary and the file are copied.
    let (binary, file) = (directory.path().join("viaduct"), directory.path().join("topology.yaml"));
    std::fs::copy(env!("CARGO_BIN_EXE_viaduct"), &binary).unwrap();
    std::fs::copy(repository("config/quickstart.yaml"), &file).unwrap();
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), everybody).unwrap();
    let as_nobody = |arguments: &[&str]| {
        Command::new(&binary).args(arguments).arg(&file).uid(65534).gid(65534).output().unwrap()
    };

    let lab = as_nobody(&["lab", "up"]);
    assert_eq!(lab.status.code(), Some(2), "{}", said(&lab));
    assert!(said(&lab).contains("run this as root"), "{}", said(&lab));
    let daemon = as_nobody(&["run", "--runtime-dir", "/run/viaduct-not-allowed"]);
    assert_eq!(daemon.status.code(), Some(2), "{}", said(&daemon));
    assert!(
        said(&daemon).contains("choose a --runtime-dir that you may write to"),
        "{}",
        said(&daemon)
    );
    // What needs no privileges works without.
    assert_eq!(as_nobody(&["check"]).status.code(), Some(0));
}

#[test]
fn without_the_tun_driver_it_says_how_to_get_it() {
    if !permitted() || !has("unshare") {
        return;
    }
    // A mount namespace in which /dev/net is empty.
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", "mount -t tmpfs none /dev/net && exec \"$@\"", "sh"])
        .args([env!("CARGO_BIN_EXE_viaduct"), "lab", "up", "--name", &common::unique("notun")])
        .arg(repository("config/quickstart.yaml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("modprobe tun"), "{}", said(&output));
}
