//! The way of a packet that opens a connection, hop by hop, in the order in which a VPC judges it
//! (SG-37): source check, security groups, network ACL, route table, gateways, and the other side
//! the same backwards.

use std::net::{IpAddr, Ipv4Addr};

use viaduct_control_plane::ENVIRONMENT_ADDRESS;
use viaduct_topology::{
    Handle, Reason,
    inventory::{Attachment, AttachmentId, Eni, EniOwner, Host},
    model::{NatGateway, RouteTarget, Subnet, Vpc},
};

use super::{Network, rules::Border, v4};
use crate::packet::{ICMP, Packet, TCP, UDP};

/// The way that a request took.
#[derive(Clone, Debug)]
pub(super) struct Way {
    /// What was crossed, in order.
    pub(super) links: Vec<Link>,
    /// The place of the Hyperplane ENI in the plan.
    pub(super) v2n: Option<usize>,
    /// The place in the plan of the NAT gateway's interface.
    pub(super) nat: Option<usize>,
    /// The packet in the end; its source port is the sender's even where it is translated.
    pub(super) arrival: Packet,
    /// Who has it now.
    pub(super) receiver: AttachmentId,
}

impl Way {
    /// The largest packet that the gateways on the way let through (MTU-01).
    pub(super) fn mtu(&self) -> u16 {
        if self.links.iter().any(|link| link.from.is_none() || link.to.is_none()) {
            return 1500;
        }
        if self.nat.is_some() { 8500 } else { u16::MAX }
    }

    /// Whether its receiver sees another source port than the sender's.
    pub(super) const fn translates_port(&self) -> bool {
        self.v2n.is_some() || self.nat.is_some()
    }
}

/// A link between two interfaces, or between an interface and the internet gateway.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// The subnet that the packet leaves; `None` at an internet gateway.
    pub(super) from: Option<Handle<Subnet>>,
    /// The subnet that it enters; `None` at an internet gateway.
    pub(super) to: Option<Handle<Subnet>>,
    /// The packet on the link, with the sender's own source port.
    pub(super) packet: Packet,
    /// Whose port is its source port.
    pub(super) port: PortOf,
}

/// Whose choice a source port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortOf {
    Sender,
    Hyperplane,
    Nat,
}

/// A packet under way.
struct Traveller<'n, 't> {
    network: &'n Network<'t>,
    packet: Packet,
    port: PortOf,
    /// Which of a NAT gateway's addresses to take, if it has as many.
    nat_address: usize,
    links: Vec<Link>,
    v2n: Option<usize>,
    nat: Option<usize>,
}

impl Network<'_> {
    /// Lets a packet travel. At a NAT gateway it takes the address with this number.
    pub(super) fn travel(
        &self,
        from: &Attachment,
        packet: &Packet,
        nat_address: usize,
    ) -> Result<Way, Reason> {
        let mut traveller = Traveller {
            network: self,
            packet: *packet,
            port: PortOf::Sender,
            nat_address,
            links: Vec::new(),
            v2n: None,
            nat: None,
        };
        let receiver = traveller.leave(from)?;
        let Traveller { packet: arrival, links, v2n, nat, .. } = traveller;
        Ok(Way { links, v2n, nat, arrival, receiver })
    }
}

impl Traveller<'_, '_> {
    fn leave(&mut self, from: &Attachment) -> Result<AttachmentId, Reason> {
        match &from.host {
            Host::Environment { enis, .. } => {
                if self.packet.source != ENVIRONMENT_ADDRESS {
                    return Err(Reason::SpoofedSource);
                }
                // LAM-10.
                if !matches!(self.packet.protocol, TCP | UDP) {
                    return Err(Reason::ProtocolRestriction);
                }
                let index = self.index_of(|eni| eni.id == enis[0]);
                self.v2n = Some(index);
                self.leave_interface(index)
            }
            Host::Instance { eni } => {
                let index = self.index_of(|it| it.id == *eni);
                let eni = &self.network.plan.enis[index];
                // RT-21.
                if eni.source_dest_check && self.packet.source != v4(eni.private_ip) {
                    return Err(Reason::EniSourceDestCheckRestriction);
                }
                self.leave_interface(index)
            }
            Host::Internet { ip } => {
                self.edge(v4(*ip))?;
                // IGW-05: what nobody holds, no gateway knows.
                self.internet().map_err(|reason| match reason {
                    Reason::NoPossibleDestination => Reason::IgwPrivateIpAssociationForIngress,
                    other => other,
                })
            }
            _ => unreachable!("no other host exists"),
        }
    }

    /// What comes in at the edge has the address of a host that stands there. Where a gateway is
    /// what it would meet, the gateway's own rule against private sources comes first (IGW-06).
    fn edge(&self, own: Ipv4Addr) -> Result<(), Reason> {
        let Packet { source, destination, .. } = self.packet;
        let mut interfaces = self.network.plan.enis.iter();
        let gateway = interfaces.any(|eni| eni.public_ip.map(v4) == Some(destination));
        if gateway && rfc1918(source) {
            return Err(Reason::IgwSourceAddressNotInRfc1918Ingress);
        }
        if gateway && rfc6598(source) {
            return Err(Reason::IgwSourceAddressNotInRfc6598Ingress);
        }
        if source == own { Ok(()) } else { Err(Reason::SpoofedSource) }
    }

