//! The table in every order in which few threads can meet in it: whoever holds a port holds it alone,
//! and nobody is refused while one is free.

use super::{
    tests::{REST, TCP, UDP, host, limits},
    *,
};
use crate::sync::model::{explore, together};

type Work<T> = Box<dyn FnOnce() -> T + Send>;

/// A thread that reserves a port and keeps it.
fn reserving(
    table: &Arc<PortTable>,
    protocol: u8,
    destination: u32,
    now: Moment,
) -> Work<Result<PortLease, Exhausted>> {
    let table = Arc::clone(table);
    Box::new(move || table.reserve(protocol, host(destination), 0, now))
}

/// With every thread gone and every lease given back: each port can be had once, and no more.
fn is_whole(table: &PortTable, ports: usize, now: Moment) {
    assert_eq!((table.in_use(), table.usage().shared), (0, 0));
    let leases: Vec<_> = std::iter::from_fn(|| table.reserve(TCP, host(1), 0, now).ok()).collect();
    assert_eq!(leases.len(), ports);
    let mut numbers: Vec<_> = leases.iter().map(PortLease::port).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), ports);
}

#[test]
fn the_last_port_is_given_to_one_of_two() {
    explore(|| {
        let table = Arc::new(PortTable::new(limits(2000, 2000)));
        let outcome = together([(); 2].map(|()| reserving(&table, TCP, 1, Moment::ZERO)));
        assert!(
            matches!(outcome, [Ok(_), Err(Exhausted::Ports)] | [Err(Exhausted::Ports), Ok(_)]),
            "{outcome:?}"
        );
        drop(outcome);
        is_whole(&table, 1, Moment::ZERO);
    });
}

#[test]
fn the_last_two_ports_are_given_to_both() {
    explore(|| {
        let table = Arc::new(PortTable::new(limits(2000, 2002)));
        let _held = table.reserve(TCP, host(1), 0, Moment::ZERO).expect("a port");
        let outcome = together([(); 2].map(|()| reserving(&table, TCP, 1, Moment::ZERO)));
        let [Ok(a), Ok(b)] = &outcome else { panic!("refused with a port free: {outcome:?}") };
        assert_ne!(a.port(), b.port());
        drop((outcome, _held));
        is_whole(&table, 3, Moment::ZERO);
    });
}

/// Found by this model: a reservation that failed for its destination's sake stood in the quota's way
/// for a moment.
#[test]
fn a_reservation_that_fails_takes_nothing_from_another() {
    explore(|| {
        let quota = PortLimits { connections: Some(2), ..limits(2000, 2000) };
        let table = Arc::new(PortTable::new(quota));
        let _held = table.reserve(TCP, host(1), 0, Moment::ZERO).expect("a port");
        let outcome = together([
            reserving(&table, TCP, 1, Moment::ZERO),
            reserving(&table, UDP, 1, Moment::ZERO),
        ]);
        assert!(matches!(outcome, [Err(_), Ok(_)]), "refused with a port free: {outcome:?}");
    });
}

/// The quota is over all protocols, each of which has a lock of its own.
#[test]
fn a_quota_is_exact_over_two_protocols() {
    explore(|| {
        let quota = PortLimits { connections: Some(1), ..limits(2000, 2003) };
        let table = Arc::new(PortTable::new(quota));
        let outcome = together([
            reserving(&table, TCP, 1, Moment::ZERO),
            reserving(&table, UDP, 1, Moment::ZERO),
        ]);
        assert!(
            matches!(outcome, [Ok(_), Err(Exhausted::Quota)] | [Err(Exhausted::Quota), Ok(_)]),
            "{outcome:?}"
        );
        assert_eq!(table.in_use(), 1);
        drop(outcome);
        for port in 0..1 {
            let all = table.reserve(TCP, host(port), 0, Moment::ZERO);
            assert!(all.is_ok(), "what the loser took is free again");
        }
        assert_eq!(table.in_use(), 0);
    });
}

/// Two destinations share the one port there is; one of them leaves while a third comes.
#[test]
fn a_shared_port_that_one_leaves_and_another_joins() {
    explore(|| {
        let table = Arc::new(PortTable::new(limits(2000, 2000)));
        let [first, second] =
            [1, 2].map(|to| table.reserve(TCP, host(to), 0, Moment::ZERO).expect("a port"));
        let leaving = Box::new(move || {
            drop(first);
            None
        });
        let joining = {
            let reserve = reserving(&table, TCP, 3, Moment::ZERO);
            Box::new(move || Some(reserve().expect("nobody else is towards it")))
        };
        let [_, third] = together([leaving as Work<_>, joining]);
        assert_eq!((table.in_use(), table.usage().shared), (2, 1));
        drop((second, third));
        is_whole(&table, 1, Moment::ZERO);
    });
}

#[test]
fn a_lease_that_is_dropped_while_the_table_is_trimmed() {
    explore(|| {
        let table = Arc::new(PortTable::new(limits(2000, 2001)));
        let lease = table.reserve(TCP, host(1), 0, Moment::ZERO).expect("a port");
        let trim = {
            let table = Arc::clone(&table);
            Box::new(move || table.trim(Moment::ZERO + REST))
        };
        together([Box::new(move || drop(lease)) as Work<_>, trim]);
        is_whole(&table, 2, Moment::ZERO + REST);
    });
}

#[test]
fn a_reservation_from_a_table_that_is_trimmed() {
    explore(|| {
        let table = Arc::new(PortTable::new(limits(2000, 2001)));
        table.reserve(TCP, host(1), 0, Moment::ZERO).expect("a port").close();
        let trim = {
            let table = Arc::clone(&table);
            Box::new(move || {
                table.trim(Moment::ZERO);
                None
            })
        };
        let reserve = {
            let reserve = reserving(&table, TCP, 1, Moment::ZERO);
            Box::new(move || Some(reserve().expect("both are free")))
        };
        let [_, lease] = together([trim as Work<_>, reserve]);
        let lease = lease.expect("a lease");
        let other = table.reserve(TCP, host(1), 0, Moment::ZERO).expect("one is free");
        assert_ne!(lease.port(), other.port(), "the trim forgot who holds it");
        drop((lease, other));
        is_whole(&table, 2, Moment::ZERO + REST);
    });
}
