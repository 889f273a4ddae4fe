//! Connections in being: which packets belong to one, and what becomes of them.

use viaduct_topology::{
    Reason,
    inventory::{AttachmentId, Host},
    model::Settings,
};

use super::{
    Direction, Fate, Network, Opened,
    back::Ports,
    distinct,
    journey::{End, Journey, Settled, Tracked, Way},
    life::{Life, Patience},
};
use crate::packet::Packet;

/// A connection that was opened.
#[derive(Clone, Debug)]
pub(super) struct Connection<'t> {
    pub(super) opener: AttachmentId,
    pub(super) receiver: AttachmentId,
    /// The request as its opener sends it.
    pub(super) sent: Packet,
    /// The request as its receiver sees it.
    pub(super) received: Packet,
    /// The way that it took when it was opened.
    pub(super) way: Way<'t>,
    /// The source port at the Hyperplane ENI, if there is one on the way and it could be seen.
    pub(super) v2n_port: Option<u16>,
    /// The source port at the NAT gateway, if there is one on the way and it could be seen.
    pub(super) nat_port: Option<u16>,
    pub(super) life: Life,
    pub(super) patience: Patience,
}

/// How a connection stands now.
#[derive(Clone, Debug)]
pub(super) struct Standing<'t> {
    /// Its way now; none while it leads nowhere.
    pub(super) way: Option<Way<'t>>,
    /// Why its requests are refused, if they are.
    pub(super) refused: Option<Reason>,
    /// Which ends remember it by now.
    pub(super) tracked: Tracked,
}

impl<'t> Connection<'t> {
    pub(super) fn new(
        opener: AttachmentId,
        sent: Packet,
        way: Way<'t>,
        now: u64,
        settings: &Settings,
    ) -> Self {
        let (receiver, received) = (way.receiver, way.arrival);
        let life = Life::begin(&sent, now);
        let patience = Patience::of(sent.protocol, way.translates_port(), settings);
        let (v2n_port, nat_port) = (None, None);
        Self { opener, receiver, sent, received, way, v2n_port, nat_port, life, patience }
    }
}

impl<'t> Network<'t> {
    /// The place in the list of the connection to which a packet belongs, and as what.
    pub(super) fn connection_of(
        &self,
        from: AttachmentId,
        packet: &Packet,
    ) -> Option<(usize, Direction)> {
        self.connections.iter().enumerate().find_map(|(place, connection)| {
            if connection.sent.same_flow(packet) && self.same_ingress(connection.opener, from) {
                return Some((place, Direction::Forward));
            }
            // Whether anybody answers such a packet does not matter: what runs backwards is a reply.
            let reply = connection.received.backwards();
            let replies = reply.same_flow(packet) && self.same_ingress(connection.receiver, from);
            replies.then_some((place, Direction::Return))
        })
    }

