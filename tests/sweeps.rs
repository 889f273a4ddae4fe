//! Foreign probes step over the borders of rules, and each packet meets what `viaduct explain` says.
//!
//! Nothing is concluded from silence. What is explained as allowed must be answered, be it by a
//! refusal of the host itself, or must arrive where nothing answers it; what is explained as denied
//! must be in the daemon's record of drops, as that flow and for that reason, and must not be
//! answered. The explanation is told the source port, so that it speaks of this very packet.

mod common;

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
    net::{Ipv4Addr, UdpSocket},
    ops::RangeInclusive,
    thread,
};

use common::{
    Lab, eventually, has, has_scapy, permitted, repository, said, station::Station, viaduct,
};
use serde_json::{Value, json};

const TOPOLOGY: &str = "tests/probes/sweeps.yaml";

const TARGET: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 10);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 30);
const WEB: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// Where packets are sent from.
#[derive(Clone, Copy)]
struct Host {
    name: &'static str,
    address: Ipv4Addr,
}

const FUNCTION: Host = Host { name: "function/probe/1", address: Ipv4Addr::new(169, 254, 100, 2) };
const SCANNER: Host = Host { name: "instance/scanner", address: Ipv4Addr::new(10, 0, 1, 20) };
const OUTSIDE: Host = Host { name: "internet/web", address: WEB };
const STRANGER: Host = Host { name: "internet/stranger", address: Ipv4Addr::new(198, 18, 0, 66) };

#[derive(Clone, Copy)]
enum Traffic {
    Tcp(u16),
    Udp(u16),
    Icmp(u8, u8),
}

/// A packet that was sent.
#[derive(Clone, Copy)]
struct Probe {
    from: Host,
    to: Ipv4Addr,
    traffic: Traffic,
    /// Of an echo request, its identifier.
    source_port: u16,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, source_port, .. } = self;
        write!(f, "{} from {} ({source_port}) to {to}", self.port(), from.name)
    }
}

impl Probe {
    /// As `--port` has it.
    fn port(&self) -> String {
        match self.traffic {
            Traffic::Tcp(port) => format!("tcp/{port}"),
            Traffic::Udp(port) => format!("udp/{port}"),
            Traffic::Icmp(kind, code) => format!("icmp/{kind}/{code}"),
        }
    }

    /// As events have it.
    fn flow(&self) -> Value {
        let (protocol, source_port, port) = match self.traffic {
            Traffic::Tcp(port) => ("tcp", self.source_port, port),
            Traffic::Udp(port) => ("udp", self.source_port, port),
            Traffic::Icmp(8, 0) => ("icmp", self.source_port, 0),
            Traffic::Icmp(..) => ("icmp", 0, 0),
        };
        json!({
            "protocol": protocol,
            "source": self.from.address,
            "source_port": source_port,
            "destination": self.to,
            "destination_port": port,
        })
    }

    /// As a station is to send it.
    fn order(&self) -> Value {
        let mut order = json!({
            "source": self.from.address, "source_port": self.source_port, "destination": self.to,
        });
        match self.traffic {
            Traffic::Tcp(port) => (order["protocol"], order["port"]) = ("tcp".into(), port.into()),
            Traffic::Udp(port) => (order["protocol"], order["port"]) = ("udp".into(), port.into()),
            Traffic::Icmp(kind, code) => {
                (order["protocol"], order["type"], order["code"]) =
                    ("icmp".into(), kind.into(), code.into());
            }
        }
        order
    }

    fn explained(&self) -> Value {
        let mut explain = viaduct();
        explain.arg("explain").arg(repository(TOPOLOGY)).arg("--json");
        explain.args(["--from", self.from.name, "--to", &self.to.to_string()]);
        explain.args(["--port", &self.port()]);
        if !matches!(self.traffic, Traffic::Icmp(..)) {
            explain.args(["--source-port", &self.source_port.to_string()]);
        }
        let output = explain.output().unwrap();
        let read = serde_json::from_slice(&output.stdout);
        read.unwrap_or_else(|_| panic!("explain {self}: {}", said(&output)))
    }
}

/// Each probe with what `viaduct explain` says of it.
fn explained(probes: Vec<Probe>) -> Vec<(Probe, Value)> {
    probes.into_iter().map(|probe| (probe, probe.explained())).collect()
}

fn probes(
    from: Host,
    to: Ipv4Addr,
    source_port: u16,
    traffic: impl IntoIterator<Item = Traffic>,
) -> Vec<Probe> {
    traffic.into_iter().map(|traffic| Probe { from, to, traffic, source_port }).collect()
}

