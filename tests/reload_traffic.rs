//! Reloads under traffic, with real packets: while two topologies take each other's place, again and
//! again, what both let pass arrives, every datagram of it, and of what neither lets pass nothing does.
//!
//! The two are made so that a mixture of them would be noticed: a group's rules and who carries the
//! group change together, and so do a group's rules and a network ACL. Half of either would lose what
//! must arrive, or pass what must not.
//!
//! The senders never have more on the way than any queue holds, and wait for all of it before they go
//! on, so what is lost is known by its number and not by the time it takes.

mod common;

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use common::{LIMIT, Lab, eventually, permitted, said, viaduct};
use viaduct_tun::Namespace;

/// How often the topology changes.
const RELOADS: u32 = 60;

/// Datagrams of a flow that are on the way at once.
const WINDOW: u64 = 16;

/// What is different in the two topologies.
struct Version {
    /// The groups that `client` carries, from which `db` takes 5000, and from which 5001.
    carried: &'static str,
    admitted: [&'static str; 2],
    /// What functions may send, the ACL of their subnet's first rule, and the table that it uses.
    egress: &'static str,
    acl: &'static str,
    route_table: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version {
        carried: "left",
        admitted: ["left", "right"],
        egress: "{ protocol: udp, ports: 7, to: 0.0.0.0/0 }, { protocol: udp, ports: 9, to: 0.0.0.0/0 }",
        acl: "deny",
        route_table: "main",
    },
    Version {
        carried: "right",
        admitted: ["right", "left"],
        egress: "{ protocol: udp, ports: 7, to: 0.0.0.0/0 }",
        acl: "allow",
        route_table: "other",
    },
];

fn topology(version: &Version) -> String {
    let Version { carried, admitted: [always, never], egress, acl, route_table } = version;
    format!(
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:  {{ cidr_block: 10.0.0.0/24, route_table: public }}
      private: {{ cidr_block: 10.0.1.0/24, route_table: {route_table}, network_acl: private }}
      data:    {{ cidr_block: 10.0.2.0/24 }}
    route_tables:
      main:   {{ routes: [ {{ destination: 0.0.0.0/0, target: nat_gateway/egress }} ] }}
      other:  {{ routes: [ {{ destination: 0.0.0.0/0, target: nat_gateway/egress }} ] }}
      public: {{ routes: [ {{ destination: 0.0.0.0/0, target: internet_gateway/igw }} ] }}
    internet_gateway: igw
    nat_gateways:
      egress: {{ subnet: public, public_ips: [203.0.113.10] }}
    network_acls:
      private:
        ingress: {{ 100: {{ action: allow, protocol: all, cidr_block: 0.0.0.0/0 }} }}
        egress:
          90:  {{ action: {acl}, protocol: udp, ports: 9, cidr_block: 0.0.0.0/0 }}
          100: {{ action: allow, protocol: all, cidr_block: 0.0.0.0/0 }}
    security_groups:
      left: {{}}
      right: {{}}
      function: {{ egress: [ {egress} ] }}
      db:
        ingress:
          - {{ protocol: udp, ports: 5000, from: security_group/{always} }}
          - {{ protocol: udp, ports: 5001, from: security_group/{never} }}
    instances:
      client: {{ subnet: data, private_ip: 10.0.2.9, security_groups: [{carried}] }}
      db:     {{ subnet: data, private_ip: 10.0.2.10, security_groups: [db] }}
functions:
  api: {{ subnets: [main/private], security_groups: [main/function] }}
internet:
  host: {{ ip: 198.51.100.7 }}
"
    )
}

/// A socket of a host, which waits no longer than anything takes.
fn socket(host: &Namespace, port: u16) -> UdpSocket {
    let bound = host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)));
    let socket = bound.unwrap().unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// Datagrams from one host to another, numbered; some from a port that stays, so that they are one
/// connection, which every reload has walked again; the others each from a port of its own, so that
/// each is walked for itself.
struct Flow {
    from: Namespace,
    staying: UdpSocket,
    to: SocketAddr,
    receiver: UdpSocket,
    sent: u64,
}

impl Flow {
    fn new(lab: &Lab, from: &str, host: &str, to: &str) -> Self {
        let to: SocketAddr = to.parse().unwrap();
        let from = lab.namespace(from);
        let receiver = socket(&lab.namespace(host), to.port());
        Self { staying: socket(&from, 0), from, to, receiver, sent: 0 }
    }

    fn send(&mut self, socket: &UdpSocket) {
        socket.send_to(&self.sent.to_be_bytes(), self.to).unwrap();
        self.sent += 1;
    }

