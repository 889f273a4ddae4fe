//! What was noted is read again, and nothing else is taken for it.

use std::{fs, os::unix::fs::FileExt, time::Duration};

use viaduct_dataplane::{
    EngineConfig, Memo, Moment, NotResumed, Translator, connection::Timeouts, tcp, walk::Tracking,
};
use viaduct_model::generate::Dice;
use viaduct_topology::{ResourceId, inventory::AttachmentId};
use viaduct_wire::Flow;

use super::{
    format::{
        Boot, EMPTY, Header, Kind, Lost, RECORD, RECORDS_AT, Record, name, named, record, recorded,
    },
    writer::Writer,
    *,
};

const TOPOLOGY: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      private: { cidr_block: 10.0.1.0/24, availability_zone: a }
      data:    { cidr_block: 10.0.2.0/24, availability_zone: a }
    security_groups: { fn: {}, db: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] } }
    instances: { db: { subnet: data, private_ip: 10.0.2.10, security_groups: [db] } }
functions:
  api: { subnets: [main/private], security_groups: [main/fn] }
";

/// An engine with a function and a database, and who has which name.
struct World {
    engine: Engine,
    plan: viaduct_control_plane::Plan,
}

impl World {
    fn new() -> Self {
        Self::of_capacity(1 << 16)
    }

    fn of_capacity(connections: usize) -> Self {
        let topology = viaduct_config_plane::load("test.yaml", TOPOLOGY).unwrap().topology;
        let plan = viaduct_control_plane::plan(&topology).unwrap();
        let engine = Engine::new(EngineConfig { connections, seed: 1 });
        let changes =
            viaduct_control_plane::changes(&viaduct_control_plane::Plan::default(), &plan);
        engine.reload(&topology, &changes, Moment::ZERO).unwrap();
        Self { engine, plan }
    }

    fn id(&self, name: &str) -> Option<AttachmentId> {
        self.plan.attachments.iter().find(|it| it.name == name).map(|it| it.id)
    }

    /// A connection of the function to the database, with this port.
    fn memo(&self, port: u16) -> Memo {
        let enis = self.engine.enis();
        let eni = enis.iter().find(|eni| eni.connections.is_some()).unwrap();
        let db = [10, 0, 2, 10].into();
        let flow = |source, source_port| Flow {
            protocol: 6,
            source,
            destination: db,
            source_port,
            destination_port: 5432,
        };
        let mut state = [0; tcp::State::BYTES];
        // Both ends confirmed: established.
        state[20..].fill(0b101);
        Memo {
            opener: self.id("function/api/1").unwrap(),
            target: self.id("instance/db").unwrap(),
            request: flow([169, 254, 100, 2].into(), port),
            arrival: flow(eni.private_ip, port),
            translators: [Some(Translator { eni: eni.id.clone(), port }), None, None],
            tracking: Tracking::BOTH,
            interface_endpoint: false,
            ttl_decrement: 0,
            mtu: 9001,
            timeouts: Timeouts { established: 350, opening: 30, closing: 10 },
            tcp: tcp::State::from_bytes(&state),
            sent: (3, 400),
            received: (2, 100),
            created: Moment::from_millis(1000),
            last_seen: Moment::from_millis(2000 + u64::from(port)),
        }
    }

    fn open(&self, port: u16) {
        let mut scratch = self.engine.scratch([1; 32]);
        self.engine.resume(&self.memo(port), NOW, &mut scratch).unwrap();
    }

    /// Ends every connection.
    fn end_all(&self) {
        let mut scratch = self.engine.scratch([1; 32]);
        let end = NOW + Duration::from_secs(1_000_000);
        while self.engine.expire(end, 1000, &mut scratch) == 1000 {}
        assert_eq!(self.engine.connection_count(), 0);
    }

    fn memos(&self) -> Vec<Memo> {
        let mut memos: Vec<_> =
            (0..self.engine.slots()).filter_map(|slot| self.engine.memo(slot)).collect();
        memos.sort_by_key(|memo| memo.request.source_port);
        memos
    }
}

const NOW: Moment = Moment::from_millis(100_000);

fn resumed(path: &Path) -> (World, Resumed) {
    let world = World::new();
    let left = Left::at(path, Boot::of_this_machine()).expect("a file that can be read");
    let mut scratch = world.engine.scratch([2; 32]);
    let resumed = left.resume(&world.engine, |name| world.id(name), &mut scratch);
    assert_eq!(world.engine.check(), Ok(()));
    (world, resumed)
}

/// The same without what a resumed state forgets: which numbers it is sure of.
fn known(memos: Vec<Memo>) -> Vec<Memo> {
    let plain = |memo: Memo| Memo { tcp: tcp::State::default(), ..memo };
    memos.into_iter().map(plain).collect()
}

