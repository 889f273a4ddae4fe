//! Why a daemon cannot run.

use std::{io, path::PathBuf};

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
}
