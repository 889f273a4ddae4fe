//! The engine with packets: each scenario named after the facts it shows.

mod support;

use support::{
    ACK, INSIDE, Net, Packet, SYN, SYN_ACK, Tcp, echo, icmp_error, icmp_message, tcp, udp,
};
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
      db: { ingress: [ { protocol: tcp, ports: 5432, from: security_group/function },
                       { protocol: udp, ports: 53, from: security_group/function } ] }
    instances:
      db:  { subnet: data, private_ip: 10.0.2.10, security_groups: [db] }
      web: { subnet: public, private_ip: 10.0.0.20, public_ip: 203.0.113.20, security_groups: [open] }
functions:
  api: { subnets: [main/private], security_groups: [main/function], environments: 2 }
internet:
  host: { ip: 198.51.100.7 }
";

/// The first free address of the private subnet: the ENI's.
const ENI: &str = "10.0.1.4";

const API: &str = "function/api/1";

/// Opens a TCP connection from an environment to the database; returns the ENI's port.
fn open(net: &mut Net, inside_port: u16) -> u16 {
    let (inside, db) = ((INSIDE, inside_port), ("10.0.2.10", 5432));
    let request = net.send(API, &tcp(inside, db, SYN, b"")).delivered_at("instance/db");
    let ((_, port), _) = request.ends();
    net.send("instance/db", &tcp(db, (ENI, port), SYN_ACK, b"")).delivered_at(API);
    net.send(API, &tcp(inside, db, ACK, b"")).delivered_at("instance/db");
    port
}

// Conforms: LAM-09
#[test]
fn lam_02_a_function_appears_as_its_eni_and_hears_the_reply() {
    let mut net = Net::load(TOPOLOGY);
    let (inside, db) = ((INSIDE, 40_000), ("10.0.2.10", 5432));

    let request = net.send(API, &tcp(inside, db, SYN, b"")).delivered_at("instance/db");
    let ((source, port), to) = request.ends();
    assert_eq!((source.as_str(), to), (ENI, ("10.0.2.10".into(), 5432)));
    assert!(port >= 1024, "LAM-09: {port}");
    assert_eq!(request.ttl(), 64, "the VPC's router is no hop");

    let reply = net.send("instance/db", &tcp(db, (ENI, port), SYN_ACK, b""));
    assert_eq!(reply.delivered_at(API).flow(), "10.0.2.10:5432 > 169.254.100.2:40000");
}

#[test]
fn environments_with_one_address_do_not_meet() {
    let mut net = Net::load(TOPOLOGY);
    let (inside, db) = ((INSIDE, 40_000), ("10.0.2.10", 53));
    let port = |packet: Packet| packet.ends().0.1;

    let first = port(net.send(API, &udp(inside, db, b"1")).delivered_at("instance/db"));
    let second =
        port(net.send("function/api/2", &udp(inside, db, b"2")).delivered_at("instance/db"));

    assert_ne!(first, second);
    net.send("instance/db", &udp(db, (ENI, first), b"1")).delivered_at(API);
    net.send("instance/db", &udp(db, (ENI, second), b"2")).delivered_at("function/api/2");
}

// Conforms: NAT-08
#[test]
fn nat_08_the_internet_sees_the_gateway_s_public_address_and_one_hop() {
    let mut net = Net::load(TOPOLOGY);
    let (inside, host) = ((INSIDE, 40_000), ("198.51.100.7", 443));

    let request = net.send(API, &tcp(inside, host, SYN, b"")).delivered_at("internet/host");
    let ((source, port), _) = request.ends();
    assert_eq!(source, "203.0.113.10");
    assert_eq!(request.ttl(), 63);
    assert_eq!((net.ports_in_use(ENI), net.ports_in_use("10.0.0.5")), (1, 1));

    let reply = net.send("internet/host", &tcp(host, ("203.0.113.10", port), SYN_ACK, b""));
    assert_eq!(reply.delivered_at(API).flow(), "198.51.100.7:443 > 169.254.100.2:40000");
}

