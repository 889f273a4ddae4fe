//! The daemon's control API for code that waits.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use viaduct_client::{Client, ClientError, Drops, DropsQuery};

use crate::Error;

/// How long a daemon that was just started may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two attempts to reach it.
const TRY_AGAIN: Duration = Duration::from_millis(5);

/// A daemon, asked one question at a time.
#[derive(Debug)]
pub struct Api {
    runtime: tokio::runtime::Runtime,
    socket: PathBuf,
}

impl Api {
    /// For the daemon whose control socket this is. It need not be there yet.
    pub fn new(socket: &Path) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::system("start an asynchronous runtime"))?;
        Ok(Self { runtime, socket: socket.to_owned() })
    }

    /// How many hosts are attached.
    pub fn attached(&self) -> Result<usize, Error> {
        let status = self.ask(async |client| client.status().await)?;
        Ok(if status.ready { status.attachments.attached } else { 0 })
    }

    /// The names of all hosts that the file declares, once the daemon answers; none if `stop` was set
    /// meanwhile. Environments that come and go are of whoever wants them.
    pub(crate) fn attachment_names(&self, stop: &AtomicBool) -> Result<Vec<String>, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ask(async |client| client.attachments().await) {
                Ok(attachments) => {
                    let declared = attachments.into_iter().filter(|host| host.declared);
                    return Ok(declared.map(|host| host.name).collect());
                }
                Err(_) if stop.load(Ordering::Relaxed) => return Ok(Vec::new()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(TRY_AGAIN),
            }
        }
    }

    /// The sequence number after which drops are still to come.
    pub fn drops_so_far(&self) -> Result<u64, Error> {
        // More than what is remembered may have happened; only the end matters.
        Ok(self.drops(0, Duration::ZERO)?.next)
    }

    /// The drops after a sequence number, waiting for the first at most `wait`.
    pub fn drops(&self, after: u64, wait: Duration) -> Result<Drops, Error> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.ask(async |client| client.drops(DropsQuery { after, wait_ms }).await)
    }

    /// Asks something of the daemon.
    pub fn ask<T, Answer>(&self, question: impl FnOnce(Client) -> Answer) -> Result<T, Error>
    where
        Answer: Future<Output = Result<T, ClientError>>,
    {
        self.runtime.block_on(async {
            let client = Client::connect(&self.socket).await?;
            Ok(question(client).await?)
        })
    }
}
