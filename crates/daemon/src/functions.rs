//! Functions and their ENIs while the daemon runs.
//!
//! # Theory of operation
//!
//! The machine ([`Lifecycle`]) decides; here it is told the time and what the engine has seen, and
//! what it decides is done: ENIs are added to the engine or taken out of it, one at a time, with no new
//! policy. It is looked after every [`LOOK_EVERY`], which is also how soon growth answers load: a
//! Hyperplane ENI that is three quarters full, altogether or towards one destination, counts as near its
//! capacity, so that the next one is there before connections are refused (LAM-07).
//!
//! Whoever changes something has its `turn`: a reload from its first look at the machine to its end,
//! which may take seconds, and this. Readers wait for neither.
//!
//! The machine's time is the daemon's clock: what waits goes on waiting while the daemon is stopped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use viaduct_control_plane::lifecycle::{
    Answer, Command, Event, Lifecycle, Output, Owner, Refusal, Report, Time, VersionId,
};
use viaduct_dataplane::{Engine, EniLoad};
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
    /// What the machine was told of each ENI last.
    told: Mutex<HashMap<ResourceId, Told>>,
    turn: tokio::sync::Mutex<()>,
    events: History<Event>,
}

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
        let mut machine = self.machine();
        reports.iter().for_each(|report| machine.report(report, now));
        machine.advance(now);
        let output = machine.take_output();
        drop(machine);
        self.carry_out(output);
    }

    /// Carries a command out for somebody over the API.
    pub(crate) async fn command(&self, command: Command) -> Result<Answer, Refusal> {
        let _turn = self.turn().await;
        let (answer, output) = {
            let mut machine = self.machine();
            let answer = machine.command(command, Owner::Api, self.now());
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
                Change::DrainEni(id) => self.engine.drain_eni(id, self.clock.now()),
                Change::RemoveEni(id) => self.engine.remove_eni(id),
                _ => Ok(()),
            };
            if let Err(error) = done {
                tracing::error!(%error, ?change, "the engine does not do what was decided");
            }
        }
        if output.zones {
            let failed = self.machine().failed_zones().map(str::to_owned).collect();
            self.engine.fail_zones(&failed);
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
