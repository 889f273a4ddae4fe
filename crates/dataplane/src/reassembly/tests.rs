use etherparse::{
    IpNumber, Ipv4Header, Ipv4Options, SlicedPacket,
    defrag::{IpDefragPayloadVec, IpDefragPool},
};
use proptest::prelude::*;
use viaduct_wire::VNET_HEADER_LEN;

use super::*;
use crate::counters::CounterRegistry;

/// A reassembler with its counters.
struct Bench {
    reassembler: Reassembler,
    registry: CounterRegistry,
    counters: std::sync::Arc<crossbeam::utils::CachePadded<WorkerCounters>>,
    whole: Vec<u8>,
}

impl Bench {
    fn new(limits: FragmentLimits) -> Self {
        let registry = CounterRegistry::default();
        let counters = registry.register();
        Self { reassembler: Reassembler::new(limits), registry, counters, whole: Vec::new() }
    }

    fn add(&mut self, from: u32, piece: &Fragmented, now: u64) -> Outcome {
        let mut bytes = piece.frame();
        let frame = Frame::parse(&mut bytes, 9001).expect("a sound fragment");
        let fragment = frame.fragment().expect("a fragment");
        let Self { reassembler, counters, whole, .. } = self;
        let now = Moment::from_millis(now);
        reassembler.add(&frame, fragment, AttachmentId(from), now, counters, whole)
    }

    fn dropped(&self, reason: Reason) -> u64 {
        self.registry.sum().dropped(reason)
    }

    /// The datagram that came last, behind its header.
    fn payload(&self) -> &[u8] {
        &self.whole[VNET_HEADER_LEN + usize::from(self.whole[VNET_HEADER_LEN] & 15) * 4..]
    }
}

/// A fragment to be.
#[derive(Clone, Debug)]
struct Fragmented {
    identification: u16,
    offset: usize,
    more: bool,
    options: usize,
    bytes: Vec<u8>,
}

