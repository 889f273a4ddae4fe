//! Where a lab keeps what it has, and which directories of the host it shares with others.
//!
//! `/run/viaduct/labs/NAME/` is made before anything else of the lab and removed after
//! everything else: as long as it exists, there may be something to take down. A `flock` on the
//! directory itself serialises `up` and `down` of one lab; one on `/run/viaduct/labs` serialises
//! the few moments in which directories are made and removed.
//!
//! Who is not root has `viaduct/labs` in the directory that is for such things (XDG_RUNTIME_DIR), and
//! labs of which nobody else knows (see [`crate::rootless`]).
//!
//! Directories that other programs use as well (`/run/netns`, `/etc/netns`) may not exist
//! before. A marker says that a lab made them; the last lab removes them again, if they are empty.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use crate::{Error, LabName};

/// Everything that root's viaduct keeps at run time.
pub(crate) const RUN: &str = "/run/viaduct";

/// See [`etc_netns`].
const ETC_NETNS: &str = "/etc/netns";

/// The same in a rootless lab, of which it is a sign.
pub(crate) const ETC_ROOTLESS: &str = "/run/viaduct-etc";

/// Files that `lab exec` shows as `/etc/*` inside a namespace, as `ip netns exec` does.
pub(crate) fn etc_netns() -> &'static Path {
    let rootless = Path::new(ETC_ROOTLESS);
    if rootless.is_dir() { rootless } else { Path::new(ETC_NETNS) }
}

/// Everything that the calling user's viaduct keeps at run time.
pub(crate) fn run() -> PathBuf {
    let user = rustix::process::geteuid();
    if user.is_root() {
        // In a rootless lab it leads to where it is seen from outside.
        return fs::read_link(RUN).unwrap_or_else(|_| RUN.into());
    }
    let directory = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let directory = directory.filter(|directory| directory.is_absolute());
    let usual = || format!("/run/user/{}", user.as_raw()).into();
    directory.unwrap_or_else(usual).join("viaduct")
}

/// The labs of the calling user.
fn labs() -> PathBuf {
    run().join("labs")
}

/// Directories that are not ours alone, and the marker that says that a lab made them.
fn shared() -> [(&'static Path, &'static str); 2] {
    [(Path::new(viaduct_tun::netns::RUN_DIR), ".made-run-netns"), (etc_netns(), ".made-etc-netns")]
}

/// The directory of one lab.
#[derive(Clone, Debug)]
pub struct Layout {
    directory: PathBuf,
}

impl Layout {
    /// Where the lab of this name keeps its things, whether or not it exists.
    #[must_use]
    pub fn of(name: &LabName) -> Self {
        Self { directory: labs().join(name.as_str()) }
    }

    /// The directory: the runtime directory of the daemon, with its sockets.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The copy of the topology that the daemon was started with.
    #[must_use]
    pub fn topology(&self) -> PathBuf {
        self.directory.join("topology.yaml")
    }

    /// The daemon's control socket.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// The lock file of a process of the lab (the daemon has one of its own, `daemon.lock`).
    pub(crate) fn lock_of(&self, role: &str) -> PathBuf {
        self.directory.join(format!("{role}.process"))
    }

    /// The log of a process of the lab.
    pub(crate) fn log_of(&self, role: &str) -> PathBuf {
        self.directory.join(format!("{role}.log"))
    }
}

/// The right to change one lab; given up when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    _directory: File,
}

