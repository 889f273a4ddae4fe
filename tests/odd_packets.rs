//! Packets that no kernel sends by itself, made by scapy: whether each is carried, and as what, or
//! refused, and as what.

mod common;

use std::{
    io::{Read, Write},
    net::UdpSocket,
};

use common::{Lab, eventually, has_scapy, permitted, repository, station::Station};
use serde_json::{Value, json};

const APP: &str = "10.0.1.20";
const PUBLIC: &str = "10.0.0.20";
const WEB: &str = "198.18.0.7";
const FUNCTION: &str = "169.254.100.2";
/// Of the NAT gateway: as the VPC sees it, and as the internet does.
const GATEWAY: &str = "10.0.0.4";
const GATEWAY_OUTSIDE: &str = "203.0.113.10";

fn lab(scenario: &str) -> Lab {
    Lab::of_file(scenario, &repository("tests/probes/paths.yaml"))
}

fn udp(source: &str, destination: &str, ports: (u16, u16)) -> Value {
    json!({
        "protocol": "udp", "source": source, "destination": destination,
        "source_port": ports.0, "port": ports.1,
    })
}

fn tcp(source: &str, destination: &str, ports: (u16, u16)) -> Value {
    let mut packet = udp(source, destination, ports);
    packet["protocol"] = "tcp".into();
    packet
}

/// A packet with one more thing said of it.
fn with(mut packet: Value, key: &str, value: impl Into<Value>) -> Value {
    packet[key] = value.into();
    packet
}

// Conforms: RT-21
#[test]
fn what_leads_astray_is_refused() {
    if !permitted() || !has_scapy() {
        return;
    }
    let lab = lab("astray");
    let mut stations = ["instance/app", "function/probe", "internet/web", "instance/public"]
        .map(|host| Station::at(&lab, host));
    let [app, function, web] = [0, 1, 2];
    // The port is the same for all, and no other packet has it.
    let ports = (7, 7);
    let routed = |by: &str, to: &str| with(udp(APP, to, ports), "options", json!([by]));
    for (by, packet, reason) in [
        // A route of the sender's choice.
        (app, routed("loose_source_route", PUBLIC), "MALFORMED_PACKET"),
        (app, routed("strict_source_route", PUBLIC), "MALFORMED_PACKET"),
        (app, routed("loose_source_route", WEB), "MALFORMED_PACKET"),
        (app, routed("strict_source_route", WEB), "MALFORMED_PACKET"),
        // From where it goes to: one's own address, the NAT gateway's, another's.
        (app, udp(APP, APP, ports), "ROUTING_LOOP"),
        (app, tcp(APP, APP, ports), "ROUTING_LOOP"),
        (app, udp(GATEWAY, GATEWAY, ports), "ENI_SOURCE_DEST_CHECK_RESTRICTION"),
        (app, tcp(PUBLIC, PUBLIC, ports), "ENI_SOURCE_DEST_CHECK_RESTRICTION"),
        (function, udp(FUNCTION, FUNCTION, ports), "NO_POSSIBLE_DESTINATION"),
        (function, tcp("10.0.1.4", "10.0.1.4", ports), "SPOOFED_SOURCE"),
        (web, tcp(WEB, WEB, ports), "ROUTING_LOOP"),
        (web, tcp("203.0.113.20", "203.0.113.20", ports), "SPOOFED_SOURCE"),
        (web, udp(GATEWAY_OUTSIDE, GATEWAY_OUTSIDE, ports), "SPOOFED_SOURCE"),
    ] {
        let before = lab.dropped(reason);
        stations[by].send(std::slice::from_ref(&packet));
        let counted = eventually(|| (lab.dropped(reason) > before).then_some(()));
        assert!(counted.is_some(), "{packet}: {:#}", lab.get("counters"));
    }
    for station in &stations {
        assert_eq!(station.count(|it| it["port"] == ports.1), 0);
    }
    assert_eq!(lab.get("counters")["forwarded_packets"], 0);
}

