//! RFC 5382 and RFC 7857: what a translator makes of TCP. The scenarios of resets and reuse have their
//! names from the conntrack tests of the Linux kernel.

use viaduct_topology::Reason;

use crate::{
    network::{
        API, APP, APP_IP, CLIENT, DB, DB_IP, ENI, HOST, HOST_IP, NAT, OTHER, OTHER_IP, PUBLIC,
        SERVER, WEB, WWW, establish, network,
    },
    support::{ACK, INSIDE, Net, Packet, SYN, SYN_ACK, Tcp, icmp_error, tcp, udp},
};

fn segment(flags: &'static str, sequence: u32, acknowledgment: u32) -> Tcp {
    Tcp { flags, sequence, acknowledgment }
}

/// An established connection of the function's through both translations.
struct Talk {
    net: Net,
    port: u16,
}

impl Talk {
    fn established() -> Self {
        let mut net = network();
        let port = establish(&mut net);
        Self { net, port }
    }

    /// The client sends, and the host hears it, from the port that it knows.
    #[track_caller]
    fn client(&mut self, segment: Tcp, payload: &[u8]) {
        let sent = tcp(CLIENT, SERVER, segment, payload);
        let heard = self.net.send(API, &sent).delivered_at(HOST);
        assert_eq!(heard.ends().0, (PUBLIC.to_owned(), self.port));
    }

    #[track_caller]
    fn host(&mut self, segment: Tcp, payload: &[u8]) {
        let sent = tcp(SERVER, (PUBLIC, self.port), segment, payload);
        let heard = self.net.send(HOST, &sent).delivered_at(API);
        assert_eq!(heard.ends(), ((HOST_IP.to_owned(), 443), (INSIDE.to_owned(), 40_000)));
    }

    /// The client opens again; the port that the host sees is a new connection's.
    #[track_caller]
    fn opens_anew(&mut self, sequence: u32) {
        let syn = tcp(CLIENT, SERVER, segment("S", sequence, 0), b"");
        let ((_, port), _) = self.net.send(API, &syn).delivered_at(HOST).ends();
        assert_ne!(port, self.port, "the old connection's port");
        self.port = port;
        self.host(segment("SA", 7_000, sequence + 1), b"");
        self.client(segment("A", sequence + 1, 7_001), b"");
    }

    fn ports(&self) -> (u32, u32) {
        (self.net.ports_in_use(ENI), self.net.ports_in_use(NAT))
    }

    #[track_caller]
    fn is_idle_after(&mut self, seconds: u64) {
        self.net.pass_millis(seconds * 1000 - 1);
        self.net.expire();
        assert_eq!(self.ports(), (1, 1), "before {seconds} s");
        // The wheel is late by less than a tick.
        self.net.pass_millis(200);
        self.net.expire();
        assert_eq!(self.ports(), (0, 0), "after {seconds} s");
    }
}

// Conforms: RFC 5382 R2, RFC 5382 R2a
#[test]
fn retransmitted_handshakes_pass() {
    let mut net = network();
    let first = tcp(CLIENT, SERVER, segment("S", 70_000, 0), b"");
    let port = net.send(API, &first).delivered_at(HOST).ends().0.1;
    // Until it is answered, its opener may begin again with another number.
    let syn = tcp(CLIENT, SERVER, SYN, b"");
    for _ in 0..2 {
        net.pass_seconds(1);
        assert_eq!(net.send(API, &syn).delivered_at(HOST).ends().0.1, port);
    }
    let mut talk = Talk { net, port };
    talk.host(SYN_ACK, b"");
    talk.host(SYN_ACK, b"");
    talk.client(ACK, b"");
    talk.host(SYN_ACK, b"");
    talk.client(ACK, b"");
    talk.net.pass_seconds(300);
    talk.client(ACK, b"established: no timer of opening ends it");
}

/// Between two instances, whose ports nobody translates.
// Conforms: RFC 5382 R2, RFC 5382 R2a
#[test]
fn a_simultaneous_open_is_one_connection() {
    let mut net = network();
    let (db, app) = ((DB_IP, 5000), (APP_IP, 6000));
    net.send(DB, &tcp(db, app, SYN, b"")).delivered_at(APP);
    net.send(APP, &tcp(app, db, segment("S", 900, 0), b"")).delivered_at(DB);
    net.send(DB, &tcp(db, app, segment("SA", 100, 901), b"")).delivered_at(APP);
    net.send(APP, &tcp(app, db, segment("SA", 900, 101), b"")).delivered_at(DB);
    assert_eq!(net.engine.connection_count(), 1);
    // SG-25: established, it lives for days.
    net.pass_seconds(24 * 3600);
    net.send(APP, &tcp(app, db, segment("A", 901, 101), b"x")).delivered_at(DB);
    assert_eq!(net.engine.connection_count(), 1);
}

