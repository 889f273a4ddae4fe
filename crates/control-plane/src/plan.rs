//! The plan of a topology: who gets which address, which id, which name.
//!
//! Addresses are given in four rounds: those that the file names, then NAT gateways, instances and
//! Hyperplane ENIs, each in the file's order and each the lowest that is free. So an instance that
//! is added at the end of a file moves nothing but Hyperplane ENIs, whose addresses nobody may rely
//! on anyway (LAM-08).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

use viaduct_topology::{
    Handle, ResourceId, Topology,
    inventory::{Attachment, AttachmentId, Eni, EniOwner, Host},
    model::{Instance, NatGateway, Vpc},
};

use crate::{
    address_pool::router,
    addresses::Addresses,
    error::PlanError,
    host::{HostPlan, HostsFiles},
    hyperplane,
};

/// What stands in a topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Every network interface.
    pub enis: Vec<Eni>,
    /// Every host that may be attached: environments, instances, internet hosts. Ids count from 1,
    /// without gaps, in this order.
    pub attachments: Vec<Attachment>,
    /// How each of `attachments` is to be set up, in the same order.
    pub hosts: Vec<HostPlan>,
}

impl Plan {
    /// The host at the attachment of this name. `function/api` is its first environment.
    #[must_use]
    pub fn host(&self, name: &str) -> Option<(&Attachment, &HostPlan)> {
        let first = format!("{name}/1");
        self.attachments
            .iter()
            .zip(&self.hosts)
            .find(|(attachment, _)| attachment.name == name || attachment.name == first)
    }
}

/// Plans a topology.
///
/// # Errors
///
/// When a subnet has no address left, or a VPC's functions need more ENIs than its quota.
pub fn plan(topology: &Topology) -> Result<Plan, PlanError> {
    let mut planner = Planner {
        topology,
        addresses: Addresses::new(topology),
        paths: topology
            .instances
            .iter()
            .map(|(handle, _)| (handle, topology.short_path(handle)))
            .collect(),
        private: BTreeMap::new(),
        plan: Plan::default(),
    };
    let gateways = planner.take_named()?;
    planner.nat_gateways(&gateways)?;
    planner.instances()?;
    planner.hyperplane()?;
    planner.attach();
    Ok(planner.plan)
}

struct Planner<'t> {
    topology: &'t Topology,
    addresses: Addresses<'t>,
    /// `instance/db`, or `main/instance/db` where another VPC has a `db` too.
    paths: HashMap<Handle<Instance>, String>,
    /// The private addresses of instances that have one so far.
    private: BTreeMap<Handle<Instance>, IpAddr>,
    plan: Plan,
}

