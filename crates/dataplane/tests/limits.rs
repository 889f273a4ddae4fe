//! Quotas, rates and timers: what hosts may use, and that the others are none the worse for it.

mod support;

use std::thread;

use proptest::prelude::*;
use support::{ACK, INSIDE, Net, Outcome, Packet, SYN, SYN_ACK, Tcp, echo, icmp_error, tcp, udp};
use viaduct_dataplane::{Usage, Verdict};
use viaduct_topology::Reason;
use viaduct_wire::VNET_HEADER_LEN;

/// Two environments behind one ENI, a database, and a NAT gateway of two addresses for all.
const NETWORK: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:  { cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }
      private: { cidr_block: 10.0.1.0/24, availability_zone: a }
      data:    { cidr_block: 10.0.2.0/24, availability_zone: a }
    route_tables:
      main:   { main: true, routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: public, public_ips: [203.0.113.1, 203.0.113.2] }
    security_groups:
      function: {}
      db: { ingress: [ { protocol: -1, from: security_group/function }, { protocol: -1, from: security_group/db } ] }
    instances:
      db: { subnet: data, private_ip: 10.0.2.10, security_groups: [db] }
      peer: { subnet: data, private_ip: 10.0.2.11, security_groups: [db] }
functions:
  api: { subnets: [main/private], security_groups: [main/function], environments: 2 }
internet:
  web: { ip: 198.51.100.7 }
";

const API: &str = "function/api/1";
const OTHER: &str = "function/api/2";
const ENI: &str = "10.0.1.4";
const DB: (&str, u16) = ("10.0.2.10", 5432);
const PEER: (&str, u16) = ("10.0.2.11", 5432);
const WEB: (&str, u16) = ("198.51.100.7", 443);

fn network(settings: &str) -> String {
    format!("settings: {{ {settings} }}\n{NETWORK}")
}

fn datagram(port: u16) -> Packet {
    udp((INSIDE, port), DB, b"?")
}

fn reason(outcome: Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Delivered { .. } => None,
        Outcome::Answered { reason, .. } => Some(reason),
        Outcome::Dropped(dropped) => Some(dropped.reason),
        other => panic!("nothing here is in fragments: {other:?}"),
    }
}

/// That a packet was refused, whether or not its sender was told.
#[track_caller]
fn refused(outcome: Outcome, expected: Reason) {
    let shown = format!("{outcome:?}");
    assert_eq!(reason(outcome), Some(expected), "{shown}");
}

/// How many of so many packets pass before one is over a rate; all others are to pass.
fn passed(count: usize, mut send: impl FnMut(usize) -> Outcome) -> usize {
    let refused = (0..count).find_map(|number| Some((number, reason(send(number))?)));
    let (number, reason) = refused.expect("one is over the rate");
    assert_eq!(reason, Reason::RateLimited);
    number
}

// Conforms: RFC 6888 R4, RFC 6888 R5
#[test]
fn an_environment_has_its_quota_and_leaves_the_rest_of_the_eni_to_others() {
    let mut net = Net::load(&network("eni_connections: 6, environment_connections: 4"));
    for port in 1..=4 {
        net.send(API, &datagram(port)).delivered_at("instance/db");
    }
    refused(net.send(API, &datagram(5)), Reason::QuotaExceeded);
    let id = net.id(API);
    assert_eq!(net.engine.usage(id), Usage { connections: 4, capacity: Some(4) });
    assert_eq!(net.engine.counters().dropped(Reason::QuotaExceeded), 1);

    // What lives goes on, and others find what is left of the interface.
    for port in 1..=4 {
        net.send(API, &datagram(port)).delivered_at("instance/db");
    }
    for port in 1..=2 {
        net.send(OTHER, &datagram(port)).delivered_at("instance/db");
    }
    assert_eq!(net.ports_in_use(ENI), 6);
    refused(net.send(OTHER, &datagram(3)), Reason::QuotaExceeded);

    net.pass_seconds(3600);
    net.expire();
    net.send(API, &datagram(5)).delivered_at("instance/db");
    assert_eq!(net.engine.usage(id).connections, 1);
    assert_eq!(net.engine.usage(net.id(OTHER)).connections, 0);
}