// Conforms: LAM-02, LAM-24
#[test]
fn lam_02_lam_24_nothing_opens_toward_a_function_and_no_state_is_made() {
    let mut net = Net::load(TOPOLOGY);
    let web = ("10.0.0.20", 1234);
    for packet in
        [tcp(web, (ENI, 80), SYN, b""), udp(web, (ENI, 53), b"?"), echo("10.0.0.20", ENI, 7, false)]
    {
        net.send("instance/web", &packet).dropped_for(Reason::V2nOneWay);
    }
    net.assert_empty();
}

// Conforms: NAT-12
#[test]
fn nat_12_nothing_opens_toward_a_nat_gateway() {
    let mut net = Net::load(TOPOLOGY);
    let packet = tcp(("198.51.100.7", 1), ("203.0.113.10", 443), SYN, b"");
    net.send("internet/host", &packet).dropped_for(Reason::NatGatewayUnsolicited);
    let packet = echo("10.0.0.20", "10.0.0.5", 1, false);
    net.send("instance/web", &packet).dropped_for(Reason::NatGatewayUnsolicited);
    net.assert_empty();
}

#[test]
fn a_close_on_both_sides_frees_the_port_at_once() {
    let mut net = Net::load(TOPOLOGY);
    let port = open(&mut net, 40_000);
    let (inside, db) = ((INSIDE, 40_000), ("10.0.2.10", 5432));
    let fin = Tcp { flags: "FA", sequence: 101, acknowledgment: 901 };
    net.send(API, &tcp(inside, db, fin, b"")).delivered_at("instance/db");
    let fin = Tcp { flags: "FA", sequence: 901, acknowledgment: 102 };
    net.send("instance/db", &tcp(db, (ENI, port), fin, b"")).delivered_at(API);
    assert_eq!(net.ports_in_use(ENI), 1, "the last acknowledgment has to pass");

    let last = Tcp { flags: "A", sequence: 102, acknowledgment: 902 };
    net.send(API, &tcp(inside, db, last, b"")).delivered_at("instance/db");

    net.assert_empty();
}

#[test]
fn a_reset_frees_the_port_at_once_and_a_guessed_one_does_not() {
    let mut net = Net::load(TOPOLOGY);
    let port = open(&mut net, 40_000);
    let db = ("10.0.2.10", 5432);
    let guess = Tcp { flags: "R", sequence: 5_000_000, acknowledgment: 0 };
    net.send("instance/db", &tcp(db, (ENI, port), guess, b"")).delivered_at(API);
    assert_eq!(net.ports_in_use(ENI), 1);

    let real = Tcp { flags: "R", sequence: 901, acknowledgment: 0 };
    net.send("instance/db", &tcp(db, (ENI, port), real, b"")).delivered_at(API);

    net.assert_empty();
}

// Conforms: NAT-10
#[test]
fn nat_10_at_350_s_idle_a_client_that_goes_on_is_reset() {
    let mut net = Net::load(TOPOLOGY);
    let (inside, host) = ((INSIDE, 40_000), ("198.51.100.7", 443));
    let request = net.send(API, &tcp(inside, host, SYN, b"")).delivered_at("internet/host");
    let public = ("203.0.113.10", request.ends().0.1);
    net.send("internet/host", &tcp(host, public, SYN_ACK, b"")).delivered_at(API);
    net.send(API, &tcp(inside, host, ACK, b"")).delivered_at("internet/host");

    net.pass_millis(349_999);
    net.send(API, &tcp(inside, host, ACK, b"x")).delivered_at("internet/host");
    net.pass_millis(350_000);
    let data = Tcp { sequence: 102, ..ACK };
    let answer = net.send(API, &tcp(inside, host, data, b"y")).answered_for(Reason::NoConnection);

    assert_eq!(answer.flow(), "198.51.100.7:443 > 169.254.100.2:40000");
    assert_eq!(answer.ip()[33], 0x04, "RST");
    net.send("internet/host", &tcp(host, public, ACK, b""))
        .dropped_for(Reason::NatGatewayUnsolicited);
    net.assert_empty();
}

// Conforms: SG-25
#[test]
fn timers_end_idle_connections_without_any_packet() {
    let mut net = Net::load(TOPOLOGY);
    net.send(API, &udp((INSIDE, 1), ("10.0.2.10", 53), b"?")).delivered_at("instance/db");
    net.pass_millis(29_999);
    net.expire();
    assert_eq!(net.ports_in_use(ENI), 1, "SG-25: 30 s for a datagram without answer");
    // The wheel is late by less than a tick.
    net.pass_millis(200);
    net.expire();
    net.assert_empty();
}

