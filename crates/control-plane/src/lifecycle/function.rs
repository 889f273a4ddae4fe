//! A function, its versions, and which ENIs each of them uses.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    command::Owner,
    configuration::Configuration,
    key::Key,
    names::{FunctionName, Qualifier},
    state::{Reason, State, UpdateStatus},
};

/// A function with its published versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Its name.
    pub name: FunctionName,
    /// Who made it.
    pub owner: Owner,
    /// `$LATEST`: what can be changed.
    pub latest: Version,
    /// What was published, by number.
    pub published: BTreeMap<u32, Version>,
    /// The number of the newest version that there ever was, and the revision that it froze.
    pub newest: Option<(u32, u64)>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Function {
    /// One of its versions.
    #[must_use]
    pub fn version(&self, version: Qualifier) -> Option<&Version> {
        match version {
            Qualifier::Latest => Some(&self.latest),
            Qualifier::Version(number) => self.published.get(&number),
        }
    }

    pub(super) fn version_mut(&mut self, version: Qualifier) -> Option<&mut Version> {
        match version {
            Qualifier::Latest => Some(&mut self.latest),
            Qualifier::Version(number) => self.published.get_mut(&number),
        }
    }

    /// `$LATEST` and all versions, by number.
    pub fn versions(&self) -> impl Iterator<Item = (Qualifier, &Version)> {
        let published = self.published.iter().map(|(number, it)| (Qualifier::Version(*number), it));
        [(Qualifier::Latest, &self.latest)].into_iter().chain(published)
    }
}

/// A configuration and how far it is: `$LATEST`, or a version that was published and stays as it is
/// (LAM-54).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// What is in force.
    pub configuration: Configuration,
    /// Whether it can be invoked.
    pub state: State,
    /// Why it is in a state other than active.
    pub reason: Option<Reason>,
    /// What becomes of the update, while there is one (LAM-48).
    pub next: Option<Configuration>,
    /// How the last update went.
    pub update: UpdateStatus,
    /// Why it failed.
    pub update_reason: Option<Reason>,
    /// One more with each change of configuration or code.
    pub revision: u64,
}

impl Version {
    /// As it is before anything was done for it.
    pub(super) const fn new(configuration: Configuration, revision: u64) -> Self {
        Self {
            configuration,
            state: State::Pending,
            reason: None,
            next: None,
            update: UpdateStatus::Successful,
            update_reason: None,
            revision,
        }
    }

    /// Whether it uses the ENIs of its configuration: an inactive one has let them go, and a failed
    /// one never had them.
    #[must_use]
    pub const fn holds(&self) -> bool {
        matches!(self.state, State::Pending | State::Active)
    }

    /// Whether it waits for ENIs that are being made.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        matches!(self.state, State::Pending) || self.next.is_some()
    }

    /// The keys whose ENIs it uses: during an update those of both configurations.
    #[must_use]
    pub fn keys(&self, name: &FunctionName) -> BTreeSet<Key> {
        let in_force = self.holds().then_some(&self.configuration);
        let configurations = in_force.into_iter().chain(&self.next);
        configurations.flat_map(|it| it.keys(&name.account)).collect()
    }

    /// What it is to have once it waits no more.
    pub(super) fn wanted(&self) -> &Configuration {
        self.next.as_ref().unwrap_or(&self.configuration)
    }
}
