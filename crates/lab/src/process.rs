//! The processes of a lab, found again whatever happened to whoever started them.
//!
//! A lab runs two: the daemon and the agent. `lab up` may be killed at any moment, even between
//! `fork` and the child's first instruction, and `lab down` must still end exactly these two and
//! nothing else. A file with a process id in it cannot do that: it is written too late, and the
//! number may be somebody else's by the time it is read. Instead:
//!
//! - `lab up` makes a lock file for each process *before* starting it and hands it over as
//!   standard input, so no path is looked up later.
//! - The child locks it with a record lock ([`claim`]) before it does anything else. The kernel
//!   releases the lock when the process ends, and answers who holds it (`F_GETLK`): a process
//!   that is alive now.
//! - `lab down` first writes into the file, then asks who holds it (`end`). A child that takes
//!   the lock later sees that the file is not empty, or gone, and exits. Either order ends well.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::FlockOperation,
    io::Errno,
    process::{Flock, FlockType, Pid, PidfdFlags, Signal, WaitOptions},
};

use crate::Error;

/// The processes of a lab in the order in which they are ended: the agent first, as it is the one
/// that makes things. Names of their files and of the `viaduct` commands that they are.
pub(crate) const ROLES: [&str; 2] = [AGENT, DAEMON];

pub(crate) const DAEMON: &str = "daemon";
pub(crate) const AGENT: &str = "agent";

/// How long a process may take over SIGTERM before it gets SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// How long the kernel may take over SIGKILL.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// Starts `command` as a process of a lab: in its own process group, `lock` as standard input,
/// everything it says appended to `log`.
pub(crate) fn start(mut command: Command, lock: &Path, log: &Path) -> Result<Child, Error> {
    let create = |path: &Path| {
        File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(Error::system(format!("create {}", path.display())))
    };
    let (lock, log) = (create(lock)?, create(log)?);
    let errors = log.try_clone().map_err(Error::system("duplicate a log's descriptor"))?;
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.stdin(Stdio::from(lock)).stdout(Stdio::from(log)).stderr(Stdio::from(errors));
    let program = command.get_program().to_owned();
    command.spawn().map_err(Error::system(format!("start {}", program.display())))
}

/// Makes the calling process the one that its standard input, a lab's lock file, stands for.
///
/// Called before anything else by a process that a lab started.
pub fn claim() -> Result<(), Error> {
    claim_file(io::stdin())
}

fn claim_file(lock: impl AsFd) -> Result<(), Error> {
    rustix::fs::fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(Error::system("lock standard input as a lab's lock file"))?;
    let state = rustix::fs::fstat(&lock).map_err(Error::system("examine the lab's lock file"))?;
    if state.st_nlink == 0 || state.st_size != 0 {
        return Err(Error::Condemned);
    }
    Ok(())
}

/// Ends the process that a lock file stands for, if there is one, and makes sure that none can
/// come to be: [`claim`] refuses the file from now on.
pub(crate) fn end(lock: &Path) -> Result<(), Error> {
    let Some(mut file) = open(lock)? else { return Ok(()) };
    file.write_all(b"down\n").map_err(Error::system(format!("write {}", lock.display())))?;
    while let Some((pid, process)) = holder(&file, lock)? {
        terminate(pid, &process)?;
    }
    Ok(())
}

/// The process that a lock file stands for, if it lives.
pub(crate) fn find(lock: &Path) -> Result<Option<Found>, Error> {
    match open(lock)? {
        Some(file) => holder(&file, lock),
        None => Ok(None),
    }
}

/// A process by its number, and by a descriptor that never means another.
pub(crate) type Found = (Pid, OwnedFd);

/// A lock file, if it is there.
fn open(lock: &Path) -> Result<Option<File>, Error> {
    match File::options().read(true).write(true).open(lock) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => file.map(Some).map_err(Error::system(format!("open {}", lock.display()))),
    }
}

/// The process that holds a lock file: `None` when nobody does.
fn holder(file: &File, lock: &Path) -> Result<Option<Found>, Error> {
    let held_by = || -> Result<Option<Pid>, Error> {
        match rustix::process::fcntl_getlk(file, &Flock::from(FlockType::WriteLock))
            .map_err(Error::system(format!("ask who holds {}", lock.display())))?
        {
            None => Ok(None),
            Some(Flock { pid: Some(pid), .. }) => Ok(Some(pid)),
            Some(Flock { pid: None, .. }) => Err(Error::ForeignProcess { lock: lock.to_owned() }),
        }
    };
    loop {
        let Some(pid) = held_by()? else { return Ok(None) };
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            // The number could have passed to another process before it was opened: only when
            // the lock is held by the same number afterwards does the descriptor mean the holder.
            Ok(process) if held_by()? == Some(pid) => return Ok(Some((pid, process))),
            Ok(_) | Err(Errno::SRCH) => {}
            Err(errno) => {
                return Err(Error::system(format!("open process {pid}"))(errno));
            }
        }
    }
}

/// Asks a process to end, then makes it.
fn terminate(pid: Pid, process: &OwnedFd) -> Result<(), Error> {
    signal(process, Signal::TERM)?;
    // A stopped process would never see it.
    signal(process, Signal::CONT)?;
    if !wait(process, GRACE)? {
        signal(process, Signal::KILL)?;
        if !wait(process, KILL_GRACE)? {
            return Err(Error::Unkillable {
                pid: pid.as_raw_nonzero().get(),
                seconds: KILL_GRACE.as_secs(),
            });
        }
    }
    // `lab test` takes down a lab whose processes are its own children. Anybody else's are not
    // ours to collect, which is what ECHILD says.
    let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    Ok(())
}

fn signal(process: &OwnedFd, signal: Signal) -> Result<(), Error> {
    match rustix::process::pidfd_send_signal(process, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::system("signal a process of the lab")(errno)),
    }
}

/// Waits for the end of a process: whether it came within `limit`.
fn wait(process: &OwnedFd, limit: Duration) -> Result<bool, Error> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout =
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut polled = [PollFd::new(process, PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for a process of the lab")(errno)),
        }
    }
}

/// The last lines of a log: what a user needs to see when a process ended too early.
pub(crate) fn tail(log: &Path) -> String {
    const BYTES: u64 = 4096;
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    };
    match read() {
        Ok(text) if text.is_empty() => "(it is empty)".to_owned(),
        Ok(text) => text,
        Err(error) => format!("(cannot read {}: {error})", log.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_file() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join("daemon.process");
        File::create(&lock).unwrap();
        (directory, lock)
    }

    #[test]
    fn a_condemned_file_cannot_be_claimed() {
        let (_directory, lock) = lock_file();
        let given = open(&lock).unwrap().unwrap();
        end(&lock).unwrap();
        assert!(matches!(claim_file(&given), Err(Error::Condemned)));
    }

    #[test]
    fn a_removed_file_cannot_be_claimed() {
        let (_directory, lock) = lock_file();
        let given = open(&lock).unwrap().unwrap();
        std::fs::remove_file(&lock).unwrap();
        assert!(matches!(claim_file(&given), Err(Error::Condemned)));
    }

    #[test]
    fn ending_nothing_is_no_error() {
        let (_directory, lock) = lock_file();
        end(&lock).unwrap();
        end(&lock).unwrap();
        std::fs::remove_file(&lock).unwrap();
        end(&lock).unwrap();
    }
}
