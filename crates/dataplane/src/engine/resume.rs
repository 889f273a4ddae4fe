//! Noting connections, and taking them up again in another engine.
//!
//! # Theory of operation
//!
//! Whoever keeps notes asks which slots of the table have changed ([`Engine::changes`]) and notes what is
//! there ([`Engine::memo`]); besides it looks at every slot now and then, because an established
//! connection's packets mark nothing: its clock, counts and sequence numbers are as old in the notes as
//! that look. Packets pay for it with a bit at birth, at death and when a connection has become
//! established or is to end.
//!
//! Another engine with the same hosts and interfaces takes the connections up ([`Engine::resume`]),
//! each with the ports that it had. What cannot be true any more is refused: an end or an interface that
//! is not there, an address that is another, a port that is not to be had. What is only doubtful is
//! not: the connection is unjudged, and with its next packet the walk finds out whether its way is
//! still the same, as after a reload. Quotas and rates have no say, for no connection is new.

use std::net::Ipv4Addr;

use super::{Engine, Way};
use crate::{
    connection::{Connection, Half, InsertError, Key},
    inventory::{Interface, Owner, View},
    memo::{Memo, NotResumed, Translator},
    moment::Moment,
    scratch::Scratch,
    sync::Arc,
    walk::{NAT, SERVICE, TRANSLATORS, V2N},
};

impl Engine {
    /// Calls `f` with each slot of the table in which something is to be noted that was not the last
    /// time. No lock is held meanwhile. One caller: each change is told once.
    pub fn changes(&self, f: impl FnMut(u32)) {
        self.connections.changes(f);
    }

    /// The connection in this slot, if there is one that can go on in another engine.
    #[must_use]
    pub fn memo(&self, slot: u32) -> Option<Memo> {
        self.connections.in_slot(slot, memo).flatten()
    }

    /// Slots of the table that were ever used: the numbers below it.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.connections.slots()
    }

    /// Takes a connection up that another engine has noted. Its hosts must have their identities of
    /// this engine, and its moments be of this engine's time.
    ///
    /// # Errors
    ///
    /// When it cannot be; then nothing is changed.
    pub fn resume(
        &self,
        memo: &Memo,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<(), NotResumed> {
        let Memo { opener, target, request, .. } = *memo;
        let translators = translators(memo, &self.inventory.view())?;
        let way = Way {
            tracking: memo.tracking,
            nat: translators[NAT].as_ref().map(|nat| nat.ip),
            mtu: memo.mtu,
            interface_endpoint: memo.interface_endpoint,
        };
        let half = |flow, from, to, (packets, bytes)| Half {
            ttl_decrement: memo.ttl_decrement,
            packets,
            bytes,
            ..Half::new(Key { ingress: self.ports.port(from).scope, flow }, to)
        };
        let mut connection = Connection::new(
            half(request, opener, target, memo.sent),
            half(memo.arrival.reversed(), target, opener, memo.received),
            way,
            memo.timeouts,
            memo.last_seen.min(now),
        );
        connection.created = memo.created.min(connection.last_seen);
        connection.tcp = memo.tcp.resumed();
        if connection.is_expired(now) {
            return Err(NotResumed::Expired);
        }
        let claim = self.ports.account(opener).and_then(|account| account.claim(None));
        let claim = claim.ok_or(NotResumed::HostGone)?;
        if let Err(refused) = hold(&mut connection, memo, &translators, scratch) {
            connection.abandon();
            return Err(refused);
        }
        match self.connections.insert(connection) {
            // Whoever has ended it at once tells its death.
            Ok(_) | Err(InsertError::Ended) => {
                claim.keep();
                scratch.counters.opened();
                Ok(())
            }
            Err(InsertError::ReplyTaken(connection)) => {
                connection.abandon();
                Err(NotResumed::KeyTaken)
            }
            Err(InsertError::RequestExists(_) | InsertError::Collision) => {
                Err(NotResumed::KeyTaken)
            }
            Err(InsertError::CapacityFull) => Err(NotResumed::TableFull),
        }
    }
}

