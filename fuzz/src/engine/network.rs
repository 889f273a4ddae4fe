//! The engine with a topology in force, and what the plan says of its hosts.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use viaduct_control_plane::{Plan, changes, plan_after};
use viaduct_dataplane::{Engine, EngineConfig, Moment, Scratch};
use viaduct_topology::{
    ResourceId, Topology,
    inventory::{AttachmentId, Change, ENVIRONMENT_ADDRESS, Eni, EniOwner, Host},
};

/// What stands at an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Environment,
    /// An instance; whether it takes packets that are for others.
    Instance {
        forwards: bool,
    },
    Internet,
    Service,
}

/// A host, as the plan has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Station {
    pub(super) id: AttachmentId,
    pub(super) place: Place,
    /// Its own address, as it sees it itself.
    pub(super) address: Ipv4Addr,
    /// The MTU of what is attached; 0 if nothing is.
    pub(super) mtu: u16,
}

pub(super) struct Network {
    pub(super) engine: Arc<Engine>,
    pub(super) scratch: Scratch,
    pub(super) now: Moment,
    pub(super) plan: Plan,
    pub(super) stations: Vec<Station>,
    worlds: &'static [Topology],
    world: usize,
}

impl Network {
    /// One of `worlds` in force, in an engine that takes so many connections.
    pub(super) fn new(worlds: &'static [Topology], world: usize, connections: usize) -> Self {
        let engine = Arc::new(Engine::new(EngineConfig { connections, seed: 7 }));
        let scratch = engine.scratch([3; 32]).with_fragment_limits(super::trains::LIMITS);
        let mut network = Self {
            engine,
            scratch,
            now: Moment::from_millis(1_000_000_000),
            plan: Plan::default(),
            stations: Vec::new(),
            worlds,
            world,
        };
        network.reload(world);
        network
    }

    /// Puts another topology in the place of this one. Returns the interfaces that left, and those
    /// that are new, which may have the id of one that was there before.
    pub(super) fn reload(&mut self, world: usize) -> Vec<ResourceId> {
        let topology = &self.worlds[world];
        let plan = plan_after(&self.plan, topology).expect("each world has room for its hosts");
        let steps = changes(&self.plan, &plan);
        let before = self.engine.generation();
        let generation =
            self.engine.reload(topology, &steps, self.now).expect("a plan can be carried out");
        assert_eq!(generation, self.engine.generation());
        assert!(generation >= before);
        if world == self.world && !self.stations.is_empty() {
            assert_eq!((steps.as_slice(), generation), (&[][..], before), "nothing has changed");
        }

        let mtus: HashMap<_, _> = self.stations.iter().map(|host| (host.id, host.mtu)).collect();
        self.stations.clear();
        for (attachment, host) in plan.attachments.iter().zip(&plan.hosts) {
            let (place, address) = station(&attachment.host, &plan.enis);
            let mtu = mtus.get(&attachment.id).copied().unwrap_or_else(|| {
                self.engine.attached(attachment.id, host.device_mtu);
                host.device_mtu
            });
            self.stations.push(Station { id: attachment.id, place, address, mtu });
        }
        self.plan = plan;
        self.world = world;
        self.check_inventory();
        let left = steps.into_iter().filter_map(|step| match step {
            Change::RemoveEni(id) => Some(id),
            Change::AddEni(eni) => Some(eni.id),
            _ => None,
        });
        left.collect()
    }

    /// The engine holds what was planned, no more and no less.
    fn check_inventory(&self) {
        let mut planned: Vec<_> =
            self.plan.enis.iter().map(|eni| (eni.id.clone(), ip(eni.private_ip))).collect();
        planned.sort();
        let inventory = self.engine.inventory().enis();
        // What drains is no part of the plan any more.
        let held = inventory.into_iter().filter(|eni| !eni.draining);
        let held: Vec<_> = held.map(|eni| (eni.id.clone(), eni.ip)).collect();
        assert_eq!(held, planned);
        assert_eq!(self.engine.inventory().attachments().len(), self.stations.len());
    }

    pub(super) fn station(&self, id: AttachmentId) -> &Station {
        let found = self.stations.iter().find(|station| station.id == id);
        found.unwrap_or_else(|| panic!("{id} is nobody's attachment"))
    }

    pub(super) fn eni(&self, id: &ResourceId) -> &Eni {
        self.plan.enis.iter().find(|eni| eni.id == *id).expect("an interface that was planned")
    }
}

/// What a host is, and the address it has.
fn station(host: &Host, enis: &[Eni]) -> (Place, Ipv4Addr) {
    match host {
        Host::Environment { .. } => (Place::Environment, ENVIRONMENT_ADDRESS),
        Host::Instance { eni } => {
            let eni = enis.iter().find(|planned| planned.id == *eni).expect("its interface");
            assert!(matches!(eni.owner, EniOwner::Instance { .. }));
            (Place::Instance { forwards: !eni.source_dest_check }, ip(eni.private_ip))
        }
        Host::Internet { ip: address } => (Place::Internet, ip(*address)),
        _ => (Place::Service, Ipv4Addr::UNSPECIFIED),
    }
}

pub(super) fn ip(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} in an IPv4 world"),
    }
}
