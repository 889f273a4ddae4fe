//! From a key's hash to the slot it lives in.
//!
//! # Theory of operation
//!
//! Entries are twelve bytes: 64 bits of seeded hash and a [`Place`]. The key itself stays in the
//! slot, where whoever asks compares it. Two keys with one hash cannot both be entered: at a million
//! connections that happens once in some 10⁷ fillings of the table, and is refused, never confused.
//!
//! Five entries share a [`Bucket`], which is one line of the cache, so a search costs one line here
//! and those of the slot: among a million connections it is lines that cost, not instructions. An
//! entry whose bucket is full goes to the next one that is not, and each bucket it passes counts it
//! ([`Bucket::passed`]): a search goes on only where something has gone on, and nothing is left
//! behind by what is removed. A table grows by half when four fifths full, so that it is two thirds
//! full on average: 19 bytes an entry.
//!
//! The table is cut into 256 shards by hash, each with its own lock, which also bounds how long a
//! shard that grows keeps others waiting: at two million entries, for 8,000 of them.

use std::mem;

use crossbeam::utils::CachePadded;

use crate::sync::{MODELLED, Mutex};

const SHARDS: usize = if MODELLED { 2 } else { 256 };

/// Entries of a bucket.
const WIDTH: usize = 5;

/// A slot, and one bit more for its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    /// The number of slots that can be named.
    pub(crate) const MAX_SLOT: u32 = u32::MAX >> 1;

    /// Where there is no entry. The last slot of all has no number.
    const NONE: Self = Self(u32::MAX);

    pub(crate) const fn new(slot: u32, mark: bool) -> Self {
        Self(slot << 1 | mark as u32)
    }

    pub(crate) const fn slot(self) -> u32 {
        self.0 >> 1
    }

    pub(crate) const fn mark(self) -> bool {
        self.0 & 1 == 1
    }
}

/// The entries that one line of the cache holds.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Bucket {
    hashes: [u64; WIDTH],
    /// [`Place::NONE`] where there is no entry.
    places: [Place; WIDTH],
    /// Entries that have found this bucket full and are further on.
    passed: u32,
}

impl Bucket {
    const EMPTY: Self = Self { hashes: [0; WIDTH], places: [Place::NONE; WIDTH], passed: 0 };

    #[inline]
    fn find(&self, hash: u64) -> Option<usize> {
        let mut found = None;
        for index in 0..WIDTH {
            if self.hashes[index] == hash && self.places[index] != Place::NONE {
                found = Some(index);
            }
        }
        found
    }
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// The entries of one shard.
#[derive(Debug)]
struct Shard {
    buckets: Box<[Bucket]>,
    len: usize,
}

/// Where an entry is: its bucket, and its place in that.
type Position = (usize, usize);

impl Shard {
    fn new(buckets: usize) -> Self {
        Self { buckets: vec![Bucket::EMPTY; buckets].into_boxed_slice(), len: 0 }
    }

    /// The bucket that an entry belongs in. The shard is told by other bits.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.buckets.len() as u64) >> 32) as usize
    }

    /// The bucket that an entry goes on to.
    #[inline]
    fn next(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }

    #[inline]
    fn find(&self, hash: u64) -> Option<Position> {
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &self.buckets[at];
            if let Some(index) = bucket.find(hash) {
                return Some((at, index));
            }
            if bucket.passed == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// Adds an entry that is not there yet.
    fn insert(&mut self, hash: u64, place: Place) {
        if self.len * 5 >= self.buckets.len() * WIDTH * 4 {
            self.grow();
        }
        self.len += 1;
        let mut at = self.home(hash);
        // A fifth of all places is free.
        loop {
            let bucket = &mut self.buckets[at];
            if let Some(index) = bucket.places.iter().position(|place| *place == Place::NONE) {
                (bucket.hashes[index], bucket.places[index]) = (hash, place);
                return;
            }
            bucket.passed += 1;
            at = self.next(at);
        }
    }

    fn remove(&mut self, (found, index): Position) {
        let mut at = self.home(self.buckets[found].hashes[index]);
        self.buckets[found].places[index] = Place::NONE;
        self.len -= 1;
        while at != found {
            self.buckets[at].passed -= 1;
            at = self.next(at);
        }
    }

    fn grow(&mut self) {
        let larger = Self::new(self.buckets.len() + self.buckets.len().div_ceil(2));
        let before = mem::replace(self, larger);
        for bucket in &before.buckets {
            for (hash, place) in bucket.hashes.iter().zip(bucket.places) {
                if place != Place::NONE {
                    self.insert(*hash, place);
                }
            }
        }
    }
}

/// The sharded table.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[CachePadded<Mutex<Shard>>]>,
}

impl Index {
    pub(crate) fn new() -> Self {
        let shard = |_| CachePadded::new(Mutex::new(Shard::new(1)));
        Self { shards: (0..SHARDS).map(shard).collect() }
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64) -> Option<Place> {
        let shard = self.shard(hash).lock();
        let (at, index) = shard.find(hash)?;
        Some(shard.buckets[at].places[index])
    }

