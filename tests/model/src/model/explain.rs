//! What an explanation has to say of a flow: request and reply, through all appliances on the way.

use std::net::Ipv4Addr;

use viaduct_topology::{
    Reason, ResourceId,
    inventory::{AttachmentId, Host},
    model::PortRange,
};

use super::{
    Direction, Network, holds,
    journey::{Journey, Settled, Way},
};
use crate::packet::{Packet, Segment};

/// What an explanation has to say of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// The first blocker, if there is one, and whether it is the reply that it blocks.
    pub blocker: Option<(Reason, Direction)>,
    /// Whether the reply passes all the same if the request got another source port.
    pub by_chance: bool,
    /// The source that the receiver sees, if it is not the sender's own address; `None` too if the
    /// request does not arrive.
    pub translated_source: Option<(Ipv4Addr, PortRange)>,
}

/// The way to the next one who has the packet.
struct Stage<'t> {
    way: Way<'t>,
    /// The source ports that the packet may have set out with.
    ports: Vec<u16>,
}

impl<'t> Network<'t> {
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
        let packet = Packet { segment: Segment::Open, ..*packet };
        let stages = match self.stages(from, packet, nat_address) {
            Ok(stages) => stages,
            Err(reason) => {
                let blocker = Some((reason, Direction::Forward));
                return Explained { blocker, by_chance: false, translated_source: None };
            }
        };
        let settings = self.topology.settings;
        let translated = stages.iter().any(|stage| stage.way.translates_port());
        let ports =
            if translated { settings.source_ports } else { PortRange::single(packet.source_port) };
        let own = self.own_address(self.host(from).expect("the sender"));
        let seen = stages.last().expect("one stage at least").way.arrival.source;
        let translated_source = (seen != own).then_some((seen, ports));
        // The reply takes the stages backwards.
        let mut blocker = None;
        let mut by_chance = false;
        for Stage { way, ports } in stages.iter().rev() {
            let (first, passes) = self.first_blocker_back(way, ports);
            blocker = blocker.or(first);
            by_chance |= first.is_some() && passes;
        }
        let blocker = blocker.map(|reason| (reason, Direction::Return));
        Explained { blocker, by_chance, translated_source }
    }

    /// The whole way of a request; an appliance sends on what it gets.
    fn stages(
        &self,
        from: AttachmentId,
        packet: Packet,
        nat_address: usize,
    ) -> Result<Vec<Stage<'t>>, Reason> {
        let mut stages: Vec<Stage<'t>> = Vec::new();
        let mut visited: Vec<ResourceId> = Vec::new();
        let (mut host, mut packet) = (self.host(from).expect("the sender"), packet);
        let mut ports = vec![packet.source_port];
        loop {
            let settled = Settled { nat_address, ..Settled::default() };
            let Journey { way, refused } = self.travel(host, &packet, settled);
            if let Some(reason) = refused {
                return Err(reason);
            }
            let way = way.expect("nobody refused it");
            let translates = way.translates_port();
            let next = way.appliance().map(|eni| eni.id.clone());
            let (receiver, arrival) = (way.receiver, way.arrival);
            stages.push(Stage { way, ports: ports.clone() });
            let Some(next) = next else { return Ok(stages) };
            if visited.contains(&next) {
                return Err(Reason::RoutingLoop);
            }
            visited.push(next);
            host = self.host(receiver).expect("an appliance is a host");
            packet = arrival;
            if translates {
                ports = self.ports_worth_trying();
            }
        }
    }

    /// Whether a packet that arrived somewhere is for another: an appliance has it.
    #[must_use]
    pub fn is_led_through(&self, at: AttachmentId, packet: &Packet) -> bool {
        match self.host(at).map(|host| &host.host) {
            Some(Host::Instance { eni }) => !holds(self.eni(eni), packet.destination),
            _ => false,
        }
    }
}
