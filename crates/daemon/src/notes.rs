//! Connections outlive the daemon: what is noted of them while it runs, and how the next one goes on.
//!
//! # Theory of operation
//!
//! One file, `connections` in the runtime directory, has a record of 128 bytes for each slot of the
//! engine's connection table (`format`). A thread that is no packet worker writes it in rounds of
//! [`ROUND`] (`writer`): the slots in which a connection was born, has died or has become established,
//! and [`LOOKED_AT`] others in turn, for clocks and counts that move with every packet. So a connection
//! is noted 50 ms after its birth and forgotten 50 ms after its death, and the time of its last packet
//! is as old as the last turn: 50 ms among 1,000 connections, 50 s among a million.
//!
//! A mirror and no journal: each record is in its place, so that nothing grows, nothing is compacted, and
//! what was written twice counts once. Records do not cross pages, and writes go to the page cache, which
//! outlives the process: after `kill -9` a record is whole, of before the write or after it. Nothing is
//! brought to the disk. When the machine dies its connections do, and a file of before is told by the
//! machine's boot.
//!
//! The next daemon reads the file before it takes attachments (`reader`), has each connection go on that
//! still can ([`Engine::resume`]), writes all of them to a new file and puts that in the place of the old
//! one in one step. One that dies meanwhile leaves the old one. Hosts and interfaces have other numbers in
//! it: the file tells them by name. Environments that stood when the daemon died stand again, and wait for
//! their helpers as others do.
//!
//! The engine's clock goes on where it stood: time during which no daemon ran is not counted, as when a
//! daemon was stopped (`clock`), for the packets that prove a connection alive wait in the queues.
//!
//! **Failure.** Nothing here keeps a daemon from running. A file that is damaged, of another format or
//! of another boot is told of and begun anew. Where it cannot be written, it is emptied, so that nobody
//! takes old records for true, and written whole as soon as it can be: that is tried every
//! [`TRY_AGAIN`].

mod format;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use viaduct_dataplane::Engine;

use self::writer::Writer;
pub(crate) use self::{
    format::Boot,
    reader::{Left, Resumed},
};
use crate::{clock::Clock, error::Error};

/// Between two rounds: half of how old a connection may be that dies with the daemon. Each costs an idle
/// daemon a waking.
const ROUND: Duration = Duration::from_millis(50);

/// Slots that are looked at in a round though nothing was said of them.
const LOOKED_AT: u32 = 1024;

/// After the file could not be written.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// The thread that notes connections. Ends, after a last round, when this is dropped.
#[derive(Debug)]
pub(crate) struct Notes {
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Notes {
    /// Writes all connections to a new file, puts it in the place of the one at `path`, and keeps it
    /// up to date from then on. None where there can be no file: that is told of.
    pub(crate) fn begin(
        path: &Path,
        boot: Boot,
        engine: Arc<Engine>,
        clock: Arc<Clock>,
    ) -> Result<Option<Self>, Error> {
        let unnamed = path.with_extension("new");
        let mut writer = match create(&unnamed) {
            Ok(file) => Writer::new(file, boot),
            Err(error) => {
                warn(&unnamed, &error);
                // It is true no longer, and will not be.
                let _ = fs::remove_file(path);
                return Ok(None);
            }
        };
        let begun = writer.write_all(&engine, clock.now());
        let failed = begun.inspect_err(|error| warn(&unnamed, error)).is_err();
        if failed {
            writer.give_up();
        }
        if let Err(error) = fs::rename(&unnamed, path) {
            warn(path, &error);
            let _ = fs::remove_file(path);
            return Ok(None);
        }
        let ending = Arc::new(AtomicBool::new(false));
        let (told, path) = (Arc::clone(&ending), path.to_owned());
        let thread = thread::Builder::new()
            .name("notes".to_owned())
            .spawn(move || keep(writer, &path, &engine, &clock, &told, failed))
            .map_err(|source| Error::System { what: "start the thread for notes", source })?;
        Ok(Some(Self { ending, thread: Some(thread) }))
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        self.ending.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Forgets what is noted there.
pub(crate) fn forget(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(Error::File { what: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// For the owner alone: who knows sequence numbers can forge segments.
fn create(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

fn keep(
    mut writer: Writer,
    path: &Path,
    engine: &Engine,
    clock: &Clock,
    ending: &AtomicBool,
    mut failed: bool,
) {
    let mut failed_at = Instant::now();
    loop {
        let last = ending.load(Relaxed);
        if !failed || failed_at.elapsed() >= TRY_AGAIN {
            let now = clock.now();
            let written = match failed {
                true => writer.write_all(engine, now),
                false => writer.round(engine, now),
            };
            match &written {
                Ok(()) if failed => tracing::info!("connections are noted again"),
                Ok(()) => {}
                Err(error) => {
                    if !failed {
                        warn(path, error);
                    }
                    writer.give_up();
                    failed_at = Instant::now();
                }
            }
            failed = written.is_err();
        }
        if last {
            return;
        }
        thread::park_timeout(ROUND);
    }
}

fn warn(path: &Path, error: &io::Error) {
    tracing::warn!(
        path = %path.display(),
        %error,
        "connections cannot be noted: they would not outlive this daemon"
    );
}
