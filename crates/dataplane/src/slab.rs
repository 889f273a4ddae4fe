//! Numbered slots that many threads use at once, each under a lock of its own.
//!
//! # Theory of operation
//!
//! Slots come in chunks of 1024 that never move and are never given back, so that a slot is
//! reached without any lock but its own. Beside each slot stands a word: how often it was
//! inhabited (its *epoch*), whether it is now, and whether its birth is still going on. The word
//! changes only under the slot's lock, and may be read without. An [`Id`] is a slot and its epoch,
//! and so never finds what came after.
//!
//! Birth and death have two steps each, for an inhabitant is pointed to from elsewhere:
//!
//! - [`Slab::insert`] fills a slot; its maker makes the pointers, and then says so
//!   ([`Slab::complete`]).
//! - [`Slab::take`] empties a slot: from then on nobody finds anything in it, and whoever meets a
//!   pointer to it can tell ([`Slab::is_live`]). With the pointers removed, [`Slab::free`] lets it
//!   be used again.
//!
//! Who finds an inhabitant by its first pointer may end it before its maker has made the second.
//! Then the rest of its death is the maker's: to remove the pointers and to free the slot, when
//! `complete` tells of it. If the taker removed pointers too, it could do so after the slot had its
//! next inhabitant, and remove that one's.
//!
//! Whoever keeps a copy of what is in the slots elsewhere is told which to look at again: each slot has
//! a mark, one bit, that is set when its inhabitant is complete, is taken out, or is [marked](Slab::mark)
//! by whoever changes it, and cleared by [`Slab::changes`]. A mark is set under the slot's lock, and
//! cleared before that is taken to look. So whoever looks either sees the change, or has looked before
//! it and finds the mark set again; no order is asked of the marks themselves. A slot that is marked
//! already costs a load.
//!
//! Locks: a slot's, or the free list's; never both at once.

use crate::sync::{AtomicU32, MODELLED, Mutex, MutexGuard, OnceLock, Ordering};

const CHUNK: u32 = if MODELLED { 2 } else { 1024 };

/// What is in a slot at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    pub(crate) slot: u32,
    pub(crate) epoch: u32,
}

/// The slots.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Box<[OnceLock<Chunk<T>>]>,
    capacity: u32,
    free: Mutex<FreeList>,
    /// For each chunk a bit for each slot: whether something has changed there.
    marks: Box<[OnceLock<Box<Marks>>]>,
}

type Chunk<T> = Box<[Slot<T>]>;

type Marks = [AtomicU32; CHUNK.div_ceil(u32::BITS) as usize];

/// The word and the lock come first: in one line of the cache with the beginning of the value.
#[derive(Debug)]
#[repr(C)]
struct Slot<T> {
    /// Epoch, [`BIRTH`], [`LIVE`].
    word: AtomicU32,
    value: Mutex<Option<T>>,
}

const LIVE: u32 = 1;
/// The inhabitant's maker is still busy with it, whether or not it lives.
const BIRTH: u32 = 2;
const EPOCH: u32 = 4;

/// What was taken out of a slot.
#[derive(Debug)]
pub(crate) struct Taken<T> {
    pub(crate) value: T,
    /// Its maker is still busy with it, and does the rest. Otherwise that is for the taker to do.
    pub(crate) in_birth: bool,
}

/// A slot that nobody else can change.
pub(crate) struct Locked<'a, T> {
    id: Id,
    value: MutexGuard<'a, Option<T>>,
}

impl<T> Locked<'_, T> {
    /// Who is in it, if somebody is.
    pub(crate) fn id(&self) -> Id {
        self.id
    }

    /// What is in it now.
    pub(crate) fn value(&mut self) -> Option<&mut T> {
        self.value.as_mut()
    }
}

#[derive(Debug)]
struct FreeList {
    slots: Vec<u32>,
    /// Slots from here on were never used.
    untouched: u32,
}