/// As [`probes`], each from the source port after the one before it.
fn counting(
    from: Host,
    to: Ipv4Addr,
    source_port: u16,
    traffic: impl IntoIterator<Item = Traffic>,
) -> Vec<Probe> {
    let traffic = traffic.into_iter().zip(source_port..);
    traffic.map(|(traffic, source_port)| Probe { from, to, traffic, source_port }).collect()
}

/// Holds what became of each probe against its explanation. `heard`: whether it was answered, or
/// arrived if nothing answers its kind.
fn judge(lab: &Lab, explained: &[(Probe, Value)], heard: impl Fn(&Probe) -> bool) -> Tally {
    let mut tally = Tally { sent: explained.len(), ..Tally::default() };
    // An event is the drop of one packet.
    let mut counted = HashSet::new();
    for (probe, explained) in explained {
        if explained["verdict"] == "allow" {
            tally.allowed += 1;
            if eventually(|| heard(probe).then_some(())).is_none() {
                panic!("{probe} is allowed, but was not answered: {:#}", lab.get("drops"));
            }
            continue;
        }
        let (reason, direction) = (&explained["reason"], &explained["direction"]);
        let of_flow = if direction == "forward" { "flow" } else { "request" };
        let flow = probe.flow();
        let fits = |event: &Value| {
            event["reason"] == *reason
                && event[of_flow] == flow
                && !counted.contains(&event["sequence"].as_u64())
        };
        let found = eventually(|| {
            lab.get("drops").as_array().unwrap().iter().find(|event| fits(event)).cloned()
        });
        let Some(event) = found else {
            panic!("{probe} is denied ({reason}, {direction}), but: {:#}", lab.get("drops"));
        };
        counted.insert(event["sequence"].as_u64());
        assert!(!heard(probe), "{probe} is denied ({reason}), but was answered");
        tally.reasons.insert(format!(
            "{} {}",
            direction.as_str().unwrap(),
            reason.as_str().unwrap()
        ));
    }
    tally
}

/// What came of sweeps.
#[derive(Debug, Default)]
struct Tally {
    sent: usize,
    allowed: usize,
    /// Why packets were refused, and on which way.
    reasons: BTreeSet<String>,
}

impl Tally {
    /// Runs sweeps at the same time.
    fn of<T: Send>(sweeps: Vec<T>, sweep: impl Fn(T) -> Self + Sync) -> Self {
        thread::scope(|scope| {
            let sweep = &sweep;
            let running: Vec<_> =
                sweeps.into_iter().map(|it| scope.spawn(move || sweep(it))).collect();
            running.into_iter().fold(Self::default(), |tally, one| {
                let one = one.join().unwrap();
                Self {
                    sent: tally.sent + one.sent,
                    allowed: tally.allowed + one.allowed,
                    reasons: &tally.reasons | &one.reasons,
                }
            })
        })
    }

    /// Sweeps that meet but one fate would show little.
    fn covers(&self, reasons: &[&str]) {
        let Self { sent, allowed, .. } = self;
        println!("{sent} packets, {allowed} of them allowed");
        assert!(allowed * 4 >= *sent, "only {allowed} of {sent} packets are allowed");
        assert_eq!(self.reasons.iter().map(String::as_str).collect::<Vec<_>>(), reasons);
    }
}

/// What scapy sends from a host and hears there.
struct Scapy(Station);

impl Scapy {
    fn start(lab: &Lab, host: Host, probes: &[Probe]) -> Self {
        let mut station = Station::at(lab, host.name);
        station.send(&probes.iter().map(Probe::order).collect::<Vec<_>>());
        Self(station)
    }

    /// Whether an answer to the probe came in.
    fn answered(&self, probe: &Probe) -> bool {
        let Probe { to, source_port, .. } = *probe;
        let backwards = |it: &Value, protocol: &str, port: u16| {
            it["protocol"] == protocol
                && it["source"] == json!(to)
                && (&it["source_port"], &it["port"]) == (&json!(port), &json!(source_port))
        };
        let about = |it: &Value, port: u16| {
            it["type"] == 3
                && it["about"]["destination"] == json!(to)
                && it["about"]["source_port"] == source_port
                && it["about"]["port"] == port
        };
        let answers = |it: &Value| match probe.traffic {
            Traffic::Tcp(port) => backwards(it, "tcp", port),
            Traffic::Udp(port) => backwards(it, "udp", port) || about(it, port),
            Traffic::Icmp(kind, _) => {
                let reply = if kind == 8 { 0 } else { kind + 1 };
                it["source"] == json!(to) && it["type"] == reply && it["source_port"] == source_port
            }
        };
        self.0.count(answers) > 0
    }

