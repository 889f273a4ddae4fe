//! Labs of users who are not root.
//!
//! # Theory of operation
//!
//! Whoever is not root may become root of a user namespace ([`viaduct_tun::user_namespace`]), and may
//! then do all that a lab takes, but to nothing that was there before. `lab up --rootless` goes into one
//! ([`enter`]) and does there what it does for root; the daemon and the agent, which it starts, stay in it.
//! It ends with them, and so do the network namespaces and their names, whatever becomes of anybody.
//!
//! Inside, the paths are those of root's labs: `/run` is covered, so that `/run/netns` can be written.
//! Outside, the lab's directory is where the user keeps such things (`layout`), so that the daemon's
//! sockets are reached from there as well; `/run/viaduct` leads to it from inside. Two things are different:
//! `/etc/netns` cannot be made, so that the files are beside the namespaces (`layout`), and no
//! user but the caller exists, so that functions run as that one, without any capability.
//!
//! Commands that need the namespaces of a lab that is up go there first ([`join`]): they find a process of
//! the lab by the lock that it holds.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{FileTypeExt, MetadataExt, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, Mode, OFlags, StatVfsMountFlags},
    io::Errno,
};
use viaduct_tun::{netns, private_files, user_namespace};

use crate::{
    Error, LabName, Layout,
    layout::{self, ETC_ROOTLESS, RUN},
    process::{self, ROLES},
};

/// Where the TUN driver is opened.
pub(crate) const TUN: &str = "/dev/net/tun";

/// Who functions run as in a rootless lab: the only user there, who is the caller outside.
pub const USER: &str = "0:0";

/// Puts the calling process, which must have one thread, where it may make labs. `tun` is the node of the
/// TUN driver that is to be opened, if it is not `/dev/net/tun`.
pub fn enter(tun: Option<&Path>) -> Result<(), Error> {
    if is_root() {
        return Err(Error::RootNeedsNone);
    }
    let node = tun.unwrap_or(Path::new(TUN));
    check_node(node)?;
    let outside = layout::run();
    let kept_in = outside.parent().unwrap_or(Path::new("/"));
    rustix::fs::access(kept_in, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| {
        Error::NoRuntimeDirectory { path: kept_in.to_owned(), source: errno.into() }
    })?;
    user_namespace::enter()?;
    if tun.is_some() {
        put_in_place(node)?;
    }
    let ours = [RUN, ETC_ROOTLESS, netns::RUN_DIR, netns::MOUNT_DIR].map(name_in_run);
    private_files::cover(Path::new("/run"), &ours)?;
    symlink(&outside, RUN).map_err(Error::system(format!("create {RUN}")))?;
    for directory in [ETC_ROOTLESS, netns::RUN_DIR] {
        fs::create_dir(directory).map_err(Error::system(format!("create {directory}")))?;
    }
    Ok(())
}

/// Moves the calling process, which must have one thread, to where the lab of this name is, if that is
/// up and not root's.
pub fn join(name: &LabName) -> Result<(), Error> {
    if is_root() {
        return Ok(());
    }
    match process_of(&Layout::of(name))? {
        Some((_, process)) => Ok(user_namespace::join(process.as_fd())?),
        None => Ok(()),
    }
}

/// Whether the caller may do everything where it is: root, or root of a user namespace.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The directory in which a user's lab has its namespaces mounted, as it is seen from outside: as long
/// as one of its processes lives.
pub(crate) fn namespaces(layout: &Layout) -> Result<Option<PathBuf>, Error> {
    let process = process_of(layout)?;
    Ok(process.map(|(pid, _)| {
        let root = PathBuf::from(format!("/proc/{}/root", pid.as_raw_nonzero()));
        root.join(netns::MOUNT_DIR.trim_start_matches('/'))
    }))
}

fn process_of(layout: &Layout) -> Result<Option<process::Found>, Error> {
    for role in ROLES {
        if let Some(found) = process::find(&layout.lock_of(role))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn name_in_run(path: &str) -> &str {
    path.trim_start_matches("/run/")
}

/// Whether this is a node of the TUN driver that the caller may open.
fn check_node(node: &Path) -> Result<(), Error> {
    let refused = |problem: String, help: String| {
        Err(Error::TunNode { path: node.to_owned(), problem, help })
    };
    let shown = node.display();
    let metadata = match fs::metadata(node) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let help = format!(
                "load the driver with `modprobe tun`, or make a node for it, as root: `mknod {shown} c \
                 10 200 && chmod 666 {shown}`"
            );
            return refused("there is none".to_owned(), help);
        }
        Err(error) => return refused(error.to_string(), "name one that you can reach".to_owned()),
    };
    let number = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    if !metadata.file_type().is_char_device() || number != (10, 200) {
        let help = "the TUN driver's is a character device with the numbers 10 and 200".to_owned();
        return refused("it is something else".to_owned(), help);
    }
    let Err(error) = File::options().read(true).write(true).open(node) else { return Ok(()) };
    let nodev = rustix::fs::statvfs(node)
        .is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::NODEV));
    let help = match Errno::from_io_error(&error) {
        Some(Errno::NODEV | Errno::NXIO) => "load the driver with `modprobe tun`".to_owned(),
        Some(Errno::ACCESS) if nodev => {
            "its file system is mounted with `nodev`; put the node where devices are allowed"
                .to_owned()
        }
        Some(Errno::ACCESS) => format!(
            "as root, `chmod 666 {shown}` lets everybody open it, or make a node for the lab and name \
             it with `--tun-device`"
        ),
        _ => "a container needs the device as well: `--device /dev/net/tun`".to_owned(),
    };
    refused(error.to_string(), help)
}

/// Has a node stand where the driver's is opened. In a mount namespace of the caller's own.
fn put_in_place(node: &Path) -> Result<(), Error> {
    let failed = |source: io::Error| {
        Error::system(format!("put {} in the place of {TUN}", node.display()))(source)
    };
    // By its descriptor, which leads there when the path does not any more.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = rustix::fs::open(node, flags, Mode::empty());
    let opened = opened.map_err(|errno| failed(errno.into()))?;
    let target = Path::new(TUN);
    if !target.exists()
        && let Some(directory) = target.parent()
    {
        private_files::cover(Path::new("/dev"), &["net"])?;
        fs::create_dir(directory).map_err(failed)?;
        File::create_new(target).map_err(failed)?;
    }
    rustix::mount::mount_bind(format!("/proc/self/fd/{}", opened.as_raw_fd()), target)
        .map_err(|errno| failed(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(node: &Path) -> String {
        check_node(node).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_node_of_the_driver_is_said_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let none = directory.path().join("none");
        assert!(refusal(&none).contains(&format!("mknod {} c 10 200", none.display())));
        for other in [Path::new("/dev/null"), directory.path()] {
            assert!(refusal(other).contains("10 and 200"), "{}", refusal(other));
        }
    }

    #[test]
    fn what_is_covered_is_named_as_it_is_in_run() {
        let names = [RUN, ETC_ROOTLESS, netns::RUN_DIR, netns::MOUNT_DIR].map(name_in_run);
        assert_eq!(names, ["viaduct", "viaduct-etc", "netns", "viaduct-netns"]);
    }
}
