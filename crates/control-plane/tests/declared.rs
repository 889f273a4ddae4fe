//! A file's functions and those of the API in one network, across reloads.

mod common;

use std::time::Duration;

use common::topology;
use viaduct_control_plane::{
    Plan, PlanError, changes,
    lifecycle::{
        Command, Configuration, Delays, FunctionName, Lifecycle, Owner, Places, Report, State,
        Time, VersionId, VpcConfig,
    },
    plan, plan_after,
};
use viaduct_topology::{
    ResourceId,
    inventory::{Change, EniOwner},
};

fn text(instances: &str, functions: &str) -> String {
    format!(
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a: {{ id: subnet-a, cidr_block: 10.0.1.0/24, availability_zone: a }}
      b: {{ id: subnet-b, cidr_block: 10.0.2.0/24, availability_zone: b }}
    security_groups: {{ one: {{ id: sg-one }} }}
    instances: {{ {instances} }}
functions: {{ {functions} }}
"
    )
}

const API: &str = "api: { subnets: [main/a], security_groups: [main/one] }";

/// A function that the API makes next to the file's, in the account of the VPC.
fn made_over_api(lifecycle: &mut Lifecycle, name: &str, subnet: &str) -> VersionId {
    made_in(lifecycle, FunctionName::new("123456789012", name), subnet, "sg-one")
}

/// A function that the API makes in a subnet, with a group.
fn made_in(
    lifecycle: &mut Lifecycle,
    function: FunctionName,
    subnet: &str,
    group: &str,
) -> VersionId {
    let vpc = VpcConfig::new([ResourceId::named(subnet)], [ResourceId::named(group)]).unwrap();
    let configuration = Configuration { vpc, ..Configuration::default() };
    let command = Command::create(function.clone(), configuration);
    lifecycle.command(command, Owner::Api, lifecycle.now()).unwrap();
    lifecycle.advance(lifecycle.now().after(Delays::default().creation));
    VersionId::latest(function)
}

/// The addresses of functions, sorted.
fn addresses(plan: &Plan) -> Vec<String> {
    let functions = plan.enis.iter().filter(|eni| matches!(eni.owner, EniOwner::Functions(_)));
    let mut addresses: Vec<String> = functions.map(|eni| eni.private_ip.to_string()).collect();
    addresses.sort();
    addresses
}

fn next(previous: &Plan, text: &str) -> Result<Plan, PlanError> {
    plan_after(previous, &topology(text))
}

/// One function of the file with the role `lambda`, which has these policies.
fn with_role(policies: &str) -> String {
    let function = "api: { subnets: [main/a], security_groups: [main/one], role: lambda }";
    let roles = format!("roles: {{ lambda: {{ policies: [{policies}] }} }}\n");
    text("", function) + &roles
}

// Facts: LAM-70
#[test]
fn lam_70_a_files_role_must_permit_making_enis_before_and_after() {
    let first = plan(&topology(&with_role("AWSLambdaVPCAccessExecutionRole"))).unwrap();
    assert_eq!(addresses(&first), ["10.0.1.4"]);
    let refused = [
        plan(&topology(&with_role("AWSLambdaBasicExecutionRole"))),
        // Its ENI is there, but the daemon could not be started with that file.
        next(&first, &with_role("AWSLambdaBasicExecutionRole")),
    ];
    for refused in refused {
        assert_eq!(
            refused.unwrap_err().to_string(),
            "the function api cannot be declared: Lambda cannot make network interfaces: the \
             execution role lambda does not permit ec2:CreateNetworkInterface."
        );
    }
    let same = next(&first, &with_role("AdministratorAccess")).unwrap();
    assert_eq!(addresses(&same), ["10.0.1.4"]);
    // The function and the role that deletes its ENI go together.
    let gone = next(&same, &text("", "")).unwrap();
    assert_eq!(addresses(&gone), [""; 0]);
    assert!(gone.lifecycle.records().roles.is_empty());
}

