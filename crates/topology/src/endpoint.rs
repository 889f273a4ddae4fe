//! Which of an endpoint's interfaces a host uses.

use crate::{
    arena::Handle,
    model::{Subnet, Topology, VpcEndpoint, VpcEndpointKind},
};

impl Topology {
    /// The subnet in which a host meets an interface endpoint: its own, else one in its zone, else the
    /// endpoint's first. AWS's resolver takes any of the healthy ones (EP-14); a zone's own is what it
    /// recommends. `None` for a gateway endpoint, which is met nowhere.
    #[must_use]
    pub fn endpoint_subnet(
        &self,
        endpoint: Handle<VpcEndpoint>,
        host: Option<Handle<Subnet>>,
    ) -> Option<Handle<Subnet>> {
        let VpcEndpointKind::Interface { subnets, .. } = &self.vpc_endpoints[endpoint].kind else {
            return None;
        };
        let zone = |subnet: Handle<Subnet>| &self.subnets[subnet].availability_zone;
        let mut nearest = None;
        for subnet in subnets.iter().map(|it| it.subnet) {
            if host == Some(subnet) {
                return Some(subnet);
            }
            if host.is_some_and(|host| zone(host) == zone(subnet)) {
                nearest.get_or_insert(subnet);
            }
        }
        nearest.or_else(|| subnets.first().map(|first| first.subnet))
    }
}
