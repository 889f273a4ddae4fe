//! Through NAT gateways and internet gateways.

use std::{net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;
use viaduct_topology::Reason;
use viaduct_wire::Flow;

use super::{
    Leg, Node,
    steps::{End, Walk, never_routed},
};
use crate::{
    inventory::{Interface, Owner},
    policy::{Direction, ICMP, InternetGateway, NatGateway, Number, Subnet, TCP, Target, UDP},
    recorder::{Header, Recorder, Step},
};

/// Shared addresses (RFC 6598).
const RFC_6598: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// What a NAT gateway passes (NAT-15), and an internet gateway (IGW-08), in bytes.
const NAT_GATEWAY_MTU: u16 = 8500;
const INTERNET_GATEWAY_MTU: u16 = 1500;

impl<'a, R: Recorder> Walk<'a, R> {
    /// Out of the service VPC by its own NAT, which leads to the internet and nowhere else: no VPC is
    /// joined with it (LAM-12).
    pub(super) fn leave_service_vpc(&mut self, nat: &'a [Arc<Interface>]) -> End<'a> {
        // A topology that leaves it no address has no such functions, but the API may.
        let nat = self.choose_v2n(nat).ok_or(Reason::NoRouteToDestination)?;
        self.leave_function(nat)?;
        self.translate_v2n(nat)?;
        self.path.mtu = self.path.mtu.min(INTERNET_GATEWAY_MTU);
        let destination = self.destination();
        let verdict = match never_routed(destination) {
            true => Err(Reason::VpcLocalRouteCidrRestriction),
            false => leaves_to(destination),
        };
        match verdict {
            Ok(()) => self.internet(),
            Err(reason) => Err(self.end(Step::ServiceVpc, reason)),
        }
    }

    pub(super) fn nat_gateway(
        &mut self,
        from: Node,
        from_subnet: Number<Subnet>,
        gateway: &'a NatGateway,
        interface: &'a Arc<Interface>,
    ) -> End<'a> {
        self.path.push(Leg { from, to: Node::NatGateway });
        if let Some(subnet) = self.policy().subnet(gateway.subnet)
            && gateway.subnet != from_subnet
        {
            self.network_acl(subnet, Direction::Ingress)?;
        }
        self.stands(interface)?;
        let before = self.header;
        self.header = sent_by(before, interface);
        let echo = self.selector.is_echo_request();
        let verdict = match before.flow.protocol {
            TCP | UDP => Ok(()),
            // Only an echo has an identifier to translate (NAT-04).
            ICMP if echo => Ok(()),
            _ => Err(Reason::ProtocolRestriction),
        };
        let own = self.judge.view.by_address(interface.vpc, before.flow.source);
        let verdict = verdict.and(own.map(drop).ok_or(Reason::NgwRequiresSourceInVpc));
        let step = Step::NatGateway { gateway, interface };
        self.judge.translation(&before, &self.header, step, verdict)?;

        self.nat = Some(interface);
        self.path.ttl_decrement = 1;
        self.path.mtu = self.path.mtu.min(NAT_GATEWAY_MTU);
        self.route_from(Node::NatGateway, gateway.subnet)
    }

    pub(super) fn internet_gateway_out(
        &mut self,
        from: Node,
        number: Number<InternetGateway>,
        gateway: &InternetGateway,
    ) -> End<'a> {
        self.path.push(Leg { from, to: Node::InternetGateway(number) });
        self.path.mtu = self.path.mtu.min(INTERNET_GATEWAY_MTU);
        let Header { flow, .. } = self.header;
        let before = self.header;
        let in_vpc = self.policy().vpc(gateway.vpc).is_some_and(|vpc| vpc.contains(flow.source));
        let holder = self.judge.view.by_address(gateway.vpc, flow.source);
        let public = holder.and_then(|holder| holder.public_ip_of(flow.source));
        let step = Step::InternetGateway { gateway, direction: Direction::Egress };
        let source = match public {
            _ if !in_vpc => Err(Reason::GatewayRejectsSpoofedTraffic),
            None => Err(Reason::IgwPublicIpAssociationForEgress),
            Some(ip) => {
                self.header.flow.source = ip;
                self.path.public_source = Some(ip);
                Ok(())
            }
        };
        let destination = leaves_to(flow.destination);
        self.judge.translation(&before, &self.header, step, source)?;
        if destination.is_err() {
            self.step(step, destination)?;
        }
        self.internet()
    }

    /// On the internet, to whoever has the public address.
    pub(super) fn internet(&mut self) -> End<'a> {
        let destination = self.destination();
        let service = self.policy().service_at(destination);
        let host = match service {
            Some(service) => self.judge.view.service_host(service),
            None => self.judge.view.internet_host(destination),
        };
        if let Some(target) = host {
            self.step(Step::Delivery { target }, Ok(()))?;
            return Ok((target, None));
        }
        let from_vpc = self.source.is_some();
        match self.judge.view.by_public_ip(destination) {
            Some(nat) if nat.owner == Owner::ServiceVpc => {
                let step = Step::Destination { interface: Some(nat) };
                Err(self.end(step, Reason::NatGatewayUnsolicited))
            }
            Some(interface) => self.internet_gateway_in(interface),
            // From a VPC it left for nowhere; from the internet it can only have come to a gateway
            // that maps no such address (IGW-05).
            None => Err(self.end(
                Step::Destination { interface: None },
                if from_vpc {
                    Reason::NoPossibleDestination
                } else {
                    Reason::IgwPrivateIpAssociationForIngress
                },
            )),
        }
    }

    fn internet_gateway_in(&mut self, interface: &'a Arc<Interface>) -> End<'a> {
        let policy = self.policy();
        let number = policy.vpc(interface.vpc).and_then(|vpc| vpc.internet_gateway);
        let gateway = number.and_then(|number| Some((number, policy.internet_gateway(number)?)));
        let Some((number, gateway)) = gateway else {
            let step = Step::Destination { interface: None };
            return Err(self.end(step, Reason::IgwPrivateIpAssociationForIngress));
        };
        self.path.push(Leg { from: Node::InternetGateway(number), to: Node::Destination });
        self.path.mtu = self.path.mtu.min(INTERNET_GATEWAY_MTU);
        let before = self.header;
        let verdict = admitted(before.flow.source);
        self.header.flow.destination = interface.ip;
        self.path.private_destination = Some(interface.ip);
        let step = Step::InternetGateway { gateway, direction: Direction::Ingress };
        self.judge.translation(&before, &self.header, step, verdict)?;

        let interface = self.led_by_gateway(gateway, interface)?;
        if let Some(subnet) = policy.subnet(interface.subnet) {
            self.network_acl(subnet, Direction::Ingress)?;
        }
        self.arrive(interface)
    }

    /// Who gets what the gateway let in: whoever holds the address, unless the gateway's own table
    /// leads it through an appliance first (RT-16).
    fn led_by_gateway(
        &mut self,
        gateway: &InternetGateway,
        holder: &'a Arc<Interface>,
    ) -> Result<&'a Arc<Interface>, Reason> {
        let policy = self.policy();
        let Some(table) = gateway.route_table.and_then(|table| policy.route_table(table)) else {
            return Ok(holder);
        };
        let route = table.find(self.destination());
        let step = Step::GatewayRoute { gateway, table, route };
        match route.map(|route| route.target) {
            Some(Target::Local) => {
                self.step(step, Ok(()))?;
                Ok(holder)
            }
            Some(Target::Instance(instance)) => match self.judge.view.instance(instance) {
                Some(appliance) => {
                    // RT-18
                    let public = appliance.public_ip.is_some();
                    let verdict = if public { Ok(()) } else { Err(Reason::IngressRtbNoPublicIp) };
                    self.step(step, verdict)?;
                    Ok(appliance)
                }
                None => Err(self.end(step, Reason::BadStateRoute)),
            },
            None => Err(self.end(step, Reason::NoRouteToDestination)),
            Some(_) => Err(self.end(step, Reason::BadStateRoute)),
        }
    }
}

