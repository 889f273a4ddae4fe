//! Many connections at once, of few processes: `tests/common/crowd.py`.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout, Stdio},
};

use serde_json::Value;

use super::{Killed, Lab, repository};

/// Connections that one server gets, or nearly so: processes may have 20,000 open files in places.
pub(crate) const EACH_SERVES: usize = 12_000;

/// A process of many connections at a host: `crowd.py`.
pub(crate) struct Process {
    _child: Killed,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(lab: &Lab, host: &str, role: &[&str]) -> Self {
        let driver = repository("tests/common/crowd.py");
        let driver = driver.canonicalize().unwrap();
        let mut command = vec!["python3", driver.to_str().unwrap()];
        command.extend(role);
        let mut child =
            lab.exec(host, &command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { _child: Killed(child), commands, answers }
    }

    pub(crate) fn clients(lab: &Lab, hosts: &[&str]) -> Vec<Self> {
        hosts.iter().map(|host| Self::start(lab, host, &["connect"])).collect()
    }

    /// Servers at one host, enough for so many connections.
    pub(crate) fn servers(lab: &Lab, host: &str, connections: usize) -> Vec<Self> {
        let start = |_| {
            let mut server = Self::start(lab, host, &["serve", "7"]);
            server.hear();
            server
        };
        (0..connections.div_ceil(EACH_SERVES)).map(start).collect()
    }

    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
    }

    /// The next answer. A process that cannot go on says why on its standard error, and ends.
    pub(crate) fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the process has ended");
        serde_json::from_str(&line).unwrap()
    }

    pub(crate) fn ask(&mut self, command: &str) -> Value {
        self.tell(command);
        self.hear()
    }
}

/// The peers of a host's servers, which are all different, as the servers see them.
pub(crate) fn peers(servers: &mut [Process]) -> HashSet<(String, u16)> {
    let mut all = HashSet::new();
    for server in servers {
        let report = server.ask("report");
        let peers: Vec<(String, u16)> = serde_json::from_value(report["peers"].clone()).unwrap();
        for peer in peers {
            assert!(!all.contains(&peer), "two connections from {peer:?}");
            all.insert(peer);
        }
    }
    all
}