    /// Whether a probe of a kind that nothing answers came in.
    fn received(&self, probe: &Probe) -> bool {
        match probe.traffic {
            // Echo, timestamp, information and address mask requests have answers (RFC 792, RFC 950).
            Traffic::Tcp(_) | Traffic::Udp(_) | Traffic::Icmp(8 | 13 | 15 | 17, _) => false,
            Traffic::Icmp(kind, code) => {
                self.0.count(|it| it["type"] == kind && it["code"] == code) > 0
            }
        }
    }
}

/// Answers datagrams to some ports of a host. Ends with the process.
fn answer_datagrams(lab: &Lab, host: &str, ports: impl IntoIterator<Item = u16>) {
    for port in ports {
        let bind = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
        let socket = lab.namespace(host).run(bind).unwrap().unwrap();
        thread::spawn(move || {
            while let Ok((_, from)) = socket.recv_from(&mut [0; 64]) {
                // Whether it arrives is what the scenario looks at.
                let _ = socket.send_to(b"I am", from);
            }
        });
    }
}

// Conforms: SG-07, SG-15, ACL-02, ACL-07, ACL-11, RT-14, NAT-04, NAT-12, IGW-05, LAM-02, LAM-10, RFC 5508 R11
#[test]
fn what_scapy_sends_meets_its_explanation() {
    use Traffic::{Icmp, Tcp, Udp};
    if !permitted() || !has_scapy() {
        return;
    }
    let lab = Lab::of_file("scapy", &repository(TOPOLOGY));
    // The others are closed, and say so: a kernel says it to each peer six times at once.
    for host in ["instance/target", "instance/server"] {
        answer_datagrams(&lab, host, (3000..3010).step_by(2));
    }
    let inside = [1999, 2000, 2002, 2003, 2005, 2006, 2007, 2009, 2010, 2019, 2020, 2021];
    let tcp = || inside.into_iter().chain([2039, 2040, 2045, 2046, 2063, 2064]).map(Tcp);
    let address = |text: &str| text.parse().unwrap();
    let function = [
        probes(FUNCTION, TARGET, 41_000, tcp()),
        probes(FUNCTION, TARGET, 41_000, [2999, 3000, 3001, 3002, 3004, 3005].map(Udp)),
        probes(FUNCTION, TARGET, 41_000, [Icmp(8, 0), Icmp(13, 0)]),
        probes(FUNCTION, WEB, 41_000, [7999, 8000, 8009, 8010].map(Tcp)),
        probes(FUNCTION, WEB, 41_000, [7999, 8000, 8009, 8010].map(Udp)),
        probes(FUNCTION, WEB, 41_001, [Icmp(8, 0)]),
        // A blackhole, nobody's address, a NAT gateway's own, the function's own interface.
        probes(FUNCTION, address("192.0.2.1"), 41_000, [Tcp(8000)]),
        probes(FUNCTION, address("10.0.0.99"), 41_000, [Tcp(8000)]),
        probes(FUNCTION, address("203.0.113.10"), 41_000, [Tcp(8000)]),
        probes(FUNCTION, address("10.0.1.4"), 41_000, [Tcp(8000)]),
    ]
    .concat();
    // What has opened a conversation is tracked, so what the groups refuse comes first; the network
    // ACL is asked about each message.
    let icmp =
        [(40, 1), (40, 3), (9, 0), (15, 0), (17, 0), (8, 0), (8, 1), (40, 2), (13, 0), (13, 1)];
    let icmp = icmp.map(|(kind, code)| Icmp(kind, code));
    let scanner = [
        probes(SCANNER, TARGET, 41_000, tcp()),
        // Answers to these do not get out.
        probes(SCANNER, TARGET, 40_000, [2000, 2002, 2003].map(Tcp)),
        probes(SCANNER, TARGET, 40_009, [2006].map(Tcp)),
        probes(SCANNER, TARGET, 40_010, [2006].map(Tcp)),
        probes(SCANNER, TARGET, 41_000, (2999..=3010).map(Udp)),
        counting(SCANNER, TARGET, 41_000, icmp),
        probes(SCANNER, WEB, 41_000, [Tcp(25), Udp(53), Icmp(8, 0), Icmp(13, 0)]),
        probes(SCANNER, address("10.0.1.4"), 41_000, [Tcp(443), Udp(443), Icmp(8, 0)]),
    ]
    .concat();
    let outside = [
        probes(OUTSIDE, SERVER, 41_000, [2039, 2040, 2044, 2045, 2046, 2049, 2050].map(Tcp)),
        probes(OUTSIDE, SERVER, 41_000, [2999, 3000, 3001, 3009, 3010].map(Udp)),
        probes(OUTSIDE, SERVER, 41_000, [Icmp(8, 0), Icmp(13, 0), Icmp(17, 0)]),
        probes(OUTSIDE, address("203.0.113.10"), 41_000, [Tcp(443), Udp(443), Icmp(8, 0)]),
        probes(OUTSIDE, address("203.0.113.77"), 41_000, [Tcp(443), Udp(443), Icmp(8, 0)]),
    ]
    .concat();
    let stranger = [
        probes(STRANGER, SERVER, 41_000, [2044, 2045, 2046].map(Tcp)),
        probes(STRANGER, SERVER, 41_000, [Udp(3000), Icmp(8, 0)]),
    ]
    .concat();

    let target = Host { name: "instance/target", address: TARGET };
    let listening = Scapy::start(&lab, target, &[]);
    let sweeps =
        vec![(FUNCTION, function), (SCANNER, scanner), (OUTSIDE, outside), (STRANGER, stranger)];
    let tally = Tally::of(sweeps, |(host, probes)| {
        let scapy = Scapy::start(&lab, host, &probes);
        judge(&lab, &explained(probes), |it| scapy.answered(it) || listening.received(it))
    });
    tally.covers(&[
        "forward BAD_STATE_ROUTE",
        "forward ENI_SG_RULES_MISMATCH",
        "forward IGW_PRIVATE_IP_ASSOCIATION_FOR_INGRESS",
        "forward NAT_GATEWAY_UNSOLICITED",
        "forward NO_POSSIBLE_DESTINATION",
        "forward PROTOCOL_RESTRICTION",
        "forward SUBNET_ACL_RESTRICTION",
        "forward V2N_ONE_WAY",
        "return SUBNET_ACL_RESTRICTION",
    ]);
}

