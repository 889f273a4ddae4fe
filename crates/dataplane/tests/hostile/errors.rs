//! ICMP errors that are forged: about nothing, about a connection that the forger only guesses, and
//! with every field of the quoted packet wrong.

use viaduct_topology::Reason::{self, *};

use super::{
    API, Case, DB, ENI, HOST, NAT_PUBLIC, NO_HOSTS, WEB,
    bytes::{cut, flipped, header_mended, message_mended, of_its_length, with},
    hold, hold_in,
};
use crate::support::{INSIDE, Net, Packet, SYN, icmp_error, tcp, udp};

/// A network in which an environment talks to the database and to the internet, and the packets that
/// it sent, as they arrived.
fn talking() -> (Net, Packet, Packet) {
    let mut net = Net::load(super::TOPOLOGY);
    let to_db = net.send(API, &udp((INSIDE, 40_000), (DB, 53), b"?")).delivered_at("instance/db");
    let out = net.send(API, &udp((INSIDE, 40_000), (HOST, 53), b"?")).delivered_at("internet/host");
    (net, to_db, out)
}

const KINDS: [(u8, u8); 7] = [(3, 0), (3, 1), (3, 3), (3, 4), (4, 0), (5, 1), (11, 0)];

#[test]
fn about_packets_that_nobody_sent() {
    let mut cases = Vec::new();
    for (kind, code) in KINDS {
        for (from, own, about) in [
            // With the ports of no connection, and turned round: about the forger's own packet.
            ("instance/db", DB, udp((ENI, 1024), (DB, 53), b"?")),
            ("instance/db", DB, tcp((ENI, 1024), (DB, 53), SYN, b"")),
            ("instance/db", DB, udp((WEB, 1024), (DB, 53), b"?")),
            ("internet/host", HOST, udp((NAT_PUBLIC, 1024), (HOST, 53), b"?")),
            ("internet/other", "198.51.100.8", udp((NAT_PUBLIC, 1024), (HOST, 53), b"?")),
            (API, INSIDE, udp((DB, 53), (INSIDE, 40_000), b"?")),
            ("service/s3", "198.18.0.10", udp(("100.64.0.4", 1024), ("198.18.0.10", 53), b"?")),
        ] {
            let to = about.ends().0.0;
            let error = icmp_error(own, &to, kind, code, about.ip());
            cases.push(Case::new(
                from,
                format!("{kind}/{code} about {about:?}"),
                error,
                refused(kind),
            ));
        }
    }
    hold(&cases);
}

/// Why an error about no connection of its sender's is refused: a redirect, whatever it is about.
fn refused(kind: u8) -> Reason {
    if kind == 5 { ProtocolRestriction } else { NoConnection }
}

/// Another attachment's connection cannot be told from one that is not there.
#[test]
fn about_another_s_connection() {
    let (mut net, to_db, _) = talking();
    let mut cases = Vec::new();
    for (kind, code) in KINDS {
        for (from, own) in [
            (API, INSIDE),
            ("function/api/2", INSIDE),
            ("instance/web", WEB),
            ("instance/appliance", "10.0.0.30"),
            ("internet/host", HOST),
        ] {
            let error = icmp_error(own, ENI, kind, code, to_db.ip());
            cases.push(Case::new(from, format!("{kind}/{code}"), error, refused(kind)));
        }
    }
    hold_in(&mut net, &cases);
}

#[test]
fn to_somebody_else_than_whom_they_are_about() {
    let (mut net, to_db, out) = talking();
    let mut cases = Vec::new();
    for to in [WEB, "10.0.1.20", "10.0.0.30", DB, HOST, "203.0.113.20", INSIDE]
        .into_iter()
        .chain(NO_HOSTS)
    {
        for (from, own, about) in [("instance/db", DB, &to_db), ("internet/host", HOST, &out)] {
            let error = icmp_error(own, to, 3, 1, about.ip());
            cases.push(Case::new(from, format!("to {to}"), error, MalformedPacket));
        }
    }
    hold_in(&mut net, &cases);
}

#[test]
fn from_where_no_router_can_be() {
    let (mut net, to_db, out) = talking();
    let mut cases = Vec::new();
    for source in NO_HOSTS {
        let what = format!("from {source}");
        let error = icmp_error(source, NAT_PUBLIC, 11, 0, out.ip());
        cases.push(Case::new("internet/host", what.clone(), error, SpoofedSource));
        let error = icmp_error(source, ENI, 11, 0, to_db.ip());
        cases.push(Case::new("instance/db", what, error, EniSourceDestCheckRestriction));
    }
    // IGW-06.
    for (source, reason) in [
        ("10.77.0.1", IgwSourceAddressNotInRfc1918Ingress),
        ("172.16.0.1", IgwSourceAddressNotInRfc1918Ingress),
        ("192.168.0.1", IgwSourceAddressNotInRfc1918Ingress),
        ("100.64.0.4", IgwSourceAddressNotInRfc6598Ingress),
    ] {
        let error = icmp_error(source, NAT_PUBLIC, 11, 0, out.ip());
        cases.push(Case::new("internet/host", format!("from {source}"), error, reason));
    }
    hold_in(&mut net, &cases);
}

// Conforms: RFC 5508 R3a
#[test]
fn with_a_wrong_field_in_the_quote() {
    let (mut net, to_db, _) = talking();
    let error = icmp_error(DB, ENI, 3, 1, to_db.ip());
    let quote = 28;
    let mut cases = Vec::new();
    for bit in 0..24 * 8 {
        // The quoted header vouches for itself; the ports do not, and name another connection.
        let reason = if bit < 20 * 8 { MalformedPacket } else { NoConnection };
        let packet = message_mended(&flipped(&error, quote * 8 + bit));
        cases.push(Case::new("instance/db", format!("quoted bit {bit}"), packet, reason));
    }
    for bit in 0..16 {
        let packet = flipped(&error, 22 * 8 + bit);
        let what = format!("bit {bit} of the message's checksum");
        cases.push(Case::new("instance/db", what, packet, MalformedPacket));
    }
    for left in 0..28 {
        let packet = message_mended(&of_its_length(&cut(&error, quote + left)));
        let what = format!("{left} bytes of the packet quoted");
        cases.push(Case::new("instance/db", what, packet, MalformedPacket));
    }
    hold_in(&mut net, &cases);
}

#[test]
fn quotes_that_nobody_is_to_be_told_of() {
    let (mut net, to_db, _) = talking();
    let quote = |inner: &Packet| icmp_error(DB, ENI, 3, 1, inner.ip());
    let fragment = header_mended(&with(&to_db, 6, &[0, 1]));
    let error = icmp_error(ENI, DB, 3, 1, to_db.ip());
    let version_6 = with(&to_db, 0, &[0x65]);
    let cases = [
        Case::new("instance/db", "a fragment without ports", quote(&fragment), MalformedPacket),
        Case::new("instance/db", "another error", quote(&error), MalformedPacket),
        Case::new("instance/db", "IPv6", quote(&version_6), MalformedPacket),
        Case::new("instance/db", "an error in an error", quote(&quote(&to_db)), MalformedPacket),
    ];
    hold_in(&mut net, &cases);
}
