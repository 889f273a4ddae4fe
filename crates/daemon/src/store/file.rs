//! The state file as a storage for redb: locked, and brought to the disk only if somebody asks.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use redb::StorageBackend;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::failed;
use crate::{
    error::Error,
    fail_point::{self, Point},
    runtime_dir::still_named,
};

/// An open file that no other daemon has.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    file: Arc<Locked>,
    sync: bool,
    /// Whether writing fails, as on a disk that is full.
    #[cfg(test)]
    pub(super) full: Arc<std::sync::atomic::AtomicBool>,
}

/// A file that is locked until this is dropped, or the process ends, however it does.
#[derive(Debug)]
struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing alone does not unlock it if somebody else has a copy of the descriptor for a moment,
        // as a process has that is about to be another program.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl StateFile {
    /// Opens and locks a file. None if there is none.
    pub(super) fn open(path: &Path, sync: bool) -> Result<Option<Self>, Error> {
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("open", path)(error)),
        };
        Self::lock(file, path, sync).map(Some)
    }

    /// Makes a file and locks it; what an attempt before has left there goes.
    pub(super) fn create(path: &Path, sync: bool) -> Result<Self, Error> {
        if let Some(parent) = path.parent() {
            let mut directories = DirBuilder::new();
            directories.recursive(true).mode(0o755);
            directories.create(parent).map_err(failed("create", parent))?;
        }
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(failed("create", path))?;
        let file = Self::lock(file, path, sync)?;
        file.file.0.set_len(0).map_err(failed("empty", path))?;
        Ok(file)
    }

    /// Locks a file.
    fn lock(file: File, path: &Path, sync: bool) -> Result<Self, Error> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // It may have been put aside between our `open` and our `flock`.
            Ok(()) if still_named(&file, path) => Ok(Self {
                file: Arc::new(Locked(file)),
                sync,
                #[cfg(test)]
                full: Arc::default(),
            }),
            Ok(()) | Err(Errno::WOULDBLOCK) => Err(Error::StateInUse { path: path.to_owned() }),
            Err(errno) => Err(failed("lock", path)(errno.into())),
        }
    }

    /// Bytes.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.0.metadata()?.len())
    }

    /// Brings the name that the file was given to the disk, if somebody asked.
    pub(super) fn sync_name(&self, path: &Path) -> Result<(), Error> {
        let Some(parent) = path.parent().filter(|_| self.sync) else { return Ok(()) };
        let directory = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(failed("sync", directory))
    }
}

/// What is written is the kernel's before each of these returns, and outlives the process; only
/// `sync_data` is about the machine. redb's own locks are not needed: the file is locked already.
impl StorageBackend for StateFile {
    fn len(&self) -> io::Result<u64> {
        self.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.0.set_len(len)?;
        fail_point::pass(Point::Resized);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.sync {
            self.file.0.sync_data()?;
        }
        fail_point::pass(Point::Synced);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if self.full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Errno::NOSPC.into());
        }
        if fail_point::is_last(Point::HalfWritten) {
            self.file.0.write_all_at(&data[..data.len() / 2], offset)?;
            fail_point::die();
        }
        self.file.0.write_all_at(data, offset)?;
        fail_point::pass(Point::Written);
        Ok(())
    }
}

/// Gives a file a name that nobody has.
pub(super) fn name(unnamed: &Path, path: &Path) -> Result<(), Error> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, unnamed, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Somebody was faster.
        Err(Errno::EXIST) => Err(Error::StateInUse { path: path.to_owned() }),
        Err(errno) => Err(failed("make", path)(errno.into())),
    }
}
