//! The table of states: every operation in every state, its outcome and the exact exception.

use std::collections::{BTreeMap, BTreeSet};

use viaduct_control_plane::lifecycle::{
    Command, Configuration, ConfigurationChange, Exception, Owner, Qualifier, ReasonCode, Refusal,
    State, UpdateStatus, VpcConfig,
};

use crate::world::{DELAYS, World, configuration, filler, function, id, update, version, vpc};

/// The states of a function, and of a published version where that is another thing.
const STATES: [&str; 7] = [
    "absent",
    "Pending/Creating",
    "Active",
    "Active/InProgress",
    "Inactive",
    "Pending/Restoring",
    "Failed",
];

const OPERATIONS: [&str; 10] = [
    "GetFunction",
    "CreateFunction",
    "Invoke",
    "UpdateFunctionConfiguration",
    "UpdateFunctionCode",
    "PublishVersion",
    "TagResource",
    "UntagResource",
    "DeleteFunction:1",
    "DeleteFunction",
];

/// A world in which the function `f` is in this state.
fn in_state(state: &str) -> World {
    let mut world = World::new();
    match state {
        "absent" => {}
        "Pending/Creating" => world.create("f", &["subnet-a"], &["sg-one"]),
        "Active" => {
            world.create("f", &["subnet-a"], &["sg-one"]);
            world.pass(90);
        }
        "Active/InProgress" => {
            world.create("f", &["subnet-a"], &["sg-one"]);
            world.pass(90);
            world.update("f", &["subnet-b"], &["sg-one"]);
        }
        "Inactive" => {
            world.create("f", &["subnet-a"], &["sg-one"]);
            world.pass(90 + DELAYS.idle.as_secs());
        }
        "Pending/Restoring" => {
            world.create("f", &["subnet-a"], &["sg-one"]);
            world.pass(90 + DELAYS.idle.as_secs());
            world.invoke("f").unwrap_err();
        }
        "Failed" => world.create("f", &["subnet-nowhere"], &["sg-one"]),
        other => panic!("{other}"),
    }
    if state != "absent" {
        assert!(state.starts_with(world.state("f").0.name()), "{state}");
    }
    world
}

/// What the state of `f` is called in the table.
fn state_of(world: &World) -> &'static str {
    let Some(found) = world.machine.function(&function("f")) else { return "absent" };
    match (found.latest.state, found.latest.reason.as_ref().map(|it| it.code)) {
        (State::Pending, Some(ReasonCode::Restoring)) => "Pending/Restoring",
        (State::Pending, _) => "Pending/Creating",
        (State::Active, _) if found.latest.update == UpdateStatus::InProgress => {
            "Active/InProgress"
        }
        (State::Active, _) => "Active",
        (State::Inactive, _) => "Inactive",
        (State::Failed, _) => "Failed",
    }
}

fn operation(world: &mut World, operation: &str) -> Result<(), Refusal> {
    let f = function("f");
    let command = match operation {
        "GetFunction" => {
            let version = Qualifier::Latest;
            return match world.machine.function(&f) {
                Some(_) => Ok(()),
                None => Err(Refusal::FunctionNotFound { function: f, version }),
            };
        }
        "CreateFunction" => Command::create(f, configuration(&["subnet-a"], &["sg-one"])),
        "Invoke" => Command::Invoke(version("f")),
        "UpdateFunctionConfiguration" => {
            let vpc = Some(vpc(&["subnet-b"], &["sg-two"]));
            update("f", ConfigurationChange { vpc, ..Default::default() })
        }
        "UpdateFunctionCode" => Command::UpdateFunctionCode {
            function: f,
            code: BTreeMap::new(),
            revision: None,
            publish: false,
        },
        "PublishVersion" => Command::publish(f),
        "TagResource" => Command::TagResource { function: f, tags: BTreeMap::new() },
        "UntagResource" => Command::UntagResource { function: f, keys: BTreeSet::new() },
        "DeleteFunction:1" => {
            Command::DeleteFunction { function: f, version: Some(Qualifier::Version(1)) }
        }
        "DeleteFunction" => Command::DeleteFunction { function: f, version: None },
        other => panic!("{other}"),
    };
    world.command(command).map(|_| ())
}

