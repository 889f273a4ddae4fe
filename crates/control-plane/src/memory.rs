//! What the plan before gave out: the memory that makes a reload one.
//!
//! Everything is remembered by what does not change while a thing stays the same thing: an
//! interface by its id (of a Hyperplane ENI, that is the key), a NAT gateway's further ones by their
//! public address, an instance's host by its interface, a service's by the service, any other host
//! by its name. So a file may be
//! reordered, and an instance renamed by another VPC's namesake, and nothing moves.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use viaduct_topology::{
    ResourceId,
    inventory::{Attachment, AttachmentId, Eni, EniOwner, Host},
};

use crate::plan::Plan;

/// What the plan before gave out.
pub(crate) struct Memory<'p> {
    enis: HashMap<&'p ResourceId, &'p Eni>,
    hosts: HashMap<Identity<'p>, &'p Attachment>,
    /// Identities of attachments that were ever given out.
    issued: u32,
}

/// What makes a host the same host.
#[derive(PartialEq, Eq, Hash)]
enum Identity<'p> {
    Id(&'p ResourceId),
    Name(&'p str),
}

impl<'p> Identity<'p> {
    fn of(name: &'p str, host: &'p Host) -> Self {
        match host {
            Host::Instance { eni } => Self::Id(eni),
            Host::Service { id } => Self::Id(id),
            _ => Self::Name(name),
        }
    }
}

impl<'p> Memory<'p> {
    /// Remembers this plan.
    pub(crate) fn of(plan: &'p Plan) -> Self {
        let hosts = plan.attachments.iter();
        Self {
            enis: plan.enis.iter().map(|eni| (&eni.id, eni)).collect(),
            hosts: hosts
                .map(|attachment| (Identity::of(&attachment.name, &attachment.host), attachment))
                .collect(),
            issued: plan.issued,
        }
    }

    /// All interfaces.
    pub(crate) fn enis(&self) -> impl Iterator<Item = &'p Eni> {
        self.enis.values().copied()
    }

    /// The address that an interface had in this subnet.
    pub(crate) fn address(&self, eni: &ResourceId, subnet: &ResourceId) -> Option<IpAddr> {
        self.enis.get(eni).filter(|eni| eni.subnet == *subnet).map(|eni| eni.private_ip)
    }

    /// All addresses in use in a subnet.
    pub(crate) fn addresses(&self, subnet: &ResourceId) -> BTreeSet<IpAddr> {
        let enis = self.enis.values().filter(|eni| eni.subnet == *subnet);
        enis.flat_map(|eni| {
            [eni.private_ip].into_iter().chain(eni.secondary_private_ips.iter().copied())
        })
        .collect()
    }

    /// The interface that a NAT gateway had for a public address.
    pub(crate) fn nat_eni(&self, gateway: &ResourceId, public_ip: IpAddr) -> Option<&'p Eni> {
        let of_gateway =
            |eni: &Eni| matches!(&eni.owner, EniOwner::NatGateway { id } if id == gateway);
        self.enis.values().copied().find(|eni| of_gateway(eni) && eni.public_ip == Some(public_ip))
    }

    /// The subnet in which a function's environment of this name stands.
    pub(crate) fn placement(&self, environment: &str) -> Option<&'p ResourceId> {
        match &self.hosts.get(&Identity::Name(environment))?.host {
            Host::Environment { enis, .. } => {
                enis.first().and_then(|eni| self.enis.get(eni)).map(|eni| &eni.subnet)
            }
            _ => None,
        }
    }

    /// The identity that a host has; a new one if it is new.
    pub(crate) fn attachment(&mut self, name: &str, host: &Host) -> AttachmentId {
        match self.hosts.get(&Identity::of(name, host)) {
            Some(attachment) => attachment.id,
            None => {
                self.issued = self.issued.checked_add(1).expect("fewer than 2^32 hosts");
                AttachmentId(self.issued)
            }
        }
    }

    /// Identities that were ever given out.
    pub(crate) fn issued(&self) -> u32 {
        self.issued
    }
}
