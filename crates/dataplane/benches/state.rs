//! What the dataplane's state costs: finding a connection at random among many, its birth and
//! death, and a port from an empty table's first to its last, by tenths.
//!
//! `cargo bench -p viaduct-dataplane --bench state`. Prints bytes a connection beside the times.

use std::{hint::black_box, net::Ipv4Addr};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use viaduct_dataplane::{
    connection::{Connection, Connections, Half, Key, Lookup, Timeouts},
    moment::Moment,
    port_table::{PortLease, PortLimits, PortTable},
};
use viaduct_topology::{
    inventory::AttachmentId,
    model::{PortRange, Settings},
};
use viaduct_wire::{Flow, protocol};

/// Of an address, from 1024 on.
const PORTS: u32 = 64_512;

const NOW: Moment = Moment::from_millis(1_000_000);

fn key(ingress: u32, number: u32) -> Key {
    let flow = Flow {
        protocol: protocol::TCP,
        source: Ipv4Addr::from_bits(0x0a00_0000 | (number >> 16)),
        destination: Ipv4Addr::new(198, 51, 100, 7),
        source_port: number as u16,
        destination_port: 443,
    };
    Key { ingress, flow }
}

fn connection(number: u32) -> Connection<u32> {
    let request = Half::new(key(1, number), AttachmentId(2));
    let reply = Half::new(key(2, number), AttachmentId(1));
    let timeouts = Settings::default().connection_tracking;
    Connection::new(request, reply, number, Timeouts::tracked(protocol::TCP, &timeouts), NOW)
}

fn filled(connections: u32) -> Connections<u32> {
    let table = Connections::new(2 * connections as usize, 0x5eed);
    for number in 0..connections {
        table.insert(connection(number)).expect("keys are distinct, and there is room");
    }
    table
}

/// A number below `below` that no prefetcher foresees.
fn scattered(number: u32, below: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b1).rotate_left(7).wrapping_mul(0x85eb_ca6b) % below
}

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("find at random");
    for size in [1 << 10, 1 << 16, 1 << 20] {
        let table = filled(size);
        println!("{size} connections: {} bytes each", table.memory() / size as usize);
        let mut number = 0;
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                number = u32::wrapping_add(number, 1);
                // Requests and replies in turn.
                let key = key(1 + number % 2, scattered(number, size));
                let found = table.lookup(&key, NOW, |_, direction, connection| {
                    connection.seen(direction, None, 1, 1400, NOW);
                    connection.rewrite(direction)
                });
                let Lookup::Hit(rewrite) = found else { panic!("{key:?} is in the table") };
                black_box(rewrite)
            });
        });
    }
    group.finish();
}

fn live_and_die(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("birth and death");
    for size in [1 << 10, 1 << 20] {
        let table = filled(size);
        let mut number = size;
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                number += 1;
                let id = table.insert(connection(number)).expect("the key is new");
                table.remove(id)
            });
        });
    }
    group.finish();
}

fn reserve(criterion: &mut Criterion) {
    let limits = PortLimits {
        ports: PortRange { first: 1024, last: 65_535 },
        connections: None,
        per_destination: None,
    };
    let random = |number: u32| u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let to = |number: u32| (Ipv4Addr::from_bits(number), 443);
    let mut group = criterion.benchmark_group("reserve every port");
    group.throughput(Throughput::Elements(PORTS.into()));
    for (name, towards) in [
        ("towards one destination", (|_| 0) as fn(u32) -> u32),
        ("towards as many destinations", |number| number),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (PortTable::new(limits), Vec::with_capacity(PORTS as usize)),
                |(table, mut leases): (_, Vec<PortLease>)| {
                    leases.extend((0..PORTS).map(|number| {
                        table
                            .reserve(protocol::TCP, to(towards(number)), random(number), NOW)
                            .expect("a port is free")
                    }));
                    (table, leases)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();

    // O(1) means that each tenth costs what the first did.
    for (name, towards) in [
        ("a tenth of the ports towards one destination", (|_| 0) as fn(u32) -> u32),
        ("a tenth of the ports towards as many destinations", |number| number),
    ] {
        let mut group = criterion.benchmark_group(name);
        for tenth in 0..10 {
            let (first, last) = (PORTS * tenth / 10, PORTS * (tenth + 1) / 10);
            let reserve = |table: &PortTable, number| {
                table
                    .reserve(protocol::TCP, to(towards(number)), random(number), NOW)
                    .expect("a port is free")
            };
            group.throughput(Throughput::Elements((last - first).into()));
            group.bench_function(BenchmarkId::from_parameter(tenth + 1), |bencher| {
                bencher.iter_batched(
                    || {
                        let table = PortTable::new(limits);
                        let mut leases = Vec::with_capacity(PORTS as usize);
                        leases.extend((0..first).map(|number| reserve(&table, number)));
                        (table, leases)
                    },
                    |(table, mut leases): (_, Vec<PortLease>)| {
                        leases.extend((first..last).map(|number| reserve(&table, number)));
                        (table, leases)
                    },
                    BatchSize::PerIteration,
                );
            });
        }
        group.finish();
    }

    let mut group = criterion.benchmark_group("reserve and give back");
    for taken in [0, PORTS - 1] {
        let table = PortTable::new(limits);
        let _leases: Vec<_> = (0..taken)
            .map(|number| table.reserve(protocol::TCP, to(1), random(number), NOW))
            .collect();
        let mut number = 0;
        group.bench_function(BenchmarkId::new("with so many taken", taken), |bencher| {
            bencher.iter(|| {
                number += 1;
                table
                    .reserve(protocol::TCP, to(1), random(number), NOW)
                    .expect("a port is free")
                    .close();
            });
        });
    }
    group.finish();
}

criterion_group!(benches, find, live_and_die, reserve);
criterion_main!(benches);
