//! The workers, seen from the control side.
//!
//! A change of ports must reach every worker, because any of them may write any queue. Changes go
//! through one task, so that all workers see them in one order. Each change carries a [`Passage`];
//! when every worker has dropped its own, none of them holds what the change replaced, and a queue
//! that was taken out can be closed here, on a thread that may wait for it.

use std::{
    slice,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam::utils::CachePadded;
use tokio::sync::{mpsc, oneshot};
use viaduct_dataplane::Engine;
use viaduct_topology::inventory::AttachmentId;
use viaduct_tun::{DeviceKind, queue::HEADER_LEN};

use crate::{
    clock::Clock,
    drops::DropLog,
    error::Error,
    worker::{Command, Event, Inbox, Port, Tools, Worker, WriteCounters},
};

/// Between two attempts to put a command into a full inbox.
const INBOX_FULL: Duration = Duration::from_millis(1);

/// The workers' threads.
#[derive(Debug)]
pub(crate) struct Fleet {
    inboxes: Vec<Arc<Inbox>>,
    counters: Vec<Arc<CachePadded<WriteCounters>>>,
    threads: Vec<JoinHandle<()>>,
}

/// What the engine cannot count, because it happens on the way out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    /// Frames for which the target's device had no room.
    pub(crate) overflowed: u64,
    /// Frames whose target had used up its budget.
    pub(crate) throttled: u64,
    /// Packets whose target was down or gone.
    pub(crate) undeliverable: u64,
}

/// Changes the ports of all workers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ports(mpsc::UnboundedSender<Change>);

#[derive(Debug)]
struct Change {
    kind: ChangeKind,
    /// Closed by the time `passed` is told.
    retired: Option<Arc<Port>>,
    passed: oneshot::Sender<()>,
}

#[derive(Debug)]
enum ChangeKind {
    Attach(Arc<Port>),
    Read(Arc<Port>),
    Detach(Arc<Port>),
}

impl Fleet {
    /// Starts the threads, for devices of this kind. What they have to tell comes out of `events`.
    pub(crate) fn start(
        count: usize,
        device: DeviceKind,
        engine: &Arc<Engine>,
        clock: &Arc<Clock>,
        drops: &DropLog,
        events: &mpsc::UnboundedSender<Event>,
    ) -> Result<Self, Error> {
        let mut fleet = Self { inboxes: Vec::new(), counters: Vec::new(), threads: Vec::new() };
        for index in 0..count {
            let inbox = Arc::new(Inbox::new()?);
            let counters = Arc::new(CachePadded::new(WriteCounters::default()));
            let tools = Tools {
                index,
                engine: Arc::clone(engine),
                scratch: engine.scratch(random()?),
                clock: Arc::clone(clock),
                inbox: Arc::clone(&inbox),
                drops: drops.queue(index),
                counters: Arc::clone(&counters),
                events: events.clone(),
            };
            fleet.inboxes.push(inbox);
            fleet.counters.push(counters);
            fleet.threads.push(match device {
                DeviceKind::Offload => start_worker::<0>(tools)?,
                DeviceKind::Plain => start_worker::<HEADER_LEN>(tools)?,
            });
        }
        Ok(fleet)
    }

    /// A handle for changing ports, and the task that must run for the changes to happen.
    pub(crate) fn ports(&self) -> (Ports, impl Future<Output = ()> + Send + use<>) {
        let (sender, mut changes) = mpsc::unbounded_channel::<Change>();
        let inboxes = self.inboxes.clone();
        let dispatch = async move {
            while let Some(change) = changes.recv().await {
                dispatch(&inboxes, change).await;
            }
        };
        (Ports(sender), dispatch)
    }

    /// What happened on the way out, at all workers together.
    pub(crate) fn written(&self) -> Written {
        let mut sum = Written::default();
        for counters in &self.counters {
            sum.overflowed += counters.overflowed.load(Relaxed);
            sum.throttled += counters.throttled.load(Relaxed);
            sum.undeliverable += counters.undeliverable.load(Relaxed);
        }
        sum
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.inboxes.len()
    }
}

