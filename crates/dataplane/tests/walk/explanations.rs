//! Explanations as people and programs read them.

use viaduct_dataplane::explain::{self, Verdict, Way};
use viaduct_topology::{Reason, model::ExpectedVerdict};

use crate::world::World;

const QUICKSTART: &str = include_str!("../../../../config/quickstart.yaml");

/// Every `expect` line of every example, explained and walked as a packet.
#[test]
fn the_examples_keep_what_they_expect() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config");
    let mut lines = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let world = World::of(viaduct_config_plane::load_file(&path).unwrap().topology);
        for expectation in &world.topology.expectations {
            let (from, to) = (&expectation.from, &expectation.to);
            let queries =
                explain::queries(&world.topology, &world.inventory, from, to, expectation.traffic);
            for query in queries.unwrap() {
                let answer = world.ask_query(&query).map(|(_, reason)| reason);
                let kept = match (expectation.verdict, answer) {
                    (ExpectedVerdict::Allow, None) | (ExpectedVerdict::Deny(None), Some(_)) => true,
                    (ExpectedVerdict::Deny(Some(because)), Some(reason)) => because == reason,
                    _ => false,
                };
                let told = explain::explain(&world.policy, &world.inventory, &query).unwrap();
                assert!(kept, "{}: {expectation:?}\n{told}", path.display());
                lines += 1;
            }
        }
    }
    assert!(lines > 10, "only {lines} expectations were tried");
}

#[test]
fn a_denial_as_people_read_it() {
    let world = World::new(QUICKSTART);
    let told = world.explain("function/api", "instance/cache", "tcp/6379").to_string();
    let ids = world.inventory.enis();
    let eni = ids.iter().find(|eni| eni.ip.octets()[..3] == [10, 0, 1]).unwrap();
    let expected = "\
function/api to 10.0.3.10 tcp/6379: deny

request
       tcp 169.254.100.2:32768-60999 > 10.0.3.10:6379
";
    assert!(told.starts_with(expected), "{told}");
    assert!(told.contains(eni.id.as_str()), "{told}");
    assert!(
        told.ends_with(
            "refused: SUBNET_ACL_RESTRICTION at hop 2 of the reply, main/network_acl/no-replies
         egress rule * deny all traffic
         A subnet's network ACL denies the packet.\n"
        ),
        "{told}"
    );
}

#[test]
fn a_denial_as_programs_read_it() {
    let world = World::new(QUICKSTART);
    let explained = world.explain("function/api", "instance/cache", "tcp/6379");
    assert_eq!((explained.verdict, explained.direction), (Verdict::Deny, Some(Way::Return)));
    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!(json["verdict"], "deny");
    assert_eq!(json["reason"], "SUBNET_ACL_RESTRICTION");
    assert_eq!(json["direction"], "return");
    assert_eq!(json["translated_source_ports"], "1024-65535");
    assert!(json["translated_source"].as_str().is_some_and(|ip| ip.starts_with("10.0.1.")));
    assert_eq!(json["blockers"].as_array().map(Vec::len), Some(1));
    assert_eq!(json["blockers"][0]["component"], "network_acl");
    let forward = json["forward"].as_array().unwrap();
    assert!(forward.iter().all(|hop| hop["verdict"] == "allow" && hop["reason"].is_null()));
    let rule = |hop: &serde_json::Value| hop["rule"].as_str().map(str::to_owned);
    assert!(
        forward
            .iter()
            .filter_map(rule)
            .any(|rule| rule == "egress allow tcp 6379 to main/security_group/cache"),
        "{forward:#?}"
    );
    assert!(json["return"].as_array().is_some_and(|hops| !hops.is_empty()));
}

#[test]
fn an_allowed_flow_has_no_reason() {
    let world = World::new(QUICKSTART);
    let json =
        serde_json::to_value(world.explain("function/api", "internet/web", "tcp/443")).unwrap();
    assert_eq!(json["verdict"], "allow");
    assert!(json["reason"].is_null() && json["direction"].is_null());
    assert_eq!(json["blockers"], serde_json::json!([]));
    assert_eq!(json["translated_source"], "203.0.113.10");
}

#[test]
fn blockers_are_all_told_in_the_order_of_the_walk() {
    let world = World::new(QUICKSTART);
    let explained = world.explain("instance/db", "internet/web", "tcp/443");
    let told: Vec<_> = explained.blockers.iter().map(|b| (b.direction, b.reason.code())).collect();
    assert_eq!(
        told,
        [
            (Way::Forward, "SUBNET_ACL_RESTRICTION"),
            // The reply would be refused too.
            (Way::Return, "SUBNET_ACL_RESTRICTION"),
        ],
        "{explained}"
    );
}

#[test]
fn an_interface_whose_subnet_is_gone_is_refused_in_words_too() {
    let mut world = World::new(QUICKSTART);
    let query = world.queries("instance/db", "internet/web", "tcp/443").remove(0);
    // The daemon exchanges the policy first and removes interfaces after.
    world.reload(
        "vpcs: { main: { cidr_blocks: [10.0.0.0/16], security_groups: { db: { ingress: [] } } } }",
    );
    assert_eq!(world.packet(&query, 40_000).unwrap_err(), Reason::NoRouteToDestination);
    let explained = explain::explain(&world.policy, &world.inventory, &query).unwrap();
    let reasons: Vec<_> = explained.blockers.iter().map(|blocker| blocker.reason).collect();
    assert_eq!((explained.verdict, reasons), (Verdict::Deny, vec![Reason::NoRouteToDestination]));
}
