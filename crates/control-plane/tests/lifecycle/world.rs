//! A machine in a small network, and short words for what is done with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
    time::Duration,
};

use viaduct_control_plane::lifecycle::{
    Answer, Command, Configuration, ConfigurationChange, Delays, Eni, EniSet, FunctionName,
    Lifecycle, Output, Owner, Permission, Places, Qualifier, Reason, ReasonCode, Refusal, Report,
    State, Time, UpdateStatus, Version, VersionId, VpcConfig,
};
use viaduct_topology::{ResourceId, iam::Policy, inventory::Change};

use crate::common::topology;

/// Two VPCs of one account, and of the first VPC three subnets that are shared with a second account.
/// `tiny` has eleven addresses (ADR-01).
const NETWORK: &str = "
settings: { enis_per_vpc: 20 }
organization: { accounts: [111111111111, 222222222222] }
vpcs:
  main:
    account: 111111111111
    cidr_blocks: [10.0.0.0/16]
    subnets:
      a: { id: subnet-a, cidr_block: 10.0.1.0/24, availability_zone: a, shared_with: [222222222222] }
      b: { id: subnet-b, cidr_block: 10.0.2.0/24, availability_zone: b, shared_with: [222222222222] }
      tiny: { id: subnet-tiny, cidr_block: 10.0.3.0/28, availability_zone: a, shared_with: [222222222222] }
    security_groups:
      default: { id: sg-default }
      one: { id: sg-one }
      two: { id: sg-two }
      guest: { id: sg-guest, account: 222222222222 }
      visitor: { id: sg-visitor, account: 222222222222 }
FILLERS  other:
    account: 111111111111
    cidr_blocks: [10.1.0.0/16]
    subnets: { c: { id: subnet-c, cidr_block: 10.1.1.0/24, availability_zone: c } }
    security_groups: { three: { id: sg-three } }
";

/// Whole seconds, so that a test can name them.
pub(crate) const DELAYS: Delays = Delays {
    creation: Duration::from_secs(90),
    deletion: Duration::from_secs(1200),
    idle: Duration::from_secs(1_209_600),
    shrinking: Duration::from_secs(600),
    draining: Duration::from_secs(350),
};

/// The network's text, with a group more for each function that only fills subnets; shared, or with
/// all shares taken back.
pub(crate) fn network(shared: bool) -> String {
    let fillers = (0..20).map(|number| format!("      f{number}: {{ id: sg-f{number} }}\n"));
    let network = NETWORK.replace("FILLERS", &fillers.collect::<String>());
    match shared {
        true => network,
        false => network.replace(", shared_with: [222222222222]", ""),
    }
}

pub(crate) fn places() -> Places {
    places_when(true)
}

pub(crate) fn places_when(shared: bool) -> Places {
    static PLACES: LazyLock<[Places; 2]> =
        LazyLock::new(|| [false, true].map(|shared| Places::of(&topology(&network(shared)), [])));
    PLACES[usize::from(shared)].clone()
}

pub(crate) fn id(name: &str) -> ResourceId {
    ResourceId::named(name)
}

/// The function of this name in the first account, or `account:name`.
pub(crate) fn function(name: &str) -> FunctionName {
    let (account, name) = name.split_once(':').unwrap_or(("111111111111", name));
    FunctionName::new(account, name)
}

pub(crate) fn vpc(subnets: &[&str], groups: &[&str]) -> VpcConfig {
    let ids = |names: &[&str]| names.iter().map(|name| id(name)).collect::<Vec<_>>();
    VpcConfig::new(ids(subnets), ids(groups)).unwrap()
}

/// A function that has an ENI of its own in a subnet: its name, and what it is.
pub(crate) fn filler(number: u32, subnet: &str) -> (String, Configuration) {
    let group = format!("sg-f{number}");
    (format!("filler{number}"), configuration(&[subnet], &[group.as_str()]))
}

pub(crate) fn configuration(subnets: &[&str], groups: &[&str]) -> Configuration {
    Configuration { vpc: vpc(subnets, groups), ..Configuration::default() }
}

/// Policies that permit this, one for each.
pub(crate) fn permitting(permissions: impl IntoIterator<Item = Permission>) -> Vec<Policy> {
    permissions.into_iter().map(|it| Policy::allowing([it.action()])).collect()
}

