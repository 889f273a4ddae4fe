//! Timers for the slots of a slab: a hierarchical wheel.
//!
//! # Theory of operation
//!
//! Time is counted in ticks of 128 ms, rounded up: a timer never fires early, and less than a tick
//! late. Six levels of 64 lists hold the timers; one due at tick `d` stands, seen from the present
//! tick `t`, on the level of the highest six-bit digit in which `d` and `t` differ, in the list of
//! `d`'s digit there. When `t` reaches a list of a higher level, its timers move down to the level
//! on which they now differ; those on the lowest level fire.
//!
//! A timer is a node of a doubly linked list, found by its slot's number: arming, firing and
//! disarming take constant time, and an idle wheel is advanced over any distance in at most six
//! steps. The lists' heads stand before the timers in the same array, so that a node can be
//! unlinked without knowing its list.
//!
//! Arming only ever brings a timer forward. The owner keeps the true deadline, and when a timer
//! fires before it (the connection was used meanwhile, or the slot has a new tenant), arms it
//! again. So a packet touches no timer, however many deadlines it moves, and two threads that arm
//! one slot in the wrong order cost one idle firing, never a late one.

use crate::moment::Moment;

const TICK_SHIFT: u32 = 7;
const DIGIT: u32 = 6;
const LISTS: usize = 1 << DIGIT;
const LEVELS: usize = 6;
const HEADS: usize = LISTS * LEVELS;

/// A node of a list, or the head of one. Not armed while it is linked to itself.
#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    previous: u32,
    due: u32,
}

/// The timers.
#[derive(Debug)]
pub(crate) struct TimerWheel {
    /// The heads, then a node for each slot up to the highest that was ever armed.
    nodes: Vec<Node>,
    /// For each level the lists that hold timers.
    occupied: [u64; LEVELS],
    /// The present: everything due before was handed out.
    tick: u32,
}

impl TimerWheel {
    pub(crate) fn new() -> Self {
        let mut wheel = Self { nodes: Vec::new(), occupied: [0; LEVELS], tick: 0 };
        wheel.grow(HEADS);
        wheel
    }

    /// Makes the slot's timer fire at `due` at the latest.
    pub(crate) fn arm(&mut self, slot: u32, due: Moment) {
        let node = HEADS + slot as usize;
        if node >= self.nodes.len() {
            self.grow(node + 1);
        }
        // What is already due fires with the present tick.
        let due = tick_at_or_after(due).max(self.tick);
        if self.is_linked(node) {
            if self.nodes[node].due <= due {
                return;
            }
            self.unlink(node);
        }
        self.link(node, due);
    }

    /// Stops the slot's timer, if it is armed.
    pub(crate) fn disarm(&mut self, slot: u32) {
        if self.is_armed(slot) {
            self.unlink(HEADS + slot as usize);
        }
    }

    /// Whether the slot's timer is armed.
    pub(crate) fn is_armed(&self, slot: u32) -> bool {
        let node = HEADS + slot as usize;
        node < self.nodes.len() && self.is_linked(node)
    }

    /// The next slot whose timer is due by `now`. Each timer moved to another level costs one of
    /// `budget`, each one handed out too; at zero the rest is left for the next call.
    pub(crate) fn pop(&mut self, now: Moment, budget: &mut usize) -> Option<u32> {
        let target = tick_at_or_before(now);
        // Another worker's clock may be ahead of this one's.
        while *budget > 0 && self.tick <= target {
            if let Some((level, node)) = self.present() {
                *budget -= 1;
                self.unlink(node);
                if level == 0 {
                    return Some((node - HEADS) as u32);
                }
                self.link(node, self.nodes[node].due);
                continue;
            }
            match self.next_event() {
                Some(next) if next <= target => self.tick = next,
                _ => {
                    self.tick = target;
                    return None;
                }
            }
        }
        None
    }

    /// A moment before which [`pop`](Self::pop) has nothing to do.
    pub(crate) fn next_due(&self) -> Option<Moment> {
        let tick = if self.present().is_some() { self.tick } else { self.next_event()? };
        Some(Moment::from_millis(u64::from(tick) << TICK_SHIFT))
    }

