//! `viaduct attach`: one host, in a namespace that exists.

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::PathBuf,
    process::{Child, ExitStatus},
};

use clap::Args;
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal},
};

use crate::{
    commands::run::DEFAULT_RUNTIME_DIR,
    exit::{Answer, Failure, Outcome},
    logging::Logging,
    output,
    signals::{self, Asked, Ending},
};

/// Attach one host: make its device in a network namespace and keep it
///
/// With a command, runs it there, without the right to change the network, and ends when it ends,
/// with its exit code. Without one, runs until it is asked to end.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// The host as the topology names it, such as function/api/1 or instance/db
    #[arg(value_name = "HOST")]
    host: String,

    /// The network namespace: a name, a path or a process id; this one, if none is given
    #[arg(long, value_name = "NAMESPACE")]
    netns: Option<String>,

    /// What the device is called
    #[arg(long, default_value = viaduct_tun::holder::DEVICE_NAME, value_name = "NAME")]
    device: String,

    /// Proof of being allowed to, where the daemon asks for it
    #[arg(long, env = "VIADUCT_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<String>,

    /// Where the daemon has its sockets
    #[arg(long, env = "VIADUCT_RUNTIME_DIR", default_value = DEFAULT_RUNTIME_DIR, value_name = "DIR")]
    runtime_dir: PathBuf,

    #[command(flatten)]
    logging: Logging,

    /// What to run there
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Attach {
    pub(crate) fn run(self) -> Outcome {
        self.logging.start()?;
        let attach = viaduct_lab::attach::Attach {
            socket: self.runtime_dir.join("attach.sock"),
            host: self.host,
            token: self.token,
            device: self.device,
            namespace: self.netns,
        };
        signals::block_on(async move {
            let mut ending = Ending::catch()?;
            let held = tokio::task::spawn_blocking(move || attach.attach()).await??;
            let plan = &held.attached.plan;
            output::say(format_args!("{} is attached at {}", plan.name, plan.address));
            if self.command.is_empty() {
                ending.asked().await;
                return Ok(Answer::Yes);
            }
            let mut child = held.spawn(&self.command)?;
            let process = process_of(&child)?;
            let mut ended = tokio::task::spawn_blocking(move || child.wait());
            loop {
                tokio::select! {
                    status = &mut ended => return Ok(Answer::Command(code_of(status??))),
                    asked = ending.asked() => match asked {
                        // The terminal's Ctrl-C has reached the command as well, and what it
                        // means is for the command to say.
                        Asked::Interrupt => {}
                        Asked::Terminate => terminate(&process)?,
                    }
                }
            }
        })
    }
}

/// A handle of the child that never means another process.
fn process_of(child: &Child) -> Result<OwnedFd, Failure> {
    let pid = Pid::from_child(child);
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty());
    process.map_err(|errno| io::Error::from(errno).into())
}

fn terminate(process: &OwnedFd) -> Result<(), Failure> {
    match rustix::process::pidfd_send_signal(process, Signal::TERM) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(io::Error::from(errno).into()),
    }
}

/// The exit code of a command, as a shell gives it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}
