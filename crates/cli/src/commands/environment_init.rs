//! `viaduct environment-init`: the first process of an invocation, which an agent starts.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;
use viaduct_lab::invoke::{User, init::Init};

use crate::exit::{Answer, Outcome};

/// Run a function's command in an environment (started by `viaduct agent --invoke`)
#[derive(Debug, Args)]
pub(crate) struct EnvironmentInit {
    /// The environment's network namespace
    namespace: String,

    /// Who the command runs as
    uid: u32,

    /// The group it runs as
    gid: u32,

    /// The directory that the command starts in
    #[arg(long, default_value = "/")]
    directory: PathBuf,

    /// An environment variable of the command
    #[arg(long, value_parser = variable)]
    variable: Vec<(String, String)>,

    /// What to run
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("not of the form NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl EnvironmentInit {
    pub(crate) fn run(self) -> Outcome {
        let Self { namespace, uid, gid, directory, variable: variables, command } = self;
        let init = Init { namespace, user: User { uid, gid }, directory, variables, command };
        Ok(Answer::Command(init.run()?))
    }
}
