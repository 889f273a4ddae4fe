//! The judge: lists of interfaces, hosts and connections, and what a packet meets among them.
//!
//! # How it judges
//!
//! A packet that belongs to no connection travels (`journey`): from its sender's interface from hop
//! to hop until somebody refuses it or has it. The journey leaves behind the links that were crossed;
//! the answer crosses them backwards (`back`), where state spares it the security groups (SG-17) but
//! neither network ACLs (ACL-07) nor route tables.
//!
//! A packet of a connection in being travels like the one that opened it, each time anew, with the
//! addresses and ports that the connection got then. Where it would be led elsewhere or get other
//! addresses, because the network is another by now, the connection has ended (RT-30). An end that
//! remembers the connection does not ask its security groups (SG-22).
//!
//! An appliance gets packets that are for others, and sends them on as they are. Each of its sides
//! is a connection of its own.
//!
//! Source ports of translated connections are the engine's to choose. The model says which would
//! be right, takes note of the one that was seen, and expects it from then on. Where a choice cannot
//! be seen (the port of a Hyperplane ENI behind a NAT gateway) and ports matter, there is more than
//! one right answer, and [`Network::fates`] returns all of them.
//!
//! Nothing here knows time: connections last.

mod back;
mod connection;
mod errors;
mod explain;
mod journey;
mod ports;
mod rules;

use std::net::{IpAddr, Ipv4Addr};

use viaduct_control_plane::{ENVIRONMENT_ADDRESS, HostPlan, Plan};
use viaduct_topology::{
    Handle, Reason, ResourceId, Topology,
    inventory::{Attachment, AttachmentId, Eni, EniOwner, Host},
    model::{NatGateway, PrefixList, Service, Subnet, Vpc},
};

use crate::packet::Packet;
use connection::Connection;
use journey::{Journey, Settled, Way};

pub use errors::Complaint;
pub use explain::Explained;

/// A network in which packets are judged.
#[derive(Debug)]
pub struct Network<'t> {
    topology: &'t Topology,
    plan: &'t Plan,
    /// The plan's interfaces, and those that drain.
    enis: Vec<&'t Eni>,
    /// Hosts to which nothing is attached.
    down: Vec<AttachmentId>,
    connections: Vec<Connection<'t>>,
}

/// What may become of a packet.
#[derive(Clone, Debug)]
pub enum Fate<'t> {
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
        opened: Option<Opened<'t>>,
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
pub struct Opened<'t>(Connection<'t>);

/// The request's way or the reply's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the request goes.
    Forward,
    /// As the reply goes.
    Return,
}

impl<'t> Network<'t> {
    /// A network without connections. Nothing is attached to the hosts that are `down`.
    #[must_use]
    pub fn new(topology: &'t Topology, plan: &'t Plan, down: Vec<AttachmentId>) -> Self {
        let enis = plan.enis.iter().collect();
        Self { topology, plan, enis, down, connections: Vec::new() }
    }

    /// Another topology and plan take the place of these. Connections are what they were; what
    /// becomes of them, their next packets find out.
    pub fn reload(&mut self, topology: &'t Topology, plan: &'t Plan) {
        let mut enis: Vec<&'t Eni> = plan.enis.iter().collect();
        // An address that a NAT gateway loses while it keeps others drains, unless somebody else
        // needs it (NAT-07).
        for before in &self.plan.enis {
            let EniOwner::NatGateway { .. } = before.owner else { continue };
            let stays = plan.enis.iter().any(|eni| eni.id == before.id);
            let gateway = plan.enis.iter().any(|eni| eni.owner == before.owner);
            let needed = plan.enis.iter().any(|eni| {
                let private = eni.vpc == before.vpc && holds(eni, v4(before.private_ip));
                private || (eni.public_ip.is_some() && eni.public_ip == before.public_ip)
            });
            if !stays && gateway && !needed {
                enis.push(before);
            }
        }
        (self.topology, self.plan, self.enis) = (topology, plan, enis);
    }

