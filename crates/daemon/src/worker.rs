//! Workers: the threads that move packets.
//!
//! # Theory of operation
//!
//! Each attachment's queue is read by one worker, the attachment's number modulo the number of
//! workers, and written by any. A worker knows every port by a reference of its own, so that
//! between reading a packet and writing it there is no shared table, no count and no lock but
//! the engine's.
//!
//! A round: wait for ready queues, at most until the next tick, at first without sleeping where that
//! pays ([`vigil`]); give each of them a turn; take commands. A turn ends when the queue is empty,
//! after [`TURN_FRAMES`] frames or with the frame that reaches [`TURN_TIME`], whichever comes first;
//! what is left is reported by the next wait, behind the others. So who sends what is dear to forward
//! gets as much time as others, not as many frames.
//! Every [`TICK`] the connections' timers are run and resting queues are tried again.
//!
//! Nothing a giver does to its device may cost others more than a turn:
//!
//! | it | shows as | the worker |
//! |---|---|---|
//! | clears O_NONBLOCK | nothing: reads never wait | goes on |
//! | detaches the queue | nothing: it is silent, and swallows what is written | goes on |
//! | deletes the device | `Gone` | takes the queue out of its set, tells the control side |
//! | sets the link down | writes that are `Down`; nothing to read | drops |
//! | reads its packets away | readiness without packets | lets the queue rest until the next tick |
//! | changes offloads or the header's length | headers that make no sense, writes refused | drops, asks the control side to restore the settings |
//! | stops reading | `Full` | drops and counts, as a wire does |
//! | makes its own receive path slow | writes that take long | drops beyond a budget ([`budget`]), counts |
//!
//! The engine's frames begin with a virtio-net header, and so do those of devices with offloads. Plain
//! devices know no header; there a worker has [`HEADROOM`](Worker) bytes for it in its buffer, zeroed
//! before each packet, and reads and writes behind them. A packet that came in with a header of zeros
//! is complete and ordinary, and goes out as one: the engine never adds work to a packet, it only does
//! what was left to do, and what it makes itself (answers, fragments) is complete. All devices of a
//! daemon are of one kind, so the headroom is a constant of the worker and costs the other kind nothing.
//!
//! A worker never closes a queue, formats nothing and allocates nothing for a packet.

mod budget;
mod inbox;
mod poll;
mod port;
mod ports;
mod vigil;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam::utils::CachePadded;
use tokio::sync::mpsc;
use viaduct_dataplane::{Dropped, Engine, Moment, Scratch, Verdict};
use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_tun::{Received, Sent, queue::MAX_FRAME_LEN};

use self::{
    budget::{Reading, Stopwatch},
    poll::{PollSet, Ready, Reported},
    ports::{Outcome, Ports},
    vigil::Vigil,
};
pub(crate) use self::{
    inbox::{Command, Inbox},
    port::Port,
};
use crate::{
    clock::{Clock, TICK},
    drops::{Drop, DropQueue},
    error::Error,
};

/// Frames that a queue may yield in one turn.
const TURN_FRAMES: u32 = 64;

/// How long a turn may last: sixty-four small frames, or sixteen super-packets of 64 KiB.
const TURN_TIME: Duration = Duration::from_micros(250);

/// Connections that one round may bury.
const EXPIRE_BUDGET: usize = 512;

/// What a worker tells the control side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The queue has no device any more.
    Gone { attachment: AttachmentId, serial: u64 },
    /// Its headers make no sense: the giver may have changed its settings.
    Restore { attachment: AttachmentId, serial: u64 },
    /// A worker ended without being told to.
    Failed { worker: usize },
}

/// What the engine cannot count, because it happens on the way out.
#[derive(Debug, Default)]
pub(crate) struct WriteCounters {
    /// Frames for which the target's device had no room.
    pub(crate) overflowed: AtomicU64,
    /// Frames whose target had used up its budget.
    pub(crate) throttled: AtomicU64,
    /// Packets whose target turned out to be down or gone.
    pub(crate) undeliverable: AtomicU64,
}

/// What a worker is given.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) index: usize,
    pub(crate) engine: Arc<Engine>,
    pub(crate) scratch: Scratch,
    pub(crate) clock: Arc<Clock>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) drops: Arc<DropQueue>,
    pub(crate) counters: Arc<CachePadded<WriteCounters>>,
    pub(crate) events: mpsc::UnboundedSender<Event>,
}

/// What a frame came to.
#[derive(Clone, Copy, Debug)]
struct Written {
    target: AttachmentId,
    /// Its bytes, virtio-net header included.
    length: usize,
}

/// A packet thread, for devices whose queues leave the first `HEADROOM` bytes of a frame out: none, or
/// the virtio-net header.
pub(crate) struct Worker<const HEADROOM: usize> {
    tools: Tools,
    poll: PollSet,
    ports: Ports,
    stopwatch: Stopwatch,
    vigil: Vigil,
    /// Queues that are out of the set until the next tick.
    resting: Vec<AttachmentId>,
    buffer: Box<[u8]>,
    /// Whether this round dropped something.
    dropped: bool,
    next_tick: Instant,
}

