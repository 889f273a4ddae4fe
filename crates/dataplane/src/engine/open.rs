//! The first packet of a connection: from the walk's path to a connection with its ports.

use std::net::Ipv4Addr;

use viaduct_topology::{Reason, inventory::AttachmentId, model::Settings};
use viaduct_wire::{Flow, Frame, L4};

use super::{Engine, Onward, Refusal, Way, adjust::Adjustment, answer::no_connection};
use crate::{
    account::Claim,
    connection::{Connection, Direction, Half, InsertError, Key, LEASES, Timeouts},
    inventory::Interface,
    moment::Moment,
    port_table::{Exhausted, PortLease},
    recorder::Silent,
    scratch::Scratch,
    tcp::Segment,
    walk::{self, Choice, NAT, Options, Path, Subject, TRANSLATORS},
};

/// Why a connection is not opened.
enum Unopened {
    Refused(Refusal),
    /// There is no port for it, or no room.
    Full {
        reason: Reason,
        /// The NAT gateway that is full; none if something before it is.
        gateway: Option<Ipv4Addr>,
    },
}

impl From<Refusal> for Unopened {
    fn from(refusal: Refusal) -> Self {
        match refusal.reason {
            reason @ (Reason::QuotaExceeded | Reason::PortsExhausted) => {
                Self::Full { reason, gateway: None }
            }
            _ => Self::Refused(refusal),
        }
    }
}

impl From<Reason> for Unopened {
    fn from(reason: Reason) -> Self {
        Refusal::from(reason).into()
    }
}

impl Unopened {
    /// A translator of the path has no more.
    fn full(path: &Path, translator: usize, exhausted: Exhausted) -> Self {
        let gateway = path.nat.as_ref().filter(|_| translator == NAT).map(|nat| nat.ip);
        let reason = match exhausted {
            Exhausted::Ports => Reason::PortsExhausted,
            Exhausted::Quota => Reason::QuotaExceeded,
        };
        Self::Full { reason, gateway }
    }
}

/// A path, and the ports that go with it.
struct Passage {
    path: Path,
    leases: [Option<PortLease>; LEASES],
}

