//! A packet through the engine: parse, find its connection, rewrite.
//!
//! - `established`: a segment of a connection chosen at random for each packet, so that neither the
//!   index nor the slab stays in the cache.
//! - `opened_and_closed`: a SYN that opens a connection and an RST that ends it.
//!
//! - `opened_and_expired`: a datagram that opens a connection, and the timer that ends it.
//!
//! `cargo bench -p viaduct-dataplane --bench engine` tells nanoseconds. With `VIADUCT_STAGE=NAME:N` in
//! the environment it does one [stage](STAGES) N times and ends: what `scripts/bench-engine` counts the
//! instructions of. With `VIADUCT_TIMED` it tells the nanoseconds of processor time of each besides.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{hint::black_box, net::Ipv4Addr, time::Duration};

use criterion::{Criterion, Throughput, criterion_group};
use rustix::time::{ClockId, clock_gettime};
use support::{
    INSIDE, Net, Packet, SYN, Tcp, tcp,
    traffic::{Numbers, Traffic},
};
use viaduct_dataplane::{
    Moment, Verdict,
    connection::{Connection, Connections, Half, Key, Lookup, Timeouts},
};
use viaduct_topology::{inventory::AttachmentId, model::Settings};
use viaduct_wire::{Flow, Frame, Rewrite, protocol};

/// Connections that stand while something is counted: enough for every shard of the index.
const COUNTED: u32 = 1 << 13;

/// Connections that end together.
const BATCH: u16 = 1000;

/// The first environment is the first attachment.
const API: AttachmentId = AttachmentId(1);

fn established(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("established");
    group.throughput(Throughput::Elements(1));
    for (name, count) in [("64Ki connections", 1 << 16), ("1M connections", 1_000_000)] {
        let mut traffic = Traffic::establish(count);
        let mut numbers = Numbers(1);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let verdict = traffic.send_any(numbers.next());
                assert!(matches!(verdict, Verdict::Forward { .. }));
                black_box(verdict)
            });
        });
    }
}

fn opened_and_closed(criterion: &mut Criterion) {
    let mut traffic = Traffic::establish(1 << 16);
    criterion.bench_function("opened_and_closed", |bencher| bencher.iter(closer(&mut traffic.net)));
}

fn opened_and_expired(criterion: &mut Criterion) {
    let mut traffic = Traffic::establish(1 << 16);
    let mut group = criterion.benchmark_group("opened_and_expired");
    group.throughput(Throughput::Elements(BATCH.into()));
    group.bench_function("batch", |bencher| bencher.iter(expirer(&mut traffic.net)));
}

/// Opens a connection with a SYN and ends it with a RST.
fn closer(net: &mut Net) -> impl FnMut() {
    let Net { engine, scratch, now, .. } = net;
    let ends = ((INSIDE, 500), ("10.0.2.10", 9000));
    let syn = tcp(ends.0, ends.1, SYN, b"").0;
    let reset = Tcp { flags: "R", sequence: 101, acknowledgment: 0 };
    let reset = tcp(ends.0, ends.1, reset, b"").0;
    let mut buffer = syn.clone();
    move || {
        for segment in [&syn, &reset] {
            buffer.copy_from_slice(segment);
            let verdict = engine.forward(&mut buffer, API, *now, scratch);
            assert!(matches!(verdict, Verdict::Forward { .. }));
        }
    }
}

/// Opens a batch of connections, has their time pass, and the timers end them.
fn expirer(net: &mut Net) -> impl FnMut() {
    let query = tcp((INSIDE, 500), ("10.0.2.10", 9000), SYN, b"").0;
    let mut buffer = query.clone();
    let standing = net.engine.connection_count();
    move || {
        let Net { engine, scratch, now, .. } = &mut *net;
        for port in 500..500 + BATCH {
            buffer.copy_from_slice(&query);
            buffer[30..32].copy_from_slice(&port.to_be_bytes());
            let verdict = engine.forward(&mut buffer, API, *now, scratch);
            assert!(matches!(verdict, Verdict::Forward { .. }));
        }
        // A minute more than an opening may take (docs/topology.md), and less than those that stand.
        *now = *now + Duration::from_secs(300);
        while engine.expire(*now, 256, scratch) == 256 {}
        assert_eq!(engine.connection_count(), standing);
    }
}