    fn leave_interface(&mut self, index: usize) -> Result<AttachmentId, Reason> {
        let network = self.network;
        let eni = &network.plan.enis[index];
        let (subnet, vpc) = network.place(eni);
        // Services of the VPC itself are asked, not routed to, and nothing filters them (SG-28,
        // DNS-01).
        let destination = self.packet.destination;
        if service(destination) || destination == resolver(network, vpc) {
            return Err(Reason::ServiceNotProvided);
        }
        network.groups(eni, Border::Egress, &self.packet)?;
        if self.v2n.is_some() {
            // V2N: the VPC sees the ENI (LAM-02, LAM-09).
            self.packet.source = v4(eni.private_ip);
            self.port = PortOf::Hyperplane;
        }

        let target = network.route(subnet, self.packet.destination);
        if self.leaves(subnet, target) {
            network.acl(subnet, Border::Egress, &self.packet)?;
        }
        // Covering routes are of no use for these (RT-11).
        if link_services(self.packet.destination) {
            return Err(Reason::VpcLocalRouteCidrRestriction);
        }
        match target {
            None => Err(Reason::NoRouteToDestination),
            Some(RouteTarget::Blackhole) => Err(Reason::BadStateRoute),
            Some(RouteTarget::Local) => self.local(subnet, vpc),
            Some(RouteTarget::NatGateway(gateway)) => self.nat_gateway(subnet, vpc, gateway),
            Some(RouteTarget::InternetGateway(_)) => self.internet_gateway(subnet, vpc),
            Some(other) => panic!("the model does not know {other:?}"),
        }
    }

    /// Whether a packet crosses the border of the subnet: not if the next one to have it, by
    /// address or by route, is in the subnet too (ACL-08).
    fn leaves(&self, subnet: Handle<Subnet>, target: Option<RouteTarget>) -> bool {
        let block = self.network.topology.subnets[subnet].cidr_block;
        if block.contains(&IpAddr::V4(self.packet.destination)) {
            return false;
        }
        match target {
            Some(RouteTarget::NatGateway(gateway)) => {
                self.network.topology.nat_gateways[gateway].subnet != subnet
            }
            _ => true,
        }
    }

    fn link(&mut self, from: Option<Handle<Subnet>>, to: Option<Handle<Subnet>>) {
        self.links.push(Link { from, to, packet: self.packet, port: self.port });
    }

    /// Inside the VPC, to whoever has the address.
    fn local(&mut self, from: Handle<Subnet>, vpc: Handle<Vpc>) -> Result<AttachmentId, Reason> {
        let network = self.network;
        let destination = self.packet.destination;
        let mut subnets = network.topology.subnets.iter().filter(|(_, subnet)| {
            subnet.vpc == vpc && subnet.cidr_block.contains(&IpAddr::V4(destination))
        });
        let Some((to, _)) = subnets.next() else {
            return Err(Reason::NoPossibleDestination);
        };
        self.link(Some(from), Some(to));
        if from != to {
            network.acl(to, Border::Ingress, &self.packet)?;
        }
        let id = &network.topology.vpcs[vpc].id;
        let mut holders = network
            .plan
            .enis
            .iter()
            .filter(|eni| eni.vpc == *id && v4(eni.private_ip) == destination);
        match holders.next() {
            Some(eni) => self.enter_interface(eni),
            None => Err(Reason::NoPossibleDestination),
        }
    }

    fn enter_interface(&mut self, eni: &Eni) -> Result<AttachmentId, Reason> {
        match &eni.owner {
            // LAM-02, whatever its groups say (LAM-24). A segment without SYN would open nothing.
            EniOwner::Functions(_) if self.packet.late() => Err(Reason::NoConnection),
            EniOwner::Functions(_) => Err(Reason::V2nOneWay),
            // NAT-12.
            EniOwner::NatGateway { .. } => Err(Reason::NatGatewayUnsolicited),
            EniOwner::Instance { .. } => {
                self.network.groups(eni, Border::Ingress, &self.packet)?;
                let stands_there = |host: &&Attachment| matches!(&host.host, Host::Instance { eni: its } if *its == eni.id);
                let host = self.network.plan.attachments.iter().find(stands_there);
                Ok(host.expect("its instance").id)
            }
            _ => unreachable!("no other owner exists"),
        }
    }

