//! Plain devices, opened by `tun-tap`: what their queues carry, whose are refused, and what a giver
//! can do to one that it has handed over.

mod common;

use std::{os::fd::OwnedFd, sync::Arc};

use common::*;
use rustix::{event::PollFlags, fs::OFlags, io::Errno};
use viaduct_tun::{
    Device, DeviceKind, Error, Links, Namespace, Offloads, Queue, QueueError, Received, Sent,
};

/// A plain device in a namespace of its own, with the queue adopted by the taker.
struct Given {
    namespace: Namespace,
    /// The giver's duplicate.
    device: Device,
    queue: Arc<Queue>,
}

fn given() -> Option<Given> {
    let namespace = namespace()?;
    let device = device_of(DeviceKind::Plain, &namespace, "eth0");
    let queue = Queue::adopt(device.queue().unwrap(), DeviceKind::Plain).unwrap();
    Some(Given { namespace, device, queue: Arc::new(queue) })
}

/// [`ping`] without the virtio-net header.
fn plain_ping(sequence: u16) -> Vec<u8> {
    ping(sequence).split_off(viaduct_tun::queue::HEADER_LEN)
}

fn write_now(queue: &Arc<Queue>, packet: Vec<u8>) -> Sent {
    let queue = Arc::clone(queue);
    promptly("write", move || queue.write(&packet))
}

fn read_now(queue: &Arc<Queue>) -> Received {
    let queue = Arc::clone(queue);
    promptly("read", move || queue.read(&mut vec![0; 65_535]))
}

/// Whether the namespace's stack answers a ping through the queue.
fn answers(queue: &Arc<Queue>, sequence: u16) -> bool {
    assert_eq!(write_now(queue, plain_ping(sequence)), Sent::Written);
    let packet = next_frame(queue);
    is_pong(&[vec![0; viaduct_tun::queue::HEADER_LEN], packet].concat(), sequence)
}

/// A descriptor attached with `flags` in a namespace of its own, its link up or not.
fn attached_with(flags: u16, up: bool) -> Option<OwnedFd> {
    let namespace = namespace()?;
    let make = || {
        let fd = unattached(OFlags::RDWR | OFlags::NONBLOCK);
        attach(&fd, "eth0", flags).unwrap();
        if up {
            Links::open().unwrap().up("eth0").unwrap();
        }
        Some(fd)
    };
    namespace.run(make).unwrap()
}

#[test]
fn a_plain_queue_carries_packets_with_nothing_in_front() {
    let Some(given) = given() else { return };
    assert_eq!(given.queue.name(), "eth0");
    assert_eq!(given.queue.offloads(), Offloads::default());
    assert_eq!(read_now(&given.queue), Received::Empty);
    assert!(answers(&given.queue, 1));
    let flags = rustix::io::fcntl_getfd(&given.device).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "it must not leak into programs");
}

#[test]
fn a_queue_of_the_other_kind_is_refused_with_both_named() {
    for wanted in [DeviceKind::Offload, DeviceKind::Plain] {
        let Some(namespace) = namespace() else { return };
        let other = match wanted {
            DeviceKind::Offload => DeviceKind::Plain,
            DeviceKind::Plain => DeviceKind::Offload,
        };
        let device = device_of(other, &namespace, "eth0");
        let error = Queue::adopt(device.into_queue(), wanted).unwrap_err();
        assert!(matches!(&error, QueueError::WrongKind { .. }), "{error:?}");
        let message = error.to_string();
        let named =
            format!("device `eth0` is of the kind `{other}`, and the daemon takes `{wanted}`");
        assert!(message.contains(&named), "{message}");
    }
}

