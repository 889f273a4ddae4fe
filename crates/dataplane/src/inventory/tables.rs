//! The tables behind the inventory's lock: each change checks everything before it touches anything.

use std::{net::Ipv4Addr, sync::Arc};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, hash_map};
use viaduct_topology::{
    ResourceId,
    inventory::{self as declared, AttachmentId, Host, HyperplaneKey},
};

use super::{Attachment, EniSet, Interface, InventoryError, Owner, Place, ipv4};
use crate::{
    moment::Moment,
    policy::{Instance, NatGateway, Number, Numbers, Service, Vpc, VpcEndpoint},
    port_table::TableId,
};

type Map<K, V> = HashMap<K, V, FixedState>;

/// Position of a set of Hyperplane ENIs.
pub(super) type SetIndex = u32;

#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    interfaces: Map<ResourceId, Arc<Interface>>,
    by_address: Map<(Number<Vpc>, Ipv4Addr), Arc<Interface>>,
    by_public_ip: Map<Ipv4Addr, Arc<Interface>>,
    nat_gateways: Map<Number<NatGateway>, Vec<Arc<Interface>>>,
    instances: Map<Number<Instance>, Arc<Interface>>,
    service_sides: Map<Number<VpcEndpoint>, Arc<Interface>>,
    /// Ascending by address.
    service_vpc: Vec<Arc<Interface>>,
    sets: Vec<Set>,
    set_by_key: Map<HyperplaneKey, SetIndex>,
    free_sets: Vec<SetIndex>,
    attachments: Map<AttachmentId, Arc<Attachment>>,
    internet_hosts: Map<Ipv4Addr, AttachmentId>,
    service_hosts: Map<Number<Service>, AttachmentId>,
    /// Addresses of NAT gateways that drain, and when they go.
    draining: Vec<(ResourceId, Moment)>,
}

/// The Hyperplane ENIs of one key.
#[derive(Clone, Debug, Default)]
struct Set {
    /// Ascending by ordinal.
    enis: Vec<Arc<Interface>>,
    /// How many attachments refer to the set.
    environments: u32,
}

/// The key that all ENIs of a set share.
fn set_key(key: &HyperplaneKey) -> HyperplaneKey {
    HyperplaneKey { ordinal: 0, ..key.clone() }
}

impl Tables {
    pub(super) fn interface(&self, id: &ResourceId) -> Option<&Arc<Interface>> {
        self.interfaces.get(id)
    }

    pub(super) fn interfaces(&self) -> impl Iterator<Item = &Arc<Interface>> {
        self.interfaces.values()
    }

    pub(super) fn by_address(&self, vpc: Number<Vpc>, ip: Ipv4Addr) -> Option<&Arc<Interface>> {
        self.by_address.get(&(vpc, ip))
    }

    pub(super) fn by_public_ip(&self, ip: Ipv4Addr) -> Option<&Arc<Interface>> {
        self.by_public_ip.get(&ip)
    }

    pub(super) fn attachment(&self, id: AttachmentId) -> Option<&Arc<Attachment>> {
        self.attachments.get(&id)
    }

    pub(super) fn attachments(&self) -> impl Iterator<Item = &Arc<Attachment>> {
        self.attachments.values()
    }

    pub(super) fn internet_host(&self, ip: Ipv4Addr) -> Option<AttachmentId> {
        self.internet_hosts.get(&ip).copied()
    }

    pub(super) fn set(&self, set: SetIndex) -> &[Arc<Interface>] {
        self.sets.get(set as usize).map_or(&[], |set| &set.enis)
    }

    pub(super) fn set_of_key(&self, key: &HyperplaneKey) -> &[Arc<Interface>] {
        self.set_by_key.get(&set_key(key)).map_or(&[], |set| self.set(*set))
    }

    pub(super) fn hyperplane_enis(&self) -> impl Iterator<Item = &Arc<Interface>> {
        self.sets.iter().flat_map(|set| &set.enis)
    }

    pub(super) fn nat_gateway(&self, gateway: Number<NatGateway>) -> &[Arc<Interface>] {
        self.nat_gateways.get(&gateway).map_or(&[], Vec::as_slice)
    }

    pub(super) fn instance(&self, instance: Number<Instance>) -> Option<&Arc<Interface>> {
        self.instances.get(&instance)
    }

