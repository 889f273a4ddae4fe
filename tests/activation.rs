//! A daemon that is started with sockets that listen already, as systemd starts it.

mod common;

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    process::{Command, Stdio},
};

use common::{Killed, LIMIT, eventually, has, permitted, repository, said, unique, viaduct};
use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
    process::{Pid, Signal},
};
use viaduct_tun::netns;

/// The sockets of a service, open for as long as this is.
struct Service {
    directory: tempfile::TempDir,
    attach: OwnedFd,
    control: UnixListener,
}

impl Service {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let flags = SocketFlags::CLOEXEC;
        let attach =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let attach = attach.unwrap();
        let address = SocketAddrUnix::new(directory.path().join("attach.sock")).unwrap();
        rustix::net::bind(&attach, &address).unwrap();
        rustix::net::listen(&attach, 16).unwrap();
        let control = UnixListener::bind(directory.path().join("control.sock")).unwrap();
        Self { directory, attach, control }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts a daemon as a service manager does: descriptors from 3 on, and variables that say what they
    /// are. A shell puts them there, from where a program of this language can.
    fn start(&self, names: &str, first: OwnedFd, second: OwnedFd) -> Killed {
        let script = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ exec \"$@\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(viaduct().get_program()).arg("run");
        shell.arg(repository("config/quickstart.yaml")).args(["--workers", "1", "--runtime-dir"]);
        shell.arg(self.path("daemon")).env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names);
        shell.stdin(first).stdout(second).stderr(File::create(self.path("log")).unwrap());
        Killed(shell.spawn().unwrap())
    }

    fn daemon(&self) -> Killed {
        let attach = self.attach.try_clone().unwrap();
        self.start("attach:control", attach, self.control.try_clone().unwrap().into())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// A question that may be asked before there is anybody to answer it.
    fn ask(&self) -> UnixStream {
        let mut stream = UnixStream::connect(self.path("control.sock")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(QUESTION).unwrap();
        stream
    }
}

const QUESTION: &[u8] = b"GET /v1/status HTTP/1.1\r\nHost: viaduct\r\nConnection: close\r\n\r\n";

fn answer(mut stream: impl Read) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn end(mut daemon: Killed) {
    rustix::process::kill_process(Pid::from_child(&daemon.0), Signal::TERM).unwrap();
    assert!(daemon.0.wait().unwrap().success());
}

/// The daemon is confined, and so could not have opened them by now.
#[test]
fn who_comes_while_there_is_no_daemon_waits_for_it() {
    let service = Service::new();
    let early = service.ask();
    let first = service.daemon();
    let told = answer(early);
    assert!(told.starts_with("HTTP/1.1 200"), "{told}\n{}", service.log());
    let path = service.path("attach.sock");
    assert!(told.contains(&format!("\"attach_socket\":\"{}\"", path.display())), "{told}");
    assert!(service.log().contains("confined"), "{}", service.log());
    end(first);
    for socket in ["attach.sock", "control.sock"] {
        assert!(service.path(socket).exists(), "{socket} is not the daemon's to remove");
    }
    let left = std::fs::read_dir(service.path("daemon")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["connections", "state.redb"], "its own directory is");
    let between = service.ask();
    let second = service.daemon();
    let told = answer(between);
    assert!(told.contains(&format!("\"pid\":{}", second.0.id())), "{told}");
}

#[test]
fn queues_are_taken_on_a_socket_that_was_open_before() {
    if !permitted() {
        return;
    }
    let service = Service::new();
    let name = unique("activation");
    netns::create(&name).unwrap();
    let mut attach = viaduct();
    attach.args(["attach", "function/api/1", "--netns", &name, "--runtime-dir"]);
    attach.arg(service.directory.path()).args(["--", "cat", "/proc/net/dev"]);
    let attach = attach.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let daemon = service.daemon();
    let attached = attach.wait_with_output().unwrap();
    netns::remove(&name).unwrap();
    assert!(attached.status.success(), "{}\n{}", said(&attached), service.log());
    assert!(String::from_utf8_lossy(&attached.stdout).contains("eth0:"), "{}", said(&attached));
    end(daemon);
}

#[test]
fn a_socket_of_the_wrong_kind_ends_the_start_and_says_which() {
    let service = Service::new();
    let (attach, control) = (service.attach.try_clone().unwrap(), service.control.try_clone());
    let mut daemon = service.start("control:attach", attach, control.unwrap().into());
    assert_eq!(daemon.0.wait().unwrap().code(), Some(2));
    let log = service.log();
    assert!(log.contains("`control`") && log.contains("ListenStream= with a path"), "{log}");
    assert!(!service.path("daemon").exists(), "nothing was made before");
}

/// systemd's own launcher: it starts the daemon with the first who connects.
#[test]
fn systemd_starts_it_with_the_first_connection() {
    if !has("systemd-socket-activate") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let control = directory.path().join("control.sock");
    // A port that is free now; nobody else here takes it by chance.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut launcher = Command::new("systemd-socket-activate");
    launcher.arg("--listen").arg(&control).arg("--listen").arg(port.to_string());
    launcher.args(["--fdname", "control:lambda-api"]).arg(viaduct().get_program()).arg("run");
    launcher.arg(repository("config/quickstart.yaml")).args(["--workers", "1", "--runtime-dir"]);
    launcher.arg(directory.path().join("daemon")).stderr(Stdio::null());
    let daemon = Killed(launcher.spawn().unwrap());

    let mut asked = eventually(|| UnixStream::connect(&control).ok()).expect("it listens");
    asked.set_read_timeout(Some(LIMIT)).unwrap();
    asked.write_all(QUESTION).unwrap();
    let told = answer(asked);
    assert!(told.contains(&format!("\"pid\":{}", daemon.0.id())), "{told}");

    let mut asked = TcpStream::connect(port).unwrap();
    asked.set_read_timeout(Some(LIMIT)).unwrap();
    asked.write_all(QUESTION).unwrap();
    let told = answer(asked);
    assert!(told.contains("x-amzn-errortype: MissingAuthenticationToken"), "{told}");
    end(daemon);
    assert!(control.exists(), "the socket is the launcher's");
}
