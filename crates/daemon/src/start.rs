//! How a daemon begins: with a topology, and with what the one before it has left.
//!
//! The functions of a daemon that has died are declared into the topology as a reload would do it:
//! those that were made over the API keep their ENIs, ids and addresses, those of a file are as the
//! file says now. What does not fit ends the start. What had been decided and was not carried out
//! needs no care: the engine is built from what is remembered.

use std::path::PathBuf;

use viaduct_control_plane::{
    Plan, PlanError,
    lifecycle::{Delays, Lifecycle},
    plan, plan_after,
};
use viaduct_topology::Topology;

use crate::{
    error::Error,
    options::Options,
    runtime_dir::RuntimeDir,
    store::{Batch, Store},
};

/// A network whose functions are remembered.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) plan: Plan,
    pub(crate) store: Store,
}

/// Plans a topology after what is remembered, and remembers what has come of it.
pub(crate) fn begin(
    options: &Options,
    directory: &RuntimeDir,
    topology: &Topology,
) -> Result<Begun, Error> {
    let state = options.state.clone().unwrap_or_else(|| directory.state());
    if options.forget_state
        && let Some(aside) = Store::forget(&state)?
    {
        tracing::warn!(state = %state.display(), aside = %aside.display(), "what was remembered is put aside");
    }
    let unplanned =
        |source| Error::Plan { path: options.topology.clone(), source: Box::new(source) };
    let Some((store, records)) = Store::open(&state, options.sync)? else {
        let plan = plan(topology).map_err(unplanned)?;
        let store = Store::create(&state, options.sync, &Batch::whole(&plan.lifecycle))?;
        return Ok(Begun { plan, store });
    };
    let lifecycle = Lifecycle::remember(Delays::of(&topology.settings), records)
        .map_err(|error| Error::StateDamaged { path: state.clone(), what: error.to_string() })?;
    let remembered = Plan { lifecycle, ..Plan::default() };
    let plan = plan_after(&remembered, topology).map_err(|source| match plan(topology) {
        Ok(_) => unfitting(options, state, source),
        // It is the topology's own fault.
        Err(own) => unplanned(own),
    })?;
    let (functions, now) = (plan.lifecycle.functions().count(), plan.lifecycle.now());
    tracing::info!(functions, now = now.as_millis(), "goes on where another daemon stood");
    store.write(&Batch::of(plan.lifecycle.output(), &plan.lifecycle))?;
    Ok(Begun { plan, store })
}

fn unfitting(options: &Options, state: PathBuf, source: PlanError) -> Error {
    Error::StateUnfitting { path: options.topology.clone(), state, source: Box::new(source) }
}
