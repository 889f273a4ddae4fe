//! Both ends of the hand-over socket.

use std::{
    ffi::OsStr,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::Mode,
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
        SocketType, recvmsg, sendmsg,
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Incoming, MAX_MESSAGE_LEN, Reply, Request};
use crate::{HandoverError, kernel};

/// Descriptors for which there is room in one message: more than any may carry, so that an error
/// can say how many came. The kernel closes those beyond.
const DESCRIPTORS: usize = 4;

/// Connections that wait to be accepted; a host's helpers re-connect all at once.
const BACKLOG: i32 = 1024;

/// The daemon's listening socket. Non-blocking. Removes its path when dropped, if it has made it.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode of the path, so that a successor's socket is not removed.
    identity: Option<(u64, u64)>,
}

/// Who is at the other end, for logs: means nothing across containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id, in this process's view; none for one that it does not see (pid_namespaces(7)).
    pub pid: Option<i32>,
    /// User id, in this process's view.
    pub uid: u32,
}

/// Who may connect to a [`Listener`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Its owner, and root (mode 0600).
    #[default]
    Owner,
    /// The owner's group as well (mode 0660): helpers in containers whose root has no capability to
    /// ignore modes.
    Group,
}

impl Access {
    const fn mode(self) -> Mode {
        const OWNER: Mode = Mode::RUSR.union(Mode::WUSR);
        match self {
            Self::Owner => OWNER,
            Self::Group => OWNER.union(Mode::RGRP).union(Mode::WGRP),
        }
    }
}

impl Listener {
    /// Listens at `path`, for the owner only.
    ///
    /// # Errors
    ///
    /// As [`Self::bind_for`].
    pub fn bind(path: impl AsRef<Path>) -> Result<Self, HandoverError> {
        Self::bind_for(path, Access::Owner)
    }

    /// Listens at `path`, for those who have access.
    ///
    /// A socket left by a daemon that is dead is replaced; one that answers is
    /// [`HandoverError::InUse`]. Two daemons that start on the same stale path in the same instant
    /// can both succeed: a daemon holds a lock on its directory before it comes here.
    pub fn bind_for(path: impl AsRef<Path>, access: Access) -> Result<Self, HandoverError> {
        let path = path.as_ref();
        let failed = |what| {
            move |errno: Errno| HandoverError::Socket {
                what,
                path: path.to_owned(),
                source: errno.into(),
            }
        };
        let address = SocketAddrUnix::new(path).map_err(failed("cannot use the socket path"))?;
        let socket =
            seqpacket(SocketFlags::NONBLOCK).map_err(failed("cannot open a socket for"))?;
        match rustix::net::bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                if answers(&address) {
                    return Err(HandoverError::InUse { path: path.to_owned() });
                }
                rustix::fs::unlink(path).map_err(failed("cannot remove the stale socket"))?;
                rustix::net::bind(&socket, &address)
            }
            answer => answer,
        }
        .map_err(failed("cannot bind"))?;
        // Nobody can connect before `listen`, so there is no moment with a wider mode.
        rustix::fs::chmod(path, access.mode()).map_err(failed("cannot set the mode of"))?;
        rustix::net::listen(&socket, BACKLOG).map_err(failed("cannot listen on"))?;
        let identity = identity(path);
        Ok(Self { socket, path: path.to_owned(), identity })
    }

    /// Takes a socket of this type that listens already, and whose path is somebody else's to remove.
    pub fn inherited(socket: OwnedFd) -> Result<Self, HandoverError> {
        let failed = |errno: Errno| HandoverError::Io(errno.into());
        rustix::io::ioctl_fionbio(&socket, true).map_err(failed)?;
        let address = rustix::net::getsockname(&socket).and_then(SocketAddrUnix::try_from);
        let path = match address.map_err(failed)?.path_bytes() {
            Some(path) => PathBuf::from(OsStr::from_bytes(path)),
            // Abstract, or a pair without a name.
            None => PathBuf::new(),
        };
        Ok(Self { socket, path, identity: None })
    }

    /// Whether its path is removed when it is dropped.
    #[must_use]
    pub fn is_to_remove(&self) -> bool {
        self.identity.is_some()
    }

    /// Accepts one connection, if one waits.
    pub fn try_accept(&self) -> Result<Option<Connection>, HandoverError> {
        loop {
            return match rustix::net::accept_with(
                &self.socket,
                SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            ) {
                Ok(socket) => Ok(Some(Connection { socket })),
                Err(Errno::AGAIN) => Ok(None),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(errno) => Err(HandoverError::Io(errno.into())),
            };
        }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // A confined daemon may be unable to; the next one replaces a stale socket anyway.
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

/// The daemon's end of a connection. Non-blocking: wait with `poll` or tokio's `AsyncFd`.
///
/// To receive, and to drop it, can take as long as the helper likes: see the [module](super)'s
/// documentation.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
}

impl Connection {
    /// One request, if one waits. [`HandoverError::Closed`] when the helper is gone.
    ///
    /// After `Malformed`, `TooLarge`, `Descriptors` and `TableFull` one message is lost and the
    /// connection goes on; after any other error it is of no use.
    pub fn try_recv(&self) -> Result<Option<Incoming>, HandoverError> {
        let Some((request, descriptors)) = receive::<Request>(&self.socket)? else {
            return Ok(None);
        };
        Incoming::new(request, descriptors).map(Some)
    }

    /// Sends one reply. `Ok(false)` when the helper has not read what was sent before, and there
    /// is no more room: wait until writable, or give up on a helper that does not read.
    pub fn try_send(&self, reply: &Reply) -> Result<bool, HandoverError> {
        transmit(&self.socket, reply, None)
    }

