//! A subnet that is shared with another account, and taken back under traffic.

mod common;

use std::{net::TcpStream, time::Duration};

use common::{
    DB, Daemon, FUNCTION_ENI, Host, TOPOLOGY,
    aws::{Answer, call_as, in_vpc, make_role, send, signed},
    eventually, permitted,
};
use serde_json::json;
use viaduct_client::{ClientError, ConnectionsQuery, EniKind};
use viaduct_topology::Reason;
use viaduct_tun::Holder;

const OWNER: &str = "123456789012";
const GUEST: &str = "222222222222";

/// The subnet as it is shared, as it was with each `on_unshare`, and as it is gone.
const SHARED: &str = ", shared_with: [222222222222]";
const SHARED_TO_CUT: &str = ", shared_with: [222222222222], on_unshare: cut";
const KEPT: &str = "";
const CUT: &str = ", on_unshare: cut";

/// The network with a subnet and a group for a guest; the database's group admits it.
fn text(share: &str) -> String {
    let settings = "settings: { eni_connections: 8, environment_connections: none, \
                    lifecycle: { creation: 0, deletion: 0 } }";
    let organization = format!("organization: {{ accounts: [{OWNER}, {GUEST}] }}");
    let text = TOPOLOGY
        .replace(
            "private: { cidr_block: 10.0.1.0/24, availability_zone: a }",
            &format!(
                "private: {{ cidr_block: 10.0.1.0/24, availability_zone: a }}
      shared: {{ id: subnet-shared, cidr_block: 10.0.2.0/24{share} }}"
            ),
        )
        .replace(
            "from: security_group/fn }",
            &format!(
                "from: security_group/fn }}, {{ protocol: tcp, ports: 5432, from: {GUEST}/guest }}"
            ),
        )
        .replace(
            "    instances:",
            &format!("      guest: {{ id: sg-guest, account: {GUEST} }}\n    instances:"),
        );
    format!("{settings}\n{organization}\n{text}")
}

fn daemon(share: &str) -> Daemon {
    let daemon =
        Daemon::start_with(|options| std::fs::write(&options.topology, text(share)).unwrap());
    make_role(&daemon);
    daemon
}

fn apply(daemon: &Daemon, text: &str) -> Result<(), ClientError> {
    daemon.try_ask(async |client| client.apply("next.yaml", text.to_owned(), false).await).map(drop)
}

/// Calls Lambda's API with a key of this account.
fn lambda(
    daemon: &Daemon,
    account: &str,
    method: &str,
    path: &str,
    body: &serde_json::Value,
) -> Answer {
    call_as(daemon, &signed(account, "lambda"), method, path, body)
}

/// Asks for a function in the shared subnet.
fn make(daemon: &Daemon, account: &str, name: &str, group: &str) -> Answer {
    let mut function = in_vpc(name, &["subnet-shared"], &[group]);
    function["Role"] = json!(format!("arn:aws:iam::{account}:role/vpc"));
    lambda(daemon, account, "POST", "", &function)
}

/// A daemon in whose shared subnet a guest's function has an ENI.
fn with_a_guest(share: &str) -> Daemon {
    let daemon = daemon(share);
    assert_eq!(make(&daemon, GUEST, "guest", "sg-guest").status, 201);
    eventually("its ENI is there", || {
        let answer = lambda(&daemon, GUEST, "GET", "/guest/configuration", &json!({}));
        answer.json()["State"] == "Active"
    });
    daemon
}

fn enis_of_guests(daemon: &Daemon) -> Vec<viaduct_client::Eni> {
    let mut enis = daemon.ask(async |client| client.enis().await);
    enis.retain(|eni| eni.kind == EniKind::Functions && eni.owner == GUEST);
    enis
}

fn ec2(daemon: &Daemon, account: &str, form: &str) -> Answer {
    send(daemon, "POST", "/", &signed(account, "ec2"), format!("Action={form}").as_bytes())
}

/// The texts of all elements of this name.
fn all<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = answer.body.split(&open).skip(1);
    parts.filter_map(|part| part.split_once(&close).map(|(text, _)| text)).collect()
}

/// Whether a connection is refused, and for what reason.
fn refused(daemon: &Daemon, function: &Host) -> Reason {
    let newest = daemon.newest_drop();
    let to = DB.parse().unwrap();
    let wait = Duration::from_millis(100);
    let tried = function.namespace.run(|| TcpStream::connect_timeout(&to, wait));
    assert!(tried.unwrap().is_err());
    daemon.drop_after(newest, |event| event.attachment == "function/guest/1").reason
}

