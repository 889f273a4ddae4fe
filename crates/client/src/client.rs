//! The client: one HTTP/1.1 exchange a question, over the daemon's control socket.
//!
//! Each question opens its own connection. On a Unix socket that costs some tens of microseconds
//! and buys that a long poll blocks no other question, that a restarted daemon is simply found
//! again, and that a client can be shared freely.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    client::conn::http1::{self, Connection as Exchange, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::{
    error::ClientError,
    invocation::{Ended, Invocations, Invoke, TIMEOUTS},
    query::{ConnectionsQuery, DropsQuery, address},
    shapes::{
        ApiError, Applied, Attachment, Connection, Counters, Drops, Eni, Events, Faults, Function,
        HostPlan, Status, Version,
    },
};

/// How long an answer may take, beyond what the question itself asks the daemon to wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much longer it may take to put the largest topology in force.
const APPLYING: Duration = Duration::from_secs(60);

/// Speaks to a daemon.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    patience: Duration,
}

impl Client {
    /// A client of the daemon that listens at this socket.
    ///
    /// # Errors
    ///
    /// When nobody listens there.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let client = Self { path: path.as_ref().to_owned(), patience: PATIENCE };
        client.open().await?;
        Ok(client)
    }

    /// The same, giving up on an answer after `patience` (10 s if this is not called).
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The daemon and how far it is.
    ///
    /// # Errors
    ///
    /// As with every question: when the daemon is gone, does not answer or refuses it.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.ask("/v1/status", Duration::ZERO).await
    }

    /// The functions.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status).
    pub async fn functions(&self) -> Result<Vec<Function>, ClientError> {
        self.ask("/v1/functions", Duration::ZERO).await
    }

    /// `$LATEST` of every function, and the versions that were published.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status).
    pub async fn versions(&self) -> Result<Vec<Version>, ClientError> {
        self.ask("/v1/versions", Duration::ZERO).await
    }

    /// What has happened to functions and their ENIs, waiting for the first event if the query says
    /// so. Of the query `after` and `wait_ms` mean the same as for drops.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status).
    pub async fn events(&self, query: DropsQuery) -> Result<Events, ClientError> {
        let DropsQuery { after, wait_ms } = query;
        let parameters =
            [("after", Some(after.to_string())), ("wait_ms", Some(wait_ms.to_string()))];
        self.ask(&address("/v1/events", &parameters), Duration::from_millis(wait_ms)).await
    }

    /// The network interfaces.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status).
    pub async fn enis(&self) -> Result<Vec<Eni>, ClientError> {
        self.ask("/v1/enis", Duration::ZERO).await
    }

    /// The hosts that can be attached.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status).
    pub async fn attachments(&self) -> Result<Vec<Attachment>, ClientError> {
        self.ask("/v1/attachments", Duration::ZERO).await
    }

    /// The connections of this moment.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status); also when there is no such attachment.
    pub async fn connections(
        &self,
        query: &ConnectionsQuery,
    ) -> Result<Vec<Connection>, ClientError> {
        let ConnectionsQuery { limit, attachment } = query;
        let parameters =
            [("limit", limit.map(|limit| limit.to_string())), ("attachment", attachment.clone())];
        self.ask(&address("/v1/connections", &parameters), Duration::ZERO).await
    }

    /// What was done since the daemon started.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status).
    pub async fn counters(&self) -> Result<Counters, ClientError> {
        self.ask("/v1/counters", Duration::ZERO).await
    }

    /// Drop events, waiting for the first if the query says so.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status).
    pub async fn drops(&self, query: DropsQuery) -> Result<Drops, ClientError> {
        let DropsQuery { after, wait_ms } = query;
        let parameters =
            [("after", Some(after.to_string())), ("wait_ms", Some(wait_ms.to_string()))];
        self.ask(&address("/v1/drops", &parameters), Duration::from_millis(wait_ms)).await
    }

    /// How the host at an attachment is to be set up.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status); also when there is no such attachment.
    pub async fn plan(&self, name: &str) -> Result<HostPlan, ClientError> {
        self.ask(&address("/v1/plan", &[("name", Some(name.to_owned()))]), Duration::ZERO).await
    }

    /// Puts another topology in the place of the one in force, or says what that would change.
    /// `name` is what the daemon calls the file; it is not opened.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status); also when something is wrong with the topology. Then nothing
    /// has changed.
    pub async fn apply(
        &self,
        name: &str,
        text: String,
        dry_run: bool,
    ) -> Result<Applied, ClientError> {
        let parameters = [("name", Some(name.to_owned())), ("dry_run", Some(dry_run.to_string()))];
        let address = address("/v1/apply", &parameters);
        self.answer(&address, self.exchange(Method::POST, &address, text, APPLYING).await?)
    }

    /// What somebody has let fail.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status).
    pub async fn faults(&self) -> Result<Faults, ClientError> {
        self.ask("/v1/faults", Duration::ZERO).await
    }

    /// Lets a zone fail, or has it back, and says what has failed then.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status); also when no subnet is in that zone.
    pub async fn fail_zone(&self, zone: &str, failed: bool) -> Result<Faults, ClientError> {
        let parameters = [("zone", Some(zone.to_owned())), ("failed", Some(failed.to_string()))];
        self.fault(&address("/v1/faults/zone", &parameters)).await
    }

    /// Has a Hyperplane ENI fail its health check, whereupon another is made in its place.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status); also when it is no ENI that functions use.
    pub async fn fail_eni(&self, eni: &str) -> Result<Faults, ClientError> {
        self.fault(&address("/v1/faults/eni", &[("eni", Some(eni.to_owned()))])).await
    }

    async fn fault(&self, address: &str) -> Result<Faults, ClientError> {
        let answer = self.exchange(Method::POST, address, String::new(), Duration::ZERO).await?;
        self.answer(address, answer)
    }

    /// Has a function run, and waits for what comes of it.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status); also when the function cannot be invoked now, or no agent is there
    /// that could run it.
    pub async fn invoke(&self, invoke: &Invoke) -> Result<Ended, ClientError> {
        // An environment may have to be made first.
        let longest = Duration::from_secs(u64::from(*TIMEOUTS.end())) + APPLYING;
        let body = serde_json::to_string(invoke).expect("it is text, numbers and lists of them");
        self.answer("/v1/invoke", self.exchange(Method::POST, "/v1/invoke", body, longest).await?)
    }

    /// Takes invocations as an agent, at most so many at the same time.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status).
    pub async fn invocations(&self, at_once: usize) -> Result<Invocations, ClientError> {
        let address = address("/v1/invocations", &[("at_once", Some(at_once.to_string()))]);
        let (mut sender, mut connection) = self.shake_hands().await?;
        let request = request(Method::GET, &address, String::new());
        let response = tokio::select! {
            response = sender.send_request(request) => response,
            ended = &mut connection => match ended {
                Ok(()) => return Err(self.unexpected(&address, &"no answer")),
                Err(error) => Err(error),
            },
        };
        let response = response.map_err(|error| self.broken(&error))?;
        if response.status() != StatusCode::OK {
            let status = format_args!("status {}", response.status()).to_string();
            return Err(self.unexpected(&address, &status));
        }
        Ok(Invocations::new(response.into_body(), sender, connection))
    }

    /// Says what came of an invocation that was taken. False: nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status).
    pub async fn ended(&self, id: u64, ended: &Ended) -> Result<bool, ClientError> {
        let address = address("/v1/invocations", &[("id", Some(id.to_string()))]);
        let body = serde_json::to_string(ended).expect("it is text, numbers and lists of them");
        let answer = self.exchange(Method::POST, &address, body, Duration::ZERO).await?;
        self.answer(&address, answer)
    }

    /// The counters in Prometheus's text format.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status).
    pub async fn metrics(&self) -> Result<String, ClientError> {
        let (status, body) =
            self.exchange(Method::GET, "/metrics", String::new(), Duration::ZERO).await?;
        if status != StatusCode::OK {
            return Err(self.refusal("/metrics", status, &body));
        }
        String::from_utf8(body.into()).map_err(|error| self.unexpected("/metrics", &error))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        address: &str,
        waits: Duration,
    ) -> Result<T, ClientError> {
        self.answer(address, self.exchange(Method::GET, address, String::new(), waits).await?)
    }

    fn answer<T: DeserializeOwned>(
        &self,
        address: &str,
        (status, body): (StatusCode, Bytes),
    ) -> Result<T, ClientError> {
        if status != StatusCode::OK {
            return Err(self.refusal(address, status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| self.unexpected(address, &error))
    }

    async fn exchange(
        &self,
        method: Method,
        address: &str,
        body: String,
        waits: Duration,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let waited = self.patience + waits;
        match tokio::time::timeout(waited, self.exchange_at_leisure(method, address, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::TimedOut { path: self.path.clone(), waited }),
        }
    }

    async fn exchange_at_leisure(
        &self,
        method: Method,
        address: &str,
        body: String,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (mut sender, connection) = self.shake_hands().await?;
        let request = request(method, address, body);
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok((status, response.into_body().collect().await?.to_bytes()))
        };
        // The connection is driven here and not by a task of its own, so that a question which
        // is given up leaves nothing behind.
        tokio::pin!(exchange, connection);
        let answer = tokio::select! {
            answer = &mut exchange => answer,
            ended = &mut connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(error),
            },
        };
        answer.map_err(|error: hyper::Error| self.broken(&error))
    }

    async fn shake_hands(
        &self,
    ) -> Result<(SendRequest<Full<Bytes>>, Exchange<TokioIo<UnixStream>, Full<Bytes>>), ClientError>
    {
        let stream = TokioIo::new(self.open().await?);
        http1::handshake(stream).await.map_err(|error| self.broken(&error))
    }

    pub(crate) async fn open(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.path).await.map_err(|source| {
            let path = self.path.clone();
            match source.kind() {
                io::ErrorKind::PermissionDenied => ClientError::NotPermitted { path, source },
                _ => ClientError::NoDaemon { path, source },
            }
        })
    }

    pub(crate) fn broken(&self, error: &hyper::Error) -> ClientError {
        ClientError::Broken { path: self.path.clone(), message: error.to_string() }
    }

    fn refusal(&self, address: &str, status: StatusCode, body: &[u8]) -> ClientError {
        match serde_json::from_slice(body) {
            Ok(ApiError { error, help }) => {
                ClientError::Refused { status: status.as_u16(), message: error, help }
            }
            Err(_) => self.unexpected(address, &format_args!("status {status}")),
        }
    }

    fn unexpected(&self, address: &str, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unexpected {
            path: self.path.clone(),
            what: address.to_owned(),
            message: error.to_string(),
        }
    }
}

fn request(method: Method, address: &str, body: String) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(address)
        // HTTP/1.1 demands a host, and a Unix socket has none.
        .header(header::HOST, "viaduct")
        .body(Full::new(Bytes::from(body)))
        .expect("addresses are escaped")
}
