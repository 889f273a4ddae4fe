//! What was tried, so that the test can tell whether it tried enough.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use viaduct_topology::{Reason, inventory::Attachment, model::PortRange};

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
    /// The same flows, by what their ways led through.
    targets: BTreeMap<&'static str, usize>,
    /// Source ports that were given, by the quarter of their range.
    pub(crate) quarters: [usize; 4],
    /// Source ports that were given after a rest, though others never were in use.
    pub(crate) recycled: usize,
    /// Connections at once, at most.
    pub(crate) most: usize,
    /// ICMP errors that arrived.
    pub(crate) complaints: usize,
    /// Packets of connections from before a reload: lost, and not lost.
    pub(crate) went_on: [usize; 2],
    /// Packets that were dropped, by reason.
    reasons: BTreeMap<&'static str, usize>,
}

impl Tally {
    /// A flow works, and its way led through these.
    pub(crate) fn allowed(
        &mut self,
        from: &Attachment,
        to: &Attachment,
        crossed: &BTreeSet<&'static str>,
    ) {
        let kind = format!("{} to {}", kind_of_host(from), kind_of_host(to));
        *self.allowed.entry(kind).or_default() += 1;
        for target in crossed {
            *self.targets.entry(target).or_default() += 1;
        }
    }

    /// A packet of a connection that was opened before a reload.
    pub(crate) fn went_on(&mut self, survived: bool) {
        self.went_on[usize::from(survived)] += 1;
    }

    /// A translated connection got this source port.
    pub(crate) fn port(&mut self, port: u16, range: PortRange) {
        let [first, last, port] = [range.first, range.last, port].map(usize::from);
        self.quarters[(port - first) * 4 / (last + 1 - first)] += 1;
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

    /// Flows that work and whose way led through this.
    pub(crate) fn allowed_through(&self, target: &str) -> usize {
        self.targets.get(target).copied().unwrap_or_default()
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
        writeln!(f, "and led through:")?;
        for (target, count) in &self.targets {
            writeln!(f, "  {count:8}  {target}")?;
        }
        let [lost, went_on] = self.went_on;
        writeln!(
            f,
            "after reloads, {went_on} packets of connections went on and {lost} were lost"
        )?;
        writeln!(f, "{} ICMP errors arrived", self.complaints)?;
        let Self { quarters, recycled, most, .. } = self;
        writeln!(f, "source ports by the quarter of their range: {quarters:?}")?;
        writeln!(f, "{recycled} ports given after a rest; {most} connections at once at most")?;
        writeln!(f, "packets dropped:")?;
        for (code, count) in &self.reasons {
            writeln!(f, "  {count:8}  {code}")?;
        }
        Ok(())
    }
}