/// What AWS says, or what is decided where it is silent: the exception and its status, or the state
/// afterwards.
fn expected(operation: &str, state: &str) -> String {
    let refused = |exception: Exception| format!("{exception} {}", exception.status());
    let done = |state: &str| format!("-> {state}");
    match (operation, state) {
        ("CreateFunction", "absent") => done("Pending/Creating"),
        ("CreateFunction", _) => refused(Exception::ResourceConflict),
        // LAM-61.
        (_, "absent") => refused(Exception::ResourceNotFound),
        ("GetFunction", same) => done(same),
        // It has no version 1, whatever its state.
        ("DeleteFunction:1", _) => refused(Exception::ResourceNotFound),
        // No fact refuses it; of a failed function it is the only way (LAM-47).
        ("DeleteFunction", _) => done("absent"),
        // LAM-46, LAM-62 and, of a failed function, LAM-47.
        (_, "Pending/Creating" | "Pending/Restoring" | "Failed") => {
            refused(Exception::ResourceConflict)
        }
        // LAM-48.
        ("Invoke", same @ ("Active" | "Active/InProgress")) => done(same),
        // LAM-51, LAM-60.
        ("Invoke", "Inactive") => refused(Exception::ResourceNotReady),
        // LAM-48.
        (_, "Active/InProgress") => refused(Exception::ResourceConflict),
        ("UpdateFunctionConfiguration", "Active") => done("Active/InProgress"),
        (_, same @ ("Active" | "Inactive")) => done(same),
        other => panic!("{other:?}"),
    }
}

