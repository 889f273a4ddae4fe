//! `--device plain`: everything arrives as it was sent though no device has offloads, and queues that
//! have them are refused.

mod common;

use std::{
    fs,
    hash::{DefaultHasher, Hasher},
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream, UdpSocket},
    process::Stdio,
    sync::mpsc,
};

use common::{Killed, LIMIT, Lab, eventually, has, permitted, repository, said, viaduct};
use viaduct_tun::{
    Attachment, Device, DeviceKind, Error, Holder, Namespace, Offer, Plan, handover::RefusalReason,
    holder, netns,
};

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
      db:    { subnet: private, private_ip: 10.0.1.11, security_groups: [open] }
      front: { subnet: public, private_ip: 10.0.0.20, public_ip: 203.0.113.20, security_groups: [open] }
functions:
  api: { subnets: [main/private], security_groups: [main/function] }
internet:
  web: { ip: 198.51.100.7 }
";

const API: &str = "function/api/1";
const DB: &str = "instance/db";
const FRONT: &str = "instance/front";
const WEB: &str = "internet/web";

/// How much is sent where the content is compared, in bytes.
const TRANSFER: usize = 16 << 20;

/// The bytes of a transfer, and a checksum of them.
fn content() -> (Vec<u8>, u64) {
    let byte = |at: usize| ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    let bytes: Vec<u8> = (0..TRANSFER).map(byte).collect();
    let sum = checksum(&bytes);
    (bytes, sum)
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn send(mut stream: TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    // Until the other end has it all.
    let _ = stream.read(&mut [0]);
}

/// The length and checksum of all that comes.
fn receive(mut stream: TcpStream) -> (usize, u64) {
    let mut bytes = Vec::with_capacity(TRANSFER);
    stream.read_to_end(&mut bytes).unwrap();
    (bytes.len(), checksum(&bytes))
}

/// Segments that a host received with a wrong checksum.
fn checksum_errors(lab: &Lab, host: &str) -> String {
    let output = lab.exec(host, &["cat", "/proc/thread-self/net/snmp"]).output().unwrap();
    let snmp = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut tcp = snmp.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
    let (mut names, mut values) = (tcp.next().unwrap(), tcp.next().unwrap());
    let column = names.position(|name| name == "InCsumErrors").unwrap();
    values.nth(column).unwrap().to_owned()
}

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

#[test]
fn large_transfers_arrive_as_they_were_sent() {
    if !permitted() || !has("ip") {
        return;
    }
    let lab = Lab::plain("plain-tcp", TOPOLOGY);
    assert_eq!(lab.get("status")["device"], "plain");
    for host in [API, DB, FRONT, WEB] {
        let shown = lab.exec(host, &["ip", "-details", "link", "show", "eth0"]).output().unwrap();
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("tun type tun pi off vnet_hdr off persist off"), "{shown}");
    }
    let (bytes, sum) = content();
    // Inside the VPC with its MTU, and through the NAT gateway into the internet's.
    for (host, to) in [(DB, "10.0.1.11:7000"), (WEB, "198.51.100.7:7000")] {
        let listener = lab.listen(host, 7000);
        let (upload, uploaded) = mpsc::channel();
        let download = bytes.clone();
        std::thread::spawn(move || {
            upload.send(receive(listener.accept().unwrap().0)).unwrap();
            send(listener.accept().unwrap().0, &download);
        });
        send(lab.connect(API, to).unwrap(), &bytes);
        assert_eq!(uploaded.recv_timeout(LIMIT).unwrap(), (TRANSFER, sum), "to {host}");
        assert_eq!(receive(lab.connect(API, to).unwrap()), (TRANSFER, sum), "from {host}");
    }
    for host in [API, DB, WEB] {
        assert_eq!(checksum_errors(&lab, host), "0", "at {host}");
    }
    let counters = lab.get("counters");
    assert_eq!(counters["dropped_packets"], serde_json::json!({}), "{counters:#}");
    // No packet was more than one: 9,001 bytes at most, 1,500 to and from the internet.
    let packets = counters["forwarded_packets"].as_u64().unwrap();
    assert!(packets as usize > 2 * TRANSFER / 9001 + 2 * TRANSFER / 1500, "{counters:#}");
}