    /// Who connected, for logs.
    pub fn peer(&self) -> Option<Peer> {
        let (pid, uid) = kernel::peer_of(self.socket.as_fd()).ok()?;
        Some(Peer { pid: Some(pid).filter(|pid| *pid != 0), uid })
    }

    /// A connected pair, without a path: for tests, and for a helper that is the daemon's child.
    pub fn pair() -> Result<(Self, Client), HandoverError> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .map_err(|errno| HandoverError::Io(errno.into()))?;
        Ok((Self { socket: ours }, Client { socket: theirs }))
    }
}

/// The helper's end of a connection.
#[derive(Debug)]
pub struct Client {
    /// Non-blocking as well; waiting is done by `poll`, so that it can be bounded.
    socket: OwnedFd,
}

impl Client {
    /// Connects to the daemon at `path`. Does not say hello.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, HandoverError> {
        let path = path.as_ref();
        let failed = |errno: Errno| HandoverError::Socket {
            what: "cannot reach the daemon at",
            path: path.to_owned(),
            source: errno.into(),
        };
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        let socket = seqpacket(SocketFlags::NONBLOCK).map_err(failed)?;
        rustix::net::connect(&socket, &address).map_err(failed)?;
        Ok(Self { socket })
    }

    /// Sends one request, waiting for room at most `timeout`. An offer goes with its queue.
    pub fn send(
        &self,
        request: &Request,
        queue: Option<BorrowedFd<'_>>,
        timeout: Duration,
    ) -> Result<(), HandoverError> {
        let deadline = Instant::now() + timeout;
        while !self.try_send(request, queue)? {
            self.wait(PollFlags::OUT, deadline, timeout)?;
        }
        Ok(())
    }

    /// Sends one request. `Ok(false)` when there is no room now.
    pub fn try_send(
        &self,
        request: &Request,
        queue: Option<BorrowedFd<'_>>,
    ) -> Result<bool, HandoverError> {
        transmit(&self.socket, request, queue)
    }

    /// Waits for one reply, at most `timeout`.
    pub fn recv(&self, timeout: Duration) -> Result<Reply, HandoverError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(reply) = self.try_recv()? {
                return Ok(reply);
            }
            self.wait(PollFlags::IN, deadline, timeout)?;
        }
    }

    /// One reply, if one waits.
    pub fn try_recv(&self) -> Result<Option<Reply>, HandoverError> {
        match receive::<Reply>(&self.socket)? {
            None => Ok(None),
            Some((reply, descriptors)) if descriptors.is_empty() => Ok(Some(reply)),
            Some((_, descriptors)) => {
                Err(HandoverError::Descriptors { found: descriptors.len(), expected: 0 })
            }
        }
    }

    /// Waits for `events` until `deadline`; `timeout` is what it was, for the message.
    fn wait(
        &self,
        events: PollFlags,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<(), HandoverError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(HandoverError::TimedOut(timeout));
        }
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(&self.socket, events)], left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(HandoverError::Io(errno.into())),
        }
    }
}

macro_rules! is_a_descriptor {
    ($($end:ty),*) => {$(
        impl AsFd for $end {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.socket.as_fd()
            }
        }

        impl AsRawFd for $end {
            fn as_raw_fd(&self) -> RawFd {
                self.socket.as_raw_fd()
            }
        }
    )*};
}
is_a_descriptor!(Listener, Connection, Client);

fn seqpacket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags | SocketFlags::CLOEXEC,
        None,
    )
}

/// Does anybody accept connections at `address`?
fn answers(address: &SocketAddrUnix) -> bool {
    let Ok(socket) = seqpacket(SocketFlags::NONBLOCK) else {
        return true;
    };
    match rustix::net::connect(&socket, address) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => false,
        // A full backlog (EAGAIN) is somebody too; so is, with doubt, everything else.
        _ => true,
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::stat(path).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// Sends one message, and a descriptor with it. `Ok(false)`: no room now.
fn transmit(
    socket: &OwnedFd,
    message: &impl Serialize,
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<bool, HandoverError> {
    let text = serde_json::to_vec(message)?;
    if text.len() > MAX_MESSAGE_LEN {
        return Err(HandoverError::TooLarge);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        unreachable!("the buffer has room for one descriptor");
    }
    loop {
        return match sendmsg(socket, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(true),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Ok(false),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(HandoverError::Closed),
            Err(errno) => Err(HandoverError::Io(errno.into())),
        };
    }
}

/// Receives one message and all descriptors with it. `Ok(None)`: nothing there now.
fn receive<M: DeserializeOwned>(
    socket: &OwnedFd,
) -> Result<Option<(M, Vec<OwnedFd>)>, HandoverError> {
    let mut text = vec![0; MAX_MESSAGE_LEN];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut text)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(message) => break message,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::CONNRESET) => return Err(HandoverError::Closed),
            Err(errno) => return Err(HandoverError::Io(errno.into())),
        }
    };
    // Everything that came is owned from here on, and closed on every way out.
    let mut descriptors = Vec::new();
    for item in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = item {
            descriptors.extend(rights);
        }
    }
    // End of file and an empty message look alike; no message of the protocol is empty.
    if message.bytes == 0 && descriptors.is_empty() {
        return Err(HandoverError::Closed);
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(HandoverError::TooLarge);
    }
    if message.flags.contains(ReturnFlags::CTRUNC) && descriptors.len() < DESCRIPTORS {
        // There was room in the buffer, so there was none in this process's table.
        return Err(HandoverError::TableFull);
    }
    let message = serde_json::from_slice(&text[..message.bytes])?;
    Ok(Some((message, descriptors)))
}
