//! A worker's own references to all ports, by attachment: their numbers are small and dense.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use viaduct_topology::inventory::AttachmentId;
use viaduct_tun::Sent;

use super::{
    budget::{self, Account, Budget},
    port::Port,
};

/// What came of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was offered to the device.
    Sent(Sent),
    /// There is no device.
    NotThere,
    /// It was not written: its target has used up its budget.
    Throttled,
}

#[derive(Debug)]
pub(super) struct Ports {
    slots: Vec<Slot>,
    /// What is left of the time for all slow targets.
    budget: Budget,
}

#[derive(Debug, Default)]
struct Slot {
    port: Option<Arc<Port>>,
    disabled: bool,
    /// What it has cost, if it was slow.
    account: Option<Account>,
}

impl Ports {
    pub(super) fn new(at: Instant) -> Self {
        Self { slots: Vec::new(), budget: Budget::new(budget::ALL, at) }
    }

    /// The port in use at an attachment.
    pub(super) fn at(&self, id: AttachmentId) -> Option<&Port> {
        let slot = self.slots.get(id.0 as usize)?;
        if slot.disabled { None } else { slot.port.as_deref() }
    }

    /// Writes a frame to the port in use at an attachment.
    #[inline]
    pub(super) fn write(&mut self, id: AttachmentId, frame: &[u8], at: Instant) -> Outcome {
        let Some(Slot { port: Some(port), disabled: false, account }) =
            self.slots.get_mut(id.0 as usize)
        else {
            return Outcome::NotThere;
        };
        if account.is_some() && !may_cost(account, &mut self.budget, at) {
            port.throttled();
            return Outcome::Throttled;
        }
        Outcome::Sent(port.queue.write(frame))
    }

    /// Notes that a write to the port took so much time.
    pub(super) fn charge(&mut self, id: AttachmentId, time: Duration, at: Instant) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else { return };
        let account = slot.account.get_or_insert_with(|| Account::open(at));
        account.charge(time, &mut self.budget, at);
    }

    /// Puts a port in, and returns the one that was there. What its attachment owes, it owes still.
    pub(super) fn put(&mut self, port: Arc<Port>) -> Option<Arc<Port>> {
        let index = port.attachment.0 as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let slot = &mut self.slots[index];
        slot.disabled = false;
        slot.port.replace(port)
    }

    /// Takes this very port out.
    pub(super) fn take(&mut self, port: &Port) {
        if let Some(slot) = self.slots.get_mut(port.attachment.0 as usize)
            && slot.port.as_ref().is_some_and(|held| held.serial == port.serial)
        {
            *slot = Slot { account: slot.account.take(), ..Slot::default() };
        }
    }

    /// Uses it no more, and keeps it.
    pub(super) fn disable(&mut self, id: AttachmentId) {
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            slot.disabled = true;
        }
    }
}

/// Whether a target that was slow may be written to. Once that is long enough ago, it is like any
/// other.
#[cold]
fn may_cost(account: &mut Option<Account>, all: &mut Budget, at: Instant) -> bool {
    let Some(slow) = account else { return true };
    if slow.is_settled(at) {
        *account = None;
        return true;
    }
    slow.may_cost(all, at)
}
