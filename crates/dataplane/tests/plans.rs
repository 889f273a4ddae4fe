//! Random topologies, one after the other: whatever two of them differ in, the engine takes the steps
//! from one plan to the next, and then holds what the plan says.

mod support;

use std::{collections::BTreeMap, fmt::Display, net::IpAddr};

use support::{Target, traffic::Numbers};
use viaduct_control_plane::Plan;
use viaduct_dataplane::{
    Engine, EngineConfig, Moment,
    inventory::{Owner, Place},
};
use viaduct_topology::inventory::{EniOwner, Host};

/// Topologies in a row.
const STEPS: usize = 200;

/// A topology in which addresses, groups and hosts are drawn from so few that they often meet.
fn topology(numbers: &mut Numbers) -> String {
    let mut draw = |choices: u64| numbers.next() % choices;
    let mut instances = String::new();
    for name in ["db", "web", "cache", "old", "new"] {
        if draw(3) == 0 {
            continue;
        }
        let subnet = ["a", "b", "tiny"][draw(3) as usize];
        let block = [1, 2, 3][["a", "b", "tiny"].iter().position(|s| *s == subnet).unwrap()];
        let private = match draw(2) {
            0 => format!(", private_ip: 10.0.{block}.{}", 4 + draw(6)),
            _ => String::new(),
        };
        let public = match draw(3) {
            0 => format!(", public_ip: 203.0.113.{}", 1 + draw(5)),
            _ => String::new(),
        };
        let secondary = match draw(4) {
            0 => format!(", secondary_private_ips: [10.0.{block}.{}]", 4 + draw(6)),
            _ => String::new(),
        };
        let groups = ["one", "two", "one, two"][draw(3) as usize];
        let check = draw(2) == 0;
        // An id of its own, so that it can be renamed.
        let id = ["", ", id: i-11111111111111111"]
            [usize::from(name == "old" || name == "new") * draw(2) as usize];
        instances += &format!(
            "      {name}: {{ subnet: {subnet}{private}{secondary}{public}{id}, security_groups: [{groups}], source_dest_check: {check} }}\n"
        );
    }
    let mut gateways = String::new();
    for name in ["egress", "other"] {
        let count = draw(4);
        let ips: Vec<String> = (0..count).map(|_| format!("203.0.113.{}", 10 + draw(8))).collect();
        let private = match draw(2) {
            0 => format!(", private_ip: 10.0.1.{}", 4 + draw(6)),
            _ => String::new(),
        };
        if count > 0 {
            let ips = ips.join(", ");
            gateways += &format!("      {name}: {{ subnet: a, public_ips: [{ips}]{private} }}\n");
        }
    }
    let mut endpoints = String::new();
    for (index, name) in ["first", "second"].into_iter().enumerate() {
        let service = ["s3", "sqs"][draw(2) as usize];
        let address = match draw(2) {
            0 => format!(", private_ips: [10.0.1.{}]", 4 + draw(6)),
            _ => String::new(),
        };
        endpoints += &match draw(3) {
            0 => format!(
                "      {name}: {{ type: gateway, service: s3, route_tables: [t{index}] }}\n"
            ),
            1 => format!(
                "      {name}: {{ type: interface, service: {service}, subnets: [a]{address} }}\n"
            ),
            _ => continue,
        };
    }
    let mut functions = String::new();
    for name in ["api", "job"] {
        if draw(4) == 0 {
            continue;
        }
        let subnets = ["main/a", "main/b", "main/a, main/b", "main/tiny"][draw(4) as usize];
        let groups = ["main/one", "main/two", "main/one, main/two"][draw(3) as usize];
        let environments = 1 + draw(4);
        let vpc = match draw(5) {
            0 => String::new(),
            _ => format!("subnets: [{subnets}], security_groups: [{groups}], "),
        };
        functions += &format!("  {name}: {{ {vpc}environments: {environments} }}\n");
    }
    let mut hosts = String::new();
    for name in ["web", "host"] {
        hosts += &format!("  {name}: {{ ip: 198.51.100.{} }}\n", 1 + draw(3));
    }
    let namesake = match draw(3) {
        0 => {
            "  other:
    cidr_blocks: [10.0.0.0/16]
    subnets: { a: { cidr_block: 10.0.1.0/24, availability_zone: a } }
    instances: { db: { subnet: a, private_ip: 10.0.1.5 } }
"
        }
        _ => "",
    };
    let draw_service = draw(2);
    let service_vpc = ["", "service_vpc_public_ips: [192.0.2.2, 192.0.2.1]"][draw(2) as usize];
    let or_none = |text: String| if text.is_empty() { "      {}\n".to_owned() } else { text };
    format!(
        "settings: {{ {service_vpc} }}
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a: {{ cidr_block: 10.0.1.0/24, availability_zone: a }}
      b: {{ cidr_block: 10.0.2.0/24, availability_zone: b }}
      tiny: {{ cidr_block: 10.0.3.0/28, availability_zone: c }}
    internet_gateway: igw
    security_groups: {{ one: {{}}, two: {{}} }}
    route_tables: {{ t0: {{}}, t1: {{}} }}
    nat_gateways:
{}    vpc_endpoints:
{}    instances:
{}{namesake}services:
  s3: {{ prefix_list: [198.18.0.0/24], ip: 198.18.0.{} }}
  sqs: {{ ip: 198.18.1.1 }}
functions:
{}internet:
{hosts}",
        or_none(gateways),
        or_none(endpoints),
        or_none(instances),
        1 + draw_service,
        or_none(functions),
    )
}

