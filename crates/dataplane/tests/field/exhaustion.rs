//! Points 10, 11, 13, 15 and 20: what happens as the ports come to an end.

use std::collections::HashSet;

use viaduct_dataplane::{
    Moment,
    port_table::{Exhausted, PortLimits, PortTable},
};
use viaduct_topology::{Reason, model::PortRange};
use viaduct_wire::VNET_HEADER_LEN;

use crate::{
    API, FIRST, MAIL, PORTS, PUBLIC, WEB, datagram, drops, gateway, open, refused,
    support::{ACK, INSIDE, Net, Outcome, Packet, echo, tcp, traffic::Numbers, udp},
    syn, translated,
};

/// There, a guest whose NAT ran out of ports saw connections fail, and no counter anywhere said so
/// (<https://github.com/oxidecomputer/opte/issues/318>).
#[test]
fn point_10_exhaustion_is_counted_packet_by_packet() {
    let mut net = Net::load(&gateway(PUBLIC));
    open(&mut net, PORTS, WEB);
    assert_eq!(drops(&net, Reason::PortsExhausted), 0);
    for late in 1..=9 {
        refused(syn(&mut net, 1000 + late, WEB), Reason::PortsExhausted);
        assert_eq!(drops(&net, Reason::PortsExhausted), u64::from(late));
    }
    assert_eq!(net.engine.counters().connections_opened, u64::from(PORTS));
}

/// There, a node's totals looked healthy while one destination had no port left, until statistics by
/// destination were added (<https://github.com/cilium/cilium/pull/33416>).
#[test]
fn point_10_exhaustion_names_its_destination_and_touches_no_other() {
    let mut net = Net::load(&gateway(PUBLIC));
    open(&mut net, PORTS, WEB);
    let late = syn(&mut net, 999, WEB);
    let (Outcome::Answered { reason, packet }, Outcome::Delivered { .. }) =
        (late, syn(&mut net, 999, MAIL))
    else {
        panic!("the full destination alone is refused")
    };
    assert_eq!(reason, Reason::PortsExhausted);
    // Its sender is told by 3/13, which quotes the packet.
    let quoted = Packet([&[0; VNET_HEADER_LEN], &packet.ip()[28..]].concat());
    let (address, port) = quoted.ends().1;
    assert_eq!((address.as_str(), port), WEB);
    // How full it is can be seen before it is.
    assert_eq!(net.ports_in_use("10.0.0.5"), u32::from(PORTS) + 1);
}

/// There, packets for which no port was found left with the pod's own address
/// (<https://github.com/cilium/cilium/issues/18956>).
#[test]
fn point_11_no_packet_leaves_untranslated_near_exhaustion() {
    let mut net = Net::load(&gateway(PUBLIC));
    let mut random = Numbers(11);
    let (mut delivered, mut lost) = (0, 0);
    for _ in 0..20_000 {
        let number = random.next();
        let (inside, to) =
            (1 + (number >> 8) as u16 % 100, if number & 1 == 0 { WEB } else { MAIL });
        let own = ("10.0.1.100", inside);
        let outcome = match (number >> 32) % 8 {
            0..3 => syn(&mut net, inside, to),
            3 => net.send("instance/own", &tcp(own, to, ACK, b"late")),
            4 => net.send("instance/own", &udp(own, to, b"?")),
            5 => net.send("instance/own", &echo(own.0, to.0, inside, false)),
            6 => net.send(API, &datagram(inside, to)),
            _ => {
                net.pass_millis((number >> 48) % 2000);
                net.expire();
                continue;
            }
        };
        match outcome {
            Outcome::Delivered { at, packet } => {
                assert!(at.starts_with("internet/"), "{at}");
                let ((ip, port), _) = packet.ends();
                assert_eq!(ip, PUBLIC);
                // Of an echo, the identifier is the port, which `ends` does not read.
                let port = if port == 0 {
                    u16::from_be_bytes([packet.ip()[24], packet.ip()[25]])
                } else {
                    port
                };
                assert!((FIRST..FIRST + PORTS).contains(&port), "port {port}");
                delivered += 1;
            }
            Outcome::Answered { packet, .. } => {
                let (_, (receiver, _)) = packet.ends();
                assert!([own.0, INSIDE].contains(&receiver.as_str()), "it goes back to who asked");
                lost += 1;
            }
            Outcome::Dropped(_) => lost += 1,
            other => panic!("nothing here is in fragments: {other:?}"),
        }
    }
    assert!(delivered > 1000 && lost > 1000, "{delivered} came out, {lost} did not");
    assert!(drops(&net, Reason::PortsExhausted) > 100, "it never came near exhaustion");
}

/// There, the allocator tried a bounded number of random ports and then gave up, at a table that was far
/// from full (<https://github.com/cilium/cilium/issues/33074>,
/// <https://github.com/cilium/cilium/issues/31643>).
#[test]
fn point_13_the_last_free_port_is_found_every_time() {
    let mut net = Net::load(&gateway(PUBLIC));
    let mut used: HashSet<_> = open(&mut net, PORTS - 1, WEB).into_iter().collect();
    let last = (FIRST..FIRST + PORTS).find(|port| !used.contains(port)).expect("one is free");
    for round in 0..200 {
        let own = ("10.0.1.100", 1000 + round);
        assert_eq!(translated(syn(&mut net, own.1, WEB), round), last);
        refused(syn(&mut net, 500, WEB), Reason::PortsExhausted);
        let reset = crate::support::Tcp { flags: "RA", sequence: 101, acknowledgment: 0 };
        net.send("instance/own", &tcp(own, WEB, reset, b"")).delivered_at("internet/web");
    }
    used.insert(last);
    assert_eq!(used.len(), usize::from(PORTS));
    assert_eq!(drops(&net, Reason::PortsExhausted), 200);
}

