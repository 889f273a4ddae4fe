//! Plans of small topologies: addresses, names, ids and hosts files, as somebody would check them
//! against the file.

mod common;

use std::net::IpAddr;

use common::{planned, topology};
use viaduct_control_plane::{HostPlan, Plan, PlanError, plan};
use viaduct_topology::inventory::{Eni, EniOwner, Host};

/// A VPC with two subnets in two zones, and whatever `rest` adds.
fn network(rest: &str) -> String {
    format!(
        "
organization: {{ accounts: [123456789012, 222222222222] }}
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a: {{ cidr_block: 10.0.1.0/24, availability_zone: a, shared_with: [222222222222] }}
      b: {{ cidr_block: 10.0.2.0/24, availability_zone: b }}
    security_groups:
      one: {{}}
      two: {{}}
      guest: {{ account: 222222222222 }}
{rest}"
    )
}

/// The interfaces but those of the service VPC.
fn in_vpcs(plan: &Plan) -> impl Iterator<Item = &Eni> {
    plan.enis.iter().filter(|eni| eni.owner != EniOwner::ServiceVpc)
}

/// Who has which private address, sorted by address.
fn addresses(plan: &Plan) -> Vec<(String, String)> {
    let mut enis: Vec<&Eni> = in_vpcs(plan).collect();
    enis.sort_by_key(|eni| eni.private_ip);
    let owner = |eni: &Eni| match &eni.owner {
        EniOwner::Functions(_) => "functions".to_owned(),
        EniOwner::Instance { path, .. } => path.clone(),
        EniOwner::NatGateway { .. } => "nat".to_owned(),
        other => panic!("{other:?}"),
    };
    enis.into_iter().map(|eni| (eni.private_ip.to_string(), owner(eni))).collect()
}

fn environments<'p>(plan: &'p Plan, function: &str) -> Vec<&'p Eni> {
    let prefix = format!("function/{function}/");
    let of = plan.attachments.iter().filter(|host| host.name.starts_with(&prefix));
    of.map(|host| match &host.host {
        Host::Environment { enis, .. } => {
            assert_eq!(enis.len(), 1, "one ENI to begin with (LAM-07)");
            plan.enis.iter().find(|eni| eni.id == enis[0]).unwrap()
        }
        other => panic!("{other:?}"),
    })
    .collect()
}

#[test]
fn named_addresses_come_first_then_gateways_instances_and_functions() {
    let plan = planned(&network(
        "    internet_gateway: igw
    nat_gateways:
      egress: { subnet: a, public_ips: [203.0.113.1, 203.0.113.2] }
    instances:
      first: { subnet: a }
      named: { subnet: a, private_ip: 10.0.1.5 }
functions:
  api: { subnets: [main/a], security_groups: [main/one] }
",
    ));
    let expected = [
        ("10.0.1.4", "nat"),
        ("10.0.1.5", "instance/named"),
        ("10.0.1.6", "nat"),
        ("10.0.1.7", "instance/first"),
        ("10.0.1.8", "functions"),
    ];
    let expected = expected.map(|(address, owner)| (address.to_owned(), owner.to_owned()));
    assert_eq!(addresses(&plan), expected);
    let public: Vec<Option<IpAddr>> = plan.enis.iter().map(|eni| eni.public_ip).take(2).collect();
    assert_eq!(public, [Some([203, 0, 113, 1].into()), Some([203, 0, 113, 2].into())]);
}

// Conforms: LAM-03
#[test]
fn lam_03_the_key_is_account_subnet_and_the_set_of_groups() {
    let plan = planned(&network(
        "functions:
  one:       { subnets: [main/a], security_groups: [main/one, main/two] }
  reordered: { subnets: [main/a], security_groups: [main/two, main/one] }
  fewer:     { subnets: [main/a], security_groups: [main/one] }
  elsewhere: { subnets: [main/b], security_groups: [main/one, main/two] }
  stranger:  { subnets: [main/a], security_groups: [main/guest], account: '222222222222' }
",
    ));
    let eni = |function: &str| &environments(&plan, function)[0].id;
    assert_eq!(eni("one"), eni("reordered"));
    for other in ["fewer", "elsewhere", "stranger"] {
        assert_ne!(eni("one"), eni(other), "{other}");
    }
    assert_eq!(in_vpcs(&plan).count(), 4);
}

