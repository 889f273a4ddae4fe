//! The table against plain maps, and under threads that fight over the same keys.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Barrier, atomic::AtomicU64},
    thread,
    time::Duration,
};

use proptest::prelude::*;
use viaduct_topology::{
    inventory::AttachmentId,
    model::{PortRange, Settings},
};
use viaduct_wire::{Flow, Rewrite, TcpFlags};

use super::{super::Half, *};
use crate::{
    connection::Timeouts,
    port_table::{PortLimits, PortTable},
    sync::{Arc, Ordering},
    tcp::{Phase, Segment},
};

pub(super) const UDP: u8 = 17;
const TCP: u8 = 6;
pub(super) const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 0, 2, 9), 443);
const SECOND: Duration = Duration::from_secs(1);
const ENI: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);

pub(super) fn request_key(protocol: u8, client: u16) -> Key {
    let flow = Flow {
        protocol,
        source: Ipv4Addr::new(169, 254, 0, 2),
        destination: SERVER.0,
        source_port: client,
        destination_port: SERVER.1,
    };
    Key { ingress: 1, flow }
}

pub(super) fn reply_key(protocol: u8, port: u16) -> Key {
    let flow = Flow {
        protocol,
        source: SERVER.0,
        destination: ENI,
        source_port: SERVER.1,
        destination_port: port,
    };
    Key { ingress: 2, flow }
}

pub(super) fn connection<P>(
    protocol: u8,
    client: u16,
    port: u16,
    path: P,
    now: Moment,
) -> Connection<P> {
    let request = Half::new(request_key(protocol, client), AttachmentId(2));
    let reply = Half::new(reply_key(protocol, port), AttachmentId(1));
    Connection::new(request, reply, path, tracked(protocol), now)
}

fn tracked(protocol: u8) -> Timeouts {
    Timeouts::tracked(protocol, &Settings::default().connection_tracking)
}

pub(super) fn at(seconds: u64) -> Moment {
    Moment::from_millis(seconds * 1000)
}

fn hit<P, R>(lookup: Lookup<P, R>) -> Option<R> {
    match lookup {
        Lookup::Hit(result) => Some(result),
        Lookup::Expired(_) | Lookup::Miss => None,
    }
}

#[test]
fn either_direction_finds_the_connection_and_its_translation() {
    let table = Connections::new(10, 1);
    let mut born = connection(UDP, 40_000, 1024, "path", at(0));
    born.reply.ttl_decrement = 1;
    let id = table.insert(born).unwrap();

    let found = |key| {
        hit(table.lookup(&key, at(0), |id, direction, connection| {
            (id, direction, connection.path, connection.rewrite(direction))
        }))
    };
    let request = Rewrite::from(reply_key(UDP, 1024).flow.reversed());
    assert_eq!(found(request_key(UDP, 40_000)), Some((id, Direction::Request, "path", request)));
    let reply =
        Rewrite { ttl_decrement: 1, ..Rewrite::from(request_key(UDP, 40_000).flow.reversed()) };
    assert_eq!(found(reply_key(UDP, 1024)), Some((id, Direction::Reply, "path", reply)));
    let elsewhere = Key { ingress: 3, ..request_key(UDP, 40_000) };
    assert_eq!(found(elsewhere), None, "another tenant with the same addresses");
    assert_eq!(found(request_key(TCP, 40_000)), None);
}

#[test]
fn a_birth_that_loses_leaves_the_table_as_it_was() {
    let table = Connections::new(2, 1);
    let first = table.insert(connection(UDP, 1, 1001, (), at(0))).unwrap();

    let taken = table.insert(connection(UDP, 2, 1001, (), at(0)));
    let Err(InsertError::ReplyTaken(back)) = taken else { panic!("{taken:?}") };
    assert_eq!(back.request.key, request_key(UDP, 2));
    let exists = table.insert(connection(UDP, 1, 1002, (), at(0)));
    assert!(matches!(exists, Err(InsertError::RequestExists(winner)) if winner == first));
    assert_eq!(table.len(), 1);
    assert!(hit(table.lookup(&reply_key(UDP, 1002), at(0), |_, _, _| ())).is_none());

    table.insert(connection(UDP, 2, 1002, (), at(0))).unwrap();
    let full = table.insert(connection(UDP, 3, 1003, (), at(0)));
    assert!(matches!(full, Err(InsertError::CapacityFull)), "{full:?}");
    assert!(table.remove(first).is_some());
    assert!(table.remove(first).is_none());
    table.insert(connection(UDP, 3, 1003, (), at(0))).unwrap();
    assert!(table.with(first, |_| ()).is_none(), "its slot has another tenant");
}

