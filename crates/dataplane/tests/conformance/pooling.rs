//! Which outside address and which port: RFC 4787, RFC 6888 and RFC 7857 on pools.

use std::collections::{HashMap, HashSet};

use viaduct_dataplane::{
    Moment,
    port_table::{Assignment, Exhausted, PortLimits, PortTable},
};
use viaduct_topology::{Reason, model::PortRange};

use crate::{
    network::{
        API, APP, APP_IP, CLIENT, DB, DB_IP, HOST, HOST_IP, NAT, TOPOLOGY, identifier, network,
        network_with, word,
    },
    support::{ACK, INSIDE, Net, SYN, echo, tcp, udp},
};

const ADDRESSES: [&str; 4] = ["203.0.113.10", "192.0.2.77", "203.0.113.200", "192.0.2.5"];

/// A NAT gateway with these addresses, which need not follow each other, and eight hosts behind it.
fn pool(addresses: &[&str]) -> String {
    let host = |n| {
        format!("      h{n}: {{ subnet: data, private_ip: 10.0.2.{n}, security_groups: [open] }}\n")
    };
    let hosts: String = (10..18).map(host).collect();
    let (before, after) = TOPOLOGY.split_once("      db:").expect("the instance");
    let (_, after) = after.split_once("      web:").expect("the next but one");
    format!("{before}{hosts}      web:{after}")
        .replace("[203.0.113.10]", &format!("[{}]", addresses.join(", ")))
}

/// Every packet that a host of the pool's sends is seen under one address, whatever it is and whoever
/// gets it, and together they use more than one.
// Conforms: RFC 4787 R2, RFC 6888 R2, RFC 6888 R3, RFC 7857 pairing
#[test]
fn an_inside_address_is_seen_under_one_outside_address() {
    let mut net = Net::load(&pool(&ADDRESSES));
    let mut pairs: HashMap<u8, HashSet<String>> = HashMap::new();
    for port in 1..200 {
        for host in 10..18 {
            let (name, ip) = (format!("instance/h{host}"), format!("10.0.2.{host}"));
            let (from, to) = ((ip.as_str(), 5_000 + port), (HOST_IP, port));
            for packet in
                [udp(from, to, b"?"), tcp(from, to, SYN, b""), echo(&ip, HOST_IP, port, false)]
            {
                let seen = net.send(&name, &packet).delivered_at(HOST).ends().0.0;
                pairs.entry(host).or_default().insert(seen);
            }
        }
    }
    assert!(pairs.values().all(|addresses| addresses.len() == 1), "{pairs:?}");
    let used: HashSet<_> = pairs.values().flatten().collect();
    assert!(used.len() > 1, "{used:?}");
    assert!(
        used.iter().any(|ip| ip.starts_with("192."))
            && used.iter().any(|ip| ip.starts_with("203."))
    );
}

/// A destination that an address has no port left for is reached from the next one; others are not.
// Conforms: RFC 4787 R2, RFC 6888 R2, RFC 7857 pairing
#[test]
fn only_a_destination_without_a_port_left_is_reached_from_another_address() {
    let limit = "settings: { nat_gateway_connections_per_destination: 1 }";
    let mut net = Net::load(&format!("{limit}\n{}", pool(&ADDRESSES)));
    let mut send = |from: u16, to: u16| {
        let packet = udp((DB_IP, from), (HOST_IP, to), b"?");
        net.send("instance/h10", &packet).delivered_at(HOST).ends().0.0
    };
    let own = send(1, 53);
    let overflow = [send(2, 53), send(3, 53), send(4, 53)];
    let all: HashSet<_> = overflow.iter().chain([&own]).collect();
    assert_eq!(all.len(), 4, "each address once");
    assert_eq!(send(5, 54), own);
    assert_eq!(send(1, 53), own, "those who have a port keep it");
}

/// An address that is added or lost moves nobody between the others.
// Conforms: RFC 4787 R2
#[test]
fn an_address_that_is_lost_moves_only_its_own() {
    let mut net = Net::load(&pool(&ADDRESSES));
    let mut port = 0;
    let mut seen = |net: &mut Net| -> Vec<String> {
        port += 1;
        let send = |host: u8| {
            let packet = udp((&format!("10.0.2.{host}"), 1), (HOST_IP, port), b"?");
            net.send(&format!("instance/h{host}"), &packet).delivered_at(HOST).ends().0.0
        };
        (10..18).map(send).collect()
    };
    let before = seen(&mut net);
    let lost = before[0].clone();
    let rest: Vec<&str> = ADDRESSES.into_iter().filter(|address| *address != lost).collect();
    assert_eq!(rest.len(), 3);
    net.apply(&pool(&rest));
    for (before, after) in before.iter().zip(seen(&mut net)) {
        assert!(*before == after || *before == lost, "{before} became {after}");
    }
}

