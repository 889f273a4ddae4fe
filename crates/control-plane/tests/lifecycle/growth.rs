//! More ENIs of one key, fewer again, and others in their place.

use viaduct_control_plane::lifecycle::{Owner, Report, State};

use crate::world::{World, filler};

fn busy() -> World {
    let mut world = World::new();
    world.create("f", &["subnet-a"], &["sg-one"]);
    world.pass(90);
    world
}

fn nth(world: &World, nth: usize) -> viaduct_topology::ResourceId {
    world.enis("f", "subnet-a")[nth].1.id.clone()
}

// Facts: LAM-07
#[test]
fn lam_07_the_next_eni_comes_when_all_are_near_capacity() {
    let mut world = busy();
    let first = nth(&world, 0);
    world.report(&Report::NearCapacity(first.clone()));
    assert_eq!(world.enis("f", "subnet-a").len(), 2);
    world.report(&Report::NearCapacity(first.clone()));
    assert_eq!(world.enis("f", "subnet-a").len(), 2, "one at a time");
    world.pass(90);
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.1.5"]);
    world.report(&Report::NearCapacity(first.clone()));
    assert_eq!(world.enis("f", "subnet-a").len(), 2, "the second has room");
    let second = nth(&world, 1);
    assert_ne!(first, second);
    world.report(&Report::NearCapacity(second.clone()));
    world.pass(90);
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.1.5", "10.0.1.6"]);

    // The load goes: those beside the first follow it, the lowest address first to be given again.
    world.report(&Report::HasRoom(first.clone()));
    world.report(&Report::Empty(second.clone()));
    world.pass(300);
    world.report(&Report::Empty(second.clone()));
    world.pass(299);
    assert_eq!(world.addresses().len(), 3);
    world.pass(1);
    assert_eq!(world.addresses().len(), 3, "it drains first");
    assert_eq!(world.open_addresses(), ["10.0.1.4", "10.0.1.6"]);
    world.report(&Report::Empty(second.clone()));
    assert_eq!(world.addresses().len(), 3, "it was seen before it drained");
    world.pass(1);
    world.report(&Report::Empty(second));
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.1.6"]);
    world.report(&Report::Empty(first));
    world.pass(601);
    assert_eq!(world.open_addresses(), ["10.0.1.4", "10.0.1.6"], "the first stays");
}

#[test]
fn an_eni_that_drains_waits_for_its_connections_and_is_no_room_for_others() {
    let mut world = busy();
    let first = nth(&world, 0);
    world.report(&Report::NearCapacity(first.clone()));
    world.pass(90);
    let second = nth(&world, 1);
    world.report(&Report::HasRoom(first.clone()));
    world.report(&Report::Empty(second.clone()));
    world.pass(600);
    // A connection came between the look and the decision.
    world.pass(1);
    world.report(&Report::HasRoom(second.clone()));
    world.report(&Report::Unhealthy(second.clone()));
    world.pass(100_000);
    assert_eq!((world.addresses().len(), world.open_addresses()), (2, vec!["10.0.1.4"]));
    world.report(&Report::NearCapacity(first));
    world.pass(90);
    assert_eq!(world.open_addresses(), ["10.0.1.4", "10.0.1.6"], "the next one comes");
    world.report(&Report::Empty(second));
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.1.6"]);
}

#[test]
fn what_drains_goes_with_the_last_user() {
    let mut world = busy();
    let first = nth(&world, 0);
    world.report(&Report::Unhealthy(first));
    world.pass(91);
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.1.5"]);
    world.delete("f");
    assert_eq!(world.addresses(), ["10.0.1.5"]);
    world.pass(1200);
    assert!(world.addresses().is_empty());
}

#[test]
fn what_is_replaced_without_users_goes_at_once() {
    let mut world = busy();
    let first = nth(&world, 0);
    world.report(&Report::Unhealthy(first));
    world.delete("f");
    world.pass(90);
    assert_eq!(world.addresses(), ["10.0.1.5"]);
    assert!(!world.happened("takes no new connections"));
}

#[test]
fn an_eni_that_is_used_again_or_needed_does_not_go() {
    let mut world = busy();
    let first = nth(&world, 0);
    world.report(&Report::NearCapacity(first.clone()));
    world.pass(90);
    let second = nth(&world, 1);
    world.report(&Report::Empty(second.clone()));
    world.pass(599);
    world.report(&Report::HasRoom(second.clone()));
    world.pass(601);
    assert_eq!(world.addresses().len(), 2);
    world.report(&Report::Empty(second.clone()));
    world.pass(600);
    assert_eq!(world.addresses().len(), 2, "the first is near capacity still");
    world.report(&Report::HasRoom(first));
    world.report(&Report::Empty(second));
    world.pass(600);
    assert_eq!(world.open_addresses(), ["10.0.1.4"]);
}

#[test]
fn growth_that_fails_harms_nobody_and_is_tried_again() {
    let mut world = World::new();
    for number in 0..10 {
        let (name, configuration) = filler(number, "subnet-tiny");
        world.create_as(&name, configuration, Owner::Api);
    }
    world.create("f", &["subnet-tiny"], &["sg-one"]);
    world.pass(90);
    let only = world.enis("f", "subnet-tiny")[0].1.id.clone();
    world.report(&Report::NearCapacity(only.clone()));
    assert!(
        world.happened("no further ENI of 111111111111/subnet-tiny/{sg-one} can be made: Subnet")
    );
    assert_eq!(world.state("f").0, State::Active);
    world.delete("filler0");
    world.pass(1200);
    world.report(&Report::NearCapacity(only));
    world.pass(90);
    assert_eq!(world.enis("f", "subnet-tiny").len(), 2);
}

// Facts: LAM-08
#[test]
fn lam_08_an_unhealthy_eni_is_replaced_by_one_with_another_id_and_address() {
    let mut world = busy();
    let first = nth(&world, 0);
    world.report(&Report::Unhealthy(first.clone()));
    world.report(&Report::Unhealthy(first.clone()));
    assert_eq!(world.enis("f", "subnet-a").len(), 2);
    world.pass(89);
    assert_eq!(world.addresses(), ["10.0.1.4"]);
    world.pass(1);
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.1.5"]);
    assert_eq!(world.open_addresses(), ["10.0.1.5"], "the old one has time to drain");
    world.report(&Report::HasRoom(first.clone()));
    world.report(&Report::Unhealthy(first.clone()));
    world.pass(349);
    assert_eq!(world.addresses().len(), 2);
    world.pass(1);
    assert_eq!(world.addresses(), ["10.0.1.5"]);
    assert_ne!(nth(&world, 0), first);
    assert_eq!(world.state("f"), (State::Active, None));
    world.report(&Report::Unhealthy(first));
    assert_eq!(world.enis("f", "subnet-a").len(), 1, "it is gone, so nothing is meant");
}