#[test]
fn a_plain_device_of_another_shape_is_refused_with_what_is_wrong() {
    let cases = [
        (IFF_TAP | IFF_NO_PI, "is a TAP, not a TUN"),
        (IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE, "is not limited to one queue"),
        (IFF_TUN, "has packet information on"),
    ];
    for (flags, expected) in cases {
        for up in [false, true] {
            let Some(fd) = attached_with(flags, up) else { return };
            match Queue::adopt(fd, DeviceKind::Plain) {
                Err(QueueError::WrongMode { name, problem, flags }) => {
                    assert_eq!((name.as_str(), problem), ("eth0", expected), "up: {up}");
                    assert_eq!(flags, "IFF_TUN | IFF_NO_PI");
                }
                other => panic!("{expected}, up: {up}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_name_that_is_taken_is_never_joined() {
    let Some(namespace) = namespace() else { return };
    let _in_use = device_of(DeviceKind::Plain, &namespace, "eth0");
    let _offload = device(&namespace, "eth1");
    let open = |name: &str| namespace.run(|| Device::open(name, DeviceKind::Plain)).unwrap();
    for name in ["eth0", "eth1", "lo"] {
        match open(name) {
            Err(Error::System { what, source }) => {
                assert_eq!(what, format!("create plain TUN device `{name}`"));
                assert_eq!(Errno::from_io_error(&source), Some(Errno::BUSY), "{name}: {source}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(matches!(open("tun%d"), Err(Error::BadName { .. })));

    // The kernel lets `tun-tap` join this one.
    let unused = || {
        let fd = unattached(OFlags::RDWR);
        attach(&fd, "eth2", IFF_TUN | IFF_NO_PI).unwrap();
        set_persistent(&fd, true).unwrap();
    };
    namespace.run(unused).unwrap();
    let joined = open("eth2");
    assert!(matches!(joined, Err(Error::System { .. })), "{joined:?}");
    assert!(namespace.run(|| Links::open().unwrap().index("eth2")).unwrap().is_ok());
}

#[test]
fn a_giver_cannot_make_the_taker_wait() {
    let Some(given) = given() else { return };
    rustix::fs::fcntl_setfl(&given.device, OFlags::empty()).unwrap();
    assert_eq!(read_now(&given.queue), Received::Empty);
    assert_eq!(write_now(&given.queue, plain_ping(1)), Sent::Written);
    set_send_buffer(&given.device, 1).unwrap();
    for sequence in 0..64 {
        let sent = write_now(&given.queue, plain_ping(sequence));
        assert!(matches!(sent, Sent::Written | Sent::Full), "{sent:?}");
    }
}

#[test]
fn a_giver_can_neither_detach_the_queue_nor_join_another() {
    let Some(given) = given() else { return };
    assert_eq!(set_queue(&given.device, IFF_DETACH_QUEUE), Err(Errno::INVAL));
    let join = |flags| {
        let joined = given.namespace.run(|| attach(&unattached(OFlags::RDWR), "eth0", flags));
        joined.unwrap()
    };
    assert_eq!(join(IFF_TUN), Err(Errno::BUSY));
    assert_eq!(join(IFF_TUN | IFF_VNET_HDR | IFF_MULTI_QUEUE), Err(Errno::INVAL));
    assert!(answers(&given.queue, 1));
}

#[test]
fn settings_of_the_giver_reach_no_further_than_its_own_packets() {
    const ALL: usize = 0x01 | 0x02 | 0x04;
    let Some(given) = given() else { return };
    set_header_len(&given.device, 64).unwrap();
    assert!(answers(&given.queue, 1), "without a header its length means nothing");
    set_offloads(&given.device, ALL).unwrap();
    given.queue.restore().unwrap();
    assert!(answers(&given.queue, 2));
}

#[test]
fn a_link_that_is_down_drops_and_a_device_that_is_deleted_is_gone() {
    let Some(given) = given() else { return };
    let links = given.namespace.run(Links::open).unwrap().unwrap();
    links.down("eth0").unwrap();
    assert_eq!(read_now(&given.queue), Received::Empty);
    assert_eq!(write_now(&given.queue, plain_ping(1)), Sent::Down);
    links.up("eth0").unwrap();
    assert!(answers(&given.queue, 2));

    links.delete("eth0").unwrap();
    assert_eq!(read_now(&given.queue), Received::Gone);
    assert_eq!(write_now(&given.queue, plain_ping(3)), Sent::Gone);
    assert!(events_now(&*given.queue, PollFlags::IN).contains(PollFlags::ERR));
    let answer = given.queue.restore();
    assert!(matches!(answer, Err(QueueError::Detached)), "{answer:?}");
}
