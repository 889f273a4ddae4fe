//! Numbers that look random.

/// A generator of numbers, `SplitMix64` (Steele, Lea, Flood 2014): a counter and a hash, so that
/// neighbouring seeds have nothing in common.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The dice that always fall like this.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The dice for one thing of many, named by a label: what is drawn for one does not depend on
    /// how much is drawn for the others.
    #[must_use]
    pub fn labelled(seed: u64, label: &str) -> Self {
        // FNV-1a.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(Self(seed).number() ^ hash)
    }

    /// Any number.
    pub const fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub const fn below(&mut self, end: usize) -> usize {
        assert!(end > 0, "no number is below 0");
        (self.number() % end as u64) as usize
    }

    /// A number from `first` to `last`, both included.
    pub const fn between(&mut self, first: usize, last: usize) -> usize {
        first + self.below(last - first + 1)
    }

    /// True in so many cases of a hundred.
    pub const fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of them.
    ///
    /// # Panics
    ///
    /// When there are none.
    pub const fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// From `least` to `most` of them, each once.
    pub fn some(&mut self, of: &[String], least: usize, most: usize) -> Vec<String> {
        let mut chosen: Vec<String> = Vec::new();
        for _ in 0..self.between(least, most) {
            let one = &of[self.below(of.len())];
            if !chosen.contains(one) {
                chosen.push(one.clone());
            }
        }
        chosen
    }
}
