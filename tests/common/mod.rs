//! Labs for scenarios: brought up with the real binary, taken down however a scenario ends.

// Each scenario uses its own part of this.
#![allow(dead_code)]

pub(crate) mod crowd;
pub(crate) mod daemon;
pub(crate) mod echoes;
pub(crate) mod lambda;
pub(crate) mod service;
pub(crate) mod station;
pub(crate) mod tun_ioctl;

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    time::{Duration, Instant},
};

use rustix::process::Pid;
use serde_json::Value;
use viaduct_tun::{Namespace, netns};

/// Longer than anything here takes on an overloaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn viaduct() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_viaduct"));
    // What the caller's environment says is not what a scenario is about.
    for variable in
        ["VIADUCT_RUNTIME_DIR", "VIADUCT_TOKEN", "VIADUCT_LOG", "VIADUCT_LOG_FORMAT", "NO_COLOR"]
    {
        command.env_remove(variable);
    }
    command
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Whether labs can be made here; says so if not.
pub(crate) fn permitted() -> bool {
    match viaduct_lab::up::may_make_labs() {
        Ok(()) => true,
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}

/// Whether a program is there; says so if not.
pub(crate) fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()));
    if !found {
        println!("skipped: `{program}` is not installed");
    }
    found
}

/// Whether scapy is there, for the system's own interpreter; says so if not.
pub(crate) fn has_scapy() -> bool {
    let import = ["-c", "import scapy.layers.inet"];
    let found = Command::new("/usr/bin/python3").args(import).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: scapy is not installed");
    }
    found
}

/// A lab that is up. Taken down when dropped.
pub(crate) struct Lab {
    pub(crate) name: String,
    _topology: Option<tempfile::TempDir>,
}

impl Lab {
    /// Brings up a topology that is written here.
    pub(crate) fn of(scenario: &str, topology: &str) -> Self {
        Self::written(scenario, topology, &[])
    }

    /// Brings up a topology that is written here, with so many packet threads.
    pub(crate) fn with_workers(scenario: &str, topology: &str, workers: usize) -> Self {
        Self::written(scenario, topology, &["--workers", &workers.to_string()])
    }

    /// Brings up a topology that is written here, with plain devices.
    pub(crate) fn plain(scenario: &str, topology: &str) -> Self {
        Self::written(scenario, topology, &["--device", "plain"])
    }

    fn written(scenario: &str, topology: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("topology.yaml");
        std::fs::write(&file, topology).unwrap();
        let mut lab = Self::up(scenario, &file, arguments);
        lab._topology = Some(directory);
        lab
    }

    /// Brings up a topology file.
    pub(crate) fn of_file(scenario: &str, file: &Path) -> Self {
        Self::up(scenario, file, &[])
    }

    fn up(scenario: &str, file: &Path, arguments: &[&str]) -> Self {
        let name = unique(scenario);
        // Before `up`, so that a scenario that fails there is cleaned up after as well.
        let lab = Self { name, _topology: None };
        let mut up = viaduct();
        up.args(["lab", "up", "--name", &lab.name]).args(arguments).arg(file);
        let output = up.output().unwrap();
        assert!(output.status.success(), "lab up: {}", said(&output));
        lab
    }

    /// A host's namespace.
    pub(crate) fn namespace(&self, host: &str) -> Namespace {
        netns::open(&format!("vd-{}.{}", self.name, host.replace('/', "."))).unwrap()
    }

    /// `viaduct lab exec HOST -- COMMAND`, still to be run.
    pub(crate) fn exec(&self, host: &str, command: &[&str]) -> Command {
        let mut exec = viaduct();
        exec.args(["lab", "exec", "--lab", &self.name, host, "--"]).args(command);
        exec
    }

    /// `viaduct get WHAT --json`.
    pub(crate) fn get(&self, what: &str) -> Value {
        let output = viaduct().args(["get", what, "--lab", &self.name, "--json"]).output().unwrap();
        assert!(output.status.success(), "get {what}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Whether there is a daemon that answers.
    pub(crate) fn is_answered(&self) -> bool {
        let status = viaduct().args(["get", "status", "--lab", &self.name]).output().unwrap();
        status.status.success()
    }

    /// The path of something in the lab's runtime directory.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        Path::new("/run/viaduct/labs").join(&self.name).join(file)
    }

    /// The process that serves its hosts.
    pub(crate) fn agent(&self) -> Pid {
        agent_of(&self.name)
    }

    /// Packets dropped so far for a reason.
    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.get("counters")["dropped_packets"][reason].as_u64().unwrap_or(0)
    }

