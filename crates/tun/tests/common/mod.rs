//! What the tests with real devices share.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::{
    fs::File,
    io::ErrorKind,
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
    io::Errno,
    ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl, opcode},
};
use viaduct_tun::{Device, DeviceKind, Error, Links, Namespace, Queue, Received, netns};

/// Longer than anything here takes, shorter than anybody's patience.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// The address of a device made by [`device`], and of the neighbour beyond its queue.
pub(crate) const HERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const THERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// An unnamed namespace, or the reason (printed) why this machine does not let us have one.
///
/// Only a lack of permission or of the driver skips a test; everything else fails it.
pub(crate) fn namespace() -> Option<Namespace> {
    let namespace = match netns::create_unnamed() {
        Ok(namespace) => namespace,
        Err(Error::System { what, source }) if source.kind() == ErrorKind::PermissionDenied => {
            println!("skipped: cannot {what}: {source}");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    if let Err(error) = File::options().read(true).write(true).open("/dev/net/tun") {
        println!("skipped: cannot open /dev/net/tun: {error}");
        return None;
    }
    Some(namespace)
}

/// A device in `namespace`, up, with [`HERE`]/24.
pub(crate) fn device(namespace: &Namespace, name: &str) -> Device {
    device_of(DeviceKind::Offload, namespace, name)
}

/// The same of any kind.
pub(crate) fn device_of(kind: DeviceKind, namespace: &Namespace, name: &str) -> Device {
    namespace
        .run(|| {
            let device = Device::open(name, kind).unwrap();
            let links = Links::open().unwrap();
            viaduct_tun::link::disable_ipv6().unwrap();
            links.add_address(name, HERE.into(), 24).unwrap();
            links.up(name).unwrap();
            device
        })
        .unwrap()
}

/// Runs `work` on a thread, and fails the test if it does not end: what must not wait is tried
/// where waiting can be seen.
pub(crate) fn promptly<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    result.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{what} hangs"))
}

/// Waits until the queue can be read, then reads one frame.
pub(crate) fn next_frame(queue: &Queue) -> Vec<u8> {
    let mut buffer = vec![0; viaduct_tun::queue::MAX_FRAME_LEN];
    loop {
        match queue.read(&mut buffer) {
            Received::Frame(len) => {
                buffer.truncate(len);
                return buffer;
            }
            Received::Empty => {
                let events = wait(queue, PollFlags::IN);
                assert!(!events.is_empty(), "no frame came");
            }
            other => panic!("no frame but {other:?}"),
        }
    }
}

/// What `poll` reports, at once or within [`LIMIT`].
pub(crate) fn wait(fd: impl AsFd, events: PollFlags) -> PollFlags {
    let mut fds = [PollFd::new(&fd, events)];
    let limit = Timespec::try_from(LIMIT).unwrap();
    poll(&mut fds, Some(&limit)).unwrap();
    fds[0].revents()
}

/// What `poll` reports at this moment.
pub(crate) fn events_now(fd: impl AsFd, events: PollFlags) -> PollFlags {
    let mut fds = [PollFd::new(&fd, events)];
    poll(&mut fds, Some(&Timespec::default())).unwrap();
    fds[0].revents()
}

/// A frame (header, IPv4, ICMP) with an echo request from [`THERE`] to [`HERE`].
pub(crate) fn ping(sequence: u16) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x12, 0x34];
    icmp.extend(sequence.to_be_bytes());
    icmp.extend(b"viaduct!");
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0];
    ip.extend((20 + icmp.len() as u16).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 1, 0, 0]);
    ip.extend(THERE.octets());
    ip.extend(HERE.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [vec![0; 10], ip, icmp].concat()
}

/// Is this frame the answer to [`ping`]?
pub(crate) fn is_pong(frame: &[u8], sequence: u16) -> bool {
    frame.len() >= 38
        && frame[10 + 9] == 1
        && frame[30] == 0
        && frame[36..38] == sequence.to_be_bytes()
}

