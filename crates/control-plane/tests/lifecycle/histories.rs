//! Random histories, told to the machine and to the naive model.
//!
//! `VIADUCT_HISTORIES` is how many; `VIADUCT_HISTORY` is the number of a single one.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Serialize, de::DeserializeOwned};
use viaduct_control_plane::lifecycle::{
    Answer, Command, Configuration, ConfigurationChange, EniState, FunctionName, Happening,
    Lifecycle, Owner, Permission, Phase, Places, Qualifier, Records, Report, Time, VersionId,
    VpcConfig,
};
use viaduct_topology::{ResourceId, inventory::Change};

use crate::{
    common::topology,
    dice::Dice,
    naive::{Input, Naive},
    world::{DELAYS, id, network, permitting},
};

const STEPS: usize = 80;

/// What has happened how often.
type Tally = BTreeMap<String, u32>;

/// The usual network, with little room: eight ENIs in the VPC and three addresses in `tiny`.
fn places(shared: bool) -> Places {
    static PLACES: LazyLock<[Places; 2]> = LazyLock::new(|| {
        [false, true].map(|shared| {
            let text = network(shared).replace("enis_per_vpc: 20", "enis_per_vpc: 8");
            let taken = (4..12).map(|host| (id("subnet-tiny"), [10, 0, 3, host].into()));
            Places::of(&topology(&text), taken)
        })
    });
    PLACES[usize::from(shared)].clone()
}

/// All that can be seen of the machine, in the words of the model.
fn seen(machine: &Lifecycle) -> String {
    let mut lines = String::new();
    for function in machine.functions() {
        for (which, version) in function.versions() {
            let number = match which {
                Qualifier::Latest => 0,
                Qualifier::Version(number) => number,
            };
            let code = |reason: &Option<viaduct_control_plane::lifecycle::Reason>| {
                reason.as_ref().map(|reason| reason.code.name())
            };
            lines += &format!(
                "{}:{}:{number} {} {:?} {} {:?} r{} {:?} next {:?}\n",
                function.name.account,
                function.name.name,
                version.state,
                code(&version.reason),
                version.update,
                code(&version.update_reason),
                version.revision,
                version.configuration.vpc,
                version.next
            );
        }
    }
    for set in machine.sets() {
        for eni in set.enis.values() {
            let number = |who: &VersionId| match who.version {
                Qualifier::Latest => format!("{}:0", who.function),
                Qualifier::Version(number) => format!("{}:{number}", who.function),
            };
            let users: Vec<String> = set.users.iter().map(number).collect();
            let fate = match &set.phase {
                Phase::InUse => format!("last used {}", set.last_used.as_millis()),
                Phase::Releasing { due, .. } => format!("deleted at {}", due.as_millis()),
                Phase::Stranded { .. } => "stranded".to_owned(),
            };
            let (mut made, mut replaced, mut draining, mut ends) = (None, None, None, None);
            match eni.state {
                EniState::Pending { due, replaces } => {
                    (made, replaced) = (Some(due.as_millis()), replaces);
                }
                EniState::InUse => {}
                EniState::Draining { since, due } => {
                    (draining, ends) = (Some(since.as_millis()), due.map(Time::as_millis));
                }
            }
            lines += &format!(
                "{} {} due {made:?} replaces {replaced:?} {} {:?} drains {draining:?} \
                 until {ends:?} {users:?} {fate}\n",
                eni.id,
                eni.private_ip,
                eni.crowded,
                eni.empty_since.map(Time::as_millis)
            );
        }
    }
    lines
}

fn name(dice: &mut Dice) -> FunctionName {
    let account = dice.one(&["111111111111", "111111111111", "222222222222"]);
    FunctionName::new(account, dice.one(&["f", "g", "h", "i", "j", "k"]))
}

/// Where a function may want to be: now and then where it may not.
fn vpc(dice: &mut Dice, function: &FunctionName) -> VpcConfig {
    if dice.percent(10) {
        return VpcConfig::none();
    }
    let guest = (&*function.account == "222222222222") != dice.percent(3);
    if dice.percent(if guest { 2 } else { 10 }) {
        return VpcConfig::new([id("subnet-c")], [id("sg-three")]).unwrap();
    }
    let subnets = ["subnet-a", "subnet-b", "subnet-tiny", "subnet-tiny", "subnet-nowhere"];
    let mut chosen: Vec<ResourceId> = Vec::new();
    for (index, subnet) in subnets.iter().enumerate() {
        if dice.percent(if index == 4 { 2 } else { 40 }) {
            chosen.push(id(subnet));
        }
    }
    if chosen.is_empty() {
        chosen.push(id("subnet-a"));
    }
    if guest {
        let groups: &[&str] = dice.one(&[&["sg-guest"][..], &["sg-guest"], &["sg-visitor"]]);
        return VpcConfig::new(chosen, groups.iter().map(|group| id(group))).unwrap();
    }
    let groups: &[&str] = dice.one(&[
        &["sg-one"][..],
        &["sg-two"],
        &["sg-two", "sg-one"],
        &["sg-one", "sg-three"],
        &["sg-nobody"],
        &["sg-one"],
        &["sg-one"],
    ]);
    VpcConfig::new(chosen, groups.iter().map(|group| id(group))).unwrap()
}