    /// What may become of a packet, each possibility once. Whatever finds its connection ended has
    /// it forgotten.
    pub fn fates(&mut self, from: AttachmentId, packet: &Packet) -> Vec<Fate<'t>> {
        if let Some((place, direction)) = self.connection_of(from, packet) {
            let connection = self.connections[place].clone();
            match self.again(&connection) {
                Some(standing) => {
                    self.connections[place].way.tracked = standing.tracked;
                    return self.follow(&connection, &standing, direction, from, packet);
                }
                None => drop(self.connections.remove(place)),
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
            |fate: &Fate<'_>| matches!(fate, Fate::Dropped { reason: Reason::PortsExhausted, .. });
        if fates.iter().any(|fate| matches!(fate, Fate::Arrives { .. })) {
            fates.retain(|fate| !full(fate));
        }
        distinct(fates)
    }

    /// How many walks it takes to try each address of each NAT gateway.
    fn nat_addresses(&self) -> usize {
        let counts = self.topology.nat_gateways.values().map(|nat| nat.addresses as usize);
        counts.max().unwrap_or(1)
    }

    fn open(
        &self,
        from: AttachmentId,
        packet: &Packet,
        nat_address: usize,
    ) -> Result<Fate<'t>, Reason> {
        let settled = Settled { nat_address, ..Settled::default() };
        let way = match self.travel(self.host(from).ok_or(Reason::AttachmentDown)?, packet, settled)
        {
            Journey { way: Some(way), refused: None } => way,
            // A segment without SYN would open nothing toward anybody.
            Journey { refused: Some(Reason::V2nOneWay), .. } if packet.late_segment() => {
                return Err(Reason::NoConnection);
            }
            Journey { refused, .. } => return Err(refused.expect("why it leads nowhere")),
        };
        if packet.late() {
            // Only a NAT gateway (NAT-10) and a Hyperplane ENI say so, and only TCP has the means.
            let forgetful = way.nat.is_some() || way.v2n.is_some();
            let resets = forgetful && packet.late_segment();
            let answer = resets.then_some(Answer::Reset);
            return Ok(Fate::Dropped { reason: Reason::NoConnection, answer });
        }
        match self.deliver(from, packet, (way.receiver, way.arrival), &way) {
            Fate::Arrives { at, packet: arrival, opened: _ } => {
                if let Err((reason, answer)) = self.has_room(from, packet, &way) {
                    return Ok(Fate::Dropped { reason, answer });
                }
                let connection = Connection::new(from, *packet, way);
                Ok(Fate::Arrives { at, packet: arrival, opened: Some(Opened(connection)) })
            }
            dropped @ Fate::Dropped { .. } => Ok(dropped),
        }
    }

    /// Whether everything that a connection needs can be had. Whoever has no room says so by 3/13
    /// (RFC 5508, REQ-8): a NAT gateway itself, the next router for everybody else.
    fn has_room(
        &self,
        from: AttachmentId,
        packet: &Packet,
        way: &Way<'_>,
    ) -> Result<(), (Reason, Option<Answer>)> {
        if !way.translates_port() && self.is_taken(from, packet, way) {
            return Err((Reason::NoConnection, None));
        }
        let full = |by: IpAddr| {
            move |reason| (reason, Some(Answer::Error { icmp: (3, 13), from: v4(by) }))
        };
        let router = self.setup(from).gateway;
        if let Some(v2n) = way.v2n {
            self.v2n_room(v2n, packet).map_err(full(router))?;
        }
        if let Some(nat) = way.nat {
            self.nat_room(nat, packet).map_err(full(nat.private_ip))?;
        }
        if let Some(side) = way.endpoint {
            self.endpoint_room(side, &way.arrival).map_err(full(router))?;
        }
        Ok(())
    }

    /// Whether the packets that would be replies belong to another connection: somebody uses an
    /// address that is not his, or talks to himself and would be his own reply. Where ports are
    /// translated another one helps.
    fn is_taken(&self, from: AttachmentId, packet: &Packet, way: &Way<'_>) -> bool {
        let reply = way.arrival.backwards();
        let own = self.same_ingress(from, way.receiver) && packet.same_flow(&reply);
        own || self.connection_of(way.receiver, &reply).is_some()
    }

