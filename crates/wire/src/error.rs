//! Why a buffer is not a packet that can be forwarded.

use thiserror::Error;

/// What is wrong with a buffer read from a device. In each case whoever put the packet on that
/// device is at fault, and the packet is to be dropped.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Malformed {
    /// The virtio-net header describes work that the packet does not call for.
    #[error("the virtio-net header does not fit the packet: {0}")]
    BadOffloadHeader(#[from] BadOffload),
    /// A fragment that reaches past the largest packet there is, that is empty, that others follow
    /// at no multiple of 8 bytes, or that hides the transport header from filters (RFC 1858,
    /// RFC 3128).
    #[error("the fragment at offset {offset} cannot be part of a sound packet")]
    Fragment {
        /// Where its payload starts in the whole packet's, in bytes.
        offset: u16,
    },
    /// The IP header's checksum does not match the header.
    #[error("the IP header's checksum is wrong")]
    HeaderChecksum,
    /// An IP header length below 20 bytes, or beyond the packet.
    #[error("an IP header of {length} bytes is impossible here: 20 to 60, within the packet")]
    HeaderLength {
        /// The length the header claims, in bytes.
        length: u8,
    },
    /// An ICMP message shorter than its eight-byte header.
    #[error("the ICMP message ends within its header, after {length} bytes of 8")]
    IcmpLength {
        /// The bytes there are.
        length: u16,
    },
    /// An IPv6 packet. Sound it may be, but only IPv4 is forwarded.
    #[error("an IPv6 packet: only IPv4 is forwarded; disable IPv6 on the sender's interface")]
    Ipv6,
    /// Neither IPv4 nor IPv6.
    #[error("not an IP packet: its version field holds {version}")]
    NotIp {
        /// The first four bits.
        version: u8,
    },
    /// An IP option list that runs past its own end.
    #[error("the IP options run past the end of the header")]
    Options,
    /// Loose or strict source routing (RFC 791), which would let the sender choose another way
    /// than the route tables do. RFC 7126 4.3 and 4.4: dropped.
    #[error("the packet asks for source routing, which is refused")]
    SourceRoute,
    /// A TCP header length below 20 bytes, or beyond the packet.
    #[error("a TCP header of {length} bytes is impossible in a segment of {available}")]
    TcpHeader {
        /// The length the header claims, in bytes; 0 where the segment ends before the field.
        length: u8,
        /// The bytes the packet holds behind its IP header.
        available: u16,
    },
    /// An IP total length smaller than the header, or larger than what was read.
    #[error("the IP header claims {claimed} bytes, {available} were read")]
    TotalLength {
        /// The total length field.
        claimed: u16,
        /// The bytes that were read.
        available: usize,
    },
    /// Fewer bytes than a virtio-net header and the smallest IP header.
    #[error("{length} bytes are too few for a virtio-net header and an IP packet")]
    Truncated {
        /// The bytes that were read.
        length: usize,
    },
    /// A UDP length below 8 bytes, or beyond the packet.
    #[error("a UDP length of {length} is impossible in a packet with {available} bytes for it")]
    UdpLength {
        /// The length field; 0 where the datagram ends before it.
        length: u16,
        /// The bytes the packet holds behind its IP header.
        available: u16,
    },
}

/// How a guest's virtio-net header contradicts its packet. No kernel writes such a header: it was
/// forged through a packet socket, or the device was reconfigured under a queue.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadOffload {
    /// NEEDS_CSUM with a checksum field that is not the protocol's.
    #[error("a checksum field at offset {found}, not at {expected}")]
    ChecksumOffset {
        /// `csum_offset`.
        found: u16,
        /// Where the protocol has its checksum.
        expected: u16,
    },
    /// NEEDS_CSUM on a packet that is neither a whole TCP segment nor a whole UDP datagram.
    #[error("a checksum left to do on a packet that is neither whole TCP nor whole UDP")]
    ChecksumProtocol,
    /// NEEDS_CSUM with a sum that does not begin behind the IP header.
    #[error("a checksum that starts at {found}, not behind the IP header at {expected}")]
    ChecksumStart {
        /// `csum_start`.
        found: u16,
        /// The length of the IP header.
        expected: u16,
    },
    /// NEEDS_CSUM on a datagram whose UDP length leaves bytes of the packet over: the kernel would
    /// sum them, the UDP checksum does not cover them.
    #[error("a checksum left to do over {available} bytes, of which UDP covers {length}")]
    ChecksumLength {
        /// The UDP length field.
        length: u16,
        /// The bytes behind the IP header.
        available: u16,
    },
    /// Segmentation without NEEDS_CSUM: each segment needs a checksum of its own.
    #[error("segmentation without checksumming")]
    GsoChecksum,
    /// Too many segments: the kernel cuts a datagram into at most 128 (`UDP_MAX_SEGMENTS`).
    #[error("{segments} segments, more than the 128 a UDP super-packet may have")]
    GsoSegments {
        /// ⌈payload / `gso_size`⌉.
        segments: u32,
    },
    /// A segment size below what the kernel cuts, or above what the device carries.
    #[error("a segment size of {size}, outside {smallest} to {largest}")]
    GsoSize {
        /// `gso_size`.
        size: u16,
        /// The smallest the kernel itself uses for this protocol.
        smallest: u16,
        /// The device's MTU less the packet's headers.
        largest: u16,
    },
    /// A segmentation type that is unknown, not for IPv4, or not for the packet's protocol.
    #[error("segmentation type {gso_type:#04x} does not fit the packet's protocol")]
    GsoType {
        /// `gso_type`.
        gso_type: u8,
    },
}
