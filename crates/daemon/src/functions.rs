//! Functions and their ENIs while the daemon runs.
//!
//! # Theory of operation
//!
//! The machine ([`Lifecycle`]) decides; here it is told the time and what the engine has seen, and
//! what it decides is done: ENIs are added to the engine or taken out of it, one at a time, with no new
//! policy. Before that it is made to last ([`Store`]): nothing is in force, or answered, that a daemon
//! that dies now would not hand to the next one. A reader may see it a moment earlier. While it cannot
//! be made to last, the machine stands still and commands are refused.
//!
//! The machine is looked after every [`LOOK_EVERY`], which is also how soon growth answers load: a
//! Hyperplane ENI that is three quarters full, altogether or towards one destination, counts as near its
//! capacity, so that the next one is there before connections are refused (LAM-07).
//!
//! Whoever changes something has its `turn`: a reload from its first look at the machine to its end,
//! which may take seconds, and this. Readers wait for neither.
//!
//! What was begun is finished, even if whoever asked for it has gone.
//!
//! The machine's time is the daemon's clock: what waits goes on waiting while the daemon is stopped. It
//! goes on from daemon to daemon, and is written each [`NOTE_TIME_EVERY`] while something waits; a
//! daemon that dies loses at most that much of the waiting.

#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use viaduct_control_plane::lifecycle::{
    Answer, Command, Event, Lifecycle, Output, Owner, Refusal, Report, Time, VersionId,
};
use viaduct_dataplane::{Engine, EniLoad};
use viaduct_topology::{
    ResourceId,
    inventory::{AttachmentId, Change},
};

use crate::{
    clock::Clock,
    error::Error,
    fail_point::{self, Point},
    history::{After, History},
    registry::Registry,
    store::{Batch, Store},
};

/// How often the machine is told the time and what its ENIs carry.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often it is told again what has not changed.
pub(crate) const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How often the machine's time is written while something waits.
const NOTE_TIME_EVERY: Duration = Duration::from_secs(1);

/// How long the machine stands still after its state could not be written.
const STAND_STILL: Duration = Duration::from_secs(1);

/// Events that are remembered.
const REMEMBERED: usize = 10_000;

/// The machine, and what goes with it.
#[derive(Debug)]
pub(crate) struct Functions {
    pub(crate) engine: Arc<Engine>,
    clock: Arc<Clock>,
    registry: Arc<Registry>,
    /// The machine's time at the beginning of the clock.
    beginning: Time,
    machine: Mutex<Lifecycle>,
    store: Arc<Store>,
    /// The machine's time that is in the store.
    noted: Mutex<Time>,
    /// What the machine was told of each ENI last.
    told: Mutex<HashMap<ResourceId, Told>>,
    /// When the machine was told of each version last that somebody stands there.
    pub(crate) used: Mutex<Used>,
    turn: Arc<tokio::sync::Mutex<()>>,
    events: History<Event>,
}

/// When each version was said to be used.
type Used = HashMap<VersionId, Time>;

/// The right to change something. Whoever has it is alone.
pub(crate) type Turn = tokio::sync::OwnedMutexGuard<()>;

/// What the machine was told of an ENI.
#[derive(Clone, Copy, Debug)]
struct Told {
    load: Load,
    /// When.
    at: Time,
    /// When it was last seen.
    seen: Time,
}

/// How much an ENI carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    None,
    Some,
    /// Three quarters, or more.
    NearCapacity,
}

impl Load {
    const fn of(load: EniLoad) -> Self {
        match load {
            EniLoad { near_capacity: true, .. } => Self::NearCapacity,
            EniLoad { connections: 0, .. } => Self::None,
            EniLoad { .. } => Self::Some,
        }
    }

    const fn of_eni(self, eni: ResourceId) -> Report {
        match self {
            Self::None => Report::Empty(eni),
            Self::Some => Report::HasRoom(eni),
            Self::NearCapacity => Report::NearCapacity(eni),
        }
    }
}

impl Functions {
    /// Looks after a machine whose ENIs the engine has, and which is as the store has it.
    pub(crate) fn new(
        engine: Arc<Engine>,
        clock: Arc<Clock>,
        registry: Arc<Registry>,
        machine: Lifecycle,
        store: Store,
    ) -> Self {
        let functions = Self {
            engine,
            clock,
            registry,
            beginning: machine.now(),
            machine: Mutex::default(),
            store: Arc::new(store),
            noted: Mutex::new(machine.now()),
            told: Mutex::default(),
            used: Mutex::default(),
            turn: Arc::default(),
            events: History::new(REMEMBERED),
        };
        functions.install(machine);
        functions
    }

