//! The way of a connection: who translates it, where it ends, and which borders lie between.

use std::{net::Ipv4Addr, sync::Arc};

use viaduct_topology::{inventory::AttachmentId, model::PortRange};
use viaduct_wire::Flow;

use crate::{
    inventory::{Interface, Owner, first_open},
    policy::{InternetGateway, Number, VpcEndpoint},
    port_table::TableId,
    recorder::Header,
};

/// Most legs a way has: to a NAT gateway, to an internet gateway, from one to the receiver.
const LEGS: usize = 3;

/// Who may translate a connection's source, each lending it a port: the Hyperplane ENI (or the service
/// VPC's NAT in its place), the NAT gateway, the service's side of an endpoint. Arrays of this length have them in this order, which
/// is that of the way.
pub const TRANSLATORS: usize = 3;

pub(crate) const V2N: usize = 0;
pub(crate) const NAT: usize = 1;
pub(crate) const SERVICE: usize = 2;

/// Where a leg begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// The sender's interface: a function's Hyperplane ENI, the service VPC's NAT, or an instance's own.
    Source,
    /// The NAT gateway.
    NatGateway,
    /// An internet gateway.
    InternetGateway(Number<InternetGateway>),
    /// A gateway endpoint.
    VpcEndpoint(Number<VpcEndpoint>),
    /// The receiver's interface; an interface endpoint's, if the receiver is a service behind it.
    Destination,
}

/// A part of the way on which addresses and ports do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Where it begins.
    pub from: Node,
    /// Where it ends.
    pub to: Node,
}

/// The way of a connection's requests; replies go the same way backwards.
#[derive(Clone, Debug)]
pub struct Path {
    /// Who gets the packet.
    pub target: AttachmentId,
    /// The sender's interface; none for a host of the internet.
    pub source: Option<Arc<Interface>>,
    /// The receiver's interface, an appliance's or an interface endpoint's; none for a host of the
    /// internet, and for a service that is reached without.
    pub destination: Option<Arc<Interface>>,
    /// The NAT gateway's interface, if the way leads through one. Expired TTLs are answered from
    /// its private address (NAT-27).
    pub nat: Option<Arc<Interface>>,
    /// The service's side of the endpoint, if the way leads through one.
    pub service_side: Option<Arc<Interface>>,
    /// The source address that an internet gateway gave it on the way out (IGW-03).
    pub public_source: Option<Ipv4Addr>,
    /// The destination that an internet gateway gave it on the way in (IGW-03).
    pub private_destination: Option<Ipv4Addr>,
    /// The destination that an interface endpoint gave it: the service's.
    pub service_ip: Option<Ipv4Addr>,
    /// How many interfaces each translator could be: when one is full, walk with the next.
    pub choices: [u16; TRANSLATORS],
    /// Which ends track the connection.
    pub tracking: Tracking,
    /// By how much the time to live goes down: the NAT gateway is a hop, nothing else is.
    pub ttl_decrement: u8,
    /// The largest packet that every gateway on the way passes, in bytes (MTU-01).
    pub mtu: u16,
    legs: [Leg; LEGS],
    leg_count: u8,
}

impl Path {
    pub(super) fn new(target: AttachmentId) -> Self {
        Self {
            target,
            source: None,
            destination: None,
            nat: None,
            service_side: None,
            public_source: None,
            private_destination: None,
            service_ip: None,
            choices: [0; TRANSLATORS],
            tracking: Tracking::default(),
            ttl_decrement: 0,
            mtu: 9001,
            legs: [Leg { from: Node::Source, to: Node::Destination }; LEGS],
            leg_count: 0,
        }
    }

    pub(super) fn push(&mut self, leg: Leg) {
        self.legs[usize::from(self.leg_count)] = leg;
        self.leg_count += 1;
    }

    /// The legs in the order of the request; none between two hosts of the internet.
    #[must_use]
    pub fn legs(&self) -> &[Leg] {
        &self.legs[..usize::from(self.leg_count)]
    }

    /// What translates the source on the way out of the service VPC, when a function opened the
    /// connection: the Hyperplane ENI, or the service VPC's NAT.
    #[must_use]
    pub fn v2n(&self) -> Option<&Arc<Interface>> {
        let translates = |owner: &Owner| matches!(owner, Owner::Functions(_) | Owner::ServiceVpc);
        self.source.as_ref().filter(|source| translates(&source.owner))
    }

    /// Whether it leads through an interface endpoint, which alone translates destinations so.
    #[must_use]
    pub fn has_interface_endpoint(&self) -> bool {
        self.service_ip.is_some()
    }

    /// Who translates the source on this way.
    #[must_use]
    pub fn translators(&self) -> [Option<&Arc<Interface>>; TRANSLATORS] {
        [self.v2n(), self.nat.as_ref(), self.service_side.as_ref()]
    }

    /// Where a translator sees a request to `destination` go: an endpoint's service side already
    /// sees the service.
    #[must_use]
    pub fn destination_at(&self, translator: usize, destination: Ipv4Addr) -> Ipv4Addr {
        self.service_ip.filter(|_| translator == SERVICE).unwrap_or(destination)
    }

    /// The appliance that gets this packet, as it arrives, to forward it; none if it is for whoever
    /// gets it.
    #[must_use]
    pub fn appliance(&self, arrival: &Flow) -> Option<&Arc<Interface>> {
        let leads_on = |it: &&Arc<Interface>| {
            matches!(it.owner, Owner::Instance { .. }) && !it.holds(arrival.destination)
        };
        self.destination.as_ref().filter(leads_on)
    }

