//! Reloads: what lives on, what ends, and that no packet meets a mixture of two topologies.

mod support;

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    thread,
};

use support::{ACK, INSIDE, Net, Packet, SYN, SYN_ACK, Target, icmp_error, tcp, udp};
use viaduct_dataplane::{Verdict, inventory::InventoryError};
use viaduct_topology::{
    Reason,
    inventory::{Attachment, AttachmentId, Change},
};

/// `in_vpc` is instances and groups of them, `routes` the private subnet's default route.
fn network(groups: &str, instances: &str, gateway: &str) -> String {
    format!(
        "
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
      second: {{}}
{groups}
    instances:
{instances}
functions:
  api: {{ subnets: [main/private], security_groups: [main/function] }}
internet:
  host: {{ ip: 198.51.100.7 }}
"
    )
}

const GROUPS: &str = "
      db: { ingress: [ { protocol: tcp, ports: 5432, from: security_group/function },
                       { protocol: udp, ports: 53, from: security_group/function } ] }";
const DB: &str = "      db: { subnet: data, private_ip: 10.0.2.10, security_groups: [db] }\n";
const OTHER_DB: &str =
    "      other: { subnet: data, private_ip: 10.0.2.11, security_groups: [db] }\n";

const ENI: &str = "10.0.1.4";
const API: &str = "function/api/1";

/// Opens a TCP connection to the database; returns the ENI's port.
fn open(net: &mut Net, inside_port: u16) -> u16 {
    let (inside, db) = ((INSIDE, inside_port), ("10.0.2.10", 5432));
    let request = net.send(API, &tcp(inside, db, SYN, b"")).delivered_at("instance/db");
    let ((eni, port), _) = request.ends();
    assert_eq!(eni, ENI);
    net.send("instance/db", &tcp(db, (ENI, port), SYN_ACK, b"")).delivered_at(API);
    net.send(API, &tcp(inside, db, ACK, b"")).delivered_at("instance/db");
    port
}

// Conforms: SG-22
#[test]
fn sg_22_a_connection_outlives_its_rule_and_the_eni_keeps_address_and_ports() {
    let mut net = Net::load(&network(GROUPS, DB, "one"));
    let port = open(&mut net, 40_000);
    let interface =
        |net: &Net| net.engine.enis().into_iter().find(|e| e.private_ip.to_string() == ENI);
    let before = interface(&net);

    // No rule for TCP any more, another instance, and the function's file entry is as it was.
    let groups = "
      db: { ingress: [ { protocol: udp, ports: 53, from: security_group/function } ] }";
    net.apply(&network(groups, &format!("{OTHER_DB}{DB}"), "one"));

    assert_eq!(interface(&net), before, "id, address and ports in use");
    let db = ("10.0.2.10", 5432);
    net.send(API, &tcp((INSIDE, 40_000), db, ACK, b"more")).delivered_at("instance/db");
    net.send("instance/db", &tcp(db, (ENI, port), ACK, b"and back")).delivered_at(API);
    net.send(API, &tcp((INSIDE, 40_001), db, SYN, b"")).dropped_for(Reason::EniSgRulesMismatch);
}

/// Everybody is admitted and may be answered, so nobody keeps state (SG-20): what the rules no longer
/// admit ends at once, and does not come back to life with the next packet.
// Conforms: SG-20, SG-22
#[test]
fn sg_22_an_untracked_connection_ends_with_its_rule() {
    let groups = |ingress| {
        format!(
            "\n      db: {{ ingress: [ {{ protocol: {ingress}, ports: 5432, from: 0.0.0.0/0 }} ] }}"
        )
    };
    let peer = "      web: { subnet: public, private_ip: 10.0.0.20, security_groups: [second] }\n";
    let text = |ingress| {
        let second = "second: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }";
        network(&groups(ingress), &format!("{DB}{peer}"), "one").replace("second: {}", second)
    };
    let mut net = Net::load(&text("tcp"));
    let (web, db) = (("10.0.0.20", 40_000), ("10.0.2.10", 5432));
    net.send("instance/web", &tcp(web, db, SYN, b"")).delivered_at("instance/db");
    net.send("instance/db", &tcp(db, web, SYN_ACK, b"")).delivered_at("instance/web");

    net.apply(&text("udp"));
    for _ in 0..3 {
        let data = tcp(web, db, ACK, b"more");
        net.send("instance/web", &data).dropped_for(Reason::EniSgRulesMismatch);
    }
}

