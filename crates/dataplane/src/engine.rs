//! The engine: one call a packet.
//!
//! # Theory of operation
//!
//! **Established packets.** [`Engine::forward`] parses the frame, looks its flow up in the scope
//! of where it came in, and finds the half of a connection that packets of this direction belong
//! to. If that half was judged under the policy in force, the packet is counted and rewritten, and
//! that is all: one lock of an index shard, one of the connection, nothing allocated, and nothing
//! written that others read but the connection itself.
//!
//! **First packets** go to [`open`](self::open): the walk decides, ports are reserved, and the
//! connection is born with both halves. The request's half counts as judged; the reply's is judged
//! when the first reply comes, because a live packet is judged in its own direction only (ACL-07,
//! FL-15).
//!
//! **After a change of policy** the generation is another, and every half is unjudged. The next
//! packet of each has [`judge`](self::judge) walk the connection's way again: the groups of ends
//! that track it are not asked (SG-22), ACLs and routes are. The same target by the same
//! translation, and the connection goes on, its half passing or blocked; another, and it ends
//! (RT-30).
//!
//! **A reload** exchanges the policy and changes the inventory at one moment. A walk holds the
//! inventory's read lock and makes sure that its policy is the one in force ([`Engine::view`]), so
//! each packet meets one topology whole, never a mixture of two: what both let pass is not lost,
//! what neither lets pass does not. That a half passes is remembered until the next generation; that
//! it does not pass is found anew for each packet, because what is added to the inventory has no
//! generation of its own and may be what was missing.
//!
//! **After the end** of a process another one can go on with its connections: [`resume`](self::resume).
//!
//! **Never two locks.** The slow paths copy what they need out of a connection, walk, and come
//! back by its id, whose epoch tells whether it died meanwhile. The one exception: whoever holds the
//! inventory's lock may take the policy's.

mod adjust;
mod answer;
mod check;
mod fragments;
mod icmp;
mod judge;
mod limits;
#[cfg(all(loom, test))]
mod models;
mod open;
mod reload;
mod resume;
mod view;

use std::net::Ipv4Addr;

use viaduct_topology::{Reason, Topology, inventory::AttachmentId};
use viaduct_wire::{Flow, Frame, L4, Malformed, icmp::IcmpErrorKind};

use self::adjust::{Adjustment, Identifications};
pub(crate) use self::answer::ErrorBudget;
pub use self::view::{ConnectionInfo, EniInfo, EniLoad, Usage};
use crate::{
    connection::{Connection, ConnectionId, Connections, Direction, Key, Lookup},
    counters::{CounterRegistry, Counters},
    inventory::{Inventory, View},
    moment::Moment,
    policy::{Numbers, Policy},
    ports::Ports,
    rate::Rates,
    scratch::Scratch,
    sync::{Arc, AtomicU32, Mutex, Ordering},
    tcp::{Phase, Segment},
    verdict::{Dropped, Verdict},
    walk::Tracking,
};

/// How often a packet may find that the connection it belongs to has just changed under it before
/// it is dropped: each time, another thread has made progress.
const ATTEMPTS: usize = 4;

/// How the engine is made.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Connections at most, over all interfaces. Memory is taken as they come.
    pub connections: usize,
    /// Keeps secret, from those who choose their addresses, the places of connections in the index
    /// and the numbers of packets.
    pub seed: u64,
}

/// The forwarding engine, shared by all workers.
#[derive(Debug)]
pub struct Engine {
    /// Held by whoever changes policy or inventory.
    changing: Mutex<()>,
    /// The generation of `policy`, to be read without its lock.
    generation: AtomicU32,
    policy: Mutex<Arc<Policy>>,
    numbers: Arc<Numbers>,
    inventory: Inventory,
    ports: Ports,
    connections: Connections<Way>,
    identifications: Identifications,
    counters: CounterRegistry,
}

/// What a connection remembers of its path: enough to walk it again.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Which ends keep security-group state of it.
    tracking: Tracking,
    /// The private address of the NAT gateway on its way: where a packet's time to live ends.
    nat: Option<Ipv4Addr>,
    /// The largest packet that the gateways on the way pass, in bytes.
    mtu: u16,
    /// Whether an interface endpoint is on it, which says nothing of packets that are too big.
    interface_endpoint: bool,
}

/// Why a packet is not forwarded.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    reason: Reason,
    /// If it was a reply: the request.
    request: Option<Flow>,
    /// Whether the scratch holds an answer for its sender.
    answered: bool,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self { reason, request: None, answered: false }
    }
}

