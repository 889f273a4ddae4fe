//! Network ACLs: ordered, stateless, the first rule that matches decides (ACL-02).

use std::net::Ipv4Addr;

use viaduct_topology::{
    ResourceId,
    model::{AclAction, AclRule, PortRange},
};

use super::{
    Direction,
    selector::{ByClass, Entry, Selector, entry},
};

/// A network ACL.
#[derive(Debug)]
pub struct NetworkAcl {
    /// `acl-…`
    pub id: ResourceId,
    /// `main/network_acl/data`
    pub name: String,
    ingress: RuleList,
    egress: RuleList,
}

/// What of an ACL makes it what it is; two with equal sources are one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source<'a> {
    pub(super) id: &'a ResourceId,
    pub(super) name: &'a str,
    pub(super) ingress: &'a [AclRule],
    pub(super) egress: &'a [AclRule],
}

/// The rules of one direction.
#[derive(Debug)]
struct RuleList {
    rules: Box<[AclRule]>,
    entries: ByClass<Entry>,
}

impl RuleList {
    fn new(rules: &[AclRule]) -> Self {
        let entries = ByClass::new(
            rules.iter(),
            |rule| rule.traffic,
            |values, index, rule| entry(values, index, rule.cidr_block),
        );
        Self { rules: rules.into(), entries }
    }
}

/// How an ACL judges a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling<'a> {
    /// The values (ports, or ICMP type × 256 + code) it holds for.
    pub(crate) values: PortRange,
    /// The rule that decided; none means the closing `*`, which denies (ACL-03).
    pub rule: Option<&'a AclRule>,
}

impl Ruling<'_> {
    /// Whether the packet passes.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.rule.is_some_and(|rule| rule.action == AclAction::Allow)
    }
}

impl NetworkAcl {
    pub(super) fn new(source: &Source<'_>) -> Self {
        Self {
            id: source.id.clone(),
            name: source.name.to_owned(),
            ingress: RuleList::new(source.ingress),
            egress: RuleList::new(source.egress),
        }
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source {
            id: &self.id,
            name: &self.name,
            ingress: &self.ingress.rules,
            egress: &self.egress.rules,
        }
    }

    fn list(&self, direction: Direction) -> &RuleList {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// Judges a packet by its first value. `address` is the source for ingress, the destination for
    /// egress (ACL-11).
    pub(crate) fn judge(
        &self,
        direction: Direction,
        selector: Selector,
        address: Ipv4Addr,
    ) -> Ruling<'_> {
        let list = self.list(direction);
        let (value, address) = (selector.values.first, address.into());
        let mut entries = list.entries.of(selector.class).iter();
        let rule = entries.find(|entry| entry.matches(value, address));
        Ruling {
            values: PortRange::single(value),
            rule: rule.map(|entry| &list.rules[entry.rule as usize]),
        }
    }