fn limits() -> PortLimits {
    PortLimits {
        ports: PortRange { first: 1025, last: 1324 },
        connections: None,
        per_destination: None,
    }
}

const TO: (std::net::Ipv4Addr, u16) = (std::net::Ipv4Addr::new(198, 51, 100, 7), 53);

/// Ports are even for even ports and odd for odd ones as long as there are such, and then whatever is
/// free: nobody is refused. A table that was not asked to does not care.
// Conforms: RFC 4787 R4
#[test]
fn parity_is_kept_while_it_can_be() {
    let ask = |table: &PortTable, number: u32, port: u16| {
        let random = u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        table.reserve_for((INSIDE.parse().unwrap(), port), 17, TO, &[], random, Moment::ZERO)
    };
    let table = PortTable::assigning(limits(), Assignment { keeps_parity: true, overloads: true });
    let mut leases = Vec::new();
    for number in 0..150 {
        let lease = ask(&table, number, 40_000).expect("150 of 300 are even");
        assert_eq!(lease.port() % 2, 0);
        leases.push(lease);
    }
    for number in 0..75 {
        let lease = ask(&table, number, 40_001).expect("150 of 300 are odd");
        assert_eq!(lease.port() % 2, 1);
        leases.push(lease);
    }
    for number in 0..75 {
        leases.push(ask(&table, number, 40_000).expect("an odd one is free"));
    }
    assert_eq!(ask(&table, 1, 40_000).unwrap_err(), Exhausted::Ports);

    let table = PortTable::new(limits());
    let leases: Vec<_> = (0..100).map(|number| ask(&table, number, 40_000).unwrap()).collect();
    assert!(leases.iter().any(|lease| lease.port() % 2 == 1));

    // The RFCs' profile has it on.
    let mut net = network_with("profile: rfc");
    for port in 40_000..40_020 {
        let heard = net.send(DB, &udp((DB_IP, port), (HOST_IP, 53), b"?")).delivered_at(HOST);
        assert_eq!(heard.ends().0.1 % 2, port % 2);
    }
}

/// In the `rfc` profile a port is not shared between destinations, either; in `aws` it is, once none is
/// free (NAT-09).
// Conforms: RFC 4787 R3, RFC 5382 R7
#[test]
fn no_port_is_overloaded_in_the_rfc_profile() {
    for (profile, shares) in [("rfc", false), ("aws", true)] {
        let mut net = network_with(&format!("profile: {profile}, source_ports: 2000-2001"));
        for stream in [false, true] {
            let mut ask = |to: u16| {
                let (from, to) = ((DB_IP, 7), (HOST_IP, to));
                let packet = if stream { tcp(from, to, SYN, b"") } else { udp(from, to, b"?") };
                net.send(DB, &packet)
            };
            let mut ports: Vec<u16> =
                [53, 54].map(|to| ask(to).delivered_at(HOST).ends().0.1).into();
            ports.sort_unstable();
            assert_eq!(ports, [2000, 2001]);
            if shares {
                ask(55).delivered_at(HOST);
            } else {
                ask(55).answered_for(Reason::PortsExhausted);
            }
        }
    }
}

/// UDP, TCP and ICMP have mappings of their own, with the same numbers (RFC 7857, section 5).
// Conforms: RFC 7857 per protocol, RFC 6888 R1
#[test]
fn each_protocol_has_its_own_ports_and_filters() {
    let mut net = network_with("source_ports: 2000-2000");
    let (from, to) = ((DB_IP, 7), (HOST_IP, 53));
    for packet in [udp(from, to, b"?"), tcp(from, to, SYN, b"")] {
        assert_eq!(net.send(DB, &packet).delivered_at(HOST).ends().0.1, 2000);
    }
    let query = net.send(DB, &echo(DB_IP, HOST_IP, 7, false)).delivered_at(HOST);
    assert_eq!(identifier(&query), 2000);
    assert_eq!(net.ports_in_use(NAT), 3);
    // Another inside end has none of them, whatever the protocol.
    for packet in [udp((APP_IP, 7), to, b"?"), tcp((APP_IP, 7), to, SYN, b"")] {
        net.send(APP, &packet).answered_for(Reason::PortsExhausted);
    }
}

