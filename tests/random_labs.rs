//! Random networks as labs: the independent model says what becomes of flows, and packets between
//! namespaces meet just that.
//!
//! The model's word is written into each topology as `expect` lines, so that `viaduct lab test`
//! compares it with the explanation and with what packets met. `cargo test` tries a few networks;
//! `scripts/differential --lab` tries as many as it is told to. A seed can be looked at alone:
//! `VIADUCT_LAB_SEED=12 VIADUCT_LAB_TOPOLOGIES=1 cargo test -p viaduct-cli --test random_labs`.

mod common;

use std::fmt::Write;

use common::{permitted, said, unique, viaduct};
use serde_json::Value;
use viaduct_control_plane::Plan;
use viaduct_model::{
    ICMP, Packet, Segment, TCP, UDP,
    generate::{self, Dice, Flow},
    model::{Explained, Network},
};
use viaduct_topology::{Topology, inventory::Host};

/// Networks that `cargo test` tries.
const SLICE: u64 = 5;

/// Flows through each network.
const FLOWS: usize = 14;

#[test]
fn packets_meet_what_the_model_says() {
    if !permitted() {
        return;
    }
    let first = number("VIADUCT_LAB_SEED").unwrap_or(1);
    let asked = number("VIADUCT_LAB_TOPOLOGIES");
    let wanted = asked.unwrap_or(SLICE);
    let (mut tried, mut flows, mut allowed) = (0, 0, 0);
    let mut disagreements = String::new();
    for seed in first.. {
        if tried == wanted {
            break;
        }
        let Some(yaml) = with_expectations(seed) else { continue };
        tried += 1;
        let before = disagreements.len();
        for flow in try_all(seed, &yaml) {
            flows += 1;
            allowed += usize::from(flow["packet"]["verdict"] == "allow");
            if flow["agree"] != true {
                writeln!(disagreements, "seed {seed}: {flow}").expect("a string takes all");
            }
        }
        if disagreements.len() > before {
            disagreements.push_str(&yaml);
        }
        if asked.is_some() && tried % 10 == 0 {
            println!("{tried} networks of {wanted}: {flows} flows, {allowed} of them allowed");
        }
    }
    println!("{tried} networks: {flows} flows, {allowed} of them allowed");
    assert!(disagreements.is_empty(), "{disagreements}");
    // Agreement on nothing but refusals would be agreement on little.
    assert!(allowed * 4 >= flows, "only {allowed} of {flows} flows are allowed");
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text}, which is not a number")))
}

/// The topology of a seed with the model's word on some flows; `None` where something is scarce, and
/// one flow's fate hangs on those before it.
fn with_expectations(seed: u64) -> Option<String> {
    let mut yaml = generate::topology(seed);
    if ["source_ports:", "eni_connections_per_second:"].iter().any(|scarce| yaml.contains(scarce)) {
        return None;
    }
    let loaded = viaduct_config_plane::load("random.yaml", &yaml)
        .unwrap_or_else(|problems| panic!("seed {seed}: {}", problems.render(false)));
    let plan = viaduct_control_plane::plan(&loaded.topology).expect("a plan");
    let network = Network::new(&loaded.topology, &plan, Vec::new());
    let mut dice = Dice::labelled(seed, "lab");
    let mut lines: Vec<String> = Vec::new();
    for _ in 0..FLOWS * 20 {
        let line = expectation(&mut dice, &loaded.topology, &plan, &network);
        // The same flow twice is no news, and its port may still be in use.
        let flow = |line: &str| line.split(", verdict").next().map(str::to_owned);
        if let Some(line) = line
            && lines.iter().all(|other| flow(other) != flow(&line))
        {
            lines.push(line);
        }
        if lines.len() == FLOWS {
            break;
        }
    }
    yaml.push_str("expect:\n");
    yaml.extend(lines);
    Some(yaml)
}

/// An `expect` line about a random flow, if it is one that sockets can open and whose fate is
/// certain.
fn expectation(
    dice: &mut Dice,
    topology: &Topology,
    plan: &Plan,
    network: &Network<'_>,
) -> Option<String> {
    let Flow { from, packet, .. } = generate::flow(dice, topology, plan, &[]);
    // Linux opens connections from its ephemeral ports (ACL-17), which rules here do not part.
    let packet =
        Packet { source_port: 40_000, segment: Segment::Open, payload: 12, ttl: 64, ..packet };
    let port = match (packet.protocol, packet.icmp) {
        (TCP, _) => format!("tcp/{}", packet.destination_port),
        (UDP, _) => format!("udp/{}", packet.destination_port),
        (ICMP, (8, 0)) => "icmp".to_owned(),
        _ => return None,
    };
    let to = packet.destination;
    let own = network.primary_address(from);
    // What is sent to itself, on its link or to no host never leaves a host, nor what has no port.
    let no_host = matches!(to.octets()[0], 0 | 127 | 224..);
    let host = plan.attachments.iter().find(|host| host.id == from)?;
    let more = plan
        .enis
        .iter()
        .find(|eni| matches!(&host.host, Host::Instance { eni: own } if *own == eni.id));
    let of_it = more.is_some_and(|eni| eni.secondary_private_ips.contains(&to.into()));
    let leaves =
        own != Some(to) && !of_it && !to.is_link_local() && !no_host && !packet.has_no_port();
    if own != Some(packet.source) || !leaves {
        return None;
    }
    let said = network.explain(from, &packet);
    let [Explained { blocker, by_chance: false, .. }] = said[..] else { return None };
    let verdict = match blocker {
        None => "allow".to_owned(),
        // Most random flows are refused.
        Some(_) if dice.percent(60) => return None,
        Some((reason, _)) => format!("deny, because: {reason}"),
    };
    let from = &host.name;
    Some(format!("  - {{ from: {from}, to: {to}, port: {port}, verdict: {verdict} }}\n"))
}

/// Has a lab try every expectation; returns what came of each.
fn try_all(seed: u64, yaml: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("random.yaml");
    std::fs::write(&file, yaml).unwrap();
    let name = unique(&format!("random-{seed}"));
    let output =
        viaduct().args(["lab", "test", "--json", "--name", &name]).arg(&file).output().unwrap();
    // Whatever became of the trial, nothing of the lab stays behind.
    if output.status.code().is_none_or(|code| code > 1) {
        let down = viaduct().args(["lab", "down", &name]).output().unwrap();
        panic!("seed {seed}: {}\n{}\n{yaml}", said(&output), said(&down));
    }
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    report["flows"].as_array().expect("the flows").clone()
}