// Conforms: RFC 5382 R2
#[test]
fn half_a_connection_talks_as_long_as_it_likes() {
    let mut talk = Talk::established();
    talk.client(segment("FA", 101, 901), b"");
    let mut sent = 901;
    for _ in 0..20 {
        talk.net.pass_seconds(300);
        talk.host(segment("A", sent, 102), b"more");
        sent += 4;
        talk.client(segment("A", 102, sent), b"");
    }
    talk.host(segment("FA", sent, 102), b"");
    assert_eq!(talk.ports(), (1, 1), "the last acknowledgment has to pass");
    talk.client(segment("A", 102, sent + 1), b"");
    talk.net.assert_empty();
}

// Conforms: RFC 5382 R2
#[test]
fn fins_that_cross_close_when_both_are_acknowledged() {
    let mut talk = Talk::established();
    talk.client(segment("FA", 101, 901), b"");
    talk.host(segment("FA", 901, 101), b"");
    talk.client(segment("A", 102, 902), b"");
    assert_eq!(talk.ports(), (1, 1));
    talk.host(segment("A", 902, 102), b"");
    talk.net.assert_empty();
}

/// Both have finished, the last acknowledgment is not seen, and the client uses its port again.
/// The server is in TIME_WAIT of another connection and cannot mind.
// Conforms: RFC 5382 R2
#[test]
fn a_port_is_used_again_before_the_last_acknowledgment() {
    // Higher numbers (RFC 9293 3.6.1), and lower ones, which timestamps may allow (RFC 6191).
    for sequence in [500_000, 50] {
        let mut talk = Talk::established();
        talk.client(segment("FA", 101, 901), b"");
        talk.host(segment("FA", 901, 102), b"");
        talk.opens_anew(sequence);
        assert_eq!(talk.ports(), (1, 1), "the old connection is gone");
    }
}

/// A SYN from outside would be the first packet of a connection toward a function.
// Conforms: RFC 5382 R3
#[test]
fn nobody_outside_uses_a_closing_connection_s_port_again() {
    let mut talk = Talk::established();
    talk.client(segment("FA", 101, 901), b"");
    talk.host(segment("FA", 901, 102), b"");
    talk.host(segment("S", 500_000, 0), b"");
    talk.client(segment("A", 102, 902), b"");
    talk.net.assert_empty();
}

/// Between instances the other end may open as well; its own groups judge it.
// Conforms: RFC 5382 R2
#[test]
fn either_end_uses_a_pair_of_ports_again_where_nothing_is_translated() {
    let mut net = network();
    let (db, app) = ((DB_IP, 5000), (APP_IP, 6000));
    net.send(DB, &tcp(db, app, SYN, b"")).delivered_at(APP);
    net.send(APP, &tcp(app, db, SYN_ACK, b"")).delivered_at(DB);
    net.send(DB, &tcp(db, app, segment("FA", 101, 901), b"")).delivered_at(APP);
    net.send(APP, &tcp(app, db, segment("FA", 901, 102), b"")).delivered_at(DB);
    net.send(APP, &tcp(app, db, segment("S", 700_000, 0), b"")).delivered_at(DB);
    let now = net.now;
    let connections = net.engine.connections(now, 9, |_| true);
    assert_eq!(connections.len(), 1);
    assert_eq!(connections[0].opener, net.id(APP));
}

/// The kernel's `syn_challenge_ack`: the client forgot the connection and opens with the same port;
/// the server did not, and challenges (RFC 5961, section 4).
// Conforms: RFC 5382 R2
#[test]
fn syn_challenge_ack() {
    let mut talk = Talk::established();
    let syn = segment("S", 500_000, 0);
    talk.client(syn, b"");
    talk.host(segment("A", 901, 101), b"");
    talk.client(segment("R", 101, 0), b"");
    talk.net.assert_empty();
    talk.opens_anew(500_000);
}

/// The kernel's `synack_reuse`: both forgot the connection, so the server grants a new one where an
/// old one stands.
// Conforms: RFC 5382 R2
#[test]
fn synack_reuse() {
    let mut talk = Talk::established();
    talk.client(segment("S", 500_000, 0), b"");
    talk.host(segment("SA", 80_000, 500_001), b"");
    talk.client(segment("A", 500_001, 80_001), b"");
    // The new connection's numbers count, the old one's do not.
    talk.host(segment("R", 901, 0), b"");
    assert_eq!(talk.ports(), (1, 1));
    talk.client(segment("FA", 500_001, 80_001), b"");
    talk.host(segment("FA", 80_001, 500_002), b"");
    talk.client(segment("A", 500_002, 80_002), b"");
    talk.net.assert_empty();
}

