//! Creation, sharing, and updates: make before break.

use viaduct_control_plane::lifecycle::{
    Command, ConfigurationChange, Owner, ReasonCode, State, UpdateStatus, VpcConfig,
};

use crate::world::{World, configuration, function, update};

// Facts: LAM-03, LAM-04, LAM-05, LAM-06, LAM-45
#[test]
fn lam_03_functions_of_one_key_share_an_eni_and_the_second_waits_no_longer() {
    let mut world = World::new();
    world.create("first", &["subnet-a", "subnet-b"], &["sg-one", "sg-two"]);
    assert_eq!(world.state("first"), (State::Pending, Some(ReasonCode::Creating)));
    world.pass(30);
    world.create("second", &["subnet-a"], &["sg-two", "sg-one"]);
    assert_eq!(world.state("second").0, State::Pending);
    world.pass(59);
    assert_eq!(world.state("first").0, State::Pending);
    assert!(world.inventory.is_empty());
    world.pass(1);
    assert_eq!(world.state("first"), (State::Active, None));
    assert_eq!(world.last_update("first"), (UpdateStatus::Successful, None));
    assert_eq!(world.state("second"), (State::Active, None), "90 s after the first asked");
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.2.4"]);
    assert_eq!(world.enis("first", "subnet-a"), world.enis("second", "subnet-a"));
    let (_, eni) = &world.enis("second", "subnet-a")[0];
    let uuid = eni.description().strip_prefix("AWS Lambda VPC ENI-first-").map(str::len);
    assert_eq!(uuid, Some(36), "LAM-31: {}", eni.description());

    // It is there: no wait at all. Other groups, and with them another account, are another key.
    world.create("third", &["subnet-b"], &["sg-one", "sg-two"]);
    assert_eq!(world.state("third").0, State::Active);
    world.create("fewer", &["subnet-b"], &["sg-one"]);
    world.create("222222222222:stranger", &["subnet-b"], &["sg-guest", "sg-visitor"]);
    assert_eq!(world.state("fewer").0, State::Pending);
    world.pass(90);
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.2.4", "10.0.2.5", "10.0.2.6"]);
}

#[test]
fn what_a_file_declares_is_there_at_once_and_gone_at_once() {
    let mut world = World::new();
    world.create_as("f", configuration(&["subnet-a"], &["sg-one"]), Owner::File);
    assert_eq!(world.state("f").0, State::Active);
    assert_eq!(world.addresses(), ["10.0.1.4"]);
    let command = Command::DeleteFunction { function: function("f"), version: None };
    world.command_by(command, Owner::File).unwrap();
    assert!(world.inventory.is_empty());
    assert_eq!(world.machine.next_due(), None);
}

// Facts: LAM-48, LAM-49, LAM-50
#[test]
fn lam_50_the_old_vpc_serves_until_the_new_one_does() {
    let mut world = World::new();
    world.create("f", &["subnet-a", "subnet-b"], &["sg-one"]);
    world.pass(90);
    world.update("f", &["subnet-c"], &["sg-three"]);
    assert_eq!(world.state("f"), (State::Active, None));
    assert_eq!(world.last_update("f"), (UpdateStatus::InProgress, None));
    world.pass(89);
    assert_eq!(
        world.version("f").configuration,
        configuration(&["subnet-a", "subnet-b"], &["sg-one"])
    );
    assert_eq!(world.invoke("f"), Ok(()));
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.2.4"]);
    world.pass(1);
    assert_eq!(world.last_update("f"), (UpdateStatus::Successful, None));
    assert_eq!(world.version("f").configuration, configuration(&["subnet-c"], &["sg-three"]));
    // The old ones are deleted 20 minutes later (LAM-55).
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.2.4", "10.1.1.4"]);
    world.pass(1199);
    assert_eq!(world.addresses().len(), 3);
    world.pass(1);
    assert_eq!(world.addresses(), ["10.1.1.4"]);
}

