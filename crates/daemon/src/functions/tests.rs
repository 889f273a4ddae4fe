use std::path::Path;

use viaduct_control_plane::lifecycle::{Configuration, FunctionName, State, VpcConfig};
use viaduct_dataplane::Moment;

use super::*;
use crate::{
    options::Options,
    runtime_dir::RuntimeDir,
    start::{self, Begun},
};

const TOPOLOGY: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets: { a: { id: subnet-a, cidr_block: 10.0.0.0/20, availability_zone: a } }
    security_groups: { one: { id: sg-one } }
settings: { enis_per_vpc: 1000 }
";

/// The functions of a daemon in this directory.
fn begin(directory: &Path, topology: &str, sync: bool) -> Arc<Functions> {
    let topology = viaduct_config_plane::load("test.yaml", topology).unwrap().topology;
    let mut options = Options::new("test.yaml");
    options.runtime_dir = directory.to_owned();
    options.sync = sync;
    let runtime_dir = RuntimeDir::take(directory).unwrap();
    let Begun { plan, store } = start::begin(&options, &runtime_dir, &topology).unwrap();
    let engine =
        Arc::new(crate::assembly::start_engine(&options, &topology, &plan, Moment::ZERO).unwrap());
    Functions::of_nobody(engine, topology, plan, store)
}

fn create(name: &str, groups: &[&str]) -> Command {
    let groups = groups.iter().map(|group| ResourceId::named(group));
    let vpc = VpcConfig::new([ResourceId::named("subnet-a")], groups).unwrap();
    let configuration = Configuration { vpc, ..Configuration::default() };
    Command::create(FunctionName::new("123456789012", name), configuration)
}

/// How many Hyperplane ENIs the engine has.
fn enis(functions: &Functions) -> usize {
    let mut count = 0;
    functions.engine.visit_loads(|_, _| count += 1);
    count
}

/// Has the machine do something.
async fn had<T>(
    functions: &Arc<Functions>,
    act: impl FnOnce(&mut Lifecycle) -> T,
) -> Result<T, Error> {
    Ok(functions.have(functions.turn().await, act).await?.0)
}

/// Has the machine carry a command out, so many seconds after the one before.
async fn told(functions: &Arc<Functions>, command: Command, seconds: u64) -> Result<(), Error> {
    let now = functions.machine().now().after(Duration::from_secs(seconds));
    let done = had(functions, |machine| machine.command(command, Owner::Api, now)).await?;
    done.map(drop).map_err(|refusal| panic!("{refusal}"))
}

#[tokio::test]
async fn nothing_is_done_that_could_not_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let functions = begin(directory.path(), TOPOLOGY, false);
    let has = |name: &str| {
        let name = FunctionName::new("123456789012", name);
        functions.machine().function(&name).map(|it| it.latest.state)
    };
    told(&functions, create("before", &["sg-one"]), 1).await.unwrap();
    functions.store.fill_disk(true);
    // Its ENI is there now, says the machine; nobody else may know.
    let passed = functions.machine().now().after(Duration::from_secs(90));
    had(&functions, |machine| machine.advance(passed)).await.unwrap_err();
    assert_eq!(enis(&functions), 0);
    let error = told(&functions, create("during", &["sg-one"]), 1).await.unwrap_err();
    assert!(error.to_string().contains("packets are forwarded"), "{error}");
    functions.look(functions.turn().await).await.unwrap_err();
    assert_eq!(has("during"), None, "a command is refused before it is begun");

    functions.store.fill_disk(false);
    functions.look(functions.turn().await).await.unwrap();
    assert_eq!(enis(&functions), 1);
    told(&functions, create("after", &["sg-one"]), 1).await.unwrap();
    let machine = functions.machine().clone();
    drop(functions);
    let next = begin(directory.path(), TOPOLOGY, false);
    assert_eq!(*next.machine(), machine);
    assert_eq!(enis(&next), 1);
    assert_eq!(
        machine.functions().map(|it| it.latest.state).collect::<Vec<_>>(),
        [State::Active; 2]
    );
}

