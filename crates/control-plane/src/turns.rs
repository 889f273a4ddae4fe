//! Whose turn it is: subnets, zone by zone.

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
