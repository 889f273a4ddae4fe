//! What long-running commands say while they run: on standard error, as text or JSON.

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// What to log, and how.
#[derive(Debug, Args)]
pub(crate) struct Logging {
    /// What to log: a level, or `module=level` pairs separated by commas
    #[arg(long, env = "VIADUCT_LOG", default_value = "info", value_name = "FILTER")]
    log: String,

    /// How to log it
    #[arg(long, env = "VIADUCT_LOG_FORMAT", value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    log_format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Logging {
    /// Starts to log. Called once in a process.
    pub(crate) fn start(&self) -> Result<(), crate::exit::Failure> {
        let filter = EnvFilter::try_new(&self.log).map_err(|error| {
            crate::exit::Failure::with_help(
                format_args!("`{}` is no log filter: {error}", self.log),
                "write a level such as `debug`, or `viaduct_daemon=debug,info`",
            )
        })?;
        let builder =
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        match self.log_format {
            Format::Json => builder.json().init(),
            Format::Text => {
                let colours = std::io::stderr().is_terminal()
                    && anstream::stderr().current_choice() != anstream::ColorChoice::Never;
                builder.with_ansi(colours).with_target(false).init();
            }
        }
        Ok(())
    }
}
