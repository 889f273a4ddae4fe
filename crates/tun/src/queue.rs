//! A TUN queue, as the daemon takes it from someone it does not trust.
//!
//! A descriptor handed over is not a copy: giver and taker share one open file, and all owners
//! of the device share its settings. Whoever gave the queue can at any moment clear O_NONBLOCK,
//! change the offloads or the header's length, detach the queue, delete the device or take its
//! link down, and none of it may hurt anybody but that giver. Hence:
//!
//! - [`Queue::adopt`] looks before it touches: a character device 10:200, a TUN (no TAP), of the
//!   kind that is wanted, packet information off. Then it sets header length, byte order and offloads
//!   itself.
//! - Every read and write is `preadv2`/`pwritev2` with RWF_NOWAIT, which the driver honours
//!   whatever the file's flags say. Nothing here ever waits.
//! - The device's mode is settled by the adoption: while one queue is attached, the kernel joins
//!   others to it without looking at their flags.
//! - Every answer of the kernel is one of a few outcomes ([`Received`], [`Sent`]), each saying
//!   what the worker does next. `Gone` (the queue has no device) is final for this adoption; a
//!   queue that is gone is also readable with an error for ever, so it must leave the poll set
//!   at once. A queue that its giver detached (TUNSETQUEUE) is not gone: it is empty, takes what
//!   is written, and may be attached again.
//! - A header that makes no sense may mean that the giver changed the settings; the control side
//!   then calls [`Queue::restore`], which sets them again. It takes the kernel's global RTNL lock,
//!   so a worker never calls it.
//!
//! The two kinds of devices ([`DeviceKind`]) differ in what the kernel lets their owners do:
//!
//! | | offload | plain |
//! |---|---|---|
//! | in front of each packet | a virtio-net header ([`HEADER_LEN`]) | nothing |
//! | queues | several allowed: detaching and joining are possible | one: neither is, and the mode is for life |
//! | packets | super-packets and partial checksums as far as [`Offloads`] go | ordinary ones, complete |
//! | a giver that sets offloads behind the taker's back | packets whose header says so | packets whose sum is wrong, which their receivers drop: its own loss |
//!
//! A packet read is not evidence of anything either: see `viaduct-wire`.
//!
//! Closing the last descriptor of a device takes about 16 ms (an RCU grace period and RTNL), so
//! the control side drops queues, never a worker.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

use rustix::{
    fs::FileType,
    io::{Errno, ReadWriteFlags, preadv2, pwritev2},
};

use crate::{DeviceKind, QueueError, ioctl, kernel};

/// Length of the virtio-net header in front of each packet: `struct virtio_net_hdr`, without the
/// number of merged buffers that only vhost uses.
pub const HEADER_LEN: usize = 10;

/// The longest frame a queue can yield: the header, if there is one, and the largest IP packet.
pub const MAX_FRAME_LEN: usize = HEADER_LEN + 65_535;

/// The `ioctl` requests that a [`Queue`] makes: what a taker that is held to few system calls needs.
pub const REQUESTS: [u32; 5] = ioctl::ON_QUEUES;

/// Four bytes that are no IP packet: see `check_mode`.
const NO_PACKET: [u8; 4] = [0; 4];

/// The same behind a `struct virtio_net_hdr` of zeros.
const NO_PACKET_BEHIND_HEADER: [u8; HEADER_LEN + 4] = [0; HEADER_LEN + 4];

/// Which unfinished packets the kernel hands over on a queue, as far as it agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Checksums left to the taker (`TUN_F_CSUM`); the others need it.
    pub checksum: bool,
    /// TCP super-packets, ECN included (`TUN_F_TSO4`, `TUN_F_TSO6`, `TUN_F_TSO_ECN`).
    pub tcp: bool,
    /// UDP super-packets (`TUN_F_USO4`, `TUN_F_USO6`; Linux 6.2).
    pub udp: bool,
}

impl Offloads {
    const NONE: Self = Self::new(false, false, false);

    /// What is tried, best first.
    const LADDER: [Self; 4] = [
        Self::new(true, true, true),
        Self::new(true, true, false),
        Self::new(true, false, false),
        Self::NONE,
    ];

    const fn new(checksum: bool, tcp: bool, udp: bool) -> Self {
        Self { checksum, tcp, udp }
    }

