//! Lambda's API behind interface endpoints: a server where a service's host is (LAM-78).
//!
//! # Theory of operation
//!
//! The daemon has no socket in any VPC, and opens none. What goes to an interface endpoint comes out at
//! the service's host, whose namespace an agent or `viaduct attach` made. There, and at that host's
//! address alone, this listens; it passes requests on to the daemon's control socket and answers back.
//!
//! The control socket answers its owner everything, and who is in a VPC may be anybody. So what is passed
//! on is decided here (`request.rs`): operations of Lambda's API, with credentials. The daemon then asks
//! the policies of whoever these name, as it does on its own port.
//!
//! Nothing of a body is kept: it goes through as it comes, and its bounds in bytes and time are the
//! daemon's, operation by operation. The bounds here are on what a connection costs ([`Limits`]). A
//! connection takes requests, one after the other, for a time, and then has as long as the longest
//! invocation to end; so none stays, however slowly somebody writes or reads. A service sees every
//! endpoint under an address of its own (EP-05): what one address may have at most is what one VPC may,
//! and does not keep another out (`room.rs`).

mod request;
mod room;

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use viaduct_client::{Client, invocation::TIMEOUTS};

use self::room::Room;
use crate::Error;

/// Bytes of a request's head; Lambda's longest header has 3,583.
const HEAD: usize = 64 << 10;

/// After a connection could not be accepted: for want of descriptors, most likely.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// What connections are held to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at the same time, at most. Others are closed at once.
    pub connections: usize,
    /// Those from one address: through one endpoint.
    pub of_one: usize,
    /// How long a connection may be without a whole head of a request.
    pub head: Duration,
    /// How long it takes requests.
    pub open: Duration,
    /// How long it may go on after that.
    pub last: Duration,
}

impl Default for Limits {
    /// 256 connections, 128 from one address; 20 s for a head, a minute for requests, and then the
    /// longest invocation and two minutes beside, for its payload and its answer.
    fn default() -> Self {
        Self {
            connections: 256,
            of_one: 128,
            head: Duration::from_secs(20),
            open: Duration::from_secs(60),
            last: Duration::from_secs(u64::from(*TIMEOUTS.end()) + 120),
        }
    }
}

/// Passes Lambda's API on.
#[derive(Debug)]
pub struct LambdaEndpoint {
    listener: TcpListener,
    client: Client,
    limits: Limits,
}

impl LambdaEndpoint {
    /// Listens at an address of the caller's network namespace. Within a tokio runtime.
    ///
    /// # Errors
    ///
    /// When there is no such address, or somebody listens there already.
    pub async fn listen(
        client: Client,
        address: SocketAddr,
        limits: Limits,
    ) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| Error::Listen { address, source })?;
        Ok(Self { listener, client, limits })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.listener.local_addr().map_err(Error::system("ask where a socket listens"))
    }

    /// Answers for as long as it is polled. Dropped, it cuts every connection.
    pub async fn serve(self) {
        let room = Arc::new(Room::new(self.limits.connections, self.limits.of_one));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => match room.seat(peer.ip()) {
                        Some(seat) => {
                            let conversation = converse(stream, self.client.clone(), self.limits);
                            connections.spawn(async move {
                                conversation.await;
                                drop(seat);
                            });
                        }
                        None => tracing::debug!(%peer, "too many connections; one was closed"),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        sleep(TRY_AGAIN).await;
                    }
                },
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a connection was given up");
                    }
                }
            }
        }
    }
}

/// Answers what comes on a connection.
async fn converse(stream: TcpStream, client: Client, limits: Limits) {
    let client = &client;
    let service = service_fn(move |asked| request::answer(client, asked));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(limits.head).max_header_size(HEAD);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    let ended = match timeout(limits.open, connection.as_mut()).await {
        Ok(ended) => Ok(ended),
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(limits.last, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection broke"),
        Err(_) => tracing::debug!("a connection was cut: it had lasted too long"),
    }
}

#[cfg(test)]
mod tests;
