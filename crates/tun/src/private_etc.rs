//! A mount namespace of its own for a process about to run in a network namespace.
//!
//! Programs look their network up in files: `/etc/hosts`, `/etc/resolv.conf`, `/sys/class/net`.
//! `ip netns exec NAME` shows them the files of `/etc/netns/NAME` and a `/sys` of the network
//! namespace; this does the same, without iproute2.

use std::{fs, io::ErrorKind, path::Path};

use rustix::{mount::MountFlags, thread::UnshareFlags};

use crate::{
    Error,
    unshare::{follow_no_mounts, unshare},
};

/// Gives the calling thread a mount namespace of its own, in which the files of `files` stand in
/// for those of the same name in `/etc`.
///
/// For a process with one thread, about to `exec`: nothing of it is seen outside. A file that
/// `/etc` does not have is left out, as a mount needs something to cover. `files` need not exist.
pub fn enter(files: &Path) -> Result<(), Error> {
    unshare(UnshareFlags::NEWNS)
        .map_err(|errno| Error::system("create a mount namespace", errno))?;
    follow_no_mounts().map_err(|errno| Error::system("make the mount namespace private", errno))?;
    // Only /sys/class/net depends on it, and in some containers nobody may mount a sysfs.
    if let Err(error) = rustix::mount::mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None) {
        tracing::debug!(%error, "/sys shows the network of another namespace");
    }
    let failed = |source| Error::system(format!("list {}", files.display()), source);
    let entries = match fs::read_dir(files) {
        Err(source) if source.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let target = Path::new("/etc").join(entry.file_name());
        if target.exists() {
            rustix::mount::mount_bind(entry.path(), &target)
                .map_err(|errno| Error::system(format!("mount {}", target.display()), errno))?;
        }
    }
    Ok(())
}