#[test]
fn a_late_segment_finds_no_connection() {
    let mut net = Net::load(TOPOLOGY);
    let (db, web) = (("10.0.2.10", 5432), ("10.0.0.20", 80));
    let answer =
        net.send(API, &tcp((INSIDE, 40_000), db, ACK, b"")).answered_for(Reason::NoConnection);
    assert_eq!(answer.flow(), "10.0.2.10:5432 > 169.254.100.2:40000", "its ENI forgot it");
    net.send("instance/db", &tcp(db, (ENI, 4000), ACK, b"")).dropped_for(Reason::NoConnection);
    net.send("instance/db", &tcp(db, web, ACK, b"")).dropped_for(Reason::NoConnection);
    net.assert_empty();
}

// Conforms: ACL-07
#[test]
fn acl_07_a_blocked_reply_is_dropped_where_it_is_blocked() {
    let acl = "    network_acls:\n      data:\n        ingress: { 100: { action: allow, protocol: -1, cidr_block: 0.0.0.0/0 } }\n        egress: {}\n";
    let blocked = TOPOLOGY
        .replace(
            "10.0.2.0/24, availability_zone: a }",
            "10.0.2.0/24, availability_zone: a, network_acl: data }",
        )
        .replace("    instances:\n", &format!("{acl}    instances:\n"));
    let mut net = Net::load(&blocked);
    let (inside, db) = ((INSIDE, 40_000), ("10.0.2.10", 5432));
    let request = net.send(API, &tcp(inside, db, SYN, b"")).delivered_at("instance/db");
    let port = request.ends().0.1;
    let reply = tcp(db, (ENI, port), SYN_ACK, b"");

    for _ in 0..2 {
        let dropped = net.send("instance/db", &reply).dropped_for(Reason::SubnetAclRestriction);
        let request = dropped.request.expect("the request it answers");
        assert_eq!((request.source_port, request.destination_port), (40_000, 5432));
    }

    // The ACL is mended: the same connection goes on (ACLs are judged anew at once).
    net.reload(TOPOLOGY);
    net.send("instance/db", &reply).delivered_at(API);
}

// Conforms: ACL-11
#[test]
fn acl_11_each_icmp_message_is_judged_by_its_own_type_and_code() {
    let acl = "    network_acls:
      public:
        ingress: { 100: { action: allow, protocol: icmp, icmp_type: 13, icmp_code: 0, cidr_block: 0.0.0.0/0 },
                   110: { action: allow, protocol: icmp, icmp_type: 40, cidr_block: 0.0.0.0/0 } }
        egress: { 100: { action: allow, protocol: icmp, icmp_type: 14, icmp_code: 0, cidr_block: 0.0.0.0/0 } }
";
    let topology = TOPOLOGY
        .replace(
            "10.0.0.0/24, availability_zone: a, route_table: public }",
            "10.0.0.0/24, availability_zone: a, route_table: public, network_acl: public }",
        )
        .replace("    instances:\n", &format!("{acl}    instances:\n"));
    let mut net = Net::load(&topology);
    let request = |kind, code| icmp_message("198.51.100.7", "203.0.113.20", kind, code);
    let reply = |kind, code| icmp_message("10.0.0.20", "198.51.100.7", kind, code);
    // What passed before opens the way for nothing else, and what was refused closes it for nothing.
    for _ in 0..2 {
        net.send("internet/host", &request(13, 0)).delivered_at("instance/web");
        net.send("internet/host", &request(13, 1)).dropped_for(Reason::SubnetAclRestriction);
        net.send("internet/host", &request(15, 0)).dropped_for(Reason::SubnetAclRestriction);
        net.send("internet/host", &request(40, 7)).delivered_at("instance/web");
        net.send("instance/web", &reply(14, 0)).delivered_at("internet/host");
        net.send("instance/web", &reply(14, 1)).dropped_for(Reason::SubnetAclRestriction);
        net.send("instance/web", &reply(40, 7)).dropped_for(Reason::SubnetAclRestriction);
    }
}

