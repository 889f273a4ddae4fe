//! Connections that go on in another engine: noted in the one, taken up in the other, and from then on
//! held against the one that never ended.

mod support;

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};
use support::{ACK, INSIDE, Net, Outcome, Packet, SYN, SYN_ACK, Tcp, echo, tcp, udp};
use viaduct_dataplane::{Memo, Moment, NotResumed, connection::Timeouts, tcp::State};
use viaduct_topology::{Reason, ResourceId, inventory::AttachmentId};
use viaduct_wire::Flow;

/// Every kind of way: behind an ENI, a NAT gateway, both kinds of endpoints, an internet gateway in
/// both directions, and none of them.
const TOPOLOGY: &str = "
services:
  s3:     { prefix_list: [198.18.0.0/24], ip: 198.18.0.10 }
  lambda: { ip: 198.18.1.1 }
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:  { cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }
      private: { cidr_block: 10.0.1.0/24, availability_zone: a }
      data:    { cidr_block: 10.0.2.0/24, availability_zone: a, network_acl: data }
    route_tables:
      main: { main: true, routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: public, private_ip: 10.0.0.5, public_ips: [203.0.113.10, 203.0.113.11] }
    vpc_endpoints:
      s3:     { type: gateway, service: s3, route_tables: [main] }
      lambda: { type: interface, service: lambda, subnets: [private], private_ips: [10.0.1.20], security_groups: [open] }
    network_acls:
      data:
        ingress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } }
        egress:  { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } }
    security_groups:
      function: {}
      open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
      db: { ingress: [ { protocol: all, from: security_group/function },
                       { protocol: all, from: 10.0.2.0/24 } ] }
    instances:
      db:    { subnet: data, private_ip: 10.0.2.10, security_groups: [db] }
      app:   { subnet: data, private_ip: 10.0.2.20, security_groups: [open] }
      front: { subnet: public, private_ip: 10.0.0.20, public_ip: 203.0.113.50, security_groups: [open] }
functions:
  api: { subnets: [main/private], security_groups: [main/function], environments: 2 }
internet:
  web: { ip: 198.51.100.7 }
";

/// What another file says that comes into force between the one engine and the other: part of the
/// text, and what is there instead.
const CHANGES: [(&str, &str); 5] = [
    // Nothing.
    ("", ""),
    ("{ protocol: all, from: security_group/function },", ""),
    (
        "egress:  { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } }",
        "egress:  { 100: { action: deny, protocol: tcp, ports: all, cidr_block: 10.0.1.0/24 },
                   200: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } }",
    ),
    ("routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ]", "routes: []"),
    (
        "      function: {}",
        "      function: { egress: [ { protocol: udp, ports: all, to: 0.0.0.0/0 } ] }",
    ),
];

/// Who speaks with whom: opener, its address, the address it asks for, who gets it.
const LINES: [(&str, &str, &str, &str); 8] = [
    ("function/api/1", INSIDE, "10.0.2.10", "instance/db"),
    ("function/api/2", INSIDE, "198.51.100.7", "internet/web"),
    ("function/api/1", INSIDE, "198.18.0.77", "service/s3"),
    ("function/api/2", INSIDE, "10.0.1.20", "service/lambda"),
    ("instance/app", "10.0.2.20", "198.51.100.7", "internet/web"),
    ("instance/app", "10.0.2.20", "10.0.2.10", "instance/db"),
    ("instance/front", "10.0.0.20", "198.51.100.7", "internet/web"),
    ("internet/web", "198.51.100.7", "203.0.113.50", "instance/front"),
];

const PORT: u16 = 443;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Echo,
}

/// What one end does.
#[derive(Clone, Copy, Debug)]
enum Word {
    Open,
    Data(u16),
    Fin,
    Reset,
}

#[derive(Clone, Debug)]
enum Step {
    /// An end of a conversation sends something; the opener if true.
    Say {
        which: Index,
        opener: bool,
        word: Word,
    },
    Pass {
        millis: u32,
    },
    Expire,
}

/// The ends of a packet: addresses and ports.
type Ends = ((String, u16), (String, u16));

/// A conversation, as its ends know it.
#[derive(Clone, Debug)]
struct Conversation {
    line: usize,
    protocol: Protocol,
    port: u16,
    /// What each end has sent up to, the opener first.
    next: [u32; 2],
    /// What the target last got, in each engine.
    arrived: [Option<Ends>; 2],
    /// Whether the connection in both engines is the one that was noted.
    is_same: bool,
}

