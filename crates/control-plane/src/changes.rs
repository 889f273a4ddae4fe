//! The way from one plan to the next, in steps that an inventory can take.
//!
//! The steps are meant to be taken at once. Their order is the one in which each finds what it needs:
//! whoever goes leaves first, so that an address can pass to another in one reload.

use std::collections::{HashMap, HashSet};

use viaduct_topology::{
    ResourceId,
    inventory::{Attachment, AttachmentId, Change, Eni, EniOwner, Host},
};

use crate::plan::Plan;

/// The changes that make `previous` into `next`; none if they stand for the same inventory.
#[must_use]
pub fn changes(previous: &Plan, next: &Plan) -> Vec<Change> {
    let before: HashMap<_, _> = previous.enis.iter().map(|eni| (&eni.id, eni)).collect();
    let after: HashMap<_, _> = next.enis.iter().map(|eni| (&eni.id, eni)).collect();
    let is_same = |eni: &Eni| before.get(&eni.id).is_some_and(|before| same_interface(before, eni));
    // An interface that is another under the same id is taken out, and its host with it.
    let taken_out: HashSet<_> = previous
        .enis
        .iter()
        .filter(|eni| after.get(&eni.id).is_none_or(|after| !same_interface(eni, after)))
        .map(|eni| &eni.id)
        .collect();

    let hosts_after: HashMap<AttachmentId, &Attachment> =
        next.attachments.iter().map(|host| (host.id, host)).collect();
    let stands_on_taken_out = |host: &Attachment| match &host.host {
        Host::Environment { enis, .. } => enis.iter().any(|eni| taken_out.contains(eni)),
        Host::Instance { eni } => taken_out.contains(eni),
        _ => false,
    };
    let leaves =
        |host: &Attachment| hosts_after.get(&host.id) != Some(&host) || stands_on_taken_out(host);
    let gone: HashSet<AttachmentId> =
        previous.attachments.iter().filter(|host| leaves(host)).map(|host| host.id).collect();
    let stays: HashSet<AttachmentId> =
        previous.attachments.iter().map(|host| host.id).filter(|id| !gone.contains(id)).collect();

    let mut changes = Vec::new();
    let hosts = previous.attachments.iter().filter(|host| gone.contains(&host.id));
    changes.extend(hosts.map(|host| Change::RemoveAttachment(host.id)));
    let enis = previous.enis.iter().filter(|eni| taken_out.contains(&eni.id));
    // An address that a NAT gateway has no longer, while it still has others. In another subnet it
    // is another gateway.
    let remain: HashSet<_> = next.enis.iter().filter_map(gateway).collect();
    changes.extend(enis.map(|eni| match gateway(eni) {
        Some(gateway) if remain.contains(&gateway) && !after.contains_key(&eni.id) => {
            Change::DrainEni(eni.id.clone())
        }
        _ => Change::RemoveEni(eni.id.clone()),
    }));

    let changed: Vec<_> = next
        .enis
        .iter()
        .filter_map(|eni| Some((*before.get(&eni.id)?, eni)))
        .filter(|(before, eni)| same_interface(before, eni) && before != eni)
        .collect();
    // Two interfaces may exchange addresses: both let go before either takes.
    for (before, eni) in &changed {
        let letting_go = Eni {
            public_ip: before.public_ip.filter(|ip| eni.public_ip == Some(*ip)),
            secondary_private_ips: before
                .secondary_private_ips
                .iter()
                .copied()
                .filter(|ip| eni.secondary_private_ips.contains(ip))
                .collect(),
            ..(*before).clone()
        };
        if letting_go != **before {
            changes.push(Change::ReplaceEni(letting_go));
        }
    }
    changes.extend(changed.into_iter().map(|(_, eni)| Change::ReplaceEni(eni.clone())));
    let new = next.enis.iter().filter(|eni| !is_same(eni));
    changes.extend(new.cloned().map(Change::AddEni));
    // One that is added here and drains has been draining: the inventory must be told.
    let drains = |plan: &Plan| -> HashSet<ResourceId> {
        let enis = plan.lifecycle.sets().flat_map(|set| set.enis.values());
        enis.filter(|eni| eni.is_draining()).map(|eni| eni.id.clone()).collect()
    };
    let (drained, drain) = (drains(previous), drains(next));
    let begins =
        |eni: &&Eni| drain.contains(&eni.id) && !(drained.contains(&eni.id) && is_same(eni));
    changes.extend(next.enis.iter().filter(begins).map(|eni| Change::DrainEni(eni.id.clone())));
    let new = next.attachments.iter().filter(|host| !stays.contains(&host.id));
    changes.extend(new.cloned().map(Change::AddAttachment));
    changes
}

/// The NAT gateway whose interface this is, and where it stands.
fn gateway(eni: &Eni) -> Option<(&ResourceId, &ResourceId)> {
    match &eni.owner {
        EniOwner::NatGateway { id } => Some((id, &eni.subnet)),
        _ => None,
    }
}

/// Whether an interface is the one of before, whatever else of it has changed: its connections can
/// go on.
fn same_interface(before: &Eni, after: &Eni) -> bool {
    before.vpc == after.vpc
        && before.subnet == after.subnet
        && before.private_ip == after.private_ip
        && before.owner == after.owner
}
