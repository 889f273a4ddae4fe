//! Whether what the engine's tables say of each other is true.

use viaduct_topology::ResourceId;

use crate::connection::{Direction, Key};

/// Two tables contradict each other: a fault of this program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Inconsistency {
    /// The index has entries too many or too few: two for each connection.
    #[error("{entries} entries of the index lead to {connections} connections")]
    Entries {
        /// Entries of the index.
        entries: usize,
        /// Connections that live.
        connections: usize,
    },
    /// Slots that hold nothing were not given back.
    #[error("{taken} slots are taken, and {connections} connections live")]
    Slots {
        /// Slots that are not free.
        taken: usize,
        /// Connections that live.
        connections: usize,
    },
    /// Packets of a living connection would not find it.
    #[error("no entry of the index leads to the {direction:?} {key:?}")]
    Unfound {
        /// The half that is not found.
        direction: Direction,
        /// What its packets look like.
        key: Key,
    },
    /// Nothing would end a connection that is idle.
    #[error("no timer is armed for {key:?}")]
    Untimed {
        /// Its request.
        key: Key,
    },
    /// Two connections hold one port towards one destination.
    #[error("two connections hold {lease}")]
    HeldTwice {
        /// The port and the destination.
        lease: String,
    },
    /// Ports of an interface are counted that no connection holds, or the other way round.
    #[error("{eni} counts {in_use} ports in use and knows {known}, and connections hold {held}")]
    Ports {
        /// The interface.
        eni: ResourceId,
        /// What it counts.
        in_use: usize,
        /// What its table has in use, destination by destination.
        known: usize,
        /// How many of these connections hold.
        held: usize,
    },
    /// A port of an interface is neither free nor resting nor in use, or two of these.
    #[error("a port of {eni} is in two states at once, or in none")]
    PortStates {
        /// The interface.
        eni: ResourceId,
    },
    /// Births and deaths were miscounted.
    #[error("{opened} connections were opened and {ended} ended, and {connections} live")]
    Counters {
        /// Connections that were opened.
        opened: u64,
        /// Connections that have ended.
        ended: u64,
        /// Connections that live.
        connections: usize,
    },
}
