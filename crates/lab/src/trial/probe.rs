//! One attempt to get through, with ordinary sockets.
//!
//! A probe owns both ends: the socket that asks, made in the namespace of the source, and the one
//! that answers, made in the namespace of the destination. Sockets stay in the namespace where
//! they were made, so all else happens on one thread, without blocking: whoever runs the probe
//! also watches for the daemon's word that the packet was dropped.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sockopt},
};
use viaduct_client::{Flow, Protocol};
use viaduct_topology::model::Traffic;
use viaduct_tun::Namespace;

use super::raw;
use crate::Error;

/// What goes there and must come back.
const TOKEN: &[u8] = b"viaduct lab test";

/// How far a probe is.
#[derive(Debug)]
pub(super) enum Progress {
    /// Neither answered nor refused.
    Pending,
    /// What was sent came back; the address that the destination saw, where it is ours to ask.
    Passed(Option<IpAddr>),
    /// The source was told that it cannot be.
    Refused,
}

/// A probe under way.
#[derive(Debug)]
pub(super) struct Probe {
    /// The request as its source sent it: what a drop event will show.
    pub(super) flow: Flow,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp {
        client: TcpStream,
        /// None where a program of the destination has the port.
        server: Option<TcpListener>,
        accepted: Option<(TcpStream, SocketAddr)>,
        connected: bool,
    },
    Udp {
        client: UdpSocket,
        server: Option<UdpSocket>,
        seen: Option<IpAddr>,
    },
    /// Answered by the destination's kernel, with an ICMP message of this type.
    Query {
        client: OwnedFd,
        reply: u8,
        identifier: u16,
    },
    /// Not answered by anybody: it must arrive.
    OneWay {
        _client: OwnedFd,
        server: Option<OwnedFd>,
        protocol: u8,
    },
}

impl Probe {
    /// Sends the first packet. `None`: this traffic is not one flow, and cannot be tried.
    pub(super) fn start(
        from: &Namespace,
        to: Option<&Namespace>,
        destination: Ipv4Addr,
        traffic: Traffic,
    ) -> Result<Option<Self>, Error> {
        let try_it = || match traffic {
            Traffic::Tcp(ports) => tcp(from, to, SocketAddrV4::new(destination, ports.first)),
            Traffic::Udp(ports) => udp(from, to, SocketAddrV4::new(destination, ports.first)),
            Traffic::Icmp { kind: Some(kind @ raw::ECHO_REQUEST), code: None | Some(0) } => {
                query(from, destination, kind, raw::ECHO_REPLY)
            }
            Traffic::Icmp { kind: Some(kind @ raw::TIMESTAMP), code: None | Some(0) } => {
                query(from, destination, kind, raw::TIMESTAMP_REPLY)
            }
            Traffic::Icmp { kind: Some(kind), code } => {
                let message = raw::icmp_message(kind, code.unwrap_or(0), 0);
                one_way(from, to, destination, Protocol::ICMP, &message)
            }
            Traffic::Protocol(number) => one_way(from, to, destination, Protocol(number), TOKEN),
            Traffic::All | Traffic::Icmp { kind: None, .. } => {
                Err(io::ErrorKind::Unsupported.into())
            }
        };
        match try_it() {
            Ok(probe) => Ok(Some(probe)),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(error) => Err(Error::system(format!("send {traffic} to {destination}"))(error)),
        }
    }

    /// Does what can be done now, after waiting at most `wait` for something to happen.
    pub(super) fn advance(&mut self, wait: Duration) -> Result<Progress, Error> {
        let answer = match &mut self.kind {
            Kind::Tcp { client, server, accepted, connected } => {
                advance_tcp(client, server.as_ref(), accepted, connected, wait)
            }
            Kind::Udp { client, server, seen } => advance_udp(client, server.as_ref(), seen, wait),
            Kind::Query { client, reply, identifier } => {
                advance_query(client, *reply, *identifier, wait)
            }
            Kind::OneWay { server, protocol, .. } => {
                advance_one_way(server.as_ref(), *protocol, wait)
            }
        };
        answer.map_err(Error::system(format!("try {}", self.flow)))
    }
}

