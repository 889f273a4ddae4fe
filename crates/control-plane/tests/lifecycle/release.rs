//! Deletion of ENIs: who keeps them, whose rights delete them, and who is stranded.

use viaduct_control_plane::lifecycle::{
    Command, Configuration, Exception, Owner, Permission, Phase, Qualifier, State,
};

use crate::world::{World, configuration, filler, function};

fn with_role(subnets: &[&str], role: &str) -> Configuration {
    Configuration { role: Some(role.into()), ..configuration(subnets, &["sg-one"]) }
}

// Facts: LAM-53, LAM-54, T-05
#[test]
fn lam_54_a_published_version_holds_the_eni_after_the_function_has_moved() {
    let mut world = World::new();
    world.create("f", &["subnet-a"], &["sg-one"]);
    world.pass(90);
    assert_eq!(world.publish("f"), 1);
    assert_eq!(world.publish("f"), 1, "nothing has changed");
    assert_eq!(world.state("f@1"), (State::Active, None));
    world.update("f", &["subnet-b"], &["sg-one"]);
    world.pass(90);
    world.pass(5000);
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.2.4"]);
    let held_by = world.set("f@1", "subnet-a").unwrap().held_by();
    assert_eq!(held_by.as_deref(), Some("used by f:1"));
    assert_eq!(world.publish("f"), 2);

    let version = Some(Qualifier::Version(1));
    world.command(Command::DeleteFunction { function: function("f"), version }).unwrap();
    world.pass(1199);
    assert_eq!(world.addresses().len(), 2);
    world.pass(1);
    assert_eq!(world.addresses(), ["10.0.2.4"]);
    // Numbers are never given out twice.
    world.update("f", &["subnet-b"], &["sg-two"]);
    world.pass(90);
    assert_eq!(world.publish("f"), 3);
    world.delete("f");
    world.pass(1200);
    assert!(world.inventory.is_empty());
}

// Facts: LAM-55, LAM-70
#[test]
fn lam_55_without_its_role_an_eni_is_stranded_until_somebody_deletes_it_by_hand() {
    let mut world = World::new();
    world.role("role", &Permission::ALL);
    world.create_as("f", with_role(&["subnet-a"], "role"), Owner::Api);
    world.pass(90);
    let eni = world.enis("f", "subnet-a")[0].1.id.clone();
    let by_hand = Command::DeleteNetworkInterface(eni.clone());
    let refusal = world.command(by_hand.clone()).unwrap_err();
    assert_eq!(refusal.exception(), Exception::NetworkInterfaceInUse);
    assert!(refusal.to_string().ends_with("used by f"), "{refusal}");

    world.delete("f");
    let refusal = world.command(by_hand.clone()).unwrap_err();
    assert!(refusal.to_string().ends_with("Lambda is about to delete it"), "{refusal}");
    world.command(Command::DeleteRole("role".into())).unwrap();
    world.pass(5000);
    assert_eq!(world.addresses(), ["10.0.1.4"], "its address is still taken");
    let (set, _) = world.machine.eni(&eni).unwrap();
    assert!(matches!(set.phase, Phase::Stranded { .. }));
    assert_eq!(
        set.held_by().unwrap(),
        "stranded: the execution role role does not exist; delete it by hand"
    );
    assert!(world.happened("stranded: the execution role role does not exist"));

    world.command(by_hand.clone()).unwrap();
    assert!(world.inventory.is_empty());
    let refusal = world.command(by_hand).unwrap_err();
    assert_eq!(refusal.exception(), Exception::NetworkInterfaceNotFound);
}

#[test]
fn the_last_users_role_is_what_counts() {
    let mut world = World::new();
    world.role("first", &Permission::ALL);
    world.role("last", &Permission::ALL);
    world.create_as("f", with_role(&["subnet-a"], "first"), Owner::Api);
    world.create_as("g", with_role(&["subnet-a"], "last"), Owner::Api);
    world.pass(90);
    world.delete("f");
    world.command(Command::DeleteRole("first".into())).unwrap();
    world.delete("g");
    world.pass(1200);
    assert!(world.inventory.is_empty());
}

#[test]
fn a_role_that_may_make_and_not_delete_strands_too() {
    let mut world = World::new();
    let all_but_delete: Vec<_> = Permission::ALL
        .into_iter()
        .filter(|right| *right != Permission::DeleteNetworkInterface)
        .collect();
    world.role("role", &all_but_delete);
    world.create_as("f", with_role(&["subnet-a"], "role"), Owner::Api);
    world.pass(90);
    world.delete("f");
    world.pass(1200);
    assert!(world.happened("does not permit ec2:DeleteNetworkInterface"));
    // A new user takes a stranded ENI up, with its address.
    world.role("role", &Permission::ALL);
    world.create_as("g", with_role(&["subnet-a"], "role"), Owner::Api);
    assert_eq!(world.state("g").0, State::Active);
    assert_eq!(world.addresses(), ["10.0.1.4"]);
    world.delete("g");
    world.pass(1200);
    assert!(world.inventory.is_empty());
}

#[test]
fn an_address_is_given_back_and_given_out_again() {
    let mut world = World::new();
    let fill = |world: &mut World, number| {
        let (name, configuration) = filler(number, "subnet-a");
        world.create_as(&name, configuration, Owner::Api);
    };
    (1..=3).for_each(|number| fill(&mut world, number));
    world.pass(90);
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.1.5", "10.0.1.6"]);
    world.delete("filler2");
    world.pass(1200);
    fill(&mut world, 4);
    fill(&mut world, 5);
    world.pass(90);
    assert_eq!(world.addresses(), ["10.0.1.4", "10.0.1.5", "10.0.1.6", "10.0.1.7"]);
    assert_eq!(world.enis("filler4", "subnet-a")[0].1.private_ip.to_string(), "10.0.1.5");
}
