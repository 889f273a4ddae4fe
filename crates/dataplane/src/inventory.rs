//! Interfaces and attachments: what comes and goes while packets flow.
//!
//! Each is added and removed one at a time, in O(1), with no new generation of the policy: one more
//! function must not cost a million connections a walk. An interface names its VPC, subnet and
//! groups by [`Number`], so exchanging the policy leaves the inventory standing.
//!
//! A reload is different: it changes groups' rules and who carries the groups together, and a packet
//! that met the one without the other could pass where neither topology lets it, or be lost where
//! both do. No order of single changes avoids that, so the changes of a reload are made to a copy of
//! the tables (some 100 ns an entry) and appear at once, together with the policy.
//!
//! All tables sit behind one lock. It is read once for each walk, which only the first packet of a
//! connection and the first after a change of policy make; a packet of an established connection
//! never comes here. Writers hold it for a few insertions.
//!
//! The Hyperplane ENIs of one key (LAM-03) form a set, ordered by ordinal, and environments refer to
//! the set: an ENI that is added because the others are full serves every environment of the key at
//! once (LAM-07).

mod error;
mod tables;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

pub use viaduct_topology::inventory::{ENVIRONMENT_ADDRESS, ENVIRONMENT_GATEWAY};
use viaduct_topology::{
    ResourceId,
    inventory::{self as declared, AttachmentId, Change, EniOwner, HyperplaneKey},
    model::{PortRange, Settings},
};

pub use self::error::InventoryError;
use self::tables::{SetIndex, Tables};
use crate::{
    moment::Moment,
    policy::{
        Instance, NatGateway, Number, Numbers, SecurityGroup, Service, Subnet, Vpc, VpcEndpoint,
    },
    port_table::{Assignment, PortLimits, PortTable, TableId},
    sync::{Mutex, RwLock, RwLockReadGuard},
};

/// How long an address that a NAT gateway loses goes on with the connections it has (NAT-07).
const DRAIN: Duration = Duration::from_secs(350);

/// A network interface, with what the walk must know of it.
#[derive(Clone, Debug)]
pub struct Interface {
    /// `eni-…`
    pub id: ResourceId,
    /// The VPC it is in.
    pub vpc: Number<Vpc>,
    /// The subnet it is in.
    pub subnet: Number<Subnet>,
    /// Its private address; the primary one if it has several.
    pub ip: Ipv4Addr,
    /// Its other private addresses.
    pub secondary_ips: Box<[Ipv4Addr]>,
    /// The address that the internet gateway gives it (IGW-03).
    pub public_ip: Option<Ipv4Addr>,
    /// The groups it carries.
    pub groups: Box<[Number<SecurityGroup>]>,
    /// What it belongs to.
    pub owner: Owner,
    /// Whether packets that are not its own are dropped (RT-21).
    pub source_dest_check: bool,
    /// The range those ports are from.
    pub source_ports: PortRange,
    /// The ports it gives to the connections it translates; none for an instance.
    pub ports: Option<Arc<PortTable>>,
    /// Whether it takes no new connections, as long as another of its kind does: it is about to go
    /// (NAT-07, LAM-07, LAM-08).
    pub draining: bool,
    /// The instance's attachment, once there is one. Interfaces of functions and NAT gateways have
    /// none: nothing is delivered to them.
    pub attachment: Option<AttachmentId>,
}

/// What an interface belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Functions leave through it by V2N source NAT.
    Functions(HyperplaneKey),
    /// An instance.
    Instance {
        /// Which one.
        number: Number<Instance>,
        /// `instance/db`
        path: String,
    },
    /// A NAT gateway.
    NatGateway(Number<NatGateway>),
    /// An interface endpoint (EP-09).
    VpcEndpoint(Number<VpcEndpoint>),
    /// The service's side of an endpoint: it gives what comes through its address and a port.
    ServiceSide(Number<VpcEndpoint>),
    /// The service VPC's NAT: functions without a VPC leave through it.
    ServiceVpc,
}

impl Owner {
    /// What its interface may carry; none if it gives no ports.
    fn port_limits(&self, settings: &Settings) -> Option<PortLimits> {
        let ports =
            PortLimits { ports: settings.source_ports, connections: None, per_destination: None };
        match self {
            Self::Functions(_) => {
                Some(PortLimits { connections: Some(settings.eni_connections), ..ports })
            }
            Self::NatGateway(_) => Some(PortLimits {
                per_destination: Some(settings.nat_gateway_connections_per_destination),
                ..ports
            }),
            // AWS names no limit but the ports there are.
            Self::ServiceSide(_) | Self::ServiceVpc => Some(ports),
            Self::Instance { .. } | Self::VpcEndpoint(_) => None,
        }
    }
}