#[test]
fn a_files_roles_and_the_apis_are_apart() {
    let mut present = plan(&topology(&text("", API))).unwrap();
    let put = |name: &str| Command::PutRole { role: name.into(), policies: Vec::new() };
    let now = present.lifecycle.now();
    present.lifecycle.command(put("other"), Owner::Api, now).unwrap();
    let both = next(&present, &with_role("AdministratorAccess")).unwrap();
    let roles = |plan: &Plan| -> Vec<String> {
        plan.lifecycle.records().roles.keys().map(ToString::to_string).collect()
    };
    assert_eq!(roles(&both), ["lambda", "other"]);
    assert_eq!(roles(&next(&both, &text("", API)).unwrap()), ["other"]);

    // Whoever changes a file's role does not take it over: the next file says what it is.
    let mut changed = both.clone();
    changed.lifecycle.command(put("lambda"), Owner::Api, now).unwrap();
    assert_eq!(roles(&next(&changed, &text("", API)).unwrap()), ["other"]);

    present.lifecycle.command(put("lambda"), Owner::Api, now).unwrap();
    let error = next(&present, &with_role("AdministratorAccess")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the role lambda was made over the API: delete it there, or call the file's another name"
    );
}

#[test]
fn what_the_api_made_lives_on_when_a_file_is_applied() {
    let first = plan(&topology(&text("", API))).unwrap();
    let mut lifecycle = first.lifecycle.clone();
    let id = made_over_api(&mut lifecycle, "other", "subnet-b");
    let running = first.with_lifecycle(lifecycle);
    assert_eq!(addresses(&running), ["10.0.1.4", "10.0.2.4"]);

    // New instances go round it, and the file's function goes without it.
    let second = next(&running, &text("db: { subnet: b }", "")).unwrap();
    assert_eq!(addresses(&second), ["10.0.2.4"]);
    assert_eq!(second.host("instance/db").unwrap().1.address.0.to_string(), "10.0.2.5");
    let function = second.lifecycle.function(&id.function).unwrap();
    assert_eq!((function.owner, function.latest.state), (Owner::Api, State::Active));
    let removed = changes(&running, &second);
    let removed = removed.iter().filter(|it| matches!(it, Change::RemoveEni(_))).count();
    assert_eq!(removed, 1);

    // An instance that is given its address takes it: the ENI is another then (LAM-08).
    let third = next(&second, &text("db: { subnet: b, private_ip: 10.0.2.4 }", "")).unwrap();
    assert_eq!(addresses(&third), ["10.0.2.6"], "what db leaves rests");
    assert!(third.lifecycle.function(&id.function).is_some());
    // And nothing rests afterwards.
    let mut lifecycle = third.lifecycle.clone();
    made_over_api(&mut lifecycle, "third", "subnet-a");
    assert_eq!(addresses(&third.with_lifecycle(lifecycle)), ["10.0.1.4", "10.0.2.6"]);
}

#[test]
fn a_subnet_stays_while_a_function_of_the_api_stands_in_it() {
    let first = plan(&topology(&text("", API))).unwrap();
    let mut lifecycle = first.lifecycle.clone();
    let id = made_over_api(&mut lifecycle, "other", "subnet-b");
    let running = first.with_lifecycle(lifecycle);
    let only_a = text("", API)
        .replace("      b: { id: subnet-b, cidr_block: 10.0.2.0/24, availability_zone: b }\n", "");
    let error = next(&running, &only_a).unwrap_err();
    let expected = "the subnet subnet-b cannot go: its ENIs are used by other";
    assert_eq!(error.to_string(), expected);
    // Without its user it goes, whatever its ENIs still waited for.
    let mut lifecycle = running.lifecycle.clone();
    let delete = Command::DeleteFunction { function: id.function, version: None };
    lifecycle.command(delete, Owner::Api, lifecycle.now()).unwrap();
    let running = running.with_lifecycle(lifecycle);
    assert_eq!(addresses(&running).len(), 2);
    assert_eq!(addresses(&next(&running, &only_a).unwrap()), ["10.0.1.4"]);
}

