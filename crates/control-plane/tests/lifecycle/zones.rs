//! Zones that fail.

use viaduct_control_plane::lifecycle::{
    Answer, Command, Exception, ReasonCode, Report, State, UpdateStatus,
};

use crate::world::World;

fn fail(world: &mut World, failed: bool) {
    let command = Command::FailZone { zone: "a".to_owned(), failed };
    assert_eq!(world.command(command), Ok(Answer::Done));
}

// Facts: LAM-18
#[test]
fn lam_18_the_other_zones_serve_and_without_one_nobody_does() {
    let mut world = World::new();
    world.create("both", &["subnet-a", "subnet-b"], &["sg-one"]);
    world.create("one", &["subnet-a"], &["sg-one"]);
    world.pass(90);
    fail(&mut world, true);
    fail(&mut world, true);
    assert_eq!(world.invoke("both"), Ok(()));
    assert_eq!(world.invoke("one").unwrap_err().exception(), Exception::EniNotReady);
    assert_eq!(world.machine.failed_zones().collect::<Vec<_>>(), ["a"]);
    fail(&mut world, false);
    assert_eq!(world.invoke("one"), Ok(()));
    assert_eq!(world.events.iter().filter(|event| event.contains("zone a")).count(), 2);
}

#[test]
fn what_is_being_made_in_a_zone_when_it_fails_is_not_made() {
    let mut world = World::new();
    world.create("moving", &["subnet-b"], &["sg-one"]);
    world.pass(90);
    world.create("new", &["subnet-a", "subnet-b"], &["sg-one"]);
    world.update("moving", &["subnet-a"], &["sg-one"]);
    world.pass(10);
    fail(&mut world, true);
    world.pass(80);
    assert_eq!(world.state("new"), (State::Failed, Some(ReasonCode::InternalError)));
    let failed = (UpdateStatus::Failed, Some(ReasonCode::InternalError));
    assert_eq!(world.last_update("moving"), failed);
    assert_eq!(world.state("moving"), (State::Active, None));
    assert_eq!(world.addresses(), ["10.0.2.4"]);
    // And not made later.
    fail(&mut world, false);
    world.pass(5000);
    assert_eq!(world.addresses(), ["10.0.2.4"]);
}

#[test]
fn growth_and_replacement_in_a_failed_zone_wait_for_the_next_report() {
    let mut world = World::new();
    world.create("f", &["subnet-a"], &["sg-one"]);
    world.pass(90);
    let only = world.enis("f", "subnet-a")[0].1.id.clone();
    world.report(&Report::Unhealthy(only.clone()));
    fail(&mut world, true);
    world.pass(90);
    world.report(&Report::NearCapacity(only.clone()));
    assert_eq!(world.addresses(), ["10.0.1.4"]);
    assert_eq!(world.state("f").0, State::Active);
    fail(&mut world, false);
    world.report(&Report::Unhealthy(only));
    world.pass(90);
    assert_eq!(world.open_addresses(), ["10.0.1.5"]);
}
