//! Identifications for the datagrams that we cut or translate.
//!
//! Behind a translator the identifications of several hosts meet at one address, so that it has to
//! choose them as if it were the sender (RFC 7857, section 9; RFC 6864, section 5.3.1): of the
//! datagrams from one address to another, no two that are on the way may have the same. And they
//! should be hard to guess, or anybody could slip a fragment in (RFC 7739 says it of IPv6).
//!
//! So they are drawn at random, but never one of the last [`APART`] (as in FreeBSD's
//! `ip_randomid`). That is per worker and whatever the addresses, which is more than is asked; two
//! workers that translate to one address know nothing of each other's. At more than [`APART`] such
//! datagrams within a maximum datagram lifetime (2 min) no choice of 16 bits can be safe. The packets
//! that a kernel makes of a super-packet count on from its identification; theirs are not drawn.
//! Datagrams that must not be cut need none (RFC 6864, section 4.1), and almost all are of that
//! kind: 72 KiB are taken with the first that is not.

/// Between two uses of an identification there are at least so many others.
const APART: usize = 1 << 15;

/// What was drawn lately.
#[derive(Debug, Default)]
pub(crate) struct Identifications {
    /// The last [`APART`], in a ring.
    recent: Vec<u16>,
    next: usize,
    /// A bit for each identification that is among them.
    used: Vec<u64>,
}

impl Identifications {
    /// The next one, out of these random numbers. At most half of all are taken, so that two draws
    /// are needed on average.
    pub(crate) fn draw(&mut self, mut random: impl FnMut() -> u64) -> u16 {
        if self.used.is_empty() {
            self.used.resize((1 << 16) / 64, 0);
            self.recent.reserve_exact(APART);
        }
        let drawn = loop {
            // Four in each number.
            let number = random();
            let parts = [0, 16, 32, 48].map(|shift| (number >> shift) as u16);
            if let Some(free) = parts.into_iter().find(|part| !self.is_used(*part)) {
                break free;
            }
        };
        self.flip(drawn);
        if self.recent.len() < APART {
            self.recent.push(drawn);
        } else {
            let oldest = std::mem::replace(&mut self.recent[self.next], drawn);
            self.flip(oldest);
            self.next = (self.next + 1) % APART;
        }
        drawn
    }

    fn is_used(&self, identification: u16) -> bool {
        self.used[usize::from(identification >> 6)] & 1 << (identification & 63) != 0
    }

    fn flip(&mut self, identification: u16) {
        self.used[usize::from(identification >> 6)] ^= 1 << (identification & 63);
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng, SeedableRng},
    };

    use super::*;

    // Conforms: RFC 7857 IPv4 ID
    #[test]
    fn none_comes_twice_within_half_of_all() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut identifications = Identifications::default();
        let mut last = vec![None; 1 << 16];
        for now in 0..5 * APART {
            let drawn = identifications.draw(|| random.next_u64());
            if let Some(before) = last[usize::from(drawn)].replace(now) {
                assert!(now - before > APART, "{drawn} after {}", now - before);
            }
        }
        // And the other half is not neglected.
        assert!(last.iter().filter(|it| it.is_none()).count() < 4000);
    }
}