    /// The end of the way, for a packet that nobody refused: somebody must be there to take it, a
    /// NAT gateway makes one hop of it, and it must not be too large.
    fn deliver(
        &self,
        from: AttachmentId,
        sent: &Packet,
        end: (AttachmentId, Packet),
        way: &Way<'_>,
    ) -> Fate<'t> {
        let (at, arrival) = end;
        if self.down.contains(&at) {
            return Fate::Dropped { reason: Reason::AttachmentDown, answer: None };
        }
        // The gateway that it got to says so (NAT-27); replies got to none of the sender's own, and
        // the next router does.
        let request = at == way.receiver;
        let from = match way.nat.filter(|_| request) {
            Some(nat) => v4(nat.private_ip),
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
            if way.is_by_interface_endpoint() {
                return Fate::Dropped { reason: Reason::PacketTooBig, answer: None };
            }
            return refused(Reason::PacketTooBig, (3, 4));
        }
        let Packet { ttl, segment, payload, .. } = *sent;
        let packet = Packet { ttl: ttl - hops, segment, payload, ..arrival };
        Fate::Arrives { at, packet, opened: None }
    }

    /// All hosts of the internet come in at one edge.
    fn same_ingress(&self, one: AttachmentId, other: AttachmentId) -> bool {
        let internet =
            |id| self.host(id).is_some_and(|it| matches!(it.host, Host::Internet { .. }));
        one == other || (internet(one) && internet(other))
    }

    /// A host, if it is there.
    fn host(&self, id: AttachmentId) -> Option<&'t Attachment> {
        self.plan.attachments.iter().find(|host| host.id == id)
    }

    /// How a host was told to set itself up.
    fn setup(&self, id: AttachmentId) -> &'t HostPlan {
        let mut hosts = self.plan.attachments.iter().zip(&self.plan.hosts);
        hosts.find(|(host, _)| host.id == id).expect("a host of this plan").1
    }

    /// The address that a host sends from unless it chooses another; `None` if there is no such host.
    #[must_use]
    pub fn primary_address(&self, id: AttachmentId) -> Option<Ipv4Addr> {
        self.host(id).map(|host| self.own_address(host))
    }

    fn own_address(&self, host: &Attachment) -> Ipv4Addr {
        match &host.host {
            Host::Environment { .. } => ENVIRONMENT_ADDRESS,
            Host::Instance { eni } => v4(self.eni(eni).private_ip),
            Host::Internet { ip } => v4(*ip),
            Host::Service { id } => v4(self.service(id).ip),
            _ => unreachable!("no other host exists"),
        }
    }

    fn service(&self, id: &ResourceId) -> &'t Service {
        self.topology.services.values().find(|service| service.id == *id).expect("its service")
    }

    /// Whether an address is one of a service's.
    fn answers_at(&self, service: &ResourceId, ip: Ipv4Addr) -> bool {
        let service = self.service(service);
        let listed = |list: Handle<PrefixList>| {
            let mut entries = self.topology.prefix_lists[list].entries.iter();
            entries.any(|block| block.contains(&IpAddr::V4(ip)))
        };
        v4(service.ip) == ip || service.prefix_list.is_some_and(listed)
    }

    fn host_of_service(&self, service: &ResourceId) -> AttachmentId {
        let its = |host: &&Attachment| matches!(&host.host, Host::Service { id } if id == service);
        self.plan.attachments.iter().find(its).expect("a service has a host").id
    }

    fn eni(&self, id: &ResourceId) -> &'t Eni {
        self.enis.iter().find(|eni| eni.id == *id).expect("a host's interface")
    }

    /// The subnet and the VPC of an interface.
    fn place(&self, eni: &Eni) -> (Handle<Subnet>, Handle<Vpc>) {
        let subnets = self.topology.subnets.iter();
        let (handle, subnet) =
            subnets.into_iter().find(|(_, subnet)| subnet.id == eni.subnet).expect("its subnet");
        (handle, subnet.vpc)
    }

    fn is_nat(&self, eni: &Eni) -> bool {
        matches!(eni.owner, EniOwner::NatGateway { .. })
    }

    fn is_of_gateway(&self, eni: &Eni, gateway: Handle<NatGateway>) -> bool {
        let gateway = &self.topology.nat_gateways[gateway].id;
        matches!(&eni.owner, EniOwner::NatGateway { id } if id == gateway)
    }
}

/// The fates that can be told apart. Arrivals differ by what arrives, not by how it got there.
fn distinct(fates: Vec<Fate<'_>>) -> Vec<Fate<'_>> {
    let mut kept: Vec<Fate<'_>> = Vec::new();
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

/// Whether an address is one of an interface's private ones.
fn holds(eni: &Eni, ip: Ipv4Addr) -> bool {
    v4(eni.private_ip) == ip || eni.secondary_private_ips.iter().any(|other| v4(*other) == ip)
}

/// Only IPv4 is forwarded, so the loader lets no other address into an inventory.
fn v4(ip: IpAddr) -> Ipv4Addr {
    match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => panic!("{ip} in an inventory"),
    }
}
