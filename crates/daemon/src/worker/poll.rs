//! The set of queues that a worker reads.
//!
//! Level-triggered, so that a queue whose turn ended early is simply reported again, behind those
//! that wait. What a giver does to its device shows here as a queue that is reported ready for ever
//! and yields nothing; such a queue is taken out until the next tick ([`PollSet::rest`]), or for
//! good ([`PollSet::remove`]).

use std::{os::fd::OwnedFd, time::Duration};

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    fd::AsFd,
    io::Errno,
};
use viaduct_topology::inventory::AttachmentId;

use crate::error::Error;

/// Queues that one wait can report; the others are reported by the next.
const AT_ONCE: usize = 128;

/// Marks the inbox's bell. Attachments have 32 bits.
const BELL: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct PollSet(OwnedFd);

/// What the last wait reported. Stays on one thread, as the kernel's events may hold pointers.
pub(crate) struct Reported(Vec<Event>);

/// What a wait reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// There are commands.
    Bell,
    /// The attachment's queue has something, or something is wrong with it.
    Queue(AttachmentId),
}

impl PollSet {
    /// A set with the bell in it.
    pub(crate) fn new(bell: &OwnedFd) -> Result<Self, Error> {
        let failed = "make an epoll set";
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(Error::system(failed))?;
        epoll::add(&epoll, bell, EventData::new_u64(BELL), EventFlags::IN)
            .map_err(Error::system(failed))?;
        Ok(Self(epoll))
    }

    /// Watches a queue.
    pub(crate) fn add(&self, id: AttachmentId, queue: impl AsFd) -> Result<(), Errno> {
        epoll::add(&self.0, queue, EventData::new_u64(id.0.into()), EventFlags::IN)
    }

    /// Watches it no longer. A queue that is not watched is no error.
    pub(crate) fn remove(&self, queue: impl AsFd) {
        let _ = epoll::delete(&self.0, queue);
    }

    /// Waits for at most `patience`, then takes what there is.
    pub(crate) fn wait(&self, reported: &mut Reported, patience: Duration) -> Result<(), Errno> {
        reported.0.clear();
        let patience = Timespec::try_from(patience).expect("a wait is short");
        match epoll::wait(&self.0, spare_capacity(&mut reported.0), Some(&patience)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl Reported {
    /// Room for one wait.
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(AT_ONCE))
    }

    /// Whether the wait was in vain.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Ready> {
        self.0.iter().map(|event| {
            // Copied out of a packed struct.
            let data = event.data;
            match u32::try_from(data.u64()) {
                Ok(id) => Ready::Queue(AttachmentId(id)),
                Err(_) => Ready::Bell,
            }
        })
    }
}