impl Fragmented {
    fn ip(&self) -> Vec<u8> {
        let protocol = IpNumber(99);
        let mut header = Ipv4Header::new(0, 64, protocol, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap();
        header.dont_fragment = false;
        header.identification = self.identification;
        header.more_fragments = self.more;
        header.fragment_offset = u16::try_from(self.offset / 8).unwrap().try_into().unwrap();
        header.options = Ipv4Options::try_from(&vec![1; self.options][..]).unwrap();
        header.set_payload_len(self.bytes.len()).unwrap();
        let mut ip = Vec::new();
        header.write(&mut ip).unwrap();
        ip.extend(&self.bytes);
        ip
    }

    fn frame(&self) -> Vec<u8> {
        [vec![0; VNET_HEADER_LEN], self.ip()].concat()
    }
}

fn piece(identification: u16, offset: usize, more: bool, length: usize) -> Fragmented {
    let bytes = (offset..offset + length).map(|at| (at % 251) as u8).collect();
    Fragmented { identification, offset, more, options: 0, bytes }
}

const HELD: Outcome = Outcome::Held;

fn failed(fragments: u64) -> Outcome {
    Outcome::Refused { reason: Reason::ReassemblyFailed, fragments }
}

fn whole(fragments: u64) -> Outcome {
    Outcome::Whole { fragments }
}

/// Adds pieces of one datagram; all but the last are held.
fn after(pieces: &[Fragmented]) -> Outcome {
    let mut bench = Bench::new(FragmentLimits::default());
    let (last, before) = pieces.split_last().expect("one at least");
    for piece in before {
        assert_eq!(bench.add(1, piece, 0), HELD, "{piece:?}");
    }
    let outcome = bench.add(1, last, 0);
    assert_eq!(bench.reassembler.usage().datagrams, usize::from(outcome == HELD));
    if outcome != HELD {
        assert_eq!(bench.reassembler.usage(), FragmentUsage::default());
    }
    outcome
}

#[test]
fn fragments_that_contradict_each_other_make_nothing() {
    let at = |offset, more, length| piece(7, offset, more, length);
    // Overlaps: from before, from behind, around, within, all of it with other bytes.
    assert_eq!(after(&[at(0, true, 16), at(8, true, 16)]), failed(2));
    assert_eq!(after(&[at(8, true, 16), at(0, true, 16)]), failed(2));
    assert_eq!(after(&[at(8, true, 8), at(0, true, 24)]), failed(2));
    assert_eq!(after(&[at(0, true, 24), at(8, true, 8)]), failed(2));
    assert_eq!(after(&[at(0, true, 16), at(0, true, 8)]), failed(2));
    let other = Fragmented { bytes: vec![9; 16], ..at(0, true, 16) };
    assert_eq!(after(&[at(0, true, 16), other]), failed(2));
    // Ends: a second one, one before what came, something behind it, one that is none.
    assert_eq!(after(&[at(16, false, 8), at(24, false, 8)]), failed(2));
    assert_eq!(after(&[at(24, false, 8), at(16, false, 8)]), failed(2));
    assert_eq!(after(&[at(24, true, 8), at(16, false, 8)]), failed(2));
    assert_eq!(after(&[at(16, false, 8), at(24, true, 8)]), failed(2));
    assert_eq!(after(&[at(16, false, 8), at(16, true, 8)]), failed(2));
    assert_eq!(after(&[at(16, true, 8), at(16, false, 8)]), failed(2));
    assert_eq!(after(&[at(16, false, 8), at(0, true, 24)]), failed(2));
}

#[test]
fn what_came_before_is_ignored() {
    let at = |offset, more, length| piece(7, offset, more, length);
    assert_eq!(after(&[at(0, true, 16), at(0, true, 16), at(16, false, 3)]), whole(3));
    assert_eq!(after(&[at(16, false, 3), at(16, false, 3), at(0, true, 16)]), whole(3));
}

#[test]
fn a_datagram_longer_than_a_packet_is_discarded() {
    let first = |options| Fragmented { options, ..piece(7, 0, true, 32_760) };
    // Each is sound for itself: the last one's header is short.
    assert_eq!(after(&[first(0), piece(7, 32_760, false, 65_515 - 32_760)]), whole(2));
    assert_eq!(after(&[first(40), piece(7, 32_760, false, 65_475 - 32_760)]), whole(2));
    assert_eq!(after(&[first(40), piece(7, 32_760, false, 65_476 - 32_760)]), failed(2));
}

#[test]
fn a_share_that_is_full_loses_its_oldest() {
    let limits = FragmentLimits { attachment_bytes: 10_000, ..FragmentLimits::default() };
    let mut bench = Bench::new(limits);
    assert_eq!(bench.add(2, &piece(0, 0, true, 3000), 0), HELD);
    for id in 0..3 {
        assert_eq!(bench.add(1, &piece(id, 0, true, 2000), 0), HELD);
    }
    assert_eq!(bench.dropped(Reason::QuotaExceeded), 0);
    // Two have to go for this one, and what is left gets whole.
    assert_eq!(bench.add(1, &piece(2, 2000, true, 4000), 0), HELD);
    assert_eq!(bench.dropped(Reason::QuotaExceeded), 2);
    assert_eq!(bench.reassembler.usage().datagrams, 2);
    assert_eq!(bench.add(1, &piece(2, 6000, false, 100), 0), whole(3));
    assert_eq!(bench.payload(), piece(2, 0, false, 6100).bytes);
    // One that has no room even alone goes itself.
    assert_eq!(bench.add(1, &piece(3, 0, true, 8000), 0), HELD);
    let refused = Outcome::Refused { reason: Reason::QuotaExceeded, fragments: 2 };
    assert_eq!(bench.add(1, &piece(3, 8000, true, 2000), 0), refused);
    // The other's was never touched.
    assert_eq!(bench.add(2, &piece(0, 3000, false, 1), 0), whole(2));
    assert_eq!(bench.reassembler.usage(), FragmentUsage::default());
}

#[test]
fn the_charge_covers_what_is_allocated() {
    for (datagrams, pieces, length) in [(1, 1, 8), (5, 3, 8), (40, 2, 1400), (3, 100, 16)] {
        let fragments: Vec<_> = (0..datagrams)
            .flat_map(|id| (0..pieces).map(move |at| piece(id, at * length, true, length).frame()))
            .collect();
        let mut bench = Bench::new(FragmentLimits::default());
        let allocated = allocation_counter::measure(|| {
            for mut bytes in fragments.clone() {
                let frame = Frame::parse(&mut bytes, 9001).expect("a sound fragment");
                let fragment = frame.fragment().expect("a fragment");
                let Bench { reassembler, counters, whole, .. } = &mut bench;
                let (from, now) = (AttachmentId(1), Moment::ZERO);
                let outcome = reassembler.add(&frame, fragment, from, now, counters, whole);
                assert_eq!(outcome, HELD);
            }
        });
        let charged = bench.reassembler.usage().bytes;
        assert!(allocated.bytes_current as usize <= charged, "{allocated:?}, charged {charged}");
        let freed = allocation_counter::measure(|| {
            bench.reassembler.expire(Moment::from_millis(30_000), &bench.counters);
        });
        assert_eq!(freed.bytes_current, -allocated.bytes_current, "all of it is given back");
        assert_eq!(bench.dropped(Reason::ReassemblyTimeout), u64::from(datagrams) * pieces as u64);
    }
}

/// Datagrams of several senders, cut at random, every fragment once or twice, in any order.
fn trains() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<(u32, Fragmented)>)> {
    let datagram = (prop::collection::vec(any::<u8>(), 9..600), any::<u64>());
    prop::collection::vec(datagram, 1..6).prop_flat_map(|datagrams| {
        let mut fragments = Vec::new();
        for (number, (bytes, cuts)) in datagrams.iter().enumerate() {
            let mut offset = 0;
            while offset < bytes.len() {
                // Where it is cut: at a bit that is set, and before the last byte.
                let mut end = offset + 8;
                while end < bytes.len() && cuts.rotate_right(end as u32 / 8) & 1 == 0 {
                    end += 8;
                }
                if offset == 0 {
                    end = end.min(bytes.len().next_multiple_of(8) - 8);
                }
                let end = end.min(bytes.len());
                let more = end < bytes.len();
                // Two senders have the same identifications.
                let (from, identification) = (number as u32 & 1, number as u16 / 2);
                let bytes = bytes[offset..end].to_vec();
                fragments
                    .push((from, Fragmented { identification, offset, more, options: 0, bytes }));
                offset = end;
            }
        }
        let twice = prop::collection::vec(0..fragments.len(), 0..4);
        let whole: Vec<_> = datagrams.into_iter().map(|(bytes, _)| bytes).collect();
        (Just(whole), Just(fragments), twice).prop_flat_map(|(whole, fragments, twice)| {
            let again = twice.into_iter().map(|at| fragments[at].clone()).collect::<Vec<_>>();
            (Just(whole), Just([fragments, again].concat()).prop_shuffle())
        })
    })
}

