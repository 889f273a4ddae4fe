//! Invocations: an agent takes them from the daemon and runs them in environments that it holds.
//!
//! # Theory of operation
//!
//! The agent reads invocations from one request that it holds open ([`Invoker::serve`]); while that
//! stands, it is there for the daemon. Each names the environment in which it is to run. The pool
//! (`pool.rs`) makes what is not there, keeps what has been used, at most so many, and ends what nobody has
//! used for a time. The environments of functions that a file declares are the agent's already.
//!
//! A command runs below a process of ours, the first one of a process-id namespace ([`init`]). Whatever
//! the command starts, and however it tries to get away: when the first process ends, the kernel ends
//! the rest. It ends when the command has, when its time is over or its output too much (`run.rs`), when
//! the daemon has gone, and when the agent dies (the kernel then signals it: PR_SET_PDEATHSIG).
//!
//! It may have so many processes and threads and no more (`processes.rs`), which ends a fork bomb before it
//! is anybody else's.
//!
//! A command is not root's: it runs as a user of its own, without capabilities, and cannot gain any. Its
//! standard input is the payload, its output goes through the agent and not through the VPC (LAM-13).

mod gate;
pub mod init;
mod pool;
mod processes;
mod run;

use std::{
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, eventfd};
use tokio::task::JoinSet;
use viaduct_client::{Client, ClientError, Ended, Invocation};

use self::{gate::Gate, pool::Pool};
use crate::{
    Agent, Error,
    agent::{Environment, Served},
    name,
};

/// Between two attempts to reach the daemon.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// How often it is looked which environments nobody has used for long.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Environments that are made at the same time: the kernel serialises most of it anyway, and who waits
/// for the daemon behind too many others takes it for dead.
const MADE_AT_ONCE: usize = 4;

/// Who commands run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// How an agent runs invocations.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The `viaduct` program, of which the first process above each command is one.
    pub program: PathBuf,
    /// How many run at the same time, and how many environments are kept, at most.
    pub at_once: usize,
    /// How long an environment is kept that nobody uses.
    pub idle: Duration,
    /// Who commands run as.
    pub user: User,
}

/// Runs invocations.
#[derive(Debug)]
pub struct Invoker {
    agent: Agent,
    limits: Limits,
    served: Arc<Served>,
    pool: Pool<Environment>,
    making: Gate,
}

impl Invoker {
    /// For an agent that serves its hosts.
    #[must_use]
    pub fn new(agent: Agent, limits: Limits, served: Arc<Served>) -> Self {
        let pool = Pool::new(limits.at_once);
        Self { agent, limits, served, pool, making: Gate::new(MADE_AT_ONCE) }
    }

    /// Takes invocations and runs them, from one daemon after the other. Dropped, it ends what runs.
    pub async fn serve(self) -> Result<(), Error> {
        let this = Arc::new(self);
        let socket = this.agent.runtime_dir.join("control.sock");
        let mut said = false;
        loop {
            let session = async {
                let client = Client::connect(&socket).await?;
                this.session(client).await
            };
            match session.await {
                Ok(()) => said = false,
                Err(Error::Client(error)) if !said => {
                    tracing::info!(%error, "no invocations for now");
                    said = true;
                }
                Err(Error::Client(_)) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    /// Runs what one daemon wants run, until it ends.
    async fn session(self: &Arc<Self>, client: Client) -> Result<(), Error> {
        let mut invocations = client.invocations(self.limits.at_once).await?;
        let over = Over::new()?;
        let mut running = JoinSet::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                invocation = invocations.next() => {
                    let Some(invocation) = invocation else { break };
                    let (this, client) = (Arc::clone(self), client.clone());
                    let over = Arc::clone(&over.0);
                    running.spawn(async move { this.run(invocation, client, over).await });
                }
                _ = look.tick() => self.end_idle(),
                Some(_) = running.join_next() => {}
            }
        }
        // Nobody waits for it any more, and the next daemon does not know where it runs.
        drop(over);
        while running.join_next().await.is_some() {}
        let this = Arc::clone(self);
        let emptied = tokio::task::spawn_blocking(move || drop(this.pool.clear()));
        emptied
            .await
            .map_err(|error| Error::system("end environments")(std::io::Error::from(error)))
    }

    async fn run(self: Arc<Self>, invocation: Invocation, client: Client, over: Arc<OwnedFd>) {
        let id = invocation.id;
        let work = tokio::task::spawn_blocking(move || {
            self.in_environment(&invocation, &over).unwrap_or_else(|error| {
                tracing::warn!(environment = invocation.environment, %error, "not run");
                Ended::not_run(error.to_string())
            })
        });
        let ended = match work.await {
            Ok(ended) => ended,
            Err(error) => Ended::not_run(format!("the agent is broken: {error}")),
        };
        match client.ended(id, &ended).await {
            Ok(_) => {}
            Err(ClientError::NoDaemon { .. }) => tracing::debug!(id, "the daemon has gone"),
            Err(error) => tracing::warn!(id, %error, "what came of an invocation was not taken"),
        }
    }

    fn in_environment(&self, invocation: &Invocation, over: &OwnedFd) -> Result<Ended, Error> {
        let host = &invocation.environment;
        let run = |namespace: &str| run::run(&self.limits, namespace, invocation, over);
        if self.served.has(&name::namespace(&self.agent.prefix, host)) {
            return run(&name::namespace(&self.agent.prefix, host));
        }
        // One that the daemon has ended, or another holder has taken, is made anew.
        let stands = |environment: &Environment| environment.stands();
        let make = || {
            let _passed = self.making.pass();
            self.agent.environment(&self.served, host)
        };
        let environment = self.pool.take(host, stands, make)?;
        let ended = run(environment.namespace());
        self.pool.give_back(host, environment, Instant::now());
        ended
    }

    /// Ends environments that nobody uses.
    fn end_idle(self: &Arc<Self>) {
        let idle = self.pool.end_idle(Instant::now(), self.limits.idle, Environment::stands);
        if !idle.is_empty() {
            tracing::debug!(environments = idle.len(), "nobody uses them any more");
            // Devices take their time to go.
            tokio::task::spawn_blocking(move || drop(idle));
        }
    }
}

/// Tells all that runs, when dropped, that it is over.
struct Over(Arc<OwnedFd>);

impl Over {
    fn new() -> Result<Self, Error> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(Self(Arc::new(fd.map_err(Error::system("create an eventfd"))?)))
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        // Never full, and never read: it stays readable for everybody.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}
