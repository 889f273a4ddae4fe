//! Commands that run while something is held for them.

use std::{io, os::fd::OwnedFd, process::Child};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal},
};
use viaduct_lab::exec::exit_code;

use crate::{
    exit::Failure,
    signals::{Asked, Ending},
};

/// Waits for a command and returns its exit code. It is ended when this process is asked to end.
pub(crate) async fn wait(mut child: Child, ending: &mut Ending) -> Result<u8, Failure> {
    let process = process_of(&child)?;
    let mut ended = tokio::task::spawn_blocking(move || child.wait());
    loop {
        tokio::select! {
            status = &mut ended => return Ok(exit_code(status??)),
            asked = ending.asked() => match asked {
                // The terminal's Ctrl-C has reached the command as well, and what it means is for
                // the command to say.
                Asked::Interrupt => {}
                Asked::Terminate => terminate(&process)?,
            }
        }
    }
}

/// A handle of the child that never means another process.
fn process_of(child: &Child) -> Result<OwnedFd, Failure> {
    let pid = Pid::from_child(child);
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty());
    process.map_err(|errno| io::Error::from(errno).into())
}

fn terminate(process: &OwnedFd) -> Result<(), Failure> {
    match rustix::process::pidfd_send_signal(process, Signal::TERM) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(io::Error::from(errno).into()),
    }
}
