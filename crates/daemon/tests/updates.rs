//! An update to another VPC under traffic: iperf3 runs, and one new connection follows the other.

mod common;

use std::{
    io::ErrorKind,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use common::{
    Host, LIMIT, WEB, eventually,
    functions::{create, daemon, state, update},
    permitted,
};
use viaduct_client::ConnectionsQuery;
use viaduct_tun::Holder;

/// A program that runs on a host, killed when dropped.
struct Running(Child);

impl Running {
    fn start(host: &Host, program: &str, arguments: &[&str]) -> Self {
        let start = || Command::new(program).args(arguments).stdout(Stdio::null()).spawn();
        Self(host.namespace.run(start).unwrap().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Listens on a host, and notes who connects.
fn note_peers(host: &Host, port: u16) -> Arc<Mutex<Vec<String>>> {
    let listener = host.namespace.run(|| TcpListener::bind(("0.0.0.0", port)).unwrap()).unwrap();
    let peers: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&peers);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            noted.lock().unwrap().push(stream.peer_addr().unwrap().ip().to_string());
        }
    });
    peers
}

// Facts: LAM-48, LAM-49, LAM-50
#[test]
fn lam_50_no_connection_is_refused_by_the_switch_and_the_old_ones_end_with_it() {
    const BEFORE: &str = "203.0.113.10";
    const AFTER: &str = "203.0.113.20";
    if !permitted() {
        return;
    }
    if Command::new("iperf3").arg("--version").output().is_err() {
        println!("skipped: iperf3 is not installed");
        return;
    }
    let daemon = daemon("lifecycle: { creation: 1, deletion: 1 }");
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let web = Host::attach(&holder, "internet/web");
    let peers = note_peers(&web, 80);
    create(&daemon, "f", Some("private"));
    eventually("it is active", || state(&daemon, "f").0 == "Active");
    let function = Host::attach(&holder, "function/f");
    let _server = Running::start(&web, "iperf3", &["--server"]);
    let listens = || {
        let tables = web.namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp6"));
        // 5201, in state LISTEN.
        tables
            .unwrap()
            .unwrap()
            .lines()
            .any(|line| line.contains(":1451 ") && line.contains(" 0A "))
    };
    eventually("the server listens", listens);
    let to = ["--client", "198.51.100.7", "--time", "60"];
    let _client = Running::start(&function, "iperf3", &to);
    let streams = || {
        let query = ConnectionsQuery { limit: Some(10_000), ..ConnectionsQuery::default() };
        let open = daemon.ask(async |client| client.connections(&query).await);
        let streams = open.into_iter().filter(|it| it.request.destination_port == 5201);
        streams.map(|it| (it.translated.source.to_string(), it.sent.bytes)).collect::<Vec<_>>()
    };
    eventually("it runs", || streams().iter().any(|(_, bytes)| *bytes > 1 << 20));

    let stop = AtomicBool::new(false);
    let refused = thread::scope(|scope| {
        let stream = scope.spawn(|| {
            let mut refused = Vec::new();
            while !stop.load(Relaxed) {
                let to = WEB.parse().unwrap();
                let connect = || TcpStream::connect_timeout(&to, LIMIT);
                refused.extend(function.namespace.run(connect).unwrap().err());
            }
            refused
        });
        let last = || peers.lock().unwrap().last().cloned();
        eventually("connections are opened", || last().as_deref() == Some(BEFORE));
        assert_eq!(update(&daemon, "f", Some("lonely")), "InProgress");
        let sent = streams().iter().map(|(_, bytes)| bytes).sum::<u64>();
        eventually("the old one serves meanwhile", || {
            streams().iter().map(|(_, bytes)| bytes).sum::<u64>() > sent
        });
        eventually("the update is done", || state(&daemon, "f").1 == "Successful");
        eventually("and the new VPC serves", || last().as_deref() == Some(AFTER));
        // Its old ENI is deleted.
        let enis = || daemon.ask(async |client| client.enis().await);
        let of_f = |eni: &viaduct_client::Eni| eni.users.iter().any(|user| user == "function/f");
        eventually("one ENI is left", || enis().iter().filter(|eni| of_f(eni)).count() == 1);
        stop.store(true, Relaxed);
        stream.join().unwrap()
    });
    // The one that was just open in the old VPC may have ended before it was noticed that it was.
    assert!(refused.len() <= 1, "{refused:?}");
    assert!(refused.iter().all(|it| it.kind() == ErrorKind::ConnectionReset), "{refused:?}");
    eventually("those of the old VPC have ended", || streams().is_empty());
    let peers = peers.lock().unwrap();
    let switch = peers.iter().position(|peer| peer == AFTER).unwrap();
    assert!(peers[..switch].iter().all(|peer| peer == BEFORE), "{peers:?}");
    assert!(peers[switch..].iter().all(|peer| peer == AFTER), "{peers:?}");
    println!("{switch} connections before the switch, {} after", peers.len() - switch);
}