#[test]
fn a_group_stays_while_a_function_of_the_api_has_it() {
    let first = plan(&topology(&text("", ""))).unwrap();
    let mut lifecycle = first.lifecycle.clone();
    let id = made_over_api(&mut lifecycle, "other", "subnet-b");
    let running = first.with_lifecycle(lifecycle);
    let gone = text("", "").replace("one: { id: sg-one }", "");
    let expected = "the security group sg-one cannot go: the ENIs that carry it are used by other";
    assert_eq!(next(&running, &gone).unwrap_err().to_string(), expected);
    let elsewhere = gone.replace(
        "functions:",
        "  second: { cidr_blocks: [10.9.0.0/16], security_groups: { one: { id: sg-one } } }\nfunctions:",
    );
    assert_eq!(next(&running, &elsewhere).unwrap_err().to_string(), expected);
    // Without its user it goes.
    let mut lifecycle = running.lifecycle.clone();
    let delete = Command::DeleteFunction { function: id.function, version: None };
    lifecycle.command(delete, Owner::Api, lifecycle.now()).unwrap();
    let running = running.with_lifecycle(lifecycle);
    assert_eq!(addresses(&running).len(), 1);
    assert_eq!(addresses(&next(&running, &gone).unwrap()), Vec::<String>::new());
}

#[test]
fn a_files_function_does_not_wait_for_an_eni_that_the_api_has_ordered() {
    let declared = plan(&topology(&text("", API))).unwrap();
    let account = declared.lifecycle.functions().next().unwrap().name.account.clone();
    let first = plan(&topology(&text("", ""))).unwrap();
    let mut lifecycle = first.lifecycle.clone();
    let vpc = VpcConfig::new([ResourceId::named("subnet-a")], [ResourceId::named("sg-one")]);
    let configuration = Configuration { vpc: vpc.unwrap(), ..Configuration::default() };
    let ordered = FunctionName::new(&account, "ordered");
    let command = Command::create(ordered.clone(), configuration);
    lifecycle.command(command, Owner::Api, Time::from_millis(1000)).unwrap();
    assert_eq!(lifecycle.function(&ordered).unwrap().latest.state, State::Pending);
    let second = next(&first.with_lifecycle(lifecycle), &text("", API)).unwrap();
    assert_eq!(addresses(&second), ["10.0.1.4"]);
    let states = second.lifecycle.functions().map(|function| function.latest.state);
    assert_eq!(states.collect::<Vec<_>>(), [State::Active; 2], "the other waits no longer either");
    second.lifecycle.check(Places::of(&topology(&text("", "")), [])).unwrap();
}

/// A daemon that starts again knows the records of the one before, and nothing else of its network.
#[test]
fn what_is_remembered_is_declared_into_the_network_that_is_there_now() {
    let first = plan(&topology(&text("", API))).unwrap();
    let mut lifecycle = first.lifecycle.clone();
    let id = made_over_api(&mut lifecycle, "other", "subnet-b");
    lifecycle.report(&Report::NearCapacity(first.enis[0].id.clone()), lifecycle.now());
    let remembered = || {
        let lifecycle = Lifecycle::remember(Delays::default(), lifecycle.records()).unwrap();
        Plan { lifecycle, ..Plan::default() }
    };
    assert_eq!(lifecycle, remembered().lifecycle);
    let same = next(&remembered(), &text("", API)).unwrap();
    assert_eq!(same.lifecycle, lifecycle, "the same network, the same machine");
    assert_eq!(addresses(&same), ["10.0.1.4", "10.0.1.5", "10.0.2.4"]);
    assert_eq!(same.lifecycle.output().changes, [], "nothing came or went");
    // As with a reload: whoever the file names an address for has it.
    let named = next(&remembered(), &text("db: { subnet: b, private_ip: 10.0.2.4 }", "")).unwrap();
    assert_eq!(addresses(&named), ["10.0.2.5"]);
    assert_eq!(named.lifecycle.function(&id.function).unwrap().latest.state, State::Active);
    let only_a = text("", "")
        .replace("      b: { id: subnet-b, cidr_block: 10.0.2.0/24, availability_zone: b }\n", "");
    let error = next(&remembered(), &only_a).unwrap_err().to_string();
    assert_eq!(error, "the subnet subnet-b cannot go: its ENIs are used by other");
}