/// Sends a ping through the queue and returns whether the namespace's own stack answers.
pub(crate) fn answers_ping(queue: &Queue, sequence: u16) -> bool {
    assert_eq!(queue.write(&ping(sequence)), viaduct_tun::Sent::Written);
    is_pong(&next_frame(queue), sequence)
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

pub(crate) const IFF_TUN: u16 = 0x0001;
pub(crate) const IFF_TAP: u16 = 0x0002;
pub(crate) const IFF_MULTI_QUEUE: u16 = 0x0100;
pub(crate) const IFF_ATTACH_QUEUE: u16 = 0x0200;
pub(crate) const IFF_DETACH_QUEUE: u16 = 0x0400;
pub(crate) const IFF_NO_PI: u16 = 0x1000;
pub(crate) const IFF_VNET_HDR: u16 = 0x4000;

#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const TUNSETPERSIST: Opcode = opcode::write::<i32>(b'T', 203);
const TUNSETOFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);
const TUNSETSNDBUF: Opcode = opcode::write::<i32>(b'T', 212);
const TUNSETVNETHDRSZ: Opcode = opcode::write::<i32>(b'T', 216);
const TUNSETQUEUE: Opcode = opcode::write::<i32>(b'T', 217);

/// `/dev/net/tun`, opened with `flags` and attached to no device.
pub(crate) fn unattached(flags: OFlags) -> OwnedFd {
    rustix::fs::open("/dev/net/tun", flags | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// TUNSETIFF in the calling thread's namespace, with any flags.
pub(crate) fn attach(fd: &OwnedFd, name: &str, flags: u16) -> Result<(), Errno> {
    let mut request = InterfaceRequest { name: [0; 16], flags, rest: [0; 22] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, laid out in full.
    unsafe { ioctl(fd, Updater::<TUNSETIFF, InterfaceRequest>::new(&mut request)) }
}

/// TUNSETQUEUE: takes a queue off its device (IFF_DETACH_QUEUE) or back on (IFF_ATTACH_QUEUE).
pub(crate) fn set_queue(fd: impl AsFd, flag: u16) -> Result<(), Errno> {
    let request = InterfaceRequest { name: [0; 16], flags: flag, rest: [0; 22] };
    // SAFETY: TUNSETQUEUE reads one `struct ifreq`, laid out in full.
    unsafe { ioctl(fd, Setter::<TUNSETQUEUE, InterfaceRequest>::new(request)) }
}

/// TUNSETPERSIST: whether the device outlives its queues.
pub(crate) fn set_persistent(fd: impl AsFd, persistent: bool) -> Result<(), Errno> {
    // SAFETY: TUNSETPERSIST takes its argument by value.
    unsafe { ioctl(fd, IntegerSetter::<TUNSETPERSIST>::new_usize(persistent.into())) }
}

/// TUNSETOFFLOAD.
pub(crate) fn set_offloads(fd: impl AsFd, bits: usize) -> Result<(), Errno> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    unsafe { ioctl(fd, IntegerSetter::<TUNSETOFFLOAD>::new_usize(bits)) }
}

/// TUNSETVNETHDRSZ.
pub(crate) fn set_header_len(fd: impl AsFd, len: i32) -> Result<(), Errno> {
    // SAFETY: TUNSETVNETHDRSZ reads one `int`.
    unsafe { ioctl(fd, Setter::<TUNSETVNETHDRSZ, i32>::new(len)) }
}

/// TUNSETSNDBUF: how much may be on its way into the stack.
pub(crate) fn set_send_buffer(fd: impl AsFd, len: i32) -> Result<(), Errno> {
    // SAFETY: TUNSETSNDBUF reads one `int`.
    unsafe { ioctl(fd, Setter::<TUNSETSNDBUF, i32>::new(len)) }
}