impl Conversation {
    fn new(number: usize, line: usize, protocol: Protocol) -> Self {
        // Functions speak no ICMP (LAM-10), nor do gateway endpoints (EP-06).
        let protocol =
            if line < 4 && protocol == Protocol::Echo { Protocol::Udp } else { protocol };
        let port = 40_000 + number as u16;
        let next = [1_000_000, 7_000_000];
        Self { line, protocol, port, next, arrived: [None, None], is_same: true }
    }

    /// The packet that an end sends, and where it comes in; none if it would not know to whom.
    fn packet(&self, engine: usize, opener: bool, word: Word) -> Option<(&'static str, Packet)> {
        let (host, address, to, target) = LINES[self.line];
        let (from, to) = if opener {
            ((address.to_owned(), self.port), (to.to_owned(), PORT))
        } else {
            let (from, to) = self.arrived[engine].clone()?;
            (to, from)
        };
        let (from, to) = ((from.0.as_str(), from.1), (to.0.as_str(), to.1));
        let [own, other] = if opener { self.next } else { [self.next[1], self.next[0]] };
        let packet = match self.protocol {
            Protocol::Tcp => {
                let (flags, payload) = match (word, opener) {
                    (Word::Open, true) => ("S", 0),
                    (Word::Open, false) => ("SA", 0),
                    (Word::Data(length), _) => ("A", length),
                    (Word::Fin, _) => ("FA", 0),
                    (Word::Reset, _) => ("R", 0),
                };
                let segment = Tcp { flags, sequence: own, acknowledgment: other };
                tcp(from, to, segment, &vec![0; payload.into()])
            }
            Protocol::Udp => udp(from, to, b"datagram"),
            Protocol::Echo if opener => echo(from.0, to.0, self.port, false),
            Protocol::Echo => echo(from.0, to.0, to.1, true),
        };
        Some((if opener { host } else { target }, packet))
    }

    /// Notes that an end has sent something.
    fn said(&mut self, opener: bool, word: Word) {
        let next = &mut self.next[usize::from(!opener)];
        *next = next.wrapping_add(match word {
            Word::Open | Word::Fin => 1,
            Word::Data(length) => length.into(),
            Word::Reset => 0,
        });
    }

    fn ends(&self, packet: &Packet) -> Ends {
        match self.protocol {
            Protocol::Echo => {
                let ((from, _), (to, _)) = packet.ends();
                let identifier = u16::from_be_bytes([packet.ip()[24], packet.ip()[25]]);
                ((from, identifier), (to, 0))
            }
            _ => packet.ends(),
        }
    }
}

/// Says something in one engine. Returns what came of it, and what the engine counted: connections
/// opened and ended.
fn say(
    net: &mut Net,
    engine: usize,
    conversation: &mut Conversation,
    opener: bool,
    word: Word,
) -> Option<(Outcome, (u64, u64))> {
    let (from, packet) = conversation.packet(engine, opener, word)?;
    let before = net.engine.counters();
    let outcome = net.send(from, &packet);
    let after = net.engine.counters();
    if let (Outcome::Delivered { packet, .. }, true) = (&outcome, opener) {
        conversation.arrived[engine] = Some(conversation.ends(packet));
    }
    let opened = after.connections_opened - before.connections_opened;
    Some((outcome, (opened, after.connections_ended - before.connections_ended)))
}

/// What came of a packet, without what chance and the number of a host decide: the ports of a connection
/// that is not the noted one, and what an answer is numbered.
fn seen(outcome: &Outcome, conversation: &Conversation) -> String {
    match outcome {
        Outcome::Delivered { at, packet } if conversation.is_same => format!("{at} {packet:?}"),
        Outcome::Delivered { at, packet } => {
            let ((from, _), (to, _)) = packet.ends();
            format!("{at} {from} > {to}, {} bytes", packet.ip().len())
        }
        Outcome::Answered { reason, packet } => format!("answered {reason} {}", packet.flow()),
        Outcome::Dropped(dropped) if conversation.is_same => {
            format!("{} {:?} {:?}", dropped.reason, dropped.flow, dropped.request)
        }
        Outcome::Dropped(dropped) => dropped.reason.to_string(),
        other => format!("{other:?}"),
    }
}

/// Every connection, as it is noted.
fn memos(net: &Net) -> Vec<Memo> {
    (0..net.engine.slots()).filter_map(|slot| net.engine.memo(slot)).collect()
}

/// The same with the identities that the hosts have in another network.
fn renamed(memos: Vec<Memo>, from: &Net, to: &Net) -> Vec<Memo> {
    let name = |id| from.engine.inventory().attachment(id).expect("it is there").name.clone();
    let known = |id| to.id(&name(id));
    let rename =
        |memo: Memo| Memo { opener: known(memo.opener), target: known(memo.target), ..memo };
    memos.into_iter().map(rename).collect()
}

