//! Somebody else's request, passed on to the daemon by who stands between.

use std::error::Error;

use hyper::{
    Request, Response,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;

use crate::{client::Client, error::ClientError};

/// Whether a path is in the style of Lambda's API, whose operations each begin with a date. No path of
/// viaduct's own does, nor that of EC2's and IAM's APIs.
#[must_use]
pub fn is_lambda_path(path: &str) -> bool {
    let date = path.strip_prefix('/').and_then(|path| path.split('/').next()).unwrap_or_default();
    date.len() == 10
        && date.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

impl Client {
    /// Passes a request on as it is, and its answer back, neither of which is kept: their bodies go
    /// through as they come. How long that may take is the caller's affair. Within a tokio runtime.
    ///
    /// The daemon takes a request without credentials for its owner's: who passes on what strangers
    /// send has looked at it before.
    ///
    /// # Errors
    ///
    /// When the daemon is gone, or the exchange breaks before an answer began.
    pub async fn relay<B>(&self, request: Request<B>) -> Result<Response<Incoming>, ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let stream = TokioIo::new(self.open().await?);
        let broken = |error: hyper::Error| self.broken(&error);
        let (mut sender, exchange) = http1::handshake(stream).await.map_err(broken)?;
        // Ends with the answer, or when nobody reads it any more.
        tokio::spawn(exchange);
        sender.send_request(request).await.map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_lambda_begin_with_a_date() {
        for path in
            ["/2015-03-31/functions", "/2015-03-31/functions/f", "/2017-03-31", "/2021-10-31/"]
        {
            assert!(is_lambda_path(path), "{path}");
        }
        for path in [
            "",
            "/",
            "*",
            "//2015-03-31/functions",
            "/v1/status",
            "/metrics",
            "2015-03-31/functions",
            "/2015-03-3/functions",
            "/2015-03-311/functions",
            "/2015.03.31/functions",
            "/%32015-03-31/functions",
            "/a015-03-31/functions",
        ] {
            assert!(!is_lambda_path(path), "{path}");
        }
    }
}
