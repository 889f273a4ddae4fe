//! A directory of the system in which the caller may write: in its own mount namespace, and seen by
//! nobody else.

use std::{
    fs::{self, DirEntry, File},
    io,
    os::{fd::AsRawFd, unix::fs::symlink},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    mount::MountFlags,
};

use crate::Error;

/// Covers `directory` with one in memory that shows what was there before, all but `except`. There is
/// room in it for more.
///
/// For a process in a mount namespace of its own. What comes to be in the covered directory later is
/// not seen.
pub fn cover(directory: &Path, except: &[&str]) -> Result<(), Error> {
    let failed = |verb: &'static str| {
        move |source: io::Error| Error::system(format!("{verb} {}", directory.display()), source)
    };
    // Reached by its descriptor when its path leads elsewhere. A mount may begin there, for the path of
    // a descriptor is no text to the kernel.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = rustix::fs::open(directory, flags, Mode::empty())
        .map_err(|errno| failed("open")(errno.into()))?;
    let before = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", directory, "tmpfs", flags, c"mode=0755")
        .map_err(|errno| failed("cover")(errno.into()))?;
    for entry in fs::read_dir(before).map_err(failed("list"))? {
        let entry = entry.map_err(failed("list"))?;
        let name = entry.file_name();
        if except.iter().any(|hidden| name == *hidden) {
            continue;
        }
        // Gone again, or not for this user: nothing to show.
        if let Err(error) = show(&entry, &directory.join(&name)) {
            tracing::debug!(directory = %directory.display(), ?name, %error, "not shown");
        }
    }
    Ok(())
}

/// Shows a file, link or directory, with all that is mounted in it, at another place.
fn show(entry: &DirEntry, at: &Path) -> io::Result<()> {
    let kind = entry.file_type()?;
    if kind.is_symlink() {
        return symlink(fs::read_link(entry.path())?, at);
    }
    if kind.is_dir() {
        fs::create_dir(at)?;
    } else {
        File::create_new(at)?;
    }
    // Mounts that come from whoever has more rights cannot be parted from each other
    // (mount_namespaces(7)): all or none.
    Ok(rustix::mount::mount_bind_recursive(entry.path(), at)?)
}
