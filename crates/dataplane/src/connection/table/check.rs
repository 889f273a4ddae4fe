//! Holding slab, index and timers against each other.

use super::{ConnectionId, Connections, place};
use crate::{connection::Direction, consistency::Inconsistency};

impl<P> Connections<P> {
    /// Whether the index leads to both directions of every connection and to nothing else, every
    /// connection has a timer, and every other slot is free. Nobody may use the table meanwhile.
    ///
    /// # Errors
    ///
    /// The first contradiction.
    pub fn check(&self) -> Result<(), Inconsistency> {
        let mut live = Vec::new();
        self.for_each(|ConnectionId(id), connection| {
            live.push((id, connection.request.key, connection.reply.key));
        });
        let connections = live.len();
        let (taken, entries) = (self.slab.len(), self.index.len());
        if taken != connections {
            return Err(Inconsistency::Slots { taken, connections });
        }
        for (id, request, reply) in live {
            for (direction, key) in [(Direction::Request, request), (Direction::Reply, reply)] {
                if self.index.find(self.hash(&key)) != Some(place(id, direction)) {
                    return Err(Inconsistency::Unfound { direction, key });
                }
            }
            if !self.timers.lock().is_armed(id.slot) {
                return Err(Inconsistency::Untimed { key: request });
            }
        }
        if entries != 2 * connections {
            return Err(Inconsistency::Entries { entries, connections });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use viaduct_topology::inventory::AttachmentId;
    use viaduct_wire::Flow;

    use super::*;
    use crate::{
        connection::{Connection, Half, Key, Timeouts},
        moment::Moment,
    };

    fn key(ingress: u32) -> Key {
        let flow = Flow {
            protocol: 17,
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 0, 2].into(),
            source_port: 1,
            destination_port: 2,
        };
        Key { ingress, flow }
    }

    /// A table of one connection, and that.
    fn table() -> (Connections<()>, ConnectionId) {
        let [request, reply] = [1, 2].map(|number| Half::new(key(number), AttachmentId(number)));
        let second = Duration::from_secs(1);
        let timeouts = Timeouts::new(second, second, second);
        let connection = Connection::new(request, reply, (), timeouts, Moment::ZERO);
        let table = Connections::new(8, 1);
        let id = table.insert(connection).expect("there is room");
        assert_eq!(table.check(), Ok(()));
        (table, id)
    }

    #[test]
    fn what_leads_nowhere_is_found() {
        let (connections, ConnectionId(id)) = table();
        connections.index.remove(connections.hash(&key(2)), place(id, Direction::Reply));
        let unfound = Inconsistency::Unfound { direction: Direction::Reply, key: key(2) };
        assert_eq!(connections.check(), Err(unfound));

        let (connections, ConnectionId(id)) = table();
        let stray = connections.hash(&key(3));
        assert_eq!(connections.index.insert(stray, place(id, Direction::Reply), |_| false), Ok(()));
        let strays = Inconsistency::Entries { entries: 3, connections: 1 };
        assert_eq!(connections.check(), Err(strays));
    }

    #[test]
    fn a_connection_without_an_end_and_a_slot_without_a_connection_are_found() {
        let (connections, ConnectionId(id)) = table();
        connections.timers.lock().disarm(id.slot);
        assert_eq!(connections.check(), Err(Inconsistency::Untimed { key: key(1) }));

        let (connections, ConnectionId(id)) = table();
        connections.slab.take(id, |_| true).expect("it lives");
        let slots = Inconsistency::Slots { taken: 1, connections: 0 };
        assert_eq!(connections.check(), Err(slots));
    }
}
