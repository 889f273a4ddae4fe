//! A daemon and an agent that runs functions, as a service manager would start them: with arguments that
//! a lab does not give them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal};
use viaduct_tun::netns;

use super::{
    Killed, LIMIT,
    daemon::{logged, run},
    eventually, unique, viaduct,
};

/// A daemon with an agent. Both end when dropped, with what the agent has made.
pub(crate) struct Service {
    directory: tempfile::TempDir,
    /// Before the names of the agent's namespaces.
    prefix: String,
    arguments: Vec<String>,
    daemon: Killed,
    agent: Killed,
}

impl Service {
    /// Starts both, and waits until the agent takes invocations.
    pub(crate) fn start(scenario: &str, topology: &str, run: &[&str], agent: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("topology.yaml"), topology).unwrap();
        let arguments = run.iter().map(|&argument| argument.to_owned()).collect::<Vec<_>>();
        let daemon = run_daemon(directory.path(), &arguments);
        let prefix = format!("vd-{}.", unique(scenario));
        let mut command = viaduct();
        command.args(["agent", "--invoke", "--prefix", &prefix, "--runtime-dir"]);
        command.arg(directory.path().join("run")).args(agent);
        let agent = logged(command, &directory.path().join("agent.log"));
        let service = Self { directory, prefix, arguments, daemon, agent };
        service.is_served();
        service
    }

    /// The directory with the daemon's sockets.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// Where AWS's APIs are served over TCP.
    pub(crate) fn port(&self) -> SocketAddr {
        let log = self.log("daemon.log");
        let (_, rest) = log.rsplit_once("lambda_api=").unwrap_or_else(|| panic!("{log}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub(crate) fn log(&self, file: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(file)).unwrap_or_default()
    }

    /// The hosts whose namespaces the agent holds, such as `function.api.1`.
    pub(crate) fn held(&self) -> Vec<String> {
        let all = netns::list().unwrap();
        let own = all.iter().filter_map(|name| name.strip_prefix(&self.prefix));
        own.map(str::to_owned).collect()
    }

    /// Kills the daemon, as `kill -9` does.
    pub(crate) fn kill_daemon(&mut self) {
        self.daemon.0.kill().unwrap();
        self.daemon.0.wait().unwrap();
    }

    /// Starts the next daemon, and waits until the agent takes its invocations.
    pub(crate) fn start_daemon(&mut self) {
        self.daemon = run_daemon(self.directory.path(), &self.arguments);
        self.is_served();
    }

    /// Waits until the agent takes the invocations of the daemon.
    fn is_served(&self) {
        let taken =
            eventually(|| self.log("daemon.log").contains("an agent runs functions").then_some(()));
        let (daemon, agent) = (self.log("daemon.log"), self.log("agent.log"));
        assert!(taken.is_some(), "daemon: {daemon}\nagent: {agent}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It removes what it made.
        let pid = Pid::from_child(&self.agent.0);
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        let ended = eventually(|| self.agent.0.try_wait().ok().flatten());
        if std::thread::panicking() {
            eprintln!("daemon: {}\nagent: {}", self.log("daemon.log"), self.log("agent.log"));
        } else {
            assert!(ended.is_some(), "the agent has not ended for {LIMIT:?}");
            assert_eq!(self.held(), [""; 0], "left behind");
        }
    }
}

fn run_daemon(directory: &Path, arguments: &[String]) -> Killed {
    let (topology, log) = (directory.join("topology.yaml"), directory.join("daemon.log"));
    run(&topology, &directory.join("run"), arguments, &log)
}
