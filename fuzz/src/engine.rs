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
//! - every packet that went in was either forwarded or dropped for a reason, and counted so.
//!
//! At the end all time passes, and nothing is held any more.

mod checks;
mod ledger;
mod network;
mod packets;
pub mod soak;
mod worlds;

use std::time::Duration;

use viaduct_dataplane::{Counters, Verdict};
use viaduct_topology::inventory::AttachmentId;
use viaduct_wire::{Frame, L4};

use self::{
    checks::Sent,
    ledger::{Entry, Ledger, Step, scope},
    network::Network,
    packets::{Load, ip_of},
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
        delivered: Vec::new(),
        packets: 0,
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
    delivered: Vec<Delivery>,
    /// Packets that went in; a super-packet counts as those it stands for.
    packets: u64,
}

impl History {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() & 15 {
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
        self.send(station.id, buffer);
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
        self.send(delivery.receiver, buffer);
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
        self.send(receiver, buffer);
    }

    /// The same packet again, or another of the same conversation.
    fn again(&mut self, input: &mut Input<'_>) {
        let Some(delivery) = self.remembered(input) else { return };
        let mut buffer = delivery.sent;
        packets::damage(input, &mut buffer);
        self.send(delivery.sender, buffer);
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
        self.network.engine.expire(self.network.now, budget, &self.network.scratch);
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

    fn send(&mut self, ingress: AttachmentId, buffer: Vec<u8>) {
        let sent = self.parse(ingress, &buffer);
        let before = self.network.engine.counters();
        let mut out = buffer.clone();
        let Network { engine, scratch, now, .. } = &mut self.network;
        let verdict = engine.forward(&mut out, ingress, *now, scratch);
        let known: Vec<Entry> = self.ledger.entries.values().cloned().collect();
        let key = sent.as_ref().and_then(|sent| sent.key);
        self.ledger.update(&self.network, &Step::Packet { key });

        let after = self.network.engine.counters();
        match verdict {
            Verdict::Forward { target, length } => {
                let sent = sent.expect("only packets are forwarded");
                self.packets += sent.packets;
                assert_eq!(after.forwarded_packets - before.forwarded_packets, sent.packets);
                assert_eq!(drops(&after), drops(&before));
                out.truncate(length);
                let mut connections = known;
                connections.extend(self.ledger.entries.values().cloned());
                checks::forwarded(&self.network, &sent, target, &out, &connections);
                if self.delivered.len() == REMEMBERED {
                    self.delivered.remove(0);
                }
                let sender = ingress;
                let receiver = target;
                self.delivered.push(Delivery { sender, sent: buffer, receiver, received: out });
            }
            Verdict::Answer(dropped) | Verdict::Drop(dropped) => {
                self.packets += dropped.packets;
                assert_eq!(after.forwarded_packets, before.forwarded_packets);
                assert_eq!(drops(&after) - drops(&before), dropped.packets);
                assert_eq!(
                    after.dropped(dropped.reason) - before.dropped(dropped.reason),
                    dropped.packets
                );
                assert_eq!(dropped.ingress, ingress);
                assert_eq!(dropped.packets, sent.as_ref().map_or(1, |sent| sent.packets));
                assert_eq!(dropped.flow, sent.as_ref().map(|sent| sent.flow));
                if matches!(verdict, Verdict::Answer(_)) {
                    let sent = sent.expect("only packets are answered");
                    assert_eq!(after.answered_packets - before.answered_packets, 1);
                    let answer = self.network.scratch.answer();
                    let from = self.network.station(ingress);
                    checks::answered(from, &sent, &dropped, answer);
                }
            }
        }
        assert_eq!(after.forwarded_packets + drops(&after), self.packets);
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
            key: flow.map(|flow| (scope, flow)),
        })
    }

    /// All time passes: what was opened has ended, and every port is free.
    fn end(mut self) {
        assert_eq!(self.network.engine.check(), Ok(()));
        self.network.now = self.network.now + Duration::from_hours(24 * 365);
        self.ledger.update(&self.network, &Step::Other);
        while self.network.engine.expire(self.network.now, 1000, &self.network.scratch) == 1000 {}
        self.ledger.update(&self.network, &Step::Expiry);
        assert_eq!(self.network.engine.connection_count(), 0);
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
