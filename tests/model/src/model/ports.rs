//! Source ports of translated connections: who has room, and which port is right.
//!
//! Whoever translates gives each connection a port: a free one while there is any, else one that
//! has connections to other destinations only. Of ICMP, whoever has a port already keeps it
//! ([`identifiers`](super::identifiers)). A free port whose last connection was not seen to
//! close is given only if there is no other (RFC 6888, REQ-8).
//!
//! With the RFCs' profile no port has two connections, and those are preferred that are even or odd
//! like the sender's own (RFC 4787, REQ-3 and 4).
//!
//! Two things are hidden from here: a port behind which another translates, and whether a connection
//! whose time is over was missed already by whoever has its ports. Where they matter, several
//! answers are right.

use std::net::Ipv4Addr;

use viaduct_topology::{
    Reason, ResourceId,
    inventory::Eni,
    model::{PortRange, Profile},
};

use super::{Connection, Network, journey::Way, v4};
use crate::packet::{ICMP, Packet};

/// How long a port rests, in milliseconds. Those that begin within a second of each other may rest
/// a second longer.
const REST: u64 = 120_000;
const REST_AT_MOST: u64 = REST + 1000;

/// Who translates, in the order in which a request meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Translator {
    Hyperplane,
    Nat,
    Endpoint,
}

const TRANSLATORS: [Translator; 3] =
    [Translator::Hyperplane, Translator::Nat, Translator::Endpoint];

/// Where ports are given: at an address, for a protocol. Under another address an interface has
/// other ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Desk {
    eni: ResourceId,
    address: Ipv4Addr,
    protocol: u8,
}

/// A port that is free, and was not always.
#[derive(Clone, Debug)]
pub(super) struct Freed {
    desk: Desk,
    port: u16,
    /// Since when it is.
    since: u64,
    /// When somebody there first looked at the clock afterwards.
    noticed: Option<u64>,
    rest: Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Its connection was seen to close.
    None,
    /// It was not.
    Due,
    /// Nobody can tell.
    Unclear,
}

/// So many connections, what becomes of others, and which count.
type Limit<'a, 't> = (usize, Refused, &'a (dyn Fn(&Connection<'t>) -> bool + 'a));

/// Why an opening is refused, and who says so, if anybody does.
pub(super) type Refused = (Reason, Option<Ipv4Addr>);

/// What becomes of an opening for want of a port.
#[derive(Clone, Debug, Default)]
pub(super) struct Want {
    /// Reasons for which it may be refused, if the time of some connection is not noticed to be over.
    pub(super) perhaps: Vec<Refused>,
    /// The reason for which it is, if nothing before it was.
    pub(super) surely: Option<Refused>,
    /// Where it may have got a port before it was refused.
    before: Vec<Desk>,
}

impl Translator {
    fn eni<'t>(self, way: &Way<'t>) -> Option<&'t Eni> {
        match self {
            Self::Hyperplane => way.v2n,
            Self::Nat => way.nat,
            Self::Endpoint => way.endpoint,
        }
    }

    /// Whether nobody translates before it.
    pub(super) fn is_first(self, way: &Way<'_>) -> bool {
        TRANSLATORS.into_iter().find(|it| it.eni(way).is_some()) == Some(self)
    }

    /// The port that it gave to a connection, if that could be seen.
    pub(super) fn port(self, connection: &Connection<'_>) -> Option<u16> {
        match self {
            Self::Hyperplane => connection.v2n_port,
            Self::Nat => connection.nat_port,
            Self::Endpoint => Some(connection.received.source_port),
        }
    }

    /// Where it sees a connection go (NAT-05).
    pub(super) const fn destination(self, connection: &Connection<'_>) -> (Ipv4Addr, u16) {
        let packet = match self {
            Self::Hyperplane | Self::Nat => &connection.sent,
            Self::Endpoint => &connection.received,
        };
        (packet.destination, packet.destination_port)
    }
}

impl Desk {
    fn of(eni: &Eni, protocol: u8) -> Self {
        Self { eni: eni.id.clone(), address: v4(eni.private_ip), protocol }
    }

    /// Whether it is this one that gives a connection its port.
    pub(super) fn serves(&self, connection: &Connection<'_>, translator: Translator) -> bool {
        connection.sent.protocol == self.protocol
            && translator.eni(&connection.way).is_some_and(|eni| self.is_at(eni))
    }

    fn is_at(&self, eni: &Eni) -> bool {
        self.eni == eni.id && self.address == v4(eni.private_ip)
    }
}

impl Freed {
    /// Somebody looks at the clock.
    pub(super) fn notice(&mut self, now: u64) {
        self.noticed.get_or_insert(now);
    }

    /// When it has rested.
    pub(super) const fn rested(&self) -> u64 {
        self.since + REST
    }
}

