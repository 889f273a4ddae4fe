//! `viaduct lab`: a topology's hosts as network namespaces on this machine.

mod down;
mod exec;
mod list;
mod test;
mod up;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use viaduct_config_plane::Loaded;
use viaduct_lab::{LabName, Running, Up, rootless, up::may_make_labs};

use crate::{
    commands::run::Device,
    exit::{Failure, Outcome},
};

/// Bring a topology's hosts up as network namespaces, run commands in them, try expectations
#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    Up(up::LabUp),
    Down(down::LabDown),
    Exec(exec::LabExec),
    Test(test::LabTest),
    List(list::LabList),
}

/// How a lab is brought up.
#[derive(Debug, Args)]
struct Bringing {
    /// The devices of all hosts
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    device: Device,

    /// Without being root: in a user namespace, of which you are root
    #[arg(long)]
    rootless: bool,

    /// The node of the TUN driver, where /dev/net/tun is not for you to open
    #[arg(long, value_name = "PATH", requires = "rootless")]
    tun_device: Option<PathBuf>,
}

impl Lab {
    pub(crate) fn run(self) -> Outcome {
        match self {
            Self::Up(command) => command.run(),
            Self::Down(command) => command.run(),
            Self::Exec(command) => command.run(),
            Self::Test(command) => command.run(),
            Self::List(command) => command.run(),
        }
    }
}

/// The lab that a file stands for, unless it is named otherwise.
fn lab_name(name: Option<LabName>, file: &Path) -> Result<LabName, Failure> {
    match name {
        Some(name) => Ok(name),
        None => Ok(LabName::from_file(file)?),
    }
}

/// Brings up the lab of a loaded file, with a progress bar where somebody watches. The calling process
/// is where a rootless lab is afterwards.
fn bring_up(
    name: LabName,
    loaded: &Loaded,
    how: &Bringing,
    workers: Option<usize>,
) -> Result<Running, Failure> {
    let mut agent_arguments = Vec::new();
    if how.rootless {
        rootless::enter(how.tun_device.as_deref())?;
        agent_arguments.extend(["--user".into(), rootless::USER.into()]);
    }
    may_make_labs()?;
    // The agent is told by the daemon.
    let mut daemon_arguments = vec!["--device".into(), how.device.kind().to_string().into()];
    if let Some(workers) = workers {
        daemon_arguments.extend(["--workers".into(), workers.to_string().into()]);
    }
    let up = Up {
        name,
        topology: &loaded.topology,
        text: loaded.warnings.source().text(),
        program: this_program()?,
        daemon_arguments,
        agent_arguments,
    };
    let bar = crate::progress::bar("hosts attached");
    let running = up.run(|attached, declared| {
        bar.set_length(declared as u64);
        bar.set_position(attached as u64);
    });
    bar.finish_and_clear();
    Ok(running?)
}

/// The program that is running, for the daemon and the agent to be the same version.
fn this_program() -> Result<PathBuf, Failure> {
    Ok(std::env::current_exe()?)
}
