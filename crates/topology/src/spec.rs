//! A topology as somebody wrote it: names unresolved, every value with its place in the source.
//!
//! Whatever can be judged by looking at one value alone is parsed already: addresses, blocks,
//! ports, protocols. Whatever needs a second look elsewhere is text: [`resolve`] turns it into
//! handles. Types carry the names of their counterparts in [`model`], so write `spec::Subnet`.
//!
//! A reader that meets something it cannot understand reports it, puts [`Field::Unreadable`] in its
//! place and goes on, so that one mistake neither hides the others nor causes more.
//!
//! [`resolve`]: crate::resolve::resolve
//! [`model`]: crate::model

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    iam::Policy,
    model::{AclAction, Connectivity, NatGatewayState, OnUnshare, PortRange, Profile, Traffic},
};

/// A place in a source: byte offsets, the end excluded. The default is no place at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// A value and the place where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value written at a place.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// What was written where a value is required.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// The value.
    Given(Spanned<T>),
    /// Nothing.
    #[default]
    Missing,
    /// Something that is no such value; whoever read it has reported that.
    Unreadable,
}

impl<T> Field<T> {
    /// The value, if there is one.
    pub const fn given(&self) -> Option<&Spanned<T>> {
        match self {
            Self::Given(value) => Some(value),
            Self::Missing | Self::Unreadable => None,
        }
    }
}

/// A list of references, each to be resolved.
pub type References = Vec<Spanned<String>>;

/// Everything a source declares, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Timers, limits and rates.
    pub settings: Settings,
    /// The accounts between which subnets can be shared.
    pub organization: Organization,
    /// Named sets of blocks.
    pub prefix_lists: Vec<PrefixList>,
    /// The virtual networks with all that is in them.
    pub vpcs: Vec<Vpc>,
    /// What joins VPCs.
    pub vpc_peering_connections: Vec<VpcPeeringConnection>,
    /// Execution roles.
    pub roles: Vec<Role>,
    /// Who calls the API.
    pub principals: Vec<Principal>,
    /// Lambda functions.
    pub functions: Vec<Function>,
    /// Services beyond the VPCs.
    pub services: Vec<Service>,
    /// Hosts of the internet.
    pub internet: Vec<InternetHost>,
    /// What the source expects of its own network.
    pub expect: Vec<Expectation>,
}

/// Timers, limits and rates; what is not given is the default of [`model::Settings`].
///
/// [`model::Settings`]: crate::model::Settings
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where the defaults come from.
    pub profile: Option<Spanned<Profile>>,
    /// Connections one Hyperplane ENI carries.
    pub eni_connections: Option<Spanned<u32>>,
    /// New connections a second through one Hyperplane ENI.
    pub eni_connections_per_second: Option<Spanned<Limit>>,
    /// Source ports of V2N NAT and NAT gateways.
    pub source_ports: Option<Spanned<PortRange>>,
    /// Hyperplane ENIs a VPC may have.
    pub enis_per_vpc: Option<Spanned<u32>>,
    /// Connections of one function environment.
    pub environment_connections: Option<Spanned<Limit>>,
    /// New connections a second of one function environment.
    pub environment_connections_per_second: Option<Spanned<Limit>>,
    /// Mb/s from and to one function environment.
    pub environment_bandwidth: Option<Spanned<Limit>>,
    /// Connections of one NAT gateway address to one (destination, port, protocol).
    pub nat_gateway_connections_per_destination: Option<Spanned<u32>>,
    /// Mb/s through one NAT gateway.
    pub nat_gateway_bandwidth: Option<Spanned<Limit>>,
    /// Packets a second through one NAT gateway.
    pub nat_gateway_packets_per_second: Option<Spanned<Limit>>,
    /// Bytes of an attachment's fragments.
    pub fragment_bytes: Option<Spanned<u32>>,
    /// Datagrams of an attachment that are not whole.
    pub fragment_datagrams: Option<Spanned<u32>>,
    /// Seconds that they wait.
    pub fragment_timeout: Option<Spanned<u32>>,
    /// Public addresses of the service VPC's NAT.
    pub service_vpc_public_ips: Option<Spanned<Vec<Spanned<IpAddr>>>>,
    /// Timers of security groups.
    pub connection_tracking: ConnectionTracking,
    /// Timers of translations.
    pub nat: NatTimeouts,
    /// How long the control plane takes.
    pub lifecycle: Lifecycle,
    /// How many times as fast it is.
    pub lifecycle_scale: Option<Spanned<u32>>,
}

/// A number, or none: the limit does not hold.
pub type Limit = Option<u32>;

/// Timers of security groups, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionTracking {
    /// Of TCP before its handshake is over.
    pub tcp_opening_timeout: Option<Spanned<u32>>,
    /// Of TCP.
    pub tcp_established_timeout: Option<Spanned<u32>>,
    /// Of TCP of which both sides are done.
    pub tcp_closing_timeout: Option<Spanned<u32>>,
    /// Of UDP with at most one question and answer.
    pub udp_timeout: Option<Spanned<u32>>,
    /// Of UDP with more.
    pub udp_stream_timeout: Option<Spanned<u32>>,
    /// Of ICMP.
    pub icmp_timeout: Option<Spanned<u32>>,
    /// Of other protocols.
    pub other_timeout: Option<Spanned<u32>>,
}