fn addresses(primary: impl Display, others: &[impl Display]) -> String {
    others.iter().fold(primary.to_string(), |all, other| format!("{all} {other}"))
}

/// What stands where, by the plan.
fn planned(plan: &Plan) -> (BTreeMap<String, String>, BTreeMap<u32, String>) {
    let enis = plan.enis.iter().map(|eni| {
        let owner = match &eni.owner {
            EniOwner::Functions(key) => format!("{key:?}"),
            EniOwner::Instance { path, .. } => path.clone(),
            EniOwner::NatGateway { .. } => "nat".to_owned(),
            EniOwner::VpcEndpoint { .. } => "endpoint".to_owned(),
            EniOwner::ServiceSide { .. } => "service side".to_owned(),
            EniOwner::ServiceVpc => "service VPC".to_owned(),
            other => panic!("{other:?}"),
        };
        let serves = plan.attachments.iter().find(|host| match &host.host {
            Host::Instance { eni: of } => *of == eni.id,
            _ => false,
        });
        let serves = serves.map(|host| host.id);
        let (ip, public) = (addresses(eni.private_ip, &eni.secondary_private_ips), eni.public_ip);
        let (groups, check) = (eni.security_groups.len(), eni.source_dest_check);
        (eni.id.to_string(), format!("{ip} {public:?} {groups} {check} {owner} {serves:?}"))
    });
    let hosts = plan.attachments.iter().map(|host| {
        let place = match &host.host {
            Host::Environment { function, enis } => format!("{function} {enis:?}"),
            Host::Instance { eni } => eni.to_string(),
            Host::Internet { ip } => ip.to_string(),
            Host::Service { .. } => "service".to_owned(),
            other => panic!("{other:?}"),
        };
        (host.id.0, format!("{} {place}", host.name))
    });
    (enis.collect(), hosts.collect())
}

/// What stands where, in the engine.
fn held(engine: &Engine) -> (BTreeMap<String, String>, BTreeMap<u32, String>) {
    let inventory = engine.inventory();
    // What a NAT gateway has lost and still drains is no part of any plan.
    let enis = inventory.enis().into_iter().filter(|eni| !eni.draining).map(|eni| {
        let owner = match &eni.owner {
            Owner::Functions(key) => format!("{key:?}"),
            Owner::Instance { path, .. } => path.clone(),
            Owner::NatGateway(_) => "nat".to_owned(),
            Owner::VpcEndpoint(_) => "endpoint".to_owned(),
            Owner::ServiceSide(_) => "service side".to_owned(),
            Owner::ServiceVpc => "service VPC".to_owned(),
        };
        let (ip, public) = (addresses(eni.ip, &eni.secondary_ips), eni.public_ip.map(IpAddr::V4));
        let (groups, check, serves) = (eni.groups.len(), eni.source_dest_check, eni.attachment);
        // All tables tell of the same interface.
        for ip in [eni.ip].iter().chain(&eni.secondary_ips) {
            let by_address = inventory.eni_by_address(eni.vpc, *ip).expect("it has its address");
            assert!(std::sync::Arc::ptr_eq(&by_address, &eni), "{eni:?}");
        }
        if let Some(public) = eni.public_ip {
            let by_public = inventory.eni_by_public_ip(public).expect("it has its public address");
            assert!(std::sync::Arc::ptr_eq(&by_public, &eni), "{eni:?}");
        }
        (eni.id.to_string(), format!("{ip} {public:?} {groups} {check} {owner} {serves:?}"))
    });
    let hosts = inventory.attachments().into_iter().map(|host| {
        let place = match &host.place {
            Place::Environment { function, enis, .. } => {
                let first = enis.map(|enis| inventory.first_eni(enis).expect("a set has one"));
                format!("{function} {:?}", first.iter().map(|eni| &eni.id).collect::<Vec<_>>())
            }
            Place::Instance(eni) => {
                let now = inventory.eni(&eni.id).expect("an instance has an interface");
                assert!(std::sync::Arc::ptr_eq(&now, eni), "{eni:?}");
                eni.id.to_string()
            }
            Place::Internet(ip) => ip.to_string(),
            Place::Service(_) => "service".to_owned(),
        };
        (host.id.0, format!("{} {place}", host.name))
    });
    (enis.collect(), hosts.collect())
}

#[test]
fn every_plan_can_follow_every_other() {
    let mut numbers = Numbers(42);
    let engine = Engine::new(EngineConfig { connections: 1024, seed: 7 });
    let mut plan = Plan::default();
    let (mut taken, mut issued) = (0, 0);
    for _ in 0..STEPS * 20 {
        let text = topology(&mut numbers);
        // What the loader refuses, two things at one address, is no topology.
        if viaduct_config_plane::load("test.yaml", &text).is_err() {
            continue;
        }
        let next = Target::after(&plan, &text);
        engine
            .reload(&next.topology, &next.changes, Moment::ZERO)
            .unwrap_or_else(|error| panic!("{error}\n{text}\n{:#?}", next.changes));
        assert_eq!(held(&engine), planned(&next.plan), "{text}");

        let before: BTreeMap<u32, _> =
            plan.attachments.iter().map(|host| (host.id.0, host)).collect();
        for host in &next.plan.attachments {
            assert!(before.contains_key(&host.id.0) || host.id.0 > issued, "{host:?} was another");
        }
        issued = next.plan.issued;
        plan = next.plan;
        taken += 1;
        if taken == STEPS {
            return;
        }
    }
    panic!("only {taken} topologies were right");
}
