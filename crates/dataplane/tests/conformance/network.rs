//! The network that most tests here are about, and packets that the common builders lack.

use std::net::Ipv4Addr;

use etherparse::{PacketBuilder, TcpOptionElement};
use viaduct_wire::VNET_HEADER_LEN;

use crate::support::{ACK, INSIDE, Net, Packet, SYN, SYN_ACK, tcp};

/// Two translations in a row for functions, one for `db` and `app`, none between instances.
pub(crate) const TOPOLOGY: &str = r"
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:  { cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }
      private: { cidr_block: 10.0.1.0/24, availability_zone: a }
      data:    { cidr_block: 10.0.2.0/24, availability_zone: a }
    route_tables:
      main:   { main: true, routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: public, private_ip: 10.0.0.5, public_ips: [203.0.113.10] }
    vpc_endpoints:
      lambda: { type: interface, service: lambda, subnets: [private], private_ips: [10.0.1.20], security_groups: [open] }
      s3:     { type: gateway, service: s3, route_tables: [main] }
    security_groups:
      function: {}
      open: { ingress: [ { protocol: -1, from: 0.0.0.0/0 } ] }
    instances:
      db:  { subnet: data, private_ip: 10.0.2.10, security_groups: [open] }
      app: { subnet: data, private_ip: 10.0.2.11, security_groups: [open] }
      web: { subnet: public, private_ip: 10.0.0.20, public_ip: 203.0.113.20, security_groups: [open] }
      www: { subnet: public, private_ip: 10.0.0.21, public_ip: 203.0.113.21, security_groups: [open] }
functions:
  api: { subnets: [main/private], security_groups: [main/function], environments: 2 }
services:
  s3:     { prefix_list: [198.18.0.0/24], ip: 198.18.0.10 }
  lambda: { ip: 198.18.1.1 }
internet:
  host:  { ip: 198.51.100.7 }
  other: { ip: 198.51.100.8 }
";

pub(crate) const API: &str = "function/api/1";
pub(crate) const DB: &str = "instance/db";
pub(crate) const APP: &str = "instance/app";
pub(crate) const WEB: &str = "instance/web";
pub(crate) const WWW: &str = "instance/www";
pub(crate) const HOST: &str = "internet/host";
pub(crate) const OTHER: &str = "internet/other";

/// The function's Hyperplane ENI; the NAT gateway, inside and outside.
pub(crate) const ENI: &str = "10.0.1.4";
pub(crate) const NAT: &str = "10.0.0.5";
pub(crate) const PUBLIC: &str = "203.0.113.10";

pub(crate) const HOST_IP: &str = "198.51.100.7";
pub(crate) const OTHER_IP: &str = "198.51.100.8";
pub(crate) const DB_IP: &str = "10.0.2.10";
pub(crate) const APP_IP: &str = "10.0.2.11";

pub(crate) const CLIENT: (&str, u16) = (INSIDE, 40_000);
pub(crate) const SERVER: (&str, u16) = (HOST_IP, 443);

pub(crate) fn network() -> Net {
    Net::load(TOPOLOGY)
}

/// The network with other settings, as `key: value, …`.
pub(crate) fn network_with(settings: &str) -> Net {
    Net::load(&format!("settings: {{ {settings} }}\n{TOPOLOGY}"))
}

/// Opens a TCP connection of the function's to the host of the internet, to the end of its handshake.
/// Returns the public port.
pub(crate) fn establish(net: &mut Net) -> u16 {
    let port = net.send(API, &tcp(CLIENT, SERVER, SYN, b"")).delivered_at(HOST).ends().0.1;
    net.send(HOST, &tcp(SERVER, (PUBLIC, port), SYN_ACK, b"")).delivered_at(API);
    net.send(API, &tcp(CLIENT, SERVER, ACK, b"")).delivered_at(HOST);
    port
}

/// The word at `at` of the IP packet.
pub(crate) fn word(packet: &Packet, at: usize) -> u16 {
    u16::from_be_bytes([packet.ip()[at], packet.ip()[at + 1]])
}

/// An echo's identifier, in a packet without IP options.
pub(crate) fn identifier(echo: &Packet) -> u16 {
    word(echo, 24)
}

/// A SYN or SYN-ACK that announces a segment size.
pub(crate) fn announcing(from: (&str, u16), to: (&str, u16), ack: bool, size: u16) -> Packet {
    let [source, destination] =
        [from.0, to.0].map(|ip| ip.parse::<Ipv4Addr>().expect("an address"));
    let mut bytes = vec![0; VNET_HEADER_LEN];
    let sequence = if ack { SYN_ACK.sequence } else { SYN.sequence };
    let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
        .tcp(from.1, to.1, sequence, 64_000)
        .syn()
        .options(&[TcpOptionElement::Noop, TcpOptionElement::MaximumSegmentSize(size)])
        .expect("five bytes");
    let builder = if ack { builder.ack(SYN_ACK.acknowledgment) } else { builder };
    builder.write(&mut bytes, b"").expect("a segment");
    Packet(bytes)
}

/// The segment size that such a packet announces; checks the checksums on the way.
pub(crate) fn announced(packet: &Packet) -> u16 {
    packet.flow();
    word(packet, 43)
}

/// An ICMP message: its type and code, the second half of its header, and what follows.
pub(crate) fn icmp(from: &str, to: &str, kind: (u8, u8), rest: [u8; 4], payload: &[u8]) -> Packet {
    let [source, destination] = [from, to].map(|ip| ip.parse::<Ipv4Addr>().expect("an address"));
    let mut bytes = vec![0; VNET_HEADER_LEN];
    PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
        .icmpv4_raw(kind.0, kind.1, rest)
        .write(&mut bytes, payload)
        .expect("a message");
    Packet(bytes)
}
