//! What comes and goes while the network runs: interfaces, and the hosts attached to them.
//!
//! Inventory refers to policy (VPCs, subnets, groups) by [`ResourceId`], because it outlives the
//! topology it was planned from: a reload exchanges the policy and leaves it standing.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use crate::id::ResourceId;

/// One step from an inventory to another. Several of them, made at once, are a reload.
///
/// They are made in their order, so what one needs or takes must have been added or left before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new interface.
    AddEni(Eni),
    /// An interface that carries other groups, or has another public address or source/destination
    /// check. It keeps its ports.
    ReplaceEni(Eni),
    /// An interface that takes no new connections: those go to the others of its kind. A NAT gateway's
    /// address is removed when those that it has had time to end (NAT-07), a Hyperplane ENI when it is
    /// said.
    DrainEni(ResourceId),
    /// An interface that is needed no more.
    RemoveEni(ResourceId),
    /// A new host; or, with the identity of one that was removed before, the same in another place.
    AddAttachment(Attachment),
    /// A host that is there no more.
    RemoveAttachment(AttachmentId),
}

/// The address of every function environment, seen from inside. All are alike so that a snapshot
/// of one can be started a thousand times; the ENI's address is what the VPC sees (LAM-02).
pub const ENVIRONMENT_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 100, 2);

/// The router that every function environment sees; internet hosts see the same.
pub const ENVIRONMENT_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 100, 1);

/// A network interface in a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eni {
    /// `eni-…`
    pub id: ResourceId,
    /// The VPC it is in.
    pub vpc: ResourceId,
    /// The subnet it is in.
    pub subnet: ResourceId,
    /// Its private address; the primary one if it has several.
    pub private_ip: IpAddr,
    /// Its other private addresses.
    pub secondary_private_ips: Vec<IpAddr>,
    /// The address that the internet gateway gives it (IGW-03).
    pub public_ip: Option<IpAddr>,
    /// The groups it carries; none for a NAT gateway (NAT-13).
    pub security_groups: Vec<ResourceId>,
    /// What it belongs to.
    pub owner: EniOwner,
    /// Whether packets that are not its own are dropped (RT-21).
    pub source_dest_check: bool,
}

/// What an interface belongs to, and with that, what it does to packets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EniOwner {
    /// A Hyperplane ENI: functions leave through it by V2N source NAT (LAM-02).
    Functions(HyperplaneKey),
    /// An instance's interface.
    Instance {
        /// `i-…`
        id: ResourceId,
        /// `instance/db`
        path: String,
    },
    /// A NAT gateway's interface, one for each of its addresses.
    NatGateway {
        /// `nat-…`
        id: ResourceId,
    },
    /// An interface endpoint's interface in a subnet (EP-09).
    VpcEndpoint {
        /// `vpce-…`
        id: ResourceId,
        /// `vpc_endpoint/lambda`
        path: String,
    },
    /// The service's side of an endpoint: what comes through it has this address there, so that
    /// tenants with the same addresses do not collide. It stands in the service's own network, whose
    /// VPC and subnet are both named by the service's id.
    ServiceSide {
        /// `vpce-…`
        endpoint: ResourceId,
        /// `vpc_endpoint/lambda`
        path: String,
    },
    /// An address of the service VPC's NAT, through which functions without a VPC leave (LAM-12). It is
    /// public and private at once, and stands in a VPC and a subnet that no topology has.
    ServiceVpc,
}

/// What functions must have in common to share an ENI (LAM-03), and which of the key's ENIs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HyperplaneKey {
    /// The account (LAM-05).
    pub account: String,
    /// The subnet (LAM-04).
    pub subnet: ResourceId,
    /// The set of groups, sorted.
    pub security_groups: Vec<ResourceId>,
    /// 0 for the first ENI of the key; more come when one is full (LAM-07).
    pub ordinal: u32,
}

/// Where packets come from and go to. The identity survives re-attaching; it is never a file
/// descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttachmentId(pub u32);

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A host that can be attached: its place in the network, whether or not something is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Its identity.
    pub id: AttachmentId,
    /// `function/api/1`, `instance/db`, `internet/web`; prefixed `vpc/` where needed.
    pub name: String,
    /// What stands there.
    pub host: Host,
}

/// What stands at an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Host {
    /// A function's execution environment, and the ENIs its connections may use: the first that
    /// has room carries the next one (LAM-07).
    Environment {
        /// The function's name.
        function: String,
        /// `eni-…`, in the order of their ordinals; all of one key. None of a function without a VPC:
        /// it leaves through the service VPC's NAT.
        enis: Vec<ResourceId>,
    },
    /// An instance with its interface.
    Instance {
        /// `eni-…`
        eni: ResourceId,
    },
    /// A host of the internet.
    Internet {
        /// Its public address.
        ip: IpAddr,
    },
    /// The host of a service, which answers at all of the service's addresses.
    Service {
        /// `vpce-svc-…`
        id: ResourceId,
    },
}
