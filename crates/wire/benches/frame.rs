//! What a packet costs before and after it is decided upon: parse, rewrite, seal. No part of it
//! depends on the payload's length, which is never read.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use etherparse::PacketBuilder;
use viaduct_wire::vnet::{NEEDS_CSUM, VnetHeader, gso};
use viaduct_wire::{Frame, Rewrite};

const SOURCE: [u8; 4] = [10, 0, 1, 5];
const DESTINATION: [u8; 4] = [10, 0, 2, 9];

fn frame(header: VnetHeader, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut buffer = header.emit().to_vec();
    write(&mut buffer);
    buffer
}

fn frames() -> [(&'static str, Vec<u8>); 3] {
    let ip = || PacketBuilder::ipv4(SOURCE, DESTINATION, 64);
    let super_packet = VnetHeader {
        flags: NEEDS_CSUM,
        gso_type: gso::TCPV4,
        gso_size: 1460,
        csum_start: 20,
        csum_offset: 16,
        ..VnetHeader::default()
    };
    [
        (
            "tcp segment",
            frame(VnetHeader::default(), |out| {
                ip().tcp(40_000, 443, 1, 1000).write(out, &[0; 1400]).expect("fits");
            }),
        ),
        (
            "tcp super-packet",
            frame(super_packet, |out| {
                ip().tcp(40_000, 443, 1, 1000).write(out, &[0; 60_000]).expect("fits");
            }),
        ),
        (
            "udp datagram",
            frame(VnetHeader::default(), |out| {
                ip().udp(40_000, 53).write(out, &[0; 64]).expect("fits");
            }),
        ),
    ]
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    for (name, mut buffer) in frames() {
        group.bench_function(format!("parse {name}"), |b| {
            b.iter(|| Frame::parse(black_box(&mut buffer), 1500).map(|frame| frame.flow()));
        });
        let mut port = 1024_u16;
        group.bench_function(format!("parse, rewrite, finish {name}"), |b| {
            b.iter(|| {
                port = port.wrapping_add(1);
                let mut frame = Frame::parse(black_box(&mut buffer), 1500).expect("a sound packet");
                let mut rewrite = Rewrite::from(frame.flow());
                rewrite.source_port = black_box(port);
                rewrite.source = [10, 0, 3, 7].into();
                frame.rewrite(&rewrite);
                black_box(frame.finish())
            });
        });
    }
    group.finish();
}

criterion_group!(frame_benches, benches);
criterion_main!(frame_benches);
