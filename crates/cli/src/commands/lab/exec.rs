//! `viaduct lab exec`.

use std::{ffi::OsString, process::Command, sync::atomic::AtomicBool};

use clap::Args;
use viaduct_control_plane::environments::EnvironmentName;
use viaduct_lab::{Agent, Error, LabName, Layout, exec, rootless};

use crate::{
    child,
    exit::{Answer, Outcome},
    signals::{self, Ending},
};

/// Run a command on one of a lab's hosts, with its network and its hosts file
///
/// An environment of a function that was made over the API is there for as long as the command runs.
#[derive(Debug, Args)]
pub(crate) struct LabExec {
    /// The host, such as function/api (its first environment), function/api/2 or instance/db
    #[arg(value_name = "HOST")]
    host: String,

    /// The lab; the only one that is up, if not given
    #[arg(long, value_name = "NAME")]
    lab: Option<LabName>,

    /// What to run, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl LabExec {
    pub(crate) fn run(self) -> Outcome {
        let lab = match self.lab {
            Some(lab) => lab,
            None => exec::only_lab()?,
        };
        rootless::join(&lab)?;
        match exec::namespace_of(&lab, &self.host) {
            Ok(namespace) => Err(exec::exec(&namespace, &self.command).into()),
            Err(Error::NoSuchHost { .. }) if is_environment(&self.host) => {
                in_environment(&lab, &self.host, &self.command)
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn is_environment(host: &str) -> bool {
    host.parse::<EnvironmentName>().is_ok()
}

/// Runs a command in an environment that nobody holds.
fn in_environment(lab: &LabName, host: &str, command: &[OsString]) -> Outcome {
    let agent = Agent {
        runtime_dir: Layout::of(lab).directory().to_owned(),
        prefix: lab.prefix(),
        hosts: vec![host.to_owned()],
        token: None,
    };
    // It enters the namespace, which only a process of one thread can with all that belongs to it.
    let mut again = Command::new(std::env::current_exe()?);
    again.args(["lab", "exec", "--lab", lab.as_str(), host, "--"]).args(command);
    signals::block_on(async move {
        let mut ending = Ending::catch()?;
        let stop = AtomicBool::new(false);
        let served = tokio::task::spawn_blocking(move || agent.serve(&stop)).await??;
        let code = child::wait(again.spawn()?, &mut ending).await;
        tokio::task::spawn_blocking(|| drop(served)).await?;
        Ok(Answer::Command(code?))
    })
}