/// A run of ports.
struct Run {
    from: Host,
    to: Ipv4Addr,
    kind: fn(u16) -> Traffic,
    ports: RangeInclusive<u16>,
}

const fn run(
    from: Host,
    to: Ipv4Addr,
    kind: fn(u16) -> Traffic,
    ports: RangeInclusive<u16>,
) -> Run {
    Run { from, to, kind, ports }
}

impl Run {
    fn first(&self) -> String {
        self.ports.start().to_string()
    }

    fn count(&self) -> String {
        self.ports.len().to_string()
    }

    fn is_udp(&self) -> bool {
        matches!((self.kind)(1), Traffic::Udp(_))
    }
}

/// The first number behind each occurrence of a text.
fn numbers(text: &str, behind: &str) -> BTreeSet<u16> {
    let digits = |rest: &str| rest.split(|it: char| !it.is_ascii_digit()).next()?.parse().ok();
    text.split(behind).skip(1).filter_map(digits).collect()
}

// Conforms: SG-07, ACL-02
#[test]
fn what_hping3_sends_meets_its_explanation() {
    use Traffic::{Tcp, Udp};
    if !permitted() || !has("hping3") {
        return;
    }
    let lab = Lab::of_file("hping3", &repository(TOPOLOGY));
    for host in ["instance/target", "instance/server", "internet/web"] {
        answer_datagrams(&lab, host, (2990..3010).chain(7990..8010));
    }
    let hping = |from: Host, to: Ipv4Addr, options: &[&str]| {
        let mut command = vec!["hping3", "-n"];
        command.extend(options);
        let to = to.to_string();
        command.push(&to);
        // It exits with 1 where nothing answered.
        let output = lab.exec(from.name, &command).output().unwrap();
        assert!(output.status.code().is_some_and(|code| code <= 1), "{}", said(&output));
        // Every answer is a line that ends in the number of what it answers.
        numbers(&String::from_utf8_lossy(&output.stdout), "seq=")
    };
    let tally = Tally::of(
        vec![
            run(FUNCTION, TARGET, Tcp, 1998..=2022),
            run(FUNCTION, TARGET, Udp, 2998..=3006),
            run(FUNCTION, WEB, Tcp, 7998..=8011),
            run(SCANNER, TARGET, Tcp, 1998..=2011),
            run(SCANNER, TARGET, Udp, 2998..=3011),
            run(SCANNER, WEB, Tcp, 7998..=8001),
            run(OUTSIDE, SERVER, Tcp, 2038..=2051),
            run(OUTSIDE, SERVER, Udp, 2998..=3011),
            run(STRANGER, SERVER, Tcp, 2043..=2047),
        ],
        |run| {
            let probes = counting(run.from, run.to, 42_000, run.ports.clone().map(run.kind));
            let explained = explained(probes);
            let allowed = explained.iter().filter(|(_, it)| it["verdict"] == "allow").count();
            let kind = if run.is_udp() { "--udp" } else { "--syn" };
            let first = format!("++{}", run.first());
            let count = run.count();
            let options = [kind, "-s", "42000", "-p", &first, "-c", &count, "-i", "u5000"];
            let mut answered = BTreeSet::new();
            // It waits a second for answers, which is too little on an overloaded machine.
            for _ in 0..5 {
                answered.extend(hping(run.from, run.to, &options));
                if answered.len() >= allowed {
                    break;
                }
            }
            judge(&lab, &explained, |it| answered.contains(&(it.source_port - 42_000)))
        },
    );
    tally.covers(&["forward ENI_SG_RULES_MISMATCH", "forward SUBNET_ACL_RESTRICTION"]);
}

