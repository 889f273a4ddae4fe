//! RFC 5508: queries, and errors about what was translated.

use viaduct_topology::Reason;

use crate::{
    network::{
        API, APP, APP_IP, CLIENT, DB, DB_IP, ENI, HOST, HOST_IP, NAT, OTHER, OTHER_IP, PUBLIC,
        SERVER, TOPOLOGY, WEB, WWW, icmp, identifier, network, network_with, word,
    },
    support::{INSIDE, Net, Packet, SYN, echo, icmp_error, tcp, udp},
};

const DNS: (&str, u16) = (HOST_IP, 53);

/// Every type and code that is an error and is carried.
const ERRORS: [(u8, u8); 14] = [
    (3, 0),
    (3, 1),
    (3, 2),
    (3, 3),
    (3, 4),
    (3, 5),
    (3, 9),
    (3, 10),
    (3, 13),
    (4, 0),
    (11, 0),
    (11, 1),
    (12, 0),
    (12, 2),
];

/// A query of the database's to the host; the identifier there.
#[track_caller]
fn ask(net: &mut Net, id: u16) -> u16 {
    identifier(&net.send(DB, &echo(DB_IP, HOST_IP, id, false)).delivered_at(HOST))
}

/// A datagram of the function's through both translations, as sent and as the host has it.
fn datagram(net: &mut Net) -> (Packet, Packet) {
    let sent = udp(CLIENT, DNS, b"a question");
    let heard = net.send(API, &sent).delivered_at(HOST);
    (sent, heard)
}

/// Replaces bytes of the ICMP message in a packet without IP options, and mends its checksum.
fn with_message(packet: &Packet, change: impl FnOnce(&mut [u8])) -> Packet {
    let mut message = packet.ip()[20..].to_vec();
    change(&mut message);
    let source = packet.ip()[12..16].iter().map(u8::to_string).collect::<Vec<_>>().join(".");
    let destination = packet.ip()[16..20].iter().map(u8::to_string).collect::<Vec<_>>().join(".");
    let rest = [message[4], message[5], message[6], message[7]];
    icmp(&source, &destination, (message[0], message[1]), rest, &message[8..])
}

// Conforms: RFC 5508 R1, NAT-04
#[test]
fn queries_and_their_replies_pass() {
    let mut net = network();
    let id = ask(&mut net, 77);
    assert!(id >= 1024);
    let reply = net.send(HOST, &echo(HOST_IP, PUBLIC, id, true)).delivered_at(DB);
    assert_eq!((reply.flow(), identifier(&reply)), (format!("{HOST_IP} > {DB_IP}"), 77));
    // Another identifier, another host, and a query from outside.
    net.send(HOST, &echo(HOST_IP, PUBLIC, id ^ 1, true)).dropped_for(Reason::NatGatewayUnsolicited);
    net.send(OTHER, &echo(OTHER_IP, PUBLIC, id, true)).dropped_for(Reason::NatGatewayUnsolicited);
    net.send(HOST, &echo(HOST_IP, PUBLIC, id, false)).dropped_for(Reason::NatGatewayUnsolicited);
}

/// Whoever it asks, a host is seen under one identifier; the next host under another, although it
/// uses the same itself.
// Conforms: RFC 5508 R1a
#[test]
fn an_identifier_is_translated_to_one_whoever_is_asked() {
    let mut net = network();
    for id in 1..100 {
        let ids = [(HOST, HOST_IP), (OTHER, OTHER_IP)].map(|(name, ip)| {
            let query = net.send(DB, &echo(DB_IP, ip, id, false)).delivered_at(name);
            let neighbour = net.send(APP, &echo(APP_IP, ip, id, false)).delivered_at(name);
            (identifier(&query), identifier(&neighbour))
        });
        assert_eq!(ids[0], ids[1]);
        assert_ne!(ids[0].0, ids[0].1);
    }
    // Each of both hosts reaches each inside one.
    let id = ask(&mut net, 1);
    for (name, ip) in [(HOST, HOST_IP), (OTHER, OTHER_IP)] {
        let reply = net.send(name, &echo(ip, PUBLIC, id, true)).delivered_at(DB);
        assert_eq!(identifier(&reply), 1);
    }
}

