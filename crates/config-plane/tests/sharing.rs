//! Subnets that are shared with accounts of an organization: what loads, and what is said of the rest.

use viaduct_config_plane::{Diagnostic, load};
use viaduct_topology::model::OnUnshare;

/// Two subnets of account 1…, one of them shared with 2…, which has a group and a function there.
const SHARED: &str = "
organization: { accounts: [111111111111, 222222222222, 333333333333] }
vpcs:
  main:
    account: 111111111111
    cidr_blocks: [10.0.0.0/16]
    subnets:
      own:    { cidr_block: 10.0.0.0/24 }
      shared: { cidr_block: 10.0.1.0/24, shared_with: [222222222222], on_unshare: cut }
    security_groups:
      db:    { ingress: [{ protocol: tcp, ports: 5432, from: 222222222222/guest }] }
      guest: { account: 222222222222, egress: [{ protocol: tcp, ports: 5432, to: 111111111111/db }] }
      other: { account: 222222222222, ingress: [{ protocol: all, from: guest }] }
    instances:
      db: { subnet: shared, security_groups: [db] }
    vpc_endpoints:
      queue: { type: interface, service: sqs, subnets: [own], security_groups: [db] }
functions:
  theirs: { subnets: [main/shared], security_groups: [main/guest], account: 222222222222 }
  ours:   { subnets: [main/shared], security_groups: [main/db] }
services: { sqs: { ip: 198.18.0.1 } }
";

/// What is said of the file with one thing exchanged: severity, text, message and help of each problem.
fn said(was: &str, is: &str) -> Vec<String> {
    assert_eq!(SHARED.matches(was).count(), 1, "`{was}` is not there once");
    let problems = match load("shared.yaml", &SHARED.replace(was, is)) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    let line = |it: Diagnostic| {
        let help = it.help.map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{} `{}`: {}{help}", it.severity, it.text, it.message)
    };
    problems.diagnostics().map(line).collect()
}

// Conforms: SHR-03, SHR-06
// Facts: SHR-01, SHR-02, SHR-12
#[test]
fn shr_03_a_participant_has_functions_and_groups_in_the_owners_vpc() {
    let loaded = load("shared.yaml", SHARED).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let topology = loaded.topology;
    let [(own, one), (shared, other)] = topology.subnets.iter().collect::<Vec<_>>()[..] else {
        panic!("two subnets");
    };
    assert!(one.shared_with.is_empty() && one.on_unshare == OnUnshare::Keep);
    assert_eq!(
        (&other.shared_with[..], other.on_unshare),
        (&["222222222222".to_owned()][..], OnUnshare::Cut)
    );
    for (account, admitted) in [
        ("111111111111", [true, true]),
        ("222222222222", [false, true]),
        ("333333333333", [false, false]),
    ] {
        assert_eq!([own, shared].map(|it| topology.admits(it, account)), admitted, "{account}");
    }
    let owners =
        topology.security_groups.values().map(|it| (it.name.as_str(), it.account.as_str()));
    assert_eq!(
        owners.collect::<Vec<_>>(),
        [
            ("db", "111111111111"),
            ("guest", "222222222222"),
            ("other", "222222222222"),
            ("default", "111111111111"),
        ]
    );
    let accounts = topology.functions.values().map(|it| it.account.as_str());
    assert_eq!(accounts.collect::<Vec<_>>(), ["222222222222", "111111111111"]);
}

