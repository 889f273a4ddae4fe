//! The table in every order in which few threads can meet in it: what `tests` tries by chance.
//!
//! Each scenario ends with [`is_whole`], which finds a timer, an entry or a slot that was lost or
//! left behind.

use super::{
    tests::{SERVER, UDP, at, connection, reply_key, request_key},
    *,
};
use crate::{
    port_table::{PortLimits, PortTable},
    sync::{
        Arc,
        model::{explore, together},
    },
};
use viaduct_topology::model::PortRange;

/// Slots of a scenario's table. Few, so that a freed one is used again by the next birth.
const SLOTS: usize = 3;

type Table = Connections<u32>;

fn table() -> Arc<Table> {
    Arc::new(Connections::new(SLOTS, 7))
}

fn born(client: u16, port: u16) -> Connection<u32> {
    connection(UDP, client, port, u32::from(port), at(0))
}

/// Whose connection a key leads to, by the port it carries as its path.
fn found(table: &Table, key: Key) -> Option<u32> {
    match table.lookup(&key, at(1), |_, _, connection| connection.path) {
        Lookup::Hit(path) => Some(path),
        Lookup::Expired(died) => panic!("{died:?} is young"),
        Lookup::Miss => None,
    }
}

/// With every thread gone: exactly the connections of these (client, port) live, each is found by both
/// keys, a timer will end it, and then every slot is free.
fn is_whole(table: &Table, living: &[(u16, u16)]) {
    assert_eq!((table.len(), table.index.len()), (living.len(), 2 * living.len()));
    for &(client, port) in living {
        assert_eq!(found(table, request_key(UDP, client)), Some(port.into()));
        assert_eq!(found(table, reply_key(UDP, port)), Some(port.into()));
    }
    let mut died = Vec::new();
    table.expire(at(100), usize::MAX, &mut |connection| died.push(connection.path));
    died.sort_unstable();
    let mut expected: Vec<_> = living.iter().map(|&(_, port)| u32::from(port)).collect();
    expected.sort_unstable();
    assert_eq!(died, expected, "some have no timer");
    assert_eq!((table.len(), table.index.len(), table.next_deadline()), (0, 0, None));
    for number in 0..SLOTS as u16 {
        table.insert(connection(UDP, number, number, 0, at(100))).expect("a slot is free");
    }
    let full = table.insert(connection(UDP, 99, 99, 0, at(100)));
    assert!(matches!(full, Err(InsertError::CapacityFull)), "a slot was freed twice");
}

/// Two workers have the first packet of a connection each: one birth counts, the other uses it.
#[test]
fn two_births_of_one_request() {
    explore(|| {
        let table = table();
        let births = [1001, 1002].map(|port| {
            let table = Arc::clone(&table);
            Box::new(move || (port, table.insert(born(1, port)))) as Box<dyn FnOnce() -> _ + Send>
        });
        let winner = match together(births) {
            [(port, Ok(id)), (_, Err(InsertError::RequestExists(exists)))]
            | [(_, Err(InsertError::RequestExists(exists))), (port, Ok(id))] => {
                assert_eq!(exists, id);
                port
            }
            other => panic!("{other:?}"),
        };
        is_whole(&table, &[(1, winner)]);
    });
}

/// Two workers chose the same port for different requests, as two tables over one range could: the
/// second gets its connection back to try another.
#[test]
fn two_births_with_one_reply() {
    explore(|| {
        let table = table();
        let births = [1, 2].map(|client| {
            let table = Arc::clone(&table);
            Box::new(move || (client, table.insert(born(client, 1001))))
                as Box<dyn FnOnce() -> _ + Send>
        });
        let winner = match together(births) {
            [(client, Ok(_)), (_, Err(InsertError::ReplyTaken(_)))]
            | [(_, Err(InsertError::ReplyTaken(_))), (client, Ok(_))] => client,
            other => panic!("{other:?}"),
        };
        is_whole(&table, &[(winner, 1001)]);
    });
}

/// Without translation the reply of the one is the request of the other. Both may fail, for each finds
/// what the other has entered; never are there two.
#[test]
fn births_from_both_ends() {
    explore(|| {
        let table = table();
        let births = [false, true].map(|swapped| {
            let table = Arc::clone(&table);
            Box::new(move || {
                let mut born = born(1, 1001);
                if swapped {
                    std::mem::swap(&mut born.request, &mut born.reply);
                }
                match table.insert(born) {
                    Ok(_) => true,
                    Err(InsertError::ReplyTaken(_) | InsertError::RequestExists(_)) => false,
                    Err(error) => panic!("{error:?}"),
                }
            }) as Box<dyn FnOnce() -> _ + Send>
        });
        match together(births) {
            [true, true] => panic!("one conversation, two connections"),
            [false, false] => is_whole(&table, &[]),
            _ => is_whole(&table, &[(1, 1001)]),
        }
    });
}

