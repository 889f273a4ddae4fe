//! A container that does to its hand-over socket whatever it can: it is refused, with a reason that is
//! logged, nothing of it stays with the daemon, and others do not notice. The test plays the container,
//! in a namespace of its own.

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, IoSlice, Read, Write},
    mem::MaybeUninit,
    net::{TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use common::{
    Killed, LIMIT,
    daemon::Daemon,
    echoes::Echoes,
    eventually, has, permitted, said,
    tun_ioctl::{
        IFF_DETACH_QUEUE, IFF_MULTI_QUEUE, IFF_NO_PI, IFF_TAP, IFF_TUN, IFF_VNET_HDR, TUNSETIFF,
        TUNSETOFFLOAD, TUNSETQUEUE, TUNSETVNETHDRSZ, ioctl, queue_flags,
    },
    viaduct,
};
use rustix::{
    fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketAddrUnix, SocketFlags, SocketType, sendmsg,
        sockopt::{set_socket_linger, set_socket_recv_buffer_size, set_socket_send_buffer_size},
    },
    process::{Pid, Resource, Signal, getrlimit, kill_process},
};
use viaduct_tun::{
    Attachment, Client, Holder, Links, Namespace, Offer, Plan, Reply, Request,
    handover::{PROTOCOL_VERSION, RefusalReason},
    holder, netns,
};

const TOPOLOGY: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets: { private: { cidr_block: 10.0.1.0/24 } }
    security_groups:
      fn: { egress:  [ { protocol: udp, ports: 1-9999, to: 0.0.0.0/0 } ] }
      db: { ingress: [ { protocol: udp, ports: 7, from: security_group/fn } ] }
    instances:
      db:    { subnet: private, private_ip: 10.0.1.10, security_groups: [db] }
      other: { subnet: private, private_ip: 10.0.1.11, security_groups: [db] }
functions:
  api: { subnets: [main/private], security_groups: [main/fn], environments: 9 }
";

/// The host that the hostile container is for.
const INTRUDER: &str = "function/api/2";

const ECHO: &str = "10.0.1.10:7";

/// A daemon with a socket for the intruder and one for another host, and two good hosts that talk.
struct Scene {
    echoes: Echoes,
    /// The queue of the database, as the database's helper has it too.
    queue: OwnedFd,
    _holder: Holder,
    daemon: Daemon,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let topology = directory.path().join("topology.yaml");
        fs::write(&topology, TOPOLOGY).unwrap();
        let mut arguments = vec!["--workers".to_owned(), "2".to_owned()];
        for (host, place) in [(INTRUDER, "intruder"), ("function/api/3", "other")] {
            let place = directory.path().join(place);
            fs::create_dir(&place).unwrap();
            arguments.push(format!("--attach-socket={host}={}/attach.sock", place.display()));
        }
        let daemon = Daemon::start_in(directory, &topology, &arguments);
        let holder = Holder::start(daemon.attach_socket()).unwrap();
        let function = netns::create_unnamed().unwrap();
        holder.attach(&Attachment::new("function/api/1"), &function).unwrap();
        let db = netns::create_unnamed().unwrap();
        let plan = holder.describe("instance/db", None).unwrap();
        let device = holder::set_up(&db, "eth0", &plan).unwrap();
        let queue = device.queue().unwrap();
        holder.hold(named("instance/db", plan.mtu), device).unwrap();
        let echoes = Echoes::between(&function, &db, ECHO.parse().unwrap());
        echoes.go_on();
        Self { echoes, queue, _holder: holder, daemon }
    }

    fn socket(&self, place: &str) -> PathBuf {
        self.daemon.path().join(place).join("attach.sock")
    }

    fn intruders_socket(&self) -> PathBuf {
        self.socket("intruder")
    }

    /// The intruder, connected to its socket.
    fn intruder(&self) -> Client {
        greeted(&self.intruders_socket())
    }

    /// A device that can be attached, made as the daemon wants it.
    fn good_device(&self, client: &Client) -> (Namespace, OwnedFd, Plan) {
        let describe = Request::Describe { name: INTRUDER.to_owned(), token: None };
        client.send(&describe, None, LIMIT).unwrap();
        let plan = match client.recv(LIMIT).unwrap() {
            Reply::Plan(plan) => plan,
            other => panic!("{other:?}"),
        };
        let namespace = netns::create_unnamed().unwrap();
        let device = holder::set_up(&namespace, "eth0", &plan).unwrap();
        (namespace, device.into_queue(), plan)
    }

    /// Waits until a line of the log says this.
    fn logged(&self, what: &str) {
        let said = eventually(|| self.daemon.log().contains(what).then_some(()));
        assert!(said.is_some(), "`{what}` is not in:\n{}", self.daemon.log());
    }

    /// Nothing is left of what came since there were so many descriptors.
    fn nothing_stays(&self, before: usize) {
        let back = eventually(|| (self.daemon.descriptors() <= before).then_some(()));
        assert!(back.is_some(), "{} descriptors, {before} before", self.daemon.descriptors());
    }

    /// The two good hosts have lost nothing.
    fn end(self) {
        self.echoes.go_on();
        self.echoes.end();
    }
}

