//! Small stable numbers for resources, so that tables refer to each other without text.
//!
//! Policy is exchanged as a whole and inventory is not, so what they share must outlive both: each
//! resource id is given a number when it is first seen, and the number is never given to another.
//! A number may therefore name a resource that the policy in force does not have.

use std::{
    fmt,
    hash::{Hash, Hasher},
    marker::PhantomData,
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use viaduct_topology::ResourceId;

use super::{
    Instance, InternetGateway, NatGateway, NetworkAcl, Peering, PrefixList, RouteTable,
    SecurityGroup, Service, Subnet, Vpc, VpcEndpoint,
};
use crate::sync::Mutex;

/// The number of a resource of kind `T`.
pub struct Number<T> {
    index: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Number<T> {
    fn new(index: u32) -> Self {
        Self { index, kind: PhantomData }
    }

    /// The number itself; dense from 0 for each kind.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.index
    }

    pub(super) const fn index(self) -> usize {
        self.index as usize
    }
}

// Derives would demand the same of `T`, which a number does not need.
impl<T> Clone for Number<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Number<T> {}

impl<T> PartialEq for Number<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl<T> Eq for Number<T> {}

impl<T> Hash for Number<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.index.hash(state);
    }
}

impl<T> fmt::Debug for Number<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.index)
    }
}

/// A kind of resource that has numbers of its own.
pub(crate) trait Numbered: Sized {
    fn table(tables: &mut Tables) -> &mut HashMap<ResourceId, u32, FixedState>;
}

macro_rules! numbered {
    ($($kind:ident $field:ident,)*) => {
        #[derive(Debug, Default)]
        pub(crate) struct Tables {
            $($field: HashMap<ResourceId, u32, FixedState>,)*
        }

        $(impl Numbered for $kind {
            fn table(tables: &mut Tables) -> &mut HashMap<ResourceId, u32, FixedState> {
                &mut tables.$field
            }
        })*
    };
}

numbered! {
    PrefixList prefix_lists,
    Vpc vpcs,
    Subnet subnets,
    RouteTable route_tables,
    NetworkAcl network_acls,
    SecurityGroup security_groups,
    InternetGateway internet_gateways,
    NatGateway nat_gateways,
    Peering peerings,
    Service services,
    VpcEndpoint vpc_endpoints,
    Instance instances,
}

/// Gives numbers to resource ids. One for each engine: policy and inventory share it.
#[derive(Debug, Default)]
pub struct Numbers(Mutex<Tables>);

impl Numbers {
    /// No id has a number yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of this resource, now and for ever.
    pub(crate) fn of<T: Numbered>(&self, id: &ResourceId) -> Number<T> {
        let mut tables = self.0.lock();
        let table = T::table(&mut tables);
        let next = u32::try_from(table.len()).expect("fewer than 2^32 resources of a kind");
        Number::new(*table.entry_ref(id).or_insert(next))
    }

    /// The number of this resource, if it was ever seen.
    #[must_use]
    #[expect(private_bounds, reason = "kinds of resources are this crate's")]
    pub fn find<T: Numbered>(&self, id: &ResourceId) -> Option<Number<T>> {
        T::table(&mut self.0.lock()).get(id).copied().map(Number::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_with_its_id_and_kinds_count_apart() {
        let numbers = Numbers::new();
        let (a, b) = (ResourceId::named("subnet-a"), ResourceId::named("subnet-b"));

        let first = numbers.of::<Subnet>(&a);
        assert_eq!(first.get(), 0);
        assert_eq!(numbers.of::<Subnet>(&b).get(), 1);
        assert_eq!(numbers.of::<Subnet>(&a), first);
        assert_eq!(numbers.of::<Vpc>(&b).get(), 0);
    }
}
