//! `attach.sock` and the sockets like it: hosts come and go.
//!
//! # Theory of operation
//!
//! One task a connection. It answers in the order of the requests; what it sends without being asked
//! (an attachment that ended on this side) comes through a channel. What may be attached is for the
//! socket to say ([`entitlement`](crate::entitlement)). A peer that says nothing sensible is told so and
//! let go.
//!
//! At the other end may be somebody hostile. Nothing that it does costs another connection's attachments
//! anything, or the control side its time:
//!
//! | it | meets |
//! |---|---|
//! | connects and says nothing | has [`GREETING`] to say hello |
//! | connects again and again | the socket's seats ([`seats`]): whoever has attached something keeps its own; another socket has others |
//! | asks without end, connects without end | everybody else's turn, after each connection and now and then between requests |
//! | does not read its answers | is let go after [`PATIENCE`] |
//! | sends descriptors that take hours to close | threads of its own socket, of which there are [`ASIDE`]: what it sends is received, looked at and closed there. Once they all wait, so does everybody at that socket, and nobody elsewhere |
//! | sends them and goes | the same: a connection is closed there too, and counts until it is |
//! | brings about a warning with each message | a limit to warnings ([`log_limit`]) |

mod desk;
mod line;
mod log_limit;
mod seats;

use std::{
    future::poll_fn,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{OwnedSemaphorePermit, mpsc},
    task::{coop::consume_budget, yield_now},
};
use viaduct_control_plane::HostPlan;
use viaduct_tun::{
    Connection, DeviceKind, HandoverError, Incoming, Listener, Offer, Reply,
    handover::{self, DetachReason, HostEntry, PROTOCOL_VERSION, RefusalReason, Token},
};

pub(crate) use self::desk::ASIDE;
use self::{desk::Desk, line::Line, seats::Seat};
use crate::{
    doors::Door,
    error::Error,
    functions::Functions,
    refusal::Refusal,
    registry::{Registry, Session, SessionId},
};

/// Connections to a socket at once. Each can carry any number of attachments.
const MOST_SEATS: usize = 4096;

/// Connections to a socket that there is room for however few descriptors the process may have.
const FEWEST_SEATS: usize = 8;

/// How long a peer may take to say hello.
const GREETING: Duration = Duration::from_secs(5);