/// A machine, its time in seconds, and all that came out of it.
pub(crate) struct World {
    pub(crate) machine: Lifecycle,
    pub(crate) now: u64,
    /// Whether subnets are shared.
    shared: bool,
    pub(crate) events: Vec<String>,
    /// What the inventory would have: address by id.
    pub(crate) inventory: BTreeMap<String, String>,
    /// Those of it that drain.
    pub(crate) draining: BTreeSet<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let machine = Lifecycle::new(places(), DELAYS, Time::ZERO);
        Self {
            machine,
            now: 0,
            shared: true,
            events: Vec::new(),
            inventory: BTreeMap::new(),
            draining: BTreeSet::new(),
        }
    }

    pub(crate) fn time(&self) -> Time {
        Time::from_millis(self.now * 1000)
    }

    pub(crate) fn command(&mut self, command: Command) -> Result<Answer, Refusal> {
        self.command_by(command, Owner::Api)
    }

    pub(crate) fn command_by(&mut self, command: Command, by: Owner) -> Result<Answer, Refusal> {
        let answer = self.machine.command(command, by, self.time());
        self.drain();
        answer
    }

    pub(crate) fn report(&mut self, report: &Report) {
        self.machine.report(report, self.time());
        self.drain();
    }

    /// Shares the subnets, or takes all shares back.
    pub(crate) fn share(&mut self, shared: bool) {
        self.shared = shared;
        let (places, records) = (places_when(shared), self.machine.records());
        self.machine = Lifecycle::restore(places, DELAYS, records).unwrap();
    }

    /// Lets seconds pass.
    pub(crate) fn pass(&mut self, seconds: u64) {
        self.now += seconds;
        self.machine.advance(self.time());
        self.drain();
    }

    fn drain(&mut self) {
        let Output { changes, events, .. } = self.machine.take_output();
        let line = |event: &viaduct_control_plane::lifecycle::Event| {
            format!("{} {}", event.at.as_millis() / 1000, event.what)
        };
        self.events.extend(events.iter().map(line));
        for change in changes {
            match change {
                Change::AddEni(eni) => {
                    let (id, ip) = (eni.id.to_string(), eni.private_ip.to_string());
                    assert!(!self.inventory.values().any(|other| *other == ip), "{ip} twice");
                    assert!(self.inventory.insert(id, ip).is_none(), "added twice");
                }
                Change::DrainEni(id) => {
                    assert!(self.inventory.contains_key(id.as_str()), "not there: {id}");
                    assert!(self.draining.insert(id.to_string()), "drained twice: {id}");
                }
                Change::RemoveEni(id) => {
                    assert!(self.inventory.remove(id.as_str()).is_some(), "not there: {id}");
                    self.draining.remove(id.as_str());
                }
                other => panic!("{other:?}"),
            }
        }
        self.machine.check(places_when(self.shared)).unwrap();
    }

    pub(crate) fn create(&mut self, name: &str, subnets: &[&str], groups: &[&str]) {
        self.create_as(name, configuration(subnets, groups), Owner::Api);
    }

    pub(crate) fn create_as(&mut self, name: &str, configuration: Configuration, by: Owner) {
        let command = Command::create(function(name), configuration);
        assert_eq!(self.command_by(command, by), Ok(Answer::Done));
    }

    pub(crate) fn update(&mut self, name: &str, subnets: &[&str], groups: &[&str]) {
        let change = ConfigurationChange { vpc: Some(vpc(subnets, groups)), ..Default::default() };
        assert_eq!(self.command(update(name, change)), Ok(Answer::Done));
    }

    pub(crate) fn publish(&mut self, name: &str) -> u32 {
        let command = Command::publish(function(name));
        match self.command(command) {
            Ok(Answer::Published(number)) => number,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn delete(&mut self, name: &str) {
        let command = Command::DeleteFunction { function: function(name), version: None };
        assert_eq!(self.command(command), Ok(Answer::Done));
    }

    pub(crate) fn invoke(&mut self, name: &str) -> Result<(), Refusal> {
        self.command(Command::Invoke(version(name))).map(|_| ())
    }

    pub(crate) fn role(&mut self, role: &str, permissions: &[Permission]) {
        let policies = permitting(permissions.iter().copied());
        let command = Command::PutRole { role: role.into(), policies };
        assert_eq!(self.command(command), Ok(Answer::Done));
    }

    pub(crate) fn version(&self, name: &str) -> &Version {
        let id = version(name);
        self.machine.function(&id.function).unwrap().version(id.version).unwrap()
    }

    pub(crate) fn state(&self, name: &str) -> (State, Option<ReasonCode>) {
        let version = self.version(name);
        (version.state, version.reason.as_ref().map(|reason| reason.code))
    }

    pub(crate) fn last_update(&self, name: &str) -> (UpdateStatus, Option<ReasonCode>) {
        let version = self.version(name);
        let code = |reason: &Reason| reason.code;
        (version.update, version.update_reason.as_ref().map(code))
    }

    pub(crate) fn set(&self, name: &str, subnet: &str) -> Option<&EniSet> {
        let id = version(name);
        let keys = self.version(name).keys(&id.function);
        self.machine.set(keys.iter().find(|key| key.subnet().as_str() == subnet)?)
    }

    /// The ENIs that a function has in a subnet, by ordinal.
    pub(crate) fn enis(&self, name: &str, subnet: &str) -> Vec<(u32, Eni)> {
        let set = self.set(name, subnet).into_iter();
        set.flat_map(|set| set.enis.iter().map(|(ordinal, eni)| (*ordinal, eni.clone()))).collect()
    }

    /// The addresses in the inventory.
    pub(crate) fn addresses(&self) -> Vec<&str> {
        self.addresses_where(|_| true)
    }

    /// Those of ENIs that take new connections.
    pub(crate) fn open_addresses(&self) -> Vec<&str> {
        self.addresses_where(|id| !self.draining.contains(id))
    }

    fn addresses_where(&self, wanted: impl Fn(&str) -> bool) -> Vec<&str> {
        let found = self.inventory.iter().filter(|(id, _)| wanted(id));
        let mut addresses: Vec<&str> = found.map(|(_, address)| address.as_str()).collect();
        addresses.sort_unstable();
        addresses
    }

    pub(crate) fn happened(&self, text: &str) -> bool {
        self.events.iter().any(|event| event.contains(text))
    }
}

/// `name`, or `name@3` for a published version.
pub(crate) fn version(name: &str) -> VersionId {
    match name.split_once('@') {
        None => VersionId::latest(function(name)),
        Some((name, number)) => {
            let version = Qualifier::Version(number.parse().unwrap());
            VersionId { function: function(name), version }
        }
    }
}

pub(crate) fn update(name: &str, change: ConfigurationChange) -> Command {
    Command::UpdateFunctionConfiguration { function: function(name), change, revision: None }
}
