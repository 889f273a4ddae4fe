//! Environments that move behind other ENIs while they have connections, and that end.

mod support;

use support::{ACK, INSIDE, Net, SYN, SYN_ACK, tcp};
use viaduct_dataplane::inventory::InventoryError;
use viaduct_topology::{
    Reason, ResourceId,
    inventory::{Attachment, AttachmentId, Host},
};

/// Three functions, each with an ENI of its own; two of them in one VPC.
const NETWORK: &str = "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      one:  { cidr_block: 10.0.1.0/24 }
      two:  { cidr_block: 10.0.2.0/24 }
      data: { cidr_block: 10.0.3.0/24 }
    security_groups:
      function: {}
      db: { ingress: [ { protocol: tcp, ports: 5432, from: 10.0.0.0/16 } ] }
    instances:
      db:    { subnet: data, private_ip: 10.0.3.10, security_groups: [db] }
      other: { subnet: data, private_ip: 10.0.3.11, security_groups: [db] }
  second:
    cidr_blocks: [10.0.0.0/16]
    subnets: { only: { cidr_block: 10.0.9.0/24 } }
    security_groups:
      function: {}
      db: { ingress: [ { protocol: tcp, ports: 5432, from: 10.0.0.0/16 } ] }
    instances: { far: { subnet: only, private_ip: 10.0.9.10, security_groups: [db] } }
functions:
  api:   { subnets: [main/one], security_groups: [main/function] }
  near:  { subnets: [main/two], security_groups: [main/function] }
  apart: { subnets: [second/only], security_groups: [second/function] }
internet:
  web: { ip: 198.51.100.7 }
";

const API: &str = "function/api/1";
const DB: (&str, u16) = ("10.0.3.10", 5432);
const FIRST: &str = "10.0.1.4";
const NEAR: &str = "10.0.2.4";
const APART: &str = "10.0.9.4";

/// The function's ENI at this address.
fn eni(net: &Net, ip: &str) -> ResourceId {
    let mut enis = net.plan().enis.iter();
    enis.find(|eni| eni.private_ip.to_string() == ip).unwrap().id.clone()
}

fn behind(net: &Net, enis: Vec<ResourceId>) -> Attachment {
    let host = Host::Environment { function: "api".to_owned(), enis };
    Attachment { id: net.id(API), name: API.to_owned(), host }
}

fn move_api(net: &Net, ip: &str) {
    net.engine.move_environments(&[behind(net, vec![eni(net, ip)])]).unwrap();
}

/// Opens a connection to the database; returns the end that it sees.
fn open(net: &mut Net, inside_port: u16) -> (String, u16) {
    let inside = (INSIDE, inside_port);
    let request = net.send(API, &tcp(inside, DB, SYN, b"")).delivered_at("instance/db");
    let (outside, _) = request.ends();
    let from = (outside.0.as_str(), outside.1);
    net.send("instance/db", &tcp(DB, from, SYN_ACK, b"")).delivered_at(API);
    net.send(API, &tcp(inside, DB, ACK, b"")).delivered_at("instance/db");
    outside
}

/// Whether a connection goes on, both ways.
#[track_caller]
fn goes_on(net: &mut Net, inside_port: u16, outside: &(String, u16)) {
    let more = net.send(API, &tcp((INSIDE, inside_port), DB, ACK, b"more"));
    assert_eq!(&more.delivered_at("instance/db").ends().0, outside);
    let back = tcp(DB, (&outside.0, outside.1), ACK, b"and back");
    net.send("instance/db", &back).delivered_at(API);
}

// Facts: LAM-49
#[test]
fn lam_49_in_one_vpc_new_connections_take_the_new_eni_and_old_ones_keep_theirs() {
    let mut net = Net::load(NETWORK);
    let first = open(&mut net, 40_000);
    assert_eq!(first.0, FIRST);
    let generation = net.engine.generation();

    move_api(&net, NEAR);
    assert_eq!(net.engine.generation(), generation, "nobody is walked again");
    goes_on(&mut net, 40_000, &first);
    let second = open(&mut net, 40_001);
    assert_eq!(second.0, NEAR);

    // Whatever else has everybody walked again.
    net.engine.remove_attachment(net.id("instance/other")).unwrap();
    assert_ne!(net.engine.generation(), generation);
    goes_on(&mut net, 40_000, &first);
    goes_on(&mut net, 40_001, &second);

    // And again, and back.
    move_api(&net, FIRST);
    net.engine.remove_attachment(net.id("function/near/1")).unwrap();
    goes_on(&mut net, 40_000, &first);
    goes_on(&mut net, 40_001, &second);
    assert_eq!(open(&mut net, 40_002).0, FIRST);

    // Until the ENI is gone.
    net.engine.remove_eni(&eni(&net, NEAR)).unwrap();
    let late = tcp((INSIDE, 40_001), DB, ACK, b"late");
    net.send(API, &late).answered_for(Reason::NoConnection);
    goes_on(&mut net, 40_000, &first);
}

