//! What changes under the engine: policy and inventory, and what is attached.

use std::collections::{BTreeSet, HashSet};

use viaduct_topology::{
    ResourceId, Topology,
    inventory::{Attachment, AttachmentId, Change, Eni, Host},
};

use super::Engine;
use crate::{
    connection::Connection,
    inventory::InventoryError,
    moment::Moment,
    policy::Policy,
    port_table::TableId,
    ports::{Kind, Ports},
    sync::{Arc, Ordering},
    walk::V2N,
};

impl Engine {
    /// Puts a topology's policy in force and returns its generation, which is the former one if
    /// nothing has changed. The inventory stays as it is.
    pub fn load(&self, topology: &Topology) -> u32 {
        self.reload(topology, &[], Moment::ZERO)
            .expect("no change of the inventory can fail where there is none")
    }

    /// Puts a topology's policy in force and changes the inventory, both at one moment: no packet
    /// meets the one without the other. Returns the generation, which is the former one if the
    /// policy is as it was and nothing was taken out of the inventory or changed in it.
    ///
    /// Interfaces that stay keep their ports and the range these are from. A host that is removed
    /// and added under its identity keeps what is attached to it. What is to drain has its time
    /// from `now` on; [`trim`](Self::trim) ends it. Quotas and rates hold from `now` on, timers for
    /// the connections that are opened from then on.
    ///
    /// # Errors
    ///
    /// When a change cannot be made; then nothing is.
    pub fn reload(
        &self,
        topology: &Topology,
        changes: &[Change],
        now: Moment,
    ) -> Result<u32, InventoryError> {
        let _changing = self.changing.lock();
        let added = changes.iter().filter_map(|change| match change {
            Change::AddAttachment(attachment) => Some(attachment),
            _ => None,
        });
        added.clone().try_for_each(|attachment| in_range(attachment.id))?;

        let before = Arc::clone(&self.policy.lock());
        let mut policy = Policy::compile(topology, Some(&before), &self.numbers);
        let only_adds = |change| matches!(change, &Change::AddEni(_) | &Change::AddAttachment(_));
        if policy.generation == before.generation && !changes.iter().all(only_adds) {
            policy = policy.renewed();
        }
        let generation = policy.generation;
        let stood = |id| self.inventory.attachment(id).is_some();
        let new: Vec<_> = added.filter(|attachment| !stood(attachment.id)).collect();
        self.inventory.change(changes, &topology.settings, now, || self.enforce(policy))?;

        if topology.settings != before.settings {
            self.inventory.set_limits(&topology.settings);
        }
        for attachment in new {
            self.ports.add(attachment.id, kind(attachment));
        }
        for change in changes {
            if let Change::RemoveAttachment(id) = change
                && !stood(*id)
            {
                self.ports.remove(*id);
            }
        }
        Ok(generation)
    }

    /// Lets these availability zones fail, and no others: what stands in their subnets neither sends nor
    /// gets (LAM-18, NAT-02). Connections are judged anew and stay, so that those that have not timed
    /// out go on when their zone is back.
    pub fn fail_zones(&self, zones: &BTreeSet<String>) {
        let _changing = self.changing.lock();
        let changed = self.policy.lock().with_failed_zones(zones);
        if let Some(policy) = changed {
            self.enforce(policy);
        }
    }

    /// Adds an interface, with the limits of the topology loaded last.
    ///
    /// # Errors
    ///
    /// When its id or an address is taken.
    pub fn add_eni(&self, eni: &Eni) -> Result<(), InventoryError> {
        let _changing = self.changing.lock();
        let settings = self.policy.lock().settings;
        self.inventory.add_eni(eni, &settings)
    }

    /// Removes an interface. Its connections end with their next packet.
    ///
    /// # Errors
    ///
    /// When there is none of this id, or attachments need it.
    pub fn remove_eni(&self, id: &ResourceId) -> Result<(), InventoryError> {
        let _changing = self.changing.lock();
        self.inventory.remove_eni(id)?;
        self.renew();
        Ok(())
    }

