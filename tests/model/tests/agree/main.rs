//! Random networks, random flows: the engine fed with packets, the explanation and the model agree
//! on every verdict, reason and translation.
//!
//! `cargo test` tries a slice; `scripts/differential` tries ten thousand networks. Both are the same
//! for the same seeds, and a disagreement names the seed that shows it:
//! `VIADUCT_DIFFERENTIAL_SEED=12345 VIADUCT_DIFFERENTIAL_TOPOLOGIES=1 cargo test -p viaduct-model`.
//! With `VIADUCT_DIFFERENTIAL_FIRST_ONLY` set, the first disagreement ends it.

mod burst;
mod bytes;
mod complaint;
mod explanation;
mod records;
mod session;
mod tally;
mod trial;

use std::{collections::BTreeMap, env};

use viaduct_topology::Reason;

use tally::Tally;

/// Flows through each network.
const FLOWS: usize = 100;

/// Networks that `cargo test` tries.
const SLICE: u64 = 300;

/// Ports that are used up to the last, in `cargo test` and where networks are asked for.
const PATIENCE: [usize; 2] = [100, 6000];

#[test]
fn engine_explanation_and_model_agree() {
    let first = number("VIADUCT_DIFFERENTIAL_SEED").unwrap_or(1);
    let asked = number("VIADUCT_DIFFERENTIAL_TOPOLOGIES");
    let networks = asked.unwrap_or(SLICE);
    let patience = PATIENCE[usize::from(asked.is_some())];
    let first_only = env::var_os("VIADUCT_DIFFERENTIAL_FIRST_ONLY").is_some();
    let mut tally = Tally::default();
    let mut found: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for number in 0..networks {
        if let Err(disagreement) = trial::run(first + number, FLOWS, patience, &mut tally) {
            let entry = found.entry(disagreement.kind).or_insert((0, disagreement.text));
            entry.0 += 1;
            if first_only {
                break;
            }
        }
        if asked.is_some() && (number + 1) % 500 == 0 {
            println!(
                "{} networks of {networks}, {} kinds of disagreement",
                number + 1,
                found.len()
            );
        }
    }
    println!("{networks} networks: {tally}");
    for (reason, why) in NOT_MET {
        println!("         –  {reason}: {why}");
    }
    for (kind, (_, text)) in &found {
        println!("--- {kind}\n{text}");
    }
    let kinds: Vec<_> =
        found.iter().map(|(kind, (count, _))| format!("{count} × {kind}")).collect();
    assert!(found.is_empty(), "the first of each kind is above:\n{}", kinds.join("\n"));
    // One seed alone is for looking at.
    if networks >= SLICE {
        tried_enough(&tally, networks);
    }
    if networks >= 10_000 {
        assert!(tally.most > 4096, "no more than {} connections at once", tally.most);
    }
}

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text}, which is not a number")))
}

/// Reasons that no packet can meet here, and why.
const NOT_MET: [(Reason, &str); 4] = [
    (Reason::FragmentRestriction, "no datagram in fragments gets whole"),
    (Reason::ReassemblyFailed, "no two fragments are of one datagram"),
    (Reason::ReassemblyTimeout, "no time passes"),
    (Reason::SubnetNotShared, "no file has a function in a subnet that is not shared with it"),
];

/// What ways lead through.
const TARGETS: [&str; 11] = [
    "appliance",
    "gateway endpoint",
    "interface endpoint",
    "internet gateway inwards",
    "internet gateway outwards",
    "internet host",
    "local",
    "NAT gateway",
    "peering connection",
    "service at its public address",
    "service VPC's NAT",
];

/// Agreement is worth something only if the flows were worth trying.
fn tried_enough(tally: &Tally, networks: u64) {
    let (each_reason, each_kind) = if networks >= 10_000 { (50, 200) } else { (5, 10) };
    let allowed = tally.allowed_flows() * 100 / tally.flows;
    assert!(allowed >= 30, "only {allowed} % of the flows are allowed");
    for reason in Reason::ALL {
        let count = tally.dropped_for(*reason);
        match NOT_MET.iter().find(|(not_met, _)| not_met == reason) {
            Some((_, why)) => assert_eq!(count, 0, "{reason} was met, though {why}"),
            None => assert!(count >= each_reason, "{reason} was met {count} times only"),
        }
    }
    for target in TARGETS {
        let count = tally.allowed_through(target);
        assert!(count >= each_kind, "{target}: only {count} flows are allowed through it");
    }
    // Nobody is to guess the next port (RFC 6056, section 3.3.1), and rest has an end.
    let given: usize = tally.quarters.iter().sum();
    for quarter in tally.quarters {
        assert!((20..=30).contains(&(quarter * 100 / given)), "ports: {:?}", tally.quarters);
    }
    assert!(tally.recycled * 100 > networks as usize, "few ports were given after a rest");
    // What has several right answers is nearly untested.
    assert!(tally.open * 100 < tally.packets, "{} packets were left open", tally.open);
    assert!(tally.return_blocked * 100 > tally.explained, "few replies were blocked");
}