    /// Has the zones fail in the engine that have failed, and no others.
    fn fail_zones(&self) {
        let failed = self.machine().failed_zones().map(str::to_owned).collect();
        self.engine.fail_zones(&failed);
    }

    /// The same for a network to which nothing will be attached, of a daemon without workers.
    #[cfg(test)]
    pub(crate) fn of_nobody(
        engine: Arc<Engine>,
        topology: viaduct_topology::Topology,
        mut plan: viaduct_control_plane::Plan,
        store: Store,
    ) -> Arc<Self> {
        let machine = std::mem::take(&mut plan.lifecycle);
        let network = crate::network::Network::new("test.yaml".into(), topology, plan);
        let ports = crate::fleet::Ports::of_no_worker();
        let registry = Registry::new(Arc::clone(&engine), ports, network, Default::default());
        let clock = Arc::new(Clock::new());
        Arc::new(Self::new(engine, clock, Arc::new(registry), machine, store))
    }

    /// The right to change something.
    pub(crate) async fn turn(&self) -> Turn {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// The machine, to be read; nothing may wait meanwhile.
    pub(crate) fn machine(&self) -> MutexGuard<'_, Lifecycle> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is attached to the functions' network.
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The present machine is to last after all, not the one that was written. Only with the turn.
    pub(crate) async fn keep(&self, instead_of: &Lifecycle) -> Result<(), Error> {
        let batch = Batch::of(instead_of.output(), &self.machine());
        self.write(batch).await
    }

    /// Puts a machine in the place of the present one. It was written, and the engine has its ENIs
    /// already.
    pub(crate) fn install(&self, mut next: Lifecycle) {
        let events = next.take_output().events;
        *self.machine() = next;
        self.fail_zones();
        self.note(events);
    }

    /// Looks after the machine until it is dropped.
    pub(crate) async fn look_after(self: &Arc<Self>) {
        let mut interval = tokio::time::interval(LOOK_EVERY);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut said = None;
        loop {
            interval.tick().await;
            let looked = self.look(self.turn().await).await;
            let error = looked.err().map(|error| error.to_string());
            match &error {
                Some(error) if said.as_ref() != Some(error) => tracing::error!("{error}"),
                None if said.is_some() => tracing::info!("functions live on"),
                _ => {}
            }
            if error.is_some() {
                tokio::time::sleep(STAND_STILL).await;
            }
            said = error;
        }
    }

    /// Tells the machine what the engine has seen, and does what it decides.
    pub(crate) async fn look(self: &Arc<Self>, turn: Turn) -> Result<Turn, Error> {
        let now = self.now();
        let (left, turn) = self.have(turn, |machine| self.tell(machine, now)).await?;
        self.end_environments(left);
        Ok(turn)
    }

    /// Tells a machine what the engine has seen. Returns the environments where nobody stands.
    fn tell(&self, machine: &mut Lifecycle, now: Time) -> Vec<AttachmentId> {
        let mut reports = Vec::new();
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            self.engine.visit_loads(|id, load| {
                let load = Load::of(load);
                let news = Told { load, at: now, seen: now };
                match told.get_mut(id) {
                    Some(told) if told.load == load && now < told.at.after(AGAIN_AFTER) => {
                        told.seen = now;
                        return;
                    }
                    Some(told) => *told = news,
                    None => {
                        told.insert(id.clone(), news);
                    }
                }
                reports.push(load.of_eni(id.clone()));
            });
            told.retain(|_, told| told.seen == now);
        }
        reports.iter().for_each(|report| machine.report(report, now));
        let left = self.tend_environments(machine, now);
        machine.advance(now);
        left
    }

    /// Carries a command out for somebody over the API.
    pub(crate) async fn command(self: &Arc<Self>, command: Command) -> Result<Answer, Refusal> {
        let Ok(answer) = self.decide(|_| Ok::<_, Infallible>(command)).await;
        answer
    }

    /// Carries out the command that somebody makes of how things are, if they do make one.
    pub(crate) async fn decide<E>(
        self: &Arc<Self>,
        make: impl FnOnce(&Lifecycle) -> Result<Command, E>,
    ) -> Result<Result<Answer, Refusal>, E> {
        let turn = self.turn().await;
        let now = self.now();
        let done = self.have(turn, |machine| {
            machine.advance(now);
            make(machine).map(|command| machine.command(command, Owner::Api, now))
        });
        match done.await {
            Ok((answer, _)) => answer,
            Err(error) => Ok(Err(Refusal::Service(error.to_string()))),
        }
    }