// Conforms: SHR-03, SHR-04, SHR-06
// Facts: SHR-01, SHR-05
#[test]
fn every_mistake_about_shares_is_explained_at_its_place() {
    let add = "subnets are shared inside one; add it to `organization: { accounts: [] }`";
    let own = |account: &str| {
        format!(
            "an interface carries groups of its own account; a participant's group in the VPC has \
             `account: {account}`"
        )
    };
    let (one, two) = ("111111111111", "222222222222");
    let cases: [(&str, &str, Vec<String>); 18] = [
        // SHR-01.
        (
            "[111111111111, 222222222222, 333333333333]",
            "[111111111111]",
            vec![format!("error `{two}`: account {two} is not of the organization | {add}")],
        ),
        (
            "[111111111111, 222222222222, 333333333333]",
            "[222222222222, 222222222222]",
            vec![
                format!("warning `{two}`: the organization has account {two} twice"),
                format!(
                    "error `[{two}]`: subnet `shared` is shared, and its owner {one} is not of the \
                     organization | {add}"
                ),
            ],
        ),
        (
            "333333333333]",
            "3333]",
            vec!["error `3333`: `3333` is not an account | an account is 12 digits".to_owned()],
        ),
        (
            "shared_with: [222222222222]",
            "shared_with: [222222222222, 111111111111, 222222222222]",
            vec![
                format!(
                    "error `{one}`: subnet `shared` is this account's own | name the accounts that \
                     may use it beside its owner"
                ),
                format!("warning `{two}`: subnet `shared` has account {two} twice"),
            ],
        ),
        (
            "shared_with: [222222222222]",
            "shared_with: 222222222222",
            // Nobody else is to blame.
            vec![format!(
                "error `{two}`: expected a list of accounts, found `{two}` | write `[{two}]`"
            )],
        ),
        (
            "accounts: [111111111111, 222222222222, 333333333333]",
            "accounts: {}",
            vec!["error `{}`: expected a list of accounts, found a mapping".to_owned()],
        ),
        (
            "on_unshare: cut",
            "on_unshare: drop",
            vec!["error `drop`: expected `keep` or `cut`, found `drop`".to_owned()],
        ),
        // SHR-03.
        (
            "theirs: { subnets: [main/shared]",
            "theirs: { subnets: [main/shared, main/own]",
            vec![format!(
                "error `main/own`: `main/own` is a subnet of account {one}, and function `theirs` is \
                 of {two} | the subnet would have to be `shared_with: [{two}]`"
            )],
        ),
        // SHR-04.
        (
            "[main/guest]",
            "[main/guest, main/db]",
            vec![format!(
                "error `main/db`: `main/db` is a group of account {one}, and function `theirs` is of \
                 {two} | {}",
                own(two)
            )],
        ),
        (
            "[main/guest]",
            "[main/default]",
            vec![format!(
                "error `main/default`: `main/default` is the default group of the VPC, which is of \
                 account {one}, and function `theirs` is of {two} | {}",
                own(two)
            )],
        ),
        (
            "other: { account: 222222222222,",
            "default: { account: 222222222222,",
            vec![format!(
                "error `{two}`: the default group of VPC `main` is its owner's | leave `account` out: \
                 the VPC is of account {one}"
            )],
        ),
        // SHR-05.
        (
            "ours:   { subnets: [main/shared], security_groups: [main/db]",
            "ours:   { subnets: [main/shared], security_groups: [main/other]",
            vec![format!(
                "error `main/other`: `main/other` is a group of account {two}, and function `ours` is \
                 of {one} | {}",
                own(one)
            )],
        ),
        (
            "subnet: shared, security_groups: [db]",
            "subnet: shared, security_groups: [db, guest]",
            vec![format!(
                "error `guest`: `guest` is a group of account {two}, and instance `db` is of {one} | {}",
                own(one)
            )],
        ),
        (
            "subnets: [own], security_groups: [db]",
            "subnets: [own], security_groups: [guest]",
            vec![format!(
                "error `guest`: `guest` is a group of account {two}, and endpoint `queue` is of {one} \
                 | {}",
                own(one)
            )],
        ),
        // SHR-06.
        (
            "from: 222222222222/guest",
            "from: guest",
            vec![format!("error `guest`: `guest` is a group of account {two} | write `{two}/guest`")],
        ),
        (
            "to: 111111111111/db",
            "to: 333333333333/db",
            vec![format!(
                "error `333333333333/db`: `db` is a group of account {one} | write `{one}/db`"
            )],
        ),
        (
            "from: guest",
            "from: 111111111111/guest",
            vec![format!("error `111111111111/guest`: `guest` is a group of account {two} | write `guest`")],
        ),
        (
            "to: 111111111111/db",
            "to: 111111111111/bd",
            vec!["error `111111111111/bd`: there is no security group `bd` in VPC `main` | did you mean \
                 `db`?"
                .to_owned()],
        ),
    ];
    let mut wrong = Vec::new();
    for (was, is, expected) in cases {
        let found = said(was, is);
        if found != expected {
            wrong.push(format!("{is}\n{}\nexpected\n{}", found.join("\n"), expected.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A share is taken back while the participant's interfaces stand: its groups stay in the file.
// Conforms: SHR-09
#[test]
fn shr_09_a_group_without_a_share_is_only_a_warning() {
    let unshared = SHARED.replace(", shared_with: [222222222222]", "");
    let theirs = unshared.lines().filter(|line| !line.contains("theirs")).collect::<Vec<_>>();
    let loaded = load("unshared.yaml", &theirs.join("\n")).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(loaded.warnings.diagnostics().count(), 2);
    assert_eq!(loaded.topology.security_groups.len(), 4);
}

// Facts: SHR-08
#[test]
fn shr_08_quotas_count_participants_shares_and_whoever_made_a_group() {
    let entries = |count: usize, entry: &dyn Fn(usize) -> String| {
        (0..count).map(entry).collect::<Vec<_>>().join(", ")
    };
    let account = |number: usize| format!("{:012}", 200_000_000_000_u64 + number as u64);
    let text = |participants: usize, subnets: usize, groups: usize| {
        let accounts = entries(participants, &account);
        let subnet = |number: usize| {
            let block = format!("10.0.{number}.0/24");
            format!("s{number}: {{ cidr_block: {block}, shared_with: [{accounts}] }}")
        };
        let group = |number: usize| format!("g{number}: {{ account: {} }}", account(0));
        format!(
            "organization: {{ accounts: [123456789012, {accounts}] }}\nvpcs:\n  main:\n    \
             cidr_blocks: [10.0.0.0/16]\n    subnets: {{ {} }}\n    security_groups: {{ {} }}\n",
            entries(subnets, &subnet),
            entries(groups, &group)
        )
    };
    let warnings = |text: &str| -> Vec<String> {
        let loaded = load("quotas.yaml", text).unwrap_or_else(|problems| panic!("{problems}"));
        loaded.warnings.diagnostics().map(|it| format!("{}: {}", it.text, it.message)).collect()
    };
    assert_eq!(warnings(&text(100, 1, 0)), [""; 0]);
    assert_eq!(warnings(&text(101, 1, 0)), ["main: VPC `main` has 101 participants"]);
    assert_eq!(warnings(&text(1, 100, 0)), [""; 0]);
    assert_eq!(warnings(&text(1, 101, 0)), ["s100: account 200000000000 has 101 shared subnets"]);
    assert_eq!(warnings(&text(1, 1, 2500)), [""; 0]);
    assert_eq!(
        warnings(&text(1, 1, 2501)),
        ["main: account 200000000000 has 2501 security groups"]
    );
}

#[test]
fn what_becomes_of_shares_and_owners_is_told() {
    let before = load("before.yaml", SHARED).unwrap_or_else(|it| panic!("{it}")).topology;
    let mut after = SHARED.to_owned();
    for (was, is) in [
        ("222222222222, 333333333333]", "222222222222]"),
        ("shared_with: [222222222222], on_unshare: cut", "on_unshare: keep"),
        (
            "other: { account: 222222222222, ingress: [{ protocol: all, from: guest }] }",
            "other: {}",
        ),
        (
            "  theirs: { subnets: [main/shared], security_groups: [main/guest], account: 222222222222 }\n",
            "",
        ),
    ] {
        assert_eq!(after.matches(was).count(), 1, "{was}");
        after = after.replace(was, is);
    }
    let after = load("after.yaml", &after).unwrap_or_else(|it| panic!("{it}")).topology;
    let told: Vec<String> = after
        .difference(&before)
        .into_iter()
        .flat_map(|it| [format!("{} {}", it.action, it.path)].into_iter().chain(it.details))
        .collect();
    assert_eq!(
        told,
        [
            "~ organization",
            "accounts: - 333333333333",
            "~ main/subnet/shared",
            "shared_with: - 222222222222",
            "on_unshare: cut → keep",
            "~ main/security_group/other",
            "account: 222222222222 → 111111111111",
            "ingress: - all from main/security_group/guest",
            "- function/theirs",
        ]
    );
}
