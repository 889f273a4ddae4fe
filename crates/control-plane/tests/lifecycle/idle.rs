//! Two weeks of nothing, and coming back.

use viaduct_control_plane::lifecycle::{Exception, ReasonCode, Report, State};

use crate::world::{DELAYS, World, version};

fn two_weeks() -> u64 {
    DELAYS.idle.as_secs()
}

// Facts: LAM-51
#[test]
fn lam_51_an_idle_function_is_inactive_and_the_next_invocation_restores_it() {
    let mut world = World::new();
    world.create("f", &["subnet-a", "subnet-b"], &["sg-one"]);
    world.pass(90);
    world.pass(two_weeks() - 1);
    assert_eq!(world.state("f"), (State::Active, None));
    world.pass(1);
    assert_eq!(world.state("f"), (State::Inactive, Some(ReasonCode::Idle)));
    world.pass(0);
    assert!(world.inventory.is_empty(), "both were used last at the same time: {:?}", world.events);

    let refusal = world.invoke("f").unwrap_err();
    assert_eq!(refusal.exception(), Exception::ResourceNotReady);
    assert_eq!(world.state("f"), (State::Pending, Some(ReasonCode::Restoring)));
    assert_eq!(world.invoke("f").unwrap_err().exception(), Exception::ResourceConflict);
    world.pass(90);
    assert_eq!(world.state("f"), (State::Active, None));
    assert_eq!(world.invoke("f"), Ok(()));
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.2.4"]);
}

// Facts: LAM-53
#[test]
fn lam_53_a_busy_function_keeps_the_eni_for_an_idle_one() {
    let mut world = World::new();
    world.create("idle", &["subnet-a"], &["sg-one"]);
    world.create("busy", &["subnet-a"], &["sg-one"]);
    world.pass(90);
    for _ in 0..20 {
        world.pass(24 * 3600);
        assert_eq!(world.invoke("busy"), Ok(()));
    }
    assert_eq!(world.state("idle"), (State::Active, None));
    // The one that was busy goes: from its last use on, nobody was.
    world.delete("busy");
    world.pass(two_weeks() - 1);
    assert_eq!(world.state("idle"), (State::Active, None));
    world.pass(1);
    assert_eq!(world.state("idle"), (State::Inactive, Some(ReasonCode::Idle)));
    assert!(world.inventory.is_empty());
}

#[test]
fn an_environment_that_stands_is_use() {
    let mut world = World::new();
    world.create("f", &["subnet-a"], &["sg-one"]);
    world.pass(90);
    for _ in 0..20 {
        world.pass(24 * 3600);
        world.report(&Report::Used(version("f")));
    }
    assert_eq!(world.state("f").0, State::Active);
}

#[test]
fn versions_are_idle_by_themselves() {
    let mut world = World::new();
    world.create("f", &["subnet-a"], &["sg-one"]);
    world.pass(90);
    world.publish("f");
    world.update("f", &["subnet-b"], &["sg-one"]);
    world.pass(90);
    world.pass(two_weeks() - 100);
    assert_eq!(world.invoke("f@1"), Ok(()));
    world.pass(200);
    assert_eq!(world.state("f"), (State::Inactive, Some(ReasonCode::Idle)));
    assert_eq!(world.state("f@1"), (State::Active, None));
    // A version of an inactive function is inactive as well, until it is invoked.
    assert_eq!(world.publish("f"), 2);
    assert_eq!(world.state("f@2"), (State::Inactive, Some(ReasonCode::Idle)));
    world.invoke("f@2").unwrap_err();
    world.pass(90);
    assert_eq!(world.state("f@2").0, State::Active);
    // What it made is there for the function too, whose first invocation fails all the same.
    assert_eq!(world.invoke("f").unwrap_err().exception(), Exception::ResourceNotReady);
    assert_eq!(world.state("f").0, State::Active);
}

#[test]
fn a_function_without_a_vpc_is_never_idle() {
    let mut world = World::new();
    world.create("f", &[], &[]);
    world.pass(10 * two_weeks());
    assert_eq!(world.state("f").0, State::Active);
    assert_eq!(world.machine.next_due(), None);
}
