//! One invocation: a command below a first process, watched until both have ended.

use std::{
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::MemfdFlags,
    io::Errno,
    process::{Pid, PidfdFlags, Signal},
};
use viaduct_client::{
    Ended, How, Invocation, Octets,
    invocation::{MOST_LOG, MOST_OUTPUT},
};
use viaduct_tun::pid_namespace;

use super::{Limits, init};
use crate::{Error, exec::exit_code};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// Runs an invocation in an environment. Ends it when `over` becomes readable.
pub(super) fn run(
    limits: &Limits,
    namespace: &str,
    invocation: &Invocation,
    over: &OwnedFd,
) -> Result<Ended, Error> {
    // A thread of its own, which is there as long as the first process: a process-id namespace is of a
    // thread's children, and a parent's death is that of the thread.
    thread::scope(|scope| {
        let run = || {
            pid_namespace::for_children()?;
            Run::start(limits, namespace, invocation)?.watch(invocation.timeout, over)
        };
        match scope.spawn(run).join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// An invocation that runs. Dropped, it ends with all that it has started.
struct Run {
    init: Child,
    process: OwnedFd,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Run {
    fn start(limits: &Limits, namespace: &str, invocation: &Invocation) -> Result<Self, Error> {
        let mut command = Command::new(&limits.program);
        // What is in the agent's environment, or in the function's, is not for the first process, which
        // is root's.
        command.env_clear();
        command.args(init::arguments(namespace, limits.user, invocation));
        command.stdin(Stdio::from(file_of(&invocation.payload.0)?));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut init = command
            .spawn()
            .map_err(Error::system(format!("start {}", limits.program.display())))?;
        let process = rustix::process::pidfd_open(Pid::from_child(&init), PidfdFlags::empty());
        match process {
            Ok(process) => Ok(Self { init, process, stdout: Vec::new(), stderr: Vec::new() }),
            Err(errno) => {
                // It is our child, and not waited for yet: the number is still its own.
                let _ = init.kill();
                let _ = init.wait();
                Err(Error::system("open the process of an invocation")(errno))
            }
        }
    }

    /// Reads what it writes until it has ended, in whichever way.
    fn watch(mut self, timeout: u16, over: &OwnedFd) -> Result<Ended, Error> {
        let deadline = Instant::now() + Duration::from_secs(timeout.into());
        let mut pipes = [
            self.init.stdout.take().map(OwnedFd::from),
            self.init.stderr.take().map(OwnedFd::from),
        ];
        let mut cut_short = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let ready = poll([&self.process, over], &pipes, left)?;
            let [ended, is_over] = ready.others;
            self.read_all(ready.pipes, &mut pipes)?;
            if ended {
                break;
            }
            cut_short = if self.stdout.len() > MOST_OUTPUT {
                Some(How::TooMuchOutput)
            } else if is_over {
                Some(How::NotRun("the agent was asked to end, or its daemon has gone".to_owned()))
            } else if Instant::now() >= deadline {
                Some(How::TimedOut)
            } else {
                continue;
            };
            break;
        }
        if cut_short.is_some() {
            self.kill();
        }
        let status = self.init.wait().map_err(Error::system("wait for an invocation"))?;
        // All its processes have ended. What they have written is in the pipes, and nobody adds to it,
        // but for who was sent a pipe's end: whom nobody waits for.
        while cut_short.is_none() {
            let ready = poll([&self.process, over], &pipes, Duration::ZERO)?;
            if ready.pipes == [false, false] {
                break;
            }
            self.read_all(ready.pipes, &mut pipes)?;
            if self.stdout.len() > MOST_OUTPUT {
                cut_short = Some(How::TooMuchOutput);
            }
        }
        let how = cut_short.unwrap_or_else(|| How::Exited(exit_code(status)));
        let mut stdout = std::mem::take(&mut self.stdout);
        if how == How::TooMuchOutput {
            stdout.clear();
        }
        Ok(Ended { how, stdout: Octets(stdout), stderr: Octets(std::mem::take(&mut self.stderr)) })
    }

    /// Reads from those pipes in which there is something, and closes those that are at their end.
    fn read_all(
        &mut self,
        ready: [bool; 2],
        pipes: &mut [Option<OwnedFd>; 2],
    ) -> Result<(), Error> {
        for (at, (pipe, ready)) in pipes.iter_mut().zip(ready).enumerate() {
            if let Some(open) = pipe.as_ref().filter(|_| ready)
                && self.read(at, open)?
            {
                *pipe = None;
            }
        }
        Ok(())
    }

    /// Reads from standard output, 0, or standard error. True at its end.
    fn read(&mut self, at: usize, pipe: &OwnedFd) -> Result<bool, Error> {
        let mut piece = [0; PIECE];
        let read = match rustix::io::read(pipe, &mut piece) {
            Ok(read) => read,
            Err(Errno::INTR) => return Ok(false),
            Err(errno) => return Err(Error::system("read what a function writes")(errno)),
        };
        if at == 0 {
            self.stdout.extend_from_slice(&piece[..read]);
        } else {
            self.stderr.extend_from_slice(&piece[..read]);
            // Cut when it is twice as long: each byte is moved once.
            if self.stderr.len() >= 2 * MOST_LOG {
                self.stderr.drain(..self.stderr.len() - MOST_LOG);
            }
        }
        Ok(read == 0)
    }

    fn kill(&self) {
        // Refused only if it has ended.
        let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // After an error. Who has been waited for is waited for once.
        self.kill();
        let _ = self.init.wait();
    }
}

/// What can be read without waiting, or has ended.
struct Ready {
    others: [bool; 2],
    pipes: [bool; 2],
}

/// Waits for any of them, at most so long.
fn poll(
    others: [&OwnedFd; 2],
    pipes: &[Option<OwnedFd>; 2],
    left: Duration,
) -> Result<Ready, Error> {
    let timeout =
        Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    let open = others.into_iter().chain(pipes.iter().flatten());
    let mut polled: Vec<PollFd<'_>> =
        open.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
    match rustix::event::poll(&mut polled, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(Error::system("watch an invocation")(errno)),
    }
    let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
    let mut next = || ready.next().unwrap_or_default();
    let others = [next(), next()];
    let pipes = [pipes[0].is_some() && next(), pipes[1].is_some() && next()];
    Ok(Ready { others, pipes })
}

/// A file in memory with these bytes, to be read from its beginning: who does not read its input keeps
/// nobody waiting.
fn file_of(bytes: &[u8]) -> Result<OwnedFd, Error> {
    let made = || -> io::Result<OwnedFd> {
        let mut file =
            std::fs::File::from(rustix::fs::memfd_create("payload", MemfdFlags::CLOEXEC)?);
        file.write_all(bytes)?;
        io::Seek::rewind(&mut file)?;
        Ok(file.into())
    };
    made().map_err(Error::system("keep a payload in memory"))
}