/// A port that another client had before is given to a connection that the server takes for the old
/// one: the challenge, the reset and the second SYN pass, and the new connection lives.
// Conforms: RFC 5382 R2
#[test]
fn a_challenge_to_a_new_connection_does_not_kill_it() {
    let mut net = network();
    let syn = tcp(CLIENT, SERVER, SYN, b"");
    let port = net.send(API, &syn).delivered_at(HOST).ends().0.1;
    let mut talk = Talk { net, port };
    talk.host(segment("A", 44_000, 33_000), b"");
    talk.client(segment("R", 33_000, 0), b"");
    talk.client(SYN, b"");
    talk.host(SYN_ACK, b"");
    talk.client(ACK, b"");
    talk.net.pass_seconds(300);
    talk.host(segment("A", 901, 101), b"it stands");
}

/// The kernel's `ack_loss_stall`: acknowledgments that were lost before they came here are no reason
/// to think less of the connection.
// Conforms: RFC 5382 R2
#[test]
fn ack_loss_stall() {
    let mut net = network();
    let port = net.send(API, &tcp(CLIENT, SERVER, SYN, b"")).delivered_at(HOST).ends().0.1;
    let mut talk = Talk { net, port };
    talk.host(SYN_ACK, b"");
    // The last one of the handshake is lost, and so is the first segment; the second comes.
    talk.client(segment("A", 1_101, 901), b"second");
    talk.net.pass_seconds(300);
    talk.host(segment("A", 901, 101), b"asks for the first");
    talk.client(segment("A", 101, 901), b"first");
    talk.is_idle_after(350);
}

/// The kernel's `rst_invalid`: a number that nobody expects.
// Conforms: RFC 7857 RST
#[test]
fn rst_invalid() {
    let mut talk = Talk::established();
    for sequence in [0, 900, 902, 5_000_000, u32::MAX] {
        talk.host(segment("R", sequence, 0), b"");
        talk.client(segment("R", sequence.wrapping_sub(800), 0), b"");
    }
    talk.is_idle_after(350);
}

/// The kernel's `inexact_rst`: a number among what is on its way. It may have ended the connection, so
/// that it is kept for four minutes; whatever else is said in it says that it goes on.
// Conforms: RFC 7857 RST, RFC 7857 transitory timeout
#[test]
fn inexact_rst() {
    let mut talk = Talk::established();
    talk.host(segment("A", 901, 101), &[0; 100]);
    talk.host(segment("R", 950, 0), b"");
    talk.is_idle_after(240);

    let mut talk = Talk::established();
    talk.host(segment("A", 901, 101), &[0; 100]);
    talk.host(segment("R", 950, 0), b"");
    talk.net.pass_seconds(239);
    talk.client(segment("A", 101, 1_001), b"");
    talk.is_idle_after(350);
}

/// A reset that may have ended it gives a connection no more time than it had.
// Conforms: RFC 7857 no refresh, RFC 7857 RST
#[test]
fn resets_refresh_nothing() {
    let mut talk = Talk::established();
    talk.host(segment("A", 901, 101), &[0; 100]);
    for _ in 0..3 {
        talk.net.pass_seconds(100);
        talk.host(segment("R", 950, 0), b"");
        talk.client(segment("R", 5_000_000, 0), b"");
    }
    // 340 s after the first reset's 100 would be 440.
    talk.is_idle_after(40);
}

// Conforms: RFC 7857 RST
#[test]
fn an_exact_reset_is_translated_and_frees_the_ports_at_once() {
    let mut talk = Talk::established();
    talk.host(segment("R", 901, 0), b"");
    talk.net.assert_empty();
    // Inside, whoever has not heard it is told again.
    let late = tcp(CLIENT, SERVER, segment("A", 101, 901), b"more");
    talk.net.send(API, &late).answered_for(Reason::NoConnection);
}

// Conforms: RFC 5382 R3, NAT-12
#[test]
fn only_whom_a_connection_is_with_may_send_on_it() {
    let mut talk = Talk::established();
    let public = (PUBLIC, talk.port);
    for (name, from) in [(OTHER, (OTHER_IP, 443)), (HOST, (HOST_IP, 444))] {
        for packet in [tcp(from, public, ACK, b"x"), tcp(from, public, SYN, b"")] {
            talk.net.send(name, &packet).dropped_for(Reason::NatGatewayUnsolicited);
        }
    }
    let packet = udp(SERVER, public, b"another protocol");
    talk.net.send(HOST, &packet).dropped_for(Reason::NatGatewayUnsolicited);
    talk.host(segment("A", 901, 101), b"");
}

/// Under other connections there is only this: no two ends share a port while one is free.
#[test]
fn no_two_connections_share_a_port_while_one_is_free() {
    let mut net = network();
    let mut ports = std::collections::HashSet::new();
    for port in 1..=2_000 {
        for (name, to) in [(HOST, SERVER), (OTHER, (OTHER_IP, 443))] {
            let request = net.send(DB, &tcp((DB_IP, port), to, SYN, b"")).delivered_at(name);
            assert!(ports.insert(request.ends().0.1), "{request:?}");
        }
    }
}