impl Interface {
    /// Whether this is one of its private addresses.
    #[must_use]
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.ip == address || self.secondary_ips.contains(&address)
    }

    /// Whether its source/destination check refuses packets under this address (RT-21).
    #[must_use]
    pub fn refuses(&self, address: Ipv4Addr) -> bool {
        self.source_dest_check && !self.holds(address)
    }

    /// Which table its ports are from, if it gives any.
    #[must_use]
    pub fn table(&self) -> Option<TableId> {
        self.ports.as_deref().map(PortTable::id)
    }

    /// The public address that goes with a private one: only the primary has one.
    #[must_use]
    pub fn public_ip_of(&self, address: Ipv4Addr) -> Option<Ipv4Addr> {
        self.public_ip.filter(|_| self.ip == address)
    }
}

/// A host's place in the network, whether or not something is there now.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Its identity.
    pub id: AttachmentId,
    /// `function/api/1`, `instance/db`, `internet/web`.
    pub name: String,
    /// Where it stands.
    pub place: Place,
}

/// Where a host stands.
#[derive(Clone, Debug)]
pub enum Place {
    /// In the service VPC, behind the Hyperplane ENIs of one key, or behind its NAT alone.
    Environment {
        /// The function's name.
        function: String,
        /// Its ENIs; none of a function without a VPC.
        enis: Option<EniSet>,
        /// Those behind which it stood before in the same VPC: the connections that it has there go
        /// on as long as the ENIs do (LAM-49).
        former: Box<[EniSet]>,
    },
    /// Behind an instance's interface.
    Instance(Arc<Interface>),
    /// On the internet, at this address.
    Internet(Ipv4Addr),
    /// At all addresses of this service.
    Service(Number<Service>),
}

/// The Hyperplane ENIs of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EniSet(SetIndex);

/// The engine's interfaces and attachments.
#[derive(Debug)]
pub struct Inventory {
    numbers: Arc<Numbers>,
    /// Held by whoever changes something, so that nothing is lost while a copy is being changed.
    changing: Mutex<()>,
    tables: RwLock<Tables>,
}

impl Inventory {
    /// An empty one. It must share its numbers with the policies that are used with it.
    #[must_use]
    pub fn new(numbers: Arc<Numbers>) -> Self {
        Self { numbers, changing: Mutex::new(()), tables: RwLock::new(Tables::default()) }
    }