// Facts: LAM-45, LAM-46, LAM-47, LAM-48, LAM-60, LAM-61, LAM-64, T-06
#[test]
fn t_06_every_operation_in_every_state() {
    let mut wrong = Vec::new();
    for operation in OPERATIONS {
        for state in STATES {
            let mut world = in_state(state);
            let before = world.machine.records();
            let outcome = self::operation(&mut world, operation);
            let found = match &outcome {
                Ok(()) => format!("-> {}", state_of(&world)),
                Err(refusal) => {
                    // A refusal changes nothing, but for the one that restores (LAM-51).
                    let restores = (operation, state) == ("Invoke", "Inactive");
                    assert!(restores || before == world.machine.records(), "{operation} {state}");
                    format!("{} {}", refusal.exception(), refusal.exception().status())
                }
            };
            let expected = expected(operation, state);
            if found != expected {
                wrong.push(format!("{operation} in {state}: {found}, expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// Facts: LAM-62
#[test]
fn lam_62_messages_are_lambdas_own() {
    let message = |state, operation| {
        self::operation(&mut in_state(state), operation).unwrap_err().to_string()
    };
    let pending = "The operation cannot be performed at this time. The function is currently in the \
                   following state: Pending";
    for operation in ["Invoke", "UpdateFunctionConfiguration"] {
        assert_eq!(message("Pending/Creating", operation), pending);
    }
    assert_eq!(
        message("Active/InProgress", "UpdateFunctionCode"),
        "The operation cannot be performed at this time. An update is in progress for resource: \
         arn:aws:lambda::111111111111:function:f"
    );
    assert_eq!(
        message("absent", "Invoke"),
        "Function not found: arn:aws:lambda::111111111111:function:f"
    );
}

#[test]
fn every_exception_has_the_status_of_the_facts() {
    // LAM-60, LAM-61, LAM-64.
    for exception in Exception::ALL {
        let expected = match exception.name() {
            "InvalidParameterValueException" => 400,
            "ResourceNotFoundException" => 404,
            "ResourceConflictException" => 409,
            "PreconditionFailedException" => 412,
            "ServiceException" => 500,
            "ENILimitReachedException"
            | "SubnetIPAddressLimitReachedException"
            | "InvalidSubnetIDException"
            | "InvalidSecurityGroupIDException"
            | "EC2AccessDeniedException"
            | "EC2UnexpectedException"
            | "ENINotReadyException"
            | "ResourceNotReadyException" => 502,
            // EC2's and IAM's own.
            "InvalidNetworkInterfaceID.NotFound" | "InvalidNetworkInterface.InUse" => 400,
            "NoSuchEntity" => 404,
            other => panic!("{other}"),
        };
        assert_eq!(exception.status(), expected, "{exception}");
    }
}

type Obstacle = Box<dyn Fn(&mut World)>;

/// What a request for ENIs runs into: the code, and the exception when the same happens while an
/// inactive function is restored.
fn obstacles() -> Vec<(ReasonCode, Exception, Obstacle)> {
    vec![
        (
            ReasonCode::InsufficientRolePermissions,
            Exception::Ec2AccessDenied,
            Box::new(|world| world.role("role", &[])),
        ),
        (
            ReasonCode::InternalError,
            Exception::Ec2Unexpected,
            Box::new(|world| {
                let fail = Command::FailZone { zone: "a".to_owned(), failed: true };
                world.command(fail).unwrap();
            }),
        ),
        (
            ReasonCode::SubnetOutOfIpAddresses,
            Exception::SubnetIpAddressLimitReached,
            Box::new(|world| {
                for number in 0..11 {
                    let (name, configuration) = filler(number, "subnet-tiny");
                    world.create_as(&name, configuration, Owner::File);
                }
            }),
        ),
        (
            ReasonCode::EniLimitExceeded,
            Exception::EniLimitReached,
            Box::new(|world| {
                for number in 0..20 {
                    let (name, configuration) = filler(number, "subnet-b");
                    world.create_as(&name, configuration, Owner::File);
                }
            }),
        ),
    ]
}

fn with_role(subnets: &[&str]) -> Configuration {
    Configuration { role: Some("role".into()), ..configuration(subnets, &["sg-one"]) }
}

// Facts: LAM-42, LAM-47, LAM-49, LAM-51
#[test]
fn lam_42_creation_update_and_restoring_fail_with_the_same_code_each_in_its_way() {
    for (code, exception, obstacle) in obstacles() {
        let mut world = World::new();
        world.role("role", &viaduct_control_plane::lifecycle::Permission::ALL);
        world.create_as("idle", with_role(&["subnet-tiny"]), Owner::Api);
        world.pass(90 + DELAYS.idle.as_secs());
        assert_eq!(world.state("idle").0, State::Inactive);
        world.create_as("updated", with_role(&["subnet-b"]), Owner::Api);
        world.pass(90);
        let before = world.machine.records().sets;
        obstacle(&mut world);

        let failed = world.invoke("idle").unwrap_err();
        assert_eq!(failed.exception(), exception, "{failed}");
        assert_eq!(world.state("idle"), (State::Inactive, Some(code)));

        world.create_as("new", with_role(&["subnet-tiny"]), Owner::Api);
        assert_eq!(world.state("new"), (State::Failed, Some(code)));

        world.update("updated", &["subnet-b", "subnet-tiny"], &["sg-one"]);
        assert_eq!(world.last_update("updated"), (UpdateStatus::Failed, Some(code)));
        assert_eq!(world.state("updated"), (State::Active, None));
        assert_eq!(world.version("updated").configuration, with_role(&["subnet-b"]));
        // Nothing was made for any of them, and nothing is on its way.
        world.pass(100);
        let after = world.machine.records().sets;
        let ours = |set: &&viaduct_control_plane::lifecycle::EniSet| {
            set.key.security_groups() == [id("sg-one")]
        };
        assert_eq!(
            before.iter().filter(ours).collect::<Vec<_>>(),
            after.iter().filter(ours).collect::<Vec<_>>(),
            "{code}"
        );
    }
}

#[test]
fn what_is_not_there_fails_and_what_contradicts_itself_is_refused() {
    let mut world = World::new();
    world.create("subnet", &["subnet-nowhere"], &["sg-one"]);
    assert_eq!(world.state("subnet"), (State::Failed, Some(ReasonCode::InvalidSubnet)));
    world.create("group", &["subnet-a"], &["sg-nobody"]);
    assert_eq!(world.state("group"), (State::Failed, Some(ReasonCode::InvalidSecurityGroup)));
    assert!(world.inventory.is_empty());

    // LAM-16: all of one VPC.
    for (subnets, groups) in
        [(&["subnet-a", "subnet-c"][..], &["sg-one"][..]), (&["subnet-a"], &["sg-three"])]
    {
        let configuration = configuration(subnets, groups);
        let command = Command::create(function("two"), configuration);
        let refusal = world.command(command).unwrap_err();
        assert_eq!(refusal.exception(), Exception::InvalidParameterValue, "{refusal}");
        assert!(world.machine.function(&function("two")).is_none());
    }
    let configuration = Configuration { role: Some("nobody".into()), ..Configuration::default() };
    let command = Command::create(function("two"), configuration);
    let refusal = world.command(command).unwrap_err();
    assert_eq!(refusal.exception(), Exception::InvalidParameterValue, "{refusal}");
}

#[test]
fn a_revision_that_is_not_the_latest_is_refused() {
    let mut world = in_state("Active");
    let revision = world.version("f").revision;
    let update = |revision| Command::UpdateFunctionConfiguration {
        function: function("f"),
        change: ConfigurationChange { vpc: Some(VpcConfig::none()), ..Default::default() },
        revision: Some(revision),
    };
    let refusal = world.command(update(revision + 1)).unwrap_err();
    assert_eq!(refusal, Refusal::Revision(revision));
    assert_eq!(refusal.exception().status(), 412);
    world.command(update(revision)).unwrap();
    assert_eq!(world.version("f").revision, revision + 1);
}

#[test]
fn versions_are_refused_by_name_too() {
    let mut world = in_state("Active");
    let delete = |version| Command::DeleteFunction { function: function("f"), version };
    let refusal = world.command(delete(Some(Qualifier::Latest))).unwrap_err();
    assert_eq!(refusal, Refusal::LatestStays);
    let refusal = world.invoke("f@1").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "Function not found: arn:aws:lambda::111111111111:function:f:1"
    );
    let refusal = world.command(Command::DeleteRole("nobody".into())).unwrap_err();
    assert_eq!(refusal.exception(), Exception::NoSuchEntity);
    let refusal = world.command(Command::DeleteNetworkInterface(id("eni-0"))).unwrap_err();
    assert_eq!(refusal.exception(), Exception::NetworkInterfaceNotFound);
    let fail = Command::FailZone { zone: "nowhere".to_owned(), failed: true };
    assert_eq!(world.command(fail).unwrap_err(), Refusal::UnknownZone("nowhere".to_owned()));
}
