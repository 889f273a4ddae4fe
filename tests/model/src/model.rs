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
//! Time is what the caller says it is. A connection whose time is over is none any more, but its ports
//! are free only when whoever has them notices, with its next packet or at the latest after
//! [`NOTICED`].

mod back;
mod connection;
mod errors;
mod explain;
mod identifiers;
mod journey;
mod life;
mod limits;
mod ports;
mod rules;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use viaduct_control_plane::{ENVIRONMENT_ADDRESS, HostPlan, Plan};
use viaduct_topology::{
    Handle, Reason, ResourceId, Topology,
    inventory::{Attachment, AttachmentId, Eni, EniOwner, Host},
    model::{NatGateway, PrefixList, Service, Subnet, Vpc},
};

use crate::packet::{ICMP, Packet};
use connection::Connection;
use identifiers::Named;
use journey::{Journey, Settled, Way};
use limits::Openings;
use ports::{Desk, Freed, Refused, Want};

pub use errors::Complaint;
pub use explain::Explained;
pub use life::{Phase, Record};

/// How long it takes at most to notice that the time of a connection is over, in milliseconds.
pub const NOTICED: u64 = 128;

/// How long an address goes on with the connections that it has after a NAT gateway has lost it
/// (NAT-07), in milliseconds.
const DRAIN: u64 = 350_000;