#[test]
fn lam_04_every_subnet_has_its_eni_and_lam_18_environments_take_turns() {
    let plan = planned(&network(
        "functions:
  api: { subnets: [main/a, main/b], security_groups: [main/one], environments: 5 }
  single: { subnets: [main/b, main/a], security_groups: [main/one] }
",
    ));
    assert_eq!(in_vpcs(&plan).count(), 2);
    let zones: Vec<String> =
        environments(&plan, "api").iter().map(|eni| eni.private_ip.to_string()).collect();
    assert_eq!(zones, ["10.0.1.4", "10.0.2.4", "10.0.1.4", "10.0.2.4", "10.0.1.4"]);
}

#[test]
fn zones_take_turns_before_subnets_do() {
    let plan = planned(
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a1: { cidr_block: 10.0.1.0/24, availability_zone: a }
      a2: { cidr_block: 10.0.2.0/24, availability_zone: a }
      b1: { cidr_block: 10.0.3.0/24, availability_zone: b }
functions:
  api: { subnets: [main/a1, main/a2, main/b1], security_groups: [main/default], environments: 5 }
",
    );
    let thirds: Vec<u8> = environments(&plan, "api")
        .iter()
        .map(|eni| match eni.private_ip {
            IpAddr::V4(address) => address.octets()[2],
            IpAddr::V6(address) => panic!("{address}"),
        })
        .collect();
    assert_eq!(thirds, [1, 3, 2, 3, 1]);
}

#[test]
fn a_plan_is_the_same_each_time_and_ids_survive_reordering() {
    let one = network(
        "functions:
  api: { subnets: [main/a], security_groups: [main/one, main/two], environments: 3 }
  web: { subnets: [main/b], security_groups: [main/one] }
",
    );
    let other = network(
        "functions:
  web: { subnets: [main/b], security_groups: [main/one] }
  api: { subnets: [main/a], security_groups: [main/two, main/one], environments: 3 }
",
    );
    assert_eq!(planned(&one), planned(&one));
    let ids = |text: &str| {
        let mut ids: Vec<_> = planned(text).enis.into_iter().map(|eni| eni.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&one), ids(&other));
}

#[test]
fn attachments_count_from_one_and_hosts_go_with_them() {
    let plan = planned(&network(
        "    instances:
      db: { subnet: b, private_ip: 10.0.2.10 }
functions:
  api: { subnets: [main/a], security_groups: [main/one], environments: 2 }
internet:
  web: { ip: 198.51.100.7 }
",
    ));
    let names: Vec<&str> = plan.attachments.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["function/api/1", "function/api/2", "instance/db", "internet/web"]);
    let ids: Vec<u32> = plan.attachments.iter().map(|host| host.id.0).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
    let told: Vec<(&str, String, u16)> = plan
        .hosts
        .iter()
        .map(|host| {
            let (address, prefix_len) = host.address;
            (host.name.as_str(), format!("{address}/{prefix_len}"), host.device_mtu)
        })
        .collect();
    // MTU-01; every environment sees the same.
    assert_eq!(
        told,
        [
            ("function/api/1", "169.254.100.2/30".to_owned(), 9001),
            ("function/api/2", "169.254.100.2/30".to_owned(), 9001),
            ("instance/db", "10.0.2.10/32".to_owned(), 9001),
            ("internet/web", "198.51.100.7/32".to_owned(), 1500),
        ]
    );
    // ADR-01: the router is the subnet's second address.
    assert_eq!(plan.hosts[2].gateway.to_string(), "10.0.2.1");
    assert_eq!(plan.host("function/api").unwrap().0.name, "function/api/1");
    assert!(plan.host("function/api/3").is_none());
}

const TWO_VPCS: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets: { a: { cidr_block: 10.0.1.0/24, availability_zone: a } }
    internet_gateway: igw
    instances:
      db:  { subnet: a, private_ip: 10.0.1.10 }
      web: { subnet: a, private_ip: 10.0.1.11, public_ip: 203.0.113.5 }
  other:
    cidr_blocks: [10.0.0.0/16]
    subnets: { a: { cidr_block: 10.0.1.0/24, availability_zone: a } }
    instances:
      db: { subnet: a, private_ip: 10.0.1.20 }
internet:
  web: { ip: 198.51.100.7 }
";

fn calls<'h>(host: &'h HostPlan, name: &str) -> Option<&'h IpAddr> {
    host.hosts.iter().find(|(_, known)| known == name).map(|(address, _)| address)
}

