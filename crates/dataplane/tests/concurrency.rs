//! Several workers on one engine: no packet of an admitted flow is lost, no port is given twice,
//! and nothing is left behind.

mod support;

use std::{collections::HashSet, net::Ipv4Addr, thread};

use support::{INSIDE, Net, Packet, udp};
use viaduct_dataplane::{Scratch, Verdict};
use viaduct_topology::inventory::AttachmentId;

const TOPOLOGY: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      private: { cidr_block: 10.0.1.0/24, availability_zone: a }
      data:    { cidr_block: 10.0.2.0/24, availability_zone: a }
    security_groups:
      function: {}
      db: { ingress: [ { protocol: udp, ports: 53, from: security_group/function } ] }
    instances:
      db: { subnet: data, private_ip: 10.0.2.10, security_groups: [db] }
functions:
  api: { subnets: [main/private], security_groups: [main/function], environments: 2 }
";

/// Allows the same, by another policy.
const OTHER: &str = "tcp, ports: 9, from: 10.9.9.9/32 }, { protocol: udp";

const FLOWS: u16 = 2000;

/// Sends a packet and returns it as it is delivered.
fn forward(net: &Net, scratch: &mut Scratch, from: AttachmentId, packet: &Packet) -> Packet {
    let mut buffer = packet.0.clone();
    match net.engine.forward(&mut buffer, from, net.now, scratch) {
        Verdict::Forward { length, .. } => {
            buffer.truncate(length);
            Packet(buffer)
        }
        other => panic!("an admitted packet was lost: {other:?}"),
    }
}

/// Opens flows one after the other and has each of them answered; returns their ports.
fn converse(net: &Net, seed: u8, environment: &str) -> Vec<u16> {
    let mut scratch = net.engine.scratch([seed; 32]);
    let (api, db) = (net.id(environment), net.id("instance/db"));
    let database = ("10.0.2.10", 53);
    let mut ports = Vec::new();
    for number in 0..FLOWS {
        let inside = (INSIDE, 1024 + number);
        let ((eni, port), _) = forward(net, &mut scratch, api, &udp(inside, database, b"?")).ends();
        let reply = forward(net, &mut scratch, db, &udp(database, (&eni, port), b"!"));
        assert_eq!(reply.ends().1, (INSIDE.to_owned(), inside.1));
        ports.push(port);
    }
    ports
}

#[test]
fn two_workers_and_a_reloading_control_side() {
    let net = Net::load(TOPOLOGY);
    let other = TOPOLOGY.replacen("udp", OTHER, 1);
    let topologies = [TOPOLOGY, &other]
        .map(|text| viaduct_config_plane::load("test.yaml", text).expect("a topology").topology);

    let ports = thread::scope(|scope| {
        let workers = [
            scope.spawn(|| converse(&net, 1, "function/api/1")),
            scope.spawn(|| converse(&net, 2, "function/api/2")),
        ];
        let mut generation = net.engine.generation();
        let mut timers = net.engine.scratch([3; 32]);
        for round in 0..200 {
            let next = net.engine.load(&topologies[round % 2]);
            assert!(round == 0 || next > generation, "the policies differ");
            generation = next;
            net.engine.expire(net.now, 100, &mut timers);
            thread::yield_now();
        }
        workers.map(|worker| worker.join().expect("the worker"))
    });

    let distinct: HashSet<u16> = ports.iter().flatten().copied().collect();
    assert_eq!(distinct.len(), 2 * usize::from(FLOWS), "each connection has a port of its own");
    assert_eq!(net.engine.connection_count(), 2 * usize::from(FLOWS));
    assert_eq!(net.engine.check(), Ok(()));

    let mut net = net;
    net.pass_seconds(3600);
    net.expire();
    net.assert_empty();
}

#[test]
fn the_same_flow_at_two_workers_is_one_connection() {
    // Whoever opens first wins, and the other uses what the winner has made.
    for round in 0..200 {
        let net = Net::load(TOPOLOGY);
        let api = net.id("function/api/1");
        let packet = udp((INSIDE, 5000), ("10.0.2.10", 53), b"?");
        let [first, second] = thread::scope(|scope| {
            [1, 2]
                .map(|seed| {
                    let (net, packet) = (&net, &packet);
                    scope.spawn(move || {
                        let mut scratch = net.engine.scratch([seed; 32]);
                        forward(net, &mut scratch, api, packet).ends()
                    })
                })
                .map(|worker| worker.join().expect("the worker"))
        });
        assert_eq!(first, second, "round {round}");
        let eni: Ipv4Addr = first.0.0.parse().unwrap();
        assert_eq!((net.ports_in_use(&eni.to_string()), net.engine.connection_count()), (1, 1));
        assert_eq!(net.engine.check(), Ok(()));
    }
}
