//! Random topologies, as somebody would write them.
//!
//! What stands in a network (its shape) is drawn first; then each object is written with dice of its
//! own. So the same network can be written once more with a few objects changed: that is what the
//! engine is made to reload.

use std::fmt::Write;

use super::{
    Dice, routes, rules,
    shape::{PREFIX_LISTS, SERVICE_BLOCKS, Shape, Vpc, parse},
};

/// Where hosts of the internet stand: two neighbours, one far away, one in a block that some VPC
/// has.
const INTERNET: [&str; 4] = ["198.51.100.7", "198.51.100.8", "8.8.8.8", "192.0.2.20"];

/// What functions without a VPC are seen as: beside hosts of the internet, and far away.
const SERVICE_VPC: [&str; 3] = ["198.51.100.9", "192.0.2.21", "9.9.9.9"];

/// The account of all VPCs, and one that some subnets are shared with.
const OWNER: &str = "123456789012";
const GUEST: &str = "210987654321";

/// Of a hundred objects, how many a change rewrites.
const CHANGED: usize = 12;

/// The topology file of a seed.
#[must_use]
pub fn topology(seed: u64) -> String {
    File { seed, change: None, text: String::new() }.write()
}

/// The same with a few objects changed.
#[must_use]
pub fn changed_topology(seed: u64, change: u64) -> String {
    File { seed, change: Some(change), text: String::new() }.write()
}

struct File {
    seed: u64,
    change: Option<u64>,
    text: String,
}

impl File {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The dice for an object.
    fn dice(&self, label: &str) -> Dice {
        if let Some(change) = self.change {
            let mut other = Dice::labelled(change, label);
            if other.percent(CHANGED) {
                return other;
            }
        }
        Dice::labelled(self.seed, label)
    }

    fn write(mut self) -> String {
        let shape = Shape::draw(self.seed);
        self.settings();
        self.line(&format!("organization: {{ accounts: [{OWNER}, {GUEST}] }}"));
        self.prefix_lists();
        self.line("vpcs:");
        for vpc in &shape.vpcs {
            self.vpc(&shape, vpc);
        }
        self.peerings(&shape);
        self.functions(&shape);
        if shape.services {
            let blocks = SERVICE_BLOCKS.join(", ");
            self.line("services:");
            self.line(&format!("  s3: {{ prefix_list: [{blocks}] }}"));
            self.line("  api: { ip: 198.19.0.1 }");
        }
        self.internet();
        self.text
    }

    /// In some networks ports and connections are few, so that they run out: a handful, or as many
    /// as somebody may keep count of in another way from then on. Interfaces keep the ports and the
    /// profile that they were made with, so no change touches these.
    fn settings(&mut self) {
        let mut dice = Dice::labelled(self.seed, "settings");
        let first: usize = dice.one(&[1024, 32_768, 40_000]);
        let mut settings = Vec::new();
        if dice.percent(20) {
            settings.push("profile: rfc".to_owned());
        }
        if let Some((count, limits)) = self.limits(&mut dice) {
            settings.push(format!("source_ports: {first}-{}, {limits}", first + count - 1));
        } else if dice.percent(4) {
            settings.push(format!("eni_connections_per_second: {}", dice.between(1, 8)));
        }
        settings.extend(self.timers());
        let mut dice = self.dice("service_vpc");
        if dice.percent(30) {
            let address = dice.one(&SERVICE_VPC);
            settings.push(format!("service_vpc_public_ips: [{address}]"));
        }
        if !settings.is_empty() {
            self.line(&format!("settings: {{ {} }}", settings.join(", ")));
        }
    }

    /// How many ports there are, and of how many connections.
    fn limits(&self, dice: &mut Dice) -> Option<(usize, String)> {
        let kind = dice.below(400);
        let few = dice.between(1, 4);
        let near = dice.one(&[6, 33, 64, 130, 140, 150, 192]) + dice.below(5) - 2;
        let many = 4096 + dice.below(200) - 3;
        let mut dice = self.dice("limits");
        let (count, connections, per_destination) = match kind {
            0..48 => (few, dice.one(&[2, 5, 9, 65_000, 65_000]), dice.between(1, 3)),
            48..80 => {
                let connections = dice.one(&[near - 1, near, near + 3, 65_000, 65_000]);
                (near, connections, dice.one(&[near - 1, near, near, 55_000]))
            }
            80..82 => (many, 65_000, 55_000),
            _ => return None,
        };
        let own = dice.one(&["none", "none", "none", "none", "1", "4"]);
        let limits = format!(
            "eni_connections: {connections}, environment_connections: {own}, \
             nat_gateway_connections_per_destination: {per_destination}"
        );
        Some((count, limits))
    }

