//! A resolved topology: typed references, defaults filled in, consistent by construction.
//!
//! Only [`resolve`](crate::resolve::resolve) makes one, so that whoever holds a [`Topology`] need
//! not check it again. Field names are AWS's own in snake case.

mod settings;

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

pub use self::settings::{ConnectionTracking, Lifecycle, NatTimeouts, Profile, Settings};
use crate::{
    arena::{Arena, Handle},
    iam::Policy,
    id::ResourceId,
    reason::Reason,
    spec::Span,
};

/// The account of whatever names none: the one of AWS's own examples.
pub const DEFAULT_ACCOUNT: &str = "123456789012";

/// Whether this is the number of an account: twelve digits.
#[must_use]
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Everything a file declares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Timers, limits and rates, each with the default of its profile.
    pub settings: Settings,
    /// The accounts between which subnets can be shared, sorted, without repetition (SHR-01).
    pub organization: Vec<String>,
    /// Where functions stand.
    pub service_vpc: ServiceVpc,
    /// Named sets of blocks.
    pub prefix_lists: Arena<PrefixList>,
    /// The virtual networks.
    pub vpcs: Arena<Vpc>,
    /// Subnets of all VPCs.
    pub subnets: Arena<Subnet>,
    /// Route tables of all VPCs.
    pub route_tables: Arena<RouteTable>,
    /// Network ACLs of all VPCs.
    pub network_acls: Arena<NetworkAcl>,
    /// Security groups of all VPCs.
    pub security_groups: Arena<SecurityGroup>,
    /// Internet gateways; at most one a VPC (IGW-01).
    pub internet_gateways: Arena<InternetGateway>,
    /// NAT gateways of all VPCs.
    pub nat_gateways: Arena<NatGateway>,
    /// What joins VPCs.
    pub vpc_peering_connections: Arena<VpcPeeringConnection>,
    /// Services beyond the VPCs, such as S3.
    pub services: Arena<Service>,
    /// Endpoints of all VPCs.
    pub vpc_endpoints: Arena<VpcEndpoint>,
    /// Instances of all VPCs.
    pub instances: Arena<Instance>,
    /// Execution roles.
    pub roles: Arena<Role>,
    /// Who calls the API. Without any, everybody may do everything in the default account.
    pub principals: Vec<Principal>,
    /// Lambda functions.
    pub functions: Arena<Function>,
    /// Hosts of the internet.
    pub internet_hosts: Arena<InternetHost>,
    /// What the file expects of its own network.
    pub expectations: Vec<Expectation>,
}

/// The VPC of the service itself, in which all functions stand and which no customer sees (LAM-01).
/// Those that are of no VPC reach the internet through its NAT, and nothing else (LAM-12).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceVpc {
    /// The addresses of its NAT: what the internet sees of functions without a VPC. At least one
    /// unless the file has taken every address there is to be had.
    pub public_ips: Vec<IpAddr>,
}

/// A named set of blocks, to be written once and used in rules and routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixList {
    /// `pl-…`
    pub id: ResourceId,
    /// The key in the file.
    pub name: String,
    /// Its blocks, canonical; of one family, no two alike.
    pub entries: Vec<IpNet>,
    /// What it counts for in the quotas of rules and routes, however many entries it has (SG-31,
    /// RT-23).
    pub max_entries: u32,
}

/// A virtual network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// `vpc-…`
    pub id: ResourceId,
    /// The key in the file.
    pub name: String,
    /// The account that owns it, and with it all that stands in it but for what participants have
    /// in subnets that are shared with them.
    pub account: String,
    /// Primary block first (the resolver is at its base + 2, DNS-01).
    pub cidr_blocks: Vec<IpNet>,
    /// For subnets that name no table (RT-01).
    pub main_route_table: Handle<RouteTable>,
    /// For subnets that name no ACL (ACL-01).
    pub default_network_acl: Handle<NetworkAcl>,
    /// For interfaces that name no group (SG-05).
    pub default_security_group: Handle<SecurityGroup>,
    /// The attached internet gateway.
    pub internet_gateway: Option<Handle<InternetGateway>>,
}

