//! A daemon is killed under its connections and started anew: all of them go on, each idle one answers
//! a byte, and a stream stands still for a moment.
//!
//! `scripts/soak-restart` is this with 10,000 idle connections under iperf3, and prints the times.
//! `VIADUCT_RESTART_IDLE` is how many idle ones there are.

mod common;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, UdpSocket},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    Killed, Lab,
    crowd::{Process, peers},
    eventually, has, permitted,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde_json::Value;

/// A function behind an ENI; a database beside it, hosts behind a NAT gateway and behind both kinds
/// of endpoints.
const TOPOLOGY: &str = "
services:
  s3:     { prefix_list: [198.18.0.0/24], ip: 198.18.0.10 }
  lambda: { ip: 198.18.1.1 }
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:  { cidr_block: 10.0.0.0/24, route_table: public }
      private: { cidr_block: 10.0.1.0/24 }
      data:    { cidr_block: 10.0.2.0/24 }
    route_tables:
      main:   { routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: public, public_ips: [203.0.113.10] }
    vpc_endpoints:
      s3:     { type: gateway, service: s3, route_tables: [main] }
      lambda: { type: interface, service: lambda, subnets: [private], private_ips: [10.0.1.20], security_groups: [server] }
    security_groups:
      function: {}
      server: { ingress: [ { protocol: all, from: security_group/function } ] }
    instances:
      db: { subnet: data, private_ip: 10.0.2.10, security_groups: [server] }
functions:
  api: { subnets: [main/private], security_groups: [main/function], environments: 2 }
internet:
  web: { ip: 198.51.100.7 }
";

const FUNCTION: &str = "function/api/1";

/// Who is asked, under which address, and by what part of the idle connections.
const SERVERS: [(&str, &str, usize); 4] = [
    ("instance/db", "10.0.2.10", 1),
    ("internet/web", "198.51.100.7", 20),
    ("service/s3", "198.18.0.10", 20),
    ("service/lambda", "10.0.1.20", 20),
];

/// How old a connection is at least when the daemon is killed. A daemon that has a processor notes it
/// in a fortieth of a second; here it may have to wait for one.
const OLD_ENOUGH: Duration = Duration::from_millis(500);

/// The lab's daemon, which is this process's child once it was started anew.
struct Daemon {
    pid: Pid,
    child: Option<Killed>,
}

impl Daemon {
    fn of(lab: &Lab) -> Self {
        let pid = lab.get("status")["pid"].as_i64().unwrap();
        Self { pid: Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), child: None }
    }

    /// Kills it and starts it anew as the lab has started it. Returns when it was killed, and when the
    /// next one was started.
    fn killed_and_started(&mut self) -> (Instant, Instant) {
        let of = |what: &str| format!("/proc/{}/{what}", self.pid);
        let words = std::fs::read(of("cmdline")).unwrap();
        let words = String::from_utf8(words).unwrap();
        let words: Vec<&str> = words.trim_end_matches('\0').split('\0').collect();
        // Its standard input is the lock by which `lab down` finds it.
        let lock = File::options().read(true).write(true).open(of("fd/0")).unwrap();
        let log = File::options().append(true).open(of("fd/2")).unwrap();
        let mut start = Command::new(env!("CARGO_BIN_EXE_viaduct"));
        start.args(&words[1..]).stdin(Stdio::from(lock)).stderr(Stdio::from(log));

        let process = pidfd_open(self.pid, PidfdFlags::empty()).unwrap();
        let killed = Instant::now();
        pidfd_send_signal(&process, Signal::KILL).unwrap();
        // Until the last of its threads has ended, and with it its locks.
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        let limit = Timespec::try_from(common::LIMIT).unwrap();
        assert_eq!(poll(&mut ended, Some(&limit)), Ok(1), "it does not die");
        drop(self.child.take());
        let started = Instant::now();
        let child = start.spawn().unwrap();
        self.pid = Pid::from_child(&child);
        self.child = Some(Killed(child));
        (killed, started)
    }
}

/// Datagrams that are sent a millisecond apart over one flow, and when each came out.
struct Beats {
    arrivals: Mutex<Vec<Instant>>,
    over: AtomicBool,
}