    /// Times of those who translate and of those who do not, shorter and longer than the others'.
    fn timers(&self) -> Option<String> {
        let mut dice = self.dice("timers");
        if !dice.percent(30) {
            return None;
        }
        let mut seconds = || dice.one(&[20, 45, 100, 240, 350, 1000]);
        let mut times = |names: &[&str]| {
            let times = names.iter().map(|name| format!("{name}_timeout: {}", seconds()));
            times.collect::<Vec<_>>().join(", ")
        };
        let tcp = ["tcp_opening", "tcp_established", "tcp_closing"];
        Some(format!(
            "connection_tracking: {{ {}, {} }}, nat: {{ {}, {} }}",
            times(&tcp),
            times(&["udp", "udp_stream", "icmp", "other"]),
            times(&tcp),
            times(&["udp", "icmp"]),
        ))
    }

    fn prefix_lists(&mut self) {
        self.line("prefix_lists:");
        for (number, entries) in PREFIX_LISTS.iter().enumerate() {
            self.line(&format!("  pl{number}: {{ entries: [{}] }}", entries.join(", ")));
        }
    }

    fn vpc(&mut self, shape: &Shape, vpc: &Vpc) {
        self.line(&format!("  {}:", vpc.name));
        self.line(&format!("    cidr_blocks: [{}]", vpc.blocks.join(", ")));
        if vpc.gateway {
            let table = if vpc.edge_table { ", route_table: edge" } else { "" };
            self.line(&format!("    internet_gateway: {{ name: igw{table} }}"));
        }
        self.subnets(vpc);
        self.line("    route_tables:");
        if vpc.edge_table {
            let mut dice = self.dice(&format!("{}/route_table/edge", vpc.name));
            let routes = routes::of_gateway(&mut dice, vpc);
            self.line(&format!("      edge: {{ routes: [{}] }}", routes.join(", ")));
        }
        for table in std::iter::once("main").chain(vpc.tables.iter().map(String::as_str)) {
            let mut dice = self.dice(&format!("{}/route_table/{table}", vpc.name));
            let routes = routes::routes(&mut dice, shape, vpc, table);
            self.line(&format!("      {table}: {{ routes: [{}] }}", routes.join(", ")));
        }
        self.nat_gateways(vpc);
        self.line("    security_groups:");
        for group in &vpc.groups {
            let mut dice = self.dice(&format!("{}/security_group/{group}", vpc.name));
            let directions = rules::security_group(&mut dice, shape, vpc, "");
            self.line(&format!("      {group}: {{ {} }}", directions.join(", ")));
        }
        if self.has_guest(vpc) {
            let mut dice = self.dice(&format!("{}/security_group/guest", vpc.name));
            let mut parts = vec![format!("account: {GUEST}")];
            parts.extend(rules::security_group(&mut dice, shape, vpc, &format!("{OWNER}/")));
            self.line(&format!("      guest: {{ {} }}", parts.join(", ")));
        }
        if !vpc.acls.is_empty() {
            self.line("    network_acls:");
        }
        for acl in &vpc.acls {
            let mut dice = self.dice(&format!("{}/network_acl/{acl}", vpc.name));
            let directions = rules::network_acl(&mut dice, vpc);
            self.line(&format!("      {acl}: {{ {} }}", directions.join(", ")));
        }
        self.endpoints(vpc);
        self.instances(vpc);
    }