    /// Has an ENI fail its health check (LAM-08). False if nothing comes of it: it is none that functions
    /// use, or no other can be made.
    pub(crate) async fn fail_eni(self: &Arc<Self>, id: &ResourceId) -> Result<bool, Error> {
        let now = self.now();
        let stays = |machine: &Lifecycle| {
            let found = machine.eni(id);
            found.is_some_and(|(set, ordinal)| set.is_kept(ordinal))
        };
        let fail = |machine: &mut Lifecycle| {
            let stayed = stays(machine);
            machine.report(&Report::Unhealthy(id.clone()), now);
            stayed && !stays(machine)
        };
        Ok(self.have(self.turn().await, fail).await?.0)
    }

    /// The machine's time.
    pub(crate) fn now(&self) -> Time {
        self.beginning.after(self.clock.passed())
    }

    /// Has the machine do something, and does what it decides.
    ///
    /// An error says that the machine has done nothing, or that what it has decided waits until it
    /// can be made to last.
    pub(crate) async fn have<T>(
        self: &Arc<Self>,
        turn: Turn,
        act: impl FnOnce(&mut Lifecycle) -> T,
    ) -> Result<(T, Turn), Error> {
        // What could not be written when it was decided.
        let turn = self.finish(turn).await?;
        let done = act(&mut self.machine());
        fail_point::pass(Point::Decided);
        let turn = self.finish(turn).await?;
        fail_point::pass(Point::Done);
        Ok((done, turn))
    }

    /// Carries out what the machine has decided, even if whoever waits for it goes away.
    async fn finish(self: &Arc<Self>, turn: Turn) -> Result<Turn, Error> {
        if *self.machine().output() == Output::default() && self.is_noted() {
            return Ok(turn);
        }
        let this = Arc::clone(self);
        let finished = tokio::spawn(async move { this.carry_out().await.map(|()| turn) });
        finished.await.map_err(Error::thread("finish a command"))?
    }

    /// Whether the machine's time need not be written now.
    fn is_noted(&self) -> bool {
        let machine = self.machine();
        machine.next_due().is_none() || machine.now() < self.noted().after(NOTE_TIME_EVERY)
    }

    /// Makes last what the machine has decided, and then does it. Environments follow their functions
    /// to ENIs that are there before those that they leave are taken away. Only with the turn.
    async fn carry_out(&self) -> Result<(), Error> {
        let batch = {
            let machine = self.machine();
            Batch::of(machine.output(), &machine)
        };
        if !batch.is_empty() || !self.is_noted() {
            self.write(batch).await?;
        }
        let output = self.machine().take_output();
        let mut following = output.functions;
        for change in output.changes {
            if matches!(change, Change::RemoveEni(_) | Change::DrainEni(_)) {
                self.follow(&mut following);
            }
            let done = match &change {
                Change::AddEni(eni) => self.engine.add_eni(eni),
                Change::DrainEni(id) => self.engine.drain_eni(id, self.clock.now()),
                Change::RemoveEni(id) => self.engine.remove_eni(id),
                _ => Ok(()),
            };
            if let Err(error) = done {
                tracing::error!(%error, ?change, "the engine does not do what was decided");
            }
            fail_point::pass(Point::Changed);
        }
        self.follow(&mut following);
        if output.zones {
            self.fail_zones();
        }
        self.note(output.events);
        Ok(())
    }

    /// Writes to the store, on a thread that may wait for the disk. Only with the turn.
    pub(crate) async fn write(&self, batch: Batch) -> Result<(), Error> {
        let (store, now) = (Arc::clone(&self.store), batch.now());
        let written = tokio::task::spawn_blocking(move || store.write(&batch));
        written.await.map_err(Error::thread("write the state"))??;
        *self.noted() = now;
        Ok(())
    }

    fn noted(&self) -> MutexGuard<'_, Time> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, events: Vec<Event>) {
        self.events.add(|ring| {
            for event in events {
                tracing::debug!(at = event.at.as_millis(), "{}", event.what);
                ring.push(event);
            }
        });
    }

    /// The events after this number; waits for the first until `patience` is over.
    pub(crate) async fn events_after(&self, number: u64, patience: Duration) -> After<Event> {
        self.events.after(number, patience).await
    }
}

/// What a function or version is called.
pub(crate) fn called(version: &VersionId) -> String {
    format!("function/{version}")
}
