//! Datagrams in fragments and packets that are too big: through the engine.

mod support;

use support::{ACK, INSIDE, Net, Outcome, Packet, SYN, SYN_ACK, echo_with, icmp_error, tcp, udp};
use viaduct_dataplane::{FragmentLimits, FragmentUsage};
use viaduct_topology::Reason;

const TOPOLOGY: &str = r"
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
      egress: { subnet: public, private_ip: 10.0.0.5, public_ips: [203.0.113.10] }
    security_groups:
      function: {}
      open: { ingress: [ { protocol: -1, from: 0.0.0.0/0 } ] }
      dns: { ingress: [ { protocol: udp, ports: 53, from: 0.0.0.0/0 } ] }
    instances:
      db:  { subnet: data, private_ip: 10.0.2.10, security_groups: [open] }
      dns: { subnet: data, private_ip: 10.0.2.53, security_groups: [dns] }
      web: { subnet: public, private_ip: 10.0.0.20, public_ip: 203.0.113.20, security_groups: [open] }
functions:
  api: { subnets: [main/private], security_groups: [main/function], environments: 2 }
internet:
  host: { ip: 198.51.100.7 }
";

const API: &str = "function/api/1";
const OTHER: &str = "function/api/2";
const HOST: (&str, u16) = ("198.51.100.7", 9);
const DB: (&str, u16) = ("10.0.2.10", 9);
const WEB: (&str, u16) = ("10.0.0.20", 9);
const MTU: usize = 1480;

