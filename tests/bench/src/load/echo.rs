//! The server of requests: whatever comes goes back, on any number of connections.
//!
//! One thread waits for all of them (epoll). A request is small and its sender waits for the
//! response, so it always comes whole and the response always fits into the socket's buffer.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, acceptfrom_with, bind,
        listen, recv, send, socket_with, sockopt,
    },
};
use viaduct_bench::{
    Report, Window, Work,
    order::{CONNECT_PORT, CONNECT_PORTS, EXCHANGE_PORT, REQUEST_BYTES},
    window::now,
};

use crate::{
    Result, failed,
    tally::{Sources, Tally},
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// How long it goes on after the window, for the last responses.
const DRAIN: Duration = Duration::from_millis(200);

/// Between looks at the clock when nothing comes.
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// What an event's number means: a listener by its place, or a connection by its descriptor, which
/// is also its place in the table, after this.
const CONNECTIONS: u64 = 1 << 32;

/// Listening sockets.
#[derive(Debug)]
pub(crate) struct Echo {
    listeners: Vec<OwnedFd>,
}

impl Echo {
    pub(crate) fn listen(work: Work) -> Result<Self> {
        let ports = match work {
            Work::Connections { .. } => CONNECT_PORT..CONNECT_PORT + CONNECT_PORTS,
            _ => EXCHANGE_PORT..EXCHANGE_PORT + 1,
        };
        let listeners = ports
            .map(|port| listen_on(port).map_err(failed(format_args!("listen on port {port}"))))
            .collect::<Result<_>>()?;
        Ok(Self { listeners })
    }

    pub(crate) fn serve(self, window: Window) -> Result<Report> {
        let tally = Tally::default();
        let mut sources = Sources::default();
        let mut report = std::thread::scope(|scope| {
            let server = scope.spawn(|| self.answer(&tally, &mut sources, window));
            let report = tally.watch(window);
            server
                .join()
                .map_err(|_| "the server panicked".to_owned())?
                .map_err(failed("serve"))?;
            report
        })?;
        tally.complete(&mut report);
        report.sources = sources.into_map();
        Ok(report)
    }

    fn answer(
        &self,
        tally: &Tally,
        sources: &mut Sources,
        window: Window,
    ) -> std::result::Result<(), Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (place, listener) in self.listeners.iter().enumerate() {
            epoll::add(&epoll, listener, EventData::new_u64(place as u64), EventFlags::IN)?;
        }
        let mut connections: Vec<Option<OwnedFd>> = Vec::new();
        let mut events: Vec<Event> = Vec::with_capacity(256);
        let mut request = [0; REQUEST_BYTES];
        let last = window.end + DRAIN.as_nanos() as u64;
        while now() < last {
            events.clear();
            match epoll::wait(
                &epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&LOOK_AGAIN),
            ) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            }
            for event in &events {
                let number = event.data.u64();
                if number < CONNECTIONS {
                    let listener = &self.listeners[number as usize];
                    while let Some((connection, from)) = accept(listener)? {
                        sources.add(from);
                        let place = connection.as_raw_fd() as usize;
                        let data = EventData::new_u64(CONNECTIONS + place as u64);
                        epoll::add(&epoll, &connection, data, EventFlags::IN)?;
                        if connections.len() <= place {
                            connections.resize_with(place + 1, || None);
                        }
                        connections[place] = Some(connection);
                    }
                    continue;
                }
                let slot = &mut connections[(number - CONNECTIONS) as usize];
                let Some(connection) = slot else { continue };
                match recv(&*connection, &mut request, RecvFlags::empty()) {
                    Ok((bytes @ 1.., _)) => {
                        tally.received.add(1, bytes);
                        if send(&*connection, &request[..bytes], SendFlags::NOSIGNAL).is_err() {
                            *slot = None;
                        }
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    // Its client is done with it, or gone.
                    Ok(_) | Err(_) => *slot = None,
                }
            }
        }
        Ok(())
    }
}

fn listen_on(port: u16) -> std::result::Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Accepted sockets inherit it.
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The next connection that waits, and whom it is from.
fn accept(listener: &OwnedFd) -> std::result::Result<Option<(OwnedFd, Ipv4Addr)>, Errno> {
    loop {
        match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((connection, from)) => {
                let from = from.and_then(|from| SocketAddrV4::try_from(from).ok());
                let from = from.map_or(Ipv4Addr::UNSPECIFIED, |from| *from.ip());
                return Ok(Some((connection, from)));
            }
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(errno) => return Err(errno),
        }
    }
}
