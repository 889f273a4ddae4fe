//! Floods: an environment or a host of the internet sends as much as it can of something, and the
//! connections of others go on. Not one of their packets is lost, each keeps its port, and when the
//! time of what the flood opened is over, nothing of it is left.
//!
//! How much of an interface one environment may take from the others of its function is a matter of
//! quotas, and tried with them. Here, the others have what they need already.

use viaduct_dataplane::Dropped;
use viaduct_topology::Reason;

use super::{API, DB, ENI, HOST, NAT_PUBLIC, TOPOLOGY, WEB};
use crate::support::{
    ACK, INSIDE, Net, Outcome, Packet, SYN, SYN_ACK, Tcp, echo, icmp_error, tcp, traffic::Numbers,
    udp,
};

/// Who floods: another environment of the same function, behind the same interface.
const FLOODER: &str = "function/api/2";
/// Packets of a flood.
const PACKETS: u32 = 20_000;
/// Packets between two looks at the others.
const BETWEEN: u32 = 500;

/// Connections of others, to an instance and through a NAT gateway to the internet.
struct Others {
    connections: Vec<Other>,
    sequence: u32,
}

struct Other {
    /// Its port inside.
    inside: u16,
    to: (&'static str, u16),
    /// Who is there, and what it sees as the source.
    at: &'static str,
    seen: (String, u16),
}

impl Others {
    fn establish(net: &mut Net) -> Self {
        let mut connections = Vec::new();
        for number in 0..8 {
            for (to, at) in [((DB, 5432), "instance/db"), ((HOST, 443), "internet/host")] {
                let inside = 50_000 + number;
                let request = net.send(API, &tcp((INSIDE, inside), to, SYN, b"")).delivered_at(at);
                let seen = request.ends().0;
                net.send(at, &tcp(to, (&seen.0, seen.1), SYN_ACK, b"")).delivered_at(API);
                net.send(API, &tcp((INSIDE, inside), to, ACK, b"")).delivered_at(at);
                connections.push(Other { inside, to, at, seen });
            }
        }
        Self { connections, sequence: 0 }
    }

