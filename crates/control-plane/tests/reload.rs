//! Plans that follow another: what stays keeps what it has, and the steps between two plans.

mod common;

use std::collections::HashMap;

use common::{planned, topology};
use viaduct_control_plane::{Plan, changes, plan_after};
use viaduct_topology::inventory::{Change, Eni, EniOwner, Host};

fn next(previous: &Plan, text: &str) -> Plan {
    plan_after(previous, &topology(text)).unwrap()
}

/// A VPC with instances, NAT gateways and functions.
fn network(in_vpc: &str, outside: &str) -> String {
    format!(
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a: {{ cidr_block: 10.0.1.0/24, availability_zone: a }}
      b: {{ cidr_block: 10.0.2.0/24, availability_zone: b }}
      tiny: {{ cidr_block: 10.0.3.0/28, availability_zone: c }}
    security_groups: {{ one: {{}}, two: {{}} }}
    internet_gateway: igw
{in_vpc}
{outside}"
    )
}

/// The private address of everything, by what it is.
fn addresses(plan: &Plan) -> HashMap<String, String> {
    let name = |eni: &Eni| match &eni.owner {
        EniOwner::Functions(key) => {
            format!("functions with {} groups", key.security_groups.len())
        }
        EniOwner::Instance { path, .. } => path.clone(),
        EniOwner::NatGateway { .. } => format!("nat {}", eni.public_ip.unwrap()),
        EniOwner::ServiceVpc => "service VPC".to_owned(),
        other => panic!("{other:?}"),
    };
    plan.enis.iter().map(|eni| (name(eni), eni.private_ip.to_string())).collect()
}

fn ids(plan: &Plan) -> HashMap<&str, u32> {
    plan.attachments.iter().map(|host| (host.name.as_str(), host.id.0)).collect()
}

#[test]
fn whatever_stays_keeps_address_interface_and_identity_and_new_ones_go_round_them() {
    let before = planned(&network(
        "    instances: { web: { subnet: a }, db: { subnet: a } }",
        "functions: { api: { subnets: [main/a], security_groups: [main/one] } }",
    ));
    assert_eq!(addresses(&before)["functions with 1 groups"], "10.0.1.6");
    // Reordered, `web` gone, three new ones.
    let after = next(
        &before,
        &network(
            "    nat_gateways: { egress: { subnet: a, public_ips: [203.0.113.1] } }
    instances: { new: { subnet: a }, db: { subnet: a } }",
            "functions:
  other: { subnets: [main/a], security_groups: [main/one, main/two] }
  api: { subnets: [main/a], security_groups: [main/one] }",
        ),
    );
    let addresses = addresses(&after);
    assert_eq!(addresses["instance/db"], "10.0.1.5");
    assert_eq!(addresses["functions with 1 groups"], "10.0.1.6");
    // The lowest that are free; what `web` leaves in this very reload rests.
    assert_eq!(addresses["nat 203.0.113.1"], "10.0.1.7");
    assert_eq!(addresses["instance/new"], "10.0.1.8");
    assert_eq!(addresses["functions with 2 groups"], "10.0.1.9");

    assert_eq!(
        ids(&before),
        [("function/api/1", 1), ("instance/web", 2), ("instance/db", 3)].into()
    );
    let expected =
        [("function/other/1", 4), ("function/api/1", 1), ("instance/new", 5), ("instance/db", 3)];
    assert_eq!(ids(&after), expected.into());

    // The next plan gives the rested address out again, and never an identity.
    let last =
        next(&after, &network("    instances: { web: { subnet: a }, db: { subnet: a } }", ""));
    assert_eq!(self::addresses(&last)["instance/web"], "10.0.1.4");
    assert_eq!(ids(&last), [("instance/web", 6), ("instance/db", 3)].into());
}

#[test]
fn the_same_file_changes_nothing() {
    let text = network(
        "    nat_gateways: { egress: { subnet: a, public_ips: [203.0.113.1, 203.0.113.2] } }
    instances: { db: { subnet: b } }",
        "functions: { api: { subnets: [main/a, main/b], security_groups: [main/one], environments: 3 } }
internet: { web: { ip: 198.51.100.7 } }",
    );
    let before = planned(&text);
    let after = next(&before, &text);
    assert_eq!(before, after);
    assert_eq!(changes(&before, &after), []);
}

#[test]
fn the_file_s_word_stands_above_memory() {
    let before = planned(&network(
        "    instances: { web: { subnet: a }, db: { subnet: a, private_ip: 10.0.1.9 } }",
        "",
    ));
    // `db` moves onto the address of `web`, which must move.
    let after = next(
        &before,
        &network(
            "    instances: { web: { subnet: a }, db: { subnet: a, private_ip: 10.0.1.4 } }",
            "",
        ),
    );
    let found = addresses(&after);
    assert_eq!(
        (found["instance/db"].as_str(), found["instance/web"].as_str()),
        ("10.0.1.4", "10.0.1.5")
    );
    // Those who go let go of addresses before others take them; hosts keep their identities.
    let steps = changes(&before, &after);
    let kinds: Vec<String> = steps.iter().map(kind).collect();
    assert_eq!(
        kinds,
        ["- host 1", "- host 2", "- eni", "- eni", "+ eni", "+ eni", "+ host 1", "+ host 2"]
    );
}