    /// Enters the hash. If it is there already, and `is_stale` says that its place holds nothing
    /// any more, it now leads to the new place; else the answer is the place it leads to.
    ///
    /// `is_stale` is asked under the shard's lock and must take none.
    pub(crate) fn insert(
        &self,
        hash: u64,
        place: Place,
        is_stale: impl FnOnce(Place) -> bool,
    ) -> Result<(), Place> {
        let mut shard = self.shard(hash).lock();
        let Some((at, index)) = shard.find(hash) else {
            shard.insert(hash, place);
            return Ok(());
        };
        let standing = &mut shard.buckets[at].places[index];
        if !is_stale(*standing) {
            return Err(*standing);
        }
        *standing = place;
        Ok(())
    }

    /// Removes the hash if it still leads to this place.
    pub(crate) fn remove(&self, hash: u64, place: Place) {
        let mut shard = self.shard(hash).lock();
        if let Some((at, index)) = shard.find(hash)
            && shard.buckets[at].places[index] == place
        {
            shard.remove((at, index));
        }
    }

    /// Entries. Takes each shard's lock in turn.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len).sum()
    }

    /// Heap bytes.
    pub(crate) fn memory(&self) -> usize {
        let tables = self.shards.iter().map(|shard| size_of_val(&*shard.lock().buckets));
        size_of_val(&*self.shards) + tables.sum::<usize>()
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 40) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain map, with hashes that crowd in a few buckets of one shard.
        #[test]
        fn finds_what_a_map_finds(
            steps in prop::collection::vec((0..4u64, 0..12u64, 0..3u32), 1..400),
        ) {
            let (index, mut model) = (Index::new(), BTreeMap::new());
            for (slot, (home, which, step)) in (0..).zip(steps) {
                let hash = home << 30 | which << 48;
                let known = model.get(&hash).copied();
                prop_assert_eq!(index.find(hash), known);
                match (step, known) {
                    (0, Some(place)) => {
                        index.remove(hash, place);
                        model.remove(&hash);
                    }
                    (_, known) => {
                        let place = Place::new(slot, false);
                        prop_assert_eq!(index.insert(hash, place, |_| false), known.map_or(Ok(()), Err));
                        model.entry(hash).or_insert(place);
                    }
                }
                prop_assert_eq!(index.len(), model.len());
            }
            for (hash, place) in model {
                prop_assert_eq!(index.find(hash), Some(place));
                index.remove(hash, place);
            }
            let is_empty = |bucket: &Bucket| bucket.passed == 0;
            let shards = index.shards.iter();
            prop_assert!(shards.map(|shard| shard.lock()).all(|it| it.buckets.iter().all(is_empty)));
        }
    }

    #[test]
    fn a_place_keeps_its_slot_and_its_mark() {
        for slot in [0, 1, Place::MAX_SLOT - 1] {
            for mark in [false, true] {
                let place = Place::new(slot, mark);
                assert_eq!((place.slot(), place.mark()), (slot, mark));
            }
        }
    }

    #[test]
    fn a_hash_leads_to_one_place_until_that_is_stale() {
        let index = Index::new();
        let (old, new) = (Place::new(1, false), Place::new(2, true));
        let hash = 0x0123_4567_89ab_cdef;
        assert_eq!(index.insert(hash, old, |_| unreachable!("nothing stands there")), Ok(()));
        assert_eq!(index.insert(hash, new, |_| false), Err(old));
        assert_eq!(index.insert(hash, new, |standing| standing == old), Ok(()));
        index.remove(hash, old);
        assert_eq!(index.find(hash), Some(new), "the old place has no say any more");
        index.remove(hash, new);
        assert_eq!(index.find(hash), None);
        assert_eq!(index.len(), 0);
    }

    #[test]
    fn hashes_that_share_shard_and_bucket_are_told_apart() {
        let index = Index::new();
        // They differ in bits that neither the shard nor a small table looks at.
        let hashes: Vec<u64> = (0..200).map(|number| 7 | number << 48).collect();
        for (slot, &hash) in hashes.iter().enumerate() {
            assert!(index.insert(hash, Place::new(slot as u32, false), |_| false).is_ok());
        }
        for (slot, &hash) in hashes.iter().enumerate() {
            assert_eq!(index.find(hash), Some(Place::new(slot as u32, false)));
        }
        assert_eq!(index.find(7 | 200 << 48), None);
    }

    #[test]
    fn an_entry_takes_at_most_thirty_bytes_and_nineteen_on_average() {
        let (index, mut hash, mut sum) = (Index::new(), 1_u64, 0.0);
        let empty = index.memory();
        for count in 1..=200_000_u32 {
            hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23) ^ u64::from(count);
            assert!(index.insert(hash, Place::new(count, false), |_| false).is_ok());
            if count >= 20_000 && count % 1000 == 0 {
                let each = (index.memory() - empty) as f64 / f64::from(count);
                assert!((14.0..30.0).contains(&each), "{each} bytes at {count}");
                sum += each;
            }
        }
        assert!(sum / 181.0 < 20.0, "{} bytes on average", sum / 181.0);
    }
}
