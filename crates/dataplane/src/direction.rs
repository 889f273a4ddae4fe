//! The two ways of a connection.

/// Which way a packet of a connection travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The way of the connection's first packet.
    Request = 0,
    /// The other way.
    Reply = 1,
}
