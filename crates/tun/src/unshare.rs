//! Namespaces of the calling thread's own.

use rustix::{io::Errno, mount::MountPropagationFlags, thread::UnshareFlags};

/// Gives the calling thread new namespaces, of these kinds.
#[allow(unsafe_code)]
pub(crate) fn unshare(namespaces: UnshareFlags) -> Result<(), Errno> {
    // SAFETY: `unshare` is unsafe for CLONE_FILES alone, which parts the thread from descriptors
    // that others open, and is taken away here. New namespaces leave memory and descriptors as they are.
    unsafe { rustix::thread::unshare_unsafe(namespaces - UnshareFlags::FILES) }
}

/// Has the mounts of the calling thread's mount namespace follow nobody's: without this, what is mounted
/// in it appears on the host.
pub(crate) fn follow_no_mounts() -> Result<(), Errno> {
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags)
}
