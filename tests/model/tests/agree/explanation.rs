//! What the engine explains of a flow, held against what the model would have to say of it.

use std::net::Ipv4Addr;

use viaduct_dataplane::explain::{self, Explanation, Probe, Query, Sender, Way};
use viaduct_model::{
    ICMP, TCP, UDP,
    generate::Flow,
    model::{Direction, Explained},
};

use crate::{
    tally::Tally,
    trial::{Disagreement, Trial},
};

impl Trial<'_> {
    /// The explanation must be one of those that the model allows.
    pub(crate) fn explanation(&self, flow: &Flow, tally: &mut Tally) -> Result<(), Disagreement> {
        let Some(found) = self.explained(flow) else { return Ok(()) };
        tally.explained += 1;
        told_without_gaps(&found)?;
        let right = self.network.explain(flow.from, &flow.packet);
        let blocker = found.reason.zip(found.direction).map(|(reason, way)| {
            let direction = match way {
                Way::Forward => Direction::Forward,
                Way::Return => Direction::Return,
            };
            (reason, direction)
        });
        let verdict =
            if blocker.is_some() { explain::Verdict::Deny } else { explain::Verdict::Allow };
        // Where the request is refused, what would become of it behind the blocker is left open.
        let refused = matches!(blocker, Some((_, Direction::Forward)));
        let translated_source =
            if refused { None } else { found.translated_source.zip(found.translated_source_ports) };
        let has_ports = matches!(flow.packet.protocol, TCP | UDP);
        let agrees = |right: &Explained| {
            let ip = |it: Option<(Ipv4Addr, _)>| it.map(|(ip, _)| ip);
            right.blocker == blocker
                && if has_ports {
                    right.translated_source == translated_source
                } else {
                    ip(right.translated_source) == ip(translated_source)
                }
        };
        if found.verdict == verdict && right.iter().any(agrees) {
            tally.return_blocked += usize::from(matches!(blocker, Some((_, Direction::Return))));
            return Ok(());
        }
        let kinds: Vec<_> = right.iter().map(|right| format!("{:?}", right.blocker)).collect();
        Err(Disagreement {
            kind: format!("explanation {blocker:?}, model {}", kinds.join(" or ")),
            text: format!("explained: {:?} {blocker:?} {translated_source:?}", found.verdict),
        })
    }

    pub(crate) fn explained(&self, flow: &Flow) -> Option<Explanation> {
        let Flow { from, packet, own_source, .. } = *flow;
        // An explanation is about the sender's primary address.
        // Nor about a packet that is wrong in itself.
        if !own_source
            || packet.has_no_port()
            || self.network.primary_address(from) != Some(packet.source)
        {
            return None;
        }
        let (probe, has_ports) = match packet.protocol {
            TCP => (Probe::Tcp(packet.destination_port), true),
            UDP => (Probe::Udp(packet.destination_port), true),
            ICMP => (Probe::Icmp { kind: packet.icmp.0, code: packet.icmp.1 }, false),
            other => (Probe::Protocol(other), false),
        };
        let source_port = has_ports.then_some(packet.source_port);
        let from = Sender::Attachment(from);
        let query = Query { from, to: packet.destination, probe, source_port, one_way: false };
        Some(self.engine.explain(&query).expect("the sender is there"))
    }
}

/// Each hop begins with the packet that the one before it left.
fn told_without_gaps(explanation: &Explanation) -> Result<(), Disagreement> {
    for hops in [&explanation.forward, &explanation.back] {
        for pair in hops.windows(2) {
            if pair[0].after != pair[1].before {
                return Err(Disagreement {
                    kind: "an explanation with a gap".to_owned(),
                    text: format!(
                        "{}: {}\n{}: {}",
                        pair[0].check, pair[0].after, pair[1].check, pair[1].before
                    ),
                });
            }
        }
    }
    Ok(())
}
