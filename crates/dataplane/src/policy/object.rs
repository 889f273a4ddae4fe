//! The objects of a policy that are no tables of rules: where they stand, and what they join.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use viaduct_topology::ResourceId;

use super::{NetworkAcl, Number, RouteTable, prefix::PrefixTable};

/// A prefix list.
#[derive(Debug, PartialEq, Eq)]
pub struct PrefixList {
    /// `pl-…`
    pub id: ResourceId,
    /// `prefix_list/offices`
    pub name: String,
    /// Its number.
    pub number: Number<Self>,
    /// Its blocks, of either family.
    pub entries: Box<[IpNet]>,
}

/// A virtual network.
#[derive(Debug, PartialEq, Eq)]
pub struct Vpc {
    /// `vpc-…`
    pub id: ResourceId,
    /// The key in the file.
    pub name: String,
    /// The account that owns it.
    pub account: String,
    /// Its blocks, the primary first.
    pub cidr_blocks: Box<[Ipv4Net]>,
    /// Its resolver: base of the primary block + 2 (DNS-01).
    pub resolver: Option<Ipv4Addr>,
    /// The attached internet gateway.
    pub internet_gateway: Option<Number<InternetGateway>>,
    pub(super) subnets: PrefixTable<Number<Subnet>>,
}

impl Vpc {
    /// The subnet whose block contains the address.
    #[must_use]
    pub fn subnet_of(&self, address: Ipv4Addr) -> Option<Number<Subnet>> {
        self.subnets.find(address)
    }

    /// Whether the address lies in one of the VPC's blocks.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.cidr_blocks.iter().any(|block| block.contains(&address))
    }
}

/// A subnet.
#[derive(Debug, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-…`
    pub id: ResourceId,
    /// `main/subnet/private`
    pub name: String,
    /// Its availability zone, such as `a`.
    pub zone: String,
    /// The VPC it is a part of.
    pub vpc: Number<Vpc>,
    /// Its addresses.
    pub cidr_block: Ipv4Net,
    /// The table in force (RT-01).
    pub route_table: Number<RouteTable>,
    /// The ACL in force (ACL-01).
    pub network_acl: Number<NetworkAcl>,
    /// The accounts whose interfaces may send and get something, if not whoever has one: the owner's
    /// and those that it is shared with (SHR-10).
    pub admitted: Option<Box<[String]>>,
}

/// An internet gateway.
#[derive(Debug, PartialEq, Eq)]
pub struct InternetGateway {
    /// `igw-…`
    pub id: ResourceId,
    /// `main/internet_gateway/igw`
    pub name: String,
    /// The VPC it is attached to.
    pub vpc: Number<Vpc>,
    /// The table that packets from the internet are routed by, if there is one (RT-16).
    pub route_table: Option<Number<RouteTable>>,
}

/// A NAT gateway. Its addresses are interfaces, and so belong to the inventory.
#[derive(Debug, PartialEq, Eq)]
pub struct NatGateway {
    /// `nat-…`
    pub id: ResourceId,
    /// `main/nat_gateway/egress`
    pub name: String,
    /// The subnet it stands in.
    pub subnet: Number<Subnet>,
    /// Whether it only carries the connections that it has (NAT-20).
    pub deleting: bool,
}

/// A service beyond the VPCs.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// `vpce-svc-…`
    pub id: ResourceId,
    /// `service/s3`
    pub name: String,
    /// The address that its name stands for; interface endpoints lead there.
    pub ip: Ipv4Addr,
    /// The blocks it answers at.
    pub blocks: Box<[Ipv4Net]>,
    /// Its own network, in which its endpoints have addresses.
    pub network: Number<Vpc>,
}

impl Service {
    /// Whether the address is one of the service's own.
    #[must_use]
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.blocks.iter().any(|block| block.contains(&address))
    }
}

/// An endpoint. Its addresses are interfaces, and so belong to the inventory.
#[derive(Debug, PartialEq, Eq)]
pub struct VpcEndpoint {
    /// `vpce-…`
    pub id: ResourceId,
    /// `main/vpc_endpoint/s3`
    pub name: String,
    /// Its number.
    pub number: Number<Self>,
    /// Where it leads.
    pub service: Number<Service>,
    /// Whether routes lead to it (EP-02), rather than the address of an interface (EP-09).
    pub is_gateway: bool,
}

/// A peering connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Peering {
    /// `pcx-…`
    pub id: ResourceId,
    /// `vpc_peering_connection/ab`
    pub name: String,
    /// The VPCs that it joins.
    pub vpcs: [Number<Vpc>; 2],
}

impl Peering {
    /// Where it leads from a VPC.
    #[must_use]
    pub fn other(&self, vpc: Number<Vpc>) -> Option<Number<Vpc>> {
        match self.vpcs {
            [one, other] if one == vpc => Some(other),
            [other, one] if one == vpc => Some(other),
            _ => None,
        }
    }
}

/// An instance that a route leads to. Its interface belongs to the inventory.
#[derive(Debug, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`
    pub id: ResourceId,
    /// `main/instance/firewall`
    pub name: String,
}
