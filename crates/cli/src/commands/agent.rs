//! `viaduct agent`: namespaces and devices for a daemon's hosts.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::Args;
use viaduct_lab::{Invoker, Limits, attach::TOKEN_VARIABLE, invoke::User};
use viaduct_tun::handover::Token;

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

    /// Proof of being allowed to attach them, where the daemon asks for it (`viaduct run
    /// --attach-tokens`)
    #[arg(long, env = TOKEN_VARIABLE, hide_env_values = true, value_name = "TOKEN")]
    token: Option<Token>,

    /// What the names of the namespaces begin with: function/api/1 lives in PREFIXfunction.api.1
    #[arg(long, default_value = "vd-", value_name = "PREFIX")]
    prefix: String,

    /// Run functions as well, for `viaduct invoke` and the daemon's Lambda API: their commands, in
    /// environments that are made when they are needed
    #[arg(long)]
    invoke: bool,

    /// How many invocations run at the same time, and how many environments are kept, at most
    #[arg(long, default_value_t = 256, value_parser = at_once, value_name = "NUMBER")]
    concurrency: usize,

    /// How many seconds an environment is kept that nothing runs in
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    idle: u64,

    /// The numbers of the user and the group that functions run as; nobody's, if not given
    #[arg(long, default_value = "65534:65534", value_parser = user, value_name = "UID:GID")]
    user: User,

    /// A process of a lab: claim the lock on standard input first
    #[arg(long, hide = true)]
    lab_child: bool,

    #[command(flatten)]
    logging: Logging,
}

fn at_once(text: &str) -> Result<usize, &'static str> {
    let number = text.parse().ok().filter(|number| (1..=10_000).contains(number));
    number.ok_or("not a number from 1 to 10000")
}

fn user(text: &str) -> Result<User, &'static str> {
    let numbers = text
        .split_once(':')
        .and_then(|(uid, gid)| Some(User { uid: uid.parse().ok()?, gid: gid.parse().ok()? }));
    numbers.ok_or("not two numbers with a colon between them, such as 1000:1000")
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
            token: self.token,
        };
        let limits = match self.invoke {
            true => Some(Limits {
                program: std::env::current_exe()?,
                at_once: self.concurrency,
                idle: Duration::from_secs(self.idle),
                user: self.user,
            }),
            false => None,
        };
        signals::block_on(async move {
            let mut ending = Ending::catch()?;
            let stop = Arc::new(AtomicBool::new(false));
            let mut serving = tokio::task::spawn_blocking({
                let (stop, agent) = (Arc::clone(&stop), agent.clone());
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
            let served = Arc::new(served);
            let invoking = async {
                match limits {
                    Some(limits) => Invoker::new(agent, limits, Arc::clone(&served)).serve().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                failed = invoking => failed?,
                _ = ending.asked() => {}
            }
            tracing::info!("asked to end; removing what was made");
            drop(served);
            Ok(Answer::Yes)
        })
    }
}
