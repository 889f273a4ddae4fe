//! What can go wrong with a lab, in the words its user reads.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::LabName;

/// Why a lab could not be brought up, entered, tried or taken down.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A lab's name is used in paths and names of namespaces.
    #[error("`{name}` cannot name a lab: use 1 to 40 letters, digits, `-` or `_` (`--name`)")]
    BadLabName {
        /// What was given.
        name: String,
    },
    /// There is a lab of this name already.
    #[error(
        "the lab `{name}` is up already; take it down with `viaduct lab down {name}`, or give this one another name with `--name`"
    )]
    AlreadyUp {
        /// The lab.
        name: LabName,
    },
    /// A command needs a lab, and this one is not up.
    #[error("the lab `{name}` is not up; bring it up with `viaduct lab up FILE --name {name}`")]
    NotUp {
        /// The lab.
        name: LabName,
    },
    /// No lab was named, and there is not exactly one.
    #[error("{}", which_lab(up))]
    WhichLab {
        /// The labs that are up.
        up: Vec<LabName>,
    },
    /// No host of the lab has this name.
    #[error("the lab has no host `{name}`; it has {}", known.join(", "))]
    NoSuchHost {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Two hosts would share a namespace.
    #[error(
        "`{first}` and `{second}` would both live in the network namespace `{namespace}`; rename one of them"
    )]
    SameNamespace {
        /// One host.
        first: String,
        /// The other.
        second: String,
        /// The namespace.
        namespace: String,
    },
    /// Flows are tried between hosts whose namespaces are known.
    #[error(
        "an `expect` is about `{host}`, whose namespace was not given (`--netns {host}=NAMESPACE`)"
    )]
    NoNamespaceOf {
        /// The host.
        host: String,
    },
    /// Namespaces need privileges.
    #[error(
        "a lab makes network namespaces, which takes CAP_SYS_ADMIN and CAP_NET_ADMIN: run this as root, \
         or with `--rootless` in a user namespace"
    )]
    NotPermitted,
    /// Root asks for what is for everybody else.
    #[error("`--rootless` is for users who are not root: leave it away")]
    RootNeedsNone,
    /// A rootless lab has nowhere to keep its things.
    #[error(
        "cannot keep a lab in {}: {source}; have XDG_RUNTIME_DIR name a directory of your own",
        path.display()
    )]
    NoRuntimeDirectory {
        /// Where it would be.
        path: PathBuf,
        /// What the host answered.
        source: io::Error,
    },
    /// The node of the TUN driver cannot be opened by this user.
    #[error("{} cannot be the TUN driver's node ({problem}): {help}", path.display())]
    TunNode {
        /// The node.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        help: String,
    },
    /// TUN devices need the driver.
    #[error("/dev/net/tun cannot be opened ({source}); {}", tun_help(source))]
    NoTun {
        /// What opening it answered.
        source: io::Error,
    },
    /// A process of the lab ended before the lab was ready.
    #[error(
        "{what} of the lab ended before the lab was ready ({status}); the end of its log:\n{log}"
    )]
    ProcessEnded {
        /// `the daemon` or `the agent`.
        what: &'static str,
        /// Its exit status.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// The lab did not become ready in time.
    #[error(
        "after {seconds} seconds {attached} of {declared} hosts are attached; the end of the agent's log:\n{log}"
    )]
    NotReady {
        /// How long it was waited for.
        seconds: u64,
        /// Hosts that are attached.
        attached: usize,
        /// Hosts that should be.
        declared: usize,
        /// The last lines of the agent's log.
        log: String,
    },
    /// Somebody else's process holds a lab's lock.
    #[error("the process that holds {} is not visible from here; take the lab down where it was brought up", lock.display())]
    ForeignProcess {
        /// The lock.
        lock: PathBuf,
    },
    /// A process outlived SIGKILL for longer than the kernel should take.
    #[error("process {pid} did not end within {seconds} seconds of SIGKILL")]
    Unkillable {
        /// The process.
        pid: i32,
        /// How long it was waited for.
        seconds: u64,
    },
    /// There is no daemon to attach to.
    #[error("no daemon at {}: start one with `viaduct run FILE`", socket.display())]
    NoAttachSocket {
        /// Where it was looked for.
        socket: PathBuf,
    },
    /// A server's address is not there, or taken.
    #[error("cannot listen on {address}: {source}; {}", listen_help(source))]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon wants two invocations in one environment.
    #[error("`{name}` runs an invocation already; one runs there at a time")]
    EnvironmentBusy {
        /// The environment.
        name: String,
    },
    /// This process was started for a lab that is being taken down.
    #[error("the lab was taken down before this process could start")]
    Condemned,
    /// The topology has no place for what it declares.
    #[error(transparent)]
    Plan(#[from] viaduct_control_plane::PlanError),
    /// The daemon's API.
    #[error(transparent)]
    Client(#[from] viaduct_client::ClientError),
    /// Namespaces and devices.
    #[error(transparent)]
    Tun(#[from] viaduct_tun::Error),
    /// The host said no.
    #[error("cannot {action}: {source}")]
    System {
        /// What was attempted, such as `create /run/viaduct/labs`.
        action: String,
        /// What the host answered.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: names what was attempted.
    pub(crate) fn system<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::System { action, source: source.into() }
    }
}

fn which_lab(up: &[LabName]) -> String {
    if up.is_empty() {
        return "no lab is up; bring one up with `viaduct lab up FILE`".to_owned();
    }
    let names: Vec<&str> = up.iter().map(LabName::as_str).collect();
    format!("several labs are up ({}); name one with `--lab`", names.join(", "))
}

fn tun_help(source: &io::Error) -> &'static str {
    if source.kind() == io::ErrorKind::NotFound {
        "load the driver with `modprobe tun`, or give the container the device with `--device /dev/net/tun`"
    } else {
        "run this as root, in a container with `--device /dev/net/tun` and CAP_NET_ADMIN"
    }
}

fn listen_help(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrNotAvailable => {
            "it is the service's own: run this where its host is, or say where that is with `--netns`"
        }
        io::ErrorKind::AddrInUse => "end what answers there, or take another `--port`",
        _ => "ports below 1024 take CAP_NET_BIND_SERVICE; `--port` names another",
    }
}
