//! Paths: how people refer to a topology's resources.
//!
//! A path is `kind/name`, prefixed by the VPC where the resource is in one: `main/subnet/private`,
//! `main/instance/db`, `function/api`. The words of the kinds are therefore no names of VPCs.

use std::{collections::HashMap, fmt};

use crate::{
    arena::{Arena, Handle},
    id::ResourceId,
    model::{
        Endpoint, Function, Instance, InternetGateway, InternetHost, NatGateway, NetworkAcl,
        PrefixList, Role, RouteTable, SecurityGroup, Service, Subnet, Topology, Vpc, VpcEndpoint,
        VpcPeeringConnection,
    },
};

/// The kinds of resources that have a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A subnet.
    Subnet,
    /// A route table.
    RouteTable,
    /// A network ACL.
    NetworkAcl,
    /// A security group.
    SecurityGroup,
    /// An internet gateway.
    InternetGateway,
    /// A NAT gateway.
    NatGateway,
    /// An instance.
    Instance,
    /// A function.
    Function,
    /// A host of the internet.
    Internet,
    /// A prefix list.
    PrefixList,
    /// A connection between two VPCs.
    VpcPeeringConnection,
    /// A service beyond the VPCs.
    Service,
    /// An endpoint of a VPC.
    VpcEndpoint,
    /// An execution role.
    Role,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Subnet,
        Self::RouteTable,
        Self::NetworkAcl,
        Self::SecurityGroup,
        Self::InternetGateway,
        Self::NatGateway,
        Self::Instance,
        Self::Function,
        Self::Internet,
        Self::PrefixList,
        Self::VpcPeeringConnection,
        Self::Service,
        Self::VpcEndpoint,
        Self::Role,
    ];

    /// The word for it in a path.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Subnet => "subnet",
            Self::RouteTable => "route_table",
            Self::NetworkAcl => "network_acl",
            Self::SecurityGroup => "security_group",
            Self::InternetGateway => "internet_gateway",
            Self::NatGateway => "nat_gateway",
            Self::Instance => "instance",
            Self::Function => "function",
            Self::Internet => "internet",
            Self::PrefixList => "prefix_list",
            Self::VpcPeeringConnection => "vpc_peering_connection",
            Self::Service => "service",
            Self::VpcEndpoint => "vpc_endpoint",
            Self::Role => "role",
        }
    }

    /// The name of the kind in a sentence, without its article.
    #[must_use]
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Subnet => "subnet",
            Self::RouteTable => "route table",
            Self::NetworkAcl => "network ACL",
            Self::SecurityGroup => "security group",
            Self::InternetGateway => "internet gateway",
            Self::NatGateway => "NAT gateway",
            Self::Instance => "instance",
            Self::Function => "function",
            Self::Internet => "internet host",
            Self::PrefixList => "prefix list",
            Self::VpcPeeringConnection => "peering connection",
            Self::Service => "service",
            Self::VpcEndpoint => "endpoint",
            Self::Role => "role",
        }
    }

    /// The name of the kind in a sentence, with its article.
    #[must_use]
    pub(crate) fn a_noun(self) -> String {
        let article = if matches!(
            self,
            Self::InternetGateway | Self::Instance | Self::Internet | Self::VpcEndpoint
        ) {
            "an"
        } else {
            "a"
        };
        format!("{article} {}", self.noun())
    }

    /// The kind whose word this is.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A resource that has a path. Implemented for the kinds of [`Kind`], and for nothing else.
pub trait Resource: Sized {
    /// Its kind.
    const KIND: Kind;

    /// Where a topology keeps the resources of this kind.
    fn arena(topology: &Topology) -> &Arena<Self>;

    /// Its name.
    fn name(&self) -> &str;

    /// The VPC it is in.
    fn vpc(&self, topology: &Topology) -> Option<Handle<Vpc>>;

    /// Its id, if the kind has ids.
    fn id(&self) -> Option<&ResourceId>;
}

macro_rules! resources {
    ($($type:ident in $arena:ident, vpc $vpc:expr, id $id:expr;)*) => {$(
        impl Resource for $type {
            const KIND: Kind = resources!(@kind $type);

            fn arena(topology: &Topology) -> &Arena<Self> {
                &topology.$arena
            }

            fn name(&self) -> &str {
                &self.name
            }

            fn vpc(&self, topology: &Topology) -> Option<Handle<Vpc>> {
                let vpc: fn(&Self, &Topology) -> Option<Handle<Vpc>> = $vpc;
                vpc(self, topology)
            }

            fn id(&self) -> Option<&ResourceId> {
                let id: fn(&Self) -> Option<&ResourceId> = $id;
                id(self)
            }
        }
    )*};
    (@kind InternetHost) => { Kind::Internet };
    (@kind $type:ident) => { Kind::$type };
}

