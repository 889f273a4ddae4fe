//! Points 16, 17 and 19: what whoever runs a NAT must see, what a change or a restart may cost, and what
//! a packet may cost.

use viaduct_dataplane::{Verdict, tcp::Phase};
use viaduct_topology::Reason;

use crate::{
    API, MAIL, PORTS, PUBLIC, WEB, datagram, gateway, open, refused,
    support::{ACK, Net, Outcome, Packet, SYN, SYN_ACK, tcp, traffic::Numbers, udp},
};

/// There, a NAT instance had no numbers of the kind that the managed gateway has: packets, bytes,
/// connections begun and alive, port errors (<https://github.com/AndrewGuenther/fck-nat/issues/16>).
#[test]
fn point_16_every_packet_is_accounted_for() {
    let mut net = Net::load(&gateway(PUBLIC));
    let mut random = Numbers(16);
    let (mut sent, mut delivered, mut bytes, mut answers) = (0, 0, 0, 0);
    for _ in 0..5000 {
        let number = random.next();
        let (port, to) = (1 + (number >> 8) as u16 % 60, if number & 1 == 0 { WEB } else { MAIL });
        let packet = match (number >> 32) % 4 {
            0 => tcp(("10.0.1.100", port), to, SYN, b""),
            1 => tcp(("10.0.1.100", port), to, ACK, b"late"),
            // Somebody else's address.
            2 => udp(("10.0.9.9", port), to, b"spoofed"),
            _ => Packet(vec![0; 12]),
        };
        sent += 1;
        match net.send("instance/own", &packet) {
            Outcome::Delivered { packet, .. } => {
                delivered += 1;
                bytes += packet.ip().len() as u64;
            }
            Outcome::Answered { .. } => answers += 1,
            Outcome::Dropped(_) => {}
            other => panic!("nothing here is in fragments: {other:?}"),
        }
        if number.is_multiple_of(64) {
            net.pass_seconds(60);
            net.expire();
        }
    }
    let counters = net.engine.counters();
    let dropped: u64 = counters.drops().map(|(_, packets)| packets).sum();
    assert_eq!((counters.forwarded_packets, counters.forwarded_bytes), (delivered, bytes));
    assert_eq!((counters.answered_packets, delivered + dropped), (answers, sent));
    let alive = counters.connections_opened - counters.connections_ended;
    assert_eq!(alive, net.engine.connection_count() as u64);
    assert_eq!(alive, u64::from(net.ports_in_use("10.0.0.5")));
    for reason in [Reason::PortsExhausted, Reason::NoConnection, Reason::MalformedPacket] {
        assert!(counters.dropped(reason) > 0, "{reason} never happened");
    }
}

/// There, connections through a NAT instance hung, and nothing showed which, or where they were
/// (<https://github.com/chime/terraform-aws-alternat/issues/62>).
#[test]
fn point_16_a_stuck_connection_can_be_found_and_read() {
    let mut net = Net::load(&gateway(PUBLIC));
    let port = open(&mut net, 1, WEB)[0];
    net.send("internet/web", &tcp(WEB, (PUBLIC, port), SYN_ACK, b"")).delivered_at("instance/own");
    net.send("instance/own", &tcp(("10.0.1.100", 1), WEB, ACK, b"")).delivered_at("internet/web");
    open(&mut net, 1, MAIL);
    net.pass_seconds(100);

    let own = net.id("instance/own");
    let established = net.engine.connections(net.now, 10, |it| it.phase == Phase::Established);
    let [stuck] = established[..] else { panic!("{established:?}") };
    assert_eq!((stuck.opener, stuck.target), (own, net.id("internet/web")));
    assert_eq!(stuck.request.source_port, 1);
    let translated = (stuck.translated.source.to_string(), stuck.translated.source_port);
    assert_eq!(translated, (PUBLIC.to_owned(), port));
    assert_eq!((stuck.sent.0, stuck.received.0), (2, 1));
    assert_eq!((stuck.age.as_secs(), stuck.idle.as_secs()), (100, 100));
    assert_eq!(net.engine.connections(net.now, 10, |it| it.phase == Phase::Opening).len(), 1);
}

/// There, a change of configuration or a new instance ended every connection
/// (<https://github.com/AndrewGuenther/fck-nat/issues/71>,
/// <https://github.com/AndrewGuenther/fck-nat/issues/40>).
#[test]
fn point_17_a_change_keeps_every_connection_and_its_port() {
    let mut net = Net::load(&gateway(PUBLIC));
    let ports = open(&mut net, PORTS, WEB);
    for (round, other) in
        ["mail: { ip: 198.51.100.9 }", "mail: { ip: 198.51.100.8 }"].iter().enumerate()
    {
        net.apply(&gateway(PUBLIC).replace("mail: { ip: 198.51.100.8 }", other));
        for (number, &port) in ports.iter().enumerate() {
            let own = ("10.0.1.100", 1 + number as u16);
            let more = net.send("instance/own", &tcp(own, WEB, ACK, b"more"));
            assert_eq!(more.delivered_at("internet/web").ends().0, (PUBLIC.to_owned(), port));
            let back = tcp(WEB, (PUBLIC, port), ACK, b"back");
            net.send("internet/web", &back).delivered_at("instance/own");
        }
        assert_eq!(net.ports_in_use("10.0.0.5"), u32::from(PORTS), "round {round}");
    }
}

/// There, clients of a gateway that was replaced waited for answers that could not come any more
/// (<https://github.com/RaJiska/terraform-aws-fck-nat/issues/75>). Connections live in memory and end
/// with the process, here too; but a client that goes on talking is told at once, and its next
/// connection stands.
#[test]
fn point_17_after_a_restart_a_client_learns_at_once_that_its_connection_is_gone() {
    let mut net = Net::load(&gateway(PUBLIC));
    let more = tcp(("10.0.1.100", 1), WEB, ACK, b"more");
    let answer = net.send("instance/own", &more).answered_for(Reason::NoConnection);
    assert_eq!(answer.flow(), "198.51.100.7:443 > 10.0.1.100:1");
    assert_eq!(answer.ip()[33] & 0b100, 0b100, "it is no reset");
    open(&mut net, PORTS, WEB);
}

/// There, NAT in the kernel's softirq took a whole core, and with it whatever else ran there
/// (<https://github.com/kubeovn/kube-ovn/issues/5662>). That is a matter of where the work is done; what
/// can be shown here is that it does not grow: with every port taken, an established packet allocates
/// nothing, and neither does one that is refused.
#[test]
fn point_19_a_packet_allocates_nothing_however_full_the_gateway_is() {
    let mut net = Net::load(&gateway(PUBLIC));
    open(&mut net, PORTS, WEB);
    net.send(API, &datagram(5000, MAIL)).delivered_at("internet/mail");
    let own = net.id("instance/own");
    let known = tcp(("10.0.1.100", 1), WEB, ACK, b"more");
    let late = tcp(("10.0.1.100", 999), WEB, SYN, b"");
    refused(net.send("instance/own", &late), Reason::PortsExhausted);
    let (mut passed, mut buffers) = (0, [known.0.clone(), late.0.clone()]);
    let allocated = allocation_counter::measure(|| {
        for _ in 0..1000 {
            for (buffer, packet) in buffers.iter_mut().zip([&known, &late]) {
                buffer.copy_from_slice(&packet.0);
                let verdict = net.engine.forward(buffer, own, net.now, &mut net.scratch);
                passed += u32::from(matches!(verdict, Verdict::Forward { .. }));
            }
        }
    });
    assert_eq!((passed, allocated.count_total), (1000, 0));
}
