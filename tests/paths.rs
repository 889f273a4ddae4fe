//! What traceroute, tracepath and ping see of the ways through gateways.

mod common;

use common::{Lab, has, permitted, repository, said};
use serde_json::{Value, json};

const WEB: &str = "198.18.0.7";
const PUBLIC: &str = "10.0.0.20";
/// Behind a private NAT gateway.
const THERE: &str = "10.9.0.20";

fn lab(scenario: &str) -> Lab {
    Lab::of_file(scenario, &repository("tests/probes/paths.yaml"))
}

/// What a command prints, whatever it thinks of what it found.
fn run(lab: &Lab, host: &str, command: &[&str]) -> String {
    let output = lab.exec(host, command).output().unwrap();
    // `lab exec` itself ends with 2 if it fails.
    assert!(output.status.code().is_some_and(|code| code < 2), "{command:?}: {}", said(&output));
    said(&output)
}

/// The addresses that a traceroute by this method names, one probe after the other; `*` for a hop
/// that says nothing.
fn hops(lab: &Lab, host: &str, method: &[&str], to: &str) -> Vec<String> {
    // Five seconds are for an overloaded machine: an answer ends the wait.
    let mut command = vec!["traceroute", "-n", "-q", "1", "-N", "1", "-w", "5", "-m", "4"];
    command.extend(method);
    command.push(to);
    let report = run(lab, host, &command);
    let hop = |line: &str| {
        let mut words = line.split_whitespace();
        let number: Option<u8> = words.next()?.parse().ok();
        number.and(words.next()).map(str::to_owned)
    };
    report.lines().filter_map(hop).collect()
}

// Conforms: NAT-27, RFC 5508 R4, RFC 5508 R10
#[test]
fn a_traceroute_shows_the_nat_gateway_and_nothing_else_on_the_way() {
    if !permitted() || !has("traceroute") {
        return;
    }
    let lab = lab("traceroute");
    let (udp, icmp, tcp): (&[&str], &[&str], &[&str]) = (&[], &["-I"], &["-T", "-p", "80"]);
    for method in [udp, icmp, tcp] {
        let hops = |host: &str, to: &str| hops(&lab, host, method, to);
        assert_eq!(hops("instance/app", WEB), ["10.0.0.4", WEB], "{method:?}");
        assert_eq!(hops("instance/app", THERE), ["10.0.3.4", THERE], "{method:?}");
        // Neither the VPC's router nor an internet gateway is a hop.
        assert_eq!(hops("instance/app", PUBLIC), [PUBLIC], "{method:?}");
        assert_eq!(hops("instance/public", WEB), [WEB], "{method:?}");
        assert_eq!(hops("internet/web", "203.0.113.20"), ["203.0.113.20"], "{method:?}");
    }
    // A function sends no ICMP, but hears what its datagrams and segments met.
    for method in [udp, tcp] {
        let hops = |to: &str| hops(&lab, "function/probe", method, to);
        assert_eq!(hops(WEB), ["10.0.0.4", WEB], "{method:?}");
        assert_eq!(hops(THERE), ["10.0.3.4", THERE], "{method:?}");
        assert_eq!(hops(PUBLIC), [PUBLIC], "{method:?}");
    }
}

/// The drop of a packet of this protocol between these two.
fn dropped(lab: &Lab, reason: &str, protocol: &str, source: &str, destination: &str) -> Value {
    let expected = json!([protocol, source, destination]);
    lab.wait_for_drop(|event| {
        let flow = &event["flow"];
        event["reason"] == reason
            && json!([flow["protocol"], flow["source"], flow["destination"]]) == expected
    })
}

// Conforms: LAM-10
#[test]
fn a_function_neither_pings_nor_traces_with_icmp() {
    if !permitted() || !has("traceroute") || !has("ping") {
        return;
    }
    let lab = lab("no-icmp");
    for to in [WEB, PUBLIC] {
        let report = run(&lab, "function/probe", &["ping", "-n", "-c", "1", "-W", "1", to]);
        assert!(report.contains(" 0 received"), "{report}");
        dropped(&lab, "PROTOCOL_RESTRICTION", "icmp", "169.254.100.2", to);
    }
    let before = lab.dropped("PROTOCOL_RESTRICTION");
    let trace = ["traceroute", "-n", "-I", "-q", "1", "-N", "1", "-w", "0.5", "-m", "2", WEB];
    let report = run(&lab, "function/probe", &trace);
    assert!(report.contains("1  *\n 2  *"), "{report}");
    assert_eq!(lab.dropped("PROTOCOL_RESTRICTION"), before + 2);
}

