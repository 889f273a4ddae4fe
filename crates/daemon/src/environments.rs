//! Environments of functions that come and go one at a time: those of functions made over the API,
//! and of published versions.
//!
//! # Theory of operation
//!
//! Whoever names one (`function/api/2`) to attach it, or to ask how it is to be set up, has it begin:
//! that is what an invocation does first, and is refused when an invocation would be (LAM-46, LAM-51).
//! It then waits [`WAITS`] for somebody to attach, and as long as something is attached there its
//! version counts as used (LAM-51). When the attachment has ended, grace and all, the environment
//! ends with the next look.
//!
//! | its function or version | its environments |
//! |---|---|
//! | is updated | stay behind the old ENIs until all of the new are there (LAM-48), then move at one moment, attached as they are: new connections take the new ENIs (LAM-49) |
//! | – in the same VPC | connections of before go on over their ENI until that is deleted |
//! | – to another VPC, or to none | connections of before end with their next packet (LAM-50) |
//! | is deleted, idle or failed | end, and their holders are told |
//!
//! Beginning, moving and ending are changes of the inventory by one entry: nobody else's connections
//! are looked at, but when an environment leaves a VPC.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
    time::Duration,
};

use viaduct_control_plane::{
    HostPlan,
    environments::{EnvironmentName, Step, Unmeant},
    lifecycle::{Command, FunctionName, Lifecycle, Owner, Qualifier, Report, Time, VersionId},
};
use viaduct_dataplane::inventory::InventoryError;
use viaduct_topology::inventory::{Attachment, AttachmentId, Host};
use viaduct_tun::handover::{DetachReason, RefusalReason};

use crate::{
    functions::{AGAIN_AFTER, Functions},
    refusal::Refusal,
};

/// How long an environment waits for somebody to attach: as long as a helper waits for the daemon.
const WAITS: Duration = viaduct_tun::holder::PATIENCE;

impl Functions {
    /// The host of this name, and how it is to be set up. An environment of a version that can be
    /// invoked begins if it is not there.
    pub(crate) async fn host(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<(AttachmentId, HostPlan), Refusal> {
        if self.registry().network().find(name).is_none()
            && let Ok(wanted) = name.parse()
        {
            self.begin(name, &wanted).await?;
        }
        self.registry().hosts().find(name)
    }

    /// Has an environment be there, if there is such a version.
    async fn begin(self: &Arc<Self>, name: &str, wanted: &EnvironmentName) -> Result<(), Refusal> {
        let turn = self.turn().await;
        let now = self.now();
        let until = now.after(WAITS);
        let standing = self.registry().hosts().environments.find(name).map(|it| it.attachment.id);
        if let Some(id) = standing {
            self.registry().hosts_mut().environments.wait(id, until);
            return Ok(());
        }
        let version = {
            let machine = self.machine();
            match wanted.version(&machine) {
                Ok(version) if is_declared(&machine, &version) => return Ok(()),
                Ok(version) => version,
                // It is nobody's name.
                Err(Unmeant::Unknown) => return Ok(()),
                Err(ambiguous @ Unmeant::Ambiguous { .. }) => {
                    let message = format!("`{name}`: {ambiguous}");
                    return Err(Refusal::new(RefusalReason::UnknownAttachment, message));
                }
            }
        };
        let invoke = Command::Invoke(version.clone());
        let invoked = self.have(turn, |machine| machine.command(invoke, Owner::Api, now)).await;
        let (answer, _turn) = invoked.map_err(|error| {
            Refusal::new(RefusalReason::Internal, format!("`{name}` cannot be invoked: {error}"))
        })?;
        answer.map_err(|refusal| {
            let message = format!("`{name}` cannot be invoked: {refusal}");
            Refusal::new(RefusalReason::UnknownAttachment, message)
        })?;
        let machine = self.machine();
        let mut hosts = self.registry().hosts_mut();
        let begun = hosts.environments.begin(&machine, &version, wanted.number, until);
        let Some(attachment) = begun.map(|begun| begun.attachment.clone()) else {
            let message = format!("`{name}` has no network interface to stand behind");
            return Err(Refusal::new(RefusalReason::Internal, message));
        };
        let added = self.engine.add_attachment(&attachment);
        added.map_err(|error| {
            hosts.environments.end(attachment.id);
            let reason = match error {
                InventoryError::IdentityOutOfRange(_) => RefusalReason::TooMany,
                _ => RefusalReason::Internal,
            };
            Refusal::new(reason, format!("`{name}`: {error}"))
        })
    }

    /// Has the environments of these names be there again that stood when the daemon before ended: their
    /// connections go on if their helpers come back. What was another host's name, or is that of a version
    /// that cannot be invoked, is passed over. Before anybody is served.
    pub(crate) fn stand_again<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let until = self.now().after(WAITS);
        let machine = self.machine();
        let mut hosts = self.registry().hosts_mut();
        for name in names {
            if hosts.id(name).is_some() {
                continue;
            }
            let Ok(wanted) = name.parse::<EnvironmentName>() else { continue };
            let Ok(version) = wanted.version(&machine) else { continue };
            if is_declared(&machine, &version) {
                continue;
            }
            let begun = hosts.environments.begin(&machine, &version, wanted.number, until);
            let Some(attachment) = begun.map(|begun| begun.attachment.clone()) else { continue };
            if let Err(error) = self.engine.add_attachment(&attachment) {
                tracing::warn!(name, %error, "an environment does not stand again");
                hosts.environments.end(attachment.id);
            }
        }
    }