/// Makes the directory of a lab that is to come up, and those it will need of the host.
pub(crate) fn found(name: &LabName) -> Result<(Layout, Claim), Error> {
    let layout = Layout::of(name);
    let labs = labs();
    let _labs = loop {
        make_directory(&labs)?;
        // Removed between the two calls by the last lab's end: make it again.
        if let Some(labs) = lock_directory(&labs)? {
            break labs;
        }
    };
    for (shared, marker) in shared() {
        if !shared.exists() {
            let marker = labs.join(marker);
            File::create(&marker).map_err(Error::system(format!("create {}", marker.display())))?;
            make_directory(shared)?;
        }
    }
    match DirBuilder::new().mode(0o755).create(layout.directory()) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Error::AlreadyUp { name: name.clone() });
        }
        made => made.map_err(Error::system(format!("create {}", layout.directory().display())))?,
    }
    let claim =
        lock_directory(layout.directory())?.ok_or_else(|| Error::NotUp { name: name.clone() })?;
    Ok((layout, Claim { _directory: claim }))
}

/// Takes hold of a lab to take it down, waiting for whoever has it: `None` when there is none.
pub(crate) fn claim(name: &LabName) -> Result<Option<(Layout, Claim)>, Error> {
    let layout = Layout::of(name);
    let claim = lock_directory(layout.directory())?;
    Ok(claim.map(|directory| (layout, Claim { _directory: directory })))
}

/// Removes the directory of a lab of which nothing else is left, and the directories of the host
/// that labs made, unless somebody uses them.
pub(crate) fn raze(layout: &Layout) -> Result<(), Error> {
    match fs::remove_dir_all(layout.directory()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => {
            removed.map_err(Error::system(format!("remove {}", layout.directory().display())))
        }
    }
}

/// Removes what the labs made of the host's directories, once there is no lab.
pub(crate) fn tidy() -> Result<(), Error> {
    let (run, labs) = (run(), labs());
    let Some(_labs) = lock_directory(&labs)? else {
        return remove_if_empty(&run);
    };
    if !names()?.is_empty() {
        return Ok(());
    }
    for (shared, marker) in shared() {
        let marker = labs.join(marker);
        if marker.exists() {
            remove_if_empty(shared)?;
            fs::remove_file(&marker)
                .map_err(Error::system(format!("remove {}", marker.display())))?;
        }
    }
    remove_if_empty(&labs)?;
    remove_if_empty(&run)
}

/// The calling user's labs, complete or not.
pub fn names() -> Result<Vec<LabName>, Error> {
    let labs = labs();
    let failed = || Error::system(format!("list {}", labs.display()));
    let entries = match fs::read_dir(&labs) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed())?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed())?;
        // Markers begin with a dot, which no lab's name contains.
        if let Ok(name) = entry.file_name().to_string_lossy().parse() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Locks a directory: `None` when it does not exist, or was removed before it could be locked.
fn lock_directory(path: &Path) -> Result<Option<File>, Error> {
    let directory = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        directory => directory.map_err(Error::system(format!("open {}", path.display())))?,
    };
    rustix::fs::flock(&directory, FlockOperation::LockExclusive)
        .map_err(Error::system(format!("lock {}", path.display())))?;
    let state = rustix::fs::fstat(&directory)
        .map_err(Error::system(format!("examine {}", path.display())))?;
    Ok((state.st_nlink > 0).then_some(directory))
}

fn make_directory(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(Error::system(format!("create {}", path.display())))
}

fn remove_if_empty(path: &Path) -> Result<(), Error> {
    match fs::remove_dir(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::DirectoryNotEmpty
                    | io::ErrorKind::ResourceBusy
            ) =>
        {
            Ok(())
        }
        removed => removed.map_err(Error::system(format!("remove {}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_directory_is_not_locked() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("lab");
        assert!(lock_directory(&path).unwrap().is_none());
        fs::create_dir(&path).unwrap();
        let held = lock_directory(&path).unwrap();
        assert!(held.is_some());
        fs::remove_dir(&path).unwrap();
        assert!(lock_directory(&path).unwrap().is_none());
    }

    #[test]
    fn the_longest_socket_path_fits_a_unix_address() {
        let name: LabName = "x".repeat(40).parse().unwrap();
        assert!(Layout::of(&name).control_socket().as_os_str().len() <= 107);
    }
}
