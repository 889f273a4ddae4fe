//! The few packets that have to be made and read by hand, for what no ordinary socket does.

use std::net::Ipv4Addr;

/// ICMP types (RFC 792).
pub(super) const ECHO_REPLY: u8 = 0;
pub(super) const ECHO_REQUEST: u8 = 8;
pub(super) const TIMESTAMP: u8 = 13;
pub(super) const TIMESTAMP_REPLY: u8 = 14;

/// An ICMP message with its checksum: type, code, identifier, sequence number 1, and twelve bytes of
/// nothing, which are the three times of a timestamp message.
pub(super) fn icmp_message(kind: u8, code: u8, identifier: u16) -> [u8; 20] {
    let mut message = [0; 20];
    [message[0], message[1]] = [kind, code];
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    message[7] = 1;
    let checksum = checksum(&message);
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// RFC 1071, for a whole number of 16-bit words.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !(folded as u16 + (folded >> 16) as u16)
}

/// Whether an IP packet, as a raw socket shows it, is the ICMP reply of this type with this
/// identifier.
pub(super) fn is_reply(packet: &[u8], kind: u8, identifier: u16) -> bool {
    payload(packet).is_some_and(|icmp| {
        icmp.first() == Some(&kind) && icmp.get(4..6) == Some(&identifier.to_be_bytes())
    })
}

/// The source of an IP packet of this protocol.
pub(super) fn source_of(packet: &[u8], protocol: u8) -> Option<Ipv4Addr> {
    payload(packet)?;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    (packet[9] == protocol).then(|| source.into())
}

/// What follows the IP header.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let words = usize::from(packet.first()? & 0x0f);
    if words < 5 {
        return None;
    }
    packet.get(words * 4..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip_packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet =
            vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 1, 5, 10, 0, 2, 10];
        packet.extend_from_slice(payload);
        packet
    }

    #[test]
    fn a_message_sums_to_zero_with_its_checksum() {
        for identifier in [0, 1, 0x7664, 0xffff] {
            assert_eq!(checksum(&icmp_message(ECHO_REQUEST, 0, identifier)), 0);
        }
    }

    #[test]
    fn only_the_reply_with_our_identifier_counts() {
        let reply = |kind, identifier| ip_packet(1, &icmp_message(kind, 0, identifier));
        assert!(is_reply(&reply(ECHO_REPLY, 7), ECHO_REPLY, 7));
        assert!(is_reply(&reply(TIMESTAMP_REPLY, 7), TIMESTAMP_REPLY, 7));
        assert!(!is_reply(&reply(ECHO_REPLY, 8), ECHO_REPLY, 7));
        assert!(!is_reply(&reply(ECHO_REQUEST, 7), ECHO_REPLY, 7));
        assert!(!is_reply(&[], ECHO_REPLY, 7));
        assert!(!is_reply(&[0x40; 30], ECHO_REPLY, 7));
    }

    #[test]
    fn the_source_is_read_from_the_header() {
        assert_eq!(source_of(&ip_packet(47, b"x"), 47), Some(Ipv4Addr::new(10, 0, 1, 5)));
        assert_eq!(source_of(&ip_packet(47, b"x"), 50), None);
        assert_eq!(source_of(b"E", 47), None);
    }
}
