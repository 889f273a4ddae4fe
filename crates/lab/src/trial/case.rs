//! From `expect` lines to single flows that can be tried: one host to one address.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
};

use viaduct_control_plane::Plan;
use viaduct_topology::{
    Handle, ResourceId, Topology,
    inventory::{AttachmentId, Eni, EniOwner, Host},
    model::{Endpoint, Expectation, Function, Instance, Service, VpcEndpoint},
};

/// One flow that an expectation speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Case {
    /// The host that opens it.
    pub(super) from: AttachmentId,
    /// Its name.
    pub(super) from_name: String,
    /// Where it goes.
    pub(super) to: Ipv4Addr,
    /// The name of the host that answers there, if there is one.
    pub(super) to_name: Option<String>,
}

/// The flows of an expectation. A function without a number stands for one environment in each of
/// its subnets, as that is where its flows can differ; as a destination, for each of its ENIs. Without
/// a VPC it is one environment, and as a destination what the internet sees of it.
pub(super) fn cases(topology: &Topology, plan: &Plan, expectation: &Expectation) -> Vec<Case> {
    let view = View { topology, plan };
    let mut cases = Vec::new();
    for (from, from_name, eni) in view.sources(&expectation.from) {
        for (to, to_name) in view.destinations(&expectation.to, eni) {
            cases.push(Case { from, from_name: from_name.clone(), to, to_name });
        }
    }
    cases
}

struct View<'a> {
    topology: &'a Topology,
    plan: &'a Plan,
}

impl<'a> View<'a> {
    /// The hosts an endpoint stands for, each with its interface if it is in a VPC.
    fn sources(&self, endpoint: &Endpoint) -> Vec<(AttachmentId, String, Option<&'a Eni>)> {
        let mut subnets = HashSet::new();
        let mut sources = Vec::new();
        for attachment in &self.plan.attachments {
            let eni = match &attachment.host {
                Host::Environment { enis, .. } => enis.first().and_then(|id| self.eni(id)),
                Host::Instance { eni } => self.eni(eni),
                _ => None,
            };
            let meant = match (endpoint, &attachment.host) {
                (
                    Endpoint::Function(function, number),
                    Host::Environment { function: name, .. },
                ) => {
                    let prefix = format!("function/{name}/");
                    name == self.name(*function)
                        && match number {
                            Some(number) => attachment.name == format!("{prefix}{number}"),
                            None => subnets.insert(eni.map(|eni| &eni.subnet)),
                        }
                }
                (Endpoint::Instance(instance), Host::Instance { .. }) => {
                    attachment.name == self.topology.short_path(*instance)
                }
                (Endpoint::Internet(host), Host::Internet { .. }) => {
                    attachment.name == self.topology.path(*host)
                }
                (Endpoint::Service(service), Host::Service { id }) => {
                    *id == self.topology.services[*service].id
                }
                (Endpoint::Address(address), Host::Internet { ip }) => address == ip,
                (Endpoint::Address(address), Host::Instance { .. }) => {
                    eni.is_some_and(|eni| eni.private_ip == *address)
                }
                _ => false,
            };
            if meant {
                sources.push((attachment.id, attachment.name.clone(), eni));
            }
        }
        sources
    }

    /// The addresses an endpoint stands for, each with the host that answers there.
    fn destinations(
        &self,
        endpoint: &Endpoint,
        from: Option<&Eni>,
    ) -> Vec<(Ipv4Addr, Option<String>)> {
        let addresses: Vec<(IpAddr, Option<String>)> = match endpoint {
            Endpoint::Function(function, _) if self.topology.function_vpc(*function).is_none() => {
                let nat = |eni: &&Eni| eni.owner == EniOwner::ServiceVpc;
                let addresses = self.plan.enis.iter().filter(nat).map(|eni| eni.private_ip);
                addresses.min().map(|address| (address, None)).into_iter().collect()
            }
            Endpoint::Function(function, number) => {
                self.enis_of(*function, *number).map(|eni| (eni.private_ip, None)).collect()
            }
            Endpoint::Instance(instance) => {
                self.instance(*instance, from.is_some()).into_iter().collect()
            }
            Endpoint::Internet(host) => {
                let address = self.topology.internet_hosts[*host].ip;
                vec![(address, Some(self.topology.path(*host)))]
            }
            Endpoint::Service(service) => {
                let address = self.topology.services[*service].ip;
                vec![(address, Some(self.topology.path(*service)))]
            }
            Endpoint::VpcEndpoint(endpoint) => {
                self.vpc_endpoint(*endpoint, from).into_iter().collect()
            }
            Endpoint::Address(address) => vec![(*address, self.holder(*address, from))],
        };
        let as_v4 = |(address, name)| match address {
            IpAddr::V4(address) => Some((address, name)),
            IpAddr::V6(_) => None,
        };
        addresses.into_iter().filter_map(as_v4).collect()
    }