proptest! {
    // Conforms: RFC 4787 R14
    #[test]
    fn any_order_of_fragments_gives_the_datagrams((datagrams, fragments) in trains()) {
        let mut bench = Bench::new(FragmentLimits::default());
        let mut theirs = IpDefragPool::<(), u32>::new();
        let mut found = vec![0; datagrams.len()];
        for (from, fragment) in &fragments {
            let ip = fragment.ip();
            let sliced = SlicedPacket::from_ip(&ip).expect("a packet");
            let expected = theirs.process_sliced_packet(&sliced, (), *from).expect("nothing overlaps");
            match (bench.add(*from, fragment, 0), expected) {
                (Outcome::Held, None) => {}
                (Outcome::Whole { .. }, Some(IpDefragPayloadVec { payload, .. })) => {
                    prop_assert_eq!(bench.payload(), &payload);
                    let number = usize::from(fragment.identification) * 2 + *from as usize;
                    prop_assert_eq!(&payload, &datagrams[number]);
                    found[number] += 1;
                    let frame = Frame::parse(&mut bench.whole, 9001).expect("a sound packet");
                    prop_assert_eq!(frame.identification(), fragment.identification);
                    prop_assert!(frame.fragment().is_none());
                }
                (ours, theirs) => prop_assert!(false, "{:?}, but etherparse: {:?}", ours, theirs),
            }
        }
        // Each was whole once, or again if all of it came twice; what is left are duplicates that
        // came late.
        prop_assert!(found.iter().all(|times| (1..=2).contains(times)));
        bench.reassembler.expire(Moment::from_millis(30_000), &bench.counters);
        prop_assert_eq!(bench.reassembler.usage(), FragmentUsage::default());
        let counters = bench.registry.sum();
        let late = counters.dropped(Reason::ReassemblyTimeout);
        prop_assert_eq!(counters.drops().map(|(_, packets)| packets).sum::<u64>(), late);
        prop_assert!(late <= 4);
    }

    /// Any fragments at all: never more memory than allowed, and nothing made of what contradicts.
    #[test]
    fn any_fragments_keep_the_bounds(
        fragments in prop::collection::vec(
            (0..3_u32, 0..4_u16, 0..40_usize, any::<bool>(), 1..10_usize, 0..3000_u64),
            1..200,
        ),
    ) {
        let limits = FragmentLimits {
            attachment_bytes: 3000,
            attachment_datagrams: 3,
            worker_bytes: 5000,
            pieces: 6,
            timeout: Duration::from_secs(30),
        };
        let mut bench = Bench::new(limits);
        let (mut now, mut sent, mut gone) = (0, 0, 0);
        for (from, identification, block, more, length, pause) in fragments {
            now += pause;
            sent += 1;
            let fragment = piece(identification, block * 8, more || block == 0, length * 8);
            match bench.add(from, &fragment, now) {
                Outcome::Held => {}
                Outcome::Whole { fragments } | Outcome::Refused { fragments, .. } => {
                    gone += fragments;
                }
            }
            let usage = bench.reassembler.usage();
            let Reassembler { attachments, .. } = &bench.reassembler;
            prop_assert!(attachments.values().all(|share| share.bytes <= limits.attachment_bytes
                && share.datagrams.len() <= limits.attachment_datagrams
                && !share.datagrams.is_empty()
                && share.bytes == share.datagrams.iter().map(|it| it.charge).sum::<usize>()));
            prop_assert_eq!(usage.bytes, attachments.values().map(|share| share.bytes).sum::<usize>());
            prop_assert!(usage.bytes <= limits.worker_bytes);
            let counted: u64 = bench.registry.sum().drops().map(|(_, packets)| packets).sum();
            prop_assert_eq!(sent, usage.fragments + gone + counted, "none is lost uncounted");
        }
    }
}
