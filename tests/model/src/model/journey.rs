//! The way of a packet that opens a connection, hop by hop, in the order in which a VPC judges it
//! (SG-37): source check, security groups, network ACL, route table, gateways, and the other side
//! the same backwards.
//!
//! A journey goes on behind whoever refuses the packet, if there is a way to go on: a connection in
//! being is held against where its packets would be led now, whether or not they would pass (RT-30).

use std::net::{IpAddr, Ipv4Addr};

use viaduct_control_plane::ENVIRONMENT_ADDRESS;
use viaduct_topology::{
    Handle, Reason, ResourceId,
    inventory::{Attachment, AttachmentId, Eni, EniOwner, Host},
    model::{
        Instance, NatGateway, NatGatewayState, RouteTarget, Subnet, Vpc, VpcEndpoint,
        VpcPeeringConnection,
    },
};

use super::{Network, holds, rules::Border, v4};
use crate::packet::{ICMP, Packet, TCP, UDP};

/// Where the travels of a packet end.
#[derive(Clone, Debug)]
pub(super) struct Journey<'t> {
    /// The way to whoever has it in the end; none if it leads nowhere.
    pub(super) way: Option<Way<'t>>,
    /// Why the first one who refused it did.
    pub(super) refused: Option<Reason>,
}

/// The way that a request took.
#[derive(Clone, Debug)]
pub(super) struct Way<'t> {
    /// What was crossed, in order.
    pub(super) links: Vec<Link<'t>>,
    /// The sender's interface; a host of the internet has none.
    pub(super) sender: Option<&'t Eni>,
    /// The sender's interface again, if it is a Hyperplane ENI; the service VPC's NAT, if the sender is
    /// a function without a VPC, which has no interface.
    pub(super) v2n: Option<&'t Eni>,
    /// The NAT gateway's interface.
    pub(super) nat: Option<&'t Eni>,
    /// The service's side of an endpoint.
    pub(super) endpoint: Option<&'t Eni>,
    /// The packet in the end; its source port is the sender's even where it is translated.
    pub(super) arrival: Packet,
    /// Who has it now.
    pub(super) receiver: AttachmentId,
    /// And its interface; a host of the internet has none.
    pub(super) entered: Option<&'t Eni>,
    /// Which ends remember the connection.
    pub(super) tracked: Tracked,
}

/// Which ends of a connection keep state of it (SG-17). An end that keeps none asks its groups about
/// each packet (SG-20).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tracked {
    pub(super) sender: bool,
    pub(super) receiver: bool,
}

impl<'t> Way<'t> {
    /// The largest packet that the gateways on the way let through (MTU-01).
    pub(super) fn mtu(&self) -> u16 {
        let internet = |end: End<'_>| matches!(end, End::InternetGateway(_));
        if self.leaves_service_vpc() {
            return 1500;
        }
        if self.links.iter().any(|link| internet(link.from) || internet(link.to)) {
            return 1500;
        }
        if self.nat.is_some() || self.endpoint.is_some() { 8500 } else { u16::MAX }
    }

    /// Whether a function without a VPC sends by it.
    pub(super) fn leaves_service_vpc(&self) -> bool {
        self.v2n.is_some_and(|eni| eni.owner == EniOwner::ServiceVpc)
    }

    /// Whether it leads through an interface endpoint, about which nobody is told how much fits
    /// (EP-15).
    pub(super) fn is_by_interface_endpoint(&self) -> bool {
        self.entered.is_some_and(|eni| matches!(eni.owner, EniOwner::VpcEndpoint { .. }))
    }

    /// Whether its receiver sees another source port than the sender's.
    pub(super) const fn translates_port(&self) -> bool {
        self.v2n.is_some() || self.nat.is_some() || self.endpoint.is_some()
    }

    /// Whether a connection that went the other way goes on by this one: it ends at the same place
    /// and is translated by the same (RT-30).
    pub(super) fn goes_on_like(&self, other: &Way<'_>) -> bool {
        // With another address it is another interface, and has none of the ports.
        let id = |eni: Option<&Eni>| eni.map(|eni| (eni.id.clone(), eni.private_ip));
        self.receiver == other.receiver
            && self.arrival.source == other.arrival.source
            && self.arrival.destination == other.arrival.destination
            && id(self.v2n) == id(other.v2n)
            && id(self.nat) == id(other.nat)
            && id(self.endpoint) == id(other.endpoint)
    }

