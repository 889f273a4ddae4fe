//! The service VPC, in which functions stand: the public addresses of its NAT.
//!
//! A file need not know of it. What it does not name is given to it: an address of those that are for
//! examples (RFC 5737), where nobody else in the file has one.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::context::Context;
use crate::{
    model::ServiceVpc,
    spec::{Span, Spanned},
};

/// Addresses of the NAT; as many as those of a NAT gateway (NAT-06).
const MOST_ADDRESSES: usize = 8;

/// For examples: TEST-NET-1, TEST-NET-2 and TEST-NET-3 (RFC 5737). The first is the least used.
const EXAMPLES: [Ipv4Net; 3] = [
    Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, 0), 24),
    Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24),
];

const NOUN: &str = "the service VPC";

/// Takes the addresses that a file names, before anybody else takes any.
pub(super) fn claim(context: &mut Context, given: Option<&Spanned<Vec<Spanned<IpAddr>>>>) {
    let Some(given) = given else { return };
    let count = given.value.len();
    if count == 0 || count > MOST_ADDRESSES {
        context
            .report
            .error(given.span, format!("{NOUN} cannot have {count} public addresses"))
            .help(format!("it has 1 to {MOST_ADDRESSES}; one that nobody has, if not given"));
    }
    let public_ips = given.value.iter().filter_map(|ip| context.claim_public(NOUN, ip)).collect();
    context.topology.service_vpc = ServiceVpc { public_ips };
}

/// Gives it an address if the file has named none: the highest that is nobody's.
pub(super) fn complete(context: &mut Context, was_given: bool) {
    if was_given {
        return;
    }
    let candidates = EXAMPLES.iter().flat_map(|block| {
        let last = u32::from(block.broadcast());
        (1..255).map(move |back| Ipv4Addr::from(last - back))
    });
    let free = candidates.map(IpAddr::from).find(|ip| !is_taken(context, *ip));
    context.topology.service_vpc.public_ips.extend(free);
}

/// Refuses functions that have no way out: their NAT has no address.
pub(super) fn check_function(context: &mut Context, name: &str, place: Span) {
    // If some that are named cannot be, that has been said.
    if context.topology.service_vpc.public_ips.is_empty() && !context.report.has_errors() {
        context
            .report
            .error(place, format!("function `{name}` is of no VPC, and {NOUN} has no address"))
            .help("all that are for examples are taken: name one in `service_vpc_public_ips`");
    }
}

/// Whether an address is somebody's, or of a block that is.
fn is_taken(context: &Context, ip: IpAddr) -> bool {
    let of_vpc = |block: &IpNet| block.contains(&ip);
    context.places.iter().any(|place| place.covers(ip))
        || context.topology.vpcs.values().any(|vpc| vpc.cidr_blocks.iter().any(of_vpc))
}
