//! What the sessions of one socket have in common, and what keeps them from those of others.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinError,
};
use viaduct_tun::{
    Connection, Listener,
    handover::{RefusalReason, Token},
};

use super::{log_limit::LogLimit, seats::Seats};
use crate::{
    doors::Door, entitlement::Entitlement, functions::Functions, refusal::Refusal,
    registry::Registry,
};

/// The longest name that is looked for, in bytes. A host's is two or three names of a file, of at most
/// 63 each.
const LONGEST_NAME: usize = 255;

/// Threads that one socket may have waiting for what strangers have sent.
pub(crate) const ASIDE: usize = 16;

/// Refuses a name that can be no host's, before it gets around.
pub(super) fn check_length(name: &str) -> Result<(), Refusal> {
    match name.len() {
        0..=LONGEST_NAME => Ok(()),
        length => {
            let message = format!("a name of {length} bytes is no host's");
            Err(Refusal::new(RefusalReason::BadMessage, message))
        }
    }
}

/// What the sessions of one socket have in common.
#[derive(Debug)]
pub(super) struct Desk {
    /// Where the socket is.
    pub(super) path: PathBuf,
    pub(super) functions: Arc<Functions>,
    /// How long attachments wait for a helper that went away.
    pub(super) grace: Duration,
    pub(super) seats: Arc<Seats>,
    entitlement: Entitlement,
    /// One for each connection that is not closed: as many as there are seats are being closed at most.
    open: Arc<Semaphore>,
    aside: Arc<Semaphore>,
    log: LogLimit,
}

impl Desk {
    /// One with so many seats, and where its helpers come in.
    pub(super) fn of(
        door: Door,
        seats: usize,
        functions: Arc<Functions>,
        grace: Duration,
    ) -> (Arc<Self>, Listener) {
        let Door { listener, entitlement } = door;
        let desk = Self {
            path: listener.path().to_owned(),
            functions,
            grace,
            seats: Seats::new(seats),
            entitlement,
            open: Arc::new(Semaphore::new(2 * seats)),
            aside: Arc::new(Semaphore::new(ASIDE)),
            log: LogLimit::new(Instant::now()),
        };
        (Arc::new(desk), listener)
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        self.functions.registry()
    }

    /// Whether this host may be asked about, and attached, by whoever has this token.
    pub(super) fn check(&self, name: &str, token: Option<&Token>) -> Result<(), Refusal> {
        check_length(name)?;
        self.entitlement.check(name, token)
    }

    /// Has a warning written, unless there were too many. It is told how many were not written.
    pub(super) fn warn(&self, write: impl FnOnce(Option<u64>)) {
        if let Some(unsaid) = self.log.admit(Instant::now()) {
            write(Some(unsaid).filter(|unsaid| *unsaid > 0));
        }
    }

    /// Room for one more connection, as long as it is not closed. Waits for one to be closed if need be.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.open).acquire_owned().await;
        room.expect("nobody closes this semaphore")
    }

    /// Closes a connection, and what it was sent, in its own time.
    pub(super) fn close(self: &Arc<Self>, connection: Arc<Connection>, room: OwnedSemaphorePermit) {
        let desk = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = desk.aside(move || drop(connection)).await {
                tracing::error!(%error, "closing a connection panicked");
            }
            drop(room);
        });
    }

    /// Does something with what a stranger has sent on a thread that may wait as long as the stranger
    /// likes.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let turn = Arc::clone(&self.aside).acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(turn);
            done
        })
        .await
    }
}