#[test]
fn curl_fetches_a_file_over_http() {
    if !permitted() || !has("curl") || !has("python3") {
        return;
    }
    let lab = Lab::plain("plain-curl", TOPOLOGY);
    let directory = tempfile::tempdir().unwrap();
    let (bytes, sum) = content();
    fs::write(directory.path().join("file"), bytes).unwrap();
    let serve = ["python3", "-m", "http.server", "80", "--directory"];
    let mut server = lab.exec(WEB, &[&serve[..], &[directory.path().to_str().unwrap()]].concat());
    let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _server = Killed(server);
    let fetched = eventually(|| {
        let curl = ["curl", "--silent", "--fail", "--max-time", "30", "http://web/file"];
        let output = lab.exec(API, &curl).output().unwrap();
        output.status.success().then_some(output.stdout)
    });
    let fetched = fetched.expect("the server answers");
    assert_eq!((fetched.len(), checksum(&fetched)), (TRANSFER, sum));
}

#[test]
fn datagrams_and_pings_pass_whole_in_fragments_and_as_errors() {
    if !permitted() || !has("ping") {
        return;
    }
    let lab = Lab::plain("plain-udp", TOPOLOGY);
    for host in [DB, WEB] {
        let socket = socket(&lab, host, 9);
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
    let function = socket(&lab, API, 0);
    // To the internet, 4,000 bytes leave the function whole and are cut on the way; 65,507 leave it in
    // fragments, which are put together and cut anew.
    for to in ["10.0.1.11:9", "198.51.100.7:9"] {
        for length in [0, 1, 1472, 4000, 65_507] {
            let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            function.send_to(&sent, to).unwrap();
            let mut received = vec![0; 65_535];
            let (length, _) = function.recv_from(&mut received).unwrap();
            assert!(received[..length] == sent, "{} bytes to {to}, back {length}", sent.len());
        }
    }
    assert_eq!(lab.get("counters")["dropped_packets"], serde_json::json!({}));

    let ping = |arguments: &[&str]| {
        let command = [&["ping", "-c", "1", "-W", "5"], arguments].concat();
        lab.exec(FRONT, &command).output().unwrap()
    };
    for size in ["0", "8900", "60000"] {
        let output = ping(&["-s", size, "10.0.1.11"]);
        assert!(output.status.success(), "{size}: {}", said(&output));
    }
    let output = ping(&["-M", "dont", "-s", "4000", "198.51.100.7"]);
    assert!(output.status.success(), "{}", said(&output));
    // What is answered has no header of its own either.
    let output = ping(&["-M", "do", "-s", "4000", "198.51.100.7"]);
    assert!(!output.status.success() && said(&output).contains("mtu"), "{}", said(&output));
    assert_eq!(lab.dropped("PACKET_TOO_BIG"), 1);
}

/// A daemon in the foreground, in a directory of its own.
fn daemon(directory: &std::path::Path, device: &str) -> Killed {
    let mut run = viaduct();
    run.arg("run").arg(repository("config/quickstart.yaml")).args(["--device", device]);
    run.arg("--runtime-dir").arg(directory).stderr(Stdio::null());
    Killed(run.spawn().unwrap())
}

/// Offers a device of this kind as the database's, whatever the plan says.
fn offer(holder: &Holder, namespace: &Namespace, kind: DeviceKind) -> Result<u64, Error> {
    let plan = holder.describe(DB, None).unwrap();
    let Attachment { name, token, device } = Attachment::new(DB);
    let made: Device =
        holder::set_up(namespace, &device, &Plan { device: kind, ..plan.clone() }).unwrap();
    holder.hold(Offer { name, token, mtu: plan.mtu }, made)
}

#[test]
fn a_queue_of_the_other_kind_is_refused_and_says_which_is_wanted() {
    if !permitted() {
        return;
    }
    let kinds = [DeviceKind::Plain, DeviceKind::Offload];
    for (wanted, other) in [(kinds[0], kinds[1]), (kinds[1], kinds[0])] {
        let directory = tempfile::tempdir().unwrap();
        let _daemon = daemon(directory.path(), &wanted.to_string());
        let holder = Holder::start(directory.path().join("attach.sock")).unwrap();
        let namespace = netns::create_unnamed().unwrap();
        assert_eq!(holder.describe(DB, None).unwrap().device, wanted);
        match offer(&holder, &namespace, other) {
            Err(Error::Refused { reason: RefusalReason::BadQueue, message, .. }) => {
                let both =
                    format!("is of the kind `{other}`, and the daemon takes `{wanted}` only");
                assert!(message.contains(&both), "{message}");
                assert!(message.contains(DB) && message.contains("eth0"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        offer(&holder, &namespace, wanted).unwrap();
    }
}
