//! The judge: lists of interfaces, hosts and connections, and what a packet meets among them.
//!
//! # How it judges
//!
//! A packet that belongs to a connection follows it, by the addresses and ports that the connection
//! got when it was opened. Every other packet travels ([`journey`]): from its sender's interface
//! from hop to hop until somebody refuses it or has it. The journey leaves behind the links that
//! were crossed; the answer crosses them backwards ([`back`]), where state spares it the security
//! groups (SG-17) but neither network ACLs (ACL-07) nor route tables.
//!
//! Source ports of translated connections are the engine's to choose. The model says which would
//! be right, takes note of the one that was seen, and expects it from then on. Where a choice cannot
//! be seen (the port of a Hyperplane ENI behind a NAT gateway) and ports matter, there is more than
//! one right answer, and [`Network::fates`] returns all of them.
//!
//! Nothing here knows time: connections last, and the policy stays as it is.

mod back;
mod journey;
mod ports;
mod rules;

use std::net::{IpAddr, Ipv4Addr};

use viaduct_control_plane::{ENVIRONMENT_ADDRESS, Plan};
use viaduct_topology::{
    Handle, Reason, Topology,
    inventory::{Attachment, AttachmentId, Eni, Host},
    model::{PortRange, Subnet, Vpc},
};

use crate::packet::{Packet, TCP};
use journey::Way;

/// A network in which packets are judged.
#[derive(Debug)]
pub struct Network<'t> {
    topology: &'t Topology,
    plan: &'t Plan,
    /// Hosts to which nothing is attached.
    down: Vec<AttachmentId>,
    connections: Vec<Connection>,
}

/// What may become of a packet.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is lost.
    Dropped {
        /// Why.
        reason: Reason,
        /// Whether its sender is told: an ICMP error, a RST.
        answered: bool,
    },
    /// It arrives.
    Arrives {
        /// There.
        at: AttachmentId,
        /// Like this, but for a source port that is not known yet.
        packet: Packet,
        /// The connection that it opens, if it opens one.
        opened: Option<Opened>,
    },
}

/// A connection that a packet would open.
#[derive(Clone, Debug)]
pub struct Opened(Connection);

/// What an explanation has to say of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The first blocker, if there is one, and whether it is the reply that it blocks.
    pub blocker: Option<(Reason, Direction)>,
    /// The source that the receiver sees, if it is not the sender's own address; `None` too if the
    /// request does not arrive.
    pub translated_source: Option<(Ipv4Addr, PortRange)>,
}

/// The request's way or the reply's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the request goes.
    Forward,
    /// As the reply goes.
    Return,
}

/// A connection that was opened.
#[derive(Clone, Debug)]
struct Connection {
    opener: AttachmentId,
    receiver: AttachmentId,
    /// The request as its opener sends it.
    sent: Packet,
    /// The request as its receiver sees it.
    received: Packet,
    way: Way,
    /// The source port at the Hyperplane ENI, if there is one on the way and it could be seen.
    v2n_port: Option<u16>,
    /// The source port at the NAT gateway, if there is one on the way.
    nat_port: Option<u16>,
}

impl<'t> Network<'t> {
    /// A network without connections. Nothing is attached to the hosts that are `down`.
    #[must_use]
    pub const fn new(topology: &'t Topology, plan: &'t Plan, down: Vec<AttachmentId>) -> Self {
        Self { topology, plan, down, connections: Vec::new() }
    }

    /// Whether a packet from there belongs to a connection.
    #[must_use]
    pub fn knows(&self, from: AttachmentId, packet: &Packet) -> bool {
        self.connections.iter().any(|connection| self.part(connection, from, packet).is_some())
    }

    /// What may become of a packet, each possibility once.
    #[must_use]
    pub fn fates(&self, from: AttachmentId, packet: &Packet) -> Vec<Fate> {
        for connection in &self.connections {
            match self.part(connection, from, packet) {
                Some(Direction::Forward) => {
                    let arrival = Packet { icmp: packet.icmp, ..connection.received };
                    return vec![self.deliver(
                        connection.receiver,
                        packet,
                        arrival,
                        &connection.way,
                    )];
                }
                Some(Direction::Return) => return self.answer(connection, packet),
                None => {}
            }
        }
        let mut fates = Vec::new();
        for nat_address in 0..self.nat_addresses() {
            match self.open(from, packet, nat_address) {
                Ok(fate) => fates.push(fate),
                Err(reason) => fates.push(Fate::Dropped { reason, answered: false }),
            }
        }
        // One address of a NAT gateway that has no port left is no reason while another one has.
        let full =
            |fate: &Fate| matches!(fate, Fate::Dropped { reason: Reason::PortsExhausted, .. });
        if fates.iter().any(|fate| matches!(fate, Fate::Arrives { .. })) {
            fates.retain(|fate| !full(fate));
        }
        distinct(fates)
    }