// Conforms: RT-30
#[test]
fn rt_30_another_target_ends_connections_and_the_same_one_does_not() {
    let text = |gateway| network(GROUPS, DB, gateway);
    let mut net = Net::load(&text("one"));
    let (inside, host) = ((INSIDE, 40_000), ("198.51.100.7", 443));
    let request = net.send(API, &tcp(inside, host, SYN, b"")).delivered_at("internet/host");
    let ((public, port), _) = request.ends();
    net.send("internet/host", &tcp(host, (&public, port), SYN_ACK, b"")).delivered_at(API);
    net.send(API, &udp((INSIDE, 5000), host, b"1")).delivered_at("internet/host");

    // A change beside the way.
    net.apply(&network(GROUPS, &format!("{DB}{OTHER_DB}"), "one"));
    net.send(API, &tcp(inside, host, ACK, b"")).delivered_at("internet/host");

    net.apply(&text("other"));
    // The new gateway tells a client that goes on talking (NAT-10); a datagram opens anew.
    net.send(API, &tcp(inside, host, ACK, b"")).answered_for(Reason::NoConnection);
    let again = net.send(API, &udp((INSIDE, 5000), host, b"2")).delivered_at("internet/host");
    assert_eq!(again.ends().0.0, "203.0.113.11");
    assert_eq!((net.ports_in_use("10.0.0.5"), net.ports_in_use("10.0.0.6")), (0, 1));
    assert_eq!(net.ports_in_use(ENI), 1, "the old connections gave theirs back");
}

#[test]
fn a_gateway_under_the_same_addresses_is_another_gateway() {
    let text = network(GROUPS, DB, "one");
    let mut net = Net::load(&text);
    let (inside, host) = ((INSIDE, 40_000), ("198.51.100.7", 443));
    net.send(API, &tcp(inside, host, SYN, b"")).delivered_at("internet/host");

    // RT-30: the route leads to another gateway, which took over both addresses.
    net.apply(&text.replace("gateway/one", "gateway/new").replace("      one: ", "      new: "));

    assert_eq!(net.ports_in_use("10.0.0.5"), 0);
    net.send(API, &tcp(inside, host, ACK, b"")).answered_for(Reason::NoConnection);
    assert_eq!((net.engine.connection_count(), net.ports_in_use(ENI)), (0, 0));
}

// Conforms: LAM-03
#[test]
fn a_function_with_other_groups_leaves_by_another_eni() {
    let text = network(GROUPS, DB, "one");
    let mut net = Net::load(&text);
    let host = ("198.51.100.7", 443);
    net.send(API, &udp((INSIDE, 5000), host, b"1")).delivered_at("internet/host");

    net.apply(&text.replace("[main/function]", "[main/function, main/second]"));

    // LAM-03: another key, another ENI; the environment itself stays attached where it was.
    let enis = net.engine.enis();
    assert!(
        enis.iter().all(|eni| eni.private_ip.to_string() != ENI),
        "its address rests: {enis:?}"
    );
    net.send(API, &udp((INSIDE, 5000), host, b"2")).delivered_at("internet/host");
    assert_eq!(net.ports_in_use("10.0.1.5"), 1);
    assert_eq!(net.engine.connection_count(), 1);
}

#[test]
fn what_was_gone_and_is_back_is_found_by_the_next_packet() {
    let with = network(GROUPS, DB, "one");
    let mut net = Net::load(&with);
    let packet = udp((INSIDE, 5000), ("10.0.2.10", 53), b"?");
    net.send(API, &packet).delivered_at("instance/db");
    let first = net.id("instance/db");

    let generation = net.apply(&network(GROUPS, "      {}\n", "one"));
    net.send(API, &packet).dropped_for(Reason::NoPossibleDestination);
    // Nothing is added but an instance: the policy is the same, and so is its generation.
    assert_eq!(net.apply(&with), generation);
    assert_ne!(net.id("instance/db"), first, "identities are not used again");
    net.send(API, &packet).delivered_at("instance/db");
    assert_eq!(net.engine.connection_count(), 1);
}

