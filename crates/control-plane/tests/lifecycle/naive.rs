//! A second opinion on the life of functions and ENIs, naive on purpose.
//!
//! It is written from the facts and the decisions in the documentation. It keeps two lists, of
//! functions and of ENIs, and a diary of who did what when; whoever uses a key, what is free and what
//! is due next are worked out by going through all of it each time. It knows no sets, no queue and no
//! counters. [`Naive::of`] goes through a whole history from its beginning.

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
    Nothing,
}

const CREATION: Time = 90_000;
const DELETION: Time = 1_200_000;
const IDLE: Time = 1_209_600_000;
const SHRINKING: Time = 600_000;
const QUOTA: usize = 8;

/// Its id, its VPC, its zone, the first three numbers of its addresses, and which hosts are free.
type Subnet = (&'static str, &'static str, &'static str, &'static str, (u32, u32));

const SUBNETS: [Subnet; 4] = [
    ("subnet-a", "main", "a", "10.0.1", (4, 254)),
    ("subnet-b", "main", "b", "10.0.2", (4, 254)),
    ("subnet-tiny", "main", "a", "10.0.3", (12, 14)),
    ("subnet-c", "other", "c", "10.1.1", (4, 254)),
];
const GROUPS: [(&str, &str); 3] = [("sg-one", "main"), ("sg-two", "main"), ("sg-three", "other")];

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
    versions: Vec<Version>,
    enis: Vec<Eni>,
    diary: Vec<Entry>,
    roles: BTreeMap<String, BTreeSet<Permission>>,
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
                Input::Nothing => String::new(),
            };
            naive.until(*time);
            naive.outcomes.push(outcome);
        }
        naive
    }

    /// Does what is due until then, the earliest first; at one moment, ENIs are made before any goes
    /// for being empty, those go before others are deleted, and nothing is idle before that.
    fn until(&mut self, time: Time) {
        loop {
            let mut due: Vec<(Time, u8, Key, u32)> = Vec::new();
            for eni in &self.enis {
                due.extend(eni.due.map(|at| (at, 0, eni.key.clone(), eni.ordinal)));
                let empty = eni.empty_since.map(|since| since + SHRINKING);
                due.extend(empty.map(|at| (at, 1, eni.key.clone(), eni.ordinal)));
                if !self.users(&eni.key).is_empty() {
                    due.push((self.last_used(&eni.key) + IDLE, 3, eni.key.clone(), 0));
                } else if let Some((at, _)) = self.deletion(&eni.key) {
                    due.push((at, 2, eni.key.clone(), 0));
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
                2 => self.delete_key(&key),
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
        self.enis.iter().any(|eni| eni.key == *key && eni.due.is_none())
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
                self.diary.push(Entry::Left { key, due, role });
            }
        }
    }

    fn lacks(&self, role: Option<&str>, needed: &[Permission]) -> bool {
        let Some(role) = role else { return false };
        let permitted = self.roles.get(role);
        permitted.is_none_or(|permitted| !needed.iter().all(|it| permitted.contains(it)))
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
            let group = |id: &str| GROUPS.iter().find(|(group, _)| *group == id);
            let bad_group = |id: &String| group(id).is_none_or(|(_, of)| Some(*of) != vpc);
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
                self.obstacle(&new)
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
        if self.failed_zones.contains(zone) {
            let users = self.users(key);
            self.enis.retain(|eni| !is_it(eni));
            if !self.enis.iter().any(|eni| eni.key == *key) {
                users.iter().for_each(|who| self.give_up(who, "InternalError"));
            }
            return;
        }
        let eni = self.enis.iter_mut().find(|eni| is_it(eni)).unwrap();
        eni.due = None;
        if let Some(replaced) = eni.replaces.take() {
            self.enis.retain(|eni| eni.key != *key || eni.ordinal != replaced);
        }
        self.users(key).iter().for_each(|who| self.go_on(who));
    }

    fn empty_for_long(&mut self, key: &Key, ordinal: u32) {
        let others: Vec<&Eni> = self
            .enis
            .iter()
            .filter(|eni| eni.key == *key && eni.ordinal != ordinal && eni.due.is_none())
            .collect();
        let lower = others.iter().any(|eni| eni.ordinal < ordinal);
        let room = others.iter().any(|eni| !eni.crowded);
        let goes = lower && room && !self.users(key).is_empty();
        let is_it = |eni: &Eni| eni.key == *key && eni.ordinal == ordinal;
        if goes {
            self.enis.retain(|eni| !is_it(eni));
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

    fn command(&mut self, command: &Command, by: Owner) -> Result<String, &'static str> {
        match command {
            Command::CreateFunction { function, configuration } => {
                if self.latest(function).is_ok() {
                    return Err("ResourceConflictException");
                }
                self.sensible(configuration)?;
                let who = (function.clone(), 0);
                self.versions.push(Version {
                    who: who.clone(),
                    owner: by,
                    configuration: configuration.clone(),
                    next: None,
                    state: "Pending",
                    code: Some("Creating"),
                    update: "Successful",
                    update_code: None,
                    revision: 1,
                    newest: (0, 0),
                });
                self.get(&who);
            }
            Command::UpdateFunctionConfiguration { function, change, revision } => {
                self.may_change(function, *revision)?;
                let latest = self.latest(function)?.clone();
                let mut next = latest.configuration.clone();
                if let Some(vpc) = &change.vpc {
                    next.vpc = vpc.clone();
                    self.one_vpc(&next)?;
                }
                if let Some(role) = &change.role {
                    next.role.clone_from(role);
                    self.role_exists(&next)?;
                }
                next.carried.extend(change.carried.clone());
                let found = self.latest(function)?;
                found.revision += 1;
                if found.state == "Inactive" {
                    found.configuration = next;
                    (found.update, found.update_code) = ("Successful", None);
                    found.code = Some("Idle");
                    if found.configuration.vpc.subnets().is_empty() {
                        (found.state, found.code) = ("Active", None);
                    }
                } else {
                    found.next = Some(next);
                    (found.update, found.update_code) = ("InProgress", None);
                    self.get(&(function.clone(), 0));
                }
            }
            Command::UpdateFunctionCode { function, code, revision } => {
                self.may_change(function, *revision)?;
                let found = self.latest(function)?;
                found.configuration.carried.extend(code.clone());
                found.revision += 1;
                (found.update, found.update_code) = ("Successful", None);
            }
            Command::PublishVersion { function, revision } => {
                self.may_change(function, *revision)?;
                let latest = self.latest(function)?.clone();
                let (number, frozen) = latest.newest;
                let newest = (function.clone(), number);
                if number > 0 && frozen == latest.revision && self.version(&newest).is_some() {
                    return Ok(format!("version {number}"));
                }
                let number = number + 1;
                self.latest(function)?.newest = (number, latest.revision);
                let keys = Self::held(&latest);
                let who = (function.clone(), number);
                let update = ("Successful", None);
                let (update, update_code) = update;
                self.versions.push(Version { who, update, update_code, ..latest });
                self.uses(&keys);
                return Ok(format!("version {number}"));
            }
            Command::TagResource { function, .. } => self.may_change(function, None)?,
            Command::DeleteFunction { function, version } => {
                self.latest(function)?;
                let number = match version {
                    None => None,
                    Some(Qualifier::Latest) => return Err("InvalidParameterValueException"),
                    Some(Qualifier::Version(number)) => Some(*number),
                };
                let goes = |version: &Version| {
                    version.who.0 == *function && number.is_none_or(|it| it == version.who.1)
                };
                let mut gone: Vec<Version> =
                    self.versions.iter().filter(|it| goes(it)).cloned().collect();
                if gone.is_empty() {
                    return Err("ResourceNotFoundException");
                }
                let owner = self.latest(function)?.owner;
                gone.sort_by_key(|version| version.who.1);
                for version in gone {
                    self.versions.retain(|other| other.who != version.who);
                    let role = version.configuration.role.as_deref();
                    self.left(Self::held(&version), owner, role);
                }
            }
            Command::Invoke(id) => {
                let number = match id.version {
                    Qualifier::Latest => 0,
                    Qualifier::Version(number) => number,
                };
                let who = (id.function.clone(), number);
                let found = self.version(&who).ok_or("ResourceNotFoundException")?;
                match found.state {
                    "Active" => {
                        let held = Self::held(found);
                        let account = found.who.0.account.clone();
                        let now = Self::keys(&account, &found.configuration);
                        let failed = |key: &Key| {
                            let place = SUBNETS.iter().find(|(id, ..)| *id == key.1).unwrap();
                            self.failed_zones.contains(place.2)
                        };
                        if !now.is_empty() && now.iter().all(failed) {
                            return Err("ENINotReadyException");
                        }
                        self.uses(&held);
                    }
                    "Inactive" => {
                        (found.state, found.code) = ("Pending", Some("Restoring"));
                        self.get(&who);
                        let found = self.version(&who).unwrap();
                        return Err(match (found.state, found.code) {
                            ("Inactive", Some("EniLimitExceeded")) => "ENILimitReachedException",
                            ("Inactive", Some("SubnetOutOfIPAddresses")) => {
                                "SubnetIPAddressLimitReachedException"
                            }
                            ("Inactive", Some("InvalidSubnet")) => "InvalidSubnetIDException",
                            ("Inactive", Some("InvalidSecurityGroup")) => {
                                "InvalidSecurityGroupIDException"
                            }
                            ("Inactive", Some("InsufficientRolePermissions")) => {
                                "EC2AccessDeniedException"
                            }
                            ("Inactive", Some("InternalError")) => "EC2UnexpectedException",
                            _ => "ResourceNotReadyException",
                        });
                    }
                    _ => return Err("ResourceConflictException"),
                }
            }
            Command::DeleteNetworkInterface(id) => {
                let found = self.by_id(id).ok_or("InvalidNetworkInterfaceID.NotFound")?;
                let (key, ordinal) = (found.key.clone(), found.ordinal);
                let stranded = self.users(&key).is_empty() && self.deletion(&key).is_none();
                if !stranded {
                    return Err("InvalidNetworkInterface.InUse");
                }
                self.enis.retain(|eni| eni.key != key || eni.ordinal != ordinal);
            }
            Command::PutRole { role, permissions } => {
                self.roles.insert(role.to_string(), permissions.clone());
            }
            Command::DeleteRole(role) => {
                self.roles.remove(role.as_ref()).ok_or("NoSuchEntity")?;
            }
            Command::FailZone { zone, failed: true } => {
                self.failed_zones.insert(zone.clone());
            }
            Command::FailZone { zone, failed: false } => {
                self.failed_zones.remove(zone);
            }
        }
        Ok("done".to_owned())
    }

    fn by_id(&self, id: &ResourceId) -> Option<&Eni> {
        self.enis.iter().find(|eni| eni_id(eni) == *id)
    }

    fn sensible(&self, configuration: &Configuration) -> Result<(), &'static str> {
        self.one_vpc(configuration)?;
        self.role_exists(configuration)
    }

    fn role_exists(&self, configuration: &Configuration) -> Result<(), &'static str> {
        match &configuration.role {
            Some(role) if !self.roles.contains_key(role.as_ref()) => {
                Err("InvalidParameterValueException")
            }
            _ => Ok(()),
        }
    }

    fn one_vpc(&self, configuration: &Configuration) -> Result<(), &'static str> {
        let vpcs: BTreeSet<&str> = SUBNETS
            .iter()
            .map(|(id, vpc, ..)| (*id, *vpc))
            .chain(GROUPS)
            .filter(|(id, _)| {
                let subnets = configuration.vpc.subnets().iter();
                let mut named = subnets.chain(configuration.vpc.security_groups());
                named.any(|named| named.as_str() == *id)
            })
            .map(|(_, vpc)| vpc)
            .collect();
        if vpcs.len() > 1 { Err("InvalidParameterValueException") } else { Ok(()) }
    }

    fn may_change(
        &mut self,
        name: &FunctionName,
        revision: Option<u64>,
    ) -> Result<(), &'static str> {
        let latest = self.latest(name)?;
        if ["Pending", "Failed"].contains(&latest.state) || latest.next.is_some() {
            return Err("ResourceConflictException");
        }
        match revision {
            Some(revision) if revision != latest.revision => Err("PreconditionFailedException"),
            _ => Ok(()),
        }
    }

    fn report(&mut self, report: &Report) {
        let id = match report {
            Report::Used(id) => {
                let number = match id.version {
                    Qualifier::Latest => 0,
                    Qualifier::Version(number) => number,
                };
                let held = self.version(&(id.function.clone(), number)).map(|it| Self::held(it));
                return self.uses(&held.unwrap_or_default());
            }
            Report::NearCapacity(id)
            | Report::HasRoom(id)
            | Report::Empty(id)
            | Report::Unhealthy(id) => id,
        };
        let now = self.now;
        let Some(found) = self.enis.iter_mut().find(|eni| eni_id(eni) == *id) else { return };
        if found.due.is_some() {
            // Nobody can see it yet. But others may be near capacity still.
            if !matches!(report, Report::NearCapacity(_)) {
                return;
            }
        }
        let key = found.key.clone();
        let ordinal = found.ordinal;
        let is_there = found.due.is_none();
        match report {
            Report::NearCapacity(_) if is_there => {
                (found.crowded, found.empty_since) = (true, None);
            }
            Report::HasRoom(_) => (found.crowded, found.empty_since) = (false, None),
            Report::Empty(_) => {
                found.crowded = false;
                found.empty_since.get_or_insert(now);
            }
            _ => {}
        }
        let of_key: Vec<&Eni> = self.enis.iter().filter(|eni| eni.key == key).collect();
        let wanted = match report {
            Report::NearCapacity(_) => {
                let free = |eni: &&&Eni| eni.due.is_none() && !eni.crowded;
                let coming = |eni: &&Eni| eni.due.is_some() && eni.replaces.is_none();
                (!of_key.iter().any(|eni| free(&eni)) && !of_key.iter().any(coming)).then_some(None)
            }
            Report::Unhealthy(_) => {
                let coming = |eni: &&Eni| eni.due.is_some() && eni.replaces == Some(ordinal);
                (!of_key.iter().any(coming)).then_some(Some(ordinal))
            }
            _ => None,
        };
        let Some(replaces) = wanted else { return };
        // Latest before versions, as everywhere; then the first of all users' roles.
        let Some(first) = self.users(&key).into_iter().next() else { return };
        let user = self.version(&first).unwrap().clone();
        let role = user.configuration.role.as_deref();
        if !self.may_not_make(role) && self.obstacle(std::slice::from_ref(&key)).is_none() {
            let delay = if user.owner == Owner::File { 0 } else { CREATION };
            self.make(&key, delay, replaces);
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
            let Eni { address, due, replaces, crowded, empty_since, .. } = eni;
            writeln!(
                seen,
                "{id} {address} due {due:?} replaces {replaces:?} {crowded} {empty_since:?} \
                 {users:?} {fate}"
            )
            .unwrap();
        }
        seen
    }

    /// The ids and addresses of the ENIs that are there.
    pub(crate) fn inventory(&self) -> BTreeMap<String, String> {
        let there = self.enis.iter().filter(|eni| eni.due.is_none());
        there.map(|eni| (eni_id(eni).to_string(), eni.address.clone())).collect()
    }

    /// The ids of all ENIs, those that are being made included.
    pub(crate) fn eni_ids(&self) -> Vec<ResourceId> {
        self.enis.iter().map(eni_id).collect()
    }
}

fn eni_id(eni: &Eni) -> ResourceId {
    let (account, subnet, groups) = &eni.key;
    let path = format!("{account}/{subnet}/{}/{}", groups.join(","), eni.ordinal);
    ResourceId::derived("eni", &path)
}
