//! Packets whose instructions are counted, spread evenly over all functions.

use std::hint::black_box;

use viaduct_dataplane::{Moment, Verdict};
use viaduct_topology::inventory::AttachmentId;

use crate::{
    support::{ACK, INSIDE, Packet, SYN, SYN_ACK, Tcp, tcp, traffic::Numbers},
    world::World,
};

pub(crate) const NOW: Moment = Moment::from_millis(1_000_000_000);

/// Connections that stand, and packets of each kind.
const COUNT: usize = 20_000;

pub(crate) type Sent = (AttachmentId, Vec<u8>);

/// Opens connections; then sends segments of them at random, then first packets, each of another
/// connection.
pub(crate) fn run(world: &mut World) {
    for number in 0..COUNT {
        establish(world, number);
    }
    let mut random = Numbers(1);
    let numbers = (0..COUNT).map(|_| random.next() as usize % COUNT);
    let packets = numbers.map(|number| segment(world, number, ACK)).collect();
    established(world, packets);
    let packets = (COUNT..2 * COUNT).map(|number| segment(world, number, SYN)).collect();
    opened(world, packets);
}

/// Counted.
#[inline(never)]
fn established(world: &mut World, packets: Vec<Sent>) {
    send_all(world, packets);
    assert_eq!(world.engine.connection_count(), COUNT);
}

/// Counted.
#[inline(never)]
fn opened(world: &mut World, packets: Vec<Sent>) {
    send_all(world, packets);
    assert_eq!(world.engine.connection_count(), 2 * COUNT);
}

#[inline(always)]
fn send_all(world: &mut World, packets: Vec<Sent>) {
    for (from, mut packet) in packets {
        let verdict = world.engine.forward(&mut packet, from, NOW, &mut world.scratch);
        assert!(matches!(black_box(verdict), Verdict::Forward { .. }), "{verdict:?}");
    }
}

/// A segment from the function whose turn it is.
pub(crate) fn segment(world: &World, number: usize, header: Tcp) -> Sent {
    let functions = world.size.functions;
    let function = number % functions;
    let inside = u16::try_from(1024 + number / functions).expect("fewer connections than ports");
    let (_, address) = world.asked_by(function);
    let Packet(bytes) = tcp((INSIDE, inside), (&address.to_string(), 443), header, b"");
    (world.function(function), bytes)
}

/// Opens a connection and has it answered.
fn establish(world: &mut World, number: usize) {
    let request = segment(world, number, SYN);
    let ((eni, port), (address, _)) = forward(world, request).ends();
    let Packet(answer) = tcp((&address, 443), (&eni, port), SYN_ACK, b"");
    let (instance, _) = world.asked_by(number % world.size.functions);
    forward(world, (instance, answer));
    let last = segment(world, number, ACK);
    forward(world, last);
}

fn forward(world: &mut World, (from, mut packet): Sent) -> Packet {
    match world.engine.forward(&mut packet, from, NOW, &mut world.scratch) {
        Verdict::Forward { .. } => Packet(packet),
        other => panic!("{other:?}"),
    }
}
