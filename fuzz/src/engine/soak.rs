//! A soak: as many packets as one likes through one engine, with everything that happens to one.
//!
//! # Theory of operation
//!
//! **Workers** carry packets at the same time, each with conversations of its own
//! (`conversation`): it opens them, has both ends talk, closes some and forgets others. Of a
//! worker's packets 6 in 100 are to open something new, 6 are hostile (`hostile`), 3 in 200 are ICMP
//! errors, and whatever is left belongs to conversations that stand.
//!
//! **Every 1,000 packets** a worker moves the clock by 10 ms and ends what is due; **every 100,000**
//! one of them puts another topology in force, while the others go on, and the clock may jump: by
//! half a minute, by the idle timers, by five days. **Every 1,000,000** everybody stops, and the engine's
//! tables are held against each other ([`Engine::check`]) and its counters against the verdicts.
//!
//! **Each packet that comes out** is for its receiver and shows it nothing else
//! (`checks::is_for`). If it is of a conversation that has been idle for less than the shortest
//! timer, and nothing was reloaded since its last packet, it must have come out, at the other end and
//! as that end knows it: no connection may be lost or taken for another, whatever anybody else does.
//!
//! **At the end** all time passes, and no connection, no port and no port table's memory is left.
//!
//! With one worker the same seed gives the same run, which [`Tally::digest`] shows.

mod conversation;
mod dice;
mod hostile;
mod worker;

use std::{
    fmt,
    ops::AddAssign,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use viaduct_dataplane::{Engine, Moment};
use viaduct_topology::{Topology, model::Settings};

use self::{dice::Dice, worker::Worker};
use super::{
    network::{Network, Station},
    worlds,
};

/// Packets that a worker carries at a time.
const BATCH: u64 = 1000;

/// Packets between two reloads.
const RELOAD: u64 = 100_000;

/// Packets between two checks of everything.
const CHECK: u64 = 1_000_000;

/// Connections that the table takes.
const CAPACITY: usize = 1 << 18;

/// What is soaked, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Packets to carry; rounded up to whole batches of 1,000.
    pub packets: u64,
    /// Workers that carry them, 1 to 64.
    pub workers: u32,
    /// What all choices follow from.
    pub seed: u64,
}

/// What was carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets that went in.
    pub packets: u64,
    /// Packets that these stood for, as super-packets do.
    pub segments: u64,
    /// Packets of conversations that stood and that came out at their other end.
    pub established: u64,
    /// Packets that opened a connection.
    pub opened: u64,
    /// Hostile packets.
    pub hostile: u64,
    /// ICMP errors.
    pub errors: u64,
    /// Packets that were answered: with a RST, or an ICMP error.
    pub answered: u64,
    /// Topologies put in force.
    pub reloads: u64,
    /// Jumps of the clock.
    pub jumps: u64,
    /// Checks of everything.
    pub checks: u64,
    /// Of everything that came out, and where.
    pub digest: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.segments += other.segments;
        self.established += other.established;
        self.opened += other.opened;
        self.hostile += other.hostile;
        self.errors += other.errors;
        self.answered += other.answered;
        self.reloads += other.reloads;
        self.jumps += other.jumps;
        self.checks += other.checks;
        self.digest ^= other.digest;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: u64| 100.0 * part as f64 / self.packets.max(1) as f64;
        write!(
            f,
            "{:.1} % established, {:.1} % new, {:.1} % hostile, {:.1} % ICMP errors; {} reloads, {} \
             jumps, {} checks",
            share(self.established),
            share(self.opened),
            share(self.hostile),
            share(self.errors),
            self.reloads,
            self.jumps,
            self.checks,
        )
    }
}

/// The topologies that are put in force: the fuzzer's, with room for a crowd. No host changes what it
/// is among them, so that what comes out can be judged whichever is in force.
static WORLDS: LazyLock<Vec<Topology>> = LazyLock::new(|| {
    // The base, other rules, another gateway, another place, twins, drained.
    let numbers = [0, 1, 2, 3, 4, 6];
    let roomy = |number: usize| Topology {
        settings: Settings::default(),
        ..worlds::WORLDS[number].clone()
    };
    numbers.map(roomy).into()
});

/// What the workers share.
struct Shared {
    engine: Arc<Engine>,
    /// Held by whoever reloads.
    control: Mutex<Control>,
    /// In milliseconds.
    clock: AtomicU64,
    /// Odd while somebody reloads.
    epoch: AtomicU64,
    /// Packets that somebody carries or has carried.
    claimed: AtomicU64,
}

struct Control {
    network: Network,
    /// Every host that there ever was, as often as it had another address, by its identity.
    hosts: Vec<Vec<Station>>,
    dice: Dice,
    tally: Tally,
}

impl Shared {
    fn now(&self) -> Moment {
        Moment::from_millis(self.clock.load(SeqCst))
    }

