//! ICMP errors about packets of a connection, and the routers that send ours.
//!
//! An error quotes the packet as it arrived where it failed, so the quoted flow, reversed, is the
//! key of what that place sends: the connection and the direction in which the error travels. It
//! leaves for the other end with the quote turned back into what that end had sent. The security
//! groups count it as part of the connection (SG-29); the network ACLs on its way judge it as ICMP
//! (ACL-19), each time anew. It neither refreshes the connection nor ends it (RFC 5508, REQ-6). A NAT
//! gateway is a hop for it, too.
//!
//! A redirect (type 5) is for the next hop of whoever sent the packet, which is ours to be: none is
//! carried (RFC 1812, section 5.2.7.2).

use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::{Frame, names_one_host};

use super::{
    Engine, Onward, Refusal,
    judge::{Known, Lost, Retraced, retrace},
};
use crate::{
    connection::{Direction, Key, Lookup},
    inventory::Place,
    moment::Moment,
    ports::EDGE,
    recorder::Silent,
    scratch::Scratch,
    walk,
};

const REDIRECT: u8 = 5;

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
        if icmp.0 == REDIRECT {
            return Err(Reason::ProtocolRestriction.into());
        }
        let quoted = frame.quoted().ok_or(Reason::MalformedPacket)?.flow;
        // An error goes to whoever sent what it quotes: else the two headers contradict each other.
        if frame.destination() != quoted.source {
            return Err(Reason::MalformedPacket.into());
        }
        let key = Key { ingress: scope, flow: quoted.reversed() };
        let rates = scratch.policy.rates.as_ref();
        let found = self.connections.lookup(&key, now, |_, direction, connection| {
            let half = connection.half(direction);
            let may_pass =
                rates.is_none_or(|rates| self.may_pass(rates, direction, connection, frame, now));
            (direction, half.target, half.ttl_decrement, Known::of(connection), may_pass)
        });
        let (direction, target, ttl_decrement, known, may_pass) = match found {
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
        let onward = self.fits(frame, target, ttl_decrement, u16::MAX, false);
        let onward = onward.map_err(|misfit| Refusal {
            request,
            ..self.unfit(frame, misfit, ingress, None, now, scratch)
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
        if ttl_decrement > 0 {
            frame.decrement_ttl(ttl_decrement);
        }
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
}
