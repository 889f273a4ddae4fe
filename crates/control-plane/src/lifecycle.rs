//! The life of functions and of the Hyperplane ENIs that they share.
//!
//! # Theory of operation
//!
//! A state machine without I/O. In come commands, reports from the dataplane and the time; out come
//! the new state, changes of the inventory, and events. Nothing here reads a clock: what was due
//! before a command is done before it, at the moment when it was due, so that the state is a function
//! of the inputs and their times, however often anybody looked.
//!
//! **Functions.** A function is its `$LATEST` and its published versions; each has a configuration, a
//! state (LAM-40) and uses ENIs of its own (LAM-54).
//!
//! Whether an operation is carried out:
//!
//! | operation | Pending | Active | update in progress | Inactive | Failed |
//! |---|---|---|---|---|---|
//! | invoke | 409 | allowed | allowed, with the old ENIs | 502, and restores | 409 |
//! | update configuration or code, publish, tag or untag | 409 | done | 409 | done | 409 |
//! | delete | done | done | done | done | done |
//!
//! Facts name the refusals while creation is pending (LAM-46) and during an update (LAM-48), and that
//! a failed function can only be deleted (LAM-47). That an inactive one can be updated follows from
//! AWS's advice to redeploy one that is stuck; its new configuration is tried by the next invocation,
//! and a version that is published of it is inactive like it.
//!
//! **ENIs.** All ENIs of one key ([`Key`]: account, subnet, set of groups) are a set ([`EniSet`]).
//! Whoever has the key uses the set, all of its ENIs; so users belong to the set, and an ENI counts
//! nobody. An ENI's id and address belong to key and ordinal.
//!
//! | phase of a set | from | to |
//! |---|---|---|
//! | in use | its first user | released, when the last user goes; its users inactive and the set deleted, when it was idle for 14 days (LAM-51) |
//! | releasing | | in use, with a new user; deleted when due, with the last user's role (LAM-55) |
//! | stranded | releasing, when that role is gone or does not permit it | in use, with a new user; each ENI deleted by hand |
//!
//! - What a configuration needs is made or taken whole, or not at all: role, subnets, groups, zones,
//!   the VPC's quota and every subnet's room are looked at before anything is taken. What the request
//!   alone shows to be wrong is refused; what making ENIs finds is a state and its reason code.
//! - An update takes the new ENIs while the old are still held, and lets go of the old ones when all
//!   of the new are there (LAM-48..50): make before break.
//! - A set is idle when none of its users did anything: an idle function that shares with a busy one
//!   stays active (LAM-53). Used is whatever an invocation, an environment that stands, a creation,
//!   restoring or update touches. What a file declares is never idle: its author wants it there.
//! - When all ENIs of a set are near capacity, another is made (LAM-07), with the role of the first
//!   user. One that is not the first and is empty for some time goes again, unless the others are
//!   near capacity.
//! - An unhealthy ENI goes when another is there in its place (LAM-08), under another ordinal, and so
//!   with another id and address.
//! - No ENI goes while its set has users without having drained: first it takes no new connections,
//!   then the dataplane says at a later moment that it has none, then it goes. So a connection that
//!   comes between a look at an ENI and the decision is not lost. An unhealthy one has a time to drain
//!   in; one that is merely not needed has all the time that its connections take.
//! - ENIs are made in subnets that are their account's own or shared with it, with the account's own
//!   groups. A share that is taken back takes nothing away: what stands goes on, and nothing is made
//!   again (SHR-09, SHR-10).
//! - While a zone has failed no ENI is made in it: what was being made when its time comes, fails.
//!
//! **Limits.** A command costs O(subnets of the function) look-ups in ordered maps, an expiry the
//! users of the set it is about. Nothing goes through all functions or all ENIs. Timers are an
//! ordered set in which each follows from a record ([`Delays`] has their lengths).

