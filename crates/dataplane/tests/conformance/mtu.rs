//! Path MTU, segment sizes and time to live: who says what, and who says nothing.

use viaduct_topology::Reason;

use crate::{
    network::{
        API, APP, APP_IP, CLIENT, DB, DB_IP, HOST, HOST_IP, NAT, PUBLIC, SERVER, WEB, announced,
        announcing, icmp, network, word,
    },
    support::{INSIDE, Net, Packet, SYN, SYN_ACK, tcp, udp},
};

/// A datagram of so many bytes, IP header included.
fn of_length(from: (&str, u16), to: (&str, u16), length: usize) -> Packet {
    udp(from, to, &vec![0; length - 28])
}

/// Asserts that a packet is refused as too big, by whom, and for which next hop.
#[track_caller]
fn refused_by(net: &mut Net, name: &str, packet: &Packet, router: &str, mtu: u16) {
    let told = net.send(name, packet).answered_for(Reason::PacketTooBig);
    let (kind, code, quoted) = told.icmp();
    assert_eq!((kind, code), (3, 4));
    assert_eq!(told.ends().0.0, router);
    assert_eq!(word(&told, 26), mtu);
    assert!(packet.ip().starts_with(quoted.ip()), "it quotes what was sent");
}

/// A private NAT gateway has no internet gateway behind it.
fn peered() -> Net {
    Net::load(
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      private: { cidr_block: 10.0.1.0/24, availability_zone: a }
      gateway: { cidr_block: 10.0.0.0/24, availability_zone: a, route_table: peer }
    route_tables:
      main: { main: true, routes: [ { destination: 10.1.0.0/16, target: nat_gateway/egress } ] }
      peer: { routes: [ { destination: 10.1.0.0/16, target: vpc_peering_connection/pair } ] }
    nat_gateways:
      egress: { subnet: gateway, private_ip: 10.0.0.5, connectivity_type: private }
    security_groups: { function: {} }
  far:
    cidr_blocks: [10.1.0.0/16]
    subnets: { only: { cidr_block: 10.1.1.0/24, availability_zone: a } }
    route_tables:
      main: { main: true, routes: [ { destination: 10.0.0.0/16, target: vpc_peering_connection/pair } ] }
    security_groups: { open: { ingress: [ { protocol: -1, from: 0.0.0.0/0 } ] } }
    instances: { sink: { subnet: only, private_ip: 10.1.1.10, security_groups: [open] } }
vpc_peering_connections:
  pair: { requester: main, accepter: far }
functions:
  api: { subnets: [main/private], security_groups: [main/function] }
",
    )
}

// Conforms: NAT-15, MTU-01, MTU-02, MTU-03, RFC 4787 R13
#[test]
fn a_nat_gateway_passes_8500_bytes_and_says_so() {
    let mut net = peered();
    let sink = ("10.1.1.10", 9);
    net.send(API, &of_length(CLIENT, sink, 8500)).delivered_at("instance/sink");
    let big = of_length(CLIENT, sink, 8501);
    refused_by(&mut net, API, &big, NAT, 8500);
    // And before there is a connection.
    let first = of_length((INSIDE, 7), sink, 9001);
    refused_by(&mut net, API, &first, NAT, 8500);
}

// Conforms: IGW-08, MTU-01, MTU-02, RFC 4787 R13
#[test]
fn an_internet_gateway_passes_1500_bytes_and_who_is_next_to_the_sender_says_so() {
    let mut net = network();
    // Not the host's own limit.
    net.engine.attached(net.id(HOST), 9001);
    let (web, host) = (("10.0.0.20", 9), (HOST_IP, 9));
    net.send(WEB, &of_length(web, host, 1500)).delivered_at(HOST);
    refused_by(&mut net, WEB, &of_length(web, host, 1501), "10.0.0.1", 1500);
    // Behind a NAT gateway that says it.
    net.send(API, &of_length(CLIENT, host, 1500)).delivered_at(HOST);
    refused_by(&mut net, API, &of_length(CLIENT, host, 1501), NAT, 1500);
}

