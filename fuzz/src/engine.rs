//! A history of the engine: hostile packets, replies, errors, reloads among topologies,
//! attachments that come and go, and time.
//!
//! The input's first byte is the topology that is in force first. Then each step is a byte that says
//! what happens, and the bytes that this takes (`History::step`). After each step:
//!
//! - what came out is sound, translated, and for its receiver (`checks`): no address of a function's
//!   inside outside of it, no private address on the internet, no reply to anybody but the opener;
//! - connections and ports are what a second book says they must be (`ledger`): a port is held
//!   exactly as long as its connection lives;
//! - every packet that went in was forwarded, dropped for a reason or put together with others, and
//!   counted so; datagrams in fragments are put together as a second opinion has it (`trains`).
//!
//! At the end all time passes, and nothing is held any more.

mod checks;
mod ledger;
mod network;
mod packets;
pub mod soak;
mod trains;
mod worlds;

use std::time::Duration;

use viaduct_dataplane::{Counters, Dropped, FragmentUsage, Verdict};
use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::{Frame, L4};

use self::{
    checks::Sent,
    ledger::{Entry, Ledger, Step, scope},
    network::Network,
    packets::{Load, ip_of},
    trains::{Expected, Trains},
};
use crate::input::Input;

/// Connections that the table takes: so few that a history can fill it.
const CAPACITY: usize = 24;

/// Steps beyond which a history shows nothing new.
const MOST_STEPS: usize = 200;

/// Deliveries that replies can be made to.
const REMEMBERED: usize = 16;

/// Tries one input.
///
/// # Panics
///
/// When something is not as it should be.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let world = worlds::choice(input.u8());
    let mut history = History {
        network: Network::new(&worlds::WORLDS, world, CAPACITY),
        ledger: Ledger::default(),
        trains: Trains::default(),
        delivered: Vec::new(),
        packets: 0,
        in_fragments: false,
    };
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        history.step(&mut input);
    }
    history.end();
}

/// A packet that came out, and who got it.
#[derive(Clone)]
struct Delivery {
    sender: AttachmentId,
    sent: Vec<u8>,
    receiver: AttachmentId,
    received: Vec<u8>,
}

struct History {
    network: Network,
    ledger: Ledger,
    trains: Trains,
    delivered: Vec<Delivery>,
    /// Packets that went in; a super-packet counts as those it stands for.
    packets: u64,
    /// Whether this step's packet comes in fragments.
    in_fragments: bool,
}

impl History {
    fn step(&mut self, input: &mut Input<'_>) {
        let step = input.u8();
        self.in_fragments = step >= 0xe0;
        match step & 15 {
            0..=4 => self.fresh(input),
            5..=8 => self.reply(input),
            9 => self.error(input),
            10 => self.again(input),
            11 => self.raw(input),
            12 | 13 => self.time(input),
            14 => {
                let world = worlds::choice(input.u8());
                let left = self.network.reload(world);
                self.ledger.update(&self.network, &Step::Reload { left: &left });
            }
            _ => self.attachment(input),
        }
    }

    /// A packet from somebody to anybody.
    fn fresh(&mut self, input: &mut Input<'_>) {
        let station = *input.pick(&self.network.stations);
        let mut buffer = packets::fresh(input, station.address);
        packets::damage(input, &mut buffer);
        self.emit(input, station.id, buffer);
    }

    /// Whoever got a packet answers it: mostly from the end it came to, to the end it came from.
    fn reply(&mut self, input: &mut Input<'_>) {
        let Some(delivery) = self.remembered(input) else { return };
        let Some(flow) = flow_of(&delivery.received) else { return };
        let load = Load::reply(input, flow.protocol);
        let from = (packets::address(input, flow.destination), flow.destination_port);
        let to = (packets::address(input, flow.source), flow.source_port);
        let mut buffer = packets::build(input, load, from, to);
        packets::damage(input, &mut buffer);
        self.emit(input, delivery.receiver, buffer);
    }

    /// Whoever got a packet, or somebody who did not, tells its sender that it failed.
    fn error(&mut self, input: &mut Input<'_>) {
        let Some(delivery) = self.remembered(input) else { return };
        let Some(flow) = flow_of(&delivery.received) else { return };
        let receiver = match input.u8() {
            0..=199 => delivery.receiver,
            _ => input.pick(&self.network.stations).id,
        };
        let from = packets::address(input, flow.destination);
        let to = packets::address(input, flow.source);
        let mut buffer = packets::error(input, from, to, ip_of(&delivery.received));
        packets::damage(input, &mut buffer);
        self.emit(input, receiver, buffer);
    }

    /// The same packet again, or another of the same conversation.
    fn again(&mut self, input: &mut Input<'_>) {
        let Some(delivery) = self.remembered(input) else { return };
        let mut buffer = delivery.sent;
        packets::damage(input, &mut buffer);
        self.emit(input, delivery.sender, buffer);
    }

