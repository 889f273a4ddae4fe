//! Network namespaces: named as `ip netns` names them, entered one thread at a time.
//!
//! iproute2 keeps names in [`RUN_DIR`]: files with the namespace mounted over them. It also mounts
//! that directory over itself when it is first used after boot, which would bury mounts that were
//! in it before: they could then be neither unmounted nor their files removed. So ours are mounted
//! in [`MOUNT_DIR`], and what stands in [`RUN_DIR`] is a symbolic link. `ip netns exec`, `list` and
//! `del` follow it, and [`remove`] leaves the host as it was.
//!
//! `setns` and `unshare` move one thread. Each piece of work in a namespace runs on a fresh
//! thread that ends there, so no thread that serves anything else can be left in the wrong one.
//! Both need CAP_SYS_ADMIN; a thread that is in the namespace already is left alone, so that a
//! container which may configure its own network, and nothing else, can.
//! (A thread's own view of `/proc/sys/net` follows it; `/proc/net` and `/sys/class/net` do not.)

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, OpenOptionsExt, symlink},
    },
    panic,
    path::{Path, PathBuf},
    thread,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    mount::UnmountFlags,
    thread::{LinkNameSpaceType, UnshareFlags},
};

use crate::{Error, unshare::unshare};

/// Where the names are, here and in iproute2.
pub const RUN_DIR: &str = "/run/netns";

/// Where the namespaces made here are mounted.
pub const MOUNT_DIR: &str = "/run/viaduct-netns";

/// Magic number of the file system that namespaces are files of (linux/magic.h).
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// An open network namespace. It exists at least as long as this does.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    label: String,
}

impl Namespace {
    /// The namespace the calling thread is in.
    pub fn current() -> Result<Self, Error> {
        open_path("/proc/thread-self/ns/net")
    }

    /// What people call it: its name, or the path or process it was opened by.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Runs `work` on a fresh thread inside the namespace and returns what it returned. A panic
    /// of `work` goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_fresh_thread(|| {
            self.enter()?;
            Ok(work())
        })
    }

    /// Moves the calling thread into the namespace, for good: for a process about to `exec`, or a
    /// thread that will end here.
    pub fn enter(&self) -> Result<(), Error> {
        if self.is_the_callers() {
            return Ok(());
        }
        rustix::thread::move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|errno| {
                Error::system(format!("enter network namespace `{}`", self.label), errno)
            })
    }

    /// Whether the calling thread is in it. False where that cannot be told, as without /proc.
    fn is_the_callers(&self) -> bool {
        let identity = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let callers = rustix::fs::stat("/proc/thread-self/ns/net").map(identity);
        callers.is_ok() && callers == rustix::fs::fstat(&self.fd).map(identity)
    }

    /// Another handle of the same namespace.
    pub fn try_clone(&self) -> Result<Self, Error> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).map_err(|errno| {
            Error::system(format!("duplicate namespace `{}`", self.label), errno)
        })?;
        Ok(Self { fd, label: self.label.clone() })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes a network namespace and gives it a name.
///
/// Killed between two of its steps it leaves what [`list`] shows and [`remove`] takes away.
pub fn create(name: &str) -> Result<Namespace, Error> {
    let link = link_of(name)?;
    let mount = Path::new(MOUNT_DIR).join(name);
    make_directory(RUN_DIR)?;
    // The link first: it is what keeps iproute2 from making a namespace of that name.
    symlink(&mount, &link).map_err(|source| not_made(name, &link, source))?;
    // A mount point without its link is a leftover: of a kill, or of `ip netns del`.
    let created = remove_mounted(&mount)
        .and_then(|_| make_mount_point(name, &mount))
        .and_then(|()| mount_new(name, &mount));
    if let Err(error) = created {
        // The first error is the one to report; a name without a namespace would be in the way.
        let _ = remove(name);
        return Err(error);
    }
    open(name)
}

/// Makes a network namespace without a name: it ends with the last handle, link or process in it,
/// whatever happens to its maker.
pub fn create_unnamed() -> Result<Namespace, Error> {
    let mut namespace = on_fresh_thread(|| {
        unshare(UnshareFlags::NEWNET)
            .map_err(|errno| Error::system("create a network namespace", errno))?;
        Namespace::current()
    })?;
    namespace.label = "unnamed".to_owned();
    Ok(namespace)
}

/// Opens a namespace by its name.
pub fn open(name: &str) -> Result<Namespace, Error> {
    let path = link_of(name)?;
    open_labelled(&path, name.to_owned())
}

/// Opens a namespace by a path to it, such as `/proc/1234/ns/net`.
pub fn open_path(path: impl AsRef<Path>) -> Result<Namespace, Error> {
    let path = path.as_ref();
    open_labelled(path, path.display().to_string())
}