    pub(super) fn service_vpc(&self) -> &[Arc<Interface>] {
        &self.service_vpc
    }

    pub(super) fn service_side(&self, endpoint: Number<VpcEndpoint>) -> Option<&Arc<Interface>> {
        self.service_sides.get(&endpoint)
    }

    pub(super) fn service_host(&self, service: Number<Service>) -> Option<AttachmentId> {
        self.service_hosts.get(&service).copied()
    }

    pub(super) fn add_interface(&mut self, new: Arc<Interface>) -> Result<(), InventoryError> {
        if self.interfaces.get(&new.id).is_some_and(|old| !old.gives_way()) {
            return Err(InventoryError::EniExists(new.id.clone()));
        }
        self.check_addresses(&new)?;
        self.give_way(&new);

        self.interfaces.insert(new.id.clone(), Arc::clone(&new));
        self.enter_addresses(&new);
        match &new.owner {
            Owner::Instance { number, .. } => {
                self.instances.insert(*number, Arc::clone(&new));
            }
            Owner::NatGateway(gateway) => {
                self.nat_gateways.entry(*gateway).or_default().push(Arc::clone(&new));
            }
            Owner::VpcEndpoint(_) => {}
            Owner::ServiceSide(number) => {
                self.service_sides.insert(*number, Arc::clone(&new));
            }
            Owner::ServiceVpc => {
                let place = self.service_vpc.partition_point(|other| other.ip <= new.ip);
                self.service_vpc.insert(place, Arc::clone(&new));
            }
            Owner::Functions(key) => {
                let ordinal = key.ordinal;
                let set = self.set_of(key);
                let enis = &mut self.sets[set as usize].enis;
                let place = enis.partition_point(|eni| eni.ordinal() <= ordinal);
                enis.insert(place, Arc::clone(&new));
            }
        }
        Ok(())
    }

    pub(super) fn replace_interface(
        &mut self,
        old: &Arc<Interface>,
        new: Arc<Interface>,
    ) -> Result<(), InventoryError> {
        let same = old.vpc == new.vpc
            && old.subnet == new.subnet
            && old.ip == new.ip
            && old.owner == new.owner;
        if !same {
            return Err(InventoryError::EniIdentity(new.id.clone()));
        }
        self.check_addresses(&new)?;
        self.give_way(&new);
        self.exchange(old, new);
        Ok(())
    }

    /// Puts an interface in the place of one that has the same identity.
    fn exchange(&mut self, old: &Interface, new: Arc<Interface>) {
        self.leave_addresses(old);
        self.enter_addresses(&new);
        let attachment = new.attachment.and_then(|id| self.attachments.get_mut(&id));
        if let Some(attachment) = attachment {
            let place = Place::Instance(Arc::clone(&new));
            *attachment = Arc::new(Attachment { place, ..Attachment::clone(attachment) });
        }
        let siblings = match &new.owner {
            Owner::Instance { number, .. } => {
                self.instances.insert(*number, Arc::clone(&new));
                &mut []
            }
            Owner::NatGateway(gateway) => {
                self.nat_gateways.get_mut(gateway).map_or(&mut [][..], Vec::as_mut_slice)
            }
            Owner::VpcEndpoint(_) => &mut [],
            Owner::ServiceSide(number) => {
                self.service_sides.insert(*number, Arc::clone(&new));
                &mut []
            }
            Owner::ServiceVpc => &mut self.service_vpc,
            Owner::Functions(key) => {
                let set = self.set_of(key);
                &mut self.sets[set as usize].enis
            }
        };
        for sibling in siblings.iter_mut().filter(|sibling| sibling.id == new.id) {
            *sibling = Arc::clone(&new);
        }
        self.interfaces.insert(new.id.clone(), new);
    }

    /// Has an interface take no new connections. That of a NAT gateway goes when its time ends.
    pub(super) fn drain_interface(
        &mut self,
        id: &ResourceId,
        ends: Moment,
    ) -> Result<(), InventoryError> {
        let old =
            self.interfaces.get(id).ok_or_else(|| InventoryError::UnknownEni(id.clone()))?.clone();
        match old.owner {
            Owner::NatGateway(_) if !old.draining => self.draining.push((id.clone(), ends)),
            Owner::NatGateway(_) | Owner::Functions(_) => {}
            _ => return Err(InventoryError::NotDrained(id.clone())),
        }
        let new = Interface { draining: true, ..Interface::clone(&old) };
        self.exchange(&old, Arc::new(new));
        Ok(())
    }

