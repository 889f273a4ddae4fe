//! Many connections of one environment, and the packets that belong to them: for benches and for
//! the tests of what a packet costs.

use viaduct_dataplane::Verdict;
use viaduct_topology::inventory::AttachmentId;

use super::{ACK, INSIDE, Net, SYN, SYN_ACK, tcp};

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

/// The first environment is the first attachment.
const API: AttachmentId = AttachmentId(1);

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
        let request = |header| tcp((INSIDE, 1), (DATABASE, 1), header, b"").0;
        let (syn, segment) = (request(SYN), request(ACK));
        let answer = tcp((DATABASE, 1), (ENI, 1), SYN_ACK, b"").0;
        let database = net.id("instance/db");
        let mut buffer = segment.clone();
        for number in 0..count {
            let (inside, outside) = ports(number);
            let port = {
                net.forward(&mut buffer, &syn, API, (inside, outside));
                u16::from_be_bytes([buffer[30], buffer[31]])
            };
            net.forward(&mut buffer, &answer, database, (outside, port));
            net.forward(&mut buffer, &segment, API, (inside, outside));
        }
        Self { net, count, template: segment, buffer }
    }

    /// Sends one segment of the connection that `random` chooses. Returns the verdict.
    pub(crate) fn send_any(&mut self, random: u64) -> Verdict {
        let number = ((u64::from(self.count) * (random >> 32)) >> 32) as u32;
        self.send(number)
    }

    /// Sends one segment of this connection.
    pub(crate) fn send(&mut self, number: u32) -> Verdict {
        let Self { net: Net { engine, scratch, now, .. }, template, buffer, .. } = self;
        fill(buffer, template, ports(number));
        engine.forward(buffer, API, *now, scratch)
    }
}

impl Net {
    /// Sends a copy of a segment from one port to another, which must pass.
    fn forward(
        &mut self,
        buffer: &mut [u8],
        template: &[u8],
        ingress: AttachmentId,
        ports: (u16, u16),
    ) {
        fill(buffer, template, ports);
        let verdict = self.engine.forward(buffer, ingress, self.now, &mut self.scratch);
        assert!(matches!(verdict, Verdict::Forward { .. }), "{verdict:?}");
    }
}

/// Copies a segment and gives it other ports. Its TCP checksum is then wrong, which no router looks
/// at.
fn fill(buffer: &mut [u8], template: &[u8], (from, to): (u16, u16)) {
    buffer.copy_from_slice(template);
    buffer[30..32].copy_from_slice(&from.to_be_bytes());
    buffer[32..34].copy_from_slice(&to.to_be_bytes());
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
