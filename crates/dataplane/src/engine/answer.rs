//! What the network itself tells the sender of a packet that goes no further.
//!
//! An ICMP error comes from the NAT gateway that the packet reached, or from the router next to its
//! sender; a reset from whom the segment was for. Where nothing is said, senders have time-outs.

use std::net::Ipv4Addr;

use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::{
    Frame,
    icmp::{self, IcmpErrorKind},
    tcp,
};

use super::{Engine, Refusal};
use crate::{inventory::ENVIRONMENT_GATEWAY, inventory::Place, moment::Moment, scratch::Scratch};

/// ICMP errors a second at most, for each worker; as many may come at once (RFC 1812, section
/// 4.3.2.8). It is Linux's `icmp_msgs_per_sec`.
const ERRORS_PER_SECOND: u64 = 1000;

/// How many ICMP errors a worker may still send: a bucket that fills with time.
#[derive(Debug)]
pub(crate) struct ErrorBudget {
    left: u64,
    filled: Moment,
}

impl ErrorBudget {
    pub(crate) fn new() -> Self {
        Self { left: ERRORS_PER_SECOND, filled: Moment::ZERO }
    }

    /// Takes one, if there is one.
    fn take(&mut self, now: Moment) -> bool {
        let earned = now.since(self.filled).as_millis() as u64 * ERRORS_PER_SECOND / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(ERRORS_PER_SECOND);
            self.filled = now;
        }
        let some = self.left > 0;
        self.left -= u64::from(some);
        some
    }
}

impl Engine {
    /// Puts an ICMP error about a packet into the scratch, and says whether there is one. `gateway`
    /// is the NAT gateway that sends it; without one, the router next to the packet's sender does.
    ///
    /// Errors have a rate, which all that a worker serves share: who floods it has others miss theirs.
    /// Path MTU discovery is not held back: a sender that hears nothing sends the same again.
    pub(super) fn tell(
        &self,
        frame: &Frame<'_>,
        kind: IcmpErrorKind,
        ingress: AttachmentId,
        gateway: Option<Ipv4Addr>,
        now: Moment,
        scratch: &mut Scratch,
    ) -> bool {
        let from = gateway.unwrap_or_else(|| self.router_of(ingress, frame, scratch));
        scratch.answer.clear();
        let made = icmp::error(frame, from, kind, &mut scratch.answer).is_some();
        let discovery = matches!(kind, IcmpErrorKind::FragmentationNeeded { .. });
        made && (discovery || scratch.errors.take(now))
    }

    /// Refuses a packet for which no connection can be had, for want of ports or room, and says so:
    /// 3/13 (RFC 5508, REQ-8).
    pub(super) fn no_room(
        &self,
        frame: &Frame<'_>,
        reason: Reason,
        ingress: AttachmentId,
        gateway: Option<Ipv4Addr>,
        now: Moment,
        scratch: &mut Scratch,
    ) -> Refusal {
        let kind = IcmpErrorKind::AdminProhibited;
        let answered = self.tell(frame, kind, ingress, gateway, now, scratch);
        Refusal { reason, request: None, answered }
    }

    /// The router next to the host that sent a packet: whoever answers for the VPC.
    fn router_of(&self, ingress: AttachmentId, frame: &Frame<'_>, scratch: &Scratch) -> Ipv4Addr {
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

/// Refuses a packet that belongs to no connection. Where its connection would have been translated
/// for it, at a NAT gateway (NAT-10) or a Hyperplane ENI, a client that goes on talking is reset: the
/// connection was forgotten, and the other end cannot be reached any more. Nothing is said when a
/// connection expires, nothing to the outside (RFC 5382, REQ-4), and nothing elsewhere.
pub(super) fn no_connection(frame: &Frame<'_>, forgets: bool, scratch: &mut Scratch) -> Refusal {
    scratch.answer.clear();
    let answered = forgets && tcp::reset(frame, &mut scratch.answer).is_some();
    Refusal { reason: Reason::NoConnection, request: None, answered }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_a_thousand_a_second_and_as_many_at_once() {
        let start = Moment::from_millis(1_000_000);
        let after = |millis: u64| Moment::from_millis(1_000_000 + millis);
        let mut budget = ErrorBudget::new();
        let taken = |budget: &mut ErrorBudget, now| (0..5000).filter(|_| budget.take(now)).count();
        assert_eq!(taken(&mut budget, start), 1000);
        assert_eq!(taken(&mut budget, start), 0);
        assert_eq!(taken(&mut budget, after(1)), 1);
        assert_eq!(taken(&mut budget, after(500)), 499);
        assert_eq!(taken(&mut budget, after(499)), 0, "another worker's clock is behind");
        assert_eq!(taken(&mut budget, after(3_600_000)), 1000);
    }
}