/// Timers of translations, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatTimeouts {
    /// Of TCP before its handshake is over.
    pub tcp_opening_timeout: Option<Spanned<u32>>,
    /// Of TCP.
    pub tcp_established_timeout: Option<Spanned<u32>>,
    /// Of TCP of which both sides are done.
    pub tcp_closing_timeout: Option<Spanned<u32>>,
    /// Of UDP.
    pub udp_timeout: Option<Spanned<u32>>,
    /// Of ICMP.
    pub icmp_timeout: Option<Spanned<u32>>,
}

/// How long the control plane takes, in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// Until a Hyperplane ENI is there.
    pub creation: Option<Spanned<u32>>,
    /// Until one without users is deleted.
    pub deletion: Option<Spanned<u32>>,
    /// Until an idle one is reclaimed.
    pub idle: Option<Spanned<u32>>,
    /// Until a further one without connections goes.
    pub shrinking: Option<Spanned<u32>>,
}

/// An organization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Organization {
    /// Its accounts, 12 digits each; none if not given.
    pub accounts: Field<Vec<Spanned<String>>>,
}

/// A named set of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixList {
    /// The key.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// Its blocks.
    pub entries: Field<Vec<Spanned<IpNet>>>,
    /// How many it may have; as many as it has if not given.
    pub max_entries: Option<Spanned<u32>>,
}

/// A virtual network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// The key.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// The account that owns it, 12 digits.
    pub account: Option<Spanned<String>>,
    /// The primary block first.
    pub cidr_blocks: Field<Vec<Spanned<IpNet>>>,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Its route tables.
    pub route_tables: Vec<RouteTable>,
    /// Its internet gateway.
    pub internet_gateway: Option<InternetGateway>,
    /// Its NAT gateways.
    pub nat_gateways: Vec<NatGateway>,
    /// Its endpoints.
    pub vpc_endpoints: Vec<VpcEndpoint>,
    /// Its security groups.
    pub security_groups: Vec<SecurityGroup>,
    /// Its network ACLs.
    pub network_acls: Vec<NetworkAcl>,
    /// Its instances.
    pub instances: Vec<Instance>,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The key.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// Its addresses.
    pub cidr_block: Field<IpNet>,
    /// Its zone; `a` if not given.
    pub availability_zone: Option<Spanned<String>>,
    /// Its route table; the VPC's main one if not given.
    pub route_table: Option<Spanned<String>>,
    /// Its network ACL; the VPC's default one if not given.
    pub network_acl: Option<Spanned<String>>,
    /// The accounts that it is shared with, 12 digits each; none if not given.
    pub shared_with: Field<Vec<Spanned<String>>>,
    /// What becomes of interfaces of accounts that it is shared with no more; they go on if not given.
    pub on_unshare: Option<Spanned<OnUnshare>>,
}

/// A route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    /// The key.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// Whether it is the VPC's main table.
    pub main: Option<Spanned<bool>>,
    /// Its routes beside the local ones.
    pub routes: Vec<Route>,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it is written.
    pub span: Span,
    /// What it matches.
    pub destination: Field<Destination>,
    /// `local`, `blackhole`, or a reference to a gateway, a peering connection or an instance.
    pub target: Field<String>,
}

/// What a route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Addresses.
    Cidr(IpNet),
    /// A reference to a prefix list.
    PrefixList(String),
}

/// An internet gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternetGateway {
    /// Its name.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// The table for what comes in; the VPC's local routes alone if not given.
    pub route_table: Option<Spanned<String>>,
}

/// A NAT gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatGateway {
    /// The key.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// The subnet it stands in.
    pub subnet: Field<String>,
    /// Whether it leads to the internet; public if not given.
    pub connectivity_type: Field<Connectivity>,
    /// Its primary private address.
    pub private_ip: Option<Spanned<IpAddr>>,
    /// Of a private one: how many addresses it has beside the primary one; none if not given.
    pub secondary_private_ip_address_count: Option<Spanned<u32>>,
    /// Of a public one: its public addresses.
    pub public_ips: Field<Vec<Spanned<IpAddr>>>,
    /// How far its life is; available if not given.
    pub state: Option<Spanned<NatGatewayState>>,
}

/// A way to a service. Which keys it may have depends on its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcEndpoint {
    /// The key.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// How it is reached.
    pub kind: Field<VpcEndpointType>,
    /// Where it leads.
    pub service: Field<String>,
    /// Of a gateway endpoint: the tables that are to have its routes.
    pub route_tables: Option<Spanned<References>>,
    /// Of an interface endpoint: where its interfaces stand.
    pub subnets: Field<References>,
    /// Of an interface endpoint: its addresses, one for each of the subnets.
    pub private_ips: Option<Spanned<Vec<Spanned<IpAddr>>>>,
    /// Of an interface endpoint: its groups; the VPC's default group if there are none.
    pub security_groups: Option<Spanned<References>>,
    /// Of an interface endpoint: whether the service's name leads to it; true if not given.
    pub private_dns_enabled: Option<Spanned<bool>>,
}

