//! ICMP errors about packets of a connection, and the routers that send ours.
//!
//! An error quotes the packet as it arrived where it failed, so the quoted flow, reversed, is the
//! key of what that place sends: the connection and the direction in which the error travels. It
//! leaves for the other end with the quote turned back into what that end had sent. The security
//! groups count it as part of the connection (SG-29); the network ACLs on its way judge it as ICMP
//! (ACL-19), each time anew. It neither refreshes the connection nor ends it (RFC 5508, REQ-6).

use std::net::Ipv4Addr;

use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::{Frame, names_one_host};

use super::{
    Engine, Onward, Refusal,
    judge::{Known, Lost, Retraced, retrace},
};
use crate::{
    connection::{Direction, Key, Lookup},
    inventory::{ENVIRONMENT_GATEWAY, Place},
    moment::Moment,
    ports::EDGE,
    recorder::Silent,
    scratch::Scratch,
    walk,
};

impl Engine {
    /// Translates an ICMP error and returns where it goes.
    pub(super) fn icmp_error(
        &self,
        frame: &mut Frame<'_>,
        icmp: (u8, u8),
        scope: u32,
        ingress: AttachmentId,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Result<Onward, Refusal> {
        let quoted = frame.quoted().ok_or(Reason::MalformedPacket)?.flow;
        // An error goes to whoever sent what it quotes: else the two headers contradict each other.
        if frame.destination() != quoted.source {
            return Err(Reason::MalformedPacket.into());
        }
        let key = Key { ingress: scope, flow: quoted.reversed() };
        let rates = scratch.policy.rates.as_ref();
        let found = self.connections.lookup(&key, now, |_, direction, connection| {
            let target = connection.half(direction).target;
            let may_pass =
                rates.is_none_or(|rates| self.may_pass(rates, direction, connection, frame, now));
            (direction, target, Known::of(connection), may_pass)
        });
        let (direction, target, known, may_pass) = match found {
            Lookup::Hit(found) => found,
            Lookup::Expired(connection) => {
                self.bury(*connection, scratch);
                return Err(Reason::NoConnection.into());
            }
            Lookup::Miss => return Err(Reason::NoConnection.into()),
        };
        let request = match direction {
            Direction::Request => None,
            Direction::Reply => Some(known.request),
        };
        let refused = |reason| Refusal { reason, request, answered: false };

        // Any router of the internet may have met the packet; inside, only its host can, or an
        // appliance on its way.
        let own = frame.source() == key.flow.source;
        if !own && scope != EDGE && !self.forwards_for_others(ingress) {
            return Err(refused(self.spoofed(ingress)));
        }
        if !own && !names_one_host(frame.source()) {
            return Err(refused(Reason::SpoofedSource));
        }
        // Of these, too, a VPC's internet gateway lets none in that comes from inside of something.
        if !own && scope == EDGE && self.ports.port(target).scope != EDGE {
            walk::admitted(frame.source()).map_err(refused)?;
        }
        // Gone before anything else looks at the inventory: readers do not nest.
        {
            let view = self.view(scratch);
            let policy = &scratch.policy;
            match retrace(&known, frame, policy, &view) {
                Ok(Retraced { path, translated, .. }) => match direction {
                    Direction::Request => {
                        walk::along_within(policy, &view, &path, &translated, icmp, &mut Silent)
                    }
                    Direction::Reply => {
                        let icmp = Some(icmp);
                        walk::back_within(policy, &view, &path, &translated, icmp, &mut Silent)
                    }
                },
                Err(Lost::Blocked(reason)) => Err(reason),
                Err(Lost::Other) => Err(Reason::NoConnection),
            }
            .map_err(refused)?;
        }
        if !may_pass {
            return Err(refused(Reason::RateLimited));
        }
        let onward = self.fits(frame, target, 0, u16::MAX).map_err(|misfit| Refusal {
            request,
            ..self.unfit(frame, misfit, ingress, None, scratch)
        })?;
        // What the other end sends is what the error must be about; its address, the receiver.
        let (sent, end, seen) = match direction {
            Direction::Request => {
                (known.arrival.reversed(), known.request.source, known.arrival.source)
            }
            Direction::Reply => {
                (known.request, known.arrival.destination, known.request.destination)
            }
        };
        // What is translated for its end is for the routers before it, whose own addresses mean
        // nothing behind the translator (RFC 5508, REQ-5).
        let source = if own || end != seen { seen } else { frame.source() };
        frame.rewrite_icmp_error(source, sent.source, &sent);
        Ok(onward)
    }

    fn forwards_for_others(&self, ingress: AttachmentId) -> bool {
        match self.inventory.attachment(ingress).as_deref().map(|attachment| &attachment.place) {
            Some(Place::Instance(interface)) => !interface.source_dest_check,
            _ => false,
        }
    }

    /// Why an error that is not from its attachment's own address is refused.
    fn spoofed(&self, ingress: AttachmentId) -> Reason {
        match self.inventory.attachment(ingress).as_deref().map(|attachment| &attachment.place) {
            Some(Place::Instance(_)) => Reason::EniSourceDestCheckRestriction,
            _ => Reason::SpoofedSource,
        }
    }

    /// The router next to the host that sent a packet: whoever answers for the VPC.
    pub(super) fn router_of(
        &self,
        ingress: AttachmentId,
        frame: &Frame<'_>,
        scratch: &Scratch,
    ) -> Ipv4Addr {
        let attachment = self.inventory.attachment(ingress);
        match attachment.as_deref().map(|attachment| &attachment.place) {
            Some(Place::Environment { .. }) => ENVIRONMENT_GATEWAY,
            Some(Place::Instance(interface)) => {
                scratch.policy.subnet(interface.subnet).map_or(frame.destination(), |subnet| {
                    // The second address of a subnet is its router's (ADR-01).
                    Ipv4Addr::from(u32::from(subnet.cidr_block.network()).wrapping_add(1))
                })
            }
            // From the internet, the public address is all there is to see of a VPC.
            _ => frame.destination(),
        }
    }
}
