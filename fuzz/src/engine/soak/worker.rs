//! One of those who carry packets.

use std::{net::Ipv4Addr, sync::atomic::Ordering::SeqCst, time::Duration};

use viaduct_dataplane::{Moment, Scratch, Verdict};
use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::{Flow, Frame};

use super::{
    super::{
        checks::{self, Sent},
        network::Station,
        packets::{self, ip_of},
        trains,
    },
    Options, Shared, Tally,
    conversation::{Conversation, OPENING, Words, build, opening},
    dice::Dice,
    hostile,
};
use crate::{
    input::Input,
    oracle::{completed, sums},
};

/// Conversations that all workers together have at once.
const CONVERSATIONS: u32 = 8192;

/// Ports that the conversations of one place take in turn, and the first of all of them. Hostile
/// packets come from others (`packets`), for whoever sends from the opener's own end may end it.
const TURNS: u16 = 4;
const FIRST_PORT: u16 = 6000;

/// How long every connection lives that is idle (SG-25: 30 s).
const SHORTEST: Duration = Duration::from_secs(29);

/// A worker, and what it knows of the network.
pub(super) struct Worker {
    scratch: Scratch,
    dice: Dice,
    /// The hosts there are, as far as is known.
    stations: Vec<Station>,
    /// Every host that there ever was, by its identity.
    hosts: Vec<Vec<Station>>,
    /// As it was when `stations` was brought up to date.
    epoch: u64,
    places: Vec<Place>,
    /// Places without a conversation.
    free: Vec<usize>,
    buffer: Vec<u8>,
    pub(super) tally: Tally,
}

/// Room for a conversation, with ports that no other has.
struct Place {
    conversation: Option<Conversation>,
    first_port: u16,
    turn: u16,
}

/// Where a packet came out, and what it showed there.
#[derive(Debug)]
struct Delivered {
    target: AttachmentId,
    flow: Flow,
    quoted: Option<Flow>,
}

impl Worker {
    pub(super) fn new(shared: &Shared, options: &Options, number: u32) -> Self {
        let mut dice = Dice::new(options.seed ^ u64::from(number + 1) << 32);
        let mine = CONVERSATIONS / options.workers;
        let place = |place: u32| Place {
            conversation: None,
            first_port: FIRST_PORT + place as u16 * TURNS,
            turn: 0,
        };
        Self {
            scratch: shared.engine.scratch(dice.bytes()),
            dice,
            stations: Vec::new(),
            hosts: Vec::new(),
            // No epoch: it begins with a look around.
            epoch: u64::MAX,
            places: (number * mine..(number + 1) * mine).map(place).collect(),
            free: (0..mine as usize).collect(),
            buffer: Vec::new(),
            tally: Tally::default(),
        }
    }

    /// Carries so many packets, and then moves the clock.
    pub(super) fn carry(&mut self, shared: &Shared, packets: u64) {
        if self.epoch != shared.epoch.load(SeqCst) {
            self.look_around(shared);
        }
        let now = shared.now();
        for _ in 0..packets {
            self.step(shared, now);
        }
        shared.pass(Duration::from_millis(10));
        shared.engine.expire(shared.now(), 4000, &mut self.scratch);
    }

    /// Ends all whose time is over.
    pub(super) fn expire_all(&mut self, shared: &Shared) {
        while shared.engine.expire(shared.now(), 1000, &mut self.scratch) == 1000 {}
    }

    /// Fragments that it holds.
    pub(super) fn waiting(&self) -> u64 {
        self.scratch.fragments().fragments
    }

    /// Sends one packet.
    fn step(&mut self, shared: &Shared, now: Moment) {
        let Tally { packets, hostile, errors, opened, .. } = self.tally;
        let behind = |count: u64, in_thousand: u64| count * 1000 < packets * in_thousand;
        if behind(hostile, 60) {
            return self.hostile(shared, now);
        }
        let Some(place) = self.any_conversation() else { return self.open(shared, now) };
        if behind(errors, 15) {
            self.tell_error(shared, place, now);
        } else if behind(opened, 60) && self.dice.below(2) == 0 {
            self.open(shared, now);
        } else {
            self.go_on(shared, place, now);
        }
    }

    /// A place with a conversation, unless there are few.
    fn any_conversation(&mut self) -> Option<usize> {
        let mut attempts = (0..4).map(|_| self.dice.below(self.places.len() as u32) as usize);
        attempts.find(|&place| self.places[place].conversation.is_some())
    }

    fn hostile(&mut self, shared: &Shared, now: Moment) {
        self.tally.hostile += 1;
        let conversation = self.any_conversation().and_then(|at| self.places[at].conversation);
        let Self { dice, stations, buffer, .. } = self;
        let sender = hostile::packet(dice, stations, conversation.as_ref(), buffer);
        // Whatever comes of it.
        let _ = self.send(shared, sender, None, now);
    }

