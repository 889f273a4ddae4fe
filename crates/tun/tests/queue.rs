//! Queues of real devices, good ones and ones whose giver turns against the taker.
//!
//! Every device is in an unnamed namespace, which ends with the test however it ends.

mod common;

use std::{fs::File, os::fd::OwnedFd, sync::Arc};

use common::*;
use rustix::{event::PollFlags, fs::OFlags};
use viaduct_tun::{DeviceKind, Links, Namespace, Offloads, Queue, QueueError, Received, Sent};

/// A device in a namespace of its own, with the queue adopted by the taker.
struct Given {
    namespace: Namespace,
    /// The giver's duplicate.
    device: viaduct_tun::Device,
    queue: Arc<Queue>,
}

fn given() -> Option<Given> {
    let namespace = namespace()?;
    let device = device(&namespace, "eth0");
    let queue = Arc::new(Queue::adopt(device.queue().unwrap(), DeviceKind::Offload).unwrap());
    Some(Given { namespace, device, queue })
}

/// A descriptor attached with `flags`, in a namespace of its own.
fn attached_with(flags: u16) -> Option<OwnedFd> {
    let namespace = namespace()?;
    namespace
        .run(|| {
            let fd = unattached(OFlags::RDWR | OFlags::NONBLOCK);
            attach(&fd, "eth0", flags).unwrap();
            Some(fd)
        })
        .unwrap()
}

fn read_now(queue: &Arc<Queue>) -> Received {
    let queue = Arc::clone(queue);
    promptly("read", move || queue.read(&mut vec![0; 65_545]))
}

fn write_now(queue: &Arc<Queue>, frame: Vec<u8>) -> Sent {
    let queue = Arc::clone(queue);
    promptly("write", move || queue.write(&frame))
}

#[test]
fn a_good_queue_is_adopted_with_all_offloads_and_carries_packets() {
    let Some(given) = given() else { return };
    assert_eq!(given.queue.name(), "eth0");
    assert_eq!(given.queue.offloads(), Offloads { checksum: true, tcp: true, udp: true });
    assert_eq!(given.queue.read(&mut [0; 2048]), Received::Empty);
    assert!(answers_ping(&given.queue, 1));
}

#[test]
fn a_queue_outlives_its_giver_and_its_namespace() {
    let Some(Given { namespace, device, queue }) = given() else { return };
    drop(device);
    drop(namespace);
    assert!(answers_ping(&queue, 1), "the descriptor keeps the device and its namespace");
}

