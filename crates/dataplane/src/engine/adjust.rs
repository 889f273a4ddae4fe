//! What a few packets need besides addresses and ports: a SYN another segment size, a packet that
//! may be cut another identification.
//!
//! **Segment size.** NAT gateways and interface endpoints clamp it (NAT-15, EP-15, MTU-04), so that
//! both ends send what fits. AWS says that they do, and not to what; here it is what every gateway on
//! the way passes, so that of an internet gateway behind the NAT gateway, too (IGW-08): nothing
//! larger would arrive. Others clamp nothing.
//!
//! **Identification.** Fragments find each other by source, destination, protocol and
//! identification. Behind an address that several hosts share, each numbering its packets by itself,
//! numbers would meet, and fragments of two packets be put together. So the address numbers them as
//! if they were its own (RFC 6864, section 5.3.1; RFC 7857, section 10): from a counter for each
//! such triple, as far as 2,048 counters tell them apart, which repeats after 65,536 packets and no
//! sooner. A packet that must not be cut (DF) is never put together, and keeps its number.

use std::{
    hash::BuildHasher,
    num::NonZeroU16,
    sync::atomic::{AtomicU16, Ordering},
};

use foldhash::fast::FixedState;
use viaduct_wire::{Flow, Frame, mss_of};

use super::{Engine, Way};
use crate::connection::{Connection, Direction};

const COUNTERS: usize = 2048;

/// The identifications of packets that leave under addresses that are shared.
#[derive(Debug)]
pub(super) struct Identifications {
    hasher: FixedState,
    counters: Box<[AtomicU16]>,
}

impl Identifications {
    /// `seed` keeps secret which triples share a counter, and where each begins.
    pub(super) fn new(seed: u64) -> Self {
        let hasher = FixedState::with_seed(!seed);
        let begin = |counter: usize| AtomicU16::new(hasher.hash_one(counter) as u16);
        let counters = (0..COUNTERS).map(begin).collect();
        Self { hasher, counters }
    }

    /// The first of so many numbers for packets of a flow.
    fn next(&self, flow: &Flow, packets: u64) -> u16 {
        let Flow { source, destination, protocol, .. } = flow;
        let hash = self.hasher.hash_one((source.to_bits(), destination.to_bits(), *protocol));
        // Relaxed: a number has to be another than all others, and nothing else.
        self.counters[hash as usize % COUNTERS].fetch_add(packets as u16, Ordering::Relaxed)
    }
}

/// What is to be adjusted in a SYN, and in a packet that may be cut; others need nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adjustment {
    /// The largest segment size that a SYN may announce, where it is clamped.
    mss: Option<NonZeroU16>,
    /// Whether the packet leaves under an address that others use, too.
    shared: bool,
}

impl Adjustment {
    /// For packets of a connection that travel in this direction.
    #[cold]
    pub(super) fn of(connection: &Connection<Way>, direction: Direction) -> Self {
        let way = &connection.path;
        let clamps = way.nat.is_some() || way.interface_endpoint;
        Self {
            mss: NonZeroU16::new(mss_of(way.mtu)).filter(|_| clamps),
            shared: connection.is_translated() && direction == Direction::Request,
        }
    }
}

impl Engine {
    /// Adjusts a packet, translated by now.
    #[cold]
    pub(super) fn adjust(&self, frame: &mut Frame<'_>, Adjustment { mss, shared }: Adjustment) {
        if let Some(mss) = mss {
            frame.clamp_mss(mss.get());
        }
        if shared && !frame.dont_fragment() {
            let number = self.identifications.next(&frame.flow(), frame.packets());
            frame.set_identification(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_triple_s_numbers_repeat_after_all_others() {
        let identifications = Identifications::new(7);
        let flow = Flow {
            protocol: 17,
            source: [203, 0, 113, 10].into(),
            destination: [198, 51, 100, 7].into(),
            source_port: 0,
            destination_port: 0,
        };
        let first = identifications.next(&flow, 1);
        let numbers: HashSet<u16> = (1..65_536).map(|_| identifications.next(&flow, 1)).collect();
        assert_eq!((numbers.len(), numbers.contains(&first)), (65_535, false));
        assert_eq!(identifications.next(&flow, 10), first);
        let other_port = Flow { source_port: 9, ..flow };
        assert_eq!(identifications.next(&other_port, 1), first.wrapping_add(10));
    }
}