#[test]
fn an_update_keeps_what_both_configurations_have() {
    let mut world = World::new();
    world.create("f", &["subnet-a", "subnet-b"], &["sg-one"]);
    world.pass(90);
    let kept = world.enis("f", "subnet-b");
    world.update("f", &["subnet-b"], &["sg-one"]);
    assert_eq!(world.last_update("f").0, UpdateStatus::Successful, "nothing to wait for");
    world.update("f", &["subnet-b", "subnet-a"], &["sg-one"]);
    assert_eq!(world.last_update("f").0, UpdateStatus::Successful, "taken up again");
    world.pass(5000);
    assert_eq!(world.enis("f", "subnet-b"), kept);
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.2.4"]);
}

#[test]
fn lam_16_detaching_is_an_update_to_no_vpc_and_attaching_waits() {
    let mut world = World::new();
    world.create("f", &[], &[]);
    assert_eq!(world.state("f"), (State::Active, None), "there is nothing to wait for");
    world.update("f", &["subnet-a"], &["sg-one"]);
    assert_eq!(world.last_update("f").0, UpdateStatus::InProgress);
    assert!(world.version("f").configuration.vpc.is_none(), "the internet is there until then");
    world.pass(90);
    assert!(!world.version("f").configuration.vpc.is_none());
    world.update("f", &[], &[]);
    assert_eq!(world.last_update("f").0, UpdateStatus::Successful);
    assert_eq!(world.addresses(), ["10.0.1.4"]);
    world.pass(1200);
    assert!(world.inventory.is_empty());
}

#[test]
fn lam_76_an_update_that_names_no_vpc_keeps_it() {
    let mut world = World::new();
    world.create("f", &["subnet-a"], &["sg-one"]);
    world.pass(90);
    let carried = [("MemorySize".to_owned(), "128".to_owned())].into();
    let change = ConfigurationChange { carried, ..Default::default() };
    world.command(update("f", change)).unwrap();
    assert_eq!(world.last_update("f").0, UpdateStatus::Successful);
    assert_eq!(world.version("f").configuration.vpc, configuration(&["subnet-a"], &["sg-one"]).vpc);
}

#[test]
fn a_function_that_is_deleted_while_it_waits_leaves_nothing_behind() {
    let mut world = World::new();
    world.create("f", &["subnet-a"], &["sg-one"]);
    world.delete("f");
    world.pass(90);
    // It was being made, and is: for 20 minutes somebody may still take it up.
    assert_eq!(world.addresses(), ["10.0.1.4"]);
    world.create("g", &["subnet-a"], &["sg-one"]);
    assert_eq!(world.state("g").0, State::Active);
    world.update("g", &["subnet-b"], &["sg-one"]);
    world.delete("g");
    world.pass(1200);
    assert!(world.inventory.is_empty() && world.machine.next_due().is_none());
}

#[test]
fn an_update_of_an_inactive_function_is_tried_by_the_next_invocation() {
    let mut world = World::new();
    world.create("f", &["subnet-a"], &["sg-one"]);
    world.pass(90 + 1_209_600);
    world.update("f", &["subnet-nowhere"], &["sg-one"]);
    assert_eq!(world.state("f"), (State::Inactive, Some(ReasonCode::Idle)));
    assert_eq!(world.invoke("f").unwrap_err().exception().name(), "InvalidSubnetIDException");
    assert_eq!(world.state("f"), (State::Inactive, Some(ReasonCode::InvalidSubnet)));
    world.update("f", &["subnet-b"], &["sg-one"]);
    assert_eq!(world.invoke("f").unwrap_err().exception().name(), "ResourceNotReadyException");
    world.pass(90);
    assert_eq!((world.state("f").0, world.addresses()), (State::Active, vec!["10.0.2.4"]));
    // Or it needs none any more.
    world.pass(1_209_600);
    let change = ConfigurationChange { vpc: Some(VpcConfig::none()), ..Default::default() };
    world.command(update("f", change)).unwrap();
    assert_eq!(world.state("f"), (State::Active, None));
}