    /// Judges every value the packet might have: rulings over disjoint ranges, ascending, which
    /// together cover them all.
    pub(crate) fn judge_range(
        &self,
        direction: Direction,
        selector: Selector,
        address: Ipv4Addr,
    ) -> Vec<Ruling<'_>> {
        let list = self.list(direction);
        let mut rulings = Vec::new();
        // What no rule has decided yet.
        let mut open = vec![selector.values];
        for entry in list.entries.of(selector.class) {
            if !entry.matches_address(address.into()) {
                continue;
            }
            let mut rest = Vec::with_capacity(open.len() + 1);
            for range in open {
                let (first, last) =
                    (range.first.max(entry.values.first), range.last.min(entry.values.last));
                if first > last {
                    rest.push(range);
                    continue;
                }
                let rule = Some(&list.rules[entry.rule as usize]);
                rulings.push(Ruling { values: PortRange { first, last }, rule });
                if range.first < first {
                    rest.push(PortRange { first: range.first, last: first - 1 });
                }
                if last < range.last {
                    rest.push(PortRange { first: last + 1, last: range.last });
                }
            }
            open = rest;
        }
        rulings.extend(open.into_iter().map(|values| Ruling { values, rule: None }));
        rulings.sort_by_key(|ruling| ruling.values.first);
        rulings
    }
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;
    use proptest::prelude::*;
    use viaduct_topology::model::Traffic;

    use super::*;

    fn acl(ingress: &[AclRule]) -> NetworkAcl {
        let id = ResourceId::named("acl-1");
        NetworkAcl::new(&Source { id: &id, name: "main/acl", ingress, egress: &[] })
    }

    fn rule(number: u16, action: AclAction, traffic: Traffic, block: &str) -> AclRule {
        AclRule { number, action, traffic, cidr_block: block.parse().unwrap() }
    }

    fn tcp(port: u16) -> Selector {
        Selector::new(6, PortRange::single(port), (0, 0))
    }

    // Conforms: ACL-02
    #[test]
    fn acl_02_the_first_match_decides_and_later_rules_are_ignored() {
        let all = Traffic::Tcp(PortRange::ALL);
        let acl = acl(&[
            rule(90, AclAction::Deny, Traffic::Tcp(PortRange::single(22)), "10.0.1.0/24"),
            rule(100, AclAction::Allow, all, "10.0.0.0/16"),
            rule(110, AclAction::Deny, all, "0.0.0.0/0"),
            rule(120, AclAction::Allow, all, "0.0.0.0/0"),
        ]);
        let number = |port, address: [u8; 4]| {
            let ruling = acl.judge(Direction::Ingress, tcp(port), address.into());
            (ruling.allows(), ruling.rule.map(|rule| rule.number))
        };
        assert_eq!(number(22, [10, 0, 1, 9]), (false, Some(90)));
        assert_eq!(number(23, [10, 0, 1, 9]), (true, Some(100)));
        assert_eq!(number(22, [10, 0, 2, 9]), (true, Some(100)));
        assert_eq!(number(22, [10, 1, 0, 1]), (false, Some(110)));
    }

    #[test]
    fn acl_06_what_no_rule_matches_is_denied() {
        let acl = acl(&[]);
        let ruling = acl.judge(Direction::Ingress, tcp(443), Ipv4Addr::LOCALHOST);
        assert_eq!((ruling.allows(), ruling.rule), (false, None));
    }

    #[test]
    fn acl_15_an_ipv6_rule_never_matches_ipv4() {
        let acl = acl(&[rule(100, AclAction::Allow, Traffic::All, "::/0")]);
        assert!(!acl.judge(Direction::Ingress, tcp(443), Ipv4Addr::LOCALHOST).allows());
    }

    // Conforms: ACL-18
    #[test]
    fn acl_18_a_range_is_cut_where_rulings_differ() {
        let high = Traffic::Tcp(PortRange { first: 32_768, last: 65_535 });
        let acl = acl(&[rule(100, AclAction::Allow, high, "0.0.0.0/0")]);
        let selector = Selector::new(6, PortRange { first: 1024, last: 65_535 }, (0, 0));

        let rulings = acl.judge_range(Direction::Ingress, selector, Ipv4Addr::new(10, 0, 2, 10));

        let told: Vec<_> =
            rulings.iter().map(|r| (r.values.first, r.values.last, r.allows())).collect();
        assert_eq!(told, [(1024, 32_767, false), (32_768, 65_535, true)]);
        // The fact's fraction: 32,768 of 64,512 ports pass.
        let passing = f64::from(65_535_u16 - 32_767) / f64::from(65_535_u16 - 1023);
        assert!((passing - 0.508).abs() < 0.0005);
    }

    fn any_traffic() -> impl Strategy<Value = Traffic> {
        let ports =
            (0_u16..12, 0_u16..12).prop_map(|(a, b)| PortRange { first: a.min(b), last: a.max(b) });
        prop_oneof![
            Just(Traffic::All),
            ports.clone().prop_map(Traffic::Tcp),
            ports.prop_map(Traffic::Udp),
            (prop::option::of(0_u8..3), prop::option::of(0_u8..3))
                .prop_map(|(kind, code)| Traffic::Icmp { kind, code }),
            (0_u8..20).prop_map(Traffic::Protocol),
        ]
    }

    fn any_rule() -> impl Strategy<Value = AclRule> {
        let block = (0_u32..8, 29_u8..=32)
            .prop_map(|(low, length)| IpNet::new(Ipv4Addr::from(low).into(), length).unwrap());
        (any::<bool>(), any_traffic(), block).prop_map(|(allow, traffic, block)| AclRule {
            number: 0,
            action: if allow { AclAction::Allow } else { AclAction::Deny },
            traffic,
            cidr_block: block.trunc(),
        })
    }

    /// The definition, word for word, with no entries and no classes.
    fn naive(rules: &[AclRule], protocol: u8, port: u16, icmp: (u8, u8), from: Ipv4Addr) -> bool {
        for rule in rules {
            let traffic = match rule.traffic {
                Traffic::All => true,
                Traffic::Tcp(ports) => protocol == 6 && ports.contains(port),
                Traffic::Udp(ports) => protocol == 17 && ports.contains(port),
                Traffic::Icmp { kind, code } => {
                    protocol == 1
                        && kind.is_none_or(|kind| {
                            kind == icmp.0 && code.is_none_or(|code| code == icmp.1)
                        })
                }
                Traffic::Protocol(number) => protocol == number,
            };
            if traffic && rule.cidr_block.contains(&std::net::IpAddr::V4(from)) {
                return rule.action == AclAction::Allow;
            }
        }
        false
    }

    proptest! {
        #[test]
        fn judging_agrees_with_the_definition(
            mut rules in prop::collection::vec(any_rule(), 0..12),
            protocol in prop_oneof![Just(6_u8), Just(17), Just(1), 0_u8..20],
            port in 0_u16..12,
            icmp in (0_u8..3, 0_u8..3),
            from in 0_u32..8,
        ) {
            for (rule, number) in rules.iter_mut().zip(1..) {
                rule.number = number;
            }
            let from = Ipv4Addr::from(from);
            let selector = Selector::new(protocol, PortRange::single(port), icmp);
            let allowed = acl(&rules).judge(Direction::Ingress, selector, from).allows();
            prop_assert_eq!(allowed, naive(&rules, protocol, port, icmp, from));
        }

        #[test]
        fn a_range_is_judged_as_each_of_its_ports(
            rules in prop::collection::vec(any_rule(), 0..12),
            protocol in prop_oneof![Just(6_u8), Just(17)],
            from in 0_u32..8,
            ends in (0_u16..14, 0_u16..14),
        ) {
            let (acl, from) = (acl(&rules), Ipv4Addr::from(from));
            let ports = PortRange { first: ends.0.min(ends.1), last: ends.0.max(ends.1) };
            let whole = Selector::new(protocol, ports, (0, 0));
            let rulings = acl.judge_range(Direction::Ingress, whole, from);

            let mut next = u32::from(ports.first);
            for ruling in &rulings {
                prop_assert_eq!(u32::from(ruling.values.first), next, "a gap or an overlap");
                next = u32::from(ruling.values.last) + 1;
                for port in ruling.values.first..=ruling.values.last {
                    let single = Selector::new(protocol, PortRange::single(port), (0, 0));
                    let one = acl.judge(Direction::Ingress, single, from);
                    prop_assert_eq!(one.rule, ruling.rule);
                }
            }
            prop_assert_eq!(next, u32::from(ports.last) + 1, "not covered to the end");
        }
    }
}