    /// The interface at a node; internet gateways and gateway endpoints have none.
    pub(super) fn interface(&self, node: Node) -> Option<&Interface> {
        let interface = match node {
            Node::Source => &self.source,
            Node::NatGateway => &self.nat,
            Node::Destination => &self.destination,
            Node::InternetGateway(_) | Node::VpcEndpoint(_) => &None,
        };
        interface.as_deref()
    }

    /// What a request looks like on each leg and on arrival, given the ports that the translators
    /// lend it. A port that the way has no use for is not looked at.
    #[must_use]
    pub fn translate(&self, request: &Flow, ports: [u16; TRANSLATORS]) -> Translated {
        let header = Header {
            flow: *request,
            source_ports: PortRange::single(request.source_port),
            destination_ports: PortRange::single(request.destination_port),
        };
        self.translate_ranges(header, ports.map(PortRange::single))
    }

    pub(crate) fn translate_ranges(
        &self,
        request: Header,
        ports: [PortRange; TRANSLATORS],
    ) -> Translated {
        let translators = self.translators();
        let from = |header: &mut Header, translator: usize| {
            if let Some(interface) = translators[translator] {
                header.flow.source = interface.ip;
                header.flow.source_port = ports[translator].first;
                header.source_ports = ports[translator];
            }
        };
        let mut header = request;
        from(&mut header, V2N);
        let mut legs = [header; LEGS];
        for (leg, seen) in self.legs().iter().zip(&mut legs) {
            match leg.from {
                Node::NatGateway => from(&mut header, NAT),
                Node::InternetGateway(_) => {
                    header.flow.source = self.public_source.unwrap_or(header.flow.source);
                    header.flow.destination =
                        self.private_destination.unwrap_or(header.flow.destination);
                }
                Node::Source | Node::Destination | Node::VpcEndpoint(_) => {}
            }
            *seen = header;
        }
        if self.destination.is_none() {
            header.flow.source = self.public_source.unwrap_or(header.flow.source);
        }
        from(&mut header, SERVICE);
        header.flow.destination = self.service_ip.unwrap_or(header.flow.destination);
        Translated { legs, arrival: header }
    }
}

/// What a request looks like on each leg of its [`Path`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translated {
    pub(super) legs: [Header; LEGS],
    pub(crate) arrival: Header,
}

impl Translated {
    /// The request as its receiver sees it; replies arrive as its reverse.
    #[must_use]
    pub fn arrival(&self) -> Flow {
        self.arrival.flow
    }
}

/// Which ends of a connection hold security-group state of it (SG-17, SG-20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracking {
    /// The sender's interface.
    pub source: bool,
    /// The receiver's interface.
    pub destination: bool,
}

impl Tracking {
    /// Both.
    pub const BOTH: Self = Self { source: true, destination: true };
}

/// Which of several interfaces that serve alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// By its place in their order: Hyperplane ENIs are filled one after the other (LAM-07), a NAT
    /// gateway's addresses in an order for each inside address.
    Nth(u16),
    /// The one whose ports these are: the connection has one of them.
    Held(TableId),
}

impl Default for Choice {
    fn default() -> Self {
        Self::Nth(0)
    }
}

impl Choice {
    /// The one that a connection has a port of, if it has one.
    pub(crate) fn held(table: Option<TableId>) -> Self {
        table.map_or_else(Self::default, Self::Held)
    }

    /// The chosen one, of those that take new connections unless one of the others is held. When it
    /// is gone, the first: the way is then another one, and the connection ends.
    pub(super) fn of(self, interfaces: &[Arc<Interface>]) -> Option<&Arc<Interface>> {
        let chosen = match self {
            Self::Nth(index) => open(interfaces).nth(index.into()),
            Self::Held(table) => holder(interfaces, table),
        };
        chosen.or_else(|| first_open(interfaces))
    }

    /// The one of these that the connection has a port of, if it has one.
    pub(super) fn held_among(self, interfaces: &[Arc<Interface>]) -> Option<&Arc<Interface>> {
        match self {
            Self::Nth(_) => None,
            Self::Held(table) => holder(interfaces, table),
        }
    }

    /// The chosen one of a NAT gateway's addresses, in the order that is this inside address's own
    /// ([`pairing`]).
    pub(super) fn paired_with(
        self,
        inside: Ipv4Addr,
        interfaces: &[Arc<Interface>],
    ) -> Option<&Arc<Interface>> {
        let rank = |one: &Interface| {
            let before =
                |other: &&Arc<Interface>| pairing(inside, other.ip) > pairing(inside, one.ip);
            open(interfaces).filter(before).count()
        };
        let nth = |index| open(interfaces).find(|one| rank(one) == index);
        let chosen = match self {
            Self::Nth(index) => nth(index.into()),
            Self::Held(table) => holder(interfaces, table),
        };
        chosen.or_else(|| nth(0))
    }
}

/// Those that take new connections: one that drains serves those that it has (NAT-07).
pub(super) fn open(interfaces: &[Arc<Interface>]) -> impl Iterator<Item = &Arc<Interface>> {
    interfaces.iter().filter(|interface| !interface.draining)
}

fn holder(interfaces: &[Arc<Interface>], table: TableId) -> Option<&Arc<Interface>> {
    interfaces.iter().find(|it| it.table() == Some(table))
}

/// How much an inside address belongs to an outside one: it has a port of the one that it belongs to
/// most as long as there is one for the destination, so that it is seen under one address (RFC 4787,
/// REQ-2; RFC 6888, REQ-2; RFC 7857, section 4). An address that is added or lost moves nobody but
/// to or from itself ("highest random weight"), and nothing has to be remembered.
fn pairing(inside: Ipv4Addr, outside: Ipv4Addr) -> u64 {
    // The finalizer of splitmix64: a permutation, so no two outside addresses weigh the same.
    let mut z = u64::from(inside.to_bits()) << 32 | u64::from(outside.to_bits());
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
