//! Subnets that are shared, and taken back.

use std::collections::BTreeMap;

use viaduct_control_plane::lifecycle::{
    Command, Configuration, ConfigurationChange, Exception, ReasonCode, Report, State, UpdateStatus,
};

use crate::world::{DELAYS, World, configuration, function, id, update, vpc};

/// A function of the account that the subnets are shared with.
const GUEST: &str = "222222222222:f";

/// A world in which it has an ENI in a shared subnet.
fn settled() -> World {
    let mut world = World::new();
    world.create(GUEST, &["subnet-a"], &["sg-guest"]);
    world.pass(90);
    assert_eq!(world.state(GUEST), (State::Active, None));
    world
}

/// What comes of making a function, as its exception or its state.
fn made(world: &mut World, name: &str, configuration: Configuration) -> String {
    match world.command(Command::create(function(name), configuration)) {
        Ok(_) => format!("{:?}", world.state(name)),
        Err(refusal) => format!("{} {refusal}", refusal.exception()),
    }
}

// Conforms: SHR-03, SHR-04
// Facts: SHR-05
#[test]
fn shr_04_an_account_has_its_own_groups_and_subnets_that_are_its_own_or_shared() {
    let subnet = |subnet: &str, account: &str| {
        format!(
            "InvalidParameterValueException Error occurred while DescribeSubnets. EC2 Error Code: \
             InvalidSubnetID.NotFound. EC2 Error Message: The subnet ID '{subnet}' does not exist: it \
             is not shared with account {account}"
        )
    };
    let group = |group: &str, account: &str| {
        format!(
            "InvalidParameterValueException Error occurred while DescribeSecurityGroups. EC2 Error \
             Code: InvalidGroup.NotFound. EC2 Error Message: The security group '{group}' does not \
             exist: it is not of account {account}"
        )
    };
    let (owner, guest, stranger) = ("111111111111", "222222222222", "333333333333");
    let mut wrong = Vec::new();
    for (account, subnets, groups, expected) in [
        (owner, &["subnet-a"][..], &["sg-one"][..], "(Pending, Some(Creating))".to_owned()),
        (owner, &["subnet-a"], &["sg-default"], "(Pending, Some(Creating))".to_owned()),
        (owner, &["subnet-a"], &["sg-guest"], group("sg-guest", owner)),
        (guest, &["subnet-a", "subnet-b"], &["sg-guest"], "(Pending, Some(Creating))".to_owned()),
        (guest, &["subnet-a"], &["sg-one"], group("sg-one", guest)),
        (guest, &["subnet-a"], &["sg-default"], group("sg-default", guest)),
        (guest, &["subnet-a"], &["sg-guest", "sg-one"], group("sg-one", guest)),
        (guest, &["subnet-c"], &["sg-three"], subnet("subnet-c", guest)),
        (stranger, &["subnet-a"], &["sg-guest"], subnet("subnet-a", stranger)),
        // What is not there at all is found out when ENIs are made.
        (guest, &["subnet-nowhere"], &["sg-guest"], "(Failed, Some(InvalidSubnet))".to_owned()),
        (guest, &["subnet-a"], &["sg-no"], "(Failed, Some(InvalidSecurityGroup))".to_owned()),
    ] {
        let name = format!("{account}:f");
        let mut world = World::new();
        let found = made(&mut world, &name, configuration(subnets, groups));
        if found != expected {
            wrong.push(format!("{account} {subnets:?} {groups:?}: {found}"));
        }
        // The same when it moves there.
        let mut world = World::new();
        world.create(&name, &[], &[]);
        let vpc = Some(vpc(subnets, groups));
        let change = ConfigurationChange { vpc, ..Default::default() };
        let refused = world.command(update(&name, change)).err().map(|it| it.exception());
        let exception = expected.starts_with('I').then_some(Exception::InvalidParameterValue);
        if refused != exception {
            wrong.push(format!("update: {account} {subnets:?} {groups:?}: {refused:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// Conforms: SHR-09, SHR-10
// Facts: T-09
#[test]
fn shr_10_what_a_guest_has_goes_on_when_the_subnet_is_taken_back() {
    let mut world = settled();
    let before = world.inventory.clone();
    world.share(false);
    assert_eq!(world.invoke(GUEST), Ok(()));
    // SHR-09: it may be modified, as long as nothing is made.
    let code = Command::UpdateFunctionCode {
        function: function(GUEST),
        code: BTreeMap::new(),
        revision: None,
        publish: false,
    };
    world.command(code).unwrap();
    assert_eq!(world.publish(GUEST), 1);
    world.update(GUEST, &["subnet-a"], &["sg-guest"]);
    assert_eq!(world.last_update(GUEST), (UpdateStatus::Successful, None));
    assert_eq!(world.invoke(&format!("{GUEST}@1")), Ok(()));
    world.pass(24 * 3600);
    assert_eq!(world.inventory, before);
    // And deleted.
    world.delete(GUEST);
    world.pass(1200);
    assert!(world.inventory.is_empty());
}

// Conforms: SHR-10
// Facts: T-09
#[test]
fn shr_10_nothing_new_is_made_in_a_subnet_that_was_taken_back() {
    let mut world = settled();
    let only = world.enis(GUEST, "subnet-a")[0].1.id.clone();
    world.share(false);
    let before = world.inventory.clone();
    // Not for another function, though it would use the same ENI; not with other groups.
    let same = made(&mut world, "222222222222:g", configuration(&["subnet-a"], &["sg-guest"]));
    assert!(same.starts_with("InvalidParameterValueException"), "{same}");
    let vpc = Some(vpc(&["subnet-a"], &["sg-guest", "sg-visitor"]));
    let change = ConfigurationChange { vpc, ..Default::default() };
    let refusal = world.command(update(GUEST, change)).unwrap_err();
    assert_eq!(refusal.exception(), Exception::InvalidParameterValue, "{refusal}");
    // Not because it is full, and not because it has failed.
    world.report(&Report::NearCapacity(only.clone()));
    assert!(
        world.happened(
            "no further ENI of 222222222222/subnet-a/{sg-guest} can be made: InvalidSubnet: The \
             subnet subnet-a is not shared with account 222222222222."
        ),
        "{:#?}",
        world.events
    );
    world.report(&Report::Unhealthy(only));
    world.pass(1200);
    assert_eq!(world.inventory, before);
    assert_eq!(world.invoke(GUEST), Ok(()));

    // Not when it comes back from being inactive.
    world.pass(DELAYS.idle.as_secs());
    assert_eq!(world.state(GUEST), (State::Inactive, Some(ReasonCode::Idle)));
    for _ in 0..2 {
        let refusal = world.invoke(GUEST).unwrap_err();
        assert_eq!(refusal.exception(), Exception::InvalidSubnetId, "{refusal}");
        assert_eq!(refusal.exception().status(), 502);
        assert_eq!(world.state(GUEST), (State::Inactive, Some(ReasonCode::InvalidSubnet)));
    }
    world.share(true);
    assert_eq!(world.invoke(GUEST).unwrap_err().exception(), Exception::ResourceNotReady);
    world.pass(90);
    assert_eq!(world.invoke(GUEST), Ok(()));
    // The owner has never noticed.
    world.share(false);
    world.create("f", &["subnet-a"], &["sg-one"]);
    world.pass(90);
    assert_eq!(world.state("f"), (State::Active, None));
}

// Conforms: SHR-10
#[test]
fn shr_10_what_was_being_made_when_the_subnet_is_taken_back_is_not_made() {
    let mut world = settled();
    world.create("222222222222:new", &["subnet-b"], &["sg-visitor"]);
    world.update(GUEST, &["subnet-b"], &["sg-guest"]);
    world.pass(30);
    world.share(false);
    assert_eq!(world.state("222222222222:new").0, State::Pending);
    world.pass(60);
    let lost = Some(ReasonCode::InvalidSubnet);
    assert_eq!(world.state("222222222222:new"), (State::Failed, lost));
    assert_eq!(world.last_update(GUEST), (UpdateStatus::Failed, lost));
    assert_eq!(world.version(GUEST).configuration.vpc.subnets(), [id("subnet-a")], "LAM-49");
    assert_eq!(world.addresses(), ["10.0.1.4"]);
    assert!(world.happened("its subnet was unshared before it was made"), "{:#?}", world.events);
}

#[test]
fn an_eni_that_a_guest_has_let_go_is_not_taken_up_again() {
    let mut world = settled();
    world.update(GUEST, &[], &[]);
    world.share(false);
    let back = vpc(&["subnet-a"], &["sg-guest"]);
    let change = ConfigurationChange { vpc: Some(back), ..Default::default() };
    let refusal = world.command(update(GUEST, change)).unwrap_err();
    assert_eq!(refusal.exception(), Exception::InvalidParameterValue, "{refusal}");
    world.pass(1200);
    assert!(world.inventory.is_empty());
}