fn tcp(from: &Namespace, to: Option<&Namespace>, destination: SocketAddrV4) -> io::Result<Probe> {
    let server = listen(to, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, destination.port())))?;
    if let Some(server) = &server {
        server.set_nonblocking(true)?;
    }
    let client = inside(from, || {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let client =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        match rustix::net::connect(&client, &destination) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(client)),
            Err(errno) => Err(errno.into()),
        }
    })?;
    let flow = flow(Protocol::TCP, client.local_addr()?, destination);
    Ok(Probe { flow, kind: Kind::Tcp { client, server, accepted: None, connected: false } })
}

fn advance_tcp(
    client: &TcpStream,
    server: Option<&TcpListener>,
    accepted: &mut Option<(TcpStream, SocketAddr)>,
    connected: &mut bool,
    wait: Duration,
) -> io::Result<Progress> {
    if !*connected {
        if !ready(client.as_fd(), PollFlags::OUT, wait)? {
            return Ok(Progress::Pending);
        }
        if sockopt::socket_error(client)?.is_err() {
            return Ok(Progress::Refused);
        }
        *connected = true;
        let Some(_) = server else { return Ok(Progress::Passed(None)) };
        send(client.as_fd(), TOKEN)?;
    }
    let Some(server) = server else { return Ok(Progress::Passed(None)) };
    if accepted.is_none() && ready(server.as_fd(), PollFlags::IN, wait)? {
        let (peer, address) = server.accept()?;
        peer.set_nonblocking(true)?;
        *accepted = Some((peer, address));
    }
    let Some((peer, address)) = accepted else { return Ok(Progress::Pending) };
    if ready(peer.as_fd(), PollFlags::IN, wait)? {
        let token = receive(peer.as_fd())?;
        send(peer.as_fd(), &token)?;
    }
    if !ready(client.as_fd(), PollFlags::IN, wait)? {
        return Ok(Progress::Pending);
    }
    compare(&receive(client.as_fd())?)?;
    Ok(Progress::Passed(Some(address.ip())))
}

fn udp(from: &Namespace, to: Option<&Namespace>, destination: SocketAddrV4) -> io::Result<Probe> {
    // A datagram is answered from the address that its socket is bound to: the one that was asked,
    // where the host has it, be it one of several.
    let server = listen(to, || {
        UdpSocket::bind(destination)
            .or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, destination.port())))
    })?;
    let client = inside(from, || {
        let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        client.connect(destination)?;
        client.send(TOKEN)?;
        Ok(client)
    })?;
    let flow = flow(Protocol::UDP, client.local_addr()?, destination);
    Ok(Probe { flow, kind: Kind::Udp { client, server, seen: None } })
}

fn advance_udp(
    client: &UdpSocket,
    server: Option<&UdpSocket>,
    seen: &mut Option<IpAddr>,
    wait: Duration,
) -> io::Result<Progress> {
    if let Some(server) = server
        && seen.is_none()
        && ready(server.as_fd(), PollFlags::IN, wait)?
    {
        let mut buffer = [0; 256];
        let (length, from) = server.recv_from(&mut buffer)?;
        server.send_to(&buffer[..length], from)?;
        *seen = Some(from.ip());
    }
    if !ready(client.as_fd(), PollFlags::IN, wait)? {
        return Ok(Progress::Pending);
    }
    let mut buffer = [0; 256];
    match client.recv(&mut buffer) {
        Ok(length) => {
            if server.is_some() {
                compare(&buffer[..length])?;
            }
            Ok(Progress::Passed(*seen))
        }
        // An ICMP error came back.
        Err(_) => Ok(Progress::Refused),
    }
}

fn query(from: &Namespace, destination: Ipv4Addr, kind: u8, reply: u8) -> io::Result<Probe> {
    // Nobody else in the namespace listens, so any value is as good as another.
    let identifier = 0x7664;
    let message = raw::icmp_message(kind, 0, identifier);
    let (client, source) = raw_client(from, destination, Protocol::ICMP, &message)?;
    let flow = Flow {
        protocol: Protocol::ICMP,
        source: source.into(),
        source_port: if kind == raw::ECHO_REQUEST { identifier } else { 0 },
        destination: destination.into(),
        destination_port: 0,
    };
    Ok(Probe { flow, kind: Kind::Query { client, reply, identifier } })
}

