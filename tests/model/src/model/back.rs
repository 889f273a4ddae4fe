//! The way of a reply: the links of the request, crossed backwards.
//!
//! Nobody asks security groups again (SG-17). Every border's network ACLs are asked (ACL-07), and
//! so is the route table of whoever sends: the reply must find the gateway by which the request
//! came.

use viaduct_topology::{Reason, model::RouteTarget};

use super::{
    Connection, Network,
    journey::{Link, PortOf, Way},
};
use crate::packet::Packet;

impl Network<'_> {
    /// Lets a reply travel, these being the ports that its request got. On refusal, how many
    /// questions had been asked before.
    pub(super) fn way_back(
        &self,
        way: &Way,
        reply: &Packet,
        v2n_port: u16,
        nat_port: u16,
    ) -> Result<(), (usize, Reason)> {
        let mut answers = Vec::new();
        for link in way.links.iter().rev() {
            let mut packet = backwards(link, reply);
            match link.port {
                PortOf::Sender => {}
                PortOf::Hyperplane => packet.destination_port = v2n_port,
                PortOf::Nat => packet.destination_port = nat_port,
            }
            let [leaving, entering] = self.cross(link.to, link.from, &packet);
            answers.push(leaving);
            answers.push(self.finds_back(link, &packet));
            answers.push(entering);
        }
        for (asked, answer) in answers.into_iter().enumerate() {
            answer.map_err(|reason| (asked, reason))?;
        }
        Ok(())
    }

    /// Whether the sender's route table leads over the link.
    fn finds_back(&self, link: &Link, packet: &Packet) -> Result<(), Reason> {
        // The internet finds everybody.
        let Some(subnet) = link.to else { return Ok(()) };
        match (self.route(subnet, packet.destination), link.from) {
            (None, _) => Err(Reason::NoRouteToDestination),
            (Some(RouteTarget::Blackhole), _) => Err(Reason::BadStateRoute),
            (Some(RouteTarget::Local), Some(_)) => Ok(()),
            (Some(RouteTarget::InternetGateway(_)), None) => Ok(()),
            _ => Err(Reason::AsymmetricReturnPath),
        }
    }

    /// The first thing on the way back that blocks the reply to some port that the request may get
    /// (ACL-18).
    pub(super) fn first_blocker_back(&self, way: &Way, request: &Packet) -> Option<Reason> {
        let reply = request.answer()?;
        let mut ports = vec![request.source_port];
        if way.translates_port() {
            ports = self.ports_worth_trying();
        }
        let mut first: Option<(usize, Reason)> = None;
        for port in ports {
            if let Err((asked, reason)) = self.way_back(way, &reply, port, port)
                && first.is_none_or(|(earliest, _)| asked < earliest)
            {
                first = Some((asked, reason));
            }
        }
        first.map(|(_, reason)| reason)
    }

    /// The port of a Hyperplane ENI is seen only where no NAT gateway hides it.
    pub(super) fn possible_v2n_ports(&self, connection: &Connection) -> Vec<u16> {
        match (connection.way.v2n, connection.v2n_port) {
            (None, _) => vec![0],
            (Some(_), Some(port)) => vec![port],
            (Some(_), None) => self.ports_worth_trying(),
        }
    }
}

/// The reply as it is on a link that the request crossed.
fn backwards(link: &Link, reply: &Packet) -> Packet {
    Packet { icmp: reply.icmp, ..link.packet.backwards() }
}