    /// Bytes from anywhere, an attachment or not.
    fn raw(&mut self, input: &mut Input<'_>) {
        let ingress = match input.u8() {
            choice @ 0..=199 => {
                self.network.stations[usize::from(choice) % self.network.stations.len()].id
            }
            unknown => AttachmentId(u32::from(unknown - 200) * 30_000),
        };
        let flags = input.u8();
        let length = usize::from(input.u8());
        let mut buffer = input.bytes(length).to_vec();
        crate::packet::mend(&mut buffer, flags & !crate::packet::STRETCH);
        self.send(ingress, buffer);
    }

    fn remembered(&self, input: &mut Input<'_>) -> Option<Delivery> {
        let choice = usize::from(input.u8());
        let index = self.delivered.len().checked_sub(1)? - choice % self.delivered.len();
        Some(self.delivered[index].clone())
    }

    fn time(&mut self, input: &mut Input<'_>) {
        let millis = match input.u8() {
            255 => u64::from(input.u16()) * 1000,
            choice => {
                const TIMES: [u64; 12] = [
                    1,
                    999,
                    29_999,
                    30_000,
                    119_999,
                    120_000,
                    179_999,
                    239_999,
                    240_001,
                    349_999,
                    350_000,
                    432_000_000,
                ];
                TIMES[usize::from(choice) % TIMES.len()]
            }
        };
        self.network.now = self.network.now + Duration::from_millis(millis);
        self.ledger.update(&self.network, &Step::Other);
        let budget = match input.u8() {
            0..=99 => return,
            100..=149 => 1,
            150..=229 => 1000,
            _ => return self.network.engine.trim(self.network.now),
        };
        self.network.engine.expire(self.network.now, budget, &mut self.network.scratch);
        self.trains.expire_all(self.network.now);
        self.ledger.update(&self.network, &Step::Expiry);
    }

    fn attachment(&mut self, input: &mut Input<'_>) {
        let index = usize::from(input.u8()) % self.network.stations.len();
        let mtu = *input.pick(&[0, 9001, 1500, 576, 68, 65_535, 1]);
        let station = &mut self.network.stations[index];
        station.mtu = mtu;
        match mtu {
            0 => self.network.engine.detached(station.id),
            mtu => self.network.engine.attached(station.id, mtu),
        }
        self.ledger.update(&self.network, &Step::Other);
    }

    /// Sends a packet, in fragments if this step is for that.
    fn emit(&mut self, input: &mut Input<'_>, ingress: AttachmentId, buffer: Vec<u8>) {
        if !self.in_fragments {
            return self.send(ingress, buffer);
        }
        for fragment in packets::fragments(input, buffer) {
            self.send(ingress, fragment);
        }
    }

    fn send(&mut self, ingress: AttachmentId, buffer: Vec<u8>) {
        let read = self.parse(ingress, &buffer);
        self.packets += read.as_ref().map_or(1, |read| read.packets);
        let before = self.network.engine.counters();
        let mut out = buffer.clone();
        let Network { engine, scratch, now, .. } = &mut self.network;
        let verdict = engine.forward(&mut out, ingress, *now, scratch);
        let after = self.network.engine.counters();

        // What is judged: the packet, or the datagram that it makes whole.
        let (judged, buffer, also_dropped) = match read {
            Some(read) if read.is_fragment => match self.fragment(ingress, &buffer, &verdict) {
                (Some(datagram), gone) => {
                    let whole = self.parse(ingress, &datagram);
                    let whole = whole.map(|whole| Sent { in_fragments: true, ..whole });
                    (whole, datagram, gone)
                }
                (None, gone) => {
                    self.ledger.update(&self.network, &Step::Packet { key: None });
                    let refused =
                        if let Verdict::Drop(dropped) = verdict { dropped.packets } else { 0 };
                    assert_eq!(drops(&after) - drops(&before), gone + refused);
                    return self.all_are_counted(&after);
                }
            },
            read => (read, buffer, 0),
        };
        let known: Vec<Entry> = self.ledger.entries.values().cloned().collect();
        let key = judged.as_ref().and_then(|judged| judged.key);
        self.ledger.update(&self.network, &Step::Packet { key });
        let dropped = drops(&after) - drops(&before) - also_dropped;

        match verdict {
            Verdict::Forward { .. } | Verdict::Split { .. } => {
                let sent = judged.expect("only packets are forwarded");
                assert_eq!(dropped, 0);
                let (target, frames) = match verdict {
                    Verdict::Forward { target, length } => (target, vec![out[..length].to_vec()]),
                    Verdict::Split { target } => {
                        let frames = self.network.scratch.frames().iter();
                        (target, frames.map(<[u8]>::to_vec).collect())
                    }
                    _ => unreachable!("nothing else is forwarded"),
                };
                let mut connections = known;
                connections.extend(self.ledger.entries.values().cloned());
                let packets = checks::written(&self.network, target, &frames);
                assert_eq!(after.forwarded_packets - before.forwarded_packets, packets);
                let datagrams = trains::put_together(frames.iter().map(Vec::as_slice));
                for datagram in &datagrams {
                    checks::forwarded(&self.network, &sent, target, datagram, &connections);
                }
                let received = datagrams.into_iter().next().expect("something is forwarded");
                if self.delivered.len() == REMEMBERED {
                    self.delivered.remove(0);
                }
                let sender = ingress;
                let receiver = target;
                self.delivered.push(Delivery { sender, sent: buffer, receiver, received });
            }
            Verdict::Answer(refused) | Verdict::Drop(refused) => {
                assert_eq!(after.forwarded_packets, before.forwarded_packets);
                assert_eq!(dropped, refused.packets);
                assert!(after.dropped(refused.reason) - before.dropped(refused.reason) >= dropped);
                assert_eq!(refused.ingress, ingress);
                assert_eq!(refused.packets, judged.as_ref().map_or(1, |judged| judged.packets));
                assert_eq!(refused.flow, judged.as_ref().map(|judged| judged.flow));
                if matches!(verdict, Verdict::Answer(_)) {
                    let sent = judged.expect("only packets are answered");
                    assert_eq!(after.answered_packets - before.answered_packets, 1);
                    let answer = self.network.scratch.answer();
                    let from = self.network.station(ingress);
                    checks::answered(from, &sent, &refused, answer);
                }
            }
            Verdict::Held => panic!("a whole packet waits for something"),
        }
        self.all_are_counted(&after);
    }

