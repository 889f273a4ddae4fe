//! `viaduct schema`: what files and answers look like, for editors and programs.

use clap::{Args, ValueEnum};

use crate::{
    exit::{Answer, Outcome},
    output,
};

/// Print a JSON Schema: of topology files, or of what `explain --json` prints
///
/// Editors check and complete topology files with it. What depends on several places of a file, such
/// as references, only `viaduct check` knows.
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Of what
    #[arg(value_enum, default_value_t = Of::Topology)]
    of: Of,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    /// A topology file
    Topology,
    /// The output of `viaduct explain --json`
    Explain,
}

/// The schema of [`super::explain`]'s report.
const EXPLAIN: &str = include_str!("../../schema/explain.json");

impl Schema {
    pub(crate) fn run(self) -> Outcome {
        output::text(match self.of {
            Of::Topology => viaduct_config_plane::SCHEMA,
            Of::Explain => EXPLAIN,
        })?;
        Ok(Answer::Yes)
    }
}
