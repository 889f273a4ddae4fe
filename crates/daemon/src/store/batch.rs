//! What one transaction writes: the records that are not as they were.

use std::collections::BTreeSet;

use serde::Serialize;
use viaduct_control_plane::lifecycle::{EniSet, Function, Lifecycle, Output, Time};

/// Records as text, by key. None where a record is gone.
pub(super) type Rows = Vec<(String, Option<String>)>;

/// What one transaction writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(super) functions: Rows,
    pub(super) sets: Rows,
    pub(super) roles: Rows,
    /// All that have failed, if that has changed.
    pub(super) failed_zones: Option<BTreeSet<String>>,
    pub(super) now: Time,
}

impl Batch {
    /// What has changed in a machine, as it is now.
    pub(crate) fn of(changed: &Output, machine: &Lifecycle) -> Self {
        let functions = changed.functions.iter().map(|name| {
            let function: Option<&Function> = machine.function(name);
            (key(name), function.map(text))
        });
        let sets = changed.sets.iter().map(|name| {
            let set: Option<&EniSet> = machine.set(name);
            (key(name), set.map(text))
        });
        let roles = changed.roles.iter().map(|name| {
            let role = machine.role(name).map(|role| (name, role));
            (key(name), role.as_ref().map(text))
        });
        let failed_zones = || machine.failed_zones().map(str::to_owned).collect();
        Self {
            functions: functions.collect(),
            sets: sets.collect(),
            roles: roles.collect(),
            failed_zones: changed.zones.then(failed_zones),
            now: machine.now(),
        }
    }

    /// All of a machine.
    pub(crate) fn whole(machine: &Lifecycle) -> Self {
        let records = machine.records();
        let all = Output {
            functions: records.functions.into_iter().map(|function| function.name).collect(),
            sets: records.sets.into_iter().map(|set| set.key).collect(),
            roles: records.roles.into_keys().collect(),
            zones: true,
            ..Output::default()
        };
        Self::of(&all, machine)
    }

    /// Whether there is nothing in it but the time.
    pub(crate) fn is_empty(&self) -> bool {
        self.functions.is_empty()
            && self.sets.is_empty()
            && self.roles.is_empty()
            && self.failed_zones.is_none()
    }

    /// The machine's time.
    pub(crate) const fn now(&self) -> Time {
        self.now
    }
}

/// The key of a record: what it is called.
pub(super) fn key<T: Serialize>(name: &T) -> String {
    text(name)
}

/// As JSON, which names and records always have: they are made of texts, numbers, lists and maps by
/// text or number.
fn text<T: Serialize>(record: &T) -> String {
    serde_json::to_string(record).expect("records have a JSON")
}