    /// Has the second opinion of a fragment. Returns the datagram if it is whole, and how many
    /// fragments went besides.
    fn fragment(
        &mut self,
        ingress: AttachmentId,
        buffer: &[u8],
        verdict: &Verdict,
    ) -> (Option<Vec<u8>>, u64) {
        let mut bytes = buffer.to_vec();
        let frame = Frame::parse(&mut bytes, u16::MAX).expect("it is a packet");
        let (expected, gone) = self.trains.add(&frame, ingress, self.network.now);
        match expected {
            Expected::Held => assert_eq!(*verdict, Verdict::Held),
            Expected::Failed(packets) => {
                let (reason, flow) = (Reason::ReassemblyFailed, Some(frame.flow()));
                let dropped = Dropped { reason, ingress, flow, request: None, packets };
                assert_eq!(*verdict, Verdict::Drop(dropped));
            }
            Expected::Whole(datagram) => {
                assert_ne!(*verdict, Verdict::Held);
                return (Some(datagram), gone);
            }
        }
        (None, gone)
    }

    /// Every packet that went in was forwarded, dropped, or put together with others, or it waits.
    fn all_are_counted(&self, counters: &Counters) {
        let waiting = self.network.scratch.fragments().fragments;
        assert_eq!(waiting, self.trains.fragments());
        let whole = self.packets - waiting - counters.reassembled_fragments
            + counters.reassembled_datagrams;
        let forwarded =
            counters.forwarded_packets - counters.sent_fragments + counters.fragmented_packets;
        assert_eq!(whole, forwarded + drops(counters));
    }

    /// The packet, if it is one to the device it is written to.
    fn parse(&self, ingress: AttachmentId, buffer: &[u8]) -> Option<Sent> {
        let station = self.network.stations.iter().find(|station| station.id == ingress);
        let mtu = station.map_or(0, |station| station.mtu);
        let mut bytes = buffer.to_vec();
        let frame = Frame::parse(&mut bytes, mtu).ok()?;
        let scope = scope(&self.network, ingress);
        let flow = match frame.l4() {
            L4::IcmpError { .. } => frame.quoted().map(|quoted| quoted.flow.reversed()),
            _ => Some(frame.flow()),
        };
        Some(Sent {
            ingress,
            ip: frame.ip().to_vec(),
            flow: frame.flow(),
            partial: frame.needs_checksum(),
            packets: frame.packets(),
            is_fragment: frame.fragment().is_some(),
            in_fragments: false,
            key: flow.map(|flow| (scope, flow)),
        })
    }

    /// All time passes: what was opened has ended, and every port is free.
    fn end(mut self) {
        assert_eq!(self.network.engine.check(), Ok(()));
        self.network.now = self.network.now + Duration::from_hours(24 * 365);
        self.ledger.update(&self.network, &Step::Other);
        while self.network.engine.expire(self.network.now, 1000, &mut self.network.scratch) == 1000
        {
        }
        self.ledger.update(&self.network, &Step::Expiry);
        assert_eq!(self.network.engine.connection_count(), 0);
        assert_eq!(self.network.scratch.fragments(), FragmentUsage::default());
        for eni in self.network.engine.enis() {
            assert_eq!(eni.connections.unwrap_or(0), 0, "{eni:?} after all time has passed");
        }
    }
}

fn drops(counters: &Counters) -> u64 {
    counters.drops().map(|(_, packets)| packets).sum()
}

fn flow_of(buffer: &[u8]) -> Option<viaduct_wire::Flow> {
    let mut bytes = buffer.to_vec();
    Some(Frame::parse(&mut bytes, u16::MAX).ok()?.flow())
}
