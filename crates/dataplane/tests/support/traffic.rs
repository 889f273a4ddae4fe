//! Many connections of one environment, and the packets that belong to them: for benches and for
//! the tests of what a packet costs.

use viaduct_dataplane::Verdict;

use super::{INSIDE, Net, Packet, SYN, SYN_ACK, Tcp, tcp};

/// One function, one database, and limits that a bench does not meet.
const TOPOLOGY: &str = "
settings: { eni_connections: 1000000, environment_connections: none }
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      private: { cidr_block: 10.0.1.0/24, availability_zone: a }
      data:    { cidr_block: 10.0.2.0/24, availability_zone: a }
    security_groups:
      function: {}
      db: { ingress: [ { protocol: tcp, ports: 1-65535, from: security_group/function } ] }
    instances:
      db: { subnet: data, private_ip: 10.0.2.10, security_groups: [db] }
functions:
  api: { subnets: [main/private], security_groups: [main/function] }
";

const ENI: &str = "10.0.1.4";
const DATABASE: &str = "10.0.2.10";
const API: &str = "function/api/1";

/// Connections from one inside address to one database differ by both ports: this many for each
/// destination port.
const PER_DESTINATION: u32 = 1 << 15;

/// An engine with established TCP connections, numbered from 0.
pub(crate) struct Traffic {
    pub(crate) net: Net,
    count: u32,
    /// A segment of 20 + 20 bytes, ports to be filled in.
    template: Vec<u8>,
    buffer: Vec<u8>,
}

impl Traffic {
    /// Opens `count` connections and establishes them.
    pub(crate) fn establish(count: u32) -> Self {
        let mut net = Net::load(TOPOLOGY);
        for number in 0..count {
            let (inside, outside) = ports(number);
            let (from, to) = ((INSIDE, inside), (DATABASE, outside));
            let request = net.send(API, &tcp(from, to, SYN, b"")).delivered_at("instance/db");
            let port = request.ends().0.1;
            net.send("instance/db", &tcp(to, (ENI, port), SYN_ACK, b"")).delivered_at(API);
            net.send(API, &segment(number)).delivered_at("instance/db");
        }
        let Packet(template) = segment(0);
        Self { net, count, buffer: template.clone(), template }
    }

    /// Sends one segment of the connection that `random` chooses. Returns the verdict.
    pub(crate) fn send_any(&mut self, random: u64) -> Verdict {
        let number = ((u64::from(self.count) * (random >> 32)) >> 32) as u32;
        self.send(number)
    }

    /// Sends one segment of this connection. Its TCP checksum is wrong, which no router looks at.
    pub(crate) fn send(&mut self, number: u32) -> Verdict {
        let (inside, outside) = ports(number);
        self.buffer.copy_from_slice(&self.template);
        self.buffer[30..32].copy_from_slice(&inside.to_be_bytes());
        self.buffer[32..34].copy_from_slice(&outside.to_be_bytes());
        let Net { engine, scratch, now, .. } = &mut self.net;
        // The first environment is the first attachment.
        engine.forward(
            &mut self.buffer,
            viaduct_topology::inventory::AttachmentId(1),
            *now,
            scratch,
        )
    }
}

fn segment(number: u32) -> Packet {
    let (inside, outside) = ports(number);
    tcp(
        (INSIDE, inside),
        (DATABASE, outside),
        Tcp { flags: "A", sequence: 101, acknowledgment: 901 },
        b"",
    )
}

fn ports(number: u32) -> (u16, u16) {
    let inside = 1024 + (number % PER_DESTINATION) as u16;
    let outside = 1 + (number / PER_DESTINATION) as u16;
    (inside, outside)
}

/// A sequence of numbers without any pattern the caches could learn (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