// Conforms: SHR-03, SHR-09, SHR-10
// Facts: T-09
#[test]
fn t_09_a_guests_connections_survive_the_share_and_no_eni_is_made_after_it() {
    if !permitted() {
        return;
    }
    let daemon = with_a_guest(SHARED);
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let function = Host::attach(&holder, "function/guest");
    let db = Host::attach(&holder, "instance/db");
    db.serve_echo(5432);
    let (mut before, seen) = function.connect(DB);
    let eni = enis_of_guests(&daemon).remove(0);
    assert_eq!(seen.ip(), eni.private_ip);
    assert_ne!(seen.ip(), FUNCTION_ENI);

    apply(&daemon, &text(KEPT)).unwrap();
    before.round_trip(b"still here");
    let mut open: Vec<_> = (0..7).map(|_| function.connect(DB)).collect();
    assert!(open.iter().all(|(_, seen)| seen.ip() == eni.private_ip), "new ones too");
    // The ninth would need another ENI, which is not made.
    assert_eq!(refused(&daemon, &function), Reason::QuotaExceeded);
    let failed = daemon.try_ask(async |client| client.fail_eni(&eni.id).await);
    assert!(matches!(failed, Err(ClientError::Refused { .. })), "{failed:?}");
    let refusal = make(&daemon, GUEST, "second", "sg-guest");
    let exception = (400, "invalidparametervalueexception".to_owned());
    assert_eq!(refusal.exception(), Some(exception), "{refusal:?}");
    assert_eq!(enis_of_guests(&daemon).len(), 1);
    for (echo, _) in &mut open {
        echo.round_trip(b"none is lost");
    }
    let invoked = lambda(&daemon, GUEST, "GET", "/guest/configuration", &json!({}));
    assert_eq!(invoked.json()["State"], "Active");

    // SHR-09: the subnet stays as long as the ENI does.
    let without: String = text(KEPT)
        .lines()
        .filter(|line| !line.contains("subnet-shared"))
        .map(|line| format!("{line}\n"))
        .collect();
    let error = apply(&daemon, &without).unwrap_err().to_string();
    assert!(
        error.contains(
            "subnet-shared cannot go: its ENIs are of account 222222222222, used by guest"
        ),
        "{error}"
    );
    before.round_trip(b"nor by that");
    assert_eq!(lambda(&daemon, GUEST, "DELETE", "/guest", &json!({})).status, 204);
    eventually("its ENI is gone", || enis_of_guests(&daemon).is_empty());
    apply(&daemon, &without).unwrap();
}

// Conforms: SHR-10
#[test]
fn shr_10_what_is_cut_off_carries_nothing_until_it_is_shared_again() {
    if !permitted() {
        return;
    }
    let daemon = with_a_guest(SHARED_TO_CUT);
    let holder = Holder::start(&daemon.attach_socket).unwrap();
    let function = Host::attach(&holder, "function/guest");
    let own = Host::attach(&holder, "function/api");
    let db = Host::attach(&holder, "instance/db");
    db.serve_echo(5432);
    let (mut theirs, _) = function.connect(DB);
    let (mut ours, _) = own.connect(DB);
    theirs.round_trip(b"before");

    apply(&daemon, &text(CUT)).unwrap();
    let newest = daemon.newest_drop();
    theirs.send(b"after");
    let drop = daemon.drop_after(newest, |event| event.attachment == "function/guest/1");
    assert_eq!(drop.reason, Reason::SubnetNotShared);
    let open = daemon.ask(async |client| client.connections(&ConnectionsQuery::default()).await);
    assert_eq!(open.len(), 1, "it has ended, the owner's has not: {open:#?}");
    assert_eq!(refused(&daemon, &function), Reason::SubnetNotShared);
    ours.round_trip(b"the owner's goes on");
    // It stands all the same, and can be invoked: it reaches nothing.
    assert_eq!(enis_of_guests(&daemon).len(), 1);
    assert_eq!(
        lambda(&daemon, GUEST, "GET", "/guest/configuration", &json!({})).json()["State"],
        "Active"
    );

    apply(&daemon, &text(SHARED_TO_CUT)).unwrap();
    function.connect(DB).0.round_trip(b"shared again");
    ours.round_trip(b"all the time");
}

