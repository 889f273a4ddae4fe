//! The judge: lists of interfaces, hosts and connections, and what a packet meets among them.
//!
//! # How it judges
//!
//! A packet that belongs to a connection follows it, by the addresses and ports that the connection
//! got when it was opened. Every other packet travels (`journey`): from its sender's interface
//! from hop to hop until somebody refuses it or has it. The journey leaves behind the links that
//! were crossed; the answer crosses them backwards (`back`), where state spares it the security
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

use viaduct_control_plane::{ENVIRONMENT_ADDRESS, HostPlan, Plan};
use viaduct_topology::{
    Handle, Reason, Topology,
    inventory::{Attachment, AttachmentId, Eni, Host},
    model::{PortRange, Subnet, Vpc},
};

use crate::packet::{Packet, Segment};
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
        /// What its sender is told.
        answer: Option<Answer>,
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

/// What comes back instead of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An ICMP error.
    Error {
        /// Its type and code.
        icmp: (u8, u8),
        /// Who sends it.
        from: Ipv4Addr,
    },
    /// A TCP segment that resets.
    Reset,
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

    /// What may become of a packet, each possibility once.
    #[must_use]
    pub fn fates(&self, from: AttachmentId, packet: &Packet) -> Vec<Fate> {
        for connection in &self.connections {
            match self.part(connection, from, packet) {
                Some(Direction::Forward) => {
                    let arrival = Packet { icmp: packet.icmp, ..connection.received };
                    let end = (connection.receiver, arrival);
                    return vec![self.deliver(from, packet, end, &connection.way)];
                }
                Some(Direction::Return) => return self.answer(from, connection, packet),
                None => {}
            }
        }
        let mut fates = Vec::new();
        for nat_address in 0..self.nat_addresses() {
            match self.open(from, packet, nat_address) {
                Ok(fate) => fates.push(fate),
                Err(reason) => fates.push(Fate::Dropped { reason, answer: None }),
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

    /// Takes note that a packet ended the connection that it belongs to.
    pub fn ended(&mut self, from: AttachmentId, packet: &Packet) {
        let ended = self
            .connections
            .iter()
            .position(|connection| self.part(connection, from, packet).is_some());
        self.connections.remove(ended.expect("a connection that a packet belongs to"));
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
        let packet = &Packet { segment: Segment::Open, ..*packet };
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
        let reply = connection.received.backwards();
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
        if packet.late() {
            // Only a NAT gateway says so (NAT-10).
            let answer = way.nat.map(|_| Answer::Reset);
            return Ok(Fate::Dropped { reason: Reason::NoConnection, answer });
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
        let end = (connection.receiver, connection.received);
        match self.deliver(from, packet, end, &connection.way) {
            Fate::Arrives { at, packet: arrival, opened: _ } => {
                self.has_room(from, packet, &connection.way)?;
                Ok(Fate::Arrives { at, packet: arrival, opened: Some(Opened(connection)) })
            }
            dropped @ Fate::Dropped { .. } => Ok(dropped),
        }
    }

    /// Whether everything that a connection needs can be had.
    fn has_room(&self, from: AttachmentId, packet: &Packet, way: &Way) -> Result<(), Reason> {
        if !way.translates_port() && self.is_taken(from, packet, way) {
            return Err(Reason::NoConnection);
        }
        if let Some(v2n) = way.v2n {
            self.v2n_room(v2n, packet)?;
        }
        if let Some(nat) = way.nat {
            self.nat_room(nat, packet)?;
        }
        Ok(())
    }

    /// Whether the packets that would be replies belong to another connection: somebody uses an
    /// address that is not his, or talks to himself and would be his own reply. Where ports are
    /// translated another one helps.
    fn is_taken(&self, from: AttachmentId, packet: &Packet, way: &Way) -> bool {
        let reply = way.arrival.backwards();
        let own = self.same_ingress(from, way.receiver) && packet.same_flow(&reply);
        let others = |connection| self.part(connection, way.receiver, &reply).is_some();
        own || self.connections.iter().any(others)
    }

    /// The end of the way, for a packet that nobody refused: somebody must be there to take it, a
    /// NAT gateway makes one hop of it, and it must not be too large.
    fn deliver(
        &self,
        from: AttachmentId,
        sent: &Packet,
        end: (AttachmentId, Packet),
        way: &Way,
    ) -> Fate {
        let (at, arrival) = end;
        if self.down.contains(&at) {
            return Fate::Dropped { reason: Reason::AttachmentDown, answer: None };
        }
        // The gateway that it got to says so (NAT-27); replies got to none of the sender's own, and
        // the next router does.
        let request = at == way.receiver;
        let from = match way.nat.filter(|_| request) {
            Some(nat) => v4(self.plan.enis[nat].private_ip),
            None => v4(self.setup(from).gateway),
        };
        let refused = |reason, icmp| {
            let answer = Some(Answer::Error { icmp, from });
            Fate::Dropped { reason, answer }
        };
        let hops = u8::from(way.nat.is_some());
        if hops > 0 && sent.ttl <= hops {
            return refused(Reason::TtlExpired, (11, 0));
        }
        if sent.length() > way.mtu().min(self.setup(at).device_mtu) {
            return refused(Reason::PacketTooBig, (3, 4));
        }
        let Packet { ttl, segment, payload, .. } = *sent;
        let packet = Packet { ttl: ttl - hops, segment, payload, ..arrival };
        Fate::Arrives { at, packet, opened: None }
    }

    /// What may become of a reply.
    fn answer(&self, from: AttachmentId, connection: &Connection, packet: &Packet) -> Vec<Fate> {
        let arrival = Packet { icmp: packet.icmp, ..connection.sent.backwards() };
        let mut fates = Vec::new();
        for v2n_port in self.possible_v2n_ports(connection) {
            let nat_port = connection.nat_port.unwrap_or_default();
            fates.push(match self.way_back(&connection.way, packet, v2n_port, nat_port) {
                Ok(()) => self.deliver(from, packet, (connection.opener, arrival), &connection.way),
                Err((_, reason)) => Fate::Dropped { reason, answer: None },
            });
        }
        distinct(fates)
    }

    fn host(&self, id: AttachmentId) -> &'t Attachment {
        let host = self.plan.attachments.iter().find(|host| host.id == id);
        host.expect("a host of this plan")
    }

    /// How a host was told to set itself up.
    fn setup(&self, id: AttachmentId) -> &'t HostPlan {
        let mut hosts = self.plan.attachments.iter().zip(&self.plan.hosts);
        hosts.find(|(host, _)| host.id == id).expect("a host of this plan").1
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
            (Fate::Dropped { reason, answer }, Fate::Dropped { reason: other, answer: too }) => {
                reason == other && answer == too
            }
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
