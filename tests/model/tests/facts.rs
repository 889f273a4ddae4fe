//! The model itself, held to facts that are plain enough to be written down by hand: agreement with
//! an engine that is wrong in the same way would prove nothing.

use std::net::Ipv4Addr;

use viaduct_control_plane::Plan;
use viaduct_model::{
    Packet, Segment, TCP,
    model::{Direction, Fate, Network},
};
use viaduct_topology::{Reason, Topology, inventory::AttachmentId};

const TOPOLOGY: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    internet_gateway: igw
    subnets:
      public:  { cidr_block: 10.0.0.0/24, route_table: public }
      private: { cidr_block: 10.0.1.0/24 }
      data:    { cidr_block: 10.0.2.0/24, network_acl: data }
    route_tables:
      main:
        routes:
          - { destination: 0.0.0.0/0, target: nat_gateway/nat }
          - { destination: 198.51.100.0/25, target: blackhole }
      public: { routes: [{ destination: 0.0.0.0/0, target: igw }] }
    nat_gateways:
      nat: { subnet: public, private_ip: 10.0.0.9, public_ips: [203.0.113.1] }
    security_groups:
      fn: {}
      db: { ingress: [{ protocol: tcp, ports: 5432, from: fn }, { protocol: tcp, ports: 80, from: 0.0.0.0/0 }] }
    network_acls:
      data:
        ingress: { 100: { action: allow, protocol: tcp, ports: 5432, cidr_block: 0.0.0.0/0 } }
        egress:  { 100: { action: allow, protocol: tcp, ports: 1024-60000, cidr_block: 0.0.0.0/0 } }
    instances:
      db:  { subnet: data, private_ip: 10.0.2.10, security_groups: [db] }
      web: { subnet: public, private_ip: 10.0.0.10, public_ip: 203.0.113.2, security_groups: [db, fn] }
      fw:  { subnet: public, private_ip: 10.0.0.11, source_dest_check: false, security_groups: [fn] }
functions:
  api: { subnets: [main/private], security_groups: [fn] }
internet:
  far:  { ip: 198.51.100.200 }
  near: { ip: 198.51.100.100 }
";

struct World {
    topology: Topology,
    plan: Plan,
}

impl World {
    fn new() -> Self {
        let loaded = viaduct_config_plane::load("facts.yaml", TOPOLOGY)
            .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let plan = viaduct_control_plane::plan(&loaded.topology).expect("a plan");
        Self { topology: loaded.topology, plan }
    }

    fn network(&self) -> Network<'_> {
        Network::new(&self.topology, &self.plan, Vec::new())
    }

    fn id(&self, name: &str) -> AttachmentId {
        self.plan.host(name).expect("a host of the plan").0.id
    }
}

fn syn(from: &str, to: &str, port: u16) -> Packet {
    let [source, destination] = [from, to].map(|ip| ip.parse::<Ipv4Addr>().expect("an address"));
    Packet {
        protocol: TCP,
        source,
        destination,
        source_port: 40_000,
        destination_port: port,
        icmp: (0, 0),
        segment: Segment::Open,
        payload: 0,
        ttl: 64,
    }
}

const FUNCTION: &str = "169.254.100.2";