#[test]
fn half_an_eni_is_an_environments_unless_the_file_says_otherwise() {
    let mut net = Net::load(&network("eni_connections: 5"));
    let id = net.id(API);
    assert_eq!(net.engine.usage(id).capacity, Some(3));
    for port in 1..=3 {
        net.send(API, &datagram(port)).delivered_at("instance/db");
    }
    refused(net.send(API, &datagram(4)), Reason::QuotaExceeded);

    let mut net = Net::load(&network("eni_connections: 5, environment_connections: none"));
    assert_eq!(net.engine.usage(id).capacity, None);
    for port in 1..=5 {
        net.send(API, &datagram(port)).delivered_at("instance/db");
    }
    // Instances are none of a Hyperplane ENI's guests.
    let db = net.id("instance/db");
    net.send("instance/db", &udp(("10.0.2.10", 1), PEER, b"")).delivered_at("instance/peer");
    assert_eq!(net.engine.usage(db), Usage { connections: 1, capacity: None });
}

#[test]
fn what_is_not_opened_is_not_counted() {
    let settings = "source_ports: 1024-1025, environment_connections: 3";
    let mut net = Net::load(&network(settings));
    let id = net.id(API);
    for port in 1..=2 {
        net.send(API, &datagram(port)).delivered_at("instance/db");
    }
    for port in 3..20 {
        refused(net.send(API, &datagram(port)), Reason::PortsExhausted);
        net.send(API, &udp((INSIDE, port), ("10.0.2.99", 1), b""))
            .dropped_for(Reason::NoPossibleDestination);
    }
    assert_eq!(net.engine.usage(id).connections, 2);
    net.send(API, &tcp((INSIDE, 1), DB, SYN, b"")).delivered_at("instance/db");
    // A close gives back at once what it held.
    refused(net.send(API, &tcp((INSIDE, 2), DB, SYN, b"")), Reason::QuotaExceeded);
    let reset = Tcp { flags: "R", sequence: 101, acknowledgment: 0 };
    net.send(API, &tcp((INSIDE, 1), DB, reset, b"")).delivered_at("instance/db");
    net.pass_seconds(240);
    net.expire();
    assert_eq!(net.engine.usage(id).connections, 0);
    net.assert_empty();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However many workers open connections of one environment at once, it never has more than its
    /// quota, gets all of it, and its account ends at nothing.
    #[test]
    fn a_quota_is_exact_whatever_workers_do(
        quota in 1..40u32,
        flows in proptest::collection::vec(proptest::collection::vec(0..60u16, 1..120), 3),
    ) {
        let mut net = Net::load(&network(&format!("environment_connections: {quota}")));
        let id = net.id(API);
        thread::scope(|scope| {
            for (seed, ports) in (1..).zip(&flows) {
                let net = &net;
                scope.spawn(move || {
                    let mut scratch = net.engine.scratch([seed; 32]);
                    for port in ports {
                        let Packet(mut buffer) = datagram(1000 + port);
                        let verdict = net.engine.forward(&mut buffer, id, net.now, &mut scratch);
                        if let Verdict::Drop(dropped) | Verdict::Answer(dropped) = verdict {
                            assert_eq!(dropped.reason, Reason::QuotaExceeded);
                        }
                        assert!(net.engine.usage(id).connections <= quota);
                        assert!(net.engine.connection_count() <= quota as usize);
                    }
                });
            }
        });
        let mut tried: Vec<u16> = flows.concat();
        tried.sort_unstable();
        tried.dedup();
        // Two that open the same flow count twice for a moment, and a third may be refused for it.
        for port in &tried {
            let _ = net.send(API, &datagram(1000 + port));
        }
        let expected = tried.len().min(quota as usize);
        prop_assert_eq!(net.engine.connection_count(), expected);
        prop_assert_eq!(net.engine.usage(id).connections as usize, expected);
        prop_assert_eq!(net.ports_in_use(ENI) as usize, expected);
        net.pass_seconds(60);
        net.expire();
        prop_assert_eq!(net.engine.usage(id).connections, 0);
    }
}