fn named(name: &str, mtu: u16) -> Offer {
    Offer { name: name.to_owned(), token: None, mtu }
}

fn greeted(socket: &Path) -> Client {
    let client = Client::connect(socket).unwrap();
    client.send(&Request::Hello { version: PROTOCOL_VERSION }, None, LIMIT).unwrap();
    client
}

fn refusal(
    client: &Client,
    request: &Request,
    queue: Option<BorrowedFd<'_>>,
) -> (RefusalReason, String) {
    client.send(request, queue, LIMIT).unwrap();
    match client.recv(LIMIT).unwrap() {
        Reply::Refused { reason, message, .. } => (reason, message),
        other => panic!("not refused: {other:?}"),
    }
}

fn attached(client: &Client, offer: Offer, queue: impl AsFd) {
    client.send(&Request::Offer(offer), Some(queue.as_fd()), LIMIT).unwrap();
    match client.recv(LIMIT).unwrap() {
        Reply::Attached { .. } => {}
        other => panic!("not attached: {other:?}"),
    }
}

/// A connection on which nothing was said. None when the daemon's queue of those to accept is full.
fn connected(socket: &Path) -> Option<OwnedFd> {
    let kind = SocketType::SEQPACKET;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let ours = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None).unwrap();
    match rustix::net::connect(&ours, &SocketAddrUnix::new(socket).unwrap()) {
        Ok(()) => Some(ours),
        Err(Errno::AGAIN) => None,
        Err(errno) => panic!("{errno}"),
    }
}

/// Sends any bytes with any descriptors. The daemon may have hung up already: that is what is asked for.
fn send_raw(socket: impl AsFd, text: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    let _ = sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL);
}

/// Whether the daemon hangs up, whatever it says before.
fn is_hung_up(socket: impl AsFd) -> bool {
    let mut answer = [0; 1 << 16];
    let ended =
        eventually(|| match rustix::net::recv(&socket, &mut answer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => Some(()),
            Ok(_) | Err(Errno::AGAIN) => None,
            Err(errno) => panic!("{errno}"),
        });
    ended.is_some()
}

/// An open `/dev/net/tun` in a namespace; with flags, as the queue of a device that has them.
fn tun(namespace: &Namespace, flags: Option<u16>) -> OwnedFd {
    let open = || rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let made = namespace.run(|| {
        let queue = open().unwrap();
        if let Some(flags) = flags {
            ioctl(&queue, TUNSETIFF, &queue_flags(flags));
        }
        queue
    });
    made.unwrap()
}

