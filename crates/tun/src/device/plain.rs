//! The plain device: one packet a read, one packet a write, nothing in front of either.
//!
//! It is opened by the `tun-tap` crate: the fall-back where offloads are refused, and what a
//! benchmark compares the main backend with. What the crate does (0.1.4, "passively maintained",
//! Apache-2.0 or MIT) is open `/dev/net/tun` with close-on-exec and make one TUNSETIFF with `IFF_TUN`
//! and `IFF_NO_PI`, in thirty lines of C (so the build needs a C compiler, as linking does). We take it
//! without its features: `tokio` is an interface for tokio 0.1, `libc` adds FIONBIO, which is
//! `fcntl` here.
//!
//! What it cannot do, and what becomes of it:
//!
//! - *No `IFF_VNET_HDR`, no `IFF_MULTI_QUEUE`*: that is what makes the device plain. The kernel
//!   completes every checksum and cuts every segment itself, and a device of one queue is one whose
//!   queue nobody can detach and whose mode nobody can change (`Queue::adopt`).
//! - *No `IFF_TUN_EXCL`*: TUNSETIFF joins a persistent device of that name which nobody uses (seen on
//!   Linux 6.18; one in use is EBUSY, another kind of link EINVAL). A device that was just made is not
//!   persistent, so one that is was there before, and is let go again.
//! - *Neither `AsFd` nor `OwnedFd`*, only a raw descriptor: hence the `unsafe` here.
//! - *A longer name is cut off, `%d` is filled in*: names are checked before.
//!
//! Its `recv` and `send` are `read` and `write`; the daemon uses neither, for it takes only a
//! descriptor, and from somebody it does not trust (`queue.rs`).

#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use rustix::{fs::OFlags, io::Errno};
use tun_tap::{Iface, Mode};

use super::no_driver;
use crate::{Error, ioctl};

/// Makes plain device `name`. Returns its queue and the name the kernel gave it.
pub(super) fn open(name: &str) -> Result<(OwnedFd, String), Error> {
    let failed = |errno| match errno {
        // Only opening the driver's file fails like this.
        Errno::NOENT | Errno::NODEV | Errno::NXIO => no_driver(errno),
        Errno::INVAL | Errno::BUSY => taken(name),
        _ => Error::system(format!("create plain TUN device `{name}`"), errno),
    };
    let made = Iface::without_packet_info(name, Mode::Tun);
    let made = made.map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    let name = made.name().to_owned();
    // SAFETY: `into_raw_fd` gives up the ownership of an open descriptor, and nobody else has it.
    let queue = unsafe { OwnedFd::from_raw_fd(made.into_raw_fd()) };
    let (_, flags) = ioctl::device(&queue).map_err(failed)?;
    if flags & ioctl::IFF_PERSIST != 0 {
        return Err(taken(&name));
    }
    rustix::fs::fcntl_setfl(&queue, OFlags::RDWR | OFlags::NONBLOCK).map_err(failed)?;
    Ok((queue, name))
}

fn taken(name: &str) -> Error {
    Error::system(format!("create plain TUN device `{name}`"), Errno::BUSY)
}