// Conforms: RFC 6888 R5
#[test]
fn an_environment_opens_so_many_connections_a_second() {
    let mut net = Net::load(&network("environment_connections_per_second: 20"));
    let burst = passed(100, |number| net.send(API, &datagram(1000 + number as u16)));
    assert_eq!(burst, 20);
    assert_eq!(net.engine.usage(net.id(API)).connections, 20);
    // Those that are open do not count, nor do others' new ones.
    for number in 0..20 {
        net.send(API, &datagram(1000 + number)).delivered_at("instance/db");
        net.send(OTHER, &datagram(1000 + number)).delivered_at("instance/db");
    }
    net.pass_millis(49);
    net.send(API, &datagram(2000)).dropped_for(Reason::RateLimited);
    net.pass_millis(1);
    net.send(API, &datagram(2000)).delivered_at("instance/db");
    net.send(API, &datagram(2001)).dropped_for(Reason::RateLimited);
    // What is refused for another reason takes no part of the rate.
    net.pass_millis(50);
    net.send(API, &udp((INSIDE, 1), ("10.0.2.99", 1), b""))
        .dropped_for(Reason::NoPossibleDestination);
    net.send(API, &datagram(2001)).delivered_at("instance/db");
}

#[test]
fn a_burst_of_new_connections_through_an_eni_is_dropped_in_silence() {
    let mut net = Net::load(&network("eni_connections_per_second: 30"));
    let hosts = [API, OTHER];
    let burst = passed(100, |number| {
        let syn = tcp((INSIDE, 1000 + number as u16), DB, SYN, b"");
        net.send(hosts[number % 2], &syn)
    });
    assert_eq!(burst, 30, "both together");
    assert_eq!(net.ports_in_use(ENI), 30, "what is refused holds no port");
    // A client's retransmission a second later finds room.
    net.pass_seconds(1);
    let syn = tcp((INSIDE, 1030), DB, SYN, b"");
    net.send(API, &syn).delivered_at("instance/db");
    assert_eq!(net.engine.counters().dropped(Reason::RateLimited), 1);
}

// Conforms: LAM-20
#[test]
fn an_environment_has_a_bandwidth_in_each_direction() {
    // 125 bytes a millisecond, 256 KiB at once.
    let mut net = Net::load(&network("environment_bandwidth: 1"));
    let request = udp((INSIDE, 1), DB, &[0; 972]);
    let size = request.ip().len();
    assert_eq!(size, 1000);
    assert_eq!(passed(1000, |_| net.send(API, &request)), 262_144 / size);
    // The other direction is another pipe, and so is the other environment.
    let ((_, port), _) = net.send(OTHER, &request).delivered_at("instance/db").ends();
    let to_other = udp(DB, (ENI, port), &[0; 972]);
    assert_eq!(passed(1000, |_| net.send("instance/db", &to_other)), 262_144 / size);
    net.send(OTHER, &request).delivered_at("instance/db");

    net.pass_millis(8);
    net.send(API, &request).delivered_at("instance/db");
    net.send(API, &request).dropped_for(Reason::RateLimited);
    let lost = net.send("instance/db", &to_other);
    assert_eq!(reason(lost), None);
    let lost = net.send("instance/db", &to_other).dropped_for(Reason::RateLimited);
    assert!(lost.request.is_some(), "it was a reply");

    // Instances have no such link.
    let ((_, port), to) = net
        .send("instance/db", &udp(("10.0.2.10", 1), PEER, b"?"))
        .delivered_at("instance/peer")
        .ends();
    let back = udp((&to.0, to.1), ("10.0.2.10", port), &[0; 972]);
    for _ in 0..300 {
        net.send("instance/peer", &back).delivered_at("instance/db");
    }
}

#[test]
fn a_super_packet_counts_as_the_bytes_of_those_it_stands_for() {
    let mut net = Net::load(&network("environment_bandwidth: 1"));
    net.send(API, &tcp((INSIDE, 1), DB, SYN, b"")).delivered_at("instance/db");
    let segment = tcp((INSIDE, 1), DB, ACK, &[0; 10_000]).in_segments(1000);
    // Ten packets of 1,040 bytes; the SYN was 40.
    assert_eq!(passed(100, |_| net.send(API, &segment)), (262_144 - 40) / 10_400);
}

