//! Functions made over the API, in a network of two VPCs.

use serde_json::{Value, json};
use viaduct_topology::Topology;

use super::{Daemon, TOPOLOGY};

/// Functions of the file that keep an ENI in two more places, so that whoever updates to these waits
/// for nothing.
const PLACES: &str = "
  near:  { subnets: [main/public], security_groups: [main/fn] }
  apart: { subnets: [second/only], security_groups: [second/fn] }
";

/// A second VPC with a way of its own to the internet, and a subnet in which nobody is.
const SECOND: &str = "
  second:
    cidr_blocks: [10.9.0.0/16]
    subnets:
      only:   { cidr_block: 10.9.1.0/24 }
      lonely: { cidr_block: 10.9.2.0/24 }
      open:   { cidr_block: 10.9.3.0/24, route_table: public }
    route_tables:
      main:   { main: true, routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: open, public_ips: [203.0.113.20] }
    security_groups:
      fn: {}
      db: { ingress: [ { protocol: tcp, ports: 5432, from: security_group/fn } ] }
    instances: { far: { subnet: only, private_ip: 10.9.1.10, security_groups: [db] } }
functions:";

/// The network's text, with these settings.
pub(crate) fn text(settings: &str) -> String {
    let network = TOPOLOGY
        .replace("\nfunctions:", SECOND)
        .replace("environments: 2 }\n", &format!("environments: 2 }}{PLACES}"));
    format!("settings: {{ {settings} }}\n{network}")
}

/// A daemon for it.
pub(crate) fn daemon(settings: &str) -> Daemon {
    Daemon::start_with(|options| std::fs::write(&options.topology, text(settings)).unwrap())
}

fn topology() -> Topology {
    viaduct_config_plane::load("test.yaml", &text("")).unwrap().topology
}

/// Where a function is: a subnet, and the group `fn` of its VPC. Nowhere without a subnet.
fn vpc_config(subnet: Option<&str>) -> Value {
    let topology = topology();
    let Some(subnet) = subnet else {
        return json!({ "SubnetIds": [], "SecurityGroupIds": [] });
    };
    let subnet = topology.subnets.values().find(|it| it.name == subnet).unwrap();
    let mut groups = topology.security_groups.values();
    let group = groups.find(|it| it.name == "fn" && it.vpc == subnet.vpc).unwrap();
    json!({ "SubnetIds": [subnet.id.as_str()], "SecurityGroupIds": [group.id.as_str()] })
}

/// Makes a function in a subnet, or in none.
pub(crate) fn create(daemon: &Daemon, name: &str, subnet: Option<&str>) {
    let function = json!({
        "FunctionName": name,
        "Role": daemon.role(),
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Code": { "ZipFile": "UEsDBA==" },
        "VpcConfig": vpc_config(subnet),
    });
    let (status, made) = daemon.lambda("POST", "", &function);
    assert_eq!(status, 201, "{made:#}");
}

/// Has a function be in another subnet. Returns the `LastUpdateStatus`.
pub(crate) fn update(daemon: &Daemon, name: &str, subnet: Option<&str>) -> String {
    let change = json!({ "VpcConfig": vpc_config(subnet) });
    let (status, changed) = daemon.lambda("PUT", &format!("/{name}/configuration"), &change);
    assert_eq!(status, 200, "{changed:#}");
    changed["LastUpdateStatus"].as_str().unwrap().to_owned()
}

/// A function's `State` and `LastUpdateStatus`.
pub(crate) fn state(daemon: &Daemon, name: &str) -> (String, String) {
    let (_, found) = daemon.lambda("GET", &format!("/{name}/configuration"), &json!({}));
    let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
    (text("State"), text("LastUpdateStatus"))
}
