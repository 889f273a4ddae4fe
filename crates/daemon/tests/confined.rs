//! A daemon that confines itself, tried from inside and from outside.
//!
//! Confinement is for a whole process and for good, so the daemon has one of its own: this binary, started
//! again for [`inside`]. And it begins on a process's only thread, which the usual test runner keeps for
//! itself: so this is a runner of one test.

mod common;

use std::{
    fs,
    io::ErrorKind,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{
        net::{UnixDatagram, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
};

use common::{LIMIT, TOPOLOGY, eventually};
use viaduct_client::{Client, ClientError, Status};
use viaduct_daemon::{AttachSocket, Options, Ready};
use viaduct_tun::{
    Reply, Request,
    handover::{PROTOCOL_VERSION, RefusalReason},
};

/// Where the inner process finds its topology.
const DIRECTORY: &str = "VIADUCT_TEST_CONFINED_IN";

/// Where in it, and not in the runtime directory, there is a socket for one host alone.
const OWN: &str = "own/attach.sock";

/// Where in it a service manager listens.
const MANAGER: &str = "manager";

/// A daemon in a process of its own. Killed when dropped.
struct Confined {
    directory: tempfile::TempDir,
    /// Plays the service manager.
    manager: UnixDatagram,
    process: Child,
}

impl Confined {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("topology.yaml"), TOPOLOGY).unwrap();
        fs::create_dir(directory.path().join("own")).unwrap();
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.env(DIRECTORY, directory.path());
        let manager = UnixDatagram::bind(directory.path().join(MANAGER)).unwrap();
        manager.set_read_timeout(Some(LIMIT)).unwrap();
        Self { directory, manager, process: again.spawn().unwrap() }
    }

    fn control_socket(&self) -> PathBuf {
        self.directory.path().join("run/control.sock")
    }

    fn status(&self) -> Result<Status, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Client::connect(&self.control_socket()).await?.status().await })
    }

    /// What is answered to a helper that wants to know of a host.
    fn asked(&self, socket: &str, host: &str) -> Reply {
        let client = viaduct_tun::Client::connect(self.directory.path().join(socket)).unwrap();
        let question = Request::Describe { name: host.to_owned(), token: None };
        for request in [Request::Hello { version: PROTOCOL_VERSION }, question] {
            client.send(&request, None, LIMIT).unwrap();
        }
        client.recv(LIMIT).unwrap()
    }

    /// What the service manager is told next.
    fn told(&self) -> String {
        let mut text = [0; 64];
        let length = self.manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The lines of `/proc/PID/task/*/status`, of each thread.
    fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap()).collect()
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn main() {
    match std::env::var_os(DIRECTORY) {
        Some(directory) => inside(Path::new(&directory)),
        None => {
            it_serves_reloads_and_leaves_what_lasts();
            println!("test it_serves_reloads_and_leaves_what_lasts ... ok");
        }
    }
}

fn it_serves_reloads_and_leaves_what_lasts() {
    let mut daemon = Confined::start();
    assert_eq!(daemon.told(), "READY=1");
    assert!(daemon.status().unwrap().ready);

    // The control side, two workers, and whoever waits for files by now.
    let threads = daemon.threads();
    assert!(threads.len() >= 3, "{threads:#?}");
    for thread in &threads {
        let field = |name: &str| {
            let line = thread.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name} in {thread}")).trim().to_owned()
        };
        // Who is not root may keep a bound to what it could never have.
        let bound = rustix::process::geteuid().is_root().then_some("CapBnd:");
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"].into_iter().chain(bound) {
            assert_eq!(field(set), "0000000000000000", "{set} of {thread}");
        }
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1".into(), "2".into()), "{thread}");
    }

    // The sockets listened before it was confined; accepting goes on.
    assert!(matches!(daemon.asked("run/attach.sock", "instance/db"), Reply::Plan(_)));
    assert!(matches!(daemon.asked(OWN, "function/api/1"), Reply::Plan(_)));
    let refused = daemon.asked(OWN, "instance/db");
    assert!(
        matches!(refused, Reply::Refused { reason: RefusalReason::NotAllowed, .. }),
        "{refused:?}"
    );

    // Another file in the place of the topology, as editors leave it.
    let topology = daemon.directory.path().join("topology.yaml");
    let other = daemon.directory.path().join("other.yaml");
    fs::write(&other, TOPOLOGY.replace("environments: 2", "environments: 3")).unwrap();
    fs::rename(&other, &topology).unwrap();
    let hosts = || daemon.status().unwrap().attachments.declared;
    let before = hosts();
    daemon.signal(rustix::process::Signal::HUP);
    eventually("the topology was read again", || hosts() == before + 1);

    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.told(), "STOPPING=1");
    let ended = daemon.process.wait().unwrap();
    assert!(ended.success(), "inside something was not refused: {ended}");
    let left = fs::read_dir(daemon.directory.path().join("run")).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["connections", "state.redb"], "it leaves what lasts");
    assert!(!daemon.directory.path().join(OWN).exists(), "and no socket");
}

/// The inner process.
fn inside(directory: &Path) {
    let mut options = Options::new(directory.join("topology.yaml"));
    options.runtime_dir = directory.join("run");
    options.workers = Some(2.try_into().unwrap());
    options.confine = true;
    let own: Result<AttachSocket, _> =
        format!("function/api={}", directory.join(OWN).display()).parse();
    options.attach_sockets = vec![own.unwrap()];
    options.service_manager = Some(directory.join(MANAGER).into());
    let tried = |ready: &Ready| {
        let confined = ready.confined.expect("it was to be confined");
        assert!(confined.calls > 10, "{confined:?}");
        let attempts = || nothing_goes(directory, confined.files);
        attempts();
        // What a thread may is what it was started with.
        thread::scope(|scope| scope.spawn(attempts).join()).expect("nor on a thread that is new");
    };
    viaduct_daemon::run(&options, tried, viaduct_daemon::interrupted()).unwrap();
}

/// Everything that whoever takes the daemon over would like to do.
fn nothing_goes(directory: &Path, files: bool) {
    fn refused<T>(what: &str, answer: std::io::Result<T>) {
        match answer {
            Ok(_) => panic!("{what}: not refused"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}"),
        }
    }
    refused("a UDP socket", UdpSocket::bind("127.0.0.1:0"));
    refused("a TCP socket", TcpListener::bind("127.0.0.1:0"));
    refused("a connection", TcpStream::connect_timeout(&"127.0.0.1:9".parse().unwrap(), LIMIT));
    refused("a Unix socket", UnixStream::connect(directory.join("run/control.sock")));
    refused("a pair of sockets", UnixStream::pair());
    refused("a process", Command::new("/bin/true").spawn());
    refused("a program in its own place", Err::<(), _>(Command::new("/bin/true").exec()));
    refused("being traced", nix::sys::ptrace::traceme().map_err(Into::into));
    let traced = nix::sys::ptrace::attach(nix::unistd::getppid());
    refused("tracing its parent", traced.map_err(Into::into));
    if !files {
        println!("skipped: no Landlock here, so files are not tried");
        return;
    }
    refused("a file of the system", fs::read("/etc/passwd"));
    refused("what a process has", fs::read("/proc/self/environ"));
    refused("a file beside its own", fs::write(directory.join("planted"), "x"));
    fs::read(directory.join("topology.yaml")).expect("its topology");
    let state = directory.join("run/state");
    fs::write(&state, "x").expect("a file in its runtime directory");
    fs::remove_file(&state).expect("a file in its runtime directory");
}
