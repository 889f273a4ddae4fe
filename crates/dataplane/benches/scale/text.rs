//! A topology of any size as a file, the same every time.
//!
//! One VPC. Each route table but two has a subnet of its own; functions and instances are spread
//! over the subnets, each with five groups that no other of its subnet has, so that every function
//! needs an ENI of its own (LAM-03). Rules name blocks, groups and ranges of ports in turn. What is
//! asked for in measurements, TCP to port 443, is admitted by the last rule of each group, and leaves
//! by the last routes of each table: nothing is found sooner than it must be.

use std::fmt::{self, Write};

/// How much of everything there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Functions, each with one environment and one ENI.
    pub(crate) functions: usize,
    /// Instances, each with one ENI.
    pub(crate) instances: usize,
    /// Security groups.
    pub(crate) groups: usize,
    /// Rules of a group, half of them in either direction.
    pub(crate) rules: usize,
    /// Route tables, 3 to 253.
    pub(crate) route_tables: usize,
    /// Routes of a table.
    pub(crate) routes: usize,
}

impl Size {
    /// What is promised for: 10,000 ENIs (the NAT gateway has one too), 1,000 groups of 60 rules,
    /// 200 route tables of 500 routes.
    pub(crate) const FULL: Self = Self {
        functions: 5_000,
        instances: 4_999,
        groups: 1_000,
        rules: 60,
        route_tables: 200,
        routes: 500,
    };

    /// The same for 10 ENIs: fewer of everything, each as large.
    pub(crate) const SMALL: Self =
        Self { functions: 5, instances: 4, groups: 10, route_tables: 7, ..Self::FULL };

    /// Subnets that hosts stand in.
    const fn subnets(self) -> usize {
        self.route_tables - 2
    }
}

/// Groups of each interface, at most what AWS allows by default (SG-30).
const GROUPS_EACH: usize = 5;

/// The file. `changed` has one rule of group `g0` name another port.
pub(crate) fn text(size: Size, changed: bool) -> String {
    let mut text = String::with_capacity(16 << 20);
    write(&mut text, size, changed).expect("a text takes everything");
    text
}

fn write(text: &mut String, size: Size, changed: bool) -> fmt::Result {
    text.push_str("settings: { enis_per_vpc: 100000 }\nvpcs:\n  main:\n");
    text.push_str("    cidr_blocks: [10.0.0.0/16]\n    subnets:\n");
    text.push_str("      public: { cidr_block: 10.0.255.0/24, route_table: public }\n");
    for subnet in 0..size.subnets() {
        writeln!(
            text,
            "      s{subnet}: {{ cidr_block: 10.0.{subnet}.0/24, route_table: t{subnet} }}"
        )?;
    }
    text.push_str("    internet_gateway: igw\n");
    text.push_str("    nat_gateways: { egress: { subnet: public, public_ips: [203.0.113.10] } }\n");
    text.push_str("    route_tables:\n");
    for table in 0..size.subnets() {
        route_table(text, &format!("t{table}"), "nat_gateway/egress", size.routes)?;
    }
    route_table(text, "main", "nat_gateway/egress", size.routes)?;
    route_table(text, "public", "internet_gateway/igw", size.routes)?;
    text.push_str("    security_groups:\n");
    for group in 0..size.groups {
        security_group(text, size, group, changed && group == 0)?;
    }
    text.push_str("    instances:\n");
    for instance in 0..size.instances {
        let subnet = instance % size.subnets();
        write!(text, "      i{instance}: {{ subnet: s{subnet}, security_groups: ")?;
        groups(text, size, instance, "")?;
        text.push_str(" }\n");
    }
    text.push_str("functions:\n");
    for function in 0..size.functions {
        let subnet = function % size.subnets();
        write!(text, "  f{function}: {{ subnets: [main/s{subnet}], security_groups: ")?;
        groups(text, size, function, "main/")?;
        text.push_str(" }\n");
    }
    text.push_str("internet: { web: { ip: 198.51.100.7 } }\n");
    Ok(())
}

/// Blocks of 172.16.0.0/12, every third inside the one before; the default route last.
fn route_table(text: &mut String, name: &str, way_out: &str, routes: usize) -> fmt::Result {
    writeln!(text, "      {name}:\n        routes:")?;
    for route in 0..routes - 1 {
        let (third, target) = (route / 3, if route % 2 == 0 { "blackhole" } else { way_out });
        let (high, low) = (16 + third / 64, third % 64 * 4);
        let block = match route % 3 {
            0 => format!("172.{high}.{low}.0/23"),
            1 => format!("172.{high}.{low}.64/26"),
            _ => format!("172.{high}.{}.0/24", low + 2),
        };
        writeln!(text, "          - {{ destination: {block}, target: {target} }}")?;
    }
    writeln!(text, "          - {{ destination: 0.0.0.0/0, target: {way_out} }}")
}

fn security_group(text: &mut String, size: Size, group: usize, changed: bool) -> fmt::Result {
    writeln!(text, "      g{group}:")?;
    let each = size.rules / 2;
    for (direction, peer, everybody) in
        [("ingress", "from", "10.0.0.0/8"), ("egress", "to", "0.0.0.0/0")]
    {
        writeln!(text, "        {direction}:")?;
        for rule in 0..each - 1 {
            let protocol = if rule % 2 == 0 { "tcp" } else { "udp" };
            let port = 1_000 + 10 * rule + usize::from(changed && rule == 0);
            let (ports, other) = match rule % 3 {
                0 => (format!("{port}"), format!("10.0.{}.0/24", (group + rule) % size.subnets())),
                1 => (
                    format!("{port}"),
                    format!("security_group/g{}", (31 * group + rule) % size.groups),
                ),
                _ => (format!("{port}-{}", port + 9), format!("192.168.{}.{rule}/32", group % 256)),
            };
            writeln!(
                text,
                "          - {{ protocol: {protocol}, ports: {ports}, {peer}: {other} }}"
            )?;
        }
        writeln!(text, "          - {{ protocol: tcp, ports: 443, {peer}: {everybody} }}")?;
    }
    Ok(())
}

/// Five groups that differ for any two hosts of a subnet.
fn groups(text: &mut String, size: Size, host: usize, vpc: &str) -> fmt::Result {
    text.push('[');
    for index in 0..GROUPS_EACH {
        let comma = if index == 0 { "" } else { ", " };
        write!(
            text,
            "{comma}{vpc}g{}",
            (7 * host + index * size.groups / GROUPS_EACH) % size.groups
        )?;
    }
    text.push(']');
    Ok(())
}
