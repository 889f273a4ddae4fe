//! How much work there is for one more function, counted and not timed.

use std::time::Instant;

use viaduct_control_plane::lifecycle::{
    Answer, Command, Configuration, FunctionName, Lifecycle, Owner, Places, State, Time, VpcConfig,
};
use viaduct_topology::ResourceId;

use crate::{common::topology, world::DELAYS};

const FUNCTIONS: u32 = 10_000;
const KEYS: u32 = 500;

/// One VPC with as many groups as there are keys, each function in one subnet.
fn large() -> (Places, Vec<ResourceId>) {
    let groups: String =
        (0..KEYS).map(|number| format!("      g{number}: {{ id: sg-{number} }}\n")).collect();
    let text = format!(
        "
vpcs:
  main:
    account: 111111111111
    cidr_blocks: [10.0.0.0/16]
    subnets: {{ a: {{ id: subnet-a, cidr_block: 10.0.0.0/20, availability_zone: a }} }}
    security_groups:
{groups}"
    );
    let groups = (0..KEYS).map(|number| ResourceId::named(&format!("sg-{number}")));
    (Places::of(&topology(&text), []), groups.collect())
}

fn create(number: u32, groups: &[ResourceId]) -> Command {
    let group = groups[(number % KEYS) as usize].clone();
    let vpc = VpcConfig::new([ResourceId::named("subnet-a")], [group]).unwrap();
    let function = FunctionName::new("111111111111", &format!("f{number}"));
    Command::create(function, Configuration { vpc, ..Configuration::default() })
}

#[test]
#[allow(clippy::disallowed_methods)] // times are told and never judged
fn ten_thousand_functions_over_500_keys_make_500_enis_and_one_more_touches_what_is_its_own() {
    let (places, groups) = large();
    let mut machine = Lifecycle::new(places.clone(), DELAYS, Time::ZERO);
    let start = Instant::now();
    for number in 0..FUNCTIONS {
        let answer = machine.command(create(number, &groups), Owner::Api, Time::ZERO);
        assert_eq!(answer, Ok(Answer::Done));
    }
    let created = start.elapsed();
    let start = Instant::now();
    machine.advance(Time::ZERO.after(DELAYS.creation));
    let activated = start.elapsed();
    let output = machine.take_output();
    assert_eq!(output.changes.len(), KEYS as usize, "an ENI for each key");
    assert_eq!(machine.sets().map(|set| set.enis.len()).sum::<usize>(), KEYS as usize);
    assert!(machine.functions().all(|function| function.latest.state == State::Active));
    machine.check(places).unwrap();

    // One more: nothing is touched but itself and the set it joins, whatever else there is.
    let mut times = Vec::new();
    for number in FUNCTIONS..FUNCTIONS + 1000 {
        let command = create(number, &groups);
        let start = Instant::now();
        machine.command(command, Owner::Api, machine.now()).unwrap();
        times.push(start.elapsed());
        let output = machine.take_output();
        assert_eq!((output.functions.len(), output.sets.len(), output.changes.len()), (1, 1, 0));
    }
    times.sort_unstable();
    println!(
        "{FUNCTIONS} functions created in {created:?}, {KEYS} ENIs and all functions up in \
         {activated:?}; one more function takes {:?}, at most {:?}",
        times[times.len() / 2],
        times[times.len() - 1]
    );
}