    /// Sends the request of a connection once more, as ICMP of this type and code if it is ICMP.
    /// `None` if the connection has ended: it would be led elsewhere, or be translated by another.
    pub(super) fn again(
        &self,
        connection: &Connection<'t>,
        icmp: (u8, u8),
    ) -> Option<Standing<'t>> {
        let before = &connection.way;
        let nowhere =
            |reason| Standing { way: None, refused: Some(reason), tracked: before.tracked };
        let Some(opener) = self.host(connection.opener) else {
            return Some(nowhere(Reason::AttachmentDown));
        };
        let settled = Settled {
            nat_held: before.nat.map(|nat| &nat.id),
            tracked: before.tracked,
            ..Settled::default()
        };
        let request = Packet { icmp, ..connection.sent };
        let Journey { way, refused } = self.travel(opener, &request, settled);
        let Some(way) = way else { return Some(nowhere(refused.expect("why it leads nowhere"))) };
        if !way.goes_on_like(before) {
            return None;
        }
        Some(Standing { tracked: way.tracked, way: Some(way), refused })
    }

    /// What may become of a packet of a connection that stands like this.
    pub(super) fn follow(
        &self,
        connection: &Connection<'t>,
        standing: &Standing<'t>,
        direction: Direction,
        from: AttachmentId,
        packet: &Packet,
    ) -> Vec<Fate<'t>> {
        let dropped = |reason| Fate::Dropped { reason, answer: None };
        let (Some(way), _) = (&standing.way, standing.refused) else {
            return vec![dropped(standing.refused.expect("why it leads nowhere"))];
        };
        if direction == Direction::Forward {
            let arrival = Packet { icmp: packet.icmp, ..connection.received };
            return vec![match standing.refused {
                Some(reason) => dropped(reason),
                None => self.deliver(from, packet, (connection.receiver, arrival), way),
            }];
        }
        let arrival = Packet { icmp: packet.icmp, ..connection.sent.backwards() };
        let mut fates = Vec::new();
        for hyperplane in self.possible_ports(connection.way.v2n, connection.v2n_port) {
            for nat in self.possible_ports(connection.way.nat, connection.nat_port) {
                let ports = Ports { sender: connection.sent.source_port, hyperplane, nat };
                fates.push(match self.way_back(way, packet, ports) {
                    Ok(()) => self.deliver(from, packet, (connection.opener, arrival), way),
                    Err((_, reason)) => dropped(reason),
                });
            }
        }
        distinct(fates)
    }

    /// Takes note that a packet met its fate and arrived like this.
    ///
    /// # Errors
    ///
    /// When it should not look like this.
    pub fn settle(
        &mut self,
        fate: Fate<'t>,
        from: AttachmentId,
        sent: &Packet,
        seen: &Packet,
    ) -> Result<(), String> {
        let Fate::Arrives { packet, opened, .. } = fate else {
            return Err("it should not have arrived".to_owned());
        };
        let Some(Opened(mut connection)) = opened else {
            if packet != *seen {
                return Err(format!("expected {packet}"));
            }
            self.passes(from, sent);
            return Ok(());
        };
        let port = seen.source_port;
        if (Packet { source_port: port, ..packet }) != *seen {
            return Err(format!("expected {packet}, the source port aside"));
        }
        if !connection.way.translates_port() && packet.source_port != port {
            return Err(format!("expected {packet}"));
        }
        connection.received = *seen;
        if let Some(v2n) = connection.way.v2n {
            self.note_opening(v2n);
        }
        self.take_ports(&mut connection, port)?;
        self.connections.push(*connection);
        Ok(())
    }

    /// A packet of a connection in being passes.
    fn passes(&mut self, from: AttachmentId, sent: &Packet) {
        let (place, direction) = self.connection_of(from, sent).expect("its connection");
        self.connections[place].pass(direction, sent, self.now);
        if self.connections[place].is_closed() {
            self.end(place);
        }
    }

    /// A connection is no more.
    pub(super) fn end(&mut self, place: usize) {
        let connection = self.connections.remove(place);
        self.give_back(&connection, self.now.min(connection.deadline()));
    }

    /// Whether a connection's time is over.
    pub(super) fn is_over(&self, connection: &Connection<'_>) -> bool {
        connection.deadline() <= self.now
    }

    /// What the way of a connection leads through.
    #[must_use]
    pub fn crossed(&self, from: AttachmentId, packet: &Packet) -> Vec<&'static str> {
        let Some((place, _)) = self.connection_of(from, packet) else { return Vec::new() };
        let way = &self.connections[place].way;
        let mut crossed = Vec::new();
        for link in &way.links {
            crossed.push(match (link.from, link.to) {
                (End::InternetGateway(_), _) => "internet gateway inwards",
                (_, End::InternetGateway(_)) => "internet gateway outwards",
                (End::Interface(one), End::Interface(other)) if one.vpc != other.vpc => {
                    "peering connection"
                }
                (_, End::Interface(eni)) if self.is_nat(eni) => "NAT gateway",
                (_, End::GatewayEndpoint(_)) => "gateway endpoint",
                _ if way.appliance().is_some() => "appliance",
                _ if way.endpoint.is_some() => "interface endpoint",
                _ => "local",
            });
        }
        let host = self.host(way.receiver).map(|host| &host.host);
        if matches!(host, Some(Host::Internet { .. })) {
            crossed.push("internet host");
        }
        if way.leaves_service_vpc() {
            crossed.push("service VPC's NAT");
        }
        if matches!(host, Some(Host::Service { .. })) && way.endpoint.is_none() {
            crossed.push("service at its public address");
        }
        crossed
    }
}
