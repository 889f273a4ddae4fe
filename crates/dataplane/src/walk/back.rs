//! The way back, and what else travels a path that stands.
//!
//! A reply takes the legs of its connection's path backwards. Its translation is stored with the
//! connection; what is judged anew is stateless: network ACLs, and whether the routes lead back the
//! way the request came. Security groups are asked only where an end keeps no state (SG-20).

use std::net::Ipv4Addr;

use viaduct_topology::{Reason, model::PortRange};

use super::{
    Node, Path, Translated,
    judge::{Judge, OtherEnd},
};
use crate::{
    inventory::{Interface, Inventory, Owner, View},
    policy::{Direction, ICMP, InternetGateway, Number, Peering, Policy, Selector, Subnet, Target},
    recorder::{Header, Recorder, Step},
};

/// Judges a reply: the reverse of a request that took `path` and looked like `translated` on it.
/// `icmp` is the type and code when the reply is an ICMP packet: an echo reply, or an error about
/// the request, which the network ACLs judge as ICMP (ACL-19) and the security groups count as part
/// of the connection (SG-29).
///
/// # Errors
///
/// The reason of the first blocker.
pub fn back<R: Recorder>(
    policy: &Policy,
    inventory: &Inventory,
    path: &Path,
    translated: &Translated,
    icmp: Option<(u8, u8)>,
    recorder: &mut R,
) -> Result<(), Reason> {
    back_within(policy, &inventory.view(), path, translated, icmp, recorder)
}

/// [`back`], for whoever has a view of the inventory.
pub(crate) fn back_within<R: Recorder>(
    policy: &Policy,
    view: &View<'_>,
    path: &Path,
    translated: &Translated,
    icmp: Option<(u8, u8)>,
    recorder: &mut R,
) -> Result<(), Reason> {
    let mut judge = Judge::new(policy, view, recorder);
    let mut way = Way { judge: &mut judge, path, icmp };
    let result = way.back(translated);
    judge.blocked.map_or(result, Err)
}

/// Judges an ICMP error that travels the way of the request: about a reply, from the side that
/// opened the connection. Network ACLs judge it; it changes no translation. The error is the reason of
/// the first blocker.
pub(crate) fn along_within<R: Recorder>(
    policy: &Policy,
    view: &View<'_>,
    path: &Path,
    translated: &Translated,
    icmp: (u8, u8),
    recorder: &mut R,
) -> Result<(), Reason> {
    let mut judge = Judge::new(policy, view, recorder);
    let mut way = Way { judge: &mut judge, path, icmp: Some(icmp) };
    let result = way.forth(translated);
    judge.blocked.map_or(result, Err)
}

struct Way<'a, 'b, R> {
    judge: &'b mut Judge<'a, R>,
    path: &'a Path,
    icmp: Option<(u8, u8)>,
}