/// A reply finds a connection by the first of its keys and ends it, before its maker has entered the
/// second.
#[test]
fn a_birth_and_a_reply_that_ends_it() {
    explore(|| {
        let table = table();
        let limits =
            PortLimits { ports: PortRange::single(1001), connections: None, per_destination: None };
        let ports = Arc::new(PortTable::new(limits));
        let birth = {
            let (table, ports) = (Arc::clone(&table), Arc::clone(&ports));
            move || {
                let mut born = born(1, 1001);
                born.hold(0, ports.reserve(UDP, SERVER, 0, at(0)).expect("a port"));
                table.insert(born).expect("nobody is in its way");
                false
            }
        };
        let reply = {
            let table = Arc::clone(&table);
            move || match table.lookup(&reply_key(UDP, 1001), at(1), |id, _, _| id) {
                Lookup::Hit(id) => {
                    let died = table.remove(id).expect("nobody else ends it");
                    died.release();
                    true
                }
                _ => false,
            }
        };
        let [_, ended] = together([Box::new(birth), Box::new(reply)]);
        assert_eq!(ports.in_use(), u32::from(!ended));
        is_whole(&table, if ended { &[] } else { &[(1, 1001)] });
        assert_eq!(ports.in_use(), 0);
    });
}

/// One thread ends a connection, another opens the same one again and finds an entry that leads
/// nowhere, and a third moves into the slot. What was mended after a stress test: the second took the
/// third's connection for one of the same hash, and thought an empty slot impossible.
#[test]
fn a_birth_in_the_place_of_one_that_dies() {
    explore(|| {
        let table = table();
        let first = table.insert(born(1, 1001)).expect("an empty table");
        let death = {
            let table = Arc::clone(&table);
            move || table.remove(first).is_some()
        };
        let birth = |client, port| {
            let table = Arc::clone(&table);
            move || match table.insert(born(client, port)) {
                Ok(_) => true,
                Err(InsertError::RequestExists(standing)) if client == 1 => {
                    assert_eq!(standing, first);
                    false
                }
                Err(error) => panic!("{error:?}"),
            }
        };
        let (again, other) = (birth(1, 1002), birth(2, 1003));
        let [died, born_again, _] = together([Box::new(death), Box::new(again), Box::new(other)]);
        assert!(died);
        let living: &[_] = if born_again { &[(1, 1002), (2, 1003)] } else { &[(2, 1003)] };
        is_whole(&table, living);
    });
}

/// As before, with the port of the dead as well, which its maker gives back only once its keys are gone:
/// so the reply's key is never in the way.
#[test]
fn a_port_is_free_only_when_its_keys_are_gone() {
    explore(|| {
        let table = table();
        let limits =
            PortLimits { ports: PortRange::single(1001), connections: None, per_destination: None };
        let ports = Arc::new(PortTable::new(limits));
        let with_lease = |ports: &PortTable, client| {
            let lease = ports.reserve(UDP, SERVER, 0, at(0)).ok()?;
            let mut born = born(client, lease.port());
            born.hold(0, lease);
            Some(born)
        };
        let first = with_lease(&ports, 1).expect("a port");
        let first = table.insert(first).expect("an empty table");
        let death = {
            let table = Arc::clone(&table);
            move || {
                table.remove(first).expect("nobody else ends it").release();
                false
            }
        };
        let birth = {
            let (table, ports) = (Arc::clone(&table), Arc::clone(&ports));
            move || {
                let Some(born) = with_lease(&ports, 2) else { return false };
                table.insert(born).expect("the port was free, and so its keys are gone");
                true
            }
        };
        let [_, lives] = together([Box::new(death), Box::new(birth)]);
        is_whole(&table, if lives { &[(2, 1001)] } else { &[] });
        assert_eq!(ports.in_use(), 0);
    });
}

/// Two workers have the timers do their work: nobody dies twice, nobody outlives.
#[test]
fn two_expirers() {
    explore(|| {
        let table = table();
        for number in 0..2 {
            table.insert(born(number, number)).expect("there is room");
        }
        let expirers = [(); 2].map(|()| {
            let table = Arc::clone(&table);
            Box::new(move || {
                let mut died = 0;
                table.expire(at(40), usize::MAX, &mut |_| died += 1);
                died
            }) as Box<dyn FnOnce() -> _ + Send>
        });
        let [first, second] = together(expirers);
        assert_eq!(first + second, 2);
        is_whole(&table, &[]);
    });
}

