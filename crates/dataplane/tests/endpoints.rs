//! Endpoints and the edges of services: packets through the engine.

mod support;

use support::{ACK, INSIDE, Net, SYN, SYN_ACK, Tcp, echo, icmp_error, tcp, udp};
use viaduct_topology::Reason;

/// Two tenants with the same addresses, and a service that both use. `main` has a NAT gateway in a
/// subnet whose table has the gateway endpoint.
const TOPOLOGY: &str = r"
services:
  s3:     { prefix_list: [198.18.0.0/24], ip: 198.18.0.10 }
  lambda: { ip: 198.18.1.1 }
vpcs:
";

const VPC: &str = r"
    cidr_blocks: [10.0.0.0/16]
    subnets:
      private: { cidr_block: 10.0.1.0/24, availability_zone: a }
      routed:  { cidr_block: 10.0.2.0/24, availability_zone: b, route_table: routed }
      public:  { cidr_block: 10.0.0.0/24, availability_zone: a, route_table: public }
      bare:    { cidr_block: 10.0.3.0/24, availability_zone: c, route_table: bare }
    route_tables:
      main: { main: true }
      bare: {}
      routed: { routes: [ { destination: 0.0.0.0/0, target: nat_gateway/egress } ] }
      public: { routes: [ { destination: 0.0.0.0/0, target: internet_gateway/igw } ] }
    internet_gateway: igw
    nat_gateways:
      egress: { subnet: public, private_ip: 10.0.0.5, public_ips: [PUBLIC] }
    vpc_endpoints:
      s3:     { type: gateway, service: s3, route_tables: [main, public] }
      lambda: { type: interface, service: lambda, subnets: [private, routed], private_ips: [10.0.1.20, 10.0.2.20], security_groups: [endpoint] }
    security_groups:
      function: {}
      open: { ingress: [ { protocol: all, from: 0.0.0.0/0 } ] }
      endpoint: { ingress: [ { protocol: tcp, ports: 443, from: security_group/function },
                             { protocol: icmp, from: 0.0.0.0/0 } ] }
    instances:
      host: { subnet: private, private_ip: 10.0.1.10, security_groups: [function] }
      routed: { subnet: routed, private_ip: 10.0.2.10, security_groups: [function] }
      bare: { subnet: bare, private_ip: 10.0.3.10, security_groups: [function] }
";

fn topology() -> String {
    let vpc = |name: &str, public: &str| format!("  {name}:{}", VPC.replace("PUBLIC", public));
    format!(
        "{TOPOLOGY}{}{}functions:
  api: {{ subnets: [main/private], security_groups: [main/function] }}
  far: {{ subnets: [main/routed], security_groups: [main/function] }}
  twin: {{ subnets: [other/private], security_groups: [other/function] }}
internet:
  web: {{ ip: 198.51.100.7 }}
",
        vpc("main", "203.0.113.10"),
        vpc("other", "203.0.113.20")
    )
}

const S3: (&str, u16) = ("198.18.0.77", 443);
const LAMBDA: (&str, u16) = ("198.18.1.1", 443);
const FIN: Tcp = Tcp { flags: "FA", sequence: 101, acknowledgment: 901 };

// Conforms: RFC 4787 R7, EP-05
#[test]
fn ep_05_a_gateway_endpoint_keeps_the_destination_and_tenants_do_not_collide() {
    let mut net = Net::load(&topology());
    let inside = (INSIDE, 40_000);
    let mut seen = Vec::new();
    for (api, host) in
        [("function/api/1", "main/instance/host"), ("function/twin/1", "other/instance/host")]
    {
        let request = net.send(api, &tcp(inside, S3, SYN, b"")).delivered_at("service/s3");
        let ((address, port), to) = request.ends();
        assert_eq!(to, (S3.0.to_owned(), 443));
        assert!(address.starts_with("100.64."), "{address}");
        let reply = tcp(S3, (&address, port), SYN_ACK, b"");
        let heard = net.send("service/s3", &reply).delivered_at(api);
        assert_eq!(heard.flow(), format!("{}:443 > {INSIDE}:40000", S3.0));
        seen.push(address);

        // The very same addresses and ports, from an instance of each.
        let request = net.send(host, &tcp(("10.0.1.10", 5), S3, SYN, b""));
        let ((address, port), _) = request.delivered_at("service/s3").ends();
        let reply = tcp(S3, (&address, port), SYN_ACK, b"");
        net.send("service/s3", &reply).delivered_at(host);
    }
    assert_ne!(seen[0], seen[1]);
}

