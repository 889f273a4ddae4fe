//! What the engine holds, for people: connections and interfaces.

use std::{net::Ipv4Addr, time::Duration};

use viaduct_topology::{ResourceId, inventory::AttachmentId};
use viaduct_wire::Flow;

use super::{Engine, Way};
use crate::{
    account::Account,
    connection::{Connection, Half},
    explain::{Explanation, Query, QueryError, explain_within},
    inventory::Inventory,
    moment::Moment,
    ports::EDGE,
    sync::Arc,
    tcp::Phase,
};

/// A connection at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Who opened it.
    pub opener: AttachmentId,
    /// Who its requests go to.
    pub target: AttachmentId,
    /// Whether it was opened from the internet, whose hosts are one to the engine.
    pub from_internet: bool,
    /// The request as its opener sends it.
    pub request: Flow,
    /// The request as its receiver sees it.
    pub translated: Flow,
    /// How far it is.
    pub phase: Phase,
    /// Packets and IP bytes from the opener.
    pub sent: (u64, u64),
    /// Packets and IP bytes to the opener.
    pub received: (u64, u64),
    /// Time since its first packet.
    pub age: Duration,
    /// Time since its last packet.
    pub idle: Duration,
}

/// An interface at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EniInfo {
    /// `eni-…`
    pub id: ResourceId,
    /// Its private address.
    pub private_ip: Ipv4Addr,
    /// Connections that hold a port of it; none where it does not translate.
    pub connections: Option<u32>,
    /// Connections it may carry at once, if that is limited.
    pub capacity: Option<u32>,
}

/// How much a Hyperplane ENI carries at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EniLoad {
    /// Connections that hold a port of it.
    pub connections: u32,
    /// Whether it is near what it can carry: it has three quarters of the connections that it may, or
    /// one destination has three quarters of its ports (LAM-07). The next ENI of its key is to be there
    /// before connections are refused.
    pub near_capacity: bool,
}

/// What an attachment uses of its quota at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Connections that it opened and that live.
    pub connections: u32,
    /// Those it may have at once; none if that is not limited, which it is for functions'
    /// environments alone.
    pub capacity: Option<u32>,
}

impl Engine {
    /// The connections that `wanted` chooses, at most `limit`. One is locked at a time: what opens
    /// or ends meanwhile may be missed or seen.
    pub fn connections(
        &self,
        now: Moment,
        limit: usize,
        wanted: impl Fn(&ConnectionInfo) -> bool,
    ) -> Vec<ConnectionInfo> {
        let mut found = Vec::new();
        self.connections.for_each(|_, connection| {
            if found.len() < limit {
                let info = info(connection, now);
                if wanted(&info) {
                    found.push(info);
                }
            }
        });
        found
    }

    /// How many connections there are.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// What an attachment uses of its quota; nothing if it was never heard of.
    #[must_use]
    pub fn usage(&self, id: AttachmentId) -> Usage {
        let connections = self.ports.account(id).map_or(0, Account::connections);
        Usage { connections, capacity: self.quota(id, &self.policy.lock()) }
    }

    /// Heap bytes of the connection table.
    #[must_use]
    pub fn connection_memory(&self) -> usize {
        self.connections.memory()
    }

    /// Every interface, ordered by id.
    #[must_use]
    pub fn enis(&self) -> Vec<EniInfo> {
        let info = |eni: Arc<crate::inventory::Interface>| EniInfo {
            id: eni.id.clone(),
            private_ip: eni.ip,
            connections: eni.ports.as_ref().map(|ports| ports.in_use()),
            capacity: eni.ports.as_ref().and_then(|ports| ports.limits().connections),
        };
        self.inventory.enis().into_iter().map(info).collect()
    }

    /// Tells what each Hyperplane ENI carries. Costs a few loads for each, and no interface is added or
    /// removed meanwhile: `visit` must be short, and not come back here.
    pub fn visit_loads(&self, mut visit: impl FnMut(&ResourceId, EniLoad)) {
        let view = self.inventory.view();
        for eni in view.hyperplane_enis() {
            if let Some(ports) = &eni.ports {
                let (connections, near_capacity) = (ports.in_use(), ports.is_near_capacity());
                visit(&eni.id, EniLoad { connections, near_capacity });
            }
        }
    }

    /// What would become of a flow, hop by hop.
    ///
    /// # Errors
    ///
    /// When the query names somebody who is not there.
    pub fn explain(&self, query: &Query) -> Result<Explanation, QueryError> {
        let view = self.inventory.view();
        let policy = Arc::clone(&self.policy.lock());
        explain_within(&policy, &view, query)
    }

    /// The interfaces and attachments.
    #[must_use]
    pub fn inventory(&self) -> &Inventory {
        &self.inventory
    }
}

fn info(connection: &Connection<Way>, now: Moment) -> ConnectionInfo {
    let traffic = |half: &Half| (half.packets, half.bytes);
    ConnectionInfo {
        opener: connection.reply.target,
        target: connection.request.target,
        from_internet: connection.request.key.ingress == EDGE,
        request: connection.request.key.flow,
        translated: connection.reply.key.flow.reversed(),
        phase: connection.phase(),
        sent: traffic(&connection.request),
        received: traffic(&connection.reply),
        age: now.since(connection.created),
        idle: now.since(connection.last_seen),
    }
}
