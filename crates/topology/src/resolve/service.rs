//! Services beyond the VPCs: their addresses, which nobody else has, and their prefix lists.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    cidr,
    context::Context,
    prefix_list::{self, MOST_ENTRIES},
    vpc::overlap,
};
use crate::{
    arena::Handle,
    model::{PrefixList, Service},
    spec::{self, Field, Span, Spanned},
};

/// What a service's list counts for in quotas, unless the file says otherwise: those of S3 and
/// DynamoDB weigh 1 (SG-31).
const USUAL_WEIGHT: u32 = 1;

/// Builds a service, and the prefix list that it has.
pub(super) fn build(context: &mut Context, spec: &spec::Service) {
    let name = &spec.name.value;
    let noun = format!("service `{name}`");
    let id = context.ids.id(&mut context.report, "vpce-svc", name, spec.id.as_ref());
    let blocks = blocks(context, spec, &noun);
    let prefix_list = prefix_list(context, spec, &noun, blocks.as_deref());
    let ip = ip(context, spec, &noun, blocks.as_deref());
    context.topology.services.push(Service {
        id,
        name: name.clone(),
        ip: ip.unwrap_or(cidr::NOWHERE.addr()),
        prefix_list,
    });
}

/// The blocks, canonical and public; `None` if there is no list that could be read.
fn blocks(context: &mut Context, spec: &spec::Service, noun: &str) -> Option<Vec<IpNet>> {
    let given = spec.prefix_list.given()?;
    if given.value.is_empty() {
        context
            .report
            .error(given.span, format!("the prefix list of {noun} is empty"))
            .help("name the blocks at which the service answers, or leave the list out");
    }
    let entries = prefix_list::entries(context, noun, &given.value);
    let mut blocks = Vec::with_capacity(entries.len());
    for Spanned { value: block, span } in entries {
        if public(context, noun, block, span) {
            blocks.push(block);
        }
    }
    Some(blocks)
}

/// Whether a block can be a service's; remembers whose it is.
fn public(context: &mut Context, noun: &str, block: IpNet, span: Span) -> bool {
    let IpNet::V4(v4) = block else {
        context.report.error(span, "IPv6 is not forwarded yet").help("use IPv4 blocks");
        return false;
    };
    if let Some(what) = cidr::not_public_block(v4) {
        context
            .report
            .error(span, format!("`{v4}` cannot be a service's block: some of it {what}"))
            .help("198.18.0.0/15 and 203.0.113.0/24 are free for examples");
        return false;
    }
    context.places.push(Place { block, noun: noun.to_owned(), span, of_service: true });
    true
}

fn prefix_list(
    context: &mut Context,
    spec: &spec::Service,
    noun: &str,
    blocks: Option<&[IpNet]>,
) -> Option<Handle<PrefixList>> {
    let alone = [spec.prefix_list_id.as_ref().map(|it| it.span)]
        .into_iter()
        .chain([spec.max_entries.as_ref().map(|it| it.span)]);
    if spec.prefix_list == Field::Missing {
        for (span, key) in alone.zip(["prefix_list_id", "max_entries"]) {
            if let Some(span) = span {
                context
                    .report
                    .error(span, format!("{noun} has no `prefix_list`"))
                    .help(format!("`{key}` is about that list"));
            }
        }
        return None;
    }
    let path = format!("service/{}", spec.name.value);
    let id = context.ids.id(&mut context.report, "pl", &path, spec.prefix_list_id.as_ref());
    let max_entries = match &spec.max_entries {
        Some(given) if !(1..=MOST_ENTRIES).contains(&given.value) => {
            context
                .report
                .error(given.span, format!("`max_entries` cannot be {}", given.value))
                .help(format!("it is 1 to {MOST_ENTRIES}; {USUAL_WEIGHT} if not given"));
            USUAL_WEIGHT
        }
        Some(given) => given.value,
        None => USUAL_WEIGHT,
    };
    Some(context.topology.prefix_lists.push(PrefixList {
        id,
        name: spec.name.value.clone(),
        entries: blocks.unwrap_or_default().to_vec(),
        max_entries,
    }))
}

