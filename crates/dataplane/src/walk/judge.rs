//! The judgements that the way there and the way back have in common.

use std::net::Ipv4Addr;

use viaduct_topology::Reason;

use crate::{
    inventory::{Interface, Owner, View},
    policy::{
        Direction, Number, Policy, Rule, Ruling, SecurityGroup, Selector, Subnet, Target, Vpc,
    },
    recorder::{GroupDecision, Header, Recorder, Step},
};

/// Who is at the other end of a packet, as far as rules that name groups care.
#[derive(Clone, Copy, Debug)]
pub(super) enum OtherEnd<'a> {
    /// This interface, as long as the packet shows its private address.
    Interface(Option<&'a Interface>),
    /// Whoever the routes lead to.
    Routed,
}

/// The rule that admits a packet.
struct Admission<'a> {
    group: &'a SecurityGroup,
    rule: &'a Rule,
    /// It would, if a middlebox did not hide that the peer carries the group it names (SG-10).
    hidden: bool,
}

/// Records steps, and knows the first blocker among them.
pub(super) struct Judge<'a, R> {
    pub(super) policy: &'a Policy,
    pub(super) view: &'a View<'a>,
    recorder: &'a mut R,
    /// The first blocker, when the walk went on behind it.
    pub(super) blocked: Option<Reason>,
}

impl<'a, R: Recorder> Judge<'a, R> {
    pub(super) fn new(policy: &'a Policy, view: &'a View<'a>, recorder: &'a mut R) -> Self {
        Self { policy, view, recorder, blocked: None }
    }

    /// A step that leaves the header as it is.
    #[inline]
    pub(super) fn step(
        &mut self,
        header: &Header,
        step: Step<'_>,
        verdict: Result<(), Reason>,
    ) -> Result<(), Reason> {
        self.translation(header, header, step, verdict)
    }

    /// A step that may change the header. The error ends the walk.
    #[inline]
    pub(super) fn translation(
        &mut self,
        before: &Header,
        after: &Header,
        step: Step<'_>,
        verdict: Result<(), Reason>,
    ) -> Result<(), Reason> {
        self.recorder.record(self.policy, before, after, step, verdict);
        match verdict {
            Err(reason) if R::COLLECTS => {
                self.blocked.get_or_insert(reason);
                Ok(())
            }
            verdict => verdict,
        }
    }

    /// A step behind which there is no way to go on.
    #[inline]
    pub(super) fn end(&mut self, header: &Header, step: Step<'_>, reason: Reason) -> Reason {
        self.recorder.record(self.policy, header, header, step, Err(reason));
        *self.blocked.get_or_insert(reason)
    }

    /// Whether an interface stands: in a failed zone it neither sends nor gets (LAM-18, NAT-02), and
    /// neither does a function's in a subnet that was taken back from its account (SHR-10).
    pub(super) fn stands(&mut self, header: &Header, interface: &Interface) -> Result<(), Reason> {
        if let Some(subnet) = self.policy.in_failed_zone(interface.subnet) {
            let step = Step::Zone { interface, subnet };
            self.step(header, step, Err(Reason::ZoneUnavailable))?;
        }
        if let Owner::Functions(key) = &interface.owner
            && let Some(subnet) = self.policy.cuts_off(interface.subnet, &key.account)
        {
            let step = Step::Unshared { interface, subnet, account: &key.account };
            self.step(header, step, Err(Reason::SubnetNotShared))?;
        }
        Ok(())
    }

    /// Whether a peering connection carries the packet out of one VPC into the other (RT-28).
    pub(super) fn peered(
        &self,
        header: &Header,
        from: Number<Vpc>,
        to: &Vpc,
    ) -> Result<(), Reason> {
        let from = self.policy.vpc(from);
        let within = from.is_some_and(|from| from.contains(header.flow.source))
            && to.contains(header.flow.destination);
        if within { Ok(()) } else { Err(Reason::PcxRequiresAddressInVpcCidr) }
    }

    /// The network ACL of a subnet whose border is crossed.
    pub(super) fn network_acl(
        &mut self,
        header: &Header,
        selector: Selector,
        subnet: &Subnet,
        direction: Direction,
    ) -> Result<(), Reason> {
        let Some(acl) = self.policy.network_acl(subnet.network_acl) else {
            // Resolved topologies give every subnet one (ACL-01).
            return Err(Reason::SubnetAclRestriction);
        };
        let address = match direction {
            Direction::Ingress => header.flow.source,
            Direction::Egress => header.flow.destination,
        };
        let (one, many);
        let rulings = if selector.is_range() {
            many = acl.judge_range(direction, selector, address);
            many.as_slice()
        } else {
            one = acl.judge(direction, selector, address);
            std::slice::from_ref(&one)
        };
        // A range passes only as a whole: which of its ports a connection gets is chance (ACL-18).
        let passes = rulings.iter().all(Ruling::allows);
        let verdict = if passes { Ok(()) } else { Err(Reason::SubnetAclRestriction) };
        self.step(header, Step::NetworkAcl { subnet, acl, direction, rulings }, verdict)
    }

