//! Hosts come, go, come back, and are refused.

mod common;

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use common::{DB, Daemon, Host, LIMIT, permitted};
use viaduct_client::{AttachmentState, ClientError};
use viaduct_daemon::Error;
use viaduct_topology::Reason;
use viaduct_tun::{
    Attachment, Client, Device, DeviceKind, HandoverError, Holder, Offer, Reply, Request,
    handover::{DetachReason, PROTOCOL_VERSION, RefusalReason},
    netns,
};

/// A connection to `attach.sock` that has said hello.
fn greeted(daemon: &Daemon) -> Client {
    let client = Client::connect(&daemon.attach_socket).unwrap();
    client.send(&Request::Hello { version: PROTOCOL_VERSION }, None, LIMIT).unwrap();
    client
}

fn offer(name: &str, mtu: u16) -> Request {
    Request::Offer(Offer { name: name.to_owned(), token: None, mtu })
}

/// The answer to a request that must be refused: the reason, and what people are told.
fn refusal(client: &Client, request: &Request, fd: Option<impl AsFd>) -> (RefusalReason, String) {
    client.send(request, fd.as_ref().map(AsFd::as_fd), LIMIT).unwrap();
    match client.recv(LIMIT).unwrap() {
        Reply::Refused { reason, message, .. } => (reason, message),
        other => panic!("not refused: {other:?}"),
    }
}

const NO_FD: Option<std::fs::File> = None;

#[test]
fn what_cannot_be_attached_is_refused_with_the_reason() {
    if !permitted() {
        return;
    }
    let daemon = Daemon::start();
    let client = greeted(&daemon);

    let unknown = Request::Describe { name: "instance/bd".to_owned(), token: None };
    let (reason, message) = refusal(&client, &unknown, NO_FD);
    assert_eq!(reason, RefusalReason::UnknownAttachment);
    assert!(message.contains("did you mean `instance/db`?"), "{message}");

    let file = tempfile::tempfile().unwrap();
    let (reason, message) = refusal(&client, &offer("instance/db", 1500), Some(&file));
    assert_eq!(reason, RefusalReason::BadQueue);
    assert!(message.contains("not a TUN queue"), "{message}");

    let namespace = netns::create_unnamed().unwrap();
    let device = namespace.run(|| Device::open("eth0", DeviceKind::Offload).unwrap()).unwrap();
    let (reason, message) = refusal(&client, &offer("instance/db", 100), Some(&device));
    assert_eq!(reason, RefusalReason::BadMessage);
    assert!(message.contains("MTU"), "{message}");

    let withdraw = Request::Withdraw { name: "instance/db".to_owned() };
    assert_eq!(refusal(&client, &withdraw, NO_FD).0, RefusalReason::NotAllowed);

    // The same connection, after all of that.
    client.send(&offer("instance/db", 9001), Some(device.as_fd()), LIMIT).unwrap();
    assert!(matches!(client.recv(LIMIT).unwrap(), Reply::Attached { .. }));
    let second = greeted(&daemon);
    let (reason, message) = refusal(&second, &offer("instance/db", 9001), Some(&device));
    assert_eq!(reason, RefusalReason::AlreadyAttached);
    assert!(message.contains("another process"), "{message}");

    client.send(&withdraw, None, LIMIT).unwrap();
    match client.recv(LIMIT).unwrap() {
        Reply::Detached { reason, .. } => assert_eq!(reason, DetachReason::Withdrawn),
        other => panic!("{other:?}"),
    }
    second.send(&offer("instance/db", 9001), Some(device.as_fd()), LIMIT).unwrap();
    assert!(matches!(second.recv(LIMIT).unwrap(), Reply::Attached { .. }));
}

#[test]
fn a_helper_that_comes_back_in_time_finds_its_connections() {
    if !permitted() {
        return;
    }
    let daemon = Daemon::start_with(|options| options.grace = Duration::from_secs(3600));
    let others = Holder::start(&daemon.attach_socket).unwrap();
    let db = Host::attach(&others, "instance/db");
    db.serve_echo(5432);
    let namespace = netns::create_unnamed().unwrap();

    // A helper by hand, so that its connection can be cut and its device kept.
    let describe = greeted(&daemon);
    let question = Request::Describe { name: "function/api".to_owned(), token: None };
    describe.send(&question, None, LIMIT).unwrap();
    let Reply::Plan(plan) = describe.recv(LIMIT).unwrap() else { panic!("no plan") };
    assert_eq!(plan.address.to_string(), "169.254.100.2");
    assert!(plan.hosts.iter().any(|host| host.name == "db"), "{plan:?}");
    let device = viaduct_tun::holder::set_up(&namespace, "eth0", &plan).unwrap();
    let attach = || {
        let client = greeted(&daemon);
        client.send(&offer("function/api", plan.mtu), Some(device.as_fd()), LIMIT).unwrap();
        match client.recv(LIMIT).unwrap() {
            Reply::Attached { queue_id, .. } => (client, queue_id),
            other => panic!("{other:?}"),
        }
    };
    let (client, first) = attach();
    let function = Host { namespace };
    let (mut echo, _) = function.connect(DB);
    echo.round_trip(b"before");

    drop(client);
    daemon.until("function/api/1", AttachmentState::Reconnecting);
    echo.round_trip(b"meanwhile");
    let (client, second) = attach();
    assert_ne!(first, second);
    daemon.until("function/api/1", AttachmentState::Attached);
    echo.round_trip(b"after");
    drop(client);
}