// Conforms: SG-22, RT-30
#[test]
fn sg_22_a_connection_outlives_its_rule_and_rt_30_not_its_route() {
    let mut net = Net::load(TOPOLOGY);
    let port = open(&mut net, 40_000);
    let (inside, db, host) = ((INSIDE, 40_000), ("10.0.2.10", 5432), ("198.51.100.7", 443));
    net.send(API, &tcp(inside, host, SYN, b"")).delivered_at("internet/host");

    net.reload(
        &TOPOLOGY
            .replace("{ protocol: tcp, ports: 5432, from: security_group/function },", "")
            .replace("target: nat_gateway/egress", "target: blackhole"),
    );

    net.send(API, &tcp(inside, db, ACK, b"x")).delivered_at("instance/db");
    net.send("instance/db", &tcp(db, (ENI, port), Tcp { sequence: 901, ..ACK }, b""))
        .delivered_at(API);
    let another = tcp((INSIDE, 40_001), db, SYN, b"");
    net.send(API, &another).dropped_for(Reason::EniSgRulesMismatch);
    net.send(API, &tcp(inside, host, SYN, b"")).dropped_for(Reason::BadStateRoute);
}

// Conforms: LAM-10
#[test]
fn lam_10_functions_speak_tcp_and_udp_only() {
    let mut net = Net::load(TOPOLOGY);
    net.send(API, &echo(INSIDE, "10.0.2.10", 1, false)).dropped_for(Reason::ProtocolRestriction);
    net.assert_empty();
}

// Conforms: IGW-03
#[test]
fn igw_03_an_instance_s_public_address_works_both_ways() {
    let mut net = Net::load(TOPOLOGY);
    let (web, host) = (("10.0.0.20", 50_000), ("198.51.100.7", 80));
    let out = net.send("instance/web", &udp(web, host, b"?")).delivered_at("internet/host");
    assert_eq!(out.flow(), "203.0.113.20:50000 > 198.51.100.7:80");
    let back = udp(host, ("203.0.113.20", 50_000), b"!");
    let back = net.send("internet/host", &back).delivered_at("instance/web");
    assert_eq!(back.flow(), "198.51.100.7:80 > 10.0.0.20:50000");

    let ping = net.send("internet/host", &echo("198.51.100.7", "203.0.113.20", 9, false));
    assert_eq!(ping.delivered_at("instance/web").flow(), "198.51.100.7 > 10.0.0.20");
    let pong = net.send("instance/web", &echo("10.0.0.20", "198.51.100.7", 9, true));
    assert_eq!(pong.delivered_at("internet/host").flow(), "203.0.113.20 > 198.51.100.7");
}

// Conforms: RFC 5508 R1, NAT-04
#[test]
fn nat_04_an_instance_pings_through_the_nat_gateway_with_another_identifier() {
    let mut net = Net::load(TOPOLOGY);
    let request = net.send("instance/db", &echo("10.0.2.10", "198.51.100.7", 77, false));
    let request = request.delivered_at("internet/host");
    assert_eq!(request.flow(), "203.0.113.10 > 198.51.100.7");
    let id = u16::from_be_bytes([request.ip()[24], request.ip()[25]]);

    let reply = net.send("internet/host", &echo("198.51.100.7", "203.0.113.10", id, true));
    let reply = reply.delivered_at("instance/db");
    assert_eq!(reply.flow(), "198.51.100.7 > 10.0.2.10");
    assert_eq!(u16::from_be_bytes([reply.ip()[24], reply.ip()[25]]), 77);
    net.send("internet/host", &echo("198.51.100.7", "203.0.113.10", id ^ 1, true))
        .dropped_for(Reason::NatGatewayUnsolicited);
}

// Conforms: RFC 4787 R12b, RFC 5508 R4
#[test]
fn icmp_errors_are_translated_with_the_packet_they_quote() {
    let mut net = Net::load(TOPOLOGY);
    let (inside, host) = ((INSIDE, 40_000), ("198.51.100.7", 53));
    let request = net.send(API, &udp(inside, host, b"?")).delivered_at("internet/host");

    // From the host itself, and from a router on the way; the quote may end after eight bytes.
    for (from, quote) in [("198.51.100.7", request.ip()), ("192.0.2.1", &request.ip()[..28])] {
        let error = icmp_error(from, "203.0.113.10", 3, 3, quote);
        let error = net.send("internet/host", &error).delivered_at(API);
        assert_eq!(error.flow(), format!("{from} > {INSIDE}"));
        let (kind, code, quoted) = error.icmp();
        assert_eq!((kind, code), (3, 3));
        assert_eq!(&quoted.ip()[12..24], &udp(inside, host, b"?").ip()[12..24], "addresses, ports");
    }
    // About nothing that was sent.
    let stranger = udp(("203.0.113.10", 9), host, b"?");
    let error = icmp_error("198.51.100.7", "203.0.113.10", 3, 3, stranger.ip());
    net.send("internet/host", &error).dropped_for(Reason::NoConnection);
}