/// NAT-09 has its legal basis in RFC 7857, section 3.
// Conforms: RFC 7857 overlapping, NAT-09
#[test]
fn destinations_share_a_port_when_none_is_free() {
    let mut net = network_with("source_ports: 2000-2000");
    let mut seen = HashSet::new();
    for to in 1..=50 {
        let packet = udp((DB_IP, to), (HOST_IP, to), b"?");
        seen.insert(net.send(DB, &packet).delivered_at(HOST).ends());
    }
    assert_eq!(seen.len(), 50, "told apart by where they go");
    net.send(APP, &udp((APP_IP, 1), (HOST_IP, 1), b"?")).answered_for(Reason::PortsExhausted);
}

/// Whoever cannot be given a port is told so, is counted, and takes none from anybody.
// Conforms: RFC 6888 R11, RFC 5508 R8
#[test]
fn without_a_port_a_packet_is_dropped_counted_and_answered() {
    let mut net = network_with("source_ports: 2000-2000");
    let to = (HOST_IP, 53);
    let first = udp((DB_IP, 7), to, b"?");
    let kept = net.send(DB, &first).delivered_at(HOST);
    for round in 1..=10 {
        let late = udp((APP_IP, 7), to, b"?");
        let told = net.send(APP, &late).answered_for(Reason::PortsExhausted);
        assert_eq!(told.flow(), format!("{NAT} > {APP_IP}"), "the gateway says so");
        let (kind, code, quoted) = told.icmp();
        assert_eq!((kind, code, quoted), (3, 13, late));
        assert_eq!(net.engine.counters().dropped(Reason::PortsExhausted), round);
    }
    assert_eq!(net.send(DB, &first).delivered_at(HOST), kept);
}

/// A destination that a route leads to without a NAT gateway is reached without translation.
// Conforms: RFC 6888 R6
#[test]
fn chosen_destinations_are_reached_without_translation() {
    let mut net = network();
    let packet = tcp((DB_IP, 5), ("10.0.0.20", 80), SYN, b"");
    let heard = net.send(DB, &packet).delivered_at("instance/web");
    assert_eq!(heard, packet);
    assert_eq!(net.ports_in_use(NAT), 0);
}

/// RFC 6864, section 5.3.1: what may be cut has a number that no other packet under the shared address
/// has at that time, although its senders number theirs alike. What must not be cut keeps its number.
// Conforms: RFC 7857 IPv4 ID
#[test]
fn packets_that_may_be_cut_are_numbered_by_the_shared_address() {
    let mut net = network();
    let to = (HOST_IP, 53);
    let mut seen = HashSet::new();
    for (name, from) in [(DB, (DB_IP, 9)), (APP, (APP_IP, 9)), (API, CLIENT)] {
        for _ in 0..500 {
            let packet = udp(from, to, b"?").without_df();
            assert_eq!(word(&packet, 4), 0);
            let heard = net.send(name, &packet).delivered_at(HOST);
            heard.flow();
            assert!(seen.insert(word(&heard, 4)), "{heard:?}");
        }
    }
    for packet in [udp((DB_IP, 9), to, b"?"), tcp((DB_IP, 9), to, SYN, b"")] {
        assert_eq!(word(&net.send(DB, &packet).delivered_at(HOST), 4), 0);
    }
    // An address of one's own is not shared, and replies are the server's.
    let own = udp(("10.0.0.20", 9), to, b"?").without_df();
    assert_eq!(word(&net.send("instance/web", &own).delivered_at(HOST), 4), 0);
    let ((public, port), _) = net.send(DB, &udp((DB_IP, 9), to, b"?")).delivered_at(HOST).ends();
    let reply = udp(to, (&public, port), b"!").without_df();
    assert_eq!(word(&net.send(HOST, &reply).delivered_at(DB), 4), 0);
}

/// The same in a connection's later packets.
#[test]
fn a_late_segment_is_numbered_too() {
    let mut net = network();
    crate::network::establish(&mut net);
    let data = tcp(CLIENT, crate::network::SERVER, ACK, b"x").without_df();
    let mut number = || word(&net.send(API, &data).delivered_at(HOST), 4);
    assert_eq!(number().wrapping_add(1), number());
}
