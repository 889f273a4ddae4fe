//! A topology of some size in an engine.

use std::net::{IpAddr, Ipv4Addr};

use viaduct_control_plane::Plan;
use viaduct_dataplane::{Engine, EngineConfig, Scratch};
use viaduct_topology::{Topology, inventory::AttachmentId};

use crate::text::{Size, text};

/// Loads a file that must be without fault.
pub(crate) fn load(text: &str) -> Topology {
    let loaded = viaduct_config_plane::load("scale.yaml", text);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false));
    loaded.topology
}

/// A topology in an engine, all hosts attached.
pub(crate) struct World {
    pub(crate) size: Size,
    pub(crate) topology: Topology,
    pub(crate) plan: Plan,
    pub(crate) engine: Engine,
    pub(crate) scratch: Scratch,
}

impl World {
    pub(crate) fn new(size: Size) -> Self {
        let topology = load(&text(size, false));
        let plan = viaduct_control_plane::plan(&topology).expect("it fits");
        assert_eq!(plan.enis.len(), size.functions + size.instances + 1, "an ENI for each");
        let engine = Engine::new(EngineConfig { connections: 1 << 20, seed: 7 });
        engine.load(&topology);
        for eni in &plan.enis {
            engine.add_eni(eni).expect("ids differ");
        }
        for (attachment, host) in plan.attachments.iter().zip(&plan.hosts) {
            engine.add_attachment(attachment).expect("ids differ");
            engine.attached(attachment.id, host.device_mtu);
        }
        let scratch = engine.scratch([3; 32]);
        Self { size, topology, plan, engine, scratch }
    }

    /// Plans list functions first, then instances.
    pub(crate) fn function(&self, function: usize) -> AttachmentId {
        self.plan.attachments[function].id
    }

    /// The instance that a function asks, in another subnet, and its address.
    pub(crate) fn asked_by(&self, function: usize) -> (AttachmentId, Ipv4Addr) {
        let instance = (function + 1) % self.size.instances;
        // The NAT gateway's interface comes first, then those of instances.
        let IpAddr::V4(ip) = self.plan.enis[1 + instance].private_ip else {
            panic!("instances have IPv4 addresses")
        };
        (self.plan.attachments[self.size.functions + instance].id, ip)
    }
}