impl<'t> Network<'t> {
    /// Whether everybody who counts connections on a way allows one more.
    pub(super) fn want(&self, connection: &Connection<'t>) -> Want {
        let settings = self.topology.settings;
        let ports = count(settings.source_ports);
        let mut want = Want::default();
        let mut passed = Vec::new();
        let (quota, own) = self.quota(connection.opener);
        // Whoever has no room says so (RFC 5508, REQ-8): a NAT gateway itself, the next router for
        // everybody else.
        let router = v4(self.setup(connection.opener).gateway);
        let full = (Reason::QuotaExceeded, Some(router));
        if self.is_refused((quota, full, &own), &|_| false, &passed, &mut want) {
            return want;
        }
        for translator in TRANSLATORS {
            let Some(eni) = translator.eni(&connection.way) else { continue };
            let desk = Desk::of(eni, connection.sent.protocol);
            let destination = translator.destination(connection);
            // LAM-07: all protocols together.
            let all = match translator {
                Translator::Hyperplane if !connection.way.leaves_service_vpc() => {
                    settings.eni_connections as usize
                }
                _ => usize::MAX,
            };
            // NAT-05, NAT-09.
            let to_one = match translator {
                Translator::Nat => settings.nat_gateway_connections_per_destination as usize,
                Translator::Hyperplane | Translator::Endpoint => ports,
            };
            let everywhere = |other: &Connection<'t>| {
                translator.eni(&other.way).is_some_and(|eni| desk.is_at(eni))
            };
            let by = Some(match translator {
                Translator::Nat => v4(eni.private_ip),
                Translator::Hyperplane | Translator::Endpoint => router,
            });
            let mut to_one = to_one.min(ports);
            // Behind an endpoint nobody sees which of a NAT gateway's addresses has a connection.
            let alike = self.enis.iter().filter(|other| other.owner == eni.owner).count();
            let hidden = translator == Translator::Nat && connection.way.endpoint.is_some();
            let unplaced = |other: &Connection<'t>| {
                translator == Translator::Nat && alike > 1 && other.nat_port.is_none()
            };
            let here = |other: &Connection<'t>| {
                other.sent.protocol == desk.protocol
                    && translator.eni(&other.way).is_some_and(|it| {
                        match hidden || unplaced(other) {
                            true => it.owner == eni.owner,
                            false => desk.is_at(it),
                        }
                    })
            };
            let there = |other: &Connection<'t>| {
                translator.destination(other) == destination && here(other)
            };
            if hidden && alike > 1 {
                if self.connections.iter().filter(|other| there(other)).count() >= to_one {
                    want.perhaps.push((Reason::PortsExhausted, by));
                }
                to_one *= alike;
            }
            // Where no two connections share a port, they are as many as there are ports.
            let mut alone = usize::MAX;
            if !self.shares_ports() {
                let most = if hidden { ports * alike } else { ports };
                let used = self.connections.iter().filter(|other| here(other)).count();
                if desk.protocol != ICMP {
                    alone = most;
                }
                // Of ICMP, some have the port of another; of several addresses, one may be full.
                let unclear = desk.protocol == ICMP || (hidden && alike > 1);
                if unclear && used >= ports {
                    want.perhaps.push((Reason::PortsExhausted, by));
                }
            }
            let there_now = self.connections.iter().filter(|other| there(other)).count();
            if there_now < ports && there_now + self.taken_ports(connection) >= ports {
                want.perhaps.push((Reason::PortsExhausted, by));
            }
            let limits: [Limit<'_, 't>; 3] = [
                (all, (Reason::QuotaExceeded, by), &everywhere),
                (to_one, (Reason::PortsExhausted, by), &there),
                (alone, (Reason::PortsExhausted, by), &here),
            ];
            // One that may be at another address counts as one of which it is not known whether it lives.
            let doubtful = |other: &Connection<'t>| !hidden && unplaced(other);
            for limit in limits {
                if self.is_refused(limit, &doubtful, &passed, &mut want) {
                    return want;
                }
            }
            passed.push(desk);
        }
        let eni = connection.way.v2n.filter(|_| !connection.way.leaves_service_vpc());
        if eni.is_some_and(|eni| !self.rate_allows(eni)) {
            want.before = passed;
            want.surely = Some((Reason::RateLimited, None));
        }
        want
    }

    /// How many ports at most are of no use to a connection because what would be its replies belongs
    /// to others: somebody uses an address that is not his.
    fn taken_ports(&self, connection: &Connection<'t>) -> usize {
        let reply = connection.received.backwards();
        let takes = |flow: &Packet, from| {
            Packet { destination_port: flow.destination_port, ..reply }.same_flow(flow)
                && self.same_ingress(from, connection.receiver)
        };
        let all = self.connections.iter();
        all.filter(|other| {
            takes(&other.sent, other.opener) || takes(&other.received.backwards(), other.receiver)
        })
        .count()
    }

    /// Whether there are as many connections as there may be, beyond doubt.
    fn is_refused(
        &self,
        (limit, refused, counts): Limit<'_, 't>,
        doubtful: &dyn Fn(&Connection<'t>) -> bool,
        passed: &[Desk],
        want: &mut Want,
    ) -> bool {
        // There are not as many connections at all.
        if self.connections.len() < limit {
            return false;
        }
        let carried = self.connections.iter().filter(|other| counts(other));
        let (over, alive): (Vec<_>, Vec<_>) =
            carried.partition(|other| self.is_over(other) || doubtful(other));
        if alive.len() + over.len() < limit {
            return false;
        }
        want.before = passed.to_vec();
        if alive.len() >= limit {
            want.surely = Some(refused);
            return true;
        }
        want.perhaps.push(refused);
        false
    }

    /// Notes the port that a new connection got from the last one who translates it, and what is to
    /// be known of the others.
    ///
    /// # Errors
    ///
    /// When it should have got another one.
    pub(super) fn take_ports(
        &mut self,
        connection: &mut Connection<'t>,
        port: u16,
    ) -> Result<(), String> {
        let all = TRANSLATORS.map(|it| (it, it.eni(&connection.way)));
        let seen = all.iter().filter(|(_, eni)| eni.is_some()).count();
        let present = all.into_iter().filter_map(|(it, eni)| Some((it, eni?)));
        for (number, (translator, eni)) in present.enumerate() {
            let desk = Desk::of(eni, connection.sent.protocol);
            if number + 1 == seen {
                self.may_give(translator, &desk, connection, port)?;
                self.name(translator, &desk, connection, port);
                match translator {
                    Translator::Hyperplane => connection.v2n_port = Some(port),
                    Translator::Nat => connection.nat_port = Some(port),
                    Translator::Endpoint => {}
                }
                let may_hold =
                    |it: &Connection<'t>| translator.port(it) == Some(port) && self.is_over(it);
                let of_it = self.connections.iter().filter(|it| desk.serves(it, translator));
                let key = (desk.clone(), port);
                if of_it.into_iter().any(may_hold) && !self.unclear.contains(&key) {
                    self.unclear.push(key);
                }
                self.recycled += usize::from(self.is_recycled(&desk, translator, port));
                self.freed.retain(|freed| freed.port != port || freed.desk != desk);
            }
            for freed in self.freed.iter_mut().filter(|freed| freed.desk == desk) {
                freed.notice(self.now);
            }
        }
        Ok(())
    }

    /// Whether a translator may give this port to a connection.
    fn may_give(
        &self,
        translator: Translator,
        desk: &Desk,
        connection: &Connection<'t>,
        port: u16,
    ) -> Result<(), String> {
        let range = self.topology.settings.source_ports;
        if !range.contains(port) {
            return Err(format!("port {port} is outside of {range:?}"));
        }
        let destination = translator.destination(connection);
        let carried = || self.connections.iter().filter(|it| desk.serves(it, translator));
        let holds = |it: &&Connection<'t>| translator.port(it) == Some(port) && !self.is_over(it);
        let of_it = self.connections.iter().filter(holds);
        let holders: Vec<_> = of_it.filter(|it| desk.serves(it, translator)).collect();
        if holders.iter().any(|other| translator.destination(other) == destination) {
            return Err(format!("port {port} has a connection to this destination already"));
        }
        let (named, surely) = self.named(translator, desk, connection);
        if named.contains(&port) {
            return Ok(());
        }
        // A connection whose port could not be seen may have been the first of its sender.
        if surely && !self.is_unclear(translator, desk) {
            return Err(format!("its identifier is {} already, not {port}", named[0]));
        }
        let shared = !holders.is_empty();
        if shared && !self.shares_ports() {
            return Err(format!("port {port} has a connection already"));
        }
        let unlike = self.topology.settings.profile == Profile::Rfc
            && translator.is_first(&connection.way)
            && port % 2 != connection.sent.source_port % 2;
        let resting = self.freed.iter().any(|freed| {
            freed.desk == *desk
                && freed.port == port
                && freed.rest == Rest::Due
                && self.now < freed.rested()
        });
        // Connections whose port could not be seen may have any.
        if !(shared || resting || unlike) || self.is_unclear(translator, desk) {
            return Ok(());
        }
        let mut taken = vec![false; 1 << 16];
        carried()
            .filter_map(|other| translator.port(other))
            .for_each(|port| taken[usize::from(port)] = true);
        // A port is of no use if replies to it belong to a connection of another interface, which
        // had the address before.
        let step = if unlike && !(shared || resting) { 2 } else { 1 };
        let first = range.first + u16::from(step == 2 && range.first % 2 == port % 2);
        let mut free = (first..=range.last).step_by(step).filter(|port| !taken[usize::from(*port)]);
        let other = free.find(|port| {
            let reply = Packet { source_port: *port, ..connection.received }.backwards();
            (shared || self.has_rested(desk, *port))
                && self.connection_of(connection.receiver, &reply).is_none()
        });
        match other {
            Some(free) if shared => {
                Err(format!("port {port} has a connection already, and {free} has none"))
            }
            Some(free) if resting => Err(format!("port {port} is to rest, and {free} need not")),
            Some(free) => Err(format!("port {port} is unlike its own, and {free} is not")),
            None => Ok(()),
        }
    }

    /// Whether connections to different destinations may share a port.
    fn shares_ports(&self) -> bool {
        self.topology.settings.profile == Profile::Aws
    }

    /// Whether a port is one that has rested, while there are others that never were in use.
    fn is_recycled(&self, desk: &Desk, translator: Translator, port: u16) -> bool {
        let of_it = |freed: &&Freed| freed.desk == *desk;
        let mut freed = self.freed.iter().filter(of_it);
        if !freed.any(|it| it.port == port && it.rest == Rest::Due) || !self.has_rested(desk, port)
        {
            return false;
        }
        let carried = self.connections.iter().filter(|it| desk.serves(it, translator));
        let mut used: Vec<u16> = carried.filter_map(|it| translator.port(it)).collect();
        used.extend(self.freed.iter().filter(of_it).map(|it| it.port));
        used.sort_unstable();
        used.dedup();
        used.len() < count(self.topology.settings.source_ports)
    }

    /// Whether there are connections whose port could not be seen. They may have one here if they may
    /// have one at any address of the same owner: which one is as hidden as the port.
    fn is_unclear(&self, translator: Translator, desk: &Desk) -> bool {
        let here = self.enis.iter().find(|eni| desk.is_at(eni)).map(|eni| &eni.owner);
        self.connections.iter().any(|other| {
            other.sent.protocol == desk.protocol
                && translator.port(other).is_none()
                && translator.eni(&other.way).is_some_and(|eni| Some(&eni.owner) == here)
        })
    }

    /// Whether a free port need not rest, beyond doubt.
    fn has_rested(&self, desk: &Desk, port: u16) -> bool {
        if self.hidden.contains(desk) {
            return false;
        }
        let freed = self.freed.iter().find(|freed| freed.desk == *desk && freed.port == port);
        freed.is_none_or(|freed| match freed.rest {
            Rest::None => true,
            Rest::Due => freed.noticed.is_some_and(|noticed| self.now >= noticed + REST_AT_MOST),
            Rest::Unclear => false,
        })
    }

    /// Takes back the ports of a connection that is no more, since then.
    pub(super) fn give_back(&mut self, connection: &Connection<'t>, since: u64) {
        for translator in TRANSLATORS {
            let Some(eni) = translator.eni(&connection.way) else { continue };
            let desk = Desk::of(eni, connection.sent.protocol);
            let unseen = !connection.is_closed();
            let Some(port) = translator.port(connection) else {
                if unseen && !self.hidden.contains(&desk) {
                    self.hidden.push(desk);
                }
                continue;
            };
            let key = (desk, port);
            if unseen && !self.unseen.contains(&key) {
                self.unseen.push(key.clone());
            }
            let shared = self.connections.iter().any(|other| {
                key.0.serves(other, translator) && translator.port(other) == Some(port)
            });
            if shared {
                continue;
            }
            self.unname(&key.0, port);
            // One of those that shared it is enough for it to rest.
            let rest = match (self.unclear.contains(&key), self.unseen.contains(&key)) {
                (true, _) => Rest::Unclear,
                (false, true) => Rest::Due,
                (false, false) => Rest::None,
            };
            self.unseen.retain(|other| *other != key);
            self.unclear.retain(|other| *other != key);
            let (desk, port) = key;
            // Two may have ended at once.
            self.freed.retain(|freed| freed.port != port || freed.desk != desk);
            self.freed.push(Freed { desk, port, since, noticed: None, rest });
        }
    }

    /// An opening may have been refused for want of a port. Those that it got before were given back,
    /// and need not rest any more.
    pub(super) fn found_wanting(&mut self, want: &Want) {
        for freed in self.freed.iter_mut().filter(|freed| want.before.contains(&freed.desk)) {
            freed.rest = Rest::Unclear;
        }
    }
}

const fn count(range: PortRange) -> usize {
    (range.last - range.first) as usize + 1
}
