//! Security groups: stateful, allow-only; the rules of all groups of an interface are one set
//! (SG-03).
//!
//! A rule that names a group is tested as "does the interface that owns this address carry the
//! group". It is never expanded into addresses, so an interface may come and go without any group
//! being compiled again.

use std::{net::Ipv4Addr, slice, sync::Arc};

use ipnet::IpNet;
use viaduct_topology::{
    ResourceId,
    model::{PortRange, Traffic},
};

use super::{
    Direction, Number, PrefixList,
    selector::{ByClass, Class, Entry, Selector, entry},
};

/// A security group.
#[derive(Debug)]
pub struct SecurityGroup {
    /// `sg-…`
    pub id: ResourceId,
    /// `main/security_group/db`
    pub name: String,
    ingress: RuleSet,
    egress: RuleSet,
    prefix_lists: Box<[Arc<PrefixList>]>,
}

/// What of a group makes it what it is; two with equal sources are one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source<'a> {
    pub(super) id: &'a ResourceId,
    pub(super) name: &'a str,
    pub(super) ingress: &'a [Rule],
    pub(super) egress: &'a [Rule],
    /// The prefix lists that the rules name, in their order.
    pub(super) prefix_lists: &'a [Arc<PrefixList>],
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it admits.
    pub traffic: Traffic,
    /// From or to whom.
    pub peer: Peer,
}

/// The other side of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Addresses.
    Block(IpNet),
    /// Private addresses of the interfaces that carry the group (SG-07).
    Group(Number<SecurityGroup>),
    /// The blocks of a prefix list.
    PrefixList(Number<PrefixList>),
}

/// The rules of one direction.
#[derive(Debug)]
struct RuleSet {
    rules: Box<[Rule]>,
    blocks: ByClass<Entry>,
    groups: ByClass<GroupEntry>,
    /// The ports on which rules admit everybody, for TCP and for UDP: few, and asked for each flow
    /// that might be untracked (SG-20).
    everybody: [Box<[PortRange]>; 2],
}

#[derive(Clone, Copy, Debug)]
struct GroupEntry {
    values: PortRange,
    group: Number<SecurityGroup>,
    rule: u32,
}

impl RuleSet {
    fn new(rules: &[Rule], prefix_lists: &[Arc<PrefixList>]) -> Self {
        let traffic = |rule: &Rule| rule.traffic;
        let blocks = ByClass::new(rules.iter(), traffic, |values, index, rule| {
            let blocks = match &rule.peer {
                Peer::Block(block) => slice::from_ref(block),
                Peer::Group(_) => &[],
                Peer::PrefixList(number) => prefix_lists
                    .iter()
                    .find(|list| list.number == *number)
                    .map_or(&[][..], |list| &list.entries),
            };
            blocks.iter().filter_map(move |block| entry(values, index, *block))
        });
        let groups = ByClass::new(rules.iter(), traffic, |values, index, rule| match rule.peer {
            Peer::Group(group) => Some(GroupEntry { values, group, rule: index }),
            Peer::Block(_) | Peer::PrefixList(_) => None,
        });
        let everybody = [Class::Tcp, Class::Udp].map(|class| {
            let entries: &[Entry] = blocks.of(class);
            entries
                .iter()
                .filter(|entry| entry.is_for_everybody())
                .map(|entry| entry.values)
                .collect()
        });
        Self { rules: rules.into(), blocks, groups, everybody }
    }
}

impl SecurityGroup {
    pub(super) fn new(source: &Source<'_>) -> Self {
        Self {
            id: source.id.clone(),
            name: source.name.to_owned(),
            ingress: RuleSet::new(source.ingress, source.prefix_lists),
            egress: RuleSet::new(source.egress, source.prefix_lists),
            prefix_lists: source.prefix_lists.into(),
        }
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source {
            id: &self.id,
            name: &self.name,
            ingress: &self.ingress.rules,
            egress: &self.egress.rules,
            prefix_lists: &self.prefix_lists,
        }
    }

