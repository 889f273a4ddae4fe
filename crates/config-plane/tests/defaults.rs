//! What a file leaves out is what AWS has.

use viaduct_config_plane::load;
use viaduct_topology::{
    Topology,
    model::{
        AclAction, AclRule, NatTimeouts, PortRange, Profile, Route, RouteTarget, Settings, SgPeer,
        SgRule, Traffic,
    },
};

const LEAST: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16, 10.1.0.0/16]
    subnets:
      private: { cidr_block: 10.0.1.0/24 }
    security_groups:
      new: {}
      closed: { ingress: [], egress: [] }
    network_acls:
      new:
      half: { egress: { 200: { action: deny, protocol: all, cidr_block: 0.0.0.0/0 }, 5: { action: allow, protocol: 17, ports: 53, cidr_block: 0.0.0.0/0 } } }
    instances:
      db: { subnet: private }
functions:
  api: { subnets: [private], security_groups: [default] }
";

fn topology(text: &str) -> Topology {
    let loaded = load("least.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.topology
}

const ANYWHERE: &str = "0.0.0.0/0";

fn to_anywhere() -> SgRule {
    SgRule { traffic: Traffic::All, peer: SgPeer::Cidr(ANYWHERE.parse().unwrap()) }
}

fn allow_all() -> AclRule {
    let cidr_block = ANYWHERE.parse().unwrap();
    AclRule { number: 100, action: AclAction::Allow, traffic: Traffic::All, cidr_block }
}

#[test]
fn settings_are_aws_defaults() {
    assert_eq!(topology(LEAST).settings, Settings::default());
    assert_eq!(Settings::default().source_ports, PortRange { first: 1024, last: 65_535 });
}

#[test]
fn a_profile_is_where_all_other_settings_come_from() {
    for (text, expected) in [
        ("settings: { profile: aws }", Settings::of(Profile::Aws)),
        ("settings: { profile: rfc }", Settings::of(Profile::Rfc)),
        (
            "settings: { profile: rfc, nat: { udp_timeout: 120 }, environment_bandwidth: 625 }",
            Settings {
                nat: NatTimeouts { udp_timeout: 120, ..Settings::of(Profile::Rfc).nat },
                environment_bandwidth: Some(625),
                ..Settings::of(Profile::Rfc)
            },
        ),
        (
            "settings: { eni_connections: 9 }",
            Settings {
                eni_connections: 9,
                environment_connections: Some(5),
                ..Settings::default()
            },
        ),
        (
            "settings: { environment_connections: none }",
            Settings { environment_connections: None, ..Settings::default() },
        ),
    ] {
        assert_eq!(topology(&format!("{text}{LEAST}")).settings, expected, "{text}");
    }
}

#[test]
fn rt_01_rt_03_the_main_table_is_there_and_knows_the_vpc() {
    let topology = topology(LEAST);
    let vpc = topology.vpcs.values().next().unwrap();
    let main = &topology.route_tables[vpc.main_route_table];
    let local = |block: &str| Route {
        destination: block.parse().unwrap(),
        prefix_list: None,
        target: RouteTarget::Local,
    };
    assert_eq!(main.name, "main");
    assert_eq!(main.routes, [local("10.0.0.0/16"), local("10.1.0.0/16")]);
    let subnet = topology.subnets.values().next().unwrap();
    assert_eq!(subnet.route_table, vpc.main_route_table);
    assert_eq!(subnet.network_acl, vpc.default_network_acl);
    assert_eq!(subnet.availability_zone, "a");
}

#[test]
fn acl_05_the_default_acl_allows_all() {
    let topology = topology(LEAST);
    let vpc = topology.vpcs.values().next().unwrap();
    let acl = &topology.network_acls[vpc.default_network_acl];
    assert_eq!(
        (acl.ingress.as_slice(), acl.egress.as_slice()),
        (&[allow_all()][..], &[allow_all()][..])
    );
}

#[test]
fn acl_06_a_new_acl_has_no_rules_and_rules_are_sorted() {
    let topology = topology(LEAST);
    let acl = |name: &str| topology.network_acls.values().find(|acl| acl.name == name).unwrap();
    assert!(acl("new").ingress.is_empty() && acl("new").egress.is_empty());
    assert!(acl("half").ingress.is_empty());
    let numbers: Vec<u16> = acl("half").egress.iter().map(|rule| rule.number).collect();
    assert_eq!(numbers, [5, 200]);
    assert_eq!(acl("half").egress[0].traffic, Traffic::Udp(PortRange::single(53)));
}

#[test]
fn sg_02_sg_05_groups_let_out_and_the_default_group_lets_itself_in() {
    let topology = topology(LEAST);
    let vpc = topology.vpcs.values().next().unwrap();
    let default = &topology.security_groups[vpc.default_security_group];
    let own = SgPeer::Group(vpc.default_security_group);
    assert_eq!(default.ingress, [SgRule { traffic: Traffic::All, peer: own }]);
    assert_eq!(default.egress, [to_anywhere()]);
    let group = |name: &str| topology.security_groups.values().find(|it| it.name == name).unwrap();
    assert!(group("new").ingress.is_empty());
    assert_eq!(group("new").egress, [to_anywhere()]);
    assert!(group("closed").ingress.is_empty() && group("closed").egress.is_empty());
}

#[test]
fn an_instance_has_the_default_group_and_checks_its_addresses() {
    let topology = topology(LEAST);
    let vpc = topology.vpcs.values().next().unwrap();
    let db = topology.instances.values().next().unwrap();
    assert_eq!(db.security_groups, [vpc.default_security_group]);
    assert!(db.source_dest_check);
    assert_eq!((db.private_ip, db.public_ip), (None, None));
    let api = topology.functions.values().next().unwrap();
    assert_eq!(api.security_groups, [vpc.default_security_group]);
    assert_eq!((api.environments, api.account.as_str()), (1, "123456789012"));
}

#[test]
fn declaring_default_replaces_it_and_keeps_what_is_left_out() {
    let topology = topology(
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    route_tables: { main: { routes: [{ destination: 192.0.2.0/24, target: blackhole }] } }
    security_groups: { default: { egress: [] } }
    network_acls: { default: { ingress: {} } }
",
    );
    let vpc = topology.vpcs.values().next().unwrap();
    assert_eq!(topology.route_tables.len(), 1);
    assert_eq!(
        topology.route_tables[vpc.main_route_table].routes[1].target,
        RouteTarget::Blackhole
    );
    assert_eq!(topology.security_groups.len(), 1);
    let group = &topology.security_groups[vpc.default_security_group];
    assert_eq!((group.ingress.len(), group.egress.len()), (1, 0));
    assert_eq!(topology.network_acls.len(), 1);
    let acl = &topology.network_acls[vpc.default_network_acl];
    assert_eq!((acl.ingress.len(), acl.egress.as_slice()), (0, &[allow_all()][..]));
}

#[test]
fn a_table_of_another_name_can_be_the_main_one() {
    let topology = topology(
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    route_tables: { first: {}, second: { main: true } }
",
    );
    let vpc = topology.vpcs.values().next().unwrap();
    assert_eq!(topology.route_tables[vpc.main_route_table].name, "second");
    assert_eq!(topology.route_tables.len(), 2);
}

#[test]
fn lam_03_a_functions_groups_are_a_set_of_its_own_vpc() {
    let topology = topology(
        "
vpcs:
  one:
    cidr_blocks: [10.0.0.0/16]
    subnets: { a: { cidr_block: 10.0.0.0/24 } }
    security_groups: { x: {}, y: {} }
  two:
    cidr_blocks: [10.0.0.0/16]
    subnets: { b: { cidr_block: 10.0.0.0/24 } }
    security_groups: { x: {}, y: {} }
functions:
  f: { subnets: [b], security_groups: [y, x] }
  g: { subnets: [two/b], security_groups: [two/security_group/x, security_group/y] }
",
    );
    let mut functions = topology.functions.values();
    let (f, g) = (functions.next().unwrap(), functions.next().unwrap());
    assert_eq!(f.security_groups, g.security_groups);
    assert_eq!(topology.path(f.security_groups[0]), "two/security_group/x");
    assert_eq!(topology.short_path(f.subnets[0]), "subnet/b");
}
