//! Functions and their Hyperplane ENIs.

use std::net::Ipv4Addr;

use viaduct_dataplane::{
    explain::Probe,
    inventory::ENVIRONMENT_ADDRESS,
    walk::{Choice, Options},
};
use viaduct_topology::{
    Reason, ResourceId,
    inventory::{Eni, EniOwner, HyperplaneKey},
};
use viaduct_wire::Flow;

use crate::world::{FORWARD, Network, OPEN, World, same_way};

fn network() -> Network {
    Network {
        groups: OPEN,
        instances: "
            db: { subnet: b, private_ip: 10.0.2.10, security_groups: [open] }
            near: { subnet: a, security_groups: [open] }",
        functions: "
            api: { subnets: [main/a], security_groups: [main/open], environments: 3 }
            both: { subnets: [main/a, main/b], security_groups: [main/open], environments: 2 }
            elsewhere: { subnets: [main/b], security_groups: [main/open] }",
        ..Network::default()
    }
}

fn eni_address(world: &World, function: &str) -> Ipv4Addr {
    world.seen_source(function, "instance/db", "tcp/5432")
}

// Conforms: LAM-02
#[test]
fn lam_02_nothing_opens_a_connection_to_a_function() {
    let world = network().world();
    let refused = Some((FORWARD, Reason::V2nOneWay));
    let eni = eni_address(&world, "function/api").to_string();
    // From another subnet, from the same one, and from other functions; whatever the protocol.
    for traffic in ["tcp/8080", "udp/53", "icmp", "protocol/50"] {
        for from in ["instance/db", "instance/near"] {
            assert_eq!(world.ask(from, "function/api", traffic), refused, "{from} {traffic}");
            assert_eq!(world.ask(from, &eni, traffic), refused, "{from} {traffic}");
        }
    }
    assert_eq!(world.ask("function/elsewhere", "function/api", "tcp/80"), refused);
}

// Conforms: LAM-03
#[test]
fn lam_03_functions_of_one_key_share_an_address() {
    let world = network().world();
    let shared = eni_address(&world, "function/api");
    assert_eq!(eni_address(&world, "function/api/2"), shared);
    assert_eq!(eni_address(&world, "function/both/1"), shared, "same subnet and groups");
    assert_ne!(eni_address(&world, "function/elsewhere"), shared);
}

#[test]
fn lam_04_a_function_of_two_subnets_is_explained_for_each() {
    let world = network().world();
    let queries = world.queries("function/both", "instance/db", "tcp/5432");
    assert_eq!(queries.len(), 2);
    for query in &queries {
        assert_eq!(world.ask_query(query), None);
    }
}

// Conforms: LAM-07
#[test]
fn lam_07_an_eni_added_to_a_key_serves_its_environments() {
    let world = network().world();
    let query = &world.queries("function/api", "instance/db", "tcp/5432")[0];
    let (ingress, flow) = world.first_packet(query, 40_000);
    let walk = |eni| {
        let choices = [eni, Choice::default(), Choice::default()];
        let options = Options { choices, ..Options::default() };
        world.walk(ingress, flow, Probe::Tcp(5432), options).unwrap()
    };
    let first = walk(Choice::Nth(0));
    assert_eq!(first.choices[0], 1);

    let id = ResourceId::named("eni-overflow");
    let plan = viaduct_control_plane::plan(&world.topology).unwrap();
    let model = plan.enis.iter().find(|eni| eni.id == first.v2n().unwrap().id).unwrap();
    let EniOwner::Functions(key) = &model.owner else { panic!("{model:?}") };
    let key = HyperplaneKey { ordinal: 1, ..key.clone() };
    let overflow = Eni {
        id: id.clone(),
        private_ip: [10, 0, 1, 200].into(),
        owner: EniOwner::Functions(key),
        ..model.clone()
    };
    world.inventory.add_eni(&overflow, &world.topology.settings).unwrap();

    let second = walk(Choice::Nth(1));
    assert_eq!((second.choices[0], &second.v2n().unwrap().id), (2, &id));
    assert!(!same_way(&second, &first), "another source address is another way");
    // Connections of the first stay there, and the first remains the first choice.
    let held = Choice::Held(first.v2n().unwrap().table().unwrap());
    assert!(same_way(&walk(held), &first));
    assert!(same_way(&walk(Choice::Nth(0)), &first));
}

// Conforms: LAM-09
#[test]
fn lam_09_the_vpc_sees_the_enis_address_and_a_port_from_1024() {
    let world = network().world();
    let explained = world.explain("function/api", "instance/db", "tcp/5432");
    let eni = eni_address(&world, "function/api");
    assert_eq!(explained.translated_source, Some(eni));
    assert_ne!(eni, ENVIRONMENT_ADDRESS);
    let ports = explained.translated_source_ports.map(|ports| (ports.first, ports.last));
    assert_eq!(ports, Some((1024, 65_535)));

    let query = &world.queries("function/api", "instance/db", "tcp/5432")[0];
    let path = world.packet(query, 40_000).unwrap();
    let (_, flow) = world.first_packet(query, 40_000);
    let seen = path.translate(&flow, [1234, 0, 0]).arrival();
    assert_eq!(seen, Flow { source: eni, source_port: 1234, ..flow });
}

// Conforms: LAM-10
#[test]
fn lam_10_functions_speak_tcp_and_udp_only() {
    let world = network().world();
    assert_eq!(world.ask("function/api", "instance/db", "tcp/5432"), None);
    assert_eq!(world.ask("function/api", "instance/db", "udp/5432"), None);
    let refused = Some((FORWARD, Reason::ProtocolRestriction));
    assert_eq!(world.ask("function/api", "instance/db", "icmp"), refused);
    assert_eq!(world.ask("function/api", "instance/db", "protocol/47"), refused);
}

#[test]
fn a_functions_source_is_the_one_every_environment_has() {
    assert_eq!(ENVIRONMENT_ADDRESS.to_string(), "169.254.100.2");
    let world = network().world();
    let query = &world.queries("function/api", "instance/db", "tcp/5432")[0];
    let (ingress, flow) = world.first_packet(query, 40_000);
    for source in [[10, 0, 1, 4], [169, 254, 100, 1]] {
        let spoofed = Flow { source: source.into(), ..flow };
        let walked = world.walk(ingress, spoofed, Probe::Tcp(5432), Options::default());
        assert_eq!(walked.unwrap_err(), Reason::SpoofedSource);
    }
}

// Conforms: LAM-24
#[test]
fn lam_24_a_functions_own_ingress_rules_change_nothing() {
    let world = Network {
        groups: "
            open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
            closed: { ingress: [] }",
        functions: "api: { subnets: [main/a], security_groups: [main/closed] }",
        ..network()
    }
    .world();
    assert_eq!(world.ask("function/api", "instance/db", "tcp/5432"), None);
    let refused = Some((FORWARD, Reason::V2nOneWay));
    assert_eq!(world.ask("instance/db", "function/api", "tcp/5432"), refused);
}