fn advance_query(
    client: &OwnedFd,
    reply: u8,
    identifier: u16,
    wait: Duration,
) -> io::Result<Progress> {
    while ready(client.as_fd(), PollFlags::IN, wait)? {
        // A raw socket is shown every ICMP packet of the namespace.
        match receive(client.as_fd()) {
            Ok(packet) if raw::is_reply(&packet, reply, identifier) => {
                return Ok(Progress::Passed(None));
            }
            Ok(_) => {}
            Err(_) => return Ok(Progress::Refused),
        }
    }
    Ok(Progress::Pending)
}

fn one_way(
    from: &Namespace,
    to: Option<&Namespace>,
    destination: Ipv4Addr,
    protocol: Protocol,
    payload: &[u8],
) -> io::Result<Probe> {
    let server = listen(to, || raw_socket(protocol))?;
    let (client, source) = raw_client(from, destination, protocol, payload)?;
    let flow = Flow {
        protocol,
        source: source.into(),
        source_port: 0,
        destination: destination.into(),
        destination_port: 0,
    };
    Ok(Probe { flow, kind: Kind::OneWay { _client: client, server, protocol: protocol.0 } })
}

fn advance_one_way(server: Option<&OwnedFd>, protocol: u8, wait: Duration) -> io::Result<Progress> {
    let Some(server) = server else {
        std::thread::sleep(wait);
        return Ok(Progress::Pending);
    };
    while ready(server.as_fd(), PollFlags::IN, wait)? {
        if let Some(source) = raw::source_of(&receive(server.as_fd())?, protocol) {
            return Ok(Progress::Passed(Some(source.into())));
        }
    }
    Ok(Progress::Pending)
}

/// Opens the answering end; `None` where there is no host, or its port is taken by a program that
/// will have to answer itself.
fn listen<T: Send>(
    to: Option<&Namespace>,
    bind: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<Option<T>> {
    let Some(to) = to else { return Ok(None) };
    match inside(to, bind) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        bound => bound.map(Some),
    }
}

fn inside<T: Send>(
    namespace: &Namespace,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    namespace.run(work).map_err(io::Error::other)?
}

fn raw_socket(protocol: Protocol) -> io::Result<OwnedFd> {
    let number = std::num::NonZeroU32::new(protocol.0.into())
        .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let protocol = rustix::net::Protocol::from_raw(number);
    debug_assert!(protocol != ipproto::RAW, "raw sockets of that kind cannot receive");
    Ok(rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(protocol))?)
}

fn raw_client(
    from: &Namespace,
    destination: Ipv4Addr,
    protocol: Protocol,
    payload: &[u8],
) -> io::Result<(OwnedFd, Ipv4Addr)> {
    inside(from, || {
        let client = raw_socket(protocol)?;
        rustix::net::connect(&client, &SocketAddrV4::new(destination, 0))?;
        let source = SocketAddrV4::try_from(rustix::net::getsockname(&client)?)?;
        send(client.as_fd(), payload)?;
        Ok((client, *source.ip()))
    })
}

fn flow(protocol: Protocol, source: SocketAddr, destination: SocketAddrV4) -> Flow {
    Flow {
        protocol,
        source: source.ip(),
        source_port: source.port(),
        destination: (*destination.ip()).into(),
        destination_port: destination.port(),
    }
}

fn ready(socket: BorrowedFd<'_>, events: PollFlags, wait: Duration) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: wait.subsec_nanos().into() };
    match rustix::event::poll(&mut [PollFd::from_borrowed_fd(socket, events)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// All that a probe sends fits a socket's buffer.
fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 2048];
    let length = rustix::io::read(socket, &mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

fn compare(answer: &[u8]) -> io::Result<()> {
    if answer == TOKEN {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "what came back is not what was sent"))
}