    /// Heap bytes.
    pub(crate) fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }

    /// A timer in one of the lists that the present tick has reached, the highest level first:
    /// what moves down from there may be due now.
    fn present(&self) -> Option<(usize, usize)> {
        (0..LEVELS).rev().find_map(|level| {
            let occupied = self.occupied[level] >> digit(level, self.tick) & 1 == 1;
            occupied.then(|| (level, self.nodes[head(level, self.tick)].next as usize))
        })
    }

    /// The next tick at which a list may have something. Later lists of a level come before any of
    /// the level above, because those differ from the present in a higher digit.
    fn next_event(&self) -> Option<u32> {
        (0..LEVELS).find_map(|level| {
            let shift = level as u32 * DIGIT;
            let later = self.occupied[level] & ((u64::MAX << digit(level, self.tick)) << 1);
            (later != 0).then(|| {
                // The present's higher digits, the list's own, and zeros below.
                let above = self.tick.checked_shr(shift + DIGIT).unwrap_or(0);
                ((above << DIGIT) | later.trailing_zeros()) << shift
            })
        })
    }

    fn link(&mut self, node: usize, due: u32) {
        let differing = due ^ self.tick;
        let level = ((differing | 1).ilog2() / DIGIT) as usize;
        let head = head(level, due);
        self.occupied[level] |= 1 << digit(level, due);
        let last = self.nodes[head].previous;
        self.nodes[node] = Node { next: head as u32, previous: last, due };
        self.nodes[last as usize].next = node as u32;
        self.nodes[head].previous = node as u32;
    }

    fn unlink(&mut self, node: usize) {
        let Node { next, previous, due } = self.nodes[node];
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
        if next == previous && (next as usize) < HEADS {
            // Only the head is left.
            self.occupied[next as usize / LISTS] &= !(1 << (next as usize % LISTS));
        }
        self.nodes[node] = Node { next: node as u32, previous: node as u32, due };
    }

    fn is_linked(&self, node: usize) -> bool {
        self.nodes[node].next as usize != node
    }

    fn grow(&mut self, len: usize) {
        let first = self.nodes.len();
        if len > self.nodes.capacity() {
            // By an eighth: twice as many would be 12 bytes for each that is armed.
            self.nodes.reserve_exact((len - first).max(first / 8));
        }
        self.nodes.extend((first..len).map(|own| Node {
            next: own as u32,
            previous: own as u32,
            due: 0,
        }));
    }
}

/// The list of this level that a tick belongs to.
fn head(level: usize, tick: u32) -> usize {
    level * LISTS + digit(level, tick) as usize
}

fn digit(level: usize, tick: u32) -> u32 {
    (tick >> (level as u32 * DIGIT)) & (LISTS as u32 - 1)
}

/// Beyond 17 years the wheel ends; a timer fires then, and its owner arms it again.
fn tick_at_or_after(moment: Moment) -> u32 {
    u32::try_from(moment.as_millis().div_ceil(1 << TICK_SHIFT)).unwrap_or(u32::MAX)
}

