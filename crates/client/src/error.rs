//! Why a question to the daemon got no answer.

use std::{io, path::PathBuf, time::Duration};

/// Why a question to the daemon got no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error("no daemon at {}: start one with `viaduct run FILE`", path.display())]
    NoDaemon {
        /// The control socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The socket belongs to somebody else.
    #[error("not allowed to open {}: run this as the user who runs the daemon", path.display())]
    NotPermitted {
        /// The control socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The daemon is there and says nothing: stopped, or overwhelmed.
    #[error("the daemon at {} has not answered for {waited:?}: is it stopped?", path.display())]
    TimedOut {
        /// The control socket.
        path: PathBuf,
        /// How long the client waited.
        waited: Duration,
    },
    /// The connection broke.
    #[error("the connection to the daemon at {} broke: {message}; did it end?", path.display())]
    Broken {
        /// The control socket.
        path: PathBuf,
        /// What happened.
        message: String,
    },
    /// The daemon refused the question: the asker is at fault.
    #[error("{message}{}", help.as_ref().map(|help| format!(": {help}")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What is wrong.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// The answer is not what this version expects.
    #[error(
        "the daemon at {} answered {what} in a form that this version does not know: {message}; \
         are both of one version?",
        path.display()
    )]
    Unexpected {
        /// The control socket.
        path: PathBuf,
        /// The path that was asked for.
        what: String,
        /// What does not fit.
        message: String,
    },
}
