//! A second book of connections and ports, kept from outside.
//!
//! After each step it is compared with what the engine tells of itself: who has opened what, which
//! interfaces a connection holds a port of, and that a port is held exactly as long as its
//! connection lives. It knows nothing of how the engine gets there.

use std::collections::{BTreeMap, HashMap};

use viaduct_dataplane::{ConnectionInfo, Counters, tcp::Phase};
use viaduct_topology::{
    ResourceId,
    inventory::{AttachmentId, Eni, EniOwner},
};
use viaduct_wire::{Flow, protocol};

use super::{
    CAPACITY,
    network::{Network, Place},
};

/// What finds a connection: where its requests come in (all of the internet is one place, 0), and
/// what they look like there.
pub(super) type Key = (u32, Flow);

/// A connection in the book.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) info: ConnectionInfo,
    /// What its replies are found by.
    pub(super) reply: Key,
    /// The interfaces that it holds a port of; without those that are gone.
    holds: Vec<ResourceId>,
    /// Whether one is gone: whoever has its address now knows nothing of the port, so that no packet
    /// may pass any more.
    pub(super) lost: bool,
}

impl Entry {
    /// Whether it holds a port of a function's interface, a NAT gateway or the service VPC's NAT that is
    /// there.
    pub(super) fn is_translated(&self, network: &Network) -> bool {
        let translates = |eni: &Eni| {
            matches!(
                eni.owner,
                EniOwner::Functions(_) | EniOwner::NatGateway { .. } | EniOwner::ServiceVpc
            )
        };
        network.plan.enis.iter().any(|eni| translates(eni) && self.holds.contains(&eni.id))
    }
}

#[derive(Default)]
pub(super) struct Ledger {
    pub(super) entries: HashMap<Key, Entry>,
    counters: Counters,
}

/// What a step may do to connections.
pub(super) enum Step<'a> {
    /// A packet with this key, or an error about one: it may open that connection, and end one that
    /// it finds by its key.
    Packet { key: Option<Key> },
    /// Time has passed and the timers did their work.
    Expiry,
    /// These interfaces left, or are new under an old id. Connections notice with their next packet.
    Reload { left: &'a [ResourceId] },
    /// Nothing.
    Other,
}

impl Ledger {
    /// Compares the book with the engine and brings it up to date.
    pub(super) fn update(&mut self, network: &Network, step: &Step<'_>) {
        let live: HashMap<Key, ConnectionInfo> = network
            .engine
            .connections(network.now, usize::MAX, |_| true)
            .into_iter()
            .map(|info| (key(&info), info))
            .collect();
        let counters = network.engine.counters();
        let opened = counters.connections_opened - self.counters.connections_opened;
        let ended = counters.connections_ended - self.counters.connections_ended;
        assert_eq!(live.len(), network.engine.connection_count());
        assert_eq!(
            live.len() as u64,
            counters.connections_opened - counters.connections_ended,
            "connections that were opened and not ended are there"
        );
        assert!(live.len() <= CAPACITY);
        self.counters = counters;
        // What has drained goes without a step of a reload.
        let there: Vec<ResourceId> = network.engine.enis().into_iter().map(|eni| eni.id).collect();
        let left = if let Step::Reload { left } = step { *left } else { &[] };
        for entry in self.entries.values_mut() {
            let held = entry.holds.len();
            entry.holds.retain(|eni| !left.contains(eni) && there.contains(eni));
            entry.lost |= entry.holds.len() < held;
        }

        let newborn = self.newborn(&live, step, opened);
        self.bury(&live, newborn, step, ended);
        let holds = self.check_ports(network, newborn);
        for (key, info) in live {
            match self.entries.get_mut(&key) {
                Some(entry) => entry.info = info,
                None => {
                    let holds = holds.clone();
                    check_birth(network, &info, &holds);
                    let reply = (scope(network, info.target), info.translated.reversed());
                    self.entries.insert(key, Entry { info, reply, holds, lost: false });
                }
            }
        }
    }

    /// The connection that this step opened.
    fn newborn(
        &self,
        live: &HashMap<Key, ConnectionInfo>,
        step: &Step<'_>,
        opened: u64,
    ) -> Option<Key> {
        let newborn = match (opened, step) {
            (0, _) => None,
            (1, Step::Packet { key: Some(key) }) => Some(*key),
            _ => panic!("{opened} connections opened"),
        };
        for key in live.keys() {
            assert!(
                self.entries.contains_key(key) || newborn == Some(*key),
                "from nowhere: {key:?}"
            );
        }
        if let Some(key) = newborn {
            assert!(live.contains_key(&key), "opened, and not there: {key:?}");
        }
        newborn
    }