/// Its name, and what does it so many times, with everything prepared.
type Stage = (&'static str, fn(u64) -> Box<dyn FnMut()>);

/// What is counted by itself. A first packet and a segment of a connection that stands include
/// `parse`, `look-up` and `rewrite`.
const STAGES: [Stage; 8] = [
    ("parse", |times| {
        let Packet(mut segment) = tcp((INSIDE, 500), ("10.0.2.10", 9000), SYN, b"");
        Box::new(move || {
            for _ in 0..times {
                let frame = Frame::parse(black_box(&mut segment), 1500).expect("a sound packet");
                black_box(frame.flow());
            }
        })
    }),
    ("rewrite", |times| {
        let Packet(mut segment) = tcp((INSIDE, 500), ("10.0.2.10", 9000), SYN, b"");
        Box::new(move || {
            let mut frame = Frame::parse(&mut segment, 1500).expect("a sound packet");
            for port in 0..times {
                let source_port = black_box(port as u16);
                frame.rewrite(&Rewrite { source_port, ..Rewrite::from(frame.flow()) });
            }
            black_box(frame.finish());
        })
    }),
    ("look-up", |times| {
        let table = Connections::new(COUNTED as usize, 7);
        for number in 0..COUNTED {
            table.insert(connection(number)).expect("keys are distinct, and there is room");
        }
        Box::new(move || {
            for number in 0..times {
                let key = key(1, number as u32 % COUNTED);
                let found = table.lookup(&key, Moment::ZERO, |_, direction, connection| {
                    connection.rewrite(direction)
                });
                assert!(matches!(black_box(found), Lookup::Hit(_)));
            }
        })
    }),
    ("established", |times| sent(COUNTED, times)),
    ("established-of-64Ki", |times| sent(1 << 16, times)),
    ("established-of-a-million", |times| sent(1_000_000, times)),
    ("new-connection", |times| {
        let mut net = Traffic::establish(1).net;
        Box::new(move || open(&mut net, times))
    }),
    ("expiry", |times| {
        let mut net = Traffic::establish(0).net;
        open(&mut net, times);
        Box::new(move || expire(&mut net))
    }),
];

/// Sends segments of connections chosen at random.
fn sent(connections: u32, times: u64) -> Box<dyn FnMut()> {
    let mut traffic = Traffic::establish(connections);
    if connections >= 1_000_000 {
        eprintln!("{} bytes each", traffic.net.engine.connection_memory() / connections as usize);
    }
    let mut numbers = Numbers(1);
    Box::new(move || {
        for _ in 0..times {
            let verdict = traffic.send_any(numbers.next());
            assert!(matches!(black_box(verdict), Verdict::Forward { .. }));
        }
    })
}

/// Opens connections to one port after the other, all from one.
fn open(net: &mut Net, times: u64) {
    let Packet(syn) = tcp((INSIDE, 500), ("10.0.2.10", 0), SYN, b"");
    let mut buffer = syn.clone();
    let Net { engine, scratch, now, .. } = net;
    for number in 1..=times {
        buffer.copy_from_slice(&syn);
        buffer[32..34].copy_from_slice(&(number as u16).to_be_bytes());
        let verdict = engine.forward(&mut buffer, API, *now, scratch);
        assert!(matches!(black_box(verdict), Verdict::Forward { .. }), "{verdict:?}");
    }
}

/// Ends all connections there are, by their time.
fn expire(net: &mut Net) {
    let Net { engine, scratch, now, .. } = net;
    *now = *now + Duration::from_secs(300);
    while engine.expire(*now, 256, scratch) == 256 {}
    assert_eq!(engine.connection_count(), 0);
}

fn key(ingress: u32, number: u32) -> Key {
    let flow = Flow {
        protocol: protocol::TCP,
        source: Ipv4Addr::new(10, 0, 1, 4),
        destination: Ipv4Addr::from_bits(number),
        source_port: 1024,
        destination_port: 443,
    };
    Key { ingress, flow }
}

fn connection(number: u32) -> Connection<()> {
    let request = Half::new(key(1, number), AttachmentId(2));
    let reply = Half::new(key(2, number), API);
    let timeouts = Timeouts::tracked(protocol::TCP, &Settings::default().connection_tracking);
    Connection::new(request, reply, (), timeouts, Moment::ZERO)
}

/// Does a stage so often. If asked for the time, tells the nanoseconds on the processor of each.
fn stage(asked: &str) {
    let known = || STAGES.map(|(name, _)| name).join(", ");
    let (name, times) = asked.split_once(':').expect("VIADUCT_STAGE is NAME:N");
    let stage = STAGES.iter().find(|(stage, _)| *stage == name);
    let (_, prepare) = stage.unwrap_or_else(|| panic!("no stage {name}; there are {}", known()));
    let times = times.parse().expect("a number of times");
    let mut run = prepare(times);
    // Under valgrind there is no such clock.
    if std::env::var_os("VIADUCT_TIMED").is_none() {
        return counted(&mut *run);
    }
    let before = processor_time();
    counted(&mut *run);
    println!("{:.1}", (processor_time() - before).as_nanos() as f64 / times as f64);
}

/// What valgrind counts.
#[inline(never)]
fn counted(run: &mut dyn FnMut()) {
    run();
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("time passes forwards")
}

criterion_group!(benches, established, opened_and_closed, opened_and_expired);

fn main() {
    match std::env::var("VIADUCT_STAGE") {
        Ok(asked) => stage(&asked),
        Err(_) => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