    /// The security groups of an interface. Says whether the interface keeps state of the
    /// connection: if it did, or needs state to admit the replies (SG-20). What it refuses gets
    /// none, or an untracked connection would come back to life with its next packet (SG-22).
    pub(super) fn security_groups(
        &mut self,
        header: &Header,
        selector: Selector,
        interface: &Interface,
        direction: Direction,
        other: OtherEnd<'_>,
        tracked: bool,
    ) -> Result<bool, Reason> {
        let (decision, verdict) = if tracked {
            (GroupDecision::Tracked, Ok(()))
        } else {
            match self.admitting(header, selector, interface, direction, other) {
                Some(Admission { group, rule, hidden: false }) => {
                    (GroupDecision::Admitted(group, rule), Ok(()))
                }
                Some(Admission { group, rule, hidden: true }) => {
                    (GroupDecision::Hidden(group, rule), Err(Reason::SgReferencesNotPreserved))
                }
                None if self.groups(interface).all(|group| group.is_empty(direction)) => {
                    (GroupDecision::NoRules, Err(Reason::SgHasNoRules))
                }
                None => (GroupDecision::NoMatch, Err(Reason::EniSgRulesMismatch)),
            }
        };
        self.step(header, Step::SecurityGroups { interface, direction, decision }, verdict)?;
        Ok(tracked || (verdict.is_ok() && self.needs_state(selector, interface, direction)))
    }

    fn groups(&self, interface: &Interface) -> impl Iterator<Item = &'a SecurityGroup> {
        let policy = self.policy;
        interface
            .groups
            .iter()
            .filter_map(|group| policy.security_group(*group))
            .map(|group| &**group)
    }

    /// The rule that admits the packet: of any group (SG-03), in their order.
    fn admitting(
        &self,
        header: &Header,
        selector: Selector,
        interface: &Interface,
        direction: Direction,
        other: OtherEnd<'_>,
    ) -> Option<Admission<'a>> {
        let peer = match direction {
            Direction::Ingress => header.flow.source,
            Direction::Egress => header.flow.destination,
        };
        let by_address = self
            .groups(interface)
            .find_map(|group| Some((group, group.admits_address(direction, selector, peer)?)));
        if let Some((group, rule)) = by_address {
            return Some(Admission { group, rule, hidden: false });
        }
        if !self.groups(interface).any(|group| group.names_groups(direction, selector.class)) {
            return None;
        }
        let (carried, hidden) = match other {
            // From the internet nobody carries groups (IGW-09).
            OtherEnd::Interface(None) => return None,
            OtherEnd::Interface(Some(other)) if other.holds(peer) => (&*other.groups, false),
            // Whoever has the address, in the VPC that the packet comes from, has not sent it: an
            // appliance has.
            OtherEnd::Interface(Some(other)) => {
                (&*self.view.by_address(other.vpc, peer)?.groups, true)
            }
            OtherEnd::Routed => (&*self.holder(interface, peer)?.groups, false),
        };
        self.groups(interface).find_map(|group| {
            let rule = group.admits_member(direction, selector, carried)?;
            Some(Admission { group, rule, hidden })
        })
    }

    /// The interface that holds a private address: in the interface's own VPC, or in the peered
    /// one that its routes lead to (SG-09). A public address has none, though its holder may carry
    /// groups (SG-07).
    fn holder(&self, interface: &Interface, address: Ipv4Addr) -> Option<&'a Interface> {
        let (policy, view) = (self.policy, self.view);
        if let Some(holder) = view.by_address(interface.vpc, address) {
            return Some(holder);
        }
        let table = policy.route_table(policy.subnet(interface.subnet)?.route_table)?;
        let Target::Peering(peering) = table.find(address)?.target else { return None };
        let there = policy.peering(peering)?.other(interface.vpc)?;
        view.by_address(there, address).map(|holder| &**holder)
    }

    /// SG-20: no state where everybody is admitted and everybody may be answered.
    fn needs_state(&self, selector: Selector, interface: &Interface, direction: Direction) -> bool {
        let opposite = match direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        !(self.groups(interface).any(|group| group.is_open(opposite, selector.class))
            && self.groups(interface).any(|group| group.admits_everybody(direction, selector)))
    }
}
