//! Through endpoints to services, and from services.
//!
//! At the service's edge a connection gets the endpoint's own address there, and a port: tenants
//! with the same addresses do not collide. What the VPC's side sees stays as it was (EP-05).

use viaduct_topology::{Reason, inventory::AttachmentId};

use super::{
    Leg, Node,
    gateways::sent_by,
    steps::{End, Walk},
};
use crate::{
    inventory::Interface,
    policy::{ICMP, Number, Service, TCP, UDP, VpcEndpoint},
    recorder::{Recorder, Step},
};

/// What an endpoint passes, in bytes (MTU-01).
const ENDPOINT_MTU: u16 = 8500;

impl<'a, R: Recorder> Walk<'a, R> {
    /// Out of the VPC by a gateway endpoint: the destination stays what it is.
    pub(super) fn gateway_endpoint(&mut self, from: Node, endpoint: &VpcEndpoint) -> End<'a> {
        self.path.push(Leg { from, to: Node::VpcEndpoint(endpoint.number) });
        let echo = self.selector.is_echo_request();
        let verdict = match self.header.flow.protocol {
            TCP => Ok(()),
            ICMP if echo => Ok(()),
            _ => Err(Reason::VpceGatewayProtocolRestriction),
        };
        Ok((self.serve(endpoint, verdict)?, None))
    }

    /// Through an interface endpoint, whose interface and groups have let the packet in: to the
    /// service's own address.
    pub(super) fn interface_endpoint(
        &mut self,
        interface: &Interface,
        number: Number<VpcEndpoint>,
    ) -> Result<AttachmentId, Reason> {
        let policy = self.policy();
        let Some(endpoint) = policy.vpc_endpoint(number) else {
            // The policy dropped an endpoint that still has interfaces.
            let step = Step::Destination { interface: Some(interface) };
            return Err(self.end(step, Reason::NoPossibleDestination));
        };
        self.path.service_ip = policy.service(endpoint.service).map(|service| service.ip);
        let verdict = match self.header.flow.protocol {
            TCP | UDP => Ok(()),
            _ => Err(Reason::ProtocolRestriction),
        };
        self.serve(endpoint, verdict)
    }

    /// Over the service's edge, to its host.
    fn serve(
        &mut self,
        endpoint: &VpcEndpoint,
        verdict: Result<(), Reason>,
    ) -> Result<AttachmentId, Reason> {
        let view = self.judge.view;
        let nobody = Step::Destination { interface: None };
        let Some(side) = view.service_side(endpoint.number) else {
            return Err(self.end(nobody, Reason::NoPossibleDestination));
        };
        let before = self.header;
        self.header = sent_by(before, side);
        if let Some(ip) = self.path.service_ip {
            self.header.flow.destination = ip;
        }
        self.service_side = Some(side);
        self.path.mtu = self.path.mtu.min(ENDPOINT_MTU);
        let step = Step::VpcEndpoint { endpoint, side };
        self.judge.translation(&before, &self.header, step, verdict)?;

        match view.service_host(endpoint.service) {
            Some(target) => {
                self.step(Step::Delivery { target }, Ok(()))?;
                Ok(target)
            }
            None => Err(self.end(nobody, Reason::NoPossibleDestination)),
        }
    }

    /// A service opens connections like any host of the internet, and none through its endpoints
    /// (EP-10).
    pub(super) fn come_from_service(&mut self, number: Number<Service>) -> End<'a> {
        let policy = self.policy();
        let destination = self.destination();
        let Some(service) = policy.service(number) else {
            return Err(Reason::AttachmentDown);
        };
        let own = service.holds(self.header.flow.source);
        let verdict = if own { Ok(()) } else { Err(Reason::SpoofedSource) };
        self.step(Step::Source { own: service.ip, interface: None }, verdict)?;
        match self.judge.view.by_address(service.network, destination) {
            Some(side) => {
                let step = Step::Destination { interface: Some(side) };
                Err(self.end(step, Reason::VpceIntraVpcTraffic))
            }
            None if service.holds(destination) => {
                Err(self.end(Step::Destination { interface: None }, Reason::RoutingLoop))
            }
            None => self.internet(),
        }
    }
}
