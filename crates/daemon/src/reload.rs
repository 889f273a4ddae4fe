//! Reloads: another topology takes the place of the one in force.
//!
//! # Theory of operation
//!
//! A reload is asked for over `control.sock`, by SIGHUP, or by the file itself when it is watched.
//! One runs at a time:
//!
//! 1. The text is loaded and checked, and planned after the plan in force, with the functions and
//!    ENIs as they are by now; they wait until the reload is over. Anything wrong with it
//!    ends the reload here, and nothing has changed.
//! 2. What becomes of the functions is written to the state file. From then on the next daemon goes on
//!    from there, should this one die.
//! 3. The engine takes policy and inventory at one moment ([`Engine::reload`]). From then on every
//!    packet is judged by the new topology.
//!    Environments of functions made over the API stay, and keep their connections where they can.
//! 4. The registry answers from the new network, and hosts that are gone, or are to have another
//!    address, are detached: their holders are told why.
//!
//! New hosts are known to the engine before they can be attached, and old ones unknown to it before
//! their queues are let go, so no order of events makes a packet meet half of a host.
//!
//! Loading and compiling take seconds for the largest topologies and run on threads that may wait.

use std::{
    convert::Infallible,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use viaduct_config_plane::{LoadError, Loaded};
use viaduct_control_plane::{
    changes, environments::Environments, lifecycle::Lifecycle, plan_after,
};
use viaduct_dataplane::Engine;
use viaduct_topology::{diff::Difference, inventory::Change};

use crate::{
    clock::Clock, error::Error, functions::Functions, hosts::Hosts, network::Network,
    registry::Registry, store::Batch,
};

/// How often a watched file is looked at. It is read when it was the same twice, so that one that
/// is being written is not read half.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a thread that panics did not do.
const FINISH: &str = "finish a reload";

/// Carries reloads out, one at a time.
#[derive(Debug)]
pub(crate) struct Reloader {
    engine: Arc<Engine>,
    registry: Arc<Registry>,
    clock: Arc<Clock>,
    functions: Arc<Functions>,
    /// The daemon's own file.
    file: PathBuf,
}

/// Where a topology comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The daemon reads it.
    File(PathBuf),
    /// Somebody has read it and hands it over, with the name it had.
    Text { name: PathBuf, text: String },
}

/// What a reload did, or would do.
#[derive(Debug)]
pub(crate) struct Report {
    /// The generation of the policy in force.
    pub(crate) generation: u32,
    pub(crate) differences: Vec<Difference>,
    /// Hosts that were attached and are let go.
    pub(crate) detached: Vec<String>,
    /// What the author should look at again, as text.
    pub(crate) warnings: String,
}

/// A topology that can take the place of the one in force.
struct Prepared {
    hosts: Hosts,
    lifecycle: Lifecycle,
    /// What is to last of it.
    batch: Batch,
    changes: Vec<Change>,
    differences: Vec<Difference>,
    warnings: String,
}

impl Reloader {
    pub(crate) fn new(
        engine: Arc<Engine>,
        registry: Arc<Registry>,
        clock: Arc<Clock>,
        functions: Arc<Functions>,
        file: PathBuf,
    ) -> Self {
        Self { engine, registry, clock, functions, file }
    }

