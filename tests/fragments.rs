//! Datagrams of 4,000 bytes and pings of 10,000: real fragments of real kernels, put together and cut
//! on their way.

mod common;

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
};

use common::{LIMIT, Lab, eventually, has, permitted, said};

const TOPOLOGY: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:  { cidr_block: 10.0.0.0/24, route_table: public }
      private: { cidr_block: 10.0.1.0/24 }
    route_tables:
      main:   { routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: public, private_ip: 10.0.0.5, public_ips: [203.0.113.10] }
    security_groups:
      function: {}
      open: { ingress: [ { protocol: -1, from: 0.0.0.0/0 } ] }
    instances:
      one: { subnet: private, private_ip: 10.0.1.11, security_groups: [open] }
      two: { subnet: private, private_ip: 10.0.1.12, security_groups: [open] }
functions:
  api: { subnets: [main/private], security_groups: [main/function] }
internet:
  host: { ip: 198.51.100.7 }
";

const API: &str = "function/api/1";
const HOST: &str = "internet/host";

/// A socket at a host whose datagrams may be cut on their way (no DF, `ip_no_pmtu_disc`).
fn socket(lab: &Lab, host: &str, port: u16) -> UdpSocket {
    let socket = lab.namespace(host).run(|| {
        fs::write("/proc/sys/net/ipv4/ip_no_pmtu_disc", "1").unwrap();
        UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()
    });
    let socket = socket.unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
}

/// Answers each datagram with itself. Ends with the scenario's process.
fn echo(lab: &Lab, host: &str, port: u16) {
    let socket = socket(lab, host, port);
    socket.set_read_timeout(None).unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_535];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if socket.send_to(&buffer[..length], from).is_err() {
                return;
            }
        }
    });
}

/// Sends a datagram of so many bytes and gets it back.
#[track_caller]
fn there_and_back(socket: &UdpSocket, to: &str, length: usize) {
    let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
    socket.send_to(&sent, to).unwrap();
    let mut received = vec![0; 65_535];
    let (length, from) = socket.recv_from(&mut received).unwrap();
    assert_eq!(from.to_string(), to);
    assert!(received[..length] == sent, "{length} bytes came back, or others");
}

fn counted(lab: &Lab, counter: &str) -> u64 {
    lab.get("counters")[counter].as_u64().unwrap()
}

/// Whether a ping of so many bytes is answered.
fn ping(lab: &Lab, from: &str, to: &str, size: &str) -> bool {
    let output = lab.exec(from, &["ping", "-c", "1", "-W", "2", "-s", size, to]).output().unwrap();
    println!("{}", said(&output));
    output.status.success()
}

// Conforms: RFC 4787 R14, IGW-08
#[test]
fn nat_14_datagrams_pass_a_nat_gateway_in_fragments() {
    if !permitted() {
        return;
    }
    let lab = Lab::of("fragments", TOPOLOGY);
    echo(&lab, HOST, 9);
    echo(&lab, "instance/two", 9);
    let function = socket(&lab, API, 0);

    // The function's device takes 9,001 bytes, the internet 1,500: cut on the way there, in the
    // host's own fragments on the way back.
    there_and_back(&function, "198.51.100.7:9", 4000);
    assert_eq!(counted(&lab, "fragmented_packets"), 2);
    assert_eq!(counted(&lab, "sent_fragments"), 6);
    assert_eq!(counted(&lab, "reassembled_datagrams"), 1);
    assert_eq!(counted(&lab, "reassembled_fragments"), 3);
    // The largest there are, in fragments both ways.
    there_and_back(&function, "198.51.100.7:9", 65_507);
    there_and_back(&function, "10.0.1.12:9", 65_507);
    assert_eq!(counted(&lab, "reassembled_datagrams"), 1 + 2 + 2);
    assert_eq!(lab.get("counters")["dropped_packets"], serde_json::json!({}));
}

// Conforms: NAT-14, MTU-05
#[test]
fn nat_14_a_ping_of_10000_bytes_passes_between_instances_and_no_nat_gateway() {
    if !permitted() || !has("ping") {
        return;
    }
    let lab = Lab::of("big-pings", TOPOLOGY);
    assert!(ping(&lab, "instance/one", "10.0.1.12", "10000"));
    assert!(ping(&lab, "instance/one", "198.51.100.7", "1000"));
    assert_eq!(lab.dropped("FRAGMENT_RESTRICTION"), 0);
    assert!(!ping(&lab, "instance/one", "198.51.100.7", "10000"));
    let counted = eventually(|| (lab.dropped("FRAGMENT_RESTRICTION") == 1).then_some(()));
    assert!(counted.is_some(), "{:#}", lab.get("counters"));
    let event = lab.wait_for_drop(|event| event["reason"] == "FRAGMENT_RESTRICTION");
    assert_eq!(event["flow"]["destination"], "198.51.100.7", "{event:#}");
}
