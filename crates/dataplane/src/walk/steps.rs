//! The way there, step by step.

use std::{net::Ipv4Addr, sync::Arc};

use ipnet::Ipv4Net;
use viaduct_topology::{Reason, inventory::AttachmentId};
use viaduct_wire::names_one_host;

use super::{
    Choice, Leg, NAT, Node, Options, Path, Subject, Tracking, V2N,
    gateways::{private, sent_by},
    judge::{Judge, OtherEnd},
    path::open,
};
use crate::{
    inventory::{ENVIRONMENT_ADDRESS, EniSet, Interface, Owner, View},
    policy::{
        Direction, Number, Peering, Policy, Selector, Service, Subnet, TCP, Target, UDP, Vpc,
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

/// What the link's own services have (RT-11).
const LINK_SERVICES: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 168, 0), 22);

/// Where no route leads, whatever it covers: to the link's services (RT-11), and to what names no
/// single host. A VPC has neither broadcast nor multicast (ADR-04), and loopback, "this network" and
/// class E are nobody's to forward (RFC 1812 5.3.7). The rest of 169.254.0.0/16 may have routes.
pub(super) fn never_routed(destination: Ipv4Addr) -> bool {
    LINK_SERVICES.contains(&destination) || !names_one_host(destination)
}

/// Where a walk begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    /// In a function environment, behind one of these ENIs; a connection in being may also have one
    /// of those behind which the environment stood before.
    Environment(&'a [Arc<Interface>], &'a [EniSet]),
    /// In the environment of a function without a VPC, behind these interfaces of the NAT.
    ServiceVpc(&'a [Arc<Interface>]),
    /// At an instance.
    Instance(&'a Arc<Interface>),
    /// At an internet host of this address.
    Internet(Ipv4Addr),
    /// At the host of this service.
    Service(Number<Service>),
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
    pub(super) judge: Judge<'a, R>,
    pub(super) options: Options,
    pub(super) selector: Selector,
    /// The packet as it is here.
    pub(super) header: Header,
    pub(super) path: Path,
    pub(super) source: Option<&'a Arc<Interface>>,
    pub(super) nat: Option<&'a Arc<Interface>>,
    pub(super) service_side: Option<&'a Arc<Interface>>,
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
            service_side: None,
            tracking: options.tracked,
        }
    }

    pub(crate) fn run(mut self, origin: Origin<'a>) -> Walked {
        let end = match origin {
            Origin::Environment(enis, former) => self.leave_environment(enis, former),
            Origin::ServiceVpc(nat) => self.leave_service_vpc(nat),
            Origin::Instance(interface) => self.leave_instance(interface),
            Origin::Internet(ip) => self.come_from_internet(ip),
            Origin::Service(service) => self.come_from_service(service),
        };
        let path = end.ok().map(|(target, destination)| {
            let mut path = self.path;
            path.target = target;
            path.source = self.source.cloned();
            path.nat = self.nat.cloned();
            path.service_side = self.service_side.cloned();
            path.destination = destination.cloned();
            // Connections of Hyperplane ENIs, NAT gateways and endpoints are always tracked (SG-21).
            let always = path.translators().iter().any(Option::is_some);
            path.tracking = if always { Tracking::BOTH } else { self.tracking };
            path
        });
        let blocked = match end {
            Err(reason) => Some(self.judge.blocked.unwrap_or(reason)),
            Ok(_) => self.judge.blocked,
        };
        Walked { path, blocked }
    }

    pub(super) fn step(
        &mut self,
        step: Step<'_>,
        verdict: Result<(), Reason>,
    ) -> Result<(), Reason> {
        self.judge.step(&self.header, step, verdict)
    }

    pub(super) fn end(&mut self, step: Step<'_>, reason: Reason) -> Reason {
        self.judge.end(&self.header, step, reason)
    }

    pub(super) fn policy(&self) -> &'a Policy {
        self.judge.policy
    }

    pub(super) fn destination(&self) -> Ipv4Addr {
        self.header.flow.destination
    }

    fn leave_environment(&mut self, enis: &'a [Arc<Interface>], former: &'a [EniSet]) -> End<'a> {
        let (choice, view) = (self.options.choices[V2N], self.judge.view);
        let before = former.iter().find_map(|set| choice.held_among(view.enis(*set)));
        // The inventory keeps an ENI for every environment.
        let eni = self.choose_v2n(enis).ok_or(Reason::AttachmentDown)?;
        let eni = before.unwrap_or(eni);
        self.source = Some(eni);
        self.leave_function(eni)?;
        self.leave_interface(eni)?;
        self.translate_v2n(eni)?;
        self.route_from(Node::Source, eni.subnet)
    }

    /// Which of several translators a function leaves the service VPC by.
    pub(super) fn choose_v2n(&mut self, among: &'a [Arc<Interface>]) -> Option<&'a Arc<Interface>> {
        self.source = self.options.choices[V2N].of(among);
        self.path.choices[V2N] = u16::try_from(open(among).count()).unwrap_or(u16::MAX);
        self.source
    }

    /// What is asked of every function's packets: whose they are, what they speak, and whether they
    /// are for one of the link's services.
    pub(super) fn leave_function(&mut self, interface: &Interface) -> Result<(), Reason> {
        self.sender_is(ENVIRONMENT_ADDRESS)?;
        let protocol = self.header.flow.protocol;
        let spoken = matches!(protocol, TCP | UDP);
        let verdict = if spoken { Ok(()) } else { Err(Reason::ProtocolRestriction) };
        self.step(Step::FunctionProtocol, verdict)?;
        self.stands(interface)?;
        self.not_a_service(interface)
    }

    pub(super) fn translate_v2n(&mut self, interface: &Interface) -> Result<(), Reason> {
        let before = self.header;
        self.header = sent_by(before, interface);
        self.judge.translation(&before, &self.header, Step::V2n { interface }, Ok(()))
    }

    fn leave_instance(&mut self, interface: &'a Arc<Interface>) -> End<'a> {
        self.source = Some(interface);
        let source = self.header.flow.source;
        let step = Step::Source { own: interface.ip, interface: Some(interface) };
        if interface.source_dest_check {
            let reason = Reason::EniSourceDestCheckRestriction;
            self.step(step, if interface.holds(source) { Ok(()) } else { Err(reason) })?;
        } else if !names_one_host(source) {
            // Whoever forwards for others forwards for hosts (RFC 1812 5.3.7).
            self.step(step, Err(Reason::SpoofedSource))?;
        }
        self.stands(interface)?;
        self.not_a_service(interface)?;
        self.leave_interface(interface)?;
        self.route_from(Node::Source, interface.subnet)
    }

    fn come_from_internet(&mut self, ip: Ipv4Addr) -> End<'a> {
        // Toward a VPC, a private source is the internet gateway's to refuse (IGW-06).
        let holder = self.judge.view.by_public_ip(self.destination());
        let into_vpc = holder.is_some_and(|holder| holder.owner != Owner::ServiceVpc);
        if private(self.header.flow.source).is_none() || !into_vpc {
            self.sender_is(ip)?;
        }
        if self.destination() == ip {
            return Err(self.end(Step::Destination { interface: None }, Reason::RoutingLoop));
        }
        self.internet()
    }

    /// The sender's address is its own.
    fn sender_is(&mut self, own: Ipv4Addr) -> Result<(), Reason> {
        let spoofed = self.header.flow.source != own;
        let verdict = if spoofed { Err(Reason::SpoofedSource) } else { Ok(()) };
        self.step(Step::Source { own, interface: None }, verdict)
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

    pub(super) fn stands(&mut self, interface: &Interface) -> Result<(), Reason> {
        self.judge.stands(&self.header, interface)
    }

    pub(super) fn network_acl(
        &mut self,
        subnet: &Subnet,
        direction: Direction,
    ) -> Result<(), Reason> {
        self.judge.network_acl(&self.header, self.selector, subnet, direction)
    }

    /// Out of an interface in this subnet.
    pub(super) fn route_from(&mut self, node: Node, number: Number<Subnet>) -> End<'a> {
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
        if never_routed(destination) {
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
                Some(interface) if self.comes_from(interface) => {
                    Err(self.end(step, Reason::RoutingLoop))
                }
                Some(interface) => {
                    self.step(step, Ok(()))?;
                    self.appliance(node, number, interface)
                }
                None => Err(self.end(step, Reason::BadStateRoute)),
            },
            Some(Target::VpcEndpoint(endpoint)) => match policy.vpc_endpoint(endpoint) {
                Some(object) => {
                    self.step(step, Ok(()))?;
                    self.gateway_endpoint(node, object)
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
                let choice = self.options.choices[NAT];
                let inside = self.header.flow.source;
                match (policy.nat_gateway(gateway), choice.paired_with(inside, interfaces)) {
                    // A packet passes one NAT gateway; two could send it round for ever.
                    _ if self.nat.is_some() => Err(self.end(step, Reason::RoutingLoop)),
                    // It takes no new connections (NAT-20).
                    (Some(object), _) if object.deleting && !matches!(choice, Choice::Held(_)) => {
                        Err(self.end(step, Reason::BadStateRoute))
                    }
                    (Some(object), Some(interface)) => {
                        self.step(step, Ok(()))?;
                        let open = open(interfaces).count();
                        self.path.choices[NAT] = u16::try_from(open).unwrap_or(u16::MAX);
                        self.nat_gateway(node, number, object, interface)
                    }
                    _ => Err(self.end(step, Reason::BadStateRoute)),
                }
            }
        }
    }

    fn comes_from(&self, interface: &Interface) -> bool {
        self.source.is_some_and(|source| source.id == interface.id)
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
            // What a host has for itself never comes here, but forged.
            Some(interface) if self.comes_from(interface) && is_instance(interface) => {
                let step = Step::Destination { interface: Some(interface) };
                Err(self.end(step, Reason::RoutingLoop))
            }
            Some(interface) => self.arrive(interface),
            None => Err(self.end(nobody, Reason::NoPossibleDestination)),
        }
    }

    /// At the interface that holds the destination address, or at an appliance's.
    pub(super) fn arrive(&mut self, interface: &'a Arc<Interface>) -> End<'a> {
        self.stands(interface)?;
        let step = Step::Destination { interface: Some(interface) };
        match interface.owner {
            // Whatever the groups say (LAM-02, LAM-24).
            Owner::Functions(_) => return Err(self.end(step, Reason::V2nOneWay)),
            Owner::NatGateway(_) => return Err(self.end(step, Reason::NatGatewayUnsolicited)),
            // In a VPC, nothing has its address.
            Owner::ServiceSide(_) | Owner::ServiceVpc => {
                return Err(self.end(step, Reason::NoPossibleDestination));
            }
            Owner::Instance { .. } | Owner::VpcEndpoint(_) => {
                let refused = interface.refuses(self.destination());
                let reason = Reason::EniSourceDestCheckRestriction;
                self.step(step, if refused { Err(reason) } else { Ok(()) })?;
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
        if let Owner::VpcEndpoint(number) = interface.owner {
            let target = self.interface_endpoint(interface, number)?;
            return Ok((target, Some(interface)));
        }
        let Some(target) = interface.attachment else {
            return Err(self.end(step, Reason::AttachmentDown));
        };
        self.step(Step::Delivery { target }, Ok(()))?;
        Ok((target, Some(interface)))
    }
}

fn is_instance(interface: &Interface) -> bool {
    matches!(interface.owner, Owner::Instance { .. })
}

/// Who gets the packet, or why the walk could not go on.
pub(super) type End<'a> = Result<(AttachmentId, Option<&'a Arc<Interface>>), Reason>;
