//! Judging the guest's virtio-net header against its packet.
//!
//! Accepted is what a Linux kernel writes for its own packets, and nothing else; see
//! `virtio_net_hdr_from_skb` and, for what the receiving kernel will insist on,
//! `virtio_net_hdr_to_skb` (both `include/linux/virtio_net.h`).

use crate::error::BadOffload;
use crate::transport::{L4, TCP_CHECKSUM, Transport, UDP_CHECKSUM};
use crate::vnet::{NEEDS_CSUM, VnetHeader, gso};

/// `UDP_MAX_SEGMENTS` of `include/linux/udp.h`.
const UDP_MAX_SEGMENTS: u32 = 128;

/// `TCP_MIN_SND_MSS` of `include/net/tcp.h`: no connection sends smaller full segments, and
/// smaller ones serve to make a receiver do much work for few bytes (CVE-2019-11479).
pub(crate) const TCP_SMALLEST_SEGMENT: u16 = 48;

/// Work on a packet that its header leaves to whoever takes it off the other queue.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offload {
    /// The checksum field is in the partial state.
    pub(crate) partial: bool,
    /// How to cut it up.
    pub(crate) segmentation: Option<Segmentation>,
}

/// How a super-packet is to be cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segmentation {
    /// [`gso::TCPV4`], perhaps with [`gso::ECN`], or [`gso::UDP_L4`].
    pub(crate) gso_type: u8,
    /// Payload of each segment but the last; not 0.
    pub(crate) size: u16,
}

/// What of the guest's header is true of the packet: `ip_header` and `available` are the lengths
/// of IP header and payload, `mtu` that of the device it came from.
#[inline]
pub(crate) fn judge(
    header: VnetHeader,
    ip_header: u8,
    available: u16,
    transport: &Transport,
    mtu: u16,
) -> Result<Offload, BadOffload> {
    let partial = header.flags & NEEDS_CSUM != 0;
    if partial {
        judge_checksum(header, ip_header, available, transport)?;
    }
    if header.gso_type == gso::NONE {
        return Ok(Offload { partial, segmentation: None });
    }
    let smallest = match (transport.l4, header.gso_type & !gso::ECN) {
        (L4::Tcp { .. }, gso::TCPV4) => TCP_SMALLEST_SEGMENT,
        (L4::Udp, gso::UDP_L4) if header.gso_type & gso::ECN == 0 => 1,
        _ => return Err(BadOffload::GsoType { gso_type: header.gso_type }),
    };
    if !partial {
        return Err(BadOffload::GsoChecksum);
    }
    let payload = available - u16::from(transport.header_len);
    if payload <= header.gso_size {
        return Ok(Offload { partial, segmentation: None });
    }
    let headers = u16::from(ip_header) + u16::from(transport.header_len);
    let largest = mtu.saturating_sub(headers);
    let size = header.gso_size;
    if size < smallest || size > largest {
        return Err(BadOffload::GsoSize { size, smallest, largest });
    }
    let segments = u32::from(payload).div_ceil(u32::from(size));
    if matches!(transport.l4, L4::Udp) && segments > UDP_MAX_SEGMENTS {
        return Err(BadOffload::GsoSegments { segments });
    }
    Ok(Offload { partial, segmentation: Some(Segmentation { gso_type: header.gso_type, size }) })
}

fn judge_checksum(
    header: VnetHeader,
    ip_header: u8,
    available: u16,
    transport: &Transport,
) -> Result<(), BadOffload> {
    let expected = match transport.l4 {
        L4::Tcp { .. } => TCP_CHECKSUM as u16,
        L4::Udp => UDP_CHECKSUM as u16,
        _ => return Err(BadOffload::ChecksumProtocol),
    };
    if header.csum_start != u16::from(ip_header) {
        return Err(BadOffload::ChecksumStart {
            found: header.csum_start,
            expected: ip_header.into(),
        });
    }
    if header.csum_offset != expected {
        return Err(BadOffload::ChecksumOffset { found: header.csum_offset, expected });
    }
    if transport.length != available {
        return Err(BadOffload::ChecksumLength { length: transport.length, available });
    }
    Ok(())
}
