//! What was tried, so that the test can tell whether it tried enough.

use std::{collections::BTreeMap, fmt};

use viaduct_model::Packet;
use viaduct_topology::{Reason, inventory::Attachment};

use crate::trial::kind_of_host;

/// Counts of what was seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) flows: usize,
    pub(crate) packets: usize,
    /// Flows of which an explanation was asked.
    pub(crate) explained: usize,
    /// Explanations that found the blocker on the way back.
    pub(crate) return_blocked: usize,
    /// Packets to which more than one thing may happen.
    pub(crate) open: usize,
    /// Flows that work, by who speaks to whom.
    allowed: BTreeMap<String, usize>,
    /// Packets that were dropped, by reason.
    reasons: BTreeMap<&'static str, usize>,
}

impl Tally {
    pub(crate) fn allowed(
        &mut self,
        from: &Attachment,
        to: &Attachment,
        sent: &Packet,
        received: &Packet,
    ) {
        let mut kind = format!("{} to {}", kind_of_host(from), kind_of_host(to));
        if sent.destination != received.destination {
            kind.push_str(" at its public address");
        } else if sent.source != received.source && kind_of_host(to) == "internet" {
            kind.push_str(", translated");
        }
        *self.allowed.entry(kind).or_default() += 1;
    }

    pub(crate) fn reason(&mut self, reason: Reason) {
        *self.reasons.entry(reason.code()).or_default() += 1;
    }

    pub(crate) fn allowed_flows(&self) -> usize {
        self.allowed.values().sum()
    }

    pub(crate) fn dropped_for(&self, reason: Reason) -> usize {
        self.reasons.get(reason.code()).copied().unwrap_or_default()
    }

    pub(crate) fn allowed_kind(&self, kind: &str) -> usize {
        self.allowed.get(kind).copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flows, packets, explained, return_blocked, open, .. } = self;
        let allowed = self.allowed_flows();
        writeln!(f, "{flows} flows, {packets} packets; {explained} flows explained, of which")?;
        writeln!(f, "{return_blocked} are blocked on the way back; {open} packets left open")?;
        writeln!(f, "{allowed} flows allowed:")?;
        for (kind, count) in &self.allowed {
            writeln!(f, "  {count:8}  {kind}")?;
        }
        writeln!(f, "packets dropped:")?;
        for (code, count) in &self.reasons {
            writeln!(f, "  {count:8}  {code}")?;
        }
        Ok(())
    }
}