// Conforms: SG-07, ACL-02
#[test]
fn what_nmap_finds_is_what_explanations_say() {
    use Traffic::{Tcp, Udp};
    if !permitted() || !has("nmap") {
        return;
    }
    let lab = Lab::of_file("nmap", &repository(TOPOLOGY));
    for host in ["instance/target", "instance/server", "internet/web"] {
        answer_datagrams(&lab, host, (2990..3010).chain(7990..8010));
    }
    let tally = Tally::of(
        vec![
            run(FUNCTION, TARGET, Tcp, 1998..=2022),
            run(FUNCTION, TARGET, Udp, 2998..=3006),
            run(FUNCTION, WEB, Tcp, 7998..=8011),
            run(SCANNER, TARGET, Tcp, 2018..=2051),
            run(SCANNER, TARGET, Udp, 2998..=3011),
            run(OUTSIDE, SERVER, Tcp, 2038..=2051),
            run(OUTSIDE, SERVER, Udp, 2998..=3011),
            run(STRANGER, SERVER, Tcp, 2043..=2047),
        ],
        |run| {
            let kind = if run.is_udp() { "-sU" } else { "-sS" };
            let ports = format!("{}-{}", run.ports.start(), run.ports.end());
            let to = run.to.to_string();
            let mut nmap = vec!["nmap", "-n", "-Pn", kind, "-g", "42000", "-p", &ports, "-oG", "-"];
            nmap.extend(["--min-rtt-timeout", "400ms", "--max-rtt-timeout", "800ms"]);
            nmap.extend(["--max-retries", "3", &to]);
            let output = lab.exec(run.from.name, &nmap).output().unwrap();
            assert!(output.status.success(), "{}", said(&output));
            let answered = answered(&String::from_utf8_lossy(&output.stdout), &run.ports);
            let probes = probes(run.from, run.to, 42_000, run.ports.clone().map(run.kind));
            judge(
                &lab,
                &explained(probes),
                |it| matches!(it.traffic, Tcp(port) | Udp(port) if answered.contains(&port)),
            )
        },
    );
    tally.covers(&["forward ENI_SG_RULES_MISMATCH", "forward SUBNET_ACL_RESTRICTION"]);
}

/// The ports that nmap had an answer from, by its greppable report: `2000/closed/tcp//…//, …`, with
/// the state of most ports said once, as `Ignored State: filtered (9)`.
fn answered(report: &str, ports: &RangeInclusive<u16>) -> BTreeSet<u16> {
    let silent = |state: &str| matches!(state, "filtered" | "open|filtered");
    let behind = |mark: &str| report.split_once(mark).map_or("", |(_, rest)| rest);
    let ignored = behind("Ignored State: ").split(' ').next().unwrap_or_default();
    let all = if ignored.is_empty() || silent(ignored) { None } else { Some(ports.clone()) };
    let mut answered: BTreeSet<u16> = all.into_iter().flatten().collect();
    for listed in behind("Ports: ").split(['\t', '\n']).next().unwrap_or_default().split(", ") {
        let mut fields = listed.split('/');
        let (Some(Ok(port)), Some(state)) = (fields.next().map(str::parse), fields.next()) else {
            continue;
        };
        if silent(state) {
            answered.remove(&port)
        } else {
            answered.insert(port)
        };
    }
    answered
}
