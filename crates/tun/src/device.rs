//! A TUN device, as the giver makes it.
//!
//! There are two kinds ([`DeviceKind`]), and a daemon works with one of them for all its hosts: what
//! comes out of one kind cannot always go into the other. So it is said in one place, where the
//! daemon is started (`viaduct run --device`). The daemon tells it to every helper in the
//! [`Plan`](crate::Plan), which the helper asks for anyway before it makes a device; a flag of the
//! helper's own could only contradict.

mod plain;

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    thread,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{Error, ioctl};

/// How packets lie in a device's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// Behind a virtio-net header: super-packets and unfinished checksums pass.
    #[default]
    Offload,
    /// With nothing in front: only ordinary packets pass, and each is complete.
    Plain,
}

impl DeviceKind {
    /// The flags such a device is made with, for messages.
    pub(crate) const fn flags_text(self) -> &'static str {
        match self {
            Self::Offload => "IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE",
            Self::Plain => "IFF_TUN | IFF_NO_PI",
        }
    }
}

/// As in `viaduct run --device`.
impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offload => "offload",
            Self::Plain => "plain",
        })
    }
}

/// The longest device name, in bytes (IFNAMSIZ without its zero).
pub const MAX_NAME_LEN: usize = 15;

/// A TUN device with one queue, the device's only owner.
///
/// The device lives as long as a descriptor of its queue is open somewhere: this one, a duplicate
/// made with [`Device::queue`], or the copy a daemon was handed. Dropping the last one takes about
/// 16 ms, for the kernel waits until no CPU uses the device any more.
#[derive(Debug)]
pub struct Device {
    queue: OwnedFd,
    name: String,
}

impl Device {
    /// Makes device `name` in the calling thread's network namespace, link down, MTU 1500.
    ///
    /// A device of that name is never joined.
    pub fn open(name: &str, kind: DeviceKind) -> Result<Self, Error> {
        check_name(name)?;
        let (queue, name) = match kind {
            DeviceKind::Offload => open_offload(name)?,
            DeviceKind::Plain => plain::open(name)?,
        };
        Ok(Self { queue, name })
    }

    /// The device's name in its namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Another descriptor of the queue, to be handed over while this one keeps the device alive.
    pub fn queue(&self) -> Result<OwnedFd, Error> {
        rustix::io::fcntl_dupfd_cloexec(&self.queue, 0).map_err(|errno| {
            Error::system(format!("duplicate the queue of device `{}`", self.name), errno)
        })
    }

    /// The queue itself.
    pub fn into_queue(self) -> OwnedFd {
        self.queue
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

/// Makes a device with offloads. Returns its queue and the name the kernel gave it.
///
/// `IFF_VNET_HDR` lets super-packets and unfinished checksums pass; `IFF_MULTI_QUEUE` must be
/// chosen now to have a second queue ever.
fn open_offload(name: &str) -> Result<(OwnedFd, String), Error> {
    let queue = rustix::fs::open(
        "/dev/net/tun",
        OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )
    .map_err(|errno| match errno {
        Errno::NOENT | Errno::NODEV | Errno::NXIO => no_driver(errno),
        _ => Error::system("open /dev/net/tun", errno),
    })?;
    let flags = ioctl::IFF_TUN
        | ioctl::IFF_NO_PI
        | ioctl::IFF_VNET_HDR
        | ioctl::IFF_MULTI_QUEUE
        | ioctl::IFF_TUN_EXCL;
    let name = ioctl::attach(&queue, name, flags)
        .map_err(|errno| Error::system(format!("create TUN device `{name}`"), errno))?;
    Ok((queue, name))
}

fn no_driver(errno: Errno) -> Error {
    Error::system(
        "open /dev/net/tun (load the module with `modprobe tun`, or give the container \
         `--device /dev/net/tun`)",
        errno,
    )
}

/// Threads that [`close_all`] uses at most. Measured with 100 devices, 2 cores: one thread 1.9 s,
/// four 0.6 s, sixteen 0.24 s, a hundred 0.19 s.
const CLOSERS: usize = 16;

/// Drops many owners of queues at once. The kernel makes the one who closes a device's last
/// descriptor wait some 16 ms, but lets many wait at the same time.
pub fn close_all<T: Send>(mut owners: Vec<T>) {
    let share = owners.len().div_ceil(CLOSERS).max(1);
    thread::scope(|scope| {
        while owners.len() > share {
            let part = owners.split_off(owners.len() - share);
            scope.spawn(move || drop(part));
        }
        drop(owners);
    });
}

/// Refuses what the kernel would refuse with a bare EINVAL, and `%`, which it takes for a template.
fn check_name(name: &str) -> Result<(), Error> {
    let rule = if name.is_empty() || name.len() > MAX_NAME_LEN {
        "a name is 1 to 15 bytes long"
    } else if name == "." || name == ".." {
        "`.` and `..` are taken"
    } else if name
        .chars()
        .any(|c| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control())
    {
        "`/`, `:`, `%`, blanks and control characters are not allowed"
    } else {
        return Ok(());
    };
    Err(Error::BadName { name: name.to_owned(), what: "network device", rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_closed_whatever_the_number() {
        for number in [0, 1, 15, 16, 17, 100] {
            let owner = std::sync::Arc::new(());
            close_all(vec![std::sync::Arc::clone(&owner); number]);
            assert_eq!(std::sync::Arc::strong_count(&owner), 1, "{number} owners");
        }
    }

    #[test]
    fn a_kind_is_called_alike_in_messages_and_plans() {
        for kind in [DeviceKind::Offload, DeviceKind::Plain] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        }
    }

    #[test]
    fn names_the_kernel_would_refuse_are_refused_with_the_rule() {
        for name in ["", "sixteen-bytes-xx", ".", "..", "a/b", "a:b", "tun%d", "a b", "a\n"] {
            assert!(
                matches!(check_name(name), Err(Error::BadName { .. })),
                "{name:?} was accepted"
            );
        }
        for name in ["eth0", "fifteen-bytes-x", "viaduct.0"] {
            assert!(check_name(name).is_ok(), "{name:?} was refused");
        }
    }
}
