//! Plans of endpoints and services: interfaces on both sides, hosts, and who calls whom by what name.

mod common;

use std::net::IpAddr;

use common::{planned, topology};
use viaduct_control_plane::{HostPlan, Plan, SERVICE_MTU, changes, plan, plan_after};
use viaduct_topology::inventory::{Change, Eni, EniOwner, Host};

/// Two tenants with the same block, and the services; `endpoints` are those of `one` and `two`.
fn network(endpoints: [&str; 2], functions: &str) -> String {
    let [one, two] = endpoints;
    let vpc = |endpoints: &str| {
        format!(
            "
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a1: {{ cidr_block: 10.0.1.0/24, availability_zone: a }}
      a2: {{ cidr_block: 10.0.2.0/24, availability_zone: a }}
      b: {{ cidr_block: 10.0.3.0/24, availability_zone: b }}
      c: {{ cidr_block: 10.0.4.0/24, availability_zone: c }}
    vpc_endpoints: {{ {endpoints} }}
    instances:
      a1: {{ subnet: a1 }}
      a2: {{ subnet: a2 }}
      b: {{ subnet: b }}
      c: {{ subnet: c }}"
        )
    };
    format!(
        "
vpcs:
  one:{}
  two:{}
functions: {{ {functions} }}
services:
  s3: {{ prefix_list: [198.18.0.0/24, 198.18.1.9/32], ip: 198.18.1.9 }}
  sqs: {{ ip: 198.18.2.1 }}
internet:
  web: {{ ip: 198.51.100.7 }}
",
        vpc(one),
        vpc(two)
    )
}

const SQS: &str = "sqs: { type: interface, service: sqs, subnets: [b, a2] }";
const S3: &str = "s3: { type: gateway, service: s3 }";

/// The interfaces of endpoints, in the plan's order: whose, where, which address.
fn interfaces(plan: &Plan) -> Vec<String> {
    let line = |eni: &Eni| match &eni.owner {
        EniOwner::VpcEndpoint { path, .. } => Some(format!("{path} at {}", eni.private_ip)),
        EniOwner::ServiceSide { path, .. } => {
            assert_eq!((&eni.vpc, &eni.security_groups.len()), (&eni.subnet, &0));
            Some(format!("{path} seen as {}", eni.private_ip))
        }
        _ => None,
    };
    plan.enis.iter().filter_map(line).collect()
}

fn call(plan: &Plan, from: &str, name: &str) -> String {
    let host: &HostPlan = plan.host(from).unwrap_or_else(|| panic!("no {from}")).1;
    let line = host.hosts.iter().find(|(_, known)| known == name);
    line.map_or_else(|| "nobody".to_owned(), |(address, _): &(IpAddr, String)| address.to_string())
}

#[test]
fn ep_09_every_subnet_has_an_interface_and_every_endpoint_an_address_at_its_service() {
    let plan = planned(&network([&format!("{SQS}, {S3}"), SQS], ""));
    assert_eq!(
        interfaces(&plan),
        [
            "one/vpc_endpoint/sqs at 10.0.3.5",
            "one/vpc_endpoint/sqs at 10.0.2.5",
            "two/vpc_endpoint/sqs at 10.0.3.5",
            "two/vpc_endpoint/sqs at 10.0.2.5",
            "one/vpc_endpoint/sqs seen as 100.64.0.1",
            "vpc_endpoint/s3 seen as 100.64.0.2",
            "two/vpc_endpoint/sqs seen as 100.64.0.3",
        ]
    );
    let of_endpoint = |eni: &&Eni| matches!(eni.owner, EniOwner::VpcEndpoint { .. });
    for eni in plan.enis.iter().filter(of_endpoint) {
        assert!(eni.source_dest_check && eni.security_groups.len() == 1, "{eni:?}");
    }
}

#[test]
fn a_service_has_one_host_that_answers_in_all_its_blocks() {
    let topology = topology(&network([SQS, SQS], ""));
    let plan = plan(&topology).unwrap();
    let services: Vec<String> = plan
        .attachments
        .iter()
        .zip(&plan.hosts)
        .filter_map(|(attachment, host)| {
            let Host::Service { id } = &attachment.host else { return None };
            let service = topology.services.values().find(|it| it.id == *id).unwrap();
            assert_eq!(host.device_mtu, SERVICE_MTU);
            assert_eq!(host.address, (service.ip, 32));
            let further: Vec<String> = host.further.iter().map(ToString::to_string).collect();
            Some(format!("{} {} {}", attachment.name, service.ip, further.join(" ")))
        })
        .collect();
    // Last, so that services change nobody's number.
    assert_eq!(plan.attachments.last().unwrap().name, "service/sqs");
    assert_eq!(services, ["service/s3 198.18.1.9 198.18.0.0/24", "service/sqs 198.18.2.1 "]);
}

#[test]
fn ep_12_the_services_name_leads_to_the_nearest_interface() {
    let plan = planned(&network([SQS, ""], ""));
    // Its own subnet, its zone, the first.
    assert_eq!(call(&plan, "one/instance/a2", "sqs"), "10.0.2.5");
    assert_eq!(call(&plan, "one/instance/b", "sqs"), "10.0.3.5");
    assert_eq!(call(&plan, "one/instance/a1", "sqs"), "10.0.2.5");
    assert_eq!(call(&plan, "one/instance/c", "sqs.service"), "10.0.3.5");
    // Without an endpoint, and outside, it is the service's own address.
    assert_eq!(call(&plan, "two/instance/b", "sqs"), "198.18.2.1");
    assert_eq!(call(&plan, "internet/web", "sqs"), "198.18.2.1");
    assert_eq!(call(&plan, "service/s3", "web"), "198.51.100.7");
    assert_eq!(call(&plan, "one/instance/b", "s3"), "198.18.1.9");
    // Files that say the same are the same.
    let file = |host: &str| plan.host(host).unwrap().1.hosts.as_ptr();
    assert_eq!(file("one/instance/a1"), file("one/instance/a2"));
    assert_eq!(file("two/instance/a1"), file("two/instance/c"));
    assert_ne!(file("one/instance/a1"), file("one/instance/c"));
}

