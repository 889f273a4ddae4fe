//! EC2's and IAM's Query APIs: what is listed, how it is filtered, and what is refused.

mod common;

use common::{
    Daemon, FUNCTION_ENI,
    aws::{Answer, call, iam, in_vpc, make_role, send, signed, until},
    eventually,
};
use serde_json::json;

fn ec2(daemon: &Daemon, form: &str) -> Answer {
    send(daemon, "POST", "/", &signed("AKIA", "ec2"), form.as_bytes())
}

fn count(answer: &Answer, element: &str) -> usize {
    answer.body.matches(&format!("<{element}>")).count()
}

// Facts: LAM-30, LAM-31, LAM-34
#[test]
fn lam_30_interfaces_of_functions_look_as_lambdas_do() {
    let daemon = Daemon::start();
    let lambda =
        "Action=DescribeNetworkInterfaces&Filter.1.Name=interface-type&Filter.1.Value.1=lambda";
    let answer = ec2(&daemon, lambda);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(count(&answer, "networkInterfaceId"), 1);
    assert_eq!(answer.element("privateIpAddress"), Some(&*FUNCTION_ENI.to_string()));
    for (element, value) in [
        ("requesterManaged", "false"),
        ("status", "in-use"),
        ("sourceDestCheck", "true"),
        ("instanceOwnerId", "amazon-aws"),
        ("deviceIndex", "1"),
        ("ownerId", "123456789012"),
        ("groupName", "fn"),
        ("operator", "<managed>false</managed>"),
    ] {
        assert_eq!(answer.element(element), Some(value), "{element}");
    }
    let uuid = answer.element("description").unwrap().strip_prefix("AWS Lambda VPC ENI-api-");
    let lengths: Vec<usize> = uuid.unwrap().split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid:?}");
    let requester = answer.element("requesterId").unwrap();
    assert!(requester.starts_with("AROA") && requester.ends_with(":123456789012"), "{requester}");
    assert_eq!(requester.len(), 21 + 1 + 12, "{requester}");
    assert!(answer.element("attachmentId").unwrap().starts_with("ela-attach-"));
    assert_eq!(answer.element("association"), None);

    // Filters are all to hold, each with one of its values; a star is a star.
    let all = ec2(&daemon, "Action=DescribeNetworkInterfaces");
    assert_eq!(count(&all, "networkInterfaceId"), 4);
    let some =
        format!("{lambda}&Filter.2.Name=description&Filter.2.Value.1=x&Filter.2.Value.2=*-api-*");
    assert_eq!(count(&ec2(&daemon, &some), "networkInterfaceId"), 1);
    let none = format!("{lambda}&Filter.2.Name=requester-managed&Filter.2.Value.1=true");
    assert_eq!(count(&ec2(&daemon, &none), "networkInterfaceId"), 0);
    let by = format!("{lambda}&Filter.2.Name=requester-id&Filter.2.Value.1={requester}");
    assert_eq!(count(&ec2(&daemon, &by), "networkInterfaceId"), 1);
    // LAM-34: there is nothing more to see for who asks for what is hidden.
    let hidden = "Action=DescribeNetworkInterfaces&IncludeManagedResources=true";
    assert_eq!(count(&ec2(&daemon, hidden), "networkInterfaceId"), 4);
    // Another account has none.
    let form = b"Action=DescribeNetworkInterfaces";
    let other = send(&daemon, "POST", "/", &signed("111122223333", "ec2"), form);
    assert_eq!(count(&other, "networkInterfaceId"), 0);
}

#[test]
fn networks_are_described_and_lists_have_pages() {
    let daemon = Daemon::start();
    let subnets = ec2(&daemon, "Action=DescribeSubnets");
    assert_eq!(count(&subnets, "subnetId"), 2);
    // A /24 without its reserved five, two instances and the function's ENI (ADR-01, LAM-32).
    assert!(subnets.body.contains("<availableIpAddressCount>248<"), "{subnets:?}");
    assert_eq!(ec2(&daemon, "Action=DescribeVpcs").element("cidrBlock"), Some("10.0.0.0/16"));
    let groups =
        ec2(&daemon, "Action=DescribeSecurityGroups&Filter.1.Name=group-name&Filter.1.Value.1=db");
    assert_eq!(
        (groups.element("fromPort"), groups.element("ipProtocol")),
        (Some("5432"), Some("tcp"))
    );
    let tables = ec2(
        &daemon,
        "Action=DescribeRouteTables&Filter.1.Name=association.main&Filter.1.Value.1=true",
    );
    assert_eq!(count(&tables, "routeSet"), 1);
    assert!(tables.element("natGatewayId").unwrap().starts_with("nat-"));

    // Pages of EC2 have five items at least.
    let many = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    security_groups: { a: {}, b: {}, c: {}, d: {}, e: {}, f: {} }
";
    daemon.ask(async |client| client.apply("many", many.to_owned(), false).await);
    let first = ec2(&daemon, "Action=DescribeSecurityGroups&MaxResults=5");
    assert_eq!(count(&first, "groupName"), 5);
    let token = first.element("nextToken").unwrap();
    let rest =
        ec2(&daemon, &format!("Action=DescribeSecurityGroups&MaxResults=5&NextToken={token}"));
    assert_eq!((count(&rest, "groupName"), rest.element("nextToken")), (2, None));
}

