//! Checksums by the book, to hold the arithmetic of `viaduct-wire` against: word by word, nothing by
//! difference, nothing shared with it.

use viaduct_wire::{VNET_HEADER_LEN, protocol, vnet::NEEDS_CSUM, vnet::VnetHeader};

/// What is true of a packet's checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    /// The IP header's.
    pub(crate) header: bool,
    /// That of the whole TCP segment, UDP datagram or ICMP message; `None` where there is none to
    /// judge: another protocol, a fragment, a UDP datagram without one, an ICMP message of zeros,
    /// which is wrong by the letter (its checksum is the other zero) and cannot be told from right
    /// by differences.
    pub(crate) transport: Option<bool>,
}

/// RFC 1071, as its text has it: 16-bit words, each carry added back at once.
#[must_use]
pub(crate) fn sum(pieces: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for piece in pieces {
        for pair in piece.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum as u16
}

/// The word at `at`.
#[must_use]
pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The length of the IP header at the start of `ip`, as it says itself.
#[must_use]
pub(crate) fn header_len(ip: &[u8]) -> usize {
    usize::from(ip[0] & 15) * 4
}

/// The sum of the pseudo-header (RFC 9293 3.1, RFC 768) of the packet `ip`, for a segment of this
/// length.
#[must_use]
pub(crate) fn pseudo_sum(ip: &[u8], length: usize) -> u16 {
    let [high, low] = (length as u16).to_be_bytes();
    sum(&[&ip[12..20], &[0, ip[9], high, low]])
}

/// Judges the checksums of a sound packet, every one of them complete.
#[must_use]
pub(crate) fn sums(ip: &[u8]) -> Sums {
    let (header, segment) = ip.split_at(header_len(ip));
    let header_sum = sum(&[header]) == 0xffff;
    let is_fragment = word(ip, 6) & 0x3fff != 0;
    let covered = |length: usize| {
        let segment = &segment[..length];
        sum(&[&pseudo_sum(ip, length).to_be_bytes(), segment]) == 0xffff
    };
    let transport = match ip[9] {
        _ if is_fragment => None,
        protocol::TCP => Some(covered(segment.len())),
        protocol::UDP if word(segment, 6) == 0 => None,
        protocol::UDP => Some(covered(word(segment, 4).into())),
        protocol::ICMP => match sum(&[segment]) {
            0 => None,
            sum => Some(sum == 0xffff),
        },
        _ => None,
    };
    Sums { header: header_sum, transport }
}

/// What the receiving kernel makes of a frame: the packet with the checksum done that was left to
/// do (`skb_checksum_help`).
#[must_use]
pub(crate) fn completed(frame: &[u8]) -> Vec<u8> {
    let (header, packet) = frame.split_first_chunk::<VNET_HEADER_LEN>().expect("a header");
    let header = VnetHeader::parse(header);
    let mut packet = packet.to_vec();
    if header.flags & NEEDS_CSUM != 0 {
        let start = usize::from(header.csum_start);
        // A computed 0 is stored as 0xffff: for UDP that is the rule, for TCP it says the same.
        let sum = match !sum(&[&packet[start..]]) {
            0 => 0xffff,
            sum => sum,
        };
        packet[start + usize::from(header.csum_offset)..][..2].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// Gives the packet at the start of `ip` the IP header checksum that it should have, as far as
/// there is a header.
pub(crate) fn mend_header(ip: &mut [u8]) {
    if ip.len() < 20 {
        return;
    }
    let length = header_len(ip).clamp(20, ip.len());
    ip[10..12].fill(0);
    let checksum = !sum(&[&ip[..length]]);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Gives the packet at the start of `ip` the TCP, UDP or ICMP checksum that it should have, as far
/// as its lengths make sense.
pub(crate) fn mend_transport(ip: &mut [u8]) {
    if ip.len() < 20 || word(ip, 6) & 0x3fff != 0 {
        return;
    }
    let end = usize::from(word(ip, 2)).min(ip.len());
    let start = header_len(ip).max(20);
    let at = match ip[9] {
        protocol::TCP => 16,
        protocol::UDP => 6,
        protocol::ICMP => 2,
        _ => return,
    };
    if start + at + 2 > end {
        return;
    }
    let length = match ip[9] {
        protocol::UDP => usize::from(word(ip, start + 4)).min(end - start),
        _ => end - start,
    };
    if length < at + 2 {
        return;
    }
    let pseudo = if ip[9] == protocol::ICMP { 0 } else { pseudo_sum(ip, length) };
    ip[start + at..][..2].fill(0);
    let checksum = match !sum(&[&pseudo.to_be_bytes(), &ip[start..start + length]]) {
        0 => 0xffff,
        checksum => checksum,
    };
    ip[start + at..][..2].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 section 3's example.
    #[test]
    fn the_example_of_rfc_1071() {
        assert_eq!(sum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), 0xddf2);
    }

    #[test]
    fn a_packet_of_another_library_is_right_and_a_changed_one_is_not() {
        let mut ip = Vec::new();
        etherparse::PacketBuilder::ipv4([10, 0, 1, 5], [203, 0, 113, 80], 64)
            .udp(40_000, 53)
            .write(&mut ip, b"odd")
            .expect("a datagram");
        assert_eq!(sums(&ip), Sums { header: true, transport: Some(true) });
        let sound = ip.clone();
        ip[30] ^= 1;
        assert_eq!(sums(&ip), Sums { header: true, transport: Some(false) });
        mend_transport(&mut ip);
        assert_eq!(sums(&ip), Sums { header: true, transport: Some(true) });
        ip[8] -= 1;
        assert!(!sums(&ip).header);
        mend_header(&mut ip);
        ip[8] += 1;
        mend_header(&mut ip);
        assert_eq!(ip[10..12], sound[10..12]);
    }
}