    fn nat_gateway(
        &mut self,
        from: Handle<Subnet>,
        vpc: Handle<Vpc>,
        gateway: Handle<NatGateway>,
    ) -> Result<AttachmentId, Reason> {
        let network = self.network;
        let nat = &network.topology.nat_gateways[gateway];
        self.link(Some(from), Some(nat.subnet));
        // NAT-13: no groups, but the ACL of its subnet.
        if from != nat.subnet {
            network.acl(nat.subnet, Border::Ingress, &self.packet)?;
        }
        // NAT-04; of ICMP, echo alone has something that a translation can tell apart.
        let echo = self.packet.protocol == ICMP && matches!(self.packet.icmp.0, 0 | 8);
        if !echo && !matches!(self.packet.protocol, TCP | UDP) {
            return Err(Reason::ProtocolRestriction);
        }
        // NAT-18.
        let id = &network.topology.vpcs[vpc].id;
        let source = self.packet.source;
        if !network.plan.enis.iter().any(|eni| eni.vpc == *id && v4(eni.private_ip) == source) {
            return Err(Reason::NgwRequiresSourceInVpc);
        }
        let mut own = Vec::new();
        for (index, eni) in network.plan.enis.iter().enumerate() {
            if matches!(&eni.owner, EniOwner::NatGateway { id } if *id == nat.id) {
                own.push(index);
            }
        }
        let index = own[self.nat_address.min(own.len() - 1)];
        self.nat = Some(index);
        self.packet.source = v4(network.plan.enis[index].private_ip);
        self.port = PortOf::Nat;

        // It sends as every interface does: the ACL first (SG-37).
        let target = network.route(nat.subnet, self.packet.destination);
        if self.leaves(nat.subnet, target) {
            network.acl(nat.subnet, Border::Egress, &self.packet)?;
        }
        match target {
            None => Err(Reason::NoRouteToDestination),
            Some(RouteTarget::Blackhole) => Err(Reason::BadStateRoute),
            Some(RouteTarget::NatGateway(_)) => Err(Reason::RoutingLoop),
            Some(RouteTarget::InternetGateway(_)) => self.internet_gateway(nat.subnet, vpc),
            Some(other) => panic!("no way from a NAT gateway to {other:?}"),
        }
    }

    /// Out of the VPC.
    fn internet_gateway(
        &mut self,
        from: Handle<Subnet>,
        vpc: Handle<Vpc>,
    ) -> Result<AttachmentId, Reason> {
        let network = self.network;
        self.link(Some(from), None);
        let vpc = &network.topology.vpcs[vpc];
        let source = self.packet.source;
        // IGW-07.
        if !vpc.cidr_blocks.iter().any(|block| block.contains(&IpAddr::V4(source))) {
            return Err(Reason::GatewayRejectsSpoofedTraffic);
        }
        // IGW-04.
        let mut owners = network
            .plan
            .enis
            .iter()
            .filter(|eni| eni.vpc == vpc.id && v4(eni.private_ip) == source);
        let Some(public) = owners.next().and_then(|eni| eni.public_ip) else {
            return Err(Reason::IgwPublicIpAssociationForEgress);
        };
        // IGW-06.
        if rfc1918(self.packet.destination) {
            return Err(Reason::IgwDestinationAddressNotInRfc1918Egress);
        }
        if rfc6598(self.packet.destination) {
            return Err(Reason::IgwDestinationAddressNotInRfc6598Egress);
        }
        // IGW-03.
        self.packet.source = v4(public);
        self.internet()
    }

    /// On the internet, to whoever has the public address.
    fn internet(&mut self) -> Result<AttachmentId, Reason> {
        let network = self.network;
        let destination = self.packet.destination;
        for host in &network.plan.attachments {
            if matches!(&host.host, Host::Internet { ip } if v4(*ip) == destination) {
                return Ok(host.id);
            }
        }
        for eni in &network.plan.enis {
            if eni.public_ip.map(v4) == Some(destination) {
                return self.enter_vpc(eni);
            }
        }
        Err(Reason::NoPossibleDestination)
    }

    /// Into a VPC, through its internet gateway.
    fn enter_vpc(&mut self, eni: &Eni) -> Result<AttachmentId, Reason> {
        let (subnet, _) = self.network.place(eni);
        self.packet.destination = v4(eni.private_ip);
        self.link(None, Some(subnet));
        self.network.acl(subnet, Border::Ingress, &self.packet)?;
        self.enter_interface(eni)
    }

    fn index_of(&self, wanted: impl Fn(&Eni) -> bool) -> usize {
        self.network.plan.enis.iter().position(wanted).expect("the host's interface")
    }
}

/// The base of the VPC's first block, plus two (DNS-01).
fn resolver(network: &Network<'_>, vpc: Handle<Vpc>) -> Ipv4Addr {
    let base = v4(network.topology.vpcs[vpc].cidr_blocks[0].network());
    Ipv4Addr::from(u32::from(base) + 2)
}

/// Of what SG-28 lists: time, the resolver, instance metadata (FL-25, DNS-01).
const fn service(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [169, 254, 169, 123 | 253 | 254])
}

/// 169.254.168.0/22.
const fn link_services(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [169, 254, 168..=171, _])
}

const fn rfc1918(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [10, ..] | [172, 16..=31, ..] | [192, 168, ..])
}

const fn rfc6598(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [100, 64..=127, ..])
}
