//! A `load` in a namespace, told what to do and heard.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use viaduct_bench::{Answer, Order, Report};
use viaduct_tun::Namespace;

use crate::{error::Error, process::Process, stop, tools::Tools};

/// Between looks at whether the run was interrupted.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A running `load`; it ends with this.
#[derive(Debug)]
pub(crate) struct Load {
    side: &'static str,
    process: Process,
    orders: ChildStdin,
    answers: Receiver<String>,
}

impl Load {
    /// Starts one. `side` is what errors call it: client or server.
    pub(crate) fn start(
        tools: &Tools,
        namespace: &Namespace,
        side: &'static str,
    ) -> Result<Self, Error> {
        let mut command = Command::new(&tools.load);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::start(command, Some(namespace))?;
        let child = process.child();
        let (Some(orders), Some(out)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(process.failed("has no pipes".to_owned()));
        };
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { side, process, orders, answers })
    }

    pub(crate) fn tell(&mut self, order: &Order) -> Result<(), Error> {
        let mut line = serde_json::to_string(order)
            .map_err(|error| self.wrong(format_args!("cannot be told {order:?}: {error}")))?;
        line.push('\n');
        let told = self.orders.write_all(line.as_bytes());
        told.map_err(|error| self.process.failed(format!("takes no orders ({error})")))
    }

    /// Waits for it to listen.
    pub(crate) fn ready(&mut self, patience: Duration) -> Result<(), Error> {
        match self.hear(patience)? {
            Answer::Ready => Ok(()),
            Answer::Failed { message } => Err(self.wrong(message)),
            Answer::Report(_) => Err(self.wrong("it reports before it was told to go")),
        }
    }

    /// Waits for its report.
    pub(crate) fn report(&mut self, patience: Duration) -> Result<Report, Error> {
        match self.hear(patience)? {
            Answer::Report(report) => Ok(report),
            Answer::Failed { message } => Err(self.wrong(message)),
            Answer::Ready => Err(self.wrong("it is ready once more instead of reporting")),
        }
    }

    fn hear(&mut self, patience: Duration) -> Result<Answer, Error> {
        let deadline = Instant::now() + patience;
        loop {
            stop::check()?;
            match self.answers.recv_timeout(LOOK_AGAIN) {
                Ok(line) => {
                    return serde_json::from_str(&line)
                        .map_err(|error| self.wrong(format_args!("`{line}`: {error}")));
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.wrong(format_args!("it did not answer within {patience:?}")));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.process.failed("ended".to_owned()));
                }
            }
        }
    }

    fn wrong(&self, message: impl ToString) -> Error {
        Error::Load { side: self.side, message: message.to_string() }
    }
}