/// RFC 7857, section 11: the mapping goes with its last session.
// Conforms: RFC 7857 query timer
#[test]
fn an_identifier_s_mapping_lasts_as_long_as_one_of_its_sessions() {
    let mut net = network_with("source_ports: 2000-2001");
    let first = ask(&mut net, 77);
    net.pass_seconds(50);
    let query = net.send(DB, &echo(DB_IP, OTHER_IP, 77, false)).delivered_at(OTHER);
    assert_eq!(identifier(&query), first);
    net.pass_seconds(20);
    net.expire();
    // The session with the host is over, that with the other is not.
    assert_eq!((net.engine.connection_count(), ask(&mut net, 77)), (1, first));
    net.pass_seconds(61);
    net.expire();
    net.assert_empty();
    // Now it is gone: the other port is rested, this one rests, and is whoever's comes next.
    assert_ne!(ask(&mut net, 77), first);
    let next = identifier(&net.send(APP, &echo(APP_IP, HOST_IP, 1, false)).delivered_at(HOST));
    assert_eq!(next, first);
}

// Conforms: RFC 5508 R3
#[test]
fn an_error_with_a_wrong_checksum_is_dropped() {
    let mut net = network();
    let (_, heard) = datagram(&mut net);
    let mut error = icmp_error(HOST_IP, PUBLIC, 3, 3, heard.ip());
    *error.0.last_mut().unwrap() ^= 1;
    net.send(HOST, &error).dropped_for(Reason::MalformedPacket);
}

// Conforms: RFC 5508 R3a
#[test]
fn an_error_about_a_header_with_a_wrong_checksum_is_dropped() {
    let mut net = network();
    let (_, heard) = datagram(&mut net);
    let error = icmp_error(HOST_IP, PUBLIC, 3, 3, heard.ip());
    let damaged = with_message(&error, |message| message[8 + 8] ^= 1);
    net.send(HOST, &damaged).dropped_for(Reason::MalformedPacket);
    net.send(HOST, &with_message(&error, |_| {})).delivered_at(API);
}

/// The quoted packet has IP options: its ports lie behind them.
// Conforms: RFC 5508 R3b
#[test]
fn options_of_a_quoted_packet_are_skipped() {
    let mut net = network();
    let mut sent = udp(CLIENT, DNS, b"a question");
    // Four no-operations.
    let at = viaduct_wire::VNET_HEADER_LEN + 20;
    sent.0.splice(at..at, [1; 4]);
    let length = u16::try_from(sent.ip().len()).unwrap();
    sent.0[at - 20] = 0x46;
    sent.0[at - 18..at - 16].copy_from_slice(&length.to_be_bytes());
    let sent = sent.with_ttl(64);
    let heard = net.send(API, &sent).delivered_at(HOST);
    let told = net.send(HOST, &icmp_error(HOST_IP, PUBLIC, 3, 3, heard.ip())).delivered_at(API);
    assert_eq!(told.icmp().2.flow(), sent.flow());
    assert_eq!(told.icmp().2.ip().len(), sent.ip().len());
}

/// It may have been wrong before, and what is quoted of it is rarely whole.
// Conforms: RFC 5508 R3c
#[test]
fn a_quoted_transport_checksum_is_not_looked_at() {
    let mut net = network();
    let (_, heard) = datagram(&mut net);
    let error = icmp_error(HOST_IP, PUBLIC, 3, 3, heard.ip());
    let wrong = with_message(&error, |message| message[8 + 20 + 6] ^= 1);
    net.send(HOST, &wrong).delivered_at(API);
    net.send(HOST, &icmp_error(HOST_IP, PUBLIC, 3, 3, &heard.ip()[..28])).delivered_at(API);
}

/// RFC 4884: what follows the quote is not part of it, and stays as it is.
// Conforms: RFC 5508 R3d
#[test]
fn extensions_of_an_error_are_left_alone() {
    let mut net = network();
    let sent = udp(CLIENT, DNS, &[7; 100]);
    let heard = net.send(API, &sent).delivered_at(HOST);
    assert_eq!(heard.ip().len(), 128);
    let extension = [0x20, 0, 0, 0, 0, 8, 1, 1, 0xde, 0xad, 0xbe, 0xef];
    let quote = [heard.ip(), &extension].concat();
    let error = icmp(HOST_IP, PUBLIC, (11, 0), [0, 32, 0, 0], &quote);
    let told = net.send(HOST, &error).delivered_at(API);
    told.flow();
    assert!(told.ip().ends_with(&extension));
    assert_eq!(word(&told, 24), 32, "the length of the quote");
    let quoted = Packet(told.icmp().2.0[..viaduct_wire::VNET_HEADER_LEN + 128].to_vec());
    assert_eq!(quoted.flow(), sent.flow());
}