    /// Puts a topology in force, or says what that would do.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        source: Source,
        dry_run: bool,
    ) -> Result<Report, Error> {
        let this = Arc::clone(self);
        // On a task of its own: whoever asks may go away, and half a reload is none.
        let applied = tokio::spawn(async move { this.carry_out(source, dry_run).await });
        applied.await.map_err(Error::thread(FINISH))?
    }

    async fn carry_out(&self, source: Source, dry_run: bool) -> Result<Report, Error> {
        let _turn = self.functions.look(self.functions.turn().await).await?;
        let before = self.registry.network();
        let environments = self.registry.hosts().environments.clone();
        let lifecycle = self.functions.machine().clone();
        let Prepared { hosts, lifecycle, batch, changes, differences, warnings } =
            at_leisure(move || prepare(&before, environments, lifecycle, source)).await??;
        if dry_run {
            let generation = self.engine.generation();
            let ending = self.registry.ending(&hosts).into_iter();
            let present = self.registry.hosts();
            let detached = ending.map(|(id, _)| present.name(id)).collect();
            return Ok(Report { generation, differences, detached, warnings });
        }
        self.functions.write(batch).await?;
        let (engine, now) = (Arc::clone(&self.engine), self.clock.now());
        let reloaded = at_leisure(move || {
            let reloaded = engine.reload(&hosts.network.topology, &changes, now);
            reloaded.map(|generation| (generation, hosts)).map_err(Box::new)
        });
        let (generation, hosts) = match reloaded.await? {
            Ok(reloaded) => reloaded,
            Err(source) => {
                self.functions.keep(&lifecycle).await?;
                return Err(Error::Engine { path: self.file.clone(), source });
            }
        };
        self.functions.install(lifecycle);
        let detached = self.registry.install(hosts).await;
        Ok(Report { generation, differences, detached, warnings })
    }

    /// Reads the daemon's own file again. What comes of it is for the log: nobody waits for it.
    async fn reread(self: &Arc<Self>, why: &'static str) {
        let file = self.file.display().to_string();
        match self.apply(Source::File(self.file.clone()), false).await {
            Ok(report) => {
                let Report { generation, differences, detached, warnings } = report;
                tracing::info!(
                    why,
                    file,
                    generation,
                    changes = differences.len(),
                    detached = detached.len(),
                    "reloaded"
                );
                for Difference { action, path, details } in differences {
                    tracing::info!("{action} {path} {}", details.join("; "));
                }
                if !warnings.is_empty() {
                    tracing::warn!("{warnings}");
                }
            }
            Err(error) => tracing::error!(why, file, "not reloaded, nothing has changed: {error}"),
        }
    }
}

/// Catches SIGHUP from now on. None where signals cannot be caught: then it ends the process, as it
/// does by default.
pub(crate) fn catch_hang_up() -> Option<Signal> {
    signal(SignalKind::hangup()).ok()
}

/// Reads the daemon's file again with each SIGHUP.
pub(crate) async fn on_hang_up(signals: Option<Signal>, reloader: Arc<Reloader>) -> Infallible {
    if let Some(mut signals) = signals {
        while signals.recv().await.is_some() {
            reloader.reread("SIGHUP").await;
        }
    }
    std::future::pending().await
}

/// Reads the daemon's file again whenever it is another than `read`. A file that is gone changes
/// nothing.
pub(crate) async fn watch(reloader: Arc<Reloader>, mut read: Option<Stamp>) -> Infallible {
    let mut seen = read;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let file = reloader.file.clone();
        let now = at_leisure(move || Stamp::of(&file)).await.unwrap_or(seen);
        if now == seen && now != read && now.is_some() {
            reloader.reread("the file has changed").await;
            read = now;
        }
        seen = now;
    }
}

/// What tells a file from its next version, whether it is written in place or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: (u64, u64),
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Of the file that is there now; none if there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

fn prepare(
    before: &Network,
    mut environments: Environments,
    lifecycle: Lifecycle,
    source: Source,
) -> Result<Prepared, Error> {
    let (file, loaded) = match source {
        Source::File(path) => {
            let loaded = viaduct_config_plane::load_file(&path)?;
            (path, loaded)
        }
        Source::Text { name, text } => {
            let loaded = viaduct_config_plane::load(&name.display().to_string(), &text);
            (name, loaded.map_err(LoadError::Refused)?)
        }
    };
    let Loaded { topology, warnings } = loaded;
    let mut present = before.plan.with_lifecycle(lifecycle);
    present.issued = environments.issued();
    let mut plan = plan_after(&present, &topology)
        .map_err(|source| Error::Plan { path: file.clone(), source: Box::new(source) })?;
    let present = present.with_environments(&environments);
    for step in environments.all_steps(&plan.lifecycle) {
        environments.take(step);
    }
    environments.issue_after(plan.issued);
    Ok(Prepared {
        changes: changes(&present, &plan.clone().with_environments(&environments)),
        differences: topology.difference(&before.topology),
        warnings: if warnings.is_empty() { String::new() } else { warnings.to_string() },
        batch: Batch::of(plan.lifecycle.output(), &plan.lifecycle),
        lifecycle: std::mem::take(&mut plan.lifecycle),
        hosts: Hosts { network: Arc::new(Network::new(file, topology, plan)), environments },
    })
}

/// Runs what takes its time on a thread that has it.
async fn at_leisure<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(Error::thread(FINISH))
}
