//! What rules say: security groups, network ACLs, route tables. Each is a scan of its list.

use std::net::{IpAddr, Ipv4Addr};

use viaduct_topology::{
    Handle, Reason,
    inventory::{Eni, EniOwner},
    model::{
        AclAction, AclRule, Instance, NatGateway, NatGatewayState, PortRange, RouteTable,
        RouteTarget, SecurityGroup, SgPeer, SgRule, Subnet, Traffic, Vpc, VpcPeeringConnection,
    },
};

use super::{Network, holds};
use crate::packet::{ICMP, Packet, TCP, UDP};

/// Whether a packet crosses a border outwards or inwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Border {
    /// Out of a subnet, out of an interface.
    Egress,
    /// Into it.
    Ingress,
}

impl<'t> Network<'t> {
    /// What the groups of an interface say of a packet that leaves it to open a connection. A rule
    /// may name a group of its receiver, in this VPC or the one that its route leads to (SG-07,
    /// SG-09).
    pub(super) fn groups_out(&self, eni: &Eni, packet: &Packet) -> Result<(), Reason> {
        let (subnet, vpc) = self.place(eni);
        let receiver = self.holder(vpc, packet.destination).or_else(|| {
            match self.route(subnet, packet.destination) {
                Some(RouteTarget::VpcPeeringConnection(peering)) => {
                    self.holder(self.peer(peering, vpc), packet.destination)
                }
                _ => None,
            }
        });
        self.groups(eni, Border::Egress, receiver, packet)
    }

    /// What the groups of an interface say of a packet that enters it to open a connection, sent by
    /// this interface, if not from the internet. Whoever sends on what is another's carries none of
    /// his groups (SG-10).
    pub(super) fn groups_in(
        &self,
        eni: &Eni,
        sent_by: Option<&Eni>,
        packet: &Packet,
    ) -> Result<(), Reason> {
        let own = sent_by.filter(|sender| holds(sender, packet.source));
        let verdict = self.groups(eni, Border::Ingress, own, packet);
        let Some(sent_by) = sent_by.filter(|_| own.is_none()) else { return verdict };
        let (_, vpc) = self.place(sent_by);
        let author = self.holder(vpc, packet.source);
        match (verdict, self.groups(eni, Border::Ingress, author, packet)) {
            (Err(Reason::EniSgRulesMismatch), Ok(())) => Err(Reason::SgReferencesNotPreserved),
            _ => verdict,
        }
    }

    /// What the groups of an interface say of a packet, this being the interface at its other end.
    fn groups(
        &self,
        eni: &Eni,
        border: Border,
        other: Option<&Eni>,
        packet: &Packet,
    ) -> Result<(), Reason> {
        let rules = self.rules(eni, border);
        if rules.is_empty() {
            return Err(Reason::SgHasNoRules);
        }
        let address = match border {
            Border::Egress => packet.destination,
            Border::Ingress => packet.source,
        };
        for rule in rules {
            let of_peer = match rule.peer {
                SgPeer::Cidr(block) => block.contains(&IpAddr::V4(address)),
                SgPeer::PrefixList(list) => {
                    let entries = &self.topology.prefix_lists[list].entries;
                    entries.iter().any(|block| block.contains(&IpAddr::V4(address)))
                }
                SgPeer::Group(group) => other.is_some_and(|other| self.carries(other, group)),
                other => panic!("the model does not know {other:?}"),
            };
            if of_peer && matches(rule.traffic, packet) {
                return Ok(());
            }
        }
        Err(Reason::EniSgRulesMismatch)
    }

    /// All rules of all groups of an interface are one set (SG-03).
    fn rules(&self, eni: &Eni, border: Border) -> Vec<SgRule> {
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
        rules
    }

    fn carries(&self, eni: &Eni, group: Handle<SecurityGroup>) -> bool {
        eni.security_groups.contains(&self.topology.security_groups[group].id)
    }