    /// The appliance that got the packet, to send it on: it is not the one that the packet is for.
    pub(super) fn appliance(&self) -> Option<&'t Eni> {
        let others = |eni: &&Eni| {
            let instance = matches!(eni.owner, EniOwner::Instance { .. });
            instance && !holds(eni, self.arrival.destination)
        };
        self.entered.filter(others)
    }
}

/// One end of a link.
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'t> {
    Interface(&'t Eni),
    /// The internet gateway of a VPC.
    InternetGateway(Handle<Vpc>),
    /// A gateway endpoint, behind which its service is.
    GatewayEndpoint(Handle<VpcEndpoint>),
}

/// What lies between two who look at a packet's addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link<'t> {
    pub(super) from: End<'t>,
    pub(super) to: End<'t>,
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

/// What is settled before a journey begins.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settled<'a> {
    /// Which of a NAT gateway's addresses to take, by its number.
    pub(super) nat_address: usize,
    /// Which to take if the connection has a port of it already.
    pub(super) nat_held: Option<&'a ResourceId>,
    /// Which ends know the connection already and ask no groups.
    pub(super) tracked: Tracked,
}

/// A packet under way.
struct Traveller<'n, 't> {
    network: &'n Network<'t>,
    settled: Settled<'n>,
    packet: Packet,
    port: PortOf,
    links: Vec<Link<'t>>,
    sender: Option<&'t Eni>,
    v2n: Option<&'t Eni>,
    nat: Option<&'t Eni>,
    endpoint: Option<&'t Eni>,
    entered: Option<&'t Eni>,
    tracked: Tracked,
    refused: Option<Reason>,
}

impl<'t> Network<'t> {
    /// Lets a packet travel.
    pub(super) fn travel(
        &self,
        from: &'t Attachment,
        packet: &Packet,
        settled: Settled<'_>,
    ) -> Journey<'t> {
        let mut traveller = Traveller {
            network: self,
            settled,
            packet: *packet,
            port: PortOf::Sender,
            links: Vec::new(),
            sender: None,
            v2n: None,
            nat: None,
            endpoint: None,
            entered: None,
            tracked: settled.tracked,
            refused: None,
        };
        let end = traveller.leave(from);
        let Traveller { packet: arrival, links, sender, v2n, nat, endpoint, entered, .. } =
            traveller;
        let mut tracked = traveller.tracked;
        match end {
            Ok(receiver) => {
                // SG-21.
                if v2n.is_some() || nat.is_some() || endpoint.is_some() {
                    tracked = Tracked { sender: true, receiver: true };
                }
                let way =
                    Way { links, sender, v2n, nat, endpoint, arrival, receiver, entered, tracked };
                Journey { way: Some(way), refused: traveller.refused }
            }
            Err(reason) => Journey { way: None, refused: traveller.refused.or(Some(reason)) },
        }
    }
}

