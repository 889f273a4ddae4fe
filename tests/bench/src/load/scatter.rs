//! Datagrams over very many connections: from every socket of many namespaces to every address of
//! the server. One thread sends them all, so that the order is really random.

use std::{
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
};

use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use viaduct_bench::{
    Report, Spread, Window,
    order::{DATAGRAM_PORT, FIRST_PORT},
    window::{now, sleep_until},
};
use viaduct_tun::netns;

use crate::{
    Result,
    datagrams::{BATCH, drive_with, may_pass},
    failed,
    tally::Tally,
};

/// Bytes of a datagram.
const BYTES: usize = 64;

/// One datagram over each connection.
pub(crate) fn open(spread: &Spread, rate: u32) -> Result<Report> {
    let sockets = sockets(spread)?;
    let addresses = addresses(spread);
    let tally = Tally::default();
    let mut sender = Sender::new();
    let mut due = now();
    for socket in &sockets {
        for some in addresses.chunks(BATCH) {
            sender.send(socket, some, &tally)?;
            due += some.len() as u64 * 1_000_000_000 / u64::from(rate);
            sleep_until(due);
        }
    }
    let mut report = Report::default();
    tally.complete(&mut report);
    Ok(report)
}

/// Datagrams over connections in random order, until the window is over.
pub(crate) fn drive(spread: &Spread, window: Window) -> Result<Report> {
    let sockets = sockets(spread)?;
    let addresses = addresses(spread);
    drive_with(window, |tally| {
        let mut sender = Sender::new();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut some = Vec::with_capacity(BATCH);
        while !window.is_over() {
            let socket = &sockets[random.below(sockets.len())];
            some.clear();
            some.extend((0..BATCH).map(|_| addresses[random.below(addresses.len())]));
            sender.send(socket, &some, tally)?;
        }
        Ok(())
    })
}

fn sockets(spread: &Spread) -> Result<Vec<UdpSocket>> {
    let limit = getrlimit(Resource::Nofile);
    // Where even root may not have that many, opening them says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let mut sockets = Vec::new();
    for name in &spread.namespaces {
        let namespace = netns::resolve(name).map_err(|error| error.to_string())?;
        let bind = |place| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, FIRST_PORT + place));
        let bound: std::io::Result<Vec<_>> = namespace
            .run(|| (0..spread.sockets).map(bind).collect())
            .map_err(|error| error.to_string())?;
        sockets.extend(bound.map_err(failed(format_args!("open a socket in {name}")))?);
    }
    Ok(sockets)
}

fn addresses(spread: &Spread) -> Vec<Option<SockaddrIn>> {
    let address = |address: &Ipv4Addr| {
        Some(SockaddrIn::from(std::net::SocketAddrV4::new(*address, DATAGRAM_PORT)))
    };
    spread.addresses.iter().map(address).collect()
}

/// Sends up to a batch from one socket.
struct Sender {
    headers: MultiHeaders<SockaddrIn>,
    payload: [u8; BYTES],
}

impl Sender {
    fn new() -> Self {
        Self { headers: MultiHeaders::preallocate(BATCH, None), payload: [0; BYTES] }
    }

    fn send(&mut self, from: &UdpSocket, to: &[Option<SockaddrIn>], tally: &Tally) -> Result<()> {
        let slices = [[std::io::IoSlice::new(&self.payload)]; BATCH];
        let slices = &slices[..to.len()];
        let no_control: [ControlMessage<'_>; 0] = [];
        let (fd, flags) = (from.as_raw_fd(), MsgFlags::empty());
        match sendmmsg(fd, &mut self.headers, slices, to, no_control, flags) {
            Ok(sent) => {
                let sent = sent.count();
                tally.sent.add(sent as u64, sent * BYTES);
                Ok(())
            }
            Err(errno) if may_pass(errno) => Ok(()),
            Err(errno) => Err(failed("send datagrams")(errno)),
        }
    }
}

/// xorshift64: an order nobody foresees, the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_has_its_turn() {
        let mut random = Random(1);
        let mut seen = [0; 64];
        (0..64_000).for_each(|_| seen[random.below(64)] += 1);
        assert!(seen.iter().all(|times| (700..1300).contains(times)), "{seen:?}");
    }
}