/// NAT-10: translated at 349 s, gone at 350 s; packets in either direction begin the time anew.
// Conforms: NAT-10
#[test]
fn a_deadline_is_kept_to_the_millisecond_whoever_comes_first() {
    let table = Connections::new(2, 1);
    let mut born = connection(TCP, 1, 1001, (), at(0));
    born.timeouts = tracked(TCP).shortest(Timeouts::translated(TCP, &Settings::default().nat));
    table.insert(born).unwrap();
    let sees = |key: Key, now, flags, sequence, acknowledgment| {
        table.lookup(&key, now, |_, direction, connection| {
            let segment = Segment { flags, sequence, acknowledgment, payload: 0 };
            connection.seen(direction, Some(&segment), 1, 40, now)
        })
    };
    let (request, reply) = (request_key(TCP, 1), reply_key(TCP, 1001));
    hit(sees(request, at(0), TcpFlags::SYN, 10, 0)).unwrap();
    hit(sees(reply, at(0), TcpFlags::SYN.union(TcpFlags::ACK), 20, 11)).unwrap();
    let phase = hit(sees(request, at(0), TcpFlags::ACK, 11, 21));
    assert_eq!(phase, Some(Phase::Established));

    let nothing_dies = |now| {
        table.expire(now, 100, &mut |died| panic!("{died:?} at {now:?}"));
    };
    nothing_dies(at(349));
    assert!(hit(sees(reply, at(349), TcpFlags::ACK, 21, 11)).is_some());
    nothing_dies(at(698));
    let idle = Moment::from_millis(698_999);
    assert!(hit(sees(request, idle, TcpFlags::ACK, 11, 21)).is_some());
    // The wheel has not come by when the packet does.
    let over = idle + Duration::from_secs(350);
    let died = sees(request, over, TcpFlags::ACK, 11, 21);
    let Lookup::Expired(died) = died else { panic!("{died:?}") };
    assert_eq!((died.request.packets, died.reply.packets), (3, 2));
    assert!(matches!(sees(reply, over, TcpFlags::ACK, 21, 11), Lookup::Miss));
    assert!(table.is_empty());
    nothing_dies(over + Duration::from_secs(1000));
}

/// SG-25: 30 s for a single exchange, 180 s from the second one on. SG-18: others 600 s.
// Conforms: SG-18, SG-25
#[test]
fn a_udp_flow_is_a_stream_after_more_than_one_exchange() {
    let mut flow = connection(UDP, 1, 1001, (), at(0));
    let exchange = |flow: &mut Connection<()>, now| {
        flow.seen(Direction::Request, None, 1, 100, now);
        flow.seen(Direction::Reply, None, 1, 100, now);
        flow.deadline()
    };
    assert_eq!(exchange(&mut flow, at(0)), at(30));
    assert_eq!(exchange(&mut flow, at(10)), at(190));
    let mut one_way = connection(UDP, 1, 1001, (), at(0));
    for _ in 0..9 {
        one_way.seen(Direction::Request, None, 1, 100, at(5));
    }
    assert_eq!(one_way.deadline(), at(35));
    assert_eq!(connection(50, 0, 0, (), at(0)).deadline(), at(600));
}

