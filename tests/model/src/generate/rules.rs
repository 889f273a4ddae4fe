//! The rules of random security groups and network ACLs.

use std::net::Ipv4Addr;

use super::{
    Dice,
    shape::{PREFIX_LISTS, Shape, Vpc, parse},
};

/// What rules for TCP and UDP are about.
const PORTS: [&str; 9] =
    ["22", "53", "80", "443", "440-450", "5432", "1024-65535", "32768-60999", "all"];

/// What an ACL may let in of the ports that clients have: all of them, or nearly.
const EPHEMERAL: [&str; 6] =
    ["1024-65535", "1024-65535", "1025-65535", "1024-65534", "32768-65535", "1024-60999"];

/// The directions of a group: left out, empty, or with rules. `owner` stands before the names of the
/// VPC's groups where they are another account's.
pub(super) fn security_group(
    dice: &mut Dice,
    shape: &Shape,
    vpc: &Vpc,
    owner: &str,
) -> Vec<String> {
    let mut directions = Vec::new();
    for (direction, peer) in [("ingress", "from"), ("egress", "to")] {
        match dice.below(10) {
            0..2 if direction == "egress" => {}
            2 if dice.percent(35) => directions.push(format!("{direction}: []")),
            _ => {
                let mut rules = Vec::new();
                // Behind an appliance, a rule that names a group counts only where none admits all.
                let all = match direction {
                    "egress" => 80,
                    _ if vpc.appliances.is_empty() => 72,
                    _ => 55,
                };
                if dice.percent(all) {
                    rules.push(format!("{{ protocol: all, {peer}: 0.0.0.0/0 }}"));
                }
                for _ in 0..dice.between(1, 3) {
                    let traffic = traffic(dice, 55);
                    let other = self::peer(dice, shape, vpc, owner);
                    let rule = format!("{{ {traffic}, {peer}: {other} }}");
                    if !rules.contains(&rule) {
                        rules.push(rule);
                    }
                }
                directions.push(format!("{direction}: [{}]", rules.join(", ")));
            }
        }
    }
    directions
}

/// The directions of an ACL.
pub(super) fn network_acl(dice: &mut Dice, vpc: &Vpc) -> Vec<String> {
    let mut directions = Vec::new();
    for direction in ["ingress", "egress"] {
        if dice.percent(5) {
            continue;
        }
        let mut rules = Vec::new();
        let mut numbers: Vec<usize> = Vec::new();
        for _ in 0..dice.between(0, 3) {
            let number = dice.one(&[1, 99, 100, 101, 110, 200, 3000]);
            if numbers.contains(&number) {
                continue;
            }
            numbers.push(number);
            let action = if dice.percent(75) { "allow" } else { "deny" };
            let traffic = traffic(dice, 8);
            let block = block(dice, vpc);
            rules.push(format!("{number}: {{ action: {action}, {traffic}, cidr_block: {block} }}"));
        }
        if dice.percent(7) {
            // What somebody writes who thinks of each service, and of the answers.
            for (number, protocol) in [(4000, "tcp"), (4001, "udp")] {
                let ports = dice.one(&EPHEMERAL);
                rules.push(format!(
                    "{number}: {{ action: allow, protocol: {protocol}, ports: {ports}, \
                     cidr_block: 0.0.0.0/0 }}"
                ));
            }
            rules.push(
                "5000: { action: allow, protocol: tcp, ports: 0-1023, cidr_block: 0.0.0.0/0 }"
                    .to_owned(),
            );
        } else if dice.percent(94) {
            rules.push("32766: { action: allow, protocol: all, cidr_block: 0.0.0.0/0 }".to_owned());
        }
        directions.push(format!("{direction}: {{ {} }}", rules.join(", ")));
    }
    directions
}

/// The traffic of a rule; everything, in so many cases of a hundred.
fn traffic(dice: &mut Dice, all: usize) -> String {
    if dice.percent(all) {
        return "protocol: all".to_owned();
    }
    let ports = dice.one(&PORTS);
    match dice.below(10) {
        0..5 => format!("protocol: tcp, ports: {ports}"),
        5..8 => format!("protocol: udp, ports: {ports}"),
        8 => {
            let icmp = [
                "",
                ", icmp_type: 8",
                ", icmp_type: 0",
                ", icmp_type: 8, icmp_code: 0",
                ", icmp_type: 3, icmp_code: 4",
                ", icmp_type: 13",
                ", icmp_type: 14",
            ];
            format!("protocol: icmp{}", dice.one(&icmp))
        }
        _ => format!("protocol: {}", dice.one(&[47, 50, 132])),
    }
}

fn peer(dice: &mut Dice, shape: &Shape, vpc: &Vpc, owner: &str) -> String {
    let peers = shape.peers(vpc);
    match dice.below(100) {
        0..14 if !peers.is_empty() => {
            let (_, peer) = &peers[dice.below(peers.len())];
            let group = &peer.groups[dice.below(peer.groups.len())];
            format!("{}/security_group/{group}", peer.name)
        }
        14..42 => format!("{owner}{}", vpc.groups[dice.below(vpc.groups.len())]),
        42..46 if shape.services => "prefix_list/s3".to_owned(),
        42..52 => format!("prefix_list/pl{}", dice.below(PREFIX_LISTS.len())),
        _ => block(dice, vpc),
    }
}

/// A block that a rule may be about.
fn block(dice: &mut Dice, vpc: &Vpc) -> String {
    let subnet = &vpc.subnets[dice.below(vpc.subnets.len())].block;
    match dice.below(12) {
        0..6 => "0.0.0.0/0".to_owned(),
        6 => vpc.blocks[dice.below(vpc.blocks.len())].clone(),
        7 | 8 => subnet.clone(),
        9 => {
            // A few addresses of a subnet, somewhere about the first that hosts can have.
            let (base, _) = parse(subnet);
            let offset = dice.one(&[4, 5, 6, 8]);
            let prefix = dice.one(&[32, 31, 30]);
            let base = (base + offset) & (u32::MAX << (32 - prefix));
            format!("{}/{prefix}", Ipv4Addr::from(base))
        }
        10 => dice.one(&["198.51.100.0/24", "198.51.100.7/32", "198.51.100.6/31"]).into(),
        _ => dice
            .one(&[
                "203.0.113.0/24",
                "203.0.113.1/32",
                "10.1.0.0/16",
                "198.18.0.0/24",
                "2001:db8::/32",
            ])
            .into(),
    }
}
