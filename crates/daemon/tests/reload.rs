//! Another topology for a running daemon: what lives on, what ends, and who is told.

mod common;

use common::{DB, Daemon, FUNCTION_ENI, Host, TOPOLOGY, eventually, permitted};
use viaduct_client::{Action, Applied, AttachmentState, ClientError};
use viaduct_topology::Reason;
use viaduct_tun::{Holder, handover::DetachReason, holder::Status};

fn try_apply(daemon: &Daemon, text: &str, dry_run: bool) -> Result<Applied, ClientError> {
    daemon.try_ask(async |client| client.apply("new.yaml", text.to_owned(), dry_run).await)
}

fn apply(daemon: &Daemon, text: &str) -> Applied {
    try_apply(daemon, text, false).unwrap()
}

fn generation(daemon: &Daemon) -> u32 {
    daemon.ask(async |client| client.status().await).generation
}

/// Everything that `get` shows of the network.
fn shown(daemon: &Daemon) -> String {
    let status = daemon.ask(async |client| client.status().await);
    let functions = daemon.ask(async |client| client.functions().await);
    let enis = daemon.ask(async |client| client.enis().await);
    let attachments = daemon.ask(async |client| client.attachments().await);
    format!("{} {:?} {functions:?} {enis:?} {attachments:?}", status.generation, status.topology)
}

/// The topology with one thing exchanged.
fn with(was: &str, is: &str) -> String {
    assert_eq!(TOPOLOGY.matches(was).count(), 1, "{was}");
    TOPOLOGY.replace(was, is)
}

#[test]
fn a_topology_with_errors_changes_nothing_and_all_of_them_are_told() {
    let daemon = Daemon::start();
    let before = shown(&daemon);
    let wrong = with("internet_gateway: igw", "internet_gatway: igw").replace("fn]", "fm]");
    match try_apply(&daemon, &wrong, false) {
        Err(ClientError::Refused { status: 422, message, .. }) => {
            for words in
                ["nothing has changed", "new.yaml:11:", "did you mean `internet_gateway`", "fm"]
            {
                assert!(message.contains(words), "{words}: {message}");
            }
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(shown(&daemon), before);
}

#[test]
fn a_dry_run_shows_and_does_nothing() {
    let daemon = Daemon::start();
    let before = shown(&daemon);
    let next = with("ports: 5432, from", "ports: 5433, from").replace(
        "      other: { subnet: private, private_ip: 10.0.1.11, security_groups: [db] }\n",
        "",
    );

    let planned = try_apply(&daemon, &next, true).unwrap();
    assert_eq!(shown(&daemon), before);
    let applied = apply(&daemon, &next);
    assert_eq!(planned.changes, applied.changes);
    assert_eq!(applied.generation, planned.generation + 1);

    let changes: Vec<_> =
        applied.changes.iter().map(|change| (change.action, change.path.as_str())).collect();
    assert_eq!(
        changes,
        [(Action::Changed, "main/security_group/db"), (Action::Removed, "main/instance/other")]
    );
    assert_eq!(
        applied.changes[0].details,
        [
            "ingress: - tcp/5432 from main/security_group/fn",
            "ingress: + tcp/5433 from main/security_group/fn",
        ]
    );
    let status = daemon.ask(async |client| client.status().await);
    assert_eq!(status.topology.to_str(), Some("new.yaml"));
    assert_eq!(status.attachments.declared, 4);
    // And back: the address that was named is free again.
    assert_eq!(apply(&daemon, TOPOLOGY).changes[1].action, Action::Added);
}

#[test]
fn connections_live_on_and_hosts_come_and_go() {
    if !permitted() {
        return;
    }
    let daemon = Daemon::start();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let function = Host::attach(&holder, "function/api");
    let db = Host::attach(&holder, "instance/db");
    let _other = Host::attach(&holder, "instance/other");
    db.serve_echo(5432);
    let (mut to_db, _) = function.connect(DB);
    let eni = |daemon: &Daemon| {
        let enis = daemon.ask(async |client| client.enis().await);
        enis.into_iter().find(|eni| eni.private_ip == FUNCTION_ENI).unwrap()
    };
    let before = eni(&daemon);
    assert_eq!(before.connections, Some(1));

    // The rule goes, one instance goes, another comes.
    let next = with("ports: 5432, from", "ports: 80, from").replace(
        "      other: { subnet: private, private_ip: 10.0.1.11,",
        "      fresh: { subnet: private, private_ip: 10.0.1.12,",
    );
    let applied = apply(&daemon, &next);
    assert_eq!(applied.detached, ["instance/other"]);

    // SG-22; and the ENI keeps its address, its id and the port.
    to_db.round_trip(b"still here");
    assert_eq!(eni(&daemon), before);
    let newest = daemon.newest_drop();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let to = DB.parse().unwrap();
            let wait = std::time::Duration::from_millis(100);
            let tried = function.namespace.run(|| std::net::TcpStream::connect_timeout(&to, wait));
            assert!(tried.unwrap().is_err());
        });
        let refused = daemon.drop_after(newest, |event| event.attachment == "function/api/1");
        assert_eq!(refused.reason, Reason::EniSgRulesMismatch);
    });

    let fresh = Host::attach(&holder, "instance/fresh");
    fresh.serve_echo(80);
    function.connect("10.0.1.12:80").0.round_trip(b"welcome");
    let attachments = daemon.ask(async |client| client.attachments().await);
    let find = |name: &str| attachments.iter().find(|host| host.name == name);
    assert!(find("instance/other").is_none());
    assert_eq!(find("instance/fresh").unwrap().state, AttachmentState::Attached);
    let highest = attachments.iter().map(|host| host.id).max();
    assert_eq!(highest, Some(find("instance/fresh").unwrap().id), "a number of its own");

    // The one that was removed is held, and offered again when it is back (ids are not used again).
    apply(&daemon, TOPOLOGY);
    daemon.until("instance/other", AttachmentState::Attached);
    to_db.round_trip(b"and still");
}

