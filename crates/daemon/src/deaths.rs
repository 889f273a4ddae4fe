//! Daemons that die between any two steps, and what the next one finds.
//!
//! A child process (this test binary again) begins with what is in a directory, has the machine, the
//! store and the engine carry out random commands, and says after each that it is done. It dies at a
//! chosen point ([`Point`]), of SIGKILL: what it has written is the kernel's, what it has not is lost,
//! exactly as in a daemon that is killed. This process then goes on from the directory, and compares
//! with a machine to which the same was done in memory: all that was said to be done is there, and at
//! most the next command, whole. Time is part of the commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
    sync::Arc,
    time::Duration,
};

use viaduct_control_plane::lifecycle::{
    Command, Configuration, ConfigurationChange, FunctionName, Lifecycle, Owner, Permission, Phase,
    Places, Qualifier, Records, Report, Time, VersionId, VpcConfig,
};
use viaduct_dataplane::Moment;
use viaduct_model::generate::Dice;
use viaduct_topology::{
    ResourceId, Topology,
    iam::Policy,
    inventory::{Eni, EniOwner},
};

use crate::{
    fail_point::{self, Point},
    functions::Functions,
    options::Options,
    runtime_dir::RuntimeDir,
    start::{self, Begun},
};

/// Little room, so that everything is often somebody's: the last subnet has three addresses.
const TOPOLOGY: &str = "
organization: { accounts: [111111111111, 222222222222] }
vpcs:
  main:
    account: 111111111111
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a: { id: subnet-a, cidr_block: 10.0.1.0/24, availability_zone: a, shared_with: [222222222222] }
      b: { id: subnet-b, cidr_block: 10.0.2.0/24, availability_zone: b, shared_with: [222222222222] }
      tiny: { id: subnet-tiny, cidr_block: 10.0.3.0/28, availability_zone: a, shared_with: [222222222222] }
    security_groups:
      one: { id: sg-one }
      two: { id: sg-two }
      guest: { id: sg-guest, account: 222222222222 }
    instances:
      db: { subnet: tiny, private_ip: 10.0.3.4, secondary_private_ips: [10.0.3.5, 10.0.3.6, 10.0.3.7, 10.0.3.8, 10.0.3.9, 10.0.3.10, 10.0.3.11] }
functions:
  declared: { subnets: [main/a, main/tiny], security_groups: [main/one] }
";

/// Commands of a child that does not die.
const STEPS: u64 = 40;

/// What the child is told: its directory and the seed of its commands.
const DIRECTORY: &str = "VIADUCT_DEATHS_DIRECTORY";
const SEED: &str = "VIADUCT_DEATHS_SEED";

/// What is done to a machine.
#[derive(Debug)]
enum Input {
    Command(Command),
    Report(Report),
    Nothing,
}

fn topology() -> Topology {
    viaduct_config_plane::load("test.yaml", TOPOLOGY).unwrap().topology
}

fn options(directory: &Path) -> Options {
    let mut options = Options::new("test.yaml");
    options.runtime_dir = directory.to_owned();
    options
}

