//! What a guest may use, however much room there is.

use viaduct_topology::{
    Reason,
    inventory::{AttachmentId, Eni, Host},
};

use super::{Network, ports::is};

impl<'t> Network<'t> {
    /// Whether a function environment can have one more connection (RFC 6888, REQ-4).
    pub(super) fn quota_room(&self, opener: AttachmentId) -> Result<(), Reason> {
        let Some(Host::Environment { .. }) = self.host(opener).map(|host| &host.host) else {
            return Ok(());
        };
        let own = self.connections.iter().filter(|other| other.opener == opener).count();
        match self.topology.settings.environment_connections {
            Some(quota) if own >= quota as usize => Err(Reason::QuotaExceeded),
            _ => Ok(()),
        }
    }

    /// Whether one more connection can be opened through a Hyperplane ENI. Time stands still, so
    /// that as many are opened as may be at once, which is those of a second, and then none.
    pub(super) fn rate_room(&self, eni: &Eni) -> Result<(), Reason> {
        let opened = self.opened.iter().filter(|other| is(Some(other), eni)).count();
        match self.topology.settings.eni_connections_per_second {
            Some(rate) if opened >= rate as usize => Err(Reason::RateLimited),
            _ => Ok(()),
        }
    }

    /// A connection was opened through this ENI.
    pub(super) fn note_opening(&mut self, eni: &'t Eni) {
        self.opened.push(eni);
    }
}