#[test]
fn a_socket_is_for_its_own_host() {
    if !permitted() {
        return;
    }
    let scene = Scene::new();
    let before = scene.daemon.descriptors();
    let client = scene.intruder();
    let (_namespace, queue, plan) = scene.good_device(&client);
    for name in
        ["instance/db", "instance/other", "function/api/1", "function/api", "function/api/20"]
    {
        let describe = Request::Describe { name: name.to_owned(), token: None };
        let offer = Request::Offer(named(name, plan.mtu));
        for (request, queue) in [(describe, None), (offer, Some(queue.as_fd()))] {
            let (reason, message) = refusal(&client, &request, queue);
            assert_eq!(reason, RefusalReason::NotAllowed, "{message}");
            assert!(message.contains(name) && message.contains(INTRUDER), "{message}");
        }
    }
    scene
        .logged("`instance/other` is not attached over this socket, which is for `function/api/2`");
    let long = Request::Offer(named(&"x".repeat(60_000), plan.mtu));
    assert_eq!(refusal(&client, &long, Some(queue.as_fd())).0, RefusalReason::BadMessage);
    scene.logged("a name of 60000 bytes is no host's");
    // To take another's host away takes its connection.
    let withdraw = Request::Withdraw { name: "instance/db".to_owned() };
    assert_eq!(refusal(&client, &withdraw, None).0, RefusalReason::NotAllowed);

    attached(&client, named(INTRUDER, plan.mtu), &queue);
    let second = scene.intruder();
    let again = Request::Offer(named(INTRUDER, plan.mtu));
    let (reason, message) = refusal(&second, &again, Some(queue.as_fd()));
    assert_eq!(reason, RefusalReason::AlreadyAttached, "{message}");
    scene.logged("`function/api/2` is attached by another process");
    // Nor may it be another host of the same container's.
    let (reason, _) =
        refusal(&second, &Request::Offer(named("instance/db", 1500)), Some(queue.as_fd()));
    assert_eq!(reason, RefusalReason::NotAllowed);

    // The other socket is as good as before, and the first one for everything.
    let other = greeted(&scene.socket("other"));
    let (reason, message) = refusal(&other, &again, Some(queue.as_fd()));
    assert_eq!(reason, RefusalReason::NotAllowed, "{message}");
    drop((client, second, other, queue));
    scene.nothing_stays(before);
    scene.end();
}

#[test]
fn what_is_no_queue_of_its_own_is_refused() {
    if !permitted() || !has("python3") {
        return;
    }
    let scene = Scene::new();
    let client = scene.intruder();
    let namespace = netns::create_unnamed().unwrap();
    let (_kept, good, plan) = scene.good_device(&client);
    attached(&client, named(INTRUDER, plan.mtu), &good);
    let before = scene.daemon.descriptors();

    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    let null = fs::File::open("/dev/null").unwrap();
    let full = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
    let made = |flags| tun(&namespace, flags);
    let reads_only = rustix::fs::open("/dev/net/tun", OFlags::RDONLY, Mode::empty()).unwrap();
    for (given, wanted) in [
        (pipe, "not a TUN queue"),
        (socket.into(), "not a TUN queue"),
        (file.into(), "not a TUN queue"),
        (null.into(), "found character device 1:3"),
        (reads_only, "belongs to no device"),
        (made(None), "belongs to no device"),
        (made(Some(full & !IFF_TUN | IFF_TAP)), "is a TAP, not a TUN"),
        (made(Some(full & !IFF_VNET_HDR)), "is of the kind `plain`"),
        (made(Some(full & !IFF_NO_PI)), "has packet information on"),
        (made(Some(full & !IFF_MULTI_QUEUE)), "is limited to one queue"),
    ] {
        let (reason, message) =
            refusal(&client, &Request::Offer(named(INTRUDER, 1500)), Some(given.as_fd()));
        assert_eq!(reason, RefusalReason::BadQueue, "{message}");
        assert!(message.contains(wanted), "{message}");
        scene.logged(wanted);
        drop(given);
        scene.nothing_stays(before);
    }

    // The queue of another host, which somebody has got hold of.
    let (reason, message) =
        refusal(&client, &Request::Offer(named(INTRUDER, 1500)), Some(scene.queue.as_fd()));
    assert_eq!(reason, RefusalReason::BadQueue, "{message}");
    assert!(message.contains("attached as `instance/db` already"), "{message}");
    scene.logged("attached as `instance/db` already");
    // One's own at another of one's sockets.
    let other = greeted(&scene.socket("other"));
    let (_, message) =
        refusal(&other, &Request::Offer(named("function/api/3", 1500)), Some(good.as_fd()));
    assert!(message.contains("attached as `function/api/2` already"), "{message}");
    drop(other);
    scene.nothing_stays(before);
    scene.end();
}