    pub(super) fn drains_end(&self, now: Moment) -> bool {
        self.draining.iter().any(|(_, ends)| *ends <= now)
    }

    /// Removes what has drained. Says whether there was anything.
    pub(super) fn end_drains(&mut self, now: Moment) -> bool {
        let due = |(_, ends): &&(ResourceId, Moment)| *ends <= now;
        let due: Vec<_> = self.draining.iter().filter(due).map(|(id, _)| id.clone()).collect();
        for id in &due {
            self.remove_interface(id).expect("a NAT gateway's interface serves no attachment");
        }
        !due.is_empty()
    }

    pub(super) fn remove_interface(&mut self, id: &ResourceId) -> Result<(), InventoryError> {
        let interface = self
            .interfaces
            .get(id)
            .cloned()
            .ok_or_else(|| InventoryError::UnknownEni(id.clone()))?;
        match &interface.owner {
            Owner::Instance { number, .. } => {
                if interface.attachment.is_some() {
                    return Err(InventoryError::EniInUse(id.clone()));
                }
                self.instances.remove(number);
            }
            Owner::NatGateway(gateway) => {
                if let hash_map::Entry::Occupied(mut entry) = self.nat_gateways.entry(*gateway) {
                    entry.get_mut().retain(|sibling| sibling.id != *id);
                    if entry.get().is_empty() {
                        entry.remove();
                    }
                }
            }
            Owner::VpcEndpoint(_) => {}
            Owner::ServiceSide(number) => {
                self.service_sides.remove(number);
            }
            Owner::ServiceVpc => self.service_vpc.retain(|other| other.id != *id),
            Owner::Functions(key) => {
                let index = self.set_of(key);
                let set = &mut self.sets[index as usize];
                if set.environments > 0 && set.enis.len() == 1 {
                    return Err(InventoryError::EniInUse(id.clone()));
                }
                set.enis.retain(|sibling| sibling.id != *id);
                self.drop_if_unused(index, key);
            }
        }
        self.draining.retain(|(draining, _)| draining != id);
        self.interfaces.remove(id);
        self.leave_addresses(&interface);
        Ok(())
    }

    pub(super) fn add_attachment(
        &mut self,
        new: &declared::Attachment,
        numbers: &Numbers,
    ) -> Result<(), InventoryError> {
        if self.attachments.contains_key(&new.id) {
            return Err(InventoryError::AttachmentExists(new.id));
        }
        let place = match &new.host {
            Host::Environment { function, enis } => {
                let set = self.common_set(new.id, enis)?;
                if let Some(index) = set {
                    self.sets[index as usize].environments += 1;
                }
                let (enis, former) = (set.map(EniSet), Box::default());
                Place::Environment { function: function.clone(), enis, former }
            }
            Host::Instance { eni } => {
                let interface = self
                    .interfaces
                    .get(eni)
                    .cloned()
                    .ok_or_else(|| InventoryError::UnknownEni(eni.clone()))?;
                let wrong =
                    |why| InventoryError::WrongEni { eni: eni.clone(), attachment: new.id, why };
                if !matches!(interface.owner, Owner::Instance { .. }) {
                    return Err(wrong("it is not an instance's"));
                }
                if interface.attachment.is_some() {
                    return Err(wrong("it serves another one"));
                }
                let interface = self.serve(&interface, Some(new.id));
                Place::Instance(interface)
            }
            Host::Internet { ip } => {
                let ip = ipv4(*ip)?;
                if let Some(holder) = self.internet_host(ip) {
                    return Err(taken(ip, &new.name, &format_args!("attachment {holder}")));
                }
                if let Some(holder) = self.by_public_ip(ip).cloned() {
                    if !holder.gives_way() {
                        return Err(taken(ip, &new.name, &holder.id));
                    }
                    self.remove_interface(&holder.id)?;
                }
                self.internet_hosts.insert(ip, new.id);
                Place::Internet(ip)
            }
            Host::Service { id } => {
                let service = numbers.of(id);
                if let Some(host) = self.service_host(service) {
                    return Err(InventoryError::ServiceTaken { service: id.clone(), host });
                }
                self.service_hosts.insert(service, new.id);
                Place::Service(service)
            }
            _ => return Err(InventoryError::UnsupportedHost(new.id)),
        };
        let attachment = Attachment { id: new.id, name: new.name.clone(), place };
        self.attachments.insert(new.id, Arc::new(attachment));
        Ok(())
    }