/// Every kind, about every protocol, in through both translations: from the host itself and from a
/// router before it.
// Conforms: RFC 5508 R4, RFC 4787 R12, RFC 5382 R9
#[test]
fn errors_from_outside_are_translated_with_what_they_quote() {
    let mut net = network();
    for sent in [udp(CLIENT, DNS, b"a question"), tcp(CLIENT, SERVER, SYN, b"")] {
        let heard = net.send(API, &sent).delivered_at(HOST);
        for (kind, code) in ERRORS {
            for from in [HOST_IP, "192.0.2.1"] {
                let error = icmp(from, PUBLIC, (kind, code), [9, 8, 7, 6], heard.ip());
                let told = net.send(HOST, &error).delivered_at(API);
                assert_eq!(told.flow(), format!("{from} > {INSIDE}"));
                let (told_kind, told_code, quoted) = told.icmp();
                assert_eq!((told_kind, told_code), (kind, code));
                assert_eq!(told.ip()[24..28], [9, 8, 7, 6]);
                // As sent, but for the hop at the gateway.
                assert_eq!(quoted, sent.clone().with_ttl(63));
            }
        }
    }
    // About a query, which has an identifier instead.
    let sent = echo(DB_IP, HOST_IP, 77, false);
    let heard = net.send(DB, &sent).delivered_at(HOST);
    let told = net.send(HOST, &icmp_error("192.0.2.1", PUBLIC, 11, 0, heard.ip())).delivered_at(DB);
    assert_eq!(told.icmp().2, sent.with_ttl(63));
}

/// Nobody is told that there is nothing.
// Conforms: RFC 5508 R4
#[test]
fn errors_about_nothing_that_was_sent_are_dropped_and_counted() {
    let mut net = network();
    let (_, heard) = datagram(&mut net);
    let port = heard.ends().0.1;
    for about in [
        udp((PUBLIC, port ^ 1), DNS, b"?"),
        udp((PUBLIC, port), (HOST_IP, 54), b"?"),
        udp((PUBLIC, port), (OTHER_IP, 53), b"?"),
        tcp((PUBLIC, port), DNS, SYN, b""),
    ] {
        let error = icmp_error(HOST_IP, PUBLIC, 3, 3, about.ip());
        net.send(HOST, &error).dropped_for(Reason::NoConnection);
    }
    assert_eq!(net.engine.counters().dropped(Reason::NoConnection), 4);
}

/// Out through both translations, as the public address: the sender's own means nothing there.
// Conforms: RFC 5508 R5, LAM-10
#[test]
fn errors_from_inside_leave_under_the_outside_address() {
    let mut net = network();
    let (_, heard) = datagram(&mut net);
    let reply = udp(DNS, (PUBLIC, heard.ends().0.1), b"an answer");
    let got = net.send(HOST, &reply).delivered_at(API);
    for (kind, code) in ERRORS {
        let told =
            net.send(API, &icmp_error(INSIDE, HOST_IP, kind, code, got.ip())).delivered_at(HOST);
        assert_eq!(told.flow(), format!("{PUBLIC} > {HOST_IP}"));
        let (told_kind, told_code, quoted) = told.icmp();
        assert_eq!((told_kind, told_code), (kind, code));
        assert_eq!(quoted, reply.clone().with_ttl(63));
    }
    // LAM-10: queries are not carried, only what belongs to a connection.
    net.send(API, &echo(INSIDE, HOST_IP, 1, false)).dropped_for(Reason::ProtocolRestriction);
}

// Conforms: RFC 5508 R6
#[test]
fn an_error_about_a_query_does_not_end_its_session() {
    let mut net = network();
    let heard = net.send(DB, &echo(DB_IP, HOST_IP, 77, false)).delivered_at(HOST);
    let id = identifier(&heard);
    for (kind, code) in ERRORS {
        net.send(HOST, &icmp_error(HOST_IP, PUBLIC, kind, code, heard.ip())).delivered_at(DB);
    }
    assert_eq!(ask(&mut net, 77), id);
    net.send(HOST, &echo(HOST_IP, PUBLIC, id, true)).delivered_at(DB);
}

/// Out of the VPC and in again, each under its public address to the other.
// Conforms: RFC 5508 R7, RFC 7857 hairpinned queries
#[test]
fn hairpinned_queries_and_errors_are_translated_twice() {
    let mut net = network();
    let (web, www) = ("10.0.0.20", "10.0.0.21");
    let query = net.send(WEB, &echo(web, "203.0.113.21", 5, false)).delivered_at(WWW);
    assert_eq!(query.flow(), format!("203.0.113.20 > {www}"));
    let reply = net.send(WWW, &echo(www, "203.0.113.20", 5, true)).delivered_at(WEB);
    assert_eq!(reply.flow(), format!("203.0.113.21 > {web}"));

    let sent = udp((web, 9), ("203.0.113.21", 53), b"?");
    let heard = net.send(WEB, &sent).delivered_at(WWW);
    let told = net.send(WWW, &icmp_error(www, "203.0.113.20", 3, 3, heard.ip())).delivered_at(WEB);
    assert_eq!(told.flow(), format!("203.0.113.21 > {web}"));
    assert_eq!(told.icmp().2, sent);
}