#[test]
fn what_is_done_to_a_queue_later_is_its_givers_own_harm() {
    if !permitted() || !has("python3") {
        return;
    }
    let scene = Scene::new();
    let before = scene.daemon.descriptors();
    let packet = |namespace: &Namespace| {
        let sent = namespace.run(|| {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"from the intruder", ECHO)
        });
        // The device may be gone, or its link down.
        let _ = sent.unwrap();
    };
    let links = |namespace: &Namespace, change: &(dyn Fn(&Links) + Sync)| {
        namespace.run(|| change(&Links::open().unwrap())).unwrap();
    };
    type Misdeed<'m> = (&'m str, Box<dyn Fn(&Namespace, &OwnedFd) + 'm>);
    let misdeeds: [Misdeed<'_>; 7] = [
        (
            "clears O_NONBLOCK",
            Box::new(|_, queue| {
                let flags = fcntl_getfl(queue).unwrap();
                fcntl_setfl(queue, flags - OFlags::NONBLOCK).unwrap();
            }),
        ),
        (
            "changes the header's size",
            Box::new(|_, queue| ioctl(queue, TUNSETVNETHDRSZ, "struct.pack('i', 12)")),
        ),
        ("changes the offloads", Box::new(|_, queue| ioctl(queue, TUNSETOFFLOAD, "0"))),
        (
            "detaches the queue",
            Box::new(|_, queue| ioctl(queue, TUNSETQUEUE, &queue_flags(IFF_DETACH_QUEUE))),
        ),
        (
            "sets the link down",
            Box::new(|namespace, _| links(namespace, &|it| it.down("eth0").unwrap())),
        ),
        (
            "deletes the device",
            Box::new(|namespace, _| links(namespace, &|it| it.delete("eth0").unwrap())),
        ),
        ("exits", Box::new(|_, _| {})),
    ];
    for (what, misdeed) in misdeeds {
        println!("it {what}");
        let client = scene.intruder();
        let (namespace, queue, plan) = scene.good_device(&client);
        attached(&client, named(INTRUDER, plan.mtu), &queue);
        packet(&namespace);
        misdeed(&namespace, &queue);
        packet(&namespace);
        scene.echoes.go_on();
        packet(&namespace);
        scene.echoes.go_on();
        drop((client, queue, namespace));
        scene.nothing_stays(before);
    }
    scene.logged("headers make no sense; restoring the queue's settings");
    scene.logged("detached: its queue has no device");
    scene.logged("detached: its helper did not come back");
    scene.end();
}