    fn name(&self, function: Handle<Function>) -> &str {
        &self.topology.functions[function].name
    }

    fn eni(&self, id: &ResourceId) -> Option<&'a Eni> {
        self.plan.enis.iter().find(|eni| eni.id == *id)
    }

    fn enis_of(
        &self,
        function: Handle<Function>,
        number: Option<u32>,
    ) -> impl Iterator<Item = &Eni> {
        let mut seen = HashSet::new();
        let name = self.name(function);
        self.plan
            .attachments
            .iter()
            .filter_map(move |attachment| match &attachment.host {
                Host::Environment { function, enis } if function == name => {
                    let wanted = number.is_none_or(|number| {
                        attachment.name == format!("function/{name}/{number}")
                    });
                    enis.first().filter(|_| wanted)
                }
                _ => None,
            })
            .filter(move |eni| seen.insert((*eni).clone()))
            .filter_map(|eni| self.eni(eni))
    }

    /// The address by which an instance is known, and its name: from the internet the public one,
    /// if it has one.
    fn instance(
        &self,
        instance: Handle<Instance>,
        from_a_vpc: bool,
    ) -> Option<(IpAddr, Option<String>)> {
        let path = self.topology.short_path(instance);
        let eni = self.plan.enis.iter().find(
            |eni| matches!(&eni.owner, EniOwner::Instance { path: owner, .. } if *owner == path),
        )?;
        let public = if from_a_vpc { None } else { eni.public_ip };
        Some((public.unwrap_or(eni.private_ip), Some(path)))
    }

    /// The host that an address leads to, seen from a VPC, or from the internet.
    fn holder(&self, address: IpAddr, from: Option<&Eni>) -> Option<String> {
        let host = self.topology.internet_hosts.values().find(|host| host.ip == address);
        if let Some(host) = host {
            return Some(format!("internet/{}", host.name));
        }
        let mut services = self.topology.services.iter();
        let answers = |service: &Service| {
            let list = service.prefix_list.map(|list| &self.topology.prefix_lists[list].entries);
            service.ip == address || list.into_iter().flatten().any(|it| it.contains(&address))
        };
        if let Some((service, _)) = services.find(|(_, service)| answers(service)) {
            return Some(self.topology.path(service));
        }
        // Private addresses are those of the own VPC, or else of one that is peered with it. Where several
        // peers have the address, the routes decide, which are not looked at here.
        let vpc = from.map(|from| &from.vpc);
        let holders = self.plan.enis.iter().filter(|eni| {
            eni.private_ip == address || eni.secondary_private_ips.contains(&address)
        });
        let mut at_home = holders.clone().filter(|eni| vpc == Some(&eni.vpc));
        let mut peers = holders.filter(|eni| self.is_peered(vpc, &eni.vpc));
        let peer = peers.next().filter(|_| peers.next().is_none());
        let nearest = at_home.next().or(peer).map(|eni| &eni.id);
        self.plan.enis.iter().find_map(|eni| {
            let near = nearest == Some(&eni.id);
            match &eni.owner {
                EniOwner::Instance { path, .. } if near || eni.public_ip == Some(address) => {
                    Some(path.clone())
                }
                EniOwner::VpcEndpoint { id, .. } if near => {
                    let mut endpoints = self.topology.vpc_endpoints.values();
                    let endpoint = endpoints.find(|endpoint| endpoint.id == *id)?;
                    Some(self.topology.path(endpoint.service))
                }
                _ => None,
            }
        })
    }

    fn is_peered(&self, vpc: Option<&ResourceId>, other: &ResourceId) -> bool {
        self.topology.vpc_peering_connections.values().any(|peering| {
            let ends = [peering.requester, peering.accepter].map(|it| &self.topology.vpcs[it].id);
            ends.contains(&other) && vpc.is_some_and(|vpc| vpc != other && ends.contains(&vpc))
        })
    }

    /// The address by which a host knows an interface endpoint, and the service behind it.
    fn vpc_endpoint(
        &self,
        endpoint: Handle<VpcEndpoint>,
        from: Option<&Eni>,
    ) -> Option<(IpAddr, Option<String>)> {
        let of_sender = |from: &Eni| {
            let mut subnets = self.topology.subnets.iter();
            subnets.find(|(_, subnet)| subnet.id == from.subnet).map(|(handle, _)| handle)
        };
        let subnet = self.topology.endpoint_subnet(endpoint, from.and_then(of_sender))?;
        let subnet = &self.topology.subnets[subnet].id;
        let object = &self.topology.vpc_endpoints[endpoint];
        let of_endpoint = |eni: &&Eni| {
            eni.subnet == *subnet
                && matches!(&eni.owner, EniOwner::VpcEndpoint { id, .. } if *id == object.id)
        };
        let eni = self.plan.enis.iter().find(of_endpoint)?;
        Some((eni.private_ip, Some(self.topology.path(object.service))))
    }
}
