//! The daemon: takes queues, forwards packets, answers questions.
//!
//! Two kinds of threads that share nothing on a packet's way:
//!
//! - **workers** (`worker`) move packets. They wait in `epoll`, never on a lock that is held across
//!   a system call, and know nothing of files, names or JSON.
//! - the **control side** is one thread of tokio: hosts come and go over `attach.sock` (`session`,
//!   `registry`; who may attach what: `doors`, `entitlement`), environments of functions one by one
//!   (`environments`), questions are answered over `control.sock` (`api`), drops are collected (`drops`),
//!   functions and their ENIs live (`functions`), another topology takes the place of the one in force
//!   (`reload`). What functions are is in a file before it is true (`store`), so that the next daemon
//!   goes on with it (`start`). Connections are noted by a thread of their own, and the next daemon has
//!   them go on (`notes`).
//!   Whatever waits in the kernel goes to tokio's threads for that.
//!
//! From the control side to the workers lead bounded inboxes (`fleet`), from the workers back a
//! channel of rare events and a queue of drops.
//!
//! The daemon opens no device, enters no namespace, starts no process and connects to nothing: it
//! needs no capability, and can see to it that it has none (`confine`).
#![forbid(unsafe_code)]

mod api;
mod assembly;
mod clock;
mod confine;
#[cfg(all(test, debug_assertions))]
mod deaths;
mod doors;
mod drops;
mod entitlement;
mod environments;
mod error;
mod fail_point;
mod fleet;
mod functions;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod history;
mod hosts;
mod invocations;
mod listeners;
mod network;
mod notes;
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

use std::{
    cell::OnceCell,
    net::SocketAddr,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{runtime::Runtime, sync::watch};
use viaduct_dataplane::{Engine, Moment};
use viaduct_topology::Topology;

pub use confine::Confined;
pub use entitlement::{AttachSocket, HostPattern, NotAHost};
pub use error::Error;
pub use listeners::Listeners;
pub use options::{Build, Options};
pub use runtime_dir::DEFAULT_RUNTIME_DIR;

use crate::{
    assembly::Background,
    clock::Clock,
    confine::Confinement,
    fleet::random,
    functions::Functions,
    notes::{Boot, Left, Notes, Resumed},
    registry::Registry,
    reload::Stamp,
    runtime_dir::RuntimeDir,
    service_manager::ServiceManager,
};

/// How long answers that are being written may take when the daemon ends.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Threads that wait for the disk and the kernel on the control side's behalf, at most.
const WAITING_THREADS: usize = 512;

/// How long a daemon that ends waits for what is left of its control side.
const LEAVING: Duration = Duration::from_secs(2);

/// And how much longer for each device, which it may be the last to close: four times what that takes.
const LEAVING_EACH: Duration = Duration::from_millis(10);

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
    let doors = 1 + options.attach_sockets.len();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(WAITING_THREADS + session::ASIDE * doors)
        .build()
        .map_err(|source| Error::System { what: "start the control side", source })?;
    let manager = ServiceManager::at(options.service_manager.as_deref());
    let attachments = OnceCell::new();
    let ended = runtime.block_on(async {
        tokio::pin!(shutdown);
        let (end, ending) = watch::channel(false);
        let served = serve(options, on_ready, &manager, &attachments, ending);
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
    });
    leave(runtime, attachments.get());
    ended
}

