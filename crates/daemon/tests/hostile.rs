//! What a giver can do to a queue it has handed over: it hurts itself, and nobody else.

mod common;
#[path = "../../../tests/common/tun_ioctl.rs"]
mod tun_ioctl;

use std::{os::fd::OwnedFd, thread, time::Duration};

use common::{DB, Daemon, Echo, Host, eventually, permitted};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use tun_ioctl::{
    IFF_ATTACH_QUEUE, IFF_DETACH_QUEUE, TUNSETOFFLOAD, TUNSETQUEUE, TUNSETVNETHDRSZ, ioctl,
    queue_flags,
};
use viaduct_client::AttachmentState;
use viaduct_topology::Reason;
use viaduct_tun::{Attachment, Device, DeviceKind, Holder, Links, Offer, holder, netns};

/// A network in which `function/api/1` talks to `instance/db` while `function/api/2` misbehaves.
struct Scene {
    daemon: Daemon,
    good: Echo,
    bad: Host,
    /// The open file that the daemon has as well.
    queue: OwnedFd,
    offender: Option<Holder>,
    _function: Host,
    _db: Host,
    _holder: Holder,
}

const OFFENDER: &str = "function/api/2";

impl Scene {
    fn new() -> Self {
        Self::with(DeviceKind::Offload)
    }

    fn with(device: DeviceKind) -> Self {
        let daemon = Daemon::start_with(|options| {
            options.grace = Duration::from_millis(10);
            options.device = device;
        });
        let holder = Holder::start(&daemon.attach_socket).unwrap();
        let function = Host::attach(&holder, "function/api/1");
        let db = Host::attach(&holder, "instance/db");
        db.serve_echo(5432);
        let (good, _) = function.connect(DB);

        let offender = Holder::start(&daemon.attach_socket).unwrap();
        let namespace = netns::create_unnamed().unwrap();
        let plan = offender.describe(OFFENDER, None).unwrap();
        let device: Device = holder::set_up(&namespace, "eth0", &plan).unwrap();
        let queue = device.queue().unwrap();
        let Attachment { name, token, .. } = Attachment::new(OFFENDER);
        offender.hold(Offer { name, token, mtu: plan.mtu }, device).unwrap();
        let mut scene = Self {
            daemon,
            good,
            bad: Host { namespace },
            queue,
            offender: Some(offender),
            _function: function,
            _db: db,
            _holder: holder,
        };
        scene.offender_reaches_db();
        scene.others_go_on();
        scene
    }

    fn offender_reaches_db(&self) {
        self.bad.connect(DB).0.round_trip(b"offender");
    }

    fn others_go_on(&mut self) {
        let text: Vec<u8> = (0..200_000_u32).map(|n| n as u8).collect();
        self.good.round_trip(&text);
    }

    /// What the workers use of the processors, while nothing is sent, is nearly nothing.
    fn nobody_spins(&self) {
        const WATCHED: Duration = Duration::from_millis(400);
        let before = worker_time();
        thread::park_timeout(WATCHED);
        let used = worker_time() - before;
        assert!(used < WATCHED / 4, "the workers used {used:?} of {WATCHED:?}");
    }

    fn links(&self, change: impl FnOnce(&Links) + Send) {
        self.bad.namespace.run(|| change(&Links::open().unwrap())).unwrap();
    }
}

/// Processor time of this process's packet threads.
fn worker_time() -> Duration {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        // A thread may end between the two reads.
        let Ok(name) = std::fs::read_to_string(task.join("comm")) else { continue };
        let Ok(times) = std::fs::read_to_string(task.join("schedstat")) else { continue };
        if name.starts_with("worker-") {
            nanoseconds += times.split(' ').next().unwrap().parse::<u64>().unwrap();
        }
    }
    Duration::from_nanos(nanoseconds)
}

#[test]
fn clearing_o_nonblock_blocks_nobody() {
    if !permitted() {
        return;
    }
    let mut scene = Scene::new();
    let flags = fcntl_getfl(&scene.queue).unwrap();
    fcntl_setfl(&scene.queue, flags - OFlags::NONBLOCK).unwrap();
    scene.offender_reaches_db();
    scene.others_go_on();
    scene.nobody_spins();
}