#[test]
fn names_lead_to_the_nearest_and_namesakes_are_qualified() {
    let plan = planned(TWO_VPCS);
    let names: Vec<&str> = plan.attachments.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["main/instance/db", "instance/web", "other/instance/db", "internet/web"]);

    let call =
        |from: &str, name: &str| calls(plan.host(from).unwrap().1, name).map(ToString::to_string);
    let address = |text: &str| Some(text.to_owned());
    // Inside, names are private addresses, the same VPC's first.
    assert_eq!(call("main/instance/db", "db"), address("10.0.1.10"));
    assert_eq!(call("other/instance/db", "db"), address("10.0.1.20"));
    assert_eq!(call("main/instance/db", "db.other"), address("10.0.1.20"));
    assert_eq!(call("main/instance/db", "web"), address("10.0.1.11"));
    assert_eq!(call("main/instance/db", "web.internet"), address("198.51.100.7"));
    // Outside, public ones, and the internet's own hosts first.
    assert_eq!(call("internet/web", "web"), address("198.51.100.7"));
    assert_eq!(call("internet/web", "web.main"), address("203.0.113.5"));
    assert_eq!(call("internet/web", "nobody"), None);
}

#[test]
fn a_full_subnet_is_named_with_what_wanted_more() {
    // ADR-01: a /28 has eleven usable addresses.
    let instances: String =
        (1..=11).map(|number| format!("      host{number}: {{ subnet: a }}\n")).collect();
    let text = format!(
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets: {{ a: {{ cidr_block: 10.0.1.0/28, availability_zone: a }} }}
    instances:
{instances}"
    );
    // A file with twelve is refused before it gets here; whoever changes a topology is not.
    let mut topology = topology(&text);
    let mut twelfth = topology.instances.values().next().unwrap().clone();
    twelfth.name = "host12".to_owned();
    topology.instances.push(twelfth);
    let error = plan(&topology).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no free address in subnet main/a (10.0.1.0/28, 11 usable) for instance/host12: \
         give the subnet a larger block, or move something to another subnet"
    );
}

#[test]
fn lam_25_a_vpc_has_a_quota_of_hyperplane_enis() {
    let functions = "functions:
  api: { subnets: [main/a, main/b], security_groups: [main/one] }
";
    let mut topology = topology(&network(functions));
    topology.settings.enis_per_vpc = 1;
    let error = plan(&topology).unwrap_err();
    assert_eq!(error, PlanError::EniQuota { vpc: "main".to_owned(), needed: 2, quota: 1 });
}

// Conforms: NAT-22
#[test]
fn nat_22_only_a_gateway_that_is_there_has_interfaces() {
    for (state, interfaces) in
        [("pending", 0), ("failed", 0), ("available", 2), ("deleting", 2), ("deleted", 0)]
    {
        let plan = planned(&network(&format!(
            "    nat_gateways: {{ n: {{ subnet: a, connectivity_type: private, \
             secondary_private_ip_address_count: 1, state: {state} }} }}"
        )));
        assert_eq!(in_vpcs(&plan).count(), interfaces, "{state}");
    }
}

#[test]
fn secondary_addresses_are_of_the_same_interface_and_nobody_elses() {
    let plan = planned(&network(
        "    instances:
      first: { subnet: a }
      db: { subnet: a, private_ip: 10.0.1.6, secondary_private_ips: [10.0.1.4, 10.0.1.5] }
",
    ));
    assert_eq!(addresses(&plan)[1], ("10.0.1.7".to_owned(), "instance/first".to_owned()));
    let (host, eni) = (plan.host("instance/db").unwrap().1, &plan.enis[1]);
    let secondary: Vec<String> =
        eni.secondary_private_ips.iter().map(ToString::to_string).collect();
    assert_eq!(
        (eni.private_ip.to_string(), secondary.join(" ")),
        ("10.0.1.6".into(), "10.0.1.4 10.0.1.5".into())
    );
    let further: Vec<String> = host.further.iter().map(ToString::to_string).collect();
    assert_eq!(further, ["10.0.1.4/32", "10.0.1.5/32"]);
}

#[test]
fn rt_21_an_instance_without_the_check_is_to_forward() {
    let plan = planned(&network(
        "    instances: { db: { subnet: a }, fw: { subnet: a, source_dest_check: false } }
functions:
  api: { subnets: [main/a], security_groups: [main/one] }
",
    ));
    let forwarding = plan.hosts.iter().filter(|host| host.forwards);
    let forwarding: Vec<_> = forwarding.map(|host| host.name.as_str()).collect();
    assert_eq!(forwarding, ["instance/fw"]);
}