    /// The tables, for one walk. Nobody may change the inventory meanwhile, so the view must not be
    /// held across anything that waits.
    pub(crate) fn view(&self) -> View<'_> {
        View(self.tables.read())
    }

    /// Adds an interface.
    ///
    /// # Errors
    ///
    /// When its id or one of its addresses is taken, or an address is not IPv4.
    pub fn add_eni(&self, eni: &declared::Eni, settings: &Settings) -> Result<(), InventoryError> {
        self.change_one(|tables| self.add_eni_to(tables, eni, settings))
    }

    fn add_eni_to(
        &self,
        tables: &mut Tables,
        eni: &declared::Eni,
        settings: &Settings,
    ) -> Result<(), InventoryError> {
        let sibling = match &eni.owner {
            EniOwner::NatGateway { id } => tables.nat_gateway(self.numbers.of(id)).first(),
            _ => None,
        };
        // One gateway has one rate, however many addresses (NAT-16).
        let meter = sibling.and_then(|sibling| sibling.ports.as_ref()).map(|ports| ports.meter());
        let meter = meter.map(Arc::clone).unwrap_or_default();
        let (id, assignment) = (Some(eni.id.clone()), Assignment::of(settings));
        let ports = |limits| Arc::new(PortTable::metered(id, limits, assignment, meter));
        let interface = self.interface(eni, None, ports, settings)?;
        tables.add_interface(Arc::new(interface))
    }

    /// Exchanges an interface for a changed one of the same id and private address. It keeps its
    /// ports and its attachment. Connections follow when they are next walked: afterwards, exchange
    /// the policy for a [renewed](crate::policy::Policy::renewed) one.
    ///
    /// # Errors
    ///
    /// When no interface has this id, when the change is more than of groups, public address or
    /// source/destination check, or when the public address is taken.
    pub fn replace_eni(
        &self,
        eni: &declared::Eni,
        settings: &Settings,
    ) -> Result<(), InventoryError> {
        self.change_one(|tables| self.replace_eni_in(tables, eni, settings))
    }

    fn replace_eni_in(
        &self,
        tables: &mut Tables,
        eni: &declared::Eni,
        settings: &Settings,
    ) -> Result<(), InventoryError> {
        let old = tables
            .interface(&eni.id)
            .cloned()
            .ok_or_else(|| InventoryError::UnknownEni(eni.id.clone()))?;
        let ports = old.ports.clone();
        let mut new = self.interface(
            eni,
            old.attachment,
            |limits| ports.unwrap_or_else(|| Arc::new(PortTable::new(limits))),
            settings,
        )?;
        new.draining = old.draining;
        tables.replace_interface(&old, Arc::new(new))
    }

    /// Removes an interface. Its connections end when the engine next walks them.
    ///
    /// # Errors
    ///
    /// When no interface has this id, or attachments still need it.
    pub fn remove_eni(&self, id: &ResourceId) -> Result<(), InventoryError> {
        self.change_one(|tables| tables.remove_interface(id))
    }

    /// Has an interface take no new connections.
    ///
    /// # Errors
    ///
    /// When no interface has this id, or it is none that another can stand in for.
    pub fn drain_eni(&self, id: &ResourceId, now: Moment) -> Result<(), InventoryError> {
        self.change_one(|tables| tables.drain_interface(id, now + DRAIN))
    }

    /// Adds an attachment. The interfaces it names must be there.
    ///
    /// # Errors
    ///
    /// When its identity or address is taken, or an interface it names is missing or of another
    /// kind.
    pub fn add_attachment(&self, attachment: &declared::Attachment) -> Result<(), InventoryError> {
        self.change_one(|tables| tables.add_attachment(attachment, &self.numbers))
    }

    /// Removes an attachment.
    ///
    /// # Errors
    ///
    /// When there is none of this identity.
    pub fn remove_attachment(&self, id: AttachmentId) -> Result<(), InventoryError> {
        self.change_one(|tables| tables.remove_attachment(id))
    }

    /// Puts environments behind other ENIs, all of them or none, in O(1) each. Returns the ports that
    /// they can use no longer, because they are of a VPC that they have left; `left` runs at the moment
    /// of the change if there are such, and must not look at the inventory.
    ///
    /// # Errors
    ///
    /// When there is no such environment, or an interface it names is missing or of another kind.
    pub(crate) fn move_environments(
        &self,
        moved: &[declared::Attachment],
        left: impl FnOnce(),
    ) -> Result<Vec<(AttachmentId, TableId)>, InventoryError> {
        let _changing = self.changing.lock();
        let mut tables = self.tables.write();
        let lost = tables.move_environments(moved)?;
        if !lost.is_empty() {
            left();
        }
        Ok(lost)
    }

    /// Makes all changes at once: whoever looks sees all of them or none. `with` runs at that very
    /// moment, and must not look at the inventory.
    ///
    /// # Errors
    ///
    /// As the change that cannot be made; then nothing is changed, and `with` has not run.
    pub(crate) fn change(
        &self,
        changes: &[Change],
        settings: &Settings,
        now: Moment,
        with: impl FnOnce(),
    ) -> Result<(), InventoryError> {
        let _changing = self.changing.lock();
        if changes.is_empty() {
            let _nobody_looks = self.tables.write();
            with();
            return Ok(());
        }
        let mut next = self.tables.read().clone();
        for change in changes {
            match change {
                Change::AddEni(eni) => self.add_eni_to(&mut next, eni, settings),
                Change::ReplaceEni(eni) => self.replace_eni_in(&mut next, eni, settings),
                Change::DrainEni(id) => next.drain_interface(id, now + DRAIN),
                Change::RemoveEni(id) => next.remove_interface(id),
                Change::AddAttachment(attachment) => next.add_attachment(attachment, &self.numbers),
                Change::RemoveAttachment(id) => next.remove_attachment(*id),
            }?;
        }
        let before = {
            let mut tables = self.tables.write();
            with();
            std::mem::replace(&mut *tables, next)
        };
        // Not while packets wait for the lock.
        drop(before);
        Ok(())
    }

    /// Removes the interfaces that had their time to drain. Says whether there were any.
    pub(crate) fn end_drains(&self, now: Moment) -> bool {
        if !self.tables.read().drains_end(now) {
            return false;
        }
        let _changing = self.changing.lock();
        self.tables.write().end_drains(now)
    }

    fn change_one(
        &self,
        change: impl FnOnce(&mut Tables) -> Result<(), InventoryError>,
    ) -> Result<(), InventoryError> {
        let _changing = self.changing.lock();
        change(&mut self.tables.write())
    }

    /// Has every interface carry what the settings allow, but for the range of its ports: an
    /// interface keeps the one it was made with.
    pub(crate) fn set_limits(&self, settings: &Settings) {
        for interface in self.tables.read().interfaces() {
            if let Some(ports) = &interface.ports
                && let Some(limits) = interface.owner.port_limits(settings)
            {
                ports.set_limits(limits);
            }
        }
    }

    /// The interface of this id.
    #[must_use]
    pub fn eni(&self, id: &ResourceId) -> Option<Arc<Interface>> {
        self.tables.read().interface(id).cloned()
    }

    /// The interface that holds a private address of a VPC.
    #[must_use]
    pub fn eni_by_address(&self, vpc: Number<Vpc>, ip: Ipv4Addr) -> Option<Arc<Interface>> {
        self.view().by_address(vpc, ip).cloned()
    }

    /// The interface that holds a public address.
    #[must_use]
    pub fn eni_by_public_ip(&self, ip: Ipv4Addr) -> Option<Arc<Interface>> {
        self.view().by_public_ip(ip).cloned()
    }

    /// The interfaces of an interface endpoint, ordered by id.
    #[must_use]
    pub fn enis_of_endpoint(&self, endpoint: &ResourceId) -> Vec<Arc<Interface>> {
        let Some(number) = self.numbers.find(endpoint) else { return Vec::new() };
        let mut enis = self.enis();
        enis.retain(|eni| eni.owner == Owner::VpcEndpoint(number));
        enis
    }

    /// The number by which interfaces name a subnet, if one ever did.
    pub(crate) fn subnet_number(&self, subnet: &ResourceId) -> Option<Number<Subnet>> {
        self.numbers.find(subnet)
    }

    /// The Hyperplane ENI of a key that new connections use first, whatever the key's ordinal.
    #[must_use]
    pub fn eni_of_key(&self, key: &HyperplaneKey) -> Option<Arc<Interface>> {
        first_open(self.tables.read().set_of_key(key)).cloned()
    }

    /// The Hyperplane ENI of a set that new connections use first.
    #[must_use]
    pub fn first_eni(&self, set: EniSet) -> Option<Arc<Interface>> {
        first_open(self.view().enis(set)).cloned()
    }

    /// The address of the service VPC's NAT that new connections use first.
    #[must_use]
    pub fn service_vpc_ip(&self) -> Option<Ipv4Addr> {
        self.view().service_vpc().first().map(|interface| interface.ip)
    }

    /// The attachment of this identity.
    #[must_use]
    pub fn attachment(&self, id: AttachmentId) -> Option<Arc<Attachment>> {
        self.view().attachment(id).cloned()
    }

    /// The internet host at this address.
    #[must_use]
    pub fn internet_host(&self, ip: Ipv4Addr) -> Option<AttachmentId> {
        self.view().internet_host(ip)
    }

    /// Every interface, ordered by id.
    #[must_use]
    pub fn enis(&self) -> Vec<Arc<Interface>> {
        let mut enis: Vec<_> = self.tables.read().interfaces().cloned().collect();
        enis.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        enis
    }

    /// Every attachment, ordered by identity.
    #[must_use]
    pub fn attachments(&self) -> Vec<Arc<Attachment>> {
        let mut attachments: Vec<_> = self.tables.read().attachments().cloned().collect();
        attachments.sort_unstable_by_key(|attachment| attachment.id);
        attachments
    }

    fn interface(
        &self,
        eni: &declared::Eni,
        attachment: Option<AttachmentId>,
        ports: impl FnOnce(PortLimits) -> Arc<PortTable>,
        settings: &Settings,
    ) -> Result<Interface, InventoryError> {
        let owner = match &eni.owner {
            EniOwner::Functions(key) => Owner::Functions(key.clone()),
            EniOwner::Instance { id, path } => {
                Owner::Instance { number: self.numbers.of(id), path: path.clone() }
            }
            EniOwner::NatGateway { id } => Owner::NatGateway(self.numbers.of(id)),
            EniOwner::VpcEndpoint { id, .. } => Owner::VpcEndpoint(self.numbers.of(id)),
            EniOwner::ServiceSide { endpoint, .. } => Owner::ServiceSide(self.numbers.of(endpoint)),
            EniOwner::ServiceVpc => Owner::ServiceVpc,
            _ => return Err(InventoryError::Unsupported(eni.id.clone())),
        };
        let limits = owner.port_limits(settings);
        let ports = limits.map(ports);
        // A table that an interface keeps also keeps its range.
        let source_ports =
            ports.as_ref().map_or(settings.source_ports, |table| table.limits().ports);
        Ok(Interface {
            id: eni.id.clone(),
            vpc: self.numbers.of(&eni.vpc),
            subnet: self.numbers.of(&eni.subnet),
            ip: ipv4(eni.private_ip)?,
            secondary_ips: eni
                .secondary_private_ips
                .iter()
                .map(|ip| ipv4(*ip))
                .collect::<Result<_, _>>()?,
            public_ip: eni.public_ip.map(ipv4).transpose()?,
            groups: eni.security_groups.iter().map(|group| self.numbers.of(group)).collect(),
            owner,
            source_dest_check: eni.source_dest_check,
            source_ports,
            ports,
            draining: false,
            attachment,
        })
    }
}

