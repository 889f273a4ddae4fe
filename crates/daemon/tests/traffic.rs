//! Real packets through a daemon: what passes, what is refused, what is told about it.

mod common;

use common::{DB, Daemon, FUNCTION_ENI, Host, WEB, permitted};
use viaduct_client::{ConnectionState, ConnectionsQuery, Protocol};
use viaduct_topology::Reason;
use viaduct_tun::Holder;

// Conforms: RFC 6888 R10
#[test]
fn packets_are_translated_refused_and_accounted_for() {
    if !permitted() {
        return;
    }
    let daemon = Daemon::start();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let function = Host::attach(&holder, "function/api");
    let db = Host::attach(&holder, "instance/db");
    let web = Host::attach(&holder, "internet/web");
    db.serve_echo(5432);
    web.serve_echo(80);

    // LAM-09: the instance sees the ENI. NAT-08: the internet sees the NAT gateway.
    let (mut to_db, seen) = function.connect(DB);
    assert_eq!(seen.ip(), FUNCTION_ENI);
    let (mut to_web, seen) = function.connect(WEB);
    assert_eq!(seen.ip().to_string(), "203.0.113.10");
    let megabyte: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    to_db.round_trip(&megabyte);
    to_web.round_trip(&megabyte);

    let query = ConnectionsQuery { attachment: Some("function/api/1".to_owned()), limit: None };
    let connections = daemon.ask(async |client| client.connections(&query).await);
    assert_eq!(connections.len(), 2, "{connections:#?}");
    let of_db = connections.iter().find(|connection| connection.target == "instance/db").unwrap();
    assert_eq!(of_db.state, ConnectionState::Established);
    assert_eq!(of_db.request.source.to_string(), "169.254.100.2");
    assert_eq!(of_db.translated.source, FUNCTION_ENI);
    assert_eq!(of_db.translated.destination_port, 5432);
    assert!(of_db.sent.bytes > 1 << 20 && of_db.received.bytes > 1 << 20, "{of_db:?}");

    // SG-06: the group lets TCP out, not UDP.
    let newest = daemon.newest_drop();
    function.send_udp("10.0.1.10:53");
    let refused = daemon.drop_after(newest, |event| event.attachment == "function/api/1");
    assert_eq!(refused.reason, Reason::EniSgRulesMismatch);
    let flow = refused.flow.unwrap();
    assert_eq!((flow.protocol, flow.destination_port), (Protocol::UDP, 53));
    assert_eq!(refused.request, None);

    // LAM-02, LAM-24: nothing opens a connection towards a function.
    db.send_udp(&format!("{FUNCTION_ENI}:4000"));
    let refused = daemon.drop_after(newest, |event| event.attachment == "instance/db");
    assert_eq!(refused.reason, Reason::V2nOneWay);

    let counters = daemon.ask(async |client| client.counters().await);
    assert_eq!(counters.dropped_packets["V2N_ONE_WAY"], 1, "{counters:#?}");
    assert_eq!(counters.connections_opened, 2, "{counters:#?}");
    assert!(counters.forwarded_bytes > 4 << 20, "{counters:#?}");
    assert_eq!(counters.drop_events_lost, 0, "{counters:#?}");
    let metrics = daemon.ask(async |client| client.metrics().await);
    assert!(metrics.contains("viaduct_connections 2\n"), "{metrics}");

    let enis = daemon.ask(async |client| client.enis().await);
    let shared = enis.iter().find(|eni| eni.private_ip == FUNCTION_ENI).unwrap();
    assert_eq!((shared.connections, shared.capacity), (Some(2), Some(65_000)));
    let attachments = daemon.ask(async |client| client.attachments().await);
    // Half of what the interface carries is an environment's own.
    let quotas = attachments.iter().map(|host| (host.connections, host.capacity));
    assert_eq!(
        quotas.take(3).collect::<Vec<_>>(),
        [(2, Some(32_500)), (0, Some(32_500)), (0, None)]
    );
    let functions = daemon.ask(async |client| client.functions().await);
    assert_eq!(functions[0].environments.declared, 2);
    assert_eq!(functions[0].environments.attached, 1);
    assert_eq!(functions[0].enis.as_slice(), std::slice::from_ref(&shared.id));

    // Nothing stands there: told as such, and the attachment named is the sender's.
    let newest = daemon.newest_drop();
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            // A SYN that is dropped. The listener is missing as well: this can only fail.
            let to = "10.0.1.11:5432".parse().unwrap();
            let wait = std::time::Duration::from_millis(100);
            let tried = function.namespace.run(|| std::net::TcpStream::connect_timeout(&to, wait));
            assert!(tried.unwrap().is_err());
        });
        daemon.drop_after(newest, |event| event.reason == Reason::AttachmentDown)
    });
    assert_eq!(refused.attachment, "function/api/1");
}