#[test]
fn without_private_dns_the_name_stays_the_services() {
    let endpoint =
        "sqs: { type: interface, service: sqs, subnets: [b], private_dns_enabled: false }";
    let plan = planned(&network([endpoint, ""], ""));
    assert_eq!(call(&plan, "one/instance/b", "sqs"), "198.18.2.1");
}

// Facts: EP-12, LAM-78
#[test]
fn ep_12_a_service_of_awss_has_its_public_name_where_its_own_leads() {
    let network = network(
        ["api: { type: interface, service: com.amazonaws.eu-central-1.lambda, subnets: [b] }", ""],
        "",
    )
    .replace(
        "  sqs: { ip: 198.18.2.1 }",
        "
  com.amazonaws.eu-central-1.lambda: { ip: 198.18.2.1 }
  com.amazonaws.eu-central-1.ecr.api: { ip: 198.18.2.2 }
  com.amazonaws.vpce.eu-central-1.vpce-svc-0123: { ip: 198.18.2.3 }
  com.amazonaws.lambda: { ip: 198.18.2.4 }",
    );
    let plan = planned(&network);
    for (from, name, address) in [
        ("one/instance/b", "com.amazonaws.eu-central-1.lambda", "10.0.3.5"),
        ("one/instance/b", "lambda.eu-central-1.amazonaws.com", "10.0.3.5"),
        ("two/instance/b", "lambda.eu-central-1.amazonaws.com", "198.18.2.1"),
        ("internet/web", "lambda.eu-central-1.amazonaws.com", "198.18.2.1"),
        ("one/instance/b", "api.ecr.eu-central-1.amazonaws.com", "198.18.2.2"),
        ("one/instance/b", "vpce-svc-0123.eu-central-1.vpce.amazonaws.com", "nobody"),
        ("one/instance/b", "lambda.amazonaws.com", "nobody"),
    ] {
        assert_eq!(call(&plan, from, name), address, "{name} from {from}");
    }
}

#[test]
fn services_move_nothing_and_endpoints_only_hyperplane_enis() {
    let function = "api: { subnets: [one/b], security_groups: [one/default] }";
    let without = planned(&network(["", ""], function));
    let with = planned(&network([SQS, ""], function));
    let others = |plan: &Plan| -> Vec<Eni> {
        let is_instance = |eni: &&Eni| matches!(eni.owner, EniOwner::Instance { .. });
        plan.enis.iter().filter(is_instance).cloned().collect()
    };
    assert_eq!(others(&without), others(&with));
    assert_eq!(without.attachments, with.attachments);
    // With a plan before, not even those: the endpoint takes what is free.
    let after = plan_after(&without, &topology(&network([SQS, ""], function))).unwrap();
    for eni in &without.enis {
        assert!(after.enis.contains(eni), "{eni:?}");
    }
    assert_eq!(interfaces(&after)[0], "vpc_endpoint/sqs at 10.0.3.6");
}

#[test]
fn endpoints_keep_their_addresses_on_both_sides() {
    let before = planned(&network([&format!("{SQS}, {S3}"), SQS], ""));
    // The first goes, the others are reordered, one more comes.
    let more = "more: { type: gateway, service: s3 }";
    let text = network([S3, &format!("{more}, {SQS}")], "");
    let after = plan_after(&before, &topology(&text)).unwrap();
    assert_eq!(
        interfaces(&after),
        [
            "vpc_endpoint/sqs at 10.0.3.5",
            "vpc_endpoint/sqs at 10.0.2.5",
            "vpc_endpoint/s3 seen as 100.64.0.2",
            // What is given up in this reload rests.
            "vpc_endpoint/more seen as 100.64.0.4",
            "vpc_endpoint/sqs seen as 100.64.0.3",
        ]
    );
    assert_eq!(changes(&after, &plan_after(&after, &topology(&text)).unwrap()), []);

    // An endpoint that leads elsewhere is another there, and the same in its VPC.
    let elsewhere = text.replace("type: interface, service: sqs", "type: interface, service: s3");
    let moved = plan_after(&after, &topology(&elsewhere)).unwrap();
    assert_eq!(interfaces(&moved)[4], "vpc_endpoint/sqs seen as 100.64.0.1");
    let steps = changes(&after, &moved);
    assert!(
        matches!(&steps[..], [Change::RemoveEni(out), Change::AddEni(new)] if *out == new.id),
        "{steps:?}"
    );
}

#[test]
fn a_service_with_an_id_can_be_renamed_and_stays_the_same_host() {
    let text = |name: &str| format!("services: {{ {name}: {{ id: vpce-svc-1, ip: 198.18.2.1 }} }}");
    let before = planned(&text("sqs"));
    let after = plan_after(&before, &topology(&text("queues"))).unwrap();
    assert_eq!(before.attachments[0].id, after.attachments[0].id);
    assert_eq!(after.attachments[0].name, "service/queues");
}
