//! Lambda's API: lives of functions.

mod common;

use common::{
    Daemon, TOPOLOGY,
    aws::{call, call_as, function, iam, in_vpc, make_role, send, signed, until},
    eventually,
};
use serde_json::{Value, json};
use viaduct_client::{DropsQuery, EniKind};

/// The topology with known ids, two zones, and delays of milliseconds.
fn topology() -> String {
    let subnets = "private: { cidr_block: 10.0.1.0/24, availability_zone: a }";
    let named = "private: { id: subnet-a, cidr_block: 10.0.1.0/24, availability_zone: a }
      other: { id: subnet-b, cidr_block: 10.0.2.0/24, availability_zone: b }";
    let text = TOPOLOGY
        .replace(subnets, named)
        .replace("fn: { egress", "fn: { id: sg-fn, egress")
        .replace("db: { ingress", "db: { id: sg-db, ingress");
    format!("settings: {{ lifecycle_scale: 1000 }}{text}")
}

fn daemon() -> Daemon {
    let daemon = Daemon::start_with(|options| {
        std::fs::write(&options.topology, topology()).unwrap();
    });
    make_role(&daemon);
    daemon
}

fn names(list: &Value, key: &str) -> Vec<String> {
    let entries = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
    entries.iter().map(|it| it[key].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_function_without_a_vpc_is_made_read_changed_published_and_deleted() {
    let daemon = daemon();
    let made = call(&daemon, "POST", "", &function("f"));
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert_eq!(made["FunctionArn"], "arn:aws:lambda:us-east-1:123456789012:function:f");
    assert_eq!(
        (&made["State"], &made["LastUpdateStatus"]),
        (&"Active".into(), &"Successful".into())
    );
    assert_eq!(made["CodeSize"], 4);
    assert_eq!(made["MemorySize"], 128);
    assert_eq!(made["Role"], "arn:aws:iam::123456789012:role/vpc");
    assert_eq!(made["VpcConfig"]["VpcId"], "");
    let found = call(&daemon, "GET", "/f", &json!({})).json();
    assert_eq!(found["Configuration"], made);

    let change = json!({ "MemorySize": 512, "Environment": { "Variables": { "AB": "c" } } });
    let changed = call(&daemon, "PUT", "/f/configuration", &change).json();
    assert_eq!(
        (&changed["MemorySize"], &changed["Handler"]),
        (&512.into(), &"index.handler".into())
    );
    assert_eq!(changed["Environment"], change["Environment"]);
    assert_ne!(changed["RevisionId"], made["RevisionId"]);

    let version = call(&daemon, "POST", "/f/versions", &json!({ "Description": "one" }));
    assert_eq!((version.status, &version.json()["Version"]), (201, &"1".into()));
    let described = ["/f:1", "/f"].map(|it| call(&daemon, "GET", it, &json!({})).json());
    let described = described.map(|it| it["Configuration"]["Description"].clone());
    assert_eq!(described, [json!("one"), json!("")]);
    let code = json!({ "ZipFile": "UEsDBA0K", "Publish": true });
    assert_eq!(call(&daemon, "PUT", "/f/code", &code).json()["Version"], "2");
    let versions = call(&daemon, "GET", "/f/versions", &json!({})).json();
    assert_eq!(names(&versions["Versions"], "Version"), ["$LATEST", "1", "2"]);

    assert_eq!(call(&daemon, "DELETE", "/f?Qualifier=1", &json!({})).status, 204);
    assert_eq!(call(&daemon, "GET", "/f:1", &json!({})).status, 404);
    assert_eq!(call(&daemon, "GET", "/f:2", &json!({})).status, 200);
    assert_eq!(call(&daemon, "DELETE", "/f", &json!({})).status, 204);
    assert_eq!(call(&daemon, "GET", "/f:2", &json!({})).status, 404);
}

#[test]
fn a_role_of_the_file_is_one_for_functions_of_the_api() {
    let daemon = Daemon::start_with(|options| {
        let text = topology()
            .replace("security_groups: [main/fn],", "security_groups: [main/fn], role: of.file,");
        let roles = "roles: { of.file: { policies: [AWSLambdaVPCAccessExecutionRole] } }";
        std::fs::write(&options.topology, format!("{text}{roles}\n")).unwrap();
    });
    let arn = "arn:aws:iam::123456789012:role/of.file";
    let declared = call(&daemon, "GET", "/api/configuration", &json!({})).json();
    assert_eq!(declared["Role"], arn, "{declared}");
    let found = iam(&daemon, "Action=GetRole&RoleName=of.file");
    assert_eq!(found.element("Arn"), Some(arn), "{found:?}");
    let mut wanted = in_vpc("f", &["subnet-b"], &["sg-db"]);
    wanted["Role"] = arn.into();
    assert_eq!(call(&daemon, "POST", "", &wanted).status, 201);
    until(&daemon, "f", "State", "Active");
}

// Facts: LAM-16, LAM-45, LAM-48, LAM-50
#[test]
fn a_function_in_a_vpc_waits_for_its_enis_and_moves() {
    let daemon = daemon();
    let mut wanted = in_vpc("f", &["subnet-a"], &["sg-fn", "sg-db"]);
    wanted["Publish"] = true.into();
    wanted["Tags"] = json!({ "team": "net" });
    let made = call(&daemon, "POST", "", &wanted).json();
    assert_eq!(made["Version"], "1", "it is published at once");
    let vpc = made["VpcConfig"]["VpcId"].as_str().unwrap();
    assert!(vpc.starts_with("vpc-"), "{made}");
    until(&daemon, "f", "State", "Active");
    until(&daemon, "f:1", "State", "Active");
    assert_eq!(call(&daemon, "GET", "/f", &json!({})).json()["Tags"], wanted["Tags"]);

    let change =
        json!({ "VpcConfig": { "SubnetIds": ["subnet-b"], "SecurityGroupIds": ["sg-db"] } });
    let changed = call(&daemon, "PUT", "/f/configuration", &change).json();
    assert_eq!(changed["VpcConfig"]["SubnetIds"], json!(["subnet-b"]));
    until(&daemon, "f", "LastUpdateStatus", "Successful");
    let frozen = call(&daemon, "GET", "/f/configuration?Qualifier=1", &json!({})).json();
    assert_eq!(frozen["VpcConfig"]["SubnetIds"], json!(["subnet-a"]), "LAM-54");

    // The delays are so short that an answer may come after them: what there was says the history,
    // which has a thing when it lasts, and a reader may see that a moment earlier.
    let expected = [
        "f is Pending: Creating: The function is being created.",
        "f is Active",
        "update of f: InProgress",
        "update of f: Successful",
    ];
    eventually("the history has all of it", || {
        let events = daemon.ask(async |client| client.events(DropsQuery::default()).await);
        let events = events.events.iter().map(|event| event.what.as_str());
        let of_f = |event: &&str| event.starts_with("f is") || event.starts_with("update of f");
        events.filter(of_f).eq(expected)
    });

    // Detached, and the version gone: nobody uses an ENI any more (LAM-16, LAM-55).
    let nowhere = json!({ "VpcConfig": { "SubnetIds": [], "SecurityGroupIds": [] } });
    let changed = call(&daemon, "PUT", "/f/configuration", &nowhere).json();
    assert_eq!(changed["VpcConfig"]["VpcId"], "");
    assert_eq!(call(&daemon, "DELETE", "/f:1", &json!({})).status, 204);
    eventually("its ENIs are gone", || {
        let enis = daemon.ask(async |client| client.enis().await);
        enis.iter().all(|eni| eni.kind != EniKind::Functions || eni.users == ["function/api"])
    });
}

#[test]
fn lists_are_the_callers_own_and_come_in_pages() {
    let daemon = daemon();
    for name in ["c", "a", "b-1", "b"] {
        assert_eq!(call(&daemon, "POST", "", &function(name)).status, 201, "{name}");
    }
    call(&daemon, "POST", "/b/versions", &json!({}));
    let list = |query: &str| call(&daemon, "GET", query, &json!({})).json();
    let all = list("");
    // The file's function is one too.
    assert_eq!(names(&all["Functions"], "FunctionName"), ["a", "api", "b", "b-1", "c"]);
    assert_eq!(all["NextMarker"], Value::Null);
    assert_eq!(all["Functions"][0]["State"], Value::Null, "IMP-21");
    assert_eq!(all["Functions"][0]["LastUpdateStatus"], Value::Null, "IMP-21");

    let mut seen = Vec::new();
    let mut query = "/?FunctionVersion=ALL&MaxItems=1".to_owned();
    loop {
        let page = list(&query);
        let arns = names(&page["Functions"], "FunctionArn");
        assert_eq!(arns.len(), 1);
        seen.extend(arns);
        let Some(marker) = page["NextMarker"].as_str() else { break };
        query = format!("/?FunctionVersion=ALL&MaxItems=1&Marker={marker}");
    }
    let ends: Vec<&str> = seen.iter().map(|arn| arn.rsplit_once("function:").unwrap().1).collect();
    let expected = ["a:$LATEST", "api:$LATEST", "b:$LATEST", "b:1", "b-1:$LATEST", "c:$LATEST"];
    assert_eq!(ends, expected);

    // Another account has none of them.
    let other = signed("111122223333", "lambda");
    let list = call_as(&daemon, &other, "GET", "", &json!({})).json();
    assert_eq!(list["Functions"], json!([]));
    let answer = call_as(&daemon, &other, "GET", "/a", &json!({}));
    assert_eq!(answer.exception(), Some((404, "resourcenotfoundexception".to_owned())));
    let answer = call_as(&daemon, &other, "GET", "/123456789012:function:a", &json!({}));
    assert_eq!(answer.exception(), Some((403, "accessdeniedexception".to_owned())));
}

#[test]
fn tags_are_set_read_and_taken_away() {
    let daemon = daemon();
    let arn = call(&daemon, "POST", "", &function("f")).json()["FunctionArn"].clone();
    let path = format!("/2017-03-31/tags/{}", arn.as_str().unwrap().replace(':', "%3A"));
    let tags = |method: &str, query: &str, body: &Value| {
        send(&daemon, method, &format!("{path}{query}"), "", body.to_string().as_bytes())
    };
    let body = json!({ "Tags": { "a": "1", "b": "2", "c d": "3" } });
    assert_eq!(tags("POST", "", &body).status, 204);
    assert_eq!(tags("DELETE", "?tagKeys=a&tagKeys=c+d&tagKeys=x", &json!({})).status, 204);
    assert_eq!(tags("GET", "", &json!({})).json(), json!({ "Tags": { "b": "2" } }));
}

// Facts: LAM-46, LAM-51, LAM-62
#[test]
fn an_invocation_is_judged_by_the_functions_state() {
    let daemon = daemon();
    let invoke = |name: &str, kind: &str| {
        let path = format!("/2015-03-31/functions/{name}/invocations");
        send(&daemon, "POST", &path, &format!("x-amz-invocation-type: {kind}\r\n"), b"{}")
    };
    assert_eq!(invoke("f", "DryRun").exception().unwrap().0, 404);
    // A creation that takes a while.
    let slow = format!("settings: {{ lifecycle: {{ creation: 86400 }} }}{TOPOLOGY}");
    daemon.ask(async |client| client.apply("slow", slow, false).await);
    let status = daemon.ask(async |client| client.functions().await);
    assert_eq!(status.len(), 1);
    let groups = daemon.ask(async |client| client.enis().await);
    let eni = groups.iter().find(|eni| !eni.users.is_empty()).unwrap();
    let groups: Vec<&str> = vec!["sg-none"];
    let answer = call(&daemon, "POST", "", &in_vpc("f", &[&eni.subnet], &groups)).json();
    assert_eq!(answer["State"], "Failed", "{answer}");
    assert_eq!(answer["StateReasonCode"], "InvalidSecurityGroup");
    assert_eq!(
        invoke("f", "DryRun").exception().unwrap(),
        (409, "resourceconflictexception".into())
    );

    assert_eq!(call(&daemon, "POST", "", &function("g")).status, 201);
    let answer = invoke("g", "DryRun");
    assert_eq!((answer.status, answer.header("x-amz-executed-version")), (204, Some("$latest")));
    for kind in ["RequestResponse", "Event"] {
        assert_eq!(invoke("g", kind).exception().unwrap(), (500, "serviceexception".into()));
    }
    assert_eq!(invoke("g", "Later").exception().unwrap(), (400, "validationexception".into()));
}