impl<const HEADROOM: usize> Worker<HEADROOM> {
    pub(crate) fn new(tools: Tools) -> Result<Self, Error> {
        Ok(Self {
            poll: PollSet::new(tools.inbox.bell())?,
            tools,
            ports: Ports::new(Instant::now()),
            stopwatch: Stopwatch::default(),
            vigil: Vigil::new(Instant::now()),
            resting: Vec::new(),
            buffer: vec![0; MAX_FRAME_LEN].into_boxed_slice(),
            dropped: false,
            next_tick: Instant::now() + TICK,
        })
    }

    /// Works until it is told to stop.
    pub(crate) fn run(mut self) {
        let _alarm = Alarm { worker: self.tools.index, events: self.tools.events.clone() };
        let mut reported = Reported::new();
        while self.round(&mut reported) {}
    }

    /// One round. False when the worker is to end.
    fn round(&mut self, reported: &mut Reported) -> bool {
        let at = Instant::now();
        let looks = self.vigil.goes_on(at);
        let patience = match looks {
            true => Duration::ZERO,
            false => self.next_tick.saturating_duration_since(at),
        };
        if self.poll.wait(reported, patience).is_err() {
            // Only a set that is no set is refused. The alarm tells the control side.
            panic!("epoll refuses its own set");
        }
        let found = Instant::now();
        if !reported.is_empty() {
            self.vigil.found(found);
        } else if looks && found < self.next_tick {
            rustix::thread::sched_yield();
            return true;
        }
        let now = self.tools.clock.now();
        self.stopwatch.begin(found, processor_time);
        let mut go_on = true;
        for ready in reported.iter() {
            match ready {
                Ready::Bell => go_on = self.commands(),
                Ready::Queue(id) => self.turn(id, now),
            }
        }
        if self.dropped {
            self.dropped = false;
            self.tools.drops.wake();
        }
        let done = Instant::now();
        if !reported.is_empty() {
            self.vigil.done(done);
        }
        if done >= self.next_tick {
            self.tick(now);
        }
        go_on
    }

    /// Runs the timers.
    fn tick(&mut self, now: Moment) {
        let Tools { engine, scratch, .. } = &mut self.tools;
        let buried = engine.expire(now, EXPIRE_BUDGET, scratch);
        // More are due: no sleep before the next round.
        let rest = if buried < EXPIRE_BUDGET { TICK } else { Duration::ZERO };
        self.next_tick = Instant::now() + rest;
        for id in std::mem::take(&mut self.resting) {
            self.watch(id);
        }
    }

    fn commands(&mut self) -> bool {
        self.tools.inbox.answer();
        while let Some(command) = self.tools.inbox.pop() {
            match command {
                Command::Attach(port, passage) => {
                    self.resting.retain(|resting| *resting != port.attachment);
                    // The control side holds what is replaced until the passage is dropped.
                    if let Some(replaced) = self.ports.put(port) {
                        self.poll.remove(&replaced.queue);
                    }
                    drop(passage);
                }
                Command::Read(port, passage) => {
                    // Unless it is gone already.
                    if self.ports.at(port.attachment).is_some_and(|now| now.serial == port.serial) {
                        self.watch(port.attachment);
                    }
                    drop(port);
                    drop(passage);
                }
                Command::Detach(port, passage) => {
                    self.poll.remove(&port.queue);
                    self.resting.retain(|resting| *resting != port.attachment);
                    self.ports.take(&port);
                    drop(port);
                    drop(passage);
                }
                Command::Stop => return false,
            }
        }
        true
    }

    fn watch(&mut self, id: AttachmentId) {
        let Some(port) = self.ports.at(id) else { return };
        if self.poll.add(id, &port.queue).is_err() {
            // Out of memory or of watches: try again at the next tick.
            self.resting.push(id);
        }
    }

    /// Reads a queue until its turn ends.
    fn turn(&mut self, id: AttachmentId, now: Moment) {
        let started = Instant::now();
        let mut last = started;
        for frame in 1..=TURN_FRAMES {
            // Detached by a command of this same round.
            let Some(port) = self.ports.at(id) else { return };
            let written = match port.queue.read(&mut self.buffer[HEADROOM..]) {
                Received::Frame(length) => self.forward(id, HEADROOM + length, now, last),
                Received::Lost => None,
                Received::Empty if frame == 1 => return self.rest(id),
                Received::Empty => return,
                Received::Down => return self.rest(id),
                Received::Gone => return self.gone(id),
            };
            let at = Instant::now();
            if at - last > budget::SLOW {
                self.slow_lap(written, at - last, at);
            }
            last = at;
            if at - started >= TURN_TIME {
                return;
            }
        }
    }

    /// Has the target pay for a lap that took long, if it was the write that did.
    #[cold]
    fn slow_lap(&mut self, written: Option<Written>, lap: Duration, at: Instant) {
        let ran = self.stopwatch.slow_lap(lap, Reading { at, used: processor_time() });
        if let Some(Written { target, length }) = written
            && budget::is_slow(ran, length)
        {
            self.ports.charge(target, ran, self.stopwatch.on_duty(at));
        }
    }