/// The packet with its source translated to an interface that gives ports. Which port it will be
/// does not matter to any check on the way there.
pub(super) fn sent_by(header: Header, interface: &Interface) -> Header {
    let source_ports = interface.source_ports;
    let flow = Flow { source: interface.ip, source_port: source_ports.first, ..header.flow };
    Header { flow, source_ports, ..header }
}

/// Addresses that an internet gateway neither sends to nor accepts (IGW-06).
pub(super) enum Private {
    Rfc1918,
    Rfc6598,
}

/// Whether an internet gateway sends packets to this address (IGW-06).
fn leaves_to(destination: Ipv4Addr) -> Result<(), Reason> {
    match private(destination) {
        Some(Private::Rfc1918) => Err(Reason::IgwDestinationAddressNotInRfc1918Egress),
        Some(Private::Rfc6598) => Err(Reason::IgwDestinationAddressNotInRfc6598Egress),
        None => Ok(()),
    }
}

/// Whether an internet gateway lets packets from this address in (IGW-06).
pub(crate) fn admitted(source: Ipv4Addr) -> Result<(), Reason> {
    match private(source) {
        Some(Private::Rfc1918) => Err(Reason::IgwSourceAddressNotInRfc1918Ingress),
        Some(Private::Rfc6598) => Err(Reason::IgwSourceAddressNotInRfc6598Ingress),
        None => Ok(()),
    }
}

pub(super) fn private(address: Ipv4Addr) -> Option<Private> {
    if address.is_private() {
        Some(Private::Rfc1918)
    } else if RFC_6598.contains(&address) {
        Some(Private::Rfc6598)
    } else {
        None
    }
}
