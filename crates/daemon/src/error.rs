//! Why a daemon cannot run.

use std::{io, net::SocketAddr, path::PathBuf};

use viaduct_config_plane::LoadError;
use viaduct_control_plane::PlanError;
use viaduct_dataplane::inventory::InventoryError;
use viaduct_tun::HandoverError;

/// Why a daemon cannot run, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The topology's author is at fault; every problem is listed.
    #[error("{0}")]
    Topology(Box<LoadError>),
    /// The topology does not fit into itself.
    #[error("{} cannot be run: {source}", path.display())]
    Plan {
        /// The topology file.
        path: PathBuf,
        /// What does not fit.
        source: Box<PlanError>,
    },
    /// The engine refused what the plan says. A defect of this program.
    #[error("the engine does not take the plan of {}: {source}", path.display())]
    Engine {
        /// The topology file.
        path: PathBuf,
        /// What it refused.
        source: Box<InventoryError>,
    },
    /// Another daemon has the runtime directory.
    #[error(
        "another daemon{} runs in {}: stop it, or choose another --runtime-dir",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        path.display()
    )]
    Running {
        /// The runtime directory.
        path: PathBuf,
        /// The other daemon, as it named itself.
        pid: Option<u32>,
    },
    /// The runtime directory or something in it cannot be used.
    #[error("cannot {what} {}: {source}{}", path.display(), hint(source))]
    File {
        /// What was attempted, as in "cannot …".
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another daemon has the state file.
    #[error("another daemon uses {}: stop it, or choose another --state", path.display())]
    StateInUse {
        /// The state file.
        path: PathBuf,
    },
    /// The state file holds nothing that can be read.
    #[error(
        "{} holds no state that can be read: {what}; put a copy of it in its place, or have \
         --forget-state put it aside and begin anew",
        path.display()
    )]
    StateDamaged {
        /// The state file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The state file was written by another viaduct.
    #[error(
        "{} is of format {found}, and this viaduct knows format {known}: run the one that wrote it, \
         or have --forget-state put it aside and begin anew",
        path.display()
    )]
    StateFormat {
        /// The state file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format that this program reads and writes.
        known: u64,
    },
    /// What is remembered does not fit into the topology.
    #[error(
        "{} does not fit what {} remembers: {source}; run the topology of before and delete what is \
         in the way, or have --forget-state put the state aside and begin anew",
        path.display(),
        state.display()
    )]
    StateUnfitting {
        /// The topology file.
        path: PathBuf,
        /// The state file.
        state: PathBuf,
        /// What does not fit.
        source: Box<PlanError>,
    },
    /// The state file cannot be written.
    #[error(
        "cannot write {}: {source}; functions stay as they are until it can be written, and packets \
         are forwarded",
        path.display()
    )]
    StateUnwritten {
        /// The state file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
    /// The port of AWS's APIs would be for everybody.
    #[error(
        "AWS's APIs cannot be served at {address}: their signatures are not checked, so that only \
         this machine may reach them; choose a loopback address, such as 127.0.0.1:{}",
        address.port()
    )]
    NotLoopback {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The port of AWS's APIs cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Port {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file of tokens has a mistake. The token is not shown.
    #[error(
        "{}:{line}: {what}; a line is a token and the hosts that it entitles to, such as \
         `TOKEN function/api instance/db`",
        path.display()
    )]
    Tokens {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// The port of AWS's APIs is open already, and another one is asked for.
    #[error(
        "AWS's APIs are served on the socket at {inherited} that the daemon was started with, and \
         --lambda-api asks for {asked}: leave one of them away"
    )]
    PortTwice {
        /// The one that is open.
        inherited: SocketAddr,
        /// The one that is asked for.
        asked: SocketAddr,
    },
    /// The sockets that the daemon was started with are not what it takes.
    #[error("{0}")]
    Inherited(String),
    /// The hand-over socket cannot be opened.
    #[error(transparent)]
    AttachSocket(#[from] HandoverError),
    /// The system refused something that every process may have.
    #[error("cannot {what}: {source}")]
    System {
        /// What was attempted, as in "cannot …".
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel or the container does not let a process give up what it does not need.
    #[error("cannot {what}: {why}; `--no-confine` runs without, if that is what you want")]
    Confine {
        /// What was attempted, as in "cannot …".
        what: &'static str,
        /// What was answered.
        why: String,
    },
    /// A packet thread ended by itself. A defect of this program.
    #[error("packet worker {0} failed; the daemon ends, because its attachments would hang")]
    WorkerFailed(usize),
}

/// What to do about it, where that is clear.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; choose a --runtime-dir that you may write to, or run as root"
        }
        _ => "",
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        // It holds the whole file, for messages.
        Self::Topology(Box::new(error))
    }
}

impl Error {
    pub(crate) fn confine(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Confine { what, why: errno.to_string() }
    }

    pub(crate) fn system(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::System { what, source: errno.into() }
    }

    /// A thread or task that was to do something has panicked.
    pub(crate) fn thread(what: &'static str) -> impl FnOnce(tokio::task::JoinError) -> Self {
        move |error| Self::System { what, source: io::Error::other(error) }
    }
}
