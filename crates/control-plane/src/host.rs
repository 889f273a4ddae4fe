//! What a host must be told to take its place: address, MTU, names.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
pub use viaduct_topology::inventory::{ENVIRONMENT_ADDRESS, ENVIRONMENT_GATEWAY};
use viaduct_topology::{
    Handle, ResourceId, Topology,
    model::{Instance, Service, Subnet, Vpc, VpcEndpoint},
};

use crate::endpoints;

/// The prefix length that goes with [`ENVIRONMENT_ADDRESS`]: it and its gateway.
const ENVIRONMENT_PREFIX_LEN: u8 = 30;

/// MTU inside a VPC, in bytes (MTU-01).
pub const VPC_MTU: u16 = 9001;

/// MTU of the internet, in bytes (MTU-01).
pub const INTERNET_MTU: u16 = 1500;

/// MTU of endpoints, and of the services behind them, in bytes (MTU-01).
pub const SERVICE_MTU: u16 = 8500;

/// What a host must be told to take its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// The attachment's name: `function/api/1`, `instance/db`, `internet/web`, `service/s3`.
    pub name: String,
    /// MTU of its device, in bytes.
    pub device_mtu: u16,
    /// Its own address as it sees it, and the prefix length of its link.
    pub address: (IpAddr, u8),
    /// Blocks of further addresses that are its own.
    pub further: Vec<IpNet>,
    /// Who answers for everything else. The link has no neighbours to ask for: the default route
    /// is on-link, and this is its name.
    pub gateway: IpAddr,
    /// Whether it is to pass on packets that are not its own: an appliance, whose interface lets them
    /// through (RT-21).
    pub forwards: bool,
    /// The hosts file: whom it can call by name. Shared by all hosts that call everybody alike.
    pub hosts: Arc<[(IpAddr, String)]>,
}

impl HostPlan {
    pub(crate) fn environment(name: String, hosts: Arc<[(IpAddr, String)]>) -> Self {
        Self {
            name,
            device_mtu: VPC_MTU,
            address: (ENVIRONMENT_ADDRESS.into(), ENVIRONMENT_PREFIX_LEN),
            further: Vec::new(),
            gateway: ENVIRONMENT_GATEWAY.into(),
            forwards: false,
            hosts,
        }
    }

    /// `gateway` is the subnet's router. The link is the host alone: every packet, also one to
    /// the same subnet, goes through the VPC, where security groups judge it (SG-36).
    pub(crate) fn instance(
        name: String,
        address: IpAddr,
        further: Vec<IpNet>,
        gateway: IpAddr,
        forwards: bool,
        hosts: Arc<[(IpAddr, String)]>,
    ) -> Self {
        Self {
            name,
            device_mtu: VPC_MTU,
            address: (address, host_prefix_len(address)),
            further,
            gateway,
            forwards,
            hosts,
        }
    }

    pub(crate) fn internet(name: String, address: IpAddr, hosts: Arc<[(IpAddr, String)]>) -> Self {
        Self {
            name,
            device_mtu: INTERNET_MTU,
            address: (address, host_prefix_len(address)),
            further: Vec::new(),
            gateway: ENVIRONMENT_GATEWAY.into(),
            forwards: false,
            hosts,
        }
    }

    /// A service answers at all addresses of its blocks.
    pub(crate) fn service(
        name: String,
        address: IpAddr,
        further: Vec<IpNet>,
        hosts: Arc<[(IpAddr, String)]>,
    ) -> Self {
        Self { device_mtu: SERVICE_MTU, further, ..Self::internet(name, address, hosts) }
    }
}

const fn host_prefix_len(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The private addresses by which things are known.
#[derive(Debug, Default)]
pub(crate) struct Private {
    pub(crate) instances: BTreeMap<Handle<Instance>, IpAddr>,
    pub(crate) endpoints: BTreeMap<(Handle<VpcEndpoint>, Handle<Subnet>), IpAddr>,
}

/// The hosts files of a topology: one for each VPC, one for the internet and services. Where an
/// interface endpoint has a service's name (EP-12), subnets that meet it at different addresses have
/// files of their own.
///
/// Everything has a qualified name, `db.main` or `web.internet`. The bare name `db` goes to the
/// nearest that bears it: an instance of the same VPC, then a service, then an internet host, then an
/// instance of another VPC, in the file's order. Inside its VPC an instance's name means its private address,
/// elsewhere its public one, if it has any: AWS's resolver answers the same way. A service of AWS's has
/// its public name as well ([`endpoints::public_name`]).
#[derive(Debug)]
pub(crate) struct HostsFiles {
    subnets: HashMap<Handle<Subnet>, Arc<[(IpAddr, String)]>>,
    internet: Arc<[(IpAddr, String)]>,
}

/// The hosts files of a plan: what a host that comes later can call by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    subnets: HashMap<ResourceId, Arc<[(IpAddr, String)]>>,
    internet: Arc<[(IpAddr, String)]>,
}

