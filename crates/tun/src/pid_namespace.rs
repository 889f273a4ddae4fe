//! A process-id namespace for what a thread starts next: when its first process ends, the kernel ends
//! all others (pid_namespaces(7)), whatever they have done to get away.

use rustix::thread::UnshareFlags;

use crate::{Error, unshare::unshare};

/// Has the next process that the calling thread starts be the first one of a new process-id namespace,
/// and later ones be in it as well.
///
/// For a thread that ends with that process: from then on it can start no thread.
pub fn for_children() -> Result<(), Error> {
    unshare(UnshareFlags::NEWPID)
        .map_err(|errno| Error::system("create a process-id namespace", errno))
}