fn role(dice: &mut Dice) -> Option<viaduct_control_plane::lifecycle::RoleName> {
    dice.percent(50).then(|| dice.one(&["r", "s", "t"]).into())
}

fn input(dice: &mut Dice, machine: &Lifecycle) -> Input {
    let function = match dice.percent(70) {
        true => {
            let names: Vec<_> = machine.functions().map(|it| it.name.clone()).collect();
            if names.is_empty() { name(dice) } else { dice.one(&names) }
        }
        false => name(dice),
    };
    let version = match dice.percent(70) {
        true => Qualifier::Latest,
        false => Qualifier::Version(dice.below(3) as u32 + 1),
    };
    let ids: Vec<ResourceId> =
        machine.sets().flat_map(|set| set.enis.values().map(|eni| eni.id.clone())).collect();
    let eni = |dice: &mut Dice| {
        if ids.is_empty() { id("eni-0") } else { dice.one(&ids) }
    };
    let mut without = machine.sets().filter(|set| matches!(set.phase, Phase::Stranded { .. }));
    let stranded = without.next().map(|set| set.enis.values().next().unwrap().id.clone());
    let revision = dice.percent(10).then(|| dice.below(4));
    let command = match dice.below(100) {
        0..20 => {
            let function = name(dice);
            let (vpc, role) = (vpc(dice, &function), role(dice));
            Command::CreateFunction {
                function,
                configuration: Configuration { vpc, role, carried: BTreeMap::new() },
                tags: BTreeMap::new(),
                publish: dice.percent(20),
            }
        }
        20..35 => {
            let vpc = dice.percent(80).then(|| vpc(dice, &function));
            let role = dice.percent(20).then(|| role(dice));
            let change = ConfigurationChange { vpc, role, carried: BTreeMap::new() };
            Command::UpdateFunctionConfiguration { function, change, revision }
        }
        35..38 => Command::UpdateFunctionCode {
            function,
            code: BTreeMap::new(),
            revision,
            publish: dice.percent(30),
        },
        38..46 => {
            let described = dice.percent(30).then(|| ("Description".into(), "\"one\"".into()));
            Command::PublishVersion { function, revision, carried: described.into_iter().collect() }
        }
        46..47 => Command::TagResource { function, tags: BTreeMap::new() },
        47..55 => {
            Command::DeleteFunction { function, version: dice.percent(40).then_some(version) }
        }
        55..67 => Command::Invoke(VersionId { function, version }),
        67..71 => Command::DeleteNetworkInterface(stranded.unwrap_or_else(|| eni(dice))),
        71..76 => Command::PutRole {
            role: dice.one(&["r", "s", "t"]).into(),
            policies: permitting(Permission::ALL.into_iter().filter(|_| !dice.percent(5))),
        },
        76..78 => Command::DeleteRole(dice.one(&["r", "s", "t"]).into()),
        78..81 => {
            Command::FailZone { zone: dice.one(&["a", "b"]).to_owned(), failed: dice.percent(40) }
        }
        81..83 => return Input::Report(Report::Used(VersionId { function, version })),
        83..87 => return Input::Report(Report::NearCapacity(eni(dice))),
        87..88 => return Input::Report(Report::HasRoom(eni(dice))),
        88..94 => {
            let draining = machine.sets().flat_map(|set| set.enis.values());
            let draining = draining.filter(|eni| eni.is_draining()).last();
            let draining = draining.filter(|_| dice.percent(70)).map(|eni| eni.id.clone());
            return Input::Report(Report::Empty(draining.unwrap_or_else(|| eni(dice))));
        }
        94..97 => return Input::Report(Report::Unhealthy(eni(dice))),
        _ => return Input::Nothing,
    };
    Input::Command(command, if dice.percent(15) { Owner::File } else { Owner::Api })
}