#[test]
fn a_detached_queue_is_silent_until_it_is_back() {
    if !permitted() {
        return;
    }
    let mut scene = Scene::new();
    let set = |queue: &OwnedFd, flag: u16| ioctl(queue, TUNSETQUEUE, &queue_flags(flag));
    set(&scene.queue, IFF_DETACH_QUEUE);
    scene.others_go_on();
    scene.nobody_spins();
    // The kernel looks for the device in the namespace of whoever asks.
    scene.bad.namespace.run(|| set(&scene.queue, IFF_ATTACH_QUEUE)).unwrap();
    scene.offender_reaches_db();
}

#[test]
fn a_deleted_device_is_let_go() {
    if !permitted() {
        return;
    }
    let mut scene = Scene::new();
    scene.links(|links| links.delete("eth0").unwrap());
    scene.daemon.until(OFFENDER, AttachmentState::Detached);
    scene.others_go_on();
    scene.nobody_spins();
}

#[test]
fn a_link_that_is_down_rests_and_comes_back() {
    if !permitted() {
        return;
    }
    let mut scene = Scene::new();
    scene.links(|links| links.down("eth0").unwrap());
    scene.others_go_on();
    scene.nobody_spins();
    scene.links(|links| {
        links.up("eth0").unwrap();
        // The kernel removes routes with the link.
        links.add_default_route("eth0", Some("169.254.100.1".parse().unwrap())).unwrap();
    });
    scene.offender_reaches_db();
    scene.others_go_on();
}

#[test]
fn changed_settings_are_restored() {
    if !permitted() {
        return;
    }
    let mut scene = Scene::new();
    let newest = scene.daemon.newest_drop();
    ioctl(&scene.queue, TUNSETVNETHDRSZ, "struct.pack('i', 12)");
    // The first packet is two bytes out of place, the retransmission finds the settings restored.
    scene.offender_reaches_db();
    let lost = scene.daemon.drop_after(newest, |event| event.attachment == OFFENDER);
    assert!(matches!(lost.reason, Reason::MalformedPacket | Reason::BadOffloadHeader), "{lost:?}");
    scene.others_go_on();
    // Without offloads the kernel segments and sums for itself: slower, and no harm.
    ioctl(&scene.queue, TUNSETOFFLOAD, "0");
    scene.offender_reaches_db();
    scene.others_go_on();
    scene.nobody_spins();
}

#[test]
fn a_plain_device_is_its_givers_own_harm_too() {
    if !permitted() {
        return;
    }
    let mut scene = Scene::with(DeviceKind::Plain);
    let flags = fcntl_getfl(&scene.queue).unwrap();
    fcntl_setfl(&scene.queue, flags - OFlags::NONBLOCK).unwrap();
    scene.offender_reaches_db();
    scene.others_go_on();

    // Checksums are now left to a header that is not there: receivers drop what this host sends.
    ioctl(&scene.queue, TUNSETOFFLOAD, "3");
    scene.bad.send_udp("10.0.1.10:5432");
    scene.others_go_on();
    scene.nobody_spins();
    ioctl(&scene.queue, TUNSETOFFLOAD, "0");
    scene.offender_reaches_db();

    scene.links(|links| links.down("eth0").unwrap());
    scene.others_go_on();
    scene.nobody_spins();
    scene.links(|links| links.delete("eth0").unwrap());
    scene.daemon.until(OFFENDER, AttachmentState::Detached);
    scene.others_go_on();
    scene.nobody_spins();
}

#[test]
fn a_giver_that_exits_is_detached() {
    if !permitted() {
        return;
    }
    let mut scene = Scene::new();
    let offender = scene.offender.take().unwrap();
    // Its thread ends and its connection closes, as they would with the process.
    offender.stop();
    scene.daemon.until(OFFENDER, AttachmentState::Detached);
    scene.others_go_on();
    scene.nobody_spins();
}

#[test]
fn a_device_without_an_owner_goes_away_with_its_attachment() {
    if !permitted() {
        return;
    }
    let mut scene = Scene::new();
    scene.offender.take().unwrap().stop();
    let Scene { bad, queue, .. } = &mut scene;
    // The last descriptor but the daemon's own.
    let spare = rustix::fs::open("/dev/null", OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
    drop(std::mem::replace(queue, spare));
    eventually("the device is gone", || {
        bad.namespace.run(|| Links::open().unwrap().index("eth0").is_err()).unwrap()
    });
    scene.others_go_on();
}
