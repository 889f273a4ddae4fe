//! What people are told about the difference between two topologies.

use viaduct_topology::Topology;

fn topology(text: &str) -> Topology {
    match viaduct_config_plane::load("test.yaml", text) {
        Ok(loaded) => loaded.topology,
        Err(problems) => panic!("{problems}"),
    }
}

/// The difference, a line for each object and each detail.
fn difference(before: &str, after: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for difference in topology(after).difference(&topology(before)) {
        lines.push(format!("{} {}", difference.action, difference.path));
        lines.extend(difference.details.iter().map(|detail| format!("    {detail}")));
    }
    lines
}

const BEFORE: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      public:  { cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }
      private: { cidr_block: 10.0.1.0/24, availability_zone: a }
    route_tables:
      main:   { main: true, routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: public, public_ips: [203.0.113.10] }
    security_groups:
      fn: { egress: [ { protocol: tcp, ports: 5432, to: security_group/db } ] }
      db: { ingress: [ { protocol: tcp, ports: 5432, from: security_group/fn } ] }
    network_acls:
      data: { ingress: { 100: { action: allow, protocol: tcp, ports: 5432, cidr_block: 10.0.0.0/16 } } }
    instances:
      db:  { subnet: private, private_ip: 10.0.1.10, security_groups: [db] }
      old: { subnet: private }
functions:
  api: { subnets: [main/private], security_groups: [main/fn] }
roles:
  lambda: { policies: [AWSLambdaBasicExecutionRole] }
principals:
  AKIAONE: { policies: [AdministratorAccess] }
internet:
  web: { ip: 198.51.100.7 }
expect:
  - { from: function/api, to: instance/db, port: tcp/5432, verdict: allow }
";

const POLICY: &str = "{ Id: ENIs, Statement: { Sid: Enis, Effect: Allow, NotAction: [iam:*, sts:*], Resource: '*',
      Condition: { ForAnyValue:StringLike: { lambda:VpcIds: [vpc-1, vpc-2] }, 'Null': { lambda:SubnetIds: false } } } }";

#[test]
fn every_kind_of_object_and_field_is_told() {
    let mut after = BEFORE.to_owned();
    for (was, is) in [
        (
            "vpcs:\n",
            "settings: { eni_connections: 100, nat: { udp_timeout: 10 }, lifecycle: { idle: 60 }, lifecycle_scale: 2 }\nvpcs:\n",
        ),
        ("[10.0.0.0/16]", "[10.0.0.0/16, 10.1.0.0/16]"),
        (
            "availability_zone: a }\n    route",
            "availability_zone: b, network_acl: data }\n    route",
        ),
        ("target: nat_gateway/egress", "target: blackhole"),
        ("[203.0.113.10]", "[203.0.113.10, 203.0.113.11]"),
        ("to: security_group/db } ] }", "to: 10.0.0.0/8 } ] }"),
        ("100: { action: allow", "90: { action: deny"),
        ("private_ip: 10.0.1.10, security_groups: [db]", "security_groups: [fn, db]"),
        ("      old: { subnet: private }", "      new: { subnet: private }"),
        (
            "security_groups: [main/fn] }",
            "security_groups: [main/fn], environments: 3, role: lambda }",
        ),
        ("[AWSLambdaBasicExecutionRole]", "[AWSLambdaBasicExecutionRole, {POLICY}]"),
        ("AKIAONE: { pol", "AKIATWO: { account: 111111111111, pol"),
        ("198.51.100.7", "198.51.100.8"),
    ] {
        assert_eq!(after.matches(was).count(), 1, "{was}");
        after = after.replace(was, is);
    }
    let expected = "\
~ settings
    eni_connections: 65000 → 100
    environment_connections: 32500 → 50
    nat.udp_timeout: 350 → 10
    lifecycle.idle: 1209600 → 60
    lifecycle_scale: 1 → 2
~ vpc/main
    cidr_blocks: 10.0.0.0/16 → 10.0.0.0/16, 10.1.0.0/16
~ main/subnet/private
    availability_zone: a → b
    network_acl: main/network_acl/default → main/network_acl/data
~ main/route_table/main
    routes: - 0.0.0.0/0 to main/nat_gateway/egress
    routes: + 10.1.0.0/16 to local
    routes: + 0.0.0.0/0 to blackhole
~ main/route_table/public
    routes: + 10.1.0.0/16 to local
~ main/network_acl/data
    ingress: - 100 allow tcp/5432 from 10.0.0.0/16
    ingress: + 90 deny tcp/5432 from 10.0.0.0/16
~ main/security_group/fn
    egress: - tcp/5432 to main/security_group/db
    egress: + tcp/5432 to 10.0.0.0/8
~ main/nat_gateway/egress
    addresses: 1 → 2
    public_ips: 203.0.113.10 → 203.0.113.10, 203.0.113.11
~ main/instance/db
    private_ip: 10.0.1.10 → any
    security_groups: + main/security_group/fn
- main/instance/old
+ main/instance/new
~ function/api
    environments: 1 → 3
    role: none → role/lambda
~ internet/web
    ip: 198.51.100.7 → 198.51.100.8
~ role/lambda
    policies: + ENIs: Enis: Allow all but iam:*, sts:* on * if lambda:VpcIds ForAnyValue:StringLike [vpc-1, vpc-2] and lambda:SubnetIds Null [false]
- principal/AKIAONE
+ principal/AKIATWO";
    let after = after.replace("{POLICY}", POLICY);
    assert_eq!(difference(BEFORE, &after), expected.lines().collect::<Vec<_>>());
}