    fn subnets(&mut self, vpc: &Vpc) {
        self.line("    subnets:");
        for (index, subnet) in vpc.subnets.iter().enumerate() {
            let name = &subnet.name;
            let mut dice = self.dice(&format!("{}/subnet/{name}", vpc.name));
            let zone = &subnet.zone;
            let mut line =
                format!("      {name}: {{ cidr_block: {}, availability_zone: {zone}", subnet.block);
            // The first subnet is to be the public one, more often than not.
            let own = vpc.table_of(index);
            let table = if dice.percent(92) {
                own
            } else if vpc.tables.is_empty() {
                None
            } else {
                Some(vpc.tables[dice.below(vpc.tables.len())].as_str())
            };
            if let Some(table) = table {
                let _ = write!(line, ", route_table: {table}");
            }
            if !vpc.acls.is_empty() && dice.percent(70) {
                let acl = &vpc.acls[dice.below(vpc.acls.len())];
                let _ = write!(line, ", network_acl: {acl}");
            }
            if self.has_guest(vpc) {
                let _ = write!(line, ", shared_with: [{GUEST}]");
            }
            self.line(&format!("{line} }}"));
        }
    }

    /// Whether a VPC's subnets are shared with another account, which has a group there.
    fn has_guest(&self, vpc: &Vpc) -> bool {
        self.dice(&format!("{}/guest", vpc.name)).percent(30)
    }

    fn nat_gateways(&mut self, vpc: &Vpc) {
        if vpc.nats.is_empty() {
            return;
        }
        self.line("    nat_gateways:");
        for (index, nat) in vpc.nats.iter().enumerate() {
            let mut dice = self.dice(&format!("{}/nat_gateway/{nat}", vpc.name));
            let any = dice.below(vpc.subnets.len());
            let subnet = &vpc.subnets[if dice.percent(90) { 0 } else { any }].name;
            let count = dice.one(&[1, 1, 1, 2, 3]);
            let addresses = if vpc.is_private(index) {
                let more = count - 1;
                format!("connectivity_type: private, secondary_private_ip_address_count: {more}")
            } else {
                let ips: Vec<_> =
                    (0..count).map(|number| vpc.public_ip(16 + 4 * index + number)).collect();
                format!("public_ips: [{}]", ips.join(", "))
            };
            let mut line = format!("      {nat}: {{ subnet: {subnet}, {addresses}");
            if dice.percent(14) {
                let state = dice.one(&["deleting", "deleting", "deleted", "failed", "pending"]);
                let _ = write!(line, ", state: {state}");
            }
            self.line(&format!("{line} }}"));
        }
    }

    fn endpoints(&mut self, vpc: &Vpc) {
        if vpc.gateway_endpoint || !vpc.endpoints.is_empty() {
            self.line("    vpc_endpoints:");
        }
        if vpc.gateway_endpoint {
            let mut dice = self.dice(&format!("{}/vpc_endpoint/s3", vpc.name));
            let mut tables = vec!["main".to_owned()];
            tables.extend_from_slice(&vpc.tables);
            let tables = dice.some(&tables, 1, 4).join(", ");
            self.line(&format!(
                "      s3: {{ type: gateway, service: s3, route_tables: [{tables}] }}"
            ));
        }
        for (index, name) in vpc.endpoints.iter().enumerate() {
            let mut dice = self.dice(&format!("{}/vpc_endpoint/{name}", vpc.name));
            let service = if index == 0 { "api" } else { "s3" };
            // One subnet in a zone at most (EP-09).
            let first = dice.below(vpc.subnets.len());
            let other = dice.below(vpc.subnets.len());
            let mut subnets = vec![vpc.subnets[first].name.as_str()];
            if vpc.subnets[other].zone != vpc.subnets[first].zone {
                subnets.push(&vpc.subnets[other].name);
            }
            let subnets = subnets.join(", ");
            let mut line = format!(
                "      {name}: {{ type: interface, service: {service}, subnets: [{subnets}]"
            );
            let least = usize::from(dice.percent(85));
            let groups = dice.some(&vpc.groups, least, 3);
            if !groups.is_empty() {
                let _ = write!(line, ", security_groups: [{}]", groups.join(", "));
            }
            self.line(&format!("{line} }}"));
        }
    }

