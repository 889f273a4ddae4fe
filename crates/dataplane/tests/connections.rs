//! As many connections as an ENI and a NAT gateway's address carry, all alive at once, and the one
//! after the last.

mod support;

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
};

use support::{ACK, INSIDE, Net, Packet, SYN, SYN_ACK, Tcp, tcp, traffic::Numbers, udp};
use viaduct_dataplane::{Dropped, Verdict};
use viaduct_topology::{
    Reason, ResourceId,
    inventory::{AttachmentId, Eni, EniOwner, HyperplaneKey},
};
use viaduct_wire::VNET_HEADER_LEN;

/// Four environments of a function behind one ENI, and four servers, two of them on the internet.
const TOPOLOGY: &str = r"
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
      egress: { subnet: public, private_ip: 10.0.0.5, public_ips: [203.0.113.10] }
    security_groups:
      function: {}
      server: { ingress: [ { protocol: tcp, ports: all, from: security_group/function },
                           { protocol: udp, ports: all, from: security_group/function } ] }
    instances:
      one: { subnet: data, private_ip: 10.0.2.11, security_groups: [server] }
      two: { subnet: data, private_ip: 10.0.2.12, security_groups: [server] }
      three: { subnet: data, private_ip: 10.0.2.13, security_groups: [server] }
      four: { subnet: data, private_ip: 10.0.2.14, security_groups: [server] }
functions:
  api: { subnets: [main/private], security_groups: [main/function], environments: 4 }
internet:
  red: { ip: 198.51.100.7 }
  blue: { ip: 198.51.100.8 }
";

/// The first free address of the private subnet: the ENI's. The second is for another one.
const ENI: &str = "10.0.1.4";
const SECOND_ENI: &str = "10.0.1.5";

/// What the servers' port is.
const PORT: u16 = 7;

/// Where the ports are in a packet.
const PORTS: usize = VNET_HEADER_LEN + 20;

/// What each connection says once all of them are open.
type Words = [u8; 16];

/// One end of a flow as a packet carries it.
type End = (Ipv4Addr, u16);

/// Packets of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Syn,
    SynAck,
    Ack,
    Question,
    Answer,
    Datagram,
}

/// How a connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    Tcp,
    Udp,
}

/// A host and the address it has itself.
#[derive(Clone, Copy, Debug)]
struct Party {
    id: AttachmentId,
    ip: Ipv4Addr,
}

/// A connection that stands.
#[derive(Clone, Copy, Debug)]
struct Connection {
    protocol: Protocol,
    client: AttachmentId,
    server: AttachmentId,
    inside: End,
    outside: End,
    /// The client as the server sees it.
    seen: End,
}

/// Connections, and the network that carries them.
struct Crowd {
    net: Net,
    random: Numbers,
    /// Building a packet takes longer than carrying it: only ports and words of these are changed.
    templates: HashMap<(Kind, Ipv4Addr, Ipv4Addr), Vec<u8>>,
    connections: Vec<Connection>,
}

impl Crowd {
    fn new(topology: &str) -> Self {
        let (net, random) = (Net::load(topology), Numbers(1));
        Self { net, random, templates: HashMap::new(), connections: Vec::new() }
    }

    fn party(&self, name: &str, ip: &str) -> Party {
        Party { id: self.net.id(name), ip: ip.parse().expect("an address") }
    }

    fn environments(&self) -> Vec<Party> {
        (1..=4).map(|number| self.party(&format!("function/api/{number}"), INSIDE)).collect()
    }

    fn instances(&self) -> Vec<Party> {
        let numbers = ["one", "two", "three", "four"].into_iter().zip(11..);
        let party = |(name, ip)| self.party(&format!("instance/{name}"), &format!("10.0.2.{ip}"));
        numbers.map(party).collect()
    }

    /// Has the engine carry a packet. The buffer becomes what arrives.
    fn carry(&mut self, from: AttachmentId, packet: &mut [u8]) -> Result<AttachmentId, Reason> {
        let Net { engine, scratch, now, .. } = &mut self.net;
        match engine.forward(packet, from, *now, scratch) {
            Verdict::Forward { target, length } => {
                assert_eq!(length, packet.len());
                Ok(target)
            }
            Verdict::Drop(Dropped { reason, .. }) | Verdict::Answer(Dropped { reason, .. }) => {
                Err(reason)
            }
            other => panic!("no packet is in fragments, or too big: {other:?}"),
        }
    }

