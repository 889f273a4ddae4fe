//! From a key's hash to the slot it lives in.
//!
//! Entries are twelve bytes: 64 bits of seeded hash and a [`Place`]. The key itself stays in the
//! slot, where whoever asks compares it; so a search touches one line of the index and one slot.
//! Two keys with one hash cannot both be entered: at a million connections that happens once in
//! some 10⁷ fillings of the table, and is refused, never confused.
//!
//! The table is cut into 256 shards by hash, each with its own lock, which also bounds how long a
//! shard that grows keeps others waiting: at two million entries, for 8,000 of them.

use crossbeam::utils::CachePadded;
use hashbrown::{HashTable, hash_table};

use crate::sync::{MODELLED, Mutex};

const SHARDS: usize = if MODELLED { 2 } else { 256 };

/// A slot, and one bit more for its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    /// The highest slot that can be named.
    pub(crate) const MAX_SLOT: u32 = u32::MAX >> 1;

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

/// The hash in halves: four-byte alignment saves four bytes an entry.
#[derive(Clone, Copy, Debug)]
struct Entry {
    high: u32,
    low: u32,
    place: Place,
}

impl Entry {
    const fn new(hash: u64, place: Place) -> Self {
        Self { high: (hash >> 32) as u32, low: hash as u32, place }
    }

    const fn hash(&self) -> u64 {
        (self.high as u64) << 32 | self.low as u64
    }
}

/// The sharded table.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[CachePadded<Mutex<HashTable<Entry>>>]>,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| CachePadded::new(Mutex::new(HashTable::new()))).collect(),
        }
    }

    pub(crate) fn find(&self, hash: u64) -> Option<Place> {
        let shard = self.shard(hash).lock();
        shard.find(hash, |entry| entry.hash() == hash).map(|entry| entry.place)
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
        match shard.entry(hash, |entry| entry.hash() == hash, Entry::hash) {
            hash_table::Entry::Occupied(mut known) => {
                let standing = known.get().place;
                if !is_stale(standing) {
                    return Err(standing);
                }
                known.get_mut().place = place;
            }
            hash_table::Entry::Vacant(vacant) => {
                vacant.insert(Entry::new(hash, place));
            }
        }
        Ok(())
    }

    /// Removes the hash if it still leads to this place.
    pub(crate) fn remove(&self, hash: u64, place: Place) {
        let mut shard = self.shard(hash).lock();
        let known = |entry: &Entry| entry.hash() == hash && entry.place == place;
        if let Ok(entry) = shard.find_entry(hash, known) {
            entry.remove();
        }
    }

    /// Entries. Takes each shard's lock in turn.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Heap bytes.
    pub(crate) fn memory(&self) -> usize {
        let tables: usize = self.shards.iter().map(|shard| shard.lock().allocation_size()).sum();
        size_of_val(&*self.shards) + tables
    }

    /// The tables use the lowest bits and the highest seven; the shard is told by others.
    fn shard(&self, hash: u64) -> &Mutex<HashTable<Entry>> {
        &self.shards[(hash >> 40) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_keeps_its_slot_and_its_mark() {
        for slot in [0, 1, Place::MAX_SLOT] {
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
}