// Conforms: EP-06
#[test]
fn ep_06_a_gateway_endpoint_carries_tcp_and_echo_and_nothing_else() {
    let mut net = Net::load(&topology());
    let host = "main/instance/host";
    let ping = net.send(host, &echo("10.0.1.10", S3.0, 7, false)).delivered_at("service/s3");
    let ((address, _), _) = ping.ends();
    let id = u16::from_be_bytes(ping.ip()[24..26].try_into().unwrap());
    let pong = net.send("service/s3", &echo(S3.0, &address, id, true)).delivered_at(host);
    assert_eq!(u16::from_be_bytes(pong.ip()[24..26].try_into().unwrap()), 7);

    let query = udp(("10.0.1.10", 53), (S3.0, 53), b"?");
    net.send(host, &query).dropped_for(Reason::VpceGatewayProtocolRestriction);

    // Nor do errors come back, though they belong to a connection.
    let request = net.send(host, &tcp(("10.0.1.10", 9), S3, SYN, b"")).delivered_at("service/s3");
    let ((address, _), _) = request.ends();
    let error = icmp_error(S3.0, &address, 3, 1, request.ip());
    net.send("service/s3", &error).dropped_for(Reason::VpceGatewayProtocolRestriction);
}

// Conforms: EP-10
#[test]
fn ep_10_nothing_opens_from_a_service_through_its_endpoint() {
    let mut net = Net::load(&topology());
    let request =
        net.send("function/api/1", &tcp((INSIDE, 40_000), S3, SYN, b"")).delivered_at("service/s3");
    let ((address, _), _) = request.ends();
    for port in [22, 1024] {
        let back = tcp((S3.0, 5000), (&address, port), SYN, b"");
        net.send("service/s3", &back).dropped_for(Reason::VpceIntraVpcTraffic);
    }
    // Like any host of the internet, a service can call the others.
    let call = tcp((S3.0, 5000), ("198.51.100.7", 443), SYN, b"");
    net.send("service/s3", &call).delivered_at("internet/web");
    let forged = tcp(("198.51.100.9", 5000), ("198.51.100.7", 443), SYN, b"");
    net.send("service/s3", &forged).dropped_for(Reason::SpoofedSource);
}

// Conforms: EP-11
#[test]
fn ep_09_an_interface_endpoint_is_an_address_with_groups() {
    let mut net = Net::load(&topology());
    let (api, inside) = ("function/api/1", (INSIDE, 40_000));
    let endpoint = ("10.0.1.20", 443);

    let request = net.send(api, &tcp(inside, endpoint, SYN, b"")).delivered_at("service/lambda");
    let ((address, port), to) = request.ends();
    assert_eq!(to, ("198.18.1.1".to_owned(), 443));
    assert!(address.starts_with("100.64."), "{address}");
    let reply = tcp(LAMBDA, (&address, port), SYN_ACK, b"");
    let heard = net.send("service/lambda", &reply).delivered_at(api);
    assert_eq!(heard.flow(), format!("10.0.1.20:443 > {INSIDE}:40000"));

    let other_port = tcp(inside, ("10.0.1.20", 80), SYN, b"");
    net.send(api, &other_port).dropped_for(Reason::EniSgRulesMismatch);
    // EP-11: the groups let it in, the endpoint does not answer.
    let ping = echo("10.0.1.10", "10.0.1.20", 7, false);
    net.send("main/instance/host", &ping).dropped_for(Reason::ProtocolRestriction);
}

