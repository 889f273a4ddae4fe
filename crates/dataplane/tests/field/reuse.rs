//! Points 12, 14 and 18: ports and places in the table that come free, or do not, and who gets them.

use std::{collections::HashSet, thread};

use viaduct_dataplane::Verdict;
use viaduct_topology::Reason;

use crate::{
    FIRST, MAIL, PORTS, PUBLIC, WEB, gateway, open, refused,
    support::{ACK, Net, Outcome, Packet, SYN, SYN_ACK, Tcp, tcp, udp},
    syn, translated,
};

/// There, entries of connections that had long ended held their ports for days
/// (<https://github.com/cilium/cilium/issues/21346>).
#[test]
fn point_12_no_dead_connection_pins_a_port() {
    let mut net = Net::load(&gateway(PUBLIC));
    for round in 0..3 {
        // Half of them get no answer, half are established, and nobody says goodbye.
        let ports = open(&mut net, PORTS, WEB);
        for (number, &port) in ports.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
            let own = ("10.0.1.100", 1 + number as u16);
            net.send("internet/web", &tcp(WEB, (PUBLIC, port), SYN_ACK, b""))
                .delivered_at("instance/own");
            net.send("instance/own", &tcp(own, WEB, ACK, b"")).delivered_at("internet/web");
        }
        refused(syn(&mut net, 999, WEB), Reason::PortsExhausted);
        net.pass_seconds(349);
        net.expire();
        assert_eq!(net.ports_in_use("10.0.0.5"), u32::from(PORTS) / 2, "round {round}");
        net.pass_seconds(2);
        net.expire();
        net.assert_empty();
    }
}

/// There, a sweep over the whole table freed ports, and where it lagged behind, connections were refused
/// (<https://github.com/cilium/cilium/issues/8740>).
#[test]
fn point_12_the_dead_are_found_without_a_sweep() {
    let mut net = Net::load(&gateway(PUBLIC));
    const LIVING: u16 = 4000;
    for number in 0..LIVING {
        let (from, to) = (("10.0.1.100", 1 + number), ("10.0.0.20", 80));
        net.send("instance/own", &tcp(from, to, SYN, b"")).delivered_at("instance/server");
    }
    for number in 0..PORTS {
        let from = ("10.0.1.100", 1 + number);
        translated(net.send("instance/own", &udp(from, WEB, b"?")), number);
    }
    net.expire();
    // A lone datagram's flow lives for 30 s, a half-open connection for four minutes.
    net.pass_seconds(31);
    let looked_at = net.engine.expire(net.now, 100_000, &mut net.scratch);
    assert!(looked_at <= 2 * usize::from(PORTS), "{looked_at} timers for {PORTS} deaths");
    assert_eq!(net.engine.connection_count(), usize::from(LIVING));
    assert_eq!(net.ports_in_use("10.0.0.5"), 0);
}

/// The same without any timer: whoever meets a dead connection ends it himself.
#[test]
fn point_12_a_packet_for_a_dead_connection_frees_its_port() {
    let mut net = Net::load(&gateway(PUBLIC));
    let ports = open(&mut net, PORTS, WEB);
    net.pass_seconds(3600);
    let late = tcp(WEB, (PUBLIC, ports[0]), ACK, b"late");
    refused(net.send("internet/web", &late), Reason::NatGatewayUnsolicited);
    assert_eq!(net.ports_in_use("10.0.0.5"), u32::from(PORTS) - 1);
    let port = translated(syn(&mut net, 999, WEB), 0);
    assert_eq!(port, ports[0], "the port of the dead, though it has not rested");
}