impl Topology {
    /// Whether an account may have interfaces made in a subnet: its owner may, and whom it is shared
    /// with (SHR-03).
    #[must_use]
    pub fn admits(&self, subnet: Handle<Subnet>, account: &str) -> bool {
        let subnet = &self.subnets[subnet];
        self.vpcs[subnet.vpc].account == account
            || subnet.shared_with.iter().any(|participant| participant == account)
    }
}

/// A subnet of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// `subnet-…`
    pub id: ResourceId,
    /// The key in the file.
    pub name: String,
    /// The VPC it is a part of.
    pub vpc: Handle<Vpc>,
    /// Its addresses; the first four and the last are reserved (ADR-01).
    pub cidr_block: IpNet,
    /// Its zone, such as `a`.
    pub availability_zone: String,
    /// The table in force: named, or the VPC's main one.
    pub route_table: Handle<RouteTable>,
    /// The ACL in force: named, or the VPC's default one.
    pub network_acl: Handle<NetworkAcl>,
    /// The accounts that may have interfaces here beside the VPC's owner: its participants, sorted,
    /// without repetition (SHR-03).
    pub shared_with: Vec<String>,
    /// What becomes of the interfaces of an account with which it is shared no more.
    pub on_unshare: OnUnshare,
}

/// What becomes of interfaces in a subnet that is shared with their account no more.
///
/// In both cases no new ones are made, and those that are there hold the subnet in its place (SHR-09).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnUnshare {
    /// They go on, and so do their connections, old and new (SHR-09, SHR-10).
    #[default]
    Keep,
    /// They stand, and nothing passes them any more.
    Cut,
}

impl OnUnshare {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Cut => "cut",
        }
    }
}

impl fmt::Display for OnUnshare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A route table. Its routes include the VPC's local ones (RT-03).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    /// `rtb-…`
    pub id: ResourceId,
    /// The key in the file.
    pub name: String,
    /// The VPC it belongs to.
    pub vpc: Handle<Vpc>,
    /// Local routes first, then in the file's order, a route to a prefix list as one for each entry,
    /// then those of endpoints; no two with one destination.
    pub routes: Vec<Route>,
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it matches, canonical.
    pub destination: IpNet,
    /// The prefix list that this is an entry of.
    pub prefix_list: Option<Handle<PrefixList>>,
    /// Where it leads.
    pub target: RouteTarget,
}

/// Where a route leads (RT-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RouteTarget {
    /// The VPC itself.
    Local,
    /// The VPC's internet gateway.
    InternetGateway(Handle<InternetGateway>),
    /// A NAT gateway of the VPC.
    NatGateway(Handle<NatGateway>),
    /// The other VPC of a peering connection (RT-28).
    VpcPeeringConnection(Handle<VpcPeeringConnection>),
    /// An instance of the VPC, which is to forward what is not its own: a middlebox (RT-19).
    Instance(Handle<Instance>),
    /// A gateway endpoint of the VPC: only in routes that the endpoint itself brings (EP-03).
    VpcEndpoint(Handle<VpcEndpoint>),
    /// Nowhere: packets are dropped, never matched by a shorter prefix instead (RT-14).
    Blackhole,
}

/// A network ACL: ordered and stateless. What no rule matches is denied (ACL-03).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkAcl {
    /// `acl-…`
    pub id: ResourceId,
    /// The key in the file; `default` for the VPC's own.
    pub name: String,
    /// The VPC it belongs to.
    pub vpc: Handle<Vpc>,
    /// For packets entering a subnet, ascending by number.
    pub ingress: Vec<AclRule>,
    /// For packets leaving a subnet, ascending by number.
    pub egress: Vec<AclRule>,
}

/// One numbered rule of a network ACL (ACL-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclRule {
    /// 1..=32766 (ACL-02).
    pub number: u16,
    /// What becomes of what it matches.
    pub action: AclAction,
    /// Protocol and ports, or ICMP type and code.
    pub traffic: Traffic,
    /// The source's block for ingress, the destination's for egress.
    pub cidr_block: IpNet,
}

/// What becomes of a packet that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclAction {
    /// It passes.
    Allow,
    /// It is dropped.
    Deny,
}