#[test]
fn a_closing_connection_is_looked_at_sooner_than_it_was_to_be() {
    let table = Connections::new(2, 1);
    table.insert(connection(TCP, 1, 1001, (), at(0))).unwrap();
    let sees = |key: Key, now, flags: u8, sequence, acknowledgment| {
        let segment = Segment { flags: TcpFlags(flags), sequence, acknowledgment, payload: 0 };
        hit(table.lookup(&key, now, |_, direction, connection| {
            connection.seen(direction, Some(&segment), 1, 40, now)
        }))
    };
    let (request, reply) = (request_key(TCP, 1), reply_key(TCP, 1001));
    sees(request, at(0), 0x02, 10, 0);
    sees(reply, at(0), 0x12, 20, 11);
    sees(request, at(0), 0x10, 11, 21);
    // The handshake's timer comes by, and makes way for five days.
    table.expire(at(300), 100, &mut |died| panic!("{died:?}"));
    sees(request, at(300), 0x11, 11, 21);
    assert_eq!(sees(reply, at(300), 0x11, 21, 11), Some(Phase::Closing));

    let mut died = Vec::new();
    table.expire(at(539), 100, &mut |connection| died.push(connection));
    assert!(died.is_empty());
    table.expire(at(541), 100, &mut |connection| died.push(connection));
    assert_eq!(died.len(), 1);
    assert_eq!(table.next_deadline(), None);
}

#[test]
fn a_reset_does_not_keep_a_connection_alive() {
    let mut born = connection(TCP, 1, 1001, (), at(0));
    let segment = |flags| Segment { flags, sequence: 9, acknowledgment: 0, payload: 0 };
    born.seen(Direction::Request, Some(&segment(TcpFlags::SYN)), 1, 40, at(1));
    let before = born.deadline();
    born.seen(Direction::Reply, Some(&segment(TcpFlags::RST)), 1, 40, at(2));
    assert_eq!(born.deadline(), before);
    assert_eq!(born.reply.packets, 1);
}

/// A port whose connection closed is free at once; any other rests.
#[test]
fn a_released_connection_gives_its_ports_back_as_it_ended() {
    let limits = PortLimits {
        ports: PortRange { first: 1001, last: 1002 },
        connections: None,
        per_destination: None,
    };
    let ports = PortTable::new(limits);
    let born = || {
        let lease = ports.reserve(TCP, SERVER, 0, at(0)).unwrap();
        let mut born = connection(TCP, 1, lease.port(), (), at(0));
        born.hold(0, lease);
        born
    };
    let (mut closed, idle) = (born(), born());
    let port = closed.reply.key.flow.destination_port;
    let segment = |flags, sequence| Segment { flags, sequence, acknowledgment: 0, payload: 0 };
    closed.seen(Direction::Request, Some(&segment(TcpFlags::SYN, 9)), 1, 40, at(1));
    let phase = closed.seen(Direction::Request, Some(&segment(TcpFlags::RST, 10)), 1, 40, at(1));
    assert_eq!(phase, Phase::Closed);
    idle.release();
    closed.release();
    assert_eq!(ports.in_use(), 0);
    assert_eq!(born().reply.key.flow.destination_port, port);
}

/// 1,000 connections cost what the design allows each: 256 bytes, tables' slack included.
#[test]
fn a_connection_costs_no_more_than_it_should() {
    type Real = Connection<Arc<()>>;
    assert!(size_of::<Real>() <= 184, "{} bytes", size_of::<Real>());
    let table: Connections<Arc<()>> = Connections::new(1 << 20, 1);
    let empty = table.memory();
    assert!(empty < 100_000, "an empty table takes {empty} bytes");

    let path = Arc::new(());
    let births = 100 * 1024;
    for number in 0..births {
        let (client, port) = (number as u16, number as u16);
        let mut born = connection(UDP, client, port, Arc::clone(&path), at(0));
        born.request.key.ingress = 10 + (number >> 16);
        born.reply.key.ingress = 20 + (number >> 16);
        table.insert(born).unwrap();
    }
    let each = table.memory() / births as usize;
    assert!(each <= 256, "{each} bytes a connection");
}

#[derive(Clone, Debug)]
enum Step {
    Insert { client: u16, port: u16 },
    Lookup { reply: bool, number: u16, touch: bool },
    Remove(usize),
    Wait(u64),
    Expire(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6u16, 0..6u16).prop_map(|(client, port)| Step::Insert { client, port }),
        4 => (any::<bool>(), 0..6u16, any::<bool>())
            .prop_map(|(reply, number, touch)| Step::Lookup { reply, number, touch }),
        1 => any::<usize>().prop_map(Step::Remove),
        2 => (0..20_000u64).prop_map(Step::Wait),
        1 => prop_oneof![0..3usize, Just(usize::MAX)].prop_map(Step::Expire),
    ]
}

