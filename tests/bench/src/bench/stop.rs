//! SIGINT and SIGTERM: remembered, and looked at wherever something is waited for, so that every bed
//! is taken down on the ordinary way out. A second one changes nothing.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;

/// A process has one set of signal handlers, so this is as global as what it remembers.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Starts to catch them.
pub(crate) fn catch() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(Error::system("catch signals"))?;
    let (mut interrupt, mut terminate) = {
        let _guard = runtime.enter();
        let catch = |kind| signal(kind).map_err(Error::system("catch signals"));
        (catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            ASKED.store(true, Ordering::Relaxed);
            // With the streams the handlers would go, and a second signal end the process at once.
            std::future::pending::<()>().await;
        });
    });
    Ok(())
}

/// Fails once the process was asked to end.
pub(crate) fn check() -> Result<(), Error> {
    if ASKED.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}