// Facts: LAM-50
#[test]
fn lam_50_connections_of_a_vpc_that_is_left_end_and_their_ports_are_free() {
    let mut net = Net::load(NETWORK);
    open(&mut net, 40_000);
    let unused = open(&mut net, 40_001);
    move_api(&net, NEAR);
    open(&mut net, 40_002);
    move_api(&net, APART);
    let late = tcp((INSIDE, 40_000), DB, ACK, b"late");
    // What is asked now is asked in the second VPC, where nobody has that address.
    net.send(API, &late).dropped_for(Reason::NoPossibleDestination);
    let back = tcp(DB, (&unused.0, unused.1), ACK, b"late");
    net.send("instance/db", &back).dropped_for(Reason::NoConnection);
    net.expire();
    net.assert_empty();

    let there = tcp((INSIDE, 40_003), ("10.0.9.10", 5432), SYN, b"");
    let seen = net.send(API, &there).delivered_at("instance/far");
    assert_eq!(seen.ends().0.0, APART);
    // Back where it was, nothing of what was is there again.
    move_api(&net, FIRST);
    net.send(API, &late).answered_for(Reason::NoConnection);
    assert_eq!(open(&mut net, 40_000).0, FIRST);
}

// Facts: LAM-12
#[test]
fn lam_12_without_a_vpc_the_internet_is_there_and_in_one_it_is_cut() {
    let mut net = Net::load(NETWORK);
    let web = ("198.51.100.7", 443);
    open(&mut net, 40_000);
    net.engine.move_environments(&[behind(&net, vec![])]).unwrap();
    net.expire();
    net.assert_empty();
    net.send(API, &tcp((INSIDE, 40_001), web, SYN, b"")).delivered_at("internet/web");
    net.send(API, &tcp((INSIDE, 40_002), DB, SYN, b""))
        .dropped_for(Reason::IgwDestinationAddressNotInRfc1918Egress);

    move_api(&net, FIRST);
    net.expire();
    net.assert_empty();
    let late = tcp((INSIDE, 40_001), web, ACK, b"late");
    net.send(API, &late).dropped_for(Reason::NoRouteToDestination);
    assert_eq!(open(&mut net, 40_000).0, FIRST);
}

#[test]
fn an_environment_ends_without_having_anybody_walked_again() {
    let mut net = Net::load(NETWORK);
    let (outside, port) = open(&mut net, 40_000);
    let generation = net.engine.generation();
    net.engine.remove_attachment(net.id(API)).unwrap();
    assert_eq!(net.engine.generation(), generation);
    let reply = tcp(DB, (&outside, port), ACK, b"anybody?");
    net.send("instance/db", &reply).dropped_for(Reason::AttachmentDown);
    net.send(API, &tcp((INSIDE, 40_001), DB, SYN, b"")).dropped_for(Reason::AttachmentDown);
    net.engine.remove_eni(&eni(&net, FIRST)).unwrap();
    net.send("instance/db", &reply).dropped_for(Reason::AttachmentDown);
    // And its connections end by their timers.
    net.pass_seconds(500_000);
    net.expire();
    net.assert_empty();
}

#[test]
fn all_environments_move_or_none() {
    let mut net = Net::load(NETWORK);
    let near = eni(&net, NEAR);
    let move_both = |other: Attachment| {
        net.engine.move_environments(&[behind(&net, vec![near.clone()]), other]).unwrap_err()
    };
    let nobody = Attachment { id: AttachmentId(99), ..behind(&net, vec![near.clone()]) };
    assert_eq!(move_both(nobody), InventoryError::UnknownAttachment(AttachmentId(99)));
    let id = ResourceId::named("eni-none");
    let nowhere = behind(&net, vec![id.clone()]);
    assert_eq!(move_both(nowhere), InventoryError::UnknownEni(id));
    let db = Attachment { id: net.id("instance/db"), ..behind(&net, vec![near.clone()]) };
    assert_eq!(move_both(db), InventoryError::UnsupportedHost(net.id("instance/db")));
    assert_eq!(open(&mut net, 40_000).0, FIRST, "nobody has moved");
}