/// The address that the service's name stands for: in one of its blocks, or its only one.
fn ip(
    context: &mut Context,
    spec: &spec::Service,
    noun: &str,
    blocks: Option<&[IpNet]>,
) -> Option<IpAddr> {
    let report = &mut context.report;
    match (&spec.ip, &spec.prefix_list) {
        (Field::Given(ip), Field::Given(list)) => {
            let blocks = blocks.unwrap_or_default();
            // Blocks that were refused may be the ones that hold it.
            let all = blocks.len() == list.value.len();
            if all && !blocks.is_empty() && !blocks.iter().any(|block| block.contains(&ip.value)) {
                report
                    .error(ip.span, format!("`{}` is in no block of {noun}", ip.value))
                    .help("a service answers at the addresses of its prefix list, if it has one");
            }
            Some(ip.value)
        }
        (Field::Given(ip), Field::Missing) => context.claim_service(noun, ip),
        (Field::Missing, Field::Missing) => {
            report
                .error(spec.name.span, format!("{noun} has no `ip`"))
                .help("give it one, or a `prefix_list`, of which the first address is taken");
            None
        }
        (Field::Missing, _) => blocks?.first().map(first_address),
        (Field::Given(_) | Field::Unreadable, _) => None,
    }
}

/// The first usable address of a block.
fn first_address(block: &IpNet) -> IpAddr {
    match block {
        IpNet::V4(block) => block.hosts().next().unwrap_or(block.network()).into(),
        IpNet::V6(block) => block.hosts().next().unwrap_or(block.network()).into(),
    }
}

impl Context {
    /// An address as the only one of a service.
    fn claim_service(&mut self, noun: &str, ip: &Spanned<IpAddr>) -> Option<IpAddr> {
        let address = self.public(ip)?;
        let block = IpNet::from(address);
        self.places.push(Place { block, noun: noun.to_owned(), span: ip.span, of_service: true });
        Some(address)
    }
}

/// A block or an address of the world outside, and whose it is.
#[derive(Debug)]
pub(super) struct Place {
    block: IpNet,
    noun: String,
    span: Span,
    /// A service's; else of something that has a single public address.
    of_service: bool,
}

impl Place {
    /// A public address.
    pub(super) fn of_address(noun: &str, ip: &Spanned<IpAddr>) -> Self {
        let block = IpNet::from(ip.value);
        Self { block, noun: noun.to_owned(), span: ip.span, of_service: false }
    }

    /// Whether an address is one of these.
    pub(super) fn covers(&self, ip: IpAddr) -> bool {
        self.block.contains(&ip)
    }

    /// That it has an address of another.
    fn clash_with(&self, other: &Self) -> String {
        if self.block == other.block {
            format!("{self} is {}'s already", other.noun)
        } else if other.block.contains(&self.block) {
            format!("{self} is inside {other} of {}", other.noun)
        } else {
            format!("{self} contains {other} of {}", other.noun)
        }
    }
}

/// Services share no address with each other, nor with anybody else.
pub(super) fn check(context: &mut Context) {
    let mut places = std::mem::take(&mut context.places);
    if !places.iter().any(|place| place.of_service) {
        return;
    }
    warn_of_vpcs(context, &places);
    // Blocks either nest or are apart. By address, larger first, those around a block come before
    // it: they are kept on a stack, the innermost on top.
    places.sort_by_key(|place| (place.block.network(), place.block.prefix_len(), place.span));
    let mut around: Vec<&Place> = Vec::new();
    for place in &places {
        while around.last().is_some_and(|outer| !outer.block.contains(&place.block)) {
            around.pop();
        }
        let clashes =
            |outer: &&&Place| (outer.of_service || place.of_service) && outer.noun != place.noun;
        if let Some(outer) = around.iter().rev().find(clashes) {
            let (first, second) =
                if outer.span <= place.span { (*outer, place) } else { (place, *outer) };
            context
                .report
                .error(second.span, second.clash_with(first))
                .help("a service's addresses are its own (EP-04)");
        }
        around.push(place);
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.block.prefix_len() == self.block.max_prefix_len() {
            write!(f, "`{}`", self.block.addr())
        } else {
            write!(f, "`{}`", self.block)
        }
    }
}

/// Inside a VPC whose block it is, an address is a local one.
fn warn_of_vpcs(context: &mut Context, places: &[Place]) {
    for place in places.iter().filter(|place| place.of_service) {
        let inside = |block: &IpNet| overlap(block, &place.block);
        let mut vpcs = context.topology.vpcs.values();
        if let Some(vpc) = vpcs.find(|vpc| vpc.cidr_blocks.iter().any(inside)) {
            context
                .report
                .warning(place.span, format!("{place} overlaps the block of VPC `{}`", vpc.name))
                .help("from there its addresses are local and cannot be reached as public ones");
        }
    }
}
