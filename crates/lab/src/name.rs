//! What a lab and its hosts are called: every name on the host derives from the lab's own.
//!
//! A lab must be removable by somebody who knows nothing but its name, after whoever started it
//! was killed at any moment. So nothing is named at random: the namespace of `function/api/1` in
//! the lab `demo` is `vd-demo.function.api.1`. A lab's name has no dot, hence its prefix `vd-demo.`
//! never covers the namespaces of a lab `demo-2`.

use std::{fmt, path::Path, str::FromStr};

use crate::Error;

/// Before every namespace that a lab makes.
const PREFIX: &str = "vd-";

/// A lab's name: 1 to 40 of `a-z`, `A-Z`, `0-9`, `-` and `_`.
///
/// The bound keeps the path of a lab's sockets within the 107 bytes of a Unix socket's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabName(String);

impl LabName {
    /// The name of the lab that a topology file stands for: its stem, with `-` for what a name
    /// cannot contain.
    pub fn from_file(file: &Path) -> Result<Self, Error> {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let name: String =
            stem.chars().map(|c| if is_allowed(c) { c } else { '-' }).take(40).collect();
        name.parse()
    }

    /// What the name of each of its namespaces begins with.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{PREFIX}{}.", self.0)
    }

    /// The namespace of one of its hosts, by the host's name (`function/api/1`).
    #[must_use]
    pub fn namespace(&self, host: &str) -> String {
        namespace(&self.prefix(), host)
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The namespace of a host under a prefix.
#[must_use]
pub fn namespace(prefix: &str, host: &str) -> String {
    format!("{prefix}{}", host.replace('/', "."))
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

impl FromStr for LabName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if (1..=40).contains(&text.len()) && text.chars().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::BadLabName { name: text.to_owned() })
        }
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_derive_from_the_file() {
        let name = |path: &str| LabName::from_file(Path::new(path)).unwrap().to_string();
        assert_eq!(name("config/quickstart.yaml"), "quickstart");
        assert_eq!(name("my lab.v2.yaml"), "my-lab-v2");
        assert_eq!(name(&"x".repeat(200)).len(), 40);
        assert!(LabName::from_file(Path::new("/")).is_err());
    }

    #[test]
    fn a_name_is_what_paths_and_prefixes_can_carry() {
        for bad in ["", ".", "a.b", "a/b", "a b", "ä", &"x".repeat(41)] {
            assert!(bad.parse::<LabName>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn prefixes_of_two_labs_never_cover_each_other() {
        let (short, long): (LabName, LabName) =
            ("demo".parse().unwrap(), "demo-2".parse().unwrap());
        assert!(!long.namespace("instance/db").starts_with(&short.prefix()));
        assert_eq!(short.namespace("function/api/1"), "vd-demo.function.api.1");
    }
}
