//! What Lambda's API refuses: each with Lambda's exception, and nothing has changed.

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
};

use common::{
    Daemon, LIMIT,
    aws::{Answer, ROLE, call, call_as, function, in_vpc, make_role, send, signed},
};
use serde_json::{Value, json};
use viaduct_client::DropsQuery;
use viaduct_daemon::Error;

/// Everything that commands change, as text.
fn state(daemon: &Daemon) -> String {
    let functions = daemon.ask(async |client| client.functions().await);
    let versions = daemon.ask(async |client| client.versions().await);
    let events = daemon.ask(async |client| client.events(DropsQuery::default()).await);
    format!("{functions:?}{versions:?}{events:?}")
}

/// The same without members of these names, and with others.
fn with(mut body: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[test]
fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    let daemon = Daemon::start();
    make_role(&daemon);
    assert_eq!(call(&daemon, "POST", "", &function("f")).status, 201);
    let before = state(&daemon);
    let create = |members: Value| ("POST", "", with(function("g"), members));
    let update = |members: Value| ("PUT", "/f/configuration", members);
    let vpc = |subnets: Value, groups: Value| json!({ "VpcConfig": { "SubnetIds": subnets, "SecurityGroupIds": groups } });
    let many: Vec<String> = (0..17).map(|number| format!("subnet-{number}")).collect();
    for ((method, path, body), status, exception) in [
        (create(json!({ "Role": null })), 400, "validationexception"),
        (create(json!({ "Role": "vpc" })), 400, "validationexception"),
        (create(json!({ "Role": format!("{ROLE}2") })), 400, "invalidparametervalueexception"),
        (
            create(json!({ "Role": ROLE.replace("123456789012", "111122223333") })),
            400,
            "invalidparametervalueexception",
        ),
        (create(json!({ "FunctionName": "g h" })), 400, "validationexception"),
        (create(json!({ "FunctionName": "g:1" })), 400, "invalidparametervalueexception"),
        (create(json!({ "FunctionName": "f" })), 409, "resourceconflictexception"),
        (create(json!({ "Runtime": null })), 400, "invalidparametervalueexception"),
        (create(json!({ "Code": {} })), 400, "invalidparametervalueexception"),
        (create(json!({ "Code": { "ZipFile": "?" } })), 400, "serializationexception"),
        (create(json!({ "Code": { "ZipFile": "" } })), 400, "invalidparametervalueexception"),
        (create(json!({ "Code": { "ImageUri": "x" } })), 400, "invalidparametervalueexception"),
        (create(json!({ "Code": "x" })), 400, "serializationexception"),
        (create(json!({ "Timeout": 901 })), 400, "validationexception"),
        (create(json!({ "MemorySize": "128" })), 400, "serializationexception"),
        (create(vpc(json!(many), json!(["sg-1"]))), 400, "validationexception"),
        (create(vpc(json!(["subnet-1"]), json!([]))), 400, "invalidparametervalueexception"),
        (update(vpc(json!([]), json!(["sg-1"]))), 400, "invalidparametervalueexception"),
        (update(vpc(json!(["vpc-1"]), json!(["sg-1"]))), 400, "validationexception"),
        (update(json!({ "RevisionId": "x" })), 412, "preconditionfailedexception"),
        (
            update(json!({ "Environment": { "Variables": { "AB": "x".repeat(4096) } } })),
            400,
            "invalidparametervalueexception",
        ),
        (
            update(json!({ "VpcConfig": { "Ipv6AllowedForDualStack": true } })),
            400,
            "invalidparametervalueexception",
        ),
        (("PUT", "/f:1/configuration", json!({})), 400, "invalidparametervalueexception"),
        (("PUT", "/none/configuration", json!({})), 404, "resourcenotfoundexception"),
        (("PUT", "/f/code", json!({})), 400, "invalidparametervalueexception"),
        (
            ("POST", "/f/versions", json!({ "CodeSha256": "x" })),
            400,
            "invalidparametervalueexception",
        ),
        (("DELETE", "/f?Qualifier=$LATEST", json!({})), 400, "invalidparametervalueexception"),
        (("DELETE", "/f:7", json!({})), 404, "resourcenotfoundexception"),
        (("GET", "/f?Qualifier=live", json!({})), 404, "resourcenotfoundexception"),
        (("GET", "/f:1?Qualifier=2", json!({})), 400, "invalidparametervalueexception"),
        (("GET", "?MaxItems=0", json!({})), 400, "validationexception"),
        (("GET", "?MaxItems=many", json!({})), 400, "validationexception"),
        (("GET", "?FunctionVersion=1", json!({})), 400, "validationexception"),
        (("GET", "?Marker=%3F", json!({})), 400, "invalidparametervalueexception"),
        (("GET", "/%ff", json!({})), 400, "validationexception"),
        (("PATCH", "/f", json!({})), 404, "unknownoperationexception"),
        (("GET", "/f/aliases", json!({})), 404, "unknownoperationexception"),
        // The topology file's.
        (("DELETE", "/api", json!({})), 409, "resourceconflictexception"),
        (("PUT", "/api/configuration", json!({})), 409, "resourceconflictexception"),
    ] {
        let answer = call(&daemon, method, path, &body);
        let expected = Some((status, exception.to_owned()));
        assert_eq!(answer.exception(), expected, "{method} {path} {body}\n{answer:?}");
        assert!(answer.json()["Message"].is_string(), "{answer:?}");
        assert!(answer.header("x-amzn-requestid").is_some(), "{answer:?}");
        assert_eq!(state(&daemon), before, "{method} {path} {body}");
    }
}