/// The next input, and how long after the one before, which all follow from seed, step and machine.
fn input(seed: u64, step: u64, machine: &Lifecycle) -> (Input, Duration) {
    let dice = &mut Dice::labelled(seed, &step.to_string());
    let pause = dice.one(&[0, 0, 0, 1, 90, 90, 600, 1200, 86_400, 1_209_600]);
    // What is done to a file's function, the next start undoes.
    let made = machine.functions().filter(|it| it.owner == Owner::Api);
    let names: Vec<FunctionName> = made.map(|it| it.name.clone()).collect();
    let function = match dice.percent(80) && !names.is_empty() {
        true => names[dice.below(names.len())].clone(),
        false => FunctionName::new("111111111111", dice.one(&["f", "g", "h"])),
    };
    let role = |dice: &mut Dice| dice.percent(50).then(|| dice.one(&["r", "s"]).into());
    let enis: Vec<ResourceId> =
        machine.sets().flat_map(|set| set.enis.values().map(|eni| eni.id.clone())).collect();
    let eni = |dice: &mut Dice| enis[dice.below(enis.len())].clone();
    let version = match dice.percent(70) {
        true => Qualifier::Latest,
        false => Qualifier::Version(1),
    };
    let command = match dice.below(100) {
        0..25 => {
            let name = dice.one(&["f", "g", "h", "i", "j"]);
            let account = dice.one(&["111111111111", "222222222222"]);
            let function = FunctionName::new(account, name);
            let carried = BTreeMap::from([("Handler".to_owned(), format!("step {step}"))]);
            let vpc = vpc(dice, &function);
            let configuration = Configuration { vpc, role: role(dice), carried };
            let (tags, publish) = (BTreeMap::new(), dice.percent(20));
            Command::CreateFunction { function, configuration, tags, publish }
        }
        25..45 => {
            let vpc = Some(vpc(dice, &function));
            let change = ConfigurationChange { vpc, ..Default::default() };
            Command::UpdateFunctionConfiguration { function, change, revision: None }
        }
        45..55 => Command::publish(function),
        55..57 => Command::TagResource { function, tags: [("a".into(), "b".into())].into() },
        57..67 => {
            let version = dice.percent(30).then_some(version);
            Command::DeleteFunction { function, version }
        }
        67..73 => Command::Invoke(VersionId { function, version }),
        73..76 => {
            let mut stranded =
                machine.sets().filter(|set| matches!(set.phase, Phase::Stranded { .. }));
            let stranded = stranded.next().and_then(|set| set.enis.values().next());
            let eni = stranded.map_or_else(|| eni(dice), |eni| eni.id.clone());
            Command::DeleteNetworkInterface(eni)
        }
        76..82 => {
            let permitted = Permission::ALL.into_iter().filter(|_| !dice.percent(5));
            let policies = vec![Policy::allowing(permitted.map(Permission::action))];
            Command::PutRole { role: dice.one(&["r", "s"]).into(), policies }
        }
        82..84 => Command::DeleteRole(dice.one(&["r", "s"]).into()),
        84..87 => Command::FailZone { zone: "b".to_owned(), failed: dice.percent(40) },
        87..93 => return (Input::Report(Report::NearCapacity(eni(dice))), Duration::ZERO),
        93..96 => return (Input::Report(Report::Unhealthy(eni(dice))), Duration::ZERO),
        _ => return (Input::Nothing, Duration::from_secs(pause)),
    };
    (Input::Command(command), Duration::from_secs(pause))
}

fn vpc(dice: &mut Dice, function: &FunctionName) -> VpcConfig {
    if dice.percent(10) {
        return VpcConfig::none();
    }
    let subnets = ["subnet-a".to_owned(), "subnet-b".to_owned(), "subnet-tiny".to_owned()];
    let subnets = dice.some(&subnets, 1, 3);
    let group = match &*function.account {
        "111111111111" => dice.one(&["sg-one", "sg-two"]),
        _ => "sg-guest",
    };
    let subnets = subnets.iter().map(|subnet| ResourceId::named(subnet));
    VpcConfig::new(subnets, [ResourceId::named(group)]).unwrap()
}

/// Does it. Refusals are as good as anything else.
fn told(machine: &mut Lifecycle, input: Input, now: Time) {
    match input {
        Input::Command(command) => drop(machine.command(command, Owner::Api, now)),
        Input::Report(report) => machine.report(&report, now),
        Input::Nothing => machine.advance(now),
    }
}

/// The child: not a test, but what tests are made with.
#[test]
#[ignore = "dies; the other test runs it"]
fn child() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    let directory = RuntimeDir::take(Path::new(&directory)).unwrap();
    let options = options(Path::new(&std::env::var_os(DIRECTORY).unwrap()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let topology = topology();
        let Begun { plan, store } = start::begin(&options, &directory, &topology).unwrap();
        let engine = Arc::new(
            crate::assembly::start_engine(&options, &topology, &plan, Moment::ZERO).unwrap(),
        );
        let functions = Functions::of_nobody(engine, topology, plan, store);
        let mut turn = functions.turn().await;
        say("begun");
        for step in 0..STEPS {
            let (input, pause) = input(seed, step, &functions.machine());
            let now = functions.machine().now().after(pause);
            ((), turn) = functions.have(turn, |machine| told(machine, input, now)).await.unwrap();
            say("done");
        }
    });
}

/// Says it to whoever started this process.
fn say(what: &str) {
    let mut out = std::io::stderr().lock();
    writeln!(out, "deaths: {what}").unwrap();
}

/// Runs a child and returns what it said, and whether it died.
fn run(directory: &Path, seed: u64, die_at: &str) -> (Vec<String>, bool) {
    let child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "deaths::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(SEED, seed.to_string())
        .env(fail_point::VARIABLE, die_at)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(child.stderr).unwrap();
    let died = std::os::unix::process::ExitStatusExt::signal(&child.status) == Some(9);
    assert!(died || child.status.success(), "{die_at}: {said}");
    let said = said.lines().filter_map(|line| line.strip_prefix("deaths: "));
    (said.map(str::to_owned).collect(), died)
}

