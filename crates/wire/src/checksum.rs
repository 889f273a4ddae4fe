//! The internet checksum: summing (RFC 1071), updating by difference (RFC 1624), the TCP and UDP
//! pseudo-header, and UDP's zero.
//!
//! The checksum of some data is the complement of its one's complement sum in 16-bit words. Sums
//! are kept here in 64 bits and folded once at the end: a 32-bit number adds the same as its two
//! halves, since 2¹⁶ ≡ 1 (mod 2¹⁶ − 1), and 64 KiB of them stay below 2⁴⁷.
//!
//! A TCP or UDP checksum field can be in two states:
//! - **complete**: it holds the checksum. A changed address or port is folded in by difference.
//! - **partial** (NEEDS_CSUM): it holds the *uncomplemented* sum of the pseudo-header alone, and
//!   whoever completes it sums from the transport header on, this field included. Addresses count
//!   in it, ports do not. It is written afresh rather than updated: [`pseudo_header`].

use std::net::Ipv4Addr;

/// A one's complement sum in the making.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes that start at an even offset of the summed data. An odd last byte is padded
    /// with zero, so only the last piece may have an odd length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut sum = self.0;
        let (quads, rest) = bytes.as_chunks::<4>();
        for quad in quads {
            sum += u64::from(u32::from_be_bytes(*quad));
        }
        let last = match *rest {
            [a, b, c] => [a, b, c, 0],
            [a, b] => [a, b, 0, 0],
            [a] if cfg!(viaduct_planted = "odd-checksum") => [0, a, 0, 0], // docs/fuzzing.md
            [a] => [a, 0, 0, 0],
            _ => [0; 4],
        };
        Self(sum + u64::from(u32::from_be_bytes(last)))
    }

    /// Adds one 16-bit word.
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds an address.
    #[must_use]
    pub const fn address(self, address: Ipv4Addr) -> Self {
        Self(self.0 + address.to_bits() as u64)
    }

    /// The sum in 16 bits: 0 only if all that was added was 0. Over data that holds its own
    /// checksum, 0xffff if that is right.
    #[must_use]
    pub const fn fold(self) -> u16 {
        fold(self.0)
    }

    /// The checksum of what was added.
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// The checksum for a UDP header: a computed 0 is sent as 0xffff, because 0 there means that
    /// the sender made none (RFC 768).
    #[must_use]
    pub const fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// The sum of the pseudo-header that TCP and UDP checksums cover: addresses, protocol, and the
/// length of transport header and payload. Folded, it is what the partial state's field holds.
#[must_use]
pub const fn pseudo_header(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    length: u16,
) -> Sum {
    Sum(0).address(source).address(destination).word(protocol as u16).word(length)
}

/// What changes of checksummed fields add up to; [`apply`](Self::apply) it to each complete
/// checksum that covers those fields. RFC 1624 equation 3: HC' = ~(~HC + ~m + m').
#[derive(Clone, Copy, Debug, Default)]
pub struct Difference(u64);

impl Difference {
    /// A 16-bit field changed.
    #[must_use]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// An address changed.
    #[must_use]
    pub const fn address(self, old: Ipv4Addr, new: Ipv4Addr) -> Self {
        Self(self.0 + !old.to_bits() as u64 + new.to_bits() as u64)
    }

    /// Several changes together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum after the changes. One that was wrong stays wrong by as much.
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold(!checksum as u64 + self.0)
    }

    /// The checksum of a UDP header after the changes: none (0) stays none.
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// Reduces a sum to 16 bits. Each step keeps it modulo 2¹⁶ − 1 and never makes a non-zero sum
/// zero; the second step of each width takes in the carry of the first.
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 section 3's example.
    #[test]
    fn the_example_of_rfc_1071() {
        let sum = Sum::default().bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
        assert_eq!(sum.checksum(), 0x220d);
    }

    /// RFC 1624 section 4: 0xdd2f with m 0x5555 → 0x3285 gives 0x0000, where RFC 1141's formula
    /// gave 0xffff.
    #[test]
    fn the_example_of_rfc_1624() {
        assert_eq!(Difference::default().word(0x5555, 0x3285).apply(0xdd2f), 0);
        assert_eq!(Difference::default().word(0x5555, 0x3285).apply_udp(0xdd2f), 0xffff);
    }

    #[test]
    fn a_udp_checksum_of_zero_means_none() {
        assert_eq!(Difference::default().word(1, 2).apply_udp(0), 0);
        assert_eq!(Sum::default().word(0xffff).checksum(), 0);
        assert_eq!(Sum::default().word(0xffff).udp_checksum(), 0xffff);
    }

    #[test]
    fn the_largest_sums_do_not_overflow() {
        let data = vec![0xff; 65_536];
        assert_eq!(Sum(u64::from(u32::MAX)).bytes(&data).fold(), 0xffff);
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0), 0);
    }

    /// RFC 1071 as its text has it: word by word, each carry added back at once.
    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).expect("carry added back")
    }

    proptest! {
        #[test]
        fn any_bytes_sum_as_the_rfc_says(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sum::default().bytes(&bytes).checksum(), by_the_book(&bytes));
        }

        #[test]
        fn folding_keeps_the_sum_modulo_0xffff(sum in any::<u64>()) {
            prop_assert_eq!(u64::from(fold(sum)) % 0xffff, sum % 0xffff);
            prop_assert_eq!(fold(sum) == 0, sum == 0);
        }

        #[test]
        fn an_update_equals_a_new_sum(
            mut words in prop::collection::vec(any::<u16>(), 4..40),
            word in any::<u16>(),
            address in any::<u32>(),
        ) {
            // No header is all zero; only then do the two forms of zero differ.
            words[0] |= 1;
            let sum = |words: &[u16]| words.iter().fold(Sum::default(), |sum, &w| sum.word(w));
            let before = sum(&words).checksum();
            let old = Ipv4Addr::from_bits(u32::from(words[2]) << 16 | u32::from(words[3]));
            let new = Ipv4Addr::from_bits(address);
            let difference = Difference::default()
                .word(words[1], word)
                .and(Difference::default().address(old, new));
            words[1] = word;
            words[2] = (address >> 16) as u16;
            words[3] = address as u16;
            prop_assert_eq!(difference.apply(before), sum(&words).checksum());
        }
    }
}
