//! Where an environment of a function stands.

use std::iter;

use viaduct_topology::ResourceId;

use super::{
    Lifecycle,
    eni::Eni,
    function::{Function, Version},
    key::Key,
    names::{FunctionName, VersionId},
    state::State,
};
use crate::turns::turns;

/// Where an environment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its subnet; none if its function has no VPC.
    pub subnet: Option<ResourceId>,
    /// An ENI that is there: one is enough to name the key, all of which serve. None without a VPC.
    pub eni: Option<ResourceId>,
}

impl Lifecycle {
    /// The functions of this name, at most one an account, by account: a look-up each.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Function> {
        let mut from = FunctionName::new("", "");
        iter::from_fn(move || {
            loop {
                let account = &self.functions.range(&from..).next()?.0.account;
                let here = FunctionName::new(account, name);
                // The least of the accounts behind this one.
                from = FunctionName::new(&format!("{account}\0"), "");
                if let Some(function) = self.functions.get(&here) {
                    return Some(function);
                }
            }
        })
    }

    /// Where the environment of this number of a version stands. It stays in the subnet in which it
    /// stood, if the version still has that; else its number decides, zones taking turns, but for those
    /// that have failed while others have not (LAM-18).
    ///
    /// None if the version is not there or cannot be invoked. During an update, it is where the
    /// configuration of before has it (LAM-48).
    #[must_use]
    pub fn placement(
        &self,
        version: &VersionId,
        number: u32,
        stood: Option<&ResourceId>,
    ) -> Option<Placement> {
        let Version { state: State::Active, configuration, .. } = self.version(version)? else {
            return None;
        };
        let subnets = configuration.vpc.subnets();
        if subnets.is_empty() {
            return Some(Placement { subnet: None, eni: None });
        }
        let zoned = |healthy: bool| {
            let chosen = subnets.iter().filter(move |it| !(healthy && self.has_failed(it)));
            let zoned = chosen.map(|subnet| (self.places.zone(subnet).unwrap_or_default(), subnet));
            turns(zoned).nth(number.saturating_sub(1) as usize)
        };
        let stays = stood.filter(|stood| subnets.contains(stood));
        let subnet = stays.or_else(|| zoned(true)).or_else(|| zoned(false))?.clone();
        let account = version.function.account.clone();
        let key = Key::new(account, subnet.clone(), configuration.vpc.security_groups());
        let eni = self.set(&key)?.enis.values().find(|eni| Eni::is_there(eni))?.id.clone();
        Some(Placement { subnet: Some(subnet), eni: Some(eni) })
    }
}
