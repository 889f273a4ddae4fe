//! What stands at endpoints: interfaces in their VPCs, and addresses at their services.
//!
//! A service sees neither the addresses of tenants, which may be the same, nor their ENIs: whatever
//! comes through an endpoint has that endpoint's address there. These addresses are of 100.64.0.0/10,
//! which no service and no internet host has; they are unique in the whole file, and like all others
//! they stay what they are across reloads.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net};
use viaduct_topology::{
    Handle, ResourceId, Topology,
    inventory::{Eni, EniOwner},
    model::{Service, VpcEndpoint, VpcEndpointKind},
};

use crate::{address_pool::AddressPool, error::PlanError, memory::Memory};

/// Where services see endpoints: shared address space (RFC 6598).
const SERVICE_SIDE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// The id of an interface endpoint's interface in a subnet.
pub(crate) fn eni_id(endpoint: &ResourceId, subnet: &ResourceId) -> ResourceId {
    ResourceId::derived("eni", &format!("{endpoint}/{subnet}"))
}

/// The interfaces of all endpoints at their services, in the file's order.
pub(crate) fn service_sides(
    topology: &Topology,
    memory: &Memory<'_>,
) -> Result<Vec<Eni>, PlanError> {
    let sides: Vec<Side<'_>> = topology.vpc_endpoints.iter().map(|it| side(topology, it)).collect();
    let mut pool = AddressPool::without_vpc(SERVICE_SIDE.into()).sparing(before(memory));
    let usable = pool.usable();
    // As in subnets: who has an address keeps it, before anybody gets one.
    let kept: Vec<Option<IpAddr>> = sides
        .iter()
        .map(|side| memory.address(&side.id, &side.service.id).filter(|ip| pool.take(*ip)))
        .collect();
    let mut enis = Vec::with_capacity(sides.len());
    for (Side { id, endpoint, path, service }, kept) in sides.into_iter().zip(kept) {
        let given = kept.or_else(|| pool.take_lowest());
        let private_ip = given.ok_or_else(|| PlanError::NoFreeAddress {
            subnet: format!("service/{}", service.name),
            cidr_block: SERVICE_SIDE.into(),
            usable,
            wanted: path.clone(),
        })?;
        enis.push(Eni {
            id,
            vpc: service.id.clone(),
            subnet: service.id.clone(),
            private_ip,
            secondary_private_ips: Vec::new(),
            public_ip: None,
            security_groups: Vec::new(),
            owner: EniOwner::ServiceSide { endpoint: endpoint.id.clone(), path },
            source_dest_check: false,
        });
    }
    Ok(enis)
}

struct Side<'t> {
    id: ResourceId,
    endpoint: &'t VpcEndpoint,
    path: String,
    service: &'t Service,
}

fn side<'t>(
    topology: &'t Topology,
    (handle, endpoint): (Handle<VpcEndpoint>, &'t VpcEndpoint),
) -> Side<'t> {
    Side {
        id: ResourceId::derived("eni", &format!("{}/service", endpoint.id)),
        endpoint,
        path: topology.short_path(handle),
        service: &topology.services[endpoint.service],
    }
}

/// The addresses that endpoints had at services until now.
fn before(memory: &Memory<'_>) -> BTreeSet<IpAddr> {
    let is_side = |eni: &&Eni| matches!(eni.owner, EniOwner::ServiceSide { .. });
    memory.enis().filter(is_side).map(|eni| eni.private_ip).collect()
}

/// The blocks at which a service's host answers, beside its own address.
pub(crate) fn further(topology: &Topology, service: &Service) -> Vec<IpNet> {
    let list = service.prefix_list.map(|list| topology.prefix_lists[list].entries.as_slice());
    let alone = IpNet::from(service.ip);
    list.unwrap_or_default().iter().copied().filter(|block| *block != alone).collect()
}

/// The public name of one of AWS's services, which is what AWS calls it read backwards:
/// `com.amazonaws.eu-central-1.lambda` is `lambda.eu-central-1.amazonaws.com` (EP-12). None for services
/// of other names, and for those that people offer there (`com.amazonaws.vpce.…`).
pub(crate) fn public_name(service: &str) -> Option<String> {
    let rest = service.strip_prefix("com.amazonaws.")?;
    let is_label = |label: &str| !label.is_empty();
    if rest.starts_with("vpce.") || !rest.contains('.') || !rest.split('.').all(is_label) {
        return None;
    }
    Some(service.rsplit('.').collect::<Vec<_>>().join("."))
}

/// The interface endpoints by whose address a VPC's hosts know a service (EP-12).
pub(crate) fn named(
    topology: &Topology,
) -> impl Iterator<Item = (Handle<VpcEndpoint>, &VpcEndpoint)> {
    topology.vpc_endpoints.iter().filter(|(_, endpoint)| {
        matches!(endpoint.kind, VpcEndpointKind::Interface { private_dns_enabled: true, .. })
    })
}
