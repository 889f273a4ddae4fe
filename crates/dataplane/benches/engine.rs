//! A packet through the engine: parse, find its connection, rewrite.
//!
//! - `established`: a segment of a connection chosen at random for each packet, so that neither the
//!   index nor the slab stays in the cache.
//! - `opened_and_closed`: a SYN that opens a connection and an RST that ends it.
//!
//! `cargo bench -p viaduct-dataplane --bench engine` tells nanoseconds. With `VIADUCT_PACKETS=N` in
//! the environment it sends N established packets over 64 Ki connections and ends: what
//! `scripts/bench-engine` counts instructions of.

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use support::{
    INSIDE, Net, SYN, Tcp, tcp,
    traffic::{Numbers, Traffic},
};
use viaduct_dataplane::Verdict;

const COUNTED: u32 = 1 << 16;

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
    let Net { engine, scratch, now, .. } = &mut traffic.net;
    let ends = ((INSIDE, 500), ("10.0.2.10", 9000));
    let syn = tcp(ends.0, ends.1, SYN, b"").0;
    let reset = Tcp { flags: "R", sequence: 101, acknowledgment: 0 };
    let reset = tcp(ends.0, ends.1, reset, b"").0;
    let mut buffer = syn.clone();
    let api = viaduct_topology::inventory::AttachmentId(1);
    criterion.bench_function("opened_and_closed", |bencher| {
        bencher.iter(|| {
            for segment in [&syn, &reset] {
                buffer.copy_from_slice(segment);
                let verdict = engine.forward(&mut buffer, api, *now, scratch);
                assert!(matches!(verdict, Verdict::Forward { .. }));
            }
        });
    });
}

/// The same packets without a clock, for counting instructions.
fn counted(packets: u64) {
    let mut traffic = Traffic::establish(COUNTED);
    let mut numbers = Numbers(1);
    for _ in 0..packets {
        let _ = black_box(traffic.send_any(numbers.next()));
    }
}

criterion_group!(benches, established, opened_and_closed);

fn main() {
    match std::env::var("VIADUCT_PACKETS") {
        Ok(packets) => counted(packets.parse().expect("VIADUCT_PACKETS is a number")),
        Err(_) => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
