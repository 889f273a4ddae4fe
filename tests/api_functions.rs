//! A function made over Lambda's API in a lab: commands run in its environments, by name.

mod common;

use common::{
    Lab, eventually, has,
    lambda::{all_active, make_function, make_role},
    permitted, said, tell_peer, viaduct,
};
use serde_json::Value;

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

#[test]
fn commands_run_in_environments_of_functions_made_over_the_api() {
    if !permitted() || !has("curl") || !has("bash") {
        return;
    }
    let lab = Lab::of("api-functions", NETWORK);
    lab.serve("instance/db", 7, tell_peer);
    make_role(&lab);
    let made = make_function(&lab, "web", "subnet-a", "sg-fn", Value::Null);
    assert_eq!(made["State"], "Pending", "{made:#}");
    let ask = ["bash", "-c", "exec 3<>/dev/tcp/db/7 && cat /etc/hosts >&3 && exit 7"];
    let pending = lab.exec("function/web", &["true"]).output().unwrap();
    assert_eq!(pending.status.code(), Some(2), "{}", said(&pending));
    assert!(said(&pending).contains("following state: Pending"), "{}", said(&pending));
    let unknown = lab.exec("function/wob", &["true"]).output().unwrap();
    assert!(said(&unknown).contains("no host `function/wob`"), "{}", said(&unknown));

    all_active(&lab);
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
