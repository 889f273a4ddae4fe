//! Environments of functions made over the API: they begin, move with their functions and end.

mod common;

use common::{DB, Daemon, FUNCTION_ENI, Host, TOPOLOGY, eventually, permitted};
use serde_json::{Value, json};
use viaduct_client::{AttachmentState, ConnectionsQuery};
use viaduct_topology::{Topology, inventory::AttachmentId};
use viaduct_tun::{Attachment, Error, Holder, handover::RefusalReason, holder::Status, netns};

/// Functions of the file that keep an ENI in two more places, so that whoever updates to these waits
/// for nothing.
const PLACES: &str = "
  near:  { subnets: [main/public], security_groups: [main/fn] }
  apart: { subnets: [second/only], security_groups: [second/fn] }
";

const SECOND: &str = "
  second:
    cidr_blocks: [10.9.0.0/16]
    subnets: { only: { cidr_block: 10.9.1.0/24 }, lonely: { cidr_block: 10.9.2.0/24 } }
    security_groups:
      fn: {}
      db: { ingress: [ { protocol: tcp, ports: 5432, from: security_group/fn } ] }
    instances: { far: { subnet: only, private_ip: 10.9.1.10, security_groups: [db] } }
functions:";

const NEAR: &str = "10.0.0.5";
const APART: &str = "10.9.1.4";
const FAR: &str = "10.9.1.10:5432";

fn text() -> String {
    TOPOLOGY
        .replace("\nfunctions:", SECOND)
        .replace("environments: 2 }\n", &format!("environments: 2 }}{PLACES}"))
}

fn daemon() -> Daemon {
    Daemon::start_with(|options| std::fs::write(&options.topology, text()).unwrap())
}

fn topology() -> Topology {
    viaduct_config_plane::load("test.yaml", &text()).unwrap().topology
}

/// Where a function is: a subnet, and the group `fn` of its VPC.
fn vpc_config(subnet: &str) -> Value {
    let topology = topology();
    let subnet = topology.subnets.values().find(|it| it.name == subnet).unwrap();
    let mut groups = topology.security_groups.values();
    let group = groups.find(|it| it.name == "fn" && it.vpc == subnet.vpc).unwrap();
    json!({ "SubnetIds": [subnet.id.as_str()], "SecurityGroupIds": [group.id.as_str()] })
}

/// Makes a function in a subnet.
fn create(daemon: &Daemon, name: &str, subnet: &str) {
    let function = json!({
        "FunctionName": name,
        "Role": daemon.role(),
        "Runtime": "python3.13",
        "Handler": "index.handler",
        "Code": { "ZipFile": "UEsDBA==" },
        "VpcConfig": vpc_config(subnet),
    });
    let (status, made) = daemon.lambda("POST", "", &function);
    assert_eq!(status, 201, "{made:#}");
}

fn update(daemon: &Daemon, name: &str, subnet: &str) {
    let change = json!({ "VpcConfig": vpc_config(subnet) });
    let (status, changed) = daemon.lambda("PUT", &format!("/{name}/configuration"), &change);
    assert_eq!((status, &changed["LastUpdateStatus"]), (200, &json!("Successful")), "{changed:#}");
}

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
    let daemon = daemon();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let db = Host::attach(&holder, "instance/db");
    db.serve_echo(5432);
    let (reason, message) = refusal(&holder, "function/web");
    assert_eq!(reason, RefusalReason::UnknownAttachment);
    assert!(message.contains("no host `function/web`"), "{message}");

    create(&daemon, "web", "private");
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
    let plan = holder.describe("function/web/7").unwrap();
    assert!(plan.hosts.iter().any(|host| host.name == "db"), "{plan:?}");
    assert_eq!(daemon.attachments()["function/web/7"].state, AttachmentState::Detached);
}

// Facts: LAM-46, LAM-54
#[test]
fn what_cannot_be_invoked_has_no_environments_and_versions_have_their_own() {
    if !permitted() {
        return;
    }
    let daemon = daemon();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    create(&daemon, "slow", "lonely");
    let (_, message) = refusal(&holder, "function/slow/1");
    assert!(message.contains("currently in the following state: Pending"), "{message}");
    // A file says how many its own functions have.
    let (_, message) = refusal(&holder, "function/api/3");
    assert!(message.contains("no host `function/api/3`"), "{message}");

    create(&daemon, "web", "private");
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
    let daemon = daemon();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    Host::attach(&holder, "instance/db").serve_echo(5432);
    Host::attach(&holder, "instance/far").serve_echo(5432);
    create(&daemon, "web", "private");
    let web = Host::attach(&holder, "function/web");
    let id = daemon.attachments()["function/web/1"].id;
    let (mut first, seen) = web.connect(DB);
    assert_eq!(seen.ip(), FUNCTION_ENI);

    update(&daemon, "web", "public");
    first.round_trip(b"over the ENI that it has");
    let (mut second, seen) = web.connect(DB);
    assert_eq!(seen.ip().to_string(), NEAR);

    // A reload has everything walked again, and the environment stays.
    daemon.ask(async |client| client.apply("again", format!("{} ", text()), false).await);
    first.round_trip(b"still");
    second.round_trip(b"and this one");

    let of_web = || {
        let all = daemon.ask(async |client| client.connections(&ConnectionsQuery::default()).await);
        let of_web = all.into_iter().filter(|it| it.opener == "function/web/1");
        of_web.map(|it| it.translated.source.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of_web().len(), 2);
    update(&daemon, "web", "only");
    let (mut third, seen) = web.connect(FAR);
    assert_eq!(seen.ip().to_string(), APART);
    third.round_trip(b"in the other VPC");
    eventually("those of the old VPC have ended", || of_web() == [APART]);
    let web = &daemon.attachments()["function/web/1"];
    assert_eq!((web.id, web.state), (id, AttachmentState::Attached), "nobody attached anew");
}

#[test]
fn a_reload_that_gives_an_enis_address_away_keeps_its_environments() {
    if !permitted() {
        return;
    }
    let daemon = daemon();
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    Host::attach(&holder, "instance/db").serve_echo(5432);
    create(&daemon, "web", "private");
    let web = Host::attach(&holder, "function/web");
    let id = daemon.attachments()["function/web/1"].id;
    let usurper =
        "      usurper: { subnet: private, private_ip: 10.0.1.4, security_groups: [db] }\n";
    let other = "      other: { subnet: private";
    let next = text().replace(other, &format!("{usurper}{other}"));
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