mod command;
mod conditions;
mod configuration;
mod declaration;
mod eni;
mod event;
mod expiry;
mod function;
mod invoke;
mod key;
mod names;
mod network_interface;
mod operations;
mod ownership;
mod placement;
mod places;
mod records;
mod refusal;
mod reports;
mod role;
mod sharing;
mod state;
mod time;
mod timer;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use viaduct_topology::{ResourceId, inventory::Change};

pub use self::{
    command::{Answer, Command, Owner, Report},
    configuration::{Configuration, ConfigurationChange, VpcConfig},
    declaration::DeclarationError,
    eni::{Eni, EniSet, EniState, Phase},
    event::{Event, Happening},
    function::{Function, Version},
    key::Key,
    names::{FunctionName, Qualifier, RoleName, VersionId},
    placement::Placement,
    places::Places,
    records::{Records, RestoreError},
    refusal::{Exception, MOST_GROUPS, MOST_SUBNETS, Refusal},
    role::{Permission, Role},
    state::{Reason, ReasonCode, State, UpdateStatus},
    time::{Delays, Time},
};
use self::{role::Roles, timer::Timers};

/// The machine.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    places: Places,
    delays: Delays,
    /// The moment up to which everything was done.
    now: Time,
    functions: BTreeMap<FunctionName, Function>,
    sets: BTreeMap<Key, EniSet>,
    /// Where each ENI is.
    by_id: HashMap<ResourceId, (Key, u32)>,
    /// ENIs of each VPC, those that are being made included.
    in_vpc: HashMap<ResourceId, u32>,
    roles: Roles,
    failed_zones: BTreeSet<String>,
    timers: Timers,
    output: Output,
}

/// What has come of the inputs since it was last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// For the inventory, in this order.
    pub changes: Vec<Change>,
    /// What has happened, in this order.
    pub events: Vec<Event>,
    /// Functions that are not as they were, or gone.
    pub functions: BTreeSet<FunctionName>,
    /// Sets of ENIs that are not as they were, or gone.
    pub sets: BTreeSet<Key>,
    /// Roles that are not as they were, or gone.
    pub roles: BTreeSet<RoleName>,
    /// Whether zones have failed or are back.
    pub zones: bool,
}

/// Two are the same when they remember the same.
impl PartialEq for Lifecycle {
    fn eq(&self, other: &Self) -> bool {
        self.records() == other.records()
    }
}

impl Eq for Lifecycle {}

impl Default for Lifecycle {
    /// A machine in no place.
    fn default() -> Self {
        Self::new(Places::default(), Delays::default(), Time::ZERO)
    }
}

impl Lifecycle {
    /// A machine in these places, at this moment, in which nothing is yet.
    #[must_use]
    pub fn new(places: Places, delays: Delays, now: Time) -> Self {
        Self {
            places,
            delays,
            now,
            functions: BTreeMap::new(),
            sets: BTreeMap::new(),
            by_id: HashMap::new(),
            in_vpc: HashMap::new(),
            roles: Roles::default(),
            failed_zones: BTreeSet::new(),
            timers: Timers::default(),
            output: Output::default(),
        }
    }

    /// Carries a command out for somebody, at this moment.
    ///
    /// # Errors
    ///
    /// When Lambda would refuse it. Then nothing has changed, with one exception: an invocation of an
    /// inactive function is refused and has it restored (LAM-51).
    pub fn command(&mut self, command: Command, by: Owner, now: Time) -> Result<Answer, Refusal> {
        self.advance(now);
        let answer = match command {
            Command::CreateFunction { function, configuration, tags, publish } => {
                self.create_for(function, configuration, tags, publish, by)
            }
            Command::UpdateFunctionConfiguration { function, change, revision } => {
                self.update_configuration(&function, change, revision)
            }
            Command::UpdateFunctionCode { function, code, revision, publish } => {
                self.update_code(&function, code, revision, publish)
            }
            Command::PublishVersion { function, revision, carried } => {
                self.publish(&function, revision, carried)
            }
            Command::TagResource { function, tags } => self.tag(&function, tags),
            Command::UntagResource { function, keys } => self.untag(&function, &keys),
            Command::DeleteFunction { function, version } => self.delete(function, version),
            Command::Invoke(version) => self.invoke(&version),
            Command::DeleteNetworkInterface(eni) => self.delete_by_hand(&eni),
            Command::PutRole { role, policies } => Ok(self.put_role(role, policies, by)),
            Command::DeleteRole(role) => self.delete_role(role),
            Command::FailZone { zone, failed } => self.fail_zone(zone, failed),
        };
        // What takes no time is done at once.
        self.advance(now);
        answer
    }

