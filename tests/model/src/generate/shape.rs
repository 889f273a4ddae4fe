//! The shape of a random network: what stands in it, before anything is said of it.

use std::net::Ipv4Addr;

use super::Dice;

/// Blocks of VPCs that have nothing to do with each other. Some come up more than once, so that
/// tenants share addresses; one is public.
const BLOCKS: [&str; 6] =
    ["10.0.0.0/16", "10.0.0.0/16", "10.0.0.0/16", "172.31.0.0/20", "100.64.0.0/20", "192.0.2.0/24"];

/// Blocks of VPCs that are peered: the first is everybody's peer, the others may be twins.
const PEERS: [[&str; 3]; 3] = [
    ["10.0.0.0/16", "10.1.0.0/16", "10.1.0.0/16"],
    ["10.0.0.0/16", "10.1.0.0/16", "172.31.0.0/20"],
    ["10.1.0.0/16", "192.0.2.0/24", "10.0.0.0/16"],
];

/// A block that some VPCs have beside the first.
const SECOND_BLOCK: &str = "10.200.0.0/24";

/// Prefix lists that every file has, `pl0` and on: the internet, what may be a peer, a subnet here
/// and there, and one of no use for IPv4.
pub(super) const PREFIX_LISTS: [&[&str]; 4] = [
    &["198.51.100.0/25", "8.8.8.8/32", "203.0.113.0/25"],
    &["10.1.0.0/16", "10.2.0.0/16", "172.31.0.0/20"],
    &["10.0.0.32/27", "10.1.0.0/27", "198.51.100.8/31"],
    &["2001:db8::/32"],
];

/// What the service `s3` answers at.
pub(super) const SERVICE_BLOCKS: [&str; 2] = ["198.18.0.0/24", "198.18.4.0/25"];

/// A network.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) vpcs: Vec<Vpc>,
    /// Which VPCs are peered, by their numbers.
    pub(super) peerings: Vec<(usize, usize)>,
    pub(super) functions: usize,
    /// Whether there are services: `s3` with a prefix list and `api` without.
    pub(super) services: bool,
}

/// A VPC.
#[derive(Clone, Debug)]
pub(super) struct Vpc {
    pub(super) number: usize,
    pub(super) name: String,
    /// Whether it has an internet gateway.
    pub(super) gateway: bool,
    pub(super) blocks: Vec<String>,
    /// The last one is the appliances' own, if there are any.
    pub(super) subnets: Vec<Subnet>,
    pub(super) tables: Vec<String>,
    pub(super) acls: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) nats: Vec<String>,
    /// How many instances it has beside its appliances.
    pub(super) instances: usize,
    pub(super) appliances: Vec<String>,
    /// What is led through them.
    pub(super) led: Led,
    /// Whether the internet gateway has a table of its own, called `edge`.
    pub(super) edge_table: bool,
    /// Whether it has a gateway endpoint for `s3`.
    pub(super) gateway_endpoint: bool,
    /// Its interface endpoints.
    pub(super) endpoints: Vec<String>,
    /// NAT gateways from this number on are private.
    public_nats: usize,
}

/// A subnet.
#[derive(Clone, Debug)]
pub(super) struct Subnet {
    pub(super) name: String,
    pub(super) block: String,
    pub(super) zone: &'static str,
}

/// What is led through an appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Led {
    /// What two subnets say to each other (RT-09).
    Pair(usize, usize),
    /// Whatever crosses a subnet's border (RT-10).
    Everything,
    /// What leaves the VPC.
    Outwards,
}

impl Shape {
    /// The shape of a seed.
    pub(super) fn draw(seed: u64) -> Self {
        let mut dice = Dice::labelled(seed, "shape");
        let peered = dice.percent(45);
        let count = if peered { dice.between(2, 3) } else { dice.between(1, 3) };
        let services = dice.percent(50);
        let set = dice.below(PEERS.len());
        let vpcs: Vec<Vpc> = (0..count)
            .map(|number| {
                let block = if peered { PEERS[set][number] } else { dice.one(&BLOCKS) };
                Vpc::draw(&mut dice, number, block, peered, services)
            })
            .collect();
        let mut peerings = Vec::new();
        for one in 0..count {
            for other in one + 1..count {
                let overlap =
                    vpcs[one].blocks.iter().any(|block| vpcs[other].blocks.contains(block));
                if peered && !overlap && dice.percent(if one == 0 { 95 } else { 40 }) {
                    peerings.push((one, other));
                }
            }
        }
        Self { vpcs, peerings, functions: dice.between(1, 3), services }
    }