/// The same law where a random search would fail most surely: all 64,512 ports of an address, one
/// destination, and never a refusal before the last.
#[test]
fn point_13_64_512_connections_meet_no_refusal() {
    let limits = PortLimits {
        ports: PortRange { first: 1024, last: 65_535 },
        connections: None,
        per_destination: None,
    };
    let table = PortTable::new(limits);
    let mut random = Numbers(13);
    let destination = ("198.51.100.7".parse().expect("an address"), 443);
    let mut reserve = || table.reserve(6, destination, random.next(), Moment::ZERO);
    let leases: Vec<_> = (0..64_512).map(|_| reserve().expect("a port is free")).collect();
    assert_eq!(reserve().unwrap_err(), Exhausted::Ports);
    drop(leases);
}

/// There, one address was all that a gateway could have, however many connections there were
/// (<https://github.com/kubeovn/kube-ovn/issues/1957>).
#[test]
fn point_15_a_second_address_doubles_what_a_destination_can_have() {
    let mut net = Net::load(&gateway("203.0.113.10, 203.0.113.11"));
    let mut ends = HashSet::new();
    for number in 0..2 * PORTS {
        let packet = syn(&mut net, 1 + number, WEB).delivered_at("internet/web");
        let (from, _) = packet.ends();
        assert!(from.0 == PUBLIC || from.0 == "203.0.113.11", "{from:?}");
        assert!(ends.insert(from), "two connections look alike");
    }
    refused(syn(&mut net, 999, WEB), Reason::PortsExhausted);
}

/// There, one public address could serve what a machine opens or what is opened to it, not both
/// (<https://github.com/kubeovn/kube-ovn/issues/2729>).
#[test]
fn point_15_one_address_serves_both_directions() {
    let mut net = Net::load(&gateway(PUBLIC));
    let (server, public) = (("10.0.0.20", 8080), ("203.0.113.20", 8080));
    let out = net.send("instance/server", &udp(server, WEB, b"?")).delivered_at("internet/web");
    assert_eq!(out.flow(), "203.0.113.20:8080 > 198.51.100.7:443");
    let back = net.send("internet/web", &udp(WEB, public, b"!")).delivered_at("instance/server");
    assert_eq!(back.flow(), "198.51.100.7:443 > 10.0.0.20:8080");
    let inward =
        net.send("internet/mail", &udp(MAIL, public, b"?")).delivered_at("instance/server");
    assert_eq!(inward.flow(), "198.51.100.8:25 > 10.0.0.20:8080");
    let reply = net.send("instance/server", &udp(server, MAIL, b"!")).delivered_at("internet/mail");
    assert_eq!(reply.flow(), "203.0.113.20:8080 > 198.51.100.8:25");
}

/// There, NAT took ports that services on the same address listened on
/// (<https://github.com/ovn-kubernetes/ovn-kubernetes/pull/5265>).
#[test]
fn point_20_ports_come_from_the_range_that_was_set_and_from_no_other() {
    let mut net = Net::load(&gateway(PUBLIC));
    let range: HashSet<_> = (FIRST..FIRST + PORTS).collect();
    for destination in 0..4 {
        let ports = open(&mut net, PORTS, (WEB.0, 443 + destination));
        assert_eq!(ports.into_iter().collect::<HashSet<_>>(), range, "all of them, and no other");
    }
    // The ENI's too.
    for inside in 0..PORTS {
        let (from, to) = ((INSIDE, 1 + inside), ("10.0.1.100", 9));
        let packet = net.send(API, &udp(from, to, b"?")).delivered_at("instance/own");
        assert!(range.contains(&packet.ends().0.1), "{}", packet.flow());
    }
}

/// There, several guests shared an address by blocks of ports, and blocks could overlap
/// (<https://github.com/oxidecomputer/omicron/issues/1793>).
#[test]
fn point_20_tables_over_disjoint_ranges_of_one_address_never_meet() {
    let blocks = [(2000, 2063), (2064, 2127), (2128, 2191)].map(|(first, last)| {
        let ports = PortRange { first, last };
        PortTable::new(PortLimits { ports, connections: None, per_destination: None })
    });
    let destination = ("198.51.100.7".parse().expect("an address"), 443);
    let (mut random, mut given, mut leases) = (Numbers(20), HashSet::new(), Vec::new());
    // In turn, to the last port of each.
    for _ in 0..64 {
        for block in &blocks {
            let lease = block.reserve(17, destination, random.next(), Moment::ZERO);
            let lease = lease.expect("a port is free");
            let PortRange { first, last } = block.limits().ports;
            assert!((first..=last).contains(&lease.port()));
            assert!(given.insert(lease.port()), "{lease:?} is another block's");
            leases.push(lease);
        }
    }
    let all_full = |block: &PortTable| {
        block
            .reserve(17, destination, 0, Moment::ZERO)
            .is_err_and(|error| error == Exhausted::Ports)
    };
    assert!(blocks.iter().all(all_full));
}
