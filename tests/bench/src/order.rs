//! What `bench` tells a `load`, and what it hears back.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::Window;

/// Where streams, datagrams and exchanges go. The topology lets 7000 to 7999 pass.
pub const STREAM_PORT: u16 = 7001;
/// See [`STREAM_PORT`].
pub const DATAGRAM_PORT: u16 = 7002;
/// See [`STREAM_PORT`].
pub const EXCHANGE_PORT: u16 = 7003;
/// The first of [`CONNECT_PORTS`] ports for connections that are opened for one request. A client
/// keeps the ports of those it closed for a minute (TIME-WAIT), but only towards one port.
pub const CONNECT_PORT: u16 = 7100;
/// See [`CONNECT_PORT`].
pub const CONNECT_PORTS: u16 = 64;

/// The first source port of a [`Spread`].
pub const FIRST_PORT: u16 = 10_000;

/// Bytes of a request, and of its response.
pub const REQUEST_BYTES: usize = 64;

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Work {
    /// Bulk data over TCP connections that are opened before.
    Streams {
        /// How many connections.
        streams: u16,
        /// Which way the data goes.
        direction: Direction,
    },
    /// Datagrams from one socket to another.
    Datagrams {
        /// Bytes of payload.
        bytes: u16,
        /// How many a second; as many as the client can, if not given.
        rate: Option<u32>,
    },
    /// The same, given to the kernel many at a time (UDP_SEGMENT) and taken so as well (UDP_GRO).
    Segments {
        /// Bytes of payload in a datagram.
        bytes: u16,
    },
    /// A request and its response, over and over, over TCP connections that are opened before.
    Exchanges {
        /// Connections, each with a client that waits for one response at a time.
        clients: u16,
    },
    /// Connect, request, response, close, over and over.
    Connections {
        /// Clients, each with one connection at a time.
        clients: u16,
    },
}

/// Which way the data of a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the client, which is hidden behind the translation, to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// Very many connections: each socket of each namespace to each address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// The clients' namespaces, by name or path.
    pub namespaces: Vec<String>,
    /// Sockets in each of them. Their ports are the same every time, from [`FIRST_PORT`] on.
    pub sockets: u16,
    /// The server's addresses.
    pub addresses: Vec<Ipv4Addr>,
}

impl Spread {
    /// How many connections that is.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.namespaces.len() * usize::from(self.sockets) * self.addresses.len()
    }
}

/// A line to a `load`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Be the server of this; say so when it listens.
    Serve {
        /// What will come.
        work: Work,
    },
    /// To a server that is ready: the client comes now; report when the window is over.
    Go {
        /// When to count.
        window: Window,
    },
    /// Be the client; report when the window is over.
    Drive {
        /// What to make.
        work: Work,
        /// Where the server is.
        server: Ipv4Addr,
        /// When to count.
        window: Window,
    },
    /// Be very many clients: one datagram over each connection, so that it stands.
    Open {
        /// Which connections.
        spread: Spread,
        /// How many a second.
        rate: u32,
    },
    /// Be the same clients: as many datagrams as possible, over connections in random order.
    Scatter {
        /// Which connections.
        spread: Spread,
        /// When to count.
        window: Window,
    },
}

/// A line from a `load`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// It listens.
    Ready,
    /// What was counted.
    Report(Report),
    /// It could not be done.
    Failed {
        /// Why.
        message: String,
    },
}

/// What one side counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it handed to the kernel within the window.
    pub sent: Count,
    /// What it got from the kernel within the window.
    pub received: Count,
    /// What it handed over from the first to the last, for loss.
    pub sent_in_all: Count,
    /// What it got from the first to the last.
    pub received_in_all: Count,
    /// How long requests took, within the window.
    pub latency: Option<Latency>,
    /// Seconds that all processors worked within the window.
    pub busy_seconds: f64,
    /// The addresses that connections or datagrams came from, and how many from each.
    pub sources: BTreeMap<Ipv4Addr, u64>,
    /// Requests that failed.
    pub failures: u64,
    /// Why the first of them did.
    pub failure: Option<String>,
}

/// Packets and bytes of payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Datagrams; nothing for streams, whose packets no program sees.
    pub packets: u64,
    /// Bytes of payload.
    pub bytes: u64,
}

/// How long requests took, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// How many there were.
    pub requests: u64,
    /// Half took no longer.
    pub p50: u64,
    /// 99 of 100 took no longer.
    pub p99: u64,
    /// 999 of 1,000 took no longer.
    pub p999: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_answers_survive_the_pipe() {
        let work = Work::Streams { streams: 4, direction: Direction::Down };
        let window = Window { begin: 1, end: 2 };
        for order in [
            Order::Serve { work },
            Order::Go { window },
            Order::Drive { work, server: Ipv4Addr::LOCALHOST, window },
        ] {
            let line = serde_json::to_string(&order).unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Order>(&line).unwrap(), order);
        }
        let mut report = Report { failures: 3, ..Report::default() };
        report.sources.insert(Ipv4Addr::new(10, 0, 1, 4), 16);
        let answer = Answer::Report(report);
        let line = serde_json::to_string(&answer).unwrap();
        assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
    }
}
