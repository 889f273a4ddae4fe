//! `viaduct invoke`: a function's command, run by an agent.

use std::io::{self, Read, Write};

use clap::Args;
use viaduct_client::{
    Client, Ended, How, Invoke as Question, Octets,
    invocation::{MOST_OUTPUT, TIMEOUTS},
};

use crate::{
    daemon::Which,
    exit::{Answer, Failure, Outcome},
    signals,
};

/// Run a command in an execution environment of a function, and print what it prints
///
/// The agent of a lab, or one that was started with --invoke, makes the environment or uses one that it
/// has kept. The command runs without privileges; what it has started ends with it. Without a
/// command the function's own is run. Ends with the command's exit code.
#[derive(Debug, Args)]
pub(crate) struct Invoke {
    /// The function, such as api, or api:3 for a published version
    #[arg(value_name = "FUNCTION")]
    function: String,

    /// The function's account, where several have one of this name
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,

    /// What the command reads from standard input; - passes on what comes on this one's
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    payload: Option<String>,

    /// Seconds it may take; the function's own Timeout, if not given
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u16).range(i64::from(*TIMEOUTS.start())..=i64::from(*TIMEOUTS.end())),
    )]
    timeout: Option<u16>,

    #[command(flatten)]
    daemon: Which,

    /// What to run, after `--`
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Invoke {
    pub(crate) fn run(self) -> Outcome {
        let payload = match self.payload.as_deref() {
            Some("-") => {
                let mut bytes = Vec::new();
                io::stdin().read_to_end(&mut bytes)?;
                bytes
            }
            text => text.unwrap_or_default().as_bytes().to_vec(),
        };
        let Self { function, account, timeout, command, daemon, .. } = self;
        let question = Question { function, account, command, payload: Octets(payload), timeout };
        let Ended { how, stdout, stderr } = signals::block_on(async {
            let client = Client::connect(daemon.socket()?).await?;
            Ok(client.invoke(&question).await?)
        })?;
        io::stderr().write_all(&stderr.0)?;
        match io::stdout().write_all(&stdout.0).and_then(|()| io::stdout().flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(Failure::PipeClosed);
            }
            written => written?,
        }
        let (message, help) = match how {
            How::Exited(code) => return Ok(Answer::Command(code)),
            How::TimedOut => (
                "the command took longer than it may, and was ended with all that it had started"
                    .to_owned(),
                Some("give it more with `--timeout SECONDS`, or the function a longer Timeout"),
            ),
            How::TooMuchOutput => (
                format!("the command wrote more than {MOST_OUTPUT} bytes to standard output"),
                None,
            ),
            How::NotRun(why) => (format!("it did not run: {why}"), None),
        };
        Err(Failure::Error { message, help: help.map(str::to_owned) })
    }
}
