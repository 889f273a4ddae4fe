//! `attach.sock`: hosts come and go.
//!
//! One task a connection. It answers in the order of the requests; what it sends without being
//! asked (an attachment that ended on this side) comes through a channel. A peer that says nothing
//! sensible is told so and let go; one that does not read its answers is let go as well. None of
//! it touches any other connection.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use viaduct_control_plane::HostPlan;
use viaduct_tun::{
    Connection, DeviceKind, HandoverError, Incoming, Listener, Offer, Queue, Reply,
    handover::{self, DetachReason, HostEntry, PROTOCOL_VERSION, RefusalReason},
};

use crate::{
    error::Error,
    functions::Functions,
    refusal::Refusal,
    registry::{Registry, Session, SessionId},
};

/// Connections at once. Each can carry any number of attachments.
const MOST_SESSIONS: usize = 4096;

/// How long a peer may take to say hello, or to make room for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// After an `accept` that failed, for lack of descriptors or memory.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Accepts connections until it is dropped.
pub(crate) async fn serve(
    listener: Listener,
    functions: Arc<Functions>,
    grace: Duration,
) -> Result<(), Error> {
    #[expect(deprecated, reason = "its successor is unsafe; see `Line`")]
    let listener = AsyncFd::with_interest(listener, Interest::READABLE)
        .map_err(|source| Error::System { what: "watch the hand-over socket", source })?;
    let room = Arc::new(Semaphore::new(MOST_SESSIONS));
    let mut next = 1;
    loop {
        let mut ready = listener
            .readable()
            .await
            .map_err(|source| Error::System { what: "watch the hand-over socket", source })?;
        let connection = match listener.get_ref().try_accept() {
            Ok(Some(connection)) => connection,
            Ok(None) => {
                ready.clear_ready();
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection to the hand-over socket was not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let id = SessionId(next);
        next += 1;
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            tracing::warn!(most = MOST_SESSIONS, "too many connections to the hand-over socket");
            continue;
        };
        let functions = Arc::clone(&functions);
        tokio::spawn(async move {
            let peer = connection.peer().map(|peer| peer.pid);
            tracing::debug!(session = id.0, peer, "a helper has connected");
            match conversation(connection, &functions, id).await {
                Ok(()) => tracing::debug!(session = id.0, "a helper has gone"),
                Err(error) => {
                    tracing::warn!(session = id.0, peer, %error, "a helper was sent away");
                }
            }
            end(functions.registry(), id, grace).await;
            drop(place);
        });
    }
}

/// Gives the attachments of a session that ended the time to come back.
async fn end(registry: &Registry, id: SessionId, grace: Duration) {
    let left = registry.session_ended(id);
    if left.is_empty() {
        return;
    }
    tracing::info!(attachments = left.len(), ?grace, "a helper has gone; waiting for it");
    tokio::time::sleep(grace).await;
    for port in left {
        if registry.grace_ended(&port).await {
            let name = registry.name(port.attachment);
            tracing::info!(name, "detached: its helper did not come back");
        }
    }
}

/// What ends a conversation before its time.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error("it did not say hello within {PATIENCE:?}")]
    Silent,
    #[error("it does not read what it is told")]
    Deaf,
    #[error("it speaks version {0} of the protocol, not {PROTOCOL_VERSION}")]
    Version(u32),
    #[error("it began without saying hello")]
    NoHello,
}

async fn conversation(
    connection: Connection,
    functions: &Arc<Functions>,
    id: SessionId,
) -> Result<(), Failure> {
    let line = Line::new(connection)?;
    let answer = match timeout(PATIENCE, line.receive()).await {
        Err(_) => Err(Failure::Silent),
        Ok(Ok(Incoming::Hello { version: PROTOCOL_VERSION })) => Ok(()),
        Ok(Ok(Incoming::Hello { version })) => Err(Failure::Version(version)),
        Ok(Ok(_)) => Err(Failure::NoHello),
        Ok(Err(HandoverError::Closed)) => return Ok(()),
        Ok(Err(error)) => Err(error.into()),
    };
    if let Err(failure) = answer {
        return line.send_away(failure).await;
    }
    let (replies, mut unasked) = mpsc::unbounded_channel();
    let session = Session { id, replies };
    loop {
        let request = tokio::select! {
            request = line.receive() => request,
            Some(reply) = unasked.recv() => {
                line.send(&reply).await?;
                continue;
            }
        };
        match request {
            Ok(request) => line.send(&answer_to(request, functions, &session).await).await?,
            Err(HandoverError::Closed) => return Ok(()),
            Err(error) => return line.send_away(error.into()).await,
        }
    }
}

