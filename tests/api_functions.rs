//! A function made over Lambda's API in a lab: commands run in its environments, by name.

mod common;

use common::{Lab, eventually, has, permitted, said, tell_peer, viaduct};
use serde_json::{Value, json};

const NETWORK: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets: { a: { id: subnet-a, cidr_block: 10.0.1.0/24 } }
    security_groups:
      fn: { id: sg-fn }
      db: { ingress: [ { protocol: tcp, ports: 7, from: security_group/fn } ] }
    instances: { db: { subnet: a, private_ip: 10.0.1.10, security_groups: [db] } }
settings: { lifecycle: { creation: 1 } }
";

/// Calls the daemon's control socket.
fn call(lab: &Lab, method: &str, path: &str, body: &str) -> Value {
    let mut curl = std::process::Command::new("curl");
    let socket = lab.path("control.sock");
    curl.args(["--silent", "--show-error", "--request", method, "--data-binary", body]);
    curl.args(["--header", "content-type:", "--unix-socket"]).arg(socket);
    let output = curl.arg(format!("http://localhost{path}")).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

#[test]
fn commands_run_in_environments_of_functions_made_over_the_api() {
    if !permitted() || !has("curl") || !has("bash") {
        return;
    }
    let lab = Lab::of("api-functions", NETWORK);
    lab.serve("instance/db", 7, tell_peer);
    for form in [
        "Action=CreateRole&RoleName=vpc&AssumeRolePolicyDocument=%7B%7D",
        "Action=AttachRolePolicy&RoleName=vpc&PolicyArn=\
         arn:aws:iam::aws:policy/service-role/AWSLambdaVPCAccessExecutionRole",
    ] {
        call(&lab, "POST", "/", &format!("Version=2010-05-08&{form}"));
    }
    let function = json!({
        "FunctionName": "web",
        "Role": "arn:aws:iam::123456789012:role/vpc",
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Code": { "ZipFile": "UEsDBA==" },
        "VpcConfig": { "SubnetIds": ["subnet-a"], "SecurityGroupIds": ["sg-fn"] },
    });
    let made = call(&lab, "POST", "/2015-03-31/functions", &function.to_string());
    assert_eq!(made["State"], "Pending", "{made:#}");
    let ask = ["bash", "-c", "exec 3<>/dev/tcp/db/7 && cat /etc/hosts >&3 && exit 7"];
    let pending = lab.exec("function/web", &["true"]).output().unwrap();
    assert_eq!(pending.status.code(), Some(2), "{}", said(&pending));
    assert!(said(&pending).contains("following state: Pending"), "{}", said(&pending));
    let unknown = lab.exec("function/wob", &["true"]).output().unwrap();
    assert!(said(&unknown).contains("no host `function/wob`"), "{}", said(&unknown));

    let active = || (lab.get("functions")[0]["state"] == "Active").then_some(());
    assert!(eventually(active).is_some(), "{:#}", lab.get("functions"));
    let output = lab.exec("function/web/2", &ask).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "the command's own: {}", said(&output));
    let gone = || (lab.get("attachments").as_array().unwrap().len() == 1).then_some(());
    assert!(eventually(gone).is_some(), "{:#}", lab.get("attachments"));

    // And in a namespace of one's own.
    let mut attach = viaduct();
    attach.args(["attach", "function/web", "--runtime-dir"]).arg(lab.path(""));
    let netns = viaduct_tun::netns::create_unnamed().unwrap();
    let output = netns.run(|| attach.args(["--", "ip", "address"]).output()).unwrap().unwrap();
    assert!(said(&output).contains("169.254.100.2"), "{}", said(&output));
}