#[test]
fn garbage_ends_its_own_connection() {
    if !permitted() {
        return;
    }
    let scene = Scene::new();
    let before = scene.daemon.descriptors();
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    let hello = br#"{"hello":{"version":1}}"#;
    let offer = br#"{"offer":{"name":"function/api/2","mtu":1500}}"#;
    let mut random = vec![0; 4096];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    let odd = br#"{"x\n2026-01-01 INFO attached name=instance/db":{}}"#;
    let messages: [(&[u8], usize); 11] = [
        (&random, 0),
        (&offer[..20], 1),
        (&hello[..9], 0),
        (odd, 0),
        (&[b' '; 65 << 10], 0),
        (&[b'['; 60_000], 0),
        (b"", 1),
        (offer, 0),
        (offer, 2),
        (offer, 64),
        (br#"{"describe":{"name":"function/api/2"}}"#, 1),
    ];
    for greet in [false, true] {
        for (message, descriptors) in messages {
            let socket = connected(&scene.intruders_socket()).unwrap();
            if greet {
                send_raw(&socket, hello, &[]);
            }
            send_raw(&socket, message, &vec![pipe.as_fd(); descriptors]);
            let begin = String::from_utf8_lossy(&message[..message.len().min(20)]);
            assert!(is_hung_up(&socket), "{begin:?} with {descriptors} descriptors");
            drop(socket);
            scene.nothing_stays(before);
        }
    }
    for why in [
        "a hand-over message does not parse",
        "a hand-over message is larger than 65536 bytes",
        "a hand-over message carries 2 descriptors, and must carry 1",
        "a hand-over message carries 1 descriptors, and must carry 0",
    ] {
        scene.logged(why);
    }
    // Nobody writes lines of the log.
    let log = scene.daemon.log();
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01")), "{log}");

    // Messages of before it hangs up, and of nobody who would read an answer.
    let socket = connected(&scene.intruders_socket()).unwrap();
    for _ in 0..100 {
        send_raw(&socket, offer, &[pipe.as_fd(); 3]);
    }
    drop(socket);
    scene.nothing_stays(before);
    scene.end();
}

#[test]
fn ten_thousand_connections_keep_nobody_out() {
    const MANY: usize = 10_000;
    let room = getrlimit(Resource::Nofile).current.is_none_or(|limit| limit > MANY as u64 + 500);
    if !permitted() || !room {
        println!("skipped: {MANY} open files are not allowed, or labs are not");
        return;
    }
    let scene = Scene::new();
    let before = scene.daemon.descriptors();
    // Over its own socket, and over the one for everybody, as where nobody has a socket of its own.
    for socket in [scene.intruders_socket(), scene.daemon.attach_socket()] {
        let mut crowd = Vec::with_capacity(MANY);
        for number in 0..MANY {
            let connection = eventually(|| connected(&socket)).expect("it is accepted in the end");
            // Every other one has manners.
            if number % 2 == 0 {
                send_raw(&connection, br#"{"hello":{"version":1}}"#, &[]);
            }
            crowd.push(connection);
        }
        assert!(scene.daemon.descriptors() < MANY, "{}", scene.daemon.descriptors());
        scene.echoes.go_on();
        assert!(scene.daemon.get("status").is_some(), "the control socket does not answer");
        for (socket, name) in [
            (scene.socket("other"), "function/api/3"),
            (scene.daemon.attach_socket(), "function/api/4"),
        ] {
            let helper = Holder::start(socket).unwrap();
            let namespace = netns::create_unnamed().unwrap();
            helper.attach(&Attachment::new(name), &namespace).unwrap();
            helper.stop();
        }
        scene.echoes.go_on();
        drop(crowd);
        scene.nothing_stays(before);
    }
    scene.logged("too many are connected to this socket");
    let lines = scene.daemon.log().lines().filter(|line| line.contains("sent away")).count();
    assert!(lines < 1000, "{lines} lines of the log");
    scene.end();
}

/// A TCP socket whose last close waits for an hour: its peer does not read what it has sent.
fn lingering() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    set_socket_recv_buffer_size(&listener, 4096).unwrap();
    let mut ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    set_socket_send_buffer_size(&ours, 4096).unwrap();
    ours.set_nonblocking(true).unwrap();
    while ours.write(&[0; 1 << 16]).is_ok() {}
    set_socket_linger(&ours, Some(Duration::from_secs(3600))).unwrap();
    (ours.into(), theirs)
}

/// Sends the daemon what it would take an hour to close, in every way. It ends with the peers.
fn send_lingering(scene: &Scene) -> Vec<TcpStream> {
    let hello = &br#"{"hello":{"version":1}}"#[..];
    let offer = &br#"{"offer":{"name":"function/api/2","mtu":1500}}"#[..];
    let question = &br#"{"describe":{"name":"function/api/2"}}"#[..];
    // What is said, with so many of them: as an offer, in the place of hello, with nonsense, with a
    // question, behind what ends the conversation, and more than anybody would look at.
    let conversations: [&[(&[u8], usize)]; 6] = [
        &[(hello, 0), (offer, 1)],
        &[(offer, 1)],
        &[(b"nonsense", 1)],
        &[(hello, 0), (question, 1)],
        &[(b"nonsense", 0), (offer, 1)],
        &[(hello, 0), (offer, 32)],
    ];
    let mut peers = Vec::new();
    // It is to close the last descriptor of each: so it does not run until we have closed ours.
    scene.daemon.signal(Signal::STOP);
    let mut sockets = Vec::new();
    for conversation in conversations.into_iter().cycle().take(30) {
        let socket = connected(&scene.intruders_socket()).unwrap();
        for (message, number) in conversation {
            match number {
                0 => send_raw(&socket, message, &[]),
                _ => {
                    let (lingers, peer) = lingering();
                    send_raw(&socket, message, &vec![lingers.as_fd(); *number]);
                    peers.push(peer);
                }
            }
        }
        sockets.push(socket);
    }
    drop(sockets);
    scene.daemon.signal(Signal::CONT);
    peers
}

#[test]
fn descriptors_that_take_an_hour_to_close_keep_only_their_own_socket_waiting() {
    if !permitted() {
        return;
    }
    let scene = Scene::new();
    let before = scene.daemon.descriptors();
    let peers = send_lingering(&scene);
    scene.echoes.go_on();
    assert!(scene.daemon.get("status").is_some(), "the control socket does not answer");
    let helper = Holder::start(scene.socket("other")).unwrap();
    let namespace = netns::create_unnamed().unwrap();
    helper.attach(&Attachment::new("function/api/3"), &namespace).unwrap();
    let waiting = scene.daemon.descriptors() - before;
    assert!(waiting > 16, "it was to wait, and only {waiting} descriptors are left");

    // When the peers are gone they are closed, and the socket is of use again.
    drop(peers);
    let client = scene.intruder();
    let (_namespace, queue, plan) = scene.good_device(&client);
    attached(&client, named(INTRUDER, plan.mtu), &queue);
    drop((helper, client));
    scene.nothing_stays(before);

    // Nor does the daemon wait for them when it ends.
    let _peers = send_lingering(&scene);
    let Scene { echoes, mut daemon, .. } = scene;
    echoes.go_on();
    echoes.end();
    daemon.signal(Signal::TERM);
    let ended = eventually(|| daemon.ended()).expect("it does not end");
    assert!(ended.success(), "{ended}: {}", daemon.log());
    assert!(daemon.log().contains("cannot be closed"), "{}", daemon.log());
}

#[test]
fn a_token_is_for_its_own_hosts() {
    const API: &str = "Zm9yIHRoZSBmdW5jdGlvbg";
    const DB: &str = "Zm9yIHRoZSBkYXRhYmFzZQ";
    if !permitted() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (topology, tokens) =
        (directory.path().join("topology.yaml"), directory.path().join("tokens"));
    fs::write(&topology, TOPOLOGY).unwrap();
    fs::write(&tokens, format!("{API} function/api\n{DB} instance/db instance/other\n")).unwrap();
    let arguments = ["--attach-tokens".to_owned(), tokens.display().to_string()];
    let daemon = Daemon::start_in(directory, &topology, &arguments);
    let attach = |host: &str, token: Option<&str>| {
        let namespace = netns::create_unnamed().unwrap();
        let mut attach = viaduct();
        attach.args(["attach", host, "--runtime-dir"]).arg(daemon.path());
        attach.envs(token.map(|token| ("VIADUCT_TOKEN", token)));
        attach.args(["--", "sh", "-c", "echo \"token: ${VIADUCT_TOKEN-none}\""]);
        namespace.run(|| attach.output().unwrap()).unwrap()
    };
    for (host, token, why) in [
        ("function/api/1", None, "attached with a token (VIADUCT_TOKEN), and there is none"),
        ("function/api/1", Some(DB), "this token does not entitle to it"),
        ("instance/db", Some(API), "this token does not entitle to it"),
        ("instance/db", Some("Zm9yIHRoZSBkYXRhYmFzZ"), "this token does not entitle to it"),
    ] {
        let output = attach(host, token);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(why), "{}", said(&output));
    }
    for (host, token) in [("function/api/1", API), ("function/api/7", API), ("instance/other", DB)]
    {
        let output = attach(host, Some(token));
        assert!(output.status.success(), "{}", said(&output));
        assert!(said(&output).contains("token: none"), "a command gets it: {}", said(&output));
    }
    let log = daemon.log();
    assert!(log.contains("this token does not entitle to it"), "{log}");
    assert!(!log.contains("Zm9y"), "{log}");
}