impl<'a, R: Recorder> Way<'a, '_, R> {
    fn back(&mut self, translated: &Translated) -> Result<(), Reason> {
        let mut before = self.leave_service(translated)?;
        self.sends(Node::Destination, &before)?;
        self.interface_groups(Node::Destination, &before, Direction::Egress)?;
        for (leg, seen) in self.path.legs().iter().zip(&translated.legs).rev() {
            let header = reversed(*seen);
            // The gateway at the leg's far end undoes its translation before the leg is crossed.
            if leg.to == Node::NatGateway {
                self.stands(leg.to, &before)?;
            }
            self.undo(leg.to, &before, &header)?;
            self.cross(leg.to, leg.from, &header)?;
            before = header;
        }
        self.takes(Node::Source, &before)?;
        self.interface_groups(Node::Source, &before, Direction::Ingress)?;
        self.finish(&before)
    }

    /// Whether the interface at a node may send and get anything.
    fn stands(&mut self, node: Node, header: &Header) -> Result<(), Reason> {
        match self.path.interface(node) {
            Some(interface) => self.judge.stands(header, interface),
            None => Ok(()),
        }
    }

    /// Whether an interface stands, and, if it is an instance's, whether it sends what has this
    /// source (RT-21). The connection's request has passed; either may be otherwise since.
    fn sends(&mut self, node: Node, header: &Header) -> Result<(), Reason> {
        self.stands(node, header)?;
        let Some(interface) = self.refusing(node, header.flow.source) else { return Ok(()) };
        let step = Step::Source { own: interface.ip, interface: Some(interface) };
        self.judge.step(header, step, Err(Reason::EniSourceDestCheckRestriction))
    }

    /// Whether it stands, and whether it takes what has this destination (RT-21).
    fn takes(&mut self, node: Node, header: &Header) -> Result<(), Reason> {
        self.stands(node, header)?;
        let Some(interface) = self.refusing(node, header.flow.destination) else { return Ok(()) };
        let step = Step::Destination { interface: Some(interface) };
        self.judge.step(header, step, Err(Reason::EniSourceDestCheckRestriction))
    }

    /// An instance's interface that refuses packets under this address.
    fn refusing(&self, node: Node, address: Ipv4Addr) -> Option<&'a Interface> {
        let interface = self.path.interface(node)?;
        let instance = matches!(interface.owner, Owner::Instance { .. });
        (instance && interface.refuses(address)).then_some(interface)
    }

    fn forth(&mut self, translated: &Translated) -> Result<(), Reason> {
        self.sends(Node::Source, &translated.legs[0])?;
        for (leg, header) in self.path.legs().iter().zip(&translated.legs) {
            self.cross(leg.from, leg.to, header)?;
            if leg.to == Node::NatGateway {
                self.stands(leg.to, header)?;
            }
        }
        self.takes(Node::Destination, &translated.arrival)?;
        self.endpoint(&translated.arrival, &translated.arrival)
    }

    /// The reply as it is behind the service's edge, if it comes from a service.
    fn leave_service(&mut self, translated: &Translated) -> Result<Header, Reason> {
        let sent = reversed(translated.arrival);
        let last = self.path.legs().len().checked_sub(1);
        let Some(last) = last.filter(|_| self.path.service_side.is_some()) else { return Ok(sent) };
        let inside = reversed(translated.legs[last]);
        self.endpoint(&sent, &inside)?;
        Ok(inside)
    }

    /// The endpoint of the path, if there is one. A gateway endpoint returns TCP and echo replies,
    /// and nothing else (EP-06).
    fn endpoint(&mut self, before: &Header, after: &Header) -> Result<(), Reason> {
        let policy = self.judge.policy;
        let Some(side) = &self.path.service_side else { return Ok(()) };
        let Owner::ServiceSide(number) = side.owner else { return Ok(()) };
        let Some(endpoint) = policy.vpc_endpoint(number) else { return Ok(()) };
        let carried = !endpoint.is_gateway || matches!(self.icmp, None | Some((0, 0)));
        let verdict = if carried { Ok(()) } else { Err(Reason::VpceGatewayProtocolRestriction) };
        self.judge.translation(before, after, Step::VpcEndpoint { endpoint, side }, verdict)
    }

    /// A gateway between two legs turns the reply's destination back.
    fn undo(&mut self, node: Node, before: &Header, after: &Header) -> Result<(), Reason> {
        let policy = self.judge.policy;
        match (node, &self.path.nat) {
            (Node::NatGateway, Some(interface)) => {
                if let Owner::NatGateway(number) = interface.owner
                    && let Some(gateway) = policy.nat_gateway(number)
                {
                    let step = Step::NatGateway { gateway, interface };
                    self.judge.translation(before, after, step, Ok(()))?;
                }
            }
            (Node::InternetGateway(number), _) => {
                if let Some(gateway) = policy.internet_gateway(number) {
                    let step = Step::InternetGateway { gateway, direction: Direction::Ingress };
                    self.judge.translation(before, after, step, Ok(()))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The stateless checks between two nodes, in the direction of travel.
    fn cross(&mut self, from: Node, to: Node, header: &Header) -> Result<(), Reason> {
        let (policy, path) = (self.judge.policy, self.path);
        let selector = self.selector(header);
        let [out_of, into] = [from, to].map(|node| {
            let number = path.interface(node)?.subnet;
            Some((number, policy.subnet(number)?))
        });
        let number = |end: Option<(Number<Subnet>, _)>| end.map(|(number, _)| number);
        // Between neighbours lies no border (ACL-08).
        let border = number(out_of) != number(into);
        if let Some((_, subnet)) = out_of {
            if border {
                self.judge.network_acl(header, selector, subnet, Direction::Egress)?;
            }
            if subnet.cidr_block.contains(&header.flow.destination) {
                self.neighbour(to, header)?;
            } else {
                self.route(to, header, subnet)?;
            }
        }
        if let (Node::InternetGateway(gateway), Some(end)) = (from, path.interface(to)) {
            self.let_in(gateway, header, end)?;
        }
        if let Some((_, subnet)) = into
            && border
        {
            self.judge.network_acl(header, selector, subnet, Direction::Ingress)?;
        }
        Ok(())
    }

    /// Whoever is addressed in the own subnet is reached without a route, and past any appliance
    /// (RT-20).
    fn neighbour(&mut self, to: Node, header: &Header) -> Result<(), Reason> {
        let end = self.path.interface(to);
        if end.is_some_and(|end| end.holds(header.flow.destination)) {
            return Ok(());
        }
        let step = Step::Destination { interface: end };
        self.judge.step(header, step, Err(Reason::AsymmetricReturnPath))
    }

    /// Whether the subnet's table still leads where the path goes.
    fn route(&mut self, to: Node, header: &Header, subnet: &Subnet) -> Result<(), Reason> {
        let Some(table) = self.judge.policy.route_table(subnet.route_table) else {
            return Err(Reason::NoRouteToDestination);
        };
        let route = table.find(header.flow.destination);
        let target = route.map(|route| route.target);
        let end = self.path.interface(to);
        let verdict = match (target, to, end) {
            // What comes back through a peering connection finds its NAT gateway without a route
            // (NAT-17).
            (_, Node::NatGateway, Some(nat)) if nat.vpc != subnet.vpc => return Ok(()),
            (None, ..) => Err(Reason::NoRouteToDestination),
            (Some(Target::Blackhole), ..) => Err(Reason::BadStateRoute),
            // A VPC has one internet gateway; and toward an endpoint goes only what travels along the
            // way that was just walked.
            (Some(Target::InternetGateway(_)), Node::InternetGateway(_), _)
            | (Some(Target::VpcEndpoint(_)), Node::VpcEndpoint(_), _) => Ok(()),
            (Some(target), _, Some(end)) if self.leads_to(target, subnet, header, end) => Ok(()),
            _ => Err(Reason::AsymmetricReturnPath),
        };
        self.judge.step(header, Step::Route { subnet, table, route }, verdict)?;
        match (target, end) {
            (Some(Target::Peering(peering)), Some(end)) if verdict.is_ok() => {
                self.peering(peering, subnet, header, end)
            }
            _ => Ok(()),
        }
    }

    /// Whether what an internet gateway lets in comes to an interface of the path: to its holder, or
    /// to the appliance that the gateway's own table names (RT-16).
    fn let_in(
        &mut self,
        gateway: Number<InternetGateway>,
        header: &Header,
        end: &Interface,
    ) -> Result<(), Reason> {
        let policy = self.judge.policy;
        let table = policy
            .internet_gateway(gateway)
            .and_then(|object| Some((object, policy.route_table(object.route_table?)?)));
        let own = end.holds(header.flow.destination);
        let Some((gateway, table)) = table else {
            // Without one it goes to its holder, past an appliance that sent the request.
            let step = Step::Destination { interface: Some(end) };
            let missed = Err(Reason::AsymmetricReturnPath);
            return if own { Ok(()) } else { self.judge.step(header, step, missed) };
        };
        let route = table.find(header.flow.destination);
        let same = match (route.map(|route| route.target), &end.owner) {
            (Some(Target::Local), _) => own,
            (Some(Target::Instance(target)), Owner::Instance { number, .. }) => target == *number,
            _ => false,
        };
        let verdict = if same { Ok(()) } else { Err(Reason::AsymmetricReturnPath) };
        self.judge.step(header, Step::GatewayRoute { gateway, table, route }, verdict)
    }

    /// Whether a route leads to an interface of the path: it holds the packet's destination, or is
    /// an appliance's, through which the packet is led.
    fn leads_to(&self, target: Target, subnet: &Subnet, header: &Header, end: &Interface) -> bool {
        let own = end.holds(header.flow.destination);
        match (target, &end.owner) {
            (Target::NatGateway(target), Owner::NatGateway(gateway)) => target == *gateway,
            (Target::Instance(target), Owner::Instance { number, .. }) => target == *number,
            (Target::Local, _) => own && end.vpc == subnet.vpc,
            (Target::Peering(peering), _) => {
                let there = self.judge.policy.peering(peering).and_then(|it| it.other(subnet.vpc));
                own && there == Some(end.vpc)
            }
            _ => false,
        }
    }

    fn peering(
        &mut self,
        peering: Number<Peering>,
        from: &Subnet,
        header: &Header,
        end: &Interface,
    ) -> Result<(), Reason> {
        let policy = self.judge.policy;
        let (Some(peering), Some(to)) = (policy.peering(peering), policy.vpc(end.vpc)) else {
            return Err(Reason::BadStateRoute);
        };
        let verdict = self.judge.peered(header, from.vpc, to);
        self.judge.step(header, Step::Peering { peering, to }, verdict)
    }

    /// The groups of an end, where it keeps no state of the connection.
    fn interface_groups(
        &mut self,
        node: Node,
        header: &Header,
        direction: Direction,
    ) -> Result<(), Reason> {
        let (tracked, other) = match node {
            Node::Source => (self.path.tracking.source, Node::Destination),
            _ => (self.path.tracking.destination, Node::Source),
        };
        let other = OtherEnd::Interface(self.path.interface(other));
        let selector = self.selector(header);
        let is_error = self.icmp.is_some();
        let Some(interface) = self.path.interface(node) else { return Ok(()) };
        if interface.owner == Owner::ServiceVpc {
            // It has none.
            return Ok(());
        }
        let state = tracked || is_error;
        self.judge.security_groups(header, selector, interface, direction, other, state).map(drop)
    }

    /// Behind the sender's interface: V2N is undone, and the reply is delivered.
    fn finish(&mut self, header: &Header) -> Result<(), Reason> {
        if let Some(interface) = self.path.v2n() {
            self.judge.step(header, Step::V2n { interface }, Ok(()))?;
        }
        Ok(())
    }

    fn selector(&self, header: &Header) -> Selector {
        match self.icmp {
            Some(icmp) => Selector::new(ICMP, PortRange::single(0), icmp),
            None => Selector::new(header.flow.protocol, header.destination_ports, (0, 0)),
        }
    }
}

fn reversed(header: Header) -> Header {
    Header {
        flow: header.flow.reversed(),
        source_ports: header.destination_ports,
        destination_ports: header.source_ports,
    }
}
