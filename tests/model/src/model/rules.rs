//! What rules say: security groups, network ACLs, route tables. Each is a scan of its list.

use std::net::{IpAddr, Ipv4Addr};

use viaduct_topology::{
    Handle, Reason,
    inventory::Eni,
    model::{AclAction, AclRule, RouteTarget, SecurityGroup, SgPeer, SgRule, Subnet, Traffic},
};

use super::{Network, v4};
use crate::packet::{ICMP, Packet, TCP, UDP};

/// Whether a packet crosses a border outwards or inwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Border {
    /// Out of a subnet, out of an interface.
    Egress,
    /// Into it.
    Ingress,
}

impl Network<'_> {
    /// What the groups of an interface say of a packet that opens a connection.
    pub(super) fn groups(&self, eni: &Eni, border: Border, packet: &Packet) -> Result<(), Reason> {
        // All rules of all groups are one set (SG-03).
        let mut rules: Vec<SgRule> = Vec::new();
        for id in &eni.security_groups {
            for group in self.topology.security_groups.values() {
                if group.id == *id {
                    rules.extend(match border {
                        Border::Egress => &group.egress,
                        Border::Ingress => &group.ingress,
                    });
                }
            }
        }
        if rules.is_empty() {
            return Err(Reason::SgHasNoRules);
        }
        let peer = match border {
            Border::Egress => packet.destination,
            Border::Ingress => packet.source,
        };
        for rule in rules {
            let of_peer = match rule.peer {
                SgPeer::Cidr(block) => block.contains(&IpAddr::V4(peer)),
                SgPeer::Group(group) => self.carries(peer, group),
                other => panic!("the model does not know {other:?}"),
            };
            if of_peer && matches(rule.traffic, packet) {
                return Ok(());
            }
        }
        Err(Reason::EniSgRulesMismatch)
    }

    /// Whether it is a private address of an interface, in the group's VPC, that carries the group
    /// (SG-07).
    fn carries(&self, ip: Ipv4Addr, group: Handle<SecurityGroup>) -> bool {
        let group = &self.topology.security_groups[group];
        let vpc = &self.topology.vpcs[group.vpc];
        self.plan.enis.iter().any(|eni| {
            eni.vpc == vpc.id && v4(eni.private_ip) == ip && eni.security_groups.contains(&group.id)
        })
    }

    /// What a subnet's network ACL says of a packet: the first rule that matches decides (ACL-02).
    pub(super) fn acl(
        &self,
        subnet: Handle<Subnet>,
        border: Border,
        packet: &Packet,
    ) -> Result<(), Reason> {
        let acl = &self.topology.network_acls[self.topology.subnets[subnet].network_acl];
        let (rules, address) = match border {
            Border::Egress => (&acl.egress, packet.destination),
            Border::Ingress => (&acl.ingress, packet.source),
        };
        let mut deciding: Option<&AclRule> = None;
        for rule in rules {
            let hit =
                rule.cidr_block.contains(&IpAddr::V4(address)) && matches(rule.traffic, packet);
            if hit && deciding.is_none_or(|lower| rule.number < lower.number) {
                deciding = Some(rule);
            }
        }
        match deciding.map(|rule| rule.action) {
            Some(AclAction::Allow) => Ok(()),
            // What no rule matches is denied (ACL-03).
            Some(AclAction::Deny) | None => Err(Reason::SubnetAclRestriction),
        }
    }

    /// A link is crossed: out of one subnet, into another. Inside a subnet ACLs do not look
    /// (ACL-08); `None` is outside of all subnets.
    pub(super) fn cross(
        &self,
        from: Option<Handle<Subnet>>,
        to: Option<Handle<Subnet>>,
        packet: &Packet,
    ) -> [Result<(), Reason>; 2] {
        if from == to {
            return [Ok(()), Ok(())];
        }
        [
            from.map_or(Ok(()), |subnet| self.acl(subnet, Border::Egress, packet)),
            to.map_or(Ok(()), |subnet| self.acl(subnet, Border::Ingress, packet)),
        ]
    }

    /// Where the subnet's route table sends a packet: every route is tried, the longest prefix
    /// wins (RT-04).
    pub(super) fn route(
        &self,
        subnet: Handle<Subnet>,
        destination: Ipv4Addr,
    ) -> Option<RouteTarget> {
        let table = &self.topology.route_tables[self.topology.subnets[subnet].route_table];
        let mut best: Option<(u8, RouteTarget)> = None;
        for route in &table.routes {
            let length = route.destination.prefix_len();
            if route.destination.contains(&IpAddr::V4(destination))
                && best.is_none_or(|(longest, _)| length > longest)
            {
                best = Some((length, route.target));
            }
        }
        best.map(|(_, target)| target)
    }

    /// Every port at which some ACL of the network may change its mind, and the ends of the range
    /// of source ports. Between two of them all ports are alike.
    pub(super) fn ports_worth_trying(&self) -> Vec<u16> {
        let range = self.topology.settings.source_ports;
        let mut ports = vec![range.first, range.last];
        for acl in self.topology.network_acls.values() {
            for rule in acl.ingress.iter().chain(&acl.egress) {
                if let Traffic::Tcp(edges) | Traffic::Udp(edges) = rule.traffic {
                    ports.extend([edges.first, edges.last]);
                    ports.extend([edges.first.saturating_sub(1), edges.last.saturating_add(1)]);
                }
            }
        }
        ports.retain(|port| range.contains(*port));
        ports
    }
}

/// Whether a rule is about this traffic. Ports are destination ports.
fn matches(traffic: Traffic, packet: &Packet) -> bool {
    match traffic {
        Traffic::All => true,
        Traffic::Tcp(ports) => packet.protocol == TCP && ports.contains(packet.destination_port),
        Traffic::Udp(ports) => packet.protocol == UDP && ports.contains(packet.destination_port),
        Traffic::Icmp { kind, code } => {
            packet.protocol == ICMP
                && kind.is_none_or(|kind| kind == packet.icmp.0)
                && code.is_none_or(|code| code == packet.icmp.1)
        }
        Traffic::Protocol(number) => packet.protocol == number,
    }
}
