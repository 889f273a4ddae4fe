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
    /// For each level the lists that may hold timers: a list that lost its last one to disarming
    /// keeps its bit until the wheel comes by.
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
        let node = HEADS + slot as usize;
        if node < self.nodes.len() && self.is_linked(node) {
            self.unlink(node);
        }
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
                Some(next) if next <= target => self.advance(next),
                _ => {
                    self.advance(target);
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
            let head = head(level, self.tick);
            let first = self.nodes[head].next as usize;
            (first != head).then_some((level, first))
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

    /// Moves the present forward, up to the next event. Lists passed on the way are empty; their
    /// bits would otherwise come up again in the next round of their level.
    fn advance(&mut self, tick: u32) {
        for (level, occupied) in self.occupied.iter_mut().enumerate() {
            let above = (level as u32 + 1) * DIGIT;
            let same_round = (self.tick ^ tick).checked_shr(above).unwrap_or(0) == 0;
            *occupied &= if same_round { u64::MAX << digit(level, tick) } else { 0 };
        }
        self.tick = tick;
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
        self.nodes[node] = Node { next: node as u32, previous: node as u32, due };
    }

    fn is_linked(&self, node: usize) -> bool {
        self.nodes[node].next as usize != node
    }

    fn grow(&mut self, len: usize) {
        let first = self.nodes.len();
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