#[test]
fn a_helper_that_stays_away_is_detached() {
    if !permitted() {
        return;
    }
    let daemon = Daemon::start_with(|options| options.grace = Duration::from_millis(10));
    let staying = Holder::start(&daemon.attach_socket).unwrap();
    let function = Host::attach(&staying, "function/api/2");
    let leaving = Holder::start(&daemon.attach_socket).unwrap();
    let db = Host::attach(&leaving, "instance/db");
    db.serve_echo(5432);
    function.connect(DB).0.round_trip(b"there");

    leaving.stop();
    daemon.until("instance/db", AttachmentState::Detached);
    let newest = daemon.newest_drop();
    std::thread::scope(|scope| {
        // It is dropped without an answer, so this ends when a listener is back.
        let waiting = scope.spawn(|| function.try_connect(DB).map(|(_, seen)| seen));
        daemon.drop_after(newest, |event| event.reason == Reason::AttachmentDown);
        let returning = Holder::start(&daemon.attach_socket).unwrap();
        let db = Host::attach(&returning, "instance/db");
        db.serve_echo(5432);
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn hosts_outlive_the_daemon() {
    if !permitted() {
        return;
    }
    let mut daemon = Daemon::start();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let function = Host::attach(&holder, "function/api/1");
    let db = Host::attach(&holder, "instance/db");
    db.serve_echo(5432);
    function.connect(DB).0.round_trip(b"first daemon");

    daemon.stop().unwrap();
    assert!(!daemon.attach_socket.exists() && !daemon.control_socket.exists());
    let left = std::fs::read_dir(&daemon.options.runtime_dir).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["connections", "state.redb"], "what lasts is all that stays");
    match daemon.try_ask(async |client| client.status().await) {
        Err(error @ ClientError::NoDaemon { .. }) => {
            assert!(error.to_string().contains("viaduct run"), "{error}");
        }
        other => panic!("{other:?}"),
    }

    daemon.start_again();
    daemon.until("function/api/1", AttachmentState::Attached);
    daemon.until("instance/db", AttachmentState::Attached);
    function.connect(DB).0.round_trip(b"second daemon");
}

#[test]
fn a_second_daemon_is_refused_and_disturbs_nothing() {
    if !permitted() {
        return;
    }
    let daemon = Daemon::start();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let function = Host::attach(&holder, "function/api/1");
    let db = Host::attach(&holder, "instance/db");
    db.serve_echo(5432);
    let (mut echo, _) = function.connect(DB);

    let ready = |_: &viaduct_daemon::Ready| panic!("a second daemon became ready");
    match viaduct_daemon::run(&daemon.options, ready, std::future::pending()) {
        Err(error @ Error::Running { .. }) => {
            let text = error.to_string();
            assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
            assert!(text.contains("--runtime-dir"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    echo.round_trip(b"undisturbed");
    assert_eq!(daemon.ask(async |client| client.status().await).attachments.attached, 2);
}

#[test]
fn garbage_ends_its_own_connection_and_no_other() {
    if !permitted() {
        return;
    }
    let daemon = Daemon::start();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let function = Host::attach(&holder, "function/api/1");
    let db = Host::attach(&holder, "instance/db");
    db.serve_echo(5432);
    let (mut echo, _) = function.connect(DB);

    for garbage in [&b"\0\xff\xfe"[..], b"{}", b"{\"hello\":{\"version\":99}}", &[b'['; 60_000]] {
        let socket = raw_connection(&daemon);
        // The daemon may have hung up already: that is what is asked for.
        let _ = rustix::net::send(&socket, garbage, rustix::net::SendFlags::NOSIGNAL);
        until_closed(&socket);
        echo.round_trip(b"still here");
    }
    // Said hello, then garbage.
    let client = greeted(&daemon);
    let _ = rustix::net::send(&client, b"]", rustix::net::SendFlags::NOSIGNAL);
    let started = Instant::now();
    loop {
        match client.recv(LIMIT) {
            Ok(Reply::Refused { reason, .. }) => assert_eq!(reason, RefusalReason::BadMessage),
            Ok(other) => panic!("{other:?}"),
            Err(HandoverError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
        assert!(started.elapsed() < LIMIT);
    }
    // Nothing at all, and away.
    drop(raw_connection(&daemon));
    echo.round_trip(b"still here");
    let later = Holder::start(&daemon.attach_socket).unwrap();
    later.attach(&Attachment::new("internet/web"), &netns::create_unnamed().unwrap()).unwrap();
}

fn raw_connection(daemon: &Daemon) -> rustix::fd::OwnedFd {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    let address = SocketAddrUnix::new(&daemon.attach_socket).unwrap();
    rustix::net::connect(&socket, &address).unwrap();
    socket
}

/// Reads answers until the other end hangs up.
fn until_closed(socket: &rustix::fd::OwnedFd) {
    let mut buffer = [0; 1 << 16];
    loop {
        match rustix::net::recv(socket, &mut buffer[..], rustix::net::RecvFlags::empty()) {
            Ok((0, _)) | Err(rustix::io::Errno::CONNRESET) => return,
            Ok(_) => {}
            Err(errno) => panic!("{errno}"),
        }
    }
}
