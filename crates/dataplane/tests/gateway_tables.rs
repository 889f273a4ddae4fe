//! An internet gateway's own route table, and the secondary addresses of an interface: packets
//! through the engine.

mod support;

use support::{Net, SYN, SYN_ACK, tcp};
use viaduct_topology::Reason;

/// A protected subnet whose traffic with the internet is led through a firewall, both ways.
fn inspected(edge: &str, firewall: &str) -> String {
    format!(
        "vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      edge:      {{ cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }}
      protected: {{ cidr_block: 10.0.1.0/24, availability_zone: a, route_table: protected }}
    route_tables:
      main: {{ main: true }}
      public: {{ routes: [ {{ destination: 0.0.0.0/0, target: internet_gateway/igw }} ] }}
      protected: {{ routes: [ {{ destination: 0.0.0.0/0, target: instance/firewall }} ] }}
      edge: {{ routes: [ {{ destination: 10.0.1.0/24, target: instance/firewall }} ] }}
    internet_gateway: {{ name: igw{edge} }}
    security_groups:
      open: {{ ingress: [ {{ protocol: all, from: 0.0.0.0/0 }} ] }}
    instances:
      firewall: {{ subnet: edge, private_ip: 10.0.0.10{firewall}, source_dest_check: false, security_groups: [open] }}
      web: {{ subnet: protected, private_ip: 10.0.1.10, public_ip: 203.0.113.20, security_groups: [open], secondary_private_ips: [10.0.1.11] }}
internet:
  client: {{ ip: 198.51.100.7 }}
"
    )
}

const CLIENT: (&str, u16) = ("198.51.100.7", 5000);
const PUBLIC: (&str, u16) = ("203.0.113.20", 80);
const PRIVATE: (&str, u16) = ("10.0.1.10", 80);

#[test]
fn rt_16_what_comes_in_is_led_through_the_firewall_and_goes_back_through_it() {
    let mut net = Net::load(&inspected(", route_table: edge", ", public_ip: 203.0.113.10"));
    let (firewall, web, client) = ("instance/firewall", "instance/web", "internet/client");

    let led = net.send(client, &tcp(CLIENT, PUBLIC, SYN, b"")).delivered_at(firewall);
    assert_eq!(led.flow(), "198.51.100.7:5000 > 10.0.1.10:80");
    net.send(firewall, &led).delivered_at(web);
    let reply = net.send(web, &tcp(PRIVATE, CLIENT, SYN_ACK, b"")).delivered_at(firewall);
    let heard = net.send(firewall, &reply).delivered_at(client);
    assert_eq!(heard.flow(), "203.0.113.20:80 > 198.51.100.7:5000");

    // And so does what the protected host opens itself.
    let out = net.send(web, &tcp(("10.0.1.10", 9), CLIENT, SYN, b"")).delivered_at(firewall);
    let out = net.send(firewall, &out).delivered_at(client);
    assert_eq!(out.flow(), "203.0.113.20:9 > 198.51.100.7:5000");
    let back = tcp(CLIENT, ("203.0.113.20", 9), SYN_ACK, b"");
    let back = net.send(client, &back).delivered_at(firewall);
    net.send(firewall, &back).delivered_at(web);
}

#[test]
fn rt_19_without_a_gateway_s_own_table_replies_would_pass_the_firewall_by() {
    let mut net = Net::load(&inspected("", ", public_ip: 203.0.113.10"));
    let (firewall, web, client) = ("instance/firewall", "instance/web", "internet/client");
    let out = net.send(web, &tcp(("10.0.1.10", 9), CLIENT, SYN, b"")).delivered_at(firewall);
    net.send(firewall, &out).delivered_at(client);
    let back = tcp(CLIENT, ("203.0.113.20", 9), SYN_ACK, b"");
    net.send(client, &back).dropped_for(Reason::AsymmetricReturnPath);
}

#[test]
fn rt_18_an_appliance_at_the_edge_has_a_public_address() {
    let mut net = Net::load(&inspected(", route_table: edge", ""));
    let request = tcp(CLIENT, PUBLIC, SYN, b"");
    net.send("internet/client", &request).dropped_for(Reason::IngressRtbNoPublicIp);
}

#[test]
fn sg_04_all_addresses_of_an_interface_are_its_own_and_the_primary_is_public() {
    let mut net = Net::load(&inspected("", ", public_ip: 203.0.113.10"));
    let (firewall, web) = ("instance/firewall", "instance/web");
    let second = ("10.0.1.11", 80);
    let own = ("10.0.0.10", 7);
    net.send(firewall, &tcp(own, second, SYN, b"")).delivered_at(web);
    net.send(web, &tcp(second, own, SYN_ACK, b"")).delivered_at(firewall);
    net.send(web, &tcp(("10.0.1.11", 5), ("10.0.0.10", 80), SYN, b"")).delivered_at(firewall);
    let foreign = tcp(("10.0.1.12", 5), ("10.0.0.10", 80), SYN, b"");
    net.send(web, &foreign).dropped_for(Reason::EniSourceDestCheckRestriction);

    let out = net.send(web, &tcp(("10.0.1.11", 9), CLIENT, SYN, b"")).delivered_at(firewall);
    net.send(firewall, &out).dropped_for(Reason::IgwPublicIpAssociationForEgress);
}