/// A security group: stateful, allow-only (SG-01).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    /// `sg-…`
    pub id: ResourceId,
    /// The key in the file; `default` for the VPC's own.
    pub name: String,
    /// The VPC it belongs to.
    pub vpc: Handle<Vpc>,
    /// The account that owns it: the VPC's owner, or a participant (SHR-03).
    pub account: String,
    /// Who may open connections to its interfaces.
    pub ingress: Vec<SgRule>,
    /// To whom its interfaces may open connections.
    pub egress: Vec<SgRule>,
}

/// One rule of a security group: traffic and its one peer (SG-06).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SgRule {
    /// Protocol and ports, or ICMP type and code.
    pub traffic: Traffic,
    /// The other side.
    pub peer: SgPeer,
}

/// The other side of a security group's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SgPeer {
    /// Addresses.
    Cidr(IpNet),
    /// Private addresses of the interfaces that carry the group (SG-07).
    Group(Handle<SecurityGroup>),
    /// The blocks of a prefix list.
    PrefixList(Handle<PrefixList>),
}

/// What a rule or an expectation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// Every protocol, every port (`-1`).
    All,
    /// TCP to these destination ports.
    Tcp(PortRange),
    /// UDP to these destination ports.
    Udp(PortRange),
    /// ICMP of this type and code; `None` is any (SG-15).
    Icmp {
        /// The ICMP type.
        kind: Option<u8>,
        /// The ICMP code.
        code: Option<u8>,
    },
    /// Another protocol by its number; ports do not exist (SG-13, ACL-12).
    Protocol(u8),
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 0, last: 65_535 };

    /// The range of one port.
    #[must_use]
    pub const fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// Whether the port is in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// An internet gateway, attached to one VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternetGateway {
    /// `igw-…`
    pub id: ResourceId,
    /// The name in the file.
    pub name: String,
    /// The VPC it is attached to.
    pub vpc: Handle<Vpc>,
    /// The table that says where packets from the internet go, if it is not simply the VPC (RT-16).
    pub route_table: Option<Handle<RouteTable>>,
}

/// How far the life of a NAT gateway is (NAT-20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NatGatewayState {
    /// Being made: it carries nothing yet.
    Pending,
    /// Could not be made: it never carries anything.
    Failed,
    /// It works.
    #[default]
    Available,
    /// It carries the connections it has, and takes no new ones.
    Deleting,
    /// It is gone, and routes to it are blackholes (NAT-22).
    Deleted,
}

impl NatGatewayState {
    /// The word for it, AWS's own.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Failed => "failed",
            Self::Available => "available",
            Self::Deleting => "deleting",
            Self::Deleted => "deleted",
        }
    }

    /// Whether it has its interfaces, and carries something.
    #[must_use]
    pub const fn is_there(self) -> bool {
        matches!(self, Self::Available | Self::Deleting)
    }
}

impl fmt::Display for NatGatewayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Whether a NAT gateway leads to the internet (NAT-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Its addresses have public ones.
    Public,
    /// They have none: an internet gateway drops what comes from it.
    Private,
}

/// A NAT gateway (NAT-01).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatGateway {
    /// `nat-…`
    pub id: ResourceId,
    /// The key in the file.
    pub name: String,
    /// The subnet it stands in.
    pub subnet: Handle<Subnet>,
    /// Its private address, if the file names one.
    pub private_ip: Option<IpAddr>,
    /// How many private addresses it has: 1 to 8 (NAT-06).
    pub addresses: u32,
    /// The public addresses that go with them, the primary first; none of a private gateway.
    pub public_ips: Vec<IpAddr>,
    /// How far its life is.
    pub state: NatGatewayState,
}

/// A connection between two VPCs, whose blocks do not overlap. Which of them asked for it means
/// nothing to packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcPeeringConnection {
    /// `pcx-…`
    pub id: ResourceId,
    /// The key in the file.
    pub name: String,
    /// The VPC that asked for it.
    pub requester: Handle<Vpc>,
    /// The VPC that agreed.
    pub accepter: Handle<Vpc>,
}

/// A service beyond the VPCs. It is reached at its public address, and privately through endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `vpce-svc-…`
    pub id: ResourceId,
    /// The key in the file.
    pub name: String,
    /// The public address that its name stands for.
    pub ip: IpAddr,
    /// The blocks it answers at, for gateway endpoints (EP-04); `ip` is in one of them. Without a
    /// list it answers at `ip` alone.
    pub prefix_list: Option<Handle<PrefixList>>,
}