/// What a connection is without a table: two numbers and a time.
#[derive(Debug)]
struct Modelled {
    id: ConnectionId,
    client: u16,
    port: u16,
    last_seen: Moment,
}

proptest! {
    #[test]
    fn histories_agree_with_a_plain_map(
        seed in any::<u64>(),
        capacity in 1..6usize,
        steps in prop::collection::vec(step(), 1..300),
    ) {
        const IDLE: Duration = Duration::from_secs(30);
        let table: Connections<u32> = Connections::new(capacity, seed);
        // By the serial number that each connection carries as its path.
        let mut model: HashMap<u32, Modelled> = HashMap::new();
        let mut graveyard: Vec<ConnectionId> = Vec::new();
        let (mut now, mut serial) = (at(1), 0);
        for step in steps {
            match step {
                Step::Insert { client, port } => {
                    serial += 1;
                    let by_port = model.values().find(|known| known.port == port);
                    let by_client = model.values().find(|known| known.client == client);
                    match table.insert(connection(UDP, client, port, serial, now)) {
                        Ok(id) => {
                            prop_assert!(by_port.is_none() && by_client.is_none());
                            prop_assert!(model.len() < capacity);
                            model.insert(serial, Modelled { id, client, port, last_seen: now });
                        }
                        Err(InsertError::CapacityFull) => prop_assert_eq!(model.len(), capacity),
                        Err(InsertError::ReplyTaken(back)) => {
                            prop_assert!(by_port.is_some());
                            prop_assert_eq!(back.path, serial);
                        }
                        Err(InsertError::RequestExists(winner)) => {
                            prop_assert!(by_port.is_none());
                            prop_assert_eq!(Some(winner), by_client.map(|known| known.id));
                        }
                        Err(error @ (InsertError::Ended | InsertError::Collision)) => {
                            prop_assert!(false, "{error:?} of one thread's few connections");
                        }
                    }
                }
                Step::Lookup { reply, number, touch } => {
                    let key = if reply { reply_key(UDP, number) } else { request_key(UDP, number) };
                    let expected = model.iter().find(|(_, known)| {
                        number == if reply { known.port } else { known.client }
                    });
                    let found = table.lookup(&key, now, |id, direction, connection| {
                        if touch {
                            connection.last_seen = now;
                        }
                        (id, direction == Direction::Reply, connection.path)
                    });
                    match found {
                        Lookup::Miss => prop_assert!(expected.is_none()),
                        Lookup::Hit((id, was_reply, serial)) => {
                            prop_assert_eq!(expected.map(|(&serial, _)| serial), Some(serial));
                            let Some(known) = model.get_mut(&serial) else { unreachable!() };
                            prop_assert_eq!((id, was_reply), (known.id, reply));
                            prop_assert!(now.since(known.last_seen) < IDLE);
                            if touch {
                                known.last_seen = now;
                            }
                        }
                        Lookup::Expired(died) => {
                            let known = model.remove(&died.path);
                            prop_assert!(known.is_some());
                            let Some(known) = known else { unreachable!() };
                            prop_assert!(now.since(known.last_seen) >= IDLE);
                            graveyard.push(known.id);
                        }
                    }
                }
                Step::Remove(index) => {
                    let mut serials: Vec<_> = model.keys().copied().collect();
                    serials.sort_unstable();
                    if !serials.is_empty() {
                        let serial = serials[index % serials.len()];
                        let Some(known) = model.remove(&serial) else { unreachable!() };
                        let removed = table.remove(known.id).map(|connection| connection.path);
                        prop_assert_eq!(removed, Some(serial));
                        graveyard.push(known.id);
                    }
                }
                Step::Wait(millis) => now = now + Duration::from_millis(millis),
                Step::Expire(budget) => {
                    let mut died = Vec::new();
                    table.expire(now, budget, &mut |connection| died.push(connection.path));
                    for serial in died {
                        let Some(known) = model.remove(&serial) else {
                            return Err(TestCaseError::fail("died twice"));
                        };
                        prop_assert!(now.since(known.last_seen) >= IDLE, "died early");
                        graveyard.push(known.id);
                    }
                    if budget == usize::MAX {
                        // A tick of the wheel is 128 ms.
                        let late = model.values().find(|known| {
                            now.since(known.last_seen) >= IDLE + Duration::from_millis(128)
                        });
                        prop_assert!(late.is_none(), "{late:?} outlived its time");
                    }
                }
            }
            prop_assert_eq!(table.len(), model.len());
            for &id in &graveyard {
                prop_assert!(table.with(id, |_| ()).is_none(), "{:?} rose again", id);
            }
        }
        let mut seen: Vec<_> = Vec::new();
        table.for_each(|id, connection| seen.push((id, connection.path)));
        prop_assert_eq!(seen.len(), model.len());
        for (id, serial) in seen {
            prop_assert_eq!(model.get(&serial).map(|known| known.id), Some(id));
        }
        // Nothing is left behind in the index.
        for known in model.values() {
            table.remove(known.id);
        }
        prop_assert_eq!(table.index.len(), 0);
    }
}

