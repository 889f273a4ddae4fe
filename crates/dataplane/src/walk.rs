//! The walk of a packet through the VPC: the only place where policy is decided.
//!
//! [`forward`] takes the first packet of a connection from its sender to its receiver and returns
//! the [`Path`], or the first reason against it. [`back`] judges a reply, `along` an ICMP error
//! that travels with the request. Live packets, `explain` and tests take the same walk; they differ
//! in the [`Recorder`].
//!
//! The order of checks (SG-37): source → function → security groups out → V2N NAT → network ACL out
//! → route → target; at the target: network ACL in → interface → security groups in. Network ACLs
//! are asked only where a subnet's border is crossed (ACL-08), security groups always (SG-36).
//!
//! A route may lead through an appliance, an instance that forwards what is not its own. There a
//! connection ends: what the appliance sends on is another one, judged when it comes in.
//!
//! An endpoint leads out of the VPC to a service: a gateway endpoint by a route, an interface endpoint
//! by the address of its interface. Behind either, the packet is at the service's host.
//!
//! A function without a VPC stands in the service VPC like all others, and leaves it by its NAT: to the
//! internet, and nowhere else (LAM-12). No group, ACL or route is asked.
//!
//! A way has at most three legs: to a NAT gateway, from there to an internet gateway, and from the
//! internet into a VPC. A packet passes one NAT gateway; a route that leads it to a second is a
//! `ROUTING_LOOP`, and with that the walk is bounded.

mod back;
mod endpoints;
mod gateways;
mod judge;
mod path;
mod steps;

use viaduct_topology::{Reason, inventory::AttachmentId, model::PortRange};
use viaduct_wire::{Flow, L4};

pub use self::{
    back::back,
    path::{Choice, Leg, Node, Path, TRANSLATORS, Tracking, Translated},
};
pub(crate) use self::{
    back::{along_within, back_within},
    gateways::admitted,
    path::{NAT, SERVICE, V2N},
    steps::{Origin, Walk, Walked},
};
use crate::{
    inventory::{Attachment, Inventory, Place, View},
    policy::Policy,
    recorder::{Blind, Header, Recorder},
};

/// What is asked about: a packet, or (when explaining) all packets with one of several source ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Protocol, addresses and ports as the sender writes them.
    pub flow: Flow,
    /// ICMP type and code; meaningless for other protocols.
    pub icmp: (u8, u8),
    /// The source ports it may have; one for a packet.
    pub source_ports: PortRange,
}

impl Subject {
    /// The subject that a packet is.
    #[must_use]
    pub fn packet(flow: Flow, l4: L4) -> Self {
        let icmp = l4.icmp().unwrap_or_default();
        Self { flow, icmp, source_ports: PortRange::single(flow.source_port) }
    }

    fn header(&self) -> Header {
        Header {
            flow: self.flow,
            source_ports: self.source_ports,
            destination_ports: PortRange::single(self.flow.destination_port),
        }
    }
}

/// What is known of the packet beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// For a packet of a connection in being: which of its ends track it. Their security groups
    /// are not asked again (SG-22).
    pub tracked: Tracking,
    /// Which interface each translator is, where there are several: of the key's Hyperplane ENIs,
    /// of the NAT gateway's addresses.
    pub choices: [Choice; TRANSLATORS],
}

impl Options {
    /// For another packet of the connection that took this path.
    #[must_use]
    pub fn again(path: &Path) -> Self {
        Self {
            tracked: path.tracking,
            choices: path.translators().map(|it| Choice::held(it.and_then(|it| it.table()))),
        }
    }
}

/// Walks a request from where it came in to where it is going.
///
/// # Errors
///
/// The reason of the first blocker.
pub fn forward<R: Recorder>(
    policy: &Policy,
    inventory: &Inventory,
    ingress: AttachmentId,
    subject: &Subject,
    options: Options,
    recorder: &mut R,
) -> Result<Path, Reason> {
    forward_within(policy, &inventory.view(), ingress, subject, options, recorder)
}

/// [`forward`], for whoever has a view of the inventory.
pub(crate) fn forward_within<R: Recorder>(
    policy: &Policy,
    view: &View<'_>,
    ingress: AttachmentId,
    subject: &Subject,
    options: Options,
    recorder: &mut R,
) -> Result<Path, Reason> {
    // Removed while its packet was on the way here.
    let attachment = view.attachment(ingress).ok_or(Reason::AttachmentDown)?;
    let walked = Walk::new(policy, view, subject, options, recorder).run(origin(attachment, view));
    match (walked.blocked, walked.path) {
        (None, Some(path)) => Ok(path),
        (Some(reason), _) => Err(reason),
        (None, None) => unreachable!("a walk that ends nowhere names a blocker"),
    }
}

/// Walks the way of a connection in being again, on behind blockers: where it leads now, and what a
/// request would meet on it.
pub(crate) fn retrace(
    policy: &Policy,
    view: &View<'_>,
    ingress: AttachmentId,
    subject: &Subject,
    options: Options,
) -> Walked {
    match view.attachment(ingress) {
        Some(attachment) => {
            Walk::new(policy, view, subject, options, &mut Blind).run(origin(attachment, view))
        }
        None => Walked { path: None, blocked: Some(Reason::AttachmentDown) },
    }
}

fn origin<'a>(attachment: &'a Attachment, view: &'a View<'_>) -> Origin<'a> {
    match &attachment.place {
        Place::Environment { enis: Some(enis), former, .. } => {
            Origin::Environment(view.enis(*enis), former)
        }
        Place::Environment { enis: None, .. } => Origin::ServiceVpc(view.service_vpc()),
        Place::Instance(interface) => Origin::Instance(interface),
        Place::Internet(ip) => Origin::Internet(*ip),
        Place::Service(service) => Origin::Service(*service),
    }
}