    /// Waits for a drop event that fits; returns it.
    pub(crate) fn wait_for_drop(&self, fits: impl Fn(&Value) -> bool) -> Value {
        let found = eventually(|| {
            self.get("drops").as_array().unwrap().iter().find(|event| fits(event)).cloned()
        });
        found.unwrap_or_else(|| panic!("no such drop among {:#}", self.get("drops")))
    }

    /// Serves one connection after another at a host, each on a thread of its own: what `answer`
    /// does with it. Ends with the listener's namespace.
    pub(crate) fn serve(
        &self,
        host: &str,
        port: u16,
        answer: impl Fn(TcpStream) + Clone + Send + 'static,
    ) {
        let listener = self.listen(host, port);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let answer = answer.clone();
                std::thread::spawn(move || answer(stream));
            }
        });
    }

    pub(crate) fn listen(&self, host: &str, port: u16) -> TcpListener {
        self.namespace(host)
            .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
            .unwrap()
            .unwrap()
    }

    /// A connection from a host.
    pub(crate) fn connect(&self, host: &str, to: &str) -> std::io::Result<TcpStream> {
        let to: SocketAddr = to.parse().unwrap();
        self.namespace(host)
            .run(|| {
                let stream = TcpStream::connect_timeout(&to, LIMIT)?;
                stream.set_read_timeout(Some(LIMIT))?;
                stream.set_write_timeout(Some(LIMIT))?;
                Ok(stream)
            })
            .unwrap()
    }

    /// Sends a line from a host and returns the line that comes back.
    pub(crate) fn ask(&self, host: &str, to: &str, line: &str) -> std::io::Result<String> {
        let mut stream = self.connect(host, to)?;
        stream.write_all(line.as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    pub(crate) fn down(&self) -> Output {
        viaduct().args(["lab", "down", &self.name]).output().unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            for log in ["daemon.log", "agent.log"] {
                eprintln!("{log}: {}", std::fs::read_to_string(self.path(log)).unwrap_or_default());
            }
        }
        let output = self.down();
        if !failed {
            assert!(output.status.success(), "lab down: {}", said(&output));
        }
    }
}

/// The processes with these words on their command line and no others, wherever they run.
pub(crate) fn processes(words: &[&str]) -> Vec<Pid> {
    command_lines().filter(|(_, line)| line == words).map(|(pid, _)| pid).collect()
}

/// The process that serves a lab's hosts: the one with its prefix on the command line.
pub(crate) fn agent_of(lab: &str) -> Pid {
    let wanted = ["--prefix".to_owned(), format!("vd-{lab}.")];
    let agent = command_lines().find(|(_, line)| line.windows(2).any(|words| words == wanted));
    agent.expect("the lab has an agent").0
}

/// All processes that have one, with their command lines.
fn command_lines() -> impl Iterator<Item = (Pid, Vec<String>)> {
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
        let line = String::from_utf8(std::fs::read(entry.path().join("cmdline")).ok()?).ok()?;
        Some((pid, line.strip_suffix('\0')?.split('\0').map(str::to_owned).collect()))
    })
}

/// A name that no other scenario has at the same time.
pub(crate) fn unique(scenario: &str) -> String {
    format!("{scenario}-{}", std::process::id())
}

/// Answers a connection with the address it came from.
pub(crate) fn tell_peer(mut stream: TcpStream) {
    let peer = stream.peer_addr().unwrap().ip();
    let mut request = Vec::new();
    // The scenario's other end says what went wrong.
    let _ = stream.read_to_end(&mut request);
    let _ = write!(stream, "{peer}");
}

/// Everything a command said.
pub(crate) fn said(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Looks again until there is something to see, at most [`LIMIT`].
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A child that is killed when dropped.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
