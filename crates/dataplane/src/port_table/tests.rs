//! The table's laws, held against a model that knows nothing of bitmaps.

mod guessing;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::atomic::AtomicBool,
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::*;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const REST: Duration = Duration::from_secs(120);

pub(super) fn limits(first: u16, last: u16) -> PortLimits {
    PortLimits { ports: PortRange { first, last }, connections: None, per_destination: None }
}

pub(super) fn host(number: u32) -> (Ipv4Addr, u16) {
    (Ipv4Addr::from_bits(0x0a00_0000 + number), 443)
}

#[test]
fn three_quarters_of_the_connections_or_of_one_destination_s_ports_are_nearly_all() {
    let table = PortTable::new(limits(1, 8));
    let take =
        |number: u32| table.reserve(TCP, host(number), spread(number), Moment::ZERO).unwrap();
    let mut leases: Vec<PortLease> = (0..5).map(|_| take(1)).collect();
    leases.extend((0..5).map(|_| take(2)));
    assert!(!table.is_near_capacity());
    let sixth = take(2);
    assert!(table.is_near_capacity());
    drop(take(2));
    assert!(table.is_near_capacity());
    drop(sixth);
    assert!(!table.is_near_capacity());

    table.set_limits(PortLimits { connections: Some(14), ..limits(1, 8) });
    assert!(!table.is_near_capacity(), "10 of 14");
    leases.push(take(3));
    assert!(table.is_near_capacity(), "11 of 14");
}

/// Spreads a counter over all of `u64`, as good randomness would.
fn spread(counter: u32) -> u64 {
    u64::from(counter).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What happens to a table, with lists of leases addressed by a number taken modulo their length.
#[derive(Clone, Debug)]
enum Step {
    Reserve { udp: bool, destination: u32, random: u64 },
    Replace { destination: u32, rejected: usize, random: u64 },
    Drop(usize),
    Close(usize),
    Wait(u64),
    Trim,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<bool>(), 0..3u32, any::<u64>())
            .prop_map(|(udp, destination, random)| Step::Reserve { udp, destination, random }),
        1 => (0..3u32, 1..3usize, any::<u64>())
            .prop_map(|(destination, rejected, random)| Step::Replace { destination, rejected, random }),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => any::<usize>().prop_map(Step::Close),
        2 => prop_oneof![0..5_000u64, 0..200_000u64].prop_map(Step::Wait),
        1 => Just(Step::Trim),
    ]
}

/// One port of one protocol, as the laws speak of it.
#[derive(Clone, Debug, Default)]
struct Port {
    towards: BTreeSet<u32>,
    /// One of its connections ended unseen since it was last free.
    unseen: bool,
    /// When, and as how many'th, it was laid to rest.
    resting: Option<(Moment, usize)>,
}

#[derive(Debug)]
struct Model {
    limits: PortLimits,
    now: Moment,
    ports: BTreeMap<(u8, u16), Port>,
    /// As the table holds them, and the model: (protocol, destination, lease).
    leases: Vec<(u8, u32, PortLease)>,
    laid_to_rest: usize,
}

impl Model {
    fn new(limits: PortLimits) -> Self {
        let range = limits.ports.first..=limits.ports.last;
        let ports = [TCP, UDP]
            .into_iter()
            .flat_map(|protocol| range.clone().map(move |port| ((protocol, port), Port::default())))
            .collect();
        let now = Moment::from_millis(1_000_000);
        Self { limits, now, ports, leases: Vec::new(), laid_to_rest: 0 }
    }

    fn of(&self, protocol: u8) -> impl Iterator<Item = (u16, &Port)> {
        self.ports
            .range((protocol, 0)..=(protocol, u16::MAX))
            .map(|(&(_, port), state)| (port, state))
    }

