//! What the machine is told: commands, and reports from the dataplane.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use viaduct_topology::{ResourceId, iam::Policy};

use super::{
    configuration::{Configuration, ConfigurationChange},
    names::{FunctionName, Qualifier, RoleName, VersionId},
};

/// Who made a function. What a file made, only a file takes away when it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Owner {
    /// Somebody over the API.
    Api,
    /// The topology file. Its functions are there as soon as the daemon is: their ENIs take no time.
    File,
}

/// An operation. It is carried out whole or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `CreateFunction`
    CreateFunction {
        /// Its name.
        function: FunctionName,
        /// What it is to be.
        configuration: Configuration,
        /// Its tags.
        tags: BTreeMap<String, String>,
        /// Whether it is published as version 1, too.
        publish: bool,
    },
    /// `UpdateFunctionConfiguration`
    UpdateFunctionConfiguration {
        /// Its name.
        function: FunctionName,
        /// What is to be another.
        change: ConfigurationChange,
        /// Only if this is its revision.
        revision: Option<u64>,
    },
    /// `UpdateFunctionCode`: what is carried of it.
    UpdateFunctionCode {
        /// Its name.
        function: FunctionName,
        /// Carried values that are to be others.
        code: BTreeMap<String, String>,
        /// Only if this is its revision.
        revision: Option<u64>,
        /// Whether it is published then.
        publish: bool,
    },
    /// `PublishVersion`: freezes `$LATEST` (LAM-54).
    PublishVersion {
        /// Its name.
        function: FunctionName,
        /// Only if this is its revision.
        revision: Option<u64>,
        /// Carried values that the version has in the place of `$LATEST`'s.
        carried: BTreeMap<String, String>,
    },
    /// `TagResource`
    TagResource {
        /// Its name.
        function: FunctionName,
        /// Tags to set.
        tags: BTreeMap<String, String>,
    },
    /// `UntagResource`
    UntagResource {
        /// Its name.
        function: FunctionName,
        /// Tags to take away; those that it does not have count as taken away.
        keys: BTreeSet<String>,
    },
    /// `DeleteFunction`: all of it, or one version.
    DeleteFunction {
        /// Its name.
        function: FunctionName,
        /// Which version alone; all of it if none is named.
        version: Option<Qualifier>,
    },
    /// `Invoke`: whether it may be. Where it may run is the caller's affair.
    Invoke(VersionId),
    /// `DeleteNetworkInterface`, by hand (LAM-55).
    DeleteNetworkInterface(ResourceId),
    /// Says what a role permits; makes it if there is none.
    PutRole {
        /// Its name.
        role: RoleName,
        /// What it permits.
        policies: Vec<Policy>,
    },
    /// `DeleteRole`
    DeleteRole(RoleName),
    /// Lets a zone fail, or brings it back (LAM-18).
    FailZone {
        /// Such as `a`.
        zone: String,
        /// Whether it is to fail.
        failed: bool,
    },
}

impl Command {
    /// The creation of a function without tags, of which nothing is published.
    #[must_use]
    pub const fn create(function: FunctionName, configuration: Configuration) -> Self {
        Self::CreateFunction { function, configuration, tags: BTreeMap::new(), publish: false }
    }

    /// The publication of a function as it is, whatever its revision.
    #[must_use]
    pub const fn publish(function: FunctionName) -> Self {
        Self::PublishVersion { function, revision: None, carried: BTreeMap::new() }
    }
}

/// What a command that was carried out has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// That it is done.
    Done,
    /// The number of the version that holds the function as it is.
    Published(u32),
}

/// What the dataplane has seen. A report about what is not there any more means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// An environment of this version stands or sent something: its ENIs are not idle.
    Used(VersionId),
    /// An ENI, or one destination on it, is near what it can carry. To be said again as long as it
    /// is so.
    NearCapacity(ResourceId),
    /// It is no longer.
    HasRoom(ResourceId),
    /// An ENI carries no connection.
    Empty(ResourceId),
    /// An ENI has failed its health check (LAM-08).
    Unhealthy(ResourceId),
}