#[test]
fn what_is_wrong_is_said_with_ec2s_codes() {
    let daemon = Daemon::start();
    for (form, status, code) in [
        ("Action=RunInstances", 400, "InvalidAction"),
        ("", 400, "MissingParameter"),
        ("Action=DescribeVpcs&VpcId.1=vpc-0", 400, "InvalidVpcID.NotFound"),
        ("Action=DescribeSubnets&SubnetId.1=x", 400, "InvalidSubnetID.NotFound"),
        ("Action=DescribeVpcs&Filter.1.Name=colour", 400, "InvalidParameterValue"),
        (
            "Action=DescribeNetworkInterfaces&IncludeManagedResources=yes",
            400,
            "InvalidParameterValue",
        ),
        ("Action=DescribeVpcs&MaxResults=1", 400, "InvalidParameterValue"),
        ("Action=DescribeVpcs&NextToken=%ff", 400, "InvalidNextToken"),
        ("Action=DeleteNetworkInterface", 400, "MissingParameter"),
        (
            "Action=DeleteNetworkInterface&NetworkInterfaceId=eni-0",
            400,
            "InvalidNetworkInterfaceID.NotFound",
        ),
    ] {
        let answer = ec2(&daemon, form);
        assert_eq!((answer.status, answer.element("Code")), (status, Some(code)), "{form}");
    }
    let long = vec![b'a'; (1 << 20) + 1];
    let answer = send(&daemon, "POST", "/", &signed("AKIA", "ec2"), &long);
    assert_eq!(answer.element("Code"), Some("RequestEntityTooLarge"));
}

#[test]
fn roles_have_policies_and_go_when_they_have_none() {
    let daemon = Daemon::start();
    make_role(&daemon);
    let inline = "Action=PutRolePolicy&RoleName=vpc&PolicyName=logs&PolicyDocument=\
                  %7B%22Statement%22%3A%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22logs%3A*%22%2C\
                  %22Resource%22%3A%22*%22%7D%7D";
    assert_eq!(iam(&daemon, inline).status, 200);
    let listed = iam(&daemon, "Action=ListRolePolicies&RoleName=vpc");
    assert_eq!(listed.element("member"), Some("logs"));
    let listed = iam(&daemon, "Action=ListAttachedRolePolicies&RoleName=vpc");
    assert_eq!(listed.element("PolicyName"), Some("AWSLambdaVPCAccessExecutionRole"));
    for (form, status, code) in [
        ("Action=DeleteRole&RoleName=vpc", 409, "DeleteConflict"),
        ("Action=GetRole&RoleName=none", 404, "NoSuchEntity"),
        ("Action=GetRole&RoleName=a%20b", 400, "ValidationError"),
        (
            "Action=CreateRole&RoleName=vpc&AssumeRolePolicyDocument=%7B%7D",
            409,
            "EntityAlreadyExists",
        ),
        ("Action=CreateRole&RoleName=x&AssumeRolePolicyDocument=x", 400, "MalformedPolicyDocument"),
        (
            "Action=PutRolePolicy&RoleName=vpc&PolicyName=x&PolicyDocument=%7B%7D",
            400,
            "MalformedPolicyDocument",
        ),
        ("Action=DeleteRolePolicy&RoleName=vpc&PolicyName=x", 404, "NoSuchEntity"),
        ("Action=AttachRolePolicy&RoleName=vpc&PolicyArn=x", 404, "NoSuchEntity"),
        ("Action=CreateUser&UserName=x", 400, "InvalidAction"),
    ] {
        let answer = iam(&daemon, form);
        assert_eq!((answer.status, answer.element("Code")), (status, Some(code)), "{form}");
    }
    for form in [
        "Action=DeleteRolePolicy&RoleName=vpc&PolicyName=logs",
        "Action=DetachRolePolicy&RoleName=vpc&PolicyArn=\
         arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole",
        "Action=DeleteRole&RoleName=vpc",
    ] {
        assert_eq!(iam(&daemon, form).status, 200, "{form}");
    }
    assert_eq!(iam(&daemon, "Action=GetRole&RoleName=vpc").status, 404);
}

// Facts: LAM-55
#[test]
fn lam_55_an_eni_whose_role_is_gone_is_stranded_and_deleted_by_hand() {
    let daemon = Daemon::start_with(|options| {
        let text = format!("settings: {{ lifecycle_scale: 1000 }}{}", common::TOPOLOGY);
        std::fs::write(&options.topology, text).unwrap();
    });
    make_role(&daemon);
    let find =
        "Action=DescribeNetworkInterfaces&Filter.1.Name=description&Filter.1.Value.1=*ENI-f-*";
    let subnets = ec2(
        &daemon,
        "Action=DescribeSubnets&Filter.1.Name=cidr-block&Filter.1.Value.1=10.0.1.0/24",
    );
    let groups =
        ec2(&daemon, "Action=DescribeSecurityGroups&Filter.1.Name=group-name&Filter.1.Value.1=db");
    let subnet = subnets.element("subnetId").unwrap();
    let wanted = in_vpc("f", &[subnet], &[groups.element("groupId").unwrap()]);
    assert_eq!(call(&daemon, "POST", "", &wanted).status, 201);
    until(&daemon, "f", "State", "Active");
    let eni = ec2(&daemon, find).element("networkInterfaceId").unwrap().to_owned();
    let delete = format!("Action=DeleteNetworkInterface&NetworkInterfaceId={eni}");
    assert_eq!(ec2(&daemon, &delete).element("Code"), Some("InvalidNetworkInterface.InUse"));

    for form in [
        "Action=DetachRolePolicy&RoleName=vpc&PolicyArn=\
         arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole",
        "Action=DeleteRole&RoleName=vpc",
    ] {
        assert_eq!(iam(&daemon, form).status, 200, "{form}");
    }
    assert_eq!(call(&daemon, "DELETE", "/f", &json!({})).status, 204);
    eventually("its ENI is stranded", || ec2(&daemon, find).element("status") == Some("available"));
    assert_eq!(ec2(&daemon, &delete).element("return"), Some("true"));
    assert_eq!(ec2(&daemon, find).element("networkInterfaceId"), None);
}
