//! An ENI that fills up gets company before anybody is refused (LAM-07).

mod common;

use common::{DB, Daemon, FUNCTION_ENI, Host, TOPOLOGY, eventually, permitted};
use viaduct_client::{DropsQuery, EniKind, EniState};
use viaduct_tun::Holder;

#[test]
fn lam_07_the_ninth_of_eight_connections_has_another_address() {
    if !permitted() {
        return;
    }
    let settings = "settings: { eni_connections: 8, environment_connections: none }";
    let daemon = Daemon::start_with(|options| {
        std::fs::write(&options.topology, format!("{settings}\n{TOPOLOGY}")).unwrap();
    });
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let function = Host::attach(&holder, "function/api");
    let db = Host::attach(&holder, "instance/db");
    db.serve_echo(5432);
    let of_functions = || {
        let mut enis = daemon.ask(async |client| client.enis().await);
        enis.retain(|eni| eni.kind == EniKind::Functions);
        enis
    };
    let mut open: Vec<_> = (0..6).map(|_| function.connect(DB)).collect();
    eventually("a second ENI", || of_functions().len() == 2);
    open.extend((0..6).map(|_| function.connect(DB)));
    let from_first = open.iter().filter(|(_, seen)| seen.ip() == FUNCTION_ENI).count();
    assert_eq!(from_first, 8);
    let second = of_functions().into_iter().find(|eni| eni.ordinal == Some(1)).unwrap();
    assert!(open[8..].iter().all(|(_, seen)| seen.ip() == second.private_ip));
    for (echo, _) in &mut open {
        echo.round_trip(b"none is lost");
    }
    assert_eq!((second.connections, second.state), (Some(4), Some(EniState::InUse)));
    assert_eq!(second.users, ["function/api"]);
    assert_eq!(second.held_by.as_deref(), Some("used by api"));

    // It survives a reload, with its connections.
    let text = format!("{settings}\n{TOPOLOGY}");
    daemon.ask(async |client| client.apply("again", text, false).await);
    for (echo, _) in &mut open {
        echo.round_trip(b"nor by a reload");
    }
    assert_eq!(of_functions().len(), 2);
    let functions = daemon.ask(async |client| client.functions().await);
    assert_eq!((functions[0].state.as_str(), functions[0].enis.len()), ("Active", 2));
    assert_eq!(functions[0].made_by, "file");
    let versions = daemon.ask(async |client| client.versions().await);
    assert_eq!((versions.len(), versions[0].version.as_str()), (1, "$LATEST"));
    let events = daemon.ask(async |client| client.events(DropsQuery::default()).await);
    let made = |event: &&viaduct_client::Event| event.what.ends_with(" is made");
    assert_eq!(events.events.iter().filter(made).count(), 2, "{events:#?}");
}
