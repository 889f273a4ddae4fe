//! Environments of functions that come and go one at a time: those of functions made over the API,
//! and of published versions. What a file declares of its functions stands as long as the file does,
//! and is the [`Plan`](crate::Plan)'s.
//!
//! An environment begins when somebody wants to stand there and its version can be invoked. It keeps
//! its identity and its subnet, and when its version is updated it follows to the new ENIs (LAM-49).
//! It ends when nobody stands there any more, or its version can be invoked no longer. No identity is
//! given out twice: what is still known of an environment that has ended is never taken for another's.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    str::FromStr,
};

use viaduct_topology::{
    ResourceId,
    inventory::{Attachment, AttachmentId, Host},
};

use crate::lifecycle::{FunctionName, Lifecycle, Placement, Qualifier, Time, VersionId};

/// The highest number of an environment: as many as a file may declare of a function.
pub const MOST_ENVIRONMENTS: u32 = 10_000;

/// What an environment is called: `function/api/2`, `function/api:3/1` for a published version;
/// `function/api` is the first. Where functions of several accounts have the name, the account comes
/// first: `111122223333/function/api/1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentName {
    /// The function's account, if it is named.
    pub account: Option<String>,
    /// The function's name.
    pub function: String,
    /// Which of its versions.
    pub version: Qualifier,
    /// Which of the version's environments, from 1.
    pub number: u32,
}

/// That a text names no environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the name of an environment, such as `function/api/1` or `function/api:3/1`; its number is at \
     most {MOST_ENVIRONMENTS}"
)]
pub struct NotAnEnvironment;

impl FromStr for EnvironmentName {
    type Err = NotAnEnvironment;

    fn from_str(text: &str) -> Result<Self, NotAnEnvironment> {
        let (account, rest) = match text.split_once("/function/") {
            Some((account, rest)) => (Some(account.to_owned()), rest),
            None => (None, text.strip_prefix("function/").ok_or(NotAnEnvironment)?),
        };
        let digits = |text: &str| text.bytes().all(|it| it.is_ascii_digit());
        let positive = |text: &str| {
            let number = text.parse().ok().filter(|number| digits(text) && *number > 0);
            number.ok_or(NotAnEnvironment)
        };
        let (function, number) = match rest.split_once('/') {
            Some((function, number)) => (function, positive(number)?),
            None => (rest, 1),
        };
        let (function, version) = match function.split_once(':') {
            Some((function, "$LATEST")) => (function, Qualifier::Latest),
            Some((function, version)) => (function, Qualifier::Version(positive(version)?)),
            None => (function, Qualifier::Latest),
        };
        if function.is_empty() || number > MOST_ENVIRONMENTS {
            return Err(NotAnEnvironment);
        }
        Ok(Self { account, function: function.to_owned(), version, number })
    }
}

impl fmt::Display for EnvironmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, function, version, number } = self;
        if let Some(account) = account {
            write!(f, "{account}/")?;
        }
        match version {
            Qualifier::Latest => write!(f, "function/{function}/{number}"),
            Qualifier::Version(version) => write!(f, "function/{function}:{version}/{number}"),
        }
    }
}

/// Why a name means no function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmeant {
    /// There is none of this name.
    #[error("there is no function of this name")]
    Unknown,
    /// Several accounts have one.
    #[error("several accounts have a function `{function}`: put one of {} and a `/` before `function/`", .accounts.join(", "))]
    Ambiguous {
        /// The function's name.
        function: String,
        /// The accounts.
        accounts: Vec<String>,
    },
}

impl EnvironmentName {
    /// What an environment of this version and number is called as things are: with its account where
    /// functions of several accounts have the name.
    #[must_use]
    pub fn new(lifecycle: &Lifecycle, version: &VersionId, number: u32) -> Self {
        let function = &version.function;
        let alone = lifecycle.named(&function.name).nth(1).is_none();
        Self {
            account: (!alone).then(|| function.account.to_string()),
            function: function.name.to_string(),
            version: version.version,
            number,
        }
    }