/// Has connections go on in this network.
fn resume(net: &mut Net, memos: &[Memo]) -> BTreeMap<NotResumed, usize> {
    let mut lost = BTreeMap::new();
    for memo in memos {
        if let Err(why) = net.engine.resume(memo, net.now, &mut net.scratch) {
            *lost.entry(why).or_default() += 1;
        }
    }
    lost
}

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![3 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp), 1 => Just(Protocol::Echo)]
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let word = prop_oneof![
        3 => Just(Word::Open),
        6 => (0..1400_u16).prop_map(Word::Data),
        1 => Just(Word::Fin),
        1 => Just(Word::Reset),
    ];
    let say = (any::<Index>(), any::<bool>(), word).prop_map(|(which, opener, word)| Step::Say {
        which,
        opener,
        word,
    });
    let step = prop_oneof![
        20 => say,
        1 => (0..400_000_u32).prop_map(|millis| Step::Pass { millis }),
        2 => (0..1000_u32).prop_map(|millis| Step::Pass { millis }),
        1 => Just(Step::Expire),
    ];
    prop::collection::vec(step, 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// After a random history, the connections go on in another engine, under the same topology or a
    /// changed one. From then on the two say the same of every packet.
    #[test]
    fn another_engine_says_what_the_one_says_that_never_ended(
        conversations in prop::collection::vec((0..LINES.len(), protocols()), 1..16),
        history in steps(160),
        change in 0..CHANGES.len(),
        later in steps(120),
    ) {
        let mut one = Net::load(TOPOLOGY);
        let mut talks: Vec<_> = conversations
            .into_iter()
            .enumerate()
            .map(|(number, (line, protocol))| Conversation::new(number, line, protocol))
            .collect();
        // So that most have something to go on with.
        let hello = |talk: &mut Conversation, net: &mut Net| {
            for (opener, word) in [(true, Word::Open), (false, Word::Open), (true, Word::Data(0))] {
                if say(net, 0, talk, opener, word).is_some() {
                    talk.said(opener, word);
                }
            }
        };
        talks.iter_mut().for_each(|talk| hello(talk, &mut one));
        for step in history {
            match step {
                Step::Say { which, opener, word } => {
                    let talk = which.get_mut(&mut talks);
                    if say(&mut one, 0, talk, opener, word).is_some() {
                        talk.said(opener, word);
                    }
                }
                Step::Pass { millis } => one.pass_millis(millis.into()),
                Step::Expire => one.expire(),
            }
        }
        one.expire();

        let noted = memos(&one);
        prop_assert_eq!(noted.len(), one.engine.connection_count());
        let (text, instead) = CHANGES[change];
        let changed = TOPOLOGY.replacen(text, instead, 1);
        if !text.is_empty() {
            prop_assert_ne!(&changed, TOPOLOGY);
            one.apply(&changed);
        }
        let mut other = Net::load(&changed);
        other.now = one.now;
        // Or it would choose the ports that the one chose in the beginning.
        other.scratch = other.engine.scratch([4; 32]);
        let noted = renamed(noted, &one, &other);
        prop_assert_eq!(resume(&mut other, &noted), BTreeMap::new());
        prop_assert_eq!(other.engine.check(), Ok(()));
        prop_assert_eq!(other.engine.connection_count(), one.engine.connection_count());
        for talk in &mut talks {
            talk.arrived[1] = talk.arrived[0].clone();
        }

        for step in later {
            match step {
                Step::Say { which, opener, word } => {
                    let talk = which.get_mut(&mut talks);
                    let came = say(&mut one, 0, talk, opener, word);
                    let Some((here, counted)) = came else { continue };
                    let (there, counted_there) =
                        say(&mut other, 1, talk, opener, word).expect("both have arrived");
                    prop_assert_eq!(counted, counted_there, "{:?} {:?}: {:?}, {:?}", talk, word, here, there);
                    talk.is_same &= counted.0 == 0;
                    prop_assert_eq!(seen(&here, talk), seen(&there, talk), "{:?} {:?}", talk, word);
                    talk.said(opener, word);
                }
                Step::Pass { millis } => {
                    one.pass_millis(millis.into());
                    other.pass_millis(millis.into());
                }
                Step::Expire => {
                    one.expire();
                    other.expire();
                    prop_assert_eq!(one.engine.connection_count(), other.engine.connection_count());
                }
            }
        }
        for mut net in [one, other] {
            prop_assert_eq!(net.engine.check(), Ok(()));
            net.pass_seconds(10_000_000);
            net.expire();
            net.assert_empty();
        }
    }

    /// Whatever is noted: it goes on or it does not, and the tables agree.
    #[test]
    fn nothing_that_could_be_noted_confuses_an_engine(forged in prop::collection::vec(any_memo(), 1..60)) {
        let mut net = Net::load(TOPOLOGY);
        resume(&mut net, &forged);
        prop_assert_eq!(net.engine.check(), Ok(()));
        for (index, memo) in forged.iter().enumerate() {
            let Flow { protocol, source, destination, source_port, destination_port } = memo.request;
            let (from, to) = ((source.to_string(), source_port), (destination.to_string(), destination_port));
            let (from, to) = ((&*from.0, from.1), (&*to.0, to.1));
            let packet = if protocol == 6 { tcp(from, to, ACK, b"") } else { udp(from, to, b"") };
            let line = LINES[index % LINES.len()];
            net.send(line.0, &packet);
        }
        prop_assert_eq!(net.engine.check(), Ok(()));
        net.now = Moment::from_millis(u64::MAX);
        net.expire();
        net.assert_empty();
    }
}

