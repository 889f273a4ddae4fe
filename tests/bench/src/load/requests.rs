//! The clients of requests: each on a thread, each with one request on its way at a time.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use hdrhistogram::Histogram;
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect as connect_socket,
        recv, send, socket_with,
        sockopt::{self, Timeout},
    },
};
use viaduct_bench::{
    Latency, Report, Window,
    order::{CONNECT_PORT, CONNECT_PORTS, EXCHANGE_PORT, REQUEST_BYTES},
    window::now,
};

use crate::{Result, failed, tally::Tally};

/// A request without a response for so long has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest latency that is told apart, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// What the threads of all clients find out.
#[derive(Debug)]
struct Found {
    latencies: Histogram<u64>,
    failures: u64,
    failure: Option<String>,
}

/// Connections that are opened now and carry one request after another.
pub(crate) fn exchange(server: Ipv4Addr, clients: u16, window: Window) -> Result<Report> {
    let to = SocketAddrV4::new(server, EXCHANGE_PORT);
    let connections = (0..clients)
        .map(|_| open(to))
        .collect::<std::result::Result<Vec<_>, Errno>>()
        .map_err(failed(format_args!("connect to {to}")))?;
    if now() > window.begin {
        return Err(format!("{clients} connections to {to} took until after the window opened"));
    }
    run(connections, window, request)
}

/// A new connection for each request. The port it goes to is the next for each.
pub(crate) fn connect(server: Ipv4Addr, clients: u16, window: Window) -> Result<Report> {
    let first = (0..clients).map(|client| client % CONNECT_PORTS).collect();
    run(first, window, |next: &mut u16| {
        let to = SocketAddrV4::new(server, CONNECT_PORT + *next);
        *next = (*next + 1) % CONNECT_PORTS;
        request(&mut open(to)?)
    })
}

/// Has every client repeat `once` until the window is over.
fn run<C: Send>(
    clients: Vec<C>,
    window: Window,
    once: impl Fn(&mut C) -> std::result::Result<(), Errno> + Sync,
) -> Result<Report> {
    let latencies = Histogram::new_with_max(LONGEST, DIGITS).map_err(failed("histogram"))?;
    let found = Mutex::new(Found { latencies: latencies.clone(), failures: 0, failure: None });
    let tally = Tally::default();
    let mut report = thread::scope(|scope| {
        for mut client in clients {
            let (once, found, mut latencies) = (&once, &found, latencies.clone());
            let tally = &tally;
            scope.spawn(move || {
                let mut failures = 0;
                let mut failure = None;
                while !window.is_over() {
                    let start = now();
                    let result = once(&mut client);
                    let end = now();
                    match result {
                        Ok(()) => {
                            tally.sent.add(1, REQUEST_BYTES);
                            if window.contains(start, end) {
                                latencies.saturating_record(end - start);
                            }
                        }
                        // The server does not wait for who is late.
                        Err(_) if end > window.end => {}
                        Err(errno) => {
                            failures += 1;
                            failure.get_or_insert_with(|| errno.to_string());
                            // Whatever it is, trying at once and for ever is no use.
                            thread::sleep(Duration::from_millis(10));
                        }
                    }
                }
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.failures += failures;
                found.failure = found.failure.take().or(failure);
                // Both have the same bounds.
                let _ = found.latencies.add(&latencies);
            });
        }
        tally.watch(window)
    })?;
    tally.complete(&mut report);
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.failures = found.failures;
    report.failure = found.failure;
    if !found.latencies.is_empty() {
        report.latency = Some(latency(&found.latencies));
    }
    Ok(report)
}

fn latency(latencies: &Histogram<u64>) -> Latency {
    Latency {
        requests: latencies.len(),
        p50: latencies.value_at_quantile(0.5),
        p99: latencies.value_at_quantile(0.99),
        p999: latencies.value_at_quantile(0.999),
    }
}

fn open(to: SocketAddrV4) -> std::result::Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    // Of sending, this bounds connecting as well (socket(7)).
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    connect_socket(&socket, &to)?;
    Ok(socket)
}

fn request(connection: &mut OwnedFd) -> std::result::Result<(), Errno> {
    let mut buffer = [0; REQUEST_BYTES];
    send(&*connection, &buffer, SendFlags::NOSIGNAL)?;
    let mut got = 0;
    while got < REQUEST_BYTES {
        match recv(&*connection, &mut buffer[got..], RecvFlags::empty()) {
            Ok((0, _)) => return Err(Errno::CONNRESET),
            Ok((bytes, _)) => got += bytes,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut latencies = Histogram::new_with_max(LONGEST, DIGITS).unwrap();
        (1..=1000).for_each(|n| latencies.record(n * 1000).unwrap());
        let Latency { requests, p50, p99, p999 } = latency(&latencies);
        assert_eq!(requests, 1000);
        for (value, expected) in [(p50, 500_000), (p99, 990_000), (p999, 999_000)] {
            assert!(u64::abs_diff(value, expected) < expected / 500, "{value} {expected}");
        }
    }
}