#[test]
fn nobody_takes_a_name_that_the_other_has() {
    let first = plan(&topology(&text("", ""))).unwrap();
    let mut lifecycle = first.lifecycle.clone();
    // In the account that a file's functions have if it names none.
    let account = plan(&topology(&text("", API))).unwrap();
    let account = account.lifecycle.functions().next().unwrap().name.account.clone();
    let function = FunctionName::new(&account, "api");
    let configuration = Configuration::default();
    let command = Command::create(function, configuration);
    lifecycle.command(command, Owner::Api, Time::ZERO).unwrap();
    let error = next(&first.with_lifecycle(lifecycle), &text("", API)).unwrap_err();
    let expected = "the function api was made over the API: delete it there, or call the file's \
                    another name";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_the_api_changed_of_a_files_function_is_as_the_file_says_again() {
    let first = plan(&topology(&text("", API))).unwrap();
    let name = first.lifecycle.functions().next().unwrap().name.clone();
    let mut lifecycle = first.lifecycle.clone();
    let delete = Command::DeleteFunction { function: name.clone(), version: None };
    lifecycle.command(delete, Owner::Api, Time::ZERO).unwrap();
    let running = first.with_lifecycle(lifecycle);
    assert_eq!(addresses(&running), Vec::<String>::new());
    let second = next(&running, &text("", API)).unwrap();
    assert_eq!(second.lifecycle.function(&name).unwrap().latest.state, State::Active);
    assert_eq!(addresses(&second), ["10.0.1.4"]);
}

#[test]
fn a_further_eni_of_a_key_survives_reloads_and_its_environments_stay() {
    let first = plan(&topology(&text("", API))).unwrap();
    let eni = first.enis[0].id.clone();
    let mut lifecycle = first.lifecycle.clone();
    lifecycle.report(&Report::NearCapacity(eni), Time::ZERO);
    let running = first.with_lifecycle(lifecycle);
    assert_eq!(addresses(&running), ["10.0.1.4", "10.0.1.5"], "a file's takes no time");
    let second = next(&running, &text("db: { subnet: a }", API)).unwrap();
    assert_eq!(addresses(&second), ["10.0.1.4", "10.0.1.5"]);
    assert_eq!(second.host("instance/db").unwrap().1.address.0.to_string(), "10.0.1.6");
    let attachments = |change: &Change| {
        matches!(change, Change::RemoveAttachment(_)) || matches!(change, Change::RemoveEni(_))
    };
    assert!(!changes(&running, &second).iter().any(attachments));
}

#[test]
fn a_file_is_not_idle_after_two_weeks() {
    let mut first = plan(&topology(&text("", API))).unwrap();
    first.lifecycle.advance(Time::from_millis(10 * 1_209_600_000));
    assert_eq!(addresses(&first.with_lifecycle(first.lifecycle.clone())), ["10.0.1.4"]);
    let second = next(&first, &text("", API)).unwrap();
    assert_eq!(changes(&first, &second), []);
}

#[test]
fn other_delays_count_for_what_waits_already() {
    let mut first = plan(&topology(&text("", ""))).unwrap();
    let id = made_over_api(&mut first.lifecycle, "other", "subnet-a");
    let state = |lifecycle: &Lifecycle| lifecycle.function(&id.function).unwrap().latest.state;
    let day = Duration::from_secs(24 * 60 * 60);
    first.lifecycle.advance(first.lifecycle.now().after(day));
    assert_eq!(state(&first.lifecycle), State::Active);

    // Two days, twice as fast: it was idle for long enough.
    let settings = "settings: { lifecycle: { creation: 60, idle: 172800 }, lifecycle_scale: 2 }";
    let mut second = next(&first, &format!("{settings}{}", text("", ""))).unwrap();
    let soon = second.lifecycle.now().after(Duration::from_millis(1));
    second.lifecycle.advance(soon);
    assert_eq!(state(&second.lifecycle), State::Inactive);

    // What is being made is due when it was, in either direction.
    let invoke = Command::Invoke(id.clone());
    second.lifecycle.command(invoke, Owner::Api, soon).unwrap_err();
    let due = second.lifecycle.next_due().unwrap();
    assert_eq!(due, soon.after(Duration::from_secs(30)));
    let third = next(&second, &text("", "")).unwrap();
    assert_eq!(third.lifecycle.next_due(), Some(due));
}

/// The network with a subnet that is shared, or was: what it says of that, and functions.
fn sharing(share: &str, functions: &str) -> String {
    text("", functions)
        .replace("\nvpcs:", "\norganization: { accounts: [123456789012, 222222222222] }\nvpcs:")
        .replace("10.0.2.0/24, availability_zone: b", &format!("10.0.2.0/24{share}"))
        .replace(
            "one: { id: sg-one }",
            "one: { id: sg-one }, guest: { id: sg-guest, account: 222222222222 }",
        )
}

const SHARED: &str = ", shared_with: [222222222222]";

/// A plan in which a guest's function of the API has an ENI in the shared subnet.
fn with_a_guest() -> (Plan, VersionId) {
    let first = plan(&topology(&sharing(SHARED, API))).unwrap();
    let mut lifecycle = first.lifecycle.clone();
    let function = FunctionName::new("222222222222", "other");
    let id = made_in(&mut lifecycle, function, "subnet-b", "sg-guest");
    (first.with_lifecycle(lifecycle), id)
}

// Conforms: SHR-09, SHR-10
// Facts: SHR-12
#[test]
fn shr_09_a_guests_eni_outlives_the_share_and_holds_the_subnet_until_it_is_gone() {
    let (running, id) = with_a_guest();
    let eni = running.enis.iter().find(|eni| eni.subnet.as_str() == "subnet-b").unwrap();
    let EniOwner::Functions(key) = &eni.owner else { panic!("{eni:?}") };
    assert_eq!(key.account, "222222222222", "SHR-12");
    assert_eq!(addresses(&running), ["10.0.1.4", "10.0.2.4"]);

    let unshared = next(&running, &sharing("", API)).unwrap();
    assert_eq!(changes(&running, &unshared), [], "nobody notices");
    let function = unshared.lifecycle.function(&id.function).unwrap();
    assert_eq!((function.owner, function.latest.state), (Owner::Api, State::Active));
    // A daemon that starts with that file takes it as it is, too.
    let remembered = Lifecycle::remember(Delays::default(), unshared.lifecycle.records()).unwrap();
    let restarted = Plan { lifecycle: remembered, ..Plan::default() };
    assert_eq!(addresses(&next(&restarted, &sharing("", API)).unwrap()), addresses(&running));

    let without = sharing("", API)
        .lines()
        .filter(|line| !line.contains("subnet-b"))
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    let cannot_go = |plan: &Plan, why: &str| {
        let error = next(plan, &without).unwrap_err().to_string();
        let expected =
            format!("the subnet subnet-b cannot go: its ENIs are of account 222222222222, {why}");
        assert_eq!(error, expected);
    };
    cannot_go(&unshared, "used by other");
    // Its own ENIs without users the owner need not wait for.
    let mut lifecycle = unshared.lifecycle.clone();
    let delete = Command::DeleteFunction { function: id.function, version: None };
    lifecycle.command(delete, Owner::Api, lifecycle.now()).unwrap();
    let mut leaving = unshared.with_lifecycle(lifecycle);
    cannot_go(&leaving, "there until Lambda has deleted them");
    leaving.lifecycle.advance(leaving.lifecycle.now().after(Delays::default().deletion));
    let gone = leaving.with_lifecycle(leaving.lifecycle.clone());
    assert_eq!(addresses(&next(&gone, &without).unwrap()), ["10.0.1.4"]);
}

// Conforms: SHR-03, SHR-04
#[test]
fn shr_03_a_files_function_stands_in_a_shared_subnet_and_goes_before_the_share() {
    let guest =
        "guest: { subnets: [main/b], security_groups: [main/guest], account: 222222222222 }";
    let first = plan(&topology(&sharing(SHARED, guest))).unwrap();
    assert_eq!(addresses(&first), ["10.0.2.4"]);
    let problems = viaduct_config_plane::load("test.yaml", &sharing("", guest)).unwrap_err();
    let errors = problems.diagnostics().filter(|it| it.severity == "error").map(|it| it.message);
    assert_eq!(
        errors.collect::<Vec<_>>(),
        ["`main/b` is a subnet of account 123456789012, and function `guest` is of 222222222222"]
    );
    let without = next(&first, &sharing("", "")).unwrap();
    assert_eq!(addresses(&without), [""; 0]);
}
