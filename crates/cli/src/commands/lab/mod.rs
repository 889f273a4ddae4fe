//! `viaduct lab`: a topology's hosts as network namespaces on this machine.

mod down;
mod exec;
mod list;
mod test;
mod up;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use viaduct_config_plane::Loaded;
use viaduct_lab::{LabName, Running, Up, up::may_make_labs};

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

/// Brings up the lab of a loaded file, with a progress bar where somebody watches.
fn bring_up(
    name: LabName,
    loaded: &Loaded,
    device: Device,
    workers: Option<usize>,
) -> Result<Running, Failure> {
    may_make_labs()?;
    // The agent is told by the daemon.
    let mut daemon_arguments = vec!["--device".into(), device.kind().to_string().into()];
    if let Some(workers) = workers {
        daemon_arguments.extend(["--workers".into(), workers.to_string().into()]);
    }
    let up = Up {
        name,
        topology: &loaded.topology,
        text: loaded.warnings.source().text(),
        program: this_program()?,
        daemon_arguments,
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
