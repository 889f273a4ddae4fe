//! Random topologies, as somebody would write them.

use std::fmt::Write;

use super::Dice;

/// Blocks of VPCs. Some come up more than once, so that tenants share addresses; one is public.
const BLOCKS: [&str; 6] =
    ["10.0.0.0/16", "10.0.0.0/16", "10.0.0.0/16", "172.31.0.0/20", "100.64.0.0/20", "192.0.2.0/24"];

/// A block that some VPCs have beside the first.
const SECOND_BLOCK: &str = "10.200.0.0/24";

/// Where hosts of the internet stand: two neighbours, one far away, one in the public block.
const INTERNET: [&str; 4] = ["198.51.100.7", "198.51.100.8", "8.8.8.8", "192.0.2.20"];

/// What rules for TCP and UDP are about.
const PORTS: [&str; 9] =
    ["22", "53", "80", "443", "440-450", "5432", "1024-65535", "32768-60999", "all"];

/// What routes lead to, beside the VPC itself.
const DESTINATIONS: [&str; 9] = [
    "198.51.100.0/24",
    "198.51.100.7/32",
    "198.51.100.8/31",
    "8.0.0.0/6",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "169.254.0.0/16",
    "203.0.113.0/24",
];

/// A topology file.
#[must_use]
pub fn topology(dice: &mut Dice) -> String {
    let mut file = File { dice, text: String::new(), public: 0, references: Vec::new() };
    file.settings();
    file.line("vpcs:");
    let vpcs = file.dice.between(1, 3);
    for vpc in 0..vpcs {
        file.vpc(vpc);
    }
    file.functions();
    file.line("internet:");
    let hosts = file.dice.between(1, INTERNET.len());
    for (number, ip) in INTERNET.iter().take(hosts).enumerate() {
        file.line(&format!("  host{number}: {{ ip: {ip} }}"));
    }
    file.text
}

struct File<'d> {
    dice: &'d mut Dice,
    text: String,
    /// Public addresses given so far.
    public: usize,
    /// What functions can refer to: a VPC's name, its subnets, its groups.
    references: Vec<(String, Vec<String>, Vec<String>)>,
}

/// A VPC under construction.
struct Vpc {
    gateway: bool,
    blocks: Vec<String>,
    subnets: Vec<(String, String)>,
    tables: Vec<String>,
    acls: Vec<String>,
    groups: Vec<String>,
    nats: Vec<String>,
}