    /// What the laws say of a reservation that ended so.
    fn reserved(
        &mut self,
        protocol: u8,
        destination: u32,
        discount: u32,
        result: Result<PortLease, Exhausted>,
    ) -> Result<(), TestCaseError> {
        let in_use = self.leases.len() as u32;
        let towards =
            self.of(protocol).filter(|(_, port)| port.towards.contains(&destination)).count()
                as u32;
        let over = |limit: Option<u32>, used| limit.is_some_and(|limit| used - discount >= limit);
        let expected_error = if over(self.limits.connections, in_use) {
            Some(Exhausted::Quota)
        } else if over(self.limits.per_destination, towards)
            || towards == self.of(protocol).count() as u32
        {
            Some(Exhausted::Ports)
        } else {
            None
        };
        prop_assert_eq!(result.as_ref().err().copied(), expected_error);
        let Ok(lease) = result else { return Ok(()) };

        let given = self.ports.get(&(protocol, lease.port())).cloned();
        let Some(given) = given else {
            return Err(TestCaseError::fail(format!("{lease:?} is outside the range")));
        };
        prop_assert!(!given.towards.contains(&destination), "{:?} is in use already", lease);
        let free: Vec<_> = self.of(protocol).filter(|(_, port)| port.towards.is_empty()).collect();
        if !given.towards.is_empty() {
            prop_assert!(free.is_empty(), "{:?} is shared while a port is free", lease);
        } else if let Some((since, order)) = given.resting
            && self.now.since(since) < REST
        {
            for (port, other) in free {
                let rested_longer = other.resting.is_none_or(|(_, other)| other < order);
                prop_assert!(!rested_longer, "{:?} still rests, unlike {}", lease, port);
            }
        }
        let port = self.ports.entry((protocol, lease.port())).or_default();
        port.resting = None;
        port.towards.insert(destination);
        self.leases.push((protocol, destination, lease));
        Ok(())
    }

    fn give_back(&mut self, index: usize, closed: bool) {
        if self.leases.is_empty() {
            return;
        }
        let (protocol, destination, lease) = self.leases.swap_remove(index % self.leases.len());
        let port = self.ports.entry((protocol, lease.port())).or_default();
        port.towards.remove(&destination);
        port.unseen |= !closed;
        if port.towards.is_empty() && port.unseen {
            self.laid_to_rest += 1;
            (port.resting, port.unseen) = (Some((self.now, self.laid_to_rest)), false);
        }
        if closed { lease.close() } else { drop(lease) }
    }

    fn run(&mut self, table: &PortTable, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Reserve { udp, destination, random } => {
                let protocol = if udp { UDP } else { TCP };
                let result = table.reserve(protocol, host(destination), random, self.now);
                self.reserved(protocol, destination, 0, result)?;
            }
            Step::Replace { destination, rejected, random } => {
                let (mut rejects, mut at) = (Vec::new(), 0);
                while at < self.leases.len() && rejects.len() < rejected {
                    if (self.leases[at].0, self.leases[at].1) == (TCP, destination) {
                        rejects.push(self.leases.swap_remove(at).2);
                    } else {
                        at += 1;
                    }
                }
                let result =
                    table.reserve_instead(TCP, host(destination), &rejects, random, self.now);
                let discount = rejects.len() as u32;
                self.leases.extend(rejects.into_iter().map(|lease| (TCP, destination, lease)));
                self.reserved(TCP, destination, discount, result)?;
            }
            Step::Drop(index) => self.give_back(index, false),
            Step::Close(index) => self.give_back(index, true),
            Step::Wait(millis) => self.now = self.now + Duration::from_millis(millis),
            Step::Trim => table.trim(self.now),
        }
        prop_assert_eq!(table.in_use() as usize, self.leases.len());
        Ok(())
    }

    /// Has a destination take what it may have: from any state, every port that it does not use yet can
    /// be given to it, up to the limits.
    fn fill(&mut self, table: &PortTable, destination: u32) -> Result<(), TestCaseError> {
        let towards = |port: &Port| port.towards.contains(&destination);
        let used = self.of(TCP).filter(|(_, port)| towards(port)).count() as u32;
        let all = self.of(TCP).count() as u32;
        let may = all.min(self.limits.per_destination.unwrap_or(all)).saturating_sub(used);
        let total =
            self.limits.connections.unwrap_or(u32::MAX).saturating_sub(self.leases.len() as u32);
        for number in 0..may.min(total) {
            let result = table.reserve(TCP, host(destination), spread(number), self.now);
            prop_assert!(result.is_ok(), "{} of {}: {:?}", number, may.min(total), result);
            self.reserved(TCP, destination, 0, result)?;
        }
        let result = table.reserve(TCP, host(destination), 0, self.now);
        prop_assert!(result.is_err(), "{:?} is one too many", result);
        Ok(())
    }

    /// Gives everything back. Nothing is left of it then: nothing in use, every port to be had once, and
    /// after the rest no memory but a protocol's bare entry.
    fn is_forgotten(&mut self, table: &PortTable) -> Result<(), TestCaseError> {
        self.leases.clear();
        prop_assert_eq!((table.in_use(), table.usage().shared), (0, 0));
        let size = self.of(TCP).count() as u32;
        let all = size.min(self.limits.connections.unwrap_or(u32::MAX));
        let leases: Vec<_> = (0..all)
            .map(|number| table.reserve(TCP, host(100 + number), spread(number), self.now))
            .collect::<Result<_, _>>()
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        let distinct: HashSet<_> = leases.iter().map(PortLease::port).collect();
        prop_assert_eq!(distinct.len() as u32, all);

        drop(leases);
        table.trim(self.now);
        table.trim(self.now + REST);
        let bare = size_of::<PortTable>() + size_of::<Shared>() + 2 * size_of::<Protocol>();
        prop_assert!(table.usage().memory <= bare, "{:?} is left", table.usage());
        Ok(())
    }
}