    /// The VPCs that are peered with this one, and by which connection.
    pub(super) fn peers(&self, vpc: &Vpc) -> Vec<(String, &Vpc)> {
        let mut peers = Vec::new();
        for (one, other) in &self.peerings {
            let name = format!("v{one}-v{other}");
            if *one == vpc.number {
                peers.push((name, &self.vpcs[*other]));
            } else if *other == vpc.number {
                peers.push((name, &self.vpcs[*one]));
            }
        }
        peers
    }
}

impl Vpc {
    fn draw(dice: &mut Dice, number: usize, block: &str, peered: bool, services: bool) -> Self {
        let gateway = dice.percent(if peered { 70 } else { 92 });
        let mut blocks = vec![block.to_owned()];
        if !peered && dice.percent(20) {
            blocks.push(SECOND_BLOCK.to_owned());
        }
        let led_through = dice.percent(30);
        let hosts = if led_through { dice.between(2, 3) } else { dice.one(&[1, 2, 2, 3, 3, 3, 4]) };
        let mut subnets: Vec<Subnet> =
            (0..hosts).map(|index| subnet(dice, &blocks, &format!("s{index}"), index)).collect();
        let mut tables = names("t", dice.one(&[0, 1, 1, 1, 2, 2, 2]));
        let mut appliances = Vec::new();
        if led_through {
            subnets.push(subnet(dice, &blocks, "mid", hosts));
            tables = names("t", hosts);
            appliances = names("fw", dice.one(&[1, 1, 1, 2]));
        }
        let led = match dice.below(8) {
            0..5 if hosts > 1 => Led::Pair(0, dice.between(1, hosts - 1)),
            5 | 6 => Led::Outwards,
            _ => Led::Everything,
        };
        let nats = names("n", dice.one(if gateway { &[0, 1, 1, 2] } else { &[0, 0, 1] }));
        let public_nats = match (gateway, nats.len()) {
            (false, _) => 0,
            (true, 2) if dice.percent(60) => 1,
            (true, count) => count - usize::from(count == 1 && dice.percent(10)),
        };
        Self {
            number,
            name: format!("v{number}"),
            gateway,
            blocks,
            subnets,
            tables,
            acls: names("a", dice.between(0, 2)),
            groups: names("g", dice.between(1, 4)),
            nats,
            instances: dice.between(2, 4),
            appliances,
            led,
            edge_table: led_through && gateway && dice.percent(45),
            gateway_endpoint: services && dice.percent(60),
            endpoints: names("e", if services { dice.one(&[0, 1, 1, 2]) } else { 0 }),
            public_nats,
        }
    }

    /// How many of its subnets are not the appliances'.
    pub(super) fn host_subnets(&self) -> usize {
        self.subnets.len() - usize::from(!self.appliances.is_empty())
    }

    /// The table that a subnet is meant to have; the main one if none.
    pub(super) fn table_of(&self, subnet: usize) -> Option<&str> {
        let table = if self.appliances.is_empty() && subnet > 0 {
            // The second table is for the last subnet, so that the main one is used too.
            (subnet > 1 && subnet + 1 == self.subnets.len()).then(|| self.tables.get(1)).flatten()
        } else {
            self.tables.get(subnet)
        };
        table.map(String::as_str)
    }

    /// Whether a NAT gateway is private, by its number.
    pub(super) const fn is_private(&self, nat: usize) -> bool {
        nat >= self.public_nats
    }

    /// A public address of this VPC; who has which slot is agreed upon by whoever writes them.
    pub(super) fn public_ip(&self, slot: usize) -> String {
        format!("203.0.113.{}", 1 + self.number * 40 + slot)
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}{index}")).collect()
}

/// Neighbours: the last address of one subnet is the one before the next one's first.
fn subnet(dice: &mut Dice, blocks: &[String], name: &str, index: usize) -> Subnet {
    let block = &blocks[dice.below(blocks.len())];
    let (base, _) = parse(block);
    let step = u32::try_from(index).unwrap_or(0) * 32;
    let block = format!("{}/27", Ipv4Addr::from(base + step));
    Subnet { name: name.to_owned(), block, zone: dice.one(&["a", "b"]) }
}

pub(super) fn parse(block: &str) -> (u32, u8) {
    let net: ipnet::Ipv4Net = block.parse().expect("a block");
    (net.network().into(), net.prefix_len())
}

/// Whether a route to `destination` would lead into `block`.
pub(super) fn inside(destination: &str, block: &str) -> bool {
    let [destination, block]: [ipnet::Ipv4Net; 2] =
        [destination, block].map(|text| text.parse().expect("a block"));
    block.contains(&destination)
}
