//! A second opinion on the life of functions and ENIs, naive on purpose.
//!
//! It is written from the facts and the decisions in the documentation. It keeps two lists, of
//! functions and of ENIs, and a diary of who did what when; whoever uses a key, what is free and what
//! is due next are worked out by going through all of it each time. It knows no sets, no queue and no
//! counters. [`Naive::of`] goes through a whole history from its beginning.

mod commands;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use viaduct_control_plane::lifecycle::{
    Command, Configuration, FunctionName, Owner, Permission, Qualifier, Report,
};
use viaduct_topology::ResourceId;

/// Milliseconds.
type Time = u64;

/// Account, subnet, groups.
type Key = (String, String, Vec<String>);

/// A function's name, and 0 or the number of a version.
type Who = (FunctionName, u32);

/// What happens at a time.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Command(Command, Owner),
    Report(Report),
    /// The owner shares the subnets of the first VPC with the guest, or takes them back.
    Share(bool),
    Nothing,
}

const CREATION: Time = 90_000;
const DELETION: Time = 1_200_000;
const IDLE: Time = 1_209_600_000;
const SHRINKING: Time = 600_000;
const DRAINING: Time = 350_000;
const QUOTA: usize = 8;

/// Its id, its VPC, its zone, the first three numbers of its addresses, and which hosts are free.
type Subnet = (&'static str, &'static str, &'static str, &'static str, (u32, u32));

const SUBNETS: [Subnet; 4] = [
    ("subnet-a", "main", "a", "10.0.1", (4, 254)),
    ("subnet-b", "main", "b", "10.0.2", (4, 254)),
    ("subnet-tiny", "main", "a", "10.0.3", (12, 14)),
    ("subnet-c", "other", "c", "10.1.1", (4, 254)),
];
/// Its id, its VPC, its account.
const GROUPS: [(&str, &str, &str); 5] = [
    ("sg-one", "main", OWNER),
    ("sg-two", "main", OWNER),
    ("sg-guest", "main", "222222222222"),
    ("sg-visitor", "main", "222222222222"),
    ("sg-three", "other", OWNER),
];

/// The account of both VPCs.
const OWNER: &str = "111111111111";

#[derive(Clone, Debug)]
struct Version {
    who: Who,
    owner: Owner,
    configuration: Configuration,
    next: Option<Configuration>,
    state: &'static str,
    code: Option<&'static str>,
    update: &'static str,
    update_code: Option<&'static str>,
    revision: u64,
    /// Of `$LATEST`: the number and revision of the newest version that there ever was.
    newest: (u32, u64),
}

#[derive(Clone, Debug)]
struct Eni {
    key: Key,
    ordinal: u32,
    address: String,
    /// When it is there; none once it is.
    due: Option<Time>,
    replaces: Option<u32>,
    crowded: bool,
    empty_since: Option<Time>,
    /// Since when it takes no new connections.
    draining: Option<Time>,
    /// When it goes then, whatever it carries.
    ends: Option<Time>,
}

/// Something in the diary.
#[derive(Clone, Debug)]
enum Entry {
    /// Somebody used a key.
    Used(Key, Time),
    /// Somebody was the last to let go of a key.
    Left { key: Key, due: Time, role: Option<String> },
    /// A key could not be deleted.
    Stranded(Key),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Naive {
    now: Time,
    /// Whether the subnets of the first VPC were taken back.
    unshared: bool,
    versions: Vec<Version>,
    enis: Vec<Eni>,
    diary: Vec<Entry>,
    /// The actions that each role allows.
    roles: BTreeMap<String, BTreeSet<String>>,
    failed_zones: BTreeSet<String>,
    /// What each input came to.
    pub(crate) outcomes: Vec<String>,
}

impl Naive {
    /// What a history comes to.
    pub(crate) fn of(history: &[(Time, Input)]) -> Self {
        let mut naive = Self::default();
        for (time, input) in history {
            naive.until(*time);
            let outcome = match input {
                Input::Command(command, by) => match naive.command(command, *by) {
                    Ok(answer) => answer,
                    Err(exception) => exception.to_owned(),
                },
                Input::Report(report) => {
                    naive.report(report);
                    String::new()
                }
                Input::Share(shared) => {
                    naive.unshared = !shared;
                    String::new()
                }
                Input::Nothing => String::new(),
            };
            naive.until(*time);
            naive.outcomes.push(outcome);
        }
        naive
    }

