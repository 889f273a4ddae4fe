//! Where environments stand, what they are called, and how they follow their functions.

use viaduct_control_plane::{
    environments::{EnvironmentName, Environments, Step, Unmeant},
    lifecycle::{Command, State, Time},
};
use viaduct_topology::inventory::{AttachmentId, Host};

use crate::world::{World, function, id, version};

/// The subnets in which a version's first environments stand.
fn subnets(world: &World, name: &str, count: u32) -> Vec<String> {
    let at = |number| world.machine.placement(&version(name), number, None).unwrap();
    (1..=count).map(|number| at(number).subnet.unwrap().to_string()).collect()
}

/// Has the environments of a function follow it; the steps.
fn follow(environments: &mut Environments, world: &World, name: &str) -> Vec<Step> {
    let steps = environments.steps(&world.machine, &function(name));
    steps.iter().for_each(|step| environments.take(step.clone()));
    assert_eq!(environments.all_steps(&world.machine), [], "one step is the whole way");
    steps
}

/// The address behind which an environment stands.
fn behind(environments: &Environments, world: &World, name: &str) -> String {
    let Host::Environment { enis, .. } = &environments.find(name).unwrap().attachment.host else {
        panic!("not an environment");
    };
    world.inventory[enis[0].as_str()].clone()
}

// Facts: LAM-18
#[test]
fn lam_18_zones_take_turns_and_those_that_have_failed_are_left_out() {
    let mut world = World::new();
    world.create("f", &["subnet-a", "subnet-tiny", "subnet-b"], &["sg-one"]);
    assert_eq!(world.machine.placement(&version("f"), 1, None), None, "it is pending");
    world.pass(90);
    let turns = ["subnet-a", "subnet-b", "subnet-tiny", "subnet-b", "subnet-a"];
    assert_eq!(subnets(&world, "f", 5), turns);
    world.command(Command::FailZone { zone: "b".to_owned(), failed: true }).unwrap();
    assert_eq!(subnets(&world, "f", 3), ["subnet-a", "subnet-tiny", "subnet-a"]);
    let stood = world.machine.placement(&version("f"), 2, Some(&id("subnet-b"))).unwrap();
    assert_eq!(stood.subnet, Some(id("subnet-b")), "whoever stands there stays");
    world.command(Command::FailZone { zone: "a".to_owned(), failed: true }).unwrap();
    assert_eq!(subnets(&world, "f", 2), turns[..2], "none is better than another");
}