// Conforms: NAT-08, LAM-09
#[test]
fn what_is_merely_odd_is_carried_as_it_is() {
    if !permitted() || !has_scapy() {
        return;
    }
    let lab = lab("odd");
    let [mut app, mut function] =
        ["instance/app", "function/probe"].map(|host| Station::at(&lab, host));
    let web = Station::at(&lab, "internet/web");
    let is_translated = |it: &Value| {
        let port = it["source_port"].as_u64().unwrap();
        assert!((1024..=65_535).contains(&port), "{it}");
        assert_eq!((&it["source"], &it["ttl"]), (&json!(GATEWAY_OUTSIDE), &json!(63)), "{it}");
    };

    // Options that only ask routers for something.
    for (port, option, class) in [
        (7001, "record_route", "IPOption_RR"),
        (7002, "timestamp", "IPOption_Timestamp"),
        (7003, "router_alert", "IPOption_Router_Alert"),
        (7004, "nop", "IPOption_NOP"),
    ] {
        app.send(&[with(udp(APP, WEB, (40_000, port)), "options", json!([option]))]);
        let arrived = web.wait_for(|it| it["port"] == port);
        assert_eq!((&arrived["options"][0], &arrived["sound"]), (&json!(class), &json!(true)));
        is_translated(&arrived);
    }

    // A datagram may come from port 0, if it wants no answer (RFC 768). Nobody is there otherwise.
    for (station, own) in [(&mut app, APP), (&mut function, FUNCTION)] {
        station.send(&[udp(own, WEB, (0, 7005))]);
        let arrived = web.wait_for(|it| it["protocol"] == "udp" && it["port"] == 7005);
        assert_eq!(arrived["sound"], true, "{arrived}");
        is_translated(&arrived);
        let before = lab.dropped("MALFORMED_PACKET");
        station.send(&[udp(own, WEB, (40_000, 0)), tcp(own, WEB, (40_000, 0))]);
        station.send(&[tcp(own, WEB, (0, 7005))]);
        let counted = eventually(|| (lab.dropped("MALFORMED_PACKET") == before + 3).then_some(()));
        assert!(counted.is_some(), "{:#}", lab.get("counters"));
    }
    assert_eq!(web.count(|it| it["port"] == 0), 0);

    // A wrong checksum stays wrong by as much, for the receiver to see.
    for packet in [udp(APP, WEB, (40_000, 7006)), tcp(APP, WEB, (40_000, 7006))] {
        let protocol = packet["protocol"].clone();
        app.send(&[with(packet, "spoiled", "transport")]);
        let arrived = web.wait_for(|it| it["port"] == 7006 && it["protocol"] == protocol);
        assert_eq!(arrived["sound"], false, "{arrived}");
    }
}