#[test]
fn what_is_no_tun_queue_is_refused_before_it_is_touched() {
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let file = tempfile::tempfile().unwrap();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let cases: [(OwnedFd, &str); 3] =
        [(reader, "Fifo"), (file.into(), "RegularFile"), (null.into(), "character device 1:3")];
    for (fd, expected) in cases {
        match Queue::adopt(fd, DeviceKind::Offload) {
            Err(QueueError::NotTun { found }) => assert_eq!(found, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn a_queue_without_a_device_is_refused() {
    if namespace().is_none() {
        return;
    }
    let answer = Queue::adopt(unattached(OFlags::RDWR), DeviceKind::Offload);
    assert!(matches!(answer, Err(QueueError::Detached)), "{answer:?}");
}

#[test]
fn a_device_of_another_shape_is_refused_with_what_is_wrong() {
    let full = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
    let cases = [
        (full & !IFF_TUN | IFF_TAP, "is a TAP, not a TUN"),
        (full & !IFF_MULTI_QUEUE, "is limited to one queue"),
        (full & !IFF_NO_PI, "has packet information on"),
    ];
    for (flags, expected) in cases {
        let Some(fd) = attached_with(flags) else { return };
        match Queue::adopt(fd, DeviceKind::Offload) {
            Err(QueueError::WrongMode { name, problem, .. }) => {
                assert_eq!((name.as_str(), problem), ("eth0", expected));
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}

#[test]
fn packet_information_is_seen_on_a_link_that_is_up_too() {
    let Some(namespace) = namespace() else { return };
    let fd = namespace
        .run(|| {
            let fd = unattached(OFlags::RDWR | OFlags::NONBLOCK);
            attach(&fd, "eth0", IFF_TUN | IFF_VNET_HDR | IFF_MULTI_QUEUE).unwrap();
            Links::open().unwrap().up("eth0").unwrap();
            fd
        })
        .unwrap();
    let answer = Queue::adopt(fd, DeviceKind::Offload);
    assert!(matches!(answer, Err(QueueError::WrongMode { .. })), "{answer:?}");
}

#[test]
fn a_queue_that_cannot_be_written_is_refused() {
    let Some(namespace) = namespace() else { return };
    let fd = namespace
        .run(|| {
            let fd = unattached(OFlags::RDONLY);
            attach(&fd, "eth0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE).unwrap();
            fd
        })
        .unwrap();
    let answer = Queue::adopt(fd, DeviceKind::Offload);
    assert!(matches!(answer, Err(QueueError::NotReadWrite { .. })), "{answer:?}");
}

#[test]
fn a_giver_that_clears_nonblock_cannot_make_the_taker_wait() {
    let Some(given) = given() else { return };
    rustix::fs::fcntl_setfl(&given.device, OFlags::empty()).unwrap();
    assert_eq!(read_now(&given.queue), Received::Empty);
    assert_eq!(write_now(&given.queue, ping(1)), Sent::Written);
}

#[test]
fn a_giver_that_takes_the_send_buffer_away_cannot_make_the_taker_wait() {
    let Some(given) = given() else { return };
    rustix::fs::fcntl_setfl(&given.device, OFlags::empty()).unwrap();
    // The kernel takes no size below one; the first frame passes and fills it until the stack is
    // done with it, so what matters is only that every answer is prompt.
    set_send_buffer(&given.device, 1).unwrap();
    for sequence in 0..64 {
        let sent = write_now(&given.queue, ping(sequence));
        assert!(matches!(sent, Sent::Written | Sent::Full), "{sent:?}");
    }
}

#[test]
fn a_detached_queue_is_silent_and_cannot_be_adopted_or_restored_until_it_is_back() {
    let Some(given) = given() else { return };
    set_queue(&given.device, IFF_DETACH_QUEUE).unwrap();
    assert_eq!(read_now(&given.queue), Received::Empty);
    assert_eq!(write_now(&given.queue, ping(1)), Sent::Written);
    assert_eq!(events_now(&*given.queue, PollFlags::IN), PollFlags::empty(), "nothing to spin on");
    let answer = given.queue.restore();
    assert!(matches!(answer, Err(QueueError::Detached)), "{answer:?}");
    let answer = Queue::adopt(given.device.queue().unwrap(), DeviceKind::Offload);
    assert!(matches!(answer, Err(QueueError::Detached)), "{answer:?}");

    given.namespace.run(|| set_queue(&given.device, IFF_ATTACH_QUEUE)).unwrap().unwrap();
    given.queue.restore().unwrap();
    assert!(answers_ping(&given.queue, 2));
}

#[test]
fn a_detached_queue_whose_device_is_deleted_is_gone() {
    let Some(given) = given() else { return };
    set_queue(&given.device, IFF_DETACH_QUEUE).unwrap();
    given.namespace.run(|| Links::open().unwrap().delete("eth0")).unwrap().unwrap();
    assert_eq!(read_now(&given.queue), Received::Gone);
    assert_eq!(write_now(&given.queue, ping(1)), Sent::Gone);
    assert!(events_now(&*given.queue, PollFlags::IN).contains(PollFlags::ERR));
}

#[test]
fn the_queue_of_a_deleted_device_is_gone() {
    let Some(given) = given() else { return };
    given.namespace.run(|| Links::open().unwrap().delete("eth0")).unwrap().unwrap();
    assert_eq!(read_now(&given.queue), Received::Gone);
    assert_eq!(write_now(&given.queue, ping(1)), Sent::Gone);
    assert!(events_now(&*given.queue, PollFlags::IN).contains(PollFlags::ERR));
    let answer = given.queue.restore();
    assert!(matches!(answer, Err(QueueError::Detached)), "{answer:?}");
}

#[test]
fn a_link_that_is_down_drops_and_does_not_block() {
    let Some(given) = given() else { return };
    let links = given.namespace.run(Links::open).unwrap().unwrap();
    links.down("eth0").unwrap();
    assert_eq!(read_now(&given.queue), Received::Empty);
    assert_eq!(write_now(&given.queue, ping(1)), Sent::Down);
    assert_eq!(events_now(&*given.queue, PollFlags::IN), PollFlags::empty());
    links.up("eth0").unwrap();
    assert!(answers_ping(&given.queue, 2));
}

#[test]
fn changed_header_length_and_offloads_are_restored() {
    let Some(given) = given() else { return };
    set_header_len(&given.device, 64).unwrap();
    set_offloads(&given.device, 0).unwrap();
    // The kernel now takes the IP header for the rest of the virtio header.
    assert_eq!(write_now(&given.queue, ping(1)), Sent::Refused);
    given.queue.restore().unwrap();
    assert!(answers_ping(&given.queue, 2));
}

#[test]
fn a_second_queue_cannot_change_the_mode_of_the_first() {
    let Some(given) = given() else { return };
    let _second = given
        .namespace
        .run(|| {
            let fd = unattached(OFlags::RDWR | OFlags::NONBLOCK);
            attach(&fd, "eth0", IFF_TUN | IFF_MULTI_QUEUE).unwrap();
            fd
        })
        .unwrap();
    // Were the virtio header off now, or packet information on, the kernel would refuse this.
    assert_eq!(write_now(&given.queue, ping(1)), Sent::Written);
    given.queue.restore().unwrap();
    Queue::adopt(given.device.queue().unwrap(), DeviceKind::Offload).unwrap();
}