    /// Has a Hyperplane ENI take no new connections: they use the others of its key, and what it has
    /// goes on until it is removed. A NAT gateway's address goes by itself, when it had its time from
    /// `now` on.
    ///
    /// # Errors
    ///
    /// When there is none of this id, or it is of another kind.
    pub fn drain_eni(&self, id: &ResourceId, now: Moment) -> Result<(), InventoryError> {
        let _changing = self.changing.lock();
        self.inventory.drain_eni(id, now)
    }

    /// Adds a host's place. Nothing is attached to it yet.
    ///
    /// # Errors
    ///
    /// When its identity or address is taken, or its interface is missing.
    pub fn add_attachment(&self, attachment: &Attachment) -> Result<(), InventoryError> {
        in_range(attachment.id)?;
        let _changing = self.changing.lock();
        self.inventory.add_attachment(attachment)?;
        self.ports.add(attachment.id, kind(attachment));
        Ok(())
    }

    /// Removes a host's place. Its connections end with their next packet; those of a function's
    /// environment, which nobody but itself could use, have nobody to deliver to and end by their
    /// timers, so that environments come and go without having everybody else's connections walked
    /// again.
    ///
    /// # Errors
    ///
    /// When there is none of this identity.
    pub fn remove_attachment(&self, id: AttachmentId) -> Result<(), InventoryError> {
        let _changing = self.changing.lock();
        self.inventory.remove_attachment(id)?;
        let alone = self.ports.port(id).is_environment;
        self.ports.remove(id);
        if !alone {
            self.renew();
        }
        Ok(())
    }

    /// Puts environments behind the ENIs that they now name, all of them at one moment; what is
    /// attached stays. New connections take the new ENIs. Those that an environment has go on over
    /// their ENI as long as that is there, if it is of the same VPC; those of a VPC that it leaves
    /// end (LAM-49, LAM-50), for which every connection is looked at.
    ///
    /// # Errors
    ///
    /// When there is no such environment, or an interface that it names is missing. Then nothing is
    /// changed.
    pub fn move_environments(&self, moved: &[Attachment]) -> Result<(), InventoryError> {
        let _changing = self.changing.lock();
        // What another thread is just opening over an ENI of before is of the generation of before.
        let lost = self.inventory.move_environments(moved, || self.renew())?;
        if lost.is_empty() {
            return Ok(());
        }
        let lost: HashSet<(AttachmentId, TableId)> = lost.into_iter().collect();
        let mut ended = Vec::new();
        self.connections.for_each(|id, connection| {
            let opener = connection.reply.target;
            if connection.tables()[V2N].is_some_and(|table| lost.contains(&(opener, table))) {
                ended.push(id);
            }
        });
        for id in ended {
            self.connections.with(id, Connection::cut);
        }
        Ok(())
    }

    /// Notes that something is attached, through a device of this MTU (in bytes, not 0).
    pub fn attached(&self, id: AttachmentId, mtu: u16) {
        self.ports.set_mtu(id, mtu);
    }

    /// Notes that nothing is attached any more.
    pub fn detached(&self, id: AttachmentId) {
        self.attached(id, 0);
    }

    /// Has every connection walked again: the inventory lost something that they may use.
    pub(super) fn renew(&self) {
        let renewed = self.policy.lock().renewed();
        self.enforce(renewed);
    }

    /// Exchanges the policy. Only for whoever holds `changing`.
    fn enforce(&self, policy: Policy) {
        let mut in_force = self.policy.lock();
        *in_force = Arc::new(policy);
        self.generation.store(in_force.generation, Ordering::Release);
    }
}

fn in_range(id: AttachmentId) -> Result<(), InventoryError> {
    if id.0 == 0 || id.0 > Ports::MAX {
        return Err(InventoryError::IdentityOutOfRange(id));
    }
    Ok(())
}

fn kind(attachment: &Attachment) -> Kind {
    match attachment.host {
        Host::Environment { .. } => Kind::Environment,
        // Their connections count as the internet's, which is one scope.
        Host::Internet { .. } => Kind::Edge,
        _ => Kind::Other,
    }
}
