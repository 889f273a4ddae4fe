//! What a worker brings to each call: room for answers, randomness, its counters, its copy of the
//! policy in force.

use std::sync::Arc;

use crossbeam::utils::CachePadded;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use crate::{counters::WorkerCounters, engine::ErrorBudget, policy::Policy};

/// A worker's own state; [`Engine::scratch`](crate::Engine::scratch) makes one.
#[derive(Debug)]
pub struct Scratch {
    /// Source ports must be hard to guess (RFC 6056), hence a cipher and not a fast generator.
    random: ChaCha8Rng,
    pub(crate) counters: Arc<CachePadded<WorkerCounters>>,
    /// Refreshed when the engine's generation has moved, so that packets touch no shared count.
    pub(crate) policy: Arc<Policy>,
    /// The frame of the last [`Verdict::Answer`](crate::Verdict::Answer), reused.
    pub(crate) answer: Vec<u8>,
    pub(crate) errors: ErrorBudget,
}

impl Scratch {
    pub(crate) fn new(
        seed: [u8; 32],
        counters: Arc<CachePadded<WorkerCounters>>,
        policy: Arc<Policy>,
    ) -> Self {
        Self {
            random: ChaCha8Rng::from_seed(seed),
            counters,
            policy,
            // An ICMP error or a RST: 576 bytes (RFC 1812, section 4.3.2.3) and the headers.
            answer: Vec::with_capacity(1024),
            errors: ErrorBudget::new(),
        }
    }

    /// The frame to write back after [`Verdict::Answer`](crate::Verdict::Answer), virtio-net header
    /// included.
    #[must_use]
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.random.next_u64()
    }
}