/// Found by fuzzing: only requests were checked anew.
#[test]
fn rt_21_an_interface_that_is_checked_from_now_on_takes_no_replies_for_others() {
    let text = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      hub:     { cidr_block: 10.0.1.0/24, availability_zone: a }
      data:    { cidr_block: 10.0.2.0/24, availability_zone: a, route_table: data }
      clients: { cidr_block: 10.0.3.0/24, availability_zone: a }
    route_tables:
      data: { routes: [{ destination: 10.0.3.0/24, target: instance/hub }] }
    security_groups:
      open: { ingress: [{ protocol: all, from: 0.0.0.0/0 }] }
    instances:
      hub: { subnet: hub, private_ip: 10.0.1.10, security_groups: [open], source_dest_check: false }
      db:  { subnet: data, private_ip: 10.0.2.10, security_groups: [open] }
";
    let mut net = Net::load(text);
    let (client, db) = (("10.0.3.9", 40_000), ("10.0.2.10", 53));
    net.send("instance/hub", &udp(client, db, b"?")).delivered_at("instance/db");
    let reply = net.send("instance/db", &udp(db, client, b"!")).delivered_at("instance/hub");
    let error = icmp_error(client.0, db.0, 3, 3, reply.ip());
    net.send("instance/hub", &error).delivered_at("instance/db");

    net.apply(&text.replace(", source_dest_check: false", ""));
    let reason = Reason::EniSourceDestCheckRestriction;
    net.send("instance/hub", &udp(client, db, b"?")).dropped_for(reason);
    net.send("instance/hub", &error).dropped_for(reason);
    net.send("instance/db", &udp(db, client, b"!")).dropped_for(reason);

    net.apply(text);
    net.send("instance/db", &udp(db, client, b"!")).delivered_at("instance/hub");
}

#[test]
fn an_unchanged_topology_keeps_its_generation() {
    let text = network(GROUPS, DB, "one");
    let mut net = Net::load(&text);
    let generation = net.engine.generation();
    assert_eq!(net.apply(&text), generation);
    assert!(net.apply(&network(GROUPS, DB, "other")) > generation);
}

#[test]
fn a_reload_that_cannot_be_made_changes_nothing() {
    let mut net = Net::load(&network(GROUPS, DB, "one"));
    let port = open(&mut net, 40_000);
    let generation = net.engine.generation();
    let show = |net: &Net| {
        let inventory = net.engine.inventory();
        format!("{:?} {:?}", inventory.enis(), inventory.attachments())
    };
    let before = show(&net);

    let mut next = Target::after(net.plan(), &network("      db: {}", OTHER_DB, "other"));
    assert!(next.changes.len() >= 4, "{:?}", next.changes);
    let again = net.plan().enis[0].clone();
    next.changes.push(Change::AddEni(again));
    let error = net.engine.reload(&next.topology, &next.changes, net.now).unwrap_err();

    assert!(error.to_string().contains("is there already"), "{error}");
    assert_eq!(net.engine.generation(), generation);
    assert_eq!(show(&net), before);
    let db = ("10.0.2.10", 5432);
    net.send(API, &tcp((INSIDE, 40_000), db, ACK, b"")).delivered_at("instance/db");
    net.send("instance/db", &tcp(db, (ENI, port), ACK, b"")).delivered_at(API);
    open(&mut net, 40_001);
}

#[test]
fn an_identity_that_no_attachment_can_have_is_refused() {
    let net = Net::load(&network(GROUPS, DB, "one"));
    for id in [0, u32::MAX].map(AttachmentId) {
        let attachment = Attachment { id, ..net.plan().attachments[0].clone() };
        let error = net.engine.add_attachment(&attachment).expect_err("it is out of range");
        assert!(matches!(error, InventoryError::IdentityOutOfRange(refused) if refused == id));
    }
}

/// Reloads under traffic, in the test below.
const RELOADS: u32 = 300;

/// Connections that each worker opens at most.
const FLOWS: u16 = 8000;

