//! The network in force: a topology, its plan, and how hosts are found in it.
//!
//! Never changed: a reload puts another one in its place.

use std::{collections::HashMap, path::PathBuf};

use viaduct_control_plane::{HostPlan, Plan, iam::Principals};
use viaduct_topology::{
    Topology,
    inventory::{Attachment, AttachmentId},
    suggest::suggest,
};
use viaduct_tun::handover::RefusalReason;

use crate::refusal::Refusal;

/// A topology and what stands in it.
#[derive(Debug)]
pub(crate) struct Network {
    /// The file it was read from, as whoever applied it calls it.
    pub(crate) file: PathBuf,
    pub(crate) topology: Topology,
    /// Without the lives of its functions, which go on: `functions` has them.
    pub(crate) plan: Plan,
    /// Who may call the API.
    pub(crate) principals: Principals,
    by_name: HashMap<String, usize>,
    by_id: HashMap<AttachmentId, usize>,
}

impl Network {
    pub(crate) fn new(file: PathBuf, topology: Topology, plan: Plan) -> Self {
        let names = plan.attachments.iter().map(|attachment| attachment.name.clone());
        let by_name = names.zip(0..).collect();
        let by_id = plan.attachments.iter().map(|attachment| attachment.id).zip(0..).collect();
        let principals = Principals::of(&topology);
        Self { file, topology, plan, principals, by_name, by_id }
    }

    /// All attachments, in the order of the file.
    pub(crate) fn attachments(&self) -> &[Attachment] {
        &self.plan.attachments
    }

    /// The attachment with this number.
    pub(crate) fn attachment(&self, id: AttachmentId) -> Option<&Attachment> {
        self.by_id.get(&id).map(|index| &self.plan.attachments[*index])
    }

    /// How the host with this number is to be set up.
    pub(crate) fn host(&self, id: AttachmentId) -> Option<&HostPlan> {
        self.by_id.get(&id).map(|index| &self.plan.hosts[*index])
    }

    /// The attachment of this name. `function/api` is its first environment.
    pub(crate) fn find(&self, name: &str) -> Option<(&Attachment, &HostPlan)> {
        let index = self.by_name.get(name).or_else(|| self.by_name.get(&format!("{name}/1")))?;
        Some((&self.plan.attachments[*index], &self.plan.hosts[*index]))
    }

    /// That nobody has this name, and who may have been meant.
    pub(crate) fn unknown(&self, name: &str) -> Refusal {
        let names = self.by_name.keys().map(String::as_str);
        let help = match suggest(name, names) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "`viaduct get attachments` lists what there is".to_owned(),
        };
        let message = format!("the topology has no host `{name}`; {help}");
        Refusal::new(RefusalReason::UnknownAttachment, message)
    }
}

/// Whether a host that was set up by the one plan is set up as the other wants it. Its hosts file
/// does not count: names that moved are no reason to end its connections.
pub(crate) fn set_up_alike(one: &HostPlan, other: &HostPlan) -> bool {
    one.address == other.address
        && one.further == other.further
        && one.gateway == other.gateway
        && one.device_mtu == other.device_mtu
}
