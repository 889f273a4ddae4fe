//! The hand-over socket: what is said, what comes along, and what a bad peer can do.

mod common;

use std::{
    io::IoSlice,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use common::*;
use rustix::{
    event::PollFlags,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use viaduct_tun::{
    Client, Connection, DeviceKind, HandoverError, Incoming, Listener, Offer, Plan, Queue, Reply,
    Request,
    handover::{Access, DetachReason, HostEntry, MAX_MESSAGE_LEN, RefusalReason},
};

fn offer(name: &str) -> Offer {
    Offer { name: name.to_owned(), token: Some("secret".to_owned().into()), mtu: 1500 }
}

/// Waits for one request.
fn next(connection: &Connection) -> Result<Incoming, HandoverError> {
    loop {
        if let Some(incoming) = connection.try_recv()? {
            return Ok(incoming);
        }
        assert!(!wait(connection, PollFlags::IN).is_empty(), "no request came");
    }
}

/// Sends any bytes with any descriptors.
fn send_raw(client: &Client, text: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    sendmsg(client, &[IoSlice::new(text)], &mut control, SendFlags::empty()).unwrap();
}

/// Has every descriptor of the pipe's writing end been closed? Says so without waiting.
fn is_closed(reader: impl AsFd) -> bool {
    events_now(reader, PollFlags::IN).contains(PollFlags::HUP)
}

#[test]
fn a_queue_crosses_the_socket_and_carries_packets_for_its_taker() {
    let Some(namespace) = namespace() else { return };
    let directory = tempfile::tempdir().unwrap();
    let listener = Listener::bind(directory.path().join("attach.sock")).unwrap();
    assert!(listener.try_accept().unwrap().is_none());

    let client = Client::connect(listener.path()).unwrap();
    let connection = listener.try_accept().unwrap().unwrap();
    assert_eq!(
        connection.peer().and_then(|peer| peer.pid),
        Some(rustix::process::getpid().as_raw_nonzero().get())
    );
    assert!(connection.try_recv().unwrap().is_none());

    client.send(&Request::Hello { version: 1 }, None, LIMIT).unwrap();
    assert!(matches!(next(&connection).unwrap(), Incoming::Hello { version: 1 }));
    let describe = Request::Describe { name: "instance/db".to_owned(), token: None };
    client.send(&describe, None, LIMIT).unwrap();
    assert!(matches!(
        next(&connection).unwrap(),
        Incoming::Describe { name, token: None } if name == "instance/db"
    ));
    let plan = Reply::Plan(Plan {
        name: "instance/db".to_owned(),
        address: HERE.into(),
        prefix_len: 24,
        further: Vec::new(),
        gateway: None,
        mtu: 1500,
        device: DeviceKind::Offload,
        forwards: false,
        hosts: Vec::new(),
    });
    assert!(connection.try_send(&plan).unwrap());
    assert_eq!(client.recv(LIMIT).unwrap(), plan);

    let device = device(&namespace, "eth0");
    client.send(&Request::Offer(offer("instance/db")), Some(device.as_fd()), LIMIT).unwrap();
    let Incoming::Offer { offer: received, queue } = next(&connection).unwrap() else {
        panic!("no offer");
    };
    assert_eq!(received, offer("instance/db"));
    assert!(
        rustix::io::fcntl_getfd(&queue).unwrap().contains(rustix::io::FdFlags::CLOEXEC),
        "a queue must not leak into programs that are started"
    );
    let queue = Queue::adopt(queue, DeviceKind::Offload).unwrap();
    assert!(
        connection
            .try_send(&Reply::Attached { name: "instance/db".to_owned(), queue_id: 7 })
            .unwrap()
    );
    assert_eq!(
        client.recv(LIMIT).unwrap(),
        Reply::Attached { name: "instance/db".to_owned(), queue_id: 7 }
    );

    drop((device, client, namespace));
    assert!(matches!(next(&connection), Err(HandoverError::Closed)));
    assert!(answers_ping(&queue, 1), "the taker's descriptor alone keeps the device");
}

#[test]
fn every_message_carries_exactly_the_descriptors_it_must() {
    let (connection, client) = Connection::pair().unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let offer = br#"{"offer":{"name":"a","mtu":1500}}"#;
    let hello = br#"{"hello":{"version":1}}"#;
    for (text, sent) in [(&offer[..], 0), (offer, 2), (offer, 16), (hello, 1)] {
        send_raw(&client, text, &vec![writer.as_fd(); sent]);
        match next(&connection) {
            // Those for which there is no room are counted as one.
            Err(HandoverError::Descriptors { found, .. }) => {
                assert!(found == sent || (4..sent).contains(&found), "{found} of {sent}");
            }
            other => panic!("{sent} descriptors: {other:?}"),
        }
    }
    drop(writer);
    assert!(is_closed(reader), "what does not belong is closed");
    send_raw(&client, hello, &[]);
    assert!(matches!(next(&connection), Ok(Incoming::Hello { .. })), "the connection goes on");
}

#[test]
fn messages_that_are_too_long_or_no_messages_are_errors_and_not_more() {
    let (connection, client) = Connection::pair().unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    send_raw(&client, &vec![b' '; MAX_MESSAGE_LEN + 1], &[writer.as_fd()]);
    assert!(matches!(next(&connection), Err(HandoverError::TooLarge)));
    for text in [&b"{"[..], b"\xff\xfe", b"[]", b"null", br#"{"hello":{"version":-1}}"#] {
        send_raw(&client, text, &[writer.as_fd()]);
        let answer = next(&connection);
        assert!(matches!(answer, Err(HandoverError::Malformed(_))), "{text:?}: {answer:?}");
    }
    drop(writer);
    assert!(is_closed(reader), "what comes with nonsense is closed");

    let long = Request::Describe { name: "x".repeat(MAX_MESSAGE_LEN), token: None };
    let answer = client.send(&long, None, LIMIT);
    assert!(matches!(answer, Err(HandoverError::TooLarge)), "{answer:?}");
}

#[test]
fn a_plan_with_a_thousand_names_fits() {
    let (connection, client) = Connection::pair().unwrap();
    let plan = Reply::Plan(Plan {
        name: "function/api/1".to_owned(),
        address: HERE.into(),
        prefix_len: 30,
        further: Vec::new(),
        gateway: Some(THERE.into()),
        mtu: 1500,
        device: DeviceKind::Offload,
        forwards: false,
        hosts: (0..1000)
            .map(|n| HostEntry { address: HERE.into(), name: format!("instance-{n:04}") })
            .collect(),
    });
    assert!(connection.try_send(&plan).unwrap());
    assert_eq!(client.recv(LIMIT).unwrap(), plan);
}

#[test]
fn a_helper_that_does_not_read_blocks_nobody() {
    let (connection, client) = Connection::pair().unwrap();
    let reply =
        Reply::Refused { name: None, reason: RefusalReason::Internal, message: "x".repeat(10_000) };
    let sent = (0..10_000).take_while(|_| connection.try_send(&reply).unwrap()).count();
    assert!((1..10_000).contains(&sent), "{sent} replies fit");
    assert_eq!(client.recv(LIMIT).unwrap(), reply);
    assert!(connection.try_send(&reply).unwrap(), "there is room again");
}

#[test]
fn waiting_for_a_daemon_that_does_not_answer_ends() {
    let (connection, client) = Connection::pair().unwrap();
    let answer = client.recv(Duration::from_millis(1));
    assert!(matches!(answer, Err(HandoverError::TimedOut(_))), "{answer:?}");
    drop(connection);
    assert!(matches!(client.recv(LIMIT), Err(HandoverError::Closed)));
    let answer = client.send(&Request::Hello { version: 1 }, None, LIMIT);
    assert!(matches!(answer, Err(HandoverError::Closed)), "{answer:?}");
}

#[test]
fn a_reply_with_a_descriptor_is_refused_by_the_helper() {
    let (connection, client) = Connection::pair().unwrap();
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let text = serde_json::to_vec(&Reply::Detached {
        name: "a".to_owned(),
        reason: DetachReason::Shutdown,
    })
    .unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [reader.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(&connection, &[IoSlice::new(&text)], &mut control, SendFlags::empty()).unwrap();
    let answer = client.recv(LIMIT);
    assert!(matches!(answer, Err(HandoverError::Descriptors { found: 1, expected: 0 })));
}

#[test]
fn a_second_daemon_is_refused_and_a_dead_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attach.sock");
    let first = Listener::bind(&path).unwrap();
    let mode = rustix::fs::stat(&path).unwrap().st_mode & 0o777;
    assert_eq!(mode, 0o600);
    let second = Listener::bind(&path);
    assert!(matches!(second, Err(HandoverError::InUse { .. })), "{second:?}");
    // The question of the second has left a connection behind, which ends at once.
    let connection = first.try_accept().unwrap().unwrap();
    assert!(matches!(next(&connection), Err(HandoverError::Closed)));

    drop((connection, first));

    // A daemon that was killed: its socket is closed, its path stays.
    let dead_path = directory.path().join("dead.sock");
    let dead = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        None,
    )
    .unwrap();
    rustix::net::bind(&dead, &rustix::net::SocketAddrUnix::new(&dead_path).unwrap()).unwrap();
    drop(dead);
    let successor = Listener::bind(&dead_path).unwrap();
    Client::connect(&dead_path).unwrap();

    drop(successor);
    assert!(!dead_path.exists(), "a listener takes its path away");
}

#[test]
fn helpers_of_the_owners_group_are_let_in_where_that_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attach.sock");
    let _listener = Listener::bind_for(&path, Access::Group).unwrap();
    let mode = rustix::fs::stat(&path).unwrap().st_mode & 0o777;
    assert_eq!(mode, 0o660);
}

#[test]
fn a_listener_leaves_a_successors_path_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("attach.sock");
    let first = Listener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let second = Listener::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[test]
fn a_path_without_a_daemon_is_named_in_the_error() {
    let answer = Client::connect("/nonexistent/attach.sock");
    let text = answer.expect_err("connected to nothing").to_string();
    assert!(text.contains("/nonexistent/attach.sock"), "{text}");
}
