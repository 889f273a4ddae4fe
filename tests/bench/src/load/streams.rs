//! Bulk data: as much as TCP carries, each connection on a thread of its own at either end.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use viaduct_bench::{
    Direction, Report, Window,
    order::STREAM_PORT,
    window::{now, sleep_until},
};

use crate::{
    Result, failed,
    tally::{Counter, Sources, Tally},
};

/// Bytes of a read or a write: several super-packets.
const CHUNK: usize = 256 * 1024;

/// How long a read or a write may stand still before its thread looks whether the time is over.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long the receiver goes on after the window, for what is still on its way.
const DRAIN: Duration = Duration::from_secs(1);

/// Between looks at whether another connection has come.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

pub(crate) fn listen() -> Result<TcpListener> {
    let address = (Ipv4Addr::UNSPECIFIED, STREAM_PORT);
    let listener = TcpListener::bind(address).map_err(failed("listen for streams"))?;
    listener.set_nonblocking(true).map_err(failed("listen for streams"))?;
    Ok(listener)
}

/// Takes as many connections as there are to be and serves them.
pub(crate) fn serve(
    listener: &TcpListener,
    streams: u16,
    direction: Direction,
    window: Window,
) -> Result<Report> {
    let mut sources = Sources::default();
    let mut connections = Vec::new();
    while connections.len() < usize::from(streams) {
        match listener.accept() {
            Ok((connection, SocketAddr::V4(from))) => {
                sources.add(*from.ip());
                connections.push(connection);
            }
            Ok((_, SocketAddr::V6(from))) => return Err(format!("a stream from {from}")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if now() > window.begin {
                    let came = connections.len();
                    return Err(format!("{came} of {streams} streams came in time"));
                }
                thread::sleep(LOOK_AGAIN);
            }
            Err(error) => return Err(failed("accept a stream")(error)),
        }
    }
    let sends = direction == Direction::Down;
    let mut report = carry(connections, sends, window)?;
    report.sources = sources.into_map();
    Ok(report)
}

pub(crate) fn drive(
    server: Ipv4Addr,
    streams: u16,
    direction: Direction,
    window: Window,
) -> Result<Report> {
    let to = SocketAddr::from((server, STREAM_PORT));
    let connect = |_| {
        let left = Duration::from_nanos(window.begin.saturating_sub(now()));
        TcpStream::connect_timeout(&to, left.max(LOOK_AGAIN))
    };
    let connections = (0..streams)
        .map(connect)
        .collect::<io::Result<Vec<_>>>()
        .map_err(failed(format_args!("connect to {to}")))?;
    carry(connections, direction == Direction::Up, window)
}

fn carry(connections: Vec<TcpStream>, sends: bool, window: Window) -> Result<Report> {
    for connection in &connections {
        let set = connection
            .set_nonblocking(false)
            .and_then(|()| connection.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| connection.set_write_timeout(Some(PATIENCE)));
        set.map_err(failed("prepare a stream"))?;
    }
    let tally = Tally::default();
    let mut report = thread::scope(|scope| {
        for connection in connections {
            let tally = &tally;
            scope.spawn(move || {
                if sends {
                    send(connection, &tally.sent, window);
                } else {
                    receive(connection, &tally.received, window);
                }
            });
        }
        tally.watch(window)
    })?;
    tally.complete(&mut report);
    Ok(report)
}

/// Sends until the window is over. An error is the other side's end, which ends it as well: that it
/// came too early shows in what was received.
fn send(mut to: TcpStream, counter: &Counter, window: Window) {
    let chunk = vec![0; CHUNK];
    while !window.is_over() {
        match to.write(&chunk) {
            Ok(0) => return,
            Ok(written) => counter.add(0, written),
            Err(error) if stands_still(&error) => {}
            Err(_) => return,
        }
    }
}

/// Receives until the sender ends.
fn receive(mut from: TcpStream, counter: &Counter, window: Window) {
    let mut chunk = vec![0; CHUNK];
    let last = window.end + DRAIN.as_nanos() as u64;
    while now() < last {
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => counter.add(0, read),
            Err(error) if stands_still(&error) => {}
            Err(_) => break,
        }
    }
    // Closing earlier than the sender would have it resend into the next measurement.
    sleep_until(window.end);
}

fn stands_still(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