impl File<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn public_ip(&mut self) -> String {
        self.public += 1;
        format!("203.0.113.{}", self.public)
    }

    /// In some networks ports and connections are few, so that they run out.
    fn settings(&mut self) {
        if !self.dice.percent(16) {
            return;
        }
        let first = self.dice.one(&[1024, 32_768, 40_000]);
        let last = first + self.dice.below(4);
        let connections = self.dice.one(&[2, 5, 9, 65_000, 65_000]);
        let per_destination = self.dice.between(1, 3);
        self.line(&format!(
            "settings: {{ source_ports: {first}-{last}, eni_connections: {connections}, \
             nat_gateway_connections_per_destination: {per_destination} }}"
        ));
    }

    fn vpc(&mut self, number: usize) {
        let name = format!("v{number}");
        let block = self.dice.one(&BLOCKS);
        let mut vpc = Vpc {
            gateway: self.dice.percent(92),
            blocks: vec![block.to_owned()],
            subnets: Vec::new(),
            tables: Vec::new(),
            acls: Vec::new(),
            groups: Vec::new(),
            nats: Vec::new(),
        };
        if self.dice.percent(20) {
            vpc.blocks.push(SECOND_BLOCK.to_owned());
        }
        let count = self.dice.one(&[1, 2, 2, 3, 3, 3, 4]);
        for index in 0..count {
            vpc.subnets.push((format!("s{index}"), subnet_block(self.dice, &vpc.blocks, index)));
        }
        vpc.tables = names("t", self.dice.one(&[0, 1, 1, 1, 2, 2, 2]));
        vpc.acls = names("a", self.dice.between(0, 2));
        vpc.groups = names("g", self.dice.between(1, 4));
        if vpc.gateway {
            vpc.nats = names("n", self.dice.one(&[0, 1, 1, 2]));
        }

        self.line(&format!("  {name}:"));
        self.line(&format!("    cidr_blocks: [{}]", vpc.blocks.join(", ")));
        if vpc.gateway {
            self.line("    internet_gateway: igw");
        }
        self.subnets(&vpc);
        self.route_tables(&vpc);
        self.nat_gateways(&vpc);
        self.security_groups(&vpc);
        self.network_acls(&vpc);
        self.instances(&vpc);
        let subnets = vpc.subnets.into_iter().map(|(subnet, _)| format!("{name}/{subnet}"));
        let groups = vpc.groups.iter().map(|group| format!("{name}/{group}"));
        self.references.push((name.clone(), subnets.collect(), groups.collect()));
    }

    fn subnets(&mut self, vpc: &Vpc) {
        self.line("    subnets:");
        for (name, block) in &vpc.subnets {
            let mut line = format!("      {name}: {{ cidr_block: {block}");
            // The first subnet is to be the public one, more often than not.
            let first = *name == vpc.subnets[0].0;
            if !vpc.tables.is_empty() && self.dice.percent(if first { 92 } else { 16 }) {
                let any = self.dice.below(vpc.tables.len());
                let table = &vpc.tables[if first { 0 } else { any }];
                let _ = write!(line, ", route_table: {table}");
            }
            if !vpc.acls.is_empty() && self.dice.percent(70) {
                let acl = &vpc.acls[self.dice.below(vpc.acls.len())];
                let _ = write!(line, ", network_acl: {acl}");
            }
            let zone = self.dice.one(&["a", "b"]);
            self.line(&format!("{line}, availability_zone: {zone} }}"));
        }
    }

    fn route_tables(&mut self, vpc: &Vpc) {
        self.line("    route_tables:");
        let main = ["main".to_owned()];
        for table in main.iter().chain(&vpc.tables) {
            let mut routes = Vec::new();
            let public = vpc.gateway && (table == "t0" || self.dice.percent(5));
            if public && self.dice.percent(90) {
                routes.push("{ destination: 0.0.0.0/0, target: igw }".to_owned());
            } else if self.dice.percent(if vpc.gateway { 92 } else { 40 }) {
                let target = self.target(vpc);
                routes.push(format!("{{ destination: 0.0.0.0/0, target: {target} }}"));
            }
            let mut seen = Vec::new();
            for _ in 0..self.dice.below(3) {
                let destination = self.dice.one(&DESTINATIONS);
                let local = |block: &String| inside(destination, block);
                if seen.contains(&destination) || vpc.blocks.iter().any(local) {
                    continue;
                }
                seen.push(destination);
                let target = self.target(vpc);
                routes.push(format!("{{ destination: {destination}, target: {target} }}"));
            }
            self.line(&format!("      {table}: {{ routes: [{}] }}", routes.join(", ")));
        }
    }

    fn target(&mut self, vpc: &Vpc) -> String {
        if !vpc.gateway || self.dice.percent(8) {
            "blackhole".to_owned()
        } else if !vpc.nats.is_empty() && self.dice.percent(85) {
            format!("nat_gateway/{}", vpc.nats[self.dice.below(vpc.nats.len())])
        } else {
            "igw".to_owned()
        }
    }

    fn nat_gateways(&mut self, vpc: &Vpc) {
        if vpc.nats.is_empty() {
            return;
        }
        self.line("    nat_gateways:");
        for nat in &vpc.nats {
            let any = self.dice.below(vpc.subnets.len());
            let (subnet, _) = &vpc.subnets[if self.dice.percent(90) { 0 } else { any }];
            let mut ips = vec![self.public_ip()];
            if self.dice.percent(20) {
                ips.push(self.public_ip());
            }
            let ips = ips.join(", ");
            self.line(&format!("      {nat}: {{ subnet: {subnet}, public_ips: [{ips}] }}"));
        }
    }

    fn security_groups(&mut self, vpc: &Vpc) {
        self.line("    security_groups:");
        for group in &vpc.groups {
            let mut directions = Vec::new();
            for (direction, peer) in [("ingress", "from"), ("egress", "to")] {
                // Left out, empty, or with rules.
                match self.dice.below(10) {
                    0..2 if direction == "egress" => {}
                    2 if self.dice.percent(35) => directions.push(format!("{direction}: []")),
                    _ => {
                        let mut rules = Vec::new();
                        if self.dice.percent(if direction == "egress" { 78 } else { 66 }) {
                            rules.push(format!("{{ protocol: all, {peer}: 0.0.0.0/0 }}"));
                        }
                        for _ in 0..self.dice.between(1, 3) {
                            let rule =
                                format!("{{ {}, {peer}: {} }}", self.traffic(55), self.peer(vpc));
                            if !rules.contains(&rule) {
                                rules.push(rule);
                            }
                        }
                        directions.push(format!("{direction}: [{}]", rules.join(", ")));
                    }
                }
            }
            self.line(&format!("      {group}: {{ {} }}", directions.join(", ")));
        }
    }

    fn network_acls(&mut self, vpc: &Vpc) {
        if vpc.acls.is_empty() {
            return;
        }
        self.line("    network_acls:");
        for acl in &vpc.acls {
            self.line(&format!("      {acl}:"));
            for direction in ["ingress", "egress"] {
                if self.dice.percent(5) {
                    continue;
                }
                let mut rules = Vec::new();
                let mut numbers: Vec<usize> = Vec::new();
                for _ in 0..self.dice.between(0, 4) {
                    let number = self.dice.one(&[1, 99, 100, 101, 110, 200, 3000]);
                    if numbers.contains(&number) {
                        continue;
                    }
                    numbers.push(number);
                    let action = if self.dice.percent(65) { "allow" } else { "deny" };
                    let traffic = self.traffic(8);
                    let block = self.block(vpc);
                    rules.push(format!(
                        "{number}: {{ action: {action}, {traffic}, cidr_block: {block} }}"
                    ));
                }
                if self.dice.percent(85) {
                    rules.push(
                        "32766: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 }".to_owned(),
                    );
                }
                self.line(&format!("        {direction}: {{ {} }}", rules.join(", ")));
            }
        }
    }

    /// The traffic of a rule; everything, in so many cases of a hundred.
    fn traffic(&mut self, all: usize) -> String {
        if self.dice.percent(all) {
            return "protocol: all".to_owned();
        }
        let ports = self.dice.one(&PORTS);
        match self.dice.below(10) {
            0..5 => format!("protocol: tcp, ports: {ports}"),
            5..8 => format!("protocol: udp, ports: {ports}"),
            8 => {
                let icmp = ["", ", icmp_type: 8", ", icmp_type: 0", ", icmp_type: 8, icmp_code: 0"];
                format!("protocol: icmp{}", self.dice.one(&icmp))
            }
            _ => format!("protocol: {}", self.dice.one(&[47, 50, 132])),
        }
    }

    fn peer(&mut self, vpc: &Vpc) -> String {
        if self.dice.percent(30) {
            vpc.groups[self.dice.below(vpc.groups.len())].clone()
        } else {
            self.block(vpc)
        }
    }

    /// A block that a rule may be about.
    fn block(&mut self, vpc: &Vpc) -> String {
        let (_, subnet) = &vpc.subnets[self.dice.below(vpc.subnets.len())];
        match self.dice.below(12) {
            0..6 => "0.0.0.0/0".to_owned(),
            6 => vpc.blocks[self.dice.below(vpc.blocks.len())].clone(),
            7 | 8 => subnet.clone(),
            9 => {
                // A few addresses of a subnet, somewhere about the first that hosts can have.
                let (base, _) = parse(subnet);
                let offset = self.dice.one(&[4, 5, 6, 8]);
                let prefix = self.dice.one(&[32, 31, 30]);
                let base = (base + offset) & (u32::MAX << (32 - prefix));
                format!("{}/{prefix}", std::net::Ipv4Addr::from(base))
            }
            10 => self.dice.one(&["198.51.100.0/24", "198.51.100.7/32", "198.51.100.6/31"]).into(),
            _ => self.dice.one(&["203.0.113.0/24", "203.0.113.1/32", "2001:db8::/32"]).into(),
        }
    }

    fn instances(&mut self, vpc: &Vpc) {
        // With two NAT gateways of two addresses and three functions, these fit into a /28.
        let count = self.dice.between(2, 4);
        self.line("    instances:");
        for index in 0..count {
            let public = vpc.gateway && self.dice.percent(55);
            let any = self.dice.below(vpc.subnets.len());
            let first = public && self.dice.percent(70);
            let (subnet, block) = &vpc.subnets[if first { 0 } else { any }];
            let mut line = format!("      i{index}: {{ subnet: {subnet}");
            if self.dice.percent(20) {
                // Named addresses cannot clash: each index has its own.
                let (base, _) = parse(block);
                let ip = std::net::Ipv4Addr::from(base + 8 + u32::try_from(index).unwrap_or(0));
                let _ = write!(line, ", private_ip: {ip}");
            }
            if public {
                let ip = self.public_ip();
                let _ = write!(line, ", public_ip: {ip}");
            }
            let least = usize::from(self.dice.percent(88));
            let groups = self.some(&vpc.groups, least, 3);
            if !groups.is_empty() {
                let _ = write!(line, ", security_groups: [{}]", groups.join(", "));
            }
            if self.dice.percent(15) {
                line.push_str(", source_dest_check: false");
            }
            self.line(&format!("{line} }}"));
        }
    }

    fn functions(&mut self) {
        self.line("functions:");
        for index in 0..self.dice.between(1, 3) {
            let (_, mut subnets, groups) =
                self.references[self.dice.below(self.references.len())].clone();
            // In the public subnet a function has no way out (LAM-12).
            if subnets.len() > 1 && self.dice.percent(85) {
                subnets.remove(0);
            }
            let subnets = self.some(&subnets, 1, 2).join(", ");
            let groups = self.some(&groups, 1, 2).join(", ");
            let environments = self.dice.between(1, 2);
            self.line(&format!(
                "  f{index}: {{ subnets: [{subnets}], security_groups: [{groups}], \
                 environments: {environments} }}"
            ));
        }
    }

    /// From `least` to `most` of them, each once.
    fn some(&mut self, of: &[String], least: usize, most: usize) -> Vec<String> {
        let mut chosen: Vec<String> = Vec::new();
        for _ in 0..self.dice.between(least, most) {
            let one = &of[self.dice.below(of.len())];
            if !chosen.contains(one) {
                chosen.push(one.clone());
            }
        }
        chosen
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}{index}")).collect()
}

/// Neighbours: the last address of one subnet is the one before the next one's first.
fn subnet_block(dice: &mut Dice, blocks: &[String], index: usize) -> String {
    let block = &blocks[dice.below(blocks.len())];
    let (base, _) = parse(block);
    let step = u32::try_from(index).unwrap_or(0) * 32;
    let prefix = dice.one(&[27, 27, 28]);
    format!("{}/{prefix}", std::net::Ipv4Addr::from(base + step))
}

fn parse(block: &str) -> (u32, u8) {
    let net: ipnet::Ipv4Net = block.parse().expect("a block");
    (net.network().into(), net.prefix_len())
}

/// Whether a route to `destination` would lead into `block`, which is local.
fn inside(destination: &str, block: &str) -> bool {
    let [destination, block]: [ipnet::Ipv4Net; 2] =
        [destination, block].map(|text| text.parse().expect("a block"));
    block.contains(&destination)
}
