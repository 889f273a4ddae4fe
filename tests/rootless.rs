//! Labs of a user who is not root and has no capability: nobody, with a node of the TUN driver that root
//! has made for the test.

mod common;

use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use common::{Killed, eventually, has, permitted, repository, said, unique, viaduct};
use rustix::{
    fs::{CWD, FileType, Mode, makedev, mknodat},
    process::{Pid, Signal},
};
use serde_json::Value;

const NOBODY: u32 = 65534;

/// What nobody has: a program, a topology, a directory for what runs, a node. Goes when dropped.
struct Nobody {
    directory: tempfile::TempDir,
}

impl Nobody {
    /// None, with the reason printed, where this cannot be tried.
    fn new() -> Option<Self> {
        if !permitted() || !has("unshare") {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let nobody = Self { directory };
        // Where nobody may look, nobody can read: the binary and the file are copied.
        fs::copy(env!("CARGO_BIN_EXE_viaduct"), nobody.path("viaduct")).unwrap();
        fs::copy(repository("config/quickstart.yaml"), nobody.topology()).unwrap();
        fs::create_dir(nobody.runtime()).unwrap();
        chown(nobody.runtime(), Some(NOBODY), Some(NOBODY)).unwrap();
        let (node, mode) = (nobody.node(), Mode::from_raw_mode(0o666));
        mknodat(CWD, &node, FileType::CharacterDevice, mode, makedev(10, 200)).unwrap();
        for (path, mode) in [("", 0o755), ("topology.yaml", 0o644), ("run", 0o700), ("tun", 0o666)]
        {
            fs::set_permissions(nobody.path(path), Permissions::from_mode(mode)).unwrap();
        }
        if let Err(error) = fs::File::options().read(true).write(true).open(&node) {
            println!("skipped: a node in {} cannot be opened: {error}", node.display());
            return None;
        }
        let mut tried = nobody.command("unshare");
        let tried = tried.args(["--user", "--map-root-user", "--mount", "true"]).output().unwrap();
        if !tried.status.success() {
            println!("skipped: no user namespaces for users here: {}", said(&tried));
            return None;
        }
        Some(nobody)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn topology(&self) -> PathBuf {
        self.path("topology.yaml")
    }

    fn runtime(&self) -> PathBuf {
        self.path("run")
    }

    fn node(&self) -> PathBuf {
        self.path("tun")
    }

    /// A program that nobody runs.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.uid(NOBODY).gid(NOBODY).current_dir(self.directory.path());
        command.env("XDG_RUNTIME_DIR", self.runtime()).env_remove("VIADUCT_RUNTIME_DIR");
        command
    }

    fn viaduct(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(self.path("viaduct"));
        command.args(arguments);
        command
    }

    /// `lab up` or `lab test` without being root.
    fn lab(&self, what: &str, name: &str) -> Output {
        let mut lab = self.viaduct(&["lab", what, "--rootless", "--name", name, "--tun-device"]);
        lab.arg(self.node()).arg(self.topology()).output().unwrap()
    }

    /// Brings a lab up that is taken down when dropped.
    fn up(&self, scenario: &str) -> Up<'_> {
        let up = Up { nobody: self, name: unique(scenario) };
        let output = self.lab("up", &up.name);
        assert!(output.status.success(), "{}", said(&output));
        up
    }

    /// What is left in the directory for what runs.
    fn left(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.runtime()).unwrap();
        let mut left: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        left.sort();
        left
    }
}

struct Up<'n> {
    nobody: &'n Nobody,
    name: String,
}

impl Up<'_> {
    fn exec(&self, host: &str, command: &[&str]) -> Command {
        let mut exec = self.nobody.viaduct(&["lab", "exec", "--lab", &self.name, host, "--"]);
        exec.args(command);
        exec
    }

    fn status(&self) -> Value {
        let mut get = self.nobody.viaduct(&["get", "status", "--json", "--lab", &self.name]);
        let output = get.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The daemon and the agent.
    fn processes(&self) -> [Pid; 2] {
        let daemon = self.status()["pid"].as_i64().unwrap();
        let daemon = Pid::from_raw(i32::try_from(daemon).unwrap()).unwrap();
        [daemon, common::agent_of(&self.name)]
    }

    fn down(&self) -> Output {
        self.nobody.viaduct(&["lab", "down", &self.name]).output().unwrap()
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let output = self.down();
        if !std::thread::panicking() {
            assert!(output.status.success(), "lab down: {}", said(&output));
        }
    }
}

/// Whether it still does anything: one that nobody has waited for does not.
fn is_alive(process: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero()));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