    /// Takes note that a packet met its fate and arrived like this.
    ///
    /// # Errors
    ///
    /// When it should not look like this.
    pub fn settle(&mut self, fate: Fate, seen: &Packet) -> Result<(), String> {
        let Fate::Arrives { packet, opened, .. } = fate else {
            return Err("it should not have arrived".to_owned());
        };
        let Some(Opened(mut connection)) = opened else {
            return if packet == *seen { Ok(()) } else { Err(format!("expected {packet}")) };
        };
        let port = seen.source_port;
        if (Packet { source_port: port, ..packet }) != *seen {
            return Err(format!("expected {packet}, the source port aside"));
        }
        if !connection.way.translates_port() {
            if packet.source_port != port {
                return Err(format!("expected {packet}"));
            }
        } else if let Some(nat) = connection.way.nat {
            self.nat_port_is_free(nat, &connection.sent, port)?;
            connection.nat_port = Some(port);
        } else if let Some(v2n) = connection.way.v2n {
            self.v2n_port_is_free(v2n, &connection.sent, port)?;
            connection.v2n_port = Some(port);
        }
        connection.received = *seen;
        self.connections.push(connection);
        Ok(())
    }

    /// What an explanation may say, each possibility once.
    #[must_use]
    pub fn explain(&self, from: AttachmentId, packet: &Packet) -> Vec<Explained> {
        let mut said = Vec::new();
        for nat_address in 0..self.nat_addresses() {
            let explained = self.explain_by(from, packet, nat_address);
            if !said.contains(&explained) {
                said.push(explained);
            }
        }
        said
    }

    fn explain_by(&self, from: AttachmentId, packet: &Packet, nat_address: usize) -> Explained {
        // Whoever asks means a connection that is to be opened.
        let packet = &Packet { opens: packet.protocol == TCP, ..*packet };
        let way = match self.travel(self.host(from), packet, nat_address) {
            Ok(way) => way,
            Err(reason) => {
                let blocker = Some((reason, Direction::Forward));
                return Explained { blocker, translated_source: None };
            }
        };
        let ports = self.topology.settings.source_ports;
        let seen = way.arrival.source;
        let own = self.own_address(from);
        let translated_source = (seen != own).then(|| {
            let known = PortRange::single(packet.source_port);
            (seen, if way.translates_port() { ports } else { known })
        });
        let blocker = match packet.answer() {
            Some(_) => self.first_blocker_back(&way, packet),
            None => None,
        };
        let blocker = blocker.map(|reason| (reason, Direction::Return));
        Explained { blocker, translated_source }
    }

    /// How many walks it takes to try each address of each NAT gateway.
    fn nat_addresses(&self) -> usize {
        let counts = self.topology.nat_gateways.values().map(|nat| nat.public_ips.len());
        counts.max().unwrap_or(1)
    }

    /// As which part of the connection a packet counts.
    fn part(
        &self,
        connection: &Connection,
        from: AttachmentId,
        packet: &Packet,
    ) -> Option<Direction> {
        if self.same_ingress(connection.opener, from) && connection.sent.same_flow(packet) {
            return Some(Direction::Forward);
        }
        // Whether anybody answers such a packet does not matter: what runs backwards is a reply.
        let Packet { source, destination, source_port, destination_port, .. } = connection.received;
        let reply = Packet {
            source: destination,
            destination: source,
            source_port: destination_port,
            destination_port: source_port,
            ..connection.received
        };
        if self.same_ingress(connection.receiver, from) && reply.same_flow(packet) {
            return Some(Direction::Return);
        }
        None
    }

    /// All hosts of the internet come in at one edge.
    fn same_ingress(&self, one: AttachmentId, other: AttachmentId) -> bool {
        let internet = |id| matches!(self.host(id).host, Host::Internet { .. });
        one == other || (internet(one) && internet(other))
    }

