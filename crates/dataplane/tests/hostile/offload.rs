//! Lies of the virtio-net header, as far as the engine is concerned: what each may claim is tried
//! field by field against `Frame::parse` in `viaduct-wire`.

use viaduct_topology::Reason::BadOffloadHeader;
use viaduct_wire::vnet::{NEEDS_CSUM, VnetHeader, gso};

use super::{API, Case, DB, WEB, hold};
use crate::support::{INSIDE, Packet, SYN, echo, tcp, udp};

/// Headers that no kernel writes for any packet.
const LIES: [VnetHeader; 12] = {
    const fn lie(flags: u8, gso_type: u8, gso_size: u16, start: u16, offset: u16) -> VnetHeader {
        VnetHeader { flags, gso_type, gso_size, csum_start: start, csum_offset: offset, hdr_len: 0 }
    }
    [
        // The checksum goes over the destination port, an address, the payload, beyond the packet.
        lie(NEEDS_CSUM, 0, 0, 20, 2),
        lie(NEEDS_CSUM, 0, 0, 0, 16),
        lie(NEEDS_CSUM, 0, 0, 28, 6),
        lie(NEEDS_CSUM, 0, 0, 20, 8),
        lie(NEEDS_CSUM, 0, 0, 200, 6),
        lie(NEEDS_CSUM, 0, 0, u16::MAX, u16::MAX),
        // Segments without checksums, of no type, of UFO, of IPv6, of ECN alone.
        lie(0, gso::TCPV4, 1000, 0, 0),
        lie(0, gso::UDP_L4, 1000, 0, 0),
        lie(0, 99, 1000, 0, 0),
        lie(NEEDS_CSUM, 3, 1000, 20, 6),
        lie(NEEDS_CSUM, 4, 1000, 20, 16),
        lie(NEEDS_CSUM, gso::ECN, 1000, 20, 16),
    ]
};

#[test]
fn a_header_that_is_not_the_packet_s() {
    let data = [0x61; 3000];
    let mut cases = Vec::new();
    for (from, kind, packet) in [
        (API, "segment", tcp((INSIDE, 40_000), (DB, 5432), SYN, b"")),
        (API, "long segment", tcp((INSIDE, 40_000), (DB, 5432), SYN, &data)),
        (API, "datagram", udp((INSIDE, 40_000), (DB, 53), b"?")),
        (API, "long datagram", udp((INSIDE, 40_000), (DB, 53), &data)),
        ("instance/web", "echo", echo(WEB, DB, 7, false)),
    ] {
        for header in LIES {
            let mut bytes = header.emit().to_vec();
            bytes.extend(packet.ip());
            let what = format!("{kind} as {header:?}");
            cases.push(Case::new(from, what, Packet(bytes), BadOffloadHeader));
        }
    }
    hold(&cases);
}
