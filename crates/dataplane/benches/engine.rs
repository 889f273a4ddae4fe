//! A packet through the engine: parse, find its connection, rewrite.
//!
//! - `established`: a segment of a connection chosen at random for each packet, so that neither the
//!   index nor the slab stays in the cache.
//! - `opened_and_closed`: a SYN that opens a connection and an RST that ends it.
//!
//! - `opened_and_expired`: a datagram that opens a connection, and the timer that ends it.
//!
//! `cargo bench -p viaduct-dataplane --bench engine` tells nanoseconds. With `VIADUCT_STAGE=NAME:N` in
//! the environment it does one [stage](STAGES) N times and ends: what `scripts/bench-engine` counts
//! instructions of.

#[path = "../tests/support/mod.rs"]
mod support;

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group};
use support::{
    INSIDE, Net, Packet, SYN, Tcp, tcp,
    traffic::{Numbers, Traffic},
};
use viaduct_dataplane::Verdict;
use viaduct_topology::inventory::AttachmentId;
use viaduct_wire::{Frame, Rewrite};

const COUNTED: u32 = 1 << 16;

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
    let mut traffic = Traffic::establish(COUNTED);
    criterion.bench_function("opened_and_closed", |bencher| bencher.iter(closer(&mut traffic.net)));
}

fn opened_and_expired(criterion: &mut Criterion) {
    let mut traffic = Traffic::establish(COUNTED);
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

/// Its name, and what does it so many times.
type Stage = (&'static str, fn(u64));

/// What is counted by itself: each includes those before it, as far as it needs them.
const STAGES: [Stage; 5] = [
    ("parse", |times| {
        let Packet(mut segment) = tcp((INSIDE, 500), ("10.0.2.10", 9000), SYN, b"");
        for _ in 0..times {
            let frame = Frame::parse(black_box(&mut segment), 1500).expect("a sound packet");
            black_box(frame.flow());
        }
    }),
    ("parse-and-rewrite", |times| {
        let Packet(mut segment) = tcp((INSIDE, 500), ("10.0.2.10", 9000), SYN, b"");
        for port in 0..times {
            let mut frame = Frame::parse(black_box(&mut segment), 1500).expect("a sound packet");
            let source_port = black_box(port as u16);
            frame.rewrite(&Rewrite { source_port, ..Rewrite::from(frame.flow()) });
            black_box(frame.finish());
        }
    }),
    ("established", |times| {
        let mut traffic = Traffic::establish(COUNTED);
        let mut numbers = Numbers(1);
        for _ in 0..times {
            let _ = black_box(traffic.send_any(numbers.next()));
        }
    }),
    ("opened-and-closed", |times| {
        let mut traffic = Traffic::establish(1);
        let mut step = closer(&mut traffic.net);
        (0..times).for_each(|_| step());
    }),
    ("opened-and-expired", |times| {
        let mut traffic = Traffic::establish(0);
        let mut step = expirer(&mut traffic.net);
        (0..times / u64::from(BATCH)).for_each(|_| step());
    }),
];

/// Does a stage so often, without a clock.
fn counted(asked: &str) {
    let known = || STAGES.map(|(name, _)| name).join(", ");
    let (name, times) = asked.split_once(':').expect("VIADUCT_STAGE is NAME:N");
    let stage = STAGES.iter().find(|(stage, _)| *stage == name);
    let (_, run) = stage.unwrap_or_else(|| panic!("no stage {name}; there are {}", known()));
    run(times.parse().expect("a number of times"));
}

criterion_group!(benches, established, opened_and_closed, opened_and_expired);

fn main() {
    match std::env::var("VIADUCT_STAGE") {
        Ok(asked) => counted(&asked),
        Err(_) => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
