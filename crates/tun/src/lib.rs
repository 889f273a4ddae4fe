//! TUN queues with offloads, their hand-over between processes, network namespaces.
//!
//! Two roles meet here and trust each other in one direction only:
//!
//! - the **giver** (`viaduct agent`, `viaduct attach`, the lab) may open devices and enter
//!   namespaces: [`netns`], [`device`], [`link`], and [`holder`] on top of them;
//! - the **taker** (the daemon) may do neither. It is handed open queues over a Unix socket
//!   ([`handover`]) and distrusts every one of them ([`queue`]).
//!
//! This is the one crate of the workspace that may contain `unsafe`: the TUN driver is driven by
//! `ioctl`s, and no crate types them. They are all in `ioctl.rs`; `unshare.rs` adds `unshare`,
//! `device/plain.rs` and `inherited.rs` descriptors that are known only as numbers, `kernel.rs` two
//! questions about descriptors.
//!
//! Errors come in three enums, because three different people read them: [`QueueError`] tells
//! the giver of a queue why it was not taken, [`HandoverError`] says what a peer did wrong on
//! the socket, [`Error`] says what this host refused and what to do about it.

#![deny(unsafe_code)]

pub mod device;
mod error;
pub mod handover;
pub mod holder;
pub mod inherited;
mod ioctl;
mod kernel;
pub mod link;
pub mod netns;
pub mod pid_namespace;
pub mod private_etc;
pub mod private_files;
pub mod queue;
mod unshare;
pub mod user_namespace;

pub use device::{Device, DeviceKind};
pub use error::{Error, HandoverError, QueueError};
pub use handover::{Client, Connection, Incoming, Listener, Offer, Plan, Reply, Request};
pub use holder::{Attached, Attachment, Holder};
pub use link::Links;
pub use netns::Namespace;
pub use queue::{Offloads, Queue, Received, Sent};
