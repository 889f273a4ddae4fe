//! Addresses: in their subnet, not reserved, and used once.

use std::{collections::HashMap, net::IpAddr};

use super::{cidr, context::Context, service::Place};
use crate::{
    arena::Handle,
    model::{Route, RouteTarget, Subnet, Vpc},
    spec::{Span, Spanned},
};

/// Who uses which address.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    private: HashMap<(Handle<Vpc>, IpAddr), String>,
    public: HashMap<IpAddr, String>,
    /// Public addresses in the order of the file, to be held against the VPCs' blocks.
    public_places: Vec<Spanned<IpAddr>>,
    /// How many addresses of interfaces each subnet is to hold.
    interfaces: HashMap<Handle<Subnet>, u32>,
    /// What needs a way to the internet gateway: its subnet, place and name.
    public_interfaces: Vec<(Handle<Subnet>, Span, String)>,
}

impl Addresses {
    /// Counts addresses that the subnet has to hold.
    pub(super) fn take(&mut self, subnet: Handle<Subnet>, addresses: u32) {
        let taken = self.interfaces.entry(subnet).or_default();
        *taken = taken.saturating_add(addresses);
    }

    /// Remembers that something in the subnet has a public address.
    pub(super) fn behind_internet_gateway(
        &mut self,
        subnet: Handle<Subnet>,
        place: Span,
        noun: String,
    ) {
        self.public_interfaces.push((subnet, place, noun));
    }
}

/// Whose address it is.
pub(super) struct Owner {
    pub(super) noun: String,
    pub(super) vpc: Handle<Vpc>,
    pub(super) subnet: Option<Handle<Subnet>>,
}

impl Context {
    /// A private address, if its owner may have it.
    pub(super) fn claim_private(&mut self, owner: &Owner, ip: &Spanned<IpAddr>) -> Option<IpAddr> {
        let subnet = owner.subnet?;
        let block = self.subnet_blocks[subnet.index()]?;
        let name = &self.topology.subnets[subnet].name;
        let address = ip.value;
        if !block.contains(&address) {
            self.report
                .error(ip.span, format!("`{address}` is outside subnet `{name}`"))
                .help(format!("the subnet has `{block}`"));
            return None;
        }
        if let Some(purpose) = cidr::reserved(block, address) {
            self.report
                .error(ip.span, format!("`{address}` is reserved in subnet `{name}` for {purpose}"))
                .help("the first four addresses of a subnet and the last are AWS's");
            return None;
        }
        let other = self.addresses.private.insert((owner.vpc, address), owner.noun.clone());
        self.unless_used(ip, other)
    }

    /// A public address, if one can be public and nobody else has it.
    pub(super) fn claim_public(&mut self, noun: &str, ip: &Spanned<IpAddr>) -> Option<IpAddr> {
        self.public(ip)?;
        self.addresses.public_places.push(ip.clone());
        self.places.push(Place::of_address(noun, ip));
        let other = self.addresses.public.insert(ip.value, noun.to_owned());
        self.unless_used(ip, other)
    }

    /// An address, if it can be public.
    pub(super) fn public(&mut self, ip: &Spanned<IpAddr>) -> Option<IpAddr> {
        let IpAddr::V4(v4) = ip.value else {
            self.report.error(ip.span, "IPv6 is not forwarded yet").help("use an IPv4 address");
            return None;
        };
        if let Some(what) = cidr::not_public(v4) {
            self.report
                .error(ip.span, format!("`{v4}` cannot be a public address: it {what}"))
                .help("203.0.113.0/24, 198.51.100.0/24 and 192.0.2.0/24 are free for examples");
            return None;
        }
        Some(ip.value)
    }

    fn unless_used(&mut self, ip: &Spanned<IpAddr>, other: Option<String>) -> Option<IpAddr> {
        match other {
            Some(other) => {
                self.report.error(ip.span, format!("`{}` is {other}'s already", ip.value));
                None
            }
            None => Some(ip.value),
        }
    }
}

/// What can only be judged when all addresses are known.
pub(super) fn check(context: &mut Context) {
    subnets_hold_their_interfaces(context);
    public_addresses_are_outside(context);
    // A route that was refused may be the one that is missed here.
    if !context.report.has_errors() {
        public_interfaces_have_a_way_out(context);
    }
}

fn subnets_hold_their_interfaces(context: &mut Context) {
    let mut full: Vec<_> = context
        .addresses
        .interfaces
        .iter()
        .filter_map(|(subnet, taken)| {
            let usable = cidr::usable(context.subnet_blocks[subnet.index()]?);
            (*taken > usable).then_some((*subnet, *taken, usable))
        })
        .collect();
    full.sort();
    for (subnet, taken, usable) in full {
        let path = context.topology.path(subnet);
        let span = context.subnet_places[subnet.index()];
        context
            .report
            .error(span, format!("`{path}` has room for {usable} addresses, not for {taken}"))
            .help("five addresses of a subnet are reserved; give it a larger block");
    }
}

fn public_addresses_are_outside(context: &mut Context) {
    for ip in &context.addresses.public_places {
        let inside = |vpc: &&Vpc| vpc.cidr_blocks.iter().any(|block| block.contains(&ip.value));
        if let Some(vpc) = context.topology.vpcs.values().find(inside) {
            context
                .report
                .warning(
                    ip.span,
                    format!("`{}` is inside the block of VPC `{}`", ip.value, vpc.name),
                )
                .help("from there it is a local address and cannot be reached as a public one");
        }
    }
}

fn public_interfaces_have_a_way_out(context: &mut Context) {
    let topology = &context.topology;
    for (subnet, place, noun) in &context.addresses.public_interfaces {
        let subnet = &topology.subnets[*subnet];
        let table = &topology.route_tables[subnet.route_table];
        let blocks = &topology.vpcs[subnet.vpc].cidr_blocks;
        // Through an appliance is a way, too.
        let leads_out = |route: &Route| match route.target {
            RouteTarget::InternetGateway(_) => true,
            RouteTarget::Instance(_) => !blocks.iter().any(|it| it.contains(&route.destination)),
            _ => false,
        };
        if !table.routes.iter().any(leads_out) {
            context
                .report
                .warning(
                    *place,
                    format!(
                        "{noun} has a public address, but its subnet `{}` has no route to the \
                         internet gateway",
                        subnet.name
                    ),
                )
                .help(format!("nothing leads out of route table `{}`", table.name));
        }
    }
}
