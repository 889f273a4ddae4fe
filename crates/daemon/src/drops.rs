//! What was dropped: from the workers to whoever asks.
//!
//! # Theory of operation
//!
//! Each worker pushes plain events into its own bounded queue and never waits: what finds no room
//! is counted. The control side collects them into one [`History`] of the last [`REMEMBERED`] events;
//! those that found no room are lost there.
//!
//! A worker wakes the collector when it has pushed something; the collector then pauses for
//! [`COLLECT_EVERY`], so that a flood of drops costs a bounded number of wake-ups.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use crossbeam::queue::ArrayQueue;
use tokio::sync::Notify;
use viaduct_dataplane::{Dropped, Moment};

use crate::history::{After, History};

/// Events that one worker can push between two collections.
const QUEUE: usize = 4096;

/// Events that are remembered for those who ask later.
const REMEMBERED: usize = 4096;

/// The shortest time between two collections.
const COLLECT_EVERY: Duration = Duration::from_millis(5);

/// A drop and its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drop {
    pub(crate) time: Moment,
    pub(crate) dropped: Dropped,
}

/// Where a worker pushes its drops.
#[derive(Debug)]
pub(crate) struct DropQueue {
    events: ArrayQueue<Drop>,
    lost: AtomicU64,
    wake: Arc<Notify>,
}

impl DropQueue {
    /// Takes an event, or counts it as lost.
    pub(crate) fn push(&self, event: Drop) {
        if self.events.push(event).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Tells the collector that there is something, once a round.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// The remembered events, and where they come from.
#[derive(Debug)]
pub(crate) struct DropLog {
    queues: Vec<Arc<DropQueue>>,
    wake: Arc<Notify>,
    history: History<Drop>,
}

impl DropLog {
    /// A log with a queue for each worker.
    pub(crate) fn new(workers: usize) -> Self {
        let wake = Arc::new(Notify::new());
        let queue = || DropQueue {
            events: ArrayQueue::new(QUEUE),
            lost: AtomicU64::new(0),
            wake: Arc::clone(&wake),
        };
        Self {
            queues: (0..workers).map(|_| Arc::new(queue())).collect(),
            wake,
            history: History::new(REMEMBERED),
        }
    }

    /// The queue of a worker.
    pub(crate) fn queue(&self, worker: usize) -> Arc<DropQueue> {
        Arc::clone(&self.queues[worker])
    }

    /// Collects until it is dropped.
    pub(crate) async fn collect_forever(&self) {
        loop {
            self.wake.notified().await;
            self.collect();
            tokio::time::sleep(COLLECT_EVERY).await;
        }
    }

    /// Moves what the workers pushed into the history.
    pub(crate) fn collect(&self) {
        self.history.add(|ring| {
            for queue in &self.queues {
                // Lost first: they were lost after what is in the queue now was pushed, but before
                // there is room again.
                let lost = queue.lost.swap(0, Relaxed);
                // No more than there is room for, so that a flood cannot keep us here.
                for event in std::iter::from_fn(|| queue.events.pop()).take(QUEUE) {
                    ring.push(event);
                }
                ring.miss(lost);
            }
        });
    }

    /// Events after this number; waits for the first until `patience` is over.
    pub(crate) async fn after(&self, number: u64, patience: Duration) -> After<Drop> {
        self.history.after(number, patience).await
    }

    /// The number of the newest event.
    pub(crate) fn newest(&self) -> u64 {
        self.history.newest()
    }

    /// Events that found no room since the start.
    pub(crate) fn lost(&self) -> u64 {
        self.history.lost()
    }
}

#[cfg(test)]
mod tests {
    use viaduct_topology::{Reason, inventory::AttachmentId};

    use super::*;

    fn event(packets: u64) -> Drop {
        let dropped = Dropped {
            reason: Reason::V2nOneWay,
            ingress: AttachmentId(1),
            flow: None,
            request: None,
            packets,
        };
        Drop { time: Moment::from_millis(packets), dropped }
    }

    #[tokio::test]
    async fn readers_see_what_they_missed() {
        let log = DropLog::new(2);
        let (first, second) = (log.queue(0), log.queue(1));
        first.push(event(1));
        second.push(event(2));
        log.collect();

        let all = log.after(0, Duration::ZERO).await;
        assert_eq!((all.newest, all.lost, all.events.len()), (2, 0, 2));
        let rest = log.after(1, Duration::ZERO).await;
        assert_eq!((rest.newest, rest.lost, rest.events.len()), (2, 0, 1));
        let nothing = log.after(2, Duration::ZERO).await;
        assert_eq!((nothing.newest, nothing.lost, nothing.events.len()), (2, 0, 0));

        for _ in 0..QUEUE + 3 {
            first.push(event(3));
        }
        log.collect();
        let flood = log.after(2, Duration::ZERO).await;
        assert_eq!(flood.newest, 2 + QUEUE as u64 + 3);
        assert_eq!((flood.lost, flood.events.len()), (3, QUEUE));
        assert_eq!(log.lost(), 3);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_the_first_event() {
        let log = Arc::new(DropLog::new(1));
        let queue = log.queue(0);
        let collector = tokio::spawn({
            let log = Arc::clone(&log);
            async move { log.collect_forever().await }
        });
        let waiting = tokio::spawn({
            let log = Arc::clone(&log);
            async move { log.after(0, Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        queue.push(event(1));
        queue.wake();
        assert_eq!(waiting.await.unwrap().events.len(), 1);
        collector.abort();
    }
}
