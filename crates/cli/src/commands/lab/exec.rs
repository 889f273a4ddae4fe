//! `viaduct lab exec`.

use std::ffi::OsString;

use clap::Args;
use viaduct_lab::{LabName, exec};

use crate::exit::Outcome;

/// Run a command on one of a lab's hosts, with its network and its hosts file
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
        let namespace = exec::namespace_of(&lab, &self.host)?;
        Err(exec::exec(&namespace, &self.command).into())
    }
}