#[test]
fn a_secondary_address_passes_from_one_to_another_and_rests_otherwise() {
    let instances = |one: &str, other: &str, more: &str| {
        let keys = |list: &str| format!("subnet: a, secondary_private_ips: [{list}]");
        let (one, other) = (keys(one), keys(other));
        network(&format!("    instances: {{ one: {{ {one} }}, other: {{ {other} }}{more} }}"), "")
    };
    let before = planned(&instances("10.0.1.20", "10.0.1.6", ""));
    let after = next(&before, &instances("10.0.1.6", "10.0.1.20", ""));
    let kinds: Vec<String> = changes(&before, &after).iter().map(kind).collect();
    assert_eq!(kinds, ["~ eni", "~ eni", "~ eni", "~ eni"], "both let go before either takes");
    // What was a secondary address until now is given to nobody else in this reload.
    let freed = next(&before, &instances("", "", ", new: { subnet: a }"));
    assert_eq!(addresses(&freed)["instance/new"], "10.0.1.7");
}

#[test]
fn a_full_subnet_gives_out_what_this_reload_frees_and_nothing_else() {
    let instances = |names: std::ops::Range<u32>| {
        let names: Vec<String> = names.map(|n| format!("h{n}: {{ subnet: tiny }}")).collect();
        network(&format!("    instances: {{ {} }}", names.join(", ")), "")
    };
    // ADR-01: a /28 has eleven usable addresses.
    let before = planned(&instances(0..11));
    let after = next(&before, &instances(1..12));
    let (before, after) = (addresses(&before), addresses(&after));
    assert_eq!(before["instance/h0"], after["instance/h11"]);
    for number in 1..11 {
        let name = format!("instance/h{number}");
        assert_eq!(before[&name], after[&name], "{name}");
    }
}

#[test]
fn lam_18_environments_stay_in_their_subnet_while_the_function_has_it() {
    let function = |subnets: &str, environments: u32| {
        let options = format!("subnets: [{subnets}], environments: {environments}");
        network("", &format!("functions: {{ api: {{ {options}, security_groups: [main/one] }} }}"))
    };
    let stand = |plan: &Plan| -> Vec<String> {
        let hosts = plan.attachments.iter();
        let third = |host: &viaduct_topology::inventory::Attachment| match &host.host {
            Host::Environment { enis, .. } => {
                let eni = plan.enis.iter().find(|eni| eni.id == enis[0]).unwrap();
                eni.private_ip.to_string()[..6].to_owned()
            }
            other => panic!("{other:?}"),
        };
        hosts.map(third).collect()
    };
    let before = planned(&function("main/a", 2));
    assert_eq!(stand(&before), ["10.0.1", "10.0.1"]);
    // The third is new, and in its turn in `a` again; the fourth in `b`.
    let more = next(&before, &function("main/a, main/b", 4));
    assert_eq!(stand(&more), ["10.0.1", "10.0.1", "10.0.1", "10.0.2"]);
    let elsewhere = next(&more, &function("main/b", 4));
    assert_eq!(stand(&elsewhere), ["10.0.2", "10.0.2", "10.0.2", "10.0.2"]);
    assert_eq!(ids(&elsewhere), ids(&more), "an environment moves and stays itself");
}

#[test]
fn nat_gateway_addresses_keep_their_interfaces_and_the_primary_stays_first() {
    let gateway = |ips: &str| {
        network(
            &format!("    nat_gateways: {{ egress: {{ subnet: a, public_ips: [{ips}] }} }}"),
            "",
        )
    };
    let before = planned(&gateway("203.0.113.1, 203.0.113.2, 203.0.113.3"));
    // One of the further ones goes: the other keeps its private address.
    let fewer = next(&before, &gateway("203.0.113.1, 203.0.113.3"));
    assert_eq!(addresses(&fewer)["nat 203.0.113.3"], "10.0.1.6");
    let steps = changes(&before, &fewer);
    assert!(matches!(steps.as_slice(), [Change::DrainEni(_)]), "{steps:?}");
    // The primary's public address is exchanged; NAT-07: its private one is fixed for life.
    let other = next(&fewer, &gateway("203.0.113.9, 203.0.113.3"));
    assert_eq!(addresses(&other)["nat 203.0.113.9"], "10.0.1.4");
    assert_eq!(addresses(&other)["nat 203.0.113.3"], "10.0.1.6");
    // A new one does not get the interface of one that stays.
    let more = next(&other, &gateway("203.0.113.9, 203.0.113.3, 203.0.113.4"));
    let ids: std::collections::HashSet<_> = more.enis.iter().map(|eni| &eni.id).collect();
    assert_eq!(ids.len(), 3 + 1, "the service VPC has one");
}

