//! The way there, step by step.

use std::{net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;
use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::Flow;

use super::{
    Leg, Node, Options, Path, Subject, Tracking,
    judge::{Judge, OtherEnd},
};
use crate::{
    inventory::{ENVIRONMENT_ADDRESS, Interface, Owner, View},
    policy::{
        Direction, ICMP, InternetGateway, NatGateway, Number, Peering, Policy, Selector, Subnet,
        TCP, Target, UDP, Vpc,
    },
    recorder::{Header, Recorder, Step},
};

/// Link-local addresses that the VPC itself serves: the resolver (DNS-01), the time service, and
/// instance metadata (SG-28).
const SERVICES: [Ipv4Addr; 3] = [
    Ipv4Addr::new(169, 254, 169, 253),
    Ipv4Addr::new(169, 254, 169, 123),
    Ipv4Addr::new(169, 254, 169, 254),
];

/// No route leads here, whatever it covers (RT-11).
const NEVER_ROUTED: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 168, 0), 22);

/// Shared addresses (RFC 6598).
const RFC_6598: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// What a NAT gateway passes (NAT-15), and an internet gateway (IGW-08), in bytes.
const NAT_GATEWAY_MTU: u16 = 8500;
const INTERNET_GATEWAY_MTU: u16 = 1500;

/// Where a walk begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    /// In a function environment, behind one of these ENIs.
    Environment(&'a [Arc<Interface>]),
    /// At an instance.
    Instance(&'a Arc<Interface>),
    /// At an internet host of this address.
    Internet(Ipv4Addr),
}

/// How a walk ended. A walk that goes on behind blockers may have both.
#[derive(Debug)]
pub(crate) struct Walked {
    /// The whole way, if it could be walked to its end.
    pub(crate) path: Option<Path>,
    /// The first blocker.
    pub(crate) blocked: Option<Reason>,
}

/// A walk in progress.
pub(crate) struct Walk<'a, R> {
    judge: Judge<'a, R>,
    options: Options,
    selector: Selector,
    /// The packet as it is here.
    header: Header,
    path: Path,
    source: Option<&'a Arc<Interface>>,
    nat: Option<&'a Arc<Interface>>,
    /// Which ends keep state of the connection.
    tracking: Tracking,
}

impl<'a, R: Recorder> Walk<'a, R> {
    pub(crate) fn new(
        policy: &'a Policy,
        view: &'a View<'a>,
        subject: &Subject,
        options: Options,
        recorder: &'a mut R,
    ) -> Self {
        let header = subject.header();
        Self {
            judge: Judge::new(policy, view, recorder),
            options,
            selector: Selector::new(subject.flow.protocol, header.destination_ports, subject.icmp),
            header,
            // Whoever ends the walk puts its own identity in.
            path: Path::new(AttachmentId(u32::MAX)),
            source: None,
            nat: None,
            tracking: options.tracked,
        }
    }

    pub(crate) fn run(mut self, origin: Origin<'a>) -> Walked {
        let end = match origin {
            Origin::Environment(enis) => self.leave_environment(enis),
            Origin::Instance(interface) => self.leave_instance(interface),
            Origin::Internet(ip) => self.come_from_internet(ip),
        };
        let path = end.ok().map(|(target, destination)| {
            let mut path = self.path;
            path.target = target;
            path.source = self.source.cloned();
            path.nat = self.nat.cloned();
            path.destination = destination.cloned();
            // Connections of Hyperplane ENIs and NAT gateways are always tracked (SG-21).
            let always = path.v2n().is_some() || path.nat.is_some();
            path.tracking = if always { Tracking::BOTH } else { self.tracking };
            path
        });
        let blocked = match end {
            Err(reason) => Some(self.judge.blocked.unwrap_or(reason)),
            Ok(_) => self.judge.blocked,
        };
        Walked { path, blocked }
    }

    fn step(&mut self, step: Step<'_>, verdict: Result<(), Reason>) -> Result<(), Reason> {
        self.judge.step(&self.header, step, verdict)
    }

    fn end(&mut self, step: Step<'_>, reason: Reason) -> Reason {
        self.judge.end(&self.header, step, reason)
    }

