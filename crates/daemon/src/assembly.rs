//! The parts of a daemon, put together.

use std::{path::PathBuf, pin::Pin, sync::Arc};

use tokio::sync::{mpsc, watch};
use viaduct_control_plane::{Plan, changes};
use viaduct_dataplane::{Engine, EngineConfig, Moment};
use viaduct_topology::Topology;

use crate::{
    api::Running,
    clock::Clock,
    drops::DropLog,
    error::Error,
    fleet::{Fleet, random},
    functions::Functions,
    network::Network,
    notes::Resumed,
    options::Options,
    registry::Registry,
    reload::Reloader,
    start::Begun,
    worker::Event,
};

/// What must be looked after while a daemon runs.
pub(crate) struct Background {
    /// What the workers have to tell.
    pub(crate) reports: mpsc::UnboundedReceiver<Event>,
    /// Without it, no port changes.
    pub(crate) dispatch: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Puts a daemon together, with so many packet threads, which run when this returns. Its engine's time
/// begins at `begins`. Nobody can reach it yet.
pub(crate) fn assemble(
    options: &Options,
    topology: Topology,
    begun: Begun,
    begins: Moment,
    workers: usize,
    attach_socket: PathBuf,
    ending: watch::Receiver<bool>,
) -> Result<(Running, Background), Error> {
    let Begun { mut plan, store } = begun;
    let clock = Arc::new(Clock::from(begins));
    let engine = Arc::new(start_engine(options, &topology, &plan, clock.now())?);
    let drops = Arc::new(DropLog::new(workers));
    let (report, reports) = mpsc::unbounded_channel();
    let fleet = Fleet::start(workers, options.device, &engine, &clock, &drops, &report)?;
    let (ports, dispatch) = fleet.ports();
    let lifecycle = std::mem::take(&mut plan.lifecycle);
    let network = Network::new(options.topology.clone(), topology, plan);
    let registry = Arc::new(Registry::new(Arc::clone(&engine), ports, network, options.device));
    let functions = Arc::new(Functions::new(
        Arc::clone(&engine),
        Arc::clone(&clock),
        Arc::clone(&registry),
        lifecycle,
        store,
    ));
    let reloader = Arc::new(Reloader::new(
        Arc::clone(&engine),
        Arc::clone(&registry),
        Arc::clone(&clock),
        Arc::clone(&functions),
        options.topology.clone(),
    ));
    let running = Running {
        build: options.build,
        attach_socket,
        engine,
        fleet,
        registry,
        reloader,
        functions,
        invocations: Arc::default(),
        drops,
        clock,
        resumed: Resumed::default(),
        ending,
    };
    Ok((running, Background { reports, dispatch: Box::pin(dispatch) }))
}

/// An engine with this topology, whose time begins now.
pub(crate) fn start_engine(
    options: &Options,
    topology: &Topology,
    plan: &Plan,
    now: Moment,
) -> Result<Engine, Error> {
    let seed = u64::from_ne_bytes(random()?);
    let engine = Engine::new(EngineConfig { connections: options.connections, seed });
    // A reload from nothing, so that ENIs which were draining drain.
    let changes = changes(&Plan::default(), plan);
    let failed =
        |source| Error::Engine { path: options.topology.clone(), source: Box::new(source) };
    engine.reload(topology, &changes, now).map_err(failed)?;
    Ok(engine)
}
