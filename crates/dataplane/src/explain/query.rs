//! What is asked: from whom, to which address, which traffic.

use std::{fmt, net::Ipv4Addr, sync::Arc};

use viaduct_topology::{
    Handle, ResourceId, Topology,
    inventory::{AttachmentId, HyperplaneKey},
    model::{Endpoint, Function, PortRange, Subnet, Traffic, VpcEndpoint},
};

use crate::{
    inventory::{Interface, Inventory, Place},
    policy::{ICMP, TCP, UDP},
};

/// A flow to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Who opens it.
    pub from: Sender,
    /// The address it asks for.
    pub to: Ipv4Addr,
    /// What it sends.
    pub probe: Probe,
    /// Its source port, if that is known; otherwise any that the sender's system would use.
    pub source_port: Option<u16>,
    /// Whether to judge the request alone.
    pub one_way: bool,
}

/// Who opens a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The host at an attachment.
    Attachment(AttachmentId),
    /// Any environment of a function behind this Hyperplane ENI.
    Eni {
        /// `eni-…`
        id: ResourceId,
        /// What to call the sender: `function/api`.
        name: String,
    },
    /// Any environment of a function without a VPC.
    ServiceVpc {
        /// What to call the sender: `function/api`.
        name: String,
    },
}

/// What opens a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// TCP to this port.
    Tcp(u16),
    /// UDP to this port.
    Udp(u16),
    /// An ICMP message.
    Icmp {
        /// Its type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// Another protocol by its number.
    Protocol(u8),
}

impl Probe {
    /// An echo request.
    pub const PING: Self = Self::Icmp { kind: 8, code: 0 };

    /// The one flow that this traffic means. ICMP of no given type is an echo request.
    ///
    /// # Errors
    ///
    /// When it means many flows, or none.
    pub fn of(traffic: Traffic) -> Result<Self, QueryError> {
        match traffic {
            Traffic::Tcp(PortRange { first: 0, last: 0 })
            | Traffic::Udp(PortRange { first: 0, last: 0 }) => Err(QueryError::NoPort),
            Traffic::Tcp(ports) if ports.first == ports.last => Ok(Self::Tcp(ports.first)),
            Traffic::Udp(ports) if ports.first == ports.last => Ok(Self::Udp(ports.first)),
            Traffic::Icmp { kind: None, .. } => Ok(Self::PING),
            Traffic::Icmp { kind: Some(kind), code } => {
                Ok(Self::Icmp { kind, code: code.unwrap_or(0) })
            }
            Traffic::Protocol(protocol) => Ok(Self::Protocol(protocol)),
            Traffic::All | Traffic::Tcp(_) | Traffic::Udp(_) => Err(QueryError::ManyFlows),
        }
    }

    pub(super) const fn protocol_and_port(self) -> (u8, u16) {
        match self {
            Self::Tcp(port) => (TCP, port),
            Self::Udp(port) => (UDP, port),
            Self::Icmp { .. } => (ICMP, 0),
            Self::Protocol(protocol) => (protocol, 0),
        }
    }

    pub(super) const fn icmp(self) -> (u8, u8) {
        match self {
            Self::Icmp { kind, code } => (kind, code),
            _ => (0, 0),
        }
    }

    /// What answers it: nothing, or a packet, with type and code if it is ICMP.
    pub(super) const fn reply(self) -> Option<Option<(u8, u8)>> {
        match self {
            Self::Tcp(_) | Self::Udp(_) | Self::Protocol(_) => Some(None),
            Self::Icmp { kind: 8, .. } => Some(Some((0, 0))),
            // Timestamp, information and address mask request (RFC 792, RFC 950).
            Self::Icmp { kind: kind @ (13 | 15 | 17), .. } => Some(Some((kind + 1, 0))),
            Self::Icmp { .. } => None,
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "tcp/{port}"),
            Self::Udp(port) => write!(f, "udp/{port}"),
            Self::Icmp { kind: 8, code: 0 } => f.write_str("icmp"),
            Self::Icmp { kind, code } => write!(f, "icmp type {kind} code {code}"),
            Self::Protocol(protocol) => write!(f, "protocol/{protocol}"),
        }
    }
}

/// Why a question cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The sender is not there.
    #[error("there is no attachment {0} to explain from")]
    UnknownAttachment(AttachmentId),
    /// The sender's interface is not there.
    #[error("there is no interface {0} to explain from")]
    UnknownEni(ResourceId),
    /// An address sends nothing.
    #[error(
        "{0} is an address, and only a function, an instance or an internet host opens connections; name one of them"
    )]
    SenderIsAddress(std::net::IpAddr),
    /// The endpoint has no place in the running network.
    #[error("{0} has no address in the running network; load the topology that declares it")]
    NotThere(String),
    /// One flow was asked for.
    #[error("the traffic stands for many flows; name one protocol and one port, such as tcp/443")]
    ManyFlows,
    /// No packet to it is sound.
    #[error("port 0 is no port that anything can listen on; name another")]
    NoPort,
    /// Only IPv4 is forwarded.
    #[error("{0} is not an IPv4 address; only IPv4 is forwarded")]
    NotIpv4(std::net::IpAddr),
}

