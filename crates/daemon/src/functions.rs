//! Functions and their ENIs while the daemon runs.
//!
//! # Theory of operation
//!
//! The machine ([`Lifecycle`]) decides; here it is told the time and what the engine has seen, and
//! what it decides is done: ENIs are added to the engine or taken out of it, one at a time, with no new
//! policy. It is looked after every [`LOOK_EVERY`], which is also how soon growth answers load: a
//! Hyperplane ENI that is three quarters full counts as near its capacity, so that the next one is there
//! before connections are refused (LAM-07).
//!
//! Whoever changes something has its `turn`: a reload from its first look at the machine to its end,
//! which may take seconds, and this. Readers wait for neither.
//!
//! The machine's time is the daemon's clock: what waits goes on waiting while the daemon is stopped.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use viaduct_control_plane::lifecycle::{
    Answer, Command, Event, Lifecycle, Output, Owner, Refusal, Report, Time, VersionId,
};
use viaduct_dataplane::Engine;
use viaduct_topology::{ResourceId, inventory::Change};

use crate::{
    clock::Clock,
    history::{After, History},
};

/// How often the machine is told the time and what its ENIs carry.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How often it is told again what has not changed.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Events that are remembered.
const REMEMBERED: usize = 10_000;

/// The machine, and what goes with it.
#[derive(Debug)]
pub(crate) struct Functions {
    engine: Arc<Engine>,
    clock: Arc<Clock>,
    machine: Mutex<Lifecycle>,
    /// What the machine was told of each ENI last, and when.
    told: Mutex<HashMap<ResourceId, (Load, Time)>>,
    turn: tokio::sync::Mutex<()>,
    events: History<Event>,
}

/// How much an ENI carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    None,
    Some,
    /// Three quarters, or more.
    NearCapacity,
}

impl Functions {
    /// Looks after a machine whose ENIs the engine has.
    pub(crate) fn new(engine: Arc<Engine>, clock: Arc<Clock>, machine: Lifecycle) -> Self {
        let functions = Self {
            engine,
            clock,
            machine: Mutex::default(),
            told: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            events: History::new(REMEMBERED),
        };
        functions.install(machine);
        functions
    }

    /// The right to change something.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// The machine, to be read; nothing may wait meanwhile.
    pub(crate) fn machine(&self) -> MutexGuard<'_, Lifecycle> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a machine in the place of the present one. The engine has its ENIs already.
    pub(crate) fn install(&self, mut next: Lifecycle) {
        let events = next.take_output().events;
        *self.machine() = next;
        self.note(events);
    }

    /// Looks after the machine until it is dropped.
    pub(crate) async fn look_after(&self) {
        let mut interval = tokio::time::interval(LOOK_EVERY);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let _turn = self.turn().await;
            self.look();
        }
    }

    /// Tells the machine what the engine has seen, and does what it decides. Only with the turn.
    pub(crate) fn look(&self) {
        let now = self.now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *told);
        let mut machine = self.machine();
        for eni in self.engine.enis() {
            // Nothing but functions' ENIs have both.
            let (Some(connections), Some(capacity)) = (eni.connections, eni.capacity) else {
                continue;
            };
            let load = match connections {
                0 => Load::None,
                some if u64::from(some) * 4 >= u64::from(capacity) * 3 => Load::NearCapacity,
                _ => Load::Some,
            };
            let is_old = |(said, at): &(Load, Time)| *said == load && now < at.after(AGAIN_AFTER);
            if let Some(said) = before.get(&eni.id).copied().filter(is_old) {
                told.insert(eni.id, said);
                continue;
            }
            told.insert(eni.id.clone(), (load, now));
            let report = match load {
                Load::None => Report::Empty(eni.id),
                Load::Some => Report::HasRoom(eni.id),
                Load::NearCapacity => Report::NearCapacity(eni.id),
            };
            machine.report(&report, now);
        }
        drop(told);
        machine.advance(now);
        let output = machine.take_output();
        drop(machine);
        self.carry_out(output);
    }

    /// Carries a command out for somebody over the API.
    pub(crate) async fn command(&self, command: Command) -> Result<Answer, Refusal> {
        let Ok(answer) = self.decide(|_| Ok::<_, Infallible>(command)).await;
        answer
    }

    /// Carries out the command that somebody makes of how things are, if they do make one.
    pub(crate) async fn decide<E>(
        &self,
        make: impl FnOnce(&Lifecycle) -> Result<Command, E>,
    ) -> Result<Result<Answer, Refusal>, E> {
        let _turn = self.turn().await;
        let (answer, output) = {
            let mut machine = self.machine();
            machine.advance(self.now());
            let made = make(&machine);
            let answer = made.map(|command| machine.command(command, Owner::Api, self.now()));
            (answer, machine.take_output())
        };
        self.carry_out(output);
        answer
    }

    /// The machine's time.
    pub(crate) fn now(&self) -> Time {
        Time::from_millis(self.clock.now().as_millis())
    }

    /// Does what the machine has decided.
    fn carry_out(&self, output: Output) {
        for change in output.changes {
            let done = match &change {
                Change::AddEni(eni) => self.engine.add_eni(eni),
                Change::RemoveEni(id) => self.engine.remove_eni(id),
                _ => Ok(()),
            };
            if let Err(error) = done {
                tracing::error!(%error, ?change, "the engine does not do what was decided");
            }
        }
        self.note(output.events);
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
