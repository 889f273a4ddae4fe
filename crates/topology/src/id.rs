//! Resource ids as AWS writes them.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A resource's id, such as `subnet-0a1b2c3d4e5f60718`: the one name that survives reloads.
///
/// Where a file names none, it is the prefix of the resource's kind and 17 hex digits derived from
/// its path, so that two loads of one file agree.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ResourceId(Arc<str>);

impl ResourceId {
    /// An id that somebody chose.
    #[must_use]
    pub fn named(id: &str) -> Self {
        Self(id.into())
    }

    /// The id of the resource of this kind (`subnet`, `vpc`, …) at this path.
    #[must_use]
    pub fn derived(prefix: &str, path: &str) -> Self {
        let digest = Sha256::digest(format!("{prefix} {path}").as_bytes());
        // AWS ids start with a zero: 16 free digits follow.
        let digits: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{prefix}-0{digits}").into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The UUID of whatever is at this path, the same every time. It is of version 8, whose digits mean what
/// its maker wants (RFC 9562, section 5.8).
#[must_use]
pub fn derived_uuid(path: &str) -> String {
    let digest = Sha256::digest(path.as_bytes());
    let word = |at: usize| u16::from_be_bytes([digest[at], digest[at + 1]]);
    format!(
        "{:04x}{:04x}-{:04x}-8{:03x}-8{:03x}-{:04x}{:04x}{:04x}",
        word(0),
        word(2),
        word(4),
        word(6) & 0xfff,
        word(8) & 0xfff,
        word(10),
        word(12),
        word(14),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_ids_look_like_aws_ids_and_differ_by_kind_and_path() {
        let id = ResourceId::derived("subnet", "main/private");
        assert_eq!(id.as_str().len(), "subnet-".len() + 17);
        assert_eq!(id, ResourceId::derived("subnet", "main/private"));
        assert_ne!(id, ResourceId::derived("subnet", "main/public"));
        assert_ne!(id.as_str()[7..], ResourceId::derived("vpc", "main/private").as_str()[4..]);
    }

    #[test]
    fn derived_uuids_are_of_version_8_and_differ_by_path() {
        let uuid = derived_uuid("eni-0");
        let lengths: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!((lengths, &uuid[14..15], &uuid[19..20]), (vec![8, 4, 4, 4, 12], "8", "8"));
        assert_eq!(uuid, derived_uuid("eni-0"));
        assert_ne!(uuid, derived_uuid("eni-1"));
    }
}
