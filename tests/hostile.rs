//! A guest that floods, with real packets: connections that are never answered, forged sources,
//! errors about nothing, broken headers, datagrams to everywhere. The daemon lives, its memory stays
//! in bounds, and another environment behind the same interface does not miss one answer.

mod common;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::Stdio,
    time::Instant,
};

use common::{Killed, LIMIT, Lab, has, permitted};
use serde_json::Value;

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
      db: { ingress: [ { protocol: tcp, from: security_group/function, ports: 1-65535 } ] }
    instances:
      db: { subnet: private, private_ip: 10.0.1.10, security_groups: [db] }
functions:
  api: { subnets: [main/private], security_groups: [main/function], environments: 2 }
internet:
  web: { ip: 198.51.100.7 }
";

const FLOODER: &str = "function/api/1";
const VICTIM: &str = "function/api/2";
const DB: &str = "10.0.1.10:5432";
const WEB: &str = "198.51.100.7:443";

/// Packets of the flood, and how many of them open a connection.
const PACKETS: u64 = 200_000;
const SYNS: u64 = PACKETS / 5;

/// What the daemon may take for the flood: a connection is some 300 bytes. In KiB.
const MEMORY: u64 = 64 << 10;

/// Sends every fifth packet as each of the kinds, says `begun` after the first thousand, and at the
/// end how many were sent.
const FLOOD: &str = r#"
import random, socket, struct, sys

SOL_PACKET, PACKET_VNET_HDR = 263, 15
OWN, DB = socket.inet_aton("169.254.100.2"), socket.inet_aton("10.0.1.10")
random.seed(4)

def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff

def packet(protocol, source, destination, payload, first=0x45):
    header = struct.pack("!BBHHHBBH4s4s", first, 0, 20 + len(payload), 1, 0x4000, 64, protocol, 0,
                         source, destination)
    return bytes(10) + header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload

def tcp(source_port, port, flags, source=OWN):
    sequence = random.getrandbits(32)
    segment = struct.pack("!HHIIBBHHH", source_port, port, sequence, 0, 0x50, flags, 64000, 0, 0)
    return packet(6, source, DB, segment)

def somewhere():
    return struct.pack("!I", random.getrandbits(32))

def connection(n):
    return tcp(1024 + n % 40000, 6000 + n // 40000, 2)

def late_segment(n):
    return tcp(random.randrange(1024, 65536), 5432, random.choice([4, 16, 17, 18, 20]))

def forged_source(n):
    return tcp(1024 + n % 40000, 5432, 2, somewhere())

def datagram(n):
    return packet(17, OWN, somewhere(), struct.pack("!HHHH", 4000, random.randrange(1, 65536), 8, 0))

def broken(n):
    kind = n % 4
    if kind == 0:
        return packet(1, OWN, DB, struct.pack("!BBHI", 8, 0, 0, 7))
    if kind == 1:
        return packet(1, OWN, DB, struct.pack("!BBHI", 3, 1, 0, 0) + bytes(28))
    if kind == 2:
        return packet(6, OWN, DB, bytes(7))
    return packet(6, OWN, DB, bytes(20), first=0x4f)

guest = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
guest.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
guest.bind(("eth0", 0x0800))
kinds = [connection, late_segment, forged_source, datagram, broken]
sent = 0
for n in range(int(sys.argv[1])):
    try:
        guest.send(kinds[n % 5](n // 5))
        sent += 1
    except OSError:
        pass  # the device is full, or this kernel does not even take it
    if n == 1000:
        print("begun", flush=True)
print(sent)
"#;

/// An open connection on which each line is answered with itself.
struct Conversation(BufReader<TcpStream>);

impl Conversation {
    fn open(lab: &Lab, to: &str) -> Self {
        Self(BufReader::new(lab.connect(VICTIM, to).unwrap()))
    }

    fn exchange(&mut self, number: u32) {
        let line = format!("{number}\n");
        self.0.get_mut().write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).expect("an answer was lost");
        assert_eq!(answer, line);
    }
}

/// The memory that the daemon's process has, in KiB.
fn memory(lab: &Lab) -> u64 {
    let pid = lab.get("status")["pid"].as_u64().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

/// The victim's connections, each as its target sees it.
fn of_the_victim(lab: &Lab) -> Vec<Value> {
    let connections = lab.get("connections");
    let its = |connection: &&Value| connection["opener"] == VICTIM;
    let mut seen: Vec<Value> = connections
        .as_array()
        .unwrap()
        .iter()
        .filter(its)
        .map(|connection| connection["translated"].clone())
        .collect();
    seen.sort_by_key(ToString::to_string);
    seen
}

// Conforms: RFC 4787 R11
#[test]
fn a_flood_costs_the_others_no_packet() {
    if !permitted() || !has("python3") {
        return;
    }
    let lab = Lab::of("flood", TOPOLOGY);
    let echo = |mut stream: TcpStream| {
        let mut buffer = [0; 64];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(&buffer[..length]);
        }
    };
    lab.serve("instance/db", 5432, echo);
    lab.serve("internet/web", 443, echo);
    let mut conversations: Vec<Conversation> =
        [DB, DB, DB, DB, WEB, WEB, WEB, WEB].map(|to| Conversation::open(&lab, to)).into();
    conversations.iter_mut().for_each(|conversation| conversation.exchange(0));
    let before = of_the_victim(&lab);
    assert_eq!(before.len(), conversations.len());
    let (pid, memory_before) = (lab.get("status")["pid"].clone(), memory(&lab));

    let mut flood = lab.exec(FLOODER, &["python3", "-c", FLOOD, &PACKETS.to_string()]);
    let mut flood = Killed(flood.stdout(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(flood.0.stdout.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "begun\n");

    // As long as it lasts: answers on every connection, and new ones.
    let deadline = Instant::now() + 4 * LIMIT;
    let mut exchanges = 0;
    while flood.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the flood does not end");
        exchanges += 1;
        conversations.iter_mut().for_each(|conversation| conversation.exchange(exchanges));
        Conversation::open(&lab, if exchanges % 2 == 0 { DB } else { WEB }).exchange(exchanges);
    }
    let mut sent = String::new();
    said.read_to_string(&mut sent).unwrap();
    let sent: u64 = sent.trim().parse().unwrap();
    println!("{exchanges} rounds of exchanges beside {sent} packets");
    assert!(exchanges > 0 && sent > PACKETS / 2, "{exchanges} exchanges, {sent} packets");
    conversations.iter_mut().for_each(|conversation| conversation.exchange(u32::MAX));

    let after = of_the_victim(&lab);
    let kept = before.iter().filter(|connection| after.contains(connection)).count();
    assert_eq!(kept, before.len(), "before: {before:#?}\nafter: {after:#?}");
    assert_eq!(lab.get("status")["pid"], pid, "another daemon");
    let taken = memory(&lab).saturating_sub(memory_before);
    assert!(taken < MEMORY, "the daemon took {taken} KiB");

    let counters = lab.get("counters");
    for reason in [
        "SPOOFED_SOURCE",
        "NO_CONNECTION",
        "NO_POSSIBLE_DESTINATION",
        "PROTOCOL_RESTRICTION",
        "MALFORMED_PACKET",
    ] {
        assert!(lab.dropped(reason) > 0, "{reason}: {counters:#}");
    }
    let opened = counters["connections_opened"].as_u64().unwrap();
    let honest = before.len() as u64 + u64::from(exchanges);
    assert!(opened <= SYNS + honest, "{opened} connections of {SYNS} and {honest}");
}