/// For each protocol, at the gateway and at the interface before it.
// Conforms: RFC 5508 R8, RFC 6888 R11
#[test]
fn a_session_that_cannot_be_made_is_refused_by_3_13() {
    let mut net = network_with("source_ports: 2000-2000");
    for (first, late) in [
        (udp((DB_IP, 7), DNS, b"?"), udp((APP_IP, 7), DNS, b"?")),
        (tcp((DB_IP, 7), DNS, SYN, b""), tcp((APP_IP, 7), DNS, SYN, b"")),
        (echo(DB_IP, HOST_IP, 7, false), echo(APP_IP, HOST_IP, 7, false)),
    ] {
        net.send(DB, &first).delivered_at(HOST);
        let told = net.send(APP, &late).answered_for(Reason::PortsExhausted);
        assert_eq!(told.flow(), format!("{NAT} > {APP_IP}"));
        assert_eq!(told.icmp(), (3, 13, late));
    }
    // The function's own interface: whoever is next to it says so.
    let mut net = network_with("eni_connections: 1");
    net.send(API, &udp(CLIENT, DNS, b"?")).delivered_at(HOST);
    let late = udp((INSIDE, 7), DNS, b"?");
    let told = net.send(API, &late).answered_for(Reason::QuotaExceeded);
    assert_eq!(told.flow(), format!("169.254.100.1 > {INSIDE}"));
    assert_eq!(told.icmp(), (3, 13, late));
    assert_eq!(net.ports_in_use(ENI), 1);
}

/// A network ACL stands at each border, and ICMP is a protocol to it (ACL-19). To a security group
/// an error is part of the connection (SG-29).
// Conforms: RFC 5508 R9, ACL-19, SG-29
#[test]
fn a_network_acl_mutes_icmp_on_either_side() {
    let acl = |ingress: &str, egress: &str| {
        let deny = |direction| match direction {
            "" => String::new(),
            _ => "90: { action: deny, protocol: icmp, cidr_block: 0.0.0.0/0 }, ".to_owned(),
        };
        let rest = "100: { action: allow, protocol: -1, cidr_block: 0.0.0.0/0 }";
        TOPOLOGY
            .replace(
                "    security_groups:\n      function",
                &format!(
                    "    network_acls:\n      mute:\n        ingress: {{ {}{rest} }}\n        egress: {{ {}{rest} }}\n    security_groups:\n      function",
                    deny(ingress),
                    deny(egress)
                ),
            )
            .replace(
                "10.0.1.0/24, availability_zone: a }",
                "10.0.1.0/24, availability_zone: a, network_acl: mute }",
            )
    };
    for (ingress, egress) in [("", ""), ("deny", ""), ("", "deny")] {
        let mut net = Net::load(&acl(ingress, egress));
        let (_, heard) = datagram(&mut net);
        let reply = udp(DNS, (PUBLIC, heard.ends().0.1), b"an answer");
        let got = net.send(HOST, &reply).delivered_at(API);
        let inward = net.send(HOST, &icmp_error(HOST_IP, PUBLIC, 3, 3, heard.ip()));
        let outward = net.send(API, &icmp_error(INSIDE, HOST_IP, 3, 3, got.ip()));
        if ingress.is_empty() {
            inward.delivered_at(API);
        } else {
            inward.dropped_for(Reason::SubnetAclRestriction);
        }
        if egress.is_empty() {
            outward.delivered_at(HOST);
        } else {
            outward.dropped_for(Reason::SubnetAclRestriction);
        }
        net.send(HOST, &reply).delivered_at(API);
    }
}

