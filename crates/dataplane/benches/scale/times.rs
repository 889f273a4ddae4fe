//! How long things take, each by itself.

use std::{hint::black_box, net::Ipv4Addr, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use viaduct_control_plane::{changes, plan, plan_after};
use viaduct_dataplane::{
    Moment, Verdict as Outcome,
    explain::{Probe, Query, Sender, Verdict},
    policy::{Numbers, Policy},
};
use viaduct_topology::{
    ResourceId,
    inventory::{Attachment, AttachmentId, Eni, EniOwner, Host},
};

use crate::{
    counted::{NOW, segment},
    support::SYN,
    text::{Size, text},
    world::{World, load},
};

/// Connections that stand at once when those are measured.
const CONNECTIONS: u32 = 100_000;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const MICROSECOND: Duration = Duration::from_micros(1);

/// Measures everything and prints it.
pub(crate) fn measure() {
    let (file, changed) = (text(Size::FULL, false), text(Size::FULL, true));
    eprintln!("the file has {:.1} MiB", file.len() as f64 / f64::from(1 << 20));
    let took = median(5, || load(&file));
    print("load from YAML", took, Some(2 * SECOND));

    let mut world = World::new(Size::FULL);
    let took = median(5, || plan(&world.topology));
    print("plan addresses and interfaces", took, None);
    let took = median(9, || Policy::compile(&world.topology, None, &Numbers::new()));
    print("compile", took, Some(200 * MILLISECOND));

    swap_a_rule(&world, &changed);
    add_interfaces(&world);
    explain(&world);
    open_connections(&mut world);
}

/// One rule changes: alone, and with all that `viaduct apply` does.
fn swap_a_rule(world: &World, changed: &str) {
    let topologies = [load(changed), world.topology.clone()];
    let mut turn = topologies.iter().cycle();
    let took = median(20, || {
        let before = world.engine.generation();
        let after = world.engine.reload(turn.next().expect("it never ends"), &[], Moment::ZERO);
        assert_eq!(after.expect("nothing of the inventory changes"), before + 1);
    });
    print("swap one rule", took, Some(5 * MILLISECOND));

    let took = median(5, || {
        let topology = load(changed);
        let plan = plan_after(&world.plan, &topology).expect("it fits");
        let steps = changes(&world.plan, &plan);
        black_box(topology.difference(&world.topology));
        world
            .engine
            .reload(&topology, &steps, Moment::ZERO)
            .expect("nothing of the inventory changes")
    });
    print("apply one rule, file and all", took, None);
    world.engine.load(&world.topology);
}

/// Functions of keys that are not there yet, one after the other.
fn add_interfaces(world: &World) {
    let like = world
        .plan
        .enis
        .iter()
        .find(|eni| matches!(eni.owner, EniOwner::Functions(_)))
        .expect("there are functions");
    let first = world.plan.issued + 1;
    let mut next = (first..).map(|number| another(like, number));
    let took = median(1_000, || {
        let (eni, host) = next.next().expect("numbers do not end");
        world.engine.add_eni(&eni).expect("the id is new");
        world.engine.add_attachment(&host).expect("the identity is new");
    });
    print("add an ENI and its host", took, Some(100 * MICROSECOND));
    for number in first..first + 1_000 {
        world.engine.remove_attachment(AttachmentId(number)).expect("it is there");
        world.engine.remove_eni(&another(like, number).0.id).expect("it is there");
    }
}

/// An interface and a host like those of a function, under a key of their own.
fn another(like: &Eni, number: u32) -> (Eni, Attachment) {
    let EniOwner::Functions(key) = &like.owner else { panic!("{like:?} is not a function's") };
    let mut key = key.clone();
    key.account = number.to_string();
    let id = ResourceId::derived("eni", &number.to_string());
    let eni = Eni {
        id: id.clone(),
        private_ip: Ipv4Addr::from_bits(0x0afa_0000 + number).into(),
        owner: EniOwner::Functions(key),
        ..like.clone()
    };
    let host = Host::Environment { function: number.to_string(), enis: vec![id] };
    let name = format!("function/{number}/1");
    (eni, Attachment { id: AttachmentId(number), name, host })
}

/// What `explain` says of a flow through either kind of target.
fn explain(world: &World) {
    let (_, instance) = world.asked_by(0);
    let internet = Ipv4Addr::new(198, 51, 100, 7);
    for (what, to, port, verdict) in [
        ("explain to an instance", instance, 443, Verdict::Allow),
        ("explain to the internet", internet, 443, Verdict::Allow),
        ("explain a refusal", instance, 22, Verdict::Deny),
    ] {
        let query = Query {
            from: Sender::Attachment(world.function(0)),
            to,
            probe: Probe::Tcp(port),
            source_port: None,
            one_way: false,
        };
        let took = median(101, || {
            let explanation = world.engine.explain(&query).expect("both are there");
            assert_eq!(explanation.verdict, verdict, "{explanation:?}");
        });
        print(what, took, Some(5 * MILLISECOND));
    }
}

/// Opens connections from all functions in turn and lets their time pass, again and again.
fn open_connections(world: &mut World) {
    let mut now = NOW;
    let (mut births, mut deaths) = (Vec::new(), Vec::new());
    let functions = world.size.functions;
    let first: Vec<_> = (0..functions).map(|function| segment(world, function, SYN)).collect();
    let mut buffer = first[0].1.clone();
    for _ in 0..9 {
        let start = processor_time();
        for number in 0..CONNECTIONS as usize {
            let (from, syn) = &first[number % functions];
            let inside = u16::try_from(1024 + number / functions).expect("so few of each");
            buffer.copy_from_slice(syn);
            buffer[30..32].copy_from_slice(&inside.to_be_bytes());
            let verdict = world.engine.forward(&mut buffer, *from, now, &mut world.scratch);
            assert!(matches!(verdict, Outcome::Forward { .. }), "{verdict:?}");
        }
        births.push((processor_time() - start) / CONNECTIONS);
        now = now + Duration::from_secs(300);
        let start = processor_time();
        while world.engine.expire(now, 256, &mut world.scratch) == 256 {}
        deaths.push((processor_time() - start) / CONNECTIONS);
        assert_eq!(world.engine.connection_count(), 0);
    }
    // 500,000 in a second.
    print("open a connection", middle(births), Some(2 * MICROSECOND));
    print("end a connection when it is time", middle(deaths), None);
}

/// The middle one of so many times.
fn median<T>(times: usize, mut run: impl FnMut() -> T) -> Duration {
    let took = (0..times).map(|_| {
        let start = processor_time();
        let result = black_box(run());
        let took = processor_time() - start;
        drop(result);
        took
    });
    middle(took.collect())
}

fn middle(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}

/// How long this thread was on a processor. Nothing here waits and nothing has a second thread, so
/// this is what a clock on the wall would tell if nobody else used the machine.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("time passes forwards")
}

fn print(what: &str, took: Duration, goal: Option<Duration>) {
    let goal = goal.map_or("-".to_owned(), |goal| goal.as_nanos().to_string());
    println!("{what}\t{}\t{goal}", took.as_nanos());
}
