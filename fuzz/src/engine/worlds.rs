//! The topologies that a history moves among: small, with limits that are met after a few packets,
//! and alike enough that what stands in one finds its place taken in another.

use std::sync::LazyLock;

use viaduct_config_plane::load;
use viaduct_topology::Topology;

use super::trains::LIMITS;

const TEXTS: [(&str, &str); 9] = [
    ("base.yaml", include_str!("../../worlds/base.yaml")),
    ("other-rules.yaml", include_str!("../../worlds/other-rules.yaml")),
    ("other-gateway.yaml", include_str!("../../worlds/other-gateway.yaml")),
    ("other-place.yaml", include_str!("../../worlds/other-place.yaml")),
    ("twins.yaml", include_str!("../../worlds/twins.yaml")),
    ("inspected.yaml", include_str!("../../worlds/inspected.yaml")),
    ("drained.yaml", include_str!("../../worlds/drained.yaml")),
    ("endpoints.yaml", include_str!("../../worlds/endpoints.yaml")),
    ("checked.yaml", include_str!("../../worlds/checked.yaml")),
];

/// Each loaded once.
pub(super) static WORLDS: LazyLock<Vec<Topology>> = LazyLock::new(|| {
    let load = |(name, text): &(&str, &str)| match load(name, text) {
        Ok(mut loaded) => {
            // So few that a history can reach them.
            loaded.topology.settings.fragment_datagrams = LIMITS.attachment_datagrams as u32;
            loaded.topology
        }
        Err(problems) => panic!("{problems}"),
    };
    TEXTS.iter().map(load).collect()
});

/// The number of a world. Stored inputs mean the same when another one is added behind the last.
pub(super) fn choice(byte: u8) -> usize {
    usize::from(byte & 15).min(TEXTS.len() - 1)
}
