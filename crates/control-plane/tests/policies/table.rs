//! The condition keys about VPCs, case by case (LAM-72 to LAM-76).
//!
//! Each request is one about a function, in the context that the machine makes of it.

use viaduct_control_plane::{
    iam::{Context, Policy, Principal, Principals, VPC_IDS, authorize},
    lifecycle::{
        Command, Configuration, Delays, FunctionName, Lifecycle, Owner, Places, Time, VpcConfig,
    },
};
use viaduct_topology::{ResourceId, model::DEFAULT_ACCOUNT};

use crate::common::topology;

const NETWORK: &str = "
vpcs:
  main:
    id: vpc-main
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a: { id: subnet-a, cidr_block: 10.0.1.0/24 }
      b: { id: subnet-b, cidr_block: 10.0.2.0/24 }
      c: { id: subnet-c, cidr_block: 10.0.3.0/24 }
    security_groups: { one: { id: sg-one }, two: { id: sg-two } }
  other:
    id: vpc-other
    cidr_blocks: [10.1.0.0/16]
    subnets: { far: { id: subnet-far, cidr_block: 10.1.1.0/24 } }
    security_groups: { far: { id: sg-far } }
";

const RESOURCE: &str = "arn:aws:lambda:us-east-1:123456789012:function:f";

/// Subnets and groups.
type Vpc<'a> = (&'a [&'a str], &'a [&'a str]);

const NO_VPC: Vpc<'_> = (&[], &[]);
const A: Vpc<'_> = (&["subnet-a"], &["sg-one"]);
const AB: Vpc<'_> = (&["subnet-a", "subnet-b"], &["sg-one"]);
const AC: Vpc<'_> = (&["subnet-a", "subnet-c"], &["sg-one", "sg-two"]);
const C: Vpc<'_> = (&["subnet-c"], &["sg-two"]);
const FAR: Vpc<'_> = (&["subnet-far"], &["sg-far"]);

/// What somebody asks for.
#[derive(Clone, Copy, Debug)]
enum Request<'a> {
    Create(Vpc<'a>),
    /// Of a function that is there, with this VPC or without a word about it.
    Update(&'a str, Option<Vpc<'a>>),
    /// Another operation, on the function in subnet a, in the context of its creation.
    Other(&'a str),
}
use Request::{Create, Other, Update};

fn vpc((subnets, groups): Vpc<'_>) -> VpcConfig {
    let ids = |names: &[&str]| -> Vec<ResourceId> {
        names.iter().map(|name| ResourceId::named(name)).collect()
    };
    VpcConfig::new(ids(subnets), ids(groups)).unwrap()
}

fn name(function: &str) -> FunctionName {
    FunctionName::new("123456789012", function)
}

/// A machine with a function in subnet a and one in no VPC.
fn machine() -> Lifecycle {
    let places = Places::of(&topology(NETWORK), []);
    let mut machine = Lifecycle::new(places, Delays::default().at_once(), Time::ZERO);
    for (function, place) in [("inside", A), ("outside", NO_VPC)] {
        let configuration = Configuration { vpc: vpc(place), ..Configuration::default() };
        let command = Command::create(name(function), configuration);
        machine.command(command, Owner::Api, Time::ZERO).unwrap();
    }
    machine
}

/// `allowed`, `not allowed`, or the statement that denies it.
fn verdict(machine: &Lifecycle, policies: &[Policy], request: Request<'_>) -> String {
    let (action, context) = match request {
        Create(place) => ("lambda:CreateFunction", machine.context_of_creation(&vpc(place))),
        Update(function, place) => {
            let place = place.map(vpc);
            let context = machine.context_of_update(&name(function), place.as_ref());
            ("lambda:UpdateFunctionConfiguration", context)
        }
        Other(action) => (action, machine.context_of_creation(&vpc(A))),
    };
    let principal = Principal::new("123456789012", "AKIA", policies.to_vec());
    match authorize(&principal, action, RESOURCE, &context) {
        Ok(()) => "allowed".to_owned(),
        Err(denied) => denied.by.map_or("not allowed".to_owned(), |by| by.statement),
    }
}

fn policy(text: &str) -> Policy {
    viaduct_config_plane::load_policy("policy.json", text)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

/// Everything is allowed, but for one statement `It`.
fn denying(condition: &str) -> Vec<Policy> {
    vec![
        Policy::allowing(["lambda:*"]),
        policy(&format!(
            r#"{{"Version": "2012-10-17", "Statement": [{{"Sid": "It", "Effect": "Deny",
                "Action": "lambda:*", "Resource": "*", "Condition": {condition}}}]}}"#
        )),
    ]
}

/// Nothing is allowed, but for one statement.
fn allowing(condition: &str) -> Vec<Policy> {
    vec![policy(&format!(
        r#"{{"Statement": {{"Effect": "Allow", "Action": "lambda:*", "Resource": "*",
            "Condition": {condition}}}}}"#
    ))]
}

