//! The runtime directory: two sockets and the lock that makes their daemon the only one.
//!
//! Whoever holds the lock on `daemon.lock` owns the sockets beside it, so sockets that are found
//! there belong to a daemon that is dead, and are replaced. The lock is the kernel's (`flock`): it
//! ends with the process, however that ends. Nothing is left behind by a daemon that ends by
//! itself, but for the state that lasts, if that is here (`store`), and for what is noted of connections
//! (`notes`).

use std::{
    cell::Cell,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, flock},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};

use crate::error::Error;

/// Where a daemon's sockets are unless somebody says otherwise.
pub const DEFAULT_RUNTIME_DIR: &str = "/run/viaduct";

/// Connections that may wait to be accepted by the control socket.
const BACKLOG: i32 = 128;

/// A runtime directory that is this daemon's alone, until it is dropped.
#[derive(Debug)]
pub(crate) struct RuntimeDir {
    path: PathBuf,
    /// Whether the directory was not there before.
    made: bool,
    /// Whether the control socket is this daemon's own.
    listens: Cell<bool>,
    lock: File,
}

impl RuntimeDir {
    /// Makes the directory if need be, and takes it.
    pub(crate) fn take(path: &Path) -> Result<Self, Error> {
        let made = !path.exists();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(path)
            .map_err(file("create", path))?;
        let lock = take_lock(path)?;
        Ok(Self { path: path.to_owned(), made, listens: Cell::new(false), lock })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was made when it was taken, and goes when it is dropped.
    pub(crate) fn made(&self) -> bool {
        self.made
    }

    /// The path of the hand-over socket.
    pub(crate) fn attach_socket(&self) -> PathBuf {
        self.path.join("attach.sock")
    }

    /// The path of the control socket.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Where the state that lasts is, unless somebody says otherwise.
    pub(crate) fn state(&self) -> PathBuf {
        self.path.join("state.redb")
    }

    /// Where it is noted which connections there are.
    pub(crate) fn connections(&self) -> PathBuf {
        self.path.join("connections")
    }

    /// Opens the control socket, for the owner only.
    pub(crate) fn listen_control(&self) -> Result<tokio::net::UnixListener, Error> {
        let path = self.control_socket();
        let failed = |errno: Errno| Error::File {
            what: "listen on",
            path: path.clone(),
            source: errno.into(),
        };
        let address = SocketAddrUnix::new(&path).map_err(failed)?;
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .map_err(failed)?;
        remove_if_there(&path).map_err(file("replace", &path))?;
        rustix::net::bind(&socket, &address).map_err(failed)?;
        self.listens.set(true);
        // Nobody can connect before `listen`, so there is no moment with a wider mode.
        rustix::fs::chmod(&path, Mode::RUSR | Mode::WUSR).map_err(failed)?;
        rustix::net::listen(&socket, BACKLOG).map_err(failed)?;
        tokio::net::UnixListener::from_std(socket.into()).map_err(file("listen on", &path))
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        // Best effort: whatever stays is replaced by the next daemon. The lock goes last, and its
        // file goes while it is held, so that nobody can be holding a lock on a file without a
        // name (`take_lock` looks twice).
        if self.listens.get() {
            let _ = remove_if_there(&self.control_socket());
        }
        let _ = fs::remove_file(self.path.join(LOCK));
        if self.made {
            let _ = fs::remove_dir(&self.path);
        }
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

const LOCK: &str = "daemon.lock";

fn take_lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK);
    loop {
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .map_err(file("open", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // It only decorates the message.
                let _ = lock.read_to_string(&mut pid);
                let pid = pid.trim().parse().ok();
                return Err(Error::Running { path: directory.to_owned(), pid });
            }
            Err(errno) => return Err(file("lock", &path)(errno.into())),
        }
        // The daemon before us may have removed the file between our `open` and our `flock`.
        if !still_named(&lock, &path) {
            continue;
        }
        let write = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        write(&mut lock).map_err(file("write", &path))?;
        return Ok(lock);
    }
}

/// Whether a file that is open is the one that has this name now.
pub(crate) fn still_named(lock: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (lock.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => identity(held) == identity(named),
        _ => false,
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn file<'p>(what: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> Error + use<'p> {
    move |source| Error::File { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_the_third_finds_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        let first = RuntimeDir::take(&path).unwrap();
        match RuntimeDir::take(&path) {
            Err(Error::Running { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        drop(first);
        assert!(!path.exists(), "a directory that was made goes again");
        drop(RuntimeDir::take(&path).unwrap());
    }

    #[tokio::test]
    async fn sockets_of_a_dead_daemon_are_replaced_and_only_the_owner_may_connect() {
        let path = tempfile::tempdir().unwrap();
        let stale = std::os::unix::net::UnixListener::bind(path.path().join("control.sock"));
        drop(stale.unwrap());
        let directory = RuntimeDir::take(path.path()).unwrap();
        let _listener = directory.listen_control().unwrap();
        let socket = directory.control_socket();
        assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
        tokio::net::UnixStream::connect(&socket).await.unwrap();
        drop(directory);
        assert!(!socket.exists());
        assert!(path.path().exists(), "a directory that was there stays");
    }
}