impl Beats {
    /// Sends from one socket and receives at another until it is over. Returns who has sent, as the
    /// receiver sees them.
    fn run(&self, sender: &UdpSocket, to: &str, receiver: &UdpSocket) -> BTreeSet<String> {
        receiver.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !self.over.load(Relaxed) {
                    // While nobody reads its queue, the device is full in the end.
                    let _ = sender.send_to(b"beat", to);
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let mut senders = BTreeSet::new();
            while !self.over.load(Relaxed) {
                if let Ok((_, from)) = receiver.recv_from(&mut [0; 8]) {
                    self.arrivals.lock().unwrap().push(Instant::now());
                    senders.insert(from.to_string());
                }
            }
            senders
        })
    }

    fn first_after(&self, moment: Instant) -> Option<Instant> {
        self.arrivals.lock().unwrap().iter().copied().find(|at| *at > moment)
    }
}

/// Ends what waits for it, also when a scenario fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Every connection as `get connections` lists it, without what changes with each packet.
fn listed(lab: &Lab) -> BTreeSet<String> {
    let output = common::viaduct()
        .args(["get", "connections", "--limit", "100000", "--lab", &lab.name, "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", common::said(&output));
    let connections: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let told = |it: &Value| {
        ["opener", "target", "request", "translated", "state"].map(|key| it[key].to_string())
    };
    connections.iter().map(|it| told(it).join(" ")).collect()
}

/// Has every client send a byte or more over each of its connections, and hear it again.
fn echo(clients: &mut [Process]) -> usize {
    clients.iter_mut().for_each(|client| client.tell("echo"));
    clients.iter_mut().map(|client| client.hear()["echoed"].as_u64().unwrap() as usize).sum()
}

/// The longest time between two reads of a stream.
fn longest_gap(stream: &mut impl Read, over: &AtomicBool) -> Duration {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let mut buffer = vec![0; 1 << 16];
    while !over.load(Relaxed) {
        match stream.read(&mut buffer) {
            Ok(1..) => {
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            other => panic!("the stream has ended: {other:?}"),
        }
    }
    longest
}

#[test]
fn connections_outlive_a_daemon_that_is_killed() {
    if !permitted() || !has("python3") {
        return;
    }
    let idle = std::env::var("VIADUCT_RESTART_IDLE").ok().map(|text| text.parse().unwrap());
    let idle: usize = idle.unwrap_or(1_000);
    let lab = Lab::of("restart", TOPOLOGY);
    let mut daemon = Daemon::of(&lab);

    let mut servers: Vec<_> = SERVERS
        .iter()
        .flat_map(|(host, _, part)| Process::servers(&lab, host, idle / part))
        .collect();
    let mut clients = Process::clients(&lab, &[FUNCTION; SERVERS.len()]);
    let mut count = 0;
    for (client, (_, address, part)) in clients.iter_mut().zip(SERVERS) {
        let opened = client.ask(&format!("open {} {address} 7", idle / part));
        count += opened["open"].as_u64().unwrap() as usize;
    }
    assert_eq!(echo(&mut clients), count);
    let peers_before = peers(&mut servers);
    assert_eq!(peers_before.len(), count);

    let bind = |host: &str, port: u16| {
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
        lab.namespace(host).run(bind).unwrap()
    };
    let (sender, receiver) = (bind("function/api/2", 0), bind("instance/db", 9));
    let beats = Beats { arrivals: Mutex::default(), over: AtomicBool::new(false) };
    lab.serve("instance/db", 8, |mut stream| {
        // As long as somebody reads.
        while stream.write_all(&[7; 1 << 16]).is_ok() {}
    });
    let mut stream = lab.connect("function/api/2", "10.0.2.10:8").unwrap();
    let (times, senders, gap) = thread::scope(|scope| {
        let over = Over(&beats.over);
        let senders = scope.spawn(|| beats.run(&sender, "10.0.2.10:9", &receiver));
        let gap = scope.spawn(|| longest_gap(&mut stream, &beats.over));
        let begun = eventually(|| beats.first_after(Instant::now() - OLD_ENOUGH));
        assert!(begun.is_some(), "no datagram arrives");
        thread::sleep(OLD_ENOUGH);
        let before = listed(&lab);
        assert_eq!(before.len(), count + 2, "the idle ones, the stream and the datagrams");

        let mut times = Vec::new();
        // The next daemon is killed like the first.
        for _ in 0..2 {
            let (killed, started) = daemon.killed_and_started();
            let first = eventually(|| beats.first_after(started)).expect("packets flow again");
            times.push((first - started, first - killed));
            assert_eq!(echo(&mut clients), count, "every idle one goes on");
            assert_eq!(listed(&lab), before);
            let counters = lab.get("counters");
            assert_eq!(counters["connections_resumed"], count + 2, "{counters:#}");
            assert_eq!(counters["connections_lost"], 0, "{counters:#}");
            assert_eq!(counters["connections_opened"], count + 2, "{counters:#}");
        }
        drop(over);
        (times, senders.join().unwrap(), gap.join().unwrap())
    });
    assert_eq!(senders.len(), 1, "the flow has one port: {senders:?}");
    assert_eq!(peers(&mut servers), peers_before);
    for (first, outage) in times {
        println!(
            "{count} idle connections: the first packet {} ms after the start, {} ms after the kill",
            first.as_millis(),
            outage.as_millis()
        );
    }
    println!("a stream stood still for {} ms at most", gap.as_millis());
    // What is new has ports of its own.
    let more = clients[0].ask("open 50 10.0.2.10 7")["open"].as_u64().unwrap() as usize;
    assert_eq!(echo(&mut clients), count + 50, "{more}");
    assert_eq!(peers(&mut servers).len(), count + 50);
    drop(lab);
}

/// iperf3 with a daemon that is killed in the middle of it. A part of `scripts/soak-restart`.
#[test]
#[ignore = "a measurement"]
fn iperf3_stands_still_for_a_moment() {
    assert!(permitted() && has("iperf3"));
    let idle: usize =
        std::env::var("VIADUCT_RESTART_IDLE").map_or(10_000, |it| it.parse().unwrap());
    let lab = Lab::of("restart-iperf", TOPOLOGY);
    let mut daemon = Daemon::of(&lab);
    let mut servers = Process::servers(&lab, "instance/db", idle);
    let mut clients = Process::clients(&lab, &[FUNCTION]);
    clients[0].ask(&format!("open {idle} 10.0.2.10 7"));

    let listen = ["iperf3", "--server", "--one-off", "--json", "--interval", "0.1"];
    let server = lab.exec("instance/db", &listen).stdout(Stdio::piped()).spawn().unwrap();
    let mut server = Killed(server);
    let connect = ["iperf3", "--client", "10.0.2.10", "--time", "8", "--connect-timeout", "10000"];
    let mut client = eventually(|| {
        // Until the server listens.
        let listens = ["ss", "-Hltn", "sport = 5201"];
        let listens = lab.exec("instance/db", &listens).output().unwrap();
        (!listens.stdout.is_empty()).then(|| {
            let client = lab.exec("function/api/2", &connect).stdout(Stdio::null()).spawn();
            Killed(client.unwrap())
        })
    })
    .expect("iperf3 listens");
    thread::sleep(Duration::from_secs(4));
    let (killed, _) = daemon.killed_and_started();
    let back = eventually(|| lab.is_answered().then(Instant::now)).expect("it answers again");
    assert!(client.0.wait().unwrap().success(), "iperf3 has failed");

    let mut report = String::new();
    server.0.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let intervals = report["intervals"].as_array().unwrap().iter();
    let (mut still, mut longest) = (0.0_f64, 0.0_f64);
    for interval in intervals {
        let sum = &interval["sum"];
        let nothing = sum["bytes"].as_u64() == Some(0);
        still = if nothing { still + sum["seconds"].as_f64().unwrap() } else { 0.0 };
        longest = longest.max(still);
    }
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap() / 1e9;
    println!(
        "iperf3 beside {idle} idle connections: {rate:.1} Gb/s, stood still for {:.0} ms at most; \
         the daemon answered {} ms after the kill",
        longest * 1e3,
        (back - killed).as_millis()
    );
    assert_eq!(echo(&mut clients), idle);
    assert_eq!(peers(&mut servers).len(), idle);
    drop(lab);
}
