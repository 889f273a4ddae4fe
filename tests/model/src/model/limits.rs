//! What a guest may use, however much room there is.

use viaduct_topology::inventory::{AttachmentId, Eni, Host};

use super::{Connection, Network};

/// The openings through an ENI that count against its rate: each weighs 1000, and with every
/// millisecond as much as the rate is forgotten.
#[derive(Clone, Debug)]
pub(super) struct Openings<'t> {
    eni: &'t Eni,
    weight: u64,
    at: u64,
}

impl<'t> Network<'t> {
    /// As many connections as a function environment may have (RFC 6888, REQ-4), and which are its
    /// own.
    pub(super) fn quota(
        &self,
        opener: AttachmentId,
    ) -> (usize, impl Fn(&Connection<'t>) -> bool + use<'t>) {
        let environment = self.host(opener).map(|host| &host.host);
        let quota = match environment {
            Some(Host::Environment { .. }) => self.topology.settings.environment_connections,
            _ => None,
        };
        let quota = quota.map_or(usize::MAX, |quota| quota as usize);
        (quota, move |other: &Connection<'t>| other.opener == opener)
    }

    /// Whether one more connection can be opened through a Hyperplane ENI: those of a second can at
    /// once.
    pub(super) fn rate_allows(&self, eni: &Eni) -> bool {
        let Some(rate) = self.topology.settings.eni_connections_per_second else { return true };
        self.weight(eni) + 1000 <= u64::from(rate) * 1000
    }

    /// A connection was opened through this ENI.
    pub(super) fn note_opening(&mut self, eni: &'t Eni) {
        let weight = self.weight(eni) + 1000;
        self.openings.retain(|known| !is(known.eni, eni));
        self.openings.push(Openings { eni, weight, at: self.now });
    }

    fn weight(&self, eni: &Eni) -> u64 {
        let rate = self.topology.settings.eni_connections_per_second.unwrap_or(0);
        self.openings.iter().find(|known| is(known.eni, eni)).map_or(0, |known| {
            known.weight.saturating_sub((self.now - known.at).saturating_mul(rate.into()))
        })
    }
}

/// Whether that interface is this one; under another address it is new.
fn is(one: &Eni, other: &Eni) -> bool {
    one.id == other.id && one.private_ip == other.private_ip
}
