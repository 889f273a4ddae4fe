//! A guest that makes its own receive path slow: tens of thousands of firewall rules in its namespace,
//! which the daemon's write walks through before it returns. Beyond its budget it gets nothing, and
//! others get everything. (What rate they keep, `scripts/bench-slow-guest` measures.)

mod common;

use std::{
    net::UdpSocket,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use common::{LIMIT, Lab, eventually, has, permitted, said, viaduct};

const TOPOLOGY: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets: { all: { cidr_block: 10.0.0.0/24 } }
    security_groups:
      open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
    instances:
      client:     { subnet: all, private_ip: 10.0.0.10, security_groups: [open] }
      server:     { subnet: all, private_ip: 10.0.0.11, security_groups: [open] }
      accomplice: { subnet: all, private_ip: 10.0.0.12, security_groups: [open] }
      guest:      { subnet: all, private_ip: 10.0.0.13, security_groups: [open] }
";

const RULES: usize = 100_000;

/// Datagrams at most, until the guest's budget is used up.
const DATAGRAMS: u32 = 200_000;

/// One of the rules' own many, each of which a packet is held against in vain.
fn ruleset() -> String {
    let rule = |n| format!("ip saddr 192.0.2.{} udp dport {} drop\n", n % 250, 1 + n / 2);
    let rules: String = (0..RULES).map(rule).collect();
    format!(
        "table ip slow {{\nchain input {{\ntype filter hook input priority 0; policy accept;\n{rules}}}\n}}\n"
    )
}

/// What was dropped for each host because it is slow: in its own count, and in the sum.
fn throttled(lab: &Lab) -> (Vec<(String, u64)>, u64) {
    let hosts = lab.get("attachments").as_array().unwrap().clone();
    let of = |host: &serde_json::Value| {
        let name = host["name"].as_str().unwrap().to_owned();
        (name, host["throttled_frames"].as_u64().unwrap())
    };
    let sum = lab.get("counters")["throttled_frames"].as_u64().unwrap();
    (hosts.iter().map(of).filter(|(_, frames)| *frames > 0).collect(), sum)
}

#[test]
fn a_guest_that_receives_slowly_is_dropped_for_and_nobody_else() {
    if !permitted() || !has("nft") {
        return;
    }
    let lab = Lab::with_workers("slow", TOPOLOGY, 1);
    let socket = |host: &str| {
        let socket = lab.namespace(host).run(|| UdpSocket::bind("0.0.0.0:7000")).unwrap().unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    };
    let [client, server, accomplice] =
        ["instance/client", "instance/server", "instance/accomplice"].map(socket);
    let guest = socket("instance/guest");
    guest.set_nonblocking(true).unwrap();

    // There and back, each time: one datagram that is lost ends it.
    let exchange = |number: u32| {
        let mut buffer = [0; 4];
        client.send_to(&number.to_be_bytes(), "10.0.0.11:7000").unwrap();
        let (_, from) = server.recv_from(&mut buffer).expect("a request was lost");
        server.send_to(&buffer, from).unwrap();
        client.recv_from(&mut buffer).expect("a reply was lost");
        assert_eq!(u32::from_be_bytes(buffer), number);
    };
    // Datagrams for the guest, as fast as they can be sent, while others talk; until `enough`.
    let crowd = |enough: &dyn Fn() -> bool| {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                for sent in 0..DATAGRAMS {
                    if stop.load(Ordering::Relaxed) {
                        return sent;
                    }
                    // The accomplice's own device may be full.
                    let _ = accomplice.send_to(&[0; 64], "10.0.0.13:7000");
                }
                DATAGRAMS
            });
            let deadline = Instant::now() + LIMIT;
            let mut exchanges = 0;
            while exchanges < 500 || !(flood.is_finished() || enough()) {
                exchange(exchanges);
                exchanges += 1;
                if Instant::now() > deadline {
                    break;
                }
            }
            stop.store(true, Ordering::Relaxed);
            flood.join().unwrap()
        })
    };

    let sent = crowd(&|| false);
    assert!(sent > 1000, "only {sent} datagrams were sent: this tries nothing");
    assert_eq!(throttled(&lab), (Vec::new(), 0), "an honest guest was dropped for");

    let mut nft = lab.exec("instance/guest", &["nft", "-f", "-"]);
    let mut nft = nft.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut nft.stdin.take().unwrap(), ruleset().as_bytes()).unwrap();
    let output = nft.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));

    crowd(&|| throttled(&lab).1 > 0);
    // What still waits in the accomplice's device is dropped a moment later.
    let counted = eventually(|| {
        let (hosts, sum) = throttled(&lab);
        (hosts.iter().map(|(_, frames)| frames).sum::<u64>() == sum).then_some((hosts, sum))
    });
    let (hosts, sum) = counted.expect("hosts and sum agree");
    assert!(sum > 0, "nothing was dropped");
    let names: Vec<&str> = hosts.iter().map(|(host, _)| host.as_str()).collect();
    assert_eq!(names, ["instance/guest"], "dropped for: {hosts:?}");

    // Nothing of it is for ever: without the rules the guest hears again.
    let output = lab.exec("instance/guest", &["nft", "flush", "ruleset"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let heard = eventually(|| {
        accomplice.send_to(b"again", "10.0.0.13:7000").unwrap();
        std::thread::sleep(Duration::from_millis(5));
        let mut buffer = [0; 64];
        std::iter::from_fn(|| guest.recv(&mut buffer).ok().map(|length| (length, buffer[0])))
            .any(|(length, first)| (length, first) == (5, b'a'))
            .then_some(())
    });
    assert!(heard.is_some(), "the guest hears nothing any more");
    let table = viaduct().args(["get", "attachments", "--lab", &lab.name]).output().unwrap();
    assert!(String::from_utf8_lossy(&table.stdout).contains("THROTTLED"), "{}", said(&table));
}