    pub(super) fn remove_attachment(&mut self, id: AttachmentId) -> Result<(), InventoryError> {
        let attachment =
            self.attachments.remove(&id).ok_or(InventoryError::UnknownAttachment(id))?;
        match &attachment.place {
            Place::Environment { enis, .. } => {
                if let Some(EniSet(index)) = enis {
                    // Its set has an ENI: the last one of a set in use is not removed.
                    self.sets[*index as usize].environments -= 1;
                }
            }
            Place::Instance(interface) => {
                self.serve(interface, None);
            }
            Place::Internet(ip) => {
                self.internet_hosts.remove(ip);
            }
            Place::Service(service) => {
                self.service_hosts.remove(service);
            }
        }
        Ok(())
    }

    /// Puts environments behind other ENIs. Returns the ports that each can use no longer.
    pub(super) fn move_environments(
        &mut self,
        moved: &[declared::Attachment],
    ) -> Result<Vec<(AttachmentId, TableId)>, InventoryError> {
        let mut steps = Vec::with_capacity(moved.len());
        for one in moved {
            let old =
                self.attachments.get(&one.id).ok_or(InventoryError::UnknownAttachment(one.id))?;
            let (Place::Environment { enis: from, .. }, Host::Environment { enis: to, .. }) =
                (&old.place, &one.host)
            else {
                return Err(InventoryError::UnsupportedHost(one.id));
            };
            let from = from.map(|EniSet(from)| from);
            steps.push((Arc::clone(old), from, self.common_set(one.id, to)?));
        }
        let mut lost = Vec::new();
        for (old, from, to) in steps.into_iter().filter(|(_, from, to)| from != to) {
            let Place::Environment { function, former, .. } = &old.place else { continue };
            let vpc = |set: SetIndex| self.set(set).first().map(|eni| eni.vpc);
            // Sets without ENIs have no connections any more.
            let before = former.iter().map(|set| set.0).chain(from);
            let before = before.filter(|set| Some(*set) != to && !self.set(*set).is_empty());
            let (stay, left): (Vec<_>, Vec<_>) =
                before.partition(|set| vpc(*set) == to.and_then(vpc));
            let enis = left.iter().flat_map(|set| self.set(*set));
            let service_vpc = if from.is_none() { self.service_vpc() } else { &[] };
            let tables = enis.chain(service_vpc).filter_map(|interface| interface.table());
            lost.extend(tables.map(|table| (old.id, table)));
            let (enis, former) = (to.map(EniSet), stay.into_iter().map(EniSet).collect());
            let place = Place::Environment { function: function.clone(), enis, former };
            let attachment = Attachment { place, ..Attachment::clone(&old) };
            self.attachments.insert(old.id, Arc::new(attachment));
            if let Some(from) = from {
                self.sets[from as usize].environments -= 1;
            }
            if let Some(to) = to {
                self.sets[to as usize].environments += 1;
            }
        }
        Ok(lost)
    }

    /// Notes whom an instance's interface serves. Interfaces are never changed in place, because
    /// copies of the tables share them.
    fn serve(&mut self, interface: &Interface, attachment: Option<AttachmentId>) -> Arc<Interface> {
        let serving = Arc::new(Interface { attachment, ..interface.clone() });
        self.exchange(interface, Arc::clone(&serving));
        serving
    }

    fn enter_addresses(&mut self, interface: &Arc<Interface>) {
        for ip in private_ips(interface) {
            self.by_address.insert((interface.vpc, ip), Arc::clone(interface));
        }
        if let Some(ip) = interface.public_ip {
            self.by_public_ip.insert(ip, Arc::clone(interface));
        }
    }

    fn leave_addresses(&mut self, interface: &Interface) {
        for ip in private_ips(interface) {
            self.by_address.remove(&(interface.vpc, ip));
        }
        if let Some(ip) = interface.public_ip {
            self.by_public_ip.remove(&ip);
        }
    }

