//! The daemon: takes queues, forwards packets, answers questions.
//!
//! Two kinds of threads that share nothing on a packet's way:
//!
//! - **workers** (`worker`) move packets. They wait in `epoll`, never on a lock that is held across
//!   a system call, and know nothing of files, names or JSON.
//! - the **control side** is one thread of tokio: hosts come and go over `attach.sock` (`session`,
//!   `registry`), environments of functions one by one (`environments`), questions are answered over
//!   `control.sock` (`api`), drops are collected (`drops`), functions and their ENIs live (`functions`), another topology takes the place of the one in force
//!   (`reload`). What functions are is in a file before it is true (`store`), so that the next daemon
//!   goes on with it (`start`).
//!   Whatever waits in the kernel goes to tokio's threads for that.
//!
//! From the control side to the workers lead bounded inboxes (`fleet`), from the workers back a
//! channel of rare events and a queue of drops.
//!
//! The daemon opens no device, enters no namespace, starts no process and connects to nothing: it
//! needs no capability, and can see to it that it has none (`confine`).
#![forbid(unsafe_code)]

mod api;
mod clock;
mod confine;
#[cfg(all(test, debug_assertions))]
mod deaths;
mod drops;
mod environments;
mod error;
mod fail_point;
mod fleet;
mod functions;
mod history;
mod hosts;
mod invocations;
mod listeners;
mod network;
mod options;
mod refusal;
mod registry;
mod reload;
mod runtime_dir;
mod service_manager;
mod session;
mod start;
mod store;
mod supervisor;
mod worker;

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, thread, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{mpsc, watch};
use viaduct_control_plane::{Plan, changes};
use viaduct_dataplane::{Engine, EngineConfig, Moment};
use viaduct_topology::Topology;
use viaduct_tun::Listener;

pub use confine::Confined;
pub use error::Error;
pub use listeners::Listeners;
pub use options::{Build, Options};
pub use runtime_dir::DEFAULT_RUNTIME_DIR;

use crate::{
    api::Running,
    clock::Clock,
    confine::Confinement,
    drops::DropLog,
    fleet::{Fleet, random},
    functions::Functions,
    network::Network,
    registry::Registry,
    reload::{Reloader, Stamp},
    runtime_dir::RuntimeDir,
    service_manager::ServiceManager,
    start::Begun,
};

/// How long answers that are being written may take when the daemon ends.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// How often port tables that have become idle are looked for. Ports rest for two minutes.
const TRIM_EVERY: Duration = Duration::from_secs(60);

/// A daemon that takes attachments and questions.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where queues are handed over.
    pub attach_socket: PathBuf,
    /// Where questions are answered.
    pub control_socket: PathBuf,
    /// Where AWS's APIs are served over TCP.
    pub lambda_api: Option<SocketAddr>,
    /// Packet threads.
    pub workers: usize,
    /// Hosts in the topology.
    pub hosts: usize,
    /// What the process is held to from now on, if it confined itself.
    pub confined: Option<Confined>,
}

/// Runs a daemon until `shutdown` is ready, calling `on_ready` when it takes attachments.
///
/// [`interrupted`] is the `shutdown` of a daemon in the foreground.
///
/// # Errors
///
/// When the topology is wrong, another daemon runs, or the system refuses something; see [`Error`].
pub fn run(
    options: &Options,
    on_ready: impl FnOnce(&Ready),
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Error::System { what: "start the control side", source })?;
    let manager = ServiceManager::at(options.service_manager.as_deref());
    runtime.block_on(async {
        tokio::pin!(shutdown);
        let (end, ending) = watch::channel(false);
        let served = serve(options, on_ready, &manager, ending);
        tokio::pin!(served);
        tokio::select! {
            // First, so that a signal is caught from the very beginning.
            biased;
            () = &mut shutdown => {}
            ended = &mut served => return ended,
        }
        tracing::info!("ending");
        manager.stopping();
        let _ = end.send(true);
        // Answers that are being written may be finished; nobody is waited for longer.
        tokio::time::timeout(LAST_ANSWERS, served).await.unwrap_or(Ok(()))
    })
}

/// Ready when the process is asked to end: SIGTERM or SIGINT.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        // Without handlers the signals end the process as they always do.
        _ => std::future::pending().await,
    }
}

