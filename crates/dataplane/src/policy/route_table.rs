//! Route tables: the longest prefix decides (RT-04).

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};
use viaduct_topology::ResourceId;

use super::{
    Instance, InternetGateway, NatGateway, Number, Peering, PrefixList, VpcEndpoint,
    prefix::PrefixTable,
};

/// A route table, its local routes included (RT-03).
#[derive(Debug)]
pub struct RouteTable {
    /// `rtb-…`
    pub id: ResourceId,
    /// `main/route_table/public`
    pub name: String,
    routes: Box<[Route]>,
    /// Index of the route.
    by_prefix: PrefixTable<u32>,
}

/// What of a table makes it what it is; two with equal sources are one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source<'a> {
    pub(super) id: &'a ResourceId,
    pub(super) name: &'a str,
    pub(super) routes: &'a [Route],
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// What it matches.
    pub destination: Ipv4Net,
    /// The prefix list that this is an entry of.
    pub prefix_list: Option<Number<PrefixList>>,
    /// Where it leads.
    pub target: Target,
}

/// Where a route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The VPC itself.
    Local,
    /// The VPC's internet gateway.
    InternetGateway(Number<InternetGateway>),
    /// A NAT gateway.
    NatGateway(Number<NatGateway>),
    /// The VPC at the other end of a peering connection.
    Peering(Number<Peering>),
    /// An instance that forwards: a middlebox (RT-19).
    Instance(Number<Instance>),
    /// A gateway endpoint (EP-02).
    VpcEndpoint(Number<VpcEndpoint>),
    /// Nowhere (RT-14).
    Blackhole,
}

impl RouteTable {
    pub(super) fn new(source: &Source<'_>) -> Self {
        Self {
            id: source.id.clone(),
            name: source.name.to_owned(),
            routes: source.routes.into(),
            by_prefix: PrefixTable::new(
                source.routes.iter().zip(0..).map(|(route, index)| (route.destination, index)),
            ),
        }
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source { id: &self.id, name: &self.name, routes: &self.routes }
    }

    /// The route for this destination.
    #[must_use]
    pub fn find(&self, destination: Ipv4Addr) -> Option<&Route> {
        self.by_prefix.find(destination).map(|index| &self.routes[index as usize])
    }
}

/// The IPv4 block, if it is one.
pub(super) fn ipv4(block: IpNet) -> Option<Ipv4Net> {
    match block {
        IpNet::V4(block) => Some(block),
        IpNet::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(routes: &[(&str, Target)]) -> RouteTable {
        let routes: Vec<_> = routes
            .iter()
            .map(|(block, target)| Route {
                destination: block.parse().unwrap(),
                prefix_list: None,
                target: *target,
            })
            .collect();
        let id = ResourceId::named("rtb-1");
        RouteTable::new(&Source { id: &id, name: "main/main", routes: &routes })
    }

    #[test]
    fn rt_04_the_longest_prefix_wins_whatever_the_order() {
        let table = table(&[
            ("0.0.0.0/0", Target::Blackhole),
            ("10.0.0.0/16", Target::Local),
            ("10.0.0.0/8", Target::Blackhole),
        ]);
        let to = |address: [u8; 4]| {
            table.find(address.into()).map(|route| route.destination.prefix_len())
        };
        assert_eq!(to([10, 0, 255, 255]), Some(16));
        assert_eq!(to([10, 1, 0, 0]), Some(8));
        assert_eq!(to([11, 0, 0, 0]), Some(0));
    }

    // Conforms: RT-14
    #[test]
    fn rt_14_a_blackhole_does_not_fall_through_to_a_shorter_prefix() {
        let table = table(&[("0.0.0.0/0", Target::Local), ("198.51.100.0/24", Target::Blackhole)]);
        let target = table.find(Ipv4Addr::new(198, 51, 100, 7)).map(|route| route.target);
        assert_eq!(target, Some(Target::Blackhole));
    }

    #[test]
    fn rt_29_no_route_is_no_route() {
        let table = table(&[("10.0.0.0/16", Target::Local)]);
        assert_eq!(table.find(Ipv4Addr::new(198, 51, 100, 7)), None);
    }
}
