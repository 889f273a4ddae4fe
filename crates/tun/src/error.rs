//! What can go wrong, in the words its reader needs.

use std::{io, path::PathBuf};

use crate::DeviceKind;

/// Why a queue handed over was not taken. The giver is at fault, or its kernel is too old.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The descriptor is not the TUN driver's character device.
    #[error(
        "the descriptor handed over is not a TUN queue (expected the character device 10:200, \
         found {found}): open /dev/net/tun and attach it to a device with TUNSETIFF first"
    )]
    NotTun {
        /// What `fstat` said it is.
        found: String,
    },
    /// The queue belongs to no device: never attached, detached, or the device is deleted.
    #[error(
        "the queue belongs to no device: it was never attached, was detached, or its device is \
         deleted"
    )]
    Detached,
    /// The device is of the other kind than the data plane was told to work with.
    #[error(
        "device `{name}` is of the kind `{found}`, and the daemon takes `{wanted}` only: attach the \
         host anew, with a device that is created with {}, or run the daemon with `--device {found}`",
        wanted.flags_text()
    )]
    WrongKind {
        /// The device's name in the giver's namespace.
        name: String,
        /// What it is.
        found: DeviceKind,
        /// What the daemon takes.
        wanted: DeviceKind,
    },
    /// The device has another shape than the data plane speaks.
    #[error("device `{name}` {problem}: create it with {flags}")]
    WrongMode {
        /// The device's name in the giver's namespace.
        name: String,
        /// What is different.
        problem: &'static str,
        /// The flags of the kind that is wanted.
        flags: &'static str,
    },
    /// The descriptor was not opened for reading and writing.
    #[error("the queue of device `{name}` is not open for reading and writing: open it O_RDWR")]
    NotReadWrite {
        /// The device's name in the giver's namespace.
        name: String,
    },
    /// The kernel refused a setting.
    #[error("device `{name}`: the kernel refused {what}: {source}")]
    Refused {
        /// The device's name in the giver's namespace.
        name: String,
        /// The setting.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What went wrong on the hand-over socket.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The socket could not be made, bound or reached.
    #[error("{what} {}: {source}", path.display())]
    Socket {
        /// What was attempted.
        what: &'static str,
        /// The socket's path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Another daemon answers at this address.
    #[error(
        "another daemon is listening on {}: stop it, or choose another socket",
        path.display()
    )]
    InUse {
        /// The socket's path.
        path: PathBuf,
    },
    /// The socket failed in use.
    #[error("the hand-over socket failed: {0}")]
    Io(#[from] io::Error),
    /// The peer closed the connection.
    #[error("the other end closed the hand-over connection")]
    Closed,
    /// No answer within the time given.
    #[error("no answer on the hand-over socket within {0:?}")]
    TimedOut(std::time::Duration),
    /// A message is over the bound.
    #[error("a hand-over message is larger than {} bytes", crate::handover::MAX_MESSAGE_LEN)]
    TooLarge,
    /// A message that does not parse.
    #[error("a hand-over message does not parse: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A message with another number of descriptors than it must have.
    #[error("a hand-over message carries {found} descriptors, and must carry {expected}")]
    Descriptors {
        /// How many came (at least, where there are many).
        found: usize,
        /// How many the message must carry.
        expected: usize,
    },
    /// A descriptor came, and this process may not open any more.
    #[error(
        "this process cannot take another descriptor: raise its limit of open files (`ulimit -n`)"
    )]
    TableFull,
}

/// What this host refused while devices, links or namespaces were being set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {what}: {source}{}", hint(source))]
    System {
        /// What was attempted, as the end of "cannot …".
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Whoever is not root gets no namespaces here.
    #[error("cannot make a user namespace ({source}): {advice}")]
    NoUserNamespace {
        /// The kernel's answer.
        source: io::Error,
        /// What keeps users from them, and what to do about it.
        advice: &'static str,
    },
    /// What is said of the descriptors that this process was started with makes no sense.
    #[error(
        "{variable} is `{value}`, which {problem}: whoever starts viaduct with sockets sets it \
             as sd_listen_fds(3) says"
    )]
    Inherited {
        /// The environment variable.
        variable: &'static str,
        /// What it is.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A network namespace of that name exists.
    #[error("network namespace `{name}` exists already: remove it first (`ip netns del {name}`)")]
    NamespaceExists {
        /// The namespace's name.
        name: String,
    },
    /// No network namespace of that name, path or process.
    #[error("there is no network namespace at {}", path.display())]
    NoNamespace {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something is there, and is not a network namespace.
    #[error("{} is not a network namespace", path.display())]
    NotANamespace {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A name the kernel or the file system would not take.
    #[error("`{name}` cannot name a {what}: {rule}")]
    BadName {
        /// The name.
        name: String,
        /// What it was to name.
        what: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// No link of that name in the namespace.
    #[error("there is no link `{name}` in this network namespace")]
    NoLink {
        /// The link's name.
        name: String,
    },
    /// The kernel refused a change to a link, an address or a route.
    #[error("cannot {what}: {source}")]
    Netlink {
        /// What was attempted, as the end of "cannot …".
        what: String,
        /// The kernel's answer.
        source: Box<rtnetlink::Error>,
    },
    /// The daemon refused an attachment.
    #[error("the daemon refused attachment `{name}`: {message}")]
    Refused {
        /// The attachment.
        name: String,
        /// The reason, for programs.
        reason: crate::handover::RefusalReason,
        /// The reason, for people.
        message: String,
    },
    /// The connection to the daemon failed.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The holder was stopped.
    #[error("the holder of the queues has stopped")]
    Stopped,
}

impl Error {
    /// A failed system call; `what` is the end of "cannot …".
    pub(crate) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { what: what.into(), source: source.into() }
    }
}

/// The usual cause of the refusals that every newcomer meets.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            " (this needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN in the namespace)"
        }
        _ => "",
    }
}
