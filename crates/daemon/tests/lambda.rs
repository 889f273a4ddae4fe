//! Lambda's API: the life of a function, and what is refused, as raw HTTP.

mod common;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

use common::{Daemon, LIMIT};
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/vpc";

/// An answer: status, the header that names an exception, and the body.
#[derive(Debug)]
struct Answer {
    status: u16,
    exception: Option<String>,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a request to the control socket.
fn send(daemon: &Daemon, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\
         {headers}\r\n"
    );
    let mut stream = UnixStream::connect(&daemon.control_socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // Whoever is refused early may find nobody to read the rest.
    let _ = stream.write_all(body);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let exception = head.lines().find_map(|line| line.strip_prefix("x-amzn-errortype: "));
    Answer {
        status: head[9..12].parse().unwrap(),
        exception: exception.map(str::to_owned),
        body: body.to_owned(),
    }
}

fn call(daemon: &Daemon, method: &str, path: &str, body: &Value) -> Answer {
    send(daemon, method, &format!("/2015-03-31/functions{path}"), "", body.to_string().as_bytes())
}

/// Has a role made that permits what ENIs need.
fn make_role(daemon: &Daemon) {
    for form in [
        "Action=CreateRole&Version=2010-05-08&RoleName=vpc&AssumeRolePolicyDocument=%7B%7D",
        "Action=AttachRolePolicy&Version=2010-05-08&RoleName=vpc&PolicyArn=\
         arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole",
    ] {
        let answer = send(daemon, "POST", "/", "", form.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

fn function(name: &str) -> Value {
    json!({
        "FunctionName": name,
        "Role": ROLE,
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Code": { "ZipFile": "UEsDBA==" },
    })
}

#[test]
fn a_function_without_a_vpc_is_made_read_changed_published_and_deleted() {
    let daemon = Daemon::start();
    make_role(&daemon);
    let made = call(&daemon, "POST", "", &function("f"));
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert_eq!(made["FunctionArn"], "arn:aws:lambda:us-east-1:123456789012:function:f");
    assert_eq!(
        (&made["State"], &made["LastUpdateStatus"]),
        (&json!("Active"), &json!("Successful"))
    );
    assert_eq!(made["CodeSize"], 4);
    assert_eq!(made["MemorySize"], 128);
    assert_eq!(made["VpcConfig"]["VpcId"], "");
    let found = call(&daemon, "GET", "/f", &json!({})).json();
    assert_eq!(found["Configuration"], made);

    let change = json!({ "MemorySize": 512, "Environment": { "Variables": { "AB": "c" } } });
    let changed = call(&daemon, "PUT", "/f/configuration", &change).json();
    assert_eq!(
        (&changed["MemorySize"], &changed["Handler"]),
        (&json!(512), &json!("index.handler"))
    );
    assert_eq!(changed["Environment"], change["Environment"]);
    assert_ne!(changed["RevisionId"], made["RevisionId"]);
    let stale = json!({ "MemorySize": 256, "RevisionId": made["RevisionId"] });
    let stale = call(&daemon, "PUT", "/f/configuration", &stale);
    assert_eq!(
        (stale.status, stale.exception.as_deref()),
        (412, Some("PreconditionFailedException"))
    );

    let version = call(&daemon, "POST", "/f/versions", &json!({}));
    assert_eq!((version.status, &version.json()["Version"]), (201, &json!("1")));
    let code = json!({ "ZipFile": "UEsDBA0K", "Publish": true });
    assert_eq!(call(&daemon, "PUT", "/f/code", &code).json()["Version"], "2");
    let versions = call(&daemon, "GET", "/f/versions", &json!({})).json();
    let versions = versions["Versions"].as_array().unwrap();
    let versions: Vec<_> = versions.iter().map(|it| it["Version"].as_str().unwrap()).collect();
    assert_eq!(versions, ["$LATEST", "1", "2"]);

    assert_eq!(call(&daemon, "DELETE", "/f?Qualifier=1", &json!({})).status, 204);
    assert_eq!(call(&daemon, "GET", "/f:1", &json!({})).status, 404);
    assert_eq!(call(&daemon, "DELETE", "/f", &json!({})).status, 204);
    let gone = call(&daemon, "GET", "/f", &json!({}));
    assert_eq!((gone.status, gone.exception.as_deref()), (404, Some("ResourceNotFoundException")));
    let message = "Function not found: arn:aws:lambda:us-east-1:123456789012:function:f";
    assert_eq!(gone.json(), json!({ "Type": "User", "Message": message }));
}