impl Names {
    /// What can be called from this subnet; from outside of all VPCs, if it is in none.
    pub(crate) fn seen_from(&self, subnet: Option<&ResourceId>) -> Arc<[(IpAddr, String)]> {
        let file = subnet.and_then(|subnet| self.subnets.get(subnet));
        Arc::clone(file.unwrap_or(&self.internet))
    }
}

/// The addresses of endpoints that stand for services, seen from one subnet.
type Endpoints = BTreeMap<Handle<Service>, IpAddr>;

impl HostsFiles {
    pub(crate) fn new(topology: &Topology, private: &Private) -> Self {
        let mut named: HashMap<Handle<Vpc>, Vec<_>> = HashMap::new();
        for (handle, endpoint) in endpoints::named(topology) {
            named.entry(endpoint.vpc).or_default().push((handle, endpoint.service));
        }
        let mut files: HashMap<(Handle<Vpc>, Endpoints), Arc<_>> = HashMap::new();
        let mut subnets = HashMap::with_capacity(topology.subnets.len());
        for (handle, subnet) in topology.subnets.iter() {
            let mut endpoints = Endpoints::new();
            for (endpoint, service) in named.get(&subnet.vpc).into_iter().flatten() {
                let there = topology.endpoint_subnet(*endpoint, Some(handle));
                let address = there.and_then(|there| private.endpoints.get(&(*endpoint, there)));
                endpoints.extend(address.map(|address| (*service, *address)));
            }
            let seen = (subnet.vpc, endpoints);
            let file = match files.get(&seen) {
                Some(file) => Arc::clone(file),
                None => {
                    let file = hosts_file(topology, private, Some(seen.0), &seen.1);
                    files.insert(seen, Arc::clone(&file));
                    file
                }
            };
            subnets.insert(handle, file);
        }
        Self { subnets, internet: hosts_file(topology, private, None, &Endpoints::new()) }
    }

    pub(crate) fn of_subnet(&self, subnet: Handle<Subnet>) -> Arc<[(IpAddr, String)]> {
        Arc::clone(&self.subnets[&subnet])
    }

    pub(crate) fn of_internet(&self) -> Arc<[(IpAddr, String)]> {
        Arc::clone(&self.internet)
    }

    /// The same by what outlives the topology.
    pub(crate) fn names(&self, topology: &Topology) -> Names {
        let subnets = self.subnets.iter();
        let subnets = subnets.map(|(subnet, file)| (topology.subnets[*subnet].id.clone(), file));
        Names {
            subnets: subnets.map(|(subnet, file)| (subnet, Arc::clone(file))).collect(),
            internet: Arc::clone(&self.internet),
        }
    }
}

/// What can be called by name from `from`; `None` is the internet.
fn hosts_file(
    topology: &Topology,
    private: &Private,
    from: Option<Handle<Vpc>>,
    endpoints: &Endpoints,
) -> Arc<[(IpAddr, String)]> {
    let mut names = Lines::default();
    let instances = |inside: bool| {
        topology.instances.iter().filter_map(move |(handle, instance)| {
            let vpc = topology.subnets[instance.subnet].vpc;
            (inside == (Some(vpc) == from)).then(|| (handle, instance, &topology.vpcs[vpc].name))
        })
    };
    for (handle, instance, vpc) in instances(true) {
        names.add(private.instances[&handle], &instance.name, vpc);
    }
    for (handle, service) in topology.services.iter() {
        let address = endpoints.get(&handle).copied().unwrap_or(service.ip);
        names.add(address, &service.name, "service");
        if let Some(public) = endpoints::public_name(&service.name) {
            names.claim(address, public);
        }
    }
    for host in topology.internet_hosts.values() {
        names.add(host.ip, &host.name, "internet");
    }
    for (handle, instance, vpc) in instances(false) {
        let address = instance.public_ip.unwrap_or(private.instances[&handle]);
        names.add(address, &instance.name, vpc);
    }
    names.lines.into()
}

#[derive(Default)]
struct Lines {
    lines: Vec<(IpAddr, String)>,
    claimed: HashSet<String>,
}

impl Lines {
    /// Both names of a host, each unless somebody nearer has it.
    fn add(&mut self, address: IpAddr, name: &str, domain: &str) {
        self.claim(address, name.to_owned());
        self.claim(address, format!("{name}.{domain}"));
    }

    /// One name, unless somebody nearer has it.
    fn claim(&mut self, address: IpAddr, name: String) {
        if self.claimed.insert(name.clone()) {
            self.lines.push((address, name));
        }
    }
}