/// The one thing that may become of it: where it arrives and from which address, or why not.
#[track_caller]
fn only(fates: &[Fate<'_>]) -> Result<(AttachmentId, String), Reason> {
    let [fate] = fates else { panic!("not one fate: {fates:?}") };
    match fate {
        Fate::Arrives { at, packet, .. } => {
            Ok((*at, format!("{} > {}", packet.source, packet.destination)))
        }
        Fate::Dropped { reason, .. } => Err(*reason),
    }
}

#[test]
fn lam_09_the_vpc_sees_the_eni_and_sg_07_its_group() {
    let world = World::new();
    let (api, db) = (world.id("function/api"), world.id("instance/db"));
    let fates = world.network().fates(api, &syn(FUNCTION, "10.0.2.10", 5432));
    assert_eq!(only(&fates), Ok((db, "10.0.1.4 > 10.0.2.10".to_owned())));
}

#[test]
fn sg_07_a_group_does_not_match_a_public_address() {
    let world = World::new();
    let (web, far) = (world.id("instance/web"), world.id("internet/far"));
    let mut network = world.network();
    // `web` carries the group `fn`, but from the internet nobody does.
    let fates = network.fates(far, &syn("198.51.100.200", "203.0.113.2", 5432));
    assert_eq!(only(&fates), Err(Reason::EniSgRulesMismatch));
    let fates = network.fates(far, &syn("198.51.100.200", "203.0.113.2", 80));
    assert_eq!(only(&fates), Ok((web, "198.51.100.200 > 10.0.0.10".to_owned())));
}

#[test]
fn acl_18_an_acl_that_lacks_some_source_ports_blocks_the_reply() {
    let world = World::new();
    let mut network = world.network();
    let (api, db) = (world.id("function/api"), world.id("instance/db"));
    let request = syn(FUNCTION, "10.0.2.10", 5432);
    let explained = network.explain(api, &request);
    let [explained] = explained[..] else { panic!("{explained:?}") };
    assert_eq!(explained.blocker, Some((Reason::SubnetAclRestriction, Direction::Return)));

    // The live reply has one port, and that decides (ACL-07).
    for (number, (port, passes)) in [(60_000, true), (60_001, false)].into_iter().enumerate() {
        let source_port = 40_000 + u16::try_from(number).expect("a small number");
        let request = Packet { source_port, ..request };
        let fates = network.fates(api, &request);
        let [fate @ Fate::Arrives { packet, .. }] = &fates[..] else { panic!("{fates:?}") };
        let seen = Packet { source_port: port, ..*packet };
        network.settle(fate.clone(), api, &request, &seen).expect("a port that may be chosen");
        let fates = network.fates(db, &seen.answer().expect("an answer"));
        let right = if passes {
            Ok((api, "10.0.2.10 > 169.254.100.2".to_owned()))
        } else {
            Err(Reason::SubnetAclRestriction)
        };
        assert_eq!(only(&fates), right, "port {port}");
    }
}

#[test]
fn lam_02_nothing_opens_a_connection_to_a_function() {
    let world = World::new();
    let fates = world.network().fates(world.id("instance/web"), &syn("10.0.0.10", "10.0.1.4", 80));
    assert_eq!(only(&fates), Err(Reason::V2nOneWay));
}

#[test]
fn nat_08_the_internet_sees_the_gateway_and_nat_12_does_not_reach_it() {
    let world = World::new();
    let (api, far) = (world.id("function/api"), world.id("internet/far"));
    let mut network = world.network();
    let fates = network.fates(api, &syn(FUNCTION, "198.51.100.200", 443));
    assert_eq!(only(&fates), Ok((far, "203.0.113.1 > 198.51.100.200".to_owned())));
    let fates = network.fates(far, &syn("198.51.100.200", "203.0.113.1", 443));
    assert_eq!(only(&fates), Err(Reason::NatGatewayUnsolicited));
}

#[test]
fn rt_14_a_blackhole_does_not_fall_through() {
    let world = World::new();
    let mut network = world.network();
    let fates = network.fates(world.id("function/api"), &syn(FUNCTION, "198.51.100.100", 443));
    assert_eq!(only(&fates), Err(Reason::BadStateRoute));
}

#[test]
fn adr_04_what_is_no_host_is_neither_sent_to_nor_from() {
    let world = World::new();
    let mut network = world.network();
    let (api, fw) = (world.id("function/api"), world.id("instance/fw"));
    for no_host in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
        let fates = network.fates(api, &syn(FUNCTION, no_host, 443));
        assert_eq!(only(&fates), Err(Reason::VpcLocalRouteCidrRestriction), "to {no_host}");
        let fates = network.fates(fw, &syn(no_host, "10.0.2.10", 80));
        assert_eq!(only(&fates), Err(Reason::SpoofedSource), "from {no_host}");
    }
    let fates = network.fates(fw, &syn("192.0.2.1", "10.0.0.10", 80));
    assert_eq!(only(&fates), Ok((world.id("instance/web"), "192.0.2.1 > 10.0.0.10".to_owned())));
}

#[test]
fn nobody_talks_to_himself_through_the_network_nor_to_port_0() {
    let world = World::new();
    let mut network = world.network();
    let (web, far) = (world.id("instance/web"), world.id("internet/far"));
    let fates = network.fates(web, &syn("10.0.0.10", "10.0.0.10", 80));
    assert_eq!(only(&fates), Err(Reason::RoutingLoop));
    let fates = network.fates(far, &syn("198.51.100.200", "198.51.100.200", 80));
    assert_eq!(only(&fates), Err(Reason::RoutingLoop));
    // SG-07: its own public address is another way, by which it sees itself as another.
    let fates = network.fates(web, &syn("10.0.0.10", "203.0.113.2", 80));
    assert_eq!(only(&fates), Ok((web, "203.0.113.2 > 10.0.0.10".to_owned())));
    let fates = network.fates(web, &syn("10.0.0.10", "10.0.2.10", 0));
    assert_eq!(only(&fates), Err(Reason::MalformedPacket));
    let expired = Packet { ttl: 0, ..syn("10.0.0.10", "10.0.2.10", 5432) };
    assert_eq!(only(&network.fates(web, &expired)), Err(Reason::TtlExpired));
}