/// One worker: sends what both topologies let pass, and what neither does, until `stop`. Returns how
/// many packets of either kind it sent.
fn worker(net: &Net, seed: u8, environment: &str, stop: &AtomicBool) -> (u32, u32) {
    let mut scratch = net.engine.scratch([seed; 32]);
    let (api, db) = (net.id(environment), net.id("instance/db"));
    let mut sequence = 0_u32;
    let mut send = |from, to, packet: Packet| {
        let mut buffer = packet.0.clone();
        match net.engine.forward(&mut buffer, from, net.now, &mut scratch) {
            Verdict::Forward { target, length } => {
                assert_eq!(target, to, "it came out elsewhere");
                buffer.truncate(length);
                Ok(Packet(buffer))
            }
            Verdict::Drop(dropped) | Verdict::Answer(dropped) => Err(dropped.reason),
            other => panic!("no packet is in fragments, or too big: {other:?}"),
        }
    };
    let mut next = || {
        sequence += 1;
        (sequence, sequence.to_be_bytes())
    };
    let both = "both topologies let it pass";

    let tcp_db = ("10.0.2.10", 5432);
    let inside = (INSIDE, 1024);
    let syn = send(api, db, tcp(inside, tcp_db, SYN, b"")).expect(both);
    let (eni, port) = syn.ends().0;
    send(db, api, tcp(tcp_db, (&eni, port), SYN_ACK, b"")).expect(both);

    let mut refused = 0;
    let mut flow = 0;
    while !stop.load(Relaxed) {
        // On the connection, there and back: each packet arrives, with its number.
        let (_, number) = next();
        let arrived = send(api, db, tcp(inside, tcp_db, ACK, &number)).expect(both);
        assert!(arrived.0.ends_with(&number));
        let (_, number) = next();
        let arrived = send(db, api, tcp(tcp_db, (&eni, port), ACK, &number)).expect(both);
        assert!(arrived.0.ends_with(&number));
        // A new connection each time, while there are ports; then the old ones again.
        flow = flow % FLOWS + 1;
        let (_, number) = next();
        let (from, to) = ((INSIDE, 1024 + flow), ("10.0.2.10", 53));
        let request = send(api, db, udp(from, to, &number)).expect(both);
        let (seen, _) = request.ends();
        assert_eq!(seen.0, eni);
        send(db, api, udp(to, (&seen.0, seen.1), &number)).expect(both);
        sequence_of(&request, number);
        // What neither lets pass, but mixtures would.
        for port in [7000, 7001] {
            let packet = udp((INSIDE, 20_000 + flow), ("10.0.2.10", port), b"no");
            let reason = send(api, db, packet).expect_err("neither topology lets it pass");
            assert_eq!(reason, Reason::EniSgRulesMismatch);
            refused += 1;
        }
    }
    (next().0 - 1, refused)
}

fn sequence_of(packet: &Packet, number: [u8; 4]) {
    assert!(packet.0.ends_with(&number), "another packet came out: {packet:?}");
}

#[test]
fn no_packet_meets_a_mixture_of_two_topologies() {
    // The database's group and the group's rules change together: the new group under the old rules,
    // and the old group under the new rules, let 7000 (7001) pass and refuse 53.
    let groups = |db: &str, rest: &str| {
        format!(
            "
      db: {{ ingress: [ {{ protocol: tcp, ports: 5432, from: 10.0.0.0/16 }},
                        {{ protocol: udp, ports: {db}, from: security_group/function }} ] }}
      db2: {{ ingress: [ {{ protocol: tcp, ports: 5432, from: 10.0.0.0/16 }},
                         {{ protocol: udp, ports: {rest}, from: security_group/function }} ] }}"
        )
    };
    let two =
        |text: String| text.replace("[main/function] }", "[main/function], environments: 2 }");
    let one = two(network(&groups("53", "7000"), &format!("{DB}{OTHER_DB}"), "one"));
    let moved = DB.replace("[db]", "[db2]");
    let more = "      more: { subnet: data, security_groups: [db, db2] }\n";
    let other = two(network(&groups("7001", "53"), &format!("{moved}{more}"), "other"));

    let net = Net::load(&one);
    let stop = AtomicBool::new(false);
    let reloads = AtomicU32::new(0);
    let sent = thread::scope(|scope| {
        let workers = [(1, "function/api/1"), (2, "function/api/2")].map(|(seed, environment)| {
            let (net, stop) = (&net, &stop);
            scope.spawn(move || {
                let ended = Ended(stop);
                let sent = worker(net, seed, environment, stop);
                drop(ended);
                sent
            })
        });
        let mut plan = net.plan().clone();
        while !stop.load(Relaxed) && reloads.load(Relaxed) < RELOADS {
            let text = if reloads.fetch_add(1, Relaxed).is_multiple_of(2) { &other } else { &one };
            let next = Target::after(&plan, text);
            net.engine.reload(&next.topology, &next.changes, net.now).expect("the reload");
            plan = next.plan;
        }
        stop.store(true, Relaxed);
        workers.map(|worker| worker.join().expect("the worker"))
    });

    assert_eq!(reloads.load(Relaxed), RELOADS);
    for (passed, refused) in sent {
        assert!(passed > RELOADS && refused > RELOADS, "{passed} passed, {refused} were refused");
    }
    let mut net = net;
    net.pass_seconds(7 * 24 * 3600);
    net.expire();
    net.assert_empty();
}

/// Stops the others when a worker fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