impl<'t> Traveller<'_, 't> {
    /// Hears an answer. A refusal is noted, and the journey goes on.
    fn hear(&mut self, answer: Result<(), Reason>) {
        if let Err(reason) = answer {
            self.refused.get_or_insert(reason);
        }
    }

    fn leave(&mut self, from: &'t Attachment) -> Result<AttachmentId, Reason> {
        match &from.host {
            Host::Environment { enis, .. } => {
                if self.packet.source != ENVIRONMENT_ADDRESS {
                    self.hear(Err(Reason::SpoofedSource));
                }
                // LAM-10.
                if !matches!(self.packet.protocol, TCP | UDP) {
                    self.hear(Err(Reason::ProtocolRestriction));
                }
                let Some(eni) = enis.first() else { return self.leave_service_vpc() };
                let eni = self.network.eni(eni);
                self.v2n = Some(eni);
                self.leave_interface(eni)
            }
            Host::Instance { eni } => {
                let eni = self.network.eni(eni);
                // RT-21.
                if eni.source_dest_check && !holds(eni, self.packet.source) {
                    self.hear(Err(Reason::EniSourceDestCheckRestriction));
                }
                // Without the check it may speak for others, but for hosts alone.
                if !eni.source_dest_check && no_host(self.packet.source) {
                    self.hear(Err(Reason::SpoofedSource));
                }
                self.leave_interface(eni)
            }
            Host::Internet { ip } => {
                self.edge(v4(*ip));
                if self.packet.destination == v4(*ip) {
                    return Err(Reason::RoutingLoop);
                }
                // IGW-05: what nobody holds, no gateway knows.
                self.internet().map_err(|reason| match reason {
                    Reason::NoPossibleDestination => Reason::IgwPrivateIpAssociationForIngress,
                    other => other,
                })
            }
            Host::Service { id } => {
                if !self.network.answers_at(id, self.packet.source) {
                    self.hear(Err(Reason::SpoofedSource));
                }
                // EP-10.
                let sides = self.network.plan.enis.iter();
                let side = |eni: &Eni| eni.vpc == *id && holds(eni, self.packet.destination);
                if sides.into_iter().any(side) {
                    return Err(Reason::VpceIntraVpcTraffic);
                }
                if self.network.answers_at(id, self.packet.destination) {
                    return Err(Reason::RoutingLoop);
                }
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
    fn edge(&mut self, own: Ipv4Addr) {
        let Packet { source, destination, .. } = self.packet;
        let mut interfaces = self.network.enis.iter();
        let gateway = interfaces.any(|eni| {
            eni.public_ip.map(v4) == Some(destination) && eni.owner != EniOwner::ServiceVpc
        });
        if gateway && rfc1918(source) {
            self.hear(Err(Reason::IgwSourceAddressNotInRfc1918Ingress));
        } else if gateway && rfc6598(source) {
            self.hear(Err(Reason::IgwSourceAddressNotInRfc6598Ingress));
        } else if source != own {
            self.hear(Err(Reason::SpoofedSource));
        }
    }

    /// From a function without a VPC: to the internet, under the address of the service VPC's NAT, and
    /// nowhere else (LAM-12).
    fn leave_service_vpc(&mut self) -> Result<AttachmentId, Reason> {
        let destination = self.packet.destination;
        if service(destination) {
            return Err(Reason::ServiceNotProvided);
        }
        let network = self.network;
        let mut enis = network.plan.enis.iter();
        let nat = enis.find(|eni| eni.owner == EniOwner::ServiceVpc).expect("it has an address");
        self.v2n = Some(nat);
        self.packet.source = v4(nat.private_ip);
        self.port = PortOf::Hyperplane;
        if link_services(destination) || no_host(destination) {
            return Err(Reason::VpcLocalRouteCidrRestriction);
        }
        // IGW-06.
        if rfc1918(destination) {
            return Err(Reason::IgwDestinationAddressNotInRfc1918Egress);
        }
        if rfc6598(destination) {
            return Err(Reason::IgwDestinationAddressNotInRfc6598Egress);
        }
        self.internet()
    }

    /// Out of a host's interface.
    fn leave_interface(&mut self, eni: &'t Eni) -> Result<AttachmentId, Reason> {
        self.sender = Some(eni);
        self.hear(self.network.zone_of(eni));
        let (_, vpc) = self.network.place(eni);
        // Services of the VPC itself are asked, not routed to, and nothing filters them (SG-28,
        // DNS-01).
        let destination = self.packet.destination;
        if service(destination) || destination == resolver(self.network, vpc) {
            return Err(Reason::ServiceNotProvided);
        }
        if !self.settled.tracked.sender {
            let admitted = self.network.groups_out(eni, &self.packet);
            self.hear(admitted);
            // What is refused, nobody remembers.
            self.tracked.sender =
                admitted.is_ok() && self.network.remembers(eni, Border::Egress, &self.packet);
        }
        if self.v2n.is_some() {
            // V2N: the VPC sees the ENI (LAM-02, LAM-09).
            self.packet.source = v4(eni.private_ip);
            self.port = PortOf::Hyperplane;
        }
        self.send(eni)
    }

    /// Out of an interface, a host's or a NAT gateway's, and on to wherever its subnet's routes lead.
    fn send(&mut self, eni: &'t Eni) -> Result<AttachmentId, Reason> {
        let network = self.network;
        let (subnet, vpc) = network.place(eni);
        let destination = self.packet.destination;
        // Neighbours need no router (RT-20) and cross no border (ACL-08).
        if network.topology.subnets[subnet].cidr_block.contains(&IpAddr::V4(destination)) {
            return self.local(eni, vpc);
        }
        let target = network.route(subnet, destination);
        // A gateway or an appliance in the subnet is a neighbour too.
        if network.next_subnet(target) != Some(subnet) {
            self.hear(network.acl(subnet, Border::Egress, &self.packet));
        }
        // Covering routes are of no use for these (RT-11, ADR-04).
        if link_services(destination) || no_host(destination) {
            return Err(Reason::VpcLocalRouteCidrRestriction);
        }
        match target {
            None => Err(Reason::NoRouteToDestination),
            Some(RouteTarget::Blackhole) => Err(Reason::BadStateRoute),
            Some(RouteTarget::Local) => self.local(eni, vpc),
            Some(RouteTarget::VpcPeeringConnection(peering)) => self.peering(eni, vpc, peering),
            Some(RouteTarget::Instance(instance)) => self.appliance(eni, instance),
            Some(RouteTarget::NatGateway(gateway)) => self.nat_gateway(eni, gateway),
            Some(RouteTarget::InternetGateway(_)) => self.internet_gateway(eni, vpc),
            Some(RouteTarget::VpcEndpoint(endpoint)) => self.gateway_endpoint(eni, endpoint),
            Some(other) => panic!("the model does not know {other:?}"),
        }
    }

    fn link(&mut self, from: End<'t>, to: End<'t>) {
        self.links.push(Link { from, to, packet: self.packet, port: self.port });
    }

    /// Into a subnet from an interface that may be in another one.
    fn enter_subnet(&mut self, from: &Eni, to: Handle<Subnet>) {
        if self.network.place(from).0 != to {
            self.hear(self.network.acl(to, Border::Ingress, &self.packet));
        }
    }

    /// To whoever has the address in a VPC.
    fn local(&mut self, from: &'t Eni, vpc: Handle<Vpc>) -> Result<AttachmentId, Reason> {
        let network = self.network;
        let destination = self.packet.destination;
        let mut subnets = network.topology.subnets.iter().filter(|(_, subnet)| {
            subnet.vpc == vpc && subnet.cidr_block.contains(&IpAddr::V4(destination))
        });
        let Some((subnet, _)) = subnets.next() else {
            return Err(Reason::NoPossibleDestination);
        };
        self.enter_subnet(from, subnet);
        let holder = network.holder(vpc, destination).ok_or(Reason::NoPossibleDestination)?;
        // An instance has no need of the network to talk to itself.
        let instance = matches!(holder.owner, EniOwner::Instance { .. });
        if instance && self.sender.is_some_and(|sender| sender.id == holder.id) {
            return Err(Reason::RoutingLoop);
        }
        self.link(End::Interface(from), End::Interface(holder));
        self.enter_interface(holder)
    }

    /// Into the other VPC of a peering connection, which carries packets between the two and no
    /// others (RT-28).
    fn peering(
        &mut self,
        from: &'t Eni,
        vpc: Handle<Vpc>,
        peering: Handle<VpcPeeringConnection>,
    ) -> Result<AttachmentId, Reason> {
        let there = self.network.peer(peering, vpc);
        self.hear(self.network.peered(vpc, there, &self.packet));
        self.local(from, there)
    }

    /// To an instance that is to send it on (RT-19).
    fn appliance(
        &mut self,
        from: &'t Eni,
        instance: Handle<Instance>,
    ) -> Result<AttachmentId, Reason> {
        let appliance = self.network.interface_of(instance);
        // It has just been there.
        if self.sender.is_some_and(|sender| sender.id == appliance.id) {
            return Err(Reason::RoutingLoop);
        }
        self.enter_subnet(from, self.network.place(appliance).0);
        self.link(End::Interface(from), End::Interface(appliance));
        self.enter_interface(appliance)
    }

    fn enter_interface(&mut self, eni: &'t Eni) -> Result<AttachmentId, Reason> {
        self.hear(self.network.zone_of(eni));
        match &eni.owner {
            // LAM-02, whatever its groups say (LAM-24).
            EniOwner::Functions(_) => Err(Reason::V2nOneWay),
            // NAT-12.
            EniOwner::NatGateway { .. } => Err(Reason::NatGatewayUnsolicited),
            EniOwner::Instance { .. } | EniOwner::VpcEndpoint { .. } => {
                // RT-21.
                if eni.source_dest_check && !holds(eni, self.packet.destination) {
                    self.hear(Err(Reason::EniSourceDestCheckRestriction));
                }
                if !self.settled.tracked.receiver {
                    let sent_by = self.nat.or(self.sender);
                    let admitted = self.network.groups_in(eni, sent_by, &self.packet);
                    self.hear(admitted);
                    self.tracked.receiver = admitted.is_ok()
                        && self.network.remembers(eni, Border::Ingress, &self.packet);
                }
                self.entered = Some(eni);
                if let EniOwner::VpcEndpoint { id, .. } = &eni.owner {
                    return self.interface_endpoint(id);
                }
                let stands_there = |host: &&Attachment| matches!(&host.host, Host::Instance { eni: its } if *its == eni.id);
                let host = self.network.plan.attachments.iter().find(stands_there);
                Ok(host.expect("its instance").id)
            }
            _ => unreachable!("no other owner exists"),
        }
    }

    /// Over the edge of the service that an interface endpoint stands for, at its own address.
    fn interface_endpoint(&mut self, id: &ResourceId) -> Result<AttachmentId, Reason> {
        let mut endpoints = self.network.topology.vpc_endpoints.iter();
        let (endpoint, object) =
            endpoints.find(|(_, endpoint)| endpoint.id == *id).expect("its endpoint");
        // EP-11: and nothing else either that has no ports.
        if !matches!(self.packet.protocol, TCP | UDP) {
            self.hear(Err(Reason::ProtocolRestriction));
        }
        self.packet.destination = v4(self.network.topology.services[object.service].ip);
        self.serve(endpoint)
    }

    /// Out of the VPC to a service, whose address stays what it is (EP-05).
    fn gateway_endpoint(
        &mut self,
        from: &'t Eni,
        endpoint: Handle<VpcEndpoint>,
    ) -> Result<AttachmentId, Reason> {
        self.link(End::Interface(from), End::GatewayEndpoint(endpoint));
        // EP-06.
        let echo = self.packet.protocol == ICMP && self.packet.icmp == (8, 0);
        if !echo && self.packet.protocol != TCP {
            self.hear(Err(Reason::VpceGatewayProtocolRestriction));
        }
        self.serve(endpoint)
    }

    /// To the host of an endpoint's service, which sees the endpoint's own address.
    fn serve(&mut self, endpoint: Handle<VpcEndpoint>) -> Result<AttachmentId, Reason> {
        let network = self.network;
        let endpoint = &network.topology.vpc_endpoints[endpoint];
        let mut sides = network.plan.enis.iter();
        let its = |eni: &&Eni| matches!(&eni.owner, EniOwner::ServiceSide { endpoint: id, .. } if *id == endpoint.id);
        let side = sides.find(its).expect("every endpoint has an address there");
        self.endpoint = Some(side);
        self.packet.source = v4(side.private_ip);
        Ok(network.host_of_service(&network.topology.services[endpoint.service].id))
    }

    fn nat_gateway(
        &mut self,
        from: &'t Eni,
        gateway: Handle<NatGateway>,
    ) -> Result<AttachmentId, Reason> {
        let network = self.network;
        // A packet passes one; two could send it round for ever.
        if self.nat.is_some() {
            return Err(Reason::RoutingLoop);
        }
        let nat = &network.topology.nat_gateways[gateway];
        // Connections that it has may go on (NAT-20).
        if nat.state == NatGatewayState::Deleting && self.settled.nat_held.is_none() {
            return Err(Reason::BadStateRoute);
        }
        // NAT-13: no groups, but the ACL of its subnet.
        self.enter_subnet(from, nat.subnet);
        self.hear(network.zone(nat.subnet));
        // NAT-04; of ICMP, an echo request alone opens something that a translation can tell apart.
        let echo = self.packet.protocol == ICMP && self.packet.icmp == (8, 0);
        if !echo && !matches!(self.packet.protocol, TCP | UDP) {
            self.hear(Err(Reason::ProtocolRestriction));
        }
        // NAT-18.
        let vpc = network.topology.subnets[nat.subnet].vpc;
        if network.holder(vpc, self.packet.source).is_none() {
            self.hear(Err(Reason::NgwRequiresSourceInVpc));
        }
        let its = |eni: &Eni| matches!(&eni.owner, EniOwner::NatGateway { id } if *id == nat.id);
        let own: Vec<&'t Eni> = network.plan.enis.iter().filter(|eni| its(eni)).collect();
        // One that drains serves the connections that it has (NAT-07).
        let mut all = network.enis.iter().copied();
        let held = all.find(|eni| its(eni) && Some(&eni.id) == self.settled.nat_held);
        let eni = held.unwrap_or(own[self.settled.nat_address.min(own.len() - 1)]);
        self.link(End::Interface(from), End::Interface(eni));
        self.nat = Some(eni);
        self.packet.source = v4(eni.private_ip);
        self.port = PortOf::Nat;
        // It sends as every interface does (NAT-13).
        self.send(eni)
    }

    /// Out of the VPC.
    fn internet_gateway(
        &mut self,
        from: &'t Eni,
        vpc: Handle<Vpc>,
    ) -> Result<AttachmentId, Reason> {
        let network = self.network;
        self.link(End::Interface(from), End::InternetGateway(vpc));
        let source = self.packet.source;
        // The public address goes with the primary private one.
        let public = network
            .holder(vpc, source)
            .filter(|eni| v4(eni.private_ip) == source)
            .and_then(|eni| eni.public_ip);
        let mut blocks = network.topology.vpcs[vpc].cidr_blocks.iter();
        if !blocks.any(|block| block.contains(&IpAddr::V4(source))) {
            // IGW-07.
            self.hear(Err(Reason::GatewayRejectsSpoofedTraffic));
        } else if let Some(public) = public {
            // IGW-03.
            self.packet.source = v4(public);
        } else {
            // IGW-04.
            self.hear(Err(Reason::IgwPublicIpAssociationForEgress));
        }
        // IGW-06.
        if rfc1918(self.packet.destination) {
            self.hear(Err(Reason::IgwDestinationAddressNotInRfc1918Egress));
        }
        if rfc6598(self.packet.destination) {
            self.hear(Err(Reason::IgwDestinationAddressNotInRfc6598Egress));
        }
        self.internet()
    }

    /// On the internet, to whoever has the public address.
    fn internet(&mut self) -> Result<AttachmentId, Reason> {
        let network = self.network;
        let destination = self.packet.destination;
        for service in network.topology.services.values() {
            if network.answers_at(&service.id, destination) {
                return Ok(network.host_of_service(&service.id));
            }
        }
        for host in &network.plan.attachments {
            if matches!(&host.host, Host::Internet { ip } if v4(*ip) == destination) {
                return Ok(host.id);
            }
        }
        for eni in network.enis.iter().copied() {
            if eni.public_ip.map(v4) == Some(destination) {
                return match eni.owner {
                    EniOwner::ServiceVpc => Err(Reason::NatGatewayUnsolicited),
                    _ => self.enter_vpc(eni),
                };
            }
        }
        Err(Reason::NoPossibleDestination)
    }

    /// Into a VPC, through its internet gateway, whose own table may lead the packet through an
    /// appliance first (RT-16).
    fn enter_vpc(&mut self, eni: &'t Eni) -> Result<AttachmentId, Reason> {
        let network = self.network;
        let (_, vpc) = network.place(eni);
        self.packet.destination = v4(eni.private_ip);
        let eni = match network.let_in(vpc, self.packet.destination) {
            None | Some(Some(RouteTarget::Local)) => eni,
            Some(Some(RouteTarget::Instance(instance))) => {
                let appliance = network.interface_of(instance);
                // RT-18.
                if appliance.public_ip.is_none() {
                    self.hear(Err(Reason::IngressRtbNoPublicIp));
                }
                appliance
            }
            Some(None) => return Err(Reason::NoRouteToDestination),
            Some(Some(_)) => return Err(Reason::BadStateRoute),
        };
        self.link(End::InternetGateway(vpc), End::Interface(eni));
        self.hear(network.acl(network.place(eni).0, Border::Ingress, &self.packet));
        self.enter_interface(eni)
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

/// "This" network, loopback, multicast, class E and the broadcast address among it.
pub(super) const fn no_host(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [0 | 127 | 224..=255, ..])
}

const fn rfc1918(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [10, ..] | [172, 16..=31, ..] | [192, 168, ..])
}

const fn rfc6598(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [100, 64..=127, ..])
}