resources! {
    Subnet in subnets, vpc |it, _| Some(it.vpc), id |it| Some(&it.id);
    RouteTable in route_tables, vpc |it, _| Some(it.vpc), id |it| Some(&it.id);
    NetworkAcl in network_acls, vpc |it, _| Some(it.vpc), id |it| Some(&it.id);
    SecurityGroup in security_groups, vpc |it, _| Some(it.vpc), id |it| Some(&it.id);
    InternetGateway in internet_gateways, vpc |it, _| Some(it.vpc), id |it| Some(&it.id);
    NatGateway in nat_gateways, vpc |it, topology| Some(topology.subnets[it.subnet].vpc), id |it| Some(&it.id);
    Instance in instances, vpc |it, topology| Some(topology.subnets[it.subnet].vpc), id |it| Some(&it.id);
    Function in functions, vpc |_, _| None, id |_| None;
    InternetHost in internet_hosts, vpc |_, _| None, id |_| None;
    PrefixList in prefix_lists, vpc |_, _| None, id |it| Some(&it.id);
    VpcPeeringConnection in vpc_peering_connections, vpc |_, _| None, id |it| Some(&it.id);
    Service in services, vpc |_, _| None, id |it| Some(&it.id);
    VpcEndpoint in vpc_endpoints, vpc |it, _| Some(it.vpc), id |it| Some(&it.id);
    Role in roles, vpc |_, _| None, id |_| None;
}

impl Topology {
    /// The whole path: `main/subnet/private`, `function/api`.
    #[must_use]
    pub fn path<R: Resource>(&self, handle: Handle<R>) -> String {
        let resource = &R::arena(self)[handle];
        match resource.vpc(self) {
            Some(vpc) => format!("{}/{}/{}", self.vpcs[vpc].name, R::KIND, resource.name()),
            None => format!("{}/{}", R::KIND, resource.name()),
        }
    }

    /// The path without the VPC where no other VPC has a resource of this kind and name:
    /// `instance/db`. This is what attachments are called.
    #[must_use]
    pub fn short_path<R: Resource>(&self, handle: Handle<R>) -> String {
        let name = R::arena(self)[handle].name();
        let namesakes = R::arena(self).values().filter(|other| other.name() == name).count();
        if namesakes > 1 { self.path(handle) } else { format!("{}/{name}", R::KIND) }
    }

    /// The [short paths](Self::short_path) of all resources of a kind, by handle: one at a time, each
    /// looks through all names.
    #[must_use]
    pub fn short_paths<R: Resource>(&self) -> Vec<String> {
        let arena = R::arena(self);
        let mut namesakes = HashMap::<&str, u32>::with_capacity(arena.len());
        for resource in arena.values() {
            *namesakes.entry(resource.name()).or_default() += 1;
        }
        let short = |(handle, resource): (Handle<R>, &R)| match resource.name() {
            name if namesakes[name] > 1 => self.path(handle),
            name => format!("{}/{name}", R::KIND),
        };
        arena.iter().map(short).collect()
    }

    /// An endpoint as it is written on an `expect` line or after `--from`.
    #[must_use]
    pub fn endpoint(&self, endpoint: &Endpoint) -> String {
        match endpoint {
            Endpoint::Function(handle, None) => self.path(*handle),
            Endpoint::Function(handle, Some(environment)) => {
                format!("{}/{environment}", self.path(*handle))
            }
            Endpoint::Instance(handle) => self.short_path(*handle),
            Endpoint::Internet(handle) => self.path(*handle),
            Endpoint::Service(handle) => self.path(*handle),
            Endpoint::VpcEndpoint(handle) => self.short_path(*handle),
            Endpoint::Address(ip) => ip.to_string(),
        }
    }

    /// The VPC of a function: the one of its subnets.
    #[must_use]
    pub fn function_vpc(&self, function: Handle<Function>) -> Handle<Vpc> {
        self.subnets[self.functions[function].subnets[0]].vpc
    }
}
