//! How a daemon is started.

use std::{ffi::OsString, fmt, net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use viaduct_tun::{DeviceKind, handover::Access};

use crate::{entitlement::AttachSocket, listeners::Listeners, runtime_dir::DEFAULT_RUNTIME_DIR};

/// What a program was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Build {
    /// Its version.
    pub version: &'static str,
    /// Its commit, where that is known.
    pub commit: Option<&'static str>,
}

/// `0.1.0 (66d9527a1b2c)`.
impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.version)?;
        match self.commit {
            Some(commit) => write!(f, " ({commit})"),
            None => Ok(()),
        }
    }
}

/// How a daemon is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the program was built from: for logs, metrics and who asks.
    pub build: Build,
    /// The topology file.
    pub topology: PathBuf,
    /// Where the sockets `attach.sock` and `control.sock` go. One daemon a directory.
    pub runtime_dir: PathBuf,
    /// Who may hand queues over, at `attach.sock` and `attach_sockets`. `control.sock` is the owner's
    /// alone.
    pub attach_access: Access,
    /// Further sockets, each for some hosts alone.
    pub attach_sockets: Vec<AttachSocket>,
    /// A file of tokens that entitle to attach hosts at `attach.sock`. Whoever may open that socket
    /// may attach every host if there is none.
    pub attach_tokens: Option<PathBuf>,
    /// The kind of device whose queues are taken, for all hosts.
    pub device: DeviceKind,
    /// Packet threads; one a core if not given.
    pub workers: Option<NonZeroUsize>,
    /// Connections at most, over all interfaces. Memory is taken as they come.
    pub connections: usize,
    /// How long an attachment waits for a helper that went away.
    pub grace: Duration,
    /// Whether the process gives up what it does not need: see [`Confined`](crate::Confined). For good,
    /// and with all of its threads, so that only a process that is nothing but a daemon may.
    pub confine: bool,
    /// Sockets that listen already, and are not to be opened.
    pub listeners: Listeners,
    /// Where a service manager listens that wants to be told (NOTIFY_SOCKET of sd_notify(3)).
    pub service_manager: Option<OsString>,
    /// Whether the file is read again when it changes. SIGHUP has it read again in any case.
    pub watch: bool,
    /// Where AWS's APIs are served over TCP too: a loopback address; 0 is any free port.
    pub lambda_api: Option<SocketAddr>,
    /// Where functions and their ENIs are remembered; `state.redb` in the runtime directory if not
    /// given.
    pub state: Option<PathBuf>,
    /// Whether what is remembered survives the death of the machine, not of the process alone. Every
    /// command then waits for the disk.
    pub sync: bool,
    /// Whether what is remembered is put aside first, connections are forgotten, and everything begins
    /// anew.
    pub forget_state: bool,
}

impl Options {
    /// The defaults: `/run/viaduct`, offloads, a worker a core, a million connections, two seconds, a
    /// state that outlives the process, not confined; a build of no known commit.
    #[must_use]
    pub fn new(topology: impl Into<PathBuf>) -> Self {
        Self {
            build: Build { version: env!("CARGO_PKG_VERSION"), commit: None },
            topology: topology.into(),
            runtime_dir: DEFAULT_RUNTIME_DIR.into(),
            attach_access: Access::default(),
            attach_sockets: Vec::new(),
            attach_tokens: None,
            device: DeviceKind::default(),
            workers: None,
            connections: 1_000_000,
            grace: Duration::from_secs(2),
            confine: false,
            listeners: Listeners::default(),
            service_manager: None,
            watch: false,
            lambda_api: None,
            state: None,
            sync: false,
            forget_state: false,
        }
    }
}
