//! Bringing a lab up: a namespace for each host of a topology, and packets between them.
//!
//! The order is the opposite of [`mod@crate::down`]'s: the lab's directory first, from which everything
//! else can be found; then the daemon and the agent, each born with its lock file (see
//! [`crate::process`]). The agent makes the namespaces; `up` returns when the daemon says that
//! every host is attached, or takes everything down again.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use rustix::thread::CapabilitySet;
use viaduct_topology::Topology;

use crate::{
    Error, LabName,
    api::Api,
    down::down,
    layout,
    layout::Layout,
    process::{self, AGENT, DAEMON},
    rootless::TUN,
};

/// Given to a process of a lab: claim the lock file on standard input first.
pub const LAB_CHILD_FLAG: &str = "--lab-child";

/// How long a lab may take to come up: this, and [`PATIENCE_PER_HOST`] for each host.
const PATIENCE: Duration = Duration::from_secs(20);

/// See [`PATIENCE`].
const PATIENCE_PER_HOST: Duration = Duration::from_millis(100);

/// Between looks at how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What to bring up.
#[derive(Debug)]
pub struct Up<'a> {
    /// The lab's name.
    pub name: LabName,
    /// The topology.
    pub topology: &'a Topology,
    /// Its text, for the daemon.
    pub text: &'a str,
    /// The `viaduct` program that is to run as daemon and agent.
    pub program: PathBuf,
    /// More arguments for the daemon.
    pub daemon_arguments: Vec<OsString>,
    /// More arguments for the agent.
    pub agent_arguments: Vec<OsString>,
}

/// A lab that is up.
#[derive(Debug)]
pub struct Running {
    /// Its name.
    pub name: LabName,
    /// Where it keeps its things.
    pub layout: Layout,
    /// Its hosts with their namespaces, in the order of the topology.
    pub hosts: Vec<Host>,
}

/// A host of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its name in the topology: `function/api/1`.
    pub name: String,
    /// Its network namespace: a name, a path or the number of a process in it.
    pub namespace: String,
}

impl Up<'_> {
    /// Brings the lab up. Calls `progress` with the number of hosts attached so far and of all.
    ///
    /// After an error nothing is left of it.
    pub fn run(&self, mut progress: impl FnMut(usize, usize)) -> Result<Running, Error> {
        may_make_labs()?;
        let plan = viaduct_control_plane::plan(self.topology)?;
        let hosts = hosts_of(&self.name, plan.hosts.iter().map(|host| host.name.as_str()))?;
        let (layout, claim) = layout::found(&self.name)?;
        match self.start(&layout, hosts.len(), &mut progress) {
            Ok(()) => Ok(Running { name: self.name.clone(), layout, hosts }),
            Err(error) => {
                drop(claim);
                // The first error is the one to report; what remains can still be taken down.
                if let Err(second) = down(&self.name) {
                    tracing::warn!(%second, "the lab could not be taken down again");
                }
                Err(error)
            }
        }
    }

    fn start(
        &self,
        layout: &Layout,
        declared: usize,
        progress: &mut impl FnMut(usize, usize),
    ) -> Result<(), Error> {
        let topology = layout.topology();
        fs::write(&topology, self.text)
            .map_err(Error::system(format!("write {}", topology.display())))?;

        let mut daemon = Command::new(&self.program);
        daemon.arg("run").arg(&topology).args(&self.daemon_arguments);
        let mut agent = Command::new(&self.program);
        agent.args(["agent", "--invoke", "--prefix", &self.name.prefix()]);
        agent.args(&self.agent_arguments);
        let mut children = Vec::new();
        for (role, mut command) in [(DAEMON, daemon), (AGENT, agent)] {
            command.arg("--runtime-dir").arg(layout.directory()).arg(LAB_CHILD_FLAG);
            let child = process::start(command, &layout.lock_of(role), &layout.log_of(role))?;
            children.push((role, child));
        }
        wait_until_attached(layout, &mut children, declared, progress)
    }
}

/// The namespaces of hosts, each one's own.
pub(crate) fn hosts_of<'n>(
    lab: &LabName,
    names: impl Iterator<Item = &'n str>,
) -> Result<Vec<Host>, Error> {
    let mut taken: HashMap<String, String> = HashMap::new();
    let mut hosts = Vec::new();
    for name in names {
        let namespace = lab.namespace(name);
        if let Some(first) = taken.insert(namespace.clone(), name.to_owned()) {
            return Err(Error::SameNamespace { first, second: name.to_owned(), namespace });
        }
        hosts.push(Host { name: name.to_owned(), namespace });
    }
    Ok(hosts)
}

/// Whether this process may make namespaces and TUN devices; the error says what is missing.
pub fn may_make_labs() -> Result<(), Error> {
    let sets = rustix::thread::capabilities(None)
        .map_err(Error::system("ask for this process's capabilities"))?;
    if !sets.effective.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN) {
        return Err(Error::NotPermitted);
    }
    match File::options().read(true).write(true).open(TUN) {
        Ok(_) => Ok(()),
        Err(source) => Err(Error::NoTun { source }),
    }
}

fn wait_until_attached(
    layout: &Layout,
    children: &mut [(&'static str, Child)],
    declared: usize,
    progress: &mut impl FnMut(usize, usize),
) -> Result<(), Error> {
    let api = Api::new(&layout.control_socket())?;
    let hosts = u32::try_from(declared).unwrap_or(u32::MAX);
    let patience = PATIENCE + PATIENCE_PER_HOST * hosts;
    let deadline = Instant::now() + patience;
    loop {
        for (role, child) in children.iter_mut() {
            let ended = child.try_wait().map_err(Error::system("look after a child process"))?;
            if let Some(status) = ended {
                let log = process::tail(&layout.log_of(role));
                let what = if *role == DAEMON { "the daemon" } else { "the agent" };
                return Err(Error::ProcessEnded { what, status: status.to_string(), log });
            }
        }
        // Until it listens, and only until then, the daemon cannot be asked.
        let attached = api.attached().unwrap_or(0);
        progress(attached, declared);
        if attached >= declared && layout.control_socket().exists() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let log = process::tail(&layout.log_of(AGENT));
            return Err(Error::NotReady { seconds: patience.as_secs(), attached, declared, log });
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// A lab that was brought up by somebody else.
pub fn running(name: &LabName, topology: &Topology) -> Result<Running, Error> {
    let layout = Layout::of(name);
    if !layout.control_socket().exists() {
        return Err(Error::NotUp { name: name.clone() });
    }
    let plan = viaduct_control_plane::plan(topology)?;
    let hosts = hosts_of(name, plan.hosts.iter().map(|host| host.name.as_str()))?;
    Ok(Running { name: name.clone(), layout, hosts })
}

/// The text of the topology that a lab was brought up with.
pub fn topology_text(name: &LabName) -> Result<Option<String>, Error> {
    let path = Layout::of(name).topology();
    read(&path)
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::system(format!("read {}", path.display()))(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hosts_never_share_a_namespace() {
        let lab: LabName = "demo".parse().unwrap();
        let hosts = hosts_of(&lab, ["function/api/1", "instance/db"].into_iter()).unwrap();
        assert_eq!(hosts[1].namespace, "vd-demo.instance.db");
        let clash = hosts_of(&lab, ["function/a.b/1", "function/a/b/1"].into_iter());
        assert!(matches!(clash, Err(Error::SameNamespace { .. })));
    }
}
