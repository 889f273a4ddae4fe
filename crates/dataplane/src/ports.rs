//! Which attachments have a queue now, and what the packet path must know of each: its MTU, the
//! scope of its connections, and what it uses of what it may.
//!
//! Read for every packet, so it is an array of atomics: identities are small and dense, chunks are
//! made when their first attachment appears and never move. Accounts are apart from it, because they
//! are written when connections are born and die, and that must not cost the others' packets
//! anything.

use viaduct_topology::inventory::AttachmentId;

use crate::{
    account::Account,
    sync::{AtomicU32, MODELLED, OnceLock, Ordering},
};

const CHUNK: usize = if MODELLED { 8 } else { 1024 };
const CHUNKS: usize = if MODELLED { 1 } else { 1024 };

/// The scope of connections that come from the internet: all its hosts together are one ingress.
/// No attachment has this identity.
pub(crate) const EDGE: u32 = 0;

const EDGE_BIT: u32 = 1 << 16;
const ENVIRONMENT_BIT: u32 = 1 << 17;

/// What kind of host an attachment is for, as far as packets ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A function's environment: it has quotas and rates.
    Environment,
    /// A host of the internet: its connections are of one scope with the others'.
    Edge,
    /// Whatever else.
    Other,
}

/// What the packet path knows of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// The device's MTU in bytes; 0 while nothing is attached.
    pub(crate) mtu: u16,
    /// The scope of the connections that come in here.
    pub(crate) scope: u32,
    /// Whether a function's environment stands there.
    pub(crate) is_environment: bool,
}

#[derive(Debug)]
struct Chunk {
    states: Box<[AtomicU32]>,
    accounts: Box<[Account]>,
}

impl Chunk {
    fn new() -> Self {
        Self {
            states: (0..CHUNK).map(|_| AtomicU32::new(0)).collect(),
            accounts: (0..CHUNK).map(|_| Account::default()).collect(),
        }
    }
}

/// The state of every attachment.
#[derive(Debug)]
pub(crate) struct Ports {
    chunks: Box<[OnceLock<Chunk>]>,
}

impl Ports {
    pub(crate) fn new() -> Self {
        Self { chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect() }
    }

    /// The highest identity there can be.
    pub(crate) const MAX: u32 = (CHUNK * CHUNKS - 1) as u32;

    /// What is known of this attachment; down when it was never heard of.
    #[inline]
    pub(crate) fn port(&self, id: AttachmentId) -> Port {
        let state = self.chunk(id).map_or(0, |chunk| {
            // Acquire: whoever sees the attachment up also sees the queue that was stored first.
            chunk.states[id.0 as usize % CHUNK].load(Ordering::Acquire)
        });
        let scope = if state & EDGE_BIT == 0 { id.0 } else { EDGE };
        Port { mtu: state as u16, scope, is_environment: state & ENVIRONMENT_BIT != 0 }
    }

    /// The account of this attachment; none when it was never heard of. It outlives the attachment
    /// for as long as that has connections.
    pub(crate) fn account(&self, id: AttachmentId) -> Option<&Account> {
        self.chunk(id).map(|chunk| &chunk.accounts[id.0 as usize % CHUNK])
    }

    /// Notes an attachment to which nothing is attached yet.
    pub(crate) fn add(&self, id: AttachmentId, kind: Kind) {
        let Some(chunk) = self.chunks.get(id.0 as usize / CHUNK) else { return };
        let state = match kind {
            Kind::Environment => ENVIRONMENT_BIT,
            Kind::Edge => EDGE_BIT,
            Kind::Other => 0,
        };
        let chunk = chunk.get_or_init(Chunk::new);
        chunk.states[id.0 as usize % CHUNK].store(state, Ordering::Release);
    }

    /// Forgets an attachment, but for its account.
    pub(crate) fn remove(&self, id: AttachmentId) {
        self.add(id, Kind::Other);
    }

    /// Notes that a queue is there (`mtu` > 0) or gone (0).
    pub(crate) fn set_mtu(&self, id: AttachmentId, mtu: u16) {
        let Some(chunk) = self.chunk(id) else { return };
        let state = &chunk.states[id.0 as usize % CHUNK];
        state
            .update(Ordering::Release, Ordering::Relaxed, |state| state & !0xffff | u32::from(mtu));
    }

    fn chunk(&self, id: AttachmentId) -> Option<&Chunk> {
        self.chunks.get(id.0 as usize / CHUNK).and_then(OnceLock::get)
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
            ports.add(AttachmentId(5), Kind::Other);
            let attach = {
                let (ports, queue) = (Arc::clone(&ports), Arc::clone(&queue));
                move || {
                    queue.store(1, Ordering::Relaxed);
                    ports.set_mtu(AttachmentId(5), 1500);
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
    fn an_attachment_is_down_until_it_is_attached_and_edge_hosts_share_a_scope() {
        let ports = Ports::new();
        let (near, far) = (AttachmentId(5), AttachmentId(Ports::MAX));
        let down = Port { mtu: 0, scope: 5, is_environment: false };
        assert_eq!(ports.port(near), down);
        ports.set_mtu(near, 1500);
        assert_eq!(ports.port(near), down, "nobody knows it");

        ports.add(near, Kind::Environment);
        ports.add(far, Kind::Edge);
        ports.set_mtu(near, 9001);
        ports.set_mtu(far, 1500);

        assert_eq!(ports.port(near), Port { mtu: 9001, scope: 5, is_environment: true });
        assert_eq!(ports.port(far), Port { mtu: 1500, scope: EDGE, is_environment: false });
        ports.set_mtu(far, 0);
        assert_eq!(ports.port(far), Port { mtu: 0, scope: EDGE, is_environment: false });
        assert_eq!(ports.port(AttachmentId(u32::MAX)).mtu, 0);
        assert!(ports.account(AttachmentId(6)).is_some(), "whoever is of a chunk that is there");
        assert!(ports.account(AttachmentId(u32::MAX)).is_none());
    }
}