// Conforms: MTU-01, MTU-02
#[test]
fn a_port_with_a_smaller_mtu_is_a_next_hop_like_any_other() {
    let mut net = network();
    net.send(API, &of_length(CLIENT, (DB_IP, 9), 9001)).delivered_at(DB);
    net.engine.attached(net.id(DB), 1400);
    refused_by(&mut net, API, &of_length(CLIENT, (DB_IP, 9), 1401), "169.254.100.1", 1400);
    refused_by(&mut net, APP, &of_length((APP_IP, 9), (DB_IP, 9), 1401), "10.0.2.1", 1400);
    // The way back, toward a small one.
    let ((eni, port), _) =
        net.send(API, &of_length(CLIENT, (DB_IP, 9), 1400)).delivered_at(DB).ends();
    net.engine.attached(net.id(API), 1300);
    refused_by(&mut net, DB, &of_length((DB_IP, 9), (&eni, port), 1301), "10.0.2.1", 1300);
}

/// Neither what it passes itself nor what is behind it: senders must rely on their segment size.
// Conforms: EP-15, MTU-03
#[test]
fn an_interface_endpoint_says_nothing() {
    let mut net = network();
    let lambda = ("10.0.1.20", 443);
    net.engine.attached(net.id("service/lambda"), 9001);
    let fits = net.send(API, &of_length(CLIENT, lambda, 8500)).delivered_at("service/lambda");
    net.send(API, &of_length(CLIENT, lambda, 8501)).dropped_for(Reason::PacketTooBig);
    net.send(API, &of_length((INSIDE, 8), lambda, 8501)).dropped_for(Reason::PacketTooBig);
    // Nor is the service told.
    let ((side, port), (service, _)) = fits.ends();
    let reply = of_length((&service, 443), (&side, port), 8501);
    net.send("service/lambda", &reply).dropped_for(Reason::PacketTooBig);
    net.engine.attached(net.id("service/lambda"), 1400);
    net.send(API, &of_length(CLIENT, lambda, 1401)).dropped_for(Reason::PacketTooBig);
}

// Conforms: MTU-01
#[test]
fn a_gateway_endpoint_passes_8500_bytes() {
    let mut net = network();
    net.engine.attached(net.id("service/s3"), 9001);
    let s3 = ("198.18.0.77", 443);
    net.send(API, &tcp(CLIENT, s3, SYN, &[0; 8460])).delivered_at("service/s3");
    let big = tcp(CLIENT, s3, SYN, &[0; 8461]);
    refused_by(&mut net, API, &big, "169.254.100.1", 8500);
}

/// A router further on is heard through both translations, with the size it names.
// Conforms: MTU-02, SG-29
#[test]
fn a_router_s_word_is_translated_and_its_size_kept() {
    let mut net = network();
    let sent = tcp(CLIENT, SERVER, SYN, b"");
    let out = net.send(API, &sent).delivered_at(HOST);
    let error = icmp("192.0.2.1", PUBLIC, (3, 4), [0, 0, 5, 0], &out.ip()[..28]);
    let told = net.send(HOST, &error).delivered_at(API);
    assert_eq!(told.flow(), format!("192.0.2.1 > {INSIDE}"));
    assert_eq!(word(&told, 26), 1280);
    assert_eq!(told.icmp().2.ip()[12..24], sent.ip()[12..24], "addresses and ports");
}

/// MTU-04. To what AWS lowers it is not said: here, to what every gateway on the way passes.
// Conforms: NAT-15, MTU-04
#[test]
fn a_nat_gateway_lowers_the_segment_size_of_both_ends() {
    let mut net = network();
    let syn = net.send(API, &announcing(CLIENT, SERVER, false, 8961)).delivered_at(HOST);
    assert_eq!(announced(&syn), 1460);
    let public = (PUBLIC, syn.ends().0.1);
    let answer = net.send(HOST, &announcing(SERVER, public, true, 9000)).delivered_at(API);
    assert_eq!(announced(&answer), 1460);
    // Retransmitted, and smaller: as it is.
    let syn = net.send(API, &announcing(CLIENT, SERVER, false, 8961)).delivered_at(HOST);
    assert_eq!(announced(&syn), 1460);
    let small = net.send(API, &announcing((INSIDE, 7), SERVER, false, 536)).delivered_at(HOST);
    assert_eq!(announced(&small), 536);
    // Without the option there is none afterwards.
    let bare = net.send(API, &tcp((INSIDE, 8), SERVER, SYN, b"")).delivered_at(HOST);
    assert_eq!(bare.ip().len(), 40);

    let mut net = peered();
    let syn = announcing(CLIENT, ("10.1.1.10", 9), false, 8961);
    assert_eq!(announced(&net.send(API, &syn).delivered_at("instance/sink")), 8460);
}