#[test]
fn every_expectation_is_met_for_somebody_without_any_right() {
    let Some(nobody) = Nobody::new() else { return };
    let name = unique("rootless");
    let mut test = nobody.viaduct(&["lab", "test", "--rootless", "--json", "--name", &name]);
    let tried =
        test.arg("--tun-device").arg(nobody.node()).arg(nobody.topology()).output().unwrap();
    assert_eq!(tried.status.code(), Some(0), "{}", said(&tried));
    let report: Value = serde_json::from_slice(&tried.stdout).unwrap();
    assert_eq!(report["disagree"], 0, "{report:#}");
    assert!(report["tried"].as_u64().unwrap() >= 10, "{report:#}");
    assert_eq!(nobody.left(), [] as [PathBuf; 0], "nothing is left of it");
}

#[test]
fn a_node_is_put_where_there_is_none() {
    let Some(nobody) = Nobody::new() else { return };
    if !has("setpriv") {
        return;
    }
    // A mount namespace in which /dev/net is empty.
    let mut test = Command::new("unshare");
    test.args(["--mount", "sh", "-c", "mount -t tmpfs none /dev/net && exec \"$@\"", "sh"]);
    let user = NOBODY.to_string();
    test.args(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
    test.arg(nobody.path("viaduct")).args(["lab", "test", "--rootless", "--device", "plain"]);
    test.args(["--name", &unique("no-node"), "--tun-device"]).arg(nobody.node());
    test.arg(nobody.topology()).env("XDG_RUNTIME_DIR", nobody.runtime());
    let tried = test.output().unwrap();
    assert!(tried.status.success(), "{}", said(&tried));
    assert_eq!(nobody.left(), [] as [PathBuf; 0], "nothing is left of it");
}

#[test]
fn a_lab_is_reached_from_outside() {
    let Some(nobody) = Nobody::new() else { return };
    if !has("python3") {
        return;
    }
    let lab = nobody.up("reached");
    let status = lab.status();
    assert_eq!(status["attachments"]["attached"], status["attachments"]["declared"], "{status:#}");
    let daemon = fs::read_to_string(format!("/proc/{}/status", status["pid"])).unwrap();
    for line in ["CapPrm:\t0000000000000000\n", "Seccomp:\t2\n", "Uid:\t65534\t65534"] {
        assert!(daemon.contains(line), "no {line:?} in {daemon}");
    }
    let again = nobody.lab("up", &lab.name);
    assert!(said(&again).contains("is up already"), "{}", said(&again));
    let tried =
        nobody.viaduct(&["lab", "test", "--name", &lab.name]).arg(nobody.topology()).output();
    let tried = tried.unwrap();
    assert!(tried.status.success(), "a lab that is up is tried: {}", said(&tried));

    let server = "import socket; s = socket.create_server(('0.0.0.0', 5432)); print('listening', flush=True)\nwhile True: c, a = s.accept(); c.sendall(a[0].encode()); c.close()";
    let mut server = lab.exec("instance/db", &["python3", "-c", server]);
    let mut server = Killed(server.stdout(Stdio::piped()).spawn().unwrap());
    let mut listening = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut listening).unwrap();
    // Where it was started, with the host's own files and no others, and with its exit code.
    let script = "import os, socket, sys\nprint(socket.create_connection(('db', 5432), 20).recv(100).decode(), os.getcwd(), os.listdir('/sys/class/net'))\nsys.exit(7)";
    let asked = lab.exec("function/api", &["python3", "-c", script]).output().unwrap();
    assert_eq!(asked.status.code(), Some(7), "{}", said(&asked));
    let answer = String::from_utf8_lossy(&asked.stdout).into_owned();
    let here = nobody.directory.path().display();
    assert!(answer.starts_with(&format!("10.0.1.4 {here} [")), "{}", said(&asked));
    assert!(answer.contains("'eth0'"), "{}", said(&asked));

    let left = server.0.id();
    let processes = lab.processes();
    let down = lab.down();
    assert!(down.status.success(), "{}", said(&down));
    assert!(
        said(&down).contains(&format!("still run, without a network: {left}")),
        "{}",
        said(&down)
    );
    assert!(processes.iter().all(|process| !is_alive(*process)));
    assert_eq!(nobody.left(), [] as [PathBuf; 0], "nothing is left of it");
}

