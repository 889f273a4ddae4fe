//! `viaduct lab up`.

use std::path::PathBuf;

use clap::Args;
use viaduct_lab::LabName;

use super::{Bringing, bring_up, lab_name};
use crate::{
    exit::{Answer, Outcome},
    files, output,
};

/// Bring a lab up: returns when packets can pass
#[derive(Debug, Args)]
pub(crate) struct LabUp {
    /// The topology
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What the lab is called; the file's name without its extension, if not given
    #[arg(long, value_name = "NAME")]
    name: Option<LabName>,

    #[command(flatten)]
    how: Bringing,

    /// Threads that forward packets; as many as there are cores, if not given
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
}

impl LabUp {
    pub(crate) fn run(self) -> Outcome {
        let loaded = files::load(&self.file)?;
        let name = lab_name(self.name, &self.file)?;
        let lab = bring_up(name, &loaded, &self.how, self.workers)?;
        output::say(format_args!(
            "the lab `{0}` is up with {1} hosts\n  \
             run something in it:  viaduct lab exec {2} -- COMMAND\n  \
             take it down:         viaduct lab down {0}",
            lab.name,
            lab.hosts.len(),
            lab.hosts.first().map_or("HOST", |host| host.name.as_str()),
        ));
        Ok(Answer::Yes)
    }
}
