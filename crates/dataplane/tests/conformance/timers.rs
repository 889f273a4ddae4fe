//! How long connections live: each phase of TCP, UDP, ICMP and all others, by the shortest timer of
//! what holds them.

use etherparse::{IpNumber, PacketBuilder};
use viaduct_topology::Reason;
use viaduct_wire::VNET_HEADER_LEN;

use crate::{
    network::{
        API, APP, APP_IP, CLIENT, DB, DB_IP, HOST, HOST_IP, PUBLIC, SERVER, establish, identifier,
        network,
    },
    support::{ACK, Net, Packet, SYN, SYN_ACK, Tcp, echo, icmp_error, tcp, udp},
};

/// Asserts that the one connection there is ends after so many seconds, and not before.
#[track_caller]
fn ends_after(net: &mut Net, seconds: u64) {
    net.pass_millis(seconds * 1000 - 1);
    net.expire();
    assert_eq!(net.engine.connection_count(), 1, "before {seconds} s");
    // The wheel is late by less than a tick.
    net.pass_millis(200);
    net.expire();
    net.assert_empty();
}

/// RFC 7857, section 2.1: opening, established and closing have a timer each, and the first and the
/// last are four minutes.
// Conforms: RFC 7857 state machine, RFC 7857 transitory timeout
#[test]
fn each_phase_of_a_translated_tcp_connection_has_its_timer() {
    let mut net = network();
    net.send(API, &tcp(CLIENT, SERVER, SYN, b"")).delivered_at(HOST);
    ends_after(&mut net, 240);

    let mut net = network();
    let port = net.send(API, &tcp(CLIENT, SERVER, SYN, b"")).delivered_at(HOST).ends().0.1;
    net.send(HOST, &tcp(SERVER, (PUBLIC, port), SYN_ACK, b"")).delivered_at(API);
    ends_after(&mut net, 240);

    let mut net = network();
    establish(&mut net);
    ends_after(&mut net, 350);

    let mut net = network();
    let port = establish(&mut net);
    let fin = |sequence, acknowledgment| Tcp { flags: "FA", sequence, acknowledgment };
    net.send(API, &tcp(CLIENT, SERVER, fin(101, 901), b"")).delivered_at(HOST);
    net.send(HOST, &tcp(SERVER, (PUBLIC, port), fin(901, 102), b"")).delivered_at(API);
    ends_after(&mut net, 240);
}

// Conforms: SG-25
#[test]
fn a_tracked_tcp_connection_lives_five_days_where_nothing_is_translated() {
    let mut net = network();
    let (db, app) = ((DB_IP, 5000), (APP_IP, 80));
    net.send(DB, &tcp(db, app, SYN, b"")).delivered_at(APP);
    net.send(APP, &tcp(app, db, SYN_ACK, b"")).delivered_at(DB);
    net.send(DB, &tcp(db, app, ACK, b"")).delivered_at(APP);
    ends_after(&mut net, 432_000);
}

// Conforms: SG-25
#[test]
fn a_datagram_has_thirty_seconds_and_a_stream_of_them_180() {
    let (from, to) = ((DB_IP, 5000), (HOST_IP, 53));
    let exchange = |net: &mut Net| {
        let port = net.send(DB, &udp(from, to, b"?")).delivered_at(HOST).ends().0.1;
        net.send(HOST, &udp(to, (PUBLIC, port), b"!")).delivered_at(DB);
    };
    let mut net = network();
    exchange(&mut net);
    ends_after(&mut net, 30);
    exchange(&mut net);
    exchange(&mut net);
    ends_after(&mut net, 180);
}

// Conforms: SG-18
#[test]
fn other_protocols_are_known_by_their_addresses_for_600_seconds() {
    let esp = |from: [u8; 4], to: [u8; 4], payload: &[u8]| {
        let mut bytes = vec![0; VNET_HEADER_LEN];
        PacketBuilder::ipv4(from, to, 64)
            .write(&mut bytes, IpNumber(50), payload)
            .expect("a packet");
        Packet(bytes)
    };
    // An open group would keep no state (SG-20): these admit each other's ESP one way only.
    let topology = crate::network::TOPOLOGY.replace(
        "      open: {",
        "      to: { egress: [ { protocol: 50, to: 0.0.0.0/0 } ] }
      from: { ingress: [ { protocol: 50, from: 10.0.2.10/32 } ], egress: [] }
      open: {",
    );
    let topology = topology
        .replace(
            "private_ip: 10.0.2.10, security_groups: [open]",
            "private_ip: 10.0.2.10, security_groups: [to]",
        )
        .replace(
            "private_ip: 10.0.2.11, security_groups: [open]",
            "private_ip: 10.0.2.11, security_groups: [from]",
        );
    let mut net = Net::load(&topology);
    let (db, app) = ([10, 0, 2, 10], [10, 0, 2, 11]);
    net.send(APP, &esp(app, db, b"first")).dropped_for(Reason::SgHasNoRules);
    net.send(DB, &esp(db, app, b"SPI 1")).delivered_at(APP);
    net.send(APP, &esp(app, db, b"SPI 2")).delivered_at(DB);
    ends_after(&mut net, 600);
    net.send(APP, &esp(app, db, b"late")).dropped_for(Reason::SgHasNoRules);
}

// Conforms: RFC 5508 R2
#[test]
fn a_query_has_a_minute() {
    let mut net = network();
    let query = echo(DB_IP, HOST_IP, 7, false);
    let id = identifier(&net.send(DB, &query).delivered_at(HOST));
    net.pass_millis(59_999);
    net.expire();
    net.send(HOST, &echo(HOST_IP, PUBLIC, id, true)).delivered_at(DB);
    ends_after(&mut net, 60);
}

/// RFC 7857, section 7.1, and RFC 5508, REQ-6: an error of either end's does not keep a mapping.
// Conforms: RFC 7857 no refresh, RFC 5508 R6
#[test]
fn icmp_errors_refresh_nothing() {
    let mut net = network();
    let to = (HOST_IP, 53);
    let query = net.send(DB, &udp((DB_IP, 9), to, b"?")).delivered_at(HOST);
    let public = query.ends().0;
    let answer = udp(to, (PUBLIC, public.1), b"!");
    let heard = net.send(HOST, &answer).delivered_at(DB);
    for _ in 0..2 {
        net.pass_seconds(10);
        net.send(HOST, &icmp_error(HOST_IP, PUBLIC, 3, 3, query.ip())).delivered_at(DB);
        net.send(DB, &icmp_error(DB_IP, HOST_IP, 3, 3, heard.ip())).delivered_at(HOST);
    }
    ends_after(&mut net, 10);

    let query = net.send(DB, &echo(DB_IP, HOST_IP, 7, false)).delivered_at(HOST);
    for _ in 0..2 {
        net.pass_seconds(20);
        net.send(HOST, &icmp_error(HOST_IP, PUBLIC, 11, 0, query.ip())).delivered_at(DB);
    }
    ends_after(&mut net, 20);
}
