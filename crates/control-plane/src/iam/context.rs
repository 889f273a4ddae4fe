//! What conditions can ask of a request.

use std::collections::BTreeMap;

use viaduct_topology::iam::{SECURITY_GROUP_IDS, SUBNET_IDS, VPC_IDS};

/// The actions whose requests have the keys about VPCs (LAM-72).
const OF_VPC: [&str; 2] = ["lambda:CreateFunction", "lambda:UpdateFunctionConfiguration"];

/// Condition keys of a request and their values. A key without values is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// By the key in lower case.
    values: BTreeMap<String, Vec<String>>,
}

impl Context {
    /// The same with these values of a key, in the place of others that it had.
    #[must_use]
    pub fn with<V: Into<String>>(mut self, key: &str, values: impl IntoIterator<Item = V>) -> Self {
        let key = key.to_ascii_lowercase();
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        match values.is_empty() {
            true => self.values.remove(&key),
            false => self.values.insert(key, values),
        };
        self
    }

    /// The values of a key; none if it is not there.
    pub(super) fn values(&self, key: &str) -> &[String] {
        self.values.get(&key.to_ascii_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// What of it is part of a request for an action (LAM-72).
    pub(super) fn of_action(&self, action: &str) -> Self {
        let mut context = self.clone();
        if !OF_VPC.iter().any(|it| it.eq_ignore_ascii_case(action)) {
            let about_vpc = [VPC_IDS, SUBNET_IDS, SECURITY_GROUP_IDS].map(str::to_ascii_lowercase);
            context.values.retain(|key, _| !about_vpc.contains(key));
        }
        context
    }
}
