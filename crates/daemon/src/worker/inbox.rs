//! A worker's inbox: a bounded queue of commands and an eventfd that ends its sleep.

use std::{os::fd::OwnedFd, sync::Arc};

use crossbeam::queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::mpsc;

use super::port::Port;
use crate::error::Error;

/// Commands that may wait. Whoever finds no room tries again; workers look every round.
const ROOM: usize = 1024;

/// What a worker is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// From now on packets to this attachment go to this port.
    Attach(Arc<Port>, Passage),
    /// Read this port: told to one worker, when all of them can write to it.
    Read(Arc<Port>, Passage),
    /// Forget the port, if it still is the one of its attachment.
    Detach(Arc<Port>, Passage),
    /// End.
    Stop,
}

/// Dropped by a worker when a command is behind it and nothing older is in its hands any more.
/// When all are dropped, the other end of the channel is told.
pub(crate) type Passage = mpsc::Sender<std::convert::Infallible>;

#[derive(Debug)]
pub(crate) struct Inbox {
    commands: ArrayQueue<Command>,
    bell: OwnedFd,
}

impl Inbox {
    pub(crate) fn new() -> Result<Self, Error> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(Error::system("make an eventfd"))?;
        Ok(Self { commands: ArrayQueue::new(ROOM), bell })
    }

    /// Puts a command in, or gives it back if there is no room now.
    pub(crate) fn push(&self, command: Command) -> Result<(), Command> {
        let pushed = self.commands.push(command);
        // Also when it is full: the worker should hurry. A counter that is full has rung already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        pushed
    }

    pub(crate) fn pop(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// What a worker polls.
    pub(crate) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// Stops the ringing. Comes before the commands are taken, so that one that arrives between
    /// the two rings again.
    pub(crate) fn answer(&self) {
        // Nothing to read is no news.
        let _ = rustix::io::read(&self.bell, &mut [0_u8; 8]);
    }
}