/// None if its ports are of no interface.
fn memo(connection: &Connection<Way>) -> Option<Memo> {
    let mut translators = [const { None }; TRANSLATORS];
    for (index, port) in connection.ports().into_iter().enumerate() {
        if let Some(lender) = connection.lender(index) {
            translators[index] = Some(Translator { eni: lender.eni()?.clone(), port });
        }
    }
    let (request, reply) = (&connection.request, &connection.reply);
    let Way { tracking, mtu, interface_endpoint, .. } = connection.path;
    Some(Memo {
        opener: reply.target,
        target: request.target,
        request: request.key.flow,
        arrival: reply.key.flow.reversed(),
        translators,
        tracking,
        interface_endpoint,
        ttl_decrement: request.ttl_decrement,
        mtu,
        timeouts: connection.timeouts,
        tcp: connection.tcp,
        sent: (request.packets, request.bytes),
        received: (reply.packets, reply.bytes),
        created: connection.created,
        last_seen: connection.last_seen,
    })
}

/// The interfaces that translate a connection, if they and both of its ends are there and it can look
/// as it does behind them.
fn translators(
    memo: &Memo,
    view: &View<'_>,
) -> Result<[Option<Arc<Interface>>; TRANSLATORS], NotResumed> {
    if [memo.opener, memo.target].iter().any(|end| view.attachment(*end).is_none()) {
        return Err(NotResumed::HostGone);
    }
    let mut translators = [const { None }; TRANSLATORS];
    let mut nearest = None;
    for (index, translator) in memo.translators.iter().enumerate() {
        let Some(Translator { eni, port }) = translator else { continue };
        let interface = view.interface(eni).filter(|it| it.ports.is_some() && fits(index, it));
        let interface = interface.ok_or(NotResumed::InterfaceGone)?;
        nearest = Some((Arc::clone(interface), *port));
        translators[index] = Some(Arc::clone(interface));
    }
    // Without a translator, an internet gateway may have changed addresses, but no port.
    let (source, port) = (memo.arrival.source, memo.arrival.source_port);
    let (holds, sent_from) = match &nearest {
        Some((it, port)) => (it.ip == source || it.public_ip == Some(source), *port),
        None => (true, memo.request.source_port),
    };
    if !holds {
        return Err(NotResumed::InterfaceGone);
    }
    let same_ports = port == sent_from
        && memo.arrival.destination_port == memo.request.destination_port
        && memo.arrival.protocol == memo.request.protocol;
    if same_ports { Ok(translators) } else { Err(NotResumed::PortTaken) }
}

/// Whether an interface may be this translator of a way.
fn fits(translator: usize, interface: &Interface) -> bool {
    match interface.owner {
        Owner::Functions(_) | Owner::ServiceVpc => translator == V2N,
        Owner::NatGateway(_) => translator == NAT,
        Owner::ServiceSide(_) => translator == SERVICE,
        Owner::Instance { .. } | Owner::VpcEndpoint(_) => false,
    }
}

/// Has a connection hold its ports.
fn hold(
    connection: &mut Connection<Way>,
    memo: &Memo,
    translators: &[Option<Arc<Interface>>; TRANSLATORS],
    scratch: &mut Scratch,
) -> Result<(), NotResumed> {
    let protocol = memo.request.protocol;
    // The end that a translator translates: the sender's own, or what those before it made of it.
    let mut inside: (Ipv4Addr, u16) = (memo.request.source, memo.request.source_port);
    for (index, (interface, translator)) in translators.iter().zip(&memo.translators).enumerate() {
        let (Some(interface), Some(Translator { port, .. })) = (interface, translator) else {
            continue;
        };
        let ports = interface.ports.as_ref().ok_or(NotResumed::InterfaceGone)?;
        let destination = connection.destination_at(index);
        let lease = ports.reserve_exactly(*port, inside, protocol, destination, scratch.random());
        connection.hold(index, lease.ok_or(NotResumed::PortTaken)?);
        inside = (interface.ip, *port);
    }
    Ok(())
}
