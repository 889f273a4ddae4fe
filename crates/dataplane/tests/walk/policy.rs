//! Policies: what is compiled again, and what is shared.

use std::sync::Arc;

use viaduct_dataplane::policy::{Numbers, Policy};
use viaduct_topology::Topology;

use crate::world::{Network, load};

fn network() -> Network {
    Network {
        groups: "
            one: { ingress: [ { protocol: tcp, ports: 80, from: 0.0.0.0/0 } ] }
            two: { ingress: [ { protocol: tcp, ports: 80, from: security_group/one } ] }",
        acls: "strict: { ingress: { 100: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 } } }",
        acl_of: &[("b", "strict")],
        ..Network::default()
    }
}

/// The names of the objects that the second policy does not share with the first.
fn changed(before: &Network, after: &Network) -> (Vec<String>, bool) {
    let numbers = Numbers::new();
    let (before, after): (Topology, Topology) = (load(&before.text()), load(&after.text()));
    let old = Policy::compile(&before, None, &numbers);
    let new = Policy::compile(&after, Some(&old), &numbers);

    let mut names = Vec::new();
    macro_rules! compare {
        ($($arena:ident $find:ident,)*) => {$(
            for object in after.$arena.values() {
                let find = |policy: &Policy| {
                    numbers.find(&object.id).and_then(|number| policy.$find(number).cloned())
                };
                let (old, new) = (find(&old), find(&new).expect("it is in the new topology"));
                if !old.is_some_and(|old| Arc::ptr_eq(&old, &new)) {
                    names.push(new.name.clone());
                }
            }
        )*};
    }
    compare! {
        prefix_lists prefix_list,
        vpcs vpc,
        subnets subnet,
        route_tables route_table,
        network_acls network_acl,
        security_groups security_group,
        internet_gateways internet_gateway,
        nat_gateways nat_gateway,
        vpc_peering_connections peering,
    }
    (names, new.generation == old.generation)
}

#[test]
fn an_unchanged_file_changes_nothing_and_keeps_its_generation() {
    assert_eq!(changed(&network(), &network()), (vec![], true));
}

#[test]
fn one_rule_changes_one_object() {
    let after = Network {
        groups: "
            one: { ingress: [ { protocol: tcp, ports: 81, from: 0.0.0.0/0 } ] }
            two: { ingress: [ { protocol: tcp, ports: 80, from: security_group/one } ] }",
        ..network()
    };
    assert_eq!(changed(&network(), &after), (vec!["main/security_group/one".into()], false));

    let after = Network {
        acls: "strict: { ingress: { 100: { action: deny, protocol: all, cidr_block: 0.0.0.0/0 } } }",
        ..network()
    };
    assert_eq!(changed(&network(), &after), (vec!["main/network_acl/strict".into()], false));

    let after = Network {
        main_routes: "[ { destination: 192.0.2.0/24, target: blackhole } ]",
        ..network()
    };
    assert_eq!(changed(&network(), &after), (vec!["main/route_table/main".into()], false));
}

/// What names a list is compiled again with it, and nothing else.
#[test]
fn a_prefix_list_changes_itself_and_the_groups_and_tables_that_name_it() {
    let listed = Network {
        prefix_lists: "x: { entries: [192.0.2.0/24] }",
        groups: "
            one: { ingress: [ { protocol: tcp, ports: 80, from: prefix_list/x } ] }
            two: { ingress: [ { protocol: tcp, ports: 80, from: security_group/one } ] }",
        main_routes: "[ { destination: prefix_list/x, target: blackhole } ]",
        ..network()
    };
    assert_eq!(changed(&listed, &listed), (vec![], true));
    let after = Network { prefix_lists: "x: { entries: [198.51.100.0/24] }", ..listed.clone() };
    let names = ["prefix_list/x", "main/route_table/main", "main/security_group/one"];
    assert_eq!(changed(&listed, &after), (names.map(String::from).into(), false));
}

#[test]
fn an_association_changes_the_subnet_alone() {
    let after = Network { acl_of: &[("a", "strict"), ("b", "strict")], ..network() };
    assert_eq!(changed(&network(), &after), (vec!["main/subnet/a".into()], false));
}

#[test]
fn a_removed_object_is_a_change() {
    let after = Network {
        groups: "one: { ingress: [ { protocol: tcp, ports: 80, from: 0.0.0.0/0 } ] }",
        ..network()
    };
    assert_eq!(changed(&network(), &after), (vec![], false));
}

#[test]
fn renewing_moves_the_generation_alone() {
    let numbers = Numbers::new();
    let topology = load(&network().text());
    let policy = Policy::compile(&topology, None, &numbers);
    let renewed = policy.renewed();
    assert_eq!((policy.generation, renewed.generation), (1, 2));
    let again = Policy::compile(&topology, Some(&renewed), &numbers);
    assert_eq!(again.generation, 2);
}
