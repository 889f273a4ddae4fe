//! What can go wrong, in words for whoever ran the benchmark.

use std::{io, path::PathBuf};

use crate::beds::Kind;

/// Why a measurement, a bed or the whole run failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The operating system refused something.
    #[error("cannot {action}: {source}")]
    System { action: String, source: io::Error },

    /// A namespace, a link or a route could not be had.
    #[error(transparent)]
    Network(#[from] viaduct_tun::Error),

    /// The lab's daemon could not be asked.
    #[error(transparent)]
    Lab(#[from] viaduct_lab::Error),

    /// A program that this one needs is not beside it.
    #[error("there is no {}: build everything with `./scripts/bench`, or `cargo build --release \
             -p viaduct-bench -p viaduct-cli -p viaduct-fixed-nat`", .0.display())]
    NoProgram(PathBuf),

    /// A command ended badly.
    #[error("`{command}` failed ({status}): {said}")]
    Command { command: String, status: String, said: String },

    /// A program that was to stay ended, or did not become ready.
    #[error("{program} {what}: {said}")]
    Program { program: String, what: String, said: String },

    /// A `load` could not do its part.
    #[error("the load on the {side}'s side: {message}")]
    Load { side: &'static str, message: String },

    /// The traffic did not go the way that is measured.
    #[error(
        "the traffic through {bed} was not translated as it should be: the server saw it come from \
         {saw}, and it has to come from {expected}; nothing of this row can be believed"
    )]
    NotTranslated { bed: Kind, saw: String, expected: String },

    /// Nothing arrived.
    #[error("nothing came through {bed}{}", why(.failure))]
    Nothing { bed: Kind, failure: Option<String> },

    /// No row or bed has such a name.
    #[error("no {what} is called `{name}`; there are {known}")]
    NoSuch { what: &'static str, name: String, known: String },

    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// For `map_err`: names what was tried.
    pub(crate) fn system<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::System { action, source: source.into() }
    }
}

fn why(failure: &Option<String>) -> String {
    failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default()
}