/// There is no other user in the namespace, so that the command is the caller's, but with nothing more.
#[test]
fn a_function_runs_as_the_caller_with_no_capability() {
    let Some(nobody) = Nobody::new() else { return };
    let lab = nobody.up("invoked");
    let mut invoke = nobody.viaduct(&["invoke", "api", "--lab", &lab.name, "--", "sh", "-c"]);
    let output = invoke.arg("id -u; cat /proc/self/status").output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.starts_with("0\n"), "{}", said(&output));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(shown.contains(&format!("{set}:\t0000000000000000\n")), "{}", said(&output));
    }
    assert!(shown.contains("NoNewPrivs:\t1\n"), "{}", said(&output));
}

#[test]
fn what_is_left_of_a_lab_that_was_killed_is_taken_down() {
    let Some(nobody) = Nobody::new() else { return };
    let lab = nobody.up("killed");
    for process in lab.processes() {
        rustix::process::kill_process(process, Signal::KILL).unwrap();
        assert!(eventually(|| (!is_alive(process)).then_some(())).is_some());
    }
    let exec = lab.exec("function/api", &["true"]).output().unwrap();
    assert_eq!(exec.status.code(), Some(2), "{}", said(&exec));
    assert!(lab.down().status.success());
    assert_eq!(nobody.left(), [] as [PathBuf; 0], "nothing is left of it");
    let again = nobody.lab("up", &lab.name);
    assert!(again.status.success(), "{}", said(&again));
}

#[test]
fn who_is_refused_is_told_what_to_change() {
    let Some(nobody) = Nobody::new() else { return };
    let refusal = |output: std::io::Result<Output>| {
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };
    let on = |node: &Path| {
        let mut up = nobody.viaduct(&["lab", "up", "--rootless", "--name", "no", "--tun-device"]);
        refusal(up.arg(node).arg(nobody.topology()).output())
    };
    let none = on(&nobody.path("none"));
    assert!(none.contains("none c 10 200"), "{none}");
    let other = on(Path::new("/dev/null"));
    assert!(other.contains("10 and 200"), "{other}");
    fs::set_permissions(nobody.node(), Permissions::from_mode(0o600)).unwrap();
    let shut = on(&nobody.node());
    assert!(shut.contains(&format!("chmod 666 {}", nobody.node().display())), "{shut}");
    fs::set_permissions(nobody.node(), Permissions::from_mode(0o666)).unwrap();

    let root = viaduct().args(["lab", "up", "--rootless"]).arg(nobody.topology()).output();
    let root = refusal(root);
    assert!(root.contains("leave it away"), "{root}");
    let mut up = nobody.viaduct(&["lab", "up", "--rootless", "--tun-device"]);
    up.arg(nobody.node()).arg(nobody.topology()).env("XDG_RUNTIME_DIR", "/proc/nowhere");
    let nowhere = refusal(up.output());
    assert!(nowhere.contains("XDG_RUNTIME_DIR"), "{nowhere}");

    // A user namespace in which no further one may be made, and in which nobody is nobody.
    let mut up = nobody.command("unshare");
    up.args(["--user", "--map-user", &NOBODY.to_string(), "--keep-caps", "sh", "-c"]);
    up.arg("echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"");
    up.arg("sh").arg(nobody.path("viaduct")).args(["lab", "up", "--rootless", "--tun-device"]);
    let forbidden = refusal(up.arg(nobody.node()).arg(nobody.topology()).output());
    assert!(forbidden.contains("sysctl -w user.max_user_namespaces"), "{forbidden}");
    assert_eq!(nobody.left(), [] as [PathBuf; 0], "nothing was half made");
}

#[test]
fn a_daemon_runs_for_any_user() {
    let Some(nobody) = Nobody::new() else { return };
    let mut run = nobody.viaduct(&["run", "topology.yaml", "--runtime-dir"]);
    let mut daemon = Killed(run.arg(nobody.runtime()).stderr(Stdio::null()).spawn().unwrap());
    let mut get = nobody.viaduct(&["get", "status", "--json", "--runtime-dir"]);
    get.arg(nobody.runtime());
    let status = eventually(|| serde_json::from_slice::<Value>(&get.output().ok()?.stdout).ok());
    assert_eq!(status.expect("the daemon answers")["pid"], daemon.0.id());
    let process = fs::read_to_string(format!("/proc/{}/status", daemon.0.id())).unwrap();
    assert!(process.contains("Uid:\t65534\t") && process.contains("Seccomp:\t2\n"), "{process}");
    rustix::process::kill_process(Pid::from_child(&daemon.0), Signal::TERM).unwrap();
    assert!(daemon.0.wait().unwrap().success());
    let lasting = ["connections", "state.redb"].map(|file| nobody.runtime().join(file));
    assert_eq!(nobody.left(), lasting, "what lasts");
}
