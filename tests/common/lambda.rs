//! Lambda's API of a lab's daemon, on its control socket.

use std::process::Command;

use serde_json::{Value, json};

use super::{Lab, eventually, said};

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

/// Calls the daemon's control socket.
pub(crate) fn send(lab: &Lab, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    let directory = tempfile::tempdir().unwrap();
    let [sent, head, received] = ["sent", "head", "received"].map(|it| directory.path().join(it));
    std::fs::write(&sent, body).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--request", method, "--header", "content-type:"]);
    curl.args(headers.iter().flat_map(|header| ["--header", header]));
    curl.arg("--data-binary").arg(format!("@{}", sent.display()));
    curl.arg("--dump-header").arg(&head).arg("--output").arg(&received);
    curl.args(["--write-out", "%{http_code}", "--unix-socket"]).arg(lab.path("control.sock"));
    let output = curl.arg(format!("http://localhost{path}")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    Answer {
        status: String::from_utf8(output.stdout).unwrap().parse().unwrap(),
        headers: std::fs::read_to_string(head).unwrap(),
        body: std::fs::read(received).unwrap_or_default(),
    }
}

/// Calls it, and takes the answer for JSON.
pub(crate) fn call(lab: &Lab, method: &str, path: &str, body: &str) -> Value {
    send(lab, method, path, &[], body).json()
}

/// Makes the role `vpc`, with which a function may have ENIs.
pub(crate) fn make_role(lab: &Lab) {
    for form in [
        "Action=CreateRole&RoleName=vpc&AssumeRolePolicyDocument=%7B%7D",
        "Action=AttachRolePolicy&RoleName=vpc&PolicyArn=\
         arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole",
    ] {
        call(lab, "POST", "/", &format!("Version=2010-05-08&{form}"));
    }
}

/// Makes a function of that role in a subnet and a group. Beside what is given it has what one needs.
pub(crate) fn make_function(
    lab: &Lab,
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
    call(lab, "POST", "/2015-03-31/functions", &function.to_string())
}

/// Waits until all functions are active.
pub(crate) fn all_active(lab: &Lab) {
    let active = || {
        let functions = lab.get("functions");
        functions.as_array()?.iter().all(|it| it["state"] == "Active").then_some(())
    };
    assert!(eventually(active).is_some(), "{:#}", lab.get("functions"));
}

/// Invokes a function over Lambda's API.
pub(crate) fn invoke(lab: &Lab, name: &str, headers: &[&str], payload: &str) -> Answer {
    let path = format!("/2015-03-31/functions/{name}/invocations");
    send(lab, "POST", &path, headers, payload)
}