    /// A packet; its TCP or UDP checksum is wrong, which no router looks at.
    fn packet(&mut self, kind: Kind, from: End, to: End, words: Words) -> Vec<u8> {
        let template = self.templates.entry((kind, from.0, to.0));
        let mut packet = template.or_insert_with(|| build(kind, from, to)).clone();
        packet[PORTS..PORTS + 2].copy_from_slice(&from.1.to_be_bytes());
        packet[PORTS + 2..PORTS + 4].copy_from_slice(&to.1.to_be_bytes());
        if matches!(kind, Kind::Question | Kind::Answer | Kind::Datagram) {
            let start = packet.len() - words.len();
            packet[start..].copy_from_slice(&words);
        }
        packet
    }

    /// Opens a connection of a client's port, to the end of its handshake.
    fn open(
        &mut self,
        protocol: Protocol,
        (client, port): (Party, u16),
        (server, to_port): (Party, u16),
    ) -> Result<(), Reason> {
        let (inside, outside) = ((client.ip, port), (server.ip, to_port));
        let first = match protocol {
            Protocol::Tcp => Kind::Syn,
            Protocol::Udp => Kind::Datagram,
        };
        let mut packet = self.packet(first, inside, outside, Words::default());
        assert_eq!(self.carry(client.id, &mut packet)?, server.id);
        let (seen, to) = ends(&packet);
        assert_eq!(to, outside);
        self.connections.push(Connection {
            protocol,
            client: client.id,
            server: server.id,
            inside,
            outside,
            seen,
        });
        if protocol == Protocol::Tcp {
            let mut answer = self.packet(Kind::SynAck, outside, seen, Words::default());
            assert_eq!(self.carry(server.id, &mut answer), Ok(client.id));
            let mut last = self.packet(Kind::Ack, inside, outside, Words::default());
            assert_eq!(self.carry(client.id, &mut last), Ok(server.id));
        }
        Ok(())
    }

    /// Opens so many connections, each client to each server in turn.
    fn open_many(&mut self, count: usize, protocol: Protocol, clients: &[Party], to: &[Party]) {
        for number in 0..count {
            let (turn, client) = (number / clients.len(), number % clients.len());
            let port = 1024 + u16::try_from(turn / to.len()).expect("a client has ports for it");
            self.open(protocol, (clients[client], port), (to[turn % to.len()], PORT))
                .unwrap_or_else(|reason| panic!("connection {number}: {reason}"));
        }
    }

    /// Has every connection say something, and the server say it back.
    fn echo(&mut self) {
        for connection in self.connections.clone() {
            let Connection { protocol, client, server, inside, outside, seen } = connection;
            let words: Words = (u128::from(self.random.next()) << 64
                | u128::from(self.random.next()))
            .to_be_bytes();
            let (question, answer) = match protocol {
                Protocol::Tcp => (Kind::Question, Kind::Answer),
                Protocol::Udp => (Kind::Datagram, Kind::Datagram),
            };
            let mut packet = self.packet(question, inside, outside, words);
            assert_eq!(self.carry(client, &mut packet), Ok(server), "{connection:?}");
            assert_eq!(ends(&packet), (seen, outside));
            assert!(packet.ends_with(&words));

            let mut packet = self.packet(answer, outside, seen, words);
            assert_eq!(self.carry(server, &mut packet), Ok(client), "{connection:?}");
            assert_eq!(ends(&packet), (outside, inside));
            assert!(packet.ends_with(&words));
        }
    }

    /// How many of the clients the servers can tell apart.
    fn told_apart(&self) -> usize {
        let seen = self.connections.iter().map(|it| (it.protocol, it.outside, it.seen));
        seen.collect::<HashSet<_>>().len()
    }

    fn refused(&self, reason: Reason) -> u64 {
        self.net.engine.counters().dropped(reason)
    }
}

fn build(kind: Kind, (from, _): End, (to, _): End) -> Vec<u8> {
    let (from, to) = (from.to_string(), to.to_string());
    let (from, to) = ((from.as_str(), 0), (to.as_str(), 0));
    let words = Words::default();
    let question = Tcp { flags: "A", ..ACK };
    let answer = Tcp { flags: "A", sequence: 901, acknowledgment: 117 };
    let Packet(bytes) = match kind {
        Kind::Syn => tcp(from, to, SYN, b""),
        Kind::SynAck => tcp(from, to, SYN_ACK, b""),
        Kind::Ack => tcp(from, to, ACK, b""),
        Kind::Question => tcp(from, to, question, &words),
        Kind::Answer => tcp(from, to, answer, &words),
        Kind::Datagram => udp(from, to, &words),
    };
    bytes
}