    /// Removes addresses of NAT gateways that drain and are in the way of this one: who needs an
    /// address does not wait for its last connections.
    fn give_way(&mut self, new: &Interface) {
        let mut in_the_way = self.holders(new);
        in_the_way.retain(|holder| holder.gives_way());
        for holder in in_the_way {
            // One may have been found by several of its addresses.
            if self.interfaces.contains_key(&holder.id) {
                self.remove_interface(&holder.id)
                    .expect("a NAT gateway's interface serves no attachment");
            }
        }
    }

    /// Whoever has the id or an address of this interface.
    fn holders(&self, new: &Interface) -> Vec<Arc<Interface>> {
        private_ips(new)
            .filter_map(|ip| self.by_address(new.vpc, ip))
            .chain(new.public_ip.and_then(|ip| self.by_public_ip(ip)))
            .chain(self.interface(&new.id))
            .cloned()
            .collect()
    }

    /// Whether nobody else has an address of this interface.
    fn check_addresses(&self, new: &Interface) -> Result<(), InventoryError> {
        for ip in private_ips(new) {
            if let Some(holder) = self.by_address(new.vpc, ip).filter(|it| is_other(it, new)) {
                return Err(taken(ip, &new.id, &holder.id));
            }
        }
        let Some(ip) = new.public_ip else { return Ok(()) };
        if let Some(holder) = self.by_public_ip(ip).filter(|it| is_other(it, new)) {
            return Err(taken(ip, &new.id, &holder.id));
        }
        if let Some(holder) = self.internet_host(ip) {
            return Err(taken(ip, &new.id, &format_args!("attachment {holder}")));
        }
        Ok(())
    }

    /// The set that all these ENIs belong to, if there are any.
    fn common_set(
        &self,
        attachment: AttachmentId,
        enis: &[ResourceId],
    ) -> Result<Option<SetIndex>, InventoryError> {
        let mut common = None;
        for id in enis {
            let interface =
                self.interfaces.get(id).ok_or_else(|| InventoryError::UnknownEni(id.clone()))?;
            let wrong = |why| InventoryError::WrongEni { eni: id.clone(), attachment, why };
            let Owner::Functions(key) = &interface.owner else {
                return Err(wrong("functions do not leave through it"));
            };
            let index = self.set_by_key[&set_key(key)];
            if common.is_some_and(|common| common != index) {
                return Err(wrong("its key is not that of the others"));
            }
            common = Some(index);
        }
        Ok(common)
    }

    /// The set of this key, made if there is none.
    fn set_of(&mut self, key: &HyperplaneKey) -> SetIndex {
        *self.set_by_key.entry(set_key(key)).or_insert_with(|| {
            self.free_sets.pop().unwrap_or_else(|| {
                self.sets.push(Set::default());
                u32::try_from(self.sets.len() - 1).expect("fewer than 2^32 sets")
            })
        })
    }

    fn drop_if_unused(&mut self, index: SetIndex, key: &HyperplaneKey) {
        let set = &self.sets[index as usize];
        if set.enis.is_empty() && set.environments == 0 {
            self.set_by_key.remove(&set_key(key));
            self.free_sets.push(index);
        }
    }
}

impl Interface {
    fn ordinal(&self) -> u32 {
        match &self.owner {
            Owner::Functions(key) => key.ordinal,
            _ => 0,
        }
    }

    /// Whether it goes as soon as another needs its address. A Hyperplane ENI keeps its own until it is
    /// removed.
    fn gives_way(&self) -> bool {
        self.draining && matches!(self.owner, Owner::NatGateway(_))
    }
}

/// Whether an interface keeps this one from an address.
fn is_other(holder: &Interface, new: &Interface) -> bool {
    holder.id != new.id && !holder.gives_way()
}

/// Every private address of an interface.
fn private_ips(interface: &Interface) -> impl Iterator<Item = Ipv4Addr> {
    [interface.ip].into_iter().chain(interface.secondary_ips.iter().copied())
}

fn taken(ip: Ipv4Addr, id: &dyn ToString, holder: &dyn ToString) -> InventoryError {
    InventoryError::AddressTaken { ip: ip.into(), id: id.to_string(), holder: holder.to_string() }
}
