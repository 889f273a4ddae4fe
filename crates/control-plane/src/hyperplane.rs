//! Which functions share an ENI, and where their environments stand.

use viaduct_topology::{
    Handle, ResourceId, Topology,
    inventory::HyperplaneKey,
    model::{Function, Subnet},
};

use crate::lifecycle::Key;

/// The key of the ENIs that the function uses in this subnet (LAM-03..LAM-06).
pub(crate) fn key(topology: &Topology, function: &Function, subnet: Handle<Subnet>) -> Key {
    let groups = function.security_groups.iter();
    let groups: Vec<ResourceId> =
        groups.map(|group| topology.security_groups[*group].id.clone()).collect();
    Key::new(function.account.as_str().into(), topology.subnets[subnet].id.clone(), &groups)
}

/// The ENI's id: it belongs to the key, and to nothing that a reload may change.
pub(crate) fn eni_id(key: &HyperplaneKey) -> ResourceId {
    let groups: Vec<&str> = key.security_groups.iter().map(ResourceId::as_str).collect();
    let HyperplaneKey { account, subnet, ordinal, .. } = key;
    ResourceId::derived("eni", &format!("{account}/{subnet}/{}/{ordinal}", groups.join(",")))
}

/// The subnets of a function's environments, the first environment's first, without end.
pub(crate) fn placements(
    topology: &Topology,
    function: &Function,
) -> impl Iterator<Item = Handle<Subnet>> {
    let zone = |subnet: Handle<Subnet>| topology.subnets[subnet].availability_zone.as_str();
    turns(function.subnets.iter().map(move |subnet| (zone(*subnet), *subnet)))
}

/// Subnets with their zones, without end. Zones take turns, and within a zone its subnets do: two
/// subnets in zone `a` and one in `b` give a1 b1 a2 b1 a1 …, so that half of the environments survive
/// the loss of either zone (LAM-18).
pub(crate) fn turns<'z, T: Copy>(
    subnets: impl Iterator<Item = (&'z str, T)>,
) -> impl Iterator<Item = T> {
    let mut zones: Vec<(&str, Vec<T>)> = Vec::new();
    for (zone, subnet) in subnets {
        match zones.iter_mut().find(|(name, _)| *name == zone) {
            Some((_, subnets)) => subnets.push(subnet),
            None => zones.push((zone, vec![subnet])),
        }
    }
    (0_usize..).map_while(move |turn| {
        let round = turn.checked_div(zones.len())?;
        let (_, subnets) = &zones[turn % zones.len()];
        Some(subnets[round % subnets.len()])
    })
}
