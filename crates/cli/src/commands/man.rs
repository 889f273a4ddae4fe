//! `viaduct man`: the manual pages.

use std::{fs, path::PathBuf};

use clap::Args;

use crate::exit::{Answer, Failure, Outcome};

/// Write the manual pages, one for each command
///
/// To read them: MANPATH=DIR man viaduct-lab-up, where DIR has them in a directory `man1`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// An existing directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

impl Man {
    pub(crate) fn run(self, command: clap::Command) -> Outcome {
        if !fs::metadata(&self.directory).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Failure::with_help(
                format_args!("{} is no directory", self.directory.display()),
                format_args!("make it with `mkdir -p {}`", self.directory.display()),
            ));
        }
        clap_mangen::generate_to(command, &self.directory)?;
        Ok(Answer::Yes)
    }
}
