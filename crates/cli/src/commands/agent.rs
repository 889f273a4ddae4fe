//! `viaduct agent`: namespaces and devices for a daemon's hosts.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Args;

use crate::{
    commands::run::DEFAULT_RUNTIME_DIR,
    exit::{Answer, Outcome},
    logging::Logging,
    signals::{self, Ending},
};

/// Give hosts a network namespace and a device each, and keep them attached
///
/// Runs until it is asked to end (SIGTERM, Ctrl-C), and removes what it made. A daemon that goes
/// away and comes back finds every queue again.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// Hosts as the topology names them, such as function/api/1; all that the daemon has, if none
    #[arg(value_name = "HOST")]
    hosts: Vec<String>,

    /// Where the daemon has its sockets
    #[arg(long, env = "VIADUCT_RUNTIME_DIR", default_value = DEFAULT_RUNTIME_DIR, value_name = "DIR")]
    runtime_dir: PathBuf,

    /// What the names of the namespaces begin with: function/api/1 lives in PREFIXfunction.api.1
    #[arg(long, default_value = "vd-", value_name = "PREFIX")]
    prefix: String,

    /// A process of a lab: claim the lock on standard input first
    #[arg(long, hide = true)]
    lab_child: bool,

    #[command(flatten)]
    logging: Logging,
}

impl Agent {
    pub(crate) fn run(self) -> Outcome {
        if self.lab_child {
            viaduct_lab::process::claim()?;
        }
        self.logging.start()?;
        let agent = viaduct_lab::Agent {
            runtime_dir: self.runtime_dir,
            prefix: self.prefix,
            hosts: self.hosts,
        };
        signals::block_on(async move {
            let mut ending = Ending::catch()?;
            let stop = Arc::new(AtomicBool::new(false));
            let mut serving = tokio::task::spawn_blocking({
                let stop = Arc::clone(&stop);
                move || agent.serve(&stop)
            });
            let served = tokio::select! {
                served = &mut serving => served??,
                _ = ending.asked() => {
                    stop.store(true, Ordering::Relaxed);
                    // Ends after the hosts that are being set up; what was made goes with it.
                    drop(serving.await??);
                    return Ok(Answer::Yes);
                }
            };
            tracing::info!(hosts = served.len(), "every host is attached");
            ending.asked().await;
            tracing::info!("asked to end; removing what was made");
            drop(served);
            Ok(Answer::Yes)
        })
    }
}