/// Sends all of them; the last one's outcome, of which alone something may come.
#[track_caller]
fn send_all<'a>(
    net: &mut Net,
    from: &str,
    fragments: impl IntoIterator<Item = &'a Packet>,
) -> Outcome {
    let mut last = None;
    for fragment in fragments {
        if let Some(before) = last.replace(net.send(from, fragment)) {
            assert_eq!(before, Outcome::Held);
        }
    }
    last.expect("one fragment at least")
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn usage(net: &Net) -> FragmentUsage {
    net.scratch.fragments()
}

/// Every order of three things.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

// Conforms: RFC 4787 R14, RFC 7857 IPv4 ID
#[test]
fn nat_14_a_nat_gateway_carries_udp_in_fragments_in_any_order_both_ways() {
    let mut net = Net::load(TOPOLOGY);
    for (index, order) in ORDERS.into_iter().enumerate() {
        let port = 40_000 + index as u16;
        let query = udp((INSIDE, port), HOST, &bytes(4000)).with_identification(7);
        let fragments = query.fragments(MTU);
        let out = send_all(&mut net, API, order.map(|at| &fragments[at]));
        // Cut anew for the internet's 1,500 bytes.
        let mut out = out.cut_at("internet/host");
        assert_eq!(out.len(), 3);
        out.reverse();
        let arrived = Packet::defragmented(&out);
        let ((address, port), to) = arrived.ends();
        assert_eq!((address.as_str(), to), ("203.0.113.10", (HOST.0.into(), HOST.1)));
        assert!(arrived.ip().ends_with(&bytes(4000)));
        assert_eq!(arrived.ttl(), 63);
        assert_ne!(arrived.identification(), 7, "the sender's is not unique behind the gateway");

        let reply = udp(HOST, (&address, port), &bytes(3000)).fragments(MTU);
        let order = order.into_iter().filter_map(|at| reply.get(at));
        let back = send_all(&mut net, "internet/host", order).cut_at(API);
        let back = Packet::defragmented(&back);
        assert_eq!(back.flow(), format!("198.51.100.7:9 > {INSIDE}:{}", 40_000 + index));
        assert!(back.ip().ends_with(&bytes(3000)));
    }
    assert_eq!(usage(&net), FragmentUsage::default());
    let counters = net.engine.counters();
    assert_eq!((counters.reassembled_datagrams, counters.reassembled_fragments), (12, 36));
    assert_eq!((counters.fragmented_packets, counters.sent_fragments), (12, 36));
    assert_eq!((counters.forwarded_packets, counters.drops().count()), (36, 0));
}

#[test]
fn in_the_rfc_profile_a_nat_gateway_carries_tcp_and_icmp_in_fragments_too() {
    let mut net = Net::load(&format!("settings: {{ profile: rfc }}\n{TOPOLOGY}"));
    let db = "10.0.2.10";
    let echo = echo_of(db, HOST.0, 2000).fragments(MTU);
    send_all(&mut net, "instance/db", &echo).cut_at("internet/host");
    let syn = tcp((db, 1), HOST, SYN, &bytes(2000)).fragments(MTU);
    send_all(&mut net, "instance/db", &syn).cut_at("internet/host");
}

// Conforms: NAT-14, MTU-05
#[test]
fn nat_14_a_nat_gateway_drops_tcp_and_icmp_in_fragments() {
    let mut net = Net::load(TOPOLOGY);
    let refused = Reason::FragmentRestriction;
    let (db, host) = ("10.0.2.10", HOST.0);
    // What would open a connection opens none.
    for packet in [tcp((db, 1), HOST, SYN, &bytes(2000)), echo_of(db, host, 2000)] {
        send_all(&mut net, "instance/db", &packet.fragments(MTU)).dropped_for(refused);
        net.assert_empty();
    }
    // What belongs to one neither passes nor moves it.
    let opened =
        net.send("instance/db", &tcp((db, 1), HOST, SYN, b"")).delivered_at("internet/host");
    let ((address, port), _) = opened.ends();
    let there = (address.as_str(), port);
    net.send("internet/host", &tcp(HOST, there, SYN_ACK, b"")).delivered_at("instance/db");
    let request = tcp((db, 1), HOST, ACK, &bytes(1400)).fragments(800);
    send_all(&mut net, "instance/db", &request).dropped_for(refused);
    let reply = tcp(HOST, there, support::Tcp { flags: "A", ..SYN_ACK }, &bytes(1400));
    send_all(&mut net, "internet/host", &reply.fragments(800)).dropped_for(refused);
    // The same whole: the gateway has nothing against the segment.
    net.send("internet/host", &reply).delivered_at("instance/db");
    let error = icmp_error(HOST.0, &address, 3, 4, opened.ip());
    let fragments = error.fragments(32);
    send_all(&mut net, "internet/host", &fragments).dropped_for(refused);
    net.send("internet/host", &error).delivered_at("instance/db");
    assert_eq!(net.engine.counters().dropped(refused), 5);
    assert_eq!(usage(&net), FragmentUsage::default());
}

fn echo_of(from: &str, to: &str, payload: usize) -> Packet {
    echo_with(from, to, 7, false, &bytes(payload))
}

// Conforms: LAM-11, MTU-05
#[test]
fn lam_11_a_functions_interface_carries_udp_in_fragments_and_nothing_else() {
    let mut net = Net::load(TOPOLOGY);
    let datagram = udp((INSIDE, 1), DB, &bytes(3000));
    let arrived = send_all(&mut net, API, &datagram.fragments(MTU)).delivered_at("instance/db");
    let ((eni, port), _) = arrived.ends();
    let answer = udp(DB, (&eni, port), &bytes(3000)).fragments(MTU);
    send_all(&mut net, "instance/db", answer.iter().rev()).delivered_at(API);

    let request = tcp((INSIDE, 1), DB, SYN, &bytes(3000)).fragments(MTU);
    send_all(&mut net, API, &request).dropped_for(Reason::FragmentRestriction);
    let ((eni, port), _) =
        net.send(API, &tcp((INSIDE, 1), DB, SYN, b"")).delivered_at("instance/db").ends();
    let reply = tcp(DB, (&eni, port), SYN_ACK, &bytes(3000)).fragments(MTU);
    send_all(&mut net, "instance/db", &reply).dropped_for(Reason::FragmentRestriction);
    // To the port of nobody's connection: nothing of a translator, and one way as ever (LAM-02).
    let stray = tcp(DB, (&eni, port ^ 1), SYN, &bytes(3000)).fragments(MTU);
    send_all(&mut net, "instance/db", &stray).dropped_for(Reason::V2nOneWay);
}

// Conforms: MTU-05
#[test]
fn instances_exchange_fragments_of_every_protocol() {
    let mut net = Net::load(TOPOLOGY);
    let (db, web) = ("10.0.2.10", "10.0.0.20");
    let ping = echo_of(db, web, 10_000);
    // The largest packet of a VPC has 9,001 bytes (MTU-01): cut again.
    let out = send_all(&mut net, "instance/db", &ping.fragments(MTU)).cut_at("instance/web");
    assert_eq!(out.len(), 2);
    assert_eq!(Packet::defragmented(&out).ip()[20..], ping.ip()[20..]);
    let pong = echo_with(web, db, 7, true, &bytes(8000));
    let out = send_all(&mut net, "instance/web", pong.fragments(MTU).iter().rev());
    out.delivered_at("instance/db");

    let whole = tcp((db, 1), WEB, SYN, &bytes(3000)).with_identification(7);
    let out = send_all(&mut net, "instance/db", &whole.fragments(MTU)).delivered_at("instance/web");
    assert_eq!(out.ip()[20..], whole.ip()[20..]);
    assert_eq!(out.identification(), whole.identification(), "nobody translated it");
}

// Conforms: ACL-23
#[test]
fn policy_judges_the_datagram_and_not_its_pieces() {
    let mut net = Net::load(TOPOLOGY);
    let query = |port| udp(("10.0.0.20", 1), ("10.0.2.53", port), &bytes(3000)).fragments(MTU);
    send_all(&mut net, "instance/web", &query(53)).delivered_at("instance/dns");
    let dropped = send_all(&mut net, "instance/web", query(54).iter().rev());
    let dropped = dropped.dropped_for(Reason::EniSgRulesMismatch);
    assert_eq!((dropped.packets, dropped.flow.map(|flow| flow.destination_port)), (1, Some(54)));
    // Nor does a host get at another's address with them.
    let spoofed = udp(("10.0.2.10", 1), DB, &bytes(3000)).fragments(MTU);
    send_all(&mut net, API, &spoofed).dropped_for(Reason::SpoofedSource);
}

#[test]
fn fragments_of_two_environments_with_one_address_do_not_meet() {
    let mut net = Net::load(TOPOLOGY);
    let fragments = udp((INSIDE, 1), DB, &bytes(2000)).fragments(MTU);
    assert_eq!(net.send(API, &fragments[0]), Outcome::Held);
    assert_eq!(net.send(OTHER, &fragments[1]), Outcome::Held);
    assert_eq!((usage(&net).attachments, usage(&net).datagrams), (2, 2));
    net.send(OTHER, &fragments[0]).delivered_at("instance/db");
    net.send(API, &fragments[1]).delivered_at("instance/db");
}

#[test]
fn what_does_not_get_whole_in_thirty_seconds_is_discarded() {
    let mut net = Net::load(TOPOLOGY);
    let fragments = udp((INSIDE, 1), DB, &bytes(4000)).fragments(MTU);
    send_all(&mut net, API, &fragments[..2]);
    net.pass_millis(29_999);
    net.expire();
    assert_eq!(usage(&net).fragments, 2);
    net.pass_millis(1);
    // Too late, even if the timers are.
    assert_eq!(net.send(API, &fragments[2]), Outcome::Held);
    assert_eq!(net.engine.counters().dropped(Reason::ReassemblyTimeout), 2);
    net.pass_seconds(30);
    net.expire();
    assert_eq!(net.engine.counters().dropped(Reason::ReassemblyTimeout), 3);
    net.assert_empty();
}

#[test]
fn fragments_that_overlap_are_discarded_together() {
    let mut net = Net::load(TOPOLOGY);
    let (first, second) = (udp((INSIDE, 1), DB, &bytes(64)), udp((INSIDE, 1), DB, &[9; 64]));
    let (sound, other) = (first.fragments(32), second.fragments(40));
    assert_eq!(net.send(API, &sound[0]), Outcome::Held);
    let dropped = net.send(API, &other[0]).dropped_for(Reason::ReassemblyFailed);
    assert_eq!(dropped.packets, 2);
    net.assert_empty();
    // A piece that came before is ignored; the same place with other bytes is not.
    assert_eq!(send_all(&mut net, API, [&sound[1], &sound[1], &sound[0]]), Outcome::Held);
    let changed = second.fragments(32);
    net.send(API, &changed[1]).dropped_for(Reason::ReassemblyFailed);
    assert_eq!(net.engine.counters().dropped(Reason::ReassemblyFailed), 6);
    net.assert_empty();
}

// Conforms: RFC 4787 R14a
#[test]
fn a_flood_of_fragments_costs_its_sender_alone() {
    let mut net = Net::load(TOPOLOGY);
    let limits = FragmentLimits::default();
    let own = udp((INSIDE, 1), DB, &bytes(2000)).with_identification(9).fragments(MTU);
    assert_eq!(net.send(OTHER, &own[0]), Outcome::Held);
    let mut most = FragmentUsage::default();
    for identification in 0..2000 {
        let flood = udp((INSIDE, 1), DB, &bytes(9000)).with_identification(identification);
        let flood = flood.fragments(8000);
        assert_eq!(net.send(API, &flood[usize::from(identification & 1)]), Outcome::Held);
        let now = usage(&net);
        assert!(now.bytes <= 2 * limits.attachment_bytes && now.datagrams <= 1 + 128);
        if now.bytes > most.bytes {
            most = now;
        }
        // Whole packets pass, also the flooder's.
        net.send(API, &udp((INSIDE, 2), DB, b"?")).delivered_at("instance/db");
    }
    assert_eq!(most.datagrams, 129, "the flood filled its share");
    let lost = net.engine.counters().dropped(Reason::QuotaExceeded);
    assert_eq!(lost, 2000 - 128);
    // The other environment's first fragment is still there.
    net.send(OTHER, &own[1]).delivered_at("instance/db");
    net.pass_seconds(3600);
    net.expire();
    net.assert_empty();
}

#[test]
fn a_worker_holds_no_more_than_it_may_whoever_sends() {
    let mut net = Net::load(TOPOLOGY);
    let limits = FragmentLimits { worker_bytes: 40_000, ..FragmentLimits::default() };
    net.scratch = net.engine.scratch([3; 32]).with_fragment_limits(limits);
    let fragment = |id| udp((INSIDE, 1), DB, &bytes(8500)).with_identification(id).fragments(8000);
    for id in 0..4 {
        assert_eq!(net.send(API, &fragment(id)[0]), Outcome::Held);
    }
    // Nothing of the other's goes for it, and so it has no room.
    assert_eq!(net.send(OTHER, &fragment(9)[0]).dropped_for(Reason::QuotaExceeded).packets, 1);
    assert_eq!((usage(&net).attachments, usage(&net).datagrams), (1, 4));
    // But an own one does.
    assert_eq!(net.send(API, &fragment(5)[0]), Outcome::Held);
    assert_eq!(usage(&net).datagrams, 4);
    net.send(API, &fragment(5)[1]).delivered_at("instance/db");
    assert!(usage(&net).bytes <= 40_000);
}

#[test]
fn a_train_without_an_end_ends() {
    let mut net = Net::load(TOPOLOGY);
    let limits = FragmentLimits { pieces: 10, ..FragmentLimits::default() };
    net.scratch = net.engine.scratch([3; 32]).with_fragment_limits(limits);
    let train = udp((INSIDE, 1), DB, &bytes(1000)).fragments(8);
    let dropped = send_all(&mut net, API, &train[..11]).dropped_for(Reason::ReassemblyFailed);
    assert_eq!(dropped.packets, 11);
    net.assert_empty();
}

// Conforms: MTU-02, IGW-08, RFC 4787 R13
#[test]
fn a_packet_too_big_for_the_next_hop_is_cut_if_it_may_be() {
    let mut net = Net::load(TOPOLOGY);
    let big = udp((INSIDE, 40_000), HOST, &bytes(4000));
    let answer = net.send(API, &big).answered_for(Reason::PacketTooBig);
    assert_eq!((answer.icmp().0, answer.icmp().1), (3, 4));
    let out = net.send(API, &big.without_df()).cut_at("internet/host");
    let lengths: Vec<_> = out.iter().map(|packet| packet.ip().len()).collect();
    assert_eq!(lengths, [1500, 1500, 20 + 4008 - 2 * 1480]);
    let arrived = Packet::defragmented(&out);
    assert!(arrived.flow().starts_with("203.0.113.10:"), "{}", arrived.flow());

    // The device that is attached counts as well as the way.
    net.engine.attached(net.id("instance/db"), 600);
    let small = udp(("10.0.0.20", 1), DB, &bytes(700)).without_df();
    let out = net.send("instance/web", &small).cut_at("instance/db");
    assert!(out.iter().all(|packet| packet.ip().len() <= 600));
    assert!(Packet::defragmented(&out).ip().ends_with(&bytes(700)));
    // So does a reply.
    let ((from, port), to) = Packet::defragmented(&out).ends();
    net.engine.attached(net.id("instance/web"), 576);
    let reply = udp((&to.0, to.1), (&from, port), &bytes(700)).without_df();
    assert_eq!(net.send("instance/db", &reply).cut_at("instance/web").len(), 2);
    let counters = net.engine.counters();
    assert_eq!((counters.fragmented_packets, counters.sent_fragments), (3, 7));
    assert_eq!(counters.forwarded_packets, 7);
    // Where no piece has room, it is dropped.
    net.engine.attached(net.id("instance/db"), 27);
    net.send("instance/web", &small).dropped_for(Reason::PacketTooBig);
}

// Conforms: MTU-02
#[test]
fn a_super_packet_too_big_for_the_next_hop_gets_smaller_segments() {
    let mut net = Net::load(TOPOLOGY);
    let from = (WEB.0, 40_000);
    net.send("instance/web", &tcp(from, HOST, SYN, b"")).delivered_at("internet/host");
    let answer = tcp(HOST, ("203.0.113.20", 40_000), SYN_ACK, b"");
    net.send("internet/host", &answer).delivered_at("instance/web");
    let large = tcp(from, HOST, ACK, &bytes(16_000)).in_segments(8000);
    // With DF, its sender learns what passes; without, the network sees to it.
    net.send("instance/web", &large).answered_for(Reason::PacketTooBig);
    let arrived = net.send("instance/web", &large.without_df()).delivered_at("internet/host");
    assert_eq!(arrived.segment_size(), 1460);
    assert!(arrived.ip().ends_with(&bytes(16_000)));
    let counters = net.engine.counters();
    assert_eq!((counters.fragmented_packets, counters.sent_fragments), (2, 11));
}

// Conforms: RFC 7857 IPv4 ID
#[test]
fn identifications_behind_a_translator_are_its_own() {
    let mut net = Net::load(TOPOLOGY);
    let mut seen = std::collections::HashSet::new();
    for port in 1000..1400 {
        // Two hosts that happen to count alike.
        for (host, from) in [(API, INSIDE), ("instance/db", "10.0.2.10")] {
            let packet = udp((from, port), HOST, b"?").without_df().with_identification(port);
            let out = net.send(host, &packet).delivered_at("internet/host");
            assert!(seen.insert(out.identification()), "{} again", out.identification());
            out.flow();
        }
    }
    // What must not be cut needs none (RFC 6864, section 4.1), and keeps its own.
    let atomic = udp((INSIDE, 1), HOST, b"?").with_identification(77);
    assert_eq!(net.send(API, &atomic).delivered_at("internet/host").identification(), 77);
}

#[test]
fn congestion_is_passed_on_or_the_datagram_is_lost() {
    let mut net = Net::load(TOPOLOGY);
    let marked = |ecn: [u8; 2]| {
        let mut fragments = udp(("10.0.0.20", 1), DB, &bytes(2000)).fragments(MTU);
        for (fragment, ecn) in fragments.iter_mut().zip(ecn) {
            *fragment = fragment.clone().with_tos(ecn);
        }
        fragments
    };
    for (ecn, whole) in [([2, 2], 2), ([2, 3], 3), ([3, 2], 3), ([0, 0], 0), ([2, 0], 2)] {
        let out = send_all(&mut net, "instance/web", &marked(ecn)).delivered_at("instance/db");
        assert_eq!(out.ip()[1], whole, "{ecn:?}");
    }
    let lost = send_all(&mut net, "instance/web", &marked([0, 3]));
    lost.dropped_for(Reason::ReassemblyFailed);
}

#[test]
fn limits_hold_for_as_long_as_they_say() {
    let mut net = Net::load(&format!("settings: {{ fragment_timeout: 2 }}\n{TOPOLOGY}"));
    let fragments = udp((INSIDE, 1), DB, &bytes(2000)).fragments(MTU);
    net.send(API, &fragments[0]);
    net.pass_millis(1999);
    net.send(API, &fragments[1]).delivered_at("instance/db");
}