/// Threads open, end and expire the same few connections, also while they are being born. In the
/// end everything is back where it was.
#[test]
fn threads_that_fight_over_the_same_keys_lose_nothing() {
    const CLIENTS: u16 = 4;
    const PORTS: PortRange = PortRange { first: 1000, last: 1005 };
    const ROUNDS: u32 = 20_000;
    const THREADS: u64 = 4;

    let limits = PortLimits { ports: PORTS, connections: None, per_destination: None };
    let ports = PortTable::new(limits);
    let table: Connections<u64> = Connections::new(8, 7);
    let clock = AtomicU64::new(0);
    let start = Barrier::new(THREADS as usize);
    let work = |thread: u64| {
        start.wait();
        let mut random = thread + 1;
        for _ in 0..ROUNDS {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let now = Moment::from_millis(clock.fetch_add(random % 256, Ordering::Relaxed));
            let client = (random >> 8) as u16 % CLIENTS;
            let port = PORTS.first + (random >> 24) as u16 % 6;
            match (random >> 40) % 4 {
                0 | 1 => match table.lookup(&request_key(UDP, client), now, |id, _, _| id) {
                    Lookup::Hit(id) => drop(table.remove(id)),
                    Lookup::Expired(died) => died.release(),
                    Lookup::Miss => {
                        let Ok(lease) = ports.reserve(UDP, SERVER, random, now) else { continue };
                        let mut born = connection(UDP, client, lease.port(), thread, now);
                        born.timeouts = Timeouts::new(SECOND, SECOND, SECOND);
                        born.hold(0, lease);
                        match table.insert(born) {
                            Ok(_)
                            | Err(
                                InsertError::RequestExists(_)
                                | InsertError::Ended
                                | InsertError::CapacityFull,
                            ) => {}
                            // A port comes back only after its keys have left the index.
                            Err(error) => panic!("{error:?} with a port of its own"),
                        }
                    }
                },
                2 => match table.lookup(&reply_key(UDP, port), now, |id, _, _| id) {
                    Lookup::Hit(id) => drop(table.remove(id)),
                    Lookup::Expired(died) => died.release(),
                    Lookup::Miss => {}
                },
                _ => {
                    table.expire(now, 3, &mut Connection::release);
                }
            }
        }
    };
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || work(thread));
        }
    });

    let end = at(1 << 30);
    table.expire(end, usize::MAX, &mut Connection::release);
    assert_eq!((table.len(), table.index.len(), ports.in_use()), (0, 0, 0));
    assert_eq!(table.next_deadline(), None);
    let all: Vec<_> = (0..6).map(|_| ports.reserve(UDP, SERVER, 0, end).unwrap()).collect();
    assert_eq!(all.len(), 6);
    for number in 0..8 {
        table.insert(connection(UDP, number, number, 0, end)).unwrap();
    }
}