    /// The version that is meant. Whether the function has it is not looked at.
    ///
    /// # Errors
    ///
    /// When no function is meant, or it is not clear which.
    pub fn version(&self, lifecycle: &Lifecycle) -> Result<VersionId, Unmeant> {
        let version = |function| VersionId { function, version: self.version };
        if let Some(account) = &self.account {
            let name = FunctionName::new(account, &self.function);
            return lifecycle.function(&name).map(|_| version(name)).ok_or(Unmeant::Unknown);
        }
        let mut named = lifecycle.named(&self.function);
        let first = named.next().ok_or(Unmeant::Unknown)?.name.clone();
        let others: Vec<String> = named.map(|other| other.name.account.to_string()).collect();
        if others.is_empty() {
            return Ok(version(first));
        }
        let accounts = [first.account.to_string()].into_iter().chain(others).collect();
        Err(Unmeant::Ambiguous { function: self.function.clone(), accounts })
    }
}

/// An environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Whose it is.
    pub version: VersionId,
    /// Which of the version's it is, from 1.
    pub number: u32,
    /// Its subnet; none if its function has no VPC.
    pub subnet: Option<ResourceId>,
    /// As the inventory has it.
    pub attachment: Attachment,
    /// Until when it waits for somebody to stand there.
    pub until: Time,
}

/// What becomes of an environment whose version is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It stands behind other ENIs, or behind none any more.
    Moved {
        /// Which one.
        id: AttachmentId,
        /// Its subnet; none if its function has no VPC.
        subnet: Option<ResourceId>,
        /// As the inventory is to have it.
        host: Host,
    },
    /// Its version can be invoked no longer.
    Ended(AttachmentId),
}

/// All environments that come and go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environments {
    issued: u32,
    by_version: BTreeMap<VersionId, BTreeMap<u32, AttachmentId>>,
    by_id: BTreeMap<AttachmentId, Environment>,
    by_name: HashMap<String, AttachmentId>,
}

impl Environments {
    /// None yet, beside a plan that has given out so many identities.
    #[must_use]
    pub fn after(issued: u32) -> Self {
        Self { issued, ..Self::default() }
    }

    /// Identities that were ever given out, by the plan or here.
    #[must_use]
    pub const fn issued(&self) -> u32 {
        self.issued
    }

    /// Notes that a plan has given out so many. Only whoever told it how many there were before may.
    pub fn issue_after(&mut self, issued: u32) {
        self.issued = self.issued.max(issued);
    }