fn expect(policies: &[Policy], cases: &[(Request<'_>, &str)]) {
    let machine = machine();
    for (request, expected) in cases {
        assert_eq!(verdict(&machine, policies, *request), *expected, "{request:?}\n{policies:#?}");
    }
}

const DENIED: &str = "`It`";

// Facts: LAM-72
#[test]
fn lam_72_the_keys_are_part_of_creation_and_configuration_updates_alone() {
    let places = r#"{"StringEquals": {"lambda:VpcIds": "vpc-main"}}"#;
    expect(
        &allowing(places),
        &[
            (Create(A), "allowed"),
            (Update("outside", Some(A)), "allowed"),
            (Other("lambda:UpdateFunctionCode"), "not allowed"),
            (Other("lambda:InvokeFunction"), "not allowed"),
            (Other("lambda:PublishVersion"), "not allowed"),
            (Other("lambda:DeleteFunction"), "not allowed"),
        ],
    );
    expect(
        &denying(places),
        &[
            (Create(A), DENIED),
            (Create(FAR), "allowed"),
            (Other("lambda:InvokeFunction"), "allowed"),
        ],
    );
    // All keys, and each under any case.
    expect(
        &allowing(
            r#"{"StringEquals": {"LAMBDA:vpcids": "vpc-main"},
                "ForAllValues:StringEquals": {"lambda:subnetids": ["subnet-a", "subnet-b"],
                                              "Lambda:SecurityGroupIDs": "sg-one"}}"#,
        ),
        &[
            (Create(A), "allowed"),
            (Create(AB), "allowed"),
            (Create(AC), "not allowed"),
            (Create(FAR), "not allowed"),
            (Create(NO_VPC), "not allowed"),
        ],
    );
}

// Facts: LAM-73
#[test]
fn lam_73_null_tells_whether_a_function_is_in_a_vpc() {
    let must = denying(r#"{"Null": {"lambda:VpcIds": "true"}}"#);
    expect(
        &must,
        &[
            (Create(NO_VPC), DENIED),
            (Create(A), "allowed"),
            (Create(FAR), "allowed"),
            (Update("inside", Some(NO_VPC)), DENIED),
            (Update("inside", Some(C)), "allowed"),
            (Update("outside", Some(A)), "allowed"),
        ],
    );
    let must_not = denying(r#"{"Null": {"lambda:VpcIds": false}}"#);
    expect(
        &must_not,
        &[
            (Create(NO_VPC), "allowed"),
            (Create(A), DENIED),
            (Update("inside", Some(NO_VPC)), "allowed"),
            (Update("outside", Some(A)), DENIED),
        ],
    );
    expect(
        &denying(r#"{"Null": {"lambda:SubnetIds": ["true", "false"]}}"#),
        &[(Create(NO_VPC), DENIED), (Create(A), DENIED)],
    );
}

// Facts: LAM-74
#[test]
fn lam_74_vpcs_are_compared_plainly_and_lists_by_quantifiers() {
    expect(
        &allowing(r#"{"StringEquals": {"lambda:VpcIds": ["vpc-x", "vpc-main"]}}"#),
        &[(Create(A), "allowed"), (Create(FAR), "not allowed"), (Create(NO_VPC), "not allowed")],
    );
    expect(
        &allowing(r#"{"StringLike": {"lambda:VpcIds": "vpc-m*n"}}"#),
        &[(Create(A), "allowed"), (Create(FAR), "not allowed")],
    );
    // Negated operators are true of what is not there.
    expect(
        &denying(r#"{"StringNotEquals": {"lambda:VpcIds": ["vpc-x", "vpc-main"]}}"#),
        &[(Create(A), "allowed"), (Create(FAR), DENIED), (Create(NO_VPC), DENIED)],
    );
    expect(
        &denying(r#"{"StringNotEqualsIfExists": {"lambda:VpcIds": "vpc-main"}}"#),
        &[(Create(A), "allowed"), (Create(FAR), DENIED), (Create(NO_VPC), DENIED)],
    );
    // A list of what is denied: one of it suffices.
    expect(
        &denying(
            r#"{"ForAnyValue:StringEquals": {"lambda:SubnetIds": ["subnet-c", "subnet-far"]}}"#,
        ),
        &[
            (Create(A), "allowed"),
            (Create(AB), "allowed"),
            (Create(AC), DENIED),
            (Create(C), DENIED),
            (Create(FAR), DENIED),
            (Create(NO_VPC), "allowed"),
        ],
    );
    // `ForAllValues` lets a denied subnet pass beside one that is not.
    expect(
        &denying(
            r#"{"ForAllValues:StringEquals": {"lambda:SubnetIds": "subnet-c"},
                     "Null": {"lambda:SubnetIds": false}}"#,
        ),
        &[(Create(C), DENIED), (Create(AC), "allowed"), (Create(NO_VPC), "allowed")],
    );
    // A list of what is allowed, of groups too.
    expect(
        &allowing(r#"{"ForAllValues:StringEquals": {"lambda:SecurityGroupIds": ["sg-one"]}}"#),
        &[(Create(A), "allowed"), (Create(AC), "not allowed"), (Create(C), "not allowed")],
    );
    expect(
        &denying(r#"{"ForAnyValue:StringNotEquals": {"lambda:SecurityGroupIds": "sg-one"}}"#),
        &[(Create(A), "allowed"), (Create(AC), DENIED), (Create(NO_VPC), "allowed")],
    );
    expect(
        &denying(
            r#"{"ForAllValues:StringNotLike": {"lambda:SubnetIds": ["subnet-a", "subnet-b"]}}"#,
        ),
        &[(Create(AC), "allowed"), (Create(C), DENIED), (Create(NO_VPC), DENIED)],
    );
}

// Facts: LAM-75
#[test]
fn lam_75_for_all_values_is_true_of_no_value() {
    let list = r#""ForAllValues:StringEquals": {"lambda:SubnetIds": ["subnet-a", "subnet-b"]}"#;
    expect(
        &allowing(&format!("{{{list}}}")),
        &[
            (Create(AB), "allowed"),
            (Create(AC), "not allowed"),
            // The list alone forces nobody into a VPC …
            (Create(NO_VPC), "allowed"),
            (Update("inside", Some(NO_VPC)), "allowed"),
        ],
    );
    let mut both = denying(r#"{"Null": {"lambda:VpcIds": true}}"#);
    both[0] = allowing(&format!("{{{list}}}")).remove(0);
    expect(
        &both,
        &[
            (Create(AB), "allowed"),
            (Create(AC), "not allowed"),
            // … so it is paired with the statement of LAM-73.
            (Create(NO_VPC), DENIED),
            (Update("inside", Some(NO_VPC)), DENIED),
            (Update("inside", None), "allowed"),
        ],
    );
    expect(
        &allowing(r#"{"ForAnyValue:StringEquals": {"lambda:SubnetIds": ["subnet-a"]}}"#),
        &[(Create(AC), "allowed"), (Create(NO_VPC), "not allowed")],
    );
}

// Facts: LAM-76
#[test]
fn lam_76_an_update_that_says_nothing_of_the_vpc_is_judged_by_where_the_function_is() {
    expect(
        &denying(r#"{"Null": {"lambda:VpcIds": true}}"#),
        &[
            (Update("inside", None), "allowed"),
            (Update("outside", None), DENIED),
            (Update("missing", None), DENIED),
        ],
    );
    expect(
        &denying(r#"{"ForAnyValue:StringEquals": {"lambda:SubnetIds": "subnet-a"}}"#),
        &[
            (Update("inside", None), DENIED),
            (Update("inside", Some(C)), "allowed"),
            (Update("outside", None), "allowed"),
        ],
    );
}

#[test]
fn a_denial_wins_wherever_it_stands_and_says_who_denies() {
    let allow = Policy::allowing(["lambda:*"]);
    let deny = policy(
        r#"{"Id": "guard", "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": "lambda:Delete*", "NotResource": "arn:aws:lambda:*:*:function:mine-*"}]}"#,
    );
    for policies in [vec![allow.clone(), deny.clone()], vec![deny, allow]] {
        let principal = Principal::new("111111111111", "AKIA", policies);
        let ask = |function: &str| {
            let resource = format!("arn:aws:lambda:us-east-1:111111111111:function:{function}");
            authorize(&principal, "lambda:DeleteFunction", &resource, &Context::default())
        };
        assert_eq!(ask("mine-1"), Ok(()));
        assert_eq!(
            ask("theirs").unwrap_err().to_string(),
            "User: arn:aws:iam::111111111111:user/AKIA is not authorized to perform: \
             lambda:DeleteFunction on resource: \
             arn:aws:lambda:us-east-1:111111111111:function:theirs with an explicit deny in an \
             identity-based policy: statement 2 of policy `guard`"
        );
    }
}

#[test]
fn who_is_named_may_call_and_without_names_everybody_may() {
    let nobody = Principals::of(&topology(NETWORK));
    let anybody = nobody.find("whatever").unwrap();
    assert_eq!(*anybody.account, *DEFAULT_ACCOUNT);
    assert_eq!(authorize(&anybody, "lambda:CreateFunction", "*", &Context::default()), Ok(()));

    let named =
        "principals: { ONE: { account: 222222222222, policies: [AdministratorAccess] }, TWO: }";
    let named = Principals::of(&topology(&format!("{NETWORK}{named}")));
    assert_eq!(named.find("whatever"), None);
    let (one, two) = (named.find("ONE").unwrap(), named.find("TWO").unwrap());
    assert_eq!(one.arn(), "arn:aws:iam::222222222222:user/ONE");
    let context = Context::default().with(VPC_IDS, ["vpc-main"]);
    assert_eq!(authorize(&one, "lambda:CreateFunction", RESOURCE, &context), Ok(()));
    assert!(authorize(&two, "lambda:CreateFunction", RESOURCE, &context).is_err());
}