    fn open(
        &self,
        from: AttachmentId,
        packet: &Packet,
        nat_address: usize,
    ) -> Result<Fate, Reason> {
        let way = self.travel(self.host(from), packet, nat_address)?;
        if packet.protocol == TCP && !packet.opens {
            // Only a NAT gateway says so (NAT-10).
            return Ok(Fate::Dropped { reason: Reason::NoConnection, answered: way.nat.is_some() });
        }
        if let Some(v2n) = way.v2n {
            self.v2n_room(v2n, packet)?;
        }
        if let Some(nat) = way.nat {
            self.nat_room(nat, packet)?;
        }
        let connection = Connection {
            opener: from,
            receiver: way.receiver,
            sent: *packet,
            received: way.arrival,
            v2n_port: None,
            nat_port: None,
            way,
        };
        let fate = self.deliver(connection.receiver, packet, connection.received, &connection.way);
        Ok(match fate {
            Fate::Arrives { at, packet, opened: _ } => {
                Fate::Arrives { at, packet, opened: Some(Opened(connection)) }
            }
            dropped @ Fate::Dropped { .. } => dropped,
        })
    }

    /// The end of the way, for a packet that nobody refused: somebody must be there to take it, and
    /// a NAT gateway makes one hop of it.
    fn deliver(&self, at: AttachmentId, sent: &Packet, arrival: Packet, way: &Way) -> Fate {
        if self.down.contains(&at) {
            return Fate::Dropped { reason: Reason::AttachmentDown, answered: false };
        }
        let hops = u8::from(way.nat.is_some());
        if hops > 0 && sent.ttl <= hops {
            return Fate::Dropped { reason: Reason::TtlExpired, answered: true };
        }
        let packet = Packet { ttl: sent.ttl - hops, opens: sent.opens, ..arrival };
        Fate::Arrives { at, packet, opened: None }
    }

    /// What may become of a reply.
    fn answer(&self, connection: &Connection, packet: &Packet) -> Vec<Fate> {
        let Packet { source, destination, source_port, destination_port, .. } = connection.sent;
        let arrival = Packet {
            source: destination,
            destination: source,
            source_port: destination_port,
            destination_port: source_port,
            ..*packet
        };
        let mut fates = Vec::new();
        for v2n_port in self.possible_v2n_ports(connection) {
            let nat_port = connection.nat_port.unwrap_or_default();
            fates.push(match self.way_back(&connection.way, packet, v2n_port, nat_port) {
                Ok(()) => self.deliver(connection.opener, packet, arrival, &connection.way),
                Err((_, reason)) => Fate::Dropped { reason, answered: false },
            });
        }
        distinct(fates)
    }

    fn host(&self, id: AttachmentId) -> &'t Attachment {
        let host = self.plan.attachments.iter().find(|host| host.id == id);
        host.expect("a host of this plan")
    }

    fn own_address(&self, id: AttachmentId) -> Ipv4Addr {
        match &self.host(id).host {
            Host::Environment { .. } => ENVIRONMENT_ADDRESS,
            Host::Instance { eni } => {
                let eni = self.plan.enis.iter().find(|it| it.id == *eni);
                v4(eni.expect("its interface").private_ip)
            }
            Host::Internet { ip } => v4(*ip),
            _ => unreachable!("no other host exists"),
        }
    }

    /// The subnet and the VPC of an interface.
    fn place(&self, eni: &Eni) -> (Handle<Subnet>, Handle<Vpc>) {
        let subnets = self.topology.subnets.iter();
        let (handle, subnet) =
            subnets.into_iter().find(|(_, subnet)| subnet.id == eni.subnet).expect("its subnet");
        (handle, subnet.vpc)
    }
}

/// The fates that can be told apart. Arrivals differ by what arrives, not by how it got there.
fn distinct(fates: Vec<Fate>) -> Vec<Fate> {
    let mut kept: Vec<Fate> = Vec::new();
    for fate in fates {
        let known = kept.iter().any(|other| match (&fate, other) {
            (
                Fate::Dropped { reason, answered },
                Fate::Dropped { reason: other, answered: too },
            ) => reason == other && answered == too,
            (Fate::Arrives { at, packet, .. }, Fate::Arrives { at: there, packet: other, .. }) => {
                at == there && packet == other
            }
            _ => false,
        });
        if !known {
            kept.push(fate);
        }
    }
    kept
}

/// Only IPv4 is forwarded, so the loader lets no other address into an inventory.
fn v4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => panic!("{ip} in an inventory"),
    }
}