/// Goes on from a directory as a daemon does.
fn next(directory: &Path) -> Lifecycle {
    let topology = topology();
    let options = options(directory);
    let runtime_dir = RuntimeDir::take(directory).unwrap();
    let Begun { mut plan, store } = start::begin(&options, &runtime_dir, &topology).unwrap();
    let engine = crate::assembly::start_engine(&options, &topology, &plan, Moment::ZERO).unwrap();
    // The engine has the ENIs of the machine, and no others.
    let there = |eni: &Eni| matches!(eni.owner, EniOwner::Functions(_));
    let planned: BTreeSet<_> = plan.enis.iter().filter(|eni| !there(eni)).map(addressed).collect();
    let machine = std::mem::take(&mut plan.lifecycle);
    let wanted = machine.sets().flat_map(|set| set.inventory().map(|eni| addressed(&eni)));
    let wanted: BTreeSet<_> = wanted.chain(planned).collect();
    let has = engine.enis().into_iter().map(|eni| (eni.id, eni.private_ip.into()));
    assert_eq!(has.collect::<BTreeSet<_>>(), wanted);
    drop(store);
    let taken = (4..12).map(|host| (ResourceId::named("subnet-tiny"), [10, 0, 3, host].into()));
    if let Err(difference) = machine.check(Places::of(&topology, taken)) {
        panic!("{}: {difference}", directory.display());
    }
    machine
}

fn addressed(eni: &Eni) -> (ResourceId, std::net::IpAddr) {
    (eni.id.clone(), eni.private_ip)
}

/// Records without their time: it is written once a second, when nothing else is.
fn timeless(machine: &Lifecycle) -> Records {
    Records { now: Time::ZERO, ..machine.records() }
}

/// Whether a machine is the one of before to which the child did what it said, or that and the next.
fn is_as_said(before: &Lifecycle, after: &Lifecycle, seed: u64, done: u64) -> Result<(), String> {
    let mut expected = before.clone();
    for step in 0..done {
        let (input, pause) = input(seed, step, &expected);
        let now = expected.now().after(pause);
        told(&mut expected, input, now);
    }
    if timeless(&expected) == timeless(after) {
        return Ok(());
    }
    let all_said = format!("said {:#?}", timeless(&expected));
    if done < STEPS {
        let (input, pause) = input(seed, done, &expected);
        let now = expected.now().after(pause);
        told(&mut expected, input, now);
        if timeless(&expected) == timeless(after) {
            return Ok(());
        }
    }
    Err(format!(
        "{all_said}\nwith the next {:#?}\nfound {:#?}",
        timeless(&expected),
        timeless(after)
    ))
}

#[test]
fn whenever_a_daemon_dies_the_next_has_all_that_it_said_and_nothing_by_halves() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds: u64 = number("VIADUCT_DEATHS").unwrap_or(16);
    let mut deaths = BTreeMap::new();
    let mut unsaid = 0;
    for (index, point) in (0..).zip(Point::ALL) {
        let parent = tempfile::tempdir().unwrap();
        let mut directory = PathBuf::new();
        for round in 0..rounds {
            let seed = round * 100 + index;
            let dice = &mut Dice::labelled(seed, point.name());
            // Some deaths are in the making of a file, most are between commands or in one.
            let (fresh, time) = match point {
                Point::Filled => (true, 1),
                Point::Decided | Point::Committed | Point::Done | Point::Changed => {
                    (round == 0, 1 + dice.below(12))
                }
                Point::Resized => (round % 4 != 3, 1 + dice.below(2)),
                Point::HalfWritten | Point::Written | Point::Synced => {
                    (round % 3 == 0, 1 + dice.below(if round % 3 == 0 { 12 } else { 120 }))
                }
            };
            if fresh {
                directory = parent.path().join(round.to_string());
            }
            let before = directory.exists().then(|| next(&directory));
            let (said, died) = run(&directory, seed, &format!("{}:{time}", point.name()));
            if died {
                *deaths.entry(point.name()).or_insert(0) += 1;
            }
            let after = next(&directory);
            let before = before
                .unwrap_or_else(|| viaduct_control_plane::plan(&topology()).unwrap().lifecycle);
            let done = said.len().saturating_sub(1) as u64;
            if let Err(difference) = is_as_said(&before, &after, seed, done) {
                panic!("{} {time}, seed {seed}, {done} done: {difference}", point.name());
            }
            unsaid += u32::from(died && is_as_said(&before, &after, seed, done + 1).is_ok());
        }
    }
    println!("deaths {deaths:?}; the command under way was done in {unsaid}");
    assert!(unsaid > 0, "no death was between a command and its answer");
    for point in Point::ALL {
        let deaths = deaths.get(point.name()).copied().unwrap_or(0);
        assert!(deaths >= rounds.min(10), "died {deaths} times at {}", point.name());
    }
}