    /// Tells the machine which versions are used, and returns the environments where nobody stands
    /// any more. Only with the turn.
    pub(crate) fn tend_environments(
        &self,
        machine: &mut Lifecycle,
        now: Time,
    ) -> Vec<AttachmentId> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *used);
        // Often enough, however short the time is after which a function counts as idle.
        let again_after = AGAIN_AFTER.min(machine.delays().idle / 4);
        let mut hosts = self.registry().hosts_mut();
        let mut left = Vec::new();
        let mut held = Vec::new();
        for environment in hosts.environments.iter() {
            let id = environment.attachment.id;
            if self.registry().is_held(id) {
                held.push(id);
                used.entry(environment.version.clone()).or_insert(now);
            } else if environment.until <= now {
                left.push(id);
            }
        }
        for id in held {
            hosts.environments.wait(id, now);
        }
        for (version, said) in &mut *used {
            match before.get(version) {
                Some(before) if now < before.after(again_after) => *said = *before,
                _ => machine.report(&Report::Used(version.clone()), now),
            }
        }
        left
    }

    /// Ends environments where nobody stands. Only with the turn.
    pub(crate) fn end_environments(&self, left: Vec<AttachmentId>) {
        if left.is_empty() {
            return;
        }
        let mut hosts = self.registry().hosts_mut();
        let mut ended = Vec::new();
        for id in left {
            if let Some(environment) = hosts.environments.end(id) {
                let name = &environment.attachment.name;
                tracing::debug!(name, "an environment has ended: nobody stands there");
                self.remove(id);
                // Somebody may just have come.
                ended.push((id, DetachReason::Removed));
            }
        }
        drop(hosts);
        self.detach(ended);
    }

    /// Has the environments of these functions follow what has become of their versions, as far as
    /// the ENIs are there that they need. What is left in the set is to be tried again. Only with the turn.
    pub(crate) fn follow(&self, functions: &mut BTreeSet<FunctionName>) {
        functions.retain(|function| {
            let machine = self.machine();
            let mut hosts = self.registry().hosts_mut();
            let steps = hosts.environments.steps(&machine, function);
            drop(machine);
            let mut moved = Vec::new();
            let mut ended = Vec::new();
            for step in &steps {
                match step {
                    Step::Moved { id, host, .. } => {
                        let Some(environment) = hosts.environments.get(*id) else { continue };
                        let name = environment.attachment.name.clone();
                        moved.push(Attachment { id: *id, name, host: host.clone() });
                    }
                    Step::Ended(id) => ended.push((*id, DetachReason::Removed)),
                }
            }
            if !moved.iter().all(|attachment| self.has_enis_of(attachment)) {
                return true;
            }
            if let Err(error) = self.engine.move_environments(&moved) {
                tracing::error!(%error, %function, "environments cannot follow their function");
                ended.extend(moved.iter().map(|it| (it.id, DetachReason::Removed)));
            }
            steps.into_iter().for_each(|step| hosts.environments.take(step));
            for (id, _) in &ended {
                hosts.environments.end(*id);
                self.remove(*id);
            }
            drop(hosts);
            if !moved.is_empty() || !ended.is_empty() {
                let (moved, ended) = (moved.len(), ended.len());
                tracing::info!(%function, moved, ended, "environments follow their function");
            }
            self.detach(ended);
            false
        });
    }

    fn has_enis_of(&self, attachment: &Attachment) -> bool {
        let Host::Environment { enis, .. } = &attachment.host else { return true };
        enis.iter().all(|eni| self.engine.inventory().eni(eni).is_some())
    }

    fn remove(&self, id: AttachmentId) {
        if let Err(error) = self.engine.remove_attachment(id) {
            tracing::error!(%error, "the engine does not know an environment");
        }
    }

    /// Lets go of what is attached to environments that have ended. The workers are waited for
    /// elsewhere.
    fn detach(&self, ended: Vec<(AttachmentId, DetachReason)>) {
        if !ended.is_empty() {
            let registry = Arc::clone(self.registry());
            tokio::spawn(async move { registry.end(ended).await });
        }
    }
}

/// Whether the environments of a version are those that a file declares.
pub(crate) fn is_declared(machine: &Lifecycle, version: &VersionId) -> bool {
    let function = machine.function(&version.function);
    version.version == Qualifier::Latest && function.is_some_and(|it| it.owner == Owner::File)
}
