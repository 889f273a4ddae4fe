//! The way of a connection: who translates it, where it ends, and which borders lie between.

use std::{net::Ipv4Addr, sync::Arc};

use viaduct_topology::{inventory::AttachmentId, model::PortRange};
use viaduct_wire::Flow;

use crate::{
    inventory::{Interface, Owner},
    policy::{InternetGateway, Number},
    recorder::Header,
};

/// Most legs a way has: to a NAT gateway, to an internet gateway, from one to the receiver.
const LEGS: usize = 3;

/// Where a leg begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// The sender's interface: a function's Hyperplane ENI or an instance's own.
    Source,
    /// The NAT gateway.
    NatGateway,
    /// An internet gateway.
    InternetGateway(Number<InternetGateway>),
    /// The receiver's interface.
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
    /// The receiver's interface; none for a host of the internet.
    pub destination: Option<Arc<Interface>>,
    /// The NAT gateway's interface, if the way leads through one. Expired TTLs are answered from
    /// its private address (NAT-27).
    pub nat: Option<Arc<Interface>>,
    /// The source address that an internet gateway gave it on the way out (IGW-03).
    pub public_source: Option<Ipv4Addr>,
    /// How many Hyperplane ENIs there are to choose from; when one is full, walk with the next.
    pub eni_choices: u16,
    /// How many addresses of the NAT gateway there are to choose from.
    pub nat_choices: u16,
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
            public_source: None,
            eni_choices: 0,
            nat_choices: 0,
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

    /// The Hyperplane ENI that translates the source, when a function opened the connection.
    #[must_use]
    pub fn v2n(&self) -> Option<&Arc<Interface>> {
        self.source.as_ref().filter(|source| matches!(source.owner, Owner::Functions(_)))
    }

    /// The receiver's private address, when an internet gateway translated it on the way in.
    #[must_use]
    pub fn private_destination(&self) -> Option<Ipv4Addr> {
        let enters = self.legs().iter().any(|leg| matches!(leg.from, Node::InternetGateway(_)));
        self.destination.as_ref().filter(|_| enters).map(|destination| destination.ip)
    }

    /// The appliance that gets this packet, as it arrives, to forward it; none if it is for whoever
    /// gets it.
    #[must_use]
    pub fn appliance(&self, arrival: &Flow) -> Option<&Arc<Interface>> {
        self.destination.as_ref().filter(|destination| destination.ip != arrival.destination)
    }

    /// The interface at a node; an internet gateway has none.
    pub(super) fn interface(&self, node: Node) -> Option<&Interface> {
        let interface = match node {
            Node::Source => &self.source,
            Node::NatGateway => &self.nat,
            Node::Destination => &self.destination,
            Node::InternetGateway(_) => &None,
        };
        interface.as_deref()
    }

    /// Whether packets on both ways meet the same translations and end at the same place: a
    /// connection goes on when it is walked anew and this holds.
    #[must_use]
    pub fn is_same_way(&self, other: &Self) -> bool {
        let id = |interface: &Option<Arc<Interface>>| {
            interface.as_ref().map(|interface| (interface.vpc, interface.ip))
        };
        self.target == other.target
            && self.public_source == other.public_source
            && id(&self.source) == id(&other.source)
            && id(&self.destination) == id(&other.destination)
            && id(&self.nat) == id(&other.nat)
            && self.legs() == other.legs()
    }

    /// What a request looks like on each leg and on arrival, given the ports it was lent. A port
    /// that the way has no use for is not looked at.
    #[must_use]
    pub fn translate(&self, request: &Flow, v2n_port: u16, nat_port: u16) -> Translated {
        let header = Header {
            flow: *request,
            source_ports: PortRange::single(request.source_port),
            destination_ports: PortRange::single(request.destination_port),
        };
        self.translate_ranges(header, PortRange::single(v2n_port), PortRange::single(nat_port))
    }

    pub(crate) fn translate_ranges(
        &self,
        request: Header,
        v2n: PortRange,
        nat: PortRange,
    ) -> Translated {
        let mut header = request;
        let mut from = |ip: Ipv4Addr, ports: PortRange| {
            header.flow.source = ip;
            header.flow.source_port = ports.first;
            header.source_ports = ports;
        };
        if let Some(eni) = self.v2n() {
            from(eni.ip, v2n);
        }
        let mut legs = [header; LEGS];
        for (leg, seen) in self.legs().iter().zip(&mut legs) {
            match leg.from {
                Node::NatGateway => {
                    if let Some(interface) = &self.nat {
                        header.flow.source = interface.ip;
                        header.flow.source_port = nat.first;
                        header.source_ports = nat;
                    }
                }
                Node::InternetGateway(_) => {
                    header.flow.source = self.public_source.unwrap_or(header.flow.source);
                    if let Some(destination) = &self.destination {
                        header.flow.destination = destination.ip;
                    }
                }
                Node::Source | Node::Destination => {}
            }
            *seen = header;
        }
        if self.destination.is_none() {
            header.flow.source = self.public_source.unwrap_or(header.flow.source);
        }
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
    /// By its place in their order.
    Nth(u16),
    /// The one with this private address: the connection has a port of it.
    Held(Ipv4Addr),
}

impl Default for Choice {
    fn default() -> Self {
        Self::Nth(0)
    }
}

impl Choice {
    /// The chosen one. When it is gone, the first: the way is then another one, and the connection
    /// ends.
    pub(super) fn of(self, interfaces: &[Arc<Interface>]) -> Option<&Arc<Interface>> {
        let chosen = match self {
            Self::Nth(index) => interfaces.get(usize::from(index)),
            Self::Held(ip) => interfaces.iter().find(|interface| interface.ip == ip),
        };
        chosen.or_else(|| interfaces.first())
    }
}
