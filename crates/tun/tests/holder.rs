//! The holder against a daemon that refuses, dies and comes back.

mod common;

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use common::*;
use rustix::event::PollFlags;
use viaduct_tun::{
    Attachment, Connection, DeviceKind, Error, HandoverError, Holder, Incoming, Links, Listener,
    Namespace, Plan, Queue, Reply,
    handover::{DetachReason, RefusalReason},
    holder::Status,
};

/// What happened at the daemon.
#[derive(Debug)]
enum Event {
    Hello,
    Attached(String, Arc<Queue>),
    Withdrawn(String),
    Closed,
}

/// A daemon of a few lines: one connection at a time, every queue taken.
struct Daemon {
    events: mpsc::Receiver<Event>,
    /// Sent to the helper as they are.
    say: mpsc::Sender<Reply>,
    /// Dropped to end the daemon.
    stop: Option<rustix::fd::OwnedFd>,
    thread: Option<thread::JoinHandle<()>>,
    /// Names that are refused.
    refused: Arc<Mutex<Vec<String>>>,
}

impl Daemon {
    fn start(path: &Path) -> Self {
        let listener = Listener::bind(path).unwrap();
        let (tell, events) = mpsc::channel();
        let (say, sayings) = mpsc::channel();
        let (stopped, stop) = rustix::pipe::pipe().unwrap();
        let refused = Arc::new(Mutex::new(Vec::new()));
        let refuse = Arc::clone(&refused);
        let thread = thread::spawn(move || {
            let mut connection = None;
            let mut queues = 0;
            loop {
                let fd = match &connection {
                    None => rustix::event::PollFd::new(&listener, PollFlags::IN),
                    Some(connection) => rustix::event::PollFd::new(connection, PollFlags::IN),
                };
                let mut fds = [fd, rustix::event::PollFd::new(&stopped, PollFlags::IN)];
                let tick = rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
                rustix::event::poll(&mut fds, Some(&tick)).unwrap();
                if !fds[1].revents().is_empty() {
                    return;
                }
                let Some(current) = &connection else {
                    connection = listener.try_accept().unwrap();
                    continue;
                };
                for reply in sayings.try_iter() {
                    assert!(current.try_send(&reply).unwrap());
                }
                match current.try_recv() {
                    Ok(None) => {}
                    Ok(Some(request)) => {
                        let refused = refuse.lock().unwrap().clone();
                        serve(current, request, &mut queues, &refused, &tell);
                    }
                    Err(HandoverError::Closed) => {
                        let _ = tell.send(Event::Closed);
                        connection = None;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { events, say, stop: Some(stop), thread: Some(thread), refused }
    }

    fn next(&self) -> Event {
        self.events.recv_timeout(LIMIT).expect("nothing happened at the daemon")
    }

    fn queue_of(&self, expected: &str) -> Arc<Queue> {
        match self.next() {
            Event::Attached(name, queue) if name == expected => queue,
            other => panic!("{other:?} instead of {expected} attached"),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        let outcome = self.thread.take().unwrap().join();
        if !thread::panicking() {
            outcome.unwrap();
        }
    }
}

fn serve(
    connection: &Connection,
    request: Incoming,
    queues: &mut u64,
    refused: &[String],
    tell: &mpsc::Sender<Event>,
) {
    let (reply, event) = match request {
        Incoming::Hello { version } => {
            assert_eq!(version, 1);
            (None, Event::Hello)
        }
        Incoming::Describe { name, token: _ } => {
            let plan = Plan {
                name,
                address: HERE.into(),
                prefix_len: 24,
                further: vec!["198.18.0.0/24".parse().unwrap()],
                gateway: Some(THERE.into()),
                mtu: 1400,
                device: DeviceKind::Offload,
                forwards: true,
                hosts: Vec::new(),
            };
            assert!(connection.try_send(&Reply::Plan(plan)).unwrap());
            return;
        }
        Incoming::Offer { offer, queue } if refused.contains(&offer.name) => {
            // First, so that the helper's is the last descriptor of the device.
            drop(queue);
            let refusal = Reply::Refused {
                name: Some(offer.name),
                reason: RefusalReason::NotAllowed,
                message: "not you".to_owned(),
            };
            assert!(connection.try_send(&refusal).unwrap());
            return;
        }
        Incoming::Offer { offer, queue } => {
            *queues += 1;
            let queue = Queue::adopt(queue, DeviceKind::Offload).unwrap();
            assert_eq!(offer.mtu, 1400);
            (
                Some(Reply::Attached { name: offer.name.clone(), queue_id: *queues }),
                Event::Attached(offer.name, Arc::new(queue)),
            )
        }
        Incoming::Withdraw { name } => (
            Some(Reply::Detached { name: name.clone(), reason: DetachReason::Withdrawn }),
            Event::Withdrawn(name),
        ),
    };
    if let Some(reply) = reply {
        assert!(connection.try_send(&reply).unwrap());
    }
    // A test that has seen enough does not listen any more.
    let _ = tell.send(event);
}

fn has_device(namespace: &Namespace) -> bool {
    namespace.run(|| Links::open().unwrap().index("eth0").is_ok()).unwrap()
}

/// Waits for a status that must come.
fn wait_for(holder: &Holder, expected: impl Fn(&[(String, Status)]) -> bool) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let statuses = holder.statuses().unwrap();
        if expected(&statuses) {
            return;
        }
        assert!(Instant::now() < deadline, "{statuses:?}");
        thread::yield_now();
    }
}

#[test]
fn an_attachment_is_set_up_by_its_plan_and_ends_with_its_withdrawal() {
    let Some(namespace) = namespace() else { return };
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("attach.sock");
    let daemon = Daemon::start(&socket);
    let holder = Holder::start(&socket).unwrap();
    let attached = holder.attach(&Attachment::new("instance/db"), &namespace).unwrap();
    assert_eq!((attached.plan.mtu, attached.queue_id), (1400, 1));
    assert!(matches!(daemon.next(), Event::Hello));
    let queue = daemon.queue_of("instance/db");
    assert!(answers_ping(&queue, 1));

    let (routes, mtu) = namespace
        .run(|| {
            let forwards = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
            assert_eq!(forwards.trim(), "1");
            let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
            let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            // The kernel picks the source for the default route.
            socket.connect((Ipv4Addr::new(198, 51, 100, 7), 9)).unwrap();
            assert_eq!(socket.local_addr().unwrap().ip(), IpAddr::from(HERE));
            // It can answer from every address of a block that is its own, and from no other.
            std::net::UdpSocket::bind((Ipv4Addr::new(198, 18, 0, 77), 53)).unwrap();
            std::net::UdpSocket::bind((Ipv4Addr::new(198, 18, 1, 77), 53)).unwrap_err();
            socket.send(&[0; 1372]).unwrap();
            (routes, socket.send(&[0; 1400]).map(|_| ()))
        })
        .unwrap();
    assert_eq!(routes.lines().filter(|line| line.starts_with("eth0")).count(), 2, "{routes}");
    assert!(mtu.is_ok() || mtu.unwrap_err().raw_os_error() == Some(90));
    let frame = next_frame(&queue);
    assert_eq!(frame.len(), 10 + 1400, "a packet of exactly the MTU");

    let again = holder.attach(&Attachment::new("instance/db"), &namespace);
    assert!(again.is_err(), "the device name is taken");

    holder.detach("instance/db").unwrap();
    assert!(matches!(daemon.next(), Event::Withdrawn(name) if name == "instance/db"));
    drop(queue);
    assert!(!has_device(&namespace));
    assert_eq!(holder.statuses().unwrap(), []);
    holder.stop();
    assert!(matches!(daemon.next(), Event::Closed));
}

#[test]
fn a_refusal_reaches_the_caller_and_leaves_no_device() {
    let Some(namespace) = namespace() else { return };
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("attach.sock");
    let daemon = Daemon::start(&socket);
    daemon.refused.lock().unwrap().push("function/api/1".to_owned());
    let holder = Holder::start(&socket).unwrap();
    match holder.attach(&Attachment::new("function/api/1"), &namespace) {
        Err(Error::Refused { reason: RefusalReason::NotAllowed, message, .. }) => {
            assert_eq!(message, "not you");
        }
        other => panic!("{other:?}"),
    }
    assert!(!has_device(&namespace));
    assert_eq!(holder.statuses().unwrap(), []);
}

#[test]
fn queues_survive_their_daemon_and_are_handed_to_the_next() {
    let Some(namespace) = namespace() else { return };
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("attach.sock");
    let first = Daemon::start(&socket);
    let holder = Holder::start(&socket).unwrap();
    holder.attach(&Attachment::new("instance/db"), &namespace).unwrap();
    drop(first);
    wait_for(&holder, |statuses| statuses[0].1 == Status::Waiting);
    assert!(has_device(&namespace));

    let second = Daemon::start(&socket);
    assert!(matches!(second.next(), Event::Hello));
    let queue = second.queue_of("instance/db");
    assert!(answers_ping(&queue, 1));
    wait_for(&holder, |statuses| statuses[0].1 == Status::Attached { queue_id: 1 });
}

#[test]
fn a_daemon_that_comes_late_is_waited_for() {
    let Some(namespace) = namespace() else { return };
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("attach.sock");
    let holder = Holder::start(&socket).unwrap();
    thread::scope(|scope| {
        let attaching =
            scope.spawn(|| holder.attach(&Attachment::new("instance/db"), &namespace).unwrap());
        let daemon = Daemon::start(&socket);
        assert!(matches!(daemon.next(), Event::Hello));
        assert!(answers_ping(&daemon.queue_of("instance/db"), 1));
        assert_eq!(attaching.join().unwrap().queue_id, 1);
    });
}

#[test]
fn what_the_daemon_lets_go_is_offered_again_and_what_another_took_is_not() {
    let Some(namespace) = namespace() else { return };
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("attach.sock");
    let daemon = Daemon::start(&socket);
    let holder = Holder::start(&socket).unwrap();
    holder.attach(&Attachment::new("instance/db"), &namespace).unwrap();
    assert!(matches!(daemon.next(), Event::Hello));
    daemon.queue_of("instance/db");

    let detached = |reason| Reply::Detached { name: "instance/db".to_owned(), reason };
    daemon.say.send(detached(DetachReason::Removed)).unwrap();
    daemon.queue_of("instance/db");
    daemon.say.send(detached(DetachReason::Replaced)).unwrap();
    let lost = Status::Lost { reason: DetachReason::Replaced };
    wait_for(&holder, |statuses| statuses[0].1 == lost);
    // Not even a new connection brings it back: nothing but hello comes.
    drop(daemon);
    let daemon = Daemon::start(&socket);
    assert!(matches!(daemon.next(), Event::Hello));
    assert!(daemon.events.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn a_hundred_environments_share_one_connection_and_one_address() {
    if namespace().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("attach.sock");
    let daemon = Daemon::start(&socket);
    let holder = Holder::start(&socket).unwrap();
    let namespaces: Vec<_> = (0..100).map(|_| namespace().unwrap()).collect();
    let begin = Instant::now();
    for (number, namespace) in namespaces.iter().enumerate() {
        holder.attach(&Attachment::new(format!("function/api/{number}")), namespace).unwrap();
    }
    println!("100 attachments made in {:?}", begin.elapsed());
    assert!(matches!(daemon.next(), Event::Hello));
    let queues: Vec<_> =
        (0..100).map(|number| daemon.queue_of(&format!("function/api/{number}"))).collect();
    for (number, queue) in queues.iter().enumerate() {
        assert!(answers_ping(queue, number as u16), "environment {number}");
    }
    drop(queues);
    let begin = Instant::now();
    holder.stop();
    println!("and let go in {:?}", begin.elapsed());
    assert!(!namespaces.iter().any(has_device), "a device was left");
}
