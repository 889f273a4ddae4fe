//! Holding a table against the leases that connections have of it.

use std::{collections::HashSet, net::Ipv4Addr};

use viaduct_topology::ResourceId;

use super::{Lender, PortTable, Protocol, TableId, first};
use crate::{
    consistency::Inconsistency,
    sync::{Arc, OnceLock},
};

/// A port in use, as a lease and its table both know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InUse {
    table: TableId,
    /// Which of its protocols: its address, for whoever asks holds it.
    protocol: usize,
    destination: (Ipv4Addr, u16),
    port: u16,
}

impl Lender {
    /// What the lease of this port towards this destination stands for.
    pub(crate) fn in_use(&self, port: u16, destination: (Ipv4Addr, u16)) -> InUse {
        InUse { table: self.table(), protocol: address(&self.0), destination, port }
    }
}

impl PortTable {
    /// Whether `held`, of this and other tables, is what `eni`'s table has in use, and each of its
    /// ports is in one state.
    pub(crate) fn check(
        &self,
        eni: &ResourceId,
        held: &HashSet<InUse>,
    ) -> Result<(), Inconsistency> {
        let table = self.id();
        let first = first(self.limits().ports);
        let mut uses = Vec::new();
        for protocol in self.protocols.iter().filter_map(OnceLock::get) {
            let Some(space) = &*protocol.space.lock() else { continue };
            if !space.is_sound() {
                return Err(Inconsistency::PortStates { eni: eni.clone() });
            }
            space.for_each_use(|destination, offset| {
                let protocol = address(protocol);
                uses.push(InUse { table, protocol, destination, port: first + offset });
            });
        }
        let (in_use, known) = (self.in_use() as usize, uses.len());
        let of_it = held.iter().filter(|lease| lease.table == table).count();
        let held = uses.iter().filter(|lease| held.contains(lease)).count();
        if (known, held, of_it) == (in_use, in_use, in_use) {
            Ok(())
        } else {
            Err(Inconsistency::Ports { eni: eni.clone(), in_use, known, held })
        }
    }
}

fn address(protocol: &Arc<Protocol>) -> usize {
    Arc::as_ptr(protocol).addr()
}

#[cfg(test)]
mod tests {
    use viaduct_topology::model::PortRange;

    use super::*;
    use crate::{
        moment::Moment,
        port_table::{PortLease, PortLimits},
    };

    #[test]
    fn a_table_agrees_with_those_who_hold_its_ports_and_with_nobody_else() {
        // Two ports, so that the third connection shares one.
        let ports = PortRange { first: 2000, last: 2001 };
        let table = PortTable::new(PortLimits { ports, connections: None, per_destination: None });
        let eni = ResourceId::named("eni-1");
        let reserve = |to: u8| table.reserve(6, ([10, 0, 0, to].into(), 80), 0, Moment::ZERO);
        let mut leases: Vec<_> = (1..=3).map(|to| reserve(to).expect("a port")).collect();
        let in_use = |lease: &PortLease| {
            let lender = Lender(Arc::clone(lease.protocol.as_ref().expect("it is held")));
            lender.in_use(lease.port(), lease.destination())
        };
        let held = |leases: &[PortLease]| leases.iter().map(in_use).collect();
        assert_eq!(table.check(&eni, &held(&leases)), Ok(()));

        let wrong = |held, in_use, known| {
            Err(Inconsistency::Ports { eni: ResourceId::named("eni-1"), in_use, known, held })
        };
        assert_eq!(table.check(&eni, &held(&leases[1..])), wrong(2, 3, 3));
        let all = held(&leases);
        leases.pop();
        assert_eq!(table.check(&eni, &all), wrong(2, 2, 2));
        leases.clear();
        assert_eq!(table.check(&eni, &HashSet::new()), Ok(()));
    }
}
