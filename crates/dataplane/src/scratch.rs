//! What a worker brings to each call: room for answers, randomness, its counters, its copy of the
//! policy in force.

use crossbeam::utils::CachePadded;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

use viaduct_wire::{Frame, Frames};

use crate::{
    counters::WorkerCounters,
    engine::ErrorBudget,
    policy::Policy,
    reassembly::{FragmentLimits, FragmentUsage, Reassembler},
    sync::Arc,
};

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
    /// The frames of the last [`Verdict::Split`](crate::Verdict::Split), reused.
    pub(crate) frames: Frames,
    /// Where a datagram is put together, reused.
    pub(crate) whole: Vec<u8>,
    /// Datagrams of which fragments are missing.
    pub(crate) reassembler: Reassembler,
    pub(crate) errors: ErrorBudget,
}

impl Scratch {
    pub(crate) fn new(
        seed: [u8; 32],
        counters: Arc<CachePadded<WorkerCounters>>,
        policy: Arc<Policy>,
    ) -> Self {
        let limits = FragmentLimits::default().set(&policy.settings);
        Self {
            random: ChaCha8Rng::from_seed(seed),
            counters,
            policy,
            // An ICMP error or a RST: 576 bytes (RFC 1812, section 4.3.2.3) and the headers.
            answer: Vec::with_capacity(1024),
            frames: Frames::default(),
            whole: Vec::new(),
            reassembler: Reassembler::new(limits),
            errors: ErrorBudget::new(),
        }
    }

    /// Bounds what is held of datagrams in fragments. What is held already is discarded. What
    /// settings say is as they say again with the next policy.
    #[must_use]
    pub fn with_fragment_limits(self, limits: FragmentLimits) -> Self {
        Self { reassembler: Reassembler::new(limits), ..self }
    }

    /// The frame to write back after [`Verdict::Answer`](crate::Verdict::Answer), virtio-net header
    /// included.
    #[must_use]
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// The frames to write to the target after [`Verdict::Split`](crate::Verdict::Split), in their
    /// order.
    #[must_use]
    pub fn frames(&self) -> &Frames {
        &self.frames
    }

    /// What is held of datagrams in fragments.
    #[must_use]
    pub fn fragments(&self) -> FragmentUsage {
        self.reassembler.usage()
    }

    /// Another policy is in force.
    pub(crate) fn adopt(&mut self, policy: Arc<Policy>) {
        self.reassembler.limit(&policy.settings);
        self.policy = policy;
    }

    pub(crate) fn random(&mut self) -> u64 {
        self.random.next_u64()
    }

    /// Cuts a frame up, into [`frames`](Self::frames).
    pub(crate) fn cut(&mut self, frame: Frame<'_>, mtu: u16) {
        self.frames.clear();
        frame.cut(mtu, &mut self.frames);
    }
}
