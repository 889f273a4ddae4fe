//! A taker at its limit of open files. A test binary of its own: the limit is the whole process's.

use std::{os::fd::AsFd, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use viaduct_tun::{Connection, HandoverError, Incoming, Offer, Request};

#[test]
fn a_full_table_is_said_to_be_full_and_costs_one_message() {
    let (connection, client) = Connection::pair().unwrap();
    let (_reader, writer) = rustix::pipe::pipe().unwrap();
    let offer = Request::Offer(Offer { name: "instance/db".to_owned(), token: None, mtu: 1500 });
    let limit = getrlimit(Resource::Nofile);
    for _ in 0..2 {
        client.send(&offer, Some(writer.as_fd()), Duration::from_secs(1)).unwrap();
    }

    // New descriptors are the lowest free; none is below zero.
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
    let answer = connection.try_recv();
    setrlimit(Resource::Nofile, limit).unwrap();
    assert!(matches!(answer, Err(HandoverError::TableFull)), "{answer:?}");

    let answer = connection.try_recv();
    assert!(matches!(answer, Ok(Some(Incoming::Offer { .. }))), "{answer:?}");
}