/// What a connection makes of a packet.
enum Passage {
    /// It is translated by now.
    Passes {
        id: ConnectionId,
        adjustment: Option<Adjustment>,
        onward: Onward,
        phase: Phase,
    },
    Refused {
        reason: Reason,
        request: Option<Flow>,
    },
    /// It is larger than the next hop takes, or its time to live is used up.
    Unfit {
        misfit: Misfit,
        /// The NAT gateway that the packet reached.
        gateway: Option<Ipv4Addr>,
        request: Option<Flow>,
    },
    /// It opens another in this one's place.
    Over {
        id: ConnectionId,
    },
    /// Its half was not judged under this policy.
    Unjudged {
        id: ConnectionId,
        direction: Direction,
    },
}

/// What a packet needs to know of the judgement of its half.
#[derive(Clone, Copy, Debug)]
struct Standing<'a> {
    /// The generation at which it must have been judged.
    generation: u32,
    /// Whether it was judged for this very packet.
    judged: bool,
    /// The rates in force, if any is limited.
    rates: Option<&'a Rates>,
}

/// Where an admitted packet goes.
#[derive(Clone, Copy, Debug)]
struct Onward {
    target: AttachmentId,
    /// The largest packet that gets there, in bytes, if this one is larger and may be cut.
    cut: Option<u16>,
}

/// Why an admitted packet cannot go on its way.
#[derive(Clone, Copy, Debug)]
enum Misfit {
    TooBig {
        mtu: u16,
    },
    /// It is too big, and nobody says so.
    Swallowed,
    Expired,
    Down,
}

