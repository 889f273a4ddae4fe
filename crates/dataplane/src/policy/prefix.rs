//! Longest-prefix match over IPv4: a table of disjoint ranges, found by binary search.
//!
//! A route table has at most a thousand routes (RT-25) and changes rarely, so the prefixes are cut
//! into ranges once, each with the longest prefix that covers it: 500 routes make at most 1,001
//! ranges, ten comparisons in one contiguous array. Nothing is walked twice and nothing can nest.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Prefixes with a value each; the longest one that contains an address decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrefixTable<T> {
    /// First address of each range, ascending; the first range starts at 0.0.0.0.
    starts: Box<[u32]>,
    /// What decides in the range of the same index.
    values: Box<[Option<T>]>,
}

impl<T: Copy + PartialEq> PrefixTable<T> {
    /// Builds the table. Of two equal prefixes the first one counts.
    pub(crate) fn new(prefixes: impl IntoIterator<Item = (Ipv4Net, T)>) -> Self {
        let mut prefixes: Vec<(Ipv4Net, T)> =
            prefixes.into_iter().map(|(prefix, value)| (prefix.trunc(), value)).collect();
        // Outer prefixes before the ones they contain; the sort is stable, so the first of equals
        // stays first.
        prefixes.sort_by_key(|(prefix, _)| (u32::from(prefix.network()), prefix.prefix_len()));
        prefixes.dedup_by_key(|(prefix, _)| *prefix);

        let mut ranges = Ranges { starts: vec![0], values: vec![None] };
        // The prefixes around the present address, outermost first.
        let mut open: Vec<(Ipv4Net, T)> = Vec::new();
        for (prefix, value) in prefixes {
            while let Some((inner, _)) = open.last()
                && !inner.contains(&prefix)
            {
                ranges.close(&mut open);
            }
            ranges.push(prefix.network().into(), Some(value));
            open.push((prefix, value));
        }
        while !open.is_empty() {
            ranges.close(&mut open);
        }
        Self { starts: ranges.starts.into(), values: ranges.values.into() }
    }

    /// The value of the longest prefix that contains the address.
    pub(crate) fn find(&self, address: Ipv4Addr) -> Option<T> {
        let address = u32::from(address);
        // The first range starts at 0, so the count is never 0.
        self.values[self.starts.partition_point(|start| *start <= address) - 1]
    }
}

/// The ranges made so far.
struct Ranges<T> {
    starts: Vec<u32>,
    values: Vec<Option<T>>,
}

impl<T: Copy + PartialEq> Ranges<T> {
    /// Ends the innermost prefix: what follows it belongs to the one around it.
    fn close(&mut self, open: &mut Vec<(Ipv4Net, T)>) {
        let Some((inner, _)) = open.pop() else { return };
        if let Some(after) = u32::from(inner.broadcast()).checked_add(1) {
            self.push(after, open.last().map(|(_, value)| *value));
        }
    }

    fn push(&mut self, start: u32, value: Option<T>) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Addresses from a small space, so that prefixes nest and collide.
    fn address() -> impl Strategy<Value = Ipv4Addr> {
        prop_oneof![
            (0_u32..1024).prop_map(|low| Ipv4Addr::from(0x0a00_0000 | low)),
            (0_u32..64).prop_map(|low| Ipv4Addr::from(u32::MAX - low)),
            any::<u32>().prop_map(Ipv4Addr::from),
        ]
    }

    fn prefix() -> impl Strategy<Value = Ipv4Net> {
        (address(), prop_oneof![0_u8..=32, 22_u8..=32])
            .prop_map(|(address, length)| Ipv4Net::new(address, length).unwrap().trunc())
    }

    fn naive(prefixes: &[(Ipv4Net, usize)], address: Ipv4Addr) -> Option<usize> {
        let mut best: Option<(u8, usize)> = None;
        for (prefix, value) in prefixes {
            let longer = best.is_none_or(|(length, _)| prefix.prefix_len() > length);
            if prefix.contains(&address) && longer {
                best = Some((prefix.prefix_len(), *value));
            }
        }
        best.map(|(_, value)| value)
    }

    proptest! {
        #[test]
        fn rt_04_the_longest_prefix_decides_as_in_a_naive_scan(
            prefixes in prop::collection::vec(prefix(), 0..40),
            others in prop::collection::vec(address(), 1..40),
        ) {
            let prefixes: Vec<_> = prefixes.into_iter().zip(0..).collect();
            let table = PrefixTable::new(prefixes.iter().copied());
            // Every border of every prefix, and its neighbours.
            let borders = prefixes.iter().flat_map(|(prefix, _)| {
                let (first, last) = (u32::from(prefix.network()), u32::from(prefix.broadcast()));
                [first.wrapping_sub(1), first, last, last.wrapping_add(1)].map(Ipv4Addr::from)
            });
            for address in borders.chain(others.iter().copied()) {
                prop_assert_eq!(table.find(address), naive(&prefixes, address), "{}", address);
            }
        }
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        let table = PrefixTable::<u8>::new([]);
        assert_eq!(table.find(Ipv4Addr::UNSPECIFIED), None);
        assert_eq!(table.find(Ipv4Addr::BROADCAST), None);
    }
}
