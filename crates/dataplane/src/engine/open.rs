//! The first packet of a connection: from the walk's path to a connection with its ports.

use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::{Frame, L4};

use super::{Engine, NAT, Refusal, V2N, Way};
use crate::{
    connection::{Connection, Direction, Half, InsertError, Key, Timeouts},
    inventory::Interface,
    moment::Moment,
    port_table::{Exhausted, PortLease},
    recorder::Silent,
    scratch::Scratch,
    sync::Arc,
    tcp::Segment,
    walk::{self, Choice, Options, Path, Subject},
};

impl From<Exhausted> for Refusal {
    fn from(exhausted: Exhausted) -> Self {
        match exhausted {
            Exhausted::Ports => Reason::PortsExhausted,
            Exhausted::Quota => Reason::QuotaExceeded,
        }
        .into()
    }
}

/// A path, and the ports that go with it.
struct Passage {
    path: Path,
    leases: [Option<PortLease>; 2],
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
    ) -> Result<Option<AttachmentId>, Refusal> {
        let subject = Subject::packet(frame.flow(), frame.l4());
        let path = self.walk(ingress, &subject, Options::default(), scratch).map_err(|reason| {
            // A late segment of a connection that has closed opens nothing toward anybody.
            let late = reason == Reason::V2nOneWay && segment.is_some() && !opens(frame);
            if late { Reason::NoConnection } else { reason }
        })?;
        if !opens(frame) {
            return Err(no_connection(frame, &path, scratch));
        }
        if let Err(misfit) = self.fits(frame, path.target, path.ttl_decrement, path.mtu) {
            let sender = path.nat.as_ref().map(|nat| nat.ip);
            return Err(self.unfit(frame, misfit, ingress, sender, scratch));
        }
        let Passage { path, leases } = self.reserve(path, ingress, &subject, now, scratch)?;
        let [v2n_port, nat_port] = leases.each_ref().map(port);
        let arrival = path.translate(&key.flow, v2n_port, nat_port).arrival();

        let reply_key =
            Key { ingress: self.ports.port(path.target).scope, flow: arrival.reversed() };
        let mut request = Half::new(key, path.target);
        request.generation = scratch.policy.generation;
        request.ttl_decrement = path.ttl_decrement;
        let mut reply = Half::new(reply_key, ingress);
        reply.ttl_decrement = path.ttl_decrement;
        let way = Way {
            opener: ingress,
            tracking: path.tracking,
            v2n: path.v2n().map(|eni| eni.ip),
            nat: path.nat.as_ref().map(|nat| nat.ip),
            mtu: path.mtu,
        };
        let mut connection = Connection::new(request, reply, way, timeouts(&path, &key), now);
        connection.leases = leases;
        connection.seen(Direction::Request, segment, frame.packets(), frame.bytes(), now);
        let rewrite = self.insert(connection, &path, now, scratch)?;
        Ok(rewrite.map(|rewrite| {
            frame.rewrite(&rewrite);
            path.target
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
    ) -> Result<Passage, Refusal> {
        let (mut eni, mut nat_address) = (0, 0);
        loop {
            let v2n = path.v2n().map(|eni| take_port(eni, subject, now, scratch)).transpose();
            let nat = match &v2n {
                Ok(_) => path.nat.as_ref().map(|nat| take_port(nat, subject, now, scratch)),
                Err(_) => None,
            };
            match (v2n, nat.transpose()) {
                (Ok(v2n), Ok(nat)) => return Ok(Passage { path, leases: [v2n, nat] }),
                (Ok(v2n), Err(exhausted)) => {
                    // Nobody has seen this port: it need not rest.
                    if let Some(unused) = v2n {
                        unused.close();
                    }
                    if nat_address + 1 >= path.nat_choices {
                        return Err(exhausted.into());
                    }
                    nat_address += 1;
                }
                (Err(exhausted), _) if eni + 1 >= path.eni_choices => return Err(exhausted.into()),
                (Err(_), _) => eni += 1,
            }
            let options = Options {
                eni: Choice::Nth(eni),
                nat_address: Choice::Nth(nat_address),
                ..Options::default()
            };
            path = self.walk(ingress, subject, options, scratch)?;
        }
    }

    /// Enters a connection into the table, with another port if its replies would be taken for
    /// another connection's. Returns what its first packet becomes; `None` if another thread was
    /// faster.
    fn insert(
        &self,
        mut connection: Connection<Way>,
        path: &Path,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<Option<viaduct_wire::Rewrite>, Refusal> {
        // Held until the search is over, so that none of them is tried twice.
        let mut rejected = Vec::new();
        loop {
            let rewrite = connection.rewrite(Direction::Request);
            match self.connections.insert(connection) {
                Ok(_) => {
                    scratch.counters.opened();
                    return Ok(Some(rewrite));
                }
                Err(InsertError::RequestExists(..)) => return Ok(None),
                Err(InsertError::CapacityFull) => return Err(Reason::QuotaExceeded.into()),
                // Not this packet's fault, and gone with its retransmission only if the other
                // connection is: refused rather than confused.
                Err(InsertError::Collision) => return Err(Reason::QuotaExceeded.into()),
                Err(InsertError::ReplyTaken(returned)) => connection = *returned,
            }
            // The port nearest to the receiver is what its replies are told apart by.
            let (index, interface) = match (&path.nat, path.v2n()) {
                (Some(nat), _) => (NAT, nat),
                (None, Some(eni)) => (V2N, eni),
                // The same conversation, opened from its other end at this moment.
                (None, None) => return Ok(None),
            };
            let flow = connection.request.key.flow;
            let Some(ports) = &interface.ports else { return Ok(None) };
            rejected.extend(connection.leases[index].take());
            let destination = (flow.destination, flow.destination_port);
            let random = scratch.random();
            let lease =
                ports.reserve_instead(flow.protocol, destination, &rejected, random, now)?;
            connection.reply.key.flow.destination_port = lease.port();
            connection.leases[index] = Some(lease);
        }
    }

    fn walk(
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
        L4::Tcp { flags } => flags.syn() && !flags.ack() && !flags.rst(),
        L4::IcmpEchoReply => false,
        _ => true,
    }
}

/// Refuses a packet that belongs to no connection. A NAT gateway says so to a client that goes on
/// talking (NAT-10); elsewhere it is dropped.
fn no_connection(frame: &Frame<'_>, path: &Path, scratch: &mut Scratch) -> Refusal {
    scratch.answer.clear();
    let answered =
        path.nat.is_some() && viaduct_wire::tcp::reset(frame, &mut scratch.answer).is_some();
    Refusal { reason: Reason::NoConnection, request: None, answered }
}

fn take_port(
    interface: &Arc<Interface>,
    subject: &Subject,
    now: Moment,
    scratch: &mut Scratch,
) -> Result<PortLease, Exhausted> {
    // The walk returns no translating interface without a table.
    let ports = interface.ports.as_ref().ok_or(Exhausted::Ports)?;
    let flow = subject.flow;
    let destination = (flow.destination, flow.destination_port);
    ports.reserve(flow.protocol, destination, scratch.random(), now)
}

fn port(lease: &Option<PortLease>) -> u16 {
    lease.as_ref().map_or(0, PortLease::port)
}

/// The shortest timer of what holds the connection.
fn timeouts(path: &Path, key: &Key) -> Timeouts {
    let protocol = key.flow.protocol;
    let tracked = Timeouts::tracked(protocol);
    if path.v2n().is_some() || path.nat.is_some() {
        tracked.shortest(Timeouts::translated(protocol))
    } else {
        tracked
    }
}