    fn policy(&self) -> &'a Policy {
        self.judge.policy
    }

    fn destination(&self) -> Ipv4Addr {
        self.header.flow.destination
    }

    fn leave_environment(&mut self, enis: &'a [Arc<Interface>]) -> End<'a> {
        let Some(eni) = self.options.eni.of(enis) else {
            // The inventory keeps an ENI for every environment.
            return Err(Reason::AttachmentDown);
        };
        self.path.eni_choices = u16::try_from(enis.len()).unwrap_or(u16::MAX);
        self.source = Some(eni);
        self.sender_is(ENVIRONMENT_ADDRESS, None, Reason::SpoofedSource)?;

        let protocol = self.header.flow.protocol;
        let spoken = matches!(protocol, TCP | UDP);
        let verdict = if spoken { Ok(()) } else { Err(Reason::ProtocolRestriction) };
        self.step(Step::FunctionProtocol, verdict)?;
        self.not_a_service(eni)?;
        self.leave_interface(eni)?;

        let before = self.header;
        self.header = sent_by(before, eni);
        self.judge.translation(&before, &self.header, Step::V2n { interface: eni }, Ok(()))?;
        self.route_from(Node::Source, eni.subnet)
    }

    fn leave_instance(&mut self, interface: &'a Arc<Interface>) -> End<'a> {
        self.source = Some(interface);
        if interface.source_dest_check {
            let reason = Reason::EniSourceDestCheckRestriction;
            self.sender_is(interface.ip, Some(interface), reason)?;
        }
        self.not_a_service(interface)?;
        self.leave_interface(interface)?;
        self.route_from(Node::Source, interface.subnet)
    }

    fn come_from_internet(&mut self, ip: Ipv4Addr) -> End<'a> {
        // Toward a VPC, a private source is the internet gateway's to refuse (IGW-06).
        let into_vpc = self.judge.view.by_public_ip(self.destination()).is_some();
        if private(self.header.flow.source).is_none() || !into_vpc {
            self.sender_is(ip, None, Reason::SpoofedSource)?;
        }
        self.internet()
    }

    /// The sender's address is its own.
    fn sender_is(
        &mut self,
        own: Ipv4Addr,
        interface: Option<&Interface>,
        reason: Reason,
    ) -> Result<(), Reason> {
        let verdict = if self.header.flow.source == own { Ok(()) } else { Err(reason) };
        self.step(Step::Source { own, interface }, verdict)
    }

    /// The resolver and its like answer before anything is looked up; here, nobody answers yet.
    fn not_a_service(&mut self, interface: &Interface) -> Result<(), Reason> {
        let destination = self.destination();
        let resolver = self.policy().vpc(interface.vpc).and_then(|vpc| vpc.resolver);
        if resolver == Some(destination) || SERVICES.contains(&destination) {
            return Err(self.end(Step::Service, Reason::ServiceNotProvided));
        }
        Ok(())
    }

    fn leave_interface(&mut self, interface: &Interface) -> Result<(), Reason> {
        self.tracking.source = self.judge.security_groups(
            &self.header,
            self.selector,
            interface,
            Direction::Egress,
            OtherEnd::Routed,
            self.options.tracked.source,
        )?;
        Ok(())
    }

    fn network_acl(&mut self, subnet: &Subnet, direction: Direction) -> Result<(), Reason> {
        self.judge.network_acl(&self.header, self.selector, subnet, direction)
    }

    /// Out of an interface in this subnet.
    fn route_from(&mut self, node: Node, number: Number<Subnet>) -> End<'a> {
        let policy = self.policy();
        let Some(subnet) = policy.subnet(number) else {
            // The policy dropped a subnet that still has interfaces.
            return Err(Reason::NoRouteToDestination);
        };
        let destination = self.destination();
        // Within a subnet there is neither border nor router (ACL-08, RT-20).
        if subnet.cidr_block.contains(&destination) {
            return self.local(node, number, subnet.vpc);
        }
        let Some(table) = policy.route_table(subnet.route_table) else {
            return Err(Reason::NoRouteToDestination);
        };
        let route = table.find(destination);
        let target = route.map(|route| route.target);
        // A gateway or an appliance in the sender's own subnet is reached without crossing a border.
        let stays = match target {
            Some(Target::NatGateway(gateway)) => {
                policy.nat_gateway(gateway).is_some_and(|gateway| gateway.subnet == number)
            }
            Some(Target::Instance(instance)) => {
                self.judge.view.instance(instance).is_some_and(|it| it.subnet == number)
            }
            _ => false,
        };
        if !stays {
            self.network_acl(subnet, Direction::Egress)?;
        }
        let step = Step::Route { subnet, table, route };
        if NEVER_ROUTED.contains(&destination) {
            return Err(self.end(step, Reason::VpcLocalRouteCidrRestriction));
        }
        match target {
            None => Err(self.end(step, Reason::NoRouteToDestination)),
            Some(Target::Blackhole) => Err(self.end(step, Reason::BadStateRoute)),
            Some(Target::Local) => {
                self.step(step, Ok(()))?;
                self.local(node, number, subnet.vpc)
            }
            Some(Target::Peering(peering)) => {
                let peering = policy.peering(peering);
                let there = peering.and_then(|peering| {
                    let vpc = peering.other(subnet.vpc)?;
                    Some((peering, vpc, policy.vpc(vpc)?))
                });
                match there {
                    Some((peering, vpc, object)) => {
                        self.step(step, Ok(()))?;
                        self.cross_peering(subnet.vpc, peering, object)?;
                        self.local(node, number, vpc)
                    }
                    None => Err(self.end(step, Reason::BadStateRoute)),
                }
            }
            Some(Target::Instance(instance)) => match self.judge.view.instance(instance) {
                Some(interface) if self.source.is_some_and(|source| source.id == interface.id) => {
                    Err(self.end(step, Reason::RoutingLoop))
                }
                Some(interface) => {
                    self.step(step, Ok(()))?;
                    self.appliance(node, number, interface)
                }
                None => Err(self.end(step, Reason::BadStateRoute)),
            },
            Some(Target::InternetGateway(gateway)) => match policy.internet_gateway(gateway) {
                Some(object) => {
                    self.step(step, Ok(()))?;
                    self.internet_gateway_out(node, gateway, object)
                }
                None => Err(self.end(step, Reason::BadStateRoute)),
            },
            Some(Target::NatGateway(gateway)) => {
                let interfaces = self.judge.view.nat_gateway(gateway);
                match (policy.nat_gateway(gateway), self.options.nat_address.of(interfaces)) {
                    // A packet passes one NAT gateway; two could send it round for ever.
                    _ if self.nat.is_some() => Err(self.end(step, Reason::RoutingLoop)),
                    (Some(object), Some(interface)) => {
                        self.step(step, Ok(()))?;
                        self.path.nat_choices = u16::try_from(interfaces.len()).unwrap_or(u16::MAX);
                        self.nat_gateway(node, number, object, interface)
                    }
                    _ => Err(self.end(step, Reason::BadStateRoute)),
                }
            }
        }
    }

    fn nat_gateway(
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
        let before = self.header;
        self.header = sent_by(before, interface);
        let echo = self.selector.values.first == u16::from_be_bytes([8, 0]);
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

    /// Into the peered VPC, if the packet is from the one VPC to the other (RT-28). So it is not
    /// transitive, and neither end's gateways can be used from the other.
    fn cross_peering(
        &mut self,
        from: Number<Vpc>,
        peering: &Peering,
        to: &Vpc,
    ) -> Result<(), Reason> {
        let verdict = self.judge.peered(&self.header, from, to);
        self.step(Step::Peering { peering, to }, verdict)
    }

    /// To an instance that is to forward what is not its own.
    fn appliance(
        &mut self,
        from: Node,
        from_subnet: Number<Subnet>,
        interface: &'a Arc<Interface>,
    ) -> End<'a> {
        self.path.push(Leg { from, to: Node::Destination });
        if let Some(subnet) = self.policy().subnet(interface.subnet)
            && interface.subnet != from_subnet
        {
            self.network_acl(subnet, Direction::Ingress)?;
        }
        self.arrive(interface)
    }

    /// To an interface of a VPC: the one that the packet is in, or one that is peered with it.
    fn local(&mut self, from: Node, from_subnet: Number<Subnet>, vpc: Number<Vpc>) -> End<'a> {
        let policy = self.policy();
        let destination = self.destination();
        self.path.push(Leg { from, to: Node::Destination });
        let nobody = Step::Destination { interface: None };
        let to = policy.vpc(vpc).and_then(|vpc| vpc.subnet_of(destination));
        let Some((number, subnet)) = to.and_then(|to| Some((to, policy.subnet(to)?))) else {
            return Err(self.end(nobody, Reason::NoPossibleDestination));
        };
        if number != from_subnet {
            self.network_acl(subnet, Direction::Ingress)?;
        }
        match self.judge.view.by_address(vpc, destination) {
            Some(interface) => self.arrive(interface),
            None => Err(self.end(nobody, Reason::NoPossibleDestination)),
        }
    }

    fn internet_gateway_out(
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
        let public = holder.and_then(|holder| holder.public_ip);
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
        let destination = match private(flow.destination) {
            Some(Private::Rfc1918) => Err(Reason::IgwDestinationAddressNotInRfc1918Egress),
            Some(Private::Rfc6598) => Err(Reason::IgwDestinationAddressNotInRfc6598Egress),
            None => Ok(()),
        };
        self.judge.translation(&before, &self.header, step, source)?;
        if destination.is_err() {
            self.step(step, destination)?;
        }
        self.internet()
    }

    /// On the internet, to whoever has the public address.
    fn internet(&mut self) -> End<'a> {
        let destination = self.destination();
        if let Some(target) = self.judge.view.internet_host(destination) {
            self.step(Step::Delivery { target }, Ok(()))?;
            return Ok((target, None));
        }
        let from_vpc = self.source.is_some();
        match self.judge.view.by_public_ip(destination) {
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
        let verdict = match private(before.flow.source) {
            Some(Private::Rfc1918) => Err(Reason::IgwSourceAddressNotInRfc1918Ingress),
            Some(Private::Rfc6598) => Err(Reason::IgwSourceAddressNotInRfc6598Ingress),
            None => Ok(()),
        };
        self.header.flow.destination = interface.ip;
        let step = Step::InternetGateway { gateway, direction: Direction::Ingress };
        self.judge.translation(&before, &self.header, step, verdict)?;

        if let Some(subnet) = policy.subnet(interface.subnet) {
            self.network_acl(subnet, Direction::Ingress)?;
        }
        self.arrive(interface)
    }

    /// At the interface that holds the destination address, or at an appliance's.
    fn arrive(&mut self, interface: &'a Arc<Interface>) -> End<'a> {
        let step = Step::Destination { interface: Some(interface) };
        match interface.owner {
            // Whatever the groups say (LAM-02, LAM-24).
            Owner::Functions(_) => return Err(self.end(step, Reason::V2nOneWay)),
            Owner::NatGateway(_) => return Err(self.end(step, Reason::NatGatewayUnsolicited)),
            Owner::Instance { .. } => {
                let others = self.destination() != interface.ip;
                let checked = interface.source_dest_check && others;
                let reason = Reason::EniSourceDestCheckRestriction;
                self.step(step, if checked { Err(reason) } else { Ok(()) })?;
            }
        }
        self.tracking.destination = self.judge.security_groups(
            &self.header,
            self.selector,
            interface,
            Direction::Ingress,
            OtherEnd::Interface(self.nat.or(self.source).map(|other| &**other)),
            self.options.tracked.destination,
        )?;
        let Some(target) = interface.attachment else {
            return Err(self.end(step, Reason::AttachmentDown));
        };
        self.step(Step::Delivery { target }, Ok(()))?;
        Ok((target, Some(interface)))
    }
}

/// The packet with its source translated to an interface that gives ports. Which port it will be
/// does not matter to any check on the way there.
fn sent_by(header: Header, interface: &Interface) -> Header {
    let source_ports = interface.source_ports;
    let flow = Flow { source: interface.ip, source_port: source_ports.first, ..header.flow };
    Header { flow, source_ports, ..header }
}

/// Who gets the packet, or why the walk could not go on.
type End<'a> = Result<(AttachmentId, Option<&'a Arc<Interface>>), Reason>;

/// Addresses that an internet gateway neither sends to nor accepts (IGW-06).
enum Private {
    Rfc1918,
    Rfc6598,
}

fn private(address: Ipv4Addr) -> Option<Private> {
    if address.is_private() {
        Some(Private::Rfc1918)
    } else if RFC_6598.contains(&address) {
        Some(Private::Rfc6598)
    } else {
        None
    }
}