async fn answer_to(request: Incoming, functions: &Arc<Functions>, session: &Session) -> Reply {
    let registry = functions.registry();
    match request {
        Incoming::Hello { .. } => Reply::Refused {
            name: None,
            reason: RefusalReason::BadMessage,
            message: "hello was said before".to_owned(),
        },
        Incoming::Describe { name } => match functions.host(&name).await {
            Ok((_, plan)) => Reply::Plan(plan_for(&name, &plan, registry.device())),
            Err(refusal) => refused(name, refusal),
        },
        Incoming::Offer { offer, queue } => {
            let Offer { name, mtu, token: _ } = offer;
            match attach(functions, &name, mtu, queue, session).await {
                Ok(queue_id) => {
                    tracing::info!(name, queue_id, mtu, "attached");
                    Reply::Attached { name, queue_id }
                }
                Err(refusal) => {
                    tracing::warn!(name, refusal.message, "an offer was refused");
                    refused(name, refusal)
                }
            }
        }
        Incoming::Withdraw { name } => match registry.withdraw(&name, session).await {
            Ok(()) => {
                tracing::info!(name, "detached: withdrawn");
                Reply::Detached { name, reason: DetachReason::Withdrawn }
            }
            Err(refusal) => refused(name, refusal),
        },
    }
}

async fn attach(
    functions: &Arc<Functions>,
    name: &str,
    mtu: u16,
    queue: std::os::fd::OwnedFd,
    session: &Session,
) -> Result<u64, Refusal> {
    let registry = functions.registry();
    functions.host(name).await?;
    registry.may_attach(name, session)?;
    // Setting a queue up waits for the kernel's RTNL lock, and closing a refused one for more.
    let device = registry.device();
    let adopted = tokio::task::spawn_blocking(move || Queue::adopt(queue, device)).await;
    let refuse = |reason, message| Refusal { reason, message };
    let queue = match adopted {
        Ok(Ok(queue)) => queue,
        Ok(Err(error)) => {
            return Err(refuse(RefusalReason::BadQueue, format!("`{name}`: {error}")));
        }
        Err(error) => return Err(refuse(RefusalReason::Internal, error.to_string())),
    };
    registry.attach(name, mtu, queue, session).await
}

fn refused(name: String, Refusal { reason, message }: Refusal) -> Reply {
    Reply::Refused { name: Some(name), reason, message }
}

/// The plan in the words of the hand-over. The name is the one that was asked for.
fn plan_for(name: &str, plan: &HostPlan, device: DeviceKind) -> handover::Plan {
    let (address, prefix_len) = plan.address;
    let link = ipnet::IpNet::new(address, prefix_len).ok();
    let mut told = handover::Plan {
        name: name.to_owned(),
        address,
        prefix_len,
        further: plan.further.clone(),
        // A next hop must be on the link; where the link is the host alone, everything simply
        // goes into the device.
        gateway: Some(plan.gateway)
            .filter(|gateway| link.is_some_and(|link| link.contains(gateway))),
        mtu: plan.device_mtu,
        device,
        forwards: plan.forwards,
        hosts: Vec::new(),
    };
    let hosts = plan.hosts.iter();
    told.hosts =
        hosts.map(|(address, name)| HostEntry { address: *address, name: name.clone() }).collect();
    told
}

/// A connection that waits.
///
/// `AsyncFd::new` is deprecated for `register`, which is unsafe because a type may give out another
/// descriptor each time it is asked. `Connection` and `Listener` own theirs for life, so the safe one
/// is sound for them, and this crate needs no `unsafe`.
struct Line(AsyncFd<Connection>);

impl Line {
    fn new(connection: Connection) -> Result<Self, HandoverError> {
        #[expect(deprecated, reason = "its successor is unsafe; see `Line`")]
        let line = AsyncFd::new(connection)?;
        Ok(Self(line))
    }

    async fn receive(&self) -> Result<Incoming, HandoverError> {
        loop {
            let mut ready = self.0.readable().await?;
            match self.0.get_ref().try_recv()? {
                Some(request) => return Ok(request),
                None => ready.clear_ready(),
            }
        }
    }

    async fn send(&self, reply: &Reply) -> Result<(), Failure> {
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
    async fn send_away(&self, failure: Failure) -> Result<(), Failure> {
        let reason = match failure {
            Failure::Version(_) => RefusalReason::UnsupportedVersion,
            _ => RefusalReason::BadMessage,
        };
        let message = failure.to_string();
        // The peer may be gone, or deaf; the failure itself is what is logged.
        let _ = self.0.get_ref().try_send(&Reply::Refused { name: None, reason, message });
        Err(failure)
    }
}