impl<T> Slab<T> {
    pub(crate) fn new(capacity: u32) -> Self {
        Self {
            chunks: (0..capacity.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
            capacity,
            free: Mutex::new(FreeList { slots: Vec::new(), untouched: 0 }),
            marks: (0..capacity.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Puts a value into a free slot; gives it back if there is none. To be followed by
    /// [`complete`](Self::complete).
    pub(crate) fn insert(&self, value: T) -> Result<Id, T> {
        let Some(slot) = self.claim() else { return Err(value) };
        let Slot { word, value: place } = self.slot(slot);
        let mut place = place.lock();
        *place = Some(value);
        let born = word.load(Ordering::Relaxed).wrapping_add(EPOCH) | LIVE | BIRTH;
        word.store(born, Ordering::Release);
        Ok(Id { slot, epoch: born / EPOCH })
    }

    /// Ends the birth; whether the value still lives. If not, the rest of its death is the caller's.
    pub(crate) fn complete(&self, id: Id) -> bool {
        let Slot { word, value } = self.slot(id.slot);
        let _value = value.lock();
        // The slot cannot have been freed and used again: that is for the caller to do.
        let now = word.load(Ordering::Relaxed) & !BIRTH;
        word.store(now, Ordering::Release);
        self.mark(id.slot);
        now & LIVE != 0
    }

    /// Locks a slot; none if it was never used.
    #[inline]
    pub(crate) fn lock(&self, slot: u32) -> Option<Locked<'_, T>> {
        let Slot { word, value } = self.known_slot(slot)?;
        let value = value.lock();
        let epoch = word.load(Ordering::Relaxed) / EPOCH;
        Some(Locked { id: Id { slot, epoch }, value })
    }

    /// Calls `f` with what is in the slot now, and who that is.
    pub(crate) fn visit<R>(&self, slot: u32, f: impl FnOnce(Id, &mut T) -> R) -> Option<R> {
        let mut slot = self.lock(slot)?;
        let id = slot.id();
        slot.value().map(|value| f(id, value))
    }

    /// Calls `f` with this very value, if it lives.
    pub(crate) fn with<R>(&self, id: Id, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.visit(id.slot, |found, value| (found == id).then(|| f(value)))?
    }

    /// Empties the slot if it holds this very value and `condition` holds. The slot is not yet
    /// free.
    pub(crate) fn take(&self, id: Id, condition: impl FnOnce(&T) -> bool) -> Option<Taken<T>> {
        let Slot { word, value } = self.known_slot(id.slot)?;
        let mut value = value.lock();
        let now = word.load(Ordering::Relaxed);
        if now / EPOCH != id.epoch || !value.as_ref().is_some_and(condition) {
            return None;
        }
        word.store(now & !LIVE, Ordering::Release);
        self.mark(id.slot);
        Some(Taken { value: value.take()?, in_birth: now & BIRTH != 0 })
    }

    /// Notes that what is in the slot has changed. Only under its lock.
    #[inline]
    pub(crate) fn mark(&self, slot: u32) {
        let Some(marks) = self.marks[(slot / CHUNK) as usize].get() else { return };
        let within = slot % CHUNK;
        let (word, bit) = (&marks[(within / u32::BITS) as usize], 1 << (within % u32::BITS));
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Calls `f` with each slot in which something has changed since the last time, in their order. No
    /// lock is held meanwhile. What changes from now on is told the next time.
    pub(crate) fn changes(&self, mut f: impl FnMut(u32)) {
        let chunks = self.marks.iter().map_while(OnceLock::get);
        for (first, marks) in (0..).step_by(CHUNK as usize).zip(chunks) {
            for (first, word) in (first..).step_by(u32::BITS as usize).zip(&**marks) {
                if word.load(Ordering::Relaxed) == 0 {
                    continue;
                }
                let mut changed = word.swap(0, Ordering::Relaxed);
                while changed != 0 {
                    f(first + changed.trailing_zeros());
                    changed &= changed - 1;
                }
            }
        }
    }

    /// Lets a slot be used again, once for each time it was emptied.
    pub(crate) fn free(&self, slot: u32) {
        debug_assert!(!self.is_live(slot), "slot {slot} is in use");
        self.free.lock().slots.push(slot);
    }

    /// Whether the slot holds something. Takes no lock, and so may be asked under any.
    pub(crate) fn is_live(&self, slot: u32) -> bool {
        self.known_slot(slot).is_some_and(|slot| slot.word.load(Ordering::Acquire) & LIVE != 0)
    }

    /// Slots that hold something, or are about to, or did a moment ago.
    pub(crate) fn len(&self) -> usize {
        let free = self.free.lock();
        free.untouched as usize - free.slots.len()
    }

    /// Slots that were ever used: the numbers below it.
    pub(crate) fn touched(&self) -> u32 {
        self.free.lock().untouched
    }

    /// Heap bytes.
    pub(crate) fn memory(&self) -> usize {
        let chunks = self.chunks.iter().filter(|chunk| chunk.get().is_some()).count();
        size_of_val(&*self.chunks)
            + size_of_val(&*self.marks)
            + chunks * (CHUNK as usize * size_of::<Slot<T>>() + size_of::<Marks>())
            + self.free.lock().slots.capacity() * size_of::<u32>()
    }

    fn claim(&self) -> Option<u32> {
        let mut free = self.free.lock();
        if let Some(slot) = free.slots.pop() {
            return Some(slot);
        }
        let slot = free.untouched;
        if slot >= self.capacity {
            return None;
        }
        self.chunks[(slot / CHUNK) as usize].get_or_init(|| {
            (0..CHUNK).map(|_| Slot { word: AtomicU32::new(0), value: Mutex::new(None) }).collect()
        });
        self.marks[(slot / CHUNK) as usize]
            .get_or_init(|| Box::new(std::array::from_fn(|_| AtomicU32::new(0))));
        free.untouched += 1;
        Some(slot)
    }

    fn slot(&self, slot: u32) -> &Slot<T> {
        match self.known_slot(slot) {
            Some(slot) => slot,
            None => unreachable!("a claimed slot's chunk is made before its number is given out"),
        }
    }

    fn known_slot(&self, slot: u32) -> Option<&Slot<T>> {
        let chunk = self.chunks.get((slot / CHUNK) as usize)?.get()?;
        Some(&chunk[(slot % CHUNK) as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn born(slab: &Slab<&'static str>, value: &'static str) -> Id {
        let id = slab.insert(value).expect("there is room");
        assert!(slab.complete(id));
        id
    }

    #[test]
    fn an_id_does_not_find_what_came_after() {
        let slab = Slab::new(1);
        let first = born(&slab, "first");
        assert_eq!(slab.with(first, |value| *value), Some("first"));
        assert_eq!(slab.insert("second"), Err("second"));

        assert_eq!(slab.take(first, |_| true).map(|taken| taken.in_birth), Some(false));
        assert!(!slab.is_live(first.slot));
        assert_eq!(slab.insert("second"), Err("second"), "emptied, but not free");
        slab.free(first.slot);
        let second = born(&slab, "second");
        assert_eq!(second.slot, first.slot);
        assert!(slab.with(first, |_| ()).is_none());
        assert!(slab.take(first, |_| true).is_none());
        assert_eq!(slab.visit(second.slot, |id, value| (id, *value)), Some((second, "second")));
    }

    #[test]
    fn a_death_during_birth_is_told_to_both() {
        let slab = Slab::new(2);
        let id = slab.insert("short-lived").expect("there is room");
        assert!(slab.is_live(id.slot));
        assert!(slab.take(id, |_| false).is_none());
        let taken = slab.take(id, |value| *value == "short-lived");
        assert!(taken.is_some_and(|taken| taken.in_birth));
        assert!(!slab.complete(id));
        slab.free(id.slot);
        assert_eq!(slab.len(), 0);
        assert_eq!(born(&slab, "next").slot, id.slot);
    }

    #[test]
    fn each_change_is_told_once() {
        let told = |slab: &Slab<_>| {
            let mut slots = Vec::new();
            slab.changes(|slot| slots.push(slot));
            slots
        };
        let slab = Slab::new(100);
        let ids: Vec<_> = (0..40).map(|_| born(&slab, "it")).collect();
        let unborn = slab.insert("not yet").expect("there is room");
        assert_eq!(told(&slab), (0..40).collect::<Vec<_>>());
        assert!(told(&slab).is_empty());

        assert!(slab.complete(unborn));
        slab.take(ids[33], |_| true).expect("it lives");
        slab.free(33);
        assert!(slab.take(ids[33], |_| true).is_none());
        slab.visit(7, |id, _| {
            slab.mark(id.slot);
            slab.mark(id.slot);
        });
        assert_eq!(told(&slab), [7, 33, 40]);
        assert!(told(&slab).is_empty());
    }

    #[test]
    fn chunks_come_as_they_are_needed() {
        let slab = Slab::new(3 * CHUNK);
        let empty = slab.memory();
        assert!(slab.visit(0, |_, _: &mut u64| ()).is_none());
        (0..=CHUNK).for_each(|value| assert!(slab.insert(u64::from(value)).is_ok()));
        let chunk = CHUNK as usize * size_of::<Slot<u64>>() + size_of::<Marks>();
        assert_eq!(slab.memory(), empty + 2 * chunk);
        assert_eq!((slab.len(), slab.touched()), (CHUNK as usize + 1, CHUNK + 1));
        assert!(!slab.is_live(CHUNK + 1));
        assert!(!slab.is_live(u32::MAX));
    }
}