// Conforms: NAT-16
#[test]
fn all_addresses_and_directions_of_a_nat_gateway_share_its_packets() {
    // The second connection to a destination takes the second address; 2,048 packets at once.
    let settings =
        "nat_gateway_connections_per_destination: 1, nat_gateway_packets_per_second: 100";
    let mut net = Net::load(&network(settings));
    let first = udp((INSIDE, 1), WEB, b"?");
    let second = udp(("10.0.2.10", 1), WEB, b"?");
    let (one, _) = net.send(API, &first).delivered_at("internet/web").ends();
    let (two, _) = net.send("instance/db", &second).delivered_at("internet/web").ends();
    assert_ne!(one.0, two.0);
    let reply = udp(WEB, (&two.0, two.1), b"!");
    let passed = passed(5000, |number| match number % 3 {
        0 => net.send(API, &first),
        1 => net.send("instance/db", &second),
        _ => net.send("internet/web", &reply),
    });
    assert_eq!(passed, 2046);
    net.send("internet/web", &reply).dropped_for(Reason::RateLimited);
    net.send("instance/db", &udp(("10.0.2.10", 2), ("198.51.100.7", 80), b""))
        .dropped_for(Reason::RateLimited);
    // What does not go through it is not its.
    net.send(API, &datagram(1)).delivered_at("instance/db");
    net.pass_millis(10);
    net.send("internet/web", &reply).delivered_at("instance/db");
}

// Conforms: NAT-16
#[test]
fn a_nat_gateway_has_a_bandwidth() {
    let mut net = Net::load(&network("nat_gateway_bandwidth: 1"));
    let request = udp((INSIDE, 1), WEB, &[0; 972]);
    let ((address, port), _) = net.send(API, &request).delivered_at("internet/web").ends();
    let reply = udp(WEB, (&address, port), &[0; 972]);
    let whole = passed(1000, |number| match number % 2 {
        0 => net.send("internet/web", &reply),
        _ => net.send(API, &request),
    });
    assert_eq!(whole, 262_144 / 1000 - 1);
    // What is left is enough for an error or two, which count as well.
    let error = icmp_error(WEB.0, &address, 3, 3, &udp((&address, port), WEB, b"").ip()[..28]);
    assert_eq!(passed(10, |_| net.send("internet/web", &error)), 144 / error.ip().len());
}

#[test]
fn quotas_and_rates_change_with_the_file_and_timers_with_the_next_connection() {
    let mut net = Net::load(&network("eni_connections: 6, environment_connections: 4"));
    let id = net.id(API);
    for port in 1..=4 {
        net.send(API, &datagram(port)).delivered_at("instance/db");
    }
    net.apply(&network("eni_connections: 6, environment_connections: 5"));
    net.send(API, &datagram(5)).delivered_at("instance/db");
    // Less than there are: all of them go on, none is added.
    net.apply(&network("eni_connections: 6, environment_connections: 2"));
    refused(net.send(API, &datagram(6)), Reason::QuotaExceeded);
    for port in 1..=5 {
        net.send(API, &datagram(port)).delivered_at("instance/db");
    }
    assert_eq!(net.engine.usage(id), Usage { connections: 5, capacity: Some(2) });
    // The interface, too, follows (LAM-07).
    net.apply(&network("eni_connections: 7, environment_connections: none"));
    net.send(API, &datagram(6)).delivered_at("instance/db");
    net.send(API, &datagram(7)).delivered_at("instance/db");
    refused(net.send(API, &datagram(8)), Reason::QuotaExceeded);
    let eni = net.engine.enis().into_iter().find(|eni| eni.private_ip.to_string() == ENI);
    assert_eq!(eni.and_then(|eni| eni.capacity), Some(7));

    net.apply(&network("connection_tracking: { udp_timeout: 45 }, eni_connections_per_second: 1"));
    net.send(API, &datagram(8)).delivered_at("instance/db");
    net.send(API, &datagram(9)).dropped_for(Reason::RateLimited);
    net.pass_seconds(32);
    net.expire();
    assert_eq!(net.engine.usage(id).connections, 1, "the one that knows of 45 seconds");
    net.pass_seconds(15);
    net.expire();
    net.assert_empty();
}

