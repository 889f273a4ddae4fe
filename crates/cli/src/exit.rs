//! How a command ends: the exit codes, and what is said of an error.

use std::{error::Error, fmt, process::ExitCode};

use anstyle::{AnsiColor, Style};

/// For `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done; the answer is yes: no problems, the flow is allowed, everything agrees
  1    the answer is no: problems in a file, the flow is denied, something disagrees
  2    the question could not be answered: wrong usage, a missing file, no permission, no daemon
  141  nobody reads the output any more

`attach` and `lab exec` with a command, and `invoke`, end with that command's exit code.";

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    /// The exit code of somebody else's command.
    Command(u8),
}

/// Why a command could not answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// To be told, with what to do about it.
    Error { message: String, help: Option<String> },
    /// Told already, in full.
    Told,
    /// Standard output is a pipe that its reader has closed: nobody to tell.
    PipeClosed,
}

pub(crate) type Outcome = Result<Answer, Failure>;

impl Failure {
    pub(crate) fn with_help(message: impl fmt::Display, help: impl fmt::Display) -> Self {
        Self::Error { message: message.to_string(), help: Some(help.to_string()) }
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        // Messages of the workspace's errors contain their causes where they help.
        Self::Error { message: error.to_string(), help: None }
    }
}

/// Says what is to be said, and turns an outcome into the exit code.
pub(crate) fn code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Ok(Answer::Command(code)) => ExitCode::from(code),
        Err(Failure::Error { message, help }) => {
            let (red, cyan) = (bold(AnsiColor::Red), bold(AnsiColor::Cyan));
            anstream::eprintln!("{red}error{red:#}: {message}");
            if let Some(help) = help {
                anstream::eprintln!("  {cyan}help{cyan:#}: {help}");
            }
            ExitCode::from(2)
        }
        Err(Failure::Told) => ExitCode::from(2),
        // As a shell reports a program that SIGPIPE (13) ended.
        Err(Failure::PipeClosed) => ExitCode::from(128 + 13),
    }
}

fn bold(colour: AnsiColor) -> Style {
    colour.on_default().bold()
}