// Facts: LAM-18
#[tokio::test]
async fn lam_18_a_zone_that_has_failed_has_failed_for_the_next_daemon_too() {
    let directory = tempfile::tempdir().unwrap();
    let functions = begin(directory.path(), TOPOLOGY, false);
    // To tell the engine what it knows is nothing new to it.
    let knows = |functions: &Functions, zones: &[&str]| {
        let before = functions.engine.generation();
        functions.engine.fail_zones(&zones.iter().map(ToString::to_string).collect());
        functions.engine.generation() == before
    };
    assert!(knows(&functions, &[]));
    told(&functions, Command::FailZone { zone: "a".to_owned(), failed: true }, 1).await.unwrap();
    assert!(knows(&functions, &["a"]));
    drop(functions);
    let next = begin(directory.path(), TOPOLOGY, false);
    assert!(knows(&next, &["a"]));
    told(&next, Command::FailZone { zone: "a".to_owned(), failed: false }, 1).await.unwrap();
    assert!(knows(&next, &[]));
}

#[tokio::test]
async fn a_command_that_cannot_be_written_is_lambdas_service_exception() {
    let directory = tempfile::tempdir().unwrap();
    let functions = begin(directory.path(), TOPOLOGY, false);
    functions.store.fill_disk(true);
    let refusal = functions.command(create("f", &["sg-one"])).await.unwrap_err();
    assert_eq!(
        (refusal.exception().name(), refusal.exception().status()),
        ("ServiceException", 500)
    );
    functions.store.fill_disk(false);
    // It was begun, and is done with the next command.
    let refusal = functions.command(create("f", &["sg-one"])).await.unwrap_err();
    assert_eq!(refusal.exception().name(), "ResourceConflictException");
}

/// The time goes on where it stood, and so does what waits.
#[tokio::test]
async fn what_waits_goes_on_waiting_with_the_next_daemon() {
    let directory = tempfile::tempdir().unwrap();
    let name = FunctionName::new("123456789012", "f");
    let functions = begin(directory.path(), TOPOLOGY, true);
    told(&functions, create("f", &["sg-one"]), 100).await.unwrap();
    // Nothing happens for 60 s but that the time is noted.
    let passed = functions.machine().now().after(Duration::from_secs(60));
    had(&functions, |machine| machine.advance(passed)).await.unwrap();
    drop(functions);
    let next = begin(directory.path(), TOPOLOGY, true);
    assert_eq!(next.machine().now(), Time::from_millis(160_000));
    assert!(next.now() >= Time::from_millis(160_000), "the clock goes on from there");
    let state = |next: &Functions| next.machine().function(&name).unwrap().latest.state;
    for (seconds, expected) in [(29, State::Pending), (1, State::Active)] {
        let passed = next.machine().now().after(Duration::from_secs(seconds));
        had(&next, |machine| machine.advance(passed)).await.unwrap();
        assert_eq!(state(&next), expected, "{seconds} s more");
    }
}

/// How long one more function takes beside 10,000 with 500 keys; prints it and asserts nothing.
#[tokio::test]
#[ignore = "a measurement: in release, with --nocapture"]
async fn cost_of_one_more_function() {
    let groups: Vec<String> = (0..40).map(|number| format!("sg-{number}")).collect();
    let named: String =
        groups.iter().map(|group| format!("of_{group}: {{ id: {group} }}, ")).collect();
    let topology = TOPOLOGY.replace("one: { id: sg-one }", &named);
    for sync in [false, true] {
        // On a disk, where there is one; a temporary directory may be memory.
        let place = std::env::var_os("VIADUCT_BENCH_DIR").unwrap_or_else(|| ".".into());
        let directory = tempfile::tempdir_in(place).unwrap();
        let functions = begin(directory.path(), &topology, false);
        let key = |number: usize| {
            // Two of forty, the second up to thirteen after the first: 520 pairs, none twice.
            let (one, further) = (number % 40, number / 40);
            [groups[one].as_str(), groups[(one + 1 + further) % 40].as_str()]
        };
        for number in 0..10_000 {
            let command = create(&format!("f{number}"), &key(number % 500));
            told(&functions, command, 0).await.unwrap();
        }
        let enis: usize = functions.machine().sets().map(|set| set.enis.len()).sum();
        drop(functions);
        let begun = std::time::Instant::now();
        let functions = begin(directory.path(), &topology, sync);
        let start = begun.elapsed();
        let mut times: Vec<Duration> = Vec::new();
        for number in 0..500 {
            let command = create(&format!("more{number}"), &key(number));
            let begun = std::time::Instant::now();
            functions.command(command).await.unwrap();
            times.push(begun.elapsed());
        }
        times.sort();
        let bytes = std::fs::metadata(directory.path().join("state.redb")).unwrap().len();
        println!(
            "sync {sync}: {enis} ENIs, {bytes} bytes, start {start:?}; one more function: \
             median {:?}, 99 of 100 within {:?}, longest {:?}",
            times[250], times[495], times[499]
        );
    }
}
