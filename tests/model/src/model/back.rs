//! The way of a reply: the links of the request, crossed backwards.
//!
//! An end that remembers the connection does not ask its security groups again (SG-17). Every
//! border's network ACLs are asked (ACL-07), and so is the route table of whoever sends: the reply
//! must find the interface or the gateway by which the request came.

use std::net::Ipv4Addr;

use viaduct_topology::{
    Handle, Reason,
    inventory::{Eni, EniOwner},
    model::{RouteTarget, Vpc},
};

use super::{
    Network, holds,
    journey::{End, PortOf, Way},
    rules::Border,
};
use crate::packet::{ICMP, Packet};

/// The source ports that a request got on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) sender: u16,
    pub(super) hyperplane: u16,
    pub(super) nat: u16,
}

/// An instance's interface sends and takes only what has its own address, if that is checked (RT-21).
fn is_own(eni: &Eni, address: Ipv4Addr) -> Result<(), Reason> {
    let instance = matches!(eni.owner, EniOwner::Instance { .. });
    if instance && eni.source_dest_check && !holds(eni, address) {
        return Err(Reason::EniSourceDestCheckRestriction);
    }
    Ok(())
}

impl Network<'_> {
    /// Lets a reply travel, these being the ports that its request got. On refusal, how many
    /// questions had been asked before.
    pub(super) fn way_back(
        &self,
        way: &Way<'_>,
        reply: &Packet,
        ports: Ports,
    ) -> Result<(), (usize, Reason)> {
        let mut answers = Vec::new();
        if way.endpoint.is_some() {
            answers.push(self.endpoint_returns(way, reply));
        }
        if let Some(eni) = way.entered {
            answers.push(self.zone_of(eni));
            answers.push(is_own(eni, reply.source));
        }
        if let Some(eni) = way.entered.filter(|_| !way.tracked.receiver) {
            answers.push(self.groups_out(eni, reply));
        }
        let mut packet = *reply;
        for link in way.links.iter().rev() {
            packet = Packet { icmp: reply.icmp, ..link.packet.backwards() };
            packet.destination_port = match link.port {
                PortOf::Sender => ports.sender,
                PortOf::Hyperplane => ports.hyperplane,
                PortOf::Nat => ports.nat,
            };
            answers.push(self.gateway_stands(way, link.to));
            answers.extend(self.cross(link.to, link.from, &packet));
        }
        if let Some(eni) = way.sender {
            answers.push(self.zone_of(eni));
            answers.push(is_own(eni, packet.destination));
        }
        if let Some(eni) = way.sender.filter(|_| !way.tracked.sender) {
            answers.push(self.groups_in(eni, way.entered, &packet));
        }
        for (asked, answer) in answers.into_iter().enumerate() {
            answer.map_err(|reason| (asked, reason))?;
        }
        Ok(())
    }

    /// Whether the zone of the NAT gateway stands, if this end of a link is one.
    pub(super) fn gateway_stands(&self, way: &Way<'_>, end: End<'_>) -> Result<(), Reason> {
        match (end, way.nat) {
            (End::Interface(eni), Some(nat)) if eni.id == nat.id => self.zone_of(nat),
            _ => Ok(()),
        }
    }

    /// A gateway endpoint returns TCP and echo replies, and nothing else (EP-06).
    pub(super) fn endpoint_returns(&self, way: &Way<'_>, packet: &Packet) -> Result<(), Reason> {
        let gateway = way.links.iter().any(|link| matches!(link.to, End::GatewayEndpoint(_)));
        if gateway && packet.protocol == ICMP && packet.icmp != (0, 0) {
            return Err(Reason::VpceGatewayProtocolRestriction);
        }
        Ok(())
    }

    /// What is asked of a packet that runs over a link: the ACL of the subnet that it leaves,
    /// whether that subnet's routes lead to the link's other end, and the ACL of the subnet that it
    /// enters. Neighbours ask no ACL (ACL-08).
    pub(super) fn cross(
        &self,
        from: End<'_>,
        to: End<'_>,
        packet: &Packet,
    ) -> Vec<Result<(), Reason>> {
        let subnet = |end: End<'_>| match end {
            End::Interface(eni) => Some(self.place(eni).0),
            End::InternetGateway(_) | End::GatewayEndpoint(_) => None,
        };
        let (leaves, enters) = (subnet(from), subnet(to));
        let acl = |subnet, border| match subnet {
            Some(subnet) if leaves != enters => self.acl(subnet, border, packet),
            _ => Ok(()),
        };
        let mut answers = vec![acl(leaves, Border::Egress)];
        answers.push(match from {
            End::Interface(eni) => self.leads(eni, to, packet),
            End::InternetGateway(vpc) => self.leads_in(vpc, to, packet),
            // A service finds its clients.
            End::GatewayEndpoint(_) => Ok(()),
        });
        answers.push(acl(enters, Border::Ingress));
        answers
    }

    /// Whether what an internet gateway lets in is led to the other end of a link: to whoever holds
    /// the address, or to the appliance that the gateway's table names (RT-16).
    fn leads_in(&self, vpc: Handle<Vpc>, to: End<'_>, packet: &Packet) -> Result<(), Reason> {
        let End::Interface(eni) = to else { return Err(Reason::AsymmetricReturnPath) };
        let right = match self.let_in(vpc, packet.destination) {
            None | Some(Some(RouteTarget::Local)) => holds(eni, packet.destination),
            Some(Some(RouteTarget::Instance(instance))) => self.interface_of(instance).id == eni.id,
            Some(_) => false,
        };
        if right { Ok(()) } else { Err(Reason::AsymmetricReturnPath) }
    }

    /// Whether what an interface sends is led to the other end of a link.
    fn leads(&self, from: &Eni, to: End<'_>, packet: &Packet) -> Result<(), Reason> {
        let (subnet, vpc) = self.place(from);
        let astray = Err(Reason::AsymmetricReturnPath);
        let is_holder = |vpc: Handle<Vpc>, eni: &Eni| {
            self.holder(vpc, packet.destination).is_some_and(|holder| holder.id == eni.id)
        };
        // RT-20.
        let block = self.topology.subnets[subnet].cidr_block;
        if block.contains(&std::net::IpAddr::V4(packet.destination)) {
            return match to {
                End::Interface(eni) if is_holder(vpc, eni) => Ok(()),
                _ => astray,
            };
        }
        // NAT-17: through a peering connection, replies return to a NAT gateway without a route.
        if let End::Interface(eni) = to
            && self.is_nat(eni)
            && self.place(eni).1 != vpc
        {
            return Ok(());
        }
        match (self.route(subnet, packet.destination), to) {
            (None, _) => Err(Reason::NoRouteToDestination),
            (Some(RouteTarget::Blackhole), _) => Err(Reason::BadStateRoute),
            (Some(RouteTarget::InternetGateway(gateway)), End::InternetGateway(there))
                if self.topology.internet_gateways[gateway].vpc == there =>
            {
                Ok(())
            }
            (Some(RouteTarget::VpcEndpoint(endpoint)), End::GatewayEndpoint(there))
                if endpoint == there =>
            {
                Ok(())
            }
            (Some(RouteTarget::Local), End::Interface(eni)) if is_holder(vpc, eni) => Ok(()),
            (Some(RouteTarget::Instance(instance)), End::Interface(eni))
                if self.interface_of(instance).id == eni.id =>
            {
                Ok(())
            }
            (Some(RouteTarget::NatGateway(gateway)), End::Interface(eni))
                if self.is_of_gateway(eni, gateway) =>
            {
                Ok(())
            }
            (Some(RouteTarget::VpcPeeringConnection(peering)), End::Interface(eni)) => {
                let there = self.peer(peering, vpc);
                if is_holder(there, eni) { self.peered(vpc, there, packet) } else { astray }
            }
            _ => astray,
        }
    }

    /// The first thing on the way back that blocks the reply to some port that the request may
    /// have (ACL-18): its sender's, one of these, and whatever is given to it on its way. And
    /// whether the reply to another port passes.
    pub(super) fn first_blocker_back(
        &self,
        way: &Way<'_>,
        senders: &[u16],
    ) -> (Option<Reason>, bool) {
        let given = if way.translates_port() { self.ports_worth_trying() } else { vec![0] };
        let mut first: Option<(usize, Reason)> = None;
        let mut passes = false;
        for sender in senders {
            for given in &given {
                let seen = if way.translates_port() { *given } else { *sender };
                let Some(reply) = (Packet { source_port: seen, ..way.arrival }).answer() else {
                    return (None, true);
                };
                let ports = Ports { sender: *sender, hyperplane: *given, nat: *given };
                match self.way_back(way, &reply, ports) {
                    Ok(()) => passes = true,
                    Err((asked, reason)) => {
                        if first.is_none_or(|(earliest, _)| asked < earliest) {
                            first = Some((asked, reason));
                        }
                    }
                }
            }
        }
        (first.map(|(_, reason)| reason), passes)
    }

    /// The port of one who translates is seen only where nobody behind him translates too.
    pub(super) fn possible_ports(&self, by: Option<&Eni>, seen: Option<u16>) -> Vec<u16> {
        match (by, seen) {
            (None, _) => vec![0],
            (Some(_), Some(port)) => vec![port],
            (Some(_), None) => self.ports_worth_trying(),
        }
    }
}