/// Notes of which much is true: few hosts, interfaces, addresses and ports, so that they meet.
fn any_memo() -> impl Strategy<Value = Memo> {
    let net = Net::load(TOPOLOGY);
    let enis: Vec<ResourceId> = net.engine.enis().into_iter().map(|eni| eni.id).collect();
    let addresses = ["169.254.100.2", "10.0.2.10", "10.0.1.4", "203.0.113.10", "198.51.100.7"];
    let address = prop::sample::select(addresses.map(|text| text.parse().expect("one")).to_vec());
    let port = prop_oneof![Just(0_u16), Just(443), Just(1024), 1024..1030_u16, Just(u16::MAX)];
    let flow =
        (
            prop::sample::select(vec![1_u8, 6, 17, 47]),
            address.clone(),
            address,
            port.clone(),
            port.clone(),
        )
            .prop_map(|(protocol, source, destination, source_port, destination_port)| {
                Flow { protocol, source, destination, source_port, destination_port }
            });
    let translator = prop::option::of(
        (prop::sample::select(enis), port)
            .prop_map(|(eni, port)| viaduct_dataplane::Translator { eni, port }),
    );
    let host = (0..12_u32).prop_map(AttachmentId);
    let ways = (host.clone(), host, flow.clone(), flow, prop::array::uniform3(translator));
    let state = prop::array::uniform32(any::<u8>());
    (
        ways,
        state,
        any::<(u64, u64)>(),
        any::<(u32, u16, u16)>(),
        any::<(bool, bool, bool, u8, u16)>(),
    )
        .prop_map(|(ways, state, times, timeouts, rest)| {
            let (opener, target, request, mut arrival, translators) = ways;
            let (source, destination, interface_endpoint, ttl_decrement, mtu) = rest;
            // Mostly such that it could be.
            if mtu % 4 != 0 {
                arrival.protocol = request.protocol;
                arrival.destination_port = request.destination_port;
                let last = translators.iter().flatten().next_back();
                arrival.source_port = last.map_or(request.source_port, |last| last.port);
            }
            Memo {
                opener,
                target,
                request,
                arrival,
                translators,
                tracking: viaduct_dataplane::walk::Tracking { source, destination },
                interface_endpoint,
                ttl_decrement,
                mtu,
                timeouts: Timeouts {
                    established: timeouts.0,
                    opening: timeouts.1,
                    closing: timeouts.2,
                },
                tcp: State::from_bytes(state.first_chunk().expect("22 of 32")),
                sent: times,
                received: (times.1, times.0),
                created: Moment::from_millis(times.0),
                last_seen: Moment::from_millis(times.1),
            }
        })
}

/// A network with a connection of a function to the database, and one through the NAT gateway.
fn with_two() -> (Net, Vec<Memo>) {
    let mut net = Net::load(TOPOLOGY);
    for line in [LINES[0], LINES[1]] {
        let syn = tcp((line.1, 40_000), (line.2, PORT), SYN, b"");
        let (from, to) = net.send(line.0, &syn).delivered_at(line.3).ends();
        net.send(line.3, &tcp((&to.0, to.1), (&from.0, from.1), SYN_ACK, b"")).delivered_at(line.0);
        net.send(line.0, &tcp((line.1, 40_000), (line.2, PORT), ACK, b"")).delivered_at(line.3);
    }
    let memos = memos(&net);
    assert_eq!(memos.len(), 2);
    (net, memos)
}

