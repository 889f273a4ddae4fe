//! The hosts that there can be: those of the network in force, and the environments of functions that
//! come and go.

use std::sync::Arc;

use viaduct_control_plane::{HostPlan, environments::Environments};
use viaduct_topology::inventory::{Attachment, AttachmentId};

use crate::{network::Network, refusal::Refusal};

/// All hosts.
#[derive(Debug)]
pub(crate) struct Hosts {
    /// The network in force.
    pub(crate) network: Arc<Network>,
    /// What stands beside what its file declares.
    pub(crate) environments: Environments,
}

impl Hosts {
    /// Those of a network that nobody was attached to before.
    pub(crate) fn of(network: Network) -> Self {
        let environments = Environments::after(network.plan.issued);
        Self { network: Arc::new(network), environments }
    }

    /// The host of this name, and how it is to be set up. `function/api` is its first environment.
    pub(crate) fn find(&self, name: &str) -> Result<(AttachmentId, HostPlan), Refusal> {
        if let Some((attachment, host)) = self.network.find(name) {
            return Ok((attachment.id, host.clone()));
        }
        let environment = self.environments.find(name).ok_or_else(|| self.network.unknown(name))?;
        Ok((environment.attachment.id, self.network.plan.environment(environment)))
    }

    /// The number of the host of this name, if there is one.
    pub(crate) fn id(&self, name: &str) -> Option<AttachmentId> {
        let declared = self.network.find(name).map(|(attachment, _)| attachment);
        let found = declared.or_else(|| self.environments.find(name).map(|it| &it.attachment));
        found.map(|attachment| attachment.id)
    }

    /// How the host with this number is to be set up.
    pub(crate) fn host(&self, id: AttachmentId) -> Option<HostPlan> {
        let environment = || self.environments.get(id).map(|it| self.network.plan.environment(it));
        self.network.host(id).cloned().or_else(environment)
    }

    /// What a host is called; its number, if there is none any more.
    pub(crate) fn name(&self, id: AttachmentId) -> String {
        let environment = || self.environments.get(id).map(|it| &it.attachment);
        let attachment = self.network.attachment(id).or_else(environment);
        attachment.map_or_else(|| id.to_string(), |attachment| attachment.name.clone())
    }

    /// All attachments: the file's in its order, then the environments that come and go.
    pub(crate) fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        let environments = self.environments.iter().map(|it| &it.attachment);
        self.network.attachments().iter().chain(environments)
    }

    /// How many hosts there can be.
    pub(crate) fn len(&self) -> usize {
        self.network.attachments().len() + self.environments.iter().len()
    }
}