// Conforms: ACL-19
#[test]
fn network_acls_judge_what_a_host_says_of_a_packet_as_icmp() {
    if !permitted() || !has("traceroute") {
        return;
    }
    let lab = lab("mute");
    for (to, ttl) in [(PUBLIC, "1"), (WEB, "2")] {
        // The host itself answers a segment with a segment, and a datagram with an error.
        let trace =
            |method: &[&str]| hops(&lab, "instance/mute", &[&["-f", ttl], method].concat(), to);
        assert_eq!(trace(&["-T", "-p", "80"]), [to]);
        assert_eq!(trace(&["-m", ttl, "-w", "1"]), ["*"]);
        let event = lab.wait_for_drop(|event| {
            event["reason"] == "SUBNET_ACL_RESTRICTION" && event["request"]["destination"] == to
        });
        assert_eq!(event["flow"]["protocol"], "icmp", "{event:#}");
        assert_eq!(event["request"]["protocol"], "udp", "{event:#}");
    }
}

// Conforms: MTU-01, MTU-02, MTU-03, NAT-15, IGW-08
#[test]
fn tracepath_finds_how_wide_each_way_is_and_who_says_so() {
    if !permitted() || !has("tracepath") {
        return;
    }
    let lab = lab("tracepath");
    let narrow = |report: &str, router: &str, mtu: u16| {
        let told = |line: &str| line.contains(&format!(" {router} ")) && line.contains("pmtu");
        let narrowed = report.lines().find(|line| told(line));
        let narrowed = narrowed.unwrap_or_else(|| panic!("{router} said nothing: {report}"));
        assert!(narrowed.trim_end().ends_with(&format!("pmtu {mtu}")), "{report}");
    };
    let trace = |host: &str, to: &str, mtu: u16, hops: u8| {
        let report = run(&lab, host, &["tracepath", "-n", "-m", "3", to]);
        assert!(report.contains(" reached"), "{report}");
        assert!(report.contains(&format!("Resume: pmtu {mtu} hops {hops}")), "{host}: {report}");
        report
    };
    for host in ["instance/app", "function/probe"] {
        narrow(&trace(host, WEB, 1500, 2), "10.0.0.4", 1500);
        narrow(&trace(host, THERE, 8500, 2), "10.0.3.4", 8500);
        trace(host, PUBLIC, 9001, 1);
    }
    // Without a NAT gateway on the way, it is the router next to the host that says so.
    narrow(&trace("instance/public", WEB, 1500, 1), "10.0.0.1", 1500);
    trace("internet/web", "203.0.113.20", 1500, 1);
}

// Conforms: MTU-01, MTU-02, NAT-15, IGW-08
#[test]
fn a_ping_fits_to_the_byte() {
    if !permitted() || !has("ping") {
        return;
    }
    let lab = lab("ping");
    // An echo has 28 bytes of headers.
    let fits = |host: &str, to: &str, mtu: u16| {
        let ping = |length: u16| {
            let size = (length - 28).to_string();
            let ping = ["ping", "-n", "-M", "do", "-c", "1", "-W", "1", "-s", &size, to];
            run(&lab, host, &ping)
        };
        let report = ping(mtu);
        assert!(report.contains(" 1 received"), "{mtu} from {host}: {report}");
        let report = ping(mtu + 1);
        assert!(report.contains(" 0 received"), "{mtu} from {host}: {report}");
        // From the first packet's error on, the kernel itself remembers.
        let told = [format!("mtu = {mtu}"), format!("mtu={mtu}"), format!("mtu: {mtu}")];
        assert!(told.iter().any(|told| report.contains(told)), "{mtu} from {host}: {report}");
    };
    fits("instance/app", WEB, 1500);
    fits("instance/app", THERE, 8500);
    fits("instance/app", PUBLIC, 9001);
    fits("instance/public", WEB, 1500);
    fits("internet/web", "203.0.113.20", 1500);
}

// Conforms: NAT-14
#[test]
fn a_ping_in_fragments_does_not_pass_a_nat_gateway() {
    if !permitted() || !has("ping") {
        return;
    }
    let lab = lab("large-ping");
    for to in [WEB, THERE] {
        let ping = ["ping", "-n", "-c", "1", "-W", "1", "-s", "10000", to];
        let report = run(&lab, "instance/app", &ping);
        assert!(report.contains(" 0 received"), "{report}");
        dropped(&lab, "FRAGMENT_RESTRICTION", "icmp", "10.0.1.20", to);
    }
}