/// Builds everything and serves until `ending`, or until something fails.
async fn serve(
    options: &Options,
    on_ready: impl FnOnce(&Ready),
    manager: &ServiceManager,
    ending: watch::Receiver<bool>,
) -> Result<(), Error> {
    // Before it is read: what changes after that is another version.
    let stamp = Stamp::of(&options.topology);
    let topology = load(options)?;
    raise_descriptor_limit();
    let port = api::port(options).await?;
    let directory = RuntimeDir::take(&options.runtime_dir)?;
    let Begun { mut plan, store } = start::begin(options, &directory, &topology)?;
    let workers = match options.workers {
        Some(workers) => workers.get(),
        None => thread::available_parallelism().map_or(1, NonZeroUsize::get),
    };
    // Before there is another thread.
    let confinement = match options.confine {
        true => Some(Confinement::begin(&directory, &options.topology)?),
        false => None,
    };
    let engine = Arc::new(start_engine(options, &topology, &plan)?);
    let clock = Arc::new(Clock::new());
    let drops = Arc::new(DropLog::new(workers));
    let (report, reports) = mpsc::unbounded_channel();
    let fleet = Fleet::start(workers, options.device, &engine, &clock, &drops, &report)?;
    let (ports, dispatch) = fleet.ports();
    let lambda_api = port.as_ref().and_then(|port| port.local_addr().ok());
    let hosts = plan.attachments.len();
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
    let attach = match options.listeners.attach()? {
        Some(inherited) => inherited,
        None => Listener::bind_for(directory.attach_socket(), options.attach_access)?,
    };
    let (control, control_socket) = match options.listeners.control()? {
        Some(inherited) => inherited,
        None => (directory.listen_control()?, directory.control_socket()),
    };
    let attach_socket = attach.path().to_owned();
    let running = Arc::new(Running {
        build: options.build,
        attach_socket: attach_socket.clone(),
        engine: Arc::clone(&engine),
        fleet,
        registry: Arc::clone(&registry),
        reloader: Arc::clone(&reloader),
        functions: Arc::clone(&functions),
        invocations: Arc::default(),
        drops: Arc::clone(&drops),
        clock: Arc::clone(&clock),
        ending,
    });
    let hang_ups = reload::catch_hang_up();
    let confined = confinement.map(Confinement::complete).transpose()?;
    on_ready(&Ready { attach_socket, control_socket, lambda_api, workers, hosts, confined });
    manager.ready();
    tracing::info!(
        version = %options.build,
        workers,
        device = %options.device,
        hosts,
        lambda_api = lambda_api.map(tracing::field::display),
        runtime_dir = %options.runtime_dir.display(),
        "ready"
    );
    tokio::select! {
        ended = api::serve(control, port, running) => ended,
        ended = session::serve(attach, Arc::clone(&functions), options.grace) => ended,
        ended = supervisor::supervise(reports, registry) => ended.map(|never| match never {}),
        never = reload::on_hang_up(hang_ups, Arc::clone(&reloader)) => match never {},
        never = reload::watch(reloader, stamp), if options.watch => match never {},
        () = drops.collect_forever() => Ok(()),
        () = dispatch => Ok(()),
        () = functions.look_after() => Ok(()),
        () = trim_forever(&engine, &clock) => Ok(()),
    }
}

/// Gives the memory of idle port tables back, now and then.
async fn trim_forever(engine: &Engine, clock: &Clock) {
    let mut interval = tokio::time::interval(TRIM_EVERY);
    loop {
        interval.tick().await;
        engine.trim(clock.now());
    }
}

fn load(options: &Options) -> Result<Topology, Error> {
    let loaded = viaduct_config_plane::load_file(&options.topology)?;
    if !loaded.warnings.is_empty() {
        tracing::warn!("{}", loaded.warnings);
    }
    Ok(loaded.topology)
}

/// An engine with this topology, whose clock begins now.
fn start_engine(options: &Options, topology: &Topology, plan: &Plan) -> Result<Engine, Error> {
    let seed = u64::from_ne_bytes(random()?);
    let engine = Engine::new(EngineConfig { connections: options.connections, seed });
    // A reload from nothing, so that ENIs which were draining drain.
    let changes = changes(&Plan::default(), plan);
    let failed =
        |source| Error::Engine { path: options.topology.clone(), source: Box::new(source) };
    engine.reload(topology, &changes, Moment::ZERO).map_err(failed)?;
    Ok(engine)
}

/// Each attachment and each connection to a socket is a descriptor, and the usual limit is 1024 for
/// the sake of programs that use `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}