#[test]
fn what_cannot_be_true_any_more_does_not_go_on() {
    let (_, memos) = with_two();
    let lost = |topology: &str, memos: &[Memo]| {
        let mut net = Net::load(topology);
        let lost = resume(&mut net, memos);
        assert_eq!(net.engine.check(), Ok(()));
        net.pass_seconds(1000);
        net.expire();
        net.assert_empty();
        lost.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(lost(TOPOLOGY, &memos), []);
    let twice = [memos.clone(), memos.clone()].concat();
    assert_eq!(lost(TOPOLOGY, &twice), [(NotResumed::PortTaken, 2)]);

    let nobody = Memo { opener: AttachmentId(999), ..memos[0].clone() };
    assert_eq!(lost(TOPOLOGY, &[nobody]), [(NotResumed::HostGone, 1)]);
    let without =
        TOPOLOGY.replace("public_ips: [203.0.113.10, 203.0.113.11]", "public_ips: [203.0.113.99]");
    assert_eq!(lost(&without, &memos), [(NotResumed::InterfaceGone, 1)]);
    let elsewhere = "settings: { source_ports: 1024-1024 }".to_owned() + TOPOLOGY;
    assert_eq!(lost(&elsewhere, &memos), [(NotResumed::PortTaken, 2)]);
    let mut swapped = memos[1].clone();
    swapped.translators.swap(0, 1);
    assert_eq!(lost(TOPOLOGY, &[swapped]), [(NotResumed::InterfaceGone, 1)]);
    let mut mismatched = memos[0].clone();
    mismatched.arrival.source_port ^= 1;
    assert_eq!(lost(TOPOLOGY, &[mismatched]), [(NotResumed::PortTaken, 1)]);
    let mut idle = memos[0].clone();
    idle.last_seen = Moment::ZERO;
    assert_eq!(lost(TOPOLOGY, &[idle]), [(NotResumed::Expired, 1)]);

    let mut full = Net::with_capacity(TOPOLOGY, 1);
    assert_eq!(resume(&mut full, &memos), [(NotResumed::TableFull, 1)].into());
    assert_eq!(full.engine.check(), Ok(()));
}

#[test]
fn a_port_that_goes_on_is_not_given_to_another() {
    // Two ports: one goes on, so that others towards the same destination get the other, or none.
    let topology = "settings: { source_ports: 2000-2001, enis_per_vpc: 1 }".to_owned() + TOPOLOGY;
    let mut one = Net::load(&topology);
    let (host, address, to, target) = LINES[0];
    let open = |net: &mut Net, port| net.send(host, &tcp((address, port), (to, PORT), SYN, b""));
    let (_, taken) = open(&mut one, 40_000).delivered_at(target).ends().0;
    let mut other = Net::load(&topology);
    other.now = one.now;
    assert_eq!(resume(&mut other, &memos(&one)), BTreeMap::new());
    let (_, given) = open(&mut other, 40_001).delivered_at(target).ends().0;
    assert_eq!(given, 4001 - taken);
    open(&mut other, 40_002).answered_for(Reason::PortsExhausted);
}

#[test]
fn births_deaths_and_phases_are_told_and_established_packets_are_not() {
    let told = |net: &Net| {
        let mut slots = Vec::new();
        net.engine.changes(|slot| slots.push(slot));
        slots
    };
    let (mut net, _) = with_two();
    assert_eq!(told(&net), [0, 1]);
    let (host, address, to, target) = LINES[0];
    let say = |net: &mut Net, port, segment| {
        net.send(host, &tcp((address, port), (to, PORT), segment, b"")).delivered_at(target).ends()
    };
    say(&mut net, 40_000, ACK);
    assert_eq!(told(&net), [0; 0], "it was established, and is");

    let (from, to_target) = say(&mut net, 40_001, SYN);
    assert_eq!(told(&net), [2], "its birth");
    net.send(target, &tcp((&to_target.0, to_target.1), (&from.0, from.1), SYN_ACK, b""))
        .delivered_at(host);
    assert_eq!(told(&net), [0; 0], "it is opening, as it was");
    say(&mut net, 40_001, ACK);
    assert_eq!(told(&net), [2], "it is established");
    say(&mut net, 40_001, Tcp { flags: "R", sequence: 101, acknowledgment: 0 });
    assert_eq!(told(&net), [2], "its death");
    assert_eq!(net.engine.memo(2), None);
    net.pass_seconds(1000);
    net.expire();
    assert_eq!(told(&net), [0, 1], "their deaths");
}