// Conforms: SHR-03, SHR-04
#[test]
fn shr_04_a_guest_takes_neither_the_owners_groups_nor_its_other_subnets() {
    let daemon = daemon(SHARED);
    let groups = ec2(&daemon, OWNER, "DescribeSecurityGroups");
    let id = |name: &str| {
        let names = all(&groups, "groupName");
        let place = names.iter().position(|it| *it == name).unwrap();
        let items: Vec<&str> = groups.body.split("<item><groupId>").skip(1).collect();
        items[place].split('<').next().unwrap().to_owned()
    };
    let refused = |answer: &Answer, words: &str| {
        assert_eq!(answer.status, 400, "{answer:?}");
        assert_eq!(answer.exception().unwrap().1, "invalidparametervalueexception");
        assert!(answer.body.contains(words), "{answer:?}");
    };
    for group in ["fn", "default"] {
        refused(&make(&daemon, GUEST, "f", &id(group)), "InvalidGroup.NotFound");
    }
    refused(&make(&daemon, OWNER, "f", "sg-guest"), "InvalidGroup.NotFound");
    refused(&make(&daemon, "333333333333", "f", "sg-guest"), "InvalidSubnetID.NotFound");
    let subnets = ec2(&daemon, OWNER, "DescribeSubnets");
    let private = all(&subnets, "subnetId").into_iter().find(|it| *it != "subnet-shared").unwrap();
    let mut elsewhere = in_vpc("f", &[private], &["sg-guest"]);
    elsewhere["Role"] = json!(format!("arn:aws:iam::{GUEST}:role/vpc"));
    refused(&lambda(&daemon, GUEST, "POST", "", &elsewhere), "InvalidSubnetID.NotFound");
    assert_eq!(enis_of_guests(&daemon).len(), 0);
}

// Conforms: SHR-03
// Facts: SHR-05, SHR-11, SHR-12
#[test]
fn shr_05_owner_and_guest_see_what_is_theirs_and_the_owner_what_the_guest_has() {
    let daemon = with_a_guest(SHARED);
    let seen = |account: &str, what: &str, element: &str| -> Vec<String> {
        let answer = ec2(&daemon, account, &format!("Describe{what}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        all(&answer, element).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(seen(GUEST, "Vpcs", "ownerId"), [OWNER], "SHR-12");
    assert_eq!(seen(GUEST, "Subnets", "subnetId"), ["subnet-shared"]);
    assert_eq!(seen(GUEST, "Subnets", "ownerId"), [OWNER]);
    assert_eq!(seen(GUEST, "Subnets", "availabilityZoneId"), ["a"]);
    assert_eq!(seen(OWNER, "Subnets", "subnetId").len(), 3);
    // The main table leads out of the shared subnet; the public one is nothing to the guest.
    assert_eq!(seen(GUEST, "RouteTables", "main"), ["true"]);
    assert_eq!(seen(OWNER, "RouteTables", "ownerId").len(), 2);
    assert_eq!(seen(GUEST, "SecurityGroups", "groupName"), ["guest"]);
    let owners = seen(OWNER, "SecurityGroups", "ownerId");
    assert_eq!(owners.iter().filter(|it| **it == GUEST).count(), 1, "{owners:?}");
    assert_eq!(owners.len(), 4);
    // IMP-08: a rule names another account's group with the account.
    assert!(seen(OWNER, "SecurityGroups", "userId").contains(&GUEST.to_owned()));

    let eni = enis_of_guests(&daemon).remove(0).id;
    assert_eq!(seen(GUEST, "NetworkInterfaces", "networkInterfaceId"), [eni.as_str()]);
    assert_eq!(seen(GUEST, "NetworkInterfaces", "ownerId"), [GUEST], "SHR-12");
    assert!(seen(OWNER, "NetworkInterfaces", "networkInterfaceId").contains(&eni));
    let delete = format!("DeleteNetworkInterface&NetworkInterfaceId={eni}");
    assert_eq!(ec2(&daemon, OWNER, &delete).element("Code"), Some("AuthFailure"), "SHR-05");
    let in_use = Some("InvalidNetworkInterface.InUse");
    assert_eq!(ec2(&daemon, GUEST, &delete).element("Code"), in_use);
    for what in ["Vpcs", "Subnets", "RouteTables", "SecurityGroups", "NetworkInterfaces"] {
        assert_eq!(seen("333333333333", what, "ownerId"), [""; 0], "{what}");
    }

    // Taken back, the subnet is seen no more, and what the guest has there still is (SHR-09).
    apply(&daemon, &text(KEPT)).unwrap();
    for what in ["Vpcs", "Subnets", "RouteTables"] {
        assert_eq!(seen(GUEST, what, "ownerId"), [""; 0], "{what}");
    }
    assert_eq!(seen(GUEST, "SecurityGroups", "groupName"), ["guest"]);
    assert_eq!(seen(GUEST, "NetworkInterfaces", "networkInterfaceId"), [eni]);
}