    /// Does what is due until then, the earliest first; at one moment, ENIs are made before any drains
    /// for being empty, then those go that have drained, then others are deleted, and nothing is idle
    /// before that.
    fn until(&mut self, time: Time) {
        loop {
            let mut due: Vec<(Time, u8, Key, u32)> = Vec::new();
            for eni in &self.enis {
                due.extend(eni.due.map(|at| (at, 0, eni.key.clone(), eni.ordinal)));
                let empty = eni.empty_since.map(|since| since + SHRINKING);
                due.extend(empty.map(|at| (at, 1, eni.key.clone(), eni.ordinal)));
                due.extend(eni.ends.map(|at| (at, 2, eni.key.clone(), eni.ordinal)));
                if !self.users(&eni.key).is_empty() {
                    due.push((self.last_used(&eni.key) + IDLE, 4, eni.key.clone(), 0));
                } else if let Some((at, _)) = self.deletion(&eni.key) {
                    due.push((at, 3, eni.key.clone(), 0));
                }
            }
            let Some((at, what, key, ordinal)) = due.into_iter().min().filter(|it| it.0 <= time)
            else {
                break;
            };
            self.now = self.now.max(at);
            match what {
                0 => self.made(&key, ordinal),
                1 => self.empty_for_long(&key, ordinal),
                2 => self.enis.retain(|eni| eni.key != key || eni.ordinal != ordinal),
                3 => self.delete_key(&key),
                _ => self.idle(&key),
            }
        }
        self.now = self.now.max(time);
    }

    fn keys(account: &str, configuration: &Configuration) -> Vec<Key> {
        let groups = configuration.vpc.security_groups().iter().map(ToString::to_string);
        let groups: Vec<String> = groups.collect();
        let subnets = configuration.vpc.subnets().iter();
        subnets.map(|subnet| (account.to_owned(), subnet.to_string(), groups.clone())).collect()
    }

    fn held(version: &Version) -> Vec<Key> {
        let account = &version.who.0.account;
        let mut held = Vec::new();
        if ["Pending", "Active"].contains(&version.state) {
            held.extend(Self::keys(account, &version.configuration));
        }
        if let Some(next) = &version.next {
            held.extend(Self::keys(account, next));
        }
        held
    }

    fn users(&self, key: &Key) -> BTreeSet<Who> {
        let uses = |version: &&Version| Self::held(version).contains(key);
        self.versions.iter().filter(uses).map(|version| version.who.clone()).collect()
    }

    fn last_used(&self, key: &Key) -> Time {
        let of_key = self.diary.iter().filter_map(|entry| match entry {
            Entry::Used(used, at) if used == key => Some(*at),
            _ => None,
        });
        of_key.max().unwrap_or(0)
    }

    /// When a key without users is deleted, and by whose rights; none if it is stranded.
    fn deletion(&self, key: &Key) -> Option<(Time, Option<String>)> {
        let of_key = self.diary.iter().rev().find_map(|entry| match entry {
            Entry::Left { key: left, due, role } if left == key => Some(Some((*due, role.clone()))),
            Entry::Stranded(stranded) if stranded == key => Some(None),
            _ => None,
        });
        of_key.flatten()
    }

    fn is_ready(&self, key: &Key) -> bool {
        self.enis.iter().any(|eni| eni.key == *key && in_use(eni))
    }

    fn version(&mut self, who: &Who) -> Option<&mut Version> {
        self.versions.iter_mut().find(|version| version.who == *who)
    }

    fn latest(&mut self, name: &FunctionName) -> Result<&mut Version, &'static str> {
        self.version(&(name.clone(), 0)).ok_or("ResourceNotFoundException")
    }

    fn uses(&mut self, keys: &[Key]) {
        let now = self.now;
        self.diary.extend(keys.iter().map(|key| Entry::Used(key.clone(), now)));
    }

    /// Notes who has left what: `before` is what somebody had held.
    fn left(&mut self, before: Vec<Key>, owner: Owner, role: Option<&str>) {
        let delay = if owner == Owner::File { 0 } else { DELETION };
        for key in before {
            if self.users(&key).is_empty() {
                let (due, role) = (self.now + delay, role.map(str::to_owned));
                self.enis.retain(|eni| eni.key != key || eni.draining.is_none());
                self.diary.push(Entry::Left { key, due, role });
            }
        }
    }

