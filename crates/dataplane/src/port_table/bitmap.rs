//! A set of up to 65,536 small numbers that finds a member near any start in constant time.
//!
//! One bit a number, and above it one bit a word that says whether the word has any, for even and odd
//! numbers apart: a search, for either or for both, reads at most two words of the lower level and each
//! of the (at most sixteen) upper ones twice.

/// Which of a word's numbers are even, and which are odd.
const PARITIES: [u64; 2] = [0x5555_5555_5555_5555, 0xaaaa_aaaa_aaaa_aaaa];

/// The set.
#[derive(Clone, Debug)]
pub(super) struct Bitmap {
    size: u32,
    words: Box<[u64]>,
    /// Bit `n` of an upper word's half is set while `words[n]` has an even number, or an odd one.
    summary: [[u64; 2]; 16],
}

impl Bitmap {
    /// The set of all numbers below `size`, which is at most 65,536.
    pub(super) fn full(size: u32) -> Self {
        let mut bitmap = Self {
            size,
            words: vec![0; size.div_ceil(64) as usize].into_boxed_slice(),
            summary: [[0; 2]; 16],
        };
        for (word, bits) in bitmap.words.iter_mut().enumerate() {
            let members = size - word as u32 * 64;
            *bits = if members < 64 { (1 << members) - 1 } else { u64::MAX };
            for (summary, numbers) in bitmap.summary[word / 64].iter_mut().zip(PARITIES) {
                *summary |= u64::from(*bits & numbers != 0) << (word % 64);
            }
        }
        bitmap
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.words[number as usize / 64] & (1 << (number % 64)) != 0
    }

    pub(super) fn insert(&mut self, number: u32) {
        let word = number as usize / 64;
        self.words[word] |= 1 << (number % 64);
        self.summary[word / 64][number as usize % 2] |= 1 << (word % 64);
    }

    pub(super) fn remove(&mut self, number: u32) {
        let word = number as usize / 64;
        self.words[word] &= !(1 << (number % 64));
        let parity = number as usize % 2;
        if self.words[word] & PARITIES[parity] == 0 {
            self.summary[word / 64][parity] &= !(1 << (word % 64));
        }
    }

    /// The first member from `start` on, going round.
    pub(super) fn at_or_after(&self, start: u32) -> Option<u32> {
        self.first_from(start, u64::MAX).or_else(|| self.first_from(0, u64::MAX))
    }

    /// The first member that is even or odd like `like`, from `start` on, going round.
    pub(super) fn alike_at_or_after(&self, start: u32, like: u32) -> Option<u32> {
        let numbers = PARITIES[like as usize % 2];
        self.first_from(start, numbers).or_else(|| self.first_from(0, numbers))
    }

    /// Calls `f` with each number below the size that is not a member.
    pub(super) fn for_each_missing(&self, mut f: impl FnMut(u32)) {
        for (word, &members) in self.words.iter().enumerate() {
            let mut missing = !members;
            while missing != 0 {
                let number = word as u32 * 64 + missing.trailing_zeros();
                if number < self.size {
                    f(number);
                }
                missing &= missing - 1;
            }
        }
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.words)
    }

    /// The first member from `start` on that is among the `numbers` of its word: all, the even ones or
    /// the odd ones.
    fn first_from(&self, start: u32, numbers: u64) -> Option<u32> {
        let word = start as usize / 64;
        let here = self.words.get(word)? & numbers & (u64::MAX << (start % 64));
        if here != 0 {
            return Some(word as u32 * 64 + here.trailing_zeros());
        }
        let [even, odd] = PARITIES.map(|parity| if numbers & parity != 0 { u64::MAX } else { 0 });
        let words = |group: &[u64; 2]| group[0] & even | group[1] & odd;
        let next = word + 1;
        let mut group = next / 64;
        let mut candidates = words(self.summary.get(group)?) & (u64::MAX << (next % 64));
        while candidates == 0 {
            group += 1;
            candidates = words(self.summary.get(group)?);
        }
        let word = group * 64 + candidates.trailing_zeros() as usize;
        Some(word as u32 * 64 + (self.words[word] & numbers).trailing_zeros())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Against a plain ordered set, over sizes that end inside and at the end of words.
        #[test]
        fn finds_what_an_ordered_set_finds(
            size in prop_oneof![1..200u32, Just(4096), Just(64_512), Just(65_536)],
            steps in prop::collection::vec((any::<bool>(), any::<u32>(), any::<u32>()), 1..300),
        ) {
            let mut bitmap = Bitmap::full(size);
            let mut model: BTreeSet<u32> = (0..size).collect();
            // Begin sparse as often as dense: empty searches are where summaries go wrong.
            if steps[0].0 {
                (0..size).for_each(|number| bitmap.remove(number));
                model.clear();
            }
            for (insert, number, start) in steps {
                let (number, start) = (number % size, start % size);
                if insert {
                    bitmap.insert(number);
                    model.insert(number);
                } else {
                    bitmap.remove(number);
                    model.remove(&number);
                }
                let expected = model.range(start..).next().or_else(|| model.first()).copied();
                prop_assert_eq!(bitmap.at_or_after(start), expected);
                for like in [number, number + 1] {
                    let mut alike = model.range(start..).chain(&model);
                    let expected = alike.find(|member| **member % 2 == like % 2).copied();
                    prop_assert_eq!(bitmap.alike_at_or_after(start, like), expected);
                }
                prop_assert_eq!(bitmap.contains(number), insert);
            }
            let mut missing = Vec::new();
            bitmap.for_each_missing(|number| missing.push(number));
            missing.extend(&model);
            missing.sort_unstable();
            prop_assert!(missing.into_iter().eq(0..size), "each number is missing or a member");
        }
    }
}
