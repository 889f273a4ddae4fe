//! A queue in use: what workers and the control side share of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use viaduct_topology::inventory::AttachmentId;
use viaduct_tun::Queue;

/// One adoption of a queue. A queue that is handed over again is another port.
#[derive(Debug)]
pub(crate) struct Port {
    /// Where it is attached.
    pub(crate) attachment: AttachmentId,
    /// Tells this adoption from every other.
    pub(crate) serial: u64,
    /// The queue. Workers never close it: the last close of a TUN takes 16 ms, so the control side
    /// keeps a reference until every worker has let go of its own.
    pub(crate) queue: Queue,
    /// The device's MTU in bytes, as its giver says.
    pub(crate) mtu: u16,
    /// Set while a worker's wish to have the settings restored is open.
    restore_wanted: AtomicBool,
    /// Frames that were not written because its receive path is too slow.
    throttled: AtomicU64,
}

impl Port {
    pub(crate) fn new(attachment: AttachmentId, serial: u64, queue: Queue, mtu: u16) -> Self {
        Self {
            attachment,
            serial,
            queue,
            mtu,
            restore_wanted: AtomicBool::new(false),
            throttled: AtomicU64::new(0),
        }
    }

    /// Notes that the settings should be restored. True for the one who has to tell.
    pub(crate) fn want_restore(&self) -> bool {
        // The load spares the flood of a hostile guest the locked write.
        !self.restore_wanted.load(Relaxed) && !self.restore_wanted.swap(true, Relaxed)
    }

    /// Counts a frame that was not written.
    pub(crate) fn throttled(&self) {
        self.throttled.fetch_add(1, Relaxed);
    }

    /// Frames that were not written because its receive path is too slow.
    pub(crate) fn throttled_frames(&self) -> u64 {
        self.throttled.load(Relaxed)
    }

    /// Opens the door for the next wish.
    pub(crate) fn restored(&self) {
        self.restore_wanted.store(false, Relaxed);
    }
}
