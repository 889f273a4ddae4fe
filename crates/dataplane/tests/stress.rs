//! Several workers on one engine, over the same few flows, while others expire, trim, reload, detach and
//! look: whatever passes is translated and comes out where it belongs, every packet is counted, and in
//! the end nothing is left.
//!
//! A slice; `scripts/stress` goes on with other seeds, and under ThreadSanitizer where there is one.

mod support;

use std::{
    env,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use support::{
    ACK, INSIDE, Net, Packet, SYN, SYN_ACK, Target, Tcp, icmp_error, tcp, traffic::Numbers, udp,
};
use viaduct_dataplane::{Moment, Scratch, Verdict};
use viaduct_topology::inventory::AttachmentId;

const WORKERS: u8 = 3;

/// What a worker does in a run: so many conversations.
const ROUNDS: u32 = 2000;

/// `rule` and `route` are what reloads change, `more` an instance that comes and goes.
fn network(rule: &str, gateway: &str, more: &str) -> String {
    format!(
        "
settings: {{ source_ports: 2000-2063, nat_gateway_connections_per_destination: 64 }}
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:  {{ cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }}
      private: {{ cidr_block: 10.0.1.0/24, availability_zone: a }}
      data:    {{ cidr_block: 10.0.2.0/24, availability_zone: a }}
    route_tables:
      main:   {{ main: true, routes: [ {{ destination: 0.0.0.0/0, target: nat_gateway/{gateway} }} ] }}
      public: {{ routes: [ {{ destination: 0.0.0.0/0, target: internet_gateway/igw }} ] }}
    internet_gateway: igw
    nat_gateways:
      one:   {{ subnet: public, private_ip: 10.0.0.5, public_ips: [203.0.113.10] }}
      other: {{ subnet: public, private_ip: 10.0.0.6, public_ips: [203.0.113.11] }}
    security_groups:
      function: {{}}
      db: {{ ingress: [ {{ protocol: all, from: security_group/function }}, {rule} ] }}
    instances:
      db: {{ subnet: data, private_ip: 10.0.2.10, security_groups: [db] }}
{more}
functions:
  api: {{ subnets: [main/private], security_groups: [main/function], environments: 2 }}
internet:
  web: {{ ip: 198.51.100.7 }}
"
    )
}

fn topologies() -> [String; 2] {
    let more = "      more: { subnet: data, private_ip: 10.0.2.11, security_groups: [db] }";
    [
        network("{ protocol: udp, ports: 53, from: 10.0.0.0/16 }", "one", ""),
        network("{ protocol: tcp, ports: 5432, from: 10.0.0.0/16 }", "other", more),
    ]
}

/// What all threads share.
struct Stage<'a> {
    net: &'a Net,
    clock: AtomicU64,
    over: AtomicBool,
}

impl Stage<'_> {
    fn now(&self) -> Moment {
        Moment::from_millis(self.clock.load(Relaxed))
    }
}

/// One thread that forwards.
struct Worker<'a> {
    stage: &'a Stage<'a>,
    scratch: Scratch,
    random: Numbers,
    sent: u64,
}

impl Worker<'_> {
    /// Sends a packet; what came out, and where.
    fn send(&mut self, from: &str, packet: &Packet) -> Option<(AttachmentId, Packet)> {
        let Packet(mut buffer) = packet.clone();
        let Stage { net, .. } = *self.stage;
        let now = self.stage.now();
        self.sent += 1;
        match net.engine.forward(&mut buffer, net.id(from), now, &mut self.scratch) {
            Verdict::Forward { target, length } => {
                buffer.truncate(length);
                Some((target, Packet(buffer)))
            }
            Verdict::Answer(_) | Verdict::Drop(_) => None,
            Verdict::Held | Verdict::Split { .. } => panic!("nothing is in fragments"),
        }
    }

    /// A conversation with the database or with a host of the internet, which may meet another worker's
    /// over the same addresses and ports, and any change of the network.
    fn converse(&mut self) {
        let number = self.random.next();
        let (peer, to, sources): (_, _, &[&str]) = if number & 1 == 0 {
            ("instance/db", ("10.0.2.10", 5432), &["10.0.1.4"])
        } else {
            ("internet/web", ("198.51.100.7", 443), &["203.0.113.10", "203.0.113.11"])
        };
        let client = if number & 2 == 0 { "function/api/1" } else { "function/api/2" };
        let inside = (INSIDE, 5000 + (number >> 8) as u16 % 160);
        let words = number.to_be_bytes();
        let stream = number & 4 == 0;
        let request = if stream { tcp(inside, to, SYN, b"") } else { udp(inside, to, &words) };
        let Some((target, arrived)) = self.send(client, &request) else { return };
        let id = |name| self.stage.net.id(name);
        assert_eq!(target, id(peer), "it came out elsewhere");
        let ((ip, port), _) = arrived.ends();
        assert!(sources.contains(&ip.as_str()), "{ip} left untranslated");
        assert!((2000..2064).contains(&port), "port {port}");
        assert!(stream || arrived.0.ends_with(&words), "another packet came out");

        let seen = (ip.as_str(), port);
        let reply = if stream { tcp(to, seen, SYN_ACK, b"") } else { udp(to, seen, &words) };
        let error = icmp_error(to.0, seen.0, 3, 3, arrived.ip());
        for packet in [reply, error] {
            if let Some((target, back)) = self.send(peer, &packet) {
                // Meanwhile the port may be another environment's.
                let id = |name| self.stage.net.id(name);
                assert!([id("function/api/1"), id("function/api/2")].contains(&target));
                assert_eq!(back.ends().1.0, INSIDE);
            }
        }
        if stream {
            self.send(client, &tcp(inside, to, ACK, b"more"));
            if number & 24 == 0 {
                let reset = Tcp { flags: "RA", sequence: 105, acknowledgment: 901 };
                self.send(client, &tcp(inside, to, reset, b""));
            }
        }
        self.stage.clock.fetch_add(number >> 40 & 1023, Relaxed);
    }
}

