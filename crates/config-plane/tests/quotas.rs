//! Quotas that are counted over a VPC, an account or a zone: what exceeds them loads with a warning.

use viaduct_config_plane::load;

/// The warnings of a file that loads, each with the text it is about.
fn warnings(text: &str) -> Vec<String> {
    let loaded = load("quotas.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
    loaded.warnings.diagnostics().map(|it| format!("{}: {}", it.text, it.message)).collect()
}

/// As many entries of a mapping as asked for.
fn entries(count: usize, entry: impl Fn(usize) -> String) -> String {
    (0..count).map(entry).collect::<Vec<_>>().join(", ")
}

/// One VPC in account 1…, with something in it.
fn vpc(name: &str, account: u8, content: &str) -> String {
    let account = account.to_string().repeat(12);
    format!("  {name}: {{ cidr_blocks: [10.0.0.0/16], account: '{account}', {content} }}\n")
}

fn one(content: &str) -> Vec<String> {
    warnings(&format!(
        "vpcs:\n{}services: {{ s3: {{ prefix_list: [198.18.0.0/24] }} }}\n",
        vpc("main", 1, content)
    ))
}

#[test]
fn rt_25_acl_20_tables_and_acls_of_a_vpc() {
    // The main table and the default ACL count too.
    let tables =
        |count| format!("route_tables: {{ {} }}", entries(count, |n| format!("t{n}: {{}}")));
    assert_eq!(one(&tables(199)), [""; 0]);
    assert_eq!(one(&tables(200)), ["main: VPC `main` has 201 route tables"]);
    let acls = |count| format!("network_acls: {{ {} }}", entries(count, |n| format!("a{n}: {{}}")));
    assert_eq!(one(&acls(199)), [""; 0]);
    assert_eq!(one(&acls(200)), ["main: VPC `main` has 201 network ACLs"]);
}

#[test]
fn sg_30_groups_of_an_account() {
    let groups =
        |count| format!("security_groups: {{ {} }}", entries(count, |n| format!("g{n}: {{}}")));
    let text = |accounts: [u8; 2]| {
        let [one, other] = accounts;
        let (first, second) =
            (vpc("first", one, &groups(1249)), vpc("second", other, &groups(1250)));
        format!("vpcs:\n{first}{second}")
    };
    assert_eq!(warnings(&text([1, 2])), [""; 0]);
    assert_eq!(warnings(&text([1, 1])), ["second: account 111111111111 has 2501 security groups"]);
}

#[test]
fn ep_19_endpoints_of_a_vpc_and_of_an_account() {
    let interface = |count| {
        let one = |n| {
            format!(
                "e{n}: {{ type: interface, service: s3, subnets: [a], private_dns_enabled: false }}"
            )
        };
        let subnets = "subnets: { a: { cidr_block: 10.0.1.0/24 } }";
        format!("{subnets}, vpc_endpoints: {{ {} }}", entries(count, one))
    };
    assert_eq!(one(&interface(50)), [""; 0]);
    assert_eq!(one(&interface(51)), ["main: VPC `main` has 51 interface endpoints"]);
    let gateway = |count| {
        let tables = entries(count, |n| format!("t{n}: {{}}"));
        let one = |n| format!("e{n}: {{ type: gateway, service: s3, route_tables: [t{n}] }}");
        format!("route_tables: {{ {tables} }}, vpc_endpoints: {{ {} }}", entries(count, one))
    };
    assert_eq!(one(&gateway(20)), [""; 0]);
    assert_eq!(one(&gateway(21)), ["main: account 111111111111 has 21 gateway endpoints"]);
}

#[test]
fn nat_26_gateways_of_an_account_in_a_zone() {
    let gateways = |count, zone: &str| {
        let states = ["pending", "available", "deleting", "failed", "deleted"];
        let one = |n| {
            let state = states[n % states.len()];
            format!("n{n}: {{ subnet: a, connectivity_type: private, state: {state} }}")
        };
        let subnets =
            format!("subnets: {{ a: {{ cidr_block: 10.0.1.0/24, availability_zone: {zone} }} }}");
        format!("{subnets}, nat_gateways: {{ {} }}", entries(count, one))
    };
    let text = |zone| {
        let (first, second) = (vpc("x", 1, &gateways(5, "a")), vpc("y", 1, &gateways(6, zone)));
        format!("vpcs:\n{first}{second}")
    };
    // Three of five count, and four of six.
    assert_eq!(warnings(&text("b")), [""; 0]);
    assert_eq!(warnings(&text("a")), ["n2: account 111111111111 has 6 NAT gateways in zone `a`"]);
}