impl Drop for Fleet {
    /// Ends the threads: each within a round.
    fn drop(&mut self) {
        for (inbox, thread) in self.inboxes.iter().zip(&self.threads) {
            let mut command = Command::Stop;
            // A worker that failed makes no room any more.
            while let Err(back) = inbox.push(command)
                && !thread.is_finished()
            {
                command = back;
                thread::sleep(INBOX_FULL);
            }
        }
        for thread in self.threads.drain(..) {
            // A worker that panicked has raised the alarm already.
            let _ = thread.join();
        }
    }
}

impl Ports {
    /// Those of a daemon without workers: whoever changes them is not waited for.
    #[cfg(test)]
    pub(crate) fn of_no_worker() -> Self {
        Self(mpsc::unbounded_channel().0)
    }

    /// Makes every worker write packets for the port's attachment to it. Returns when all of them
    /// do; `replaced` is closed some time later.
    pub(crate) async fn attach(&self, port: Arc<Port>, replaced: Option<Arc<Port>>) {
        self.change(ChangeKind::Attach(port), replaced).await;
    }

    /// Makes one worker read the port. Returns when it does.
    pub(crate) async fn read(&self, port: Arc<Port>) {
        self.change(ChangeKind::Read(port), None).await;
    }

    /// Takes the port out of every worker and closes it. Returns when no worker has it any more.
    pub(crate) async fn detach(&self, port: Arc<Port>) {
        self.change(ChangeKind::Detach(Arc::clone(&port)), Some(port)).await;
    }

    async fn change(&self, kind: ChangeKind, retired: Option<Arc<Port>>) {
        let (passed, wait) = oneshot::channel();
        // Neither fails but while the daemon ends, when there are no workers to wait for.
        let _ = self.0.send(Change { kind, retired, passed });
        let _ = wait.await;
    }
}

/// Starts a packet thread for devices that leave so much of a frame in the buffer.
fn start_worker<const HEADROOM: usize>(tools: Tools) -> Result<JoinHandle<()>, Error> {
    let name = format!("worker-{}", tools.index);
    let worker = Worker::<HEADROOM>::new(tools)?;
    thread::Builder::new()
        .name(name)
        .spawn(move || worker.run())
        .map_err(|source| Error::System { what: "start a packet thread", source })
}

async fn dispatch(inboxes: &[Arc<Inbox>], change: Change) {
    let Change { kind, retired, passed } = change;
    let (passage, mut all_passed) = mpsc::channel(1);
    let told = match &kind {
        ChangeKind::Read(port) => slice::from_ref(&inboxes[reader(port.attachment, inboxes.len())]),
        ChangeKind::Attach(_) | ChangeKind::Detach(_) => inboxes,
    };
    for inbox in told {
        let mut command = match &kind {
            ChangeKind::Attach(port) => Command::Attach(Arc::clone(port), passage.clone()),
            ChangeKind::Read(port) => Command::Read(Arc::clone(port), passage.clone()),
            ChangeKind::Detach(port) => Command::Detach(Arc::clone(port), passage.clone()),
        };
        while let Err(back) = inbox.push(command) {
            command = back;
            tokio::time::sleep(INBOX_FULL).await;
        }
    }
    drop(passage);
    // The next change need not wait for the slowest worker of this one.
    tokio::spawn(async move {
        all_passed.recv().await;
        drop(kind);
        // Nobody waits only when the attachment's connection has ended.
        let _ = passed.send(());
        if let Some(port) = retired {
            // The last close of a TUN waits 16 ms in the kernel.
            tokio::task::spawn_blocking(move || drop(port));
        }
    });
}

/// Which of so many workers reads an attachment's queue.
pub(crate) const fn reader(id: AttachmentId, workers: usize) -> usize {
    id.0 as usize % workers
}

/// A seed that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut seed = [0; N];
    let failed = "draw a random seed";
    let drawn = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())
        .map_err(Error::system(failed))?;
    // Up to 256 bytes come whole (getrandom(2)).
    assert_eq!(drawn, N, "getrandom gives small requests whole");
    Ok(seed)
}