/// Found by fuzzing: errors may have any source, and had this one, too.
// Conforms: IGW-06
#[test]
fn igw_06_icmp_errors_from_private_addresses_stay_outside() {
    let mut net = Net::load(TOPOLOGY);
    let host = ("198.51.100.7", 53);
    let request = net.send(API, &udp((INSIDE, 40_000), host, b"?")).delivered_at("internet/host");
    for (from, reason) in [
        ("10.0.2.10", Reason::IgwSourceAddressNotInRfc1918Ingress),
        ("100.64.0.4", Reason::IgwSourceAddressNotInRfc6598Ingress),
    ] {
        let error = icmp_error(from, "203.0.113.10", 11, 0, request.ip());
        net.send("internet/host", &error).dropped_for(reason);
    }
}

// Conforms: RFC 5508 R5, SG-29
#[test]
fn an_environment_s_icmp_error_reaches_who_sent_the_packet() {
    let mut net = Net::load(TOPOLOGY);
    let (inside, db) = ((INSIDE, 40_000), ("10.0.2.10", 53));
    let port = net.send(API, &udp(inside, db, b"?")).delivered_at("instance/db").ends().0.1;
    let sent = udp(db, (ENI, port), b"late");
    let reply = net.send("instance/db", &sent).delivered_at(API);

    let error = net.send(API, &icmp_error(INSIDE, "10.0.2.10", 3, 3, reply.ip()));
    let error = error.delivered_at("instance/db");

    assert_eq!(error.flow(), format!("{ENI} > 10.0.2.10"));
    assert_eq!(error.icmp().2, sent, "the quote is what the database had sent");
    let forged = icmp_error("10.9.9.9", "10.0.2.10", 3, 3, reply.ip());
    net.send(API, &forged).dropped_for(Reason::SpoofedSource);
}

// Conforms: NAT-27
#[test]
fn nat_27_a_ttl_that_runs_out_at_the_nat_gateway_is_answered_from_its_private_address() {
    let mut net = Net::load(TOPOLOGY);
    let probe = udp((INSIDE, 40_000), ("198.51.100.7", 33_434), b"trace").with_ttl(1);
    let answer = net.send(API, &probe).answered_for(Reason::TtlExpired);
    assert_eq!(answer.flow(), format!("10.0.0.5 > {INSIDE}"));
    let (kind, code, quoted) = answer.icmp();
    assert_eq!((kind, code), (11, 0));
    assert_eq!(quoted, probe);
    net.assert_empty();
}

#[test]
fn a_packet_too_big_for_the_internet_is_answered_if_it_must_not_be_cut() {
    let mut net = Net::load(TOPOLOGY);
    let big = udp((INSIDE, 40_000), ("198.51.100.7", 9), &[0; 1600]);
    let answer = net.send(API, &big).answered_for(Reason::PacketTooBig);
    assert_eq!((answer.icmp().0, answer.icmp().1), (3, 4));
    assert_eq!(&answer.ip()[26..28], &1500_u16.to_be_bytes());
    assert_eq!(net.send(API, &big.without_df()).cut_at("internet/host").len(), 2);
}

#[test]
fn spoofed_sources_are_refused_at_each_kind_of_host() {
    let mut net = Net::load(TOPOLOGY);
    let db = ("10.0.2.10", 53);
    net.send(API, &udp((ENI, 1), db, b"")).dropped_for(Reason::SpoofedSource);
    net.send("instance/web", &udp(("10.0.0.21", 1), db, b""))
        .dropped_for(Reason::EniSourceDestCheckRestriction);
    net.send("internet/host", &udp(("10.0.2.10", 1), ("203.0.113.20", 2), b""))
        .dropped_for(Reason::IgwSourceAddressNotInRfc1918Ingress);
    net.assert_empty();
}