/// Does to the engine what is not a packet, until `over`. Returns how often.
fn disturb(stage: &Stage<'_>, seed: u64) -> u64 {
    let Stage { net, .. } = *stage;
    let mut scratch = net.engine.scratch([0; 32]);
    let texts = topologies();
    let (mut plan, mut random, mut times) = (net.plan().clone(), Numbers(seed), 0);
    while !stage.over.load(Relaxed) {
        let now = stage.now();
        match random.next() % 8 {
            0..3 => drop(net.engine.expire(now, 64, &mut scratch)),
            3 => net.engine.trim(now),
            4 => {
                let db = net.id("instance/db");
                net.engine.detached(db);
                net.engine.attached(db, 1500);
            }
            5 => {
                let all = net.engine.connections(now, usize::MAX, |_| true);
                assert!(all.len() < 1000, "{} connections of some six hundred flows", all.len());
            }
            _ => {
                let next = Target::after(&plan, &texts[(times % 2) as usize]);
                net.engine.reload(&next.topology, &next.changes, now).expect("the reload");
                plan = next.plan;
            }
        }
        times += 1;
    }
    times
}

#[test]
fn workers_on_the_same_flows_while_everything_changes() {
    let variable = env::var("VIADUCT_STRESS_SEED").unwrap_or_else(|_| "1".to_owned());
    let seed: u64 = variable.parse().expect("VIADUCT_STRESS_SEED is a number");
    let net = Net::load(&topologies()[0]);
    let clock = AtomicU64::new(net.now.as_millis());
    let stage = Stage { net: &net, clock, over: AtomicBool::new(false) };
    let (sent, times) = thread::scope(|scope| {
        let disturber = scope.spawn(|| disturb(&stage, seed));
        let workers: Vec<_> = (1..=WORKERS)
            .map(|number| {
                let stage = &stage;
                scope.spawn(move || {
                    let _ended = Ended(&stage.over);
                    let scratch = stage.net.engine.scratch([number; 32]);
                    let random = Numbers(seed * 100 + u64::from(number));
                    let mut worker = Worker { stage, scratch, random, sent: 0 };
                    for _ in 0..ROUNDS {
                        worker.converse();
                    }
                    worker.sent
                })
            })
            .collect();
        let sent: u64 = workers.into_iter().map(|worker| worker.join().expect("a worker")).sum();
        stage.over.store(true, Relaxed);
        (sent, disturber.join().expect("the disturber"))
    });
    let end = stage.now();

    let counters = net.engine.counters();
    let dropped: u64 = counters.drops().map(|(_, packets)| packets).sum();
    println!(
        "seed {seed}: {sent} packets, {} forwarded, {} connections, {times} disturbances",
        counters.forwarded_packets, counters.connections_opened
    );
    assert_eq!(counters.forwarded_packets + dropped, sent);
    assert!(counters.forwarded_packets > sent / 4 && counters.connections_opened > 100);
    let mut net = net;
    net.now = end;
    net.pass_seconds(7 * 24 * 3600);
    net.expire();
    net.assert_empty();
    let counters = net.engine.counters();
    assert_eq!(counters.connections_opened, counters.connections_ended);
}

/// Ends the run for all when a worker fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Relaxed);
        }
    }
}