/// Opens the namespace of a process.
pub fn open_pid(pid: u32) -> Result<Namespace, Error> {
    open_labelled(Path::new(&format!("/proc/{pid}/ns/net")), format!("process {pid}"))
}

/// Opens what a person wrote: a path if it has a slash, a process if it is a number, else a name.
pub fn resolve(text: &str) -> Result<Namespace, Error> {
    if text.contains('/') {
        return open_path(text);
    }
    match text.parse() {
        Ok(pid) => open_pid(pid),
        Err(_) => open(text),
    }
}

/// Takes a name away, whoever gave it. The namespace itself ends with its last process, descriptor
/// and mount.
pub fn remove(name: &str) -> Result<(), Error> {
    let link = link_of(name)?;
    let mount = Path::new(MOUNT_DIR).join(name);
    // Ours are mounted in the first place, iproute2's in the second. The link goes last: while it
    // stands, nobody makes a namespace of that name.
    let found = [remove_mounted(&mount)?, remove_mounted(&link)?];
    // Only the last to leave succeeds, and nobody needs it.
    let _ = fs::remove_dir(MOUNT_DIR);
    if found == [false, false] {
        return Err(Error::NoNamespace { path: link });
    }
    Ok(())
}

/// All names, sorted, whoever gave them.
pub fn list() -> Result<Vec<String>, Error> {
    let mut names = BTreeSet::new();
    for directory in [RUN_DIR, MOUNT_DIR] {
        let failed = |source| Error::system(format!("list {directory}"), source);
        let entries = match fs::read_dir(directory) {
            Err(source) if source.kind() == ErrorKind::NotFound => continue,
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            names.insert(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names.into_iter().collect())
}

fn make_directory(path: &str) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|source| Error::system(format!("create {path}"), source))
}

/// Makes the file to mount over, in a directory that [`remove`] may take away at any moment.
fn make_mount_point(name: &str, mount: &Path) -> Result<(), Error> {
    loop {
        make_directory(MOUNT_DIR)?;
        match fs::OpenOptions::new().write(true).create_new(true).mode(0o444).open(mount) {
            Ok(_) => return Ok(()),
            Err(source) if source.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(not_made(name, mount, source)),
        }
    }
}

fn not_made(name: &str, path: &Path, source: io::Error) -> Error {
    match source.kind() {
        ErrorKind::AlreadyExists => Error::NamespaceExists { name: name.to_owned() },
        _ => Error::system(format!("create {}", path.display()), source),
    }
}

/// Mounts a new namespace over the file `mount`.
fn mount_new(name: &str, mount: &Path) -> Result<(), Error> {
    on_fresh_thread(|| {
        unshare(UnshareFlags::NEWNET)
            .map_err(|errno| Error::system(format!("create network namespace `{name}`"), errno))?;
        rustix::mount::mount_bind("/proc/thread-self/ns/net", mount)
            .map_err(|errno| Error::system(format!("mount {}", mount.display()), errno))
    })
}

/// Takes away every mount on `path` and then the file or link. False: nothing was there.
fn remove_mounted(path: &Path) -> Result<bool, Error> {
    loop {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Not mounted (any more).
            Err(Errno::INVAL) => break,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(Error::system(format!("unmount {}", path.display()), errno)),
        }
    }
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::system(format!("remove {}", path.display()), source)),
    }
}

fn open_labelled(path: &Path, label: String) -> Result<Namespace, Error> {
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(
        |errno| match errno {
            Errno::NOENT => Error::NoNamespace { path: path.to_owned() },
            _ => Error::system(format!("open {}", path.display()), errno),
        },
    )?;
    let file_system = rustix::fs::fstatfs(&fd)
        .map_err(|errno| Error::system(format!("examine {}", path.display()), errno))?;
    if file_system.f_type as u64 != NSFS_MAGIC {
        return Err(Error::NotANamespace { path: path.to_owned() });
    }
    Ok(Namespace { fd, label })
}

fn link_of(name: &str) -> Result<PathBuf, Error> {
    let rule = if name.is_empty() || name.len() > 255 {
        "a name is 1 to 255 bytes long"
    } else if name == "." || name == ".." {
        "`.` and `..` are taken"
    } else if name.contains('/') || name.contains('\0') {
        "`/` and NUL are not allowed"
    } else {
        return Ok(Path::new(RUN_DIR).join(name));
    };
    Err(Error::BadName { name: name.to_owned(), what: "network namespace", rule })
}

fn on_fresh_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|source| Error::system("start a thread", source))?;
        worker.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}
