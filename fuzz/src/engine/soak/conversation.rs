//! Two ends that talk, and what each of them sends next.

use std::net::Ipv4Addr;

use viaduct_dataplane::Moment;
use viaduct_topology::inventory::AttachmentId;
use viaduct_wire::{Flow, VNET_HEADER_LEN, protocol};

use super::{super::network::Place, dice::Dice};
use crate::oracle;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

/// A conversation that stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conversation {
    pub(super) opener: AttachmentId,
    pub(super) receiver: AttachmentId,
    /// The request as its opener sends it.
    pub(super) request: Flow,
    /// The request as its receiver sees it.
    pub(super) arrival: Flow,
    stage: Stage,
    /// When its last packet came out.
    pub(super) last: Moment,
    /// The epochs in which a request and a reply came out last; 1 is none.
    pub(super) passed: [u64; 2],
}

/// How far a TCP connection is; the others talk from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opened,
    Answered,
    Talking,
    /// The opener has said that it is done, or both have.
    HalfClosed,
    BothClosed,
    Over,
}

/// What a packet of a conversation is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// Whether the receiver speaks.
    pub(super) reply: bool,
    pub(super) flags: u8,
    pub(super) sequence: u32,
    pub(super) acknowledgment: u32,
    pub(super) payload: usize,
}

/// What the first packet of a TCP connection says.
pub(super) const OPENING: Words =
    Words { reply: false, flags: SYN, sequence: CLIENT, acknowledgment: 0, payload: 0 };

/// The ends' first sequence numbers: far from all that hostile segments have.
const CLIENT: u32 = 1_000_000;
const SERVER: u32 = 2_000_000;

/// Bytes that an end sends; every one of its segments carries them or nothing.
const PAYLOAD: u32 = 100;

/// Whom to talk to: protocol, address, port. Which of them can be reached depends on the topology.
type Peer = (u8, [u8; 4], u16);

const FROM_ENVIRONMENTS: [Peer; 8] = [
    (protocol::TCP, [10, 0, 2, 10], 5432),
    (protocol::UDP, [10, 0, 2, 10], 53),
    (protocol::TCP, [10, 0, 2, 10], 443),
    (protocol::TCP, [198, 51, 100, 7], 443),
    (protocol::UDP, [198, 51, 100, 7], 53),
    (protocol::TCP, [198, 51, 100, 8], 22),
    (protocol::TCP, [10, 0, 1, 10], 5432),
    (protocol::UDP, [10, 9, 0, 10], 53),
];
const FROM_INSTANCES: [Peer; 4] = [
    (protocol::TCP, [198, 51, 100, 7], 443),
    (protocol::UDP, [198, 51, 100, 7], 53),
    (protocol::ICMP, [198, 51, 100, 8], 0),
    (protocol::UDP, [10, 0, 2, 10], 53),
];
const FROM_INTERNET: [Peer; 2] =
    [(protocol::TCP, [203, 0, 113, 20], 22), (protocol::ICMP, [203, 0, 113, 20], 0)];

/// The flow of a first packet from such a host.
pub(super) fn opening(dice: &mut Dice, place: Place, own: Ipv4Addr, port: u16) -> Flow {
    let (protocol, to, to_port) = *match place {
        Place::Environment => dice.pick(&FROM_ENVIRONMENTS),
        Place::Instance { .. } => dice.pick(&FROM_INSTANCES),
        Place::Internet => dice.pick(&FROM_INTERNET),
        Place::Service => unreachable!("no topology of a soak has services"),
    };
    Flow {
        protocol,
        source: own,
        destination: to.into(),
        source_port: port,
        destination_port: to_port,
    }
}

impl Conversation {
    /// One whose first packet has come out.
    pub(super) fn new(
        (opener, request): (AttachmentId, Flow),
        (receiver, arrival): (AttachmentId, Flow),
        last: Moment,
        epoch: u64,
    ) -> Self {
        let stage = if request.protocol == protocol::TCP { Stage::Opened } else { Stage::Talking };
        Self { opener, receiver, request, arrival, stage, last, passed: [epoch, 1] }
    }

