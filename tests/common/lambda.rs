//! Lambda's API of a running daemon, on its control socket.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use serde_json::{Value, json};

use super::{Lab, eventually, service::Service};

/// A VPC with a way to the internet, whose ENIs take a second. A file's function is in it already.
pub(crate) const NETWORK: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public: { cidr_block: 10.0.0.0/24, route_table: public }
      private: { id: subnet-a, cidr_block: 10.0.1.0/24 }
    route_tables:
      main: { main: true, routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways: { egress: { subnet: public, public_ips: [203.0.113.10] } }
    security_groups: { fn: { id: sg-fn } }
internet: { web: { ip: 198.51.100.7 } }
functions: { declared: { subnets: [main/private], security_groups: [main/fn], environments: 2 } }
settings: { lifecycle: { creation: 1 } }
";

/// Longer than the longest invocation of a scenario.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whatever has a daemon.
pub(crate) trait Daemon {
    fn control_socket(&self) -> PathBuf;
}

impl Daemon for Lab {
    fn control_socket(&self) -> PathBuf {
        self.path("control.sock")
    }
}

impl Daemon for PathBuf {
    fn control_socket(&self) -> PathBuf {
        self.clone()
    }
}

impl Daemon for Service {
    fn control_socket(&self) -> PathBuf {
        self.runtime_dir().join("control.sock")
    }
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (given, value) = line.split_once(':')?;
            given.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Calls the daemon's control socket; `headers` are whole lines.
pub(crate) fn try_send(
    daemon: &impl Daemon,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(daemon.control_socket())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\
         content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or(io::ErrorKind::UnexpectedEof)? + 4;
    let body = answer.split_off(end);
    let headers = String::from_utf8(answer).unwrap();
    let status = headers[9..12].parse().unwrap();
    Ok(Answer { status, headers, body })
}

/// The same of a daemon that answers.
pub(crate) fn send(
    daemon: &impl Daemon,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
) -> Answer {
    try_send(daemon, method, path, headers, body).unwrap()
}

/// Calls it, and takes the answer for JSON.
pub(crate) fn call(daemon: &impl Daemon, method: &str, path: &str, body: &str) -> Value {
    send(daemon, method, path, &[], body).json()
}

/// Makes the role `vpc`, with which a function may have ENIs.
pub(crate) fn make_role(daemon: &impl Daemon) {
    for form in [
        "Action=CreateRole&RoleName=vpc&AssumeRolePolicyDocument=%7B%7D",
        "Action=AttachRolePolicy&RoleName=vpc&PolicyArn=\
         arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole",
    ] {
        call(daemon, "POST", "/", &format!("Version=2010-05-08&{form}"));
    }
}

/// Makes a function of that role in a subnet and a group. Beside what is given it has what one needs.
pub(crate) fn make_function(
    daemon: &impl Daemon,
    name: &str,
    subnet: &str,
    group: &str,
    more: Value,
) -> Value {
    let mut function = json!({
        "FunctionName": name,
        "Role": "arn:aws:iam::123456789012:role/vpc",
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Code": { "ZipFile": "UEsDBA==" },
        "VpcConfig": { "SubnetIds": [subnet], "SecurityGroupIds": [group] },
    });
    let members = function.as_object_mut().unwrap();
    members.extend(more.as_object().cloned().unwrap_or_default());
    members.retain(|_, value| !value.is_null());
    call(daemon, "POST", "/2015-03-31/functions", &function.to_string())
}

/// What an image brings whose command is a line for the shell.
pub(crate) fn image(line: &str, timeout: u16) -> Value {
    json!({
        "PackageType": "Image",
        "Runtime": null,
        "Handler": null,
        "Code": { "ImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/f:1" },
        "ImageConfig": { "EntryPoint": ["/bin/sh", "-c"], "Command": [line] },
        "Timeout": timeout,
    })
}

/// Waits until all functions are active.
pub(crate) fn all_active(daemon: &impl Daemon) {
    let functions = || call(daemon, "GET", "/v1/functions", "");
    let active = || functions().as_array()?.iter().all(|it| it["state"] == "Active").then_some(());
    assert!(eventually(active).is_some(), "{:#}", functions());
}

/// Invokes a function over Lambda's API.
pub(crate) fn invoke(daemon: &impl Daemon, name: &str, headers: &[&str], payload: &str) -> Answer {
    let path = format!("/2015-03-31/functions/{name}/invocations");
    send(daemon, "POST", &path, headers, payload)
}