    /// Sends a window of datagrams, each of which must arrive, and so must the answer to it.
    fn exchange(&mut self) {
        let first = self.sent;
        let fresh: Vec<_> = (0..WINDOW / 2).map(|_| socket(&self.from, 0)).collect();
        let staying = self.staying.try_clone().unwrap();
        for fresh in &fresh {
            self.send(fresh);
            self.send(&staying);
        }
        let mut missing: BTreeSet<u64> = (first..self.sent).collect();
        while !missing.is_empty() {
            let (number, sender) = hear(&self.receiver)
                .unwrap_or_else(|error| panic!("{missing:?} to {} are lost: {error}", self.to));
            assert!(missing.remove(&number), "{number} came twice, or late");
            self.receiver.send_to(&number.to_be_bytes(), sender).unwrap();
        }
        let mut unanswered: BTreeSet<u64> = (first..self.sent).collect();
        let staying = std::iter::repeat_n(&staying, fresh.len());
        for socket in fresh.iter().chain(staying) {
            let (number, _) = hear(socket).unwrap_or_else(|error| {
                panic!("answers from {} are lost, of {unanswered:?}: {error}", self.to)
            });
            assert!(unanswered.remove(&number), "{number} was answered twice");
        }
    }

    /// Sends datagrams, none of which may arrive.
    fn try_in_vain(&mut self) {
        let fresh = socket(&self.from, 0);
        let staying = self.staying.try_clone().unwrap();
        self.send(&fresh);
        self.send(&staying);
    }

    fn assert_nothing_came(&self) {
        self.receiver.set_nonblocking(true).unwrap();
        let heard = hear(&self.receiver);
        let nothing = matches!(&heard, Err(error) if error.kind() == ErrorKind::WouldBlock);
        assert!(nothing, "{} got what neither topology lets pass: {heard:?}", self.to);
    }
}

fn hear(socket: &UdpSocket) -> std::io::Result<(u64, SocketAddr)> {
    let mut number = [0; 8];
    let (length, sender) = socket.recv_from(&mut number)?;
    assert_eq!(length, number.len());
    Ok((u64::from_be_bytes(number), sender))
}

/// Sets a flag when dropped, so that nobody waits for a thread that has failed.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn apply(lab: &Lab, file: &Path) {
    let output = viaduct().args(["apply", "--lab", &lab.name]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn reloads_under_traffic_lose_nothing_and_let_nothing_through() {
    if !permitted() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let files = [0, 1].map(|version| directory.path().join(format!("{version}.yaml")));
    for (file, version) in files.iter().zip(&VERSIONS) {
        std::fs::write(file, topology(version)).unwrap();
    }
    let lab = Lab::of_file("reload-traffic", &files[0]);
    let generation = || lab.get("status")["generation"].as_u64().unwrap();
    let before = generation();
    let mut always = [
        Flow::new(&lab, "instance/client", "instance/db", "10.0.2.10:5000"),
        Flow::new(&lab, "function/api/1", "internet/host", "198.51.100.7:7"),
    ];
    let mut never = [
        Flow::new(&lab, "instance/client", "instance/db", "10.0.2.10:5001"),
        Flow::new(&lab, "function/api/1", "internet/host", "198.51.100.7:9"),
    ];

    let (reloads, over) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _over = Over(&over);
            for file in files.iter().cycle().skip(1).take(RELOADS as usize) {
                if over.load(Relaxed) {
                    return;
                }
                apply(&lab, file);
                reloads.fetch_add(1, Relaxed);
            }
        });
        let _over = Over(&over);
        while !over.load(Relaxed) {
            always.iter_mut().for_each(Flow::exchange);
            never.iter_mut().for_each(Flow::try_in_vain);
        }
    });
    assert_eq!(reloads.load(Relaxed), RELOADS);
    // The last one took them to the first version again, and each was another policy.
    assert_eq!(generation(), before + u64::from(RELOADS));

    let tried: u64 = never.iter().map(|flow| flow.sent).sum();
    let dropped = || {
        let counters = lab.get("counters");
        let reasons = counters["dropped_packets"].as_object().unwrap();
        reasons.values().map(|count| count.as_u64().unwrap()).sum::<u64>()
    };
    let all = eventually(|| (dropped() >= tried).then_some(()));
    assert!(all.is_some(), "{} of {tried} were dropped", dropped());
    assert_eq!(dropped(), tried, "something else was dropped: {:#}", lab.get("counters"));
    never.iter().for_each(Flow::assert_nothing_came);
    let arrived: u64 = always.iter().map(|flow| flow.sent).sum();
    println!("{RELOADS} reloads: {arrived} datagrams arrived, {tried} were kept out");
    assert!(arrived > u64::from(RELOADS) * WINDOW, "hardly any traffic: {arrived}");
}