    /// Sends the first packet of a conversation. If none of its places is free, another conversation
    /// is forgotten, and its connection left to the timers.
    fn open(&mut self, shared: &Shared, now: Moment) {
        let at = match self.free.pop() {
            Some(free) => free,
            None => self.dice.below(self.places.len() as u32) as usize,
        };
        let place = &mut self.places[at];
        place.conversation = None;
        place.turn = (place.turn + 1) % TURNS;
        let port = place.first_port + place.turn;
        let host = *self.dice.pick(&self.stations);
        let request = opening(&mut self.dice, host.place, host.address, port);
        build(&mut self.buffer, &request, &OPENING);
        let before = shared.epoch.load(SeqCst);
        match self.send(shared, host.id, Some(request), now) {
            Ok(Delivered { target, flow, .. }) => {
                self.tally.opened += 1;
                let epoch = settled(shared, before);
                let (opener, receiver) = ((host.id, request), (target, flow));
                let conversation = Conversation::new(opener, receiver, now, epoch);
                self.places[at].conversation = Some(conversation);
            }
            Err(_) => self.free.push(at),
        }
    }

    /// Sends the next packet of a conversation.
    fn go_on(&mut self, shared: &Shared, at: usize, now: Moment) {
        let Some(mut conversation) = self.places[at].conversation else { return };
        let words = conversation.next(&mut self.dice);
        let (sent, shown) = conversation.flows(words.reply);
        let ends = (conversation.opener, conversation.receiver);
        let (sender, target) = if words.reply { (ends.1, ends.0) } else { ends };
        build(&mut self.buffer, &sent, &words);
        let before = shared.epoch.load(SeqCst);
        let delivered = self.send(shared, sender, Some(sent), now);
        let epoch = settled(shared, before);
        match &delivered {
            Ok(out) if (out.target, out.flow) == (target, shown) => {
                self.tally.established += 1;
                conversation.passed[usize::from(words.reply)] = epoch;
                conversation.last = now;
            }
            _ => {
                let passed = conversation.passed[usize::from(words.reply)];
                // Once both are done, a SYN of either end's begins anew, and hostile packets are damaged
                // into all there is.
                assert!(
                    passed != epoch
                        || epoch == NONE
                        || conversation.is_over()
                        || shared.now() >= conversation.last + SHORTEST,
                    "{words:?} of {conversation:?} became {delivered:?}"
                );
                self.places[at].conversation = None;
                return self.free.push(at);
            }
        }
        if conversation.is_over() {
            self.places[at].conversation = None;
            self.free.push(at);
        } else {
            self.places[at].conversation = Some(conversation);
        }
    }

    /// One end of a conversation tells the other that its packet failed.
    fn tell_error(&mut self, shared: &Shared, at: usize, now: Moment) {
        let Some(conversation) = self.places[at].conversation else { return };
        self.tally.errors += 1;
        let about_reply = self.dice.below(2) == 0;
        let (sent, shown) = conversation.flows(about_reply);
        let ends = (conversation.receiver, conversation.opener);
        let (sender, target) = if about_reply { (ends.1, ends.0) } else { ends };
        build(&mut self.buffer, &shown, &Words { reply: about_reply, ..OPENING });
        let bytes: [u8; 2] = self.dice.bytes();
        let mut input = Input::new(&bytes);
        let about = ip_of(&self.buffer);
        self.buffer = packets::error(&mut input, shown.destination, shown.source, about);
        let before = shared.epoch.load(SeqCst);
        let delivered = self.send(shared, sender, None, now);
        let epoch = settled(shared, before);
        let stands = epoch != NONE
            && conversation.passed.contains(&epoch)
            && shared.now() < conversation.last + SHORTEST;
        if let Ok(out) = delivered
            && stands
        {
            assert_eq!(
                (out.target, out.quoted),
                (target, Some(sent)),
                "what became of an error about {conversation:?}"
            );
        }
    }

