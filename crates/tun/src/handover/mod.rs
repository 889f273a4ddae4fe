//! The hand-over of queues: `attach.sock`.
//!
//! One Unix socket of type SOCK_SEQPACKET, so that a message is a message: JSON of at most
//! [`MAX_MESSAGE_LEN`] bytes, and with an [`Offer`] exactly one descriptor (SCM_RIGHTS). What is
//! received is closed on `exec` from the start, and closed at once where it does not belong.
//!
//! Whoever closes the last descriptor of a stranger's file waits for as long as the stranger likes (a
//! socket that lingers, socket(7); a file of a FUSE file system). The daemon may do so when it
//! receives (what is too many), when it drops a queue that it does not want, and when it drops a
//! [`Connection`] (the kernel then closes what was sent and never read). It does these where it may
//! wait.
//!
//! A conversation, helper on the left:
//!
//! ```text
//! hello {version}          →                       first, else the daemon refuses
//! describe {name}          →
//!                          ← plan {…}              how to set the device up, and its kind
//! offer {name, mtu} + fd   →
//!                          ← attached {…}          packets flow
//!                          ← detached {…}          whenever it ends on the daemon's side
//! withdraw {name}          →                       when it ends on the helper's side
//!                          ← detached {…}
//! ```
//!
//! Any of them may be answered by `refused {…}`. Requests about different attachments may be
//! sent without waiting; each answer names its attachment, and answers about one come in order.
//!
//! The connection is the identity: what may be attached over it is decided by which socket it
//! came to, or by a token in the question and the offer. Credentials of the peer are for logs, for
//! across containers they mean nothing. An attachment lives as long as its connection, which may carry
//! any number of them.

mod channel;
mod message;
mod token;

pub use channel::{Access, Client, Connection, Listener, Peer};
pub use message::{DetachReason, HostEntry, Incoming, Offer, Plan, RefusalReason, Reply, Request};
pub use token::Token;

/// The version of the protocol spoken here.
pub const PROTOCOL_VERSION: u32 = 1;

/// The longest message, in bytes. A plan with a thousand host names fits.
pub const MAX_MESSAGE_LEN: usize = 64 * 1024;
