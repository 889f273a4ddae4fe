//! What has happened, for people and logs.

use std::{fmt, net::IpAddr};

use viaduct_topology::ResourceId;

use super::{
    key::Key,
    names::{FunctionName, VersionId},
    state::{Reason, State, UpdateStatus},
    time::Time,
};

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Time,
    /// What.
    pub what: Happening,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// A function or version is in another state.
    State {
        /// Which.
        version: VersionId,
        /// The state.
        state: State,
        /// Why, if it is not active.
        reason: Option<Reason>,
    },
    /// An update has begun or ended.
    Update {
        /// The function.
        function: FunctionName,
        /// How it goes.
        status: UpdateStatus,
        /// Why it failed.
        reason: Option<Reason>,
    },
    /// A function or version is gone.
    Deleted(VersionId),
    /// An ENI is being made.
    EniRequested {
        /// `eni-…`
        eni: ResourceId,
        /// Its key.
        key: Key,
        /// Its address.
        private_ip: IpAddr,
        /// When it will be there.
        due: Time,
    },
    /// An ENI is there.
    EniMade(ResourceId),
    /// An ENI takes no new connections any more, and goes when those that it has are over.
    EniDraining {
        /// `eni-…`
        eni: ResourceId,
        /// Why.
        why: &'static str,
    },
    /// An ENI that a key needs beside those it has cannot be made.
    EniNotMade {
        /// Its key.
        key: Key,
        /// Why.
        reason: Reason,
    },
    /// A key has no user any more: its ENIs will be deleted.
    Released {
        /// The key.
        key: Key,
        /// When.
        due: Time,
    },
    /// A key has a user again, before its ENIs were deleted.
    TakenUp(Key),
    /// Nobody has used the ENIs of a key for so long that they are reclaimed.
    Reclaimed(Key),
    /// The ENIs of a key cannot be deleted by Lambda.
    Stranded {
        /// The key.
        key: Key,
        /// What is missing.
        why: String,
    },
    /// An ENI is gone.
    EniDeleted {
        /// `eni-…`
        eni: ResourceId,
        /// Why.
        why: &'static str,
    },
    /// A zone fails.
    ZoneFailed(String),
    /// A zone is back.
    ZoneRestored(String),
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State { version, state, reason: None } => write!(f, "{version} is {state}"),
            Self::State { version, state, reason: Some(reason) } => {
                write!(f, "{version} is {state}: {reason}")
            }
            Self::Update { function, status, reason: None } => {
                write!(f, "update of {function}: {status}")
            }
            Self::Update { function, status, reason: Some(reason) } => {
                write!(f, "update of {function}: {status}: {reason}")
            }
            Self::Deleted(version) => write!(f, "{version} is deleted"),
            Self::EniRequested { eni, key, private_ip, due } => {
                write!(f, "{eni} ({private_ip}) of {key} is being made until {due}")
            }
            Self::EniMade(eni) => write!(f, "{eni} is made"),
            Self::EniDraining { eni, why } => {
                write!(f, "{eni} takes no new connections: {why}")
            }
            Self::EniNotMade { key, reason } => {
                write!(f, "no further ENI of {key} can be made: {reason}")
            }
            Self::Released { key, due } => {
                write!(f, "the ENIs of {key} have no user any more, deleted at {due}")
            }
            Self::TakenUp(key) => write!(f, "the ENIs of {key} have a user again"),
            Self::Reclaimed(key) => write!(f, "the ENIs of {key} were idle and are reclaimed"),
            Self::Stranded { key, why } => write!(f, "the ENIs of {key} are stranded: {why}"),
            Self::EniDeleted { eni, why } => write!(f, "{eni} is deleted: {why}"),
            Self::ZoneFailed(zone) => write!(f, "zone {zone} fails"),
            Self::ZoneRestored(zone) => write!(f, "zone {zone} is back"),
        }
    }
}