    fn lacks(&self, role: Option<&str>, needed: &[Permission]) -> bool {
        let Some(role) = role else { return false };
        let permitted = self.roles.get(role);
        permitted.is_none_or(|permitted| !needed.iter().all(|it| permitted.contains(it.action())))
    }

    fn may_not_make(&self, role: Option<&str>) -> bool {
        let needed = [
            Permission::CreateNetworkInterface,
            Permission::DescribeNetworkInterfaces,
            Permission::DescribeSubnets,
            Permission::AssignPrivateIpAddresses,
        ];
        self.lacks(role, &needed)
    }

    /// Whether an account may be in a subnet: its owner may, and a guest as long as it is shared. Only the
    /// first VPC's are.
    fn admits(&self, subnet: &str, account: &str) -> bool {
        let vpc = SUBNETS.iter().find(|(id, ..)| *id == subnet).map(|it| it.1);
        account == OWNER || vpc.is_none() || (vpc == Some("main") && !self.unshared)
    }

    /// What of these keys their account may not have.
    fn denied<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Option<&'static str> {
        keys.into_iter().find_map(|(account, subnet, groups)| {
            let others = |id: &String| {
                GROUPS.iter().any(|(group, _, owner)| group == id && owner != account)
            };
            if !self.admits(subnet, account) {
                Some("InvalidSubnet")
            } else {
                groups.iter().any(others).then_some("InvalidSecurityGroup")
            }
        })
    }

    fn free(&self, subnet: &str) -> Option<String> {
        let (_, _, _, network, (first, last)) = SUBNETS.iter().find(|(id, ..)| *id == subnet)?;
        let addresses = (*first..=*last).map(|host| format!("{network}.{host}"));
        addresses.into_iter().find(|it| !self.enis.iter().any(|eni| eni.address == *it))
    }

    /// Why ENIs cannot be made for these keys, all in one VPC.
    fn obstacle(&self, new: &[Key]) -> Option<&'static str> {
        let place = |id: &str| SUBNETS.iter().find(|(subnet, ..)| *subnet == id).unwrap();
        if new.iter().any(|key| self.failed_zones.contains(place(&key.1).2)) {
            return Some("InternalError");
        }
        let vpc = place(&new.first()?.1).1;
        let present = self.enis.iter().filter(|eni| place(&eni.key.1).1 == vpc).count();
        if present + new.len() > QUOTA {
            return Some("EniLimitExceeded");
        }
        let full = new.iter().any(|key| self.free(&key.1).is_none());
        full.then_some("SubnetOutOfIPAddresses")
    }

    fn make(&mut self, key: &Key, delay: Time, replaces: Option<u32>) {
        let taken =
            |ordinal: &u32| self.enis.iter().any(|eni| eni.key == *key && eni.ordinal == *ordinal);
        let ordinal = (0..).find(|ordinal| !taken(ordinal)).unwrap();
        let address = self.free(&key.1).unwrap();
        self.enis.push(Eni {
            key: key.clone(),
            ordinal,
            address,
            due: Some(self.now + delay),
            replaces,
            crowded: false,
            empty_since: None,
            draining: None,
            ends: None,
        });
    }

    /// Has somebody get what it wants, who already counts as a user of it.
    fn get(&mut self, who: &Who) {
        let version = self.version(who).unwrap().clone();
        let wanted = version.next.as_ref().unwrap_or(&version.configuration).clone();
        let keys = Self::keys(&who.0.account, &wanted);
        let mut obstacle = None;
        if !keys.is_empty() {
            let place = |id: &str| SUBNETS.iter().find(|(subnet, ..)| *subnet == id);
            let vpc = place(&keys[0].1).map(|it| it.1);
            let group = |id: &str| GROUPS.iter().find(|(group, ..)| *group == id);
            let bad_group = |id: &String| group(id).is_none_or(|(_, of, _)| Some(*of) != vpc);
            // What it has it may keep.
            let had = match version.next {
                Some(_) => Self::keys(&who.0.account, &version.configuration),
                None => Vec::new(),
            };
            let denied = self.denied(keys.iter().filter(|key| !had.contains(key)));
            let new: Vec<Key> = keys
                .iter()
                .filter(|key| !self.enis.iter().any(|eni| eni.key == **key))
                .cloned()
                .collect();
            obstacle = if self.may_not_make(wanted.role.as_deref()) {
                Some("InsufficientRolePermissions")
            } else if keys.iter().any(|key| place(&key.1).is_none_or(|it| Some(it.1) != vpc)) {
                Some("InvalidSubnet")
            } else if keys[0].2.iter().any(bad_group) {
                Some("InvalidSecurityGroup")
            } else {
                denied.or_else(|| self.obstacle(&new))
            };
            if obstacle.is_none() {
                let delay = if version.owner == Owner::File { 0 } else { CREATION };
                new.iter().for_each(|key| self.make(key, delay, None));
                self.uses(&keys);
            }
        }
        match obstacle {
            None => self.go_on(who),
            Some(code) => self.give_up(who, code),
        }
    }

    fn go_on(&mut self, who: &Who) {
        let Some(version) = self.version(who).cloned() else { return };
        if version.state != "Pending" && version.next.is_none() {
            return;
        }
        let wanted = version.next.as_ref().unwrap_or(&version.configuration);
        if !Self::keys(&who.0.account, wanted).iter().all(|key| self.is_ready(key)) {
            return;
        }
        let before = Self::held(&version);
        let found = self.version(who).unwrap();
        if let Some(next) = found.next.take() {
            found.configuration = next;
            (found.update, found.update_code) = ("Successful", None);
        } else {
            (found.state, found.code) = ("Active", None);
        }
        let found = found.clone();
        let role = found.configuration.role.clone();
        self.left(before, found.owner, role.as_deref());
        self.uses(&Self::held(&found));
    }

    fn give_up(&mut self, who: &Who, code: &'static str) {
        let Some(version) = self.version(who).cloned() else { return };
        let before = Self::held(&version);
        let found = self.version(who).unwrap();
        if found.next.take().is_some() {
            (found.update, found.update_code) = ("Failed", Some(code));
        } else if found.state == "Pending" {
            let restoring = found.code == Some("Restoring");
            found.state = if restoring { "Inactive" } else { "Failed" };
            found.code = Some(code);
        } else {
            return;
        }
        let wanted = version.next.as_ref().unwrap_or(&version.configuration);
        // What it had not got yet it does not leave.
        let left: Vec<Key> = before.into_iter().filter(|key| self.was_used(key)).collect();
        self.left(left, version.owner, wanted.role.as_deref());
    }

    /// Whether a key was taken up after it was let go for the last time.
    fn was_used(&self, key: &Key) -> bool {
        let last = self.diary.iter().rev().find_map(|entry| match entry {
            Entry::Used(used, _) if used == key => Some(true),
            Entry::Left { key: left, .. } if left == key => Some(false),
            Entry::Stranded(stranded) if stranded == key => Some(false),
            _ => None,
        });
        last.unwrap_or(false)
    }

    fn made(&mut self, key: &Key, ordinal: u32) {
        let is_it = |eni: &Eni| eni.key == *key && eni.ordinal == ordinal;
        let zone = SUBNETS.iter().find(|(id, ..)| *id == key.1).unwrap().2;
        let obstacle = if self.failed_zones.contains(zone) {
            Some("InternalError")
        } else {
            (!self.admits(&key.1, &key.0)).then_some("InvalidSubnet")
        };
        if let Some(code) = obstacle {
            let users = self.users(key);
            self.enis.retain(|eni| !is_it(eni));
            if !self.enis.iter().any(|eni| eni.key == *key) {
                users.iter().for_each(|who| self.give_up(who, code));
            }
            return;
        }
        let eni = self.enis.iter_mut().find(|eni| is_it(eni)).unwrap();
        eni.due = None;
        if let Some(replaced) = eni.replaces.take() {
            self.drain(key, replaced, true);
        }
        self.users(key).iter().for_each(|who| self.go_on(who));
    }

    /// Has an ENI drain: for a time if it is bad, else until it is empty.
    fn drain(&mut self, key: &Key, ordinal: u32, bad: bool) {
        let (now, unused) = (self.now, self.users(key).is_empty());
        let is_it = |eni: &Eni| eni.key == *key && eni.ordinal == ordinal;
        if unused {
            return self.enis.retain(|eni| !is_it(eni));
        }
        if let Some(eni) = self.enis.iter_mut().find(|eni| is_it(eni)) {
            eni.draining = eni.draining.or(Some(now));
            eni.ends = bad.then_some(now + DRAINING);
            (eni.crowded, eni.empty_since) = (false, None);
        }
    }

    fn empty_for_long(&mut self, key: &Key, ordinal: u32) {
        let others: Vec<&Eni> = self
            .enis
            .iter()
            .filter(|eni| eni.key == *key && eni.ordinal != ordinal && in_use(eni))
            .collect();
        let lower = others.iter().any(|eni| eni.ordinal < ordinal);
        let room = others.iter().any(|eni| !eni.crowded);
        let goes = lower && room && !self.users(key).is_empty();
        let is_it = |eni: &Eni| eni.key == *key && eni.ordinal == ordinal;
        if goes {
            self.drain(key, ordinal, false);
        } else {
            self.enis.iter_mut().find(|eni| is_it(eni)).unwrap().empty_since = None;
        }
    }

    fn delete_key(&mut self, key: &Key) {
        let (_, role) = self.deletion(key).unwrap();
        let needed = [Permission::DeleteNetworkInterface, Permission::UnassignPrivateIpAddresses];
        if self.lacks(role.as_deref(), &needed) {
            self.diary.push(Entry::Stranded(key.clone()));
        } else {
            self.enis.retain(|eni| eni.key != *key);
        }
    }

    fn idle(&mut self, key: &Key) {
        let users = self.users(key);
        let mut reclaimed = BTreeSet::new();
        for who in &users {
            let version = self.version(who).unwrap().clone();
            let waits = version.state == "Pending" || version.next.is_some();
            if waits || version.owner == Owner::File {
                return self.uses(std::slice::from_ref(key));
            }
        }
        for who in users {
            let found = self.version(&who).unwrap();
            let before = Self::held(found);
            (found.state, found.code) = ("Inactive", Some("Idle"));
            let (owner, role) = (found.owner, found.configuration.role.clone());
            reclaimed.extend(before.iter().cloned());
            self.left(before, owner, role.as_deref());
        }
        for key in reclaimed {
            if self.users(&key).is_empty() {
                self.delete_key(&key);
            }
        }
    }

    /// All that can be seen, as text.
    pub(crate) fn seen(&self) -> String {
        let mut seen = String::new();
        let mut versions: Vec<&Version> = self.versions.iter().collect();
        versions.sort_by(|one, other| one.who.cmp(&other.who));
        for version in versions {
            let Version { who, state, code, update, update_code, revision, .. } = version;
            writeln!(
                seen,
                "{}:{}:{} {state} {code:?} {update} {update_code:?} r{revision} {:?} next {:?}",
                who.0.account, who.0.name, who.1, version.configuration.vpc, version.next
            )
            .unwrap();
        }
        let mut enis: Vec<&Eni> = self.enis.iter().collect();
        enis.sort_by(|one, other| (&one.key, one.ordinal).cmp(&(&other.key, other.ordinal)));
        for eni in enis {
            let users = self.users(&eni.key);
            let users: Vec<String> =
                users.iter().map(|(name, number)| format!("{name}:{number}")).collect();
            let fate = match (users.is_empty(), self.deletion(&eni.key)) {
                (false, _) => format!("last used {}", self.last_used(&eni.key)),
                (true, Some((due, _))) => format!("deleted at {due}"),
                (true, None) => "stranded".to_owned(),
            };
            let id = eni_id(eni);
            let Eni { address, due, replaces, crowded, empty_since, draining, ends, .. } = eni;
            writeln!(
                seen,
                "{id} {address} due {due:?} replaces {replaces:?} {crowded} {empty_since:?} \
                 drains {draining:?} until {ends:?} {users:?} {fate}"
            )
            .unwrap();
        }
        seen
    }

    /// The ids and addresses of the ENIs that are there, and whether they drain.
    pub(crate) fn inventory(&self) -> BTreeMap<String, (String, bool)> {
        let there = self.enis.iter().filter(|eni| eni.due.is_none());
        let shown = |eni: &Eni| (eni.address.clone(), eni.draining.is_some());
        there.map(|eni| (eni_id(eni).to_string(), shown(eni))).collect()
    }

    /// The ids of all ENIs, those that are being made included.
    pub(crate) fn eni_ids(&self) -> Vec<ResourceId> {
        self.enis.iter().map(eni_id).collect()
    }
}

/// Whether an ENI takes new connections.
fn in_use(eni: &Eni) -> bool {
    eni.due.is_none() && eni.draining.is_none()
}

fn eni_id(eni: &Eni) -> ResourceId {
    let (account, subnet, groups) = &eni.key;
    let path = format!("{account}/{subnet}/{}/{}", groups.join(","), eni.ordinal);
    ResourceId::derived("eni", &path)
}