    /// Whether an interface has to remember a connection that its groups admitted in this
    /// direction. It has not if it admits everybody, and lets everybody have answers from any port
    /// (SG-20).
    pub(super) fn remembers(&self, eni: &Eni, border: Border, packet: &Packet) -> bool {
        let opposite = match border {
            Border::Egress => Border::Ingress,
            Border::Ingress => Border::Egress,
        };
        let everybody = |rule: &SgRule| match rule.peer {
            SgPeer::Cidr(block) => is_everybody(block),
            SgPeer::PrefixList(list) => {
                self.topology.prefix_lists[list].entries.iter().copied().any(is_everybody)
            }
            _ => false,
        };
        let every_port = |rule: &SgRule| match rule.traffic {
            Traffic::All => true,
            Traffic::Tcp(ports) => packet.protocol == TCP && ports == PortRange::ALL,
            Traffic::Udp(ports) => packet.protocol == UDP && ports == PortRange::ALL,
            _ => false,
        };
        // SG-18, SG-19.
        if !matches!(packet.protocol, TCP | UDP) {
            return true;
        }
        let admits = self
            .rules(eni, border)
            .iter()
            .any(|rule| everybody(rule) && matches(rule.traffic, packet));
        let answers =
            self.rules(eni, opposite).iter().any(|rule| everybody(rule) && every_port(rule));
        !(admits && answers)
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

    /// Where the subnet's route table sends a packet.
    pub(super) fn route(
        &self,
        subnet: Handle<Subnet>,
        destination: Ipv4Addr,
    ) -> Option<RouteTarget> {
        self.look_up(self.topology.subnets[subnet].route_table, destination)
    }

    /// Where a VPC's internet gateway sends what comes in, if it has a table of its own (RT-16).
    pub(super) fn let_in(
        &self,
        vpc: Handle<Vpc>,
        destination: Ipv4Addr,
    ) -> Option<Option<RouteTarget>> {
        let gateway = self.topology.vpcs[vpc].internet_gateway?;
        let table = self.topology.internet_gateways[gateway].route_table?;
        Some(self.look_up(table, destination))
    }

    /// Every route of a table is tried; the longest prefix wins (RT-04, RT-05).
    fn look_up(&self, table: Handle<RouteTable>, destination: Ipv4Addr) -> Option<RouteTarget> {
        let mut best: Option<(u8, RouteTarget)> = None;
        for route in &self.topology.route_tables[table].routes {
            let length = route.destination.prefix_len();
            if route.destination.contains(&IpAddr::V4(destination))
                && best.is_none_or(|(longest, _)| length > longest)
            {
                best = Some((length, route.target));
            }
        }
        match best?.1 {
            // Where nothing stands, or nothing yet, packets are lost (NAT-20, NAT-22).
            RouteTarget::NatGateway(gateway) if !self.stands(gateway) => {
                Some(RouteTarget::Blackhole)
            }
            target => Some(target),
        }
    }

    fn stands(&self, gateway: Handle<NatGateway>) -> bool {
        use NatGatewayState::{Available, Deleting};
        matches!(self.topology.nat_gateways[gateway].state, Available | Deleting)
    }

    /// The subnet of whoever a route leads to, if that is an interface of the VPC.
    pub(super) fn next_subnet(&self, target: Option<RouteTarget>) -> Option<Handle<Subnet>> {
        match target? {
            RouteTarget::NatGateway(gateway) => Some(self.topology.nat_gateways[gateway].subnet),
            RouteTarget::Instance(instance) => Some(self.topology.instances[instance].subnet),
            _ => None,
        }
    }

    /// Whether a peering connection takes a packet from one VPC into the other: only if it is from
    /// there and for here (RT-28).
    pub(super) fn peered(
        &self,
        from: Handle<Vpc>,
        to: Handle<Vpc>,
        packet: &Packet,
    ) -> Result<(), Reason> {
        let within = |vpc: Handle<Vpc>, ip: Ipv4Addr| {
            let blocks = &self.topology.vpcs[vpc].cidr_blocks;
            blocks.iter().any(|block| block.contains(&IpAddr::V4(ip)))
        };
        if within(from, packet.source) && within(to, packet.destination) {
            Ok(())
        } else {
            Err(Reason::PcxRequiresAddressInVpcCidr)
        }
    }

    /// The other end of a peering connection.
    pub(super) fn peer(
        &self,
        peering: Handle<VpcPeeringConnection>,
        vpc: Handle<Vpc>,
    ) -> Handle<Vpc> {
        let peering = &self.topology.vpc_peering_connections[peering];
        if peering.requester == vpc { peering.accepter } else { peering.requester }
    }

    /// The interface in a VPC that has a private address.
    pub(super) fn holder(&self, vpc: Handle<Vpc>, ip: Ipv4Addr) -> Option<&'t Eni> {
        let id = &self.topology.vpcs[vpc].id;
        self.enis.iter().copied().find(|eni| eni.vpc == *id && holds(eni, ip))
    }

    /// An instance's interface.
    pub(super) fn interface_of(&self, instance: Handle<Instance>) -> &'t Eni {
        let instance = &self.topology.instances[instance].id;
        let mut enis = self.plan.enis.iter();
        let its =
            |eni: &&Eni| matches!(&eni.owner, EniOwner::Instance { id, .. } if id == instance);
        enis.find(its).expect("an instance has an interface")
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

/// 0.0.0.0/0. Everybody who has an IPv6 address is another matter (SG-16).
fn is_everybody(block: ipnet::IpNet) -> bool {
    matches!(block, ipnet::IpNet::V4(block) if block.prefix_len() == 0)
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