    fn bits(self) -> u32 {
        let mut bits = 0;
        if self.checksum {
            bits |= ioctl::TUN_F_CSUM;
        }
        if self.tcp {
            bits |= ioctl::TUN_F_TSO4 | ioctl::TUN_F_TSO6 | ioctl::TUN_F_TSO_ECN;
        }
        if self.udp {
            bits |= ioctl::TUN_F_USO4 | ioctl::TUN_F_USO6;
        }
        bits
    }
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Received {
    /// A frame of this many bytes: header and packet, or a packet alone. Cut off where the buffer was
    /// too short.
    Frame(usize),
    /// Nothing is waiting.
    Empty,
    /// One packet was taken out and lost: the kernel could not express it in the header. Read on.
    Lost,
    /// The link is down: nothing will come until it is up again.
    Down,
    /// The queue has no device any more. Take it out of the poll set.
    Gone,
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// The frame is with the kernel.
    Written,
    /// No room or no memory at this moment: the frame is dropped, as a wire would.
    Full,
    /// The link is down: the frame is dropped.
    Down,
    /// The queue has no device any more. Take it out of the poll set.
    Gone,
    /// The kernel does not take this frame: header and packet disagree, or the giver changed the
    /// device's settings.
    Refused,
}

/// A TUN queue that was checked and set up. Shared between workers: any of them may write it.
#[derive(Debug)]
pub struct Queue {
    fd: OwnedFd,
    name: String,
    kind: DeviceKind,
    offloads: Offloads,
}

impl Queue {
    /// Takes a queue of this kind from a giver: checks what it is, then sets header, byte order and
    /// offloads.
    ///
    /// Costs the device one count in `rx_dropped`: the probe for packet information.
    pub fn adopt(fd: OwnedFd, kind: DeviceKind) -> Result<Self, QueueError> {
        check_file(&fd)?;
        let name = check_mode(&fd, kind)?;
        let wanted = match kind {
            DeviceKind::Offload => &Offloads::LADDER[..],
            DeviceKind::Plain => &[Offloads::NONE],
        };
        let offloads = set_up(&fd, &name, kind, wanted)?;
        Ok(Self { fd, name, kind, offloads })
    }

    /// Sets header length, byte order and offloads again, after the giver may have changed them.
    ///
    /// Fails where the queue can no longer serve, which the giver alone can have brought about:
    /// the attachment ends. For the control side only: it waits for the kernel's RTNL lock.
    pub fn restore(&self) -> Result<(), QueueError> {
        check_attached(&self.fd)?;
        set_up(&self.fd, &self.name, self.kind, &[self.offloads])?;
        Ok(())
    }

    /// Reads one frame, without ever waiting. `buffer` should hold [`MAX_FRAME_LEN`] bytes, without
    /// the header on a plain device.
    pub fn read(&self, buffer: &mut [u8]) -> Received {
        loop {
            // The offset -1 means "no offset": a TUN queue has none.
            let answer =
                preadv2(&self.fd, &mut [IoSliceMut::new(buffer)], u64::MAX, ReadWriteFlags::NOWAIT);
            return match answer {
                Ok(len) => Received::Frame(len),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Received::Empty,
                Err(Errno::IO) => Received::Down,
                // EINVAL: the packet was dequeued, and has no form in a virtio header.
                // ENOMEM, EFAULT: cannot happen to a mapped buffer, and would cost one packet.
                Err(Errno::INVAL | Errno::NOMEM | Errno::FAULT) => Received::Lost,
                // EBADFD: detached or deleted. Whatever else the kernel may come up with, a queue
                // that cannot be read any more is left alone.
                Err(_) => Received::Gone,
            };
        }
    }

    /// Writes one frame (header and packet, on a plain device the packet), without ever waiting.
    pub fn write(&self, frame: &[u8]) -> Sent {
        loop {
            let answer =
                pwritev2(&self.fd, &[IoSlice::new(frame)], u64::MAX, ReadWriteFlags::NOWAIT);
            return match answer {
                Ok(_) => Sent::Written,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN | Errno::NOMEM | Errno::NOBUFS) => Sent::Full,
                Err(Errno::IO) => Sent::Down,
                Err(Errno::BADFD | Errno::BADF | Errno::NODEV | Errno::NXIO) => Sent::Gone,
                Err(_) => Sent::Refused,
            };
        }
    }

    /// The device's name in the giver's namespace when it was adopted: for messages only, since
    /// the giver can rename the device, and names repeat across namespaces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this and another are one queue, handed over twice. None where the kernel does not say.
    ///
    /// Two queues of one device are two, and cannot be told from those of two devices.
    pub fn is_one_with(&self, other: &Self) -> Option<bool> {
        kernel::is_one_file(self.as_fd(), other.as_fd())
    }