/// What drained would be led by the routes of a subnet that it is not in.
#[test]
fn a_nat_gateway_in_another_subnet_is_another_one_and_nothing_of_it_drains() {
    let gateway = |subnet: &str, ips: &str| {
        let gateway = format!("egress: {{ subnet: {subnet}, public_ips: [{ips}] }}");
        network(&format!("    nat_gateways: {{ {gateway} }}"), "")
    };
    let before = planned(&gateway("a", "203.0.113.1, 203.0.113.2"));
    let moved = next(&before, &gateway("b", "203.0.113.1"));
    let steps = changes(&before, &moved);
    assert!(steps.iter().all(|step| !matches!(step, Change::DrainEni(_))), "{steps:?}");
    let removed = steps.iter().filter(|step| matches!(step, Change::RemoveEni(_)));
    assert_eq!(removed.count(), 2, "{steps:?}");
}

#[test]
fn a_private_nat_gateway_keeps_its_interfaces_and_addresses() {
    let gateway = |secondary: u32, instances: &str| {
        network(
            &format!(
                "    nat_gateways:
      inner: {{ subnet: a, connectivity_type: private, secondary_private_ip_address_count: {secondary} }}
    instances: {{ {instances} }}"
            ),
            "",
        )
    };
    let interfaces = |plan: &Plan| -> Vec<(String, String)> {
        let gateways =
            plan.enis.iter().filter(|eni| matches!(eni.owner, EniOwner::NatGateway { .. }));
        gateways.map(|eni| (eni.id.to_string(), eni.private_ip.to_string())).collect()
    };
    let before = planned(&gateway(1, "web: { subnet: a }"));
    let more = next(&before, &gateway(2, "web: { subnet: a }, db: { subnet: a }"));
    let less = next(&more, &gateway(0, "db: { subnet: a }"));

    assert_eq!(interfaces(&before).len(), 2);
    assert_eq!(interfaces(&more)[..2], interfaces(&before));
    assert_eq!(interfaces(&more).len(), 3);
    assert_eq!(interfaces(&less), interfaces(&before)[..1]);
}

// Conforms: NAT-07
#[test]
fn nat_07_an_address_that_a_gateway_loses_drains_and_a_lost_gateway_does_not() {
    let gateways = |gateways: &str| network(&format!("    nat_gateways: {{ {gateways} }}"), "");
    let inner = |secondary: u32| {
        format!(
            "inner: {{ subnet: a, connectivity_type: private, secondary_private_ip_address_count: {secondary} }}"
        )
    };
    let two = planned(&gateways(&inner(1)));
    let kinds = |to: &Plan| changes(&two, to).iter().map(kind).collect::<Vec<_>>();
    assert_eq!(kinds(&next(&two, &gateways(&inner(0)))), ["drain eni"]);
    assert_eq!(kinds(&next(&two, &gateways(""))), ["- eni", "- eni"]);
}

#[test]
fn public_addresses_can_be_exchanged() {
    let instances = |one: &str, other: &str| {
        network(
            &format!(
                "    instances: {{ one: {{ subnet: a, public_ip: {one} }}, other: {{ subnet: a, public_ip: {other} }} }}"
            ),
            "",
        )
    };
    let before = planned(&instances("203.0.113.1", "203.0.113.2"));
    let after = next(&before, &instances("203.0.113.2", "203.0.113.1"));
    let steps = changes(&before, &after);
    let public: Vec<_> = steps
        .iter()
        .map(|step| match step {
            Change::ReplaceEni(eni) => eni.public_ip.map(|ip| ip.to_string()),
            other => panic!("{other:?}"),
        })
        .collect();
    let some = |ip: &str| Some(ip.to_owned());
    assert_eq!(public, [None, None, some("203.0.113.2"), some("203.0.113.1")]);
}

#[test]
fn a_namesake_elsewhere_renames_a_host_and_no_more() {
    let other = "
  other:
    cidr_blocks: [10.0.0.0/16]
    subnets: { a: { cidr_block: 10.0.1.0/24, availability_zone: a } }
    instances: { db: { subnet: a } }
";
    let one = network("    instances: { db: { subnet: a } }", "");
    let before = planned(&one);
    let after = next(&before, &format!("{one}{other}"));
    assert_eq!(ids(&before), [("instance/db", 1)].into());
    assert_eq!(ids(&after), [("main/instance/db", 1), ("other/instance/db", 2)].into());
}

fn kind(change: &Change) -> String {
    match change {
        Change::AddEni(_) => "+ eni".to_owned(),
        Change::ReplaceEni(_) => "~ eni".to_owned(),
        Change::DrainEni(_) => "drain eni".to_owned(),
        Change::RemoveEni(_) => "- eni".to_owned(),
        Change::AddAttachment(host) => format!("+ host {}", host.id),
        Change::RemoveAttachment(id) => format!("- host {id}"),
    }
}
