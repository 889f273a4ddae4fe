//! The plan of a topology: who gets which address, which id, which name.
//!
//! Addresses are given in three rounds: those that the file names; those that an interface has from
//! the plan before; then to NAT gateways, instances, interface endpoints and Hyperplane ENIs, each in
//! the file's order, the lowest that is free. So a reload moves nobody but who stands where the file now puts another,
//! and without a plan before, an instance that is added at the end of a file moves nothing but
//! Hyperplane ENIs, whose addresses nobody may rely on anyway (LAM-08), and endpoints, whose addresses
//! are known by name.
//!
//! Hyperplane ENIs are not the plan's own: it hands the file's functions and what is left of the
//! subnets to the [`Lifecycle`], which has the functions of the API too, and takes its ENIs as they
//! then are.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv4Addr},
};

use ipnet::IpNet;
use viaduct_topology::{
    Handle, ResourceId, Topology,
    inventory::{Attachment, Eni, EniOwner, Host},
    model::{Function, Instance, Subnet, VpcEndpoint, VpcEndpointKind},
};

use crate::{
    address_pool::{AddressPool, router},
    addresses::Addresses,
    endpoints,
    environments::{Environment, Environments},
    error::PlanError,
    host::{HostPlan, HostsFiles, Names, Private},
    hyperplane,
    lifecycle::{
        Configuration, DeclarationError, Delays, EniSet, FunctionName, Key, Lifecycle, VpcConfig,
    },
    memory::Memory,
    service_vpc,
};

/// What stands in a topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Every network interface.
    pub enis: Vec<Eni>,
    /// Every host that may be attached: environments, instances, internet hosts, services. In a first plan,
    /// ids count from 1 in this order; later ones keep theirs, and no id is given out twice.
    pub attachments: Vec<Attachment>,
    /// How each of `attachments` is to be set up, in the same order.
    pub hosts: Vec<HostPlan>,
    /// How many ids of attachments were given out, in this plan and those before it.
    pub issued: u32,
    /// What the hosts can call by name.
    pub names: Names,
    /// All functions, the API's too, and their ENIs, which are among `enis`. What it has to say of
    /// how it came from one plan to the next includes changes of the inventory; those are among the
    /// [`changes`](fn@crate::changes) between the plans.
    pub lifecycle: Lifecycle,
}

impl Plan {
    /// The plan as it is when functions have lived on: their ENIs may be others.
    #[must_use]
    pub fn with_lifecycle(&self, lifecycle: Lifecycle) -> Self {
        let others = self.enis.iter().filter(|eni| !matches!(eni.owner, EniOwner::Functions(_)));
        let functions = lifecycle.sets().flat_map(EniSet::inventory);
        let enis = others.cloned().chain(functions).collect();
        let (attachments, hosts) = (self.attachments.clone(), self.hosts.clone());
        let names = self.names.clone();
        Self { enis, attachments, hosts, issued: self.issued, names, lifecycle }
    }

    /// The plan with the environments that come and go among its attachments, for
    /// [`changes`](fn@crate::changes): how they are to be set up is [told apart](Self::environment).
    #[must_use]
    pub fn with_environments(mut self, environments: &Environments) -> Self {
        self.attachments.extend(environments.iter().map(|it| it.attachment.clone()));
        self
    }

    /// How an environment that comes and goes is to be set up.
    #[must_use]
    pub fn environment(&self, environment: &Environment) -> HostPlan {
        let names = self.names.seen_from(environment.subnet.as_ref());
        HostPlan::environment(environment.attachment.name.clone(), names)
    }

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
/// When a subnet has no address left, a VPC's functions need more ENIs than its quota, or functions of
/// the API are in the way.
pub fn plan(topology: &Topology) -> Result<Plan, PlanError> {
    plan_after(&Plan::default(), topology)
}

/// Plans a topology that takes the place of another: whatever stays keeps its address, its
/// interface and its attachment's id, and an environment its subnet.
///
/// # Errors
///
/// As [`plan`].
pub fn plan_after(previous: &Plan, topology: &Topology) -> Result<Plan, PlanError> {
    let memory = Memory::of(previous);
    let mut planner = Planner {
        topology,
        addresses: Addresses::new(topology, &memory),
        memory,
        paths: topology.short_paths::<Instance>(),
        private: Private::default(),
        wanted: Vec::new(),
        plan: Plan { lifecycle: previous.lifecycle.clone(), ..Plan::default() },
    };
    planner.nat_gateways();
    planner.instances();
    planner.vpc_endpoints();
    let homeless = planner.assign()?;
    planner.functions(&homeless)?;
    planner.plan.enis.extend(endpoints::service_sides(topology, &planner.memory)?);
    planner.plan.enis.extend(service_vpc::interfaces(topology));
    planner.attach();
    planner.plan.issued = planner.memory.issued();
    Ok(planner.plan)
}

struct Planner<'t> {
    topology: &'t Topology,
    memory: Memory<'t>,
    addresses: Addresses<'t>,
    /// `instance/db`, or `main/instance/db` where another VPC has a `db` too.
    paths: Vec<String>,
    private: Private,
    wanted: Vec<Wanted>,
    plan: Plan,
}

