//! The service VPC's NAT: the way out of functions without a VPC (LAM-12).

use viaduct_topology::{
    ResourceId, Topology,
    inventory::{Eni, EniOwner},
};

/// Its interfaces, one for each public address. An interface belongs to its address: a reload that
/// names others leaves those that stay as they are.
pub(crate) fn interfaces(topology: &Topology) -> impl Iterator<Item = Eni> {
    let vpc = ResourceId::derived("vpc", "service");
    let subnet = ResourceId::derived("subnet", "service");
    topology.service_vpc.public_ips.iter().map(move |ip| Eni {
        id: ResourceId::derived("eni", &format!("service/{ip}")),
        vpc: vpc.clone(),
        subnet: subnet.clone(),
        private_ip: *ip,
        secondary_private_ips: Vec::new(),
        public_ip: Some(*ip),
        security_groups: Vec::new(),
        owner: EniOwner::ServiceVpc,
        source_dest_check: false,
    })
}
