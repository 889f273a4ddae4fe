//! Names of functions, their versions, and roles.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The name of an execution role.
pub type RoleName = Arc<str>;

/// A function's name, in its account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionName {
    /// The account that owns it.
    pub account: Arc<str>,
    /// Its name there.
    pub name: Arc<str>,
}

impl FunctionName {
    /// The function of this name in this account.
    #[must_use]
    pub fn new(account: &str, name: &str) -> Self {
        Self { account: account.into(), name: name.into() }
    }

    /// The name that is unique everywhere. It names no region, because there is one only.
    #[must_use]
    pub fn arn(&self, version: Qualifier) -> String {
        let Self { account, name } = self;
        match version {
            Qualifier::Latest => format!("arn:aws:lambda::{account}:function:{name}"),
            Qualifier::Version(number) => {
                format!("arn:aws:lambda::{account}:function:{name}:{number}")
            }
        }
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name)
    }
}

/// Which state of a function is meant: the one that can be changed, or one that was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Qualifier {
    /// `$LATEST`
    #[default]
    Latest,
    /// A published version. 1 is the first.
    Version(u32),
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.pad("$LATEST"),
            Self::Version(number) => fmt::Display::fmt(number, f),
        }
    }
}

/// A function's `$LATEST` or one of its versions: whatever has a configuration of its own, and with
/// it uses ENIs of its own (LAM-54).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionId {
    /// The function.
    pub function: FunctionName,
    /// Which of its versions.
    pub version: Qualifier,
}

impl VersionId {
    /// A function's `$LATEST`.
    #[must_use]
    pub const fn latest(function: FunctionName) -> Self {
        Self { function, version: Qualifier::Latest }
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Qualifier::Latest => write!(f, "{}", self.function),
            Qualifier::Version(number) => write!(f, "{}:{number}", self.function),
        }
    }
}