#[test]
fn an_environment_keeps_name_and_identity_and_no_identity_is_given_out_twice() {
    let mut world = World::new();
    world.create("f", &["subnet-a"], &["sg-one"]);
    let mut environments = Environments::after(7);
    let latest = version("f");
    assert_eq!(environments.begin(&world.machine, &latest, 1, Time::ZERO), None, "pending");
    world.pass(90);
    let mut begin = |version, number| {
        let begun = environments.begin(&world.machine, version, number, Time::ZERO).unwrap();
        (begun.attachment.name.clone(), begun.attachment.id)
    };
    let first = begin(&latest, 1);
    assert_eq!(first, ("function/f/1".to_owned(), AttachmentId(8)));
    assert_eq!(begin(&latest, 3), ("function/f/3".to_owned(), AttachmentId(9)));
    assert_eq!(begin(&latest, 1), first, "it is there");
    assert_eq!(environments.find("function/f").unwrap().attachment.id, first.1);
    assert_eq!(environments.end(first.1).unwrap().number, 1);
    assert_eq!(environments.find("function/f"), None);
    assert_eq!(environments.end(first.1), None);
    environments.issue_after(20);
    let again = environments.begin(&world.machine, &latest, 1, Time::ZERO).unwrap();
    assert_eq!(again.attachment.id, AttachmentId(21));
    assert_eq!(environments.of(&latest).map(|it| it.number).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(environments.issued(), 21);
}

#[test]
fn where_accounts_share_a_name_it_is_said_whose_is_meant() {
    let mut world = World::new();
    world.create("f", &["subnet-a"], &["sg-one"]);
    let meant = |world: &World, name: &str| {
        name.parse::<EnvironmentName>().unwrap().version(&world.machine)
    };
    assert_eq!(meant(&world, "function/f/1"), Ok(version("f")));
    assert_eq!(meant(&world, "function/g/1"), Err(Unmeant::Unknown));
    assert_eq!(meant(&world, "222222222222/function/f/1"), Err(Unmeant::Unknown));
    world.create("222222222222:f", &["subnet-a"], &["sg-guest"]);
    world.create("333333333333:other", &[], &[]);
    let named: Vec<_> = world.machine.named("f").map(|it| it.name.account.to_string()).collect();
    assert_eq!(named, ["111111111111", "222222222222"]);
    let error = meant(&world, "function/f/1").unwrap_err().to_string();
    assert!(error.contains("one of 111111111111, 222222222222"), "{error}");
    assert_eq!(meant(&world, "222222222222/function/f"), Ok(version("222222222222:f")));
    world.pass(90);
    let mut environments = Environments::default();
    let begun = environments.begin(&world.machine, &version("222222222222:f"), 2, Time::ZERO);
    assert_eq!(begun.unwrap().attachment.name, "222222222222/function/f/2");
}

// Facts: LAM-48, LAM-49, LAM-50, LAM-54
#[test]
fn lam_49_environments_move_when_the_update_is_done_and_versions_stay() {
    let mut world = World::new();
    world.create("f", &["subnet-a", "subnet-b"], &["sg-one"]);
    world.pass(90);
    world.publish("f");
    let mut environments = Environments::default();
    for (version, number) in [(version("f"), 1), (version("f"), 2), (version("f@1"), 1)] {
        environments.begin(&world.machine, &version, number, Time::ZERO).unwrap();
    }
    assert_eq!(behind(&environments, &world, "function/f/1"), "10.0.1.4");

    world.update("f", &["subnet-b", "subnet-tiny"], &["sg-one"]);
    assert_eq!(follow(&mut environments, &world, "f"), [], "LAM-48");
    world.pass(90);
    let steps = follow(&mut environments, &world, "f");
    let moved = environments.find("function/f/1").unwrap().attachment.id;
    assert!(matches!(&steps[..], [Step::Moved { id, .. }] if *id == moved), "{steps:?}");
    // The second stood in a subnet that the function still has; of the first, its number decides.
    assert_eq!(behind(&environments, &world, "function/f/1"), "10.0.2.4");
    assert_eq!(behind(&environments, &world, "function/f/2"), "10.0.2.4");
    assert_eq!(behind(&environments, &world, "function/f:1/1"), "10.0.1.4");

    world.update("f", &["subnet-c"], &["sg-three"]);
    world.pass(90);
    assert_eq!(follow(&mut environments, &world, "f").len(), 2);
    assert_eq!(behind(&environments, &world, "function/f/2"), "10.1.1.4");

    world.update("f", &[], &[]);
    let steps = follow(&mut environments, &world, "f");
    let outside = |step: &Step| matches!(step, Step::Moved { subnet: None, .. });
    assert!(steps.len() == 2 && steps.iter().all(outside), "{steps:?}");
    world.delete("f");
    assert_eq!(follow(&mut environments, &world, "f").len(), 3);
    assert_eq!(environments.iter().len(), 0);
}

// Facts: LAM-51
#[test]
fn lam_51_environments_of_what_is_idle_end() {
    let mut world = World::new();
    world.create("f", &["subnet-a"], &["sg-one"]);
    world.pass(90);
    let mut environments = Environments::default();
    let begun = environments.begin(&world.machine, &version("f"), 1, Time::ZERO).unwrap();
    let ended = Step::Ended(begun.attachment.id);
    world.pass(1_209_601);
    assert_eq!(world.state("f").0, State::Inactive);
    assert_eq!(follow(&mut environments, &world, "f"), [ended]);
}
