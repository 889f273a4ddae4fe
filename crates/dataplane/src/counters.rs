//! Counters: one padded set a worker, written by that worker alone, summed by whoever reads.
//!
//! A shared counter would make every worker wait for the cache line of every other. A worker's own
//! set costs a plain load and store; a reader sees each number a moment late, and never torn.

use crossbeam::utils::CachePadded;
use serde::Serialize;
use viaduct_topology::Reason;

use crate::sync::{Arc, AtomicU64, Mutex, Ordering::Relaxed};

const REASONS: usize = Reason::ALL.len();

/// One worker's counters.
#[derive(Debug)]
pub(crate) struct WorkerCounters {
    forwarded_packets: AtomicU64,
    forwarded_bytes: AtomicU64,
    answered_packets: AtomicU64,
    reassembled_fragments: AtomicU64,
    reassembled_datagrams: AtomicU64,
    fragmented_packets: AtomicU64,
    sent_fragments: AtomicU64,
    connections_opened: AtomicU64,
    connections_ended: AtomicU64,
    dropped_packets: [AtomicU64; REASONS],
}

impl WorkerCounters {
    fn new() -> Self {
        Self {
            forwarded_packets: AtomicU64::new(0),
            forwarded_bytes: AtomicU64::new(0),
            answered_packets: AtomicU64::new(0),
            reassembled_fragments: AtomicU64::new(0),
            reassembled_datagrams: AtomicU64::new(0),
            fragmented_packets: AtomicU64::new(0),
            sent_fragments: AtomicU64::new(0),
            connections_opened: AtomicU64::new(0),
            connections_ended: AtomicU64::new(0),
            dropped_packets: [const { AtomicU64::new(0) }; REASONS],
        }
    }

    pub(crate) fn forwarded(&self, packets: u64, bytes: u64) {
        add(&self.forwarded_packets, packets);
        add(&self.forwarded_bytes, bytes);
    }

    pub(crate) fn answered(&self) {
        add(&self.answered_packets, 1);
    }

    pub(crate) fn reassembled(&self, fragments: u64) {
        add(&self.reassembled_fragments, fragments);
        add(&self.reassembled_datagrams, 1);
    }

    pub(crate) fn fragmented(&self, packets: u64, fragments: u64) {
        add(&self.fragmented_packets, packets);
        add(&self.sent_fragments, fragments);
    }

    pub(crate) fn opened(&self) {
        add(&self.connections_opened, 1);
    }

    pub(crate) fn ended(&self, connections: u64) {
        add(&self.connections_ended, connections);
    }

    pub(crate) fn dropped(&self, reason: Reason, packets: u64) {
        add(&self.dropped_packets[reason as usize], packets);
    }
}

/// Adds to a counter that no other thread writes.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}

/// The sets of all workers.
#[derive(Debug, Default)]
pub(crate) struct CounterRegistry {
    workers: Mutex<Vec<Arc<CachePadded<WorkerCounters>>>>,
}

impl CounterRegistry {
    /// A new worker's set.
    pub(crate) fn register(&self) -> Arc<CachePadded<WorkerCounters>> {
        let counters = Arc::new(CachePadded::new(WorkerCounters::new()));
        self.workers.lock().push(Arc::clone(&counters));
        counters
    }

    /// The sum over all workers.
    pub(crate) fn sum(&self) -> Counters {
        let mut sum = Counters::default();
        for worker in self.workers.lock().iter() {
            sum.forwarded_packets += worker.forwarded_packets.load(Relaxed);
            sum.forwarded_bytes += worker.forwarded_bytes.load(Relaxed);
            sum.answered_packets += worker.answered_packets.load(Relaxed);
            sum.reassembled_fragments += worker.reassembled_fragments.load(Relaxed);
            sum.reassembled_datagrams += worker.reassembled_datagrams.load(Relaxed);
            sum.fragmented_packets += worker.fragmented_packets.load(Relaxed);
            sum.sent_fragments += worker.sent_fragments.load(Relaxed);
            sum.connections_opened += worker.connections_opened.load(Relaxed);
            sum.connections_ended += worker.connections_ended.load(Relaxed);
            for (total, counter) in sum.dropped.iter_mut().zip(&worker.dropped_packets) {
                *total += counter.load(Relaxed);
            }
        }
        sum
    }
}

/// What the engine has done since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Packets forwarded; a super-packet counts as the packets it stands for.
    pub forwarded_packets: u64,
    /// Their IP bytes.
    pub forwarded_bytes: u64,
    /// Packets answered instead of forwarded (RST, ICMP errors).
    pub answered_packets: u64,
    /// Fragments of datagrams that were put together.
    pub reassembled_fragments: u64,
    /// The datagrams. Each is then forwarded, answered or dropped as one packet.
    pub reassembled_datagrams: u64,
    /// Packets that were too big for the next hop, and cut.
    pub fragmented_packets: u64,
    /// What they were cut into: fragments, or smaller segments.
    pub sent_fragments: u64,
    /// Connections made, with those that were taken up from another engine.
    pub connections_opened: u64,
    /// Connections that closed or expired.
    pub connections_ended: u64,
    dropped: [u64; REASONS],
}

impl Counters {
    /// Packets dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize]
    }

    /// The reasons for which packets were dropped, with how many.
    pub fn drops(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().map(|&reason| (reason, self.dropped(reason))).filter(|(_, n)| *n > 0)
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            forwarded_packets: 0,
            forwarded_bytes: 0,
            answered_packets: 0,
            reassembled_fragments: 0,
            reassembled_datagrams: 0,
            fragmented_packets: 0,
            sent_fragments: 0,
            connections_opened: 0,
            connections_ended: 0,
            dropped: [0; REASONS],
        }
    }
}

impl Serialize for Counters {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        /// The drops as a map from code to number.
        struct Drops<'a>(&'a Counters);

        impl Serialize for Drops<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.drops())
            }
        }

        let mut out = serializer.serialize_struct("Counters", 10)?;
        out.serialize_field("forwarded_packets", &self.forwarded_packets)?;
        out.serialize_field("forwarded_bytes", &self.forwarded_bytes)?;
        out.serialize_field("answered_packets", &self.answered_packets)?;
        out.serialize_field("reassembled_fragments", &self.reassembled_fragments)?;
        out.serialize_field("reassembled_datagrams", &self.reassembled_datagrams)?;
        out.serialize_field("fragmented_packets", &self.fragmented_packets)?;
        out.serialize_field("sent_fragments", &self.sent_fragments)?;
        out.serialize_field("connections_opened", &self.connections_opened)?;
        out.serialize_field("connections_ended", &self.connections_ended)?;
        out.serialize_field("dropped_packets", &Drops(self))?;
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_covers_every_worker_and_names_only_reasons_that_occurred() {
        let registry = CounterRegistry::default();
        let (first, second) = (registry.register(), registry.register());
        first.forwarded(3, 300);
        second.forwarded(1, 100);
        second.dropped(Reason::V2nOneWay, 2);
        first.dropped(Reason::V2nOneWay, 1);

        let sum = registry.sum();

        assert_eq!((sum.forwarded_packets, sum.forwarded_bytes), (4, 400));
        assert_eq!(sum.drops().collect::<Vec<_>>(), [(Reason::V2nOneWay, 3)]);
    }
}