    /// Forwards the frame in the buffer, which was read at about `at`. Returns what was written.
    fn forward(
        &mut self,
        ingress: AttachmentId,
        length: usize,
        now: Moment,
        at: Instant,
    ) -> Option<Written> {
        let Tools { engine, scratch, .. } = &mut self.tools;
        self.buffer[..HEADROOM].fill(0);
        match engine.forward(&mut self.buffer[..length], ingress, now, scratch) {
            Verdict::Forward { target, length } => {
                let at = self.stopwatch.on_duty(at);
                let outcome =
                    self.ports.write(target, behind::<HEADROOM>(&self.buffer[..length]), at);
                self.sent(outcome, target, ingress, now);
                return Some(Written { target, length });
            }
            Verdict::Split { target } => self.write_all(target, ingress, now, at),
            Verdict::Held => {}
            Verdict::Answer(dropped) => {
                let answer = self.tools.scratch.answer();
                let length = answer.len();
                let at = self.stopwatch.on_duty(at);
                let outcome = self.ports.write(ingress, behind::<HEADROOM>(answer), at);
                self.sent(outcome, ingress, ingress, now);
                self.report(dropped, now);
                return Some(Written { target: ingress, length });
            }
            Verdict::Drop(dropped) => {
                if matches!(dropped.reason, Reason::BadOffloadHeader | Reason::MalformedPacket) {
                    self.want_restore(ingress);
                }
                self.report(dropped, now);
            }
        }
        None
    }

    /// Writes the frames of the scratch, each a lap of its own: there may be many, and the target slow.
    fn write_all(
        &mut self,
        target: AttachmentId,
        ingress: AttachmentId,
        now: Moment,
        mut last: Instant,
    ) {
        let mut index = 0;
        while let Some(frame) = self.tools.scratch.frames().get(index) {
            let length = frame.len();
            let outcome =
                self.ports.write(target, behind::<HEADROOM>(frame), self.stopwatch.on_duty(last));
            self.sent(outcome, target, ingress, now);
            let at = Instant::now();
            if at - last > budget::SLOW {
                self.slow_lap(Some(Written { target, length }), at - last, at);
            }
            last = at;
            index += 1;
        }
    }

    /// Sees to what became of a frame for `target`.
    fn sent(&mut self, outcome: Outcome, target: AttachmentId, ingress: AttachmentId, now: Moment) {
        match outcome {
            Outcome::Sent(Sent::Written) => return,
            Outcome::Sent(Sent::Full) => return add(&self.tools.counters.overflowed),
            Outcome::Throttled => return add(&self.tools.counters.throttled),
            Outcome::NotThere | Outcome::Sent(Sent::Down) => {}
            Outcome::Sent(Sent::Gone) => self.gone(target),
            // Header and packet come from the engine and fit: it is the device that has changed.
            Outcome::Sent(Sent::Refused) => self.want_restore(target),
        }
        add(&self.tools.counters.undeliverable);
        let reason = Reason::AttachmentDown;
        self.report(Dropped { reason, ingress, flow: None, request: None, packets: 1 }, now);
    }

    fn report(&mut self, dropped: Dropped, time: Moment) {
        self.tools.drops.push(Drop { time, dropped });
        self.dropped = true;
    }

    /// The queue is ready and yields nothing: it must not be asked again at once.
    fn rest(&mut self, id: AttachmentId) {
        if let Some(port) = self.ports.at(id) {
            self.poll.remove(&port.queue);
            self.resting.push(id);
        }
    }

    /// The queue has no device: it is not touched again, and stays in this worker's hands until
    /// the control side takes it.
    fn gone(&mut self, id: AttachmentId) {
        if let Some(port) = self.ports.at(id) {
            self.poll.remove(&port.queue);
            let event = Event::Gone { attachment: id, serial: port.serial };
            self.ports.disable(id);
            // Nobody listens only while the daemon ends.
            let _ = self.tools.events.send(event);
        }
    }

    fn want_restore(&self, id: AttachmentId) {
        if let Some(port) = self.ports.at(id)
            && port.want_restore()
        {
            let event = Event::Restore { attachment: id, serial: port.serial };
            // Nobody listens only while the daemon ends.
            let _ = self.tools.events.send(event);
        }
    }
}

/// Tells the control side when a worker ends by a panic.
struct Alarm {
    worker: usize,
    events: mpsc::UnboundedSender<Event>,
}

impl std::ops::Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Nobody listens only while the daemon ends.
            let _ = self.events.send(Event::Failed { worker: self.worker });
        }
    }
}

/// What of a frame a device takes.
fn behind<const HEADROOM: usize>(frame: &[u8]) -> &[u8] {
    let (header, rest) = frame.split_at(HEADROOM);
    debug_assert!(header.iter().all(|byte| *byte == 0), "work is left to do: {header:?}");
    rest
}

/// What this thread has used of a processor.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.try_into().expect("a thread runs for no negative time")
}

/// Adds one to a counter that no other thread writes.
fn add(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
}
