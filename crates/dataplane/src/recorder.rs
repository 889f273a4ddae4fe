//! Who looks on while the walk decides.
//!
//! A packet's walk has nobody looking on: [`Silent`] compiles to nothing, and the first blocker ends
//! the walk. An explanation writes every step down and has the walk go on behind a blocker, as far as
//! it can, to find the others.

use std::net::Ipv4Addr;

use viaduct_topology::{Reason, inventory::AttachmentId, model::PortRange};
use viaduct_wire::Flow;

use crate::{
    inventory::Interface,
    policy::{
        Direction, InternetGateway, NatGateway, NetworkAcl, Peering, Policy, Route, RouteTable,
        Rule, Ruling, SecurityGroup, Subnet, Vpc, VpcEndpoint,
    },
};

/// Addresses and ports as they are at one point of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Protocol and addresses; of ports that are ranges, the first.
    pub flow: Flow,
    /// The source ports it may have; one for a packet.
    pub source_ports: PortRange,
    /// The destination ports it may have; one for a packet.
    pub destination_ports: PortRange,
}

/// One thing the walk looked at.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// Whether the source address is the sender's own.
    Source {
        /// The sender's address.
        own: Ipv4Addr,
        /// The sender's interface; none for a function environment and for an internet host.
        interface: Option<&'a Interface>,
    },
    /// Whether functions may speak the protocol (LAM-10).
    FunctionProtocol,
    /// The destination is one that the VPC itself serves (SG-28).
    Service,
    /// An interface's security groups.
    SecurityGroups {
        /// The interface.
        interface: &'a Interface,
        /// Out of it or into it.
        direction: Direction,
        /// What they say.
        decision: GroupDecision<'a>,
    },
    /// V2N source NAT, or its undoing for a reply.
    V2n {
        /// The Hyperplane ENI, or the service VPC's NAT.
        interface: &'a Interface,
    },
    /// Where the service VPC leads for functions without a VPC: to the internet (LAM-12).
    ServiceVpc,
    /// An interface stands in a zone that has failed.
    Zone {
        /// The interface.
        interface: &'a Interface,
        /// Its subnet.
        subnet: &'a Subnet,
    },
    /// A function's interface stands in a subnet that was taken back from its account.
    Unshared {
        /// The interface.
        interface: &'a Interface,
        /// Its subnet.
        subnet: &'a Subnet,
        /// The account.
        account: &'a str,
    },
    /// A subnet's network ACL.
    NetworkAcl {
        /// The subnet whose border is crossed.
        subnet: &'a Subnet,
        /// Its ACL.
        acl: &'a NetworkAcl,
        /// Out of the subnet or into it.
        direction: Direction,
        /// What it says of each port the packet may have.
        rulings: &'a [Ruling<'a>],
    },
    /// The route that a subnet's table has for the destination.
    Route {
        /// The subnet.
        subnet: &'a Subnet,
        /// Its table.
        table: &'a RouteTable,
        /// The longest match.
        route: Option<&'a Route>,
    },
    /// The route that an internet gateway's own table has for a destination.
    GatewayRoute {
        /// The gateway.
        gateway: &'a InternetGateway,
        /// Its table.
        table: &'a RouteTable,
        /// The longest match.
        route: Option<&'a Route>,
    },
    /// A NAT gateway: translation of the source, or its undoing for a reply.
    NatGateway {
        /// The gateway.
        gateway: &'a NatGateway,
        /// The interface whose address and ports it uses.
        interface: &'a Interface,
    },
    /// A peering connection, crossed.
    Peering {
        /// The connection.
        peering: &'a Peering,
        /// The VPC at its far end.
        to: &'a Vpc,
    },
    /// An internet gateway: 1:1 translation between private and public address.
    InternetGateway {
        /// The gateway.
        gateway: &'a InternetGateway,
        /// Out of the VPC or into it.
        direction: Direction,
    },
    /// An endpoint: translation at the service's edge, or its undoing for a reply.
    VpcEndpoint {
        /// The endpoint.
        endpoint: &'a VpcEndpoint,
        /// Its address and ports at the service.
        side: &'a Interface,
    },
    /// Who holds the destination address.
    Destination {
        /// The interface, if one does; on the internet none does.
        interface: Option<&'a Interface>,
    },
    /// The end of the way.
    Delivery {
        /// To whom.
        target: AttachmentId,
    },
}

/// What the security groups of an interface say.
#[derive(Clone, Copy, Debug)]
pub enum GroupDecision<'a> {
    /// This rule of this group admits the packet.
    Admitted(&'a SecurityGroup, &'a Rule),
    /// The packet belongs to a connection that was admitted (SG-17).
    Tracked,
    /// This rule of this group would, but a middlebox hides that its peer is a member (SG-10).
    Hidden(&'a SecurityGroup, &'a Rule),
    /// There are rules, and none admits it.
    NoMatch,
    /// There are no rules in this direction.
    NoRules,
}

/// Looks on while the walk decides.
pub trait Recorder {
    /// Whether the walk goes on behind a blocker to find the others.
    const COLLECTS: bool;

    /// A step: the header before it, the header behind it, and whether the packet passes.
    fn record(
        &mut self,
        policy: &Policy,
        before: &Header,
        after: &Header,
        step: Step<'_>,
        verdict: Result<(), Reason>,
    );
}

/// Nobody looks on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Recorder for Silent {
    const COLLECTS: bool = false;

    #[inline(always)]
    fn record(
        &mut self,
        _policy: &Policy,
        _before: &Header,
        _after: &Header,
        _step: Step<'_>,
        _verdict: Result<(), Reason>,
    ) {
    }
}

/// Nobody looks on, and yet the walk goes on behind a blocker: what matters is where the way leads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blind;

impl Recorder for Blind {
    const COLLECTS: bool = true;

    #[inline(always)]
    fn record(
        &mut self,
        _policy: &Policy,
        _before: &Header,
        _after: &Header,
        _step: Step<'_>,
        _verdict: Result<(), Reason>,
    ) {
    }
}