#[test]
fn prefix_lists_peerings_and_middleboxes_are_told_by_their_names() {
    let text = |entry: &str, target: &str, accepter: &str| {
        format!(
            "
prefix_lists: {{ office: {{ entries: [192.0.2.0/24{entry}] }} }}
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets: {{ a: {{ cidr_block: 10.0.1.0/24 }} }}
    route_tables:
      main: {{ main: true, routes: [ {{ destination: 10.1.0.0/16, target: {target} }} ] }}
    security_groups:
      web: {{ ingress: [ {{ protocol: tcp, ports: 80, from: prefix_list/office }} ] }}
    instances:
      box: {{ subnet: a, source_dest_check: false }}
  near: {{ cidr_blocks: [10.1.0.0/16] }}
  far: {{ cidr_blocks: [10.2.0.0/16] }}
vpc_peering_connections:
  one: {{ requester: main, accepter: near }}
  two: {{ requester: near, accepter: {accepter} }}
"
        )
    };
    let before = text("", "vpc_peering_connection/one", "far");
    let after = text(", 198.51.100.0/24", "instance/box", "far");
    assert_eq!(
        difference(&before, &after),
        [
            "~ main/route_table/main",
            "    routes: - 10.1.0.0/16 to vpc_peering_connection/one",
            "    routes: + 10.1.0.0/16 to main/instance/box",
            "~ prefix_list/office",
            "    entries: + 198.51.100.0/24",
            // As many as there are, unless the file says otherwise.
            "    max_entries: 1 → 2",
        ]
    );
    let gone = before.replace("prefix_list/office", "192.0.2.0/24").replace("two:", "three:");
    assert_eq!(
        difference(&before, &gone),
        [
            "~ main/security_group/web",
            "    ingress: - tcp/80 from prefix_list/office",
            "    ingress: + tcp/80 from 192.0.2.0/24",
            "- vpc_peering_connection/two",
            "+ vpc_peering_connection/three",
        ]
    );
}

#[test]
fn order_and_expectations_make_no_difference() {
    let mut after = BEFORE.replace("      old: { subnet: private }\n", "");
    after = after.replace("    instances:\n", "    instances:\n      old: { subnet: private }\n");
    let (after, _) = after.split_once("expect:").unwrap();
    assert_eq!(difference(BEFORE, after), [""; 0]);
}

#[test]
fn an_object_with_an_id_can_be_renamed() {
    let text = |name: &str| {
        format!(
            "vpcs:\n  main:\n    cidr_blocks: [10.0.0.0/16]\n    security_groups: {{ {name}: {{ id: sg-1234 }} }}\n"
        )
    };
    assert_eq!(
        difference(&text("web"), &text("front")),
        [
            "~ main/security_group/front",
            "    path: main/security_group/web → main/security_group/front"
        ]
    );
}

#[test]
fn a_vpc_comes_and_goes_with_all_that_is_in_it() {
    let nothing = "vpcs: {}";
    let lines = difference(nothing, BEFORE);
    assert_eq!(lines[0], "+ vpc/main");
    assert!(lines.iter().all(|line| line.starts_with("+ ")), "{lines:?}");
    // One each of VPC, gateways, function, host, role and principal; two subnets, tables, instances; three groups and
    // ACLs less one, as every VPC has its own of both.
    assert_eq!(lines.len(), 1 + 2 + 2 + 2 + 3 + 1 + 1 + 2 + 4, "{lines:?}");
    let back = difference(BEFORE, nothing);
    assert_eq!(back.len(), lines.len());
    assert!(back.iter().all(|line| line.starts_with("- ")), "{back:?}");
}
