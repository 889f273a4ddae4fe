//! What can be wrong with a change of the inventory.

use std::net::IpAddr;

use viaduct_topology::{ResourceId, inventory::AttachmentId};

/// Why an interface or attachment was not added, changed or removed. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// The id is taken.
    #[error("interface {0} is there already; remove it before adding it anew")]
    EniExists(ResourceId),
    /// Nothing has the id.
    #[error("there is no interface {0}")]
    UnknownEni(ResourceId),
    /// The kind of interface or host is not one this engine forwards for.
    #[error("{0} is of a kind that is not supported")]
    Unsupported(ResourceId),
    /// The host is of a kind that this engine does not forward for.
    #[error("attachment {0} is of a kind that is not supported")]
    UnsupportedHost(AttachmentId),
    /// Two interfaces or internet hosts cannot have one address.
    #[error("address {ip} of {id} is taken by {holder}; each address has one holder")]
    AddressTaken {
        /// The address.
        ip: IpAddr,
        /// Who asked for it.
        id: String,
        /// Who has it.
        holder: String,
    },
    /// A service has one host.
    #[error("attachment {host} answers for service {service} already; remove it first")]
    ServiceTaken {
        /// `vpce-svc-…`
        service: ResourceId,
        /// Its host.
        host: AttachmentId,
    },
    /// Only IPv4 is forwarded.
    #[error("{0} is not an IPv4 address; only IPv4 is forwarded")]
    NotIpv4(IpAddr),
    /// An attachment still needs the interface.
    #[error("interface {0} is in use by attachments; remove them first")]
    EniInUse(ResourceId),
    /// Nothing could take its new connections.
    #[error("interface {0} cannot drain: only NAT gateways and functions have others beside it")]
    NotDrained(ResourceId),
    /// A change that would make it another interface.
    #[error(
        "interface {0} cannot change its VPC, subnet, private address or owner; remove it and add it anew"
    )]
    EniIdentity(ResourceId),
    /// The identity is taken.
    #[error("attachment {0} is there already; remove it before adding it anew")]
    AttachmentExists(AttachmentId),
    /// 0 stands for the internet, and identities are dense.
    #[error("attachment {0} is out of range: identities count from 1 to 1,048,575")]
    IdentityOutOfRange(AttachmentId),
    /// Nothing has the identity.
    #[error("there is no attachment {0}")]
    UnknownAttachment(AttachmentId),
    /// The host's interface is not of its kind, or its interfaces are not of one key.
    #[error("interface {eni} cannot serve attachment {attachment}: {why}")]
    WrongEni {
        /// The interface.
        eni: ResourceId,
        /// The attachment.
        attachment: AttachmentId,
        /// What does not fit.
        why: &'static str,
    },
}
