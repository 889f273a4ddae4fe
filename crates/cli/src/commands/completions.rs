//! `viaduct completions`: what a shell needs to complete the commands.

use clap::Args;
use clap_complete::Shell;

use crate::{
    exit::{Answer, Outcome},
    output,
};

/// Print a shell's completions
///
/// For bash: viaduct completions bash > /etc/bash_completion.d/viaduct
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, mut command: clap::Command) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "viaduct", &mut script);
        output::text(&String::from_utf8_lossy(&script))?;
        Ok(Answer::Yes)
    }
}