/// Asserts that the one connection there is lives so long without packets. The timers find it less
/// than a tick of 128 ms later.
#[track_caller]
fn lives_for(net: &mut Net, seconds: u64) {
    net.expire();
    net.pass_millis(seconds * 1000 - 1);
    net.expire();
    assert_eq!(net.engine.connection_count(), 1, "before {seconds} s");
    net.pass_millis(129);
    net.expire();
    assert_eq!(net.engine.connection_count(), 0, "after {seconds} s");
}

/// An echo from the database to the internet, and its answer.
fn ping(net: &mut Net) -> Packet {
    let request = net.send("instance/db", &echo("10.0.2.10", WEB.0, 7, false));
    let request = request.delivered_at("internet/web");
    let ((address, _), _) = request.ends();
    let id = u16::from_be_bytes([request.ip()[24], request.ip()[25]]);
    echo(WEB.0, &address, id, true)
}

/// A datagram from the database to the internet, and its answer.
fn ask(net: &mut Net) -> Packet {
    let request = net.send("instance/db", &udp(("10.0.2.10", 9), WEB, b"?"));
    let ((address, port), _) = request.delivered_at("internet/web").ends();
    udp(WEB, (&address, port), b"!")
}

/// A connection of an instance to the internet, from the SYN on.
struct Dialogue {
    inside: (&'static str, u16),
    address: String,
    port: u16,
}

impl Dialogue {
    fn begin(net: &mut Net, port: u16) -> Self {
        let inside = ("10.0.2.10", port);
        let request = net.send("instance/db", &tcp(inside, WEB, SYN, b""));
        let ((address, port), _) = request.delivered_at("internet/web").ends();
        Self { inside, address, port }
    }

    fn answer(&self, net: &mut Net, segment: Tcp) -> Outcome {
        net.send("internet/web", &tcp(WEB, (&self.address, self.port), segment, b""))
    }

    fn establish(&self, net: &mut Net) {
        self.answer(net, SYN_ACK).delivered_at("instance/db");
        net.send("instance/db", &tcp(self.inside, WEB, ACK, b"")).delivered_at("internet/web");
    }