impl Planner<'_> {
    /// Takes the addresses that the file names. Returns those of NAT gateways.
    fn take_named(&mut self) -> Result<BTreeMap<Handle<NatGateway>, IpAddr>, PlanError> {
        let mut gateways = BTreeMap::new();
        for (handle, gateway) in self.topology.nat_gateways.iter() {
            if let Some(address) = gateway.private_ip {
                let wanted = format!("nat_gateway/{}", gateway.name);
                self.addresses.named(gateway.subnet, address, &wanted)?;
                gateways.insert(handle, address);
            }
        }
        for (handle, instance) in self.topology.instances.iter() {
            if let Some(address) = instance.private_ip {
                self.addresses.named(instance.subnet, address, &self.paths[&handle])?;
                self.private.insert(handle, address);
            }
        }
        Ok(gateways)
    }

    /// One interface for each address; the first is the primary, whose private address may be
    /// named (NAT-06, NAT-07).
    fn nat_gateways(
        &mut self,
        named: &BTreeMap<Handle<NatGateway>, IpAddr>,
    ) -> Result<(), PlanError> {
        for (handle, gateway) in self.topology.nat_gateways.iter() {
            let subnet = &self.topology.subnets[gateway.subnet];
            let wanted = format!("nat_gateway/{}", gateway.name);
            for index in 0..gateway.addresses {
                let private_ip = match named.get(&handle) {
                    Some(named) if index == 0 => *named,
                    _ => self.addresses.lowest(gateway.subnet, &wanted)?,
                };
                self.plan.enis.push(Eni {
                    id: ResourceId::derived("eni", &format!("{}/{index}", gateway.id)),
                    vpc: self.topology.vpcs[subnet.vpc].id.clone(),
                    subnet: subnet.id.clone(),
                    private_ip,
                    public_ip: gateway.public_ips.get(index as usize).copied(),
                    security_groups: Vec::new(),
                    owner: EniOwner::NatGateway { id: gateway.id.clone() },
                    source_dest_check: false,
                });
            }
        }
        Ok(())
    }

    /// An interface for each instance.
    fn instances(&mut self) -> Result<(), PlanError> {
        for (handle, instance) in self.topology.instances.iter() {
            let path = self.paths[&handle].clone();
            let private_ip = match self.private.get(&handle) {
                Some(named) => *named,
                None => self.addresses.lowest(instance.subnet, &path)?,
            };
            self.private.insert(handle, private_ip);
            let subnet = &self.topology.subnets[instance.subnet];
            let groups = instance.security_groups.iter();
            self.plan.enis.push(Eni {
                id: instance_eni_id(instance),
                vpc: self.topology.vpcs[subnet.vpc].id.clone(),
                subnet: subnet.id.clone(),
                private_ip,
                public_ip: instance.public_ip,
                security_groups: groups
                    .map(|group| self.topology.security_groups[*group].id.clone())
                    .collect(),
                owner: EniOwner::Instance { id: instance.id.clone(), path },
                source_dest_check: instance.source_dest_check,
            });
        }
        Ok(())
    }

    /// An ENI for each key in use: every subnet of every function, whether or not an environment
    /// stands there yet (LAM-04).
    fn hyperplane(&mut self) -> Result<(), PlanError> {
        let mut seen = HashSet::new();
        let mut needed: BTreeMap<Handle<Vpc>, u32> = BTreeMap::new();
        for function in self.topology.functions.values() {
            for handle in &function.subnets {
                let key = hyperplane::key(self.topology, function, *handle);
                if !seen.insert(key.clone()) {
                    continue;
                }
                let subnet = &self.topology.subnets[*handle];
                *needed.entry(subnet.vpc).or_default() += 1;
                let wanted = format!("the ENI of function/{}", function.name);
                self.plan.enis.push(Eni {
                    id: hyperplane::eni_id(&key),
                    vpc: self.topology.vpcs[subnet.vpc].id.clone(),
                    subnet: subnet.id.clone(),
                    private_ip: self.addresses.lowest(*handle, &wanted)?,
                    public_ip: None,
                    security_groups: key.security_groups.clone(),
                    owner: EniOwner::Functions(key),
                    // LAM-30: an ENI of type `lambda` has its check on.
                    source_dest_check: true,
                });
            }
        }
        let quota = self.topology.settings.enis_per_vpc;
        match needed.into_iter().find(|(_, needed)| *needed > quota) {
            Some((vpc, needed)) => {
                let vpc = self.topology.vpcs[vpc].name.clone();
                Err(PlanError::EniQuota { vpc, needed, quota })
            }
            None => Ok(()),
        }
    }

    /// Names every host and says how it is to be set up.
    fn attach(&mut self) {
        let topology = self.topology;
        let hosts = HostsFiles::new(topology, &self.private);
        let mut ids = (1..).map(AttachmentId);
        let mut add = |host: Host, host_plan: HostPlan| {
            let id = ids.next().expect("fewer than 2^32 hosts");
            self.plan.attachments.push(Attachment { id, name: host_plan.name.clone(), host });
            self.plan.hosts.push(host_plan);
        };

        for function in topology.functions.values() {
            let subnets = hyperplane::placements(topology, function);
            for (number, subnet) in (1..=function.environments).zip(subnets) {
                let name = format!("function/{}/{number}", function.name);
                let eni = hyperplane::eni_id(&hyperplane::key(topology, function, subnet));
                let vpc = topology.subnets[subnet].vpc;
                add(
                    Host::Environment { function: function.name.clone(), enis: vec![eni] },
                    HostPlan::environment(name, hosts.of_vpc(vpc)),
                );
            }
        }
        for (handle, instance) in topology.instances.iter() {
            let subnet = &topology.subnets[instance.subnet];
            add(
                Host::Instance { eni: instance_eni_id(instance) },
                HostPlan::instance(
                    self.paths[&handle].clone(),
                    self.private[&handle],
                    router(subnet.cidr_block),
                    !instance.source_dest_check,
                    hosts.of_vpc(subnet.vpc),
                ),
            );
        }
        for host in topology.internet_hosts.values() {
            let name = format!("internet/{}", host.name);
            add(
                Host::Internet { ip: host.ip },
                HostPlan::internet(name, host.ip, hosts.of_internet()),
            );
        }
    }
}

fn instance_eni_id(instance: &Instance) -> ResourceId {
    ResourceId::derived("eni", instance.id.as_str())
}
