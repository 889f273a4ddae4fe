//! Where questions come in: the control socket, and a TCP port on loopback if somebody wants one.
//!
//! The control socket is its owner's, and answers everything. The port is for clients of AWS, which
//! speak no Unix sockets: it answers AWS's APIs and nothing of viaduct's own. Every user of the
//! machine reaches it, and so does every web page that one of them opens; a page can send a request
//! but not make its headers, so that what has no credentials is turned away. What its users may take
//! is bounded ([`connections`]).

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::header::AUTHORIZATION,
    middleware::{Next, from_fn},
    response::Response,
};
use tokio::net::{TcpListener, UnixListener};

use super::{Running, connections, lambda, query, router};
use crate::{error::Error, options::Options};

/// The port, if there is to be one: opened, unless it is already.
pub(crate) async fn port(options: &Options) -> Result<Option<TcpListener>, Error> {
    let inherited = options.listeners.lambda_api()?;
    let address = match (&inherited, options.lambda_api) {
        (Some((_, inherited)), Some(asked)) => {
            return Err(Error::PortTwice { inherited: *inherited, asked });
        }
        (Some((_, address)), None) => *address,
        (None, Some(address)) => address,
        (None, None) => return Ok(None),
    };
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback { address });
    }
    let opened = match inherited {
        Some((socket, _)) => TcpListener::from_std(socket),
        None => TcpListener::bind(address).await,
    };
    opened.map(Some).map_err(|source| Error::Port { address, source })
}

/// Answers until the daemon ends.
pub(crate) async fn serve(control: UnixListener, port: Option<TcpListener>, running: Arc<Running>) {
    let ending = || running.ending.clone();
    // Who reaches the control socket may do everything anyway.
    let control = connections::serve(control, router(Arc::clone(&running)), usize::MAX, ending());
    let port = async {
        if let Some(port) = port {
            let of_aws = of_aws(Arc::clone(&running));
            connections::serve(port, of_aws, connections::MOST, ending()).await;
        }
    };
    tokio::join!(control, port);
}

/// AWS's APIs: for whoever has credentials, whichever they are.
pub(super) fn of_aws(running: Arc<Running>) -> Router {
    Router::new()
        .merge(lambda::router())
        .merge(query::router())
        .fallback(lambda::unknown)
        .layer(from_fn(with_credentials))
        .with_state(running)
}

async fn with_credentials(request: Request, next: Next) -> Response {
    match request.headers().contains_key(AUTHORIZATION) {
        true => next.run(request).await,
        false => lambda::unsigned(),
    }
}