    /// All of them, by identity.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Environment> {
        self.by_id.values()
    }

    /// Those of a version, by number.
    pub fn of(&self, version: &VersionId) -> impl Iterator<Item = &Environment> {
        let ids = self.by_version.get(version).into_iter().flat_map(BTreeMap::values);
        ids.filter_map(|id| self.by_id.get(id))
    }

    /// The environment of this identity.
    #[must_use]
    pub fn get(&self, id: AttachmentId) -> Option<&Environment> {
        self.by_id.get(&id)
    }

    /// The environment of this name; the number may be left out for the first.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Environment> {
        let id = self.by_name.get(name).or_else(|| self.by_name.get(&format!("{name}/1")))?;
        self.by_id.get(id)
    }

    /// Begins an environment, if it is not there and its version can be invoked. It waits until then
    /// for somebody to stand there.
    pub fn begin(
        &mut self,
        lifecycle: &Lifecycle,
        version: &VersionId,
        number: u32,
        until: Time,
    ) -> Option<&Environment> {
        let standing = self.by_version.get(version).and_then(|of| of.get(&number));
        if let Some(id) = standing.copied() {
            return self.by_id.get(&id);
        }
        let placement = lifecycle.placement(version, number, None)?;
        let name = EnvironmentName::new(lifecycle, version, number).to_string();
        self.issued = self.issued.checked_add(1)?;
        let id = AttachmentId(self.issued);
        let host = host(&version.function, &placement);
        self.by_name.insert(name.clone(), id);
        self.by_version.entry(version.clone()).or_default().insert(number, id);
        let attachment = Attachment { id, name, host };
        let Placement { subnet, .. } = placement;
        let environment =
            Environment { version: version.clone(), number, subnet, attachment, until };
        Some(self.by_id.entry(id).or_insert(environment))
    }

    /// Has an environment wait until then for somebody to stand there.
    pub fn wait(&mut self, id: AttachmentId, until: Time) {
        if let Some(environment) = self.by_id.get_mut(&id) {
            environment.until = until;
        }
    }

    /// Ends an environment.
    pub fn end(&mut self, id: AttachmentId) -> Option<Environment> {
        let environment = self.by_id.remove(&id)?;
        self.by_name.remove(&environment.attachment.name);
        if let Some(of) = self.by_version.get_mut(&environment.version) {
            of.remove(&environment.number);
            if of.is_empty() {
                self.by_version.remove(&environment.version);
            }
        }
        Some(environment)
    }

    /// What becomes of the environments of a function's versions, as these now are.
    pub fn steps(&self, lifecycle: &Lifecycle, function: &FunctionName) -> Vec<Step> {
        let from = VersionId::latest(function.clone());
        let versions = self.by_version.range(from..);
        let versions = versions.take_while(|(version, _)| version.function == *function);
        let ids = versions.flat_map(|(_, of)| of.values());
        ids.filter_map(|id| step(lifecycle, self.by_id.get(id)?)).collect()
    }

    /// [`steps`](Self::steps) of all functions.
    pub fn all_steps(&self, lifecycle: &Lifecycle) -> Vec<Step> {
        self.by_id.values().filter_map(|environment| step(lifecycle, environment)).collect()
    }

    /// Takes a step.
    pub fn take(&mut self, step: Step) {
        match step {
            Step::Ended(id) => {
                self.end(id);
            }
            Step::Moved { id, subnet, host } => {
                if let Some(environment) = self.by_id.get_mut(&id) {
                    environment.subnet = subnet;
                    environment.attachment.host = host;
                }
            }
        }
    }
}

/// What becomes of an environment; none if it stays where it is.
fn step(lifecycle: &Lifecycle, environment: &Environment) -> Option<Step> {
    let Environment { version, number, subnet, attachment, .. } = environment;
    let id = attachment.id;
    let Some(placement) = lifecycle.placement(version, *number, subnet.as_ref()) else {
        return Some(Step::Ended(id));
    };
    let host = host(&version.function, &placement);
    let stays = same_key(lifecycle, &attachment.host, &host);
    (!stays).then_some(Step::Moved { id, subnet: placement.subnet, host })
}

fn host(function: &FunctionName, placement: &Placement) -> Host {
    let enis = placement.eni.iter().cloned().collect();
    Host::Environment { function: function.name.to_string(), enis }
}

/// Whether two environments stand behind ENIs of one key.
fn same_key(lifecycle: &Lifecycle, one: &Host, other: &Host) -> bool {
    let (Host::Environment { enis: one, .. }, Host::Environment { enis: other, .. }) = (one, other)
    else {
        return false;
    };
    let key = |enis: &[ResourceId]| Some(&lifecycle.eni(enis.first()?)?.0.key);
    one == other || key(one).is_some_and(|one| key(other) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_are_written() {
        for name in ["function/api/1", "function/api:3/20", "111122223333/function/api/10000"] {
            assert_eq!(name.parse::<EnvironmentName>().unwrap().to_string(), name);
        }
        for (short, name) in [
            ("function/api", "function/api/1"),
            ("function/api:3", "function/api:3/1"),
            ("function/api:$LATEST", "function/api/1"),
        ] {
            assert_eq!(short.parse::<EnvironmentName>().unwrap().to_string(), name);
        }
        for wrong in [
            "function/",
            "function/api/0",
            "function/api/10001",
            "function/api/+1",
            "function/api/1/2",
            "function/api:0/1",
            "function/api:x/1",
            "instance/db",
            "api",
            "",
        ] {
            assert_eq!(wrong.parse::<EnvironmentName>(), Err(NotAnEnvironment), "{wrong}");
        }
    }
}