    /// Notes what the dataplane has seen at this moment.
    pub fn report(&mut self, report: &Report, now: Time) {
        self.advance(now);
        self.note(report);
        self.advance(now);
    }

    /// Does what is due until this moment. Time never goes back: an earlier moment is now.
    pub fn advance(&mut self, now: Time) {
        let now = now.max(self.now);
        while let Some((due, timer)) = self.timers.due(now) {
            self.now = self.now.max(due);
            self.expire(timer);
        }
        self.now = now;
    }

    /// When there is next something to do, if nothing comes in.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Takes other delays. What is idle or empty counts from when it became so; what is being made or
    /// deleted is due when it was.
    pub fn set_delays(&mut self, delays: Delays) {
        if delays == self.delays {
            return;
        }
        for set in self.sets.values() {
            self.timers.clear_all(set, &self.delays);
            self.timers.set_all(set, &delays);
        }
        self.delays = delays;
    }

    /// The moment up to which everything is done.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Takes what has come of the inputs.
    pub fn take_output(&mut self) -> Output {
        std::mem::take(&mut self.output)
    }

    /// How long it takes for what it does.
    #[must_use]
    pub const fn delays(&self) -> Delays {
        self.delays
    }

    /// All functions, by account and name.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.values()
    }

    /// One function.
    #[must_use]
    pub fn function(&self, name: &FunctionName) -> Option<&Function> {
        self.functions.get(name)
    }

    /// All sets of ENIs, by key.
    pub fn sets(&self) -> impl Iterator<Item = &EniSet> {
        self.sets.values()
    }

    /// The ENIs of a key.
    #[must_use]
    pub fn set(&self, key: &Key) -> Option<&EniSet> {
        self.sets.get(key)
    }

    /// The set that an ENI is in, and its ordinal there.
    #[must_use]
    pub fn eni(&self, id: &ResourceId) -> Option<(&EniSet, u32)> {
        let (key, ordinal) = self.by_id.get(id)?;
        Some((self.sets.get(key)?, *ordinal))
    }

    /// A role.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.0.get(name)
    }

    /// What has come of the inputs and was not taken yet.
    #[must_use]
    pub const fn output(&self) -> &Output {
        &self.output
    }

    /// Addresses of a subnet that are free (LAM-32).
    #[must_use]
    pub fn free_addresses(&self, subnet: &ResourceId) -> Option<u128> {
        self.places.free(subnet)
    }

    /// The VPC of a subnet.
    #[must_use]
    pub fn vpc_of(&self, subnet: &ResourceId) -> Option<&ResourceId> {
        self.places.vpc_of(subnet)
    }

    /// The zones that have failed.
    pub fn failed_zones(&self) -> impl Iterator<Item = &str> {
        self.failed_zones.iter().map(String::as_str)
    }

    fn tell(&mut self, what: Happening) {
        self.output.events.push(Event { at: self.now, what });
    }

    /// The delays for what this owner's functions need.
    fn delays_of(&self, owner: Owner) -> Delays {
        match owner {
            Owner::Api => self.delays,
            Owner::File => self.delays.at_once(),
        }
    }
}