    fn set(&self, direction: Direction) -> &RuleSet {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Whether there is no rule at all in this direction.
    pub(crate) fn is_empty(&self, direction: Direction) -> bool {
        self.set(direction).rules.is_empty()
    }

    /// The rule that admits a packet whose peer has this address, if one does by its block.
    pub(crate) fn admits_address(
        &self,
        direction: Direction,
        selector: Selector,
        peer: Ipv4Addr,
    ) -> Option<&Rule> {
        let set = self.set(direction);
        let (value, peer) = (selector.values.first, peer.into());
        let mut entries = set.blocks.of(selector.class).iter();
        let entry = entries.find(|entry| entry.matches(value, peer))?;
        Some(&set.rules[entry.rule as usize])
    }

    /// Whether any rule for this class of traffic names a group.
    pub(crate) fn names_groups(&self, direction: Direction, class: Class) -> bool {
        !self.set(direction).groups.of(class).is_empty()
    }

    /// The rule that admits a packet whose peer's interface carries these groups, if one does by
    /// naming one of them.
    pub(crate) fn admits_member(
        &self,
        direction: Direction,
        selector: Selector,
        peer: &[Number<Self>],
    ) -> Option<&Rule> {
        let set = self.set(direction);
        let value = selector.values.first;
        let mut entries = set.groups.of(selector.class).iter();
        let entry =
            entries.find(|entry| entry.values.contains(value) && peer.contains(&entry.group))?;
        Some(&set.rules[entry.rule as usize])
    }

    /// Whether a rule admits this packet from or to everybody (SG-20).
    pub(crate) fn admits_everybody(&self, direction: Direction, selector: Selector) -> bool {
        let value = selector.values.first;
        self.everybody(direction, selector.class).iter().any(|ports| ports.contains(value))
    }

    /// Whether a rule admits everybody on every port of this class (SG-20).
    pub(crate) fn is_open(&self, direction: Direction, class: Class) -> bool {
        self.everybody(direction, class).contains(&PortRange::ALL)
    }

    fn everybody(&self, direction: Direction, class: Class) -> &[PortRange] {
        let [tcp, udp] = &self.set(direction).everybody;
        match class {
            Class::Tcp => tcp,
            Class::Udp => udp,
            // Always tracked (SG-18, SG-19).
            Class::Icmp | Class::Other => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Numbers;

    fn group(ingress: &[Rule]) -> SecurityGroup {
        let id = ResourceId::named("sg-1");
        let source =
            Source { id: &id, name: "main/group", ingress, egress: &[], prefix_lists: &[] };
        SecurityGroup::new(&source)
    }

    fn block(traffic: Traffic, block: &str) -> Rule {
        Rule { traffic, peer: Peer::Block(block.parse().unwrap()) }
    }

    fn tcp(port: u16) -> Selector {
        Selector::new(6, PortRange::single(port), (0, 0))
    }

    const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 5);

    #[test]
    fn sg_01_only_what_a_rule_admits_passes() {
        let web = block(Traffic::Tcp(PortRange::single(443)), "10.0.1.0/24");
        let group = group(&[web]);
        let admits =
            |port, peer| group.admits_address(Direction::Ingress, tcp(port), peer).copied();
        assert_eq!(admits(443, PEER), Some(web));
        assert_eq!(admits(444, PEER), None);
        assert_eq!(admits(443, Ipv4Addr::new(10, 0, 2, 5)), None);
        assert!(group.is_empty(Direction::Egress) && !group.is_empty(Direction::Ingress));
    }

    // Conforms: SG-07
    #[test]
    fn sg_07_a_reference_admits_members_and_not_addresses() {
        let numbers = Numbers::new();
        let [peers, others] =
            ["sg-peers", "sg-others"].map(|id| numbers.of::<SecurityGroup>(&ResourceId::named(id)));
        let rule = Rule { traffic: Traffic::Tcp(PortRange::ALL), peer: Peer::Group(peers) };
        let group = group(&[rule]);

        assert_eq!(group.admits_address(Direction::Ingress, tcp(80), PEER), None);
        let admits = |groups: &[_]| group.admits_member(Direction::Ingress, tcp(80), groups);
        assert_eq!(admits(&[others, peers]), Some(&rule));
        assert_eq!(admits(&[others]), None);
        assert!(group.names_groups(Direction::Ingress, Class::Tcp));
        assert!(!group.names_groups(Direction::Ingress, Class::Udp));
    }

    #[test]
    fn sg_16_an_ipv6_rule_never_admits_ipv4() {
        let group = group(&[block(Traffic::All, "::/0")]);
        assert_eq!(group.admits_address(Direction::Ingress, tcp(80), PEER), None);
        assert!(!group.is_empty(Direction::Ingress));
    }

    // Conforms: SG-20
    #[test]
    fn sg_20_openness_is_for_everybody_on_every_port() {
        let open = |rule| group(&[rule]).is_open(Direction::Ingress, Class::Tcp);
        assert!(open(block(Traffic::All, "0.0.0.0/0")));
        assert!(open(block(Traffic::Tcp(PortRange::ALL), "0.0.0.0/0")));
        assert!(!open(block(Traffic::Tcp(PortRange { first: 1, last: 65_535 }), "0.0.0.0/0")));
        assert!(!open(block(Traffic::All, "0.0.0.0/1")));
        assert!(!open(block(Traffic::Udp(PortRange::ALL), "0.0.0.0/0")));
    }
}