/// Lets go of the control side. What strangers have sent may keep whoever closes it for hours (`session`);
/// the kernel, which closes it when the process ends, does not wait for it.
fn leave(runtime: Runtime, attachments: Option<&Weak<Registry>>) {
    let devices = attachments.and_then(Weak::upgrade).map_or(0, |registry| registry.held_hosts());
    let patience = LEAVING + LEAVING_EACH * devices;
    let (gone, wait) = std::sync::mpsc::channel();
    let leaving = thread::Builder::new().name("leaving".to_owned()).spawn(move || {
        runtime.shutdown_timeout(LAST_ANSWERS);
        // Whoever waits may have given up.
        let _ = gone.send(());
    });
    if leaving.is_ok() && wait.recv_timeout(patience).is_err() {
        tracing::warn!("something that was sent to the hand-over socket cannot be closed");
    }
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
    attachments: &OnceCell<Weak<Registry>>,
    ending: watch::Receiver<bool>,
) -> Result<(), Error> {
    // Before it is read: what changes after that is another version.
    let stamp = Stamp::of(&options.topology);
    let topology = load(options)?;
    raise_descriptor_limit();
    let port = api::port(options).await?;
    let directory = RuntimeDir::take(&options.runtime_dir)?;
    let begun = start::begin(options, &directory, &topology)?;
    let hosts = begun.plan.attachments.len();
    if options.forget_state {
        notes::forget(&directory.connections())?;
    }
    let boot = Boot::of_this_machine();
    let left = Left::at(&directory.connections(), boot);
    let workers = match options.workers {
        Some(workers) => workers.get(),
        None => thread::available_parallelism().map_or(1, NonZeroUsize::get),
    };
    // They may be where a confined daemon makes nothing. Whoever comes early waits.
    let doors = doors::open(options, &directory)?;
    let attach_socket = doors[0].listener.path().to_owned();
    // Before there is another thread.
    let confinement = match options.confine {
        true => Some(Confinement::begin(&directory, &options.topology, &doors)?),
        false => None,
    };
    let begins = left.as_ref().map_or(Moment::ZERO, Left::now);
    let (mut running, background) =
        assembly::assemble(options, topology, begun, begins, workers, attach_socket, ending)?;
    let Background { reports, dispatch } = background;
    let engine = Arc::clone(&running.engine);
    let clock = Arc::clone(&running.clock);
    let registry = Arc::clone(&running.registry);
    let functions = Arc::clone(&running.functions);
    let reloader = Arc::clone(&running.reloader);
    let drops = Arc::clone(&running.drops);
    attachments.get_or_init(|| Arc::downgrade(&registry));
    running.resumed = resume(left, &engine, &functions)?;
    // What was left is there until this takes its place.
    let _notes =
        Notes::begin(&directory.connections(), boot, Arc::clone(&engine), Arc::clone(&clock))?;
    let (control, control_socket) = match options.listeners.control()? {
        Some(inherited) => inherited,
        None => (directory.listen_control()?, directory.control_socket()),
    };
    let hang_ups = reload::catch_hang_up();
    let confined = confinement.map(Confinement::complete).transpose()?;
    let lambda_api = port.as_ref().and_then(|port| port.local_addr().ok());
    let attach_socket = running.attach_socket.clone();
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
        () = api::serve(control, port, Arc::new(running)) => Ok(()),
        ended = session::serve(doors, Arc::clone(&functions), options.grace) => ended,
        ended = supervisor::supervise(reports, registry) => ended.map(|never| match never {}),
        never = reload::on_hang_up(hang_ups, Arc::clone(&reloader)) => match never {},
        never = reload::watch(reloader, stamp), if options.watch => match never {},
        () = drops.collect_forever() => Ok(()),
        () = dispatch => Ok(()),
        () = functions.look_after() => Ok(()),
        () = trim_forever(&engine, &clock) => Ok(()),
    }
}

/// Has the connections go on that the daemon before has left.
fn resume(left: Option<Left>, engine: &Engine, functions: &Functions) -> Result<Resumed, Error> {
    let Some(left) = left else { return Ok(Resumed::default()) };
    functions.stand_again(left.hosts());
    let hosts = functions.registry().hosts();
    let mut scratch = engine.scratch(random()?);
    let resumed = left.resume(engine, |name| hosts.id(name), &mut scratch);
    let lost = resumed.lost();
    tracing::info!(connections = resumed.resumed, lost, "connections go on");
    for (why, connections) in &resumed.lost {
        tracing::warn!(connections, "connections do not go on: {why}");
    }
    Ok(resumed)
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

/// Each attachment and each connection to a socket is a descriptor, and the usual limit is 1024 for
/// the sake of programs that use `select`.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}
