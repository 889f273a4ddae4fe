//! A connection of a helper, for a task that waits for it.

use std::{io, sync::Arc};

use tokio::{
    io::unix::{AsyncFd, AsyncFdReadyGuard},
    time::timeout,
};
use viaduct_tun::{
    Connection, HandoverError, Incoming, Reply,
    handover::{self, RefusalReason},
};

use super::{Failure, PATIENCE, desk::Desk};

/// That something has come.
pub(super) struct Came<'l>(AsyncFdReadyGuard<'l, Arc<Connection>>);

/// A connection that waits.
///
/// `AsyncFd::new` is deprecated for `register`, which is unsafe because a type may give out another
/// descriptor each time it is asked. `Connection` and `Listener` own theirs for life, so the safe one
/// is sound for them, and this crate needs no `unsafe`.
pub(super) struct Line(AsyncFd<Arc<Connection>>);

impl Line {
    pub(super) fn new(connection: Connection) -> Result<Self, HandoverError> {
        #[expect(deprecated, reason = "its successor is unsafe; see `Line`")]
        let line = AsyncFd::new(Arc::new(connection))?;
        Ok(Self(line))
    }

    /// The connection, to be closed where that may take its time.
    pub(super) fn into_connection(self) -> Arc<Connection> {
        self.0.into_inner()
    }

    /// Ready when something has come, or the peer has gone. Whoever waits may give up at any time.
    pub(super) async fn anything(&self) -> Result<Came<'_>, HandoverError> {
        Ok(Came(self.0.readable().await?))
    }

    /// The request that has come; none if it was nothing after all. Not to be given up: what it was
    /// about to bring would be lost, and closed just anywhere.
    pub(super) async fn receive(
        &self,
        mut came: Came<'_>,
        desk: &Desk,
    ) -> Result<Option<Incoming>, HandoverError> {
        let connection = Arc::clone(self.0.get_ref());
        let received = desk.aside(move || connection.try_recv()).await;
        let received = received.unwrap_or_else(|error| Err(io::Error::other(error).into()))?;
        if received.is_none() {
            came.0.clear_ready();
        }
        Ok(received)
    }

    pub(super) async fn send(&self, reply: &Reply) -> Result<(), Failure> {
        match timeout(PATIENCE, self.send_at_leisure(reply)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Failure::Deaf),
        }
    }

    async fn send_at_leisure(&self, reply: &Reply) -> Result<(), HandoverError> {
        loop {
            let mut ready = self.0.writable().await?;
            match self.0.get_ref().try_send(reply) {
                Ok(true) => return Ok(()),
                Ok(false) => ready.clear_ready(),
                Err(HandoverError::TooLarge) => return self.send_without_hosts(reply).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// A hosts file of thousands of names does not fit into a message. The host can live without,
    /// and whoever wants it can ask the control socket.
    async fn send_without_hosts(&self, reply: &Reply) -> Result<(), HandoverError> {
        let Reply::Plan(plan) = reply else { return Err(HandoverError::TooLarge) };
        tracing::warn!(name = plan.name, names = plan.hosts.len(), "too many names for a message");
        let plan = handover::Plan { hosts: Vec::new(), ..plan.clone() };
        Box::pin(self.send_at_leisure(&Reply::Plan(plan))).await
    }

    /// Says why, once, and ends.
    pub(super) async fn send_away(&self, failure: Failure) -> Result<(), Failure> {
        let reason = match failure {
            Failure::Version(_) => RefusalReason::UnsupportedVersion,
            Failure::Crowded => RefusalReason::TooMany,
            _ => RefusalReason::BadMessage,
        };
        let message = failure.to_string();
        // The peer may be gone, or deaf; the failure itself is what is logged.
        let _ = self.0.get_ref().try_send(&Reply::Refused { name: None, reason, message });
        Err(failure)
    }
}
