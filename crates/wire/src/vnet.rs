//! The virtio-net header, as a TUN queue with `IFF_VNET_HDR` puts it before every packet.
//!
//! `struct virtio_net_hdr` of `include/uapi/linux/virtio_net.h`, without `num_buffers`: ten bytes,
//! in the host's byte order (a TUN device's default, kept unless TUNSETVNETLE or TUNSETVNETBE says
//! otherwise).

/// Length of the virtio-net header in front of each packet, in bytes (`struct virtio_net_hdr`;
/// a device starts with it, and TUNSETVNETHDRSZ can make it longer).
pub const VNET_HEADER_LEN: usize = 10;

/// The flag that leaves the transport checksum to the receiver of the frame.
pub const NEEDS_CSUM: u8 = 1;

/// Segmentation types (`VIRTIO_NET_HDR_GSO_*`).
pub mod gso {
    /// One ordinary packet.
    pub const NONE: u8 = 0;
    /// A TCP super-packet over IPv4.
    pub const TCPV4: u8 = 1;
    /// UDP fragmentation offload: cuts into IP fragments. Long gone from the kernel's own stack.
    pub const UDP: u8 = 3;
    /// A TCP super-packet over IPv6.
    pub const TCPV6: u8 = 4;
    /// A UDP super-packet: cuts into datagrams (Linux 6.2).
    pub const UDP_L4: u8 = 5;
    /// A bit beside a TCP type: CWR is set, and belongs to the first segment alone.
    pub const ECN: u8 = 0x80;
}

/// A virtio-net header's fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// [`NEEDS_CSUM`] and others.
    pub flags: u8,
    /// One of [`gso`], perhaps with [`gso::ECN`].
    pub gso_type: u8,
    /// Length of the IP and transport header, in bytes: a hint.
    pub hdr_len: u16,
    /// Payload of each segment but the last, in bytes.
    pub gso_size: u16,
    /// Where the sum to do begins, in bytes from the packet's start.
    pub csum_start: u16,
    /// Where the sum goes, in bytes from `csum_start`.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Reads a header. Any bytes are one; whether it makes sense is judged with its packet.
    #[must_use]
    pub const fn parse(bytes: &[u8; VNET_HEADER_LEN]) -> Self {
        let &[flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([h0, h1]),
            gso_size: u16::from_ne_bytes([g0, g1]),
            csum_start: u16::from_ne_bytes([s0, s1]),
            csum_offset: u16::from_ne_bytes([o0, o1]),
        }
    }

    /// The header as bytes.
    #[must_use]
    pub const fn emit(&self) -> [u8; VNET_HEADER_LEN] {
        let [h0, h1] = self.hdr_len.to_ne_bytes();
        let [g0, g1] = self.gso_size.to_ne_bytes();
        let [s0, s1] = self.csum_start.to_ne_bytes();
        let [o0, o1] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_kernel_has_them() {
        let header = VnetHeader {
            flags: NEEDS_CSUM,
            gso_type: gso::TCPV4 | gso::ECN,
            hdr_len: 0x0102,
            gso_size: 0x0304,
            csum_start: 0x0506,
            csum_offset: 0x0708,
        };
        let bytes = header.emit();
        assert_eq!(bytes[..2], [1, 0x81]);
        for (at, value) in [(2, 0x0102_u16), (4, 0x0304), (6, 0x0506), (8, 0x0708)] {
            assert_eq!(bytes[at..at + 2], value.to_ne_bytes());
        }
        assert_eq!(VnetHeader::parse(&bytes), header);
    }
}