#[test]
fn a_record_says_all_of_a_memo() {
    let world = World::new();
    let mut memo = world.memo(40_000);
    memo.translators[2] = Some(Translator { eni: ResourceId::named("eni-7"), port: 9 });
    memo.interface_endpoint = true;
    memo.tracking.source = false;
    let bytes = record(&memo, [3, 4, 5]);
    let host = |number| Some(AttachmentId(number));
    let eni = |number| match number {
        3 => Some(memo.translators[0].clone().unwrap().eni),
        5 => Some(ResourceId::named("eni-7")),
        _ => None,
    };
    assert_eq!(recorded(&bytes, host, eni), Some(Ok(memo.clone())));
    assert_eq!(recorded(&EMPTY, host, eni), None);
    let gone = |_| None;
    assert_eq!(recorded(&bytes, gone, eni), Some(Err(Lost::NotResumed(NotResumed::HostGone))));
    assert_eq!(
        recorded(&bytes, host, |_| None),
        Some(Err(Lost::NotResumed(NotResumed::InterfaceGone)))
    );
    // Every bit is covered by the sum.
    for bit in 0..RECORD * 8 {
        let mut damaged: Record = bytes;
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(recorded(&damaged, host, eni), Some(Err(Lost::Damaged)), "bit {bit}");
    }
    let header = Header { boot: Boot::of_this_machine(), now: NOW };
    assert_eq!(Header::from_bytes(&header.to_bytes()), Some(header));
    let bytes = name(Kind::Host, 7, "function/api/1").unwrap();
    assert_eq!(named(&bytes), Some((Kind::Host, 7, "function/api/1")));
    assert_eq!(name(Kind::Host, 7, &"x".repeat(70_000)), None);
}

#[test]
fn what_is_noted_in_rounds_is_what_the_next_engine_has() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("connections");
    let world = World::new();
    (1..=50).for_each(|port| world.open(2000 + port));
    let mut writer = Writer::new(create(&path).unwrap(), Boot::of_this_machine());
    writer.write_all(&world.engine, NOW).unwrap();
    let (next, before) = resumed(&path);
    assert_eq!((before.resumed, before.lost()), (50, 0));
    assert_eq!(known(next.memos()), known(world.memos()));
    assert_eq!(Left::at(&path, Boot::of_this_machine()).unwrap().now(), NOW);

    // Births and deaths.
    world.end_all();
    (1..=3).for_each(|port| world.open(3000 + port));
    writer.round(&world.engine, NOW + Duration::from_secs(2)).unwrap();
    let (next, after) = resumed(&path);
    assert_eq!((after.resumed, after.lost()), (3, 0));
    assert_eq!(known(next.memos()), known(world.memos()));
    assert_eq!(
        Left::at(&path, Boot::of_this_machine()).unwrap().now(),
        NOW + Duration::from_secs(2)
    );
    // A file of so many slots takes no more room, whatever has happened in them.
    let length = fs::metadata(&path).unwrap().len();
    assert_eq!(length, RECORDS_AT + 50 * RECORD as u64);
    for port in 0..200 {
        world.end_all();
        world.open(4000 + port);
        writer.round(&world.engine, NOW).unwrap();
    }
    assert_eq!(fs::metadata(&path).unwrap().len(), length);
    assert_eq!(resumed(&path).1.resumed, 1);
}

#[test]
fn a_file_that_is_cut_damaged_or_forged_loses_connections_and_confuses_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("connections");
    let world = World::new();
    (1..=200).for_each(|port| world.open(2000 + port));
    let mut writer = Writer::new(create(&path).unwrap(), Boot::of_this_machine());
    writer.write_all(&world.engine, NOW).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();

    // The tail is torn off in the middle of a record.
    file.set_len(RECORDS_AT + 150 * RECORD as u64 + 60).unwrap();
    assert_eq!(resumed(&path).1.resumed, 150);
    file.write_all_at(&[0xff; RECORD], RECORDS_AT + RECORD as u64).unwrap();
    let (_, damaged) = resumed(&path);
    assert_eq!((damaged.resumed, damaged.lost), (149, [(Lost::Damaged, 1)].into()));

    // A record twice: the second is somebody else's port.
    let mut twice = EMPTY;
    file.read_exact_at(&mut twice, RECORDS_AT).unwrap();
    file.write_all_at(&twice, RECORDS_AT + RECORD as u64).unwrap();
    assert_eq!(resumed(&path).1.lost, [(Lost::NotResumed(NotResumed::PortTaken), 1)].into());

    for seed in 0..300 {
        let mut dice = Dice::labelled(seed, "damage");
        for _ in 0..dice.between(1, 40) {
            let at = match dice.below(4) {
                0 => dice.below(80) as u64,
                1 => 4096 + dice.below(200) as u64,
                _ => RECORDS_AT + dice.below(150 * RECORD) as u64,
            };
            file.write_all_at(&[dice.below(256) as u8], at).unwrap();
        }
        if Left::at(&path, Boot::of_this_machine()).is_some() {
            let (next, resumed) = resumed(&path);
            assert_eq!(resumed.resumed, next.engine.connection_count() as u64);
        }
        if seed % 10 == 0 {
            writer.write_all(&world.engine, NOW).unwrap();
        }
    }
}