/// How an endpoint is reached from its VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VpcEndpointType {
    /// By routes.
    Gateway,
    /// At interfaces.
    Interface,
}

/// A security group. A direction that is not given is what AWS gives a new group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    /// The key.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// The account that owns it, 12 digits; its VPC's if not given.
    pub account: Option<Spanned<String>>,
    /// Who may open connections.
    pub ingress: Option<Vec<SgRule>>,
    /// To whom connections may be opened.
    pub egress: Option<Vec<SgRule>>,
}

/// A rule of a security group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SgRule {
    /// Where it is written.
    pub span: Span,
    /// Protocol and ports, or ICMP type and code.
    pub traffic: Traffic,
    /// The other side.
    pub peer: Spanned<SgPeer>,
}

/// The other side of a security group's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SgPeer {
    /// Addresses.
    Cidr(IpNet),
    /// A reference to a group or a prefix list.
    Reference(String),
}

/// A network ACL. A direction that is not given is what AWS gives a new ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkAcl {
    /// The key.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// For packets entering a subnet.
    pub ingress: Option<Vec<AclRule>>,
    /// For packets leaving a subnet.
    pub egress: Option<Vec<AclRule>>,
}

/// A rule of a network ACL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    /// Its place in the order of evaluation.
    pub number: Spanned<u32>,
    /// What becomes of what it matches.
    pub action: AclAction,
    /// Protocol and ports, or ICMP type and code.
    pub traffic: Traffic,
    /// The source's block for ingress, the destination's for egress.
    pub cidr_block: Spanned<IpNet>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The key.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// The subnet of its interface.
    pub subnet: Field<String>,
    /// Its private address; the lowest free one of the subnet if not given.
    pub private_ip: Option<Spanned<IpAddr>>,
    /// Further private addresses.
    pub secondary_private_ips: Option<Spanned<Vec<Spanned<IpAddr>>>>,
    /// Its public address.
    pub public_ip: Option<Spanned<IpAddr>>,
    /// Its groups; the VPC's default group if there are none.
    pub security_groups: Option<Spanned<References>>,
    /// Whether packets that are not its own are dropped; true if not given.
    pub source_dest_check: Option<Spanned<bool>>,
}

/// A connection between two VPCs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcPeeringConnection {
    /// The key.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// The VPC that asked for it.
    pub requester: Field<String>,
    /// The VPC that agreed.
    pub accepter: Field<String>,
}

/// A Lambda function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The key.
    pub name: Spanned<String>,
    /// The account that owns it, 12 digits; its VPC's if not given.
    pub account: Option<Spanned<String>>,
    /// Its subnets; none if it is of no VPC.
    pub subnets: Field<References>,
    /// Its groups; none if it is of no VPC.
    pub security_groups: Field<References>,
    /// How many execution environments run; 1 if not given.
    pub environments: Field<u32>,
    /// Its execution role; without one, no rights are asked for.
    pub role: Option<Spanned<String>>,
}

/// An execution role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The key.
    pub name: Spanned<String>,
    /// The account that owns it, 12 digits.
    pub account: Option<Spanned<String>>,
    /// What it permits.
    pub policies: Vec<Policy>,
}

/// Somebody who calls the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The key: the access key id by which they are known.
    pub access_key_id: Spanned<String>,
    /// The account in which they act, 12 digits.
    pub account: Option<Spanned<String>>,
    /// What they may.
    pub policies: Vec<Policy>,
}

/// A service beyond the VPCs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The key.
    pub name: Spanned<String>,
    /// The id to use instead of a derived one.
    pub id: Option<Spanned<String>>,
    /// The address that its name stands for; the first usable one of its blocks if not given.
    pub ip: Field<IpAddr>,
    /// The blocks at which it answers; its address alone if not given.
    pub prefix_list: Field<Vec<Spanned<IpNet>>>,
    /// The id of the prefix list, to use instead of a derived one.
    pub prefix_list_id: Option<Spanned<String>>,
    /// What the prefix list counts for in quotas; 1 if not given.
    pub max_entries: Option<Spanned<u32>>,
}

/// A host of the internet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternetHost {
    /// The key.
    pub name: Spanned<String>,
    /// Its public address.
    pub ip: Field<IpAddr>,
}

/// An `expect` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Where it is written.
    pub span: Span,
    /// Who opens the connection.
    pub from: Field<String>,
    /// To whom.
    pub to: Field<String>,
    /// `tcp/443`, `udp/53`, `icmp`.
    pub port: Field<String>,
    /// Whether it must work.
    pub verdict: Field<Verdict>,
    /// The code of the reason why it must not.
    pub because: Option<Spanned<String>>,
}

/// What an expectation says of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Request and reply pass.
    Allow,
    /// Either is refused.
    Deny,
}