/// A network in which packets are judged.
#[derive(Debug)]
pub struct Network<'t> {
    topology: &'t Topology,
    plan: &'t Plan,
    /// The plan's interfaces, and those that drain.
    enis: Vec<&'t Eni>,
    /// Hosts to which nothing is attached.
    down: Vec<AttachmentId>,
    failed_zones: BTreeSet<String>,
    connections: Vec<Connection<'t>>,
    /// In milliseconds.
    now: u64,
    /// Interfaces that drain, and until when.
    draining: Vec<(&'t Eni, u64)>,
    /// Ports that were in use and are not.
    freed: Vec<Freed>,
    /// Ports in use of which some connection ended without a close.
    unseen: Vec<(Desk, u16)>,
    /// Ports that were given while a connection whose time was over may still have had them.
    unclear: Vec<(Desk, u16)>,
    /// Where a connection ended without a close whose port could not be seen.
    hidden: Vec<Desk>,
    /// What the identifiers of ICMP echoes became.
    named: Vec<Named>,
    recycled: usize,
    /// Openings through Hyperplane ENIs, as far as time has not forgotten them.
    openings: Vec<Openings<'t>>,
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
pub struct Opened<'t>(Box<Connection<'t>>);

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
        Self {
            topology,
            plan,
            enis: plan.enis.iter().collect(),
            down,
            failed_zones: BTreeSet::new(),
            connections: Vec::new(),
            now: 0,
            draining: Vec::new(),
            freed: Vec::new(),
            unseen: Vec::new(),
            unclear: Vec::new(),
            hidden: Vec::new(),
            named: Vec::new(),
            recycled: 0,
            openings: Vec::new(),
        }
    }

    /// So many milliseconds have passed since some beginning, never less than before.
    pub fn at(&mut self, now: u64) {
        self.now = now;
    }

    /// From now on these zones have failed, and no others.
    pub fn fail_zones(&mut self, zones: &BTreeSet<String>) {
        self.failed_zones.clone_from(zones);
    }

    /// Whether the zone of a subnet stands. If it has failed, nothing there sends or gets anything
    /// (LAM-18, NAT-02).
    fn zone(&self, subnet: Handle<Subnet>) -> Result<(), Reason> {
        let zone = &self.topology.subnets[subnet].availability_zone;
        if self.failed_zones.contains(zone) { Err(Reason::ZoneUnavailable) } else { Ok(()) }
    }

    fn zone_of(&self, eni: &Eni) -> Result<(), Reason> {
        self.zone(self.place(eni).0)
    }

    /// Everybody looks for connections whose time is over, and finds all but the latest.
    pub fn sweep(&mut self) {
        let noticed = |it: &Connection<'_>| it.deadline() + NOTICED <= self.now;
        let all = std::mem::take(&mut self.connections);
        let (ended, living) = all.into_iter().partition(noticed);
        self.connections = living;
        for connection in ended {
            self.give_back(&connection, connection.deadline());
        }
    }

    /// What has drained goes, and everybody looks at the clock.
    pub fn trim(&mut self) {
        let now = self.now;
        self.draining.retain(|(eni, until)| {
            let stays = *until > now;
            self.enis.retain(|other| stays || other.id != eni.id);
            stays
        });
        for freed in &mut self.freed {
            freed.notice(now);
        }
    }

    /// The connections whose time is not over.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let alive = self.connections.iter().filter(|connection| !self.is_over(connection));
        alive.map(Connection::record).collect()
    }

    /// How often a port was given that had been in use and has rested, though others never were.
    #[must_use]
    pub const fn recycled(&self) -> usize {
        self.recycled
    }

    /// The moments at which something will happen if nothing else does: connections end, ports have
    /// rested.
    #[must_use]
    pub fn borders(&self) -> Vec<u64> {
        let ends = self.connections.iter().map(Connection::deadline);
        let mut borders: Vec<u64> = ends.chain(self.freed.iter().map(Freed::rested)).collect();
        borders.retain(|border| *border > self.now);
        borders.sort_unstable();
        borders.dedup();
        borders
    }

    /// Another topology and plan take the place of these. Connections are what they were; what
    /// becomes of them, their next packets find out.
    pub fn reload(&mut self, topology: &'t Topology, plan: &'t Plan) {
        let mut enis: Vec<&'t Eni> = plan.enis.iter().collect();
        // An address that a NAT gateway loses while it keeps others drains, unless somebody else
        // needs it (NAT-07). In another subnet it is another gateway.
        for before in &self.plan.enis {
            let EniOwner::NatGateway { .. } = before.owner else { continue };
            let stays = plan.enis.iter().any(|eni| eni.id == before.id);
            let there = |eni: &Eni| eni.owner == before.owner && eni.subnet == before.subnet;
            let gateway = plan.enis.iter().any(there);
            let needed = plan.enis.iter().any(|eni| {
                let private = eni.vpc == before.vpc && holds(eni, v4(before.private_ip));
                private || (eni.public_ip.is_some() && eni.public_ip == before.public_ip)
            });
            if !stays && gateway && !needed {
                enis.push(before);
                self.draining.push((before, self.now + DRAIN));
            }
        }
        (self.topology, self.plan, self.enis) = (topology, plan, enis);
    }

    /// What may become of a packet, each possibility once. Whatever finds its connection ended has
    /// it forgotten.
    pub fn fates(&mut self, from: AttachmentId, packet: &Packet) -> Vec<Fate<'t>> {
        self.notice(from, packet);
        if let Some((place, direction)) = self.connection_of(from, packet)
            && self.connections[place].gives_way(direction, packet)
        {
            self.end(place);
        }
        if let Some((place, direction)) = self.connection_of(from, packet) {
            let connection = self.connections[place].clone();
            // Messages of several types and codes make one conversation of ICMP without identifiers;
            // but what an echo reply answers was an echo.
            let icmp = match direction {
                Direction::Forward => packet.icmp,
                Direction::Return if packet.protocol == ICMP && packet.icmp == (0, 0) => (8, 0),
                Direction::Return => connection.sent.icmp,
            };
            match self.again(&connection, icmp) {
                Some(standing) => {
                    self.connections[place].way.tracked = standing.tracked;
                    return self.follow(&connection, &standing, direction, from, packet);
                }
                None => self.end(place),
            }
        }
        let mut fates = Vec::new();
        let mut refusals = Vec::new();
        let mut surely = false;
        for nat_address in 0..self.nat_addresses() {
            let fate = match self.open(from, packet, nat_address) {
                Ok(fate) => fate,
                Err(reason) => Fate::Dropped { reason, answer: None },
            };
            let Fate::Arrives { opened: Some(Opened(connection)), .. } = &fate else {
                fates.push(fate);
                continue;
            };
            let mut want = self.want(connection);
            match self.is_taken(connection) {
                Some(true) => want.surely = Some((Reason::NoConnection, None)),
                Some(false) => want.perhaps.push((Reason::NoConnection, None)),
                None => {}
            }
            self.found_wanting(&want);
            let Want { perhaps, surely: refused, .. } = want;
            surely |= perhaps.is_empty() && refused.is_none();
            refusals.extend(perhaps.into_iter().chain(refused));
            if refused.is_none() {
                fates.push(fate);
            }
        }
        // One address of a NAT gateway that has no port left is no reason while another one has.
        if !surely {
            let refused = |(reason, by): Refused| {
                let answer = by.map(|from| Answer::Error { icmp: (3, 13), from });
                Fate::Dropped { reason, answer }
            };
            fates.extend(refusals.into_iter().map(refused));
        }
        distinct(fates)
    }

    /// Whoever gets a packet of a connection whose time is over notices that, and so for the one that
    /// had its port before.
    fn notice(&mut self, from: AttachmentId, packet: &Packet) {
        while let Some((place, _)) = self.connection_of(from, packet)
            && self.is_over(&self.connections[place])
        {
            self.end(place);
        }
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
        if packet.has_no_port() {
            return Err(Reason::MalformedPacket);
        }
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
            // Only a NAT gateway (NAT-10) and a Hyperplane ENI say so, and only TCP has the means,
            // except that nobody answers a RST (RFC 9293, section 3.10.7.1).
            let forgetful = way.nat.is_some() || way.v2n.is_some();
            let resets = forgetful && packet.late_segment() && !packet.segment.resets();
            let answer = resets.then_some(Answer::Reset);
            return Ok(Fate::Dropped { reason: Reason::NoConnection, answer });
        }
        match self.deliver(from, packet, (way.receiver, way.arrival), &way) {
            Fate::Arrives { at, packet: arrival, opened: _ } => {
                let settings = &self.topology.settings;
                let connection = Connection::new(from, *packet, way, self.now, settings);
                Ok(Fate::Arrives {
                    at,
                    packet: arrival,
                    opened: Some(Opened(Box::new(connection))),
                })
            }
            dropped @ Fate::Dropped { .. } => Ok(dropped),
        }
    }

    /// Whether the packets that would be replies belong to another connection: somebody uses an
    /// address that is not his, or talks to himself and would be his own reply. Where ports are
    /// translated another one helps. `Some(false)` if that connection's time is over.
    fn is_taken(&self, connection: &Connection<'_>) -> Option<bool> {
        if connection.way.translates_port() {
            return None;
        }
        let reply = connection.received.backwards();
        let receiver = connection.receiver;
        if self.same_ingress(connection.opener, receiver) && connection.sent.same_flow(&reply) {
            return Some(true);
        }
        let (place, _) = self.connection_of(receiver, &reply)?;
        Some(!self.is_over(&self.connections[place]))
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
        let outside = self
            .host(from)
            .is_some_and(|it| matches!(it.host, Host::Internet { .. } | Host::Service { .. }));
        let from = match way.nat.filter(|_| request) {
            Some(nat) => v4(nat.private_ip),
            // Who is not in a VPC sees nothing of it but the address that it talks to.
            None if outside => sent.destination,
            None => v4(self.setup(from).gateway),
        };
        let refused = |reason, icmp| {
            let answer = Some(Answer::Error { icmp, from });
            Fate::Dropped { reason, answer }
        };
        let hops = u8::from(way.nat.is_some());
        // Not even the last one may be forwarded, hop or no hop.
        if sent.ttl <= hops {
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
