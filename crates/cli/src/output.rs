//! Writing data to standard output.

use std::io::{self, Write};

use serde::Serialize;

use crate::exit::Failure;

/// Writes text as it is; colours are taken out where they are not wanted.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    finish(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Writes a value as JSON for people who pipe it into something, and for `less`.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    text(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Writes a value as JSON on one line, one of many.
pub(crate) fn json_line(value: &impl Serialize) -> Result<(), Failure> {
    text(&format!("{}\n", serde_json::to_string(value)?))
}

/// Says something that is no data.
pub(crate) fn say(message: impl std::fmt::Display) {
    // Nobody left to tell is no reason to stop what is being done.
    let _ = writeln!(anstream::stderr(), "{message}");
}

fn finish(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::PipeClosed),
        Err(error) => Err(Failure::Error {
            message: format!("cannot write to standard output: {error}"),
            help: None,
        }),
        Ok(()) => Ok(()),
    }
}