#[test]
fn a_host_that_is_to_have_another_address_is_let_go_for_good() {
    if !permitted() {
        return;
    }
    let daemon = Daemon::start();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let db = Host::attach(&holder, "instance/db");
    let function = Host::attach(&holder, "function/api");

    let applied = apply(&daemon, &with("private_ip: 10.0.1.10", "private_ip: 10.0.1.20"));
    assert_eq!(applied.detached, ["instance/db"]);
    let lost = Status::Lost { reason: DetachReason::Changed };
    eventually("the holder is told", || {
        holder.statuses().unwrap().contains(&("instance/db".to_owned(), lost.clone()))
    });
    drop(db);

    // Attached anew, it is there.
    holder.detach("instance/db").ok();
    let db = Host::attach(&holder, "instance/db");
    db.serve_echo(5432);
    function.connect("10.0.1.20:5432").0.round_trip(b"moved");
}

#[test]
fn sighup_reads_the_file_again() {
    let daemon = Daemon::start();
    let first = generation(&daemon);
    let hang_up = || {
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, rustix::process::Signal::HUP).unwrap();
    };
    std::fs::write(&daemon.options.topology, with("ports: 5432, from", "ports: 1, from")).unwrap();
    hang_up();
    eventually("the new file is in force", || generation(&daemon) == first + 1);
    // What was applied is replaced by what the file says.
    assert_eq!(apply(&daemon, TOPOLOGY).generation, first + 2);
    hang_up();
    eventually("the file is in force again", || generation(&daemon) == first + 3);
    let status = daemon.ask(async |client| client.status().await);
    assert_eq!(status.topology, daemon.options.topology);
}

#[test]
fn a_watched_file_is_read_when_it_changes_and_is_whole() {
    let daemon = Daemon::start_with(|options| options.watch = true);
    let file = &daemon.options.topology;
    let first = generation(&daemon);
    // Replaced, as editors do.
    let beside = file.with_extension("new");
    std::fs::write(&beside, with("ports: 5432, from", "ports: 1, from")).unwrap();
    std::fs::rename(&beside, file).unwrap();
    eventually("the new file is in force", || generation(&daemon) == first + 1);
    // Something wrong changes nothing, and does not end the watching; nor does a file that is gone.
    std::fs::write(file, "vpcs: [").unwrap();
    std::fs::remove_file(file).unwrap();
    std::fs::write(file, with("ports: 5432, from", "ports: 2, from")).unwrap();
    eventually("the next file is in force", || generation(&daemon) == first + 2);
}
