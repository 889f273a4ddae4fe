//! What is noted of a connection, so that it can go on in another engine when this one is gone.
//!
//! A [`Memo`] says what cannot be found out again: who speaks with whom, what each end sees, which
//! ports are lent by which interfaces, and how far it is. Hosts are told by their identity in the engine
//! that wrote it, which the next one need not share: whoever keeps memos knows the hosts by name. What
//! was judged is not in it: a connection that is taken up again is unjudged, and its next packets are
//! walked under the policy of then, as after a reload.

use viaduct_topology::{ResourceId, inventory::AttachmentId};
use viaduct_wire::Flow;

use crate::{
    connection::Timeouts,
    moment::Moment,
    tcp,
    walk::{TRANSLATORS, Tracking},
};

/// A connection, as it is noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memo {
    /// Who opened it.
    pub opener: AttachmentId,
    /// Who its requests go to.
    pub target: AttachmentId,
    /// The request as its opener sends it.
    pub request: Flow,
    /// The request as its target sees it.
    pub arrival: Flow,
    /// Who lends it which port, in the order of the way.
    pub translators: [Option<Translator>; TRANSLATORS],
    /// Which of its ends keep security-group state of it.
    pub tracking: Tracking,
    /// Whether an interface endpoint is on its way.
    pub interface_endpoint: bool,
    /// How much of its packets' time to live is used up on the way.
    pub ttl_decrement: u8,
    /// The largest packet that the gateways on the way pass, in bytes.
    pub mtu: u16,
    /// How long it lives without packets.
    pub timeouts: Timeouts,
    /// How far it is, if it is TCP.
    pub tcp: tcp::State,
    /// Packets and IP bytes from its opener.
    pub sent: (u64, u64),
    /// Packets and IP bytes to its opener.
    pub received: (u64, u64),
    /// When it was opened.
    pub created: Moment,
    /// When its last packet passed.
    pub last_seen: Moment,
}

/// A port that a connection holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translator {
    /// Whose port it is.
    pub eni: ResourceId,
    /// The port, or identifier.
    pub port: u16,
}

/// Why a connection is not taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum NotResumed {
    /// One of its ends is not there any more.
    #[error("a host that is gone")]
    HostGone,
    /// What translated it is not there any more, or is another thing, or has another address.
    #[error("an interface that is gone or has another address")]
    InterfaceGone,
    /// Another connection has its port, or the range of ports is another.
    #[error("a port that is taken or not to be had")]
    PortTaken,
    /// Its packets would be taken for another connection's.
    #[error("packets that are another connection's")]
    KeyTaken,
    /// As many connections as the table may hold.
    #[error("no room in the table")]
    TableFull,
    /// It has been idle for too long.
    #[error("a timer that is over")]
    Expired,
}