#[test]
fn a_file_of_another_boot_or_of_nothing_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("connections");
    assert!(Left::at(&path, Boot::of_this_machine()).is_none());
    fs::write(&path, "").unwrap();
    assert!(Left::at(&path, Boot::of_this_machine()).is_none());
    fs::write(&path, "something else altogether, and long enough to have a header in it, or more")
        .unwrap();
    assert!(Left::at(&path, Boot::of_this_machine()).is_none());
    let world = World::new();
    let other = [b'0'; 36];
    let mut writer = Writer::new(create(&path).unwrap(), Boot::of(other));
    writer.write_all(&world.engine, NOW).unwrap();
    assert!(Left::at(&path, Boot::of_this_machine()).is_none());
    forget(&path).unwrap();
    forget(&path).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_full_disk_loses_notes_and_nothing_else_and_they_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("connections");
    let world = World::new();
    world.open(2001);
    let mut writer = Writer::new(create(&path).unwrap(), Boot::of_this_machine());
    writer.write_all(&world.engine, NOW).unwrap();

    let file = writer.file.try_clone().unwrap();
    writer.file = File::options().write(true).open("/dev/full").unwrap();
    world.open(2002);
    let error = writer.round(&world.engine, NOW).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    // As the thread does it: nobody may take what is there for true.
    writer.file = file;
    writer.give_up();
    assert!(Left::at(&path, Boot::of_this_machine()).is_none());

    world.open(2003);
    writer.write_all(&world.engine, NOW).unwrap();
    assert_eq!(resumed(&path).1.resumed, 3);
}

#[test]
fn the_thread_notes_what_happens_until_it_is_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("connections");
    let World { engine, plan } = World::new();
    let (engine, clock) = (Arc::new(engine), Arc::new(Clock::from(NOW)));
    let notes = Notes::begin(&path, Boot::of_this_machine(), Arc::clone(&engine), clock)
        .unwrap()
        .expect("there is room");
    assert!(!path.with_extension("new").exists());
    let world = World { engine: World::new().engine, plan };
    let mut scratch = engine.scratch([1; 32]);
    engine.resume(&world.memo(2001), NOW, &mut scratch).unwrap();
    drop(notes);
    assert_eq!(resumed(&path).1.resumed, 1, "with the last round at the latest");

    let nowhere = directory.path().join("no/such/place");
    let clock = Arc::new(Clock::from(NOW));
    assert!(Notes::begin(&nowhere, Boot::of_this_machine(), engine, clock).unwrap().is_none());
}

/// How long a start and a round take: `cargo test --release -p viaduct-daemon --lib -- --ignored
/// notes_cost --nocapture`.
#[test]
#[ignore = "a measurement"]
fn notes_cost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("connections");
    for connections in [10_000_u32, 1_000_000] {
        let world = World::of_capacity(connections as usize);
        let mut scratch = world.engine.scratch([1; 32]);
        for number in 0..connections {
            let mut memo = world.memo(2000 + (number % 60_000) as u16);
            memo.request.destination_port = 1 + (number / 60_000) as u16;
            memo.arrival.destination_port = memo.request.destination_port;
            world.engine.resume(&memo, NOW, &mut scratch).unwrap();
        }
        let timed = |what: &str, work: &mut dyn FnMut()| {
            let begun = Instant::now();
            work();
            println!("{connections} connections: {what} {:?}", begun.elapsed());
        };
        let mut writer = Writer::new(create(&path).unwrap(), Boot::of_this_machine());
        timed("written in", &mut || writer.write_all(&world.engine, NOW).unwrap());
        timed("a round in which nothing happens", &mut || {
            writer.round(&world.engine, NOW).unwrap();
        });
        let next = World::of_capacity(connections as usize);
        timed("read and taken up in", &mut || {
            let mut scratch = next.engine.scratch([2; 32]);
            let left = Left::at(&path, Boot::of_this_machine()).unwrap();
            let resumed = left.resume(&next.engine, |name| next.id(name), &mut scratch);
            assert_eq!(resumed.resumed, u64::from(connections));
        });
    }
}