#[test]
fn bodies_that_are_no_json_or_too_long_or_never_end_change_nothing() {
    let daemon = Daemon::start();
    make_role(&daemon);
    let before = state(&daemon);
    let path = "/2015-03-31/functions";
    let nested = "[".repeat(100_000);
    let unfinished = "{\"FunctionName\":\"f\"";
    for body in ["{", "[]", "\"f\"", "\u{0}", "{\"FunctionName\":\"\\ud800\"}", unfinished, &nested]
    {
        let answer = send(&daemon, "POST", path, "", body.as_bytes());
        assert_eq!(
            answer.exception(),
            Some((400, "serializationexception".to_owned())),
            "{answer:?}"
        );
    }
    let long = vec![b' '; (1 << 20) + 1];
    let configuration = format!("{path}/f/configuration");
    let answer = send(&daemon, "PUT", &configuration, "", &long);
    let too_large = "requestentitytoolargeexception".to_owned();
    assert_eq!(answer.exception(), Some((413, too_large)));
    let long = vec![b' '; (6 << 20) + 1];
    let answer = send(&daemon, "POST", &format!("{path}/f/invocations"), "", &long);
    assert_eq!(answer.exception(), Some((413, "requesttoolargeexception".to_owned())));

    // Half of a body, and then nothing: whoever has closed this way gets an answer or the end.
    let mut stream = UnixStream::connect(&daemon.control_socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{unfinished}")
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(state(&daemon), before);
}

// Facts: LAM-72, LAM-73
#[test]
fn lam_73_principals_of_the_topology_may_what_their_policies_say_and_nobody_else_anything() {
    let principals = "
principals:
  READER: { policies: [ { Statement: { Effect: Allow, Action: 'lambda:Get*', Resource: '*' } } ] }
  INSIDER:
    account: '123456789012'
    policies:
      - Statement: { Effect: Allow, Action: ['lambda:*', 'ec2:Describe*'], Resource: '*' }
      - Statement:
          Sid: InAVpc
          Effect: Deny
          Action: [lambda:CreateFunction, lambda:UpdateFunctionConfiguration]
          Resource: '*'
          Condition: { 'Null': { lambda:VpcIds: true } }
";
    let daemon = Daemon::start_with(|options| {
        let text = format!("{}{principals}", common::TOPOLOGY);
        std::fs::write(&options.topology, text).unwrap();
    });
    make_role(&daemon);
    let before = state(&daemon);
    let call = |key: &str, method: &str, path: &str, body: &Value| {
        call_as(&daemon, &signed(key, "lambda"), method, path, body)
    };
    let denied = Some((403, "accessdeniedexception".to_owned()));
    let unknown = Some((403, "unrecognizedclientexception".to_owned()));
    assert_eq!(call("NOBODY", "GET", "/api", &json!({})).exception(), unknown);
    assert_eq!(call("READER", "GET", "/api", &json!({})).status, 200);
    assert_eq!(call("READER", "GET", "", &json!({})).exception(), denied);
    assert_eq!(call("READER", "POST", "", &function("f")).exception(), denied);
    let outside = call("INSIDER", "POST", "", &function("f"));
    assert_eq!(outside.exception(), denied);
    assert!(outside.json()["Message"].as_str().unwrap().contains("InAVpc"), "{outside:?}");
    let ec2 = |key: &str| send(&daemon, "POST", "/", &signed(key, "ec2"), b"Action=DescribeVpcs");
    assert_eq!(ec2("READER").element("Code"), Some("UnauthorizedOperation"));
    assert_eq!(ec2("NOBODY").element("Code"), Some("AuthFailure"));
    assert_eq!(ec2("INSIDER").status, 200);
    assert_eq!(state(&daemon), before);
}

// Facts: LAM-71
#[test]
fn lam_71_who_makes_a_function_passes_its_role_and_sees_its_network() {
    let statement = |action: &str, resource: &str| {
        format!("{{ Effect: Allow, Action: {action}, Resource: '{resource}' }}")
    };
    let lambda = statement("'lambda:*'", "*");
    let pass = statement("iam:PassRole", ROLE);
    let pass_other = statement("iam:PassRole", &format!("{ROLE}2"));
    let pass_to = |service: &str| {
        format!(
            "{{ Effect: Allow, Action: iam:PassRole, Resource: '*', Condition: {{ StringEquals: \
             {{ iam:PassedToService: {service}.amazonaws.com }} }} }}"
        )
    };
    let network =
        ["DescribeSecurityGroups", "DescribeSubnets", "DescribeVpcs", "GetSecurityGroupsForVpc"];
    let see = |missing: Option<usize>| {
        let rights = network.iter().enumerate().filter(|(number, _)| Some(*number) != missing);
        let rights: Vec<String> = rights.map(|(_, right)| format!("ec2:{right}")).collect();
        statement(&format!("[{}]", rights.join(", ")), "*")
    };
    let mut principals = vec![
        ("NOROLE".to_owned(), vec![lambda.clone(), see(None)]),
        ("OTHERROLE".to_owned(), vec![lambda.clone(), see(None), pass_other]),
        ("OTHERSERVICE".to_owned(), vec![lambda.clone(), see(None), pass_to("ec2")]),
        ("BLIND".to_owned(), vec![lambda.clone(), pass.clone()]),
        ("ALL".to_owned(), vec![lambda.clone(), pass.clone(), see(None)]),
        ("SERVICE".to_owned(), vec![lambda.clone(), see(None), pass_to("lambda")]),
    ];
    for number in 0..network.len() {
        let policies = vec![lambda.clone(), pass.clone(), see(Some(number))];
        principals.push((format!("WITHOUT{number}"), policies));
    }
    let mut text = format!("{}\nprincipals:\n", common::TOPOLOGY);
    for (key, statements) in &principals {
        let statements = statements.join(", ");
        text += &format!("  {key}: {{ policies: [ {{ Statement: [ {statements} ] }} ] }}\n");
    }
    let daemon = Daemon::start_with(|options| std::fs::write(&options.topology, text).unwrap());
    make_role(&daemon);
    let answer = |key: &str, method: &str, path: &str, body: &Value| {
        call_as(&daemon, &signed(key, "lambda"), method, path, body)
    };
    let create = |key: &str, name: &str, vpc: bool| {
        let body = if vpc { in_vpc(name, &["subnet-x"], &["sg-x"]) } else { function(name) };
        answer(key, "POST", "", &body)
    };
    let denied = |answer: Answer, words: &str| {
        assert_eq!(answer.exception(), Some((403, "accessdeniedexception".to_owned())));
        assert!(answer.json()["Message"].as_str().unwrap().contains(words), "{answer:?}");
    };
    let before = state(&daemon);
    for key in ["NOROLE", "OTHERROLE", "OTHERSERVICE"] {
        denied(
            create(key, "f", false),
            &format!("perform: iam:PassRole on resource: {ROLE} because"),
        );
    }
    denied(create("BLIND", "f", true), "denied by EC2");
    for (number, right) in network.iter().enumerate() {
        let words = format!("permission to {right}. EC2 Error Code: UnauthorizedOperation");
        denied(create(&format!("WITHOUT{number}"), "f", true), &words);
    }
    assert_eq!(state(&daemon), before);

    // Whoever names no VPC need not see any, and whoever names no role need not pass it.
    assert_eq!(create("BLIND", "f", false).status, 201);
    assert_eq!(create("SERVICE", "g", false).status, 201);
    assert_eq!(create("ALL", "h", true).status, 201);
    let update = |key: &str, change: Value| answer(key, "PUT", "/f/configuration", &change);
    assert_eq!(update("NOROLE", json!({ "Timeout": 4 })).status, 200);
    denied(update("NOROLE", json!({ "Role": ROLE })), "iam:PassRole");
    let vpc = json!({ "VpcConfig": { "SubnetIds": ["subnet-x"], "SecurityGroupIds": ["sg-x"] } });
    denied(update("BLIND", vpc), "denied by EC2");
    let nowhere = json!({ "VpcConfig": { "SubnetIds": [], "SecurityGroupIds": [] } });
    assert_eq!(update("BLIND", nowhere).status, 200);
}

#[test]
fn over_tcp_there_are_awss_apis_alone_and_only_for_who_signs() {
    let daemon = Daemon::start_with(|options| {
        options.lambda_api = Some("127.0.0.1:0".parse().unwrap());
    });
    let get = |path: &str, headers: &str| {
        let mut stream = TcpStream::connect(daemon.lambda_api.unwrap()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        Answer::of(&answer)
    };
    let signed = signed("AKIA", "lambda");
    assert_eq!(get("/2015-03-31/functions/api", &signed).status, 200);
    let unsigned = get("/2015-03-31/functions/api", "");
    let missing = "missingauthenticationtokenexception".to_owned();
    assert_eq!(unsigned.exception(), Some((403, missing)));
    assert_eq!(get("/v1/status", &signed).status, 404);
    assert_eq!(get("/metrics", &signed).status, 404);
    let bearer = get("/2015-03-31/functions/api", "authorization: Bearer x\r\n");
    let incomplete = "incompletesignatureexception".to_owned();
    assert_eq!(bearer.exception(), Some((403, incomplete)));

    // Nowhere but on loopback.
    let mut options = daemon.options.clone();
    options.runtime_dir = options.runtime_dir.join("other");
    options.lambda_api = Some("0.0.0.0:0".parse().unwrap());
    match viaduct_daemon::run(&options, |_| panic!("became ready"), std::future::pending()) {
        Err(error @ Error::NotLoopback { .. }) => {
            assert!(error.to_string().contains("choose a loopback address"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn zones_fail_and_are_back() {
    let daemon = Daemon::start();
    let invoke = || call(&daemon, "POST", "/api/invocations", &json!({}));
    let failed = daemon.ask(async |client| client.fail_zone("a", true).await);
    assert_eq!(failed.zones, ["a"]);
    assert_eq!(daemon.ask(async |client| client.status().await).failed_zones, ["a"]);
    // All of its subnets are there (LAM-18).
    assert_eq!(invoke().exception(), Some((502, "eninotreadyexception".to_owned())));
    assert_eq!(daemon.ask(async |client| client.fail_zone("a", false).await).zones, [""; 0]);
    assert_eq!(invoke().exception(), Some((500, "serviceexception".to_owned())));
    match daemon.try_ask(async |client| client.fail_eni("eni-0").await) {
        Err(error) => {
            assert!(error.to_string().contains("eni-0 is no ENI that functions"), "{error}");
        }
        Ok(faults) => panic!("{faults:?}"),
    }
    match daemon.try_ask(async |client| client.fail_zone("z", true).await) {
        Err(error) => assert!(error.to_string().contains("no subnet is in zone z"), "{error}"),
        Ok(faults) => panic!("{faults:?}"),
    }
}