    fn instances(&mut self, vpc: &Vpc) {
        self.line("    instances:");
        for index in 0..vpc.instances {
            let mut dice = self.dice(&format!("{}/instance/i{index}", vpc.name));
            let public = vpc.gateway && dice.percent(55);
            let any = dice.below(vpc.host_subnets());
            let first = public && dice.percent(70);
            let subnet = &vpc.subnets[if first { 0 } else { any }];
            let mut line = format!("      i{index}: {{ subnet: {}", subnet.name);
            if dice.percent(20) {
                // Named addresses cannot clash: each index has its own.
                let (base, _) = parse(&subnet.block);
                let ip = std::net::Ipv4Addr::from(base + 8 + u32::try_from(index).unwrap_or(0));
                let _ = write!(line, ", private_ip: {ip}");
            }
            if dice.percent(15) {
                let (base, _) = parse(&subnet.block);
                let ip = std::net::Ipv4Addr::from(base + 20 + u32::try_from(index).unwrap_or(0));
                let _ = write!(line, ", secondary_private_ips: [{ip}]");
            }
            if public {
                let _ = write!(line, ", public_ip: {}", vpc.public_ip(index));
            }
            let least = usize::from(dice.percent(88));
            let groups = dice.some(&vpc.groups, least, 3);
            if !groups.is_empty() {
                let _ = write!(line, ", security_groups: [{}]", groups.join(", "));
            }
            if dice.percent(if self.change.is_some() { 6 } else { 12 }) {
                line.push_str(", source_dest_check: false");
            }
            self.line(&format!("{line} }}"));
        }
        for appliance in &vpc.appliances {
            let mut dice = self.dice(&format!("{}/instance/{appliance}", vpc.name));
            let any = dice.below(vpc.subnets.len());
            let last = vpc.subnets.len() - 1;
            let subnet = &vpc.subnets[if dice.percent(84) { last } else { any }].name;
            let groups = dice.some(&vpc.groups, 1, 3).join(", ");
            // After a change, more often: connections are there that it no longer forwards.
            let check = dice.percent(if self.change.is_some() { 40 } else { 6 });
            let mut line = format!(
                "      {appliance}: {{ subnet: {subnet}, security_groups: [{groups}], \
                 source_dest_check: {check}"
            );
            if vpc.gateway && dice.percent(60) {
                let slot = if appliance == "fw0" { 12 } else { 13 };
                let _ = write!(line, ", public_ip: {}", vpc.public_ip(slot));
            }
            self.line(&format!("{line} }}"));
        }
    }

    fn peerings(&mut self, shape: &Shape) {
        if !shape.peerings.is_empty() {
            self.line("vpc_peering_connections:");
        }
        for (one, other) in &shape.peerings {
            let (one, other) = (&shape.vpcs[*one].name, &shape.vpcs[*other].name);
            self.line(&format!("  {one}-{other}: {{ requester: {one}, accepter: {other} }}"));
        }
    }

    fn functions(&mut self, shape: &Shape) {
        self.line("functions:");
        for index in 0..shape.functions {
            let mut dice = self.dice(&format!("function/{index}"));
            if self.dice(&format!("function/{index}/vpc")).percent(15) {
                // In no VPC (LAM-12).
                let environments = dice.between(1, 2);
                self.line(&format!("  f{index}: {{ environments: {environments} }}"));
                continue;
            }
            let vpc = &shape.vpcs[dice.below(shape.vpcs.len())];
            let path = |name: &String| format!("{}/{name}", vpc.name);
            let mut subnets: Vec<String> =
                vpc.subnets[..vpc.host_subnets()].iter().map(|subnet| path(&subnet.name)).collect();
            let mut groups: Vec<String> = vpc.groups.iter().map(path).collect();
            // In the public subnet a function has no way out (LAM-12).
            if subnets.len() > 1 && dice.percent(85) {
                subnets.remove(0);
            }
            let subnets = dice.some(&subnets, 1, 2).join(", ");
            // Functions of two accounts share neither groups nor ENIs (SHR-04, LAM-05).
            let guest =
                self.has_guest(vpc) && self.dice(&format!("function/{index}/guest")).percent(40);
            let mut account = String::new();
            if guest {
                groups = vec![format!("{}/guest", vpc.name)];
                account = format!(", account: {GUEST}");
            }
            let groups = dice.some(&groups, 1, 2).join(", ");
            let environments = dice.between(1, 2);
            self.line(&format!(
                "  f{index}: {{ subnets: [{subnets}], security_groups: [{groups}], \
                 environments: {environments}{account} }}"
            ));
        }
    }

    fn internet(&mut self) {
        let mut dice = Dice::labelled(self.seed, "internet");
        self.line("internet:");
        let hosts = dice.between(1, INTERNET.len());
        for (number, ip) in INTERNET.iter().take(hosts).enumerate() {
            self.line(&format!("  host{number}: {{ ip: {ip} }}"));
        }
    }
}