    /// What the kernel agreed to hand over unfinished.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// A TUN queue at all? Decided by `fstat`, so that no request number reaches a stranger's driver.
fn check_file(fd: &OwnedFd) -> Result<(), QueueError> {
    let stat = rustix::fs::fstat(fd).map_err(|errno| QueueError::NotTun {
        found: format!("nothing that can be looked at: {errno}"),
    })?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    match kind {
        FileType::CharacterDevice if (major, minor) == (10, 200) => Ok(()),
        FileType::CharacterDevice => {
            Err(QueueError::NotTun { found: format!("character device {major}:{minor}") })
        }
        _ => Err(QueueError::NotTun { found: format!("{kind:?}") }),
    }
}

/// Has the queue a device, and does the device use it? Returns the device's name and flags.
fn check_attached(fd: &OwnedFd) -> Result<(String, u16), QueueError> {
    match ioctl::device(fd) {
        Ok((name, flags)) if flags & ioctl::IFF_DETACH_QUEUE == 0 => Ok((name, flags)),
        _ => Err(QueueError::Detached),
    }
}

/// A device of the right shape? Returns its name.
fn check_mode(fd: &OwnedFd, wanted: DeviceKind) -> Result<String, QueueError> {
    let (name, flags) = check_attached(fd)?;
    let wrong = |name: &str, problem| {
        let flags = wanted.flags_text();
        QueueError::WrongMode { name: name.to_owned(), problem, flags }
    };
    if flags & ioctl::IFF_TAP != 0 || flags & ioctl::IFF_TUN == 0 {
        return Err(wrong(&name, "is a TAP, not a TUN"));
    }
    let found = match flags & ioctl::IFF_VNET_HDR {
        0 => DeviceKind::Plain,
        _ => DeviceKind::Offload,
    };
    if found != wanted {
        return Err(QueueError::WrongKind { name, found, wanted });
    }
    match (wanted, flags & ioctl::IFF_MULTI_QUEUE != 0) {
        (DeviceKind::Offload, false) => return Err(wrong(&name, "is limited to one queue")),
        (DeviceKind::Plain, true) => return Err(wrong(&name, "is not limited to one queue")),
        _ => {}
    }
    let mode = rustix::fs::fcntl_getfl(fd).map_err(|_| QueueError::Detached)?;
    if !mode.contains(rustix::fs::OFlags::RDWR) {
        return Err(QueueError::NotReadWrite { name });
    }
    // TUNGETIFF cannot tell whether packet information is off: it shows IFF_NOFILTER in the same
    // bit. So ask with a frame that is nothing: four zero bytes, behind a zeroed header if the
    // device has one. Without packet information those are a packet of IP version 0, which the
    // driver refuses with EINVAL, link up or down. With it, the first four bytes are that, and no
    // packet is left: the driver goes on to a better answer.
    let probe = match wanted {
        DeviceKind::Offload => &NO_PACKET_BEHIND_HEADER[..],
        DeviceKind::Plain => &NO_PACKET,
    };
    match pwritev2(fd, &[IoSlice::new(probe)], u64::MAX, ReadWriteFlags::NOWAIT) {
        Err(Errno::INVAL) => Ok(name),
        Err(Errno::BADFD) => Err(QueueError::Detached),
        _ => Err(wrong(&name, "has packet information on")),
    }
}

/// Makes the device speak as the data plane expects; returns the first of `wanted` it agrees to.
fn set_up(
    fd: &OwnedFd,
    name: &str,
    kind: DeviceKind,
    wanted: &[Offloads],
) -> Result<Offloads, QueueError> {
    let refused = |what| {
        move |errno: Errno| match errno {
            Errno::BADFD => QueueError::Detached,
            _ => QueueError::Refused { name: name.to_owned(), what, source: errno.into() },
        }
    };
    if kind == DeviceKind::Offload {
        ioctl::set_header_len(fd, HEADER_LEN as i32).map_err(refused("a header of 10 bytes"))?;
        ioctl::set_native_endian(fd).map_err(refused("native byte order"))?;
    }
    let mut last = Errno::INVAL;
    for offloads in wanted {
        match ioctl::set_offloads(fd, offloads.bits()) {
            Ok(()) => return Ok(*offloads),
            Err(errno) => last = errno,
        }
    }
    Err(refused("every set of offloads")(last))
}
