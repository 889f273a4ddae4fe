//! What is a packet, and what its accessors say of it.

use etherparse::{Icmpv4Type, NetSlice, SlicedPacket, TransportSlice};
use viaduct_wire::{Frame, L4, Malformed, VNET_HEADER_LEN, protocol};

use crate::oracle::header_len;

/// What a frame says of itself fits together, and fits what etherparse reads.
pub(super) fn accessors_agree(frame: &Frame<'_>, mtu: u16) {
    let ip = frame.ip();
    assert!(frame.packets() >= 1);
    assert!(frame.bytes() >= ip.len() as u64);
    assert!(frame.largest_packet() <= ip.len());
    assert_eq!(frame.is_super_packet(), frame.packets() > 1);
    assert!(ip.ends_with(frame.payload()));
    assert!(ip.len() - frame.payload().len() >= header_len(ip));
    assert_eq!(frame.has_options(), header_len(ip) > 20);
    assert_eq!((frame.tos(), frame.ttl(), frame.protocol()), (ip[1], ip[8], ip[9]));
    assert_eq!(frame.dont_fragment(), ip[6] & 0x40 != 0);
    assert_eq!(frame.source().octets(), ip[12..16]);
    assert_eq!(frame.destination().octets(), ip[16..20]);
    assert!(!frame.to_string().is_empty() && !frame.flow().to_string().is_empty());
    if frame.is_super_packet() {
        assert!(frame.largest_packet() <= usize::from(mtu) && frame.needs_checksum());
    }
    if let Ok(theirs) = SlicedPacket::from_ip(ip) {
        same_transport(frame, &theirs);
    }
}

fn same_transport(frame: &Frame<'_>, theirs: &SlicedPacket<'_>) {
    let Some(NetSlice::Ipv4(v4)) = &theirs.net else { panic!("not IPv4: {theirs:?}") };
    let flow = frame.flow();
    let ports = (flow.source_port, flow.destination_port);
    if v4.payload().fragmented {
        assert!(matches!(frame.l4(), L4::Fragment { .. }), "{frame}");
        assert_eq!(ports, (0, 0));
        return;
    }
    match (&theirs.transport, frame.l4()) {
        // etherparse looks behind an authentication header (RFC 4302); a translator cannot.
        (_, L4::Other) => {
            assert!(![protocol::TCP, protocol::UDP, protocol::ICMP].contains(&frame.protocol()));
            assert_eq!(ports, (0, 0));
        }
        (Some(TransportSlice::Tcp(tcp)), L4::Tcp { flags }) => {
            assert_eq!(ports, (tcp.source_port(), tcp.destination_port()));
            assert_eq!(
                (flags.syn(), flags.ack(), flags.fin(), flags.rst()),
                (tcp.syn(), tcp.ack(), tcp.fin(), tcp.rst())
            );
            assert_eq!(frame.payload(), tcp.payload());
        }
        (Some(TransportSlice::Udp(udp)), L4::Udp) => {
            assert_eq!(ports, (udp.source_port(), udp.destination_port()));
            assert!(frame.payload().starts_with(udp.payload()));
        }
        (Some(TransportSlice::Icmpv4(icmp)), l4) => {
            let expected = match icmp.icmp_type() {
                Icmpv4Type::EchoRequest(echo) => {
                    assert_eq!(l4, L4::IcmpEchoRequest);
                    (echo.id, 0)
                }
                Icmpv4Type::EchoReply(echo) => {
                    assert_eq!(l4, L4::IcmpEchoReply);
                    (0, echo.id)
                }
                _ => {
                    assert!(matches!(l4, L4::IcmpError { .. } | L4::Icmp { .. }), "{frame}");
                    (0, 0)
                }
            };
            assert_eq!(ports, expected, "{frame}");
        }
        (theirs, ours) => panic!("{ours:?} is {theirs:?} to etherparse"),
    }
}

/// What is refused here is refused by etherparse, as far as it looks; and the other way round.
pub(super) fn agrees_with_etherparse(buffer: &[u8], refusal: Option<&Malformed>) {
    let ip = buffer.get(VNET_HEADER_LEN..).unwrap_or_default();
    let theirs = SlicedPacket::from_ip(ip);
    match refusal {
        None => assert!(
            theirs.is_ok() || looks_further(ip),
            "etherparse refuses {ip:02x?}: {:?}",
            theirs.err()
        ),
        // What etherparse does not look at.
        Some(
            Malformed::BadOffloadHeader(_)
            | Malformed::Fragment { .. }
            | Malformed::HeaderChecksum
            | Malformed::Ipv6
            | Malformed::Options
            | Malformed::SourceRoute,
        ) => {}
        Some(ours) => {
            assert!(!ours.to_string().is_empty());
            assert!(theirs.is_err() || looks_away(ip), "{ours}, but etherparse takes {ip:02x?}");
        }
    }
}

/// Where etherparse looks into what is none of a router's business: ICMP timestamps, and protocols
/// besides the three.
fn looks_further(ip: &[u8]) -> bool {
    match ip[9] {
        protocol::TCP | protocol::UDP => false,
        protocol::ICMP => matches!(ip.get(header_len(ip)), Some(13 | 14)),
        _ => true,
    }
}

/// Where etherparse takes what no host does: it reads a UDP length of 0 as "to the end".
fn looks_away(ip: &[u8]) -> bool {
    let length = header_len(ip) + 4;
    ip.get(9) == Some(&protocol::UDP) && ip.get(length..length + 2) == Some(&[0, 0])
}
