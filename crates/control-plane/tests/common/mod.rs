//! Plans from texts.

use viaduct_control_plane::{Plan, plan};
use viaduct_topology::Topology;

pub(crate) fn topology(text: &str) -> Topology {
    match viaduct_config_plane::load("test.yaml", text) {
        Ok(loaded) => loaded.topology,
        Err(problems) => panic!("{problems}"),
    }
}

#[allow(dead_code)] // some need the topology too
pub(crate) fn planned(text: &str) -> Plan {
    plan(&topology(text)).unwrap()
}
