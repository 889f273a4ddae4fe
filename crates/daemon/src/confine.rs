//! The daemon gives up what it does not need, so that whoever takes it over through a packet has nothing.
//!
//! # Theory of operation
//!
//! Two steps, because the kernel knows two kinds of restrictions:
//!
//! 1. [`Confinement::begin`], while the process has one thread: `no_new_privs`, every capability, and
//!    the files (`files`, Landlock). All three belong to a thread, and threads started from it inherit
//!    them. The runtime directory is taken and the topology was read; everything later needs no more than
//!    those two places.
//! 2. [`Confinement::complete`], when the workers run and the sockets listen, before the first queue is
//!    taken: the system calls (`calls`, seccomp), for all threads at once. From then on there is no new
//!    socket, no connection to anywhere, no program and no process.
//!
//! What is refused answers EPERM or EACCES, which the callers know; nothing is killed for it.
//!
//! A kernel or a container may not let a process use Landlock: that is said, and the rest holds. Capabilities
//! and system calls are not negotiable: where they cannot be given up the daemon does not run, unless
//! it was told not to confine itself.

mod calls;
mod files;

use std::{fs, path::Path};

use rustix::{
    io::Errno,
    thread::{CapabilitySet, CapabilitySets},
};

use crate::{doors::Door, error::Error, runtime_dir::RuntimeDir};

/// What a daemon is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confined {
    /// Whether it may open nothing but its runtime directory and its topology (Landlock).
    pub files: bool,
    /// How many system calls it may make.
    pub calls: usize,
}

/// A confinement whose second step is still to come.
#[must_use]
#[derive(Debug)]
pub(crate) struct Confinement {
    files: bool,
}

impl Confinement {
    /// Gives up capabilities and files, for this thread and those it starts.
    pub(crate) fn begin(
        directory: &RuntimeDir,
        topology: &Path,
        doors: &[Door],
    ) -> Result<Self, Error> {
        let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads > 1 {
            // Only a program that has this crate for a library can come here.
            tracing::warn!(threads, "threads that run already keep their capabilities and files");
        }
        give_up_capabilities()?;
        let files = files::restrict(directory, topology, doors)?;
        if !files {
            tracing::warn!(
                "no Landlock in this kernel or container: which files are opened is left to their modes"
            );
        }
        Ok(Self { files })
    }

    /// Gives up the system calls that only a start needs, for all threads.
    pub(crate) fn complete(self) -> Result<Confined, Error> {
        let confined = Confined { files: self.files, calls: calls::restrict()? };
        tracing::info!(
            capabilities = 0,
            system_calls = confined.calls,
            files = if confined.files { "its own" } else { "by their modes" },
            "confined"
        );
        Ok(confined)
    }
}

/// Gives up every capability, for good.
fn give_up_capabilities() -> Result<(), Error> {
    let failed = || Error::confine("give up capabilities");
    rustix::thread::set_no_new_privs(true).map_err(failed())?;
    let held = rustix::thread::capabilities(None).map_err(failed())?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter() {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // One that this kernel does not know.
                Ok(()) | Err(Errno::INVAL) => {}
                Err(errno) => return Err(failed()(errno)),
            }
        }
    }
    // Ambient ones go with those that are permitted.
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, none).map_err(failed())
}