    /// Takes out what is gone, which must be what may go in this step.
    fn bury(
        &mut self,
        live: &HashMap<Key, ConnectionInfo>,
        newborn: Option<Key>,
        step: &Step<'_>,
        ended: u64,
    ) {
        let gone: Vec<Key> = self
            .entries
            .keys()
            .filter(|key| !live.contains_key(key) || newborn == Some(**key))
            .copied()
            .collect();
        assert_eq!(gone.len() as u64, ended, "{gone:?}");
        for gone in gone {
            let entry = self.entries.remove(&gone).expect("it was there");
            match step {
                Step::Packet { key: Some(key) } => assert!(
                    *key == gone || *key == entry.reply,
                    "a packet of {key:?} ended {entry:?}"
                ),
                Step::Expiry => assert!(
                    entry.info.idle.as_secs() >= shortest(&entry.info),
                    "before its time: {entry:?}"
                ),
                _ => panic!("nothing ends {entry:?}"),
            }
        }
    }

    /// Every interface has as many ports in use as connections hold. Returns those that the newborn
    /// one holds.
    fn check_ports(&self, network: &Network, newborn: Option<Key>) -> Vec<ResourceId> {
        let mut held: BTreeMap<&ResourceId, u32> = BTreeMap::new();
        for eni in self.entries.values().flat_map(|entry| &entry.holds) {
            *held.entry(eni).or_default() += 1;
        }
        let mut by_newborn = Vec::new();
        for eni in network.engine.enis() {
            let held = held.get(&eni.id).copied().unwrap_or(0);
            let Some(in_use) = eni.connections else {
                assert_eq!(held, 0);
                continue;
            };
            if newborn.is_some() && in_use == held + 1 {
                // A reload that lowers the limit ends nothing, but nothing is opened beyond it.
                assert!(eni.capacity.is_none_or(|capacity| in_use <= capacity), "{eni:?}");
                by_newborn.push(eni.id);
            } else {
                assert_eq!(in_use, held, "ports in use of {eni:?}, held by {:?}", self.entries);
            }
        }
        by_newborn
    }
}

/// What finds the connection by its requests.
pub(super) fn key(info: &ConnectionInfo) -> Key {
    (if info.from_internet { 0 } else { info.opener.0 }, info.request)
}

/// A new connection holds a port of its function's interface, one of the gateway whose address it
/// shows, and no other.
fn check_birth(network: &Network, info: &ConnectionInfo, holds: &[ResourceId]) {
    let (mut functions, mut gateways) = (Vec::new(), Vec::new());
    for id in holds {
        let eni = network.eni(id);
        match eni.owner {
            EniOwner::Functions(_) => functions.push(eni),
            EniOwner::NatGateway { .. } => gateways.push(eni),
            _ => {}
        }
    }
    let from_environment = network.station(info.opener).place == Place::Environment;
    assert_eq!(functions.len(), usize::from(from_environment), "{info:?} holds {holds:?}");
    assert!(gateways.len() <= 1, "{info:?} holds {holds:?}");
    let shown = std::net::IpAddr::V4(info.translated.source);
    let translates = |eni: &&Eni| eni.private_ip == shown || eni.public_ip == Some(shown);
    match (gateways.first(), functions.first()) {
        (Some(gateway), _) => assert!(translates(gateway), "{info:?} by {gateway:?}"),
        (None, Some(eni)) if holds.len() == 1 => assert!(translates(eni), "{info:?} by {eni:?}"),
        _ => {}
    }
}

/// The shortest time that a connection in this state may be idle, in seconds (SG-25, NAT-10, RFC 5508
/// REQ-2).
fn shortest(info: &ConnectionInfo) -> u64 {
    match (info.request.protocol, info.phase) {
        (protocol::TCP, Phase::Closed) => 0,
        (protocol::TCP, Phase::Established) => 350,
        (protocol::TCP, _) => 240,
        (protocol::UDP, Phase::Established) => 180,
        (protocol::UDP, _) => 30,
        (protocol::ICMP, _) => 60,
        _ => 350,
    }
}

/// Where an attachment's packets come in.
pub(super) fn scope(network: &Network, id: AttachmentId) -> u32 {
    match network.stations.iter().find(|station| station.id == id) {
        Some(station) if station.place == Place::Internet => 0,
        _ => id.0,
    }
}