/// As with a container whose engine kills all that is in it.
#[test]
fn the_namespace_of_a_container_that_is_gone_goes_with_the_grace() {
    if !permitted() || !has("unshare") || !has("ip") {
        return;
    }
    let scene = Scene::new();
    let before = scene.daemon.descriptors();
    // A process that is nobody's but its own namespace's, attached with its helper.
    let mut container = Command::new("unshare");
    container.args(["--net", "--"]).arg(viaduct().get_program());
    container.args(["attach", INTRUDER, "--log", "error", "--runtime-dir"]);
    container.arg(scene.daemon.path().join("intruder"));
    container.args(["--", "sh", "-c", "echo $$; exec sleep infinity"]).stdout(Stdio::piped());
    let mut container = Killed(container.spawn().unwrap());
    let mut workload = String::new();
    BufReader::new(container.0.stdout.take().unwrap()).read_line(&mut workload).unwrap();
    let workload = Pid::from_raw(workload.trim().parse().unwrap()).unwrap();

    // A cable from its namespace to another one shows when the namespace ends.
    let watcher = netns::create_unnamed().unwrap();
    let pid = container.0.id().to_string();
    let ip = |arguments: &[&str]| {
        let output = watcher.run(|| Command::new("ip").args(arguments).output().unwrap()).unwrap();
        output.status.success()
    };
    assert!(ip(&["link", "add", "near", "type", "veth", "peer", "name", "far", "netns", &pid]));
    assert!(ip(&["link", "show", "near"]));

    drop(container);
    kill_process(workload, Signal::KILL).unwrap();
    let gone = eventually(|| (!ip(&["link", "show", "near"])).then_some(()));
    assert!(gone.is_some(), "the daemon keeps a namespace that nobody else has");
    scene.nothing_stays(before);
    scene.logged("detached: its helper did not come back");
    scene.end();
}