    /// What is said next.
    pub(super) fn next(&mut self, dice: &mut Dice) -> Words {
        let random = dice.next();
        let payload = if random & 7 == 0 { PAYLOAD as usize } else { 0 };
        let words = |reply: bool, flags, sequence, acknowledgment, payload| Words {
            reply,
            flags,
            sequence,
            acknowledgment,
            payload,
        };
        if self.request.protocol != protocol::TCP {
            if random >> 8 & 63 == 0 {
                // Nobody says that it is over; it is not talked about any more.
                self.stage = Stage::Over;
            }
            return words(random >> 16 & 1 == 0, 0, 0, 0, payload);
        }
        // Behind an end's payload, whether or not it was sent: segments may be lost on their way here.
        let (client, server) = (CLIENT + 1, SERVER + 1);
        let (client_end, server_end) = (client + PAYLOAD, server + PAYLOAD);
        match self.stage {
            Stage::Opened => {
                self.stage = Stage::Answered;
                words(true, SYN | ACK, SERVER, client, 0)
            }
            Stage::Answered => {
                self.stage = Stage::Talking;
                words(false, ACK, client, server, 0)
            }
            Stage::Talking | Stage::Over => match random >> 8 & 127 {
                0 => {
                    self.stage = Stage::HalfClosed;
                    words(false, FIN | ACK, client_end, server, 0)
                }
                1 => {
                    self.stage = Stage::Over;
                    words(false, RST | ACK, client, server, 0)
                }
                _ if random >> 16 & 1 == 0 => words(true, ACK, server, client, payload),
                _ => words(false, ACK, client, server, payload),
            },
            Stage::HalfClosed => {
                self.stage = Stage::BothClosed;
                words(true, FIN | ACK, server_end, client_end + 1, 0)
            }
            Stage::BothClosed => {
                self.stage = Stage::Over;
                words(false, ACK, client_end + 1, server_end + 1, 0)
            }
        }
    }

    /// Whether its last word was said.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// What its next packet of this direction shows its sender, and what it must show who gets it.
    pub(super) fn flows(&self, reply: bool) -> (Flow, Flow) {
        if reply {
            (self.arrival.reversed(), self.request.reversed())
        } else {
            (self.request, self.arrival)
        }
    }
}

/// Writes a packet of this flow into the buffer, behind an empty virtio-net header.
pub(super) fn build(buffer: &mut Vec<u8>, flow: &Flow, words: &Words) {
    buffer.clear();
    buffer.resize(VNET_HEADER_LEN, 0);
    let header = if flow.protocol == protocol::TCP { 20 } else { 8 };
    let length = 20 + header + words.payload;
    buffer.extend([0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, flow.protocol, 0, 0]);
    buffer[VNET_HEADER_LEN + 2..VNET_HEADER_LEN + 4]
        .copy_from_slice(&(length as u16).to_be_bytes());
    buffer.extend(flow.source.octets());
    buffer.extend(flow.destination.octets());
    let [source, destination] = [flow.source_port, flow.destination_port].map(u16::to_be_bytes);
    match flow.protocol {
        protocol::TCP => {
            buffer.extend(source);
            buffer.extend(destination);
            buffer.extend(words.sequence.to_be_bytes());
            buffer.extend(words.acknowledgment.to_be_bytes());
            buffer.extend([0x50, words.flags, 0xfa, 0, 0, 0, 0, 0]);
        }
        protocol::UDP => {
            buffer.extend(source);
            buffer.extend(destination);
            buffer.extend((8 + words.payload as u16).to_be_bytes());
            buffer.extend([0, 0]);
        }
        _ => {
            let (kind, id) = if words.reply { (0, destination) } else { (8, source) };
            buffer.extend([kind, 0, 0, 0]);
            buffer.extend(id);
            buffer.extend([0, 1]);
        }
    }
    buffer.resize(VNET_HEADER_LEN + length, 0x5a);
    let ip = &mut buffer[VNET_HEADER_LEN..];
    oracle::mend_header(ip);
    oracle::mend_transport(ip);
}
