//! Packets as bytes: checked views, in-place rewrites, checksums, the virtio-net header, and the
//! answers a router gives (ICMP errors, TCP resets).
//!
//! A TUN queue with `IFF_VNET_HDR` hands over a virtio-net header followed by one IP packet of up
//! to 64 KiB: TCP and UDP super-packets pass through whole, and the kernel at the other end cuts
//! them up. [`Frame::parse`] checks such a buffer once; what it returns can be read, rewritten and
//! sealed for writing without any further way to fail.
//!
//! ```
//! # use etherparse::PacketBuilder;
//! use viaduct_wire::{Frame, Rewrite, VNET_HEADER_LEN};
//! # let mut buffer = vec![0; VNET_HEADER_LEN];
//! # PacketBuilder::ipv4([10, 0, 1, 5], [203, 0, 113, 80], 64)
//! #     .udp(40_000, 53)
//! #     .write(&mut buffer, b"query")
//! #     .unwrap();
//! let mut frame = Frame::parse(&mut buffer, 1500)?;
//! assert_eq!(frame.to_string(), "10.0.1.5.40000 > 203.0.113.80.53: udp, length 33");
//! frame.rewrite(&Rewrite {
//!     source: [203, 0, 113, 10].into(),
//!     source_port: 1024,
//!     ttl_decrement: 1,
//!     ..Rewrite::from(frame.flow())
//! });
//! let length = frame.finish();
//! assert_eq!(&buffer[VNET_HEADER_LEN + 12..VNET_HEADER_LEN + 16], [203, 0, 113, 10]);
//! assert_eq!(length, buffer.len());
//! # Ok::<(), viaduct_wire::Malformed>(())
//! ```
//!
//! # What is trusted
//!
//! Nothing a guest writes. A guest can put any bytes on its device through a packet socket,
//! virtio header included, and the kernel that receives a frame acts on that header: it stores a
//! checksum wherever `csum_start` and `csum_offset` point, which may be the destination port that
//! a policy has just judged. So the header is evidence about the packet and never passed on;
//! [`Frame::finish`] builds the one that leaves from what parsing found.
//!
//! # The panic contract
//!
//! [`Frame::parse`] never panics, whatever the bytes. After it has returned a frame, no accessor
//! and no rewrite can panic: every offset they use lies within lengths checked there, and no
//! method changes a length.
//!
//! # Checksums
//!
//! The IP header's checksum is verified: twenty bytes are cheap, and a router must (RFC 1812
//! 5.2.2). Those of TCP and UDP are not: the end host does that, and since rewrites update them by
//! difference (RFC 1624) a broken one stays broken. An ICMP error's checksums are verified before
//! it is translated (RFC 5508 REQ-3). [`checksum`] holds the arithmetic.
#![forbid(unsafe_code)]

pub mod checksum;
mod cut;
mod error;
mod flow;
mod fragment;
mod frame;
mod frames;
pub mod icmp;
mod ipv4;
mod mss;
mod offload;
mod quoted;
mod rewrite;
pub mod tcp;
mod transport;
pub mod vnet;

pub use cut::MOST_PIECES;
pub use error::{BadOffload, Malformed};
pub use flow::{Flow, protocol};
pub use fragment::assemble;
pub use frame::Frame;
pub use frames::Frames;
pub use ipv4::Fragment;
pub use ipv4::names_one_host;
pub use mss::mss_of;
pub use quoted::Quoted;
pub use rewrite::Rewrite;
pub use tcp::TcpFlags;
pub use transport::L4;
pub use vnet::VNET_HEADER_LEN;