    /// Both ends say that they are done, and neither has heard it yet.
    fn close(&self, net: &mut Net) {
        let fin = Tcp { flags: "FA", sequence: 101, acknowledgment: 901 };
        net.send("instance/db", &tcp(self.inside, WEB, fin, b"")).delivered_at("internet/web");
        let fin = Tcp { flags: "FA", sequence: 901, acknowledgment: 101 };
        self.answer(net, fin).delivered_at("instance/db");
    }
}

const DATA: Tcp = Tcp { flags: "A", sequence: 901, acknowledgment: 101 };

// Conforms: RFC 4787 R5, RFC 4787 R5c, RFC 5508 R2
#[test]
fn the_rfcs_profile_keeps_udp_for_five_minutes_and_queries_for_one() {
    let mut net = Net::load(&network("profile: rfc"));
    for (request, seconds) in [(ask as fn(&mut Net) -> Packet, 300), (ping, 60)] {
        let answer = request(&mut net);
        net.pass_millis(seconds * 1000 - 1);
        net.send("internet/web", &answer).delivered_at("instance/db");
        lives_for(&mut net, seconds);
        net.send("internet/web", &answer).dropped_for(Reason::NatGatewayUnsolicited);
    }
}

// Conforms: RFC 5382 R5
#[test]
fn the_rfcs_profile_keeps_tcp_for_two_hours_and_four_minutes() {
    let mut net = Net::load(&network("profile: rfc"));
    let dialogue = Dialogue::begin(&mut net, 1);
    dialogue.establish(&mut net);
    net.pass_millis(7_439_999);
    dialogue.answer(&mut net, DATA).delivered_at("instance/db");
    lives_for(&mut net, 7440);
}

// Conforms: RFC 5382 R5, RFC 7857 transitory timeout
#[test]
fn an_opening_and_a_closing_have_four_minutes_in_either_profile() {
    for profile in ["aws", "rfc"] {
        let mut net = Net::load(&network(&format!("profile: {profile}")));
        Dialogue::begin(&mut net, 1);
        lives_for(&mut net, 240);

        let closing = Dialogue::begin(&mut net, 2);
        closing.establish(&mut net);
        closing.close(&mut net);
        lives_for(&mut net, 240);
    }
}

// Conforms: RFC 4787 R5, RFC 4787 R5b, RFC 5382 R5, RFC 5508 R2, RFC 7857 state machine, RFC 7857 query timer
#[test]
fn every_timer_of_a_translation_is_a_setting() {
    let settings = "nat: { tcp_opening_timeout: 10, tcp_established_timeout: 40, \
                    tcp_closing_timeout: 20, udp_timeout: 15, icmp_timeout: 5 }";
    let mut net = Net::load(&network(settings));
    Dialogue::begin(&mut net, 1);
    lives_for(&mut net, 10);
    Dialogue::begin(&mut net, 2).establish(&mut net);
    lives_for(&mut net, 40);
    let closing = Dialogue::begin(&mut net, 3);
    closing.establish(&mut net);
    closing.close(&mut net);
    lives_for(&mut net, 20);
    ask(&mut net);
    lives_for(&mut net, 15);
    ping(&mut net);
    lives_for(&mut net, 5);
    // A mapping is gone with its last session.
    net.assert_empty();
}

// Conforms: SG-25, SG-18
#[test]
fn security_groups_forget_what_is_idle() {
    // Between instances nothing is translated: these are the groups' timers alone.
    let inside = ("10.0.2.10", 1);
    let send = |net: &mut Net, packet: &Packet| {
        net.send("instance/db", packet).delivered_at("instance/peer");
    };
    let answer = |net: &mut Net, packet: &Packet| {
        net.send("instance/peer", packet).delivered_at("instance/db");
    };
    let one_way = udp(inside, PEER, b"?");
    let gre = other_protocol("10.0.2.10", "10.0.2.11", 47);
    let ping = echo("10.0.2.10", "10.0.2.11", 7, false);
    let stream = |net: &mut Net| {
        for _ in 0..2 {
            send(net, &one_way);
            answer(net, &udp(PEER, inside, b"!"));
        }
    };
    let handshake = |net: &mut Net| {
        send(net, &tcp(inside, PEER, SYN, b""));
        answer(net, &tcp(PEER, inside, SYN_ACK, b""));
        send(net, &tcp(inside, PEER, ACK, b""));
    };

    let mut net = Net::load(&network(""));
    send(&mut net, &one_way);
    lives_for(&mut net, 30);
    stream(&mut net);
    lives_for(&mut net, 180);
    send(&mut net, &ping);
    lives_for(&mut net, 60);
    send(&mut net, &gre);
    lives_for(&mut net, 600);
    handshake(&mut net);
    lives_for(&mut net, 432_000);

    let settings = "connection_tracking: { tcp_opening_timeout: 7, tcp_established_timeout: 350, \
                    udp_timeout: 60, udp_stream_timeout: 90, icmp_timeout: 3, other_timeout: 11 }";
    let mut net = Net::load(&network(settings));
    send(&mut net, &one_way);
    lives_for(&mut net, 60);
    stream(&mut net);
    lives_for(&mut net, 90);
    send(&mut net, &ping);
    lives_for(&mut net, 3);
    send(&mut net, &gre);
    lives_for(&mut net, 11);
    send(&mut net, &tcp(inside, PEER, SYN, b""));
    lives_for(&mut net, 7);
    handshake(&mut net);
    lives_for(&mut net, 350);
}

/// A packet of a protocol without ports.
fn other_protocol(from: &str, to: &str, protocol: u8) -> Packet {
    let address = |text: &str| text.parse::<std::net::Ipv4Addr>().expect("an address").octets();
    let mut bytes = vec![0; VNET_HEADER_LEN];
    etherparse::PacketBuilder::ipv4(address(from), address(to), 64)
        .write(&mut bytes, protocol.into(), &[0; 8])
        .expect("a packet");
    Packet(bytes)
}