/// An interface that needs an address.
struct Wanted {
    /// The interface, its address still to be filled in.
    eni: Eni,
    subnet: Handle<Subnet>,
    /// The address that the file names.
    named: Option<IpAddr>,
    /// What the address is for, in a message.
    what: String,
    /// Who is known by it.
    holder: Option<Holder>,
}

/// Who is known by an address.
#[derive(Clone, Copy, Debug)]
enum Holder {
    Instance(Handle<Instance>),
    Endpoint(Handle<VpcEndpoint>, Handle<Subnet>),
}

impl Planner<'_> {
    /// One interface for each address; the first is the primary, whose private address may be
    /// named (NAT-06, NAT-07). A gateway that is not yet or no more there has none.
    fn nat_gateways(&mut self) {
        for gateway in self.topology.nat_gateways.values().filter(|it| it.state.is_there()) {
            let subnet = &self.topology.subnets[gateway.subnet];
            let before = |public_ip: &IpAddr| self.memory.nat_eni(&gateway.id, *public_ip);
            // Interfaces follow their public addresses, except that the first stays the first: its
            // private address is fixed for life (NAT-07).
            let primary = nat_eni_id(&gateway.id, 0);
            let public_ip = |index: u32| gateway.public_ips.get(index as usize);
            let kept: Vec<Option<&Eni>> = (0..gateway.addresses)
                .map(|index| {
                    public_ip(index)
                        .and_then(before)
                        .filter(|eni| (eni.id == primary) == (index == 0))
                })
                .collect();
            let taken: HashSet<&ResourceId> = kept.iter().flatten().map(|eni| &eni.id).collect();
            let mut fresh =
                (1..).map(|index| nat_eni_id(&gateway.id, index)).filter(|id| !taken.contains(id));
            for (index, kept) in (0..).zip(&kept) {
                let id = match kept {
                    Some(eni) => eni.id.clone(),
                    None if index == 0 => primary.clone(),
                    None => fresh.next().expect("numbers do not end"),
                };
                self.wanted.push(Wanted {
                    eni: Eni {
                        id,
                        vpc: self.topology.vpcs[subnet.vpc].id.clone(),
                        subnet: subnet.id.clone(),
                        private_ip: UNASSIGNED,
                        secondary_private_ips: Vec::new(),
                        public_ip: public_ip(index).copied(),
                        security_groups: Vec::new(),
                        owner: EniOwner::NatGateway { id: gateway.id.clone() },
                        source_dest_check: false,
                    },
                    subnet: gateway.subnet,
                    named: gateway.private_ip.filter(|_| index == 0),
                    what: format!("nat_gateway/{}", gateway.name),
                    holder: None,
                });
            }
        }
    }

    /// An interface for each instance.
    fn instances(&mut self) {
        for (handle, instance) in self.topology.instances.iter() {
            let path = self.paths[handle.index()].clone();
            let subnet = &self.topology.subnets[instance.subnet];
            let groups = instance.security_groups.iter();
            self.wanted.push(Wanted {
                eni: Eni {
                    id: instance_eni_id(instance),
                    vpc: self.topology.vpcs[subnet.vpc].id.clone(),
                    subnet: subnet.id.clone(),
                    private_ip: UNASSIGNED,
                    secondary_private_ips: instance.secondary_private_ips.clone(),
                    public_ip: instance.public_ip,
                    security_groups: groups
                        .map(|group| self.topology.security_groups[*group].id.clone())
                        .collect(),
                    owner: EniOwner::Instance { id: instance.id.clone(), path: path.clone() },
                    source_dest_check: instance.source_dest_check,
                },
                subnet: instance.subnet,
                named: instance.private_ip,
                what: path,
                holder: Some(Holder::Instance(handle)),
            });
        }
    }

    /// An interface in each subnet of an interface endpoint (EP-09).
    fn vpc_endpoints(&mut self) {
        for (handle, endpoint) in self.topology.vpc_endpoints.iter() {
            let VpcEndpointKind::Interface { subnets, security_groups, .. } = &endpoint.kind else {
                continue;
            };
            let path = self.topology.short_path(handle);
            let groups = security_groups.iter();
            let groups: Vec<ResourceId> =
                groups.map(|group| self.topology.security_groups[*group].id.clone()).collect();
            for place in subnets {
                let subnet = &self.topology.subnets[place.subnet];
                let owner = EniOwner::VpcEndpoint { id: endpoint.id.clone(), path: path.clone() };
                self.wanted.push(Wanted {
                    eni: Eni {
                        id: endpoints::eni_id(&endpoint.id, &subnet.id),
                        vpc: self.topology.vpcs[subnet.vpc].id.clone(),
                        subnet: subnet.id.clone(),
                        private_ip: UNASSIGNED,
                        secondary_private_ips: Vec::new(),
                        public_ip: None,
                        security_groups: groups.clone(),
                        owner,
                        source_dest_check: true,
                    },
                    subnet: place.subnet,
                    named: place.private_ip,
                    what: path.clone(),
                    holder: Some(Holder::Endpoint(handle, place.subnet)),
                });
            }
        }
    }

    /// Gives every interface its address. Returns the Hyperplane ENIs whose address is another's now.
    fn assign(&mut self) -> Result<Vec<(Key, u32)>, PlanError> {
        let wanted = std::mem::take(&mut self.wanted);
        let mut given: Vec<Option<IpAddr>> = Vec::with_capacity(wanted.len());
        for Wanted { eni, subnet, named, what, .. } in &wanted {
            let named = named.map(|named| self.addresses.named(*subnet, named, what));
            given.push(named.transpose()?);
            for secondary in &eni.secondary_private_ips {
                self.addresses.named(*subnet, *secondary, what)?;
            }
        }
        for (Wanted { eni, subnet, .. }, given) in wanted.iter().zip(&mut given) {
            if given.is_none() {
                *given = self
                    .memory
                    .address(&eni.id, &eni.subnet)
                    .filter(|address| self.addresses.again(*subnet, *address));
            }
        }
        let subnets: HashMap<&ResourceId, Handle<Subnet>> =
            self.topology.subnets.iter().map(|(handle, subnet)| (&subnet.id, handle)).collect();
        let mut homeless = Vec::new();
        for (key, ordinal, address) in self.plan.lifecycle.addresses() {
            let subnet = subnets.get(key.subnet());
            if subnet.is_some_and(|subnet| !self.addresses.again(*subnet, address)) {
                homeless.push((key.clone(), ordinal));
            }
        }
        for (Wanted { eni, subnet, what, holder, .. }, given) in wanted.into_iter().zip(given) {
            let private_ip = match given {
                Some(given) => given,
                None => self.addresses.lowest(subnet, &what)?,
            };
            match holder {
                Some(Holder::Instance(instance)) => {
                    self.private.instances.insert(instance, private_ip);
                }
                Some(Holder::Endpoint(endpoint, subnet)) => {
                    self.private.endpoints.insert((endpoint, subnet), private_ip);
                }
                None => {}
            }
            self.plan.enis.push(Eni { private_ip, ..eni });
        }
        Ok(homeless)
    }

    /// Has the file's functions be there, each with an ENI in each of its subnets, whether or not an
    /// environment stands there yet (LAM-04).
    fn functions(&mut self, homeless: &[(Key, u32)]) -> Result<(), PlanError> {
        let topology = self.topology;
        let mut declared = Vec::with_capacity(topology.functions.len());
        for function in topology.functions.values() {
            let subnets = function.subnets.iter().map(|it| topology.subnets[*it].id.clone());
            let groups = function.security_groups.iter();
            let groups = groups.map(|it| topology.security_groups[*it].id.clone());
            let vpc = VpcConfig::new(subnets, groups)?;
            let name = FunctionName::new(&function.account, &function.name);
            let role = function.role.map(|it| topology.roles[it].name.as_str().into());
            declared.push((name, Configuration { vpc, role, ..Configuration::default() }));
        }
        let roles = topology.roles.values();
        let roles: Vec<_> =
            roles.map(|it| (it.name.as_str().into(), it.policies.clone())).collect();
        let places = self.addresses.places();
        let lifecycle = &mut self.plan.lifecycle;
        lifecycle.set_delays(Delays::of(&topology.settings));
        lifecycle
            .declare(places, homeless, &roles, &declared)
            .map_err(|error| in_words(topology, error))?;
        self.plan.enis.extend(self.plan.lifecycle.sets().flat_map(EniSet::inventory));
        Ok(())
    }

    /// Where the environments of a function with subnets stand: where they stood, if the function still has that
    /// subnet, else where their number puts them (LAM-18).
    fn placements(&self, function: &Function) -> Vec<Handle<Subnet>> {
        let stays = |number: u32| {
            let stood = self.memory.placement(&environment_name(function, number))?;
            let subnets = function.subnets.iter().copied();
            subnets.into_iter().find(|subnet| self.topology.subnets[*subnet].id == *stood)
        };
        (1..=function.environments)
            .zip(hyperplane::placements(self.topology, function))
            .map(|(number, turn)| stays(number).unwrap_or(turn))
            .collect()
    }

    /// Names every host and says how it is to be set up.
    fn attach(&mut self) {
        let topology = self.topology;
        let hosts = HostsFiles::new(topology, &self.private);
        self.plan.names = hosts.names(topology);
        let placements: Vec<_> =
            topology.functions.values().map(|function| self.placements(function)).collect();
        let lifecycle = &self.plan.lifecycle;
        let mut add = |host: Host, host_plan: HostPlan| {
            let id = self.memory.attachment(&host_plan.name, &host);
            self.plan.attachments.push(Attachment { id, name: host_plan.name.clone(), host });
            self.plan.hosts.push(host_plan);
        };

        for (function, subnets) in topology.functions.values().zip(placements) {
            let without_vpc = if function.subnets.is_empty() { function.environments } else { 0 };
            for number in 1..=without_vpc {
                let name = environment_name(function, number);
                add(
                    Host::Environment { function: function.name.clone(), enis: Vec::new() },
                    HostPlan::environment(name, hosts.of_internet()),
                );
            }
            for (number, subnet) in (1..).zip(subnets) {
                let name = environment_name(function, number);
                // Every ENI of the key serves it; one is enough to name the key.
                let key = hyperplane::key(topology, function, subnet);
                let set = lifecycle.set(&key);
                let eni = set.and_then(|set| set.enis.values().find(|eni| eni.is_in_use()));
                let Some(eni) = eni.map(|eni| eni.id.clone()) else { continue };
                add(
                    Host::Environment { function: function.name.clone(), enis: vec![eni] },
                    HostPlan::environment(name, hosts.of_subnet(subnet)),
                );
            }
        }
        for (handle, instance) in topology.instances.iter() {
            let subnet = &topology.subnets[instance.subnet];
            add(
                Host::Instance { eni: instance_eni_id(instance) },
                HostPlan::instance(
                    self.paths[handle.index()].clone(),
                    self.private.instances[&handle],
                    instance.secondary_private_ips.iter().copied().map(IpNet::from).collect(),
                    router(subnet.cidr_block),
                    !instance.source_dest_check,
                    hosts.of_subnet(instance.subnet),
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
        for service in topology.services.values() {
            let name = format!("service/{}", service.name);
            let further = endpoints::further(topology, service);
            add(
                Host::Service { id: service.id.clone() },
                HostPlan::service(name, service.ip, further, hosts.of_internet()),
            );
        }
    }
}

/// What keeps a file's functions from being there, in the words of the file.
fn in_words(topology: &Topology, error: DeclarationError) -> PlanError {
    match &error {
        DeclarationError::NoFreeAddress { function, subnet } => {
            let Some(subnet) = topology.subnets.values().find(|it| it.id == *subnet) else {
                return error.into();
            };
            PlanError::NoFreeAddress {
                subnet: format!("{}/{}", topology.vpcs[subnet.vpc].name, subnet.name),
                cidr_block: subnet.cidr_block,
                usable: AddressPool::new(subnet.cidr_block).usable(),
                wanted: format!("the ENI of function/{function}"),
            }
        }
        DeclarationError::EniQuota { vpc, needed, quota } => {
            let Some(vpc) = topology.vpcs.values().find(|it| it.id == *vpc) else {
                return error.into();
            };
            PlanError::EniQuota { vpc: vpc.name.clone(), needed: *needed, quota: *quota }
        }
        _ => error.into(),
    }
}

/// In the place of an address that is still to be given.
const UNASSIGNED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn environment_name(function: &Function, number: u32) -> String {
    format!("function/{}/{number}", function.name)
}

fn nat_eni_id(gateway: &ResourceId, index: usize) -> ResourceId {
    ResourceId::derived("eni", &format!("{gateway}/{index}"))
}

fn instance_eni_id(instance: &Instance) -> ResourceId {
    ResourceId::derived("eni", instance.id.as_str())
}
