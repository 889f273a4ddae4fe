//! `viaduct run`: the daemon, in the foreground.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use clap::{Args, ValueEnum};
use viaduct_daemon::{AttachSocket, Listeners, Options};
use viaduct_tun::{DeviceKind, handover::Access};

use crate::{
    exit::{Answer, Outcome},
    logging::Logging,
    version::BUILD,
};

/// Where a daemon has its sockets unless it is told otherwise.
pub(crate) const DEFAULT_RUNTIME_DIR: &str = viaduct_daemon::DEFAULT_RUNTIME_DIR;

/// Run the daemon in the foreground: forward the packets of the hosts that are attached
///
/// Needs no privileges but to make its sockets, and gives up those that it has. Takes over sockets that
/// systemd listens on (LISTEN_FDS). Ends on SIGTERM or Ctrl-C; reads the topology again on SIGHUP.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The topology
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Where the sockets go
    #[arg(long, env = "VIADUCT_RUNTIME_DIR", default_value = DEFAULT_RUNTIME_DIR, value_name = "DIR")]
    runtime_dir: PathBuf,

    /// Who may attach hosts
    #[arg(long, value_enum, default_value_t, value_name = "WHO")]
    attach_access: AttachAccess,

    /// One more socket to attach hosts over, and these alone: a host with all that is below it, so that
    /// `function/api=/run/api/attach.sock` is for all environments of a function. May be given several
    /// times, and with one path for several hosts
    #[arg(long = "attach-socket", value_name = "HOST=PATH")]
    attach_sockets: Vec<AttachSocket>,

    /// A file that has a token in each line, and behind it the hosts that it entitles to. At the socket in
    /// the runtime directory hosts are then attached with a token only
    #[arg(long, value_name = "FILE")]
    attach_tokens: Option<PathBuf>,

    /// The devices of all hosts. Who attaches them learns it from the daemon
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    device: Device,

    /// Threads that forward packets; as many as there are cores, if not given
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,

    /// Connections at most; memory is taken as they come
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    connections: usize,

    /// Read the topology again whenever the file changes
    #[arg(long)]
    watch: bool,

    /// Answer AWS's APIs (Lambda's, and parts of EC2's) on this loopback address too, for clients
    /// that speak no Unix sockets; port 0 is any that is free
    #[arg(long, value_name = "ADDRESS:PORT")]
    lambda_api: Option<SocketAddr>,

    /// Where functions and their ENIs are remembered; `state.redb` in the runtime directory, if not
    /// given. The directory in which sockets go is often emptied at boot: a host of its own wants
    /// `/var/lib/viaduct/state.redb`
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Have what is remembered survive the death of the machine too: every command waits for the disk
    #[arg(long)]
    sync: bool,

    /// Put aside what is remembered, forget the connections of before, and begin anew
    #[arg(long)]
    forget_state: bool,

    /// Keep capabilities, files and system calls that a daemon does not need. Without this it gives them
    /// up at its start, and does not run where it cannot
    #[arg(long)]
    no_confine: bool,

    /// A process of a lab: claim the lock on standard input first
    #[arg(long, hide = true)]
    lab_child: bool,

    #[command(flatten)]
    logging: Logging,
}

/// Who may attach, as it is asked for.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum AttachAccess {
    /// The user that runs the daemon, and root
    #[default]
    Owner,
    /// The daemon's group as well: for helpers in containers, whose root may not ignore modes
    Group,
}

/// The kinds of devices, as they are asked for.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum Device {
    /// Packets of up to 64 KiB cross the device whole, checksums are left to whoever receives them
    #[default]
    Offload,
    /// One packet at a time, complete: slower, and for where offloads are refused or to be avoided
    Plain,
}

impl Device {
    pub(crate) fn kind(self) -> DeviceKind {
        match self {
            Self::Offload => DeviceKind::Offload,
            Self::Plain => DeviceKind::Plain,
        }
    }
}

impl Run {
    pub(crate) fn run(self) -> Outcome {
        // Before anything is opened that could be taken for one of them.
        let listeners = Listeners::inherited()?;
        if self.lab_child {
            viaduct_lab::process::claim()?;
        }
        self.logging.start()?;
        if self.no_confine {
            tracing::warn!("not confined: whoever takes this process over has all that it has");
        }
        let options = Options {
            build: BUILD,
            listeners,
            runtime_dir: self.runtime_dir,
            attach_access: match self.attach_access {
                AttachAccess::Owner => Access::Owner,
                AttachAccess::Group => Access::Group,
            },
            attach_sockets: self.attach_sockets,
            attach_tokens: self.attach_tokens,
            device: self.device.kind(),
            workers: self.workers,
            connections: self.connections,
            watch: self.watch,
            lambda_api: self.lambda_api,
            state: self.state,
            sync: self.sync,
            forget_state: self.forget_state,
            confine: !self.no_confine,
            service_manager: std::env::var_os("NOTIFY_SOCKET"),
            ..Options::new(self.file)
        };
        viaduct_daemon::run(&options, |_| {}, viaduct_daemon::interrupted())?;
        Ok(Answer::Yes)
    }
}