/// Source and destination of a packet.
fn ends(packet: &[u8]) -> (End, End) {
    let four = |at: usize| <[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes");
    let two = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let addresses = VNET_HEADER_LEN + 12;
    let end = |at, port| (Ipv4Addr::from(four(at)), two(port));
    (end(addresses, PORTS), end(addresses + 4, PORTS + 2))
}

/// Another ENI of the function's key (LAM-07).
fn add_second_eni(net: &Net) {
    let plan = net.plan();
    let first = plan.enis.iter().find(|eni| matches!(eni.owner, EniOwner::Functions(_)));
    let first = first.expect("the function's ENI");
    let EniOwner::Functions(key) = &first.owner else { unreachable!("it was looked for") };
    let key = HyperplaneKey { ordinal: 1, ..key.clone() };
    net.engine
        .add_eni(&Eni {
            id: ResourceId::named("eni-second"),
            private_ip: SECOND_ENI.parse().expect("an address"),
            owner: EniOwner::Functions(key),
            ..first.clone()
        })
        .expect("address and id are free");
}

/// What the function's ENIs carry, and whether they are near capacity.
fn loads(net: &Net) -> Vec<(u32, bool)> {
    let mut loads = Vec::new();
    net.engine.visit_loads(|_, load| loads.push((load.connections, load.near_capacity)));
    loads
}

// Conforms: LAM-07
#[test]
fn lam_07_an_eni_that_drains_keeps_what_it_has_and_gets_no_more() {
    let mut crowd = Crowd::new(TOPOLOGY);
    let (client, server) = (crowd.environments()[0], crowd.instances()[0]);
    let open = |crowd: &mut Crowd, port| {
        crowd.open(Protocol::Tcp, (client, port), (server, PORT)).expect("there is room");
        crowd.connections.last().expect("it was opened").seen.0.to_string()
    };
    assert_eq!(open(&mut crowd, 1), ENI);
    let first = crowd.net.engine.inventory().enis();
    let first = first.iter().find(|eni| eni.ip.to_string() == ENI).expect("it is there").id.clone();
    let generation = crowd.net.engine.generation();

    // Alone, it serves on: rather that than refuse.
    crowd.net.engine.drain_eni(&first, crowd.net.now).expect("it is there");
    assert_eq!(open(&mut crowd, 2), ENI);
    add_second_eni(&crowd.net);
    assert_eq!(open(&mut crowd, 3), SECOND_ENI);
    crowd.echo();
    assert_eq!(loads(&crowd.net), [(2, false), (1, false)]);
    assert_eq!(crowd.net.engine.generation(), generation, "nobody is walked anew for it");

    // Not even when everything is walked anew, and never by itself.
    crowd.net.reload(&TOPOLOGY.replace("ports: all", "ports: 1-65535"));
    crowd.net.engine.trim(crowd.net.now);
    crowd.echo();
    assert_eq!(loads(&crowd.net), [(2, false), (1, false)]);
    crowd.net.engine.remove_eni(&first).expect("another is there");
    assert_eq!(open(&mut crowd, 4), SECOND_ENI);
    let instance = crowd.net.engine.inventory().enis();
    let instance = instance.iter().find(|eni| eni.ports.is_none()).expect("an instance's");
    let refused = crowd.net.engine.drain_eni(&instance.id, crowd.net.now).unwrap_err();
    assert!(refused.to_string().contains("cannot drain"), "{refused}");
}

// Conforms: LAM-07, D-11
#[test]
fn lam_07_one_destination_makes_an_eni_near_its_capacity() {
    let mut crowd = Crowd::new(TOPOLOGY);
    let (clients, servers) = (crowd.environments(), crowd.instances());
    crowd.open_many(48_383, Protocol::Tcp, &clients, &servers[..1]);
    assert_eq!(loads(&crowd.net), [(48_383, false)]);
    crowd.open(Protocol::Tcp, (clients[0], 60_000), (servers[0], PORT)).expect("there is room");
    assert_eq!(loads(&crowd.net), [(48_384, true)], "of 64,512 ports");
}

// Conforms: LAM-07, D-11
#[test]
fn lam_07_d_11_an_eni_carries_65_000_connections_all_alive_and_the_next_one_the_rest() {
    let mut crowd = Crowd::new(TOPOLOGY);
    let (clients, servers) = (crowd.environments(), crowd.instances());
    crowd.open_many(65_000, Protocol::Tcp, &clients, &servers);
    assert_eq!(crowd.net.ports_in_use(ENI), 65_000);
    assert_eq!(crowd.told_apart(), 65_000);

    for (refused, server) in (1..).zip(&servers) {
        let late = crowd.open(Protocol::Tcp, (clients[0], 60_000), (*server, PORT));
        assert_eq!(late, Err(Reason::QuotaExceeded));
        let late = crowd.open(Protocol::Udp, (clients[0], 60_000), (*server, PORT));
        assert_eq!(late, Err(Reason::QuotaExceeded), "TCP and UDP count together");
        assert_eq!(crowd.refused(Reason::QuotaExceeded), 2 * refused);
    }

    add_second_eni(&crowd.net);
    crowd.open(Protocol::Tcp, (clients[0], 60_000), (servers[0], PORT)).expect("the next ENI's");
    let last = crowd.connections.last().expect("it was opened");
    assert_eq!(last.seen.0.to_string(), SECOND_ENI);
    crowd.echo();
    assert_eq!((crowd.net.ports_in_use(ENI), crowd.net.ports_in_use(SECOND_ENI)), (65_000, 1));
    assert_eq!(crowd.net.engine.connection_count(), 65_001);
}

// Conforms: RFC 6888 R13, LAM-09
#[test]
fn lam_09_an_eni_has_64_512_ports_for_one_destination_and_the_next_one_the_rest() {
    let mut crowd = Crowd::new(TOPOLOGY);
    let (clients, servers) = (crowd.environments(), crowd.instances());
    crowd.open_many(64_512, Protocol::Udp, &clients, &servers[..1]);
    let ports: HashSet<u16> = crowd.connections.iter().map(|it| it.seen.1).collect();
    assert_eq!((ports.len(), ports.iter().min()), (64_512, Some(&1024)));

    let late = (clients[0], 60_000);
    assert_eq!(crowd.open(Protocol::Udp, late, (servers[0], PORT)), Err(Reason::PortsExhausted));
    assert_eq!(crowd.refused(Reason::PortsExhausted), 1);
    assert_eq!(crowd.net.ports_in_use(ENI), 64_512, "a refusal takes nothing");
    // Ports that are taken toward one destination serve another (D-11).
    crowd.open(Protocol::Udp, late, (servers[1], PORT)).expect("another destination");
    crowd.open(Protocol::Udp, late, (servers[0], PORT + 1)).expect("another destination");
    crowd.open(Protocol::Tcp, late, (servers[0], PORT)).expect("another protocol");

    add_second_eni(&crowd.net);
    crowd.open(Protocol::Udp, late, (servers[0], PORT)).expect("the next ENI's");
    let last = crowd.connections.last().expect("it was opened");
    assert_eq!(last.seen.0.to_string(), SECOND_ENI);
    crowd.echo();
    assert_eq!((crowd.net.ports_in_use(ENI), crowd.net.ports_in_use(SECOND_ENI)), (64_515, 1));
}

// Conforms: RFC 7857 overlapping, NAT-05, NAT-09
#[test]
fn nat_05_nat_09_a_nat_address_carries_55_000_connections_to_each_destination() {
    let mut crowd = Crowd::new(TOPOLOGY);
    let clients = crowd.instances();
    let servers =
        [crowd.party("internet/red", "198.51.100.7"), crowd.party("internet/blue", "198.51.100.8")];
    crowd.open_many(110_000, Protocol::Udp, &clients, &servers);
    assert_eq!(crowd.told_apart(), 110_000);
    assert_eq!(crowd.net.ports_in_use("10.0.0.5"), 110_000);

    for (refused, server) in (1..).zip(servers) {
        let late = crowd.open(Protocol::Udp, (clients[0], 60_000), (server, PORT));
        assert_eq!(late, Err(Reason::PortsExhausted));
        assert_eq!(crowd.refused(Reason::PortsExhausted), refused);
    }
    // Destination, port and protocol: any of them makes another destination.
    crowd.open(Protocol::Udp, (clients[0], 60_000), (servers[0], PORT + 1)).expect("another port");
    crowd.open(Protocol::Tcp, (clients[0], 60_000), (servers[0], PORT)).expect("another protocol");
    crowd.echo();
    assert_eq!(crowd.net.engine.connection_count(), 110_002);
}

// Conforms: NAT-06
#[test]
fn nat_06_two_nat_addresses_carry_110_000_connections_to_one_destination() {
    let two = TOPOLOGY.replace("[203.0.113.10]", "[203.0.113.10, 203.0.113.11]");
    let mut crowd = Crowd::new(&two);
    let clients = crowd.instances();
    let red = crowd.party("internet/red", "198.51.100.7");
    crowd.open_many(110_000, Protocol::Udp, &clients, &[red]);
    assert_eq!(crowd.told_apart(), 110_000);
    for address in ["203.0.113.10", "203.0.113.11"] {
        let behind = |it: &&Connection| it.seen.0.to_string() == address;
        assert_eq!(crowd.connections.iter().filter(behind).count(), 55_000, "{address}");
    }

    let late = crowd.open(Protocol::Udp, (clients[0], 60_000), (red, PORT));
    assert_eq!(late, Err(Reason::PortsExhausted));
    assert_eq!(crowd.refused(Reason::PortsExhausted), 1);
    crowd.echo();
    assert_eq!(crowd.net.engine.connection_count(), 110_000);
}