/// Echo, unreachable and time exceeded: what ping and traceroute live on.
// Conforms: RFC 5508 R10, NAT-27
#[test]
fn ping_and_traceroute_work_through_a_nat_gateway() {
    let mut net = network();
    // The gateway itself, a router behind it, the host.
    let probe = |ttl| udp((DB_IP, 40_000), (HOST_IP, 33_434), b"trace").with_ttl(ttl);
    let told = net.send(DB, &probe(1)).answered_for(Reason::TtlExpired);
    assert_eq!(told.flow(), format!("{NAT} > {DB_IP}"));
    let heard = net.send(DB, &probe(2)).delivered_at(HOST);
    let told = net.send(HOST, &icmp_error("192.0.2.1", PUBLIC, 11, 0, heard.ip())).delivered_at(DB);
    assert_eq!(told.flow(), format!("192.0.2.1 > {DB_IP}"));
    let heard = net.send(DB, &probe(3)).delivered_at(HOST);
    let told = net.send(HOST, &icmp_error(HOST_IP, PUBLIC, 3, 3, heard.ip())).delivered_at(DB);
    assert_eq!(told.flow(), format!("{HOST_IP} > {DB_IP}"));
    let id = ask(&mut net, 3);
    net.send(HOST, &echo(HOST_IP, PUBLIC, id, true)).delivered_at(DB);
}

/// Timestamps, information and masks have no place behind a shared address, and a redirect is for
/// the next hop: dropped, each with its reason.
// Conforms: RFC 5508 R11
#[test]
fn other_messages_are_dropped_and_never_mangled() {
    let mut net = network();
    for kind in [9, 10, 13, 15, 17, 30, 40, 255] {
        let query = icmp(DB_IP, HOST_IP, (kind, 0), [0, 7, 0, 1], &[0; 12]);
        net.send(DB, &query).dropped_for(Reason::ProtocolRestriction);
    }
    // An echo with another code is none (RFC 792).
    let odd = icmp(DB_IP, HOST_IP, (8, 1), [0, 7, 0, 1], b"ping");
    net.send(DB, &odd).dropped_for(Reason::ProtocolRestriction);
    for kind in [10, 14, 16, 18] {
        let reply = icmp(HOST_IP, PUBLIC, (kind, 0), [0, 7, 0, 1], &[0; 12]);
        net.send(HOST, &reply).dropped_for(Reason::NatGatewayUnsolicited);
    }
    let (_, heard) = datagram(&mut net);
    let redirect = icmp(HOST_IP, PUBLIC, (5, 1), [198, 51, 100, 8], heard.ip());
    net.send(HOST, &redirect).dropped_for(Reason::ProtocolRestriction);
    // Where nothing is translated they pass as they are.
    let timestamp = icmp(DB_IP, APP_IP, (13, 0), [0, 7, 0, 1], &[0; 12]);
    assert_eq!(net.send(DB, &timestamp).delivered_at(APP), timestamp);
}

/// EP-06: in goes TCP and echo, back comes TCP and echo replies.
// Conforms: EP-06
#[test]
fn a_gateway_endpoint_carries_tcp_and_echo_only() {
    let mut net = network();
    let s3 = "198.18.0.77";
    let query = net.send(DB, &echo(DB_IP, s3, 7, false)).delivered_at("service/s3");
    let ((side, _), _) = query.ends();
    let reply = echo(s3, &side, identifier(&query), true);
    let reply = net.send("service/s3", &reply).delivered_at(DB);
    assert_eq!(identifier(&reply), 7);
    let reason = Reason::VpceGatewayProtocolRestriction;
    net.send(DB, &udp((DB_IP, 1), (s3, 443), b"")).dropped_for(reason);
    let error = icmp_error(s3, &side, 3, 1, query.ip());
    net.send("service/s3", &error).dropped_for(reason);
}

/// IGW-06, for errors as for everything else.
// Conforms: IGW-06
#[test]
fn private_addresses_neither_leave_nor_enter_at_an_internet_gateway() {
    let mut net = network();
    let (_, heard) = datagram(&mut net);
    for (inside, outgoing, incoming) in [
        (
            "192.168.1.1",
            Reason::IgwDestinationAddressNotInRfc1918Egress,
            Reason::IgwSourceAddressNotInRfc1918Ingress,
        ),
        (
            "100.64.0.1",
            Reason::IgwDestinationAddressNotInRfc6598Egress,
            Reason::IgwSourceAddressNotInRfc6598Ingress,
        ),
    ] {
        for (name, from) in [(WEB, ("10.0.0.20", 1)), (API, CLIENT)] {
            net.send(name, &udp(from, (inside, 2), b"")).dropped_for(outgoing);
        }
        let packet = udp((inside, 1), ("203.0.113.20", 2), b"");
        net.send(HOST, &packet).dropped_for(incoming);
        let error = icmp_error(inside, PUBLIC, 11, 0, heard.ip());
        net.send(HOST, &error).dropped_for(incoming);
    }
}
