//! The API of a daemon that forwards nothing, for the fuzzer and for whoever replays what it found.
//!
//! What comes over a connection goes through the same HTTP, routes and handlers as in a daemon. There
//! are no packet threads, nobody can attach, no agent runs functions, and nothing waits: long questions
//! are answered at once, as by a daemon that ends.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};
use viaduct_control_plane::lifecycle::Time;
use viaduct_dataplane::Moment;

use crate::{
    api::{self, Running},
    assembly::assemble,
    error::Error,
    options::Options,
    runtime_dir::RuntimeDir,
    start,
};

/// Connections that the engine can have: none comes.
const CONNECTIONS: usize = 16;

/// How long a connection may take, of which nothing waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a connection comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The control socket, which is its owner's.
    Control,
    /// The TCP port of AWS's APIs, which everybody reaches.
    Port,
}

/// The API of a network in which nobody stands.
pub struct Api {
    runtime: Runtime,
    running: Arc<Running>,
    // Its lock and its state go last.
    _directory: RuntimeDir,
}

impl Api {
    /// The API of the topology in a file; what it remembers goes to `directory`, which must be new.
    ///
    /// # Errors
    ///
    /// When the topology is wrong, or the system refuses something.
    pub fn new(directory: &Path, topology: &Path) -> Result<Self, Error> {
        let mut options = Options::new(topology);
        options.runtime_dir = directory.to_owned();
        options.connections = CONNECTIONS;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::System { what: "start the control side", source })?;
        let topology = crate::load(&options)?;
        let directory = RuntimeDir::take(directory)?;
        let begun = start::begin(&options, &directory, &topology)?;
        // Over: whoever waits for something gets what there is.
        let (_, ending) = watch::channel(true);
        let attach_socket = directory.attach_socket();
        let (running, _) =
            assemble(&options, topology, begun, Moment::ZERO, 0, attach_socket, ending)?;
        Ok(Self { runtime, running: Arc::new(running), _directory: directory })
    }

    /// What is answered over one connection to whoever sends these bytes and then no more.
    ///
    /// # Panics
    ///
    /// When it takes longer than nothing should.
    #[must_use]
    pub fn exchange(&self, door: Door, sent: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let exchange = api::exchange(&self.running, door, sent);
            let answered = tokio::time::timeout(PATIENCE, exchange).await;
            answered.unwrap_or_else(|_| panic!("no answer for {PATIENCE:?}"))
        })
    }

    /// All that commands change, as text. That something was used is no change.
    #[must_use]
    pub fn state(&self) -> String {
        let mut records = self.running.functions.machine().records();
        records.now = Time::default();
        for set in &mut records.sets {
            set.last_used = Time::default();
        }
        let network = self.running.registry.network();
        format!("{records:?} {:?} {}", network.file, self.running.engine.generation())
    }
}