impl Engine {
    /// An engine without policy or inventory: it drops everything.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        let numbers = Arc::new(Numbers::new());
        let policy = Policy::compile(&Topology::default(), None, &numbers);
        Self {
            changing: Mutex::new(()),
            generation: AtomicU32::new(policy.generation),
            policy: Mutex::new(Arc::new(policy)),
            inventory: Inventory::new(Arc::clone(&numbers)),
            numbers,
            ports: Ports::new(),
            connections: Connections::new(config.connections, config.seed),
            identifications: Identifications::new(config.seed),
            counters: CounterRegistry::default(),
        }
    }

    /// A worker's scratch. `seed` decides which source ports its connections get, so it must be
    /// secret, and another for each worker.
    #[must_use]
    pub fn scratch(&self, seed: [u8; 32]) -> Scratch {
        Scratch::new(seed, self.counters.register(), Arc::clone(&self.policy.lock()))
    }

    /// Carries out one packet. `buffer` is what was read from the attachment's queue: a virtio-net
    /// header and the packet, which is rewritten in place if it is to be forwarded.
    pub fn forward(
        &self,
        buffer: &mut [u8],
        ingress: AttachmentId,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Verdict {
        let port = self.ports.port(ingress);
        let frame = match Frame::parse(buffer, port.mtu) {
            Ok(frame) => frame,
            Err(malformed) => return Self::unparsed(malformed, ingress, scratch),
        };
        if let L4::Fragment { .. } = frame.l4()
            && let Some(fragment) = frame.fragment()
        {
            return self.fragment(&frame, fragment, port, ingress, now, scratch);
        }
        self.carry(frame, port.scope, ingress, now, scratch)
    }

    /// Carries out one whole packet.
    #[inline]
    fn carry(
        &self,
        mut frame: Frame<'_>,
        scope: u32,
        ingress: AttachmentId,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Verdict {
        let (packets, bytes) = (frame.packets(), frame.bytes());
        match self.decide(&mut frame, scope, ingress, now, scratch) {
            Ok(Onward { target, cut: Some(mtu) }) => Self::cut(frame, target, mtu, scratch),
            Ok(Onward { target, cut: None }) => {
                scratch.counters.forwarded(packets, bytes);
                Verdict::Forward { target, length: frame.finish() }
            }
            Err(Refusal { reason, request, answered }) => {
                scratch.counters.dropped(reason, packets);
                let dropped =
                    Dropped { reason, ingress, flow: Some(frame.flow()), request, packets };
                if answered {
                    scratch.counters.answered();
                    Verdict::Answer(dropped)
                } else {
                    Verdict::Drop(dropped)
                }
            }
        }
    }

    /// Ends connections whose time is over, looking at no more than `budget`, and discards what
    /// has waited too long in the scratch. Returns how many connections it looked at: less than
    /// `budget` means that no more are due.
    pub fn expire(&self, now: Moment, budget: usize, scratch: &mut Scratch) -> usize {
        scratch.reassembler.expire(now, &scratch.counters);
        self.connections.expire(now, budget, &mut |connection| self.bury(connection, scratch))
    }

    /// Gives back the memory of port tables in which nothing is used and nothing rests, and removes
    /// the addresses that have drained. To be called a minute apart or so.
    pub fn trim(&self, now: Moment) {
        {
            let _changing = self.changing.lock();
            if self.inventory.end_drains(now) {
                self.renew();
            }
        }
        for interface in self.inventory.enis() {
            if let Some(ports) = &interface.ports {
                ports.trim(now);
            }
        }
    }

    /// What was done since the engine was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.sum()
    }

    /// The generation of the policy in force.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// The inventory and, in the scratch, the policy that goes with it: while the view is held,
    /// neither is reloaded.
    fn view(&self, scratch: &mut Scratch) -> View<'_> {
        let view = self.inventory.view();
        if scratch.policy.generation != self.generation() {
            // The inventory's lock, then the policy's: the order in which a reload takes them.
            self.refresh(scratch);
        }
        view
    }

    fn refresh(&self, scratch: &mut Scratch) {
        scratch.adopt(Arc::clone(&self.policy.lock()));
    }

    fn unparsed(malformed: Malformed, ingress: AttachmentId, scratch: &Scratch) -> Verdict {
        let reason = match malformed {
            Malformed::BadOffloadHeader(_) => Reason::BadOffloadHeader,
            Malformed::Ipv6 => Reason::Ipv6NotForwarded,
            _ => Reason::MalformedPacket,
        };
        scratch.counters.dropped(reason, 1);
        Verdict::Drop(Dropped { reason, ingress, flow: None, request: None, packets: 1 })
    }

    /// Decides on a whole packet and, if it passes, rewrites it. Returns where it goes.
    fn decide(
        &self,
        frame: &mut Frame<'_>,
        scope: u32,
        ingress: AttachmentId,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<Onward, Refusal> {
        if scratch.policy.generation != self.generation() {
            self.refresh(scratch);
        }
        self.may_send(frame, ingress, now, scratch)?;
        if let L4::IcmpError { kind, code } = frame.l4() {
            return self.icmp_error(frame, (kind, code), scope, ingress, now, scratch);
        }
        let key = Key { ingress: scope, flow: frame.flow() };
        let segment = Segment::of(frame);
        let mut judged = false;
        for _ in 0..ATTEMPTS {
            let Policy { generation, ref rates, .. } = *scratch.policy;
            let standing = Standing { generation, judged, rates: rates.as_ref() };
            // Not the answer of the look-up: that is copied from hand to hand.
            let mut passage = None;
            let found = self.connections.lookup(&key, now, |id, direction, connection| {
                let segment = segment.as_ref();
                let made = self.pass(id, direction, connection, frame, segment, standing, now);
                passage = Some(made);
            });
            match passage {
                Some(Passage::Passes { id, adjustment, onward, phase }) => {
                    if let Some(adjustment) = adjustment {
                        self.adjust(frame, adjustment);
                    }
                    if phase == Phase::Closed {
                        self.end(id, scratch);
                    }
                    return Ok(onward);
                }
                Some(Passage::Refused { reason, request }) => {
                    return Err(Refusal { reason, request, answered: false });
                }
                Some(Passage::Unfit { misfit, gateway, request }) => {
                    let refusal = self.unfit(frame, misfit, ingress, gateway, now, scratch);
                    return Err(Refusal { request, ..refusal });
                }
                Some(Passage::Over { id }) => self.end(id, scratch),
                Some(Passage::Unjudged { id, direction }) => {
                    self.judge(id, direction, frame, scratch);
                    judged = true;
                }
                None => {
                    if let Lookup::Expired(connection) = found {
                        self.bury(*connection, scratch);
                    } else if let Some(onward) =
                        self.open(frame, key, segment.as_ref(), ingress, now, scratch)?
                    {
                        return Ok(onward);
                    }
                }
            }
        }
        Err(Reason::NoConnection.into())
    }

    /// What a connection makes of a packet, and of one that passes the packet that leaves, but for an
    /// adjustment. Runs under the connection's lock.
    #[allow(clippy::too_many_arguments)] // one call site, on the path of every packet
    #[inline]
    fn pass(
        &self,
        id: ConnectionId,
        direction: Direction,
        connection: &mut Connection<Way>,
        frame: &mut Frame<'_>,
        segment: Option<&Segment>,
        standing: Standing<'_>,
        now: Moment,
    ) -> Passage {
        let opens = segment.filter(|segment| segment.flags.syn());
        if opens.is_some_and(|syn| connection.gives_way(direction, syn)) {
            return Passage::Over { id };
        }
        let half = connection.half(direction);
        // Portless ICMP messages of all types and codes are one conversation to the groups, and each
        // is another one to the network ACLs (ACL-11).
        let anew = half.blocked.is_some() || matches!(frame.l4(), L4::Icmp { .. });
        if half.generation != standing.generation || (anew && !standing.judged) {
            return Passage::Unjudged { id, direction };
        }
        let target = half.target;
        let request = || match direction {
            Direction::Request => None,
            Direction::Reply => Some(connection.request.key.flow),
        };
        if let Some(reason) = half.blocked {
            return Passage::Refused { reason, request: request() };
        }
        let Way { nat, mtu, interface_endpoint, .. } = connection.path;
        let onward = match self.fits(frame, target, half.ttl_decrement, mtu, interface_endpoint) {
            Ok(onward) => onward,
            Err(misfit) => {
                let gateway = nat.filter(|_| direction == Direction::Request);
                return Passage::Unfit { misfit, gateway, request: request() };
            }
        };
        if let Some(rates) = standing.rates
            && !self.may_pass(rates, direction, connection, frame, now)
        {
            return Passage::Refused { reason: Reason::RateLimited, request: request() };
        }
        let phase = connection.seen(direction, segment, frame.packets(), frame.bytes(), now);
        frame.rewrite(&connection.rewrite(direction));
        let adjusted = opens.is_some() || !frame.dont_fragment();
        let adjustment = adjusted.then(|| Adjustment::of(connection, direction));
        Passage::Passes { id, adjustment, onward, phase }
    }

    /// Whether an admitted packet can go on: something is there to take it, it is small enough or
    /// may be cut, and it may make another hop. Interface endpoints cut nothing and do not take part in
    /// path MTU discovery (EP-15, MTU-03).
    fn fits(
        &self,
        frame: &Frame<'_>,
        target: AttachmentId,
        ttl_decrement: u8,
        way_mtu: u16,
        interface_endpoint: bool,
    ) -> Result<Onward, Misfit> {
        let mtu = self.ports.port(target).mtu;
        if mtu == 0 {
            return Err(Misfit::Down);
        }
        // Nobody forwards what has no hop left, even where none is counted (RFC 1812 5.3.1).
        if frame.ttl() <= ttl_decrement {
            return Err(Misfit::Expired);
        }
        let mtu = mtu.min(way_mtu);
        if frame.largest_packet() <= usize::from(mtu) {
            return Ok(Onward { target, cut: None });
        }
        if interface_endpoint {
            return Err(Misfit::Swallowed);
        }
        if frame.may_be_cut(mtu) {
            return Ok(Onward { target, cut: Some(mtu) });
        }
        Err(Misfit::TooBig { mtu })
    }

    /// Refuses a packet that does not fit, with an ICMP error where one is due. `sender` is the
    /// NAT gateway that the packet reached; without one, the router next to its host answers.
    fn unfit(
        &self,
        frame: &Frame<'_>,
        misfit: Misfit,
        ingress: AttachmentId,
        sender: Option<Ipv4Addr>,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Refusal {
        let (reason, kind) = match misfit {
            Misfit::Down => return Reason::AttachmentDown.into(),
            Misfit::Swallowed => return Reason::PacketTooBig.into(),
            Misfit::Expired => (Reason::TtlExpired, IcmpErrorKind::TimeExceeded),
            Misfit::TooBig { .. } if !frame.dont_fragment() => return Reason::PacketTooBig.into(),
            Misfit::TooBig { mtu } => {
                (Reason::PacketTooBig, IcmpErrorKind::FragmentationNeeded { mtu })
            }
        };
        let answered = self.tell(frame, kind, ingress, sender, now, scratch);
        Refusal { reason, request: None, answered }
    }

    /// Takes a connection out of the table, if it still lives.
    fn end(&self, id: ConnectionId, scratch: &Scratch) {
        if let Some(connection) = self.connections.remove(id) {
            self.bury(connection, scratch);
        }
    }

    /// Gives back what a connection that has died held, and counts its death.
    fn bury(&self, connection: Connection<Way>, scratch: &Scratch) {
        let opener = connection.reply.target;
        connection.release();
        if let Some(account) = self.ports.account(opener) {
            account.release();
        }
        scratch.counters.ended(1);
    }
}

const _: () = assert!(size_of::<Connection<Way>>() <= 184, "a million take a slot each");
