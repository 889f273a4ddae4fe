//! `viaduct check`: is this topology right?

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use viaduct_config_plane::{Diagnostic, LoadError, Problems, load_file};
use viaduct_topology::Severity;

use crate::{
    exit::{Answer, Outcome},
    output,
};

/// Check topology files: every problem at once, with its place and what to do about it
///
/// Exits with 0 if there are only warnings or nothing, with 1 if there are errors.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Topology files, YAML or JSON
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Print the problems as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    errors: usize,
    warnings: usize,
    problems: Vec<Diagnostic>,
}

impl Report {
    /// What is wrong with one file.
    pub(crate) fn of(problems: &Problems) -> Self {
        let mut report = Self::default();
        report.add(problems);
        report
    }

    fn add(&mut self, problems: &Problems) {
        self.errors += problems.count(Severity::Error);
        self.warnings += problems.count(Severity::Warning);
        self.problems.extend(problems.diagnostics());
    }
}

impl Check {
    pub(crate) fn run(self) -> Outcome {
        let mut report = Report::default();
        let mut rendered = String::new();
        let mut unreadable = None;
        for file in &self.files {
            let problems: Problems = match load_file(file) {
                Ok(loaded) => loaded.warnings,
                Err(LoadError::Refused(problems)) => problems,
                // The other files are still worth checking.
                Err(error) => {
                    output::say(format_args!("{error}"));
                    unreadable = Some(error);
                    continue;
                }
            };
            if !self.json {
                output::say(format_args!("{}: {}", file.display(), problems.summary()));
                rendered.push_str(&problems.render(true));
            }
            report.add(&problems);
        }
        if self.json {
            output::json(&report)?;
        } else {
            output::text(&rendered)?;
        }
        match unreadable {
            Some(_) => Err(crate::exit::Failure::Told),
            None if report.errors > 0 => Ok(Answer::No),
            None => Ok(Answer::Yes),
        }
    }
}
