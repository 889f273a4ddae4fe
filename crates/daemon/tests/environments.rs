//! Environments of functions made over the API: they begin, move with their functions and end.

mod common;

use common::{
    DB, FUNCTION_ENI, Host, WEB, eventually,
    functions::{create, daemon, state, text, update},
    permitted,
};
use serde_json::json;
use viaduct_client::{AttachmentState, ConnectionsQuery};
use viaduct_topology::inventory::AttachmentId;
use viaduct_tun::{Attachment, Error, Holder, handover::RefusalReason, holder::Status, netns};

const NEAR: &str = "10.0.0.5";
const APART: &str = "10.9.1.4";
const FAR: &str = "10.9.1.10:5432";

/// Why a host cannot be attached.
fn refusal(holder: &Holder, name: &str) -> (RefusalReason, String) {
    match holder.attach(&Attachment::new(name), &netns::create_unnamed().unwrap()) {
        Err(Error::Refused { reason, message, .. }) => (reason, message),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn an_environment_begins_when_it_is_attached_and_ends_with_that() {
    if !permitted() {
        return;
    }
    let daemon = daemon("");
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let db = Host::attach(&holder, "instance/db");
    db.serve_echo(5432);
    let (reason, message) = refusal(&holder, "function/web");
    assert_eq!(reason, RefusalReason::UnknownAttachment);
    assert!(message.contains("no host `function/web`"), "{message}");

    create(&daemon, "web", Some("private"));
    let declared = daemon.attachments().len();
    let second = Host::attach(&holder, "function/web/2");
    let first = Host::attach(&holder, "function/web");
    let connect = |host: &Host| {
        let (mut echo, seen) = host.connect(DB);
        assert_eq!(seen.ip(), FUNCTION_ENI, "LAM-03: the file's function has the key too");
        echo.round_trip(b"hello");
        echo
    };
    let _open = [connect(&first), connect(&second)];
    let attachments = daemon.attachments();
    assert_eq!(attachments.len(), declared + 2);
    let id = |name: &str| AttachmentId(attachments[name].id);
    assert!(id("function/web/1") > id("function/web/2"), "in the order in which they came");
    let functions = daemon.ask(async |client| client.functions().await);
    let web = functions.iter().find(|function| function.name == "web").unwrap();
    assert_eq!((web.environments.declared, web.environments.attached), (2, 2));
    let open = daemon.ask(async |client| client.connections(&ConnectionsQuery::default()).await);
    assert!(open.iter().any(|connection| connection.opener == "function/web/2"), "{open:#?}");

    holder.detach("function/web/2").unwrap();
    eventually("it is gone", || !daemon.attachments().contains_key("function/web/2"));
    let again = Host::attach(&holder, "function/web/2");
    let newer = daemon.attachments()["function/web/2"].id;
    assert!(AttachmentId(newer) > id("function/web/1"), "nobody else's identity");
    again.connect(DB).0.round_trip(b"again");

    // Somebody asks and does not come.
    let plan = holder.describe("function/web/7", None).unwrap();
    assert!(plan.hosts.iter().any(|host| host.name == "db"), "{plan:?}");
    assert_eq!(daemon.attachments()["function/web/7"].state, AttachmentState::Detached);
}

// Facts: LAM-46, LAM-54
#[test]
fn what_cannot_be_invoked_has_no_environments_and_versions_have_their_own() {
    if !permitted() {
        return;
    }
    let daemon = daemon("");
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    create(&daemon, "slow", Some("lonely"));
    let (_, message) = refusal(&holder, "function/slow/1");
    assert!(message.contains("currently in the following state: Pending"), "{message}");
    // A file says how many its own functions have.
    let (_, message) = refusal(&holder, "function/api/3");
    assert!(message.contains("no host `function/api/3`"), "{message}");

    create(&daemon, "web", Some("private"));
    let (_, message) = refusal(&holder, "function/web:1/1");
    assert!(message.contains("Function not found"), "{message}");
    assert_eq!(daemon.lambda("POST", "/web/versions", &json!({})).0, 201);
    let host = Host::attach(&holder, "function/web:1/1");
    Host::attach(&holder, "instance/db").serve_echo(5432);
    host.connect(DB).0.round_trip(b"version 1");
    let (_, message) = refusal(&holder, "function/web/0");
    assert!(message.contains("no host"), "{message}");

    assert_eq!(daemon.lambda("DELETE", "/web", &json!({})).0, 204);
    let status = || holder.statuses().unwrap().into_iter().find(|(name, _)| name.contains("web:1"));
    eventually("its holder is told", || status().unwrap().1 == Status::Waiting);
    assert!(!daemon.attachments().contains_key("function/web:1/1"));
}

// Facts: LAM-49, LAM-50
#[test]
fn lam_49_an_update_moves_environments_with_what_may_go_on() {
    if !permitted() {
        return;
    }
    let daemon = daemon("");
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    Host::attach(&holder, "instance/db").serve_echo(5432);
    Host::attach(&holder, "instance/far").serve_echo(5432);
    create(&daemon, "web", Some("private"));
    let web = Host::attach(&holder, "function/web");
    let id = daemon.attachments()["function/web/1"].id;
    let (mut first, seen) = web.connect(DB);
    assert_eq!(seen.ip(), FUNCTION_ENI);

    assert_eq!(update(&daemon, "web", Some("public")), "Successful");
    first.round_trip(b"over the ENI that it has");
    let (mut second, seen) = web.connect(DB);
    assert_eq!(seen.ip().to_string(), NEAR);

    // A reload has everything walked again, and the environment stays.
    daemon.ask(async |client| client.apply("again", format!("{} ", text("")), false).await);
    first.round_trip(b"still");
    second.round_trip(b"and this one");

    let of_web = || {
        let all = daemon.ask(async |client| client.connections(&ConnectionsQuery::default()).await);
        let of_web = all.into_iter().filter(|it| it.opener == "function/web/1");
        of_web.map(|it| it.translated.source.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of_web().len(), 2);
    assert_eq!(update(&daemon, "web", Some("only")), "Successful");
    let (mut third, seen) = web.connect(FAR);
    assert_eq!(seen.ip().to_string(), APART);
    third.round_trip(b"in the other VPC");
    eventually("those of the old VPC have ended", || of_web() == [APART]);
    let web = &daemon.attachments()["function/web/1"];
    assert_eq!((web.id, web.state), (id, AttachmentState::Attached), "nobody attached anew");
}

// Facts: LAM-12
#[test]
fn lam_12_a_function_without_a_vpc_has_the_internet_until_it_is_in_one() {
    if !permitted() {
        return;
    }
    let daemon = daemon("");
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    Host::attach(&holder, "instance/db").serve_echo(5432);
    Host::attach(&holder, "internet/web").serve_echo(80);
    create(&daemon, "bare", None);
    let bare = Host::attach(&holder, "function/bare");
    let (mut echo, outside) = bare.connect(WEB);
    assert_ne!(outside.ip().to_string(), "203.0.113.10", "no VPC's NAT gateway");
    echo.round_trip(b"by the service's own NAT");
    let newest = daemon.newest_drop();
    bare.send_udp("10.0.1.10:53");
    daemon.drop_after(newest, |event| event.attachment == "function/bare/1");

    assert_eq!(update(&daemon, "bare", Some("private")), "Successful");
    let (mut db, seen) = bare.connect(DB);
    assert_eq!(seen.ip(), FUNCTION_ENI);
    db.round_trip(b"in the VPC");
    let (_, outside) = bare.connect(WEB);
    assert_eq!(outside.ip().to_string(), "203.0.113.10");
    let of_bare = || {
        let open =
            daemon.ask(async |client| client.connections(&ConnectionsQuery::default()).await);
        open.into_iter().filter(|it| it.opener == "function/bare/1").count()
    };
    // The one to the database, and at most the one that was just closed.
    eventually("the way of before is cut", || of_bare() <= 2);
    assert_eq!(update(&daemon, "bare", None), "Successful");
    eventually("and that of the VPC", || of_bare() == 0);
    let (_, outside) = bare.connect(WEB);
    assert_ne!(outside.ip().to_string(), "203.0.113.10");
}

// Facts: LAM-51, LAM-53
#[test]
fn lam_51_who_stands_somewhere_is_not_idle_and_the_idle_are_restored() {
    if !permitted() {
        return;
    }
    // A second and a half.
    let daemon = daemon("lifecycle: { creation: 90, idle: 1500 }, lifecycle_scale: 1000");
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    Host::attach(&holder, "instance/far").serve_echo(5432);
    create(&daemon, "busy", Some("lonely"));
    eventually("it is active", || state(&daemon, "busy").0 == "Active");
    let busy = Host::attach(&holder, "function/busy");
    create(&daemon, "idle", Some("open"));
    eventually("the other one is idle", || state(&daemon, "idle").0 == "Inactive");
    assert_eq!(state(&daemon, "busy").0, "Active");
    busy.connect("10.9.1.10:5432").0.round_trip(b"not idle");

    holder.detach("function/busy").unwrap();
    eventually("nobody stands there", || state(&daemon, "busy").0 == "Inactive");
    assert!(!daemon.attachments().contains_key("function/busy/1"));
    let (_, message) = refusal(&holder, "function/busy");
    assert!(message.contains("is inactive and its VPC connection is no longer"), "{message}");
    eventually("it is restored", || state(&daemon, "busy").0 == "Active");
    Host::attach(&holder, "function/busy").connect("10.9.1.10:5432").0.round_trip(b"again");
}

#[test]
fn a_reload_that_gives_an_enis_address_away_keeps_its_environments() {
    if !permitted() {
        return;
    }
    let daemon = daemon("");
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    Host::attach(&holder, "instance/db").serve_echo(5432);
    create(&daemon, "web", Some("private"));
    let web = Host::attach(&holder, "function/web");
    let id = daemon.attachments()["function/web/1"].id;
    let usurper =
        "      usurper: { subnet: private, private_ip: 10.0.1.4, security_groups: [db] }\n";
    let other = "      other: { subnet: private";
    let next = text("").replace(other, &format!("{usurper}{other}"));
    let applied = daemon.ask(async |client| client.apply("next", next, false).await);
    assert_eq!(applied.detached, Vec::<String>::new());
    let (mut echo, seen) = web.connect(DB);
    assert_ne!(seen.ip(), FUNCTION_ENI);
    echo.round_trip(b"behind another address");
    // The file's new host has none of the environment's identity.
    let attachments = daemon.attachments();
    assert_eq!(attachments["function/web/1"].id, id);
    assert!(attachments["instance/usurper"].id > id);
}