    /// Puts another topology in force, and lets time pass.
    fn reload(&self) {
        let mut control = self.control.lock().expect("nobody has panicked");
        let Control { network, hosts, dice, tally } = &mut *control;
        self.epoch.fetch_add(1, SeqCst);
        let jump = match dice.below(64) {
            0..=7 => 29_999,
            8..=11 => 120_000,
            12..=15 => 240_001,
            16..=19 => 350_000,
            20 => 432_001_000,
            _ => 0,
        };
        tally.jumps += u64::from(jump > 0);
        self.clock.fetch_add(jump, SeqCst);
        network.now = self.now();
        network.reload(match dice.below(32) {
            0..=3 => 2,
            4 | 5 => 3,
            6 => 4,
            7 => 5,
            choice => choice as usize % 2,
        });
        note(hosts, &network.stations);
        tally.reloads += 1;
        self.epoch.fetch_add(1, SeqCst);
    }

    /// Holds the engine's tables and counters against each other and against what was carried;
    /// `waiting` fragments of that wait for others.
    fn check(&self, carried: &Tally, waiting: u64) {
        self.engine.trim(self.now());
        if let Err(inconsistency) = self.engine.check() {
            panic!("after {} packets: {inconsistency}", carried.packets);
        }
        let counters = self.engine.counters();
        let dropped: u64 = counters.drops().map(|(_, packets)| packets).sum();
        // What was put together counts as one from there on, and what was cut as one until then.
        let came = carried.segments - waiting - counters.reassembled_fragments
            + counters.reassembled_datagrams;
        let went =
            counters.forwarded_packets - counters.sent_fragments + counters.fragmented_packets;
        assert_eq!(went + dropped, came, "packets are lost");
        assert_eq!(counters.answered_packets, carried.answered);
    }

    /// All time passes, and nothing is left.
    fn end(&self, carried: &Tally, workers: &mut [Worker]) {
        self.pass(Duration::from_hours(24 * 365));
        workers.iter_mut().for_each(|worker| worker.expire_all(self));
        assert_eq!(waiting(workers), 0, "fragments are left");
        self.check(carried, 0);
        assert_eq!(self.engine.connection_count(), 0, "connections are left");
        // What was freed last rests from here on.
        self.pass(Duration::from_hours(1));
        self.engine.trim(self.now());
        for eni in self.engine.inventory().enis() {
            let Some(ports) = &eni.ports else { continue };
            let usage = ports.usage();
            assert_eq!((usage.in_use, usage.shared), (0, 0), "{} holds ports", eni.id);
            assert!(usage.memory < 512, "{} keeps {} bytes", eni.id, usage.memory);
        }
    }

    fn pass(&self, time: Duration) {
        self.clock.fetch_add(time.as_millis() as u64, SeqCst);
    }
}

/// Fragments that wait for others.
fn waiting(workers: &[Worker]) -> u64 {
    workers.iter().map(Worker::waiting).sum()
}

/// Adds hosts to those that there ever were.
fn note(hosts: &mut Vec<Vec<Station>>, stations: &[Station]) {
    for station in stations {
        let at = station.id.0 as usize;
        if at >= hosts.len() {
            hosts.resize(at + 1, Vec::new());
        }
        if !hosts[at].iter().any(|known| known.address == station.address) {
            hosts[at].push(*station);
        }
    }
}

/// Runs a soak; `progress` hears of each check. What the connection table holds in the end, in
/// bytes, is the most that it ever needed, for it keeps its slots.
///
/// # Panics
///
/// When something is not as it should be.
pub fn run(options: &Options, mut progress: impl FnMut(&Tally, usize)) -> Tally {
    let network = Network::new(&WORLDS, 0, CAPACITY);
    let mut hosts = Vec::new();
    note(&mut hosts, &network.stations);
    let shared = Shared {
        engine: Arc::clone(&network.engine),
        clock: AtomicU64::new(1_000_000_000),
        epoch: AtomicU64::new(0),
        claimed: AtomicU64::new(0),
        control: Mutex::new(Control {
            network,
            hosts,
            dice: Dice::new(options.seed),
            tally: Tally::default(),
        }),
    };
    let mut workers: Vec<_> =
        (0..options.workers).map(|number| Worker::new(&shared, options, number)).collect();

    let mut total = Tally::default();
    while total.packets < options.packets {
        let until = options.packets.min(total.packets + CHECK);
        shared.claimed.store(total.packets, SeqCst);
        thread::scope(|scope| {
            for worker in &mut workers {
                let shared = &shared;
                scope.spawn(move || {
                    loop {
                        let batch = shared.claimed.fetch_add(BATCH, SeqCst);
                        if batch >= until {
                            break;
                        }
                        worker.carry(shared, BATCH);
                        if batch % RELOAD == RELOAD - BATCH {
                            shared.reload();
                        }
                    }
                });
            }
        });
        let checks = total.checks + 1;
        total = shared.control.lock().expect("nobody has panicked").tally;
        workers.iter().for_each(|worker| total += worker.tally);
        total.checks = checks;
        total.opened = shared.engine.counters().connections_opened;
        shared.check(&total, waiting(&workers));
        progress(&total, shared.engine.connection_memory());
    }
    shared.end(&total, &mut workers);
    total
}