/// What a daemon would have on its disk, kept only by what the machine says has changed.
fn store(
    machine: &mut Lifecycle,
    store: &mut Records,
    inventory: &mut BTreeMap<String, (String, bool)>,
    tally: &mut Tally,
) {
    let output = machine.take_output();
    for event in &output.events {
        let text = match &event.what {
            Happening::State { state, reason, .. } => {
                format!("{state} {:?}", reason.as_ref().map(|reason| reason.code))
            }
            Happening::Update { status, reason, .. } => {
                format!("{status} {:?}", reason.as_ref().map(|reason| reason.code))
            }
            Happening::EniDeleted { why, .. } => format!("EniDeleted {why}"),
            Happening::EniDraining { why, .. } => format!("EniDraining {why}"),
            other => {
                let text = format!("{other:?}");
                text.split([' ', '(']).next().unwrap().to_owned()
            }
        };
        *tally.entry(text).or_default() += 1;
    }
    let records = machine.records();
    for name in &output.functions {
        store.functions.retain(|function| function.name != *name);
        store.functions.extend(machine.function(name).cloned());
    }
    store.functions.sort_by(|one, other| one.name.cmp(&other.name));
    for key in &output.sets {
        store.sets.retain(|set| set.key != *key);
        store.sets.extend(records.sets.iter().find(|set| set.key == *key).cloned());
    }
    store.sets.sort_by(|one, other| one.key.cmp(&other.key));
    for role in &output.roles {
        store.roles.remove(role);
        store.roles.extend(records.roles.get_key_value(role).map(|(a, b)| (a.clone(), b.clone())));
    }
    if output.zones {
        store.failed_zones = machine.failed_zones().map(str::to_owned).collect();
    }
    store.now = machine.now();
    for change in output.changes {
        match change {
            Change::AddEni(eni) => {
                let ip = eni.private_ip.to_string();
                let new = inventory.insert(eni.id.to_string(), (ip, false)).is_none();
                assert!(new, "{} twice", eni.id);
            }
            Change::DrainEni(id) => {
                let (_, draining) = inventory.get_mut(id.as_str()).unwrap();
                assert!(!std::mem::replace(draining, true), "{id} drains already");
            }
            Change::RemoveEni(id) => {
                assert!(inventory.remove(id.as_str()).is_some(), "{id} is not there");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(*store, records, "what changed was not all said");
}

/// Records after a way through text.
fn written_and_read(records: &Records) -> Records {
    fn again<T: Serialize + DeserializeOwned>(value: &T) -> T {
        serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
    }
    let read = Records {
        functions: records.functions.iter().map(again).collect(),
        sets: records.sets.iter().map(again).collect(),
        roles: again(&records.roles),
        failed_zones: again(&records.failed_zones),
        now: again(&records.now),
    };
    assert_eq!(read, *records);
    read
}

fn history(seed: u64, tally: &mut Tally) {
    let dice = &mut Dice(seed);
    let mut shared = true;
    let mut machine = Lifecycle::new(places(shared), DELAYS, Time::ZERO);
    let (mut told, mut outcomes) = (Vec::new(), Vec::new());
    let (mut disk, mut inventory) = (Records::default(), BTreeMap::new());
    let mut now = 0;
    for role in ["r", "s"] {
        let policies = permitting(Permission::ALL);
        let command = Command::PutRole { role: role.into(), policies };
        told.push((now, Input::Command(command, Owner::Api)));
        let (_, Input::Command(command, by)) = &told[told.len() - 1] else { unreachable!() };
        outcomes.push(match machine.command(command.clone(), *by, Time::from_millis(now)) {
            Ok(_) => "done".to_owned(),
            Err(refusal) => refusal.exception().to_string(),
        });
    }
    for step in 0..STEPS {
        now += 1000
            * match dice.below(100) {
                0..2 => 1_209_600,
                2..6 => 86_400,
                _ => dice.one(&[0, 0, 0, 0, 1, 1, 10, 10, 30, 60, 90, 90, 300, 600, 1200]),
            };
        let input = match dice.percent(3) {
            true => Input::Share(!shared),
            false => input(dice, &machine),
        };
        let time = Time::from_millis(now);
        let outcome = match &input {
            Input::Command(command, by) => match machine.command(command.clone(), *by, time) {
                Ok(Answer::Done) => "done".to_owned(),
                Ok(Answer::Published(number)) => format!("version {number}"),
                Err(refusal) => refusal.exception().to_string(),
            },
            Input::Report(report) => {
                machine.report(report, time);
                String::new()
            }
            Input::Share(_) | Input::Nothing => {
                machine.advance(time);
                String::new()
            }
        };
        *tally.entry(outcome.clone()).or_default() += 1;
        outcomes.push(outcome);
        store(&mut machine, &mut disk, &mut inventory, tally);
        if let Input::Share(again) = input {
            shared = again;
            machine = Lifecycle::restore(places(shared), DELAYS, written_and_read(&disk)).unwrap();
        }
        told.push((now, input));
        if let Err(difference) = machine.check(places(shared)) {
            panic!("history {seed}, step {step}: {difference}");
        }
        // Going through the whole history each time is too much; a difference stays.
        if step % 4 == 3 {
            let naive = Naive::of(&told);
            let story = || {
                let lines = told.iter().zip(&naive.outcomes).zip(&outcomes);
                lines.map(|((one, two), three)| format!("{one:?} {two} {three}\n")).collect()
            };
            let story: &dyn Fn() -> String = &story;
            assert_eq!(naive.outcomes, outcomes, "history {seed}\n{}", story());
            let (one, other) = (naive.seen(), seen(&machine));
            assert!(one == other, "history {seed}\n{}\nmodel\n{one}\nmachine\n{other}", story());
            assert_eq!(naive.inventory(), inventory, "history {seed}");
            assert_eq!(
                naive.eni_ids().len(),
                machine.sets().map(|it| it.enis.len()).sum::<usize>()
            );
        }
        // The process dies now and then; another goes on.
        if dice.percent(5) {
            machine = Lifecycle::restore(places(shared), DELAYS, written_and_read(&disk)).unwrap();
        }
    }
}

// Facts: SHR-03, SHR-04, SHR-10, T-05, T-06, T-09
#[test]
fn random_histories_end_as_the_naive_model_says() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(seed) = number("VIADUCT_HISTORY") {
        return history(seed, &mut Tally::new());
    }
    let mut tally = Tally::new();
    let count = number("VIADUCT_HISTORIES").unwrap_or(100);
    (0..count).for_each(|seed| history(seed, &mut tally));
    println!("{tally:#?}");
    // A history in which nothing happens proves nothing.
    for needed in [
        "Pending Some(Creating)",
        "Pending Some(Restoring)",
        "Active None",
        "Inactive Some(Idle)",
        "Inactive Some(InsufficientRolePermissions)",
        "Inactive Some(InternalError)",
        "Inactive Some(InvalidSubnet)",
        "Failed Some(InsufficientRolePermissions)",
        "Failed Some(InternalError)",
        "Failed Some(EniLimitExceeded)",
        "Failed Some(SubnetOutOfIpAddresses)",
        "Failed Some(InvalidSubnet)",
        "Failed Some(InvalidSecurityGroup)",
        "InProgress None",
        "Successful None",
        "Released",
        "TakenUp",
        "Reclaimed",
        "Stranded",
        "EniNotMade",
        "EniDeleted by hand",
        "EniDeleted it was idle",
        "EniDeleted it had no user any more",
        "EniDeleted it had failed its health check",
        "EniDeleted its load is gone",
        "EniDeleted its users are gone",
        "EniDraining it had failed its health check",
        "EniDraining its load is gone",
        "EniDeleted its zone failed before it was made",
        "EniDeleted its subnet was unshared before it was made",
        "InvalidParameterValueException",
        "ResourceNotFoundException",
        "ResourceConflictException",
        "PreconditionFailedException",
        "ResourceNotReadyException",
        "ENINotReadyException",
        "EC2AccessDeniedException",
        "InvalidSubnetIDException",
        "EC2UnexpectedException",
        "InvalidNetworkInterfaceID.NotFound",
        "InvalidNetworkInterface.InUse",
        "NoSuchEntity",
    ] {
        assert!(tally.contains_key(needed), "never happened: {needed}");
    }
}

/// What is due is done when it is due, however seldom anybody looks.
#[test]
fn looking_more_often_changes_nothing() {
    for seed in 1000..1100 {
        let dice = &mut Dice(seed);
        let mut often = Lifecycle::new(places(true), DELAYS, Time::ZERO);
        let mut seldom = often.clone();
        let mut now = 0;
        let (mut events_often, mut events_seldom) = (Vec::new(), Vec::new());
        for _ in 0..STEPS {
            let pause = 1000 * dice.one(&[0, 1, 30, 90, 600, 86_400, 1_209_600]);
            for part in 1..4 {
                often.advance(Time::from_millis(now + pause * part / 4));
            }
            now += pause;
            let time = Time::from_millis(now);
            match input(dice, &seldom) {
                Input::Command(command, by) => {
                    let one = often.command(command.clone(), by, time);
                    assert_eq!(one, seldom.command(command, by, time));
                }
                Input::Report(report) => {
                    often.report(&report, time);
                    seldom.report(&report, time);
                }
                Input::Share(_) | Input::Nothing => {}
            }
            events_often.extend(often.take_output().events);
            events_seldom.extend(seldom.take_output().events);
        }
        often.advance(Time::from_millis(now));
        seldom.advance(Time::from_millis(now));
        events_often.extend(often.take_output().events);
        events_seldom.extend(seldom.take_output().events);
        assert_eq!(often.records(), seldom.records(), "{seed}");
        assert_eq!(events_often, events_seldom, "{seed}");
    }
}
