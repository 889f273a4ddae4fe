//! What a host must be told to take its place: address, MTU, names.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

pub use viaduct_topology::inventory::{ENVIRONMENT_ADDRESS, ENVIRONMENT_GATEWAY};
use viaduct_topology::{
    Handle, Topology,
    model::{Instance, Vpc},
};

/// The prefix length that goes with [`ENVIRONMENT_ADDRESS`]: it and its gateway.
const ENVIRONMENT_PREFIX_LEN: u8 = 30;

/// MTU inside a VPC, in bytes (MTU-01).
pub const VPC_MTU: u16 = 9001;

/// MTU of the internet, in bytes (MTU-01).
pub const INTERNET_MTU: u16 = 1500;

/// What a host must be told to take its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// The attachment's name: `function/api/1`, `instance/db`, `internet/web`.
    pub name: String,
    /// MTU of its device, in bytes.
    pub device_mtu: u16,
    /// Its own address as it sees it, and the prefix length of its link.
    pub address: (IpAddr, u8),
    /// Who answers for everything else. The link has no neighbours to ask for: the default route
    /// is on-link, and this is its name.
    pub gateway: IpAddr,
    /// Whether it is to pass on packets that are not its own: an appliance, whose interface lets them
    /// through (RT-21).
    pub forwards: bool,
    /// The hosts file: whom it can call by name. Shared by the hosts of one VPC.
    pub hosts: Arc<[(IpAddr, String)]>,
}

impl HostPlan {
    pub(crate) fn environment(name: String, hosts: Arc<[(IpAddr, String)]>) -> Self {
        Self {
            name,
            device_mtu: VPC_MTU,
            address: (ENVIRONMENT_ADDRESS.into(), ENVIRONMENT_PREFIX_LEN),
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
        gateway: IpAddr,
        forwards: bool,
        hosts: Arc<[(IpAddr, String)]>,
    ) -> Self {
        let alone = host_prefix_len(address);
        Self { name, device_mtu: VPC_MTU, address: (address, alone), gateway, forwards, hosts }
    }

    pub(crate) fn internet(name: String, address: IpAddr, hosts: Arc<[(IpAddr, String)]>) -> Self {
        Self {
            name,
            device_mtu: INTERNET_MTU,
            address: (address, host_prefix_len(address)),
            gateway: ENVIRONMENT_GATEWAY.into(),
            forwards: false,
            hosts,
        }
    }
}

const fn host_prefix_len(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The hosts files of a topology: one for each VPC, one for the internet.
///
/// Everything has a qualified name, `db.main` or `web.internet`. The bare name `db` goes to the
/// nearest that bears it: an instance of the same VPC, then an internet host, then an instance of
/// another VPC, in the file's order. Inside its VPC an instance's name means its private address,
/// elsewhere its public one, if it has any: AWS's resolver answers the same way.
#[derive(Debug)]
pub(crate) struct HostsFiles {
    vpcs: HashMap<Handle<Vpc>, Arc<[(IpAddr, String)]>>,
    internet: Arc<[(IpAddr, String)]>,
}

impl HostsFiles {
    pub(crate) fn new(topology: &Topology, private: &BTreeMap<Handle<Instance>, IpAddr>) -> Self {
        let file = |from| hosts_file(topology, private, from);
        Self {
            vpcs: topology.vpcs.iter().map(|(vpc, _)| (vpc, file(Some(vpc)))).collect(),
            internet: file(None),
        }
    }

    pub(crate) fn of_vpc(&self, vpc: Handle<Vpc>) -> Arc<[(IpAddr, String)]> {
        Arc::clone(&self.vpcs[&vpc])
    }

    pub(crate) fn of_internet(&self) -> Arc<[(IpAddr, String)]> {
        Arc::clone(&self.internet)
    }
}

/// What can be called by name from `from`; `None` is the internet.
fn hosts_file(
    topology: &Topology,
    private: &BTreeMap<Handle<Instance>, IpAddr>,
    from: Option<Handle<Vpc>>,
) -> Arc<[(IpAddr, String)]> {
    let mut names = Names::default();
    let instances = |inside: bool| {
        topology.instances.iter().filter_map(move |(handle, instance)| {
            let vpc = topology.subnets[instance.subnet].vpc;
            (inside == (Some(vpc) == from)).then(|| (handle, instance, &topology.vpcs[vpc].name))
        })
    };
    for (handle, instance, vpc) in instances(true) {
        names.add(private[&handle], &instance.name, vpc);
    }
    for host in topology.internet_hosts.values() {
        names.add(host.ip, &host.name, "internet");
    }
    for (handle, instance, vpc) in instances(false) {
        let address = instance.public_ip.unwrap_or(private[&handle]);
        names.add(address, &instance.name, vpc);
    }
    names.lines.into()
}

#[derive(Default)]
struct Names {
    lines: Vec<(IpAddr, String)>,
    claimed: HashSet<String>,
}

impl Names {
    /// Both names of a host, each unless somebody nearer has it.
    fn add(&mut self, address: IpAddr, name: &str, domain: &str) {
        for name in [name.to_owned(), format!("{name}.{domain}")] {
            if self.claimed.insert(name.clone()) {
                self.lines.push((address, name));
            }
        }
    }
}