#[test]
fn one_service_side_serves_both_of_an_endpoint_s_interfaces() {
    let mut net = Net::load(&topology());
    let mut seen = std::collections::BTreeSet::new();
    for endpoint in ["10.0.1.20", "10.0.2.20"] {
        for port in 0..50 {
            let request = tcp((INSIDE, 40_000 + port), (endpoint, 443), SYN, b"");
            let request = net.send("function/api/1", &request).delivered_at("service/lambda");
            assert!(seen.insert(request.ends().0), "{seen:?}");
        }
    }
    let addresses: std::collections::BTreeSet<_> = seen.iter().map(|(ip, _)| ip).collect();
    assert_eq!((seen.len(), addresses.len()), (100, 1));
}

#[test]
fn a_function_s_packet_may_be_translated_three_times_and_all_ports_come_back() {
    let mut net = Net::load(&topology());
    let inside = (INSIDE, 40_000);
    let request = net.send("function/far/1", &tcp(inside, S3, SYN, b"")).delivered_at("service/s3");
    let ((address, port), _) = request.ends();
    assert_eq!(request.ttl(), 63, "the NAT gateway is a hop, endpoints are none");
    let used = |net: &Net| ["10.0.2.4", "10.0.0.5", &address].map(|ip| net.ports_in_use(ip));
    assert_eq!(used(&net), [1, 1, 1]);

    let reply = tcp(S3, (&address, port), SYN_ACK, b"");
    let heard = net.send("service/s3", &reply).delivered_at("function/far/1");
    assert_eq!(heard.flow(), format!("{}:443 > {INSIDE}:40000", S3.0));
    net.send("function/far/1", &tcp(inside, S3, ACK, b"")).delivered_at("service/s3");

    net.send("function/far/1", &tcp(inside, S3, FIN, b"")).delivered_at("service/s3");
    let fin = Tcp { flags: "FA", sequence: 901, acknowledgment: 102 };
    net.send("service/s3", &tcp(S3, (&address, port), fin, b"")).delivered_at("function/far/1");
    let last = Tcp { flags: "A", sequence: 102, acknowledgment: 902 };
    net.send("function/far/1", &tcp(inside, S3, last, b"")).delivered_at("service/s3");
    net.pass_seconds(240);
    net.expire();
    assert_eq!(used(&net), [0, 0, 0]);
    net.assert_empty();
}

#[test]
fn a_service_s_public_address_answers_through_the_nat_gateway_too() {
    let mut net = Net::load(&topology());
    let inside = (INSIDE, 40_000);
    let request = net.send("function/far/1", &tcp(inside, LAMBDA, SYN, b""));
    let ((address, port), _) = request.delivered_at("service/lambda").ends();
    assert_eq!(address, "203.0.113.10");
    let reply = tcp(LAMBDA, (&address, port), SYN_ACK, b"");
    net.send("service/lambda", &reply).delivered_at("function/far/1");

    let stranded = tcp(("10.0.3.10", 5), LAMBDA, SYN, b"");
    net.send("main/instance/bare", &stranded).dropped_for(Reason::NoRouteToDestination);
}

// Conforms: RT-30
#[test]
fn rt_30_an_endpoint_that_is_taken_away_ends_its_connections() {
    let mut net = Net::load(&topology());
    let inside = (INSIDE, 40_000);
    let request = net.send("function/api/1", &tcp(inside, S3, SYN, b"")).delivered_at("service/s3");
    let ((address, port), _) = request.ends();

    let endpoint = "      s3:     { type: gateway, service: s3, route_tables: [main, public] }\n";
    net.apply(&topology().replace(endpoint, ""));
    let more = tcp(inside, S3, ACK, b"x");
    net.send("function/api/1", &more).dropped_for(Reason::NoRouteToDestination);
    let reply = tcp(S3, (&address, port), SYN_ACK, b"");
    let refused = net.send("service/s3", &reply);
    assert!(matches!(refused, support::Outcome::Dropped(_)), "{refused:?}");
}
