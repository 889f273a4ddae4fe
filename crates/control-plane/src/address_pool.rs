//! The addresses of one subnet.
//!
//! The first four addresses and the last are the VPC's own (ADR-01, ADR-02). Of the others, the
//! lowest free one is given out, so that a plan is a function of the order of its requests. An address
//! that was in use until this plan is spared while there are others: packets and connections of its
//! last holder may still be on their way.

use std::{
    collections::{BTreeSet, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

/// Network, router, resolver and one kept for the future (ADR-01).
const RESERVED_AT_START: u128 = 4;

/// The free addresses of a subnet.
#[derive(Clone, Debug)]
pub(crate) struct AddressPool {
    family: Family,
    first: u128,
    last: u128,
    /// INVARIANT: everything usable below it is taken, returned or spared.
    next: u128,
    taken: HashSet<u128>,
    /// Given back, and all below `next`.
    returned: BTreeSet<u128>,
    /// Given out only when nothing else is left.
    spared: BTreeSet<u128>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl AddressPool {
    /// All usable addresses of the block, free.
    pub(crate) fn new(block: IpNet) -> Self {
        let (family, network) = number(block.network());
        let (_, broadcast) = number(block.broadcast());
        let first = network + RESERVED_AT_START;
        // A block of fewer than six addresses leaves `first` above `last`: nothing is usable.
        Self {
            family,
            first,
            last: broadcast.saturating_sub(1),
            next: first,
            taken: HashSet::new(),
            returned: BTreeSet::new(),
            spared: BTreeSet::new(),
        }
    }

    /// All addresses of a block that is no subnet: only its first and last are no host's.
    pub(crate) fn without_vpc(block: IpNet) -> Self {
        let pool = Self::new(block);
        let (_, network) = number(block.network());
        Self { first: network + 1, next: network + 1, ..pool }
    }

    /// The same, sparing these addresses.
    pub(crate) fn sparing(self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let addresses = addresses.into_iter().map(number);
        let own = addresses.filter(|(family, _)| *family == self.family);
        let spared = own.map(|(_, address)| address).collect();
        Self { spared, ..self }
    }

    /// Addresses that are not reserved, free or not.
    pub(crate) fn usable(&self) -> u128 {
        (self.last + 1).saturating_sub(self.first)
    }

    /// Addresses that can be taken.
    pub(crate) fn free(&self) -> u128 {
        self.usable() - self.taken.len() as u128
    }

    /// Takes this very address. False when it is taken, reserved or outside the subnet.
    pub(crate) fn take(&mut self, address: IpAddr) -> bool {
        let (family, address) = number(address);
        let taken = family == self.family
            && (self.first..=self.last).contains(&address)
            && self.taken.insert(address);
        if taken {
            self.returned.remove(&address);
        }
        taken
    }

    /// Gives an address back that was taken.
    pub(crate) fn give_back(&mut self, address: IpAddr) {
        let (family, address) = number(address);
        if family == self.family && self.taken.remove(&address) && address < self.next {
            self.returned.insert(address);
        }
    }

    /// Gives an address back that is to rest: it is given out only when nothing else is left.
    pub(crate) fn rest(&mut self, address: IpAddr) {
        let (family, address) = number(address);
        if family == self.family && self.taken.remove(&address) {
            self.spared.insert(address);
        }
    }

    /// Ends all rest: whatever is free can be given out again, the lowest first.
    pub(crate) fn wake(&mut self) {
        for address in std::mem::take(&mut self.spared) {
            let usable = (self.first..=self.last).contains(&address);
            if usable && address < self.next && !self.taken.contains(&address) {
                self.returned.insert(address);
            }
        }
    }

    /// Takes the lowest free address.
    pub(crate) fn take_lowest(&mut self) -> Option<IpAddr> {
        if let Some(returned) = self.returned.pop_first() {
            self.taken.insert(returned);
            return Some(address(self.family, returned));
        }
        while self.next <= self.last {
            let candidate = self.next;
            self.next += 1;
            if !self.spared.contains(&candidate) && self.taken.insert(candidate) {
                return Some(address(self.family, candidate));
            }
        }
        while let Some(spared) = self.spared.pop_first() {
            if (self.first..=self.last).contains(&spared) && self.taken.insert(spared) {
                return Some(address(self.family, spared));
            }
        }
        None
    }
}

/// Two are the same when the same addresses are free, however they came to be.
impl PartialEq for AddressPool {
    fn eq(&self, other: &Self) -> bool {
        let whole = |pool: &Self| (pool.family, pool.first, pool.last);
        whole(self) == whole(other) && self.taken == other.taken && self.spared == other.spared
    }
}

impl Eq for AddressPool {}

/// The address of the VPC's router in this subnet: base + 1 (ADR-01).
pub(crate) fn router(block: IpNet) -> IpAddr {
    let (family, network) = number(block.network());
    address(family, network | 1)
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        Family::V4 => {
            let number = u32::try_from(number).expect("an IPv4 block holds IPv4 addresses");
            Ipv4Addr::from_bits(number).into()
        }
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

fn number(address: IpAddr) -> (Family, u128) {
    match address {
        IpAddr::V4(address) => (Family::V4, address.to_bits().into()),
        IpAddr::V6(address) => (Family::V6, address.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(block: &str) -> AddressPool {
        AddressPool::new(block.parse().unwrap())
    }

    // Conforms: ADR-01
    #[test]
    fn adr_01_four_at_the_start_and_one_at_the_end_are_reserved() {
        let mut pool = pool("10.0.1.0/28");
        assert_eq!(pool.usable(), 11);
        let given: Vec<String> =
            std::iter::from_fn(|| pool.take_lowest()).map(|address| address.to_string()).collect();
        assert_eq!(given.len(), 11);
        assert_eq!(given.first().unwrap(), "10.0.1.4");
        assert_eq!(given.last().unwrap(), "10.0.1.14");
        for reserved in ["10.0.1.0", "10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.1.15"] {
            assert!(!pool.take(reserved.parse().unwrap()), "{reserved}");
        }
    }

    #[test]
    fn outside_vpcs_only_the_ends_of_a_block_are_no_hosts() {
        let mut pool = AddressPool::without_vpc("100.64.0.0/30".parse().unwrap());
        assert_eq!(pool.usable(), 2);
        let given: Vec<String> =
            std::iter::from_fn(|| pool.take_lowest()).map(|address| address.to_string()).collect();
        assert_eq!(given, ["100.64.0.1", "100.64.0.2"]);
    }

    #[test]
    fn a_named_address_is_skipped_and_given_once() {
        let mut pool = pool("10.0.1.0/24");
        assert!(pool.take("10.0.1.4".parse().unwrap()));
        assert!(!pool.take("10.0.1.4".parse().unwrap()));
        assert!(!pool.take("10.0.2.4".parse().unwrap()), "outside");
        assert!(!pool.take("2001:db8::4".parse().unwrap()), "another family");
        assert_eq!(pool.take_lowest(), Some("10.0.1.5".parse().unwrap()));
    }

    #[test]
    fn what_is_given_back_is_the_lowest_again() {
        let mut pool = pool("10.0.1.0/28");
        let given: Vec<IpAddr> = std::iter::from_fn(|| pool.take_lowest()).collect();
        assert_eq!(pool.free(), 0);
        for address in [given[7], given[2], given[5]] {
            pool.give_back(address);
            pool.give_back(address);
        }
        pool.give_back("10.0.2.4".parse().unwrap());
        assert_eq!(pool.free(), 3);
        assert!(pool.take(given[5]));
        assert_eq!(pool.take_lowest(), Some(given[2]));
        assert_eq!(pool.take_lowest(), Some(given[7]));
        assert_eq!(pool.take_lowest(), None);
    }

    #[test]
    fn what_rests_comes_last_until_it_is_woken() {
        let mut pool = pool("10.0.1.0/28");
        let given: Vec<IpAddr> = (0..3).filter_map(|_| pool.take_lowest()).collect();
        pool.rest(given[0]);
        pool.rest(given[1]);
        assert_eq!(pool.free(), 10);
        assert_eq!(pool.take_lowest(), Some("10.0.1.7".parse().unwrap()));
        pool.wake();
        assert_eq!(pool.take_lowest(), Some(given[0]));
        assert_eq!(std::iter::from_fn(|| pool.take_lowest()).count(), 8);
    }

    #[test]
    fn what_was_named_and_given_back_before_its_turn_comes_in_its_turn() {
        let mut pool = pool("10.0.1.0/28");
        let named: IpAddr = "10.0.1.5".parse().unwrap();
        assert!(pool.take(named));
        pool.give_back(named);
        let given: Vec<IpAddr> = std::iter::from_fn(|| pool.take_lowest()).collect();
        assert_eq!((given.len(), given[1]), (11, named));
    }

    #[test]
    fn what_was_in_use_comes_last_and_comes() {
        let of_before = ["10.0.1.4", "10.0.1.6", "10.0.9.9", "2001:db8::4"];
        let mut pool = pool("10.0.1.0/28").sparing(of_before.map(|text| text.parse().unwrap()));
        assert!(pool.take("10.0.1.6".parse().unwrap()), "its holder keeps it");
        let given: Vec<String> =
            std::iter::from_fn(|| pool.take_lowest()).map(|address| address.to_string()).collect();
        assert_eq!(given.len(), 10);
        assert_eq!((given[0].as_str(), given[1].as_str()), ("10.0.1.5", "10.0.1.7"));
        assert_eq!(given.last().unwrap(), "10.0.1.4");
    }

    #[test]
    fn the_end_of_the_address_space_is_an_end_too() {
        let mut pool = pool("255.255.255.240/28");
        assert_eq!(std::iter::from_fn(|| pool.take_lowest()).count(), 11);
    }

    #[test]
    fn blocks_too_small_for_the_reserved_addresses_have_none() {
        for block in ["10.0.0.0/32", "10.0.0.0/31", "10.0.0.0/30"] {
            let mut pool = pool(block);
            assert_eq!((pool.usable(), pool.take_lowest()), (0, None), "{block}");
        }
    }

    #[test]
    fn adr_02_ipv6_subnets_reserve_the_same() {
        let mut pool = pool("2001:db8::/64");
        assert_eq!(pool.take_lowest(), Some("2001:db8::4".parse().unwrap()));
    }
}