#[test]
fn a_target_that_is_not_attached_costs_no_port() {
    let mut net = Net::load(TOPOLOGY);
    net.engine.detached(net.id("instance/db"));
    let request = udp((INSIDE, 1), ("10.0.2.10", 53), b"?");
    net.send(API, &request).dropped_for(Reason::AttachmentDown);
    net.assert_empty();

    net.engine.attached(net.id("instance/db"), 9001);
    net.send(API, &request).delivered_at("instance/db");
}

#[test]
fn a_removed_host_takes_its_connections_along() {
    let mut net = Net::load(TOPOLOGY);
    open(&mut net, 40_000);
    net.engine.remove_attachment(net.id("instance/db")).expect("it is there");
    let segment = tcp((INSIDE, 40_000), ("10.0.2.10", 5432), ACK, b"x");
    net.send(API, &segment).dropped_for(Reason::AttachmentDown);
}

// Conforms: D-11
#[test]
fn lam_07_an_eni_that_is_full_refuses_and_says_which_limit() {
    let small = format!(
        "settings: {{ eni_connections: 3, environment_connections: none, source_ports: 1024-1025 }}\n\
         {TOPOLOGY}"
    );
    let mut net = Net::load(&small);
    let query = |port| udp((INSIDE, port), ("10.0.2.10", 53), b"?");
    net.send(API, &query(1)).delivered_at("instance/db");
    net.send(API, &query(2)).delivered_at("instance/db");
    net.send(API, &query(3)).answered_for(Reason::PortsExhausted);
    // Another destination shares a port (D-11), and then the quota is reached.
    net.send(API, &tcp((INSIDE, 4), ("10.0.2.10", 5432), SYN, b"")).delivered_at("instance/db");
    net.send(API, &tcp((INSIDE, 5), ("10.0.2.10", 5432), SYN, b""))
        .answered_for(Reason::QuotaExceeded);
    assert_eq!(net.engine.counters().dropped(Reason::PortsExhausted), 1);
    // Those who have a port keep it.
    net.send(API, &query(1)).delivered_at("instance/db");
    net.send(API, &query(2)).delivered_at("instance/db");
}

#[test]
fn an_exhausted_nat_gateway_costs_the_eni_nothing() {
    let small = format!("settings: {{ source_ports: 1024-1025 }}\n{TOPOLOGY}");
    let mut net = Net::load(&small);
    let host = ("198.51.100.7", 53);
    // Instances behind the same gateway take both of its ports.
    net.send("instance/db", &udp(("10.0.2.10", 1), host, b"")).delivered_at("internet/host");
    net.send("instance/db", &udp(("10.0.2.10", 2), host, b"")).delivered_at("internet/host");
    for port in 1..10 {
        net.send(API, &udp((INSIDE, port), host, b"")).answered_for(Reason::PortsExhausted);
    }
    assert_eq!(net.ports_in_use(ENI), 0);
    // Nothing rests either: both ports serve at once.
    net.send(API, &udp((INSIDE, 1), ("10.0.2.10", 53), b"")).delivered_at("instance/db");
    net.send(API, &udp((INSIDE, 2), ("10.0.2.10", 53), b"")).delivered_at("instance/db");
}

#[test]
fn idle_port_tables_give_their_memory_back_and_go_on() {
    let mut net = Net::load(TOPOLOGY);
    net.send(API, &udp((INSIDE, 1), ("10.0.2.10", 53), b"")).delivered_at("instance/db");
    let usage = |net: &Net| {
        let enis = net.engine.inventory().enis();
        let eni = enis.iter().find(|eni| eni.ip.to_string() == ENI).expect("the ENI");
        eni.ports.as_ref().expect("a table").usage().memory
    };
    let used = usage(&net);
    net.engine.trim(net.now);
    assert_eq!(usage(&net), used, "in use");

    net.pass_seconds(3600);
    net.expire();
    net.engine.trim(net.now);
    net.pass_seconds(3600);
    net.engine.trim(net.now);
    assert!(usage(&net) < used / 4, "{} of {used} bytes are left", usage(&net));
    net.send(API, &udp((INSIDE, 1), ("10.0.2.10", 53), b"")).delivered_at("instance/db");
}