fn tick_at_or_before(moment: Moment) -> u32 {
    u32::try_from(moment.as_millis() >> TICK_SHIFT).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TICK: u64 = 1 << TICK_SHIFT;
    const NONE: [u32; 0] = [];

    fn at(ticks: u64) -> Moment {
        Moment::from_millis(ticks * TICK)
    }

    fn drain(wheel: &mut TimerWheel, now: Moment) -> Vec<u32> {
        let mut budget = usize::MAX;
        std::iter::from_fn(|| wheel.pop(now, &mut budget)).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u32, u64),
        Disarm(u32),
        Advance(u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Near and far, with the edges of the levels: 64 and 4096 ticks and their neighbours.
        let ticks = prop_oneof![
            0..10u64,
            60..70u64,
            4_090..4_100u64,
            262_140..262_150u64,
            0..20_000_000u64
        ];
        let millis = (ticks, 0..TICK).prop_map(|(ticks, rest)| ticks * TICK + rest);
        prop_oneof![
            4 => (0..24u32, millis.clone()).prop_map(|(slot, after)| Step::Arm(slot, after)),
            1 => (0..24u32).prop_map(Step::Disarm),
            3 => (millis, prop_oneof![0..4usize, Just(usize::MAX)])
                .prop_map(|(after, budget)| Step::Advance(after, budget)),
        ]
    }

    proptest! {
        /// Against an ordered map that holds, for each slot, the tick by which it is to fire.
        #[test]
        fn fires_what_an_ordered_map_says_is_due(
            start in prop_oneof![Just(0), 0..1u64 << 38],
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let mut wheel = TimerWheel::new();
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = start;
            drain(&mut wheel, Moment::from_millis(now));
            for step in steps {
                match step {
                    Step::Arm(slot, after) => {
                        wheel.arm(slot, Moment::from_millis(now + after));
                        let due = (now + after).div_ceil(TICK);
                        let known = model.entry(slot).or_insert(due);
                        *known = due.min(*known);
                    }
                    Step::Disarm(slot) => {
                        wheel.disarm(slot);
                        model.remove(&slot);
                    }
                    Step::Advance(after, mut budget) => {
                        now += after;
                        let whole = budget == usize::MAX;
                        while let Some(slot) = wheel.pop(Moment::from_millis(now), &mut budget) {
                            let due = model.remove(&slot);
                            prop_assert!(due.is_some_and(|due| due <= now / TICK), "{slot} is early");
                        }
                        let earliest = model.values().min();
                        if whole {
                            prop_assert!(earliest.is_none_or(|&due| due > now / TICK), "one is late");
                        }
                    let next = wheel.next_due().map(|next| next.as_millis() / TICK);
                    prop_assert_eq!(next.is_some(), earliest.is_some());
                    prop_assert!(next <= earliest.copied(), "{next:?} is too late");
                }
                }
            }
        }
    }

    #[test]
    fn a_timer_fires_within_the_tick_after_its_moment_and_not_before() {
        let mut wheel = TimerWheel::new();
        let due = Moment::from_millis(350_000);
        wheel.arm(3, due);
        assert_eq!(drain(&mut wheel, Moment::from_millis(350_000 - 1)), NONE);
        assert_eq!(drain(&mut wheel, Moment::from_millis(350_000 + TICK)), [3]);
        assert_eq!(drain(&mut wheel, Moment::from_millis(u64::MAX)), NONE);
    }

    #[test]
    fn arming_brings_forward_and_never_puts_off() {
        let mut wheel = TimerWheel::new();
        wheel.arm(1, at(100));
        wheel.arm(1, at(1000));
        wheel.arm(2, at(1000));
        wheel.arm(2, at(10));
        assert_eq!(drain(&mut wheel, at(10)), [2]);
        assert_eq!(drain(&mut wheel, at(100)), [1]);
        assert_eq!(drain(&mut wheel, at(1000)), NONE);
    }

    #[test]
    fn what_is_already_due_fires_at_once_and_a_clock_behind_sees_nothing() {
        let mut wheel = TimerWheel::new();
        assert_eq!(drain(&mut wheel, at(5000)), NONE);
        wheel.arm(1, at(10));
        assert_eq!(drain(&mut wheel, at(4999)), NONE);
        assert_eq!(drain(&mut wheel, at(5000)), [1]);
    }

    #[test]
    fn a_budget_bounds_the_work_and_loses_nothing() {
        let mut wheel = TimerWheel::new();
        (0..100).for_each(|slot| wheel.arm(slot, at(5000)));
        let (mut fired, mut rounds) = (Vec::new(), 0);
        while fired.len() < 100 {
            let mut budget = 7;
            while let Some(slot) = wheel.pop(at(5000), &mut budget) {
                fired.push(slot);
            }
            rounds += 1;
            assert!(rounds <= 50, "100 timers over three levels are 300 moves");
        }
        fired.sort_unstable();
        assert_eq!(fired, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn beyond_the_end_of_the_wheel_a_timer_fires_at_its_end() {
        let mut wheel = TimerWheel::new();
        wheel.arm(1, Moment::from_millis(u64::MAX));
        assert_eq!(drain(&mut wheel, at(u64::from(u32::MAX) - 1)), NONE);
        assert_eq!(drain(&mut wheel, at(u64::from(u32::MAX))), [1]);
    }
}
