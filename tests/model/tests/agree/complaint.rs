//! Packets that are about others, or about nothing: ICMP errors, and packets wrong in themselves.

use std::net::Ipv4Addr;

use viaduct_dataplane::{Dropped, Verdict};
use viaduct_model::{Oddity, Packet, model::Complaint};
use viaduct_topology::{Reason, inventory::AttachmentId};

use crate::{
    bytes,
    tally::Tally,
    trial::{Disagreement, Leg, Trial},
};

/// A router somewhere on the internet.
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 250);

impl Trial<'_> {
    /// A packet that is wrong in itself.
    pub(crate) fn odd(
        &mut self,
        from: AttachmentId,
        packet: &Packet,
        oddity: Oddity,
        tally: &mut Tally,
    ) -> Result<(), Disagreement> {
        tally.packets += 1;
        let mut buffer = bytes::build_odd(packet, oddity, tally.packets as u16);
        let right = oddity.refused();
        match (self.engine.forward(&mut buffer, from, self.moment(), &mut self.scratch), right) {
            (Verdict::Drop(Dropped { reason, .. }), Some(right)) if reason == right => {
                tally.reason(reason);
                Ok(())
            }
            (Verdict::Held, None) => Ok(()),
            (other, _) => Err(Disagreement {
                kind: format!("{oddity:?}"),
                text: format!("{packet}, {oddity:?}\nengine: {other:?}\nmodel: {right:?}"),
            }),
        }
    }

    /// The receiver of a packet sends an ICMP error about it, the same way back.
    pub(crate) fn complain(
        &mut self,
        legs: &[Leg],
        icmp: (u8, u8),
        tally: &mut Tally,
    ) -> Result<(), Disagreement> {
        let Some(last) = legs.last() else { return Ok(()) };
        // Time runs out at a router on the way, which has an address of its own.
        let mut source = match icmp {
            (11, 0) => ROUTER,
            _ => last.arrived.destination,
        };
        // One that is for somebody else than the sender of what it is about gets nowhere.
        let Leg { at, arrived: about, .. } = *last;
        let astray = Complaint { icmp, source, destination: ROUTER, about };
        let outcome = self.send_complaint(at, &astray);
        if outcome != Ok(self.network.complain(at, &astray)) {
            let text = format!("{icmp:?} from {source} to {ROUTER} about {about}: {outcome:?}");
            return Err(Disagreement { kind: "an ICMP error gone astray".to_owned(), text });
        }
        for leg in legs.iter().rev() {
            let Leg { from, at, arrived: about, .. } = *leg;
            let complaint = Complaint { icmp, source, destination: about.source, about };
            let right = self.network.complain(at, &complaint);
            let outcome = self.send_complaint(at, &complaint);
            tally.packets += 1;
            match (outcome, right) {
                (Ok(Err(reason)), Err(expected)) if reason == expected => {
                    tally.reason(reason);
                    return Ok(());
                }
                (Ok(Ok((there, told))), Ok((expected, right)))
                    if there == expected && told.is_like(&right) =>
                {
                    tally.complaints += 1;
                    if there != from {
                        return Ok(());
                    }
                    source = told.source;
                }
                (outcome, right) => {
                    return Err(Disagreement {
                        kind: "an ICMP error".to_owned(),
                        text: format!(
                            "{icmp:?} from {source} at {} about {about}\nengine: {outcome:?}\n\
                             model: {right:?}",
                            self.name(at)
                        ),
                    });
                }
            }
        }
        Ok(())
    }

    /// What the engine makes of an ICMP error.
    fn send_complaint(
        &mut self,
        from: AttachmentId,
        complaint: &Complaint,
    ) -> Result<Result<(AttachmentId, Complaint), Reason>, String> {
        let mut buffer = bytes::build_complaint(complaint);
        match self.engine.forward(&mut buffer, from, self.moment(), &mut self.scratch) {
            Verdict::Forward { target, length } => {
                Ok(Ok((target, bytes::read_complaint(&buffer[..length], complaint)?)))
            }
            Verdict::Answer(_) => Err("an ICMP error is never answered".to_owned()),
            Verdict::Drop(Dropped { reason, .. }) => Ok(Err(reason)),
            other => Err(format!("{other:?} of a whole packet that must not be cut")),
        }
    }
}