/// There, two flows that began at once were given one port, and a packet of the one was lost without a
/// trace (<https://github.com/kubernetes-sigs/ip-masq-agent/issues/51>,
/// <https://github.com/AndrewGuenther/fck-nat/issues/144>,
/// <https://github.com/kubeovn/kube-ovn/issues/1956>).
#[test]
fn point_14_connections_that_begin_at_once_never_meet_at_a_port() {
    for round in 0..100_u8 {
        let net = Net::load(&gateway(PUBLIC));
        let own = net.id("instance/own");
        // Two workers, and exactly as many connections as there are ports: to the very last.
        let opens = |worker: u8| {
            let mut scratch = net.engine.scratch([worker; 32]);
            (0..PORTS / 2)
                .map(|number| {
                    let from = ("10.0.1.100", 1000 * u16::from(worker) + number);
                    let Packet(mut buffer) = udp(from, WEB, b"?");
                    let verdict = net.engine.forward(&mut buffer, own, net.now, &mut scratch);
                    let Verdict::Forward { length, .. } = verdict else {
                        panic!("round {round}: refused with a port free: {verdict:?}")
                    };
                    buffer.truncate(length);
                    Packet(buffer).ends().0.1
                })
                .collect::<Vec<_>>()
        };
        let ports = thread::scope(|scope| {
            [1, 2]
                .map(|worker| scope.spawn(move || opens(worker)))
                .map(|worker| worker.join().expect("the worker"))
        });
        let distinct: HashSet<_> = ports.concat().into_iter().collect();
        assert_eq!(distinct.len(), usize::from(PORTS), "round {round}");
    }
}

/// There, a guest that filled its flow table could open nothing more for as long as the table stayed
/// full, or lost what it had (<https://github.com/oxidecomputer/opte/pull/347>,
/// <https://github.com/oxidecomputer/opte/pull/985>); elsewhere, connections were reset where a map was
/// at its capacity (<https://github.com/cilium/cilium/issues/36572>).
#[test]
fn point_18_a_full_table_refuses_what_is_new_and_carries_what_it_has() {
    const CAPACITY: u16 = 20;
    let mut net = Net::with_capacity(&gateway(PUBLIC), CAPACITY.into());
    let ports = open(&mut net, CAPACITY, WEB);
    for round in 0..50 {
        match syn(&mut net, 1000 + round, MAIL) {
            Outcome::Answered { packet, .. } => {
                assert_ne!(packet.ip()[9], 6, "a reset would have the client give up");
            }
            other => drop(other.dropped_for(Reason::QuotaExceeded)),
        }
        let number = round % CAPACITY;
        let port = ports[usize::from(number)];
        net.send("internet/web", &tcp(WEB, (PUBLIC, port), SYN_ACK, b""))
            .delivered_at("instance/own");
    }
    assert_eq!(net.engine.connection_count(), usize::from(CAPACITY));
    assert_eq!(net.ports_in_use("10.0.0.5"), u32::from(CAPACITY), "the refused hold no port");

    // One leaves, one comes.
    let reset = Tcp { flags: "RA", sequence: 101, acknowledgment: 901 };
    net.send("instance/own", &tcp(("10.0.1.100", 1), WEB, reset, b"")).delivered_at("internet/web");
    let port = translated(syn(&mut net, 2000, MAIL), 0);
    assert!((FIRST..FIRST + PORTS).contains(&port));
    refused(syn(&mut net, 2001, MAIL), Reason::QuotaExceeded);
}

/// There, what was left of a closed connection made a new one from the same port fail for a minute
/// (<https://github.com/oxidecomputer/opte/issues/466>).
#[test]
fn point_18_what_is_left_of_a_closed_connection_stops_no_new_one() {
    let mut net = Net::load(&gateway(PUBLIC));
    let own = ("10.0.1.100", 40_000);
    let segment = |flags, sequence, acknowledgment| Tcp { flags, sequence, acknowledgment };
    for round in 0..10 * PORTS {
        let port = translated(syn(&mut net, own.1, WEB), round);
        let mut exchange = |request, it| {
            if request {
                net.send("instance/own", &tcp(own, WEB, it, b"")).delivered_at("internet/web");
            } else {
                let reply = tcp(WEB, (PUBLIC, port), it, b"");
                net.send("internet/web", &reply).delivered_at("instance/own");
            }
        };
        exchange(false, SYN_ACK);
        exchange(true, ACK);
        // In turn by both sides' FIN, and by a reset of the far end, which the client answers by a new
        // connection from the same port at once.
        if round % 2 == 0 {
            exchange(true, segment("FA", 101, 901));
            exchange(false, segment("FA", 901, 102));
            exchange(true, segment("A", 102, 902));
        } else {
            exchange(false, segment("RA", 901, 101));
        }
    }
}
