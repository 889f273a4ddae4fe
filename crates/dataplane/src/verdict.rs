//! What becomes of a packet.

use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::Flow;

/// What the caller has to do with a packet, small and `Copy`: no formatting, no allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a verdict that nobody carries out loses the packet"]
pub enum Verdict {
    /// Rewritten in place: write the first `length` bytes of the buffer to `target`.
    Forward {
        /// Where it goes.
        target: AttachmentId,
        /// Bytes of the buffer to write, virtio-net header included.
        length: usize,
    },
    /// Forwarded, but not out of the buffer: write each frame of the scratch to `target`, in their
    /// order. A packet too big for it in pieces, or a datagram that came in fragments.
    Split {
        /// Where they go.
        target: AttachmentId,
    },
    /// A fragment, which waits for the rest of its datagram. The buffer is free.
    Held,
    /// Not forwarded; instead, write each frame of the scratch back to where the packet came from.
    Answer(Dropped),
    /// Not forwarded.
    Drop(Dropped),
}

/// A packet that was not forwarded, as a drop event tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Why.
    pub reason: Reason,
    /// Where it came in.
    pub ingress: AttachmentId,
    /// Addresses and ports as the packet showed them; none if it could not be parsed.
    pub flow: Option<Flow>,
    /// When the packet was a reply: the connection's request as its opener sent it.
    pub request: Option<Flow>,
    /// The packets it stood for.
    pub packets: u64,
}
