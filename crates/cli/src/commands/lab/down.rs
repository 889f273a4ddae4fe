//! `viaduct lab down`.

use std::path::Path;

use clap::Args;
use viaduct_lab::{LabName, down, exec, layout};

use crate::{
    exit::{Answer, Failure, Outcome},
    output,
};

/// Take a lab down, whatever there is of it; nothing there is no error
#[derive(Debug, Args)]
pub(crate) struct LabDown {
    /// The lab's name, or the file it was brought up from; the only lab, if not given
    #[arg(value_name = "NAME|FILE", conflicts_with = "all")]
    lab: Option<String>,

    /// Take down every lab
    #[arg(long)]
    all: bool,
}

impl LabDown {
    pub(crate) fn run(self) -> Outcome {
        let labs = match &self.lab {
            Some(lab) => vec![named(lab)?],
            None if self.all => layout::names()?,
            None => vec![exec::only_lab()?],
        };
        for lab in &labs {
            let ended = down(lab)?;
            output::say(if ended.found {
                format!("the lab `{lab}` is down")
            } else {
                format!("the lab `{lab}` was not up")
            });
            if !ended.left_running.is_empty() {
                let pids: Vec<String> = ended.left_running.iter().map(u32::to_string).collect();
                output::say(format_args!(
                    "these processes were started in it and still run, without a network: {}",
                    pids.join(" ")
                ));
            }
        }
        Ok(Answer::Yes)
    }
}

/// A lab by its name, or by its file.
fn named(text: &str) -> Result<LabName, Failure> {
    match text.parse() {
        Ok(name) => Ok(name),
        Err(_) => Ok(LabName::from_file(Path::new(text))?),
    }
}
