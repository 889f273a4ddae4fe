//! A hundred environments of one function, all with the same inside address, all at once; and what the
//! daemon's log says of it all.

mod common;

use std::{
    collections::HashMap,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Barrier, Mutex},
};

use common::{Lab, permitted, repository, tell_peer};

const ENVIRONMENTS: usize = 100;

/// Each connection carries this much of its own bytes both ways.
const BYTES: usize = 64 * 1024;

#[test]
fn a_hundred_environments_talk_at_once() {
    if !permitted() {
        return;
    }
    let lab = Lab::of_file("hundred", &repository("config/hundred.yaml"));
    let peers: &'static Mutex<HashMap<u8, SocketAddr>> = Box::leak(Box::default());
    // Sends back what comes, and remembers who sent it by the first byte.
    lab.serve("instance/server", 7000, move |mut stream: TcpStream| {
        let mut bytes = vec![0; BYTES];
        if stream.read_exact(&mut bytes).is_ok() {
            peers.lock().unwrap().insert(bytes[0], stream.peer_addr().unwrap());
            let _ = stream.write_all(&bytes);
        }
    });

    let (all_connected, all_answered) = (Barrier::new(ENVIRONMENTS), Barrier::new(ENVIRONMENTS));
    let connections = Mutex::new(None);
    std::thread::scope(|scope| {
        for number in 1..=ENVIRONMENTS {
            let (lab, connections) = (&lab, &connections);
            let (all_connected, all_answered) = (&all_connected, &all_answered);
            scope.spawn(move || {
                let host = format!("function/worker/{number}");
                let mut stream = lab.connect(&host, "10.0.1.10:7000").unwrap();
                // Same address inside, wherever it is asked.
                assert_eq!(stream.local_addr().unwrap().ip().to_string(), "169.254.100.2");
                all_connected.wait();
                let byte = u8::try_from(number).unwrap();
                let sent = vec![byte; BYTES];
                stream.write_all(&sent).unwrap();
                let mut answer = vec![0; BYTES];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer, sent, "{host} got what another sent");
                if all_answered.wait().is_leader() {
                    *connections.lock().unwrap() = Some(lab.get("connections"));
                }
                // Nobody closes before the daemon was asked.
                all_answered.wait();
            });
        }
    });

    let peers = peers.lock().unwrap();
    assert_eq!(peers.len(), ENVIRONMENTS);
    assert!(peers.values().all(|peer| peer.ip().to_string() == "10.0.0.4"), "{peers:?}");
    let mut ports: Vec<u16> = peers.values().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), ENVIRONMENTS, "two connections shared a port");
    let connections = connections.into_inner().unwrap().unwrap();
    assert_eq!(connections.as_array().unwrap().len(), ENVIRONMENTS);
}

/// Whom guests talk to is nobody's business, and a log that grows with what they send is theirs to fill:
/// drop records are kept in memory, for who asks for them.
// Conforms: RFC 6888 R12, RFC 6888 R14
#[test]
fn the_log_tells_neither_what_passes_nor_what_is_refused() {
    if !permitted() {
        return;
    }
    let lab = Lab::of_file("silent", &repository("config/hundred.yaml"));
    lab.serve("instance/server", 7000, tell_peer);
    let log = || std::fs::read_to_string(lab.path("daemon.log")).unwrap();
    let before = log();
    for number in 1..=ENVIRONMENTS {
        let host = format!("function/worker/{number}");
        lab.ask(&host, "10.0.1.10:7000", "hello").unwrap();
    }
    let datagram = "echo x >/dev/udp/10.0.0.4/7000";
    assert!(lab.exec("instance/server", &["bash", "-c", datagram]).status().unwrap().success());
    lab.wait_for_drop(|drop| drop["reason"] == "V2N_ONE_WAY");
    assert_eq!(log(), before);
}
