//! One direction: read a queue, translate, write the other.

use std::{fmt, io, os::fd::OwnedFd};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use viaduct_tun::{Queue, Received, Sent, queue::MAX_FRAME_LEN};
use viaduct_wire::Frame;

use crate::nat::{FixedNat, Side};

/// Frames read between two looks at the stop signal. A flood cannot keep the program from ending.
const BATCH: usize = 256;

/// What went through one direction.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Frames written, a super-packet counting once.
    frames: u64,
    /// Packets on the wire that they stand for.
    packets: u64,
    /// Bytes of IP in those packets.
    bytes: u64,
    /// Packets that were malformed, or none of ours.
    dropped: u64,
    /// Frames the receiving device did not take.
    not_taken: u64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frames, packets, bytes, dropped, not_taken } = self;
        write!(
            f,
            "{packets} packets ({bytes} bytes) in {frames} frames, {dropped} dropped, \
             {not_taken} not taken by the device"
        )
    }
}

/// One direction of the NAT.
pub(crate) struct Direction<'a> {
    pub(crate) from: &'a Queue,
    pub(crate) to: &'a Queue,
    pub(crate) side: Side,
    pub(crate) nat: FixedNat,
    /// MTU of the device `from`.
    pub(crate) mtu: u16,
    /// Readable when it is time to end.
    pub(crate) stop: &'a OwnedFd,
}

impl Direction<'_> {
    /// Forwards until told to stop; fails when the device goes away.
    pub(crate) fn run(&self) -> io::Result<Totals> {
        let mut totals = Totals::default();
        let mut buffer = vec![0; MAX_FRAME_LEN];
        loop {
            let mut fds =
                [PollFd::new(self.from, PollFlags::IN), PollFd::new(self.stop, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            if !fds[1].revents().is_empty() {
                return Ok(totals);
            }
            for _ in 0..BATCH {
                match self.from.read(&mut buffer) {
                    Received::Frame(len) => self.pass(&mut buffer[..len], &mut totals)?,
                    Received::Lost => totals.dropped += 1,
                    Received::Empty | Received::Down => break,
                    Received::Gone => return Err(gone(self.from)),
                }
            }
        }
    }

    fn pass(&self, buffer: &mut [u8], totals: &mut Totals) -> io::Result<()> {
        let Ok(mut frame) = Frame::parse(buffer, self.mtu) else {
            totals.dropped += 1;
            return Ok(());
        };
        if !self.nat.translate(&mut frame, self.side) {
            totals.dropped += 1;
            return Ok(());
        }
        let (packets, bytes) = (frame.packets(), frame.bytes());
        let len = frame.finish();
        match self.to.write(&buffer[..len]) {
            Sent::Written => {
                totals.frames += 1;
                totals.packets += packets;
                totals.bytes += bytes;
            }
            Sent::Full | Sent::Down | Sent::Refused => totals.not_taken += 1,
            Sent::Gone => return Err(gone(self.to)),
        }
        Ok(())
    }
}

fn gone(queue: &Queue) -> io::Error {
    io::Error::other(format!("device `{}` is gone", queue.name()))
}
