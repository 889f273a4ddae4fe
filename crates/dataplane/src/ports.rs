//! Which attachments have a queue now, and what the packet path must know of each: its MTU, and
//! the scope of its connections.
//!
//! Read for every packet, so it is an array of atomics: identities are small and dense, chunks are
//! made when their first attachment appears and never move.

use viaduct_topology::inventory::AttachmentId;

use crate::sync::{AtomicU32, MODELLED, OnceLock, Ordering};

const CHUNK: usize = if MODELLED { 8 } else { 1024 };
const CHUNKS: usize = if MODELLED { 1 } else { 1024 };

/// The scope of connections that come from the internet: all its hosts together are one ingress.
/// No attachment has this identity.
pub(crate) const EDGE: u32 = 0;

const EDGE_BIT: u32 = 1 << 16;

/// What the packet path knows of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// The device's MTU in bytes; 0 while nothing is attached.
    pub(crate) mtu: u16,
    /// The scope of the connections that come in here.
    pub(crate) scope: u32,
}

/// The state of every attachment.
#[derive(Debug)]
pub(crate) struct Ports {
    chunks: Box<[OnceLock<Box<[AtomicU32]>>]>,
}

impl Ports {
    pub(crate) fn new() -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect() }
    }

    /// The highest identity there can be.
    pub(crate) const MAX: u32 = (CHUNK * CHUNKS - 1) as u32;

    /// What is known of this attachment; down when it was never heard of.
    pub(crate) fn port(&self, id: AttachmentId) -> Port {
        let state =
            self.chunks.get(id.0 as usize / CHUNK).and_then(OnceLock::get).map_or(0, |chunk| {
                // Acquire: whoever sees the attachment up also sees the queue that was stored first.
                chunk[id.0 as usize % CHUNK].load(Ordering::Acquire)
            });
        let scope = if state & EDGE_BIT == 0 { id.0 } else { EDGE };
        Port { mtu: state as u16, scope }
    }

    /// Notes that a queue is there (`mtu` > 0) or gone (0).
    pub(crate) fn set(&self, id: AttachmentId, mtu: u16, edge: bool) {
        let Some(chunk) = self.chunks.get(id.0 as usize / CHUNK) else { return };
        let chunk = chunk.get_or_init(|| (0..CHUNK).map(|_| AtomicU32::new(0)).collect());
        let state = u32::from(mtu) | if edge { EDGE_BIT } else { 0 };
        chunk[id.0 as usize % CHUNK].store(state, Ordering::Release);
    }
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use crate::sync::{
        Arc,
        model::{explore, together},
    };

    /// Who sees an attachment up sees the queue that was stored before.
    #[test]
    fn an_attachment_is_seen_after_its_queue() {
        explore(|| {
            let (ports, queue) = (Arc::new(Ports::new()), Arc::new(AtomicU32::new(0)));
            // Its chunk is there: nothing but the state itself tells of the queue.
            ports.set(AttachmentId(5), 0, false);
            let attach = {
                let (ports, queue) = (Arc::clone(&ports), Arc::clone(&queue));
                move || {
                    queue.store(1, Ordering::Relaxed);
                    ports.set(AttachmentId(5), 1500, false);
                }
            };
            let look = move || {
                if ports.port(AttachmentId(5)).mtu != 0 {
                    assert_eq!(queue.load(Ordering::Relaxed), 1, "up without a queue");
                }
            };
            together([Box::new(attach), Box::new(look)]);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_is_down_until_it_is_set_and_edge_hosts_share_a_scope() {
        let ports = Ports::new();
        let (near, far) = (AttachmentId(5), AttachmentId(Ports::MAX));
        assert_eq!(ports.port(near), Port { mtu: 0, scope: 5 });

        ports.set(near, 9001, false);
        ports.set(far, 1500, true);

        assert_eq!(ports.port(near), Port { mtu: 9001, scope: 5 });
        assert_eq!(ports.port(far), Port { mtu: 1500, scope: EDGE });
        assert_eq!(ports.port(AttachmentId(u32::MAX)).mtu, 0);
    }
}