/// A way to a service that does not leave the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcEndpoint {
    /// `vpce-…`
    pub id: ResourceId,
    /// The key in the file.
    pub name: String,
    /// The VPC it is in.
    pub vpc: Handle<Vpc>,
    /// Where it leads.
    pub service: Handle<Service>,
    /// How it is reached.
    pub kind: VpcEndpointKind,
}

/// How an endpoint is reached from its VPC (EP-01).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VpcEndpointKind {
    /// By a route to the service's prefix list in each of these tables (EP-02).
    Gateway {
        /// Which contain the route already.
        route_tables: Vec<Handle<RouteTable>>,
    },
    /// At an interface in each of its subnets (EP-09).
    Interface {
        /// At most one in a zone.
        subnets: Vec<EndpointSubnet>,
        /// At least one.
        security_groups: Vec<Handle<SecurityGroup>>,
        /// Whether the service's name stands for the endpoint's address in the VPC (EP-12).
        private_dns_enabled: bool,
    },
}

/// One interface of an interface endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointSubnet {
    /// Where it stands.
    pub subnet: Handle<Subnet>,
    /// Its private address, if the file names one.
    pub private_ip: Option<IpAddr>,
}

/// An instance: a host with one interface in a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`
    pub id: ResourceId,
    /// The key in the file.
    pub name: String,
    /// The subnet of its interface.
    pub subnet: Handle<Subnet>,
    /// Its private address, if the file names one.
    pub private_ip: Option<IpAddr>,
    /// Further private addresses of the same interface.
    pub secondary_private_ips: Vec<IpAddr>,
    /// Its public address, translated 1:1 by the internet gateway (IGW-03).
    pub public_ip: Option<IpAddr>,
    /// At least one.
    pub security_groups: Vec<Handle<SecurityGroup>>,
    /// Whether packets that are not its own are dropped (RT-21).
    pub source_dest_check: bool,
}

/// A Lambda function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The key in the file.
    pub name: String,
    /// The account that owns it: part of its ENIs' key (LAM-05).
    pub account: String,
    /// One ENI for each (LAM-04); all of one VPC. None if the function is of no VPC.
    pub subnets: Vec<Handle<Subnet>>,
    /// A set: order and repetition mean nothing (LAM-03). Sorted, without repetition. Empty if and only
    /// if there are no subnets (LAM-16).
    pub security_groups: Vec<Handle<SecurityGroup>>,
    /// How many execution environments run. 1..=10,000.
    pub environments: u32,
    /// Whose rights make and delete its ENIs; without one, nobody's are needed.
    pub role: Option<Handle<Role>>,
}

/// An execution role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The key in the file.
    pub name: String,
    /// The account that owns it.
    pub account: String,
    /// What it permits.
    pub policies: Vec<Policy>,
}

/// Somebody who calls the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The key in the file: the access key id by which they are known.
    pub access_key_id: String,
    /// The account in which they act.
    pub account: String,
    /// What they may.
    pub policies: Vec<Policy>,
}

/// A host of the internet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternetHost {
    /// The key in the file.
    pub name: String,
    /// Its public address.
    pub ip: IpAddr,
}

/// One `expect` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Who opens the connection.
    pub from: Endpoint,
    /// To whom.
    pub to: Endpoint,
    /// Protocol and one destination port, or ICMP.
    pub traffic: Traffic,
    /// Whether it must work, there and back.
    pub verdict: ExpectedVerdict,
    /// Its place in the file.
    pub span: Span,
}

/// What an expectation says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedVerdict {
    /// Request and reply pass.
    Allow,
    /// Either is refused, for this reason if one is given.
    Deny(Option<Reason>),
}

/// One end of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A function: all of its environments, or the one with this number (from 1).
    Function(Handle<Function>, Option<u32>),
    /// An instance, at its private address.
    Instance(Handle<Instance>),
    /// An internet host.
    Internet(Handle<InternetHost>),
    /// A service at its public address.
    Service(Handle<Service>),
    /// An interface endpoint: at its address in the other end's subnet, else in its zone, else the
    /// first.
    VpcEndpoint(Handle<VpcEndpoint>),
    /// Whatever answers at an address.
    Address(IpAddr),
}
