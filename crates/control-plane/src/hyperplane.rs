//! Which functions share an ENI, and where their environments stand.

use viaduct_topology::{
    Handle, ResourceId, Topology,
    model::{Function, Subnet},
};

use crate::{lifecycle::Key, turns::turns};

/// The key of the ENIs that the function uses in this subnet (LAM-03..LAM-06).
pub(crate) fn key(topology: &Topology, function: &Function, subnet: Handle<Subnet>) -> Key {
    let groups = function.security_groups.iter();
    let groups: Vec<ResourceId> =
        groups.map(|group| topology.security_groups[*group].id.clone()).collect();
    Key::new(function.account.as_str().into(), topology.subnets[subnet].id.clone(), &groups)
}

/// The subnets of a function's environments, the first environment's first, without end.
pub(crate) fn placements(
    topology: &Topology,
    function: &Function,
) -> impl Iterator<Item = Handle<Subnet>> {
    let zone = |subnet: Handle<Subnet>| topology.subnets[subnet].availability_zone.as_str();
    turns(function.subnets.iter().map(move |subnet| (zone(*subnet), *subnet)))
}
