//! A daemon without a lab: `viaduct run` by hand, in a directory of its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Killed, eventually, viaduct};

/// A daemon in the foreground. Killed when dropped.
pub(crate) struct Daemon {
    process: Killed,
    // Removed after the daemon has ended.
    directory: tempfile::TempDir,
}

impl Daemon {
    /// Runs a topology file.
    pub(crate) fn start(topology: &Path) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), topology, &[])
    }

    /// Runs a topology file with further arguments, its runtime directory this one.
    pub(crate) fn start_in(
        directory: tempfile::TempDir,
        topology: &Path,
        arguments: &[String],
    ) -> Self {
        let log = directory.path().join("log");
        let process = run(topology, directory.path(), arguments, &log);
        let daemon = Self { process, directory };
        assert!(eventually(|| daemon.get("status")).is_some(), "{}", daemon.log());
        daemon
    }

    /// Its runtime directory.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn attach_socket(&self) -> PathBuf {
        self.path().join("attach.sock")
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap()
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.0.id())).unwrap().count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process.0), signal).unwrap();
    }

    /// What it ended with, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.0.try_wait().unwrap()
    }

    /// `viaduct get WHAT --json`; `None` while nobody answers.
    pub(crate) fn get(&self, what: &str) -> Option<Value> {
        let mut get = viaduct();
        get.args(["get", what, "--json", "--runtime-dir"]).arg(self.path());
        serde_json::from_slice(&get.output().unwrap().stdout).ok()
    }

    /// `viaduct attach HOST --netns NAMESPACE`, still to be run.
    pub(crate) fn attach(&self, host: &str, namespace: &str) -> Command {
        let mut attach = viaduct();
        attach.args(["attach", host, "--netns", namespace, "--log", "warn", "--runtime-dir"]);
        attach.arg(self.path());
        attach
    }
}

/// `viaduct run`, in this runtime directory, with these further arguments.
pub(super) fn run(topology: &Path, runtime: &Path, arguments: &[String], log: &Path) -> Killed {
    let mut run = viaduct();
    run.arg("run").arg(topology).arg("--runtime-dir").arg(runtime).args(arguments);
    logged(run, log)
}

/// Starts a command that says all it says to a file, which is new.
pub(super) fn logged(mut command: Command, log: &Path) -> Killed {
    let log = File::create(log).unwrap();
    Killed(command.env("NO_COLOR", "1").stderr(log).spawn().unwrap())
}