/// Instances reach each other under their public addresses, and each sees the other's.
// Conforms: RFC 5382 R8
#[test]
fn a_hairpinned_connection_shows_public_addresses() {
    let mut net = network();
    let syn = tcp(("10.0.0.20", 5000), ("203.0.113.21", 80), SYN, b"");
    let syn = net.send(WEB, &syn).delivered_at(WWW);
    assert_eq!(syn.flow(), "203.0.113.20:5000 > 10.0.0.21:80");
    let answer = tcp(("10.0.0.21", 80), ("203.0.113.20", 5000), SYN_ACK, b"");
    let answer = net.send(WWW, &answer).delivered_at(WEB);
    assert_eq!(answer.flow(), "203.0.113.21:80 > 10.0.0.20:5000");
}

// Conforms: RFC 5382 R9, RFC 5382 R10
#[test]
fn icmp_errors_are_translated_and_end_no_connection() {
    let mut talk = Talk::established();
    let sent = talk.net.send(API, &tcp(CLIENT, SERVER, ACK, b"data")).delivered_at(HOST);
    for code in 0..16 {
        let error = icmp_error(HOST_IP, PUBLIC, 3, code, sent.ip());
        let told = talk.net.send(HOST, &error).delivered_at(API);
        let (kind, told_code, quoted) = told.icmp();
        assert_eq!((kind, told_code), (3, code));
        assert_eq!(quoted.flow(), format!("{INSIDE}:40000 > {HOST_IP}:443"));
    }
    talk.client(segment("A", 105, 901), b"goes on");
    talk.is_idle_after(350);
}

/// NAT-10, and at a Hyperplane ENI the same, as our choice.
// Conforms: NAT-10
#[test]
fn a_client_that_goes_on_after_350_seconds_is_reset_and_nobody_else_hears_of_it() {
    let through_the_gateway = (SERVER, HOST, PUBLIC);
    let to_an_instance = ((DB_IP, 5432), DB, ENI);
    for (server, name, seen) in [through_the_gateway, to_an_instance] {
        let mut net = network();
        let port = net.send(API, &tcp(CLIENT, server, SYN, b"")).delivered_at(name).ends().0.1;
        net.send(name, &tcp(server, (seen, port), SYN_ACK, b"")).delivered_at(API);
        net.send(API, &tcp(CLIENT, server, ACK, b"")).delivered_at(name);

        net.pass_millis(349_999);
        net.send(API, &tcp(CLIENT, server, ACK, b"")).delivered_at(name);
        net.pass_millis(350_000);
        // What expires is told to nobody: the timers' work has no answers.
        let answered = net.engine.counters().answered_packets;
        net.expire();
        assert_eq!(net.engine.counters().answered_packets, answered);
        for packet in [tcp(server, (seen, port), ACK, b"x"), tcp(server, (seen, port), SYN, b"")] {
            assert!(matches!(net.send(name, &packet), crate::support::Outcome::Dropped(_)));
        }
        let data = tcp(CLIENT, server, segment("PA", 101, 901), b"data");
        let reset = net.send(API, &data).answered_for(Reason::NoConnection);
        assert_eq!(reset.ends(), ((server.0.to_owned(), server.1), (INSIDE.to_owned(), 40_000)));
        assert_eq!((reset.ip()[33], &reset.ip()[24..28]), (0x04, &901_u32.to_be_bytes()[..]));
        // A reset is not answered, so that no two of them go on for ever.
        net.send(API, &tcp(CLIENT, server, segment("R", 101, 0), b""))
            .dropped_for(Reason::NoConnection);
        net.assert_empty();
    }
}

/// Where nothing is translated, nothing was forgotten for anybody.
#[test]
fn an_instance_that_goes_on_hears_nothing() {
    let mut net = network();
    net.send(DB, &tcp((DB_IP, 1), (APP_IP, 2), ACK, b"x")).dropped_for(Reason::NoConnection);
}

/// Every flag and every payload passes as it is, but for the addresses and the checksum.
// Conforms: RFC 5382 R6
#[test]
fn nothing_in_a_payload_is_looked_at() {
    let mut talk = Talk::established();
    let command = b"PORT 169,254,100,2,156,64\r\n";
    let sent = tcp(CLIENT, SERVER, ACK, command);
    let heard = talk.net.send(API, &sent).delivered_at(HOST);
    let options = |packet: &Packet| packet.ip()[24..36].to_vec();
    assert!(heard.ip().ends_with(command));
    assert_eq!(options(&heard), options(&sent));
    assert_eq!(talk.net.engine.connection_count(), 1, "nothing is opened on its word");
}