    /// Every one carries a byte there and a byte back.
    #[track_caller]
    fn go_on(&mut self, net: &mut Net) {
        for Other { inside, to, at, seen } in &self.connections {
            let there = Tcp {
                sequence: ACK.sequence + self.sequence,
                acknowledgment: ACK.acknowledgment + self.sequence,
                ..ACK
            };
            let request = net.send(API, &tcp((INSIDE, *inside), *to, there, b"x"));
            assert_eq!(request.delivered_at(at).ends().0, *seen, "another port");
            let back =
                Tcp { sequence: there.acknowledgment, acknowledgment: there.sequence + 1, ..ACK };
            let reply = net.send(at, &tcp(*to, (&seen.0, seen.1), back, b"y")).delivered_at(API);
            assert_eq!(reply.ends().1, (INSIDE.to_owned(), *inside));
        }
        self.sequence += 1;
    }
}

/// What an interface carries, so that a flood fills it.
const SETTINGS: &str = "settings: { eni_connections: 5000 }";

/// Memory of a connection, its entries in the index and the slack of both, in bytes; and what there
/// is before the first.
const CONNECTION: usize = 512;
const AT_FIRST: usize = 512 << 10;

/// Runs a flood, twice. `send` sends the packet of a number and says what it found. Afterwards the
/// others have what they had, and nothing else is left.
#[track_caller]
fn flood(mut send: impl FnMut(&mut Net, u32)) {
    let mut net = Net::load(&format!("{SETTINGS}{TOPOLOGY}"));
    let mut others = Others::establish(&mut net);
    let count = net.engine.connection_count();
    let ports = |net: &Net| (net.ports_in_use(ENI), net.ports_in_use("10.0.0.5"));
    let held = ports(&net);
    let mut most = 0;
    for _ in 0..2 {
        for number in 0..PACKETS {
            send(&mut net, number);
            if number % BETWEEN == 0 {
                others.go_on(&mut net);
            }
        }
        most = most.max(net.engine.connection_count());
        let memory = net.engine.connection_memory();
        let bound = AT_FIRST + most * CONNECTION;
        assert!(memory <= bound, "{memory} bytes for at most {most} connections");
        // Every timer that a flood can have started is over, and none that answered traffic has.
        for _ in 0..3 {
            net.pass_seconds(240);
            others.go_on(&mut net);
        }
        net.expire();
        assert_eq!(net.engine.connection_count(), count, "the flood left connections");
        assert_eq!(ports(&net), held, "the flood left ports");
    }
}

/// Delivered, or refused for want of room.
#[track_caller]
fn delivered_or_full(outcome: Outcome) {
    match outcome {
        Outcome::Delivered { .. } => {}
        Outcome::Dropped(Dropped { reason, .. }) | Outcome::Answered { reason, .. }
            if matches!(reason, Reason::PortsExhausted | Reason::QuotaExceeded) => {}
        other => panic!("{other:?}"),
    }
}

/// A different pair of ports for each number.
fn ports(number: u32) -> (u16, u16) {
    let low = u16::try_from(number % 40_000).unwrap();
    (1024 + low, 1 + u16::try_from(number / 40_000).unwrap())
}

// Conforms: RFC 4787 R11
#[test]
fn of_connections_that_are_never_answered() {
    flood(|net, number| {
        let (from, to) = ports(number);
        let syn = tcp((INSIDE, from), (DB, to), SYN, b"");
        delivered_or_full(net.send(FLOODER, &syn));
    });
}

#[test]
fn of_datagrams_to_everywhere() {
    let mut random = Numbers(1);
    flood(move |net, number| {
        let [a, b, c, d, e, f, ..] = random.next().to_le_bytes();
        let port = u16::from_le_bytes([e, f]).max(1);
        if number % 2 == 0 {
            // Somebody there takes all of them.
            delivered_or_full(net.send(FLOODER, &udp((INSIDE, port), (HOST, port), b"")));
        } else {
            // Nobody is there in nearly all cases.
            let to = std::net::Ipv4Addr::from([a, b, c, d]).to_string();
            let _ = net.send(FLOODER, &udp((INSIDE, port), (&to, port), b""));
        }
    });
}

#[test]
fn of_echoes() {
    flood(|net, number| {
        // A function has no echo (LAM-10); an instance has one for each identifier.
        let id = number as u16;
        net.send(FLOODER, &echo(INSIDE, HOST, id, false)).dropped_for(Reason::ProtocolRestriction);
        delivered_or_full(net.send("instance/web", &echo(WEB, HOST, id, false)));
        // And replies that nobody asked for.
        net.send("internet/host", &echo(HOST, NAT_PUBLIC, id, true))
            .dropped_for(Reason::NatGatewayUnsolicited);
    });
}

/// The NAT gateway's port of one of the others' connections.
fn port_of_another(net: &Net) -> u16 {
    let to_host =
        |info: &viaduct_dataplane::ConnectionInfo| info.request.destination.to_string() == HOST;
    let found = net.engine.connections(net.now, 1, to_host);
    found.first().expect("a connection to the internet").translated.source_port
}

/// About every port of the NAT gateway, and again and again about one that has a connection: the
/// error arrives there, and the connection goes on.
// Conforms: RFC 4787 R12, RFC 5382 R10
#[test]
fn of_icmp_errors() {
    let mut met = 0;
    flood(|net, number| {
        let port = match number % 4 {
            0 => port_of_another(net),
            _ => 1024 + u16::try_from(number % 64_000).unwrap(),
        };
        let quoted = tcp((NAT_PUBLIC, port), (HOST, 443), ACK, b"");
        let code = (number / 4 % 4) as u8;
        let error = icmp_error("198.51.100.99", NAT_PUBLIC, 3, code, quoted.ip());
        match net.send("internet/other", &error) {
            Outcome::Delivered { at, .. } => {
                assert_eq!(at, API);
                met += 1;
            }
            Outcome::Dropped(dropped) => assert_eq!(dropped.reason, Reason::NoConnection),
            other => panic!("{other:?}"),
        }
    });
    assert!(met >= PACKETS / 4, "only {met} errors met a connection");
}

/// Resets and ends of connections from a host that knows addresses and ports, and not where the
/// sequence is.
// Conforms: RFC 7857 RST
#[test]
fn of_forged_ends() {
    let mut random = Numbers(2);
    let mut seen = None;
    flood(move |net, number| {
        // The edge takes the packets of its end from any host of the internet.
        let port = *seen.get_or_insert_with(|| port_of_another(net));
        // Far from everything that either end sends.
        let sequence = 0x1000_0000 + (random.next() as u32 >> 1);
        let flags = ["R", "RA", "FA", "F"][number as usize % 4];
        let end = Tcp { flags, sequence, acknowledgment: sequence };
        net.send("internet/other", &tcp((HOST, 443), (NAT_PUBLIC, port), end, b""))
            .delivered_at(API);
        // And for connections that are not there.
        let nobody = Tcp { flags: "R", sequence, acknowledgment: 0 };
        let (from, _) = ports(number);
        net.send(FLOODER, &tcp((INSIDE, from), (HOST, 443), nobody, b""))
            .dropped_for(Reason::NoConnection);
    });
}

/// One pair of ports after another, opened and closed as fast as it goes, and all over again.
#[test]
fn of_connections_that_come_and_go() {
    flood(|net, number| {
        let inside = (INSIDE, 20_000 + u16::try_from(number % 1000).unwrap());
        let to = (HOST, 443);
        let segment = |flags, sequence, acknowledgment| Tcp { flags, sequence, acknowledgment };
        let there = |net: &mut Net, flags, sequence, acknowledgment| -> Packet {
            let packet = tcp(inside, to, segment(flags, sequence, acknowledgment), b"");
            net.send(FLOODER, &packet).delivered_at("internet/host")
        };
        if number % 4 != 0 {
            return;
        }
        let start = number.wrapping_mul(64_000);
        let port = there(net, "S", start, 0).ends().0.1;
        let back = |net: &mut Net, flags, sequence, acknowledgment| {
            let packet = tcp(to, (NAT_PUBLIC, port), segment(flags, sequence, acknowledgment), b"");
            net.send("internet/host", &packet).delivered_at(FLOODER);
        };
        back(net, "SA", 900, start.wrapping_add(1));
        there(net, "A", start.wrapping_add(1), 901);
        if number % 8 == 0 {
            there(net, "R", start.wrapping_add(1), 0);
        } else {
            there(net, "FA", start.wrapping_add(1), 901);
            back(net, "FA", 901, start.wrapping_add(2));
            there(net, "A", start.wrapping_add(2), 902);
        }
        let mine =
            net.engine.connections(net.now, 1, |info| info.request.source_port == inside.1).len();
        assert_eq!(mine, 0, "a closed connection is gone at once");
    });
}