/// A worker whose clock is behind sends a packet on a connection whose time, says the others' clock, is
/// over: it is dead, or lives on with a timer, but never dies after the packet passed.
#[test]
fn an_expiry_and_a_revival() {
    explore(|| {
        let table = table();
        table.insert(born(1, 1001)).expect("an empty table");
        let expiry = {
            let table = Arc::clone(&table);
            move || {
                let mut died = 0;
                table.expire(at(31), usize::MAX, &mut |_| died += 1);
                (false, died)
            }
        };
        // Whether it passed, and how many deaths it met.
        let packet = |key: Key, now| {
            let table = Arc::clone(&table);
            move || {
                let seen = |_, direction, connection: &mut Connection<u32>| {
                    connection.seen(direction, None, 1, 100, now);
                };
                match table.lookup(&key, now, seen) {
                    Lookup::Expired(_) => (false, 1),
                    Lookup::Hit(()) => (true, 0),
                    Lookup::Miss => (false, 0),
                }
            }
        };
        let early = packet(request_key(UDP, 1), at(29));
        let late = packet(reply_key(UDP, 1001), at(31));
        let [(_, by_timer), (revived, _), (_, by_packet)] =
            together([Box::new(expiry), Box::new(early), Box::new(late)]);
        let died = by_timer + by_packet;
        assert!(died <= 1, "it died twice");
        assert!(!revived || died == 0, "a packet passed, and it died all the same");
        is_whole(&table, if died == 1 { &[] } else { &[(1, 1001)] });
    });
}

/// A packet that begins a connection's close brings its deadline closer while its timer fires: the timer
/// that remains is the closer one.
#[test]
fn a_deadline_that_comes_closer_while_its_timer_fires() {
    explore(|| {
        let table = table();
        // Its timer is due at 30 s; a packet since has put the deadline off to 50 s.
        let id = table.insert(born(1, 1001)).expect("an empty table");
        table.with(id, |connection| connection.last_seen = at(20));
        let expiry = {
            let table = Arc::clone(&table);
            move || {
                table.expire(at(31), usize::MAX, &mut |died| panic!("{died:?} is to live"));
            }
        };
        let close = {
            let table = Arc::clone(&table);
            // As a close would: an end at 40 s.
            move || {
                let closer = |_, _, connection: &mut Connection<u32>| connection.last_seen = at(10);
                assert!(matches!(
                    table.lookup(&request_key(UDP, 1), at(31), closer),
                    Lookup::Hit(())
                ));
            }
        };
        together([Box::new(expiry), Box::new(close)]);
        let mut died = 0;
        table.expire(at(41), usize::MAX, &mut |_| died += 1);
        assert_eq!(died, 1, "it outlives its deadline");
        is_whole(&table, &[]);
    });
}

/// Packets of both directions look for a connection that is ended, whose slot has its next tenant at
/// once: each finds the one or nothing, and an id never means the other.
#[test]
fn a_removal_and_lookups() {
    explore(|| {
        let table = table();
        let first = table.insert(born(1, 1001)).expect("an empty table");
        let removal = {
            let table = Arc::clone(&table);
            move || {
                assert_eq!(table.remove(first).map(|died| died.path), Some(1001));
                table.insert(born(2, 1002)).expect("there is room");
            }
        };
        let lookup = {
            let table = Arc::clone(&table);
            move || {
                let by_key = found(&table, request_key(UDP, 1));
                let by_id = table.with(first, |connection| connection.path);
                assert!(matches!(by_key, None | Some(1001)) && matches!(by_id, None | Some(1001)));
                assert!(by_key.is_some() || by_id.is_none(), "it rose again");
                assert!(matches!(found(&table, reply_key(UDP, 1002)), None | Some(1002)));
            }
        };
        together([Box::new(removal), Box::new(lookup)]);
        is_whole(&table, &[(2, 1002)]);
    });
}

/// Somebody keeps a copy of what is in the slots while a connection dies and another is born: with the
/// next round the copy is as the table is, whatever this one has seen.
#[test]
fn a_copy_of_what_dies_and_is_born() {
    type Copied = [Option<u32>; SLOTS];
    fn round(table: &Table, copy: &mut Copied) {
        table.changes(|slot| {
            copy[slot as usize] = table.in_slot(slot, |connection| connection.path);
        });
    }
    explore(|| {
        let table = table();
        let first = table.insert(born(1, 1001)).expect("an empty table");
        let mut before = [None; SLOTS];
        round(&table, &mut before);
        assert_eq!(before, [Some(1001), None, None]);
        let change = {
            let table = Arc::clone(&table);
            move || {
                table.remove(first).expect("nobody else ends it");
                table.insert(born(2, 1002)).expect("there is room");
                None
            }
        };
        let copy = {
            let table = Arc::clone(&table);
            move || {
                let mut copy = before;
                round(&table, &mut copy);
                Some(copy)
            }
        };
        let [_, copy] = together([
            Box::new(change) as Box<dyn FnOnce() -> Option<Copied> + Send>,
            Box::new(copy),
        ]);
        let mut copy = copy.expect("it copies");
        round(&table, &mut copy);
        let there: Copied =
            std::array::from_fn(|slot| table.in_slot(slot as u32, |connection| connection.path));
        assert_eq!(copy, there, "a change was not told");
        is_whole(&table, &[(2, 1002)]);
    });
}