/// The questions that a line such as an `expect` asks: one, or for a function without a number one
/// for each of its subnets, if it has any, because each has its own ENI, network ACL and route table.
///
/// # Errors
///
/// When an end has no place in the inventory, or the traffic is more than one flow.
pub fn queries(
    topology: &Topology,
    inventory: &Inventory,
    from: &Endpoint,
    to: &Endpoint,
    traffic: Traffic,
) -> Result<Vec<Query>, QueryError> {
    let probe = Probe::of(traffic)?;
    let query = |from, to| Query { from, to, probe, source_port: None, one_way: false };
    match from {
        Endpoint::Address(ip) => Err(QueryError::SenderIsAddress(*ip)),
        Endpoint::Function(function, None) if topology.function_vpc(*function).is_none() => {
            let to = destination(topology, inventory, None, to)?;
            Ok(vec![query(Sender::ServiceVpc { name: topology.endpoint(from) }, to)])
        }
        Endpoint::Function(function, None) => {
            let name = topology.endpoint(from);
            let mut asked = Vec::new();
            for key in keys(topology, *function) {
                let eni =
                    inventory.eni_of_key(&key).ok_or_else(|| QueryError::NotThere(name.clone()))?;
                let to = destination(topology, inventory, Some(&eni), to)?;
                asked.push(query(Sender::Eni { id: eni.id.clone(), name: name.clone() }, to));
            }
            Ok(asked)
        }
        _ => {
            let id = attachment(topology, inventory, from)?;
            let eni = match inventory.attachment(id).as_deref().map(|it| &it.place) {
                Some(Place::Environment { enis, .. }) => {
                    enis.and_then(|enis| inventory.first_eni(enis))
                }
                Some(Place::Instance(interface)) => Some(Arc::clone(interface)),
                _ => None,
            };
            let to = destination(topology, inventory, eni.as_deref(), to)?;
            Ok(vec![query(Sender::Attachment(id), to)])
        }
    }
}

/// The address that a sender, behind this interface if it is in a VPC, would use for `to`.
fn destination(
    topology: &Topology,
    inventory: &Inventory,
    sender: Option<&Interface>,
    to: &Endpoint,
) -> Result<Ipv4Addr, QueryError> {
    let not_there = || QueryError::NotThere(topology.endpoint(to));
    match to {
        Endpoint::Address(std::net::IpAddr::V4(ip)) => Ok(*ip),
        Endpoint::Address(ip) => Err(QueryError::NotIpv4(*ip)),
        Endpoint::Service(service) => match topology.services[*service].ip {
            std::net::IpAddr::V4(ip) => Ok(ip),
            ip => Err(QueryError::NotIpv4(ip)),
        },
        Endpoint::VpcEndpoint(endpoint) => {
            endpoint_address(topology, inventory, *endpoint, sender).ok_or_else(not_there)
        }
        // Nothing can reach a function; what can be tried is its ENI's address (LAM-02), or that of the
        // service VPC's NAT.
        Endpoint::Function(function, None) => match keys(topology, *function).first() {
            Some(key) => inventory.eni_of_key(key).map(|eni| eni.ip),
            None => inventory.service_vpc_ip(),
        }
        .ok_or_else(not_there),
        Endpoint::Function(_, Some(_)) | Endpoint::Instance(_) | Endpoint::Internet(_) => {
            let id = attachment(topology, inventory, to)?;
            let attachment = inventory.attachment(id).ok_or_else(not_there)?;
            match &attachment.place {
                Place::Environment { enis, .. } => match enis {
                    Some(enis) => inventory.first_eni(*enis).map(|eni| eni.ip),
                    None => inventory.service_vpc_ip(),
                }
                .ok_or_else(not_there),
                // Outside of all VPCs, an instance is known by its public address, if it has one.
                Place::Instance(interface) => Ok(match (sender, interface.public_ip) {
                    (None, Some(ip)) => ip,
                    _ => interface.ip,
                }),
                Place::Internet(ip) => Ok(*ip),
                Place::Service(_) => Err(not_there()),
            }
        }
    }
}

/// Where an interface endpoint is for this sender.
fn endpoint_address(
    topology: &Topology,
    inventory: &Inventory,
    endpoint: Handle<VpcEndpoint>,
    sender: Option<&Interface>,
) -> Option<Ipv4Addr> {
    let number = |subnet: Handle<Subnet>| inventory.subnet_number(&topology.subnets[subnet].id);
    let is_home = |subnet: &Handle<Subnet>| {
        sender.is_some_and(|sender| number(*subnet) == Some(sender.subnet))
    };
    let home = topology.subnets.iter().map(|(handle, _)| handle).find(is_home);
    let subnet = number(topology.endpoint_subnet(endpoint, home)?);
    let enis = inventory.enis_of_endpoint(&topology.vpc_endpoints[endpoint].id);
    enis.iter().find(|eni| subnet == Some(eni.subnet)).map(|eni| eni.ip)
}

/// The attachment of an endpoint, by its name.
fn attachment(
    topology: &Topology,
    inventory: &Inventory,
    endpoint: &Endpoint,
) -> Result<AttachmentId, QueryError> {
    let name = topology.endpoint(endpoint);
    inventory
        .attachments()
        .iter()
        .find(|attachment| attachment.name == name)
        .map(|attachment| attachment.id)
        .ok_or(QueryError::NotThere(name))
}

/// The keys of a function's ENIs, a subnet each (LAM-04).
fn keys(topology: &Topology, function: Handle<Function>) -> Vec<HyperplaneKey> {
    let function = &topology.functions[function];
    let mut security_groups: Vec<_> = function
        .security_groups
        .iter()
        .map(|group| topology.security_groups[*group].id.clone())
        .collect();
    security_groups.sort();
    let key = |subnet: &Handle<Subnet>| HyperplaneKey {
        account: function.account.clone(),
        subnet: topology.subnets[*subnet].id.clone(),
        security_groups: security_groups.clone(),
        ordinal: 0,
    };
    function.subnets.iter().map(key).collect()
}
