//! The identifier that an inside one is translated to, whoever it is sent to.
//!
//! A host that asks several others under one identifier is seen under one (RFC 5508, REQ-1 a): the
//! first query takes a port, and the others, to other destinations, have the same one. The mapping
//! lasts as long as the port is in use, so it goes with the last of them (RFC 7857, section 11).

use std::net::Ipv4Addr;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// An inside address, and the identifier that it uses.
pub(super) type Inside = (Ipv4Addr, u16);

/// The mappings of one address, to offsets into the table's range. Each port has one at most, and each
/// inside end has one port.
#[derive(Debug)]
pub(super) struct Identifiers {
    ports: HashMap<Inside, u16, FixedState>,
    owners: HashMap<u16, Inside, FixedState>,
}

impl Identifiers {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            ports: HashMap::with_hasher(FixedState::with_seed(seed)),
            owners: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    pub(super) fn port_of(&self, inside: Inside) -> Option<u16> {
        self.ports.get(&inside).copied()
    }

    /// Notes a mapping, unless either side has one.
    pub(super) fn map(&mut self, inside: Inside, port: u16) {
        if !self.ports.contains_key(&inside) && !self.owners.contains_key(&port) {
            self.ports.insert(inside, port);
            self.owners.insert(port, inside);
        }
    }

    /// Forgets the mapping to a port that is free again.
    pub(super) fn forget(&mut self, port: u16) {
        if let Some(inside) = self.owners.remove(&port) {
            self.ports.remove(&inside);
        }
    }

    /// Heap bytes.
    pub(super) fn memory(&self) -> usize {
        self.ports.allocation_size() + self.owners.allocation_size()
    }
}