/// How long a peer may take to make room for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// After an `accept` that failed, for lack of descriptors or memory.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Accepts connections at all doors until it is dropped, or one of them fails.
pub(crate) async fn serve(
    doors: Vec<Door>,
    functions: Arc<Functions>,
    grace: Duration,
) -> Result<(), Error> {
    let (seats, next) = (seats_each(doors.len()), AtomicU64::new(1));
    let at = |door| {
        let (desk, listener) = Desk::of(door, seats, Arc::clone(&functions), grace);
        Box::pin(accept(listener, desk, &next))
    };
    // Not on tasks of their own, so that the sockets go with this.
    let mut accepting: Vec<_> = doors.into_iter().map(at).collect();
    poll_fn(|context| {
        let mut polled = accepting.iter_mut().map(|it| it.as_mut().poll(context));
        polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

/// How many seats each of so many sockets has: all connections together, those that are being closed among
/// them, are to take a quarter of the descriptors that the process may have, and the queues that wait to
/// be looked at half of that.
fn seats_each(sockets: usize) -> usize {
    let descriptors = getrlimit(Resource::Nofile).current;
    let descriptors =
        descriptors.map_or(usize::MAX, |limit| limit.try_into().unwrap_or(usize::MAX));
    (descriptors / 8 / sockets.max(1)).clamp(FEWEST_SEATS, MOST_SEATS)
}

/// Accepts connections at one door.
async fn accept(listener: Listener, desk: Arc<Desk>, next: &AtomicU64) -> Result<(), Error> {
    let failed = |source| Error::System { what: "watch the hand-over socket", source };
    #[expect(deprecated, reason = "its successor is unsafe; see `Line`")]
    let listener = AsyncFd::with_interest(listener, Interest::READABLE).map_err(failed)?;
    loop {
        let mut ready = listener.readable().await.map_err(failed)?;
        let room = desk.room().await;
        match listener.get_ref().try_accept() {
            Ok(Some(connection)) => {
                let id = SessionId(next.fetch_add(1, Relaxed));
                tokio::spawn(attend(connection, Arc::clone(&desk), id, room));
                // A socket that always has one more does not have the others wait.
                yield_now().await;
            }
            Ok(None) => ready.clear_ready(),
            Err(error) => {
                let socket = desk.path.display();
                desk.warn(|unsaid| {
                    tracing::warn!(%error, %socket, unsaid, "a connection was not accepted");
                });
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Serves one connection until it ends.
async fn attend(
    connection: Connection,
    desk: Arc<Desk>,
    id: SessionId,
    room: OwnedSemaphorePermit,
) {
    let (peer, socket) = (connection.peer().and_then(|peer| peer.pid), desk.path.display());
    let (replies, unasked) = mpsc::unbounded_channel();
    let session = Session { id, replies };
    let attachments = session.replies.downgrade();
    let line = match Line::new(connection) {
        Ok(line) => line,
        Err(error) => return tracing::error!(%error, "a connection cannot be watched"),
    };
    let ended = match desk.seats.take(&session) {
        Some(seat) => {
            tracing::debug!(session = id.0, peer, %socket, "a helper has connected");
            conversation(&line, &desk, &seat, session, unasked).await
        }
        None => line.send_away(Failure::Crowded).await,
    };
    match ended {
        Ok(()) => tracing::debug!(session = id.0, "a helper has gone"),
        Err(failure) => desk.warn(|unsaid| {
            // It may quote what the peer has sent: a text is written with its odd characters escaped.
            let error = failure.to_string();
            tracing::warn!(session = id.0, peer, %socket, error, unsaid, "a helper was sent away");
        }),
    }
    desk.close(line.into_connection(), room);
    if attachments.strong_count() > 0 {
        end(desk.registry(), id, desk.grace).await;
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
    #[error("it did not say hello within {GREETING:?}")]
    Silent,
    #[error("it does not read what it is told")]
    Deaf,
    #[error("it speaks version {0} of the protocol, not {PROTOCOL_VERSION}")]
    Version(u32),
    #[error("it began without saying hello")]
    NoHello,
    #[error("too many are connected to this socket, and it has attached nothing")]
    Crowded,
}

async fn conversation(
    line: &Line,
    desk: &Desk,
    seat: &Seat,
    session: Session,
    mut unasked: mpsc::UnboundedReceiver<Reply>,
) -> Result<(), Failure> {
    let mut greeted = false;
    let silence = tokio::time::sleep(GREETING);
    tokio::pin!(silence);
    loop {
        // Requests that are there already are no reason for others to wait.
        consume_budget().await;
        let came = tokio::select! {
            came = line.anything() => came?,
            Some(reply) = unasked.recv() => {
                line.send(&reply).await?;
                continue;
            }
            () = seat.asked_to_go() => return line.send_away(Failure::Crowded).await,
            () = &mut silence, if !greeted => return line.send_away(Failure::Silent).await,
        };
        let request = match line.receive(came, desk).await {
            Ok(Some(request)) => request,
            Ok(None) => continue,
            Err(HandoverError::Closed) => return Ok(()),
            Err(error) => return line.send_away(error.into()).await,
        };
        match request {
            request if greeted => line.send(&answer_to(request, desk, &session).await).await?,
            Incoming::Hello { version: PROTOCOL_VERSION } => {
                greeted = true;
                seat.greeted();
            }
            Incoming::Hello { version } => {
                return line.send_away(Failure::Version(version)).await;
            }
            request => {
                discard(request, desk).await;
                return line.send_away(Failure::NoHello).await;
            }
        }
    }
}

/// Closes the descriptor of a request that is not looked at.
async fn discard(request: Incoming, desk: &Desk) {
    if let Err(error) = desk.aside(move || drop(request)).await {
        tracing::error!(%error, "closing a descriptor panicked");
    }
}

async fn answer_to(request: Incoming, desk: &Desk, session: &Session) -> Reply {
    let registry = desk.registry();
    let (name, answer) = match request {
        Incoming::Hello { .. } => {
            return Reply::Refused {
                name: None,
                reason: RefusalReason::BadMessage,
                message: "hello was said before".to_owned(),
            };
        }
        Incoming::Describe { name, token } => {
            let plan = plan_of(&name, token.as_ref(), desk).await;
            let plan = plan.map(|plan| Reply::Plan(plan_for(&name, &plan, registry.device())));
            (name, plan)
        }
        Incoming::Offer { offer: Offer { name, token, mtu }, queue } => {
            let attached = attach(&name, token.as_ref(), mtu, queue, desk, session).await;
            let attached = attached.map(|queue_id| {
                tracing::info!(name, queue_id, mtu, "attached");
                Reply::Attached { name: name.clone(), queue_id }
            });
            (name, attached)
        }
        Incoming::Withdraw { name } => {
            let withdrawn = withdraw(&name, desk, session).await.map(|()| {
                tracing::info!(name, "detached: withdrawn");
                Reply::Detached { name: name.clone(), reason: DetachReason::Withdrawn }
            });
            (name, withdrawn)
        }
    };
    answer.unwrap_or_else(|Refusal { reason, message }| {
        desk.warn(|unsaid| {
            let (id, socket) = (session.id.0, desk.path.display());
            tracing::warn!(session = id, %socket, why = message, unsaid, "a request was refused");
        });
        Reply::Refused { name: Some(name), reason, message }
    })
}

async fn withdraw(name: &str, desk: &Desk, session: &Session) -> Result<(), Refusal> {
    desk::check_length(name)?;
    desk.registry().withdraw(name, session).await
}

/// How a host is to be set up, for whoever may attach it.
async fn plan_of(name: &str, token: Option<&Token>, desk: &Desk) -> Result<HostPlan, Refusal> {
    desk.check(name, token)?;
    Ok(desk.functions.host(name).await?.1)
}

async fn attach(
    name: &str,
    token: Option<&Token>,
    mtu: u16,
    queue: OwnedFd,
    desk: &Desk,
    session: &Session,
) -> Result<u64, Refusal> {
    // It begins an environment, if need be.
    let permitted = plan_of(name, token, desk).await;
    let (registry, session, called) =
        (Arc::clone(desk.registry()), session.clone(), name.to_owned());
    // Also what is not permitted has to be closed.
    let held = desk
        .aside(move || match permitted {
            Ok(_) => registry.hold(called, mtu, queue, session),
            Err(refusal) => {
                drop(queue);
                Err(refusal)
            }
        })
        .await
        .unwrap_or_else(|error| Err(Refusal::new(RefusalReason::Internal, error.to_string())))?;
    desk.registry().attach(name, held).await
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
