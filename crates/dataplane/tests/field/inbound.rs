//! Point 21: what comes from outside to an address that translates, and tenants that look alike.

use crate::{
    MAIL, PUBLIC, WEB, gateway, open,
    support::{ACK, INSIDE, Net, Outcome, SYN, SYN_ACK, echo, icmp_error, tcp, udp},
};

/// There, packets from outside to a NAT address, for which there was no connection, went astray
/// (<https://github.com/ironcore-dev/dpservice/pull/111>).
#[test]
fn point_21_what_nobody_asked_for_reaches_nobody() {
    let mut net = Net::load(&gateway(PUBLIC));
    let used = open(&mut net, 3, WEB)[0];
    let before = net.engine.connection_count();
    let mut unasked = |from: &str, packet| match net.send(from, &packet) {
        Outcome::Delivered { at, packet } => panic!("{packet:?} came out at {at}"),
        Outcome::Answered { packet, .. } => assert_eq!(packet.ends().1.0, MAIL.0),
        Outcome::Dropped(_) => {}
        other => panic!("{other:?}"),
    };
    for port in [1, 22, 443, 1024, used, used + 1, 65_535] {
        let to = (PUBLIC, port);
        for segment in [SYN, SYN_ACK, ACK] {
            unasked("internet/mail", tcp(MAIL, to, segment, b""));
        }
        unasked("internet/mail", udp(MAIL, to, b"?"));
        // From the right host, but another port than was asked.
        unasked("internet/web", udp((WEB.0, 53), to, b"?"));
        let quoted = udp((PUBLIC, port), MAIL, b"?");
        unasked("internet/mail", icmp_error(MAIL.0, PUBLIC, 3, 3, quoted.ip()));
    }
    unasked("internet/mail", echo(MAIL.0, PUBLIC, used, false));
    unasked("internet/mail", echo(MAIL.0, PUBLIC, used, true));
    assert_eq!(net.engine.connection_count(), before, "one of them opened a connection");
    // And the one whose port was tried does not notice.
    net.send("internet/web", &tcp(WEB, (PUBLIC, used), SYN_ACK, b"")).delivered_at("instance/own");
}

/// There, two tenants with the same addresses shared an entry of the connection table
/// (<https://github.com/ironcore-dev/dpservice/pull/295>).
#[test]
fn point_21_tenants_with_the_same_addresses_have_connections_of_their_own() {
    let vpc = |name: &str| {
        format!(
            "
  {name}:
    cidr_blocks: [10.0.0.0/16]
    subnets:
      private: {{ cidr_block: 10.0.1.0/24, availability_zone: a }}
    security_groups:
      open: {{ ingress: [ {{ protocol: all, from: 0.0.0.0/0 }} ] }}
    instances:
      {name}-db: {{ subnet: private, private_ip: 10.0.1.100, security_groups: [open] }}
      {name}-web: {{ subnet: private, private_ip: 10.0.1.101, security_groups: [open] }}"
        )
    };
    let function = |name| {
        format!("\n  {name}-api: {{ subnets: [{name}/private], security_groups: [{name}/open] }}")
    };
    let tenants = ["blue", "red"];
    let text = format!(
        "vpcs:{}\nfunctions:{}\n",
        tenants.map(vpc).concat(),
        tenants.map(function).concat()
    );
    let mut net = Net::load(&text);
    let db = ("10.0.1.100", 53);
    let mut seen = Vec::new();
    for tenant in tenants {
        let own = format!("instance/{tenant}-db");
        for (from, inside) in [
            (format!("function/{tenant}-api/1"), INSIDE),
            (format!("instance/{tenant}-web"), "10.0.1.101"),
        ] {
            let request = udp((inside, 5000), db, tenant.as_bytes());
            seen.push((
                own.clone(),
                from.clone(),
                net.send(&from, &request).delivered_at(&own).ends().0,
            ));
        }
    }
    assert_eq!(net.engine.connection_count(), 4);
    for (own, from, (ip, port)) in &seen {
        net.send(own, &udp(db, (ip, *port), b"!")).delivered_at(from);
    }
    // What ends for the one goes on for the other.
    let gone = udp(("10.0.1.101", 5000), db, b"?");
    net.apply(&text.replace("red-web: {", "red-other: {"));
    net.send("instance/blue-web", &gone).delivered_at("instance/blue-db");
    let (_, _, (ip, port)) = &seen[3];
    let astray = net.send("instance/red-db", &udp(db, (ip, *port), b"!"));
    assert!(!matches!(&astray, Outcome::Delivered { at, .. } if at.contains("blue")), "{astray:?}");
}
