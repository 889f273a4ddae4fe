//! Programs that the benchmark starts, in a namespace or in its own.
//!
//! Each is in a process group of its own: a Ctrl-C goes to the benchmark alone, which then ends them
//! in the right order.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use viaduct_tun::Namespace;

use crate::{error::Error, stop};

/// How long a program may take over SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// Between looks at a program that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A program that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: File,
}

impl Process {
    /// Starts a program that says nothing of interest unless it fails. What `command` says of its
    /// standard input and output holds; errors go to a log.
    pub(crate) fn start(
        mut command: Command,
        namespace: Option<&Namespace>,
    ) -> Result<Self, Error> {
        let name = command.get_program().to_string_lossy().into_owned();
        let name = name.rsplit('/').next().unwrap_or_default().to_owned();
        let log = tempfile::tempfile().map_err(Error::system("create a temporary file"))?;
        let errors = log.try_clone().map_err(Error::system("duplicate a descriptor"))?;
        command.stderr(Stdio::from(errors)).process_group(0);
        let mut spawn = || command.spawn().map_err(Error::system(format!("start {name}")));
        let child = match namespace {
            Some(namespace) => namespace.run(spawn)??,
            None => spawn()?,
        };
        Ok(Self { name, child, log })
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool, Error> {
        let ended = self.child.try_wait().map_err(Error::system("look after a child"))?;
        Ok(ended.is_some())
    }

    /// Waits until `ready` says so, the program ends, or time is over.
    pub(crate) fn wait_until(
        &mut self,
        patience: Duration,
        mut ready: impl FnMut() -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        loop {
            stop::check()?;
            if ready()? {
                return Ok(());
            }
            let ended = self.child.try_wait().map_err(Error::system("look after a child"))?;
            if let Some(status) = ended {
                return Err(self.failed(format!("ended ({status})")));
            }
            if Instant::now() > deadline {
                return Err(self.failed(format!("was not ready after {patience:?}")));
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// An error with what the program said.
    pub(crate) fn failed(&mut self, what: String) -> Error {
        let mut said = String::new();
        let read =
            self.log.seek(SeekFrom::Start(0)).and_then(|_| self.log.read_to_string(&mut said));
        let said = match read {
            Ok(_) if said.trim().is_empty() => "it said nothing".to_owned(),
            Ok(_) => said.trim().to_owned(),
            Err(error) => format!("(its log cannot be read: {error})"),
        };
        Error::Program { program: self.name.clone(), what, said }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Not waited for yet, so the number cannot be another's.
        if let Some(pid) = pid.filter(|_| matches!(self.child.try_wait(), Ok(None))) {
            let _ = kill_process(pid, Signal::TERM);
            let deadline = Instant::now() + GRACE;
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                thread::sleep(LOOK_AGAIN);
            }
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Runs a command to its end, however long that takes, and returns what it printed.
pub(crate) fn run(
    mut command: Command,
    namespace: Option<&Namespace>,
    input: &str,
) -> Result<String, Error> {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words = words.join(" ");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut spawn = || command.spawn().map_err(Error::system(format!("start `{words}`")));
    let mut child = match namespace {
        Some(namespace) => namespace.run(spawn)??,
        None => spawn()?,
    };
    if let Some(mut stdin) = child.stdin.take() {
        // Who does not read it says why at its end.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(Error::system(format!("wait for `{words}`")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Command { command: words, status: output.status.to_string(), said });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