impl Engine {
    /// Opens a connection for its first packet and sends the packet on. `None` if meanwhile there
    /// is a connection: look it up again.
    pub(super) fn open(
        &self,
        frame: &mut Frame<'_>,
        key: Key,
        segment: Option<&Segment>,
        ingress: AttachmentId,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<Option<Onward>, Refusal> {
        if has_no_port(frame) {
            return Err(Reason::MalformedPacket.into());
        }
        self.try_open(frame, key, segment, ingress, now, scratch).map_err(|unopened| match unopened
        {
            Unopened::Refused(refusal) => refusal,
            Unopened::Full { reason, gateway } => {
                self.no_room(frame, reason, ingress, gateway, now, scratch)
            }
        })
    }

    fn try_open(
        &self,
        frame: &mut Frame<'_>,
        key: Key,
        segment: Option<&Segment>,
        ingress: AttachmentId,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<Option<Onward>, Unopened> {
        let subject = Subject::packet(frame.flow(), frame.l4());
        let path = self.walk(ingress, &subject, Options::default(), scratch).map_err(|reason| {
            // A late segment of a connection that has closed opens nothing toward anybody.
            let late = reason == Reason::V2nOneWay && segment.is_some() && !opens(frame);
            if late { Reason::NoConnection } else { reason }
        })?;
        if !opens(frame) {
            let forgets = path.v2n().or(path.nat.as_ref()).is_some();
            return Err(no_connection(frame, forgets, scratch).into());
        }
        let Path { target, ttl_decrement, mtu, .. } = path;
        let interface_endpoint = path.has_interface_endpoint();
        let onward = match self.fits(frame, target, ttl_decrement, mtu, interface_endpoint) {
            Ok(onward) => onward,
            Err(misfit) => {
                let sender = path.nat.as_ref().map(|nat| nat.ip);
                return Err(self.unfit(frame, misfit, ingress, sender, now, scratch).into());
            }
        };
        let claim = self.claim(ingress, &scratch.policy)?;
        let Passage { path, leases } = self.reserve(path, ingress, &subject, now, scratch)?;
        if let Err(reason) = self.may_open(&path, frame, ingress, now, &scratch.policy) {
            give_back(leases);
            return Err(reason.into());
        }
        let ports = leases.each_ref().map(|lease| lease.as_ref().map_or(0, PortLease::port));
        let arrival = path.translate(&key.flow, ports).arrival();

        let reply_key =
            Key { ingress: self.ports.port(path.target).scope, flow: arrival.reversed() };
        let mut request = Half::new(key, path.target);
        request.generation = scratch.policy.generation;
        request.ttl_decrement = path.ttl_decrement;
        let mut reply = Half::new(reply_key, ingress);
        reply.ttl_decrement = path.ttl_decrement;
        let way = Way {
            tracking: path.tracking,
            nat: path.nat.as_ref().map(|nat| nat.ip),
            mtu,
            interface_endpoint,
        };
        let mut connection = Connection::new(
            request,
            reply,
            way,
            timeouts(&path, &key, &scratch.policy.settings),
            now,
        );
        for (translator, lease) in leases.into_iter().enumerate() {
            if let Some(lease) = lease {
                connection.hold(translator, lease);
            }
        }
        connection.seen(Direction::Request, segment, frame.packets(), frame.bytes(), now);
        let adjustment = Adjustment::of(&connection, Direction::Request);
        let rewrite = self.insert(connection, claim, &path, now, scratch)?;
        Ok(rewrite.map(|rewrite| {
            frame.rewrite(&rewrite);
            self.adjust(frame, adjustment);
            onward
        }))
    }

    /// Reserves the ports that the path needs. Where an ENI or an address of a NAT gateway is full,
    /// the next one of its kind serves (LAM-07, NAT-06).
    fn reserve(
        &self,
        mut path: Path,
        ingress: AttachmentId,
        subject: &Subject,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<Passage, Unopened> {
        let mut nth = [0; TRANSLATORS];
        loop {
            let (full, exhausted) = match take_ports(&path, subject, now, scratch) {
                Ok(leases) => return Ok(Passage { path, leases }),
                Err(refused) => refused,
            };
            nth[full] += 1;
            if nth[full] >= path.choices[full] {
                return Err(Unopened::full(&path, full, exhausted));
            }
            let options = Options { choices: nth.map(Choice::Nth), ..Options::default() };
            path = self.walk(ingress, subject, options, scratch)?;
        }
    }

    /// Enters a connection into the table, with another port if its replies would be taken for
    /// another connection's. Returns what its first packet becomes; `None` if another thread was
    /// faster.
    fn insert(
        &self,
        mut connection: Connection<Way>,
        claim: Claim<'_>,
        path: &Path,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<Option<viaduct_wire::Rewrite>, Unopened> {
        // Held until the search is over, so that none of them is tried twice.
        let mut rejected = Vec::new();
        loop {
            let rewrite = connection.rewrite(Direction::Request);
            match self.connections.insert(connection) {
                Ok(_) => {
                    claim.keep();
                    scratch.counters.opened();
                    return Ok(Some(rewrite));
                }
                Err(InsertError::Ended) => {
                    claim.keep();
                    scratch.counters.opened();
                    return Ok(None);
                }
                Err(InsertError::RequestExists(..)) => return Ok(None),
                Err(InsertError::CapacityFull) => return Err(Reason::QuotaExceeded.into()),
                // Not this packet's fault, and gone with its retransmission only if the other
                // connection is: refused rather than confused.
                Err(InsertError::Collision) => return Err(Reason::QuotaExceeded.into()),
                Err(InsertError::ReplyTaken(returned)) => connection = *returned,
            }
            // The port nearest to the receiver is what its replies are told apart by.
            let nearest = path.translators().into_iter().enumerate().rev();
            let Some((index, interface)) = nearest.filter_map(|(i, it)| Some((i, it?))).next()
            else {
                // The same conversation, opened from its other end at this moment.
                return Ok(None);
            };
            let flow = connection.request.key.flow;
            rejected.extend(connection.take_lease(index));
            let inside = inside(path, &connection.ports()[..index], &flow);
            let lease = take_port(path, index, interface, &flow, inside, &rejected, now, scratch)
                .map_err(|exhausted| Unopened::full(path, index, exhausted))?;
            connection.reply.key.flow.destination_port = lease.port();
            connection.hold(index, lease);
        }
    }

    pub(super) fn walk(
        &self,
        ingress: AttachmentId,
        subject: &Subject,
        options: Options,
        scratch: &mut Scratch,
    ) -> Result<Path, Reason> {
        let view = self.view(scratch);
        walk::forward_within(&scratch.policy, &view, ingress, subject, options, &mut Silent)
    }
}

/// Whether a packet may be the first of a connection.
fn opens(frame: &Frame<'_>) -> bool {
    match frame.l4() {
        L4::Tcp { flags } => flags.opens() && !flags.fin(),
        L4::IcmpEchoReply => false,
        _ => true,
    }
}

/// Whether a packet has port 0 where it needs a port. Nobody can listen there (RFC 6335 6), and TCP
/// always wants an answer; a datagram that wants none may come from there (RFC 768).
fn has_no_port(frame: &Frame<'_>) -> bool {
    let Flow { source_port, destination_port, .. } = frame.flow();
    match frame.l4() {
        L4::Tcp { .. } => source_port == 0 || destination_port == 0,
        L4::Udp => destination_port == 0,
        _ => false,
    }
}

/// A port of each translator, or the first that has none. Those taken before it are given back
/// unseen: they need not rest.
fn take_ports(
    path: &Path,
    subject: &Subject,
    now: Moment,
    scratch: &mut Scratch,
) -> Result<[Option<PortLease>; LEASES], (usize, Exhausted)> {
    let mut leases = [const { None }; LEASES];
    let mut ports = [0; LEASES];
    for (index, interface) in path.translators().into_iter().enumerate() {
        let Some(interface) = interface else { continue };
        let inside = inside(path, &ports[..index], &subject.flow);
        match take_port(path, index, interface, &subject.flow, inside, &[], now, scratch) {
            Ok(lease) => {
                ports[index] = lease.port();
                leases[index] = Some(lease);
            }
            Err(exhausted) => {
                give_back(leases);
                return Err((index, exhausted));
            }
        }
    }
    Ok(leases)
}

/// Gives back ports that nobody has seen: they need not rest.
fn give_back(leases: [Option<PortLease>; LEASES]) {
    leases.into_iter().flatten().for_each(PortLease::close);
}

/// The end that a translator translates: the sender's own, or what those before it made of it.
fn inside(path: &Path, before: &[u16], flow: &Flow) -> (Ipv4Addr, u16) {
    let ends = path.translators().into_iter().zip(before);
    let last = ends.rev().find_map(|(interface, port)| Some((interface?.ip, *port)));
    last.unwrap_or((flow.source, flow.source_port))
}

#[allow(clippy::too_many_arguments)] // what a port is for, and what decides which
fn take_port(
    path: &Path,
    translator: usize,
    interface: &Interface,
    flow: &Flow,
    inside: (Ipv4Addr, u16),
    rejected: &[PortLease],
    now: Moment,
    scratch: &mut Scratch,
) -> Result<PortLease, Exhausted> {
    // The walk returns no translating interface without a table.
    let ports = interface.ports.as_ref().ok_or(Exhausted::Ports)?;
    let destination = (path.destination_at(translator, flow.destination), flow.destination_port);
    ports.reserve_for(inside, flow.protocol, destination, rejected, scratch.random(), now)
}

/// The shortest timer of what holds the connection.
fn timeouts(path: &Path, key: &Key, settings: &Settings) -> Timeouts {
    let protocol = key.flow.protocol;
    let tracked = Timeouts::tracked(protocol, &settings.connection_tracking);
    if path.translators().iter().any(Option::is_some) {
        tracked.shortest(Timeouts::translated(protocol, &settings.nat))
    } else {
        tracked
    }
}