/// Much of one thing.
#[derive(Clone, Debug)]
enum Burst {
    Reserve(u32),
    Drop,
    Close,
    Wait,
}

fn burst() -> impl Strategy<Value = Burst> {
    prop_oneof![
        4 => (0..2u32).prop_map(Burst::Reserve),
        1 => Just(Burst::Drop),
        1 => Just(Burst::Close),
        1 => Just(Burst::Wait),
    ]
}

impl Burst {
    fn step(&self, random: u64) -> Step {
        match *self {
            Self::Reserve(destination) => Step::Reserve { udp: false, destination, random },
            Self::Drop => Step::Drop((random >> 32) as usize),
            Self::Close => Step::Close((random >> 32) as usize),
            Self::Wait => Step::Wait(random >> 52),
        }
    }
}

proptest! {
    /// Whatever is done: a port has one connection to each destination; none is taken from whoever holds
    /// it; sharing begins when nothing is free; who rests is asked last, but before anybody is refused;
    /// the limits are met exactly.
    // Conforms: RFC 6888 R8, RFC 6888 R13, RFC 6888 R4, RFC 6888 R11, RFC 7857 overlapping
    #[test]
    fn long_histories_keep_the_laws(
        size in 1..14u16,
        connections in prop_oneof![Just(None), (0..30u32).prop_map(Some)],
        per_destination in prop_oneof![Just(None), (1..10u32).prop_map(Some)],
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let limits = PortLimits { connections, per_destination, ..limits(5000, 5000 + size - 1) };
        let table = PortTable::new(limits);
        let mut model = Model::new(limits);
        for step in steps {
            model.run(&table, step)?;
        }

        // Whatever is held: as many more are given to a destination as it may have, and no more.
        for destination in 0..3 {
            model.fill(&table, destination)?;
        }
        model.is_forgotten(&table)?;
    }

    /// RFC 4787, REQ-11: what a table does follows from what was done with it, also when little is left;
    /// nothing depends on where the memory lies or on how tables hash.
    // Conforms: RFC 4787 R11
    #[test]
    fn two_tables_with_one_history_agree(
        size in 1..14u16,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let limits = limits(5000, 5000 + size - 1);
        let tables = [PortTable::new(limits), PortTable::new(limits)];
        let mut models = [Model::new(limits), Model::new(limits)];
        for step in steps {
            for (table, model) in tables.iter().zip(&mut models) {
                model.run(table, step.clone())?;
            }
            let [one, other] = models.each_ref().map(|model| {
                model.leases.iter().map(|(.., lease)| lease.port()).collect::<Vec<_>>()
            });
            prop_assert_eq!(one, other);
        }
    }

    /// One destination's set through all its sizes and back.
    #[test]
    fn a_destination_knows_its_ports_at_every_size(
        peak in prop_oneof![1..20usize, 100..200usize],
        order in Just((0..200u16).collect::<Vec<_>>()).prop_shuffle(),
        starts in prop::collection::vec(0..200u32, 200),
    ) {
        let mut destination = destination::Destination::new(host(1));
        let mut model = BTreeSet::new();
        let check = |destination: &destination::Destination, model: &BTreeSet<u32>, start: u32| {
            let mut around = (start..200).chain(0..start);
            prop_assert_eq!(destination.unused(start, 200), around.find(|port| !model.contains(port)));
            prop_assert_eq!(destination.len() as usize, model.len());
            Ok(())
        };
        for (&port, &start) in order.iter().zip(&starts).take(peak) {
            destination.insert(port, 200);
            model.insert(u32::from(port));
            check(&destination, &model, start)?;
        }
        for (&port, &start) in order.iter().zip(&starts).take(peak) {
            prop_assert!(destination.remove(port));
            prop_assert!(!destination.remove(port));
            model.remove(&u32::from(port));
            check(&destination, &model, start)?;
        }
        prop_assert_eq!(destination.memory(), 0, "a grown set outlived its members");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The same where destinations grow from a handful of ports to a bitmap of them and shrink again,
    /// with many ports given back at once.
    #[test]
    fn long_histories_of_many_ports_keep_the_laws(
        size in 120..300u16,
        per_destination in prop_oneof![Just(None), (100..250u32).prop_map(Some)],
        bursts in prop::collection::vec((burst(), 1..160usize), 1..24),
    ) {
        let limits = PortLimits { per_destination, ..limits(5000, 5000 + size - 1) };
        let table = PortTable::new(limits);
        let mut model = Model::new(limits);
        let mut serial = 0;
        for (burst, times) in bursts {
            for _ in 0..times {
                serial += 1;
                model.run(&table, burst.step(spread(serial)))?;
            }
        }
        model.fill(&table, 0)?;
        model.is_forgotten(&table)?;
    }
}

/// LAM-07, D-11: 65,000 connections over 64,512 ports; the first 64,512 have one each.
// Conforms: D-11, RFC 6888 R4, LAM-07
#[test]
fn an_eni_carries_65_000_connections_and_no_more() {
    let limits = PortLimits { connections: Some(65_000), ..limits(1024, 65_535) };
    let table = PortTable::new(limits);
    let reserve = |number: u32| table.reserve(TCP, host(number), spread(number), Moment::ZERO);

    let alone: Vec<_> = (0..64_512).map(|number| reserve(number).unwrap()).collect();
    assert_eq!(alone.iter().map(PortLease::port).collect::<HashSet<_>>().len(), 64_512);
    assert_eq!(table.usage().shared, 0);
    let sharing: Vec<_> = (64_512..65_000).map(|number| reserve(number).unwrap()).collect();
    assert_eq!(table.usage().shared, 488);

    assert_eq!(reserve(65_000).unwrap_err(), Exhausted::Quota);
    let udp = table.reserve(UDP, host(1), 0, Moment::ZERO);
    assert_eq!(udp.unwrap_err(), Exhausted::Quota, "the quota is over all protocols");

    drop((alone, sharing));
    assert_eq!(table.in_use(), 0);
    assert_eq!(table.usage().shared, 0);
}

/// D-11: one destination cannot have more connections than there are ports.
// Conforms: RFC 6888 R13
#[test]
fn one_destination_has_every_port_once() {
    let table = PortTable::new(limits(1024, 65_535));
    let reserve = |number: u32| table.reserve(TCP, host(1), spread(number), Moment::ZERO);
    let leases: Vec<_> = (0..64_512).map(|number| reserve(number).unwrap()).collect();
    assert_eq!(leases.iter().map(PortLease::port).collect::<HashSet<_>>().len(), 64_512);
    assert_eq!(reserve(0).unwrap_err(), Exhausted::Ports);
    assert!(table.reserve(TCP, host(2), 0, Moment::ZERO).is_ok(), "another destination has room");
}

/// NAT-05, NAT-09: 55,000 for each (address, port, protocol), with no total.
// Conforms: RFC 7857 overlapping, NAT-05, NAT-09, RFC 7857 per protocol
#[test]
fn a_nat_gateway_address_carries_55_000_connections_to_each_destination() {
    let limits = PortLimits { per_destination: Some(55_000), ..limits(1024, 65_535) };
    let table = PortTable::new(limits);
    let reserve = |protocol, to| table.reserve(protocol, to, spread(table.in_use()), Moment::ZERO);
    let (address, port) = host(1);
    let mut leases = Vec::new();
    for (protocol, to) in
        [(TCP, host(1)), (TCP, host(2)), (TCP, (address, port + 1)), (UDP, host(1))]
    {
        leases.extend((0..55_000).map(|_| reserve(protocol, to).unwrap()));
        assert_eq!(reserve(protocol, to).unwrap_err(), Exhausted::Ports);
    }
    assert_eq!(table.in_use(), 4 * 55_000);
    leases.swap_remove(0).close();
    assert!(reserve(TCP, host(1)).is_ok());
}

/// RFC 6888, REQ-8: a port rests 120 s unless its close was seen.
// Conforms: RFC 6888 R8
#[test]
fn a_dropped_port_rests_and_a_closed_one_does_not() {
    let table = PortTable::new(limits(2000, 2001));
    let at = |seconds: u64| Moment::ZERO + Duration::from_secs(seconds);
    let reserve = |now| table.reserve(TCP, host(1), 0, now).unwrap();

    let (first, second) = (reserve(at(0)), reserve(at(0)));
    let (dropped, closed) = (first.port(), second.port());
    drop(first);
    second.close();
    let again = reserve(at(10));
    assert_eq!(again.port(), closed);
    again.close();
    let again = reserve(at(129));
    assert_eq!(again.port(), closed, "the other one has rested for 119 s since its drop was seen");
    assert_eq!(reserve(at(129)).port(), dropped, "but it is taken rather than nobody be served");
    again.close();
    let again = reserve(at(249));
    let both = [again.port(), reserve(at(249)).port()];
    assert_eq!(BTreeSet::from(both), BTreeSet::from([closed, dropped]));
}

/// A shared port whose one connection ended unseen rests when the last one closes.
#[test]
fn a_close_does_not_spare_a_shared_port_the_rest_that_another_connection_left_it() {
    let table = PortTable::new(limits(2000, 2001));
    let reserve = |to, now| table.reserve(TCP, host(to), 0, now).unwrap();
    let (a, b) = (reserve(1, Moment::ZERO), reserve(2, Moment::ZERO));
    let shared = reserve(3, Moment::ZERO);
    let (owner, other) = if shared.port() == a.port() { (a, b) } else { (b, a) };
    let (unseen, seen) = (shared.port(), other.port());
    drop(shared);
    owner.close();
    other.close();
    let next = [reserve(1, Moment::ZERO).port(), reserve(1, Moment::ZERO).port()];
    assert_eq!(next, [seen, unseen]);
}

#[test]
fn a_port_taken_elsewhere_is_replaced_at_the_limit_too() {
    let limits =
        PortLimits { connections: Some(2), per_destination: Some(1), ..limits(2000, 2002) };
    let table = PortTable::new(limits);
    let rejected = vec![table.reserve(TCP, host(1), 0, Moment::ZERO).unwrap()];
    assert_eq!(table.reserve(TCP, host(1), 0, Moment::ZERO).unwrap_err(), Exhausted::Ports);
    let lease = table.reserve_instead(TCP, host(1), &rejected, 0, Moment::ZERO).unwrap();
    assert_ne!(lease.port(), rejected[0].port());
    drop(rejected);
    assert_eq!(table.in_use(), 1);
}

// Conforms: RFC 7857 per protocol
#[test]
fn a_port_that_is_asked_for_is_given_if_nobody_has_it() {
    const ICMP: u8 = protocol::ICMP;
    let inside = (Ipv4Addr::new(10, 0, 0, 1), 7);
    let table = PortTable::new(PortLimits { connections: Some(1), ..limits(1000, 1002) });
    let ask = |protocol, port, to| table.reserve_exactly(port, inside, protocol, host(to), 0);
    let leases = [ask(TCP, 1001, 1).unwrap(), ask(TCP, 1002, 1).unwrap()];
    assert_eq!(leases.each_ref().map(PortLease::port), [1001, 1002]);
    assert_eq!(table.in_use(), 2, "no limit has a say");
    assert!(ask(TCP, 1001, 1).is_none(), "it is in use there");
    assert!([999, 1003, 0, u16::MAX].iter().all(|port| ask(TCP, *port, 1).is_none()));
    let shared = ask(TCP, 1001, 2).expect("towards another destination it is free");
    assert_eq!(table.usage().shared, 1);
    let apart = ask(UDP, 1001, 1).expect("another protocol");
    assert_eq!(table.reserve(TCP, host(1), 0, Moment::ZERO).unwrap_err(), Exhausted::Quota);
    table.set_limits(limits(1000, 1002));
    let last = table.reserve(TCP, host(1), spread(7), Moment::ZERO).unwrap();
    assert_eq!(last.port(), 1000);
    assert_eq!(table.reserve(TCP, host(1), 0, Moment::ZERO).unwrap_err(), Exhausted::Ports);
    drop(last);
    assert!(ask(TCP, 1000, 2).is_none(), "it rests");

    // One inside end has one identifier, whoever it asks.
    let queries = [ask(ICMP, 1000, 1).unwrap(), ask(ICMP, 1000, 2).unwrap()];
    let third = table.reserve_for(inside, ICMP, host(3), &[], spread(1), Moment::ZERO).unwrap();
    assert_eq!(third.port(), 1000);
    drop((leases, shared, apart, queries, third));
    assert_eq!(table.in_use(), 0);

    let strict = Assignment { keeps_parity: false, overloads: false };
    let table = PortTable::assigning(limits(1000, 1002), strict);
    let ask = |protocol, to| table.reserve_exactly(1000, inside, protocol, host(to), 0);
    let held = [ask(TCP, 1).unwrap(), ask(ICMP, 1).unwrap(), ask(ICMP, 2).unwrap()];
    assert!(ask(TCP, 2).is_none(), "it must not be shared");
    drop(held);
}

#[test]
fn protocols_have_their_own_ports() {
    let table = PortTable::new(limits(2000, 2000));
    let leases = [TCP, UDP, 1].map(|protocol| table.reserve(protocol, host(1), 0, Moment::ZERO));
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(table.reserve(TCP, host(1), 0, Moment::ZERO).unwrap_err(), Exhausted::Ports);
}

#[test]
fn port_zero_is_never_given_and_an_empty_range_gives_nothing() {
    let table = PortTable::new(limits(0, 1));
    assert_eq!(table.reserve(TCP, host(1), 0, Moment::ZERO).map(|lease| lease.port()), Ok(1));
    let table = PortTable::new(limits(2, 1));
    assert_eq!(table.reserve(TCP, host(1), 0, Moment::ZERO).unwrap_err(), Exhausted::Ports);
    assert_eq!(table.in_use(), 0);
}

#[test]
fn an_idle_table_is_small_before_and_after() {
    let table = PortTable::new(limits(1024, 65_535));
    let idle = table.usage().memory;
    assert!(idle < 200, "{idle} bytes");

    let lease = table.reserve(TCP, host(1), 0, Moment::ZERO).unwrap();
    assert!(table.usage().memory > 8192);
    drop(lease);
    table.trim(Moment::ZERO);
    assert!(table.usage().memory > 8192, "its port rests");
    table.trim(Moment::ZERO + REST);
    assert!(table.usage().memory < 250, "{} bytes", table.usage().memory);
}

/// RFC 6056: every part of the range serves an equal part of the randomness.
// Conforms: RFC 4787 R4, RFC 6888 R15, RFC 7857 random port
#[test]
fn ports_are_spread_over_the_range() {
    let table = PortTable::new(limits(1024, 65_535));
    let ports: Vec<_> = (0..64u64)
        .map(|slice| {
            let lease = table.reserve(TCP, host(1), slice << 58, Moment::ZERO).unwrap();
            (lease.port() - 1024) / 1008
        })
        .collect();
    assert_eq!(ports, (0..64).collect::<Vec<_>>(), "64 equal slices of randomness and of ports");
}

/// Threads reserve and give back towards one destination: whoever holds a port holds it alone.
#[test]
fn threads_never_hold_one_port_towards_one_destination() {
    const PORTS: u16 = 5;
    let table = PortTable::new(PortLimits { connections: Some(4), ..limits(1000, 1004) });
    let held: [AtomicBool; PORTS as usize] = [const { AtomicBool::new(false) }; PORTS as usize];
    let work = |thread: u32| {
        for round in 0..20_000 {
            let random = spread(round * 4 + thread);
            let Ok(lease) = table.reserve(TCP, host(1), random, Moment::ZERO) else { continue };
            let flag = &held[usize::from(lease.port() - 1000)];
            assert!(!flag.swap(true, Ordering::SeqCst), "{lease:?} is held twice");
            assert!(table.in_use() <= 4);
            flag.store(false, Ordering::SeqCst);
            if random & 1 == 0 { lease.close() } else { drop(lease) }
        }
    };
    thread::scope(|scope| {
        for thread in 0..4 {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });
    assert_eq!(table.in_use(), 0);
    let all: HashSet<_> = [1, 2, 3, 4]
        .map(|random| table.reserve(TCP, host(1), random << 60, Moment::ZERO).unwrap())
        .iter()
        .map(PortLease::port)
        .collect();
    assert_eq!(all.len(), 4);
}
