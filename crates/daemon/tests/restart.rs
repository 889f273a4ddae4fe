//! Connections outlive the daemon: the next one has them go on.

mod common;

use std::{net::TcpStream, time::Duration};

use common::{DB, Daemon, Host, TOPOLOGY, WEB, functions, permitted};
use viaduct_client::{AttachmentState, Counters};
use viaduct_topology::Reason;
use viaduct_tun::Holder;

fn counters(daemon: &Daemon) -> Counters {
    daemon.ask(async |client| client.counters().await)
}

/// The next daemon, when all hosts are back.
fn next(daemon: &mut Daemon, hosts: &[&str]) {
    daemon.stop().unwrap();
    daemon.start_again();
    for host in hosts {
        daemon.until(host, AttachmentState::Attached);
    }
}

#[test]
fn connections_go_on_with_the_next_daemon_unless_they_are_to_be_forgotten() {
    const HOSTS: [&str; 3] = ["function/api/1", "instance/db", "internet/web"];
    if !permitted() {
        return;
    }
    let mut daemon = Daemon::start();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let [function, db, web] = HOSTS.map(|host| Host::attach(&holder, host));
    db.serve_echo(5432);
    web.serve_echo(80);
    let (mut near, near_port) = function.connect(DB);
    let (mut far, _) = function.connect(WEB);

    for life in 0..2 {
        next(&mut daemon, &HOSTS);
        near.round_trip(b"goes on");
        far.round_trip(b"through the NAT gateway");
        let counters = counters(&daemon);
        let resumed = (counters.connections_resumed, counters.connections_lost);
        assert_eq!((counters.connections_opened, resumed), (2, (2, 0)), "{life}");
    }
    let metrics = daemon.ask(async |client| client.metrics().await);
    assert!(metrics.contains("viaduct_connections_resumed_total 2\n"), "{metrics}");
    // Ports of connections that go on are not given to others.
    assert_ne!(function.connect(DB).1, near_port);

    // The rule that let it in is gone. It was tracked (SG-22).
    let closed = TOPOLOGY.replace("{ protocol: tcp, ports: 5432, from: security_group/fn }", "");
    std::fs::write(&daemon.options.topology, closed).unwrap();
    next(&mut daemon, &HOSTS);
    near.round_trip(b"goes on all the same");
    let newest = daemon.newest_drop();
    // Dropped in silence.
    let silence = Duration::from_millis(10);
    let connect = || TcpStream::connect_timeout(&"10.0.1.11:5432".parse().unwrap(), silence);
    assert!(function.namespace.run(connect).unwrap().is_err());
    let refused = daemon.drop_after(newest, |event| event.reason == Reason::SgHasNoRules);
    assert_eq!(refused.attachment, "function/api/1");

    std::fs::write(&daemon.options.topology, TOPOLOGY).unwrap();
    daemon.options.forget_state = true;
    next(&mut daemon, &HOSTS);
    assert_eq!(counters(&daemon).connections_resumed, 0);
    assert!(near.is_reset() && far.is_reset());
}

#[test]
fn what_its_topology_has_no_more_does_not_go_on() {
    if !permitted() {
        return;
    }
    let mut daemon = Daemon::start();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let [function, db, _web] =
        ["function/api/1", "instance/db", "internet/web"].map(|host| Host::attach(&holder, host));
    db.serve_echo(5432);
    let (_near, _) = function.connect(DB);
    std::fs::write(
        &daemon.options.topology,
        TOPOLOGY.replace(
            "      db:    { subnet: private, private_ip: 10.0.1.10, security_groups: [db] }\n",
            "",
        ),
    )
    .unwrap();
    next(&mut daemon, &["function/api/1"]);
    let counters = counters(&daemon);
    assert_eq!((counters.connections_resumed, counters.connections_lost), (0, 1));
}

#[test]
fn an_environment_of_a_function_of_the_api_stands_again_with_its_connections() {
    if !permitted() {
        return;
    }
    let mut daemon = functions::daemon("");
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    Host::attach(&holder, "instance/db").serve_echo(5432);
    functions::create(&daemon, "web", Some("private"));
    let web = Host::attach(&holder, "function/web/3");
    let (mut echo, _) = web.connect(DB);

    next(&mut daemon, &["instance/db", "function/web/3"]);
    echo.round_trip(b"goes on");
    let counters = counters(&daemon);
    assert_eq!((counters.connections_resumed, counters.connections_opened), (1, 1));
}
