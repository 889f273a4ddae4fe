//! AWS's APIs as raw HTTP over the control socket.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
};

use serde_json::{Value, json};

use super::{Daemon, LIMIT, eventually};

/// The ARN of the role that [`make_role`] makes.
pub(crate) const ROLE: &str = "arn:aws:iam::123456789012:role/vpc";

/// An answer: status, headers in lower case, and the body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Takes the bytes of an answer apart.
    pub(crate) fn of(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        let status = head[9..12].parse().unwrap();
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The exception by the name that clients read, with its status; none if it is none.
    pub(crate) fn exception(&self) -> Option<(u16, String)> {
        // The header's value keeps its case in the body's stead.
        let named = self.header("x-amzn-errortype")?;
        Some((self.status, named.to_owned()))
    }

    /// The text of the first element of this name.
    pub(crate) fn element(&self, name: &str) -> Option<&str> {
        let (_, rest) = self.body.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
    }
}

/// The header of somebody who signs for a service with this access key id.
pub(crate) fn signed(key: &str, service: &str) -> String {
    format!(
        "authorization: AWS4-HMAC-SHA256 Credential={key}/20260101/eu-west-1/{service}/aws4_request, \
         SignedHeaders=host, Signature=00\r\n"
    )
}

/// Sends a request to the control socket; `headers` are whole lines.
pub(crate) fn send(
    daemon: &Daemon,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\
         {headers}\r\n"
    );
    let mut stream = UnixStream::connect(&daemon.control_socket).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    // In one piece: a body that nobody asks for is read with what it came with.
    let request = [head.as_bytes(), body].concat();
    // Whoever is refused early may find nobody to read the rest, and then be told of that at the end.
    let _ = stream.write_all(&request);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert!(error.kind() == ErrorKind::ConnectionReset && !answer.is_empty(), "{error}");
    }
    let answer = String::from_utf8(answer).unwrap();
    Answer::of(&answer)
}

/// Sends a request about functions.
pub(crate) fn call(daemon: &Daemon, method: &str, path: &str, body: &Value) -> Answer {
    call_as(daemon, "", method, path, body)
}

/// The same, with headers.
pub(crate) fn call_as(
    daemon: &Daemon,
    headers: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> Answer {
    let path = format!("/2015-03-31/functions{path}");
    send(daemon, method, &path, headers, body.to_string().as_bytes())
}

/// Sends a form about roles.
pub(crate) fn iam(daemon: &Daemon, form: &str) -> Answer {
    send(daemon, "POST", "/", "", format!("Version=2010-05-08&{form}").as_bytes())
}

/// Has a role made that permits what ENIs need.
pub(crate) fn make_role(daemon: &Daemon) {
    for form in [
        "Action=CreateRole&RoleName=vpc&AssumeRolePolicyDocument=%7B%7D",
        "Action=AttachRolePolicy&RoleName=vpc&PolicyArn=\
         arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole",
    ] {
        let answer = iam(daemon, form);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// What it takes to make a function.
pub(crate) fn function(name: &str) -> Value {
    json!({
        "FunctionName": name,
        "Role": ROLE,
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Code": { "ZipFile": "UEsDBA==" },
    })
}

/// The same, in a VPC.
pub(crate) fn in_vpc(name: &str, subnets: &[&str], groups: &[&str]) -> Value {
    let mut function = function(name);
    function["VpcConfig"] = json!({ "SubnetIds": subnets, "SecurityGroupIds": groups });
    function
}

/// Waits until a function's configuration has this value.
pub(crate) fn until(daemon: &Daemon, name: &str, key: &str, value: &str) {
    eventually(&format!("{key} of {name} is {value}"), || {
        let answer = call(daemon, "GET", &format!("/{name}/configuration"), &json!({}));
        answer.status == 200 && answer.json()[key] == value
    });
}