/// The inventory as one walk sees it.
pub(crate) struct View<'a>(RwLockReadGuard<'a, Tables>);

impl View<'_> {
    pub(crate) fn interface(&self, id: &ResourceId) -> Option<&Arc<Interface>> {
        self.0.interface(id)
    }

    pub(crate) fn by_address(&self, vpc: Number<Vpc>, ip: Ipv4Addr) -> Option<&Arc<Interface>> {
        self.0.by_address(vpc, ip)
    }

    pub(crate) fn by_public_ip(&self, ip: Ipv4Addr) -> Option<&Arc<Interface>> {
        self.0.by_public_ip(ip)
    }

    pub(crate) fn attachment(&self, id: AttachmentId) -> Option<&Arc<Attachment>> {
        self.0.attachment(id)
    }

    pub(crate) fn internet_host(&self, ip: Ipv4Addr) -> Option<AttachmentId> {
        self.0.internet_host(ip)
    }

    /// The ENIs of a key, by ordinal.
    pub(crate) fn enis(&self, set: EniSet) -> &[Arc<Interface>] {
        self.0.set(set.0)
    }

    /// The ENIs of all keys.
    pub(crate) fn hyperplane_enis(&self) -> impl Iterator<Item = &Arc<Interface>> {
        self.0.hyperplane_enis()
    }

    /// The interfaces of the service VPC's NAT, by address.
    pub(crate) fn service_vpc(&self) -> &[Arc<Interface>] {
        self.0.service_vpc()
    }

    /// The service's side of an endpoint.
    pub(crate) fn service_side(&self, endpoint: Number<VpcEndpoint>) -> Option<&Arc<Interface>> {
        self.0.service_side(endpoint)
    }

    /// Who answers for a service.
    pub(crate) fn service_host(&self, service: Number<Service>) -> Option<AttachmentId> {
        self.0.service_host(service)
    }

    /// The interface of an instance.
    pub(crate) fn instance(&self, instance: Number<Instance>) -> Option<&Arc<Interface>> {
        self.0.instance(instance)
    }

    /// The interfaces of a NAT gateway, the primary address first, with those that drain.
    pub(crate) fn nat_gateway(&self, gateway: Number<NatGateway>) -> &[Arc<Interface>] {
        self.0.nat_gateway(gateway)
    }
}

/// The first that takes new connections; where all drain, the first.
pub(crate) fn first_open(interfaces: &[Arc<Interface>]) -> Option<&Arc<Interface>> {
    interfaces.iter().find(|it| !it.draining).or_else(|| interfaces.first())
}

fn ipv4(ip: IpAddr) -> Result<Ipv4Addr, InventoryError> {
    match ip {
        IpAddr::V4(ip) => Ok(ip),
        IpAddr::V6(_) => Err(InventoryError::NotIpv4(ip)),
    }
}
