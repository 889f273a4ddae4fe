//! The routes of a random table.

use super::{
    Dice,
    shape::{Led, PREFIX_LISTS, Shape, Vpc, inside},
};

/// What routes lead to, beside VPCs.
const DESTINATIONS: [&str; 12] = [
    "198.18.0.0/15",
    "198.18.0.0/24",
    "198.18.0.0/26",
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

/// Routes under construction: no two to one destination.
struct Table<'v> {
    vpc: &'v Vpc,
    routes: Vec<(String, String)>,
}

impl Table<'_> {
    /// A route out of the VPC, if that is where it leads.
    fn outwards(&mut self, destination: &str, target: &str) {
        let list = destination.strip_prefix("prefix_list/pl");
        let entries: &[&str] = match list {
            Some(number) => PREFIX_LISTS[number.parse::<usize>().expect("a number")],
            None => &[destination],
        };
        let local = |entry: &&str| self.vpc.blocks.iter().any(|block| inside(entry, block));
        if !entries.iter().any(local) {
            self.add(destination, target);
        }
    }

    fn add(&mut self, destination: &str, target: &str) {
        if self.routes.iter().all(|(other, _)| other != destination) {
            self.routes.push((destination.to_owned(), target.to_owned()));
        }
    }
}

/// The routes of a table, in a random network.
pub(super) fn routes(dice: &mut Dice, shape: &Shape, vpc: &Vpc, name: &str) -> Vec<String> {
    let mut table = Table { vpc, routes: Vec::new() };
    let public = vpc.gateway && (name == "t0" || dice.percent(5));
    // The table of the appliances' own subnet is the main one: what it leads through them, they
    // get back.
    let beyond = name == "main" && !vpc.appliances.is_empty();
    if !vpc.appliances.is_empty() && (!beyond || dice.percent(6)) {
        through_appliances(dice, vpc, name, &mut table);
    }
    peers(dice, shape, vpc, &mut table);
    // NAT gateways can be put in the way too (RT-09, RT-10).
    if !vpc.nats.is_empty() && dice.percent(8) {
        let nat = format!("nat_gateway/{}", vpc.nats[dice.below(vpc.nats.len())]);
        let subnet = &vpc.subnets[dice.below(vpc.subnets.len())].block;
        table.add(if dice.percent(50) { subnet } else { &vpc.blocks[0] }, &nat);
    }
    if public && dice.percent(94) {
        table.add("0.0.0.0/0", "igw");
    } else if dice.percent(if vpc.gateway { 92 } else { 40 }) {
        let target = target(dice, shape, vpc);
        table.add("0.0.0.0/0", &target);
    }
    // A NAT gateway in its own subnet's table would lead back to itself: that is a mistake, too.
    let target = |dice: &mut Dice| {
        if public && dice.percent(75) { "igw".to_owned() } else { target(dice, shape, vpc) }
    };
    for _ in 0..dice.below(3) {
        let destination = dice.one(&DESTINATIONS);
        let target = target(dice);
        table.outwards(destination, &target);
    }
    if dice.percent(25) {
        let list = format!("prefix_list/pl{}", dice.below(PREFIX_LISTS.len() - 1));
        let target = target(dice);
        table.outwards(&list, &target);
    }
    written(&table)
}

/// The routes of an internet gateway's own table: what comes in for a subnet, or for the whole VPC,
/// may be led through an appliance (RT-16).
pub(super) fn of_gateway(dice: &mut Dice, vpc: &Vpc) -> Vec<String> {
    let mut table = Table { vpc, routes: Vec::new() };
    for subnet in &vpc.subnets[..vpc.host_subnets()] {
        if dice.percent(40) {
            let appliance = vpc.appliances[dice.below(vpc.appliances.len())].as_str();
            // Some instance is as good as another for leading what it does not forward astray.
            let target = if dice.percent(90) { appliance } else { "i0" };
            table.add(&subnet.block, &format!("instance/{target}"));
        }
    }
    if dice.percent(8) {
        table.add(&vpc.blocks[0], &format!("instance/{}", vpc.appliances[0]));
    }
    written(&table)
}

fn written(table: &Table<'_>) -> Vec<String> {
    let route = |(destination, target): &(String, String)| {
        format!("{{ destination: {destination}, target: {target} }}")
    };
    table.routes.iter().map(route).collect()
}

fn through_appliances(dice: &mut Dice, vpc: &Vpc, name: &str, table: &mut Table<'_>) {
    // Another appliance on the way back is a mistake that somebody will make.
    let any = dice.below(vpc.appliances.len());
    let first = vpc.appliances.len() == 1 || dice.percent(80);
    let target = format!("instance/{}", vpc.appliances[if first { 0 } else { any }]);
    if dice.percent(10) {
        return;
    }
    let subnet = |number: usize| vpc.subnets[number].block.as_str();
    let number = name.strip_prefix('t').and_then(|number| number.parse::<usize>().ok());
    match vpc.led {
        Led::Pair(one, other) if number == Some(one) => table.add(subnet(other), &target),
        Led::Pair(one, other) if number == Some(other) || name == "main" => {
            table.add(subnet(one), &target);
        }
        Led::Pair(..) => {}
        Led::Everything => {
            for block in &vpc.blocks {
                table.add(block, &target);
            }
        }
        // Replies come in through the first subnet.
        Led::Outwards if number == Some(0) => {
            for number in 1..vpc.host_subnets() {
                table.add(subnet(number), &target);
            }
        }
        Led::Outwards => table.add("0.0.0.0/0", &target),
    }
}

fn peers(dice: &mut Dice, shape: &Shape, vpc: &Vpc, table: &mut Table<'_>) {
    for (peering, peer) in shape.peers(vpc) {
        if !dice.percent(85) {
            continue;
        }
        let subnet = &peer.subnets[dice.below(peer.subnets.len())].block;
        let destination = match dice.below(20) {
            0..13 => peer.blocks[0].as_str(),
            13 | 14 => subnet.as_str(),
            15 | 16 => "prefix_list/pl1",
            17 => "10.0.0.0/8",
            // Its internet gateway is not to be had through it (RT-28).
            18 => "198.51.100.0/24",
            _ => {
                let third = &shape.vpcs[dice.below(shape.vpcs.len())];
                third.blocks[0].as_str()
            }
        };
        let target = match dice.below(10) {
            0 if !vpc.nats.is_empty() => {
                format!("nat_gateway/{}", vpc.nats[dice.below(vpc.nats.len())])
            }
            _ => format!("vpc_peering_connection/{peering}"),
        };
        table.outwards(destination, &target);
    }
}

fn target(dice: &mut Dice, shape: &Shape, vpc: &Vpc) -> String {
    let peers = shape.peers(vpc);
    if !peers.is_empty() && dice.percent(6) {
        format!("vpc_peering_connection/{}", peers[dice.below(peers.len())].0)
    } else if dice.percent(if vpc.gateway { 8 } else { 50 }) {
        "blackhole".to_owned()
    } else if !vpc.nats.is_empty() && dice.percent(85) {
        format!("nat_gateway/{}", vpc.nats[dice.below(vpc.nats.len())])
    } else if vpc.gateway {
        "igw".to_owned()
    } else {
        "blackhole".to_owned()
    }
}
