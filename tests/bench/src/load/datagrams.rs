//! Datagrams: as many as go through, from one socket to one socket.
//!
//! The sender does not pace itself unless told to, so it sends more than arrives; what counts is
//! what arrives. Many datagrams are handed over in one system call, at both ends (sendmmsg and
//! recvmmsg; or segments, UDP_SEGMENT and UDP_GRO), so that the bed and not the program is measured.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt,
            sockopt,
        },
        time::TimeSpec,
    },
};
use viaduct_bench::{
    Report, Window,
    order::DATAGRAM_PORT,
    window::{now, sleep_until},
};

use crate::{
    Result, failed,
    tally::{Counter, Sources, Tally},
};

/// Datagrams of one system call.
pub(crate) const BATCH: usize = 32;

/// The largest datagram that is expected, and the largest number of segments taken as one.
const DATAGRAM: usize = 2048;

/// Bytes of the largest datagram there is.
const LARGEST: usize = 65_507;

/// Bytes of the receiver's buffer: what a scheduler's time slice brings.
const BUFFER: usize = 8 << 20;

/// How long the receiver waits before it looks whether the time is over.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long it goes on after the window, for what is still on its way.
const DRAIN: Duration = Duration::from_millis(300);

/// Opens the receiving socket, with or without UDP_GRO.
pub(crate) fn listen(segments: bool) -> Result<UdpSocket> {
    let address = (Ipv4Addr::UNSPECIFIED, DATAGRAM_PORT);
    let socket = UdpSocket::bind(address).map_err(failed("listen for datagrams"))?;
    // Where it may not be had beyond the limit, as much as there is.
    if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, BUFFER);
    }
    socket.set_read_timeout(Some(PATIENCE)).map_err(failed("listen for datagrams"))?;
    if segments {
        setsockopt(&socket, sockopt::UdpGroSegment, &true).map_err(failed("ask for UDP_GRO"))?;
    }
    Ok(socket)
}

/// Receives and counts.
pub(crate) fn serve(socket: &UdpSocket, window: Window) -> Result<Report> {
    serve_with(window, |tally, sources| receive(socket, &tally.received, sources, window))
}

/// Receives many segments at a time and counts them.
pub(crate) fn serve_segments(socket: &UdpSocket, bytes: u16, window: Window) -> Result<Report> {
    serve_with(window, |tally, sources| {
        receive_segments(socket, bytes, &tally.received, sources, window)
    })
}

fn serve_with(
    window: Window,
    receive: impl FnOnce(&Tally, &mut Sources) -> Result<()> + Send,
) -> Result<Report> {
    let tally = Tally::default();
    let mut sources = Sources::default();
    let mut report = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&tally, &mut sources));
        let report = tally.watch(window);
        receiver.join().map_err(|_| "the receiver panicked".to_owned())??;
        report
    })?;
    tally.complete(&mut report);
    report.sources = sources.into_map();
    Ok(report)
}

fn receive(
    socket: &UdpSocket,
    counter: &Counter,
    sources: &mut Sources,
    window: Window,
) -> Result<()> {
    let mut buffers = vec![[0_u8; DATAGRAM]; BATCH];
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let last = window.end + DRAIN.as_nanos() as u64;
    while now() < last {
        let mut slices: Vec<_> =
            buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let none: Option<TimeSpec> = None;
        match recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, none) {
            Ok(messages) => {
                let (mut packets, mut bytes) = (0, 0);
                for message in messages {
                    packets += 1;
                    bytes += message.bytes;
                    if let Some(from) = message.address {
                        sources.add(from.ip());
                    }
                }
                counter.add(packets, bytes);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(failed("receive datagrams")(errno)),
        }
    }
    Ok(())
}

fn receive_segments(
    socket: &UdpSocket,
    segment: u16,
    counter: &Counter,
    sources: &mut Sources,
    window: Window,
) -> Result<()> {
    let mut buffer = vec![0; LARGEST + 1];
    let last = window.end + DRAIN.as_nanos() as u64;
    while now() < last {
        match socket.recv_from(&mut buffer) {
            Ok((bytes, from)) => {
                counter.add(bytes.div_ceil(usize::from(segment)) as u64, bytes);
                if let std::net::IpAddr::V4(from) = from.ip() {
                    sources.add(from);
                }
            }
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN | Errno::EINTR) => {}
                _ => return Err(failed("receive segments")(error)),
            },
        }
    }
    Ok(())
}

/// Sends datagrams of so many bytes, at a rate or as fast as possible.
pub(crate) fn drive(
    server: Ipv4Addr,
    bytes: u16,
    rate: Option<u32>,
    window: Window,
) -> Result<Report> {
    let socket = connect(server)?;
    drive_with(window, |tally| {
        let payload = vec![0_u8; bytes.into()];
        // A paced sender that sends 32 at once would measure bursts.
        let batch = rate.map_or(BATCH, |rate| (rate as usize / 10_000).clamp(1, BATCH));
        let slices = vec![[IoSlice::new(&payload)]; batch];
        let nobody: Vec<Option<SockaddrIn>> = vec![None; batch];
        let no_control: [ControlMessage<'_>; 0] = [];
        let mut headers = MultiHeaders::preallocate(batch, None);
        let flags = MsgFlags::empty();
        let mut due = now();
        while !window.is_over() {
            let fd = socket.as_raw_fd();
            match sendmmsg(fd, &mut headers, &slices, &nobody, no_control, flags) {
                Ok(sent) => {
                    let sent = sent.count();
                    tally.sent.add(sent as u64, sent * payload.len());
                }
                Err(errno) if may_pass(errno) => {}
                Err(errno) => return Err(failed("send datagrams")(errno)),
            }
            if let Some(rate) = rate {
                due += batch as u64 * 1_000_000_000 / u64::from(rate);
                sleep_until(due);
            }
        }
        Ok(())
    })
}

/// Sends segments of so many bytes, as many at a time as a datagram of the largest size has.
pub(crate) fn drive_segments(server: Ipv4Addr, bytes: u16, window: Window) -> Result<Report> {
    let socket = connect(server)?;
    setsockopt(&socket, sockopt::UdpGsoSegment, &i32::from(bytes))
        .map_err(failed("ask for UDP_SEGMENT"))?;
    let segments = LARGEST / usize::from(bytes);
    let payload = vec![0_u8; segments * usize::from(bytes)];
    drive_with(window, |tally| {
        while !window.is_over() {
            match socket.send(&payload) {
                Ok(sent) => tally.sent.add(segments as u64, sent),
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(errno) if may_pass(errno) => {}
                    _ => return Err(failed("send segments")(error)),
                },
            }
        }
        Ok(())
    })
}

fn connect(server: Ipv4Addr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).map_err(failed("open a socket"))?;
    let to = (server, DATAGRAM_PORT);
    socket.connect(to).map_err(failed(format_args!("send to {server}")))?;
    Ok(socket)
}

pub(crate) fn drive_with(
    window: Window,
    send: impl FnOnce(&Tally) -> Result<()> + Send,
) -> Result<Report> {
    let tally = Tally::default();
    let mut report = thread::scope(|scope| {
        let sender = scope.spawn(|| send(&tally));
        let report = tally.watch(window);
        sender.join().map_err(|_| "the sender panicked".to_owned())??;
        report
    })?;
    tally.complete(&mut report);
    Ok(report)
}

/// Errors that the next datagram need not meet: a full queue, or the news that an earlier one found
/// nobody, which is how a server that was stopped answers the last of the measurement before.
pub(crate) fn may_pass(errno: Errno) -> bool {
    matches!(errno, Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED)
}
