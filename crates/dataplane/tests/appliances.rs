//! Packets through an appliance, which the test plays: two connections, and its own ICMP errors.

mod support;

use support::{ACK, Net, SYN, SYN_ACK, icmp_error, tcp};
use viaduct_topology::Reason;

const TOPOLOGY: &str = include_str!("../../../config/middlebox.yaml");

const CLIENT: &str = "10.0.1.10";
const SERVER: &str = "10.0.2.10";

#[test]
fn rt_19_each_packet_passes_the_appliance_in_both_directions() {
    let mut net = Net::load(TOPOLOGY);
    let request = tcp((CLIENT, 40_000), (SERVER, 443), SYN, b"");
    let led = net.send("instance/client", &request).delivered_at("instance/inspector");
    assert_eq!(led.flow(), "10.0.1.10:40000 > 10.0.2.10:443");
    let forwarded = led.with_ttl(63);
    net.send("instance/inspector", &forwarded).delivered_at("instance/server");
    assert_eq!(net.engine.connection_count(), 2, "one on each side of the appliance");

    let reply = tcp((SERVER, 443), (CLIENT, 40_000), SYN_ACK, b"");
    let led = net.send("instance/server", &reply).delivered_at("instance/inspector");
    assert_eq!(led.flow(), "10.0.2.10:443 > 10.0.1.10:40000");
    net.send("instance/inspector", &led).delivered_at("instance/client");

    let data = tcp((CLIENT, 40_000), (SERVER, 443), ACK, b"hello");
    let led = net.send("instance/client", &data).delivered_at("instance/inspector");
    net.send("instance/inspector", &led).delivered_at("instance/server");
    assert_eq!(net.engine.connection_count(), 2);
}

#[test]
fn lam_02_a_function_behind_an_appliance_shows_its_enis_address() {
    let mut net = Net::load(TOPOLOGY);
    let request = tcp((support::INSIDE, 40_000), (SERVER, 443), SYN, b"");
    let led = net.send("function/api/1", &request).delivered_at("instance/inspector");
    let ((source, port), _) = led.ends();
    assert_eq!(source, "10.0.1.4");
    net.send("instance/inspector", &led).delivered_at("instance/server");
    let reply = tcp((SERVER, 443), (&source, port), SYN_ACK, b"");
    let led = net.send("instance/server", &reply).delivered_at("instance/inspector");
    let arrived = net.send("instance/inspector", &led).delivered_at("function/api/1");
    assert_eq!(arrived.flow(), "10.0.2.10:443 > 169.254.100.2:40000");
}

#[test]
fn rt_19_a_reply_past_the_appliance_is_dropped() {
    let mut net = Net::load(TOPOLOGY);
    let request = tcp((CLIENT, 40_000), ("10.0.3.10", 443), SYN, b"");
    let led = net.send("instance/client", &request).delivered_at("instance/inspector");
    net.send("instance/inspector", &led).delivered_at("instance/forgetful");
    let reply = tcp(("10.0.3.10", 443), (CLIENT, 40_000), SYN_ACK, b"");
    let dropped = net.send("instance/forgetful", &reply).dropped_for(Reason::AsymmetricReturnPath);
    assert_eq!(dropped.request.map(|flow| flow.destination_port), Some(443));
}

#[test]
fn rt_21_only_an_appliance_speaks_with_the_addresses_of_others() {
    let mut net = Net::load(TOPOLOGY);
    let forged = tcp((CLIENT, 40_000), (SERVER, 443), SYN, b"");
    net.send("instance/server", &forged).dropped_for(Reason::EniSourceDestCheckRestriction);
    net.send("instance/inspector", &forged).delivered_at("instance/server");
}

/// A router on the way tells the sender that the time to live is over: with its own address.
#[test]
fn an_appliances_icmp_errors_reach_the_sender() {
    let mut net = Net::load(TOPOLOGY);
    let request = tcp((CLIENT, 40_000), (SERVER, 443), SYN, b"").with_ttl(1);
    let led = net.send("instance/client", &request).delivered_at("instance/inspector");
    let exceeded = icmp_error("10.0.9.10", CLIENT, 11, 0, led.ip());
    let told = net.send("instance/inspector", &exceeded).delivered_at("instance/client");
    assert_eq!(told.flow(), "10.0.9.10 > 10.0.1.10");
    let (kind, code, quoted) = told.icmp();
    assert_eq!((kind, code), (11, 0));
    assert_eq!(quoted.flow(), "10.0.1.10:40000 > 10.0.2.10:443");

    // One that forwards for nobody cannot have met the packet.
    let request = tcp((CLIENT, 40_001), (SERVER, 443), SYN, b"");
    let led = net.send("instance/client", &request).delivered_at("instance/inspector");
    let there = net.send("instance/inspector", &led).delivered_at("instance/server");
    let forged = icmp_error("10.0.9.10", CLIENT, 11, 0, there.ip());
    net.send("instance/server", &forged).dropped_for(Reason::EniSourceDestCheckRestriction);
}

/// RFC 5508 REQ-5: a router behind a translator has the translator's address outside.
#[test]
fn an_appliances_icmp_errors_leave_the_vpc_under_its_public_address() {
    let mut net = Net::load(
        "
vpcs:
  main:
    cidr_blocks: [10.0.0.0/16]
    subnets: { public: { cidr_block: 10.0.0.0/24 } }
    route_tables:
      main: { main: true, routes: [{ destination: 0.0.0.0/0, target: internet_gateway/igw }] }
    internet_gateway: igw
    security_groups: { open: {} }
    instances:
      hub: { subnet: public, private_ip: 10.0.0.10, public_ip: 203.0.113.20, source_dest_check: false }
internet:
  web: { ip: 198.51.100.7 }
",
    );
    let (hub, web) = (("10.0.0.10", 40_000), ("198.51.100.7", 443));
    net.send("instance/hub", &tcp(hub, web, SYN, b"")).delivered_at("internet/web");
    let reply = tcp(web, ("203.0.113.20", 40_000), SYN_ACK, b"");
    let reply = net.send("internet/web", &reply).delivered_at("instance/hub");
    let error = icmp_error("10.0.0.77", web.0, 3, 1, reply.ip());
    let told = net.send("instance/hub", &error).delivered_at("internet/web");
    assert_eq!(told.flow(), "203.0.113.20 > 198.51.100.7");
    assert_eq!(told.icmp().2.flow(), "198.51.100.7:443 > 203.0.113.20:40000");
}

/// The same network before somebody led its routes through the inspection.
fn without_routes() -> String {
    let lines = TOPOLOGY.lines().filter(|line| !line.contains("target: instance/inspector"));
    let text: Vec<_> = lines.collect();
    text.join("\n").replace("        routes:\n", "        routes: []\n")
}

// Conforms: RT-30
#[test]
fn rt_30_a_connection_ends_when_its_route_is_led_through_an_appliance() {
    let mut net = Net::load(&without_routes());
    let request = tcp((CLIENT, 40_000), (SERVER, 443), SYN, b"");
    net.send("instance/client", &request).delivered_at("instance/server");
    let reply = tcp((SERVER, 443), (CLIENT, 40_000), SYN_ACK, b"");
    net.send("instance/server", &reply).delivered_at("instance/client");

    net.reload(TOPOLOGY);
    let data = tcp((CLIENT, 40_000), (SERVER, 443), ACK, b"hello");
    net.send("instance/client", &data).dropped_for(Reason::NoConnection);
    net.assert_empty();
    let again = tcp((CLIENT, 40_001), (SERVER, 443), SYN, b"");
    net.send("instance/client", &again).delivered_at("instance/inspector");
}