    /// Has the engine carry what is in the buffer. What comes out, if it does, is for who gets it.
    /// `sent` is its flow if it is a packet that anybody may send. Otherwise: why not, or nothing if
    /// it is a fragment that waits for others.
    fn send(
        &mut self,
        shared: &Shared,
        sender: AttachmentId,
        sent: Option<Flow>,
        now: Moment,
    ) -> Result<Delivered, Option<Reason>> {
        let sound = sent.is_some();
        let came = Came::of(&self.buffer);
        let sent = sent.or(came.flow);
        self.tally.packets += 1;
        match shared.engine.forward(&mut self.buffer, sender, now, &mut self.scratch) {
            Verdict::Forward { target, length } => {
                self.tally.segments += came.packets;
                let sent = sent.expect("only packets are forwarded");
                let frame = self.buffer[..length].to_vec();
                Ok(self.delivered(shared, (sender, sent), target, frame, sound))
            }
            Verdict::Split { target } => {
                self.tally.segments += came.packets;
                let sent = sent.expect("only packets are forwarded");
                let datagrams = trains::put_together(self.scratch.frames().iter());
                let mut delivered = datagrams
                    .into_iter()
                    .map(|frame| self.delivered(shared, (sender, sent), target, frame, sound));
                let first = delivered.next().expect("something is forwarded");
                delivered.for_each(drop);
                Ok(first)
            }
            Verdict::Held => {
                self.tally.segments += came.packets;
                Err(None)
            }
            Verdict::Answer(dropped) => {
                self.tally.segments += came.refused(dropped.packets);
                self.tally.answered += 1;
                let mut bytes = self.buffer.clone();
                let frame = Frame::parse(&mut bytes, u16::MAX).expect("only packets are answered");
                let sent = Sent {
                    ingress: sender,
                    ip: frame.ip().to_vec(),
                    flow: frame.flow(),
                    partial: frame.needs_checksum(),
                    packets: dropped.packets,
                    is_fragment: came.is_fragment,
                    in_fragments: came.is_fragment,
                    key: None,
                };
                let from = self.host(shared, sender, sent.flow.source);
                checks::answered(&from, &sent, &dropped, self.scratch.answer());
                self.digest(1 << 8 | dropped.reason as u64);
                Err(Some(dropped.reason))
            }
            Verdict::Drop(dropped) => {
                self.tally.segments += came.refused(dropped.packets);
                self.digest(dropped.reason as u64);
                Err(Some(dropped.reason))
            }
        }
    }

    /// Holds a packet that came out, and of which `sent` went in, to what its receiver may see.
    fn delivered(
        &mut self,
        shared: &Shared,
        (sender, sent): (AttachmentId, Flow),
        target: AttachmentId,
        mut frame: Vec<u8>,
        sound: bool,
    ) -> Delivered {
        let out = Frame::parse(&mut frame, u16::MAX).expect("what leaves is a packet");
        let (flow, quoted) = (out.flow(), out.quoted().map(|quoted| quoted.flow));
        let from = self.host(shared, sender, sent.source);
        let to = self.host(shared, target, flow.destination);
        checks::is_for(&from, &sent, &to, &flow, quoted.as_ref());
        if sound && self.tally.packets.is_multiple_of(16) {
            let after = sums(&completed(&frame));
            assert!(after.header && after.transport == Some(true), "{flow}: {after:?}");
        }
        self.digest(u64::from(target.0) << 32 | u64::from(flow.source_port) << 16);
        Delivered { target, flow, quoted }
    }

    /// The host of this identity, as it was when it had this address if it ever had.
    fn host(&mut self, shared: &Shared, id: AttachmentId, address: Ipv4Addr) -> Station {
        let known = |worker: &Self| {
            let versions = worker.hosts.get(id.0 as usize)?;
            versions.iter().find(|host| host.address == address).copied()
        };
        known(self).unwrap_or_else(|| {
            // A topology that is just being put in force may have brought it.
            self.look_around(shared);
            let latest = |worker: &Self| worker.hosts.get(id.0 as usize)?.last().copied();
            known(self).or_else(|| latest(self)).unwrap_or_else(|| panic!("{id} is nobody's"))
        })
    }

    fn look_around(&mut self, shared: &Shared) {
        let control = shared.control.lock().expect("nobody has panicked");
        self.stations.clone_from(&control.network.stations);
        self.hosts.clone_from(&control.hosts);
        self.epoch = shared.epoch.load(SeqCst);
    }

    fn digest(&mut self, what: u64) {
        self.tally.digest = (self.tally.digest ^ what).wrapping_mul(0x0100_0000_01b3);
    }
}

/// No epoch in which anything is sure.
const NONE: u64 = 1;

/// The epoch since `before`, if nobody reloads or has reloaded meanwhile.
fn settled(shared: &Shared, before: u64) -> u64 {
    if before.is_multiple_of(2) && shared.epoch.load(SeqCst) == before { before } else { NONE }
}

/// What a buffer is before anybody has judged it.
struct Came {
    flow: Option<Flow>,
    packets: u64,
    is_fragment: bool,
}

impl Came {
    fn of(buffer: &[u8]) -> Self {
        match Frame::parse(&mut buffer.to_vec(), u16::MAX) {
            Ok(frame) => Self {
                flow: Some(frame.flow()),
                packets: frame.packets(),
                is_fragment: frame.fragment().is_some(),
            },
            Err(_) => Self { flow: None, packets: 1, is_fragment: false },
        }
    }

    /// The packets of it that are refused, if so many were dropped: those that waited for a fragment
    /// are among them.
    fn refused(&self, dropped: u64) -> u64 {
        if self.is_fragment { self.packets } else { dropped }
    }
}
