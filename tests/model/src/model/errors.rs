//! ICMP errors about packets of a connection: they belong to it, but travel as ICMP.

use std::net::Ipv4Addr;

use viaduct_topology::{
    Reason,
    inventory::{AttachmentId, Host},
};

use super::{Direction, Network, journey::no_host};
use crate::packet::{ICMP, Packet};

/// An ICMP error: somebody got a packet and could do nothing with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Its type and code.
    pub icmp: (u8, u8),
    /// Who sends it.
    pub source: Ipv4Addr,
    /// Who is to get it.
    pub destination: Ipv4Addr,
    /// The packet that it is about, as its sender sees that.
    pub about: Packet,
}

impl Complaint {
    /// Whether both say the same of the same packet.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let said = |it: &Self| (it.icmp, it.source, it.destination);
        said(self) == said(other) && self.about.same_flow(&other.about)
    }
}

impl Network<'_> {
    /// What becomes of an ICMP error: where it arrives and like what, or why not.
    ///
    /// # Errors
    ///
    /// The reason for which it is dropped.
    pub fn complain(
        &mut self,
        from: AttachmentId,
        complaint: &Complaint,
    ) -> Result<(AttachmentId, Complaint), Reason> {
        // Whose packet it is about is who is told.
        if complaint.destination != complaint.about.source {
            return Err(Reason::MalformedPacket);
        }
        // It runs the way of a reply to what it is about.
        let reply = complaint.about.backwards();
        self.notice(from, &reply);
        let (place, direction) = self.connection_of(from, &reply).ok_or(Reason::NoConnection)?;
        let connection = &self.connections[place];
        // Routers of the internet speak for themselves. In a VPC only whoever forwards for others
        // can have met a packet that was not for him (RT-21).
        let own = complaint.source == reply.source;
        if !own {
            match &self.host(from).ok_or(Reason::AttachmentDown)?.host {
                Host::Internet { .. } => {}
                Host::Instance { eni } if !self.eni(eni).source_dest_check => {}
                Host::Environment { .. } | Host::Service { .. } => {
                    return Err(Reason::SpoofedSource);
                }
                _ => return Err(Reason::EniSourceDestCheckRestriction),
            }
            if no_host(complaint.source) {
                return Err(Reason::SpoofedSource);
            }
        }
        let standing = self.again(connection, connection.sent.icmp).ok_or(Reason::NoConnection)?;
        let way = standing.way.ok_or_else(|| standing.refused.expect("why it leads nowhere"))?;
        // Its groups count it as part of the connection (SG-29); ACLs do not (ACL-19).
        let on_the_way = |packet: Packet| Packet { protocol: ICMP, icmp: complaint.icmp, ..packet };
        match direction {
            Direction::Forward => {
                way.sender.map_or(Ok(()), |eni| self.zone_of(eni))?;
                for link in &way.links {
                    let packet = on_the_way(link.packet);
                    self.cross(link.from, link.to, &packet)
                        .into_iter()
                        .collect::<Result<(), _>>()?;
                    self.gateway_stands(&way, link.to)?;
                }
                way.entered.map_or(Ok(()), |eni| self.zone_of(eni))?;
                self.endpoint_returns(&way, &on_the_way(way.arrival))?;
            }
            Direction::Return => {
                self.endpoint_returns(&way, &on_the_way(way.arrival))?;
                way.entered.map_or(Ok(()), |eni| self.zone_of(eni))?;
                for link in way.links.iter().rev() {
                    let packet = on_the_way(link.packet.backwards());
                    self.gateway_stands(&way, link.to)?;
                    self.cross(link.to, link.from, &packet)
                        .into_iter()
                        .collect::<Result<(), _>>()?;
                }
                way.sender.map_or(Ok(()), |eni| self.zone_of(eni))?;
            }
        }
        // The other end is told of the packet that it sent itself. A router's own address means
        // nothing to it if this end has another one for it (RFC 5508, REQ-5).
        let received = connection.received;
        let (at, about, hidden, seen) = match direction {
            Direction::Forward => {
                let hidden = connection.sent.source != received.source;
                (connection.receiver, received.backwards(), hidden, received.source)
            }
            Direction::Return => {
                let sent = connection.sent;
                let hidden = received.destination != sent.destination;
                (connection.opener, sent, hidden, sent.destination)
            }
        };
        if self.down.contains(&at) {
            return Err(Reason::AttachmentDown);
        }
        let source = if own || hidden { seen } else { complaint.source };
        let icmp = complaint.icmp;
        Ok((at, Complaint { icmp, source, destination: about.source, about }))
    }
}