// Conforms: EP-15, MTU-04
#[test]
fn an_interface_endpoint_lowers_the_segment_size_of_both_ends() {
    let mut net = network();
    let syn = announcing(CLIENT, ("10.0.1.20", 443), false, 8961);
    let syn = net.send(API, &syn).delivered_at("service/lambda");
    assert_eq!(announced(&syn), 8460);
    let ((side, port), (service, _)) = syn.ends();
    let answer = announcing((&service, 443), (&side, port), true, 8961);
    assert_eq!(announced(&net.send("service/lambda", &answer).delivered_at(API)), 8460);
}

/// The VPC's router, peering and internet gateways lower nothing.
#[test]
fn nobody_else_touches_the_segment_size() {
    let mut net = network();
    let local = announcing(CLIENT, (DB_IP, 5432), false, 8961);
    assert_eq!(announced(&net.send(API, &local).delivered_at(DB)), 8961);
    let out = announcing(("10.0.0.20", 5), SERVER, false, 8961);
    assert_eq!(announced(&net.send(WEB, &out).delivered_at(HOST)), 8961);
}

/// What traceroute finds: one hop, and only where there is a NAT gateway.
// Conforms: NAT-27
#[test]
fn a_nat_gateway_is_a_hop_and_nothing_else_is() {
    let mut net = network();
    let probe = |to, ttl| udp(CLIENT, to, b"trace").with_ttl(ttl);
    let first = probe((HOST_IP, 33_434), 1);
    let told = net.send(API, &first).answered_for(Reason::TtlExpired);
    assert_eq!(told.flow(), format!("{NAT} > {INSIDE}"));
    let (kind, code, quoted) = told.icmp();
    assert_eq!((kind, code, quoted), (11, 0, first));
    assert_eq!(net.send(API, &probe((HOST_IP, 33_434), 2)).delivered_at(HOST).ttl(), 1);
    assert_eq!(net.send(API, &probe((DB_IP, 33_434), 1)).delivered_at(DB).ttl(), 1);
    let out = udp(("10.0.0.20", 5), (HOST_IP, 33_434), b"trace").with_ttl(1);
    assert_eq!(net.send(WEB, &out).delivered_at(HOST).ttl(), 1);
    let endpoint = net.send(API, &probe(("10.0.1.20", 443), 1)).delivered_at("service/lambda");
    assert_eq!(endpoint.ttl(), 1);

    // On the way back, too, and for errors.
    let syn = net.send(API, &tcp((INSIDE, 7), SERVER, SYN, b"")).delivered_at(HOST);
    let public = (PUBLIC, syn.ends().0.1);
    let answer = tcp(SERVER, public, SYN_ACK, b"");
    assert_eq!(net.send(HOST, &answer).delivered_at(API).ttl(), 63);
    let error = icmp(HOST_IP, PUBLIC, (3, 1), [0; 4], syn.ip());
    assert_eq!(net.send(HOST, &error).delivered_at(API).ttl(), 63);
    net.send(HOST, &error.with_ttl(1)).dropped_for(Reason::TtlExpired);
}

/// Errors are limited (RFC 1812 4.3.2.8), and come back with time; path MTU discovery is not.
#[test]
fn errors_have_a_rate() {
    let mut net = network();
    let probe = udp(CLIENT, (HOST_IP, 9), b"").with_ttl(1);
    let big = of_length(CLIENT, (HOST_IP, 9), 1501);
    let answers = |net: &mut Net, packet: &Packet| {
        let before = net.engine.counters().answered_packets;
        for _ in 0..2_000 {
            let _ = net.send(API, packet);
        }
        net.engine.counters().answered_packets - before
    };
    assert_eq!(answers(&mut net, &probe), 1_000);
    assert_eq!(answers(&mut net, &big), 2_000);
    net.pass_millis(100);
    assert_eq!(answers(&mut net, &probe), 100);
}
