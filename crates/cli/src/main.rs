//! The `viaduct` command line: one file for each command, and what they share.
//!
//! Data goes to standard output and messages to standard error; every command that prints data
//! can print it as JSON. Exit codes: 0 yes, 1 no, 2 could not be answered (see [`exit`]).
#![forbid(unsafe_code)]

mod child;
mod commands;
mod daemon;
mod exit;
mod explaining;
mod files;
mod logging;
mod output;
mod progress;
mod signals;
mod table;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::exit::Outcome;

/// A userspace dataplane that behaves like AWS Lambda's VPC networking.
#[derive(Debug, Parser)]
#[command(name = "viaduct", version = version::text(), propagate_version = true, arg_required_else_help = true)]
#[command(after_help = exit::HELP)]
struct Arguments {
    /// When to use colours; `auto` does so on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    color: Colour,

    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(commands::check::Check),
    Explain(commands::explain::Explain),
    Run(commands::run::Run),
    Apply(commands::apply::Apply),
    Agent(commands::agent::Agent),
    Attach(commands::attach::Attach),
    #[command(subcommand)]
    Lab(commands::lab::Lab),
    Invoke(commands::invoke::Invoke),
    LambdaEndpoint(commands::lambda_endpoint::LambdaEndpoint),
    #[command(hide = true)]
    EnvironmentInit(commands::environment_init::EnvironmentInit),
    Get(commands::get::Get),
    #[command(subcommand)]
    Fault(commands::fault::Fault),
    Schema(commands::schema::Schema),
    Completions(commands::completions::Completions),
    Man(commands::man::Man),
}

impl Command {
    fn run(self) -> Outcome {
        match self {
            Self::Check(command) => command.run(),
            Self::Explain(command) => command.run(),
            Self::Run(command) => command.run(),
            Self::Apply(command) => command.run(),
            Self::Agent(command) => command.run(),
            Self::Attach(command) => command.run(),
            Self::Lab(command) => command.run(),
            Self::Invoke(command) => command.run(),
            Self::LambdaEndpoint(command) => command.run(),
            Self::EnvironmentInit(command) => command.run(),
            Self::Get(command) => command.run(),
            Self::Fault(command) => command.run(),
            Self::Schema(command) => command.run(),
            Self::Completions(command) => command.run(Arguments::command()),
            Self::Man(command) => command.run(Arguments::command()),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.color {
        Colour::Auto => anstream::ColorChoice::Auto,
        Colour::Always => anstream::ColorChoice::AlwaysAnsi,
        Colour::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    exit::code(arguments.command.run())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