// Conforms: RFC 5508 R3, RFC 5508 R3a, RFC 5508 R3b, RFC 5508 R3c, RFC 5508 R4, RFC 4787 R12
#[test]
fn errors_from_outside_are_translated_if_they_are_sound_and_about_something() {
    if !permitted() || !has_scapy() {
        return;
    }
    let lab = lab("errors");
    let [mut app, mut web] = ["instance/app", "internet/web"].map(|host| Station::at(&lab, host));
    // Takes what comes, so that the kernel there has nothing to say.
    let bind = || UdpSocket::bind("0.0.0.0:7000");
    let _socket = lab.namespace("internet/web").run(bind).unwrap().unwrap();
    app.send(&[udp(APP, WEB, (41_000, 7000))]);
    let request = web.wait_for(|it| it["port"] == 7000);
    let port = u16::try_from(request["source_port"].as_u64().unwrap()).unwrap();

    let error = |code: u8, about: Value| {
        json!({
            "protocol": "icmp", "source": WEB, "destination": GATEWAY_OUTSIDE,
            "type": 3, "code": code, "about": about,
        })
    };
    let about = || udp(GATEWAY_OUTSIDE, WEB, (port, 7000));
    let strange = udp(GATEWAY_OUTSIDE, WEB, (port ^ 1, 7000));
    let optional = with(about(), "options", json!(["router_alert"]));
    // The code tells them apart.
    for (code, packet, refused) in [
        (1, error(1, about()), None),
        (5, with(error(5, about()), "spoiled", "transport"), Some("MALFORMED_PACKET")),
        (6, with(error(6, about()), "spoiled", "about"), Some("MALFORMED_PACKET")),
        (7, with(error(7, about()), "spoiled", "about_transport"), None),
        (8, error(8, optional), None),
        (9, error(9, strange), Some("NO_CONNECTION")),
    ] {
        let dropped = || refused.map(|reason| lab.dropped(reason));
        let before = dropped();
        web.send(&[packet]);
        if refused.is_some() {
            assert!(eventually(|| (dropped() > before).then_some(())).is_some(), "3/{code}");
            continue;
        }
        let arrived = app.wait_for(|it| it["type"] == 3 && it["code"] == code);
        assert_eq!((&arrived["source"], &arrived["sound"]), (&json!(WEB), &json!(true)));
        // As the sender knows its packet: but for the hop, which was behind it.
        let about = &arrived["about"];
        assert_eq!((&about["source"], &about["source_port"]), (&json!(APP), &json!(41_000)));
        assert_eq!((&about["destination"], &about["port"]), (&json!(WEB), &json!(7000)));
    }
    assert_eq!(app.count(|it| it["type"] == 3), 3);

    // None of it ended the connection.
    web.send(&[udp(WEB, GATEWAY_OUTSIDE, (7000, port))]);
    app.wait_for(|it| it["source_port"] == 7000 && it["port"] == 41_000);
    assert_eq!(lab.get("counters")["connections_ended"], 0);
}

// Conforms: RFC 7857 RST
#[test]
fn a_reset_ends_a_translated_connection_only_with_the_right_number() {
    if !permitted() || !has_scapy() {
        return;
    }
    let lab = lab("reset");
    let mut web = Station::at(&lab, "internet/web");
    lab.serve("internet/web", 8080, |mut stream| {
        let mut byte = [0];
        while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
    });
    let mut stream = lab.connect("instance/app", &format!("{WEB}:8080")).unwrap();
    let mut echo = |byte: u8| -> std::io::Result<u8> {
        let mut back = [0];
        stream.write_all(&[byte])?;
        stream.read_exact(&mut back)?;
        Ok(back[0])
    };
    assert_eq!(echo(1).unwrap(), 1);
    // What the client has of the server so far: its next segment begins there.
    let acknowledged = web.wait_for(|it| it["port"] == 8080 && it["flags"] == "PA");
    let port = u16::try_from(acknowledged["source_port"].as_u64().unwrap()).unwrap();
    let next = acknowledged["ack"].as_u64().unwrap() + 1;
    let reset = |sequence: u64| {
        let reset = with(tcp(WEB, GATEWAY_OUTSIDE, (8080, port)), "flags", "R");
        with(reset, "seq", sequence & 0xffff_ffff)
    };

    // Far ahead, and behind.
    for sequence in [next + (1 << 30), next + (1 << 31), next.wrapping_sub(1000)] {
        let forwarded = || lab.get("counters")["forwarded_packets"].as_u64().unwrap();
        let before = forwarded();
        web.send(&[reset(sequence)]);
        // The connection's ends are to judge it, too.
        assert!(eventually(|| (forwarded() > before).then_some(())).is_some());
        assert_eq!(echo(2).unwrap(), 2, "after a reset of {sequence}");
        let connections = lab.get("connections");
        assert_eq!(connections[0]["state"], "established", "{connections:#}");
    }

    // One byte was echoed in each round.
    web.send(&[reset(next + 3)]);
    let ended = eventually(|| (lab.get("connections") == json!([])).then_some(()));
    assert!(ended.is_some(), "{:#}", lab.get("connections"));
    assert_eq!(echo(3).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}
